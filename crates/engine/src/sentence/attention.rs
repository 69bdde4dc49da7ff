//! Attention in both directions over ragged sequences: every token sees every token of its own text.

use std::ops::Range;

use super::config::EncoderConfig;
use crate::kernels::KernelPath;
use crate::kernels::simd::{Arithmetic, add_scaled, dispatch, dot, exp, maximum};
use crate::kernels::threads::Threads;
use crate::ops::shared::Shared;

/// Queries, keys and values of a batch, each (tokens, hidden).
#[derive(Clone, Copy)]
pub(super) struct Projected<'a> {
    pub(super) query: &'a [f32],
    pub(super) key: &'a [f32],
    pub(super) value: &'a [f32],
}

/// `out` (tokens, hidden): for each head softmax(q·k / √size) v. One task is one head of one text.
pub(super) fn attend(
    (path, threads): (KernelPath, &Threads),
    config: &EncoderConfig,
    texts: &[Range<usize>],
    projected: Projected<'_>,
    out: &mut [f32],
) {
    let (hidden, size) = (config.hidden_size, config.head_size());
    let out = Shared::new(out);
    threads.for_each(texts.len() * config.heads, |task| {
        let (rows, head) = (&texts[task / config.heads], task % config.heads);
        let place = |row: usize| row * hidden + head * size;
        let of = |values: &'_ [f32]| -> Vec<f32> {
            rows.clone().flat_map(|row| values[place(row)..][..size].to_vec()).collect()
        };
        let (keys, values) = (of(projected.key), of(projected.value));
        let mut scores = vec![0.0; rows.len()];
        for row in rows.clone() {
            let query = &projected.query[place(row)..][..size];
            attend_row(path, query, &keys, &values, &mut scores, out.part(place(row), size));
        }
    });
}

dispatch!(fn attend_row = attend_row_body(
    query: &[f32], keys: &[f32], values: &[f32], scores: &mut [f32], out: &mut [f32]
));

#[inline(always)]
fn attend_row_body<A: Arithmetic>(
    query: &[f32],
    keys: &[f32],
    values: &[f32],
    scores: &mut [f32],
    out: &mut [f32],
) {
    let size = query.len();
    let scale = 1.0 / (size as f32).sqrt();
    for (score, key) in scores.iter_mut().zip(keys.chunks_exact(size)) {
        *score = dot::<A>(query, key) * scale;
    }
    let greatest = maximum(scores);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = exp::<A>(*score - greatest);
        sum += *score;
    }
    out.fill(0.0);
    for (score, value) in scores.iter().zip(values.chunks_exact(size)) {
        add_scaled::<A>(out, score / sum, value);
    }
}
