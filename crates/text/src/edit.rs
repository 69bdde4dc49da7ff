//! Levenshtein distance: the fewest insertions, deletions and substitutions that turn one text into the other.

use crate::normalize::words;

/// What one edit changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EditUnit {
    /// A Unicode scalar value, as Python's string indices count.
    Chars,
    /// A word between white space.
    Words,
}

/// Number of edits between `left` and `right`.
///
/// ```
/// # use bioinstruct_text::edit::{EditUnit, edit_distance};
/// assert_eq!(edit_distance("hypotension", "hypertension", EditUnit::Chars), 2);
/// assert_eq!(edit_distance("no chest pain", "chest pain", EditUnit::Words), 1);
/// ```
pub fn edit_distance(left: &str, right: &str, unit: EditUnit) -> usize {
    distance_and_longer(left, right, unit).0
}

/// `1 − distance / longer length`: 1 for equal texts (two empty ones too), 0 when nothing can stay.
pub fn edit_similarity(left: &str, right: &str, unit: EditUnit) -> f64 {
    let (distance, longer) = distance_and_longer(left, right, unit);
    if longer == 0 { 1.0 } else { 1.0 - distance as f64 / longer as f64 }
}

fn distance_and_longer(left: &str, right: &str, unit: EditUnit) -> (usize, usize) {
    fn measured<T: PartialEq>(left: &[T], right: &[T]) -> (usize, usize) {
        (sequence_distance(left, right), left.len().max(right.len()))
    }
    match unit {
        EditUnit::Chars => {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            measured(&chars(left), &chars(right))
        }
        EditUnit::Words => {
            let (left, right): (Vec<_>, Vec<_>) = (words(left).collect(), words(right).collect());
            measured(&left, &right)
        }
    }
}

/// Number of edits between two sequences; time grows with the product of their lengths, memory with the second's.
pub fn sequence_distance<T: PartialEq>(left: &[T], right: &[T]) -> usize {
    let common_start = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    let (left, right) = (&left[common_start..], &right[common_start..]);
    let common_end = left.iter().rev().zip(right.iter().rev()).take_while(|(a, b)| a == b).count();
    let (left, right) = (&left[..left.len() - common_end], &right[..right.len() - common_end]);

    // After each item of `left`, row[j] is the distance of what has been read of it to right[..j].
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, left_item) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right_item) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(left_item != right_item);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these quotients are exact in doubles")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition itself, exponential in the lengths.
    fn by_definition(left: &[u8], right: &[u8]) -> usize {
        let ([left_rest @ .., a], [right_rest @ .., b]) = (left, right) else {
            return left.len() + right.len();
        };
        let substituted = by_definition(left_rest, right_rest) + usize::from(a != b);
        let removed = by_definition(left_rest, right).min(by_definition(left, right_rest)) + 1;
        substituted.min(removed)
    }

    proptest! {
        #[test]
        fn distance_equals_the_definition(left in "[ab]{0,6}", right in "[ab]{0,6}") {
            let expected = by_definition(left.as_bytes(), right.as_bytes());
            prop_assert_eq!(edit_distance(&left, &right, EditUnit::Chars), expected);
        }
    }

    #[test]
    fn known_distances() {
        let chars = |left, right| edit_distance(left, right, EditUnit::Chars);
        assert_eq!(chars("kitten", "sitting"), 3);
        assert_eq!(chars("β", "α"), 1);
        assert_eq!(chars("", "abc"), 3);
        assert_eq!(edit_distance("a  b\nc", "a b d e", EditUnit::Words), 2);
    }

    #[test]
    fn similarity_is_relative_to_the_longer_text() {
        assert_eq!(edit_similarity("", "", EditUnit::Chars), 1.0);
        assert_eq!(edit_similarity("abcd", "abcx", EditUnit::Chars), 0.75);
        assert_eq!(edit_similarity("abcd", "", EditUnit::Chars), 0.0);
        assert_eq!(edit_similarity("left knee", "right knee", EditUnit::Words), 0.5);
    }
}
