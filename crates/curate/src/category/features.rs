//! What the local classifier sees of a row: [`features`], hashed words of the instruction and the size of the input.

use bioinstruct_core::record::Instruction;
use bioinstruct_data::rows::says_no_input;
use bioinstruct_text::normalize::word_count;
use bioinstruct_text::rouge::{Stemmer, tokenize};

/// Number of weights of one category.
pub(super) const BUCKETS: usize = 4096;

/// Words of an instruction that are looked at.
const MOST_WORDS: usize = 60;

/// Words up to which an input is short: a name or a question rather than a text.
const SHORT_INPUT: usize = 12;

/// How much the instruction has to work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputSize {
    /// Nothing, or a way of saying so.
    None,
    /// At most twelve words.
    Short,
    /// A text.
    Long,
}

impl InputSize {
    /// Of an input text.
    pub fn of(input: &str) -> Self {
        if says_no_input(input) {
            Self::None
        } else if word_count(input) <= SHORT_INPUT {
            Self::Short
        } else {
            Self::Long
        }
    }

    /// The name used in the file of training rows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Short => "short",
            Self::Long => "long",
        }
    }

    /// The size of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::None, Self::Short, Self::Long].into_iter().find(|size| size.name() == name)
    }
}

/// The features of a row; every one counts once.
pub(super) fn of_row(row: &Instruction) -> Vec<usize> {
    features(&row.instruction, InputSize::of(&row.input))
}

/// Buckets, ascending, of: the stems of the instruction, pairs of neighbours, the stems that begin a clause (alone and with the
/// size of the input), the size of the input, a question mark at the end.
pub(super) fn features(instruction: &str, size: InputSize) -> Vec<usize> {
    let mut found = vec![bucket(&["size", size.name()])];
    if instruction.trim_end().ends_with('?') {
        found.push(bucket(&["question", size.name()]));
    }
    let mut left = MOST_WORDS;
    for clause in instruction.split([',', '.', ':', ';', '?', '!']) {
        let mut stems = tokenize(clause, Stemmer::Porter);
        stems.truncate(left);
        left -= stems.len();
        if let Some(first) = stems.first() {
            found.push(bucket(&["clause", first]));
            found.push(bucket(&["clause", first, size.name()]));
        }
        found.extend(stems.iter().map(|stem| bucket(&["stem", stem])));
        found.extend(stems.windows(2).map(|pair| bucket(&["pair", &pair[0], &pair[1]])));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// FNV-1a over the parts, folded: equal on every machine, which no hash of the standard library promises.
fn bucket(parts: &[&str]) -> usize {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.bytes().chain([0x1f]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    ((hash >> 40) ^ (hash >> 12)) as usize % BUCKETS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_few_sorted_and_depend_on_the_input() {
        let of = |size| features("Given a note, list the drugs. List the drugs!", size);
        let long = of(InputSize::Long);
        assert!(long.is_sorted() && long.iter().all(|&at| at < BUCKETS));
        assert_ne!(long, of(InputSize::Short));
        let words = "word ".repeat(10_000);
        assert!(features(&words, InputSize::None).len() < 20);
    }

    #[test]
    fn inputs_have_sizes() {
        assert_eq!(InputSize::of(" N/A "), InputSize::None);
        assert_eq!(InputSize::of("Aspirin"), InputSize::Short);
        assert_eq!(InputSize::of(&"word ".repeat(13)), InputSize::Long);
        assert_eq!(InputSize::by_name("long"), Some(InputSize::Long));
        assert_eq!(InputSize::by_name("huge"), None);
    }
}
