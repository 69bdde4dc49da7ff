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
    /// Writes a row multiplied by its mask: zero with the given probability, 1 / (1 − p) otherwise. Rows of no sequence stay as
    /// they are.
    ///
    /// The draw of a value is named by its sequence's stream, its token in the sequence and its place in the token: batch,
    /// threads and padding have no part in it.
    pub(super) fn mask(&self, path: KernelPath, row: usize, values: &[f32], out: &mut [f32]) {
        match self.row_mask(row, values.len()) {
            Some(mask) => mask_row(path, mask, values, out),
            None => out.copy_from_slice(values),
        }
    }

    /// Adds a row that is masked as [`Dropout::mask`] does to `sums`.
    pub(super) fn add_masked(
        &self,
        path: KernelPath,
        row: usize,
        values: &[f32],
        sums: &mut [f32],
    ) {
        match self.row_mask(row, values.len()) {
            Some(mask) => add_masked_row(path, mask, values, sums),
            None => sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value),
        }
    }

    fn row_mask(&self, row: usize, width: usize) -> Option<RowMask> {
        let mut sequences = self.sequences.iter();
        let (sequence, stream) = sequences.find(|(rows, _)| rows.contains(&row))?;
        let draws = (width.div_ceil(CHUNK) * 16) as u64;
        Some(RowMask {
            stream: *stream,
            first: (row - sequence.start) as u64 * draws,
            threshold: (f64::from(self.probability) * 4_294_967_296.0) as u32,
            keep: 1.0 / (1.0 - self.probability),
        })
    }
}

/// The draws of one row, below which a value is dropped, and what the others are multiplied by.
#[derive(Clone, Copy)]
struct RowMask {
    stream: Stream,
    first: u64,
    threshold: u32,
    keep: f32,
}

impl RowMask {
    #[inline(always)]
    fn apply(&self, value: f32, word: u32) -> f32 {
        if word < self.threshold { 0.0 } else { value * self.keep }
    }

    #[inline(always)]
    fn words(&self, chunk: usize) -> [[u32; 16]; 4] {
        self.stream.sixteen(self.first + 16 * chunk as u64)
    }
}

dispatch!(fn mask_row = mask_row_body(mask: RowMask, values: &[f32], out: &mut [f32]));

#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch!` names one")]
#[inline(always)]
fn mask_row_body<A: Arithmetic>(mask: RowMask, values: &[f32], out: &mut [f32]) {
    for (chunk, (values, out)) in values.chunks(CHUNK).zip(out.chunks_mut(CHUNK)).enumerate() {
        let parts = values.chunks(16).zip(out.chunks_mut(16));
        for ((values, out), words) in parts.zip(&mask.words(chunk)) {
            for ((value, out), word) in values.iter().zip(out).zip(words) {
                *out = mask.apply(*value, *word);
            }
        }
    }
}

dispatch!(fn add_masked_row = add_masked_row_body(mask: RowMask, values: &[f32], sums: &mut [f32]));

#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch!` names one")]
#[inline(always)]
fn add_masked_row_body<A: Arithmetic>(mask: RowMask, values: &[f32], sums: &mut [f32]) {
    for (chunk, (values, sums)) in values.chunks(CHUNK).zip(sums.chunks_mut(CHUNK)).enumerate() {
        let parts = values.chunks(16).zip(sums.chunks_mut(16));
        for ((values, sums), words) in parts.zip(&mask.words(chunk)) {
            for ((value, sum), word) in values.iter().zip(sums).zip(words) {
                *sum += mask.apply(*value, *word);
            }
        }
    }
}
