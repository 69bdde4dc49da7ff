//! The rows that candidates are compared with, by length: [`RowIndex`].

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::RangeInclusive;

use super::scan::Sheet;
use super::search::Query;
use super::signature::{narrow_words, wide_words};
use crate::numbered::NumberedTexts;
use crate::vocabulary::mix;

/// Tokenized texts, numbered in the order they came.
#[derive(Debug, Clone, Default)]
pub(super) struct RowIndex {
    texts: NumberedTexts,
    pub(super) buckets: Buckets,
    /// The place of the first row with the same tokens, by a hash of them; other tokens of that hash have the next free one.
    first_equal: ByHash,
}

/// Rows by a hash of their tokens.
type ByHash = HashMap<u64, u32, BuildHasherDefault<Mixed>>;

/// The hash of what is a well-mixed hash already: itself.
#[derive(Debug, Clone, Copy, Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = mix(self.0 ^ u64::from(byte));
        }
    }
}

/// Rows by their number of tokens; those without tokens resemble nothing and are in none.
#[derive(Debug, Clone, Default)]
pub(super) struct Buckets(BTreeMap<usize, Bucket>);

impl Buckets {
    /// Adds the text of `query` as the row of this number, which is higher than those before.
    pub(super) fn push(&mut self, row: u32, query: &Query) {
        let length = query.length();
        if length > 0 {
            let bucket = self.0.entry(length).or_insert_with(|| Bucket::new(length));
            bucket.sheet.push(query.signature(narrow_words(length)));
            bucket.wide.extend_from_slice(query.signature(bucket.wide_words));
            bucket.rows.push(row);
        }
    }

    /// The rows of so many tokens, with their number.
    pub(super) fn of_lengths(
        &self,
        lengths: RangeInclusive<usize>,
    ) -> impl Iterator<Item = (usize, &Bucket)> {
        self.0.range(lengths).map(|(&length, bucket)| (length, bucket))
    }
}

/// Rows of one length, ascending, and their signatures.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    pub(super) sheet: Sheet,
    pub(super) wide_words: usize,
    wide: Vec<u64>,
    /// Their numbers among all rows of the index.
    rows: Vec<u32>,
}

impl Bucket {
    fn new(tokens: usize) -> Self {
        Self {
            sheet: Sheet::new(narrow_words(tokens)),
            wide_words: wide_words(tokens),
            wide: Vec::new(),
            rows: Vec::new(),
        }
    }

    pub(super) fn wide(&self, position: u32) -> &[u64] {
        &self.wide[position as usize * self.wide_words..][..self.wide_words]
    }

    /// The number of the row at this position.
    pub(super) fn row(&self, position: u32) -> usize {
        self.rows[position as usize] as usize
    }
}

impl RowIndex {
    /// The number that the next row will have.
    pub(super) fn end(&self) -> usize {
        self.texts.len()
    }

    /// The tokens of all rows.
    pub(super) fn into_texts(self) -> NumberedTexts {
        self.texts
    }

    /// The tokens of a row.
    pub(super) fn tokens(&self, row: usize) -> &[u32] {
        self.texts.tokens(row)
    }

    /// Adds the texts of `queries` as rows.
    ///
    /// # Panics
    /// When 2³² rows are in the index.
    pub(super) fn extend(&mut self, queries: &[&Query]) {
        let first = self.end();
        u32::try_from(first + queries.len()).expect("four thousand million rows do not fit");
        let rows = || (first as u32..).zip(queries);
        let Self { texts, buckets, first_equal } = self;
        rayon::join(
            || rows().for_each(|(row, query)| buckets.push(row, query)),
            || {
                for (row, query) in rows() {
                    texts.push(query.tokens());
                    if let (1.., Err(free)) =
                        (query.length(), find_equal(texts, first_equal, query))
                    {
                        first_equal.insert(free, row);
                    }
                }
            },
        );
    }

    /// The first row with exactly the query's tokens.
    pub(super) fn first_equal(&self, query: &Query) -> Option<usize> {
        find_equal(&self.texts, &self.first_equal, query).ok()
    }
}

/// The first row with exactly the query's tokens, or the hash under which it would stand.
fn find_equal(texts: &NumberedTexts, rows: &ByHash, query: &Query) -> Result<usize, u64> {
    let mut hash = query.hash();
    while let Some(&row) = rows.get(&hash) {
        if texts.tokens(row as usize) == query.tokens() {
            return Ok(row as usize);
        }
        hash = hash.wrapping_add(1);
    }
    Err(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_rows_is_found() {
        let mut index = RowIndex::default();
        let rows = [vec![1, 2, 3], vec![], vec![1, 2, 3], vec![3, 2, 1]];
        let rows = rows.map(|row| Query::new(row, 0));
        index.extend(&rows.each_ref());
        let first_equal = |tokens: &[u32]| index.first_equal(&Query::new(tokens.to_vec(), 0));
        assert_eq!(first_equal(&[1, 2, 3]), Some(0));
        assert_eq!(first_equal(&[3, 2, 1]), Some(3));
        assert_eq!(first_equal(&[1, 2]), None);
        assert_eq!((index.end(), index.tokens(1), index.tokens(3)), (4, &[][..], &[3, 2, 1][..]));
        let (_, bucket) = index.buckets.of_lengths(3..=3).next().unwrap();
        assert_eq!([0, 1, 2].map(|position| bucket.row(position)), [0, 2, 3]);
    }
}
