//! Layer norm, fused with the residual addition before it: y = (x − mean) / √(variance + ε) · w + b (Ba et al. 2016).

use crate::kernels::KernelPath;
use crate::kernels::simd::{Arithmetic, LANES, dispatch, fold, sum_of_squares};
use crate::kernels::threads::Threads;

/// Rows of one task.
const ROWS: usize = 16;

/// Scale and shift of a norm, and what keeps its variance from zero.
#[derive(Debug)]
pub(super) struct LayerNorm {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) epsilon: f32,
}

impl LayerNorm {
    /// `stream` (tokens, hidden) = norm of `stream` + `delta`; no delta is one of no values.
    pub(super) fn add_and_norm(
        &self,
        (path, threads): (KernelPath, &Threads),
        stream: &mut [f32],
        delta: &[f32],
    ) {
        let hidden = self.weight.len();
        threads.for_rows(stream, hidden, ROWS, |rows, stream| {
            for (row, stream) in rows.zip(stream.chunks_exact_mut(hidden)) {
                let delta = delta.get(row * hidden..(row + 1) * hidden).unwrap_or_default();
                norm_row(path, stream, delta, &self.weight, &self.bias, self.epsilon);
            }
        });
    }
}

dispatch!(fn norm_row = norm_row_body(
    stream: &mut [f32], delta: &[f32], weight: &[f32], bias: &[f32], epsilon: f32
));

#[inline(always)]
fn norm_row_body<A: Arithmetic>(
    stream: &mut [f32],
    delta: &[f32],
    weight: &[f32],
    bias: &[f32],
    epsilon: f32,
) {
    for (value, delta) in stream.iter_mut().zip(delta) {
        *value += delta;
    }
    let mean = sum(stream) / stream.len() as f32;
    for value in stream.iter_mut() {
        *value -= mean;
    }
    let variance = sum_of_squares::<A>(stream) / stream.len() as f32;
    let inverse = 1.0 / (variance + epsilon).sqrt();
    for ((value, weight), bias) in stream.iter_mut().zip(weight).zip(bias) {
        *value = A::multiply_add(*value * inverse, *weight, *bias);
    }
}

#[inline(always)]
fn sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            lanes[lane] += block[lane];
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += value;
    }
    fold(lanes)
}
