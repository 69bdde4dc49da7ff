//! Prediction files: `<model id>/<task>@<profile>-<k>shot.jsonl`, and beside each a `.info.json` that says what was asked of
//! whom. Scores and comparisons are made from these files alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::jsonl::{self, JsonlError};
use bioinstruct_core::model::ModelIdentity;
use bioinstruct_core::run_directory::{Stage, create_private_directory};
use bioinstruct_data::task::{Excluded, Metric, Profile, TaskKind};
use serde::{Deserialize, Serialize};

use crate::metrics::signature;
use crate::prediction::Prediction;
use crate::{Candidate, EvaluationConfig, EvaluationError, TaskInput};

/// What stands beside a prediction file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationInfo {
    /// The candidate's id, which names the folder.
    pub candidate: String,
    /// The model without its adapter, for people.
    pub model: String,
    /// Weights, adapter, tokenizer and precision, for programs.
    pub digest: String,
    /// The adapter; none is the base.
    pub adapter: Option<String>,
    /// The template; none where the prompt is raw text.
    pub template: Option<String>,
    /// The task.
    pub task: String,
    /// The task, for people.
    pub title: String,
    /// Its kind.
    pub kind: TaskKind,
    /// What is measured.
    pub metrics: Vec<Metric>,
    /// How each metric is computed.
    pub signatures: BTreeMap<String, String>,
    /// The profile.
    pub profile: Profile,
    /// Ids of the solved examples, in the order shown.
    pub shots: Vec<String>,
    /// Whether the data come under a use agreement.
    pub credentialed: bool,
    /// Licence of the data.
    pub licence: String,
    /// Hashes of task file, data and lists of ids.
    pub inputs: BTreeMap<String, String>,
    /// Items left out because they stand in training data.
    pub excluded: Vec<Excluded>,
    /// What the reader of the scores must know.
    pub warnings: Vec<String>,
    /// Expected accuracy of a uniform guess; for multiple choice.
    pub chance: Option<f64>,
    /// The label that says "none of these", which `micro_f1` leaves out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negative: Option<String>,
    /// Names the random streams of the statistics.
    pub seed: u64,
    /// Resamples of the statistics.
    pub resamples: usize,
    /// Hash of the prediction file.
    pub predictions: String,
}

impl EvaluationInfo {
    pub(crate) fn new(
        input: &TaskInput,
        candidate: &Candidate,
        base: &ModelIdentity,
        answering: &ModelIdentity,
        raw: bool,
        config: &EvaluationConfig,
    ) -> Self {
        let task = &input.task;
        let items = &input.items;
        let signatures =
            task.metrics.iter().map(|&metric| (metric.name().to_owned(), signature(metric)));
        Self {
            candidate: candidate.id.clone(),
            model: base.name.clone(),
            digest: answering.digest.clone(),
            adapter: candidate.adapter.clone(),
            template: (!raw).then(|| candidate.template.clone()),
            task: task.name.clone(),
            title: task.title.clone(),
            kind: task.kind,
            metrics: task.metrics.clone(),
            signatures: signatures.collect(),
            profile: items.profile,
            shots: items.shots.iter().map(|shot| shot.id.clone()).collect(),
            credentialed: task.credentialed,
            licence: task.licence.clone(),
            inputs: items.inputs.clone(),
            excluded: items.excluded.clone(),
            warnings: items.warnings.clone(),
            chance: chance(input),
            negative: negative(input),
            seed: config.seed,
            resamples: config.resamples,
            predictions: String::new(),
        }
    }

    /// As in file names: `medqa@default-0shot`.
    pub fn run_name(&self) -> String {
        run_name(&self.task, self.profile, self.shots.len())
    }
}

/// The label under which the task's negative choice stands in predictions.
fn negative(input: &TaskInput) -> Option<String> {
    let negative = input.task.choices.as_ref()?.negative.as_ref()?;
    let choices = &input.items.items.first()?.choices;
    choices.iter().find(|choice| choice.text == *negative).map(|choice| choice.label.clone())
}

fn chance(input: &TaskInput) -> Option<f64> {
    let items = &input.items.items;
    let share = |count: usize| 1.0 / count.max(1) as f64;
    let sum: f64 = items.iter().map(|item| share(item.choices.len())).sum();
    (input.task.kind == TaskKind::MultipleChoice && !items.is_empty())
        .then(|| sum / items.len() as f64)
}

/// `<task>@<profile>-<k>shot`.
pub(crate) fn run_name(task: &str, profile: Profile, shots: usize) -> String {
    format!("{task}@{profile}-{shots}shot")
}

/// A prediction file that has been read.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictionFile {
    /// Where it is.
    pub path: PathBuf,
    /// What stands beside it.
    pub info: EvaluationInfo,
    /// Its rows, in the task's order.
    pub predictions: Vec<Prediction>,
}

/// Writes the predictions, then what stands beside them.
pub(crate) fn publish(
    stage: &Stage,
    name: &str,
    mut info: EvaluationInfo,
    predictions: &[Prediction],
) -> Result<(), EvaluationError> {
    create_private_directory(&stage.path(&info.candidate))?;
    let file = format!("{}/{name}.jsonl", info.candidate);
    let path = stage.publish(&file, |out| jsonl::write(out, predictions))?;
    info.predictions = ContentHash::of_file(&path)?.to_string();
    stage.publish_json(&format!("{}/{name}.info.json", info.candidate), &info)?;
    Ok(())
}

/// Every prediction file of an `eval` directory, by folder and name, and a sentence on each that cannot be used: one whose
/// evaluation was cut short between its two files.
pub fn read_predictions(
    directory: &Path,
) -> Result<(Vec<PredictionFile>, Vec<String>), EvaluationError> {
    let mut files = Vec::new();
    let mut warnings = Vec::new();
    for folder in sorted_entries(directory)? {
        if !folder.is_dir() {
            continue;
        }
        for path in sorted_entries(&folder)? {
            if path.extension().is_none_or(|extension| extension != "jsonl") {
                continue;
            }
            match read_one(&path)? {
                Some(file) => files.push(file),
                None => warnings.push(format!(
                    "{} is left out: its evaluation was cut short; run it again",
                    path.display()
                )),
            }
        }
    }
    Ok((files, warnings))
}

fn sorted_entries(directory: &Path) -> Result<Vec<PathBuf>, EvaluationError> {
    let mut paths = Vec::new();
    for entry in fs_err::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_one(path: &Path) -> Result<Option<PredictionFile>, EvaluationError> {
    let beside = path.with_extension("info.json");
    if !beside.is_file() {
        return Ok(None);
    }
    let text = fs_err::read_to_string(&beside)?;
    let info: EvaluationInfo = serde_json::from_str(&text).map_err(|error| JsonlError::Line {
        path: beside,
        line: error.line(),
        reason: error.to_string(),
    })?;
    let text = fs_err::read_to_string(path)?;
    if ContentHash::of_bytes(text.as_bytes()).as_str() != info.predictions {
        return Ok(None);
    }
    let predictions = jsonl::parse(&text, path)?;
    Ok(Some(PredictionFile { path: path.to_owned(), info, predictions }))
}
