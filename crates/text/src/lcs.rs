//! Longest common subsequences of token ids.
//!
//! [`LcsPattern`] computes lengths 64 table cells at a time (Hyyrö, "Bit-parallel LCS-length computation revisited",
//! 2004); [`lcs_positions`] also says which tokens are shared. [`lcs_length_by_table`] is the textbook table that both
//! are tested against.
//!
//! Row *i* of the table holds, for each prefix of the pattern, the LCS length of that prefix with the first *i* tokens of
//! the text. Neighbouring cells differ by 0 or 1, so a row is kept as one bit per pattern token: **0 where the length goes
//! up**, 1 where it stays. One addition per 64 cells turns a row into the next.

const WORD_BITS: usize = u64::BITS as usize;
const EMPTY: u32 = u32::MAX;

/// A token sequence prepared for comparison with many others.
#[derive(Debug, Clone)]
pub struct LcsPattern {
    length: usize,
    words: usize,
    /// Open-addressed hash table from token id to its row in `masks`; a power of two of slots, at most half of them full.
    slots: Vec<Slot>,
    /// One row of `words` words per distinct token: bit i is set where the pattern's token i is that token.
    masks: Vec<u64>,
    /// For patterns of one word.
    one_word: Option<OneWord>,
}

/// The masks of a pattern of up to 64 tokens, found without a branch: a table in which no two of its tokens fall on one
/// place, so that a place holds the token or does not.
#[derive(Debug, Clone)]
struct OneWord {
    multiplier: u32,
    shift: u32,
    /// Tokens and their masks; a mask of zero is an empty place.
    places: Vec<(u32, u64)>,
}

impl OneWord {
    /// Tries multipliers, and larger tables, until all tokens fall apart.
    fn new(pattern: &[u32]) -> Self {
        let mut places = (4 * pattern.len()).next_power_of_two().max(32);
        let mut multiplier = 0x9e37_79b1_u32;
        for attempt in 1.. {
            if let Some(table) = Self::with(pattern, places, multiplier) {
                return table;
            }
            multiplier = multiplier.wrapping_mul(0x85eb_ca6b) | 1;
            if attempt % 8 == 0 {
                places *= 2;
            }
        }
        unreachable!("a table of 2³² places has one for each token")
    }

    fn with(pattern: &[u32], places: usize, multiplier: u32) -> Option<Self> {
        let shift = u32::BITS - places.trailing_zeros();
        let mut table = Self { multiplier, shift, places: vec![(0, 0); places] };
        for (position, &token) in pattern.iter().enumerate() {
            let place = table.place(token);
            let (held, mask) = &mut table.places[place];
            if *mask != 0 && *held != token {
                return None;
            }
            *held = token;
            *mask |= 1 << position;
        }
        Some(table)
    }

    fn place(&self, token: u32) -> usize {
        (token.wrapping_mul(self.multiplier) >> self.shift) as usize
    }

    /// Where `token` stands in the pattern; zero when it does not occur.
    fn mask(&self, token: u32) -> u64 {
        let (held, mask) = self.places[self.place(token)];
        if held == token { mask } else { 0 }
    }

    /// The last row of the table.
    fn last_row(&self, text: &[u32]) -> u64 {
        let mut row = u64::MAX;
        for &token in text {
            let matched = row & self.mask(token);
            row = row.wrapping_add(matched) | (row & !matched);
        }
        row
    }
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    token: u32,
    mask: u32,
}

impl LcsPattern {
    /// Prepares `pattern`; memory grows with its length times its distinct tokens divided by 64.
    pub fn new(pattern: &[u32]) -> Self {
        let words = pattern.len().div_ceil(WORD_BITS);
        let slot_count =
            if words == 1 { 2 } else { (2 * pattern.len()).next_power_of_two().max(2) };
        let mut prepared = Self {
            length: pattern.len(),
            words,
            slots: vec![Slot { token: 0, mask: EMPTY }; slot_count],
            masks: Vec::new(),
            one_word: None,
        };
        if words == 1 {
            return Self { one_word: Some(OneWord::new(pattern)), ..prepared };
        }
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
    fn mask(&self, token: u32) -> Option<&[u64]> {
        if let Some(pattern) = &self.one_word {
            let (held, mask) = &pattern.places[pattern.place(token)];
            return (*held == token && *mask != 0).then(|| std::slice::from_ref(mask));
        }
        let row = self.slots[self.slot(token)].mask;
        (row != EMPTY).then(|| &self.masks[row as usize * self.words..][..self.words])
    }

    /// Length of the longest common subsequence of the pattern and `text`.
    pub fn length_with(&self, text: &[u32]) -> usize {
        if let Some(pattern) = &self.one_word {
            return rises_before(&[pattern.last_row(text)], self.length);
        }
        let mut row = vec![u64::MAX; self.words];
        for &token in text {
            if let Some(mask) = self.mask(token) {
                advance(&mut row, mask);
            }
        }
        rises_before(&row, self.length)
    }

    /// [`Self::length_with`] when it is at least `least`, and `None`, often sooner, when it is not.
    pub fn length_from(&self, text: &[u32], least: usize) -> Option<usize> {
        // Each token of the text that the pattern does not have is one that cannot be shared.
        let mut spare = text.len().checked_sub(least)?;
        if let Some(pattern) = &self.one_word {
            let length = rises_before(&[pattern.last_row(text)], self.length);
            return Some(length).filter(|&length| length >= least);
        }
        let mut row = vec![u64::MAX; self.words];
        for &token in text {
            match self.mask(token) {
                Some(mask) => advance(&mut row, mask),
                None => spare = spare.checked_sub(1)?,
            }
        }
        Some(rises_before(&row, self.length)).filter(|&length| length >= least)
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
    let mut rows = vec![u64::MAX; (reference.len() + 1) * pattern.words];
    for (i, &token) in reference.iter().enumerate() {
        let (done, next) = rows.split_at_mut((i + 1) * pattern.words);
        let next = &mut next[..pattern.words];
        next.copy_from_slice(&done[i * pattern.words..]);
        if let Some(mask) = pattern.mask(token) {
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
