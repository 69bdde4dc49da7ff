//! Running sequences through the network in pieces of bounded size: [`read_piece`].

use crate::backend::{Backend, Phase};
use crate::lora::Adapter;
use crate::model::Llama;
use crate::model::inference::{Cache, Extension, Workspace};

/// Rows of the head that are computed at once: their logits are all that is ever stored.
const HEAD_ROWS: usize = 64;

/// A sequence that is being read; its cache says how far.
pub(super) struct Reading<'a, B: Backend> {
    /// All of it, from the first token on.
    pub(super) ids: &'a [u32],
    pub(super) cache: &'a mut Cache<B>,
    pub(super) adapter: Option<&'a Adapter<B>>,
    /// Positions whose logits (of the token after them) are asked for, ascending.
    pub(super) wanted: &'a [usize],
}

/// Reads on, at most `most` tokens of all sequences together, the first sequences first; gives `on_row` the number of the
/// reading, the position and the logits of each wanted row. Returns how many tokens were read: zero when all is read.
pub(super) fn read_piece<B: Backend>(
    llama: &Llama<B>,
    work: &mut Workspace<B>,
    phase: Phase,
    readings: &mut [Reading<'_, B>],
    most: usize,
    on_row: &mut dyn FnMut(usize, usize, &mut [f32]),
) -> usize {
    let mut extensions: Vec<Extension<'_, B>> = Vec::with_capacity(readings.len());
    // Row of the batch, reading, position.
    let mut rows: Vec<(usize, usize, usize)> = Vec::new();
    let mut count = 0;
    for (index, reading) in readings.iter_mut().enumerate() {
        let from = reading.cache.length();
        let piece = from..reading.ids.len().min(from.saturating_add(most - count));
        if piece.is_empty() {
            continue;
        }
        let wanted = reading.wanted.iter().filter(|position| piece.contains(position));
        rows.extend(wanted.map(|position| (count + position - from, index, *position)));
        count += piece.len();
        extensions.push(Extension {
            ids: &reading.ids[piece],
            cache: &mut *reading.cache,
            adapter: reading.adapter,
        });
    }
    if extensions.is_empty() {
        return 0;
    }
    let wanted: Vec<usize> = rows.iter().map(|(row, _, _)| *row).collect();
    llama.extend(work, phase, &mut extensions, &wanted);
    let vocabulary = llama.config().vocabulary_size;
    for (number, rows) in rows.chunks(HEAD_ROWS).enumerate() {
        let first = number * HEAD_ROWS;
        let places: Vec<usize> = (first..first + rows.len()).collect();
        let mut logits = llama.logits(work, phase, &places);
        for ((_, index, position), row) in rows.iter().zip(logits.chunks_exact_mut(vocabulary)) {
            on_row(*index, *position, row);
        }
    }
    count
}
