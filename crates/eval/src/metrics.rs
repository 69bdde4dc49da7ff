//! What one item scores: [`spans`] for lists, [`tokens`] for short answers, [`rouges`] for texts; [`signature`] says how.

use std::collections::BTreeMap;

use bioinstruct_data::task::Metric;
use bioinstruct_text::rouge::{RougeKind, Stemmer, rouge};
use bioinstruct_text::spans::{
    AnswerTokens, BothEmpty, Counts, Repeats, SpanScore, count_text_spans, count_tokens,
    per_item_mean,
};
use serde::{Deserialize, Serialize};

/// Spans of one item: how many agree, were predicted, were to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SpanCounts {
    /// On both sides.
    pub hits: usize,
    /// In the answer.
    pub predicted: usize,
    /// In the target.
    pub gold: usize,
    /// Of spans with labels: on both sides with the same label.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub labelled: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands the field by reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl From<SpanCounts> for Counts {
    fn from(counts: SpanCounts) -> Self {
        Self { hits: counts.hits, predicted: counts.predicted, gold: counts.gold }
    }
}

/// The names under which an item's numbers stand in prediction files; a score of the same name is their mean over items.
pub const SPAN_METRICS: [&str; 3] = ["span_precision", "span_recall", "span_f1"];

/// The same for the words of a short answer.
pub const TOKEN_METRICS: [&str; 3] = ["token_precision", "token_recall", "token_f1"];

/// Words that a short answer shares with the accepted answer that agrees best (the highest F1, of equals the first).
pub fn tokens(accepted: &[String], answer: &str) -> (SpanCounts, BTreeMap<String, f64>) {
    let count = |target: &String| count_tokens(target, answer, AnswerTokens::Words);
    let mut best = Counts::default();
    for (position, counts) in accepted.iter().map(count).enumerate() {
        if position == 0 || SpanScore::from(counts).f1 > SpanScore::from(best).f1 {
            best = counts;
        }
    }
    let score = SpanScore::from(best);
    let values = [score.precision, score.recall, score.f1];
    (span_counts(best), TOKEN_METRICS.map(str::to_owned).into_iter().zip(values).collect())
}

fn span_counts(counts: Counts) -> SpanCounts {
    let Counts { hits, predicted, gold } = counts;
    SpanCounts { hits, predicted, gold, labelled: 0 }
}

/// Spans agree when they are equal after case folding and collapsing white space; a repeated one counts once. An item with
/// nothing to find scores 1 when nothing is answered.
pub fn spans(gold: &[String], predicted: &[String]) -> (SpanCounts, BTreeMap<String, f64>) {
    let counts = count_text_spans(gold, predicted, Repeats::Ignored);
    let score = per_item_mean([counts], BothEmpty::Perfect);
    let values = [score.precision, score.recall, score.f1];
    let metrics = SPAN_METRICS.map(str::to_owned).into_iter().zip(values).collect();
    (span_counts(counts), metrics)
}

/// ROUGE F1 of each asked kind, without stemmer, as the scorer of MEDIQA-Chat 2023 computes it.
pub fn rouges(metrics: &[Metric], target: &str, prediction: &str) -> BTreeMap<String, f64> {
    let kind = |metric: &Metric| match metric {
        Metric::Rouge1 => Some(RougeKind::ONE),
        Metric::Rouge2 => Some(RougeKind::TWO),
        Metric::RougeL => Some(RougeKind::L),
        Metric::Accuracy
        | Metric::MicroF1
        | Metric::SpanF1
        | Metric::LabelAccuracy
        | Metric::TokenF1 => None,
    };
    metrics
        .iter()
        .filter_map(|metric| kind(metric).map(|kind| (metric.name().to_owned(), kind)))
        .map(|(name, kind)| (name, rouge(kind, target, prediction, Stemmer::Off).f1))
        .collect()
}

/// How a metric is computed, in one line that goes with every score of it.
pub fn signature(metric: Metric) -> String {
    let how = match metric {
        Metric::Accuracy => "highest summed log-likelihood, first of equals",
        Metric::MicroF1 => {
            "choices of highest summed log-likelihood, counts of all items, negative left out"
        }
        Metric::LabelAccuracy => {
            "labels equal after case folding, of the spans found; mean over items with one, and micro"
        }
        Metric::TokenF1 => "case-folded words, repeats counted, best of the accepted answers",
        Metric::SpanF1 => {
            "exact spans after case folding and white space, repeats once, empty on both sides 1"
        }
        Metric::Rouge1 | Metric::Rouge2 | Metric::RougeL => {
            "F1, tokens of rouge_score 0.1.2, no stemmer"
        }
    };
    format!("{}|{how}|v{}", metric.name(), env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these values are exact in doubles, or must be the same bits")]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn spans_of_one_item() {
        let (counts, metrics) =
            spans(&texts(&["Aspirin", "folic acid"]), &texts(&["folic  ACID", "iron", "iron"]));
        assert_eq!((counts.hits, counts.predicted, counts.gold), (1, 2, 2));
        assert_eq!(metrics["span_f1"], 0.5);
        let (_, nothing) = spans(&[], &[]);
        assert_eq!(nothing["span_f1"], 1.0);
        let (_, missed) = spans(&texts(&["a"]), &[]);
        assert_eq!(missed["span_precision"], 0.0);
    }

    #[test]
    fn an_answer_is_compared_with_the_one_that_agrees_best() {
        let accepted = texts(&["the left knee", "her knee"]);
        let (counts, metrics) = tokens(&accepted, "The knee");
        assert_eq!((counts.hits, counts.predicted, counts.gold), (2, 2, 3));
        assert_eq!((metrics["token_precision"], metrics["token_recall"]), (1.0, 2.0 / 3.0));
        let (counts, metrics) = tokens(&accepted, "");
        assert_eq!((counts.gold, metrics["token_f1"]), (3, 0.0));
    }

    #[test]
    fn only_the_asked_rouges_are_computed() {
        let found = rouges(&[Metric::Rouge1, Metric::RougeL], "no fever at all", "at all no fever");
        assert_eq!(found.len(), 2);
        assert_eq!((found["rouge1"], found["rougeL"]), (1.0, 0.5));
    }
}
