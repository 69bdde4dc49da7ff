//! Causal attention of ragged sequences with grouped key-value heads; the softmax's log-sum-exp is kept for the backward.
//!
//! Each query row walks over its own keys in order, so a row's bits depend neither on how the rows are split among tasks
//! nor on whether earlier keys come from this batch or from a cache.

use std::ops::Range;

use super::shared::Shared;
use crate::kernels::KernelPath;
use crate::kernels::simd::{Arithmetic, LANES, add_scaled, dispatch, dot, exp, fold, maximum};
use crate::kernels::threads::Threads;

/// Query rows of one task.
const ROWS: usize = 64;

/// Numbers and size of the heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads; divides `query`.
    pub key_value: usize,
    /// Values of one head.
    pub size: usize,
}

impl Heads {
    /// Values of a token's queries.
    pub fn query_width(self) -> usize {
        self.query * self.size
    }

    /// Values of a token's keys.
    pub fn key_value_width(self) -> usize {
        self.key_value * self.size
    }

    fn scale(self) -> f32 {
        1.0 / (self.size as f32).sqrt()
    }

    fn group(self) -> usize {
        self.query / self.key_value
    }
}

/// One sequence's queries in the batch and all keys it may see.
#[derive(Debug, Clone)]
pub struct Attended<'a> {
    /// Its rows of the batch.
    pub rows: Range<usize>,
    /// Tokens before the first of them.
    pub past: usize,
    /// (past + rows, key-value width).
    pub keys: &'a [f32],
    /// (past + rows, key-value width).
    pub values: &'a [f32],
}

/// `out` (tokens, query width); `log_sum_exp` (tokens, query heads).
pub fn forward(
    (path, threads): (KernelPath, &Threads),
    heads: Heads,
    query: &[f32],
    sequences: &[Attended<'_>],
    out: &mut [f32],
    log_sum_exp: &mut [f32],
) {
    let tasks: Vec<(&Attended<'_>, Range<usize>, usize)> = sequences
        .iter()
        .flat_map(|sequence| {
            let blocks = sequence.rows.clone().step_by(ROWS);
            blocks.flat_map(move |first| {
                let rows = first..(first + ROWS).min(sequence.rows.end);
                (0..heads.query).map(move |head| (sequence, rows.clone(), head))
            })
        })
        .collect();
    let (out, log_sum_exp) = (Shared::new(out), Shared::new(log_sum_exp));
    let (width, size) = (heads.query_width(), heads.size);
    threads.for_each(tasks.len(), |task| {
        let (sequence, rows, head) = &tasks[task];
        let mut scores = vec![0.0; sequence.past + rows.end - sequence.rows.start];
        let offset = head / heads.group() * size;
        for row in rows.clone() {
            let count = sequence.past + row - sequence.rows.start + 1;
            let at = row * width + head * size;
            let sum = forward_row(
                path,
                &query[at..at + size],
                &sequence.keys[offset..],
                &sequence.values[offset..],
                heads.key_value_width(),
                heads.scale(),
                &mut scores[..count],
                out.part(at, size),
            );
            log_sum_exp.part(row * heads.query + head, 1)[0] = sum;
        }
    });
}

dispatch!(fn forward_row = forward_row_body(
    query: &[f32], keys: &[f32], values: &[f32], stride: usize, scale: f32, scores: &mut [f32], out: &mut [f32]
) -> f32);

#[inline(always)]
fn forward_row_body<A: Arithmetic>(
    query: &[f32],
    keys: &[f32],
    values: &[f32],
    stride: usize,
    scale: f32,
    scores: &mut [f32],
    out: &mut [f32],
) -> f32 {
    let size = query.len();
    for (at, score) in scores.iter_mut().enumerate() {
        *score = dot::<A>(query, &keys[at * stride..][..size]) * scale;
    }
    let greatest = maximum(scores);
    let mut lanes = [0.0f32; LANES];
    for block in scores.chunks_mut(LANES) {
        for (score, lane) in block.iter_mut().zip(&mut lanes) {
            *score = exp::<A>(*score - greatest);
            *lane += *score;
        }
    }
    let total = fold(lanes);
    out.fill(0.0);
    for (at, &weight) in scores.iter().enumerate() {
        add_scaled::<A>(out, weight, &values[at * stride..][..size]);
    }
    let inverse = 1.0 / total;
    for value in out.iter_mut() {
        *value *= inverse;
    }
    greatest + total.ln()
}

/// What the forward kept.
#[derive(Debug, Clone, Copy)]
pub struct Kept<'a> {
    /// (tokens, query width), after the rotation.
    pub query: &'a [f32],
    /// (tokens, key-value width), after the rotation.
    pub key: &'a [f32],
    /// (tokens, key-value width).
    pub value: &'a [f32],
    /// (tokens, query width).
    pub out: &'a [f32],
    /// (tokens, query heads).
    pub log_sum_exp: &'a [f32],
}

/// The gradients, shaped as what they belong to.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// (tokens, query width).
    pub query: &'a mut [f32],
    /// (tokens, key-value width).
    pub key: &'a mut [f32],
    /// (tokens, key-value width).
    pub value: &'a mut [f32],
}

/// Replaces the gradients of queries, keys and values; sequences are given by their rows.
///
/// With P = softmax(S): dV = Pᵀ dO, dS = P ∘ (dO Vᵀ − rowsum(dO ∘ O)), dQ = dS K · scale, dK = dSᵀ Q · scale.
pub fn backward(
    (path, threads): (KernelPath, &Threads),
    heads: Heads,
    kept: Kept<'_>,
    sequences: &[Range<usize>],
    d_out: &[f32],
    gradients: Gradients<'_>,
) {
    gradients.query.fill(0.0);
    gradients.key.fill(0.0);
    gradients.value.fill(0.0);
    let d_query = Shared::new(gradients.query);
    let (d_key, d_value) = (Shared::new(gradients.key), Shared::new(gradients.value));
    let (width, narrow, size) = (heads.query_width(), heads.key_value_width(), heads.size);
    threads.for_each(sequences.len() * heads.key_value, |task| {
        let rows = sequences[task / heads.key_value].clone();
        let shared_head = task % heads.key_value;
        let key_at = |row: usize| row * narrow + shared_head * size;
        // Key-value gradients of this head, gathered so that they lie close together.
        let mut local = vec![0.0; 2 * rows.len() * size];
        let (local_key, local_value) = local.split_at_mut(rows.len() * size);
        for head in shared_head * heads.group()..(shared_head + 1) * heads.group() {
            for row in rows.clone() {
                let at = row * width + head * size;
                backward_row(
                    path,
                    (&kept.query[at..at + size], &kept.out[at..at + size], &d_out[at..at + size]),
                    kept.log_sum_exp[row * heads.query + head],
                    (&kept.key[key_at(rows.start)..], &kept.value[key_at(rows.start)..], narrow),
                    row - rows.start + 1,
                    heads.scale(),
                    d_query.part(at, size),
                    (local_key, local_value),
                );
            }
        }
        for (row, (key, value)) in
            rows.zip(local_key.chunks_exact(size).zip(local_value.chunks_exact(size)))
        {
            d_key.part(key_at(row), size).copy_from_slice(key);
            d_value.part(key_at(row), size).copy_from_slice(value);
        }
    });
}

dispatch!(fn backward_row = backward_row_body(
    row: (&[f32], &[f32], &[f32]), log_sum_exp: f32, key_values: (&[f32], &[f32], usize), count: usize, scale: f32,
    d_query: &mut [f32], d_key_values: (&mut [f32], &mut [f32])
));

#[inline(always)]
fn backward_row_body<A: Arithmetic>(
    (query, out, d_out): (&[f32], &[f32], &[f32]),
    log_sum_exp: f32,
    (keys, values, stride): (&[f32], &[f32], usize),
    count: usize,
    scale: f32,
    d_query: &mut [f32],
    (d_keys, d_values): (&mut [f32], &mut [f32]),
) {
    let size = query.len();
    let shift = dot::<A>(d_out, out);
    for at in 0..count {
        let (key, value) = (&keys[at * stride..][..size], &values[at * stride..][..size]);
        let weight = exp::<A>(A::multiply_add(dot::<A>(query, key), scale, -log_sum_exp));
        let d_score = weight * (dot::<A>(d_out, value) - shift) * scale;
        add_scaled::<A>(d_query, d_score, key);
        add_scaled::<A>(&mut d_keys[at * size..][..size], d_score, query);
        add_scaled::<A>(&mut d_values[at * size..][..size], weight, d_out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::finite_difference::{check, random, weighted};

    const HEADS: Heads = Heads { query: 4, key_value: 2, size: 8 };
    const SEQUENCES: [Range<usize>; 2] = [0..3, 3..8];

    fn run(path: KernelPath, query: &[f32], key: &[f32], value: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let threads = Threads::new(2).unwrap();
        let width = HEADS.key_value_width();
        let sequences: Vec<Attended<'_>> = SEQUENCES
            .iter()
            .map(|rows| Attended {
                rows: rows.clone(),
                past: 0,
                keys: &key[rows.start * width..rows.end * width],
                values: &value[rows.start * width..rows.end * width],
            })
            .collect();
        let mut out = vec![0.0; query.len()];
        let mut kept = vec![0.0; 8 * HEADS.query];
        forward((path, &threads), HEADS, query, &sequences, &mut out, &mut kept);
        (out, kept)
    }

    #[test]
    fn backward_is_the_slope_of_forward() {
        let threads = Threads::new(2).unwrap();
        let query = random(8 * HEADS.query_width(), "query");
        let key = random(8 * HEADS.key_value_width(), "key");
        let value = random(8 * HEADS.key_value_width(), "value");
        let d_out = random(query.len(), "d_out");
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            let (out, log_sum_exp) = run(path, &query, &key, &value);
            let (mut d_query, mut d_key, mut d_value) =
                (vec![0.0; query.len()], vec![0.0; key.len()], vec![0.0; value.len()]);
            backward(
                (path, &threads),
                HEADS,
                Kept {
                    query: &query,
                    key: &key,
                    value: &value,
                    out: &out,
                    log_sum_exp: &log_sum_exp,
                },
                &SEQUENCES,
                &d_out,
                Gradients { query: &mut d_query, key: &mut d_key, value: &mut d_value },
            );
            check("query", &query, &d_query, |query| {
                weighted(&d_out, &run(path, query, &key, &value).0)
            });
            check("key", &key, &d_key, |key| weighted(&d_out, &run(path, &query, key, &value).0));
            check("value", &value, &d_value, |value| {
                weighted(&d_out, &run(path, &query, &key, value).0)
            });
        }
    }

    #[test]
    fn later_tokens_and_other_sequences_are_never_seen() {
        let query = random(8 * HEADS.query_width(), "query");
        let mut key = random(8 * HEADS.key_value_width(), "key");
        let value = random(8 * HEADS.key_value_width(), "value");
        let path = KernelPath::Portable;
        let before = run(path, &query, &key, &value).0;
        let width = HEADS.key_value_width();
        key[4 * width..5 * width].fill(3.0); // the second token of the second sequence
        let after = run(path, &query, &key, &value).0;
        let wide = HEADS.query_width();
        assert_eq!(before[..4 * wide], after[..4 * wide]);
        assert_ne!(before[4 * wide..5 * wide], after[4 * wide..5 * wide]);
    }
}
