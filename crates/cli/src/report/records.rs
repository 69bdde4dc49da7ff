//! The rows of the files that the report reads. A field that is missing gets its default, so that files of older and newer
//! versions are shown as far as they go.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// One row of `eval/scores.json`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Score {
    /// The model's name.
    pub model: String,
    /// The adapter's name; nothing for the base.
    pub adapter: Option<String>,
    /// The folder of the predictions, by which comparisons name it too.
    pub candidate: String,
    /// The template that the prompts were rendered with; nothing for raw text.
    pub template: Option<String>,
    /// The task's name.
    pub task: String,
    /// The convention of prompting and scoring.
    pub profile: String,
    /// Solved examples in each prompt.
    pub shots: u64,
    /// What is measured.
    pub metric: String,
    /// Which of the items; nothing for all of them.
    pub subset: Option<String>,
    /// The mean over the items.
    pub value: Option<f64>,
    /// Items.
    pub n: u64,
    /// Lower end of the interval.
    pub ci_low: Option<f64>,
    /// Upper end of the interval.
    pub ci_high: Option<f64>,
    /// Prompts that lost tokens because they are too long for the model.
    pub truncated: u64,
    /// Answers that were cut off.
    pub cut_off: u64,
    /// Answers that could not be read.
    pub unparsed: u64,
    /// Items left out because they stand in training data.
    pub excluded: u64,
    /// Whether the task's text must not be shown.
    pub credentialed: bool,
    /// How the metric is computed.
    pub signature: String,
    /// Expected accuracy of guessing at random.
    pub chance: Option<f64>,
    /// Accuracy of always giving the commonest answer.
    pub majority: Option<f64>,
    /// That answer.
    pub majority_choice: String,
    /// How often each choice was made.
    pub choice_shares: BTreeMap<String, f64>,
}

/// One row of `eval/comparisons.json`: `delta` is the value of `b` less that of `a`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Comparison {
    /// The task's name.
    pub task: String,
    /// The convention of prompting and scoring.
    pub profile: String,
    /// Solved examples in each prompt.
    pub shots: u64,
    /// What is compared.
    pub metric: String,
    /// What `b` is compared with.
    pub a: String,
    /// The other one.
    pub b: String,
    /// Mean of the paired differences.
    pub delta: Option<f64>,
    /// Lower end of its interval.
    pub ci_low: Option<f64>,
    /// Upper end of its interval.
    pub ci_high: Option<f64>,
    /// Of the paired test.
    pub p: Option<f64>,
    /// Items that both answered.
    pub n: u64,
    /// Items on which `a` is better.
    pub a_better: Option<u64>,
    /// Items on which `b` is better.
    pub b_better: Option<u64>,
    /// What the evaluation concluded.
    pub within_noise: Option<bool>,
}

/// One row of `train/metrics.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct StepRow {
    pub step: u64,
    pub epoch: Option<f64>,
    pub loss: Option<f64>,
    pub lr: Option<f64>,
    pub grad_norm: Option<f64>,
    pub tokens: Option<f64>,
    pub label_tokens: Option<f64>,
    pub dev_loss: Option<f64>,
}

/// The predictions of one model on one task: a file of `eval/<candidate>/`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PredictionFile {
    /// The folder.
    pub candidate: String,
    /// The task's name.
    pub task: String,
    /// The convention of prompting and scoring.
    pub profile: String,
    /// Solved examples in each prompt.
    pub shots: u64,
    /// One object per item.
    pub rows: Vec<Value>,
    /// What stands beside them: title, warnings, whether the text must not be shown.
    pub info: Value,
}

#[cfg(test)]
mod tests {
    use super::*;
    use bioinstruct_data::task::Profile;
    use bioinstruct_eval::{compare, score};
    use serde_json::json;

    #[test]
    fn scores_are_read_as_the_evaluation_writes_them() {
        let written = score::Score {
            model: "smollm2".to_owned(),
            adapter: None,
            candidate: "base".to_owned(),
            template: None,
            task: "demo_qa".to_owned(),
            profile: Profile::LmEval,
            shots: 5,
            metric: "accuracy".to_owned(),
            subset: None,
            value: 0.5,
            n: 40,
            ci_low: 0.4,
            ci_high: 0.6,
            stderr: None,
            truncated: 1,
            cut_off: 2,
            unparsed: 3,
            excluded: 4,
            credentialed: true,
            signature: "s".to_owned(),
            choices: Some(score::ChoiceStatistics {
                chance: 0.25,
                majority: 0.3,
                majority_choice: "B".to_owned(),
                ties: 0,
                choice_shares: BTreeMap::from([("A".to_owned(), 1.0)]),
                target_shares: BTreeMap::new(),
            }),
        };
        let read: Score = serde_json::from_value(json!(written)).unwrap();
        let expected = Score {
            model: "smollm2".to_owned(),
            candidate: "base".to_owned(),
            task: "demo_qa".to_owned(),
            profile: "lm-eval".to_owned(),
            shots: 5,
            metric: "accuracy".to_owned(),
            value: Some(0.5),
            n: 40,
            ci_low: Some(0.4),
            ci_high: Some(0.6),
            truncated: 1,
            cut_off: 2,
            unparsed: 3,
            excluded: 4,
            credentialed: true,
            signature: "s".to_owned(),
            chance: Some(0.25),
            majority: Some(0.3),
            majority_choice: "B".to_owned(),
            choice_shares: BTreeMap::from([("A".to_owned(), 1.0)]),
            ..Score::default()
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn comparisons_are_read_as_the_evaluation_writes_them() {
        let written = compare::Comparison {
            task: "demo_qa".to_owned(),
            profile: Profile::Default,
            shots: 0,
            metric: "accuracy".to_owned(),
            a: "base".to_owned(),
            b: "tuned".to_owned(),
            delta: 0.1,
            ci_low: -0.1,
            ci_high: 0.3,
            p: 0.5,
            test: compare::Test::McnemarExact,
            n: 40,
            a_better: 3,
            b_better: 7,
            within_noise: true,
        };
        let read: Comparison = serde_json::from_value(json!(written)).unwrap();
        let expected = Comparison {
            task: "demo_qa".to_owned(),
            profile: "default".to_owned(),
            metric: "accuracy".to_owned(),
            a: "base".to_owned(),
            b: "tuned".to_owned(),
            delta: Some(0.1),
            ci_low: Some(-0.1),
            ci_high: Some(0.3),
            p: Some(0.5),
            n: 40,
            a_better: Some(3),
            b_better: Some(7),
            within_noise: Some(true),
            ..Comparison::default()
        };
        assert_eq!(read, expected);
    }
}
