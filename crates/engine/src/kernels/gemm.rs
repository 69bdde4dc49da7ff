//! Matrix products C = A₁·B₁ + A₂·B₂ + …: [`multiply`] runs a list of [`Product`]s, each the sum of its [`Term`]s, in one
//! parallel loop.
//!
//! A frozen projection and its adapter are two terms of one product; queries, keys and values are three products of one loop.
//! Every element of C is one chain of additions in the order of the terms and of k, cut at the same places whatever the number
//! of rows; so a row has the same bits in any batch and on any number of threads.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::KernelPath;
use super::lanes::{Lane, put};
use super::microkernel::{self, Tile, run_tile};
use super::source::{STRIP, Source, strip};
use super::threads::Threads;
use crate::ops::shared::Shared;

/// Most lanes of one left row and one strip that are multiplied before the next part of k is filled. Each part more is a pass
/// more over C; each lane more is one that the strips of a task take in the second cache. Measured; on AVX2, whose tiles are
/// small, C costs more.
const fn most_lanes(path: KernelPath) -> usize {
    match path {
        KernelPath::Avx2 => 1536,
        KernelPath::Portable | KernelPath::Avx512 | KernelPath::Avx512Vnni => 576,
    }
}

/// Lanes that a part of k is a multiple of: stored blocks are read whole.
const PART_LANES: usize = 32;
/// Most columns whose strips a task fills at once, so that the left rows pass by once for all of them.
const GROUP: usize = 4 * STRIP;
/// Tasks among which no thread waits long for the last one.
const FEW_TASKS: usize = 32;
/// Fewest rows of a task, when there are too few groups of columns to keep every thread busy.
const SPLIT_ROWS: usize = 224;
/// Most lanes of a column whose strips are held for the tasks with other rows, which the same thread takes next.
const HELD_LANES: usize = 4096;

/// Rows of lanes: the left operand.
#[derive(Debug, Clone, Copy)]
pub struct Left<'a> {
    /// The lanes.
    pub lanes: &'a [u32],
    /// Distance between rows.
    pub stride: usize,
}

impl Left<'_> {
    /// The rows from this one on.
    #[must_use]
    pub fn from_row(self, row: usize) -> Self {
        Self { lanes: &self.lanes[row * self.stride..], ..self }
    }
}

/// A buffer of rows of lanes, used again and again.
#[derive(Debug, Default)]
pub struct LeftBuffer {
    lanes: Vec<u32>,
    stride: usize,
}

impl LeftBuffer {
    /// Rows of `width` values put into lanes.
    pub fn put(
        &mut self,
        context: (KernelPath, &Threads),
        lane: Lane,
        values: &[f32],
        width: usize,
    ) {
        let rows = values.len() / width.max(1);
        self.put_parts(context, lane, (&[rows], width), |_, row| &values[row * width..][..width]);
    }

    /// As [`LeftBuffer::put`], of rows that lie anywhere: there are parts of so many rows, and `find` is given the number of a part
    /// and of a row of it.
    pub fn put_parts<'a>(
        &mut self,
        (path, threads): (KernelPath, &Threads),
        lane: Lane,
        (parts, width): (&[usize], usize),
        find: impl Fn(usize, usize) -> &'a [f32] + Sync,
    ) {
        let stride = row_lanes(path, lane, width);
        let mut rest = self.shape(parts.iter().sum(), stride);
        for (part, rows) in parts.iter().enumerate() {
            let (lanes, after) = rest.split_at_mut(rows * stride);
            threads.for_rows(lanes, stride, 16, |rows, lanes| {
                for (row, lanes) in rows.zip(lanes.chunks_exact_mut(stride)) {
                    put_row(path, lane, find(part, row), lanes);
                }
            });
            rest = after;
        }
    }

    /// As [`LeftBuffer::put`], of other rows: `change` is given each row's number and values, and writes what is put. A task
    /// takes `task` rows.
    pub fn put_with(
        &mut self,
        context: (KernelPath, &Threads),
        lane: Lane,
        task: usize,
        values: &[f32],
        width: usize,
        change: impl Fn(usize, &[f32], &mut [f32]) + Sync,
    ) {
        let rows = values.len() / width.max(1);
        put_computed([self], context, lane, task, (rows, width), |row, [changed]| {
            change(row, &values[row * width..(row + 1) * width], changed);
        });
    }

    /// The transpose of rows of `width` values put into lanes: k counts the rows.
    pub fn put_transposed(&mut self, path: KernelPath, lane: Lane, values: &[f32], width: usize) {
        let rows = values.len() / width;
        let stride = row_lanes(path, lane, rows);
        let lanes = self.shape(width, stride);
        let mut turned = vec![0.0; rows];
        for (column, lanes) in lanes.chunks_exact_mut(stride).enumerate() {
            for (turned, row) in turned.iter_mut().zip(values.chunks_exact(width)) {
                *turned = row[column];
            }
            put_row(path, lane, &turned, lanes);
        }
    }

    /// Room for `rows` rows that are `stride` lanes apart.
    fn shape(&mut self, rows: usize, stride: usize) -> &mut [u32] {
        self.stride = stride;
        let length = rows * stride;
        if self.lanes.len() < length {
            self.lanes.resize(length, 0);
        }
        &mut self.lanes[..length]
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.lanes.len() * size_of::<u32>()
    }

    /// The rows that were put last.
    pub fn left(&self) -> Left<'_> {
        Left { lanes: &self.lanes, stride: self.stride }
    }
}

/// Puts `rows` rows of `width` values into the lanes of each buffer, as `compute` writes them: it is given a row's number and its
/// place for each buffer. A row is never in memory as it is, only in the first cache. A task takes `task` rows.
pub fn put_computed<const N: usize>(
    buffers: [&mut LeftBuffer; N],
    (path, threads): (KernelPath, &Threads),
    lane: Lane,
    task: usize,
    (rows, width): (usize, usize),
    compute: impl Fn(usize, [&mut [f32]; N]) + Sync,
) {
    let stride = row_lanes(path, lane, width);
    let lanes = buffers.map(|buffer| Shared::new(buffer.shape(rows, stride)));
    threads.for_each(rows.div_ceil(task), |number| {
        let mut values: [Vec<f32>; N] = std::array::from_fn(|_| vec![0.0; width]);
        for row in number * task..((number + 1) * task).min(rows) {
            compute(row, values.each_mut().map(Vec::as_mut_slice));
            for (values, lanes) in values.iter().zip(&lanes) {
                put_row(path, lane, values, lanes.part(row * stride, stride));
            }
        }
    });
}

/// Lanes of a row of `values` values, with the scales of its parts behind them, and with what keeps rows apart in the cache:
/// an odd number of cache lines, so that the rows of a tile never compete for one set, as they do at the powers of two that models
/// are made of.
pub fn row_lanes(path: KernelPath, lane: Lane, values: usize) -> usize {
    let lanes = lane.count(values);
    ((lanes + scales(path, lane, lanes)).div_ceil(16) | 1) * 16
}

/// Lanes of a part of k, of which `lanes` lanes are cut into parts as equal as that allows.
fn part_lanes(path: KernelPath, lanes: usize) -> usize {
    lanes
        .div_ceil(lanes.div_ceil(most_lanes(path)).max(1))
        .next_multiple_of(PART_LANES)
        .max(PART_LANES)
}

/// Scales of a row: one for each part of integers.
fn scales(path: KernelPath, lane: Lane, lanes: usize) -> usize {
    match lane {
        Lane::F32 => 0,
        Lane::I16Pair => lanes.div_ceil(part_lanes(path, lanes)),
    }
}

/// Puts a row's values into lanes, part by part, and the scales of parts behind them.
fn put_row(path: KernelPath, lane: Lane, values: &[f32], row: &mut [u32]) {
    let count = lane.count(values.len());
    let part = part_lanes(path, count);
    let (lanes, rest) = row.split_at_mut(count);
    let parts = values.chunks(part * lane.values()).zip(lanes.chunks_mut(part));
    for (number, (values, lanes)) in parts.enumerate() {
        let scale = put(path, lane, values, lanes);
        if lane == Lane::I16Pair {
            rest[number] = scale.to_bits();
        }
    }
}

/// One summand of a product, for some of its rows.
#[derive(Debug, Clone, Copy)]
pub struct Term<'a> {
    /// A; its first row belongs to the first of `rows`.
    pub left: Left<'a>,
    /// B.
    pub right: Source<'a>,
    /// First row of C that it is added to.
    pub first_row: usize,
    /// How many rows.
    pub rows: usize,
}

/// What happens to the old values of C.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// They are replaced; the first term must cover all rows.
    Store,
    /// The product is added to them.
    Add,
}

/// C (rows, n) = or += the sum of terms.
#[derive(Debug)]
pub struct Product<'a> {
    /// C, row after row.
    pub c: &'a mut [f32],
    /// Its columns.
    pub n: usize,
    /// Its rows.
    pub rows: usize,
    /// What is summed.
    pub terms: Vec<Term<'a>>,
    /// What happens to the old values.
    pub output: Output,
}

/// Runs all products.
pub fn multiply((path, threads): (KernelPath, &Threads), lane: Lane, products: &mut [Product<'_>]) {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let mut tasks: Vec<(usize, Range<usize>, Range<usize>)> = Vec::new();
    let groups: usize = products.iter().map(|product| product.n.div_ceil(group(product.n))).sum();
    for (number, product) in products.iter().enumerate() {
        check(path, product, lane);
        // The cut depends on sizes alone; rows do not see one another, so it moves no bit.
        let parts = FEW_TASKS.div_ceil(groups).min(product.rows / SPLIT_ROWS).max(1);
        let part = product.rows.div_ceil(parts).next_multiple_of(14).max(1);
        let group = group(product.n);
        for column in (0..product.n).step_by(group) {
            let columns = column..(column + group).min(product.n);
            for row in (0..product.rows).step_by(part) {
                tasks.push((number, row..(row + part).min(product.rows), columns.clone()));
            }
        }
    }
    let targets: Vec<Target> =
        products.iter_mut().map(|product| Target { start: product.c.as_mut_ptr() }).collect();
    let products = &*products;
    threads.for_each(tasks.len(), |task| {
        let (number, rows, columns) = &tasks[task];
        let product = &products[*number];
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.begin((path, lane), product, (call, *number, columns), rows);
            run_task(path, lane, product, &targets[*number], rows, columns, scratch);
        });
    });
}

/// Columns of a task: an even number of tasks as equal as strips allow, so that two threads end together on a narrow matrix.
fn group(n: usize) -> usize {
    let tasks = n.div_ceil(GROUP).next_multiple_of(2);
    n.div_ceil(tasks).next_multiple_of(STRIP)
}

/// What the pointers of the inner loop rest on.
fn check(path: KernelPath, product: &Product<'_>, lane: Lane) {
    assert!(product.c.len() >= product.rows * product.n, "C holds rows × n values");
    if product.output == Output::Store {
        let first = product.terms.first().map(|term| (term.first_row, term.rows));
        assert_eq!(first, Some((0, product.rows)), "the first term covers C");
    }
    for term in &product.terms {
        assert_eq!(term.right.n(), product.n, "B has as many columns as C");
        assert!(term.first_row + term.rows <= product.rows, "a term's rows are rows of C");
        let lanes = lane.count(term.right.k());
        let length = lanes + scales(path, lane, lanes);
        assert!(length <= term.left.stride && lanes > 0, "rows of A are as long as k");
        let needed = term.rows.saturating_sub(1) * term.left.stride + length;
        assert!(term.rows == 0 || term.left.lanes.len() >= needed, "A holds its rows");
    }
}

thread_local! {
    /// The strips of the task that runs on this thread.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Strips of some columns of a product, part after part; they are filled when they are first asked for.
///
/// Those of the last columns are still there when the next task has the same, with other rows.
#[derive(Default)]
struct Scratch {
    lanes: Vec<u32>,
    scales: Vec<[f32; GROUP]>,
    /// Which parts are filled.
    filled: Vec<bool>,
    /// The call, the number of the product and its first column that they belong to.
    of: Option<(u64, usize, usize)>,
    /// Lanes of a column in all parts, if they are held for other rows; else each part takes the place of the one before.
    held: Option<usize>,
}

impl Scratch {
    /// Makes room for the strips of these columns, and forgets those of others.
    fn begin(
        &mut self,
        (path, lane): (KernelPath, Lane),
        product: &Product<'_>,
        (call, number, columns): (u64, usize, &Range<usize>),
        rows: &Range<usize>,
    ) {
        let of = Some((call, number, columns.start));
        if self.held.is_some() && self.of == of {
            return;
        }
        let lanes = product.terms.iter().map(|term| lane.count(term.right.k()));
        let parts = lanes.clone().map(|lanes| lanes.div_ceil(part_lanes(path, lanes))).sum();
        let (most, all) = (lanes.clone().map(|lanes| part_lanes(path, lanes)).max(), lanes.sum());
        self.held = Some(all).filter(|all| rows.len() < product.rows && *all <= HELD_LANES);
        let room = self.held.unwrap_or(most.unwrap_or(0)) * GROUP + 15;
        self.lanes.resize(self.lanes.len().max(room), 0);
        self.scales.resize(self.scales.len().max(parts), [1.0; GROUP]);
        self.filled.clear();
        self.filled.resize(parts, false);
        self.of = of;
    }

    /// The strips and scales of part number `part`, before which there are `before` lanes; `fill` writes them.
    fn strips(
        &mut self,
        (part, before, count): (usize, usize, usize),
        fill: impl FnOnce((&mut [u32], &mut [f32])),
    ) -> (&[u32], &[f32]) {
        // From the border of a cache line on, since a register that crosses one is loaded in two steps.
        let skip = self.lanes.as_ptr().align_offset(64).min(15);
        let start = skip + if self.held.is_some() { before * GROUP } else { 0 };
        let (strips, scales) =
            (&mut self.lanes[start..start + count * GROUP], &mut self.scales[part]);
        if !self.filled[part] || self.held.is_none() {
            fill((strips, scales));
            self.filled[part] = true;
        }
        (strips, scales)
    }
}

fn run_task(
    path: KernelPath,
    lane: Lane,
    product: &Product<'_>,
    target: &Target,
    rows: &Range<usize>,
    columns: &Range<usize>,
    scratch: &mut Scratch,
) {
    let mut add = product.output == Output::Add;
    let (mut place, mut before) = (0, 0);
    for term in &product.terms {
        let rows = rows.start.max(term.first_row)..rows.end.min(term.first_row + term.rows);
        let k = term.right.k();
        let lanes = lane.count(k);
        let part = part_lanes(path, lanes);
        for (number, first) in (0..lanes).step_by(part).enumerate() {
            let count = part.min(lanes - first);
            if !rows.is_empty() {
                let k = first * lane.values()..((first + count) * lane.values()).min(k);
                let (strips, scales) = scratch.strips((place, before, count), |strips| {
                    term.right.fill(path, lane, columns.clone(), k, strips);
                });
                // Floats have no scales, and the row may end with its lanes.
                let scale = if lane == Lane::F32 { first } else { lanes + number };
                let left = term.left;
                let left = Part { left, first, scale, first_row: term.first_row, k: count };
                let block = Block { left, strips, scales, add };
                run_block(path, lane, &block, (target, product.n), &rows, columns);
            }
            (place, before) = (place + 1, before + count);
            add = true;
        }
    }
}

/// A part of k of a term's left rows.
struct Part<'a> {
    left: Left<'a>,
    /// The first of its lanes in a row.
    first: usize,
    /// Where a row has its scale.
    scale: usize,
    /// Row of C that the first row belongs to.
    first_row: usize,
    /// Lanes.
    k: usize,
}

/// A part of k of one term: its left lanes and filled strips.
struct Block<'a> {
    left: Part<'a>,
    strips: &'a [u32],
    /// Of the strips' columns.
    scales: &'a [f32],
    add: bool,
}

fn run_block(
    path: KernelPath,
    lane: Lane,
    block: &Block<'_>,
    (target, n): (&Target, usize),
    rows: &Range<usize>,
    columns: &Range<usize>,
) {
    let tiles = rows.len().div_ceil(microkernel::rows(path));
    // Tiles of even height: a lone last row would cost almost as much as a whole tile.
    let height = rows.len().div_ceil(tiles);
    let width = strip(path);
    for row in rows.clone().step_by(height) {
        let Part { left, first, scale, first_row, k } = &block.left;
        let a = &left.lanes[(row - first_row) * left.stride..];
        for (number, column) in columns.clone().step_by(width).enumerate() {
            let tile = Tile {
                rows: height.min(rows.end - row),
                columns: width.min(columns.end - column),
                k: *k,
                a: a[*first..].as_ptr(),
                a_stride: left.stride,
                a_scales: a[*scale..].as_ptr().cast(),
                strip: &block.strips[number * k * width..][..k * width],
                strip_scales: &block.scales[number * width..][..width],
                c: target.at(row * n + column),
                c_stride: n,
                add: block.add,
            };
            run_tile(path, lane, &tile);
        }
    }
}

/// C's address, shared by tasks that write disjoint tiles.
struct Target {
    start: *mut f32,
}

#[expect(unsafe_code, reason = "tasks write disjoint tiles of one matrix")]
// SAFETY: each task owns the rows and columns that it names; no two tasks of a product share a tile.
unsafe impl Sync for Target {}

#[expect(unsafe_code, reason = "tasks write disjoint tiles of one matrix")]
// SAFETY: as above.
unsafe impl Send for Target {}

impl Target {
    #[expect(unsafe_code, reason = "pointer arithmetic inside a matrix whose size was checked")]
    fn at(&self, offset: usize) -> *mut f32 {
        // SAFETY: `check` asserted that C holds rows × n values, and the offset is that of one of them.
        unsafe { self.start.add(offset) }
    }
}

#[cfg(test)]
mod tests;
