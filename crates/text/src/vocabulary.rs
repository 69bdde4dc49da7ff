//! Words as numbers: a [`Vocabulary`] gives each distinct word a small id, in order of first appearance.
//!
//! Longest common subsequences and n-grams compare millions of tokens; comparing ids is exact and needs no strings.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use foldhash::fast::FixedState;

/// The id that [`Vocabulary::lookup`] gives to a word never added; no added word has it.
pub const UNKNOWN: u32 = u32::MAX;

/// Distinct words and their ids 0, 1, 2, …
#[derive(Debug, Clone, Default)]
pub struct Vocabulary {
    /// Nearly all words of a text: they are compared and hashed as one number.
    short: HashMap<ShortWord, u32, FixedState>,
    long: HashMap<Box<[u8]>, u32, FixedState>,
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
    pub fn add<'w>(&mut self, word: impl Into<Word<'w>>) -> u32 {
        let word = word.into();
        match self.lookup(word) {
            UNKNOWN => {
                let id = self.next_id();
                match word.short {
                    Some(short) => self.short.insert(short, id),
                    None => self.long.insert(word.bytes.into(), id),
                };
                id
            }
            id => id,
        }
    }

    /// Adds all words of `other`, and gives their ids here in the order of their ids there.
    ///
    /// # Panics
    /// As [`Self::add`].
    pub fn absorb(&mut self, other: Self) -> Vec<u32> {
        let mut ids = vec![0; other.len()];
        let mut short: Vec<(ShortWord, u32)> = other.short.into_iter().collect();
        let mut long: Vec<(Box<[u8]>, u32)> = other.long.into_iter().collect();
        short.sort_unstable_by_key(|&(_, id)| id);
        long.sort_unstable_by_key(|&(_, id)| id);
        let (mut short, mut long) = (short.into_iter().peekable(), long.into_iter());
        for (there, here) in (0..).zip(&mut ids) {
            let next = self.next_id();
            *here = match short.next_if(|&(_, id)| id == there) {
                Some((word, _)) => *self.short.entry(word).or_insert(next),
                None => {
                    long.next().map_or(next, |(word, _)| *self.long.entry(word).or_insert(next))
                }
            };
        }
        ids
    }

    fn next_id(&self) -> u32 {
        let id = u32::try_from(self.len()).ok().filter(|&id| id != UNKNOWN);
        id.expect("four thousand million distinct words do not fit in memory")
    }

    /// The id of `word`, or [`UNKNOWN`].
    pub fn lookup<'w>(&self, word: impl Into<Word<'w>>) -> u32 {
        let word = word.into();
        let id = match word.short {
            Some(short) => self.short.get(&short),
            None => self.long.get(word.bytes),
        };
        id.copied().unwrap_or(UNKNOWN)
    }

    /// Number of distinct words.
    pub fn len(&self) -> usize {
        self.short.len() + self.long.len()
    }

    /// Whether no word was added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A word as a [`Vocabulary`] takes it.
#[derive(Debug, Clone, Copy)]
pub struct Word<'t> {
    bytes: &'t [u8],
    /// Nothing for a longer word.
    short: Option<ShortWord>,
}

impl<'t> Word<'t> {
    /// The bytes of `text` before its first space.
    pub(crate) fn before_space(text: &'t [u8]) -> Self {
        let Some(&window) = text.first_chunk() else {
            return text.split(|&byte| byte == b' ').next().unwrap_or_default().into();
        };
        let window = u128::from_le_bytes(window);
        let length = first_space(window);
        if length == size_of::<u128>() {
            let rest = text[length..].iter().position(|&byte| byte == b' ');
            let end = rest.map_or(text.len(), |rest| length + rest);
            return Self { bytes: &text[..end], short: ShortWord::of(&text[..end]) };
        }
        let bytes = window & ((1 << (8 * length)) - 1);
        let short = ShortWord { low: bytes as u64, high: (bytes >> 64) as u64 }.of_length(length);
        Self { bytes: &text[..length], short: Some(short) }
    }

    /// Its bytes.
    pub fn as_bytes(self) -> &'t [u8] {
        self.bytes
    }
}

impl<'t> From<&'t str> for Word<'t> {
    fn from(word: &'t str) -> Self {
        word.as_bytes().into()
    }
}

impl<'t> From<&'t String> for Word<'t> {
    fn from(word: &'t String) -> Self {
        word.as_bytes().into()
    }
}

impl<'t> From<&'t [u8]> for Word<'t> {
    fn from(bytes: &'t [u8]) -> Self {
        Self { bytes, short: ShortWord::of(bytes) }
    }
}

/// The place of the first space among sixteen bytes, or sixteen.
fn first_space(bytes: u128) -> usize {
    const ONES: u128 = u128::MAX / 0xFF;
    // The lowest byte that is zero is the lowest whose highest bit is set here (Warren, Hacker's Delight, section 6-1).
    let zero_at_space = bytes ^ (ONES * u128::from(b' '));
    let found = zero_at_space.wrapping_sub(ONES) & !zero_at_space & (ONES << 7);
    found.trailing_zeros() as usize / 8
}

/// A word of up to fifteen bytes as a number that no other word has: its bytes, and its length in the highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ShortWord {
    // Halves, since a table of whole numbers of 128 bits would align its entries and be a third larger.
    low: u64,
    high: u64,
}

impl Hash for ShortWord {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from(self.high) << 64 | u128::from(self.low));
    }
}

impl ShortWord {
    /// Nothing for a longer word.
    fn of(bytes: &[u8]) -> Option<Self> {
        let length = bytes.len();
        // Two loads that overlap in the middle of a word cost less than a copy of as many bytes as it has.
        let (low, high) = match length {
            0 => (0, 0),
            1..=3 => {
                let at = |place: usize| u64::from(bytes[place]) << (8 * place);
                (at(0) | at(length / 2) | at(length - 1), 0)
            }
            4..=7 => {
                let first = u32::from_le_bytes(*bytes.first_chunk()?);
                let last = u32::from_le_bytes(*bytes.last_chunk()?);
                (u64::from(first) | u64::from(last) << (8 * (length - 4)), 0)
            }
            8 => (u64::from_le_bytes(*bytes.first_chunk()?), 0),
            9..=15 => {
                let last = u64::from_le_bytes(*bytes.last_chunk()?);
                (u64::from_le_bytes(*bytes.first_chunk()?), last >> (8 * (16 - length)))
            }
            _ => return None,
        };
        Some(Self { low, high }.of_length(length))
    }

    fn of_length(self, length: usize) -> Self {
        Self { high: self.high | (length as u64) << 56, ..self }
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
    use proptest::prelude::*;

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

    proptest! {
        /// Words that differ in length only by a zero byte, and words around the fifteen bytes of a short one.
        #[test]
        fn different_words_have_different_ids(
            words in prop::collection::vec("[ab\0é]{0,18}", 0..60),
            more in prop::collection::vec("[ab\0é]{0,18}", 0..60),
        ) {
            let mut vocabulary = Vocabulary::new();
            let mut known: Vec<&str> = Vec::new();
            let mut expected = |word| {
                let place = known.iter().position(|&other| other == word);
                place.unwrap_or_else(|| {
                    known.push(word);
                    known.len() - 1
                }) as u32
            };
            for word in &words {
                let id = expected(word);
                prop_assert_eq!(vocabulary.add(word), id);
                prop_assert_eq!(vocabulary.lookup(word), id);
            }
            let mut other = Vocabulary::new();
            let places: Vec<u32> = more.iter().map(|word| other.add(word)).collect();
            let expected: Vec<u32> = more.iter().map(|word| expected(word)).collect();
            let ids = vocabulary.absorb(other);
            let found: Vec<u32> = places.iter().map(|&place| ids[place as usize]).collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(vocabulary.len(), known.len());
        }

        /// With sixteen bytes to read and with fewer; also bytes on which the search for a zero could stumble.
        #[test]
        fn a_word_ends_at_the_first_space(text in "[ab!\u{1}\u{80} ]{0,40}", padding in 0_usize..17) {
            let padded = [text.as_bytes(), &vec![b' '; padding]].concat();
            let word = Word::before_space(&padded);
            let expected = text.split(' ').next().unwrap();
            prop_assert_eq!(word.as_bytes(), expected.as_bytes());
            prop_assert_eq!(word.short, Word::from(expected).short);
        }
    }
}
