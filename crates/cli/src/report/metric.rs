//! How a metric is shown: [`Metric`] knows its name for people, its scale and which one speaks for a task.

use super::number;

/// How to show the values of one metric.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Metric {
    /// For people.
    pub label: String,
    /// Whether files hold it from 0 to 1 and people read it from 0 to 100.
    pub hundredfold: bool,
}

/// Metrics known by name: label, one sentence. The first of them that a task has is its headline.
const KNOWN: [(&str, &str, &str); 16] = [
    ("accuracy", "Accuracy", "share of questions whose most likely option is the right one"),
    (
        "micro_f1",
        "Micro F1",
        "agreement of the choices with the expected ones, `none of these` left out",
    ),
    ("span_f1", "Span F1", "agreement of extracted with expected spans, mean over items"),
    ("token_f1", "Word F1", "words shared with the expected phrase, mean over items"),
    (
        "rougeL",
        "ROUGE-L",
        "words shared with the reference in the same order; not a measure of truth",
    ),
    ("rouge1", "ROUGE-1", "words shared with the reference; not a measure of truth"),
    ("rouge2", "ROUGE-2", "word pairs shared with the reference; not a measure of truth"),
    (
        "span_precision",
        "Span precision",
        "share of extracted spans that are expected, mean over items",
    ),
    ("span_recall", "Span recall", "share of expected spans that are extracted, mean over items"),
    ("span_f1_micro", "Span F1, micro", "agreement of all spans of all items at once"),
    (
        "span_precision_micro",
        "Span precision, micro",
        "share of all extracted spans that are expected",
    ),
    (
        "label_accuracy",
        "Status accuracy",
        "share of the names found whose status is right, mean over items",
    ),
    (
        "label_accuracy_micro",
        "Status accuracy, micro",
        "share of all names found whose status is right",
    ),
    (
        "token_precision",
        "Word precision",
        "share of the answer's words that are expected, mean over items",
    ),
    ("token_recall", "Word recall", "share of the expected words that are given, mean over items"),
    ("span_recall_micro", "Span recall, micro", "share of all expected spans that are extracted"),
];

impl Metric {
    /// The metric of this name; `largest` is the largest value that the files hold of it.
    pub(crate) fn of(name: &str, largest: f64) -> Self {
        let known = KNOWN.iter().find(|known| known.0 == name);
        Self { label: known.map_or(name, |known| known.1).to_owned(), hundredfold: largest <= 1.0 }
    }

    /// What it means, in one sentence.
    pub(crate) fn explanation(name: &str) -> Option<&'static str> {
        KNOWN.iter().find(|known| known.0 == name).map(|known| known.2)
    }

    /// As people read it.
    pub(crate) fn shown(&self, value: f64) -> f64 {
        if self.hundredfold { 100.0 * value } else { value }
    }

    /// As people read it, one decimal of a hundred, two of anything else.
    pub(crate) fn text(&self, value: f64) -> String {
        number::fixed(self.shown(value), self.decimals())
    }

    /// The same with a sign.
    pub(crate) fn signed(&self, value: f64) -> String {
        number::signed(self.shown(value), self.decimals())
    }

    fn decimals(&self) -> usize {
        if self.hundredfold { 1 } else { 2 }
    }
}

/// The place of a metric among those of its task: known ones first, then by name.
pub(crate) fn rank(name: &str) -> (usize, String) {
    let place = KNOWN.iter().position(|known| known.0 == name);
    (place.unwrap_or(KNOWN.len()), name.to_owned())
}
