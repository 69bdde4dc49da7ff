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

use self::index::RowIndex;
use self::rule::LeastLcs;
pub use self::rule::{NoveltyRule, ThresholdOutOfRange};
use self::search::{Conflict, Query, Seeker, search};
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
        self.insert(&query, Winner::Pool(self.pool_count));
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
        match self.strongest_conflict(&query) {
            Some(conflict) => self.rejected(&query, conflict),
            None => self.keep(&query),
        }
    }

    /// [`Self::admit`] for each of `texts` in order, with the same verdicts, on all threads of the current rayon pool.
    pub fn admit_all<T: AsRef<str> + Sync>(&mut self, texts: &[T]) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(texts.len());
        for stretch in texts.chunks(STRETCH) {
            let least = &self.least;
            let queries = number(&mut self.vocabulary, stretch, |tokens| query_of(least, tokens));
            for block in queries.chunks(BLOCK) {
                self.admit_block(block, &mut verdicts);
            }
        }
        verdicts
    }

    fn admit_block(&mut self, queries: &[Query], verdicts: &mut Vec<Verdict>) {
        let seekers = queries.iter().map(|query| Seeker::after(query, None)).collect();
        let with_earlier = conflicts_in_groups(&self.least, &self.index, seekers);
        // What an earlier row keeps out keeps nothing out itself: the others are compared with one another.
        let mut candidates = RowIndex::default();
        let mut candidates_before = Vec::with_capacity(queries.len());
        for (query, conflict) in queries.iter().zip(&with_earlier) {
            candidates_before.push(candidates.end());
            if conflict.is_none() {
                candidates.push(query);
            }
        }
        let within: Vec<Vec<Conflict>> = (0..queries.len())
            .into_par_iter()
            .with_min_len(GROUP)
            .map(|at| {
                let seeker = Seeker::after(&queries[at], with_earlier[at]);
                seeker.conflicts_before(&self.least, &candidates, candidates_before[at])
            })
            .collect();
        // The rows of the index that candidates have become.
        let mut rows = Vec::with_capacity(candidates.end());
        for ((query, earlier), found) in queries.iter().zip(with_earlier).zip(within) {
            let kept = found
                .into_iter()
                .filter_map(|found| Some(Conflict { row: rows[found.row]?, ..found }));
            let conflict = earlier.into_iter().chain(kept).reduce(Conflict::stronger);
            if earlier.is_none() {
                rows.push(conflict.is_none().then(|| self.index.end()));
            }
            verdicts.push(match conflict {
                Some(conflict) => self.rejected(query, conflict),
                None => self.keep(query),
            });
        }
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

    fn keep(&mut self, query: &Query) -> Verdict {
        self.insert(query, Winner::Kept(self.kept_count));
        self.kept_count += 1;
        Verdict::Kept
    }

    fn insert(&mut self, query: &Query, origin: Winner) {
        self.index.push(query);
        self.origins.push(origin);
    }

    fn strongest_conflict(&self, query: &Query) -> Option<Conflict> {
        let mut seeker = [Seeker::after(query, None)];
        search(&self.least, &self.index, &mut seeker);
        seeker[0].strongest()
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
    for (at, query) in queries.iter().enumerate() {
        filter.insert(query, Winner::Pool(at));
    }
    let seekers = queries.iter().enumerate().map(|(at, query)| Seeker::of_row(query, at)).collect();
    let conflicts = conflicts_in_groups(&filter.least, &filter.index, seekers);
    let verdict = |(query, conflict): (&Query, Option<Conflict>)| {
        conflict.map_or(Verdict::Kept, |conflict| filter.rejected(query, conflict))
    };
    Ok(queries.iter().zip(conflicts).map(verdict).collect())
}

/// A query for the rows that can conflict with it.
fn query_of(least: &LeastLcs, tokens: Vec<u32>) -> Query {
    let longest = least.longest(tokens.len());
    Query::new(tokens, longest)
}

/// The strongest conflict of each seeker, in parallel over groups of like length.
fn conflicts_in_groups(
    least: &LeastLcs,
    index: &RowIndex,
    seekers: Vec<Seeker<'_>>,
) -> Vec<Option<Conflict>> {
    let mut by_length: Vec<(usize, Seeker<'_>)> = seekers.into_iter().enumerate().collect();
    by_length.sort_by_key(|(_, seeker)| seeker.length());
    let (places, mut seekers): (Vec<usize>, Vec<Seeker<'_>>) = by_length.into_iter().unzip();
    seekers.par_chunks_mut(GROUP).for_each(|group| search(least, index, group));
    let mut conflicts = vec![None; seekers.len()];
    for (place, seeker) in places.into_iter().zip(seekers) {
        conflicts[place] = seeker.strongest();
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
}
