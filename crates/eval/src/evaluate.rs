//! The whole evaluation: [`evaluate`] asks every candidate every task and leaves prediction files, scores and comparisons.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use bioinstruct_core::model::{ChatModel, Scorer};
use bioinstruct_core::run_directory::Stage;
use bioinstruct_data::task::{Items, Task, TaskKind};
use bioinstruct_ledger::Ledger;
use serde::{Deserialize, Serialize};

use crate::files::{self, EvaluationInfo};
use crate::prompt::{Asked, is_raw, prompts};
use crate::score::{Scores, rebuild};
use crate::{EvaluationError, choosing, writing};

/// A model that can be evaluated on every kind of task.
pub trait EvaluationModel: ChatModel + Scorer {}

impl<M: ChatModel + Scorer + ?Sized> EvaluationModel for M {}

/// What is evaluated: a model with or without an adapter, under one template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Names its folder: letters, digits, `.`, `_` and `-`.
    pub id: String,
    /// The loaded adapter; none is the base.
    pub adapter: Option<String>,
    /// `bioinstruct`, `alpaca`, `chat` or a path.
    pub template: String,
}

/// A task with the items that were read for it.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskInput {
    /// The task.
    pub task: Task,
    /// Its items under one profile, from [`Task::items`].
    pub items: Items,
}

impl TaskInput {
    /// As in file names: `medqa@default-0shot`.
    pub fn name(&self) -> String {
        files::run_name(&self.task.name, self.items.profile, self.items.shots.len())
    }
}

/// Settings of the statistics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationConfig {
    /// Names the random streams of intervals and tests.
    pub seed: u64,
    /// Bootstrap resamples of every interval, and sign patterns of a test that is not exact: 1,000 to 10,000.
    pub resamples: usize,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self { seed: 42, resamples: 2_000 }
    }
}

/// How far one candidate is with one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The task.
    pub task: &'a str,
    /// The candidate.
    pub candidate: &'a str,
    /// Items with an answer, those of an earlier run included.
    pub done: usize,
    /// All items.
    pub total: usize,
}

/// Told of every answer; `Break` stops the evaluation.
pub(crate) type ProgressSink<'p> = dyn FnMut(Progress<'_>) -> ControlFlow<()> + 'p;

/// Asks, scores and compares; what already stands in the stage's journal (`ledger.sqlite`) is not asked again.
///
/// Raw-text prompts know no template, so candidates that differ in nothing else are asked once, under the id of the first.
/// The stage's `manifest.json` is the caller's: [`Scores::outputs`] names the files that belong in it.
pub fn evaluate(
    stage: &Stage,
    model: &mut dyn EvaluationModel,
    candidates: &[Candidate],
    tasks: &[TaskInput],
    config: &EvaluationConfig,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Scores, EvaluationError> {
    check(candidates, tasks, config)?;
    let ledger = Ledger::open(&stage.path("ledger.sqlite"))?;
    for input in tasks {
        let raw = is_raw(input)?;
        let mut seen = BTreeSet::new();
        for candidate in candidates {
            if raw && !seen.insert(&candidate.adapter) {
                continue;
            }
            let asked = prompts(input, &candidate.template)?;
            run(stage, model, input, candidate, &asked, &ledger, config, progress)?;
        }
    }
    let scores = rebuild(stage.directory())?;
    stage.publish_json("scores.json", &scores.rows)?;
    stage.publish_json("comparisons.json", &scores.comparisons)?;
    Ok(scores)
}

fn run(
    stage: &Stage,
    model: &mut dyn EvaluationModel,
    input: &TaskInput,
    candidate: &Candidate,
    asked: &[Asked],
    ledger: &Ledger,
    config: &EvaluationConfig,
    progress: &mut ProgressSink<'_>,
) -> Result<(), EvaluationError> {
    let adapter = candidate.adapter.as_deref();
    let (base, answering, predictions) = if input.task.kind == TaskKind::MultipleChoice {
        let scorer: &mut dyn Scorer = model;
        let identities = (scorer.identity(None), scorer.identity(adapter));
        let predictions = choosing::choose(scorer, input, candidate, asked, ledger, progress)?;
        (identities.0, identities.1, predictions)
    } else {
        let writer: &mut dyn ChatModel = model;
        let identities = (writer.identity(None), writer.identity(adapter));
        let predictions = writing::write(writer, input, candidate, asked, ledger, progress)?;
        (identities.0, identities.1, predictions)
    };
    let info = EvaluationInfo::new(input, candidate, &base, &answering, is_raw(input)?, config);
    files::publish(stage, &input.name(), info, &predictions)
}

fn check(
    candidates: &[Candidate],
    tasks: &[TaskInput],
    config: &EvaluationConfig,
) -> Result<(), EvaluationError> {
    if !(1_000..=10_000).contains(&config.resamples) {
        return Err(EvaluationError::Setting {
            field: "resamples",
            reason: format!("{} is not between 1,000 and 10,000", config.resamples),
        });
    }
    let mut ids = BTreeSet::new();
    for candidate in candidates {
        let wrong = |reason: &str| EvaluationError::Candidate {
            id: candidate.id.clone(),
            reason: reason.to_owned(),
        };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if candidate.id.is_empty()
            || candidate.id.starts_with('.')
            || !candidate.id.bytes().all(allowed)
        {
            return Err(wrong(
                "an id is letters, digits, `.`, `_` and `-` and does not begin with `.`, since a folder is named after it",
            ));
        }
        if !ids.insert(&candidate.id) {
            return Err(wrong("the id is given twice"));
        }
    }
    let mut names = BTreeSet::new();
    match tasks.iter().map(TaskInput::name).find(|name| !names.insert(name.clone())) {
        Some(name) => Err(EvaluationError::Repeated { name }),
        None => Ok(()),
    }
}
