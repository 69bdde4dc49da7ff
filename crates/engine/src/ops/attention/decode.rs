//! Attention of single rows over a cache, which is what writing a token takes: the strips of `strip.rs` would be almost empty.
//!
//! A row's heads that share a key-value head are one task. A score is a dot product of sixteen chains; the exponentials are
//! added in sixteen chains and each output in one, over the keys in ascending order; so a row's bits depend on nothing but
//! the row and the keys that it sees.

use super::strip::with_scratch;
use super::tile::exp_of_difference;
use super::{Attended, Heads, KeyRows};
use std::ops::Range;

use crate::kernels::KernelPath;
use crate::kernels::simd::{Arithmetic, LANES, add_scaled, dispatch, dot, fold, maximum, prefetch};
use crate::kernels::threads::Threads;
use crate::ops::shared::Shared;

/// How many keys are on their way while one is multiplied.
const KEYS_AHEAD: usize = 12;
/// Vectors of a head's output that are summed at once.
const VECTORS: usize = 4;

/// `out` (tokens, query width).
pub fn decode(
    (path, threads): (KernelPath, &Threads),
    heads: Heads,
    query: &[f32],
    sequences: &[Attended<'_>],
    out: &mut [f32],
) {
    let rows = sequences.iter().flat_map(|sequence| {
        sequence
            .rows
            .clone()
            .map(move |row| (sequence, row, sequence.past + row - sequence.rows.start))
    });
    let tasks: Vec<(&Attended<'_>, usize, usize, usize)> = rows
        .flat_map(|(sequence, row, position)| {
            (0..heads.key_value).map(move |shared_head| (sequence, row, position, shared_head))
        })
        .collect();
    let (out, width) = (Shared::new(out), heads.group() * heads.size);
    threads.for_each(tasks.len(), |task| {
        let (sequence, row, position, shared_head) = tasks[task];
        let seen = heads.first_seen(position)..position + 1;
        let at = row * heads.query_width() + shared_head * width;
        let scores = heads.group() * seen.len().next_multiple_of(LANES);
        let row = Row { heads, shared_head, seen, keys: &sequence.keys, values: &sequence.values };
        with_scratch(scores, |scores| {
            attend(path, &row, &query[at..at + width], scores, out.part(at, width));
        });
    });
}

/// What one row sees of one key-value head.
struct Row<'a> {
    heads: Heads,
    shared_head: usize,
    /// The tokens.
    seen: Range<usize>,
    keys: &'a KeyRows<'a>,
    values: &'a KeyRows<'a>,
}

/// Keys or values that lie evenly, `stride` apart.
struct Stretch<'a> {
    rows: &'a [f32],
    stride: usize,
    count: usize,
}

impl Stretch<'_> {
    #[inline(always)]
    fn row(&self, number: usize, size: usize) -> &[f32] {
        &self.rows[number * self.stride..][..size]
    }

    /// Asks for a row that need not exist.
    #[inline(always)]
    fn prefetch(&self, number: usize, size: usize) {
        for at in (0..size).step_by(LANES) {
            prefetch(self.rows, number * self.stride + at);
        }
    }
}

impl Row<'_> {
    /// The rows that are seen, stretch by stretch.
    fn stretches<'a>(&self, rows: &'a KeyRows<'a>) -> impl Iterator<Item = Stretch<'a>> {
        let (heads, head, mut rest) = (self.heads, self.shared_head, self.seen.clone());
        std::iter::from_fn(move || {
            let (rows, stride) =
                (!rest.is_empty()).then(|| rows.of_head(heads, head, rest.start))?;
            let count = rest.len().min(rows.len().div_ceil(stride));
            rest.start += count;
            Some(Stretch { rows, stride, count })
        })
    }
}

dispatch!(fn attend = attend_body(row: &Row<'_>, query: &[f32], scores: &mut [f32], out: &mut [f32]));

/// `query` and `out` (group, size), `scores` (group, keys up to whole vectors).
#[inline(always)]
fn attend_body<A: Arithmetic>(row: &Row<'_>, query: &[f32], scores: &mut [f32], out: &mut [f32]) {
    let (size, scale, count) = (row.heads.size, row.heads.scale(), row.seen.len());
    let width = count.next_multiple_of(LANES);
    let mut first = 0;
    for (keys, values) in row.stretches(row.keys).zip(row.stretches(row.values)) {
        for k in 0..keys.count {
            // The weights have pushed the cache out to memory: what is read next is asked for here.
            keys.prefetch(k + KEYS_AHEAD, size);
            values.prefetch(k, size);
            let key = keys.row(k, size);
            for (query, scores) in query.chunks_exact(size).zip(scores.chunks_exact_mut(width)) {
                scores[first + k] = dot::<A>(query, key) * scale;
            }
        }
        first += keys.count;
    }
    for (scores, out) in scores.chunks_exact_mut(width).zip(out.chunks_exact_mut(size)) {
        scores[count..].fill(f32::NEG_INFINITY);
        let greatest = [maximum(scores); LANES];
        let mut lanes = [0.0; LANES];
        for scores in scores.as_chunks_mut::<LANES>().0 {
            exp_of_difference::<A, LANES>(scores, &greatest);
            for (lane, score) in lanes.iter_mut().zip(scores) {
                *lane += *score;
            }
        }
        weighted_sum::<A>(row, &scores[..count], out);
        let factor = 1.0 / fold(lanes);
        for out in out {
            *out *= factor;
        }
    }
}

/// out = Σₖ weights\[k] · values\[k].
#[inline(always)]
fn weighted_sum<A: Arithmetic>(row: &Row<'_>, weights: &[f32], out: &mut [f32]) {
    let size = out.len();
    let (blocks, rest) = out.as_chunks_mut::<{ VECTORS * LANES }>();
    let done = blocks.len() * VECTORS * LANES;
    for (number, block) in blocks.iter_mut().enumerate() {
        let mut sums = [0.0; VECTORS * LANES];
        let mut weights = weights.iter();
        for values in row.stretches(row.values) {
            for (k, weight) in (0..values.count).zip(&mut weights) {
                let value = &values.row(k, size)[number * VECTORS * LANES..][..VECTORS * LANES];
                add_scaled::<A>(&mut sums, *weight, value);
            }
        }
        *block = sums;
    }
    rest.fill(0.0);
    let mut weights = weights.iter();
    for values in row.stretches(row.values) {
        for (k, weight) in (0..values.count).zip(&mut weights) {
            add_scaled::<A>(rest, *weight, &values.row(k, size)[done..]);
        }
    }
}
