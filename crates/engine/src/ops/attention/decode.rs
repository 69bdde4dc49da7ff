//! Attention of single rows over a cache, which is what writing a token takes: the strips of `strip.rs` would be almost empty.
//!
//! A row's heads that share a key-value head are one task. A score is a dot product of sixteen chains; the exponentials are
//! added in sixteen chains and each output in one, over the keys in ascending order; so a row's bits depend on nothing but
//! the row and the keys that it sees.

use super::strip::with_scratch;
use super::tile::exp_of_difference;
use super::{Attended, Heads};
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
        let first = seen.start * heads.key_value_width() + shared_head * heads.size;
        let at = row * heads.query_width() + shared_head * width;
        let scores = heads.group() * seen.len().next_multiple_of(LANES);
        with_scratch(scores, |scores| {
            let row = Row {
                size: heads.size,
                scale: heads.scale(),
                stride: heads.key_value_width(),
                keys: &sequence.keys[first..],
                values: &sequence.values[first..],
                count: seen.len(),
            };
            attend(path, &row, &query[at..at + width], scores, out.part(at, width));
        });
    });
}

/// What one row sees of one key-value head.
struct Row<'a> {
    size: usize,
    scale: f32,
    stride: usize,
    keys: &'a [f32],
    values: &'a [f32],
    count: usize,
}

dispatch!(fn attend = attend_body(row: &Row<'_>, query: &[f32], scores: &mut [f32], out: &mut [f32]));

/// `query` and `out` (group, size), `scores` (group, keys up to whole vectors).
#[inline(always)]
fn attend_body<A: Arithmetic>(row: &Row<'_>, query: &[f32], scores: &mut [f32], out: &mut [f32]) {
    let (size, width) = (row.size, row.count.next_multiple_of(LANES));
    for k in 0..row.count {
        // The weights have pushed the cache out to memory: what is read next is asked for here.
        for at in (0..size).step_by(LANES) {
            prefetch(row.keys, (k + KEYS_AHEAD) * row.stride + at);
            prefetch(row.values, k * row.stride + at);
        }
        let key = &row.keys[k * row.stride..][..size];
        for (query, scores) in query.chunks_exact(size).zip(scores.chunks_exact_mut(width)) {
            scores[k] = dot::<A>(query, key) * row.scale;
        }
    }
    for (scores, out) in scores.chunks_exact_mut(width).zip(out.chunks_exact_mut(size)) {
        scores[row.count..].fill(f32::NEG_INFINITY);
        let greatest = [maximum(scores); LANES];
        let mut lanes = [0.0; LANES];
        for scores in scores.as_chunks_mut::<LANES>().0 {
            exp_of_difference::<A, LANES>(scores, &greatest);
            for (lane, score) in lanes.iter_mut().zip(scores) {
                *lane += *score;
            }
        }
        weighted_sum::<A>(row, &scores[..row.count], out);
        let factor = 1.0 / fold(lanes);
        for out in out {
            *out *= factor;
        }
    }
}

/// out = Σₖ weights\[k] · values\[k].
#[inline(always)]
fn weighted_sum<A: Arithmetic>(row: &Row<'_>, weights: &[f32], out: &mut [f32]) {
    let (blocks, rest) = out.as_chunks_mut::<{ VECTORS * LANES }>();
    let done = blocks.len() * VECTORS * LANES;
    for (number, block) in blocks.iter_mut().enumerate() {
        let values = &row.values[number * VECTORS * LANES..];
        let mut sums = [0.0; VECTORS * LANES];
        for (k, weight) in weights.iter().enumerate() {
            add_scaled::<A>(&mut sums, *weight, &values[k * row.stride..][..VECTORS * LANES]);
        }
        *block = sums;
    }
    rest.fill(0.0);
    for (k, weight) in weights.iter().enumerate() {
        add_scaled::<A>(rest, *weight, &row.values[k * row.stride + done..][..rest.len()]);
    }
}
