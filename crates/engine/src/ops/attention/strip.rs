//! [`Strip`]: the query rows that lie in the lanes of one vector, and the passes over their scores.
//!
//! The query heads that share a key-value head are lanes too: lane n of a sequence is head n mod group of row n / group.
//! Scores are stored as (keys, lanes), so that a key's values are broadcast straight from where the model keeps them, in 32 bits
//! without being packed, and the softmax needs no sum across lanes.

use std::cell::Cell;
use std::ops::Range;
use std::thread::LocalKey;

use super::Heads;
#[cfg(target_arch = "x86_64")]
use super::avx512;
use crate::kernels::simd::Arithmetic;

/// Some lanes of a sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strip {
    pub(super) heads: Heads,
    /// The key-value head that its lanes share.
    pub(super) shared_head: usize,
    /// Tokens before the sequence's first row.
    pub(super) past: usize,
    /// The first lane, counted from the sequence's first row.
    pub(super) first: usize,
    /// How many lanes hold a query; the other lanes repeat the last one.
    pub(super) lanes: usize,
    /// Whether the strip has sixteen lanes; otherwise eight.
    pub(super) wide: bool,
}

impl Strip {
    /// A lane's row of the sequence.
    fn row(&self, lane: usize) -> usize {
        (self.first + lane.min(self.lanes - 1)) / self.heads.group()
    }

    /// Where its lanes are; counted, since a division takes as long as the products of some keys.
    pub(super) fn places<const W: usize>(&self) -> Places<W> {
        let group = self.heads.group();
        let (mut row, mut member) = (self.first / group, self.first % group);
        let mut places = Places { rows: [0; W], heads: [0; W], at: [0; W] };
        for lane in 0..W {
            let head = self.shared_head * group + member;
            places.rows[lane] = row;
            places.heads[lane] = head;
            places.at[lane] = row * self.heads.query_width() + head * self.heads.size;
            if lane + 1 < self.lanes {
                member += 1;
                if member == group {
                    (row, member) = (row + 1, 0);
                }
            }
        }
        places
    }

    /// The first key that a lane sees.
    pub(super) fn first_key(&self) -> usize {
        self.heads.first_seen(self.past + self.row(0))
    }

    /// The last key that a lane sees.
    pub(super) fn last_key(&self) -> usize {
        self.past + self.row(self.lanes - 1)
    }

    /// The keys that the lanes of these rows see, counted from key `first`.
    pub(super) fn seen<const W: usize>(&self, rows: &[usize; W], first: usize) -> Seen<W> {
        let mut seen = Seen { from: [0; W], to: [0; W] };
        for (lane, row) in rows.iter().enumerate() {
            let position = self.past + row;
            seen.from[lane] = self.heads.first_seen(position).saturating_sub(first) as u32;
            seen.to[lane] = (position + 1 - first) as u32;
        }
        seen
    }
}

/// Where the lanes of a strip are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places<const W: usize> {
    /// Rows of the sequence.
    pub(super) rows: [usize; W],
    /// Query heads of the model.
    pub(super) heads: [usize; W],
    /// Where their values begin in a matrix (rows, query width).
    pub(super) at: [usize; W],
}

/// The keys that each lane sees; both ends ascend with the lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<const W: usize> {
    /// The first.
    pub(super) from: [u32; W],
    /// The one behind the last.
    pub(super) to: [u32; W],
}

impl<const W: usize> Seen<W> {
    /// Which of `count` keys, the first of which is `first`, all lanes see: an empty range, where there is none, divides
    /// those that some lanes see no longer from those that some do not see yet.
    #[inline(always)]
    pub(super) fn by_all(&self, first: usize, count: usize) -> Range<usize> {
        let start = (self.from[W - 1] as usize).saturating_sub(first).min(count);
        let end = (self.to[0] as usize).saturating_sub(first).min(count);
        start..end.max(start)
    }

    /// All bits, where the lane sees the key.
    #[inline(always)]
    pub(super) fn mask(&self, key: usize) -> [u32; W] {
        let key = key as u32;
        let mut mask = [0; W];
        for ((mask, from), to) in mask.iter_mut().zip(&self.from).zip(&self.to) {
            *mask = if *from <= key && key < *to { u32::MAX } else { 0 };
        }
        mask
    }
}

/// Side of the blocks that are transposed in registers.
const SIDE: usize = 4;

/// The block of `SIDE` columns from `first` of as many rows.
#[inline(always)]
fn transposed(rows: [&[f32]; SIDE], first: usize) -> [[f32; SIDE]; SIDE] {
    let mut block = [[0.0; SIDE]; SIDE];
    for j in 0..SIDE {
        if let Some(row) = rows[j][first..].first_chunk::<SIDE>() {
            for i in 0..SIDE {
                block[i][j] = row[i];
            }
        }
    }
    block
}

/// panel\[i]\[lane] = factor · values\[at\[lane] + i].
#[inline(always)]
pub(super) fn gather<A: Arithmetic, const W: usize>(
    panel: &mut [[f32; W]],
    at: &[usize; W],
    values: &[f32],
    factor: f32,
) {
    #[cfg(target_arch = "x86_64")]
    if A::MANY_REGISTERS && W == 16 {
        let mut rows = [values; 16];
        for (row, at) in rows.iter_mut().zip(at) {
            *row = &values[*at..][..panel.len()];
        }
        return avx512::gather(panel.as_flattened_mut(), rows, factor);
    }
    for lane in (0..W).step_by(SIDE) {
        let mut rows = [values; SIDE];
        for (j, row) in rows.iter_mut().enumerate() {
            *row = &values[at[lane + j]..][..panel.len()];
        }
        let (blocks, rest) = panel.as_chunks_mut::<SIDE>();
        let done = blocks.len() * SIDE;
        for (number, block) in blocks.iter_mut().enumerate() {
            let columns = transposed(rows, number * SIDE);
            for i in 0..SIDE {
                let column = columns[i].map(|value| value * factor);
                block[i][lane..lane + SIDE].copy_from_slice(&column);
            }
        }
        for (i, panel) in rest.iter_mut().enumerate() {
            for j in 0..SIDE {
                panel[lane + j] = rows[j][done + i] * factor;
            }
        }
    }
}

/// rows\[lane · size + i] = sums\[i]\[lane] · factors\[lane], where size is the number of `sums`.
#[inline(always)]
pub(super) fn scatter<A: Arithmetic, const W: usize>(
    rows: &mut [f32],
    sums: &[[f32; W]],
    factors: &[f32; W],
) {
    let size = sums.len();
    #[cfg(target_arch = "x86_64")]
    if A::MANY_REGISTERS && W == 16 {
        return avx512::scatter(rows, sums.as_flattened(), factors);
    }
    let (blocks, rest) = sums.as_chunks::<SIDE>();
    for lane in (0..W).step_by(SIDE) {
        for (number, block) in blocks.iter().enumerate() {
            let mut block_rows: [&[f32]; SIDE] = [&[]; SIDE];
            for i in 0..SIDE {
                block_rows[i] = &block[i][lane..];
            }
            let columns = transposed(block_rows, 0);
            for j in 0..SIDE {
                let mut column = columns[j];
                for value in &mut column {
                    *value *= factors[lane + j];
                }
                rows[(lane + j) * size + number * SIDE..][..SIDE].copy_from_slice(&column);
            }
        }
        for (i, sums) in rest.iter().enumerate() {
            for j in 0..SIDE {
                rows[(lane + j) * size + blocks.len() * SIDE + i] =
                    sums[lane + j] * factors[lane + j];
            }
        }
    }
}

/// Sets the scores of the keys that a lane does not see to negative infinity; `scores` begins at key `first`.
#[inline(always)]
pub(super) fn hide<const W: usize>(scores: &mut [[f32; W]], first: usize, seen: &Seen<W>) {
    let by_all = seen.by_all(first, scores.len());
    for k in (0..by_all.start).chain(by_all.end..scores.len()) {
        let sees = seen.mask(first + k);
        for lane in 0..W {
            scores[k][lane] = if sees[lane] != 0 { scores[k][lane] } else { f32::NEG_INFINITY };
        }
    }
}

thread_local! {
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    static LANES: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

/// Calls `work` with `length` values of this thread, which hold anything and begin at a cache line.
pub(super) fn with_scratch(length: usize, work: impl FnOnce(&mut [f32])) {
    with_buffer(&SCRATCH, length, work);
}

/// As [`with_scratch`], with values and lanes.
pub(super) fn with_lanes(
    (length, lanes): (usize, usize),
    work: impl FnOnce(&mut [f32], &mut [u32]),
) {
    with_buffer(&SCRATCH, length, |values| {
        with_buffer(&LANES, lanes, |lanes| work(values, lanes));
    });
}

fn with_buffer<T: Copy + Default>(
    buffer: &'static LocalKey<Cell<Vec<T>>>,
    length: usize,
    work: impl FnOnce(&mut [T]),
) {
    let mut values = buffer.take();
    if values.len() < length + 16 {
        values.resize(length + 16, T::default());
    }
    let start = values.as_ptr().align_offset(64).min(16);
    work(&mut values[start..start + length]);
    buffer.set(values);
}
