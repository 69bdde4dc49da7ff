//! Longest common subsequences of token ids.
//!
//! [`LcsPattern`] computes lengths 64 table cells at a time (Hyyrö, "Bit-parallel LCS-length computation revisited",
//! 2004); [`lcs_positions`] also says which tokens are shared. [`lcs_length_by_table`] is the textbook table that both
//! are tested against.
//!
//! Row *i* of the table holds, for each prefix of the pattern, the LCS length of that prefix with the first *i* tokens of
//! the text. Neighbouring cells differ by 0 or 1, so a row is kept as one bit per pattern token: **0 where the length goes
//! up**, 1 where it stays. One addition per 64 cells turns a row into the next.

mod many_words;
mod one_word;

use self::many_words::ManyWords;
use self::one_word::OneWord;

const WORD_BITS: usize = u64::BITS as usize;

/// A token sequence prepared for comparison with many others.
#[derive(Debug, Clone)]
pub struct LcsPattern {
    length: usize,
    masks: Masks,
}

/// Where each token stands in a pattern.
#[derive(Debug, Clone)]
enum Masks {
    One(OneWord),
    Many(ManyWords),
}

impl LcsPattern {
    /// Prepares `pattern`; memory grows with its length times its distinct tokens divided by 64.
    pub fn new(pattern: &[u32]) -> Self {
        let masks = match pattern.len() {
            1..=WORD_BITS => Masks::One(OneWord::new(pattern)),
            _ => Masks::Many(ManyWords::new(pattern)),
        };
        Self { length: pattern.len(), masks }
    }

    /// Words of a row of the table.
    fn words(&self) -> usize {
        self.length.div_ceil(WORD_BITS)
    }

    /// Where `token` stands in the pattern, one bit per position; `None` when it does not occur.
    fn bits(&self, token: u32) -> Option<&[u64]> {
        match &self.masks {
            Masks::One(pattern) => pattern.bits(token),
            Masks::Many(pattern) => pattern.bits(token),
        }
    }

    /// Length of the longest common subsequence of the pattern and `text`.
    pub fn length_with(&self, text: &[u32]) -> usize {
        match &self.masks {
            Masks::One(pattern) => rises_before(&[pattern.last_row(text)], self.length),
            Masks::Many(pattern) => {
                let mut row = vec![u64::MAX; self.words()];
                for mask in text.iter().filter_map(|&token| pattern.bits(token)) {
                    advance(&mut row, mask);
                }
                rises_before(&row, self.length)
            }
        }
    }

    /// [`Self::length_with`] when it is at least `least`, and `None`, often sooner, when it is not.
    pub fn length_from(&self, text: &[u32], least: usize) -> Option<usize> {
        // Each token of the text that the pattern does not have is one that cannot be shared.
        let mut spare = text.len().checked_sub(least)?;
        let length = match &self.masks {
            Masks::One(_) => self.length_with(text),
            Masks::Many(pattern) => {
                let mut row = vec![u64::MAX; self.words()];
                for &token in text {
                    match pattern.bits(token) {
                        Some(mask) => advance(&mut row, mask),
                        None => spare = spare.checked_sub(1)?,
                    }
                }
                rises_before(&row, self.length)
            }
        };
        (length >= least).then_some(length)
    }
}

/// Turns a row of the table into the next one, for a text token that stands in the pattern where `mask` has ones.
fn advance(row: &mut [u64], mask: &[u64]) {
    let mut carry = false;
    for (cells, &mask) in row.iter_mut().zip(mask) {
        let matched = *cells & mask;
        let (sum, carry_of_matched) = cells.overflowing_add(matched);
        let (sum, carry_of_carry) = sum.overflowing_add(u64::from(carry));
        *cells = sum | (*cells & !matched);
        carry = carry_of_matched | carry_of_carry;
    }
}

/// Number of zero bits among the first `length` bits of a row: the table's cell in that column.
fn rises_before(row: &[u64], length: usize) -> usize {
    let full = length / WORD_BITS;
    let mut rises: u32 = row[..full].iter().map(|cells| cells.count_zeros()).sum();
    let rest = length % WORD_BITS;
    if rest > 0 {
        rises += (!row[full] & ((1 << rest) - 1)).count_ones();
    }
    rises as usize
}

/// Length of the longest common subsequence of two token sequences.
pub fn lcs_length(left: &[u32], right: &[u32]) -> usize {
    LcsPattern::new(left).length_with(right)
}

/// Positions in `reference`, ascending, of one longest common subsequence with `candidate`: the one that `rouge_score`
/// finds. Walking back from the ends it takes a match when there is one, else shortens the candidate if that alone loses
/// nothing, else shortens the reference.
pub fn lcs_positions(reference: &[u32], candidate: &[u32]) -> Vec<usize> {
    let rows = table_rows(reference, candidate);
    let words = candidate.len().div_ceil(WORD_BITS);
    let cell = |i: usize, j: usize| rises_before(&rows[i * words..][..words], j);
    let (mut i, mut j) = (reference.len(), candidate.len());
    let mut positions = Vec::new();
    while i > 0 && j > 0 {
        if reference[i - 1] == candidate[j - 1] {
            positions.push(i - 1);
            i -= 1;
            j -= 1;
        } else if cell(i, j - 1) > cell(i - 1, j) {
            j -= 1;
        } else {
            i -= 1;
        }
    }
    positions.reverse();
    positions
}

/// The whole table, one row of bits per prefix of `reference` from the empty one on.
fn table_rows(reference: &[u32], candidate: &[u32]) -> Vec<u64> {
    let pattern = LcsPattern::new(candidate);
    let words = pattern.words();
    let mut rows = vec![u64::MAX; (reference.len() + 1) * words];
    for (i, &token) in reference.iter().enumerate() {
        let (done, next) = rows.split_at_mut((i + 1) * words);
        let next = &mut next[..words];
        next.copy_from_slice(&done[i * words..]);
        if let Some(mask) = pattern.bits(token) {
            advance(next, mask);
        }
    }
    rows
}

/// The LCS length by the textbook table, one cell at a time: slow, and plainly right.
pub fn lcs_length_by_table<T: PartialEq>(left: &[T], right: &[T]) -> usize {
    let mut table = vec![vec![0; right.len() + 1]; left.len() + 1];
    for i in 1..=left.len() {
        for j in 1..=right.len() {
            table[i][j] = if left[i - 1] == right[j - 1] {
                table[i - 1][j - 1] + 1
            } else {
                table[i - 1][j].max(table[i][j - 1])
            };
        }
    }
    table[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The walk of [`lcs_positions`] over a table of plain numbers.
    fn positions_by_table(reference: &[u32], candidate: &[u32]) -> Vec<usize> {
        let cell = |i: usize, j: usize| lcs_length_by_table(&reference[..i], &candidate[..j]);
        let (mut i, mut j) = (reference.len(), candidate.len());
        let mut positions = Vec::new();
        while i > 0 && j > 0 {
            if reference[i - 1] == candidate[j - 1] {
                positions.insert(0, i - 1);
                (i, j) = (i - 1, j - 1);
            } else if cell(i, j - 1) > cell(i - 1, j) {
                j -= 1;
            } else {
                i -= 1;
            }
        }
        positions
    }

    #[test]
    fn lengths_at_the_edges_of_machine_words() {
        for length in [0, 1, 63, 64, 65, 127, 128, 129, 200] {
            let same = vec![7; length];
            let rising: Vec<u32> = (0..length as u32).collect();
            let falling: Vec<u32> = rising.iter().rev().copied().collect();
            assert_eq!(lcs_length(&same, &same), length);
            assert_eq!(lcs_length(&rising, &rising), length);
            assert_eq!(lcs_length(&rising, &falling), length.min(1));
            assert_eq!(lcs_positions(&rising, &rising), (0..length).collect::<Vec<_>>());
            assert_eq!(lcs_length(&rising, &[]), 0);
            assert_eq!(lcs_length(&[], &rising), 0);
        }
    }

    #[test]
    fn the_largest_id_is_an_ordinary_token() {
        assert_eq!(lcs_length(&[u32::MAX, 1], &[0, 1]), 1);
        assert_eq!(lcs_length(&[u32::MAX, 1], &[u32::MAX, 1]), 2);
    }

    fn tokens(longest: usize) -> impl Strategy<Value = Vec<u32>> {
        (1_u32..12).prop_flat_map(move |kinds| prop::collection::vec(0..kinds, 0..longest))
    }

    proptest! {
        #[test]
        fn bit_parallel_length_equals_the_table(left in tokens(200), right in tokens(200)) {
            let expected = lcs_length_by_table(&left, &right);
            prop_assert_eq!(lcs_length(&left, &right), expected);
            prop_assert_eq!(lcs_positions(&left, &right).len(), expected);
            let pattern = LcsPattern::new(&left);
            for least in 0..expected + 3 {
                let wanted = (expected >= least).then_some(expected);
                prop_assert_eq!(pattern.length_from(&right, least), wanted);
            }
        }

        #[test]
        fn positions_follow_the_reference_walk(left in tokens(24), right in tokens(24)) {
            prop_assert_eq!(lcs_positions(&left, &right), positions_by_table(&left, &right));
        }
    }

    #[test]
    fn positions_follow_the_reference_walk_across_words() {
        let left: Vec<u32> = (0..90).map(|i| i * i % 7).collect();
        let right: Vec<u32> = (0..90).map(|i| i * i * i % 5).collect();
        assert_eq!(lcs_positions(&left, &right), positions_by_table(&left, &right));
    }
}
