//! [`Strip`]: the query rows that lie in the lanes of one vector, and the passes over their scores.
//!
//! The query heads that share a key-value head are lanes too: lane n of a sequence is head n mod group of row n / group.
//! Scores are stored as (keys, lanes), so that a key's values are broadcast straight from where the model keeps them: keys
//! and values are never packed, and the softmax needs no sum across lanes.

use std::cell::Cell;

use super::Heads;

/// Some lanes of a sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strip {
    pub(super) heads: Heads,
    /// The key-value head that its lanes share.
    pub(super) shared_head: usize,
    /// Tokens before the sequence's first row.
    pub(super) past: usize,
    /// The first lane, counted from the sequence's first row.
    pub(super) first: usize,
    /// How many lanes hold a query; the other lanes repeat the last one.
    pub(super) lanes: usize,
    /// Whether vectors have sixteen lanes; otherwise eight.
    pub(super) wide: bool,
}

impl Strip {
    /// Row of the sequence.
    pub(super) fn row(&self, lane: usize) -> usize {
        (self.first + lane.min(self.lanes - 1)) / self.heads.group()
    }

    /// Query head of the model.
    pub(super) fn head(&self, lane: usize) -> usize {
        let group = self.heads.group();
        self.shared_head * group + (self.first + lane.min(self.lanes - 1)) % group
    }

    /// Where the lane's values begin in a matrix (rows, query width).
    pub(super) fn at(&self, lane: usize) -> usize {
        self.row(lane) * self.heads.query_width() + self.head(lane) * self.heads.size
    }

    /// How many keys each lane sees, counted from key `first`.
    pub(super) fn seen<const W: usize>(&self, first: usize) -> [u32; W] {
        std::array::from_fn(|lane| (self.past + self.row(lane) + 1 - first) as u32)
    }
}

/// panel\[i]\[lane] = factor · values\[at(lane) + i].
#[inline(always)]
pub(super) fn gather<const W: usize>(
    panel: &mut [[f32; W]],
    strip: &Strip,
    values: &[f32],
    factor: f32,
) {
    for lane in 0..W {
        let from = &values[strip.at(lane)..][..panel.len()];
        for (panel, value) in panel.iter_mut().zip(from) {
            panel[lane] = value * factor;
        }
    }
}

/// Sets the scores of the keys that a lane does not see to negative infinity; `scores` begins at key `first`.
#[inline(always)]
pub(super) fn hide<const W: usize>(scores: &mut [[f32; W]], first: usize, seen: &[u32; W]) {
    let for_all = (seen[0] as usize).saturating_sub(first);
    for (k, scores) in scores.iter_mut().enumerate().skip(for_all) {
        let key = (first + k) as u32;
        for lane in 0..W {
            scores[lane] = if key < seen[lane] { scores[lane] } else { f32::NEG_INFINITY };
        }
    }
}

/// Calls `work` with `length` values of this thread, which hold anything and begin at a cache line.
pub(super) fn with_scratch(length: usize, work: impl FnOnce(&mut [f32])) {
    thread_local!(static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) });
    let mut scratch = SCRATCH.take();
    if scratch.len() < length + 16 {
        scratch.resize(length + 16, 0.0);
    }
    let start = scratch.as_ptr().align_offset(64).min(16);
    work(&mut scratch[start..start + length]);
    SCRATCH.set(scratch);
}
