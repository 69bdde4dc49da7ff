//! Dropout of an adapter's input, by numbers that are drawn again in the backward instead of being kept.

use std::ops::Range;

use bioinstruct_core::random::Stream;

use crate::kernels::threads::Threads;

/// Dropout of an adapter's input; each sequence has a stream of its own.
#[derive(Debug, Clone, Copy)]
pub struct Dropout<'a> {
    /// Share of values set to zero.
    pub probability: f32,
    /// Rows of the batch and the stream of each sequence, for this layer and projection.
    pub sequences: &'a [(Range<usize>, Stream)],
}

/// Multiplies by the mask: zero with the given probability, 1 / (1 − p) otherwise.
///
/// The draw of a value is named by its sequence's stream, its token in the sequence and its place in the token: batch,
/// threads and padding have no part in it.
pub(super) fn apply_dropout(
    threads: &Threads,
    dropout: Dropout<'_>,
    first_row: usize,
    width: usize,
    values: &mut [f32],
) {
    let threshold = (f64::from(dropout.probability) * 4_294_967_296.0) as u32;
    let keep = 1.0 / (1.0 - dropout.probability);
    threads.for_rows(values, width, 8, |rows, values| {
        for (row, values) in rows.zip(values.chunks_exact_mut(width)) {
            let row = row + first_row;
            let Some((sequence, stream)) =
                dropout.sequences.iter().find(|(rows, _)| rows.contains(&row))
            else {
                continue;
            };
            let blocks = width.div_ceil(4) as u64;
            let token = (row - sequence.start) as u64;
            for (block, values) in values.chunks_mut(4).enumerate() {
                let words = stream.words(token * blocks + block as u64);
                for (value, word) in values.iter_mut().zip(words) {
                    *value = if word < threshold { 0.0 } else { *value * keep };
                }
            }
        }
    });
}
