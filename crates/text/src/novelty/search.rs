//! The search for the row that a text resembles most: [`strongest_conflicts`].

use super::index::{Bucket, Buckets, RowIndex};
use super::rule::LeastLcs;
use super::scan::is_near;
use super::signature::{Signatures, narrow_words, wide_words};
use crate::lcs::LcsPattern;
use crate::rouge::RougeScore;
use crate::vocabulary::mix;

/// A text to compare with the rows.
#[derive(Debug, Clone)]
pub(super) struct Query {
    tokens: Vec<u32>,
    hash: u64,
    signatures: Signatures,
}

impl Query {
    /// A query for rows of up to `longest` tokens, and of up to its own length.
    pub(super) fn new(tokens: Vec<u32>, longest: usize) -> Self {
        let hash =
            tokens.iter().fold(tokens.len() as u64, |state, &token| mix(state ^ u64::from(token)));
        let widest = wide_words(longest.max(tokens.len()));
        Self { signatures: Signatures::of(&tokens, widest), hash, tokens }
    }

    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// A hash of the tokens in their order.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn length(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn signature(&self, words: usize) -> &[u64] {
        self.signatures.of_width(words)
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

    /// Whether no row can resemble the query more: it has the same tokens, and earlier equals were looked for.
    fn is_final(self) -> bool {
        self.f1 >= 1.0
    }
}

/// One query on its way through the rows.
#[derive(Debug)]
pub(super) struct Seeker<'q> {
    query: &'q Query,
    /// A row that is not compared: the query itself.
    except: Option<usize>,
    /// Few queries come as far as to need it.
    pattern: Option<LcsPattern>,
    /// The strongest conflict so far.
    best: Option<Conflict>,
}

impl<'q> Seeker<'q> {
    /// A query to compare with all rows, when the strongest conflict with others is known already.
    pub(super) fn after(query: &'q Query, best: Option<Conflict>) -> Self {
        Self { query, except: None, pattern: None, best }
    }

    /// A query that is itself a row of the index.
    pub(super) fn of_row(query: &'q Query, row: usize) -> Self {
        Self { query, except: Some(row), pattern: None, best: None }
    }
}

/// For each query the strongest conflict under `least`'s rule, with a row of `index` or the one known before, if there is any.
///
/// Queries of like length should come together: they then share each stretch of signatures while it is in the cache.
pub(super) fn strongest_conflicts(
    least: &LeastLcs,
    index: &RowIndex,
    mut seekers: Vec<Seeker<'_>>,
) -> Vec<Option<Conflict>> {
    for seeker in &mut seekers {
        seeker.look_up_equal(least, index);
    }
    let unsettled = seekers.iter().filter(|seeker| !seeker.best.is_some_and(Conflict::is_final));
    let lengths: Vec<usize> =
        unsettled.map(|seeker| seeker.query.length()).filter(|&length| length > 0).collect();
    if let (Some(&shortest), Some(&longest)) = (lengths.iter().min(), lengths.iter().max()) {
        // Like lengths first: the best rows stand there, and each one found narrows what is still of interest.
        let middle = usize::midpoint(shortest, longest);
        let (above, below) = (least.longest(longest), least.shortest(shortest));
        let mut buckets: Vec<(usize, &Bucket)> = index.buckets.of_lengths(below..=above).collect();
        buckets.sort_by_key(|&(n, _)| n.abs_diff(middle));
        let mut found = Vec::new();
        for (n, bucket) in buckets {
            for first in (0..bucket.sheet.len()).step_by(bucket.sheet.rows_in_cache()) {
                for seeker in &mut seekers {
                    seeker.look_through(least, index, (n, bucket), first, &mut found);
                }
            }
        }
    }
    seekers.into_iter().map(|seeker| seeker.best).collect()
}

impl Seeker<'_> {
    /// Each of the `others` that is compared, by its place there and in `buckets`, with which the query conflicts at least as
    /// strongly as with the row known before.
    pub(super) fn conflicts_within(
        mut self,
        least: &LeastLcs,
        buckets: &Buckets,
        others: &[Query],
        is_compared: impl Fn(usize) -> bool,
    ) -> Vec<Conflict> {
        let m = self.query.length();
        let (mut near, mut conflicts) = (Vec::new(), Vec::new());
        for (n, bucket) in buckets.of_lengths(least.shortest(m)..=least.longest(m)) {
            let Some(wanted) = self.least_of_interest(least, n) else { continue };
            for first in (0..bucket.sheet.len()).step_by(bucket.sheet.rows_in_cache()) {
                self.scan((n, bucket), first, wanted, &mut near);
                for &position in &near {
                    let other = bucket.row(position);
                    if is_compared(other) && self.is_near((n, bucket), position, wanted) {
                        let tokens = others[other].tokens();
                        conflicts.extend(self.conflict_with(other, tokens, wanted));
                    }
                }
            }
        }
        conflicts
    }

    fn look_up_equal(&mut self, least: &LeastLcs, index: &RowIndex) {
        let m = self.query.length();
        if m == 0 || least.rule().keeps(1.0) || self.best.is_some_and(Conflict::is_final) {
            return;
        }
        let equal = index.first_equal(self.query).filter(|&row| Some(row) != self.except);
        self.best = equal.map(|row| Conflict { row, f1: 1.0, lcs: m }).or(self.best);
    }

    /// The fewest common tokens with which a row of `n` tokens would be the strongest conflict so far, or as strong.
    fn least_of_interest(&self, least: &LeastLcs, n: usize) -> Option<usize> {
        let m = self.query.length();
        match self.best {
            None => least.conflict(m, n),
            Some(best) if best.is_final() => None,
            Some(best) => least.reaching(best.f1, m, n),
        }
    }

    /// Compares the query with those rows of a bucket from position `first` on that may be of interest.
    fn look_through(
        &mut self,
        least: &LeastLcs,
        index: &RowIndex,
        (n, bucket): (usize, &Bucket),
        first: usize,
        found: &mut Vec<u32>,
    ) {
        let Some(mut wanted) = self.least_of_interest(least, n) else {
            return; // the lengths are too far apart
        };
        self.scan((n, bucket), first, wanted, found);
        for &position in &*found {
            if !self.is_near((n, bucket), position, wanted) {
                continue;
            }
            let row = bucket.row(position);
            if self.compare(index, row, wanted) {
                match self.least_of_interest(least, n) {
                    Some(more) => wanted = more,
                    None => return,
                }
            }
        }
    }

    /// In so many bits may signatures differ when a row of `n` tokens shares `wanted` of them with the query.
    fn most_bits(&self, n: usize, wanted: usize) -> u32 {
        (self.query.length() + n - 2 * wanted) as u32
    }

    /// The first look at the rows of a bucket from position `first` on, as many as fit in the cache.
    fn scan(
        &self,
        (n, bucket): (usize, &Bucket),
        first: usize,
        wanted: usize,
        found: &mut Vec<u32>,
    ) {
        let narrow = self.query.signature(narrow_words(n));
        bucket.sheet.scan(first, narrow, self.most_bits(n, wanted), found);
    }

    /// The second look at a row that the scan has found.
    fn is_near(&self, (n, bucket): (usize, &Bucket), position: u32, wanted: usize) -> bool {
        let wide = self.query.signature(bucket.wide_words);
        is_near(bucket.wide(position), wide, self.most_bits(n, wanted))
    }

    /// Compares the query with a row; says whether that changed the best.
    fn compare(&mut self, index: &RowIndex, row: usize, wanted: usize) -> bool {
        if self.except == Some(row) {
            return false;
        }
        let Some(found) = self.conflict_with(row, index.tokens(row), wanted) else {
            return false;
        };
        let best = self.best.map_or(found, |best| best.stronger(found));
        let is_new = self.best != Some(best);
        self.best = Some(best);
        is_new
    }

    /// The conflict with a row of these tokens, when they share `wanted` or more in their order.
    fn conflict_with(&mut self, row: usize, tokens: &[u32], wanted: usize) -> Option<Conflict> {
        let pattern = self.pattern.get_or_insert_with(|| LcsPattern::new(self.query.tokens()));
        let lcs = pattern.length_from(tokens, wanted)?;
        let f1 = RougeScore::from_counts(lcs, self.query.length(), tokens.len()).f1;
        Some(Conflict { row, f1, lcs })
    }
}
