//! Why an evaluation cannot go on: [`EvaluationError`].

use std::path::PathBuf;

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_core::jsonl::JsonlError;
use bioinstruct_core::model::ModelError;
use bioinstruct_core::run_directory::RunError;
use bioinstruct_core::template::TemplateError;
use bioinstruct_data::task::TaskError;
use bioinstruct_ledger::LedgerError;

/// An evaluation that did not come to its end. What was answered before it stands in the journal.
#[derive(Debug, thiserror::Error)]
pub enum EvaluationError {
    /// The file system refused; the source names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The run directory.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A task or its data.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The candidate's template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The journal of answers.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A line of a prediction file.
    #[error(transparent)]
    Predictions(#[from] JsonlError),
    /// A candidate that cannot be scored.
    #[error("candidate `{id}`: {reason}")]
    Candidate {
        /// Its id.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// One task, profile and number of examples was asked for twice.
    #[error("{name} is asked for twice")]
    Repeated {
        /// As in file names.
        name: String,
    },
    /// A setting out of range.
    #[error("eval.{field}: {reason}")]
    Setting {
        /// Its key.
        field: &'static str,
        /// What it must be.
        reason: String,
    },
    /// The model's answer makes no sense, such as a log-likelihood that is not a number.
    #[error("task `{task}`, item `{item}`, candidate `{candidate}`: {reason}")]
    Reply {
        /// The task.
        task: String,
        /// The item.
        item: String,
        /// The candidate.
        candidate: String,
        /// What came back.
        reason: String,
    },
    /// Some items got no answer.
    #[error(
        "task `{task}`, candidate `{candidate}`: {failed} of {total} items have no answer; item `{item}`: {reason}"
    )]
    Unanswered {
        /// The task.
        task: String,
        /// The candidate.
        candidate: String,
        /// How many.
        failed: usize,
        /// Of how many.
        total: usize,
        /// The first of them.
        item: String,
        /// Why that one failed.
        reason: String,
    },
    /// Two prediction files disagree on what is being answered.
    #[error("{first} and {second} give item `{item}` different targets", first = first.display(), second = second.display())]
    Mismatch {
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
        /// The item.
        item: String,
    },
    /// Stopped by the caller.
    #[error("the evaluation was stopped")]
    Interrupted,
}

impl Diagnose for EvaluationError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Io(_) => FailureKind::Io,
            Self::Run(error) => error.kind(),
            Self::Task(error) => error.kind(),
            Self::Template(error) => error.kind(),
            Self::Ledger(error) => error.kind(),
            Self::Model(error) => error.kind(),
            Self::Predictions(error) => error.kind(),
            Self::Candidate { .. } | Self::Repeated { .. } => FailureKind::Usage,
            Self::Setting { .. } => FailureKind::Configuration,
            Self::Reply { .. } | Self::Mismatch { .. } => FailureKind::Data,
            Self::Unanswered { .. } => FailureKind::Temporary,
            Self::Interrupted => FailureKind::Interrupted,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Run(error) => error.hint(),
            Self::Task(error) => error.hint(),
            Self::Template(error) => error.hint(),
            Self::Ledger(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Reply { .. } => Some(
                "the weights may be damaged, or the adapter diverged in training; `--precision f32` tells the two from rounding"
                    .to_owned(),
            ),
            Self::Unanswered { .. } | Self::Interrupted => Some(
                "run the same command again: answers that were given are kept".to_owned(),
            ),
            Self::Mismatch { .. } => {
                Some("the data changed between the two evaluations: repeat the older one".to_owned())
            }
            Self::Predictions(_) => Some(
                "move the damaged file away and run the evaluation again".to_owned(),
            ),
            Self::Io(_) | Self::Candidate { .. } | Self::Repeated { .. } | Self::Setting { .. } => None,
        }
    }
}
