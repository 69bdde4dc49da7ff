//! The exact ROUGE-L novelty filter: a text is kept when it is unlike everything kept before it.
//!
//! [`NoveltyFilter`] makes the decisions of the greedy loop in Self-Instruct, Alpaca and the paper, which scores every
//! candidate with `rouge_score` against the whole pool, and makes them without scoring nearly all of it:
//!
//! 1. F = 2·LCS / (m + n), so a threshold on F is a least LCS for each pair of lengths. It is found with the reference's own
//!    expression in doubles, because a tie at the threshold is decided by rounding there. Lengths too far apart need no look.
//! 2. The LCS is at most the overlap of the two token multisets, and that is bounded by two 128-bit signatures: each
//!    token of a text (its second occurrence being another element than its first) flips one bit, so signatures that differ
//!    in d bits stand for multisets that differ in at least d elements (Sandes, Teodoro and Melo, "Bitmap filter", 2020).
//! 3. What is left is settled by [`crate::lcs`].

mod index;
mod rule;

use rayon::prelude::*;

use self::index::{Conflict, Query, RowIndex};
pub use self::rule::{NoveltyRule, ThresholdOutOfRange};
use crate::rouge::{space_out, spaced_tokens};
use crate::vocabulary::Vocabulary;

/// Candidates that [`NoveltyFilter::admit_all`] compares with earlier rows at the same time.
const BLOCK: usize = 512;

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
    rule: NoveltyRule,
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
            rule,
            vocabulary: Vocabulary::new(),
            index: RowIndex::default(),
            origins: Vec::new(),
            pool_count: 0,
            kept_count: 0,
        })
    }

    /// Adds a text that stands from the outset, such as a seed task: it is compared with nothing.
    pub fn add_pool(&mut self, text: &str) {
        self.insert(text, Winner::Pool(self.pool_count));
        self.pool_count += 1;
    }

    /// Decides on `text` and leaves the pool as it is.
    pub fn judge(&self, text: &str) -> Verdict {
        let query = self.query(text);
        self.verdict(&query, self.strongest_conflict(&query, 0))
    }

    /// Decides on `text` and, when it is kept, adds it to what later texts are compared with. A text without tokens is kept
    /// always.
    pub fn admit(&mut self, text: &str) -> Verdict {
        let verdict = self.judge(text);
        self.settle(text, verdict)
    }

    /// [`Self::admit`] for each of `texts` in order, with the same verdicts, on all threads of the current rayon pool.
    pub fn admit_all<T: AsRef<str> + Sync>(&mut self, texts: &[T]) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(texts.len());
        for block in texts.chunks(BLOCK) {
            let block_start = self.index.len();
            let search = |text: &T| self.strongest_conflict(&self.query(text.as_ref()), 0);
            let with_earlier: Vec<Option<Conflict>> = block.par_iter().map(search).collect();
            for (text, earlier) in block.iter().zip(with_earlier) {
                let text = text.as_ref();
                let query = self.query(text);
                let within = self.strongest_conflict(&query, block_start);
                let conflict = earlier.into_iter().chain(within).reduce(Conflict::stronger);
                let verdict = self.verdict(&query, conflict);
                verdicts.push(self.settle(text, verdict));
            }
        }
        verdicts
    }

    /// The rule that decides.
    pub fn rule(&self) -> NoveltyRule {
        self.rule
    }

    /// Number of texts given by [`Self::add_pool`].
    pub fn pool_count(&self) -> usize {
        self.pool_count
    }

    /// Number of texts kept so far.
    pub fn kept_count(&self) -> usize {
        self.kept_count
    }

    fn settle(&mut self, text: &str, verdict: Verdict) -> Verdict {
        if verdict == Verdict::Kept {
            self.insert(text, Winner::Kept(self.kept_count));
            self.kept_count += 1;
        }
        verdict
    }

    fn insert(&mut self, text: &str, origin: Winner) {
        let spaced = space_out(text);
        let vocabulary = &mut self.vocabulary;
        self.index.push(spaced_tokens(&spaced).map(|token| vocabulary.add(token)));
        self.origins.push(origin);
    }

    fn query(&self, text: &str) -> Query {
        let spaced = space_out(text);
        Query::new(spaced_tokens(&spaced).map(|token| self.vocabulary.lookup(token)).collect())
    }

    fn strongest_conflict(&self, query: &Query, first_row: usize) -> Option<Conflict> {
        self.index.strongest_conflict(self.rule, query, first_row)
    }

    fn verdict(&self, query: &Query, conflict: Option<Conflict>) -> Verdict {
        conflict.map_or(Verdict::Kept, |Conflict { row, f1, lcs }| {
            Verdict::Rejected(Evidence {
                winner: self.origins[row],
                f1,
                lcs,
                candidate_tokens: query.length(),
                winner_tokens: self.index.length(row),
            })
        })
    }
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
