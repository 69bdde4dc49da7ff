//! Patterns of any length: [`ManyWords`].

use super::WORD_BITS;

const EMPTY: u32 = u32::MAX;

/// Where the tokens of a pattern stand in it, found by an open-addressed hash table.
#[derive(Debug, Clone)]
pub(super) struct ManyWords {
    words: usize,
    /// From token id to its row in `masks`; a power of two of slots, at most half of them full.
    slots: Vec<Slot>,
    /// One row of `words` words per distinct token: bit i is set where the pattern's token i is that token.
    masks: Vec<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    token: u32,
    mask: u32,
}

impl ManyWords {
    pub(super) fn new(pattern: &[u32]) -> Self {
        let words = pattern.len().div_ceil(WORD_BITS);
        let slots = (2 * pattern.len()).next_power_of_two().max(2);
        let slots = vec![Slot { token: 0, mask: EMPTY }; slots];
        let mut prepared = Self { words, slots, masks: Vec::new() };
        for (position, &token) in pattern.iter().enumerate() {
            let row = prepared.row_of_new_token(token);
            prepared.masks[row * words + position / WORD_BITS] |= 1 << (position % WORD_BITS);
        }
        prepared
    }

    /// The slot that holds `token`, or the empty one where it belongs.
    fn slot(&self, token: u32) -> usize {
        // Fibonacci hashing: the high bits of the product are well mixed. At least one bit is kept (two slots).
        let shift = u32::BITS - self.slots.len().trailing_zeros();
        let mut index = (token.wrapping_mul(0x9e37_79b9) >> shift) as usize;
        while self.slots[index].mask != EMPTY && self.slots[index].token != token {
            index = (index + 1) & (self.slots.len() - 1);
        }
        index
    }

    fn row_of_new_token(&mut self, token: u32) -> usize {
        let index = self.slot(token);
        if self.slots[index].mask == EMPTY {
            let row = self.masks.len() / self.words;
            self.slots[index] = Slot { token, mask: row as u32 };
            self.masks.resize(self.masks.len() + self.words, 0);
        }
        self.slots[index].mask as usize
    }

    /// Where `token` stands in the pattern, one bit per position; `None` when it does not occur.
    pub(super) fn bits(&self, token: u32) -> Option<&[u64]> {
        let row = self.slots[self.slot(token)].mask;
        (row != EMPTY).then(|| &self.masks[row as usize * self.words..][..self.words])
    }
}
