//! Dropout of an adapter's input, by numbers that are drawn again in the backward instead of being kept.

use std::ops::Range;

use bioinstruct_core::random::Stream;

use crate::kernels::KernelPath;
use crate::kernels::simd::{Arithmetic, dispatch};

/// Values that sixteen draws of four words decide on.
const CHUNK: usize = 64;

/// Dropout of an adapter's input; each sequence has a stream of its own.
#[derive(Debug, Clone, Copy)]
pub struct Dropout<'a> {
    /// Share of values set to zero.
    pub probability: f32,
    /// Rows of the batch and the stream of each sequence, for this layer and projection.
    pub sequences: &'a [(Range<usize>, Stream)],
}

impl Dropout<'_> {
    /// Multiplies a row by its mask: zero with the given probability, 1 / (1 − p) otherwise. Rows of no sequence stay.
    ///
    /// The draw of a value is named by its sequence's stream, its token in the sequence and its place in the token: batch,
    /// threads and padding have no part in it.
    pub(super) fn mask(&self, path: KernelPath, row: usize, values: &mut [f32]) {
        let threshold = (f64::from(self.probability) * 4_294_967_296.0) as u32;
        let keep = 1.0 / (1.0 - self.probability);
        let mut sequences = self.sequences.iter();
        if let Some((sequence, stream)) = sequences.find(|(rows, _)| rows.contains(&row)) {
            let draws = (values.len().div_ceil(CHUNK) * 16) as u64;
            let token = (row - sequence.start) as u64;
            mask_row(path, *stream, token * draws, threshold, keep, values);
        }
    }
}

dispatch!(fn mask_row = mask_row_body(
    stream: Stream, first: u64, threshold: u32, keep: f32, values: &mut [f32]
));

#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch!` names one")]
#[inline(always)]
fn mask_row_body<A: Arithmetic>(
    stream: Stream,
    first: u64,
    threshold: u32,
    keep: f32,
    values: &mut [f32],
) {
    let mask = |values: &mut [f32], words: &[u32; 16]| {
        for (value, word) in values.iter_mut().zip(words) {
            *value = if *word < threshold { 0.0 } else { *value * keep };
        }
    };
    for (chunk, values) in values.chunks_mut(CHUNK).enumerate() {
        let words = stream.sixteen(first + 16 * chunk as u64);
        for (values, words) in values.chunks_mut(16).zip(&words) {
            mask(values, words);
        }
    }
}
