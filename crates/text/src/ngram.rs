//! Verbatim overlap: which documents share a run of *n* words with a text.
//!
//! [`NgramIndex`] holds documents (say, evaluation questions) and answers for texts (say, training rows). Words are
//! `rouge_score` tokens without stemming, so case, punctuation and line breaks do not hide a copy. N-grams are found by a
//! 64-bit hash and then compared word by word: a hit is a fact, and none is missed.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::slice::Windows;

use crate::rouge::Tokens;
use crate::vocabulary::{UNKNOWN, Vocabulary};

/// The runs of `n` neighbouring tokens, in order; none when there are fewer than `n`.
pub fn ngrams<T>(tokens: &[T], n: NonZeroUsize) -> Windows<'_, T> {
    tokens.windows(n.get())
}

/// Documents searchable by their n-grams of one or more lengths.
#[derive(Debug, Clone)]
pub struct NgramIndex {
    vocabulary: Vocabulary,
    /// The token ids of all inserted texts, one after the other.
    tokens: Vec<u32>,
    by_length: BTreeMap<NonZeroUsize, Postings>,
}

/// Where the n-grams of one length stand. Those of equal hash form a chain, the newest first.
#[derive(Debug, Clone, Default)]
struct Postings {
    newest: HashMap<u64, usize>,
    entries: Vec<Posting>,
}

#[derive(Debug, Clone, Copy)]
struct Posting {
    document: usize,
    /// Index of the n-gram's first token in [`NgramIndex::tokens`].
    start: usize,
    older: Option<usize>,
}

/// What one document shares with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NgramHit {
    /// The id under which the document was inserted.
    pub document: usize,
    /// How many of the text's n-grams, counted by position, stand in the document.
    pub shared: usize,
    /// How many n-grams the text has.
    pub total: usize,
    /// Index of the first shared n-gram's first token in the text.
    pub first_token: usize,
}

/// Why a search was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NgramError {
    /// The index was not built for this length.
    #[error("n-grams of {asked} tokens are not indexed, only those of {indexed:?}")]
    LengthNotIndexed {
        /// The length asked for.
        asked: NonZeroUsize,
        /// The lengths given to [`NgramIndex::new`].
        indexed: Vec<NonZeroUsize>,
    },
}

impl NgramIndex {
    /// An empty index for n-grams of the given lengths.
    pub fn new(lengths: impl IntoIterator<Item = NonZeroUsize>) -> Self {
        Self {
            vocabulary: Vocabulary::new(),
            tokens: Vec::new(),
            by_length: lengths.into_iter().map(|n| (n, Postings::default())).collect(),
        }
    }

    /// Adds `text` to `document`. A document may have several texts (question, options, context); no n-gram spans two.
    pub fn insert(&mut self, document: usize, text: &str) {
        let begin = self.tokens.len();
        for token in Tokens::of(text).iter() {
            self.tokens.push(self.vocabulary.add(token));
        }
        for (&n, postings) in &mut self.by_length {
            for start in begin..(self.tokens.len() + 1).saturating_sub(n.get()).max(begin) {
                postings.insert(document, start, n, &self.tokens);
            }
        }
    }

    /// The documents that share at least one n-gram of `n` tokens with `text`, by ascending id.
    ///
    /// # Errors
    /// [`NgramError::LengthNotIndexed`] when `n` is not among the lengths the index was made for.
    ///
    /// ```
    /// # use bioinstruct_text::ngram::NgramIndex;
    /// # let three = std::num::NonZeroUsize::new(3).unwrap();
    /// let mut index = NgramIndex::new([three]);
    /// index.insert(7, "A 45-year-old man presents with chest pain.");
    /// let hits = index.hits("The man presents with a cough; a man PRESENTS with pain", three)?;
    /// assert_eq!((hits[0].document, hits[0].shared, hits[0].total, hits[0].first_token), (7, 2, 9, 1));
    /// # Ok::<(), bioinstruct_text::ngram::NgramError>(())
    /// ```
    pub fn hits(&self, text: &str, n: NonZeroUsize) -> Result<Vec<NgramHit>, NgramError> {
        let postings = self.by_length.get(&n).ok_or_else(|| NgramError::LengthNotIndexed {
            asked: n,
            indexed: self.by_length.keys().copied().collect(),
        })?;
        let ids: Vec<u32> =
            Tokens::of(text).iter().map(|token| self.vocabulary.lookup(token)).collect();
        let ngrams = ngrams(&ids, n);
        let total = ngrams.len();
        let mut hits: BTreeMap<usize, NgramHit> = BTreeMap::new();
        for (position, ngram) in ngrams.enumerate().filter(|(_, ngram)| !ngram.contains(&UNKNOWN)) {
            let mut documents: Vec<usize> = postings.find(ngram, &self.tokens).collect();
            documents.sort_unstable();
            documents.dedup();
            for document in documents {
                let none_yet = NgramHit { document, shared: 0, total, first_token: position };
                hits.entry(document).or_insert(none_yet).shared += 1;
            }
        }
        Ok(hits.into_values().collect())
    }
}

impl Postings {
    /// Notes that the n-gram at `start` stands in `document`, unless the newest entries of its chain say so already.
    fn insert(&mut self, document: usize, start: usize, n: NonZeroUsize, tokens: &[u32]) {
        let ngram = &tokens[start..][..n.get()];
        let hash = hash(ngram);
        let is_known = self
            .chain(hash)
            .take_while(|posting| posting.document == document)
            .any(|posting| tokens[posting.start..].starts_with(ngram));
        if is_known {
            return;
        }
        let older = self.newest.insert(hash, self.entries.len());
        self.entries.push(Posting { document, start, older });
    }

    fn chain(&self, hash: u64) -> impl Iterator<Item = &Posting> {
        let entry = |index: usize| &self.entries[index];
        let newest = self.newest.get(&hash).map(|&index| entry(index));
        std::iter::successors(newest, move |posting| posting.older.map(entry))
    }

    /// The documents that hold `ngram`; one may come more than once.
    fn find(&self, ngram: &[u32], tokens: &[u32]) -> impl Iterator<Item = usize> {
        self.chain(hash(ngram))
            .filter(move |posting| tokens[posting.start..].starts_with(ngram))
            .map(|posting| posting.document)
    }
}

/// 64 well-mixed bits of a token sequence.
fn hash(tokens: &[u32]) -> u64 {
    tokens.iter().fold(tokens.len() as u64, |state, &token| {
        crate::vocabulary::mix(state ^ (u64::from(token) + 1))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rouge::{Stemmer, tokenize};

    fn n(value: usize) -> NonZeroUsize {
        NonZeroUsize::new(value).unwrap()
    }

    /// All hits by comparing every n-gram with every other.
    fn hits_by_definition(documents: &[String], text: &str, n: NonZeroUsize) -> Vec<NgramHit> {
        let tokens = tokenize(text, Stemmer::Off);
        let total = ngrams(&tokens, n).len();
        let hit = |(document, source): (usize, &String)| {
            let source = tokenize(source, Stemmer::Off);
            let shared: Vec<usize> = ngrams(&tokens, n)
                .enumerate()
                .filter(|(_, ngram)| ngrams(&source, n).any(|other| other == *ngram))
                .map(|(position, _)| position)
                .collect();
            let first_token = *shared.first()?;
            Some(NgramHit { document, shared: shared.len(), total, first_token })
        };
        documents.iter().enumerate().filter_map(hit).collect()
    }

    proptest! {
        #[test]
        fn hits_equal_the_definition(
            documents in prop::collection::vec("[abc ]{0,30}", 0..6),
            text in "[abcd ]{0,30}",
            length in 1_usize..5,
        ) {
            let mut index = NgramIndex::new([n(length), n(length + 1)]);
            for (document, source) in documents.iter().enumerate() {
                index.insert(document, source);
            }
            for length in [n(length), n(length + 1)] {
                let expected = hits_by_definition(&documents, &text, length);
                prop_assert_eq!(index.hits(&text, length).unwrap(), expected);
            }
        }
    }

    #[test]
    fn no_ngram_spans_two_texts_of_a_document() {
        let mut index = NgramIndex::new([n(2)]);
        index.insert(3, "acute renal");
        index.insert(3, "failure");
        index.insert(1, "renal failure");
        let hits = index.hits("acute renal failure", n(2)).unwrap();
        let found: Vec<_> = hits.iter().map(|hit| (hit.document, hit.shared)).collect();
        assert_eq!(found, [(1, 1), (3, 1)]);
    }

    #[test]
    fn a_length_that_is_not_indexed_is_refused() {
        let index = NgramIndex::new([n(8), n(13)]);
        let error = index.hits("any text", n(5)).unwrap_err();
        assert_eq!(error, NgramError::LengthNotIndexed { asked: n(5), indexed: vec![n(8), n(13)] });
        assert!(index.hits("too short", n(8)).unwrap().is_empty());
    }
}
