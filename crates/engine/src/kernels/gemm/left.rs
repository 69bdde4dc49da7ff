//! [`Left`]: the left operand of products, rows of lanes in parts of k.

use crate::kernels::KernelPath;
use crate::kernels::lanes::{Lane, put};
use crate::kernels::simd::prefetch_all;
use crate::kernels::threads::Threads;
use crate::ops::shared::Shared;

/// Most lanes of one left row and one strip that are multiplied before the next part of k is filled. Each part more is a pass
/// more over C; each lane more is one that the strips of a task take in the second cache. Measured; in 32 bits on AVX2, whose
/// tiles are small, C costs more. Parts of integers are the same on all paths, as each has a scale.
pub(super) const fn most_lanes(path: KernelPath, lane: Lane) -> usize {
    match lane {
        Lane::F32 if path.is_avx2() => 1536,
        Lane::F32 | Lane::I16Pair => 576,
    }
}

/// Lanes that a part of k is a multiple of: stored blocks are read whole.
const PART_LANES: usize = 32;

/// Rows of a task that lays out rows as they are.
const TASK: usize = 16;

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
            threads.for_rows(lanes, stride, TASK, |taken, lanes| {
                for (row, lanes) in taken.zip(lanes.chunks_exact_mut(stride)) {
                    // The scale of integers is known at a part's end alone: while its lanes are written, the next row is on its way.
                    prefetch_all(find(part, (row + 1).min(rows - 1)));
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
pub(super) fn part_lanes(path: KernelPath, lane: Lane, lanes: usize) -> usize {
    lanes
        .div_ceil(lanes.div_ceil(most_lanes(path, lane)).max(1))
        .next_multiple_of(PART_LANES)
        .max(PART_LANES)
}

/// Scales of a row: one for each part of integers.
pub(super) fn scales(path: KernelPath, lane: Lane, lanes: usize) -> usize {
    match lane {
        Lane::F32 => 0,
        Lane::I16Pair => lanes.div_ceil(part_lanes(path, lane, lanes)),
    }
}

/// Puts a row's values into lanes, part by part, and the scales of parts behind them.
fn put_row(path: KernelPath, lane: Lane, values: &[f32], row: &mut [u32]) {
    let count = lane.count(values.len());
    let part = part_lanes(path, lane, count);
    let (lanes, rest) = row.split_at_mut(count);
    let parts = values.chunks(part * lane.values()).zip(lanes.chunks_mut(part));
    for (number, (values, lanes)) in parts.enumerate() {
        let scale = put(path, lane, values, lanes);
        if lane == Lane::I16Pair {
            rest[number] = scale.to_bits();
        }
    }
}
