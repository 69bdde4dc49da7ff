//! Words as numbers: a [`Vocabulary`] gives each distinct word a small id, in order of first appearance.
//!
//! Longest common subsequences and n-grams compare millions of tokens; comparing ids is exact and needs no strings.

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// The id that [`Vocabulary::lookup`] gives to a word never added; no added word has it.
pub const UNKNOWN: u32 = u32::MAX;

/// Distinct words and their ids 0, 1, 2, …
#[derive(Debug, Clone, Default)]
pub struct Vocabulary {
    ids: HashMap<Box<str>, u32, FixedState>,
}

impl Vocabulary {
    /// A vocabulary without words.
    pub fn new() -> Self {
        Self::default()
    }

    /// The id of `word`, which is added when it is new.
    ///
    /// # Panics
    /// When more than 2³² − 1 distinct words are added, which no memory this runs in can hold.
    pub fn add(&mut self, word: &str) -> u32 {
        if let Some(&id) = self.ids.get(word) {
            return id;
        }
        let id = u32::try_from(self.ids.len()).ok().filter(|&id| id != UNKNOWN);
        let id = id.expect("four thousand million distinct words do not fit in memory");
        self.ids.insert(word.into(), id);
        id
    }

    /// The id of `word`, or [`UNKNOWN`].
    pub fn lookup(&self, word: &str) -> u32 {
        self.ids.get(word).copied().unwrap_or(UNKNOWN)
    }

    /// Number of distinct words.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether no word was added.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// Both token lists as ids of one shared vocabulary, so that equal ids mean equal tokens.
pub(crate) fn number_pair(
    left: &[impl AsRef<str>],
    right: &[impl AsRef<str>],
) -> (Vec<u32>, Vec<u32>) {
    let mut vocabulary = Vocabulary::new();
    let left = left.iter().map(|token| vocabulary.add(token.as_ref())).collect();
    let right = right.iter().map(|token| vocabulary.add(token.as_ref())).collect();
    (left, right)
}

/// A bijection of 64-bit numbers whose every output bit depends on every input bit (the finalizer of `SplitMix64`, Steele,
/// Lea and Flood 2014): a hash that is the same on every machine and in every run.
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_count_up_in_order_of_first_appearance() {
        let mut vocabulary = Vocabulary::new();
        let ids: Vec<u32> =
            ["pain", "fever", "pain", "rash"].map(|word| vocabulary.add(word)).to_vec();
        assert_eq!(ids, [0, 1, 0, 2]);
        assert_eq!(vocabulary.lookup("rash"), 2);
        assert_eq!(vocabulary.lookup("cough"), UNKNOWN);
        assert_eq!(vocabulary.len(), 3);
    }
}
