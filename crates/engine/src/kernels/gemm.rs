//! Matrix products C = A₁·B₁ + A₂·B₂ + …: [`multiply`] runs a list of [`Product`]s, each the sum of its [`Term`]s, in one
//! parallel loop.
//!
//! A frozen projection and its adapter are two terms of one product; queries, keys and values are three products of one loop.
//! Every element of C is one chain of additions in the order of the terms and of k, cut at the same places whatever the number
//! of rows; so a row has the same bits in any batch and on any number of threads.

mod left;
mod strips;

use std::ops::Range;

pub use self::left::{Left, LeftBuffer, put_computed, row_lanes};
use self::left::{part_lanes, scales};
use self::strips::{Call, Strips, can_be_kept, with_strips};
use super::KernelPath;
use super::lanes::Lane;
use super::microkernel::{self, Tile, run_tile};
use super::source::{STRIP, Source, strip};
use super::threads::Threads;

/// Most columns whose strips a task fills at once, so that the left rows pass by once for all of them.
const GROUP: usize = 4 * STRIP;
/// Tasks among which no thread waits long for the last one, and the fewest rows of one, when there are too few groups of columns
/// to keep every thread busy.
const FEW_TASKS: (usize, usize) = (32, 224);
/// The same where each task fills its strips for itself.
const FEW_FILLING_TASKS: (usize, usize) = (16, 448);

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

/// Some rows and columns of one product.
struct Task {
    /// Its number.
    product: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

/// A part of k of one term.
struct Part {
    /// The term's number.
    term: usize,
    /// Lanes along the term's k.
    lanes: Range<usize>,
    /// Where a left row has the part's scale.
    scale: usize,
    /// Lanes of the parts before, of all terms.
    before: usize,
}

/// Runs all products.
pub fn multiply((path, threads): (KernelPath, &Threads), lane: Lane, products: &mut [Product<'_>]) {
    let parts: Vec<Vec<Part>> =
        products.iter().map(|product| parts_of(path, product, lane)).collect();
    let tasks = tasks_of(products, &parts);
    let targets: Vec<Target> =
        products.iter_mut().map(|product| Target { start: product.c.as_mut_ptr() }).collect();
    let (products, call) = (&*products, Call::new());
    threads.for_each(tasks.len(), |number| {
        let task = &tasks[number];
        let (product, parts) = (&products[task.product], &parts[task.product]);
        with_strips(|strips| {
            let owner = (call, task.product, task.columns.start);
            strips.begin(owner, parts, task.rows.len() < product.rows);
            run_task((path, lane), (product, parts), &targets[task.product], task, strips);
        });
    });
}

/// The tasks of all products. Those with the same columns follow one another, since a thread keeps their strips.
///
/// The cut depends on sizes alone; rows do not see one another, so it moves no bit.
fn tasks_of(products: &[Product<'_>], parts: &[Vec<Part>]) -> Vec<Task> {
    let groups: usize = products.iter().map(|product| product.n.div_ceil(group(product.n))).sum();
    let mut tasks = Vec::new();
    for (number, product) in products.iter().enumerate() {
        let kept = can_be_kept(&parts[number]);
        let (tasks_in_all, least) = if kept { FEW_TASKS } else { FEW_FILLING_TASKS };
        let cuts = tasks_in_all.div_ceil(groups).min(product.rows / least).max(1);
        let height = product.rows.div_ceil(cuts).next_multiple_of(14).max(1);
        let group = group(product.n);
        for column in (0..product.n).step_by(group) {
            for row in (0..product.rows).step_by(height) {
                tasks.push(Task {
                    product: number,
                    rows: row..(row + height).min(product.rows),
                    columns: column..(column + group).min(product.n),
                });
            }
        }
    }
    tasks
}

/// The parts of k of all terms of a product, which is [sound](check).
fn parts_of(path: KernelPath, product: &Product<'_>, lane: Lane) -> Vec<Part> {
    check(path, product, lane);
    let mut parts = Vec::new();
    let mut before = 0;
    for (term, of) in product.terms.iter().enumerate() {
        let all = lane.count(of.right.k());
        let step = part_lanes(path, lane, all);
        for (number, first) in (0..all).step_by(step).enumerate() {
            let lanes = first..(first + step).min(all);
            parts.push(Part { term, lanes: lanes.clone(), scale: all + number, before });
            before += lanes.len();
        }
    }
    parts
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

/// Runs one task: part after part, all terms of its tile of C.
fn run_task(
    (path, lane): (KernelPath, Lane),
    (product, parts): (&Product<'_>, &[Part]),
    target: &Target,
    Task { rows, columns, .. }: &Task,
    strips: &mut Strips,
) {
    for (place, part) in parts.iter().enumerate() {
        let term = &product.terms[part.term];
        let rows = rows.start.max(term.first_row)..rows.end.min(term.first_row + term.rows);
        if rows.is_empty() {
            continue;
        }
        let k = part.lanes.start * lane.values()..part.lanes.end * lane.values();
        let k = k.start..k.end.min(term.right.k());
        let (strips, scales) = strips.of_part(place, part, |strips| {
            term.right.fill(path, lane, columns.clone(), k, strips);
        });
        let block = Block {
            left: term.left.from_row(rows.start - term.first_row),
            first: part.lanes.start,
            // Floats have no scales, and the row may end with its lanes.
            scale: if lane == Lane::F32 { part.lanes.start } else { part.scale },
            k: part.lanes.len(),
            strips,
            scales,
            add: product.output == Output::Add || place > 0,
        };
        run_block(path, lane, &block, (target, product.n), &rows, columns);
    }
}

/// A part of k of one term: its left lanes and filled strips.
struct Block<'a> {
    /// From the first row of the task on.
    left: Left<'a>,
    /// The first of its lanes in a row.
    first: usize,
    /// Where a row has its scale.
    scale: usize,
    /// Lanes.
    k: usize,
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
    let Block { left, first, scale, k, strips, scales, add } = *block;
    for row in rows.clone().step_by(height) {
        let a = &left.lanes[(row - rows.start) * left.stride..];
        for (number, column) in columns.clone().step_by(width).enumerate() {
            let tile = Tile {
                rows: height.min(rows.end - row),
                columns: width.min(columns.end - column),
                k,
                a: a[first..].as_ptr(),
                a_stride: left.stride,
                a_scales: a[scale..].as_ptr().cast(),
                strip: &strips[number * k * width..][..k * width],
                strip_scales: &scales[number * width..][..width],
                c: target.at(row * n + column),
                c_stride: n,
                add,
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
