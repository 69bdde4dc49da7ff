//! The exact ROUGE-L novelty filter: a text is kept when it is unlike everything kept before it.
//!
//! [`NoveltyFilter`] makes the decisions of the greedy loop in Self-Instruct, Alpaca and the paper, which scores every
//! candidate with `rouge_score` against the whole pool, and makes them without scoring nearly all of it:
//!
//! 1. A text with the same tokens as an earlier one is found by a hash, and nothing can resemble it more.
//! 2. F = 2·LCS / (m + n), so a threshold on F is a least LCS for each pair of lengths. It is found with the reference's own
//!    expression in doubles, because a tie at the threshold is decided by rounding there. Lengths too far apart need no look.
//! 3. The LCS is at most the overlap of the two token multisets, which two signatures bound: first narrow ones, of many rows
//!    at a time, then wide ones of the rows that are left (`signature`, `scan`).
//! 4. What is left is settled by [`crate::lcs`]. The best row so far raises the LCS that is still of interest.
//!
//! Texts come in blocks: all texts of a block are compared with the rows kept before it, on all threads, and then with one
//! another. Which of a block's texts are kept is settled in their order from what was found. Verdicts depend neither on the block's size nor on the number of threads.

mod index;
mod rule;
mod scan;
mod search;
mod signature;

use rayon::prelude::*;

use self::index::{Buckets, RowIndex};
use self::rule::LeastLcs;
pub use self::rule::{NoveltyRule, ThresholdOutOfRange};
use self::search::{Conflict, Query, Seeker, strongest_conflicts};
use crate::numbered::{NumberedTexts, add_tokens, known_tokens, number};
use crate::vocabulary::Vocabulary;

/// Texts that [`NoveltyFilter::admit_all`] turns into numbers at the same time.
const STRETCH: usize = 1 << 14;

/// Texts of a stretch that are compared with earlier rows at the same time.
const BLOCK: usize = 1024;

/// Candidates of like length that share each stretch of signatures while it is in the cache.
const GROUP: usize = 32;

/// An earlier text, counted from 0 within its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Winner {
    /// The text of this [`NoveltyFilter::add_pool`] call.
    Pool(usize),
    /// The text that was kept as this one in order.
    Kept(usize),
}

/// Why a text was rejected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// The earlier text with the highest F1; of equals the one that came first.
    pub winner: Winner,
    /// ROUGE-L F1 of the two, equal to `rouge_score`'s to the bit.
    pub f1: f64,
    /// Tokens in their longest common subsequence.
    pub lcs: usize,
    /// Tokens of the rejected text.
    pub candidate_tokens: usize,
    /// Tokens of the winner.
    pub winner_tokens: usize,
}

/// What becomes of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// It is new.
    Kept,
    /// It is too like an earlier one.
    Rejected(Evidence),
}

/// A pool of texts and the rule that decides which more may join it.
///
/// ```
/// # use bioinstruct_text::novelty::{NoveltyFilter, NoveltyRule, Verdict, Winner};
/// let mut filter = NoveltyFilter::new(NoveltyRule::PAPER)?;
/// filter.add_pool("Summarize the discharge note for the patient.");
/// assert_eq!(filter.admit("List the adverse events of warfarin."), Verdict::Kept);
/// let Verdict::Rejected(evidence) = filter.admit("List all adverse events of warfarin!") else { unreachable!() };
/// assert_eq!((evidence.winner, evidence.lcs), (Winner::Kept(0), 5));
/// # Ok::<(), bioinstruct_text::novelty::ThresholdOutOfRange>(())
/// ```
#[derive(Debug, Clone)]
pub struct NoveltyFilter {
    least: LeastLcs,
    vocabulary: Vocabulary,
    index: RowIndex,
    /// Whose text each row of the index is.
    origins: Vec<Winner>,
    pool_count: usize,
    kept_count: usize,
}

impl NoveltyFilter {
    /// An empty pool under `rule`.
    ///
    /// # Errors
    /// When the rule's threshold is not in (0, 1].
    pub fn new(rule: NoveltyRule) -> Result<Self, ThresholdOutOfRange> {
        let threshold = rule.threshold();
        if !(threshold > 0.0 && threshold <= 1.0) {
            return Err(ThresholdOutOfRange { threshold });
        }
        Ok(Self {
            least: LeastLcs::of(rule),
            vocabulary: Vocabulary::new(),
            index: RowIndex::default(),
            origins: Vec::new(),
            pool_count: 0,
            kept_count: 0,
        })
    }

    /// Adds a text that stands from the outset, such as a seed task: it is compared with nothing.
    pub fn add_pool(&mut self, text: &str) {
        let query = Query::new(add_tokens(&mut self.vocabulary, text), 0);
        self.index.extend(&[&query]);
        self.origins.push(Winner::Pool(self.pool_count));
        self.pool_count += 1;
    }

    /// Decides on `text` and leaves the pool as it is.
    pub fn judge(&self, text: &str) -> Verdict {
        let query = query_of(&self.least, known_tokens(&self.vocabulary, text));
        let conflict = self.strongest_conflict(&query);
        conflict.map_or(Verdict::Kept, |conflict| self.rejected(&query, conflict))
    }

    /// Decides on `text` and, when it is kept, adds it to what later texts are compared with. A text without tokens is kept
    /// always.
    pub fn admit(&mut self, text: &str) -> Verdict {
        let tokens = add_tokens(&mut self.vocabulary, text);
        let query = query_of(&self.least, tokens);
        if let Some(conflict) = self.strongest_conflict(&query) {
            return self.rejected(&query, conflict);
        }
        self.keep(&[&query]);
        Verdict::Kept
    }

    /// [`Self::admit`] for each of `texts` in order, with the same verdicts, on all threads of the current rayon pool.
    pub fn admit_all<T: AsRef<str> + Sync>(&mut self, texts: &[T]) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(texts.len());
        for stretch in texts.chunks(STRETCH) {
            let least = &self.least;
            let queries = number(&mut self.vocabulary, stretch, |tokens| query_of(least, tokens));
            let blocks: Vec<Block<'_>> = queries.par_chunks(BLOCK).map(Block::of).collect();
            for block in blocks {
                self.admit_block(&block, &mut verdicts);
            }
        }
        verdicts
    }

    fn admit_block(&mut self, block: &Block<'_>, verdicts: &mut Vec<Verdict>) {
        let queries = block.queries;
        let with_earlier = conflicts_in_groups(&self.least, &self.index, queries, |at| {
            Seeker::after(&queries[at], None)
        });
        // What an earlier row keeps out keeps nothing out itself: the others are compared with one another.
        let is_candidate = |at: usize| with_earlier[at].is_none();
        let within: Vec<Vec<Conflict>> = (0..queries.len())
            .into_par_iter()
            .with_min_len(GROUP)
            .map(|at| {
                let seeker = Seeker::after(&queries[at], with_earlier[at]);
                let is_compared = |other: usize| other < at && is_candidate(other);
                seeker.conflicts_within(&self.least, &block.buckets, queries, is_compared)
            })
            .collect();
        // The rows of the index that texts of the block become.
        let (mut rows, mut kept) = (vec![None; queries.len()], Vec::new());
        let mut conflicts = with_earlier;
        for (at, found) in within.into_iter().enumerate() {
            let with_kept = found
                .into_iter()
                .filter_map(|found| Some(Conflict { row: rows[found.row]?, ..found }));
            conflicts[at] = conflicts[at].into_iter().chain(with_kept).reduce(Conflict::stronger);
            if conflicts[at].is_none() {
                rows[at] = Some(self.index.end() + kept.len());
                kept.push(&queries[at]);
            }
        }
        self.keep(&kept);
        let verdict = |(query, conflict): (&Query, Option<Conflict>)| {
            conflict.map_or(Verdict::Kept, |conflict| self.rejected(query, conflict))
        };
        verdicts.extend(queries.iter().zip(conflicts).map(verdict));
    }

    /// The tokens of the texts that were kept, in their order.
    ///
    /// # Panics
    /// When texts of the pool were added after a text was kept.
    pub fn into_kept(self) -> NumberedTexts {
        let pool = &self.origins[..self.pool_count];
        assert!(
            pool.iter().all(|origin| matches!(origin, Winner::Pool(_))),
            "the pool comes first"
        );
        self.index.into_texts().after(self.pool_count)
    }

    /// The rule that decides.
    pub fn rule(&self) -> NoveltyRule {
        self.least.rule()
    }

    /// Number of texts given by [`Self::add_pool`].
    pub fn pool_count(&self) -> usize {
        self.pool_count
    }

    /// Number of texts kept so far.
    pub fn kept_count(&self) -> usize {
        self.kept_count
    }

    fn keep(&mut self, queries: &[&Query]) {
        self.index.extend(queries);
        self.origins.extend((self.kept_count..).map(Winner::Kept).take(queries.len()));
        self.kept_count += queries.len();
    }

    fn strongest_conflict(&self, query: &Query) -> Option<Conflict> {
        strongest_conflicts(&self.least, &self.index, vec![Seeker::after(query, None)])[0]
    }

    fn rejected(&self, query: &Query, Conflict { row, f1, lcs }: Conflict) -> Verdict {
        Verdict::Rejected(Evidence {
            winner: self.origins[row],
            f1,
            lcs,
            candidate_tokens: query.length(),
            winner_tokens: self.index.tokens(row).len(),
        })
    }
}

/// For each of `texts` the evidence that it breaks `rule` with any of the others, earlier or later: `AlpaCare`'s filter, which
/// drops both of two that are alike. The winner is counted among `texts` and always a [`Winner::Pool`].
///
/// # Errors
/// When the rule's threshold is not in (0, 1].
pub fn against_all<T: AsRef<str> + Sync>(
    rule: NoveltyRule,
    texts: &[T],
) -> Result<Vec<Verdict>, ThresholdOutOfRange> {
    let mut filter = NoveltyFilter::new(rule)?;
    let least = &filter.least;
    let queries = number(&mut filter.vocabulary, texts, |tokens| query_of(least, tokens));
    filter.index.extend(&queries.iter().collect::<Vec<_>>());
    filter.origins.extend((0..queries.len()).map(Winner::Pool));
    let conflicts = conflicts_in_groups(&filter.least, &filter.index, &queries, |at| {
        Seeker::of_row(&queries[at], at)
    });
    let verdict = |(query, conflict): (&Query, Option<Conflict>)| {
        conflict.map_or(Verdict::Kept, |conflict| filter.rejected(query, conflict))
    };
    Ok(queries.iter().zip(conflicts).map(verdict).collect())
}

/// Texts that are compared with earlier rows at the same time, and then with one another.
struct Block<'q> {
    queries: &'q [Query],
    buckets: Buckets,
}

impl<'q> Block<'q> {
    fn of(queries: &'q [Query]) -> Self {
        let mut buckets = Buckets::default();
        for (at, query) in (0..).zip(queries) {
            buckets.push(at, query);
        }
        Self { queries, buckets }
    }
}

/// A query for the rows that can conflict with it.
fn query_of(least: &LeastLcs, tokens: Vec<u32>) -> Query {
    let longest = least.longest(tokens.len());
    Query::new(tokens, longest)
}

/// The strongest conflict of each query, in parallel over groups of queries of like length.
fn conflicts_in_groups<'q>(
    least: &LeastLcs,
    index: &RowIndex,
    queries: &'q [Query],
    seeker: impl Fn(usize) -> Seeker<'q> + Sync,
) -> Vec<Option<Conflict>> {
    let mut by_length: Vec<usize> = (0..queries.len()).collect();
    by_length.sort_by_key(|&at| queries[at].length());
    let found: Vec<Vec<Option<Conflict>>> = by_length
        .par_chunks(GROUP)
        .map(|group| {
            let seekers = group.iter().map(|&at| seeker(at)).collect();
            strongest_conflicts(least, index, seekers)
        })
        .collect();
    let mut conflicts = vec![None; queries.len()];
    for (at, conflict) in by_length.into_iter().zip(found.into_iter().flatten()) {
        conflicts[at] = conflict;
    }
    conflicts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_out_of_range_are_refused() {
        for threshold in [0.0, -0.1, 1.1, f64::NAN] {
            let error = NoveltyFilter::new(NoveltyRule::Below(threshold)).unwrap_err();
            assert_eq!(error.threshold.to_bits(), threshold.to_bits());
        }
    }

    #[test]
    fn texts_without_tokens_resemble_nothing() {
        let mut filter = NoveltyFilter::new(NoveltyRule::Below(0.01)).unwrap();
        filter.add_pool("αβγ");
        filter.add_pool("fever");
        for text in ["", "αβγ", "αβγ", "—"] {
            assert_eq!(filter.admit(text), Verdict::Kept);
        }
        assert_eq!((filter.pool_count(), filter.kept_count()), (2, 4));
    }

    #[test]
    fn a_rejected_text_is_not_compared_with_later_ones() {
        let mut filter = NoveltyFilter::new(NoveltyRule::PAPER).unwrap();
        assert_eq!(filter.admit("a b c d e f g h i j"), Verdict::Kept);
        assert!(matches!(filter.admit("a b c d e f g x y z"), Verdict::Rejected(_)));
        assert_eq!(filter.admit("a b c d v w f x y z"), Verdict::Kept);
    }

    #[test]
    fn the_kept_texts_are_handed_on_as_numbers() {
        let mut filter = NoveltyFilter::new(NoveltyRule::PAPER).unwrap();
        filter.add_pool("take one tablet");
        filter.admit_all(&["name one drug", "take one tablet!", "—", "name no gene"]);
        let kept = filter.into_kept();
        assert_eq!((kept.len(), kept.tokens(1)), (3, &[][..]));
        assert_eq!((kept.tokens(0)[0], kept.tokens(0).len()), (kept.tokens(2)[0], 3));
        assert_ne!(kept.tokens(0)[1], kept.tokens(2)[1]);
    }
}
