//! Precision, recall and F1 of extracted spans and short answers.
//!
//! One item (a note, a question) gives [`Counts`]; [`micro`] adds counts up before dividing, [`per_item_mean`] divides first
//! and averages the scores. The two differ, and a mean of F1 is not the harmonic mean of the mean precision and recall:
//! say which one a number is.

use std::collections::BTreeMap;
use std::iter::Sum;
use std::ops::Add;

use crate::normalize::{answer_key, fold_case, words};

/// How many spans agree, were predicted, and were to be found, in one item or in many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Spans that stand on both sides.
    pub hits: usize,
    /// Spans of the prediction.
    pub predicted: usize,
    /// Spans of the gold answer.
    pub gold: usize,
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            hits: self.hits + other.hits,
            predicted: self.predicted + other.predicted,
            gold: self.gold + other.gold,
        }
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::default(), Add::add)
    }
}

/// Precision, recall and F1, each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SpanScore {
    /// Hits over predicted; 0 when nothing was predicted.
    pub precision: f64,
    /// Hits over gold; 0 when there was nothing to find.
    pub recall: f64,
    /// Of one item or of micro counts the harmonic mean of the two; of [`per_item_mean`] the mean of the items' F1.
    pub f1: f64,
}

impl From<Counts> for SpanScore {
    fn from(counts: Counts) -> Self {
        let share = |whole: usize| {
            if whole == 0 { 0.0 } else { counts.hits as f64 / whole as f64 }
        };
        let (precision, recall) = (share(counts.predicted), share(counts.gold));
        let sum = precision + recall;
        let f1 = if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 };
        Self { precision, recall, f1 }
    }
}

/// What a repeated span counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeats {
    /// A span counts once however often it is given.
    Ignored,
    /// Each mention counts, and is hit as often as the other side has it.
    Counted,
}

/// What an item scores in [`per_item_mean`] when there is nothing to find and nothing was predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BothEmpty {
    /// 1: the prediction is right.
    Perfect,
    /// 0, as a division by zero is read in `seqeval`.
    Zero,
    /// The item is left out of the mean.
    Skipped,
}

/// Counts over any comparable spans, such as `(type, start, end)`.
pub fn count_spans<T: Ord>(gold: &[T], predicted: &[T], repeats: Repeats) -> Counts {
    let tally = |spans| tally(spans, repeats);
    let (gold, predicted) = (tally(gold), tally(predicted));
    let shared =
        |(span, &count): (&&T, &usize)| count.min(predicted.get(span).copied().unwrap_or(0));
    Counts {
        hits: gold.iter().map(shared).sum(),
        predicted: predicted.values().sum(),
        gold: gold.values().sum(),
    }
}

fn tally<T: Ord>(spans: &[T], repeats: Repeats) -> BTreeMap<&T, usize> {
    let mut counts = BTreeMap::new();
    for span in spans {
        let count = counts.entry(span).or_insert(0);
        *count = if repeats == Repeats::Counted { *count + 1 } else { 1 };
    }
    counts
}

/// Counts over spans of text, which agree when their [`answer_key`]s do. A blank string is no span.
///
/// ```
/// # use bioinstruct_text::spans::{Repeats, SpanScore, count_text_spans};
/// let counts = count_text_spans(&["Aspirin", "metformin"], &["aspirin ", "heparin"], Repeats::Ignored);
/// assert_eq!(SpanScore::from(counts).f1, 0.5);
/// ```
pub fn count_text_spans(
    gold: &[impl AsRef<str>],
    predicted: &[impl AsRef<str>],
    repeats: Repeats,
) -> Counts {
    count_spans(&keys(gold), &keys(predicted), repeats)
}

fn keys(spans: &[impl AsRef<str>]) -> Vec<String> {
    spans.iter().map(|span| answer_key(span.as_ref())).filter(|key| !key.is_empty()).collect()
}

/// How a short answer is cut into tokens for [`count_tokens`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerTokens {
    /// Case-folded words, with their punctuation.
    Words,
    /// [`squad_tokens`].
    Squad,
}

/// Unigram overlap of two short answers, each token counted as often as both sides have it.
pub fn count_tokens(gold: &str, predicted: &str, tokens: AnswerTokens) -> Counts {
    let cut = |text: &str| match tokens {
        AnswerTokens::Words => words(&fold_case(text)).map(str::to_owned).collect(),
        AnswerTokens::Squad => squad_tokens(text),
    };
    count_spans(&cut(gold), &cut(predicted), Repeats::Counted)
}

/// Tokens as the `SQuAD` 1.1 evaluation makes them: lower case, ASCII punctuation deleted (`beta-blocker` becomes one word),
/// then the articles a, an, the dropped. Mind that `vitamin A` loses its letter.
pub fn squad_tokens(text: &str) -> Vec<String> {
    let kept = text.to_lowercase().replace(|character: char| character.is_ascii_punctuation(), "");
    // Articles are whole runs of letters and digits, which signs beyond ASCII such as a dash also delimit.
    let is_joint = |character: char| !character.is_alphanumeric();
    let without_articles: String = kept
        .split_inclusive(is_joint)
        .map(|piece| {
            let run = piece.trim_end_matches(is_joint);
            if matches!(run, "a" | "an" | "the") {
                piece.replacen(run, " ", 1)
            } else {
                piece.to_owned()
            }
        })
        .collect();
    words(&without_articles).map(str::to_owned).collect()
}

/// Score of all items together: counts are added up, then divided.
pub fn micro(items: impl IntoIterator<Item = Counts>) -> SpanScore {
    items.into_iter().sum::<Counts>().into()
}

/// Mean over items of each item's precision, recall and F1, added in the order given; zeros when no item is left.
pub fn per_item_mean(items: impl IntoIterator<Item = Counts>, both_empty: BothEmpty) -> SpanScore {
    let mut total = SpanScore::default();
    let mut scored = 0_usize;
    for counts in items {
        let score = match both_empty {
            _ if counts.predicted + counts.gold > 0 => counts.into(),
            BothEmpty::Perfect => SpanScore { precision: 1.0, recall: 1.0, f1: 1.0 },
            BothEmpty::Zero => SpanScore::default(),
            BothEmpty::Skipped => continue,
        };
        total.precision += score.precision;
        total.recall += score.recall;
        total.f1 += score.f1;
        scored += 1;
    }
    let mean = |sum: f64| sum / scored.max(1) as f64;
    SpanScore { precision: mean(total.precision), recall: mean(total.recall), f1: mean(total.f1) }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these quotients are exact in doubles")]
mod tests {
    use super::*;

    fn counts(hits: usize, predicted: usize, gold: usize) -> Counts {
        Counts { hits, predicted, gold }
    }

    #[test]
    fn repeats_count_or_do_not() {
        let gold = ["Aspirin", "aspirin", "warfarin"];
        let predicted = ["ASPIRIN", "aspirin\n", " aspirin", "heparin", " "];
        let count = |repeats| count_text_spans(&gold, &predicted, repeats);
        assert_eq!(count(Repeats::Ignored), counts(1, 2, 2));
        assert_eq!(count(Repeats::Counted), counts(2, 4, 3));
    }

    #[test]
    fn typed_spans_must_agree_in_full() {
        let gold = [("drug", 0, 7), ("disease", 12, 20)];
        let predicted = [("drug", 0, 7), ("drug", 12, 20), ("disease", 12, 19)];
        assert_eq!(count_spans(&gold, &predicted, Repeats::Counted), counts(1, 3, 2));
    }

    #[test]
    fn micro_and_mean_differ() {
        let items = [counts(1, 1, 1), counts(1, 4, 2), counts(0, 0, 3)];
        let micro = micro(items);
        assert_eq!((micro.precision, micro.recall), (2.0 / 5.0, 2.0 / 6.0));
        let mean = per_item_mean(items, BothEmpty::Perfect);
        assert!((mean.precision - 1.25 / 3.0).abs() < 1e-15);
        assert!((mean.recall - 0.5).abs() < 1e-15);
        assert!((mean.f1 - (1.0 + 1.0 / 3.0) / 3.0).abs() < 1e-15);
    }

    #[test]
    fn an_empty_item_scores_what_the_caller_says() {
        let items = [counts(0, 0, 0), counts(1, 2, 2)];
        let f1 = |both_empty| per_item_mean(items, both_empty).f1;
        assert_eq!(f1(BothEmpty::Perfect), 0.75);
        assert_eq!(f1(BothEmpty::Zero), 0.25);
        assert_eq!(f1(BothEmpty::Skipped), 0.5);
        assert_eq!(per_item_mean([], BothEmpty::Perfect), SpanScore::default());
        assert_eq!(micro([]), SpanScore::default());
    }

    #[test]
    fn squad_tokens_follow_the_evaluation_script() {
        assert_eq!(squad_tokens("The beta-blocker, a \"Drug\"."), ["betablocker", "drug"]);
        assert_eq!(squad_tokens("the–an α a"), ["–", "α"]);
        assert_eq!(squad_tokens("theatre anaemia a1"), ["theatre", "anaemia", "a1"]);
        assert!(squad_tokens(" the, A an!").is_empty());
    }

    #[test]
    fn token_overlap_counts_repeats() {
        assert_eq!(
            count_tokens("the left knee pain", "Pain in the knee, knee", AnswerTokens::Squad),
            counts(2, 4, 3)
        );
        assert_eq!(count_tokens("vitamin A", "Vitamin a", AnswerTokens::Words), counts(2, 2, 2));
    }
}
