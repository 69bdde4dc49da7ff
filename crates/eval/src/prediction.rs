//! One item's answer and what it scores: [`Prediction`], the row of a prediction file.

use std::collections::BTreeMap;

use bioinstruct_core::model::Finish;
use serde::{Deserialize, Serialize};

use crate::metrics::SpanCounts;

/// One line of a prediction file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The item.
    pub id: String,
    /// Hash of what the model was shown: prompt and template.
    pub prompt: String,
    /// The right answer: a choice's label, a list or a text. Absent for credentialed tasks, but for a choice's label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Answered>,
    /// What the model answered.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A text, or a list of texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answered {
    /// A label or a text.
    One(String),
    /// A list.
    Many(Vec<String>),
}

/// An answer with its score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Outcome {
    /// Of multiple choice.
    Chosen(Chosen),
    /// Of extraction and generation.
    Written(Written),
}

/// A choice by log-likelihood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// Sums in nats, in the order of the choices.
    pub loglikelihoods: Vec<f64>,
    /// Label of the likeliest choice; of equals the first.
    pub choice: String,
    /// Whether it is the target.
    pub correct: bool,
    /// Whether another choice is exactly as likely, so that the order of the choices decided.
    pub tie: bool,
    /// Tokens cut from the left of a prompt that is too long for the model.
    pub truncated_tokens: usize,
}

/// A written answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// What the model wrote; absent for credentialed tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What was read from it; absent for credentialed tasks, and when nothing could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parsed: Option<Answered>,
    /// Whether nothing could be read; the item then scores as an empty answer.
    pub unparsed: bool,
    /// Why the text ended.
    pub finish: Finish,
    /// The item's scores by metric.
    pub metrics: BTreeMap<String, f64>,
    /// Of extraction: the spans behind the scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<SpanCounts>,
}

impl Prediction {
    /// The item's value of a metric: 0 or 1 for accuracy.
    pub fn value(&self, metric: &str) -> Option<f64> {
        match &self.outcome {
            Outcome::Chosen(chosen) if metric == "accuracy" => Some(f64::from(chosen.correct)),
            Outcome::Chosen(_) => None,
            Outcome::Written(written) => written.metrics.get(metric).copied(),
        }
    }
}

/// The choice that sums of log-likelihood make.
pub(crate) struct Argmax {
    pub(crate) position: usize,
    pub(crate) tie: bool,
}

/// The first of the largest values; none when a value is no finite number.
pub(crate) fn argmax(values: &[f64]) -> Option<Argmax> {
    let mut best = Argmax { position: 0, tie: false };
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    for (position, value) in values.iter().enumerate().skip(1) {
        if *value > values[best.position] {
            best = Argmax { position, tie: false };
        } else if *value >= values[best.position] {
            best.tie = true;
        }
    }
    Some(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_of_equals_is_taken_and_said_to_be_a_tie() {
        let choose = |values: &[f64]| argmax(values).map(|best| (best.position, best.tie));
        assert_eq!(choose(&[-2.0, -1.0, -1.0, -3.0]), Some((1, true)));
        assert_eq!(choose(&[-2.0, -2.0, -1.0]), Some((2, false)));
        assert_eq!(choose(&[-1.0, -2.0]), Some((0, false)));
        assert_eq!(choose(&[-1.0, f64::NAN]), None);
        assert_eq!(choose(&[f64::NEG_INFINITY, -1.0]), None);
        assert_eq!(choose(&[]), None);
    }

    #[test]
    fn rows_have_the_published_form_and_survive_a_round_trip() {
        let chosen = Prediction {
            id: "q1".to_owned(),
            prompt: "ab".to_owned(),
            target: Some(Answered::One("B".to_owned())),
            outcome: Outcome::Chosen(Chosen {
                loglikelihoods: vec![-0.1 - 0.2, -1.0 / 3.0],
                choice: "A".to_owned(),
                correct: false,
                tie: false,
                truncated_tokens: 0,
            }),
        };
        let text = serde_json::to_string(&chosen).unwrap();
        assert_eq!(
            text,
            "{\"id\":\"q1\",\"prompt\":\"ab\",\"target\":\"B\",\"loglikelihoods\":[-0.30000000000000004,\
             -0.3333333333333333],\"choice\":\"A\",\"correct\":false,\"tie\":false,\"truncated_tokens\":0}"
        );
        assert_eq!(serde_json::from_str::<Prediction>(&text).unwrap(), chosen);

        let row = json!({
            "id": "e1", "prompt": "cd", "target": ["x"], "text": "- x", "parsed": ["x"], "unparsed": false,
            "finish": "stop", "metrics": {"span_f1": 1.0}, "counts": {"hits": 1, "predicted": 1, "gold": 1}
        });
        let written: Prediction = serde_json::from_value(row.clone()).unwrap();
        assert_eq!(written.value("span_f1"), Some(1.0));
        assert_eq!(written.value("accuracy"), None);
        assert_eq!(serde_json::to_value(&written).unwrap(), row);
    }
}
