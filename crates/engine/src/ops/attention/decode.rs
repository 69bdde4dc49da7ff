//! Attention of single rows over a cache, which is what writing a token takes: the strips of `strip.rs` would be almost empty.
//!
//! What the heads that share a key-value head see of [`CHUNK_KEYS`] keys is one task, so that a long text keeps all threads at
//! work; the chunks' sums are joined as Dao et al. 2023 do (Flash-Decoding). A score is a dot product of sixteen chains; the
//! exponentials of a chunk are added in sixteen chains and each output in one, over the keys in ascending order; then the chunks
//! are added in ascending order; so a row's bits depend on nothing but the row and the keys that it sees.

use std::array::from_fn;
use std::ops::Range;

use super::strip::with_scratch;
use super::tile::exp_of_difference;
use super::{Attended, Heads, KeyRows};
use crate::kernels::KernelPath;
use crate::kernels::simd::{
    Arithmetic, FOUR, LANES, add_scaled, dispatch, dot_four, exp, fold, maximum, prefetch,
};
use crate::kernels::threads::Threads;
use crate::ops::shared::Shared;

/// Keys of a task, counted from the first that a row sees.
const CHUNK_KEYS: usize = 128;
/// How many keys are on their way while one is multiplied.
const KEYS_AHEAD: usize = 12;
/// Vectors of a head's output that are summed at once.
const VECTORS: usize = 4;
/// What follows the sums of a head in a part: the greatest score, and the sum of the exponentials.
const SCALARS: usize = 2;

/// One row and the heads that share a key-value head.
struct RowHead<'a> {
    sequence: &'a Attended<'a>,
    row: usize,
    shared_head: usize,
    seen: Range<usize>,
    /// Its chunks' tasks.
    tasks: Range<usize>,
}

/// `out` (tokens, query width).
pub fn decode(
    (path, threads): (KernelPath, &Threads),
    heads: Heads,
    query: &[f32],
    sequences: &[Attended<'_>],
    out: &mut [f32],
) {
    let (row_heads, tasks) = row_heads(heads, sequences);
    let width = heads.group() * heads.size;
    let part = heads.group() * (heads.size + SCALARS);
    let mut parts = vec![0.0; tasks.len() * part];
    let all_parts = Shared::new(&mut parts);
    threads.for_each(tasks.len(), |task| {
        let of = &row_heads[tasks[task]];
        let start = of.seen.start + (task - of.tasks.start) * CHUNK_KEYS;
        let seen = start..(start + CHUNK_KEYS).min(of.seen.end);
        let scores = heads.group() * seen.len().next_multiple_of(LANES);
        let Attended { keys, values, .. } = of.sequence;
        let chunk = Chunk { heads, shared_head: of.shared_head, seen, keys, values };
        let query = &query[of.row * heads.query_width() + of.shared_head * width..][..width];
        with_scratch(scores, |scores| {
            attend(path, &chunk, query, scores, all_parts.part(task * part, part));
        });
    });
    for RowHead { row, shared_head, tasks, .. } in row_heads {
        let out = &mut out[row * heads.query_width() + shared_head * width..][..width];
        join(path, heads.size, &mut parts[tasks.start * part..tasks.end * part], out);
    }
}

/// All rows with their heads, and for each task, which of them it belongs to.
fn row_heads<'a>(heads: Heads, sequences: &'a [Attended<'a>]) -> (Vec<RowHead<'a>>, Vec<usize>) {
    let (mut row_heads, mut tasks) = (Vec::new(), Vec::new());
    for sequence in sequences {
        for row in sequence.rows.clone() {
            let position = sequence.past + row - sequence.rows.start;
            let seen = heads.first_seen(position)..position + 1;
            for shared_head in 0..heads.key_value {
                let first = tasks.len();
                tasks.extend((0..seen.len().div_ceil(CHUNK_KEYS)).map(|_| row_heads.len()));
                let (seen, tasks) = (seen.clone(), first..tasks.len());
                row_heads.push(RowHead { sequence, row, shared_head, seen, tasks });
            }
        }
    }
    (row_heads, tasks)
}

dispatch!(fn join = join_body(size: usize, parts: &mut [f32], out: &mut [f32]));

/// `out` (group, size) of the `parts` of all chunks, (group, size + scalars) each.
#[inline(always)]
fn join_body<A: Arithmetic>(size: usize, parts: &mut [f32], out: &mut [f32]) {
    let step = size + SCALARS;
    let chunk = out.len() / size * step;
    for (head, out) in out.chunks_exact_mut(size).enumerate() {
        let greatest = parts.chunks_exact(chunk).fold(f32::NEG_INFINITY, |greatest, part| {
            let own = part[head * step + size];
            if own > greatest { own } else { greatest }
        });
        let mut total = 0.0;
        out.fill(0.0);
        for part in parts.chunks_exact(chunk) {
            let (sums, scalars) = part[head * step..][..step].split_at(size);
            let factor = exp::<A>(scalars[0] - greatest);
            total = A::multiply_add(factor, scalars[1], total);
            add_scaled::<A>(out, factor, sums);
        }
        let factor = 1.0 / total;
        for out in out {
            *out *= factor;
        }
    }
}

/// What one row sees of one key-value head, or a part of it.
struct Chunk<'a> {
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

impl Chunk<'_> {
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

dispatch!(fn attend = attend_body(
    chunk: &Chunk<'_>, query: &[f32], scores: &mut [f32], part: &mut [f32]
));

/// `query` (group, size), `scores` (group, keys up to whole vectors), `part` (group, size + scalars).
#[inline(always)]
fn attend_body<A: Arithmetic>(
    chunk: &Chunk<'_>,
    query: &[f32],
    scores: &mut [f32],
    part: &mut [f32],
) {
    let (size, scale, count) = (chunk.heads.size, chunk.heads.scale(), chunk.seen.len());
    let width = count.next_multiple_of(LANES);
    let mut first = 0;
    for (keys, values) in chunk.stretches(chunk.keys).zip(chunk.stretches(chunk.values)) {
        for k in (0..keys.count).step_by(FOUR) {
            let last = keys.count - 1;
            // The weights have pushed the cache out to memory: what is read next is asked for here.
            for k in k..=last.min(k + FOUR - 1) {
                keys.prefetch(k + KEYS_AHEAD, size);
                values.prefetch(k, size);
            }
            // Fewer may be left: then the last is taken again.
            let four = from_fn(|at| keys.row(last.min(k + at), size));
            for (query, scores) in query.chunks_exact(size).zip(scores.chunks_exact_mut(width)) {
                let found = dot_four::<A, _, _>(query, four, |_| {});
                for (score, found) in scores[first + k..=first + last].iter_mut().zip(found) {
                    *score = found * scale;
                }
            }
        }
        first += keys.count;
    }
    for (scores, part) in scores.chunks_exact_mut(width).zip(part.chunks_exact_mut(size + SCALARS))
    {
        let (sums, scalars) = part.split_at_mut(size);
        scores[count..].fill(f32::NEG_INFINITY);
        let greatest = maximum(scores);
        let mut lanes = [0.0; LANES];
        for scores in scores.as_chunks_mut::<LANES>().0 {
            exp_of_difference::<A, LANES>(scores, &[greatest; LANES]);
            for (lane, score) in lanes.iter_mut().zip(scores) {
                *lane += *score;
            }
        }
        weighted_sum::<A>(chunk, &scores[..count], sums);
        scalars.copy_from_slice(&[greatest, fold(lanes)]);
    }
}

/// out = Σₖ weights\[k] · values\[k].
#[inline(always)]
fn weighted_sum<A: Arithmetic>(chunk: &Chunk<'_>, weights: &[f32], out: &mut [f32]) {
    let size = out.len();
    let (blocks, rest) = out.as_chunks_mut::<{ VECTORS * LANES }>();
    let done = blocks.len() * VECTORS * LANES;
    for (number, block) in blocks.iter_mut().enumerate() {
        let mut sums = [0.0; VECTORS * LANES];
        let mut weights = weights.iter();
        for values in chunk.stretches(chunk.values) {
            for (k, weight) in (0..values.count).zip(&mut weights) {
                let value = &values.row(k, size)[number * VECTORS * LANES..][..VECTORS * LANES];
                add_scaled::<A>(&mut sums, *weight, value);
            }
        }
        *block = sums;
    }
    rest.fill(0.0);
    let mut weights = weights.iter();
    for values in chunk.stretches(chunk.values) {
        for (k, weight) in (0..values.count).zip(&mut weights) {
            add_scaled::<A>(rest, *weight, &values.row(k, size)[done..]);
        }
    }
}
