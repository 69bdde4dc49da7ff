//! When two texts are too alike: [`NoveltyRule`].

use crate::rouge::RougeScore;

/// The highest ROUGE-L F1 that a text may have with any earlier one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NoveltyRule {
    /// Kept while F1 is below the threshold; a tie is rejected.
    Below(f64),
    /// Kept while F1 is at most the threshold; a tie is kept.
    AtMost(f64),
}

impl NoveltyRule {
    /// `BioInstruct`: "falls below 0.7" (Tran et al. 2024).
    pub const PAPER: Self = Self::Below(0.7);
    /// Alpaca's `generate_instruction.py` drops what is above 0.7.
    pub const ALPACA: Self = Self::AtMost(0.7);
    /// Self-Instruct's `bootstrap_instructions.py` does the same, although its paper says "less than".
    pub const SELF_INSTRUCT: Self = Self::AtMost(0.7);

    /// Whether a text whose highest F1 is `f1` is kept.
    pub fn keeps(self, f1: f64) -> bool {
        match self {
            Self::Below(threshold) => f1 < threshold,
            Self::AtMost(threshold) => f1 <= threshold,
        }
    }

    /// The F1 of the rule.
    pub fn threshold(self) -> f64 {
        let (Self::Below(threshold) | Self::AtMost(threshold)) = self;
        threshold
    }

    /// The least LCS with which texts of `m` and `n` tokens are too alike; `None` when no LCS of theirs is enough. Two texts
    /// without a common token are never too alike.
    pub fn least_conflict(self, m: usize, n: usize) -> Option<usize> {
        // One LCS step moves F by 2/(m+n), rounding by some 1e-16: starting one below the real-number answer is safe.
        let real = (self.threshold() * (m + n) as f64 / 2.0).floor() as usize;
        let mut possible = real.saturating_sub(1).max(1)..=m.min(n);
        possible.find(|&lcs| !self.keeps(RougeScore::from_counts(lcs, m, n).f1))
    }
}

/// Lengths for which [`LeastLcs`] has its answers ready.
const TABLE: usize = 96;

/// No LCS of texts in the table is as long.
const NONE: u8 = u8::MAX;

/// [`NoveltyRule::least_conflict`] as a table, and what else is asked of a rule for each pair of lengths.
#[derive(Debug, Clone)]
pub(super) struct LeastLcs {
    rule: NoveltyRule,
    /// `[m][n]`; [`NONE`] where no LCS is enough.
    table: Vec<u8>,
}

impl LeastLcs {
    pub(super) fn of(rule: NoveltyRule) -> Self {
        let pairs = (0..TABLE).flat_map(|m| (0..TABLE).map(move |n| (m, n)));
        let least = |(m, n)| rule.least_conflict(m, n).map_or(NONE, |least| least as u8);
        Self { rule, table: pairs.map(least).collect() }
    }

    pub(super) fn rule(&self) -> NoveltyRule {
        self.rule
    }

    /// The least LCS of a conflict between texts of `m` and `n` tokens.
    pub(super) fn conflict(&self, m: usize, n: usize) -> Option<usize> {
        if m.max(n) >= TABLE {
            return self.rule.least_conflict(m, n);
        }
        let least = self.table[m * TABLE + n];
        (least != NONE).then_some(least.into())
    }

    /// The least LCS with which texts of `m` and `n` tokens have an F1 of `f1` or more.
    pub(super) fn reaching(&self, f1: f64, m: usize, n: usize) -> Option<usize> {
        NoveltyRule::Below(f1).least_conflict(m, n)
    }

    /// No text of more tokens conflicts with one of `m`: F1 is at most 2·m / (m + n).
    pub(super) fn longest(&self, m: usize) -> usize {
        let threshold = self.rule.threshold();
        ((m as f64 * (2.0 - threshold) / threshold).ceil() as usize).saturating_add(1)
    }

    /// No text of fewer tokens conflicts with one of `m`.
    pub(super) fn shortest(&self, m: usize) -> usize {
        let threshold = self.rule.threshold();
        ((m as f64 * threshold / (2.0 - threshold)).floor() as usize).saturating_sub(1).max(1)
    }
}

/// A threshold that no rule can have.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("novelty threshold {threshold} is not above 0 and at most 1")]
pub struct ThresholdOutOfRange {
    /// The threshold as it was given.
    pub threshold: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_conflict_is_exact_for_all_lengths() {
        for threshold in [0.05, 0.5, 0.7, 0.99, 1.0] {
            for rule in [NoveltyRule::Below(threshold), NoveltyRule::AtMost(threshold)] {
                let table = LeastLcs::of(rule);
                for (m, n) in (0..120).flat_map(|m| (0..120).map(move |n| (m, n))) {
                    let f1 = |lcs| RougeScore::from_counts(lcs, m, n).f1;
                    let expected = (0..=m.min(n)).find(|&lcs| !rule.keeps(f1(lcs)));
                    assert_eq!(rule.least_conflict(m, n), expected, "{rule:?} {m} {n}");
                    assert_eq!(table.conflict(m, n), expected, "{rule:?} {m} {n}");
                    if expected.is_some() {
                        assert!((table.shortest(m)..=table.longest(m)).contains(&n));
                    }
                }
            }
        }
    }

    #[test]
    fn ties_fall_as_the_reference_rounds_them() {
        for (m, n) in [(7, 13), (8, 12), (9, 11)] {
            assert_eq!(NoveltyRule::ALPACA.least_conflict(m, n), Some(7));
        }
        assert_eq!(NoveltyRule::ALPACA.least_conflict(10, 10), Some(8));
        assert_eq!(NoveltyRule::PAPER.least_conflict(10, 10), Some(7));
    }
}
