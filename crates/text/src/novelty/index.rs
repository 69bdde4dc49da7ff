//! The rows a candidate is compared with, and the search among them: [`RowIndex`].

use std::collections::BTreeMap;
use std::ops::Range;

use super::NoveltyRule;
use crate::lcs::LcsPattern;
use crate::rouge::RougeScore;
use crate::vocabulary::mix;

/// Tokenized texts, numbered from 0 in the order they came.
#[derive(Debug, Clone, Default)]
pub(super) struct RowIndex {
    /// The token ids of all rows, one after the other.
    tokens: Vec<u32>,
    rows: Vec<Range<usize>>,
    /// Rows by their number of tokens; those without tokens resemble nothing and are in none.
    buckets: BTreeMap<usize, Bucket>,
}

/// Rows of one length, ascending, and their signatures.
#[derive(Debug, Clone, Default)]
struct Bucket {
    signatures: Vec<u128>,
    rows: Vec<usize>,
}

/// A text to compare with the rows. Tokens that no row has may share one id.
#[derive(Debug)]
pub(super) struct Query {
    tokens: Vec<u32>,
    signature: u128,
}

impl Query {
    pub(super) fn new(tokens: Vec<u32>) -> Self {
        Self { signature: signature(&tokens), tokens }
    }

    pub(super) fn length(&self) -> usize {
        self.tokens.len()
    }
}

/// The row that a query resembles most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Conflict {
    pub(super) row: usize,
    pub(super) f1: f64,
    pub(super) lcs: usize,
}

impl Conflict {
    /// The one with the higher F1; of equals the earlier row.
    pub(super) fn stronger(self, other: Self) -> Self {
        let other_wins = other.f1 > self.f1 || (other.f1 >= self.f1 && other.row < self.row);
        if other_wins { other } else { self }
    }
}

impl RowIndex {
    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Number of tokens of a row.
    pub(super) fn length(&self, row: usize) -> usize {
        self.rows[row].len()
    }

    pub(super) fn push(&mut self, tokens: impl Iterator<Item = u32>) {
        let start = self.tokens.len();
        self.tokens.extend(tokens);
        let tokens = &self.tokens[start..];
        if !tokens.is_empty() {
            let bucket = self.buckets.entry(tokens.len()).or_default();
            bucket.signatures.push(signature(tokens));
            bucket.rows.push(self.rows.len());
        }
        self.rows.push(start..self.tokens.len());
    }

    /// The strongest of the conflicts that `query` has under `rule` with the rows from `first_row` on.
    pub(super) fn strongest_conflict(
        &self,
        rule: NoveltyRule,
        query: &Query,
        first_row: usize,
    ) -> Option<Conflict> {
        let m = query.length();
        let mut pattern: Option<LcsPattern> = None; // few queries come as far as to need it
        let mut strongest: Option<Conflict> = None;
        for (&n, bucket) in &self.buckets {
            let Some(least) = rule.least_conflict(m, n) else {
                continue; // the lengths are too far apart
            };
            for row in bucket.similar(query.signature, m + n - 2 * least, first_row) {
                let pattern = pattern.get_or_insert_with(|| LcsPattern::new(&query.tokens));
                let lcs = pattern.length_with(&self.tokens[self.rows[row].clone()]);
                if lcs >= least {
                    let f1 = RougeScore::from_counts(lcs, m, n).f1;
                    let found = Conflict { row, f1, lcs };
                    strongest = Some(strongest.map_or(found, |before| before.stronger(found)));
                }
            }
        }
        strongest
    }
}

impl Bucket {
    /// Rows from `first_row` on whose signature differs from `signature` in at most `most_bits` bits. Two texts with an LCS
    /// of L tokens differ in at most m + n − 2L elements, and in no more bits.
    fn similar(
        &self,
        signature: u128,
        most_bits: usize,
        first_row: usize,
    ) -> impl Iterator<Item = usize> {
        let from = self.rows.partition_point(|&row| row < first_row);
        self.signatures[from..]
            .iter()
            .zip(&self.rows[from..])
            .filter(move |&(other, _)| (signature ^ other).count_ones() as usize <= most_bits)
            .map(|(_, &row)| row)
    }
}

/// One bit flipped for each token of the multiset, where the k-th occurrence of a token is an element of its own.
fn signature(tokens: &[u32]) -> u128 {
    let mut sorted = tokens.to_vec();
    sorted.sort_unstable();
    let mut signature = 0;
    for run in sorted.chunk_by(|a, b| a == b) {
        for (occurrence, &token) in (0_u64..).zip(run) {
            signature ^= element_bit(token, occurrence);
        }
    }
    signature
}

fn element_bit(token: u32, occurrence: u64) -> u128 {
    let element = (u64::from(token) << u32::BITS) | occurrence;
    1 << (mix(element) % u64::from(u128::BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_has_one_flip_per_element_of_the_multiset() {
        assert_eq!(signature(&[]), 0);
        assert_eq!(signature(&[1, 2, 3, 2]), signature(&[2, 3, 2, 1]));
        assert_eq!(signature(&[5; 40]) ^ signature(&[5; 39]), element_bit(5, 39));
        assert_eq!(signature(&[4, 5]) ^ signature(&[4, 6]), element_bit(5, 0) ^ element_bit(6, 0));
    }

    #[test]
    fn the_search_starts_at_the_row_asked_for() {
        let mut index = RowIndex::default();
        for row in [vec![1, 2, 3], vec![], vec![1, 2, 3], vec![1, 2, 3, 4]] {
            index.push(row.into_iter());
        }
        let query = Query::new(vec![1, 2, 3]);
        let winner = |first_row| {
            let conflict = index.strongest_conflict(NoveltyRule::PAPER, &query, first_row);
            conflict.map(|conflict| (conflict.row, conflict.lcs))
        };
        assert_eq!(winner(0), Some((0, 3)));
        assert_eq!(winner(1), Some((2, 3)));
        assert_eq!(winner(3), Some((3, 3)));
        assert_eq!(winner(4), None);
        assert_eq!((index.len(), index.length(1), index.length(3)), (4, 0, 4));
    }
}
