//! What can go wrong in the engine: [`EngineError`].

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_core::template::TemplateError;

use crate::format::FormatError;
use crate::kernels::{KERNELS_VARIABLE, KernelPath};

/// An engine that cannot be set up or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A model or adapter file is not what it should be.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The file system refused; the source names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The environment asks for kernels that this processor has not.
    #[error("kernels `{name}` are unknown or not available on this processor")]
    KernelPath {
        /// As given.
        name: String,
    },
    /// The threads cannot be started.
    #[error("cannot start threads: {reason}")]
    Threads {
        /// The system's message.
        reason: String,
    },
    /// An adapter does not fit the base, or changes the maths in a way that the engine does not compute.
    #[error("adapter {path}: {reason}")]
    Adapter {
        /// Its directory.
        path: String,
        /// What does not fit.
        reason: String,
    },
    /// A training or sampling setting is impossible.
    #[error("{setting}: {reason}")]
    Setting {
        /// Its key.
        setting: &'static str,
        /// Why it is impossible.
        reason: String,
    },
    /// A row cannot be trained on.
    #[error("row {id}: {reason}")]
    Row {
        /// The row's id.
        id: String,
        /// Why not.
        reason: String,
    },
    /// Rows have no answer that could be learned.
    #[error(
        "{count} rows have no answer to learn, the first is {first}; `train.max_unlabelled` is {most}"
    )]
    Unlabelled {
        /// How many.
        count: usize,
        /// How many may.
        most: usize,
        /// The first one's id.
        first: String,
    },
    /// The loss or the gradient is not a number any more.
    #[error("the {what} is not finite at step {step} (rows {rows})")]
    NotFinite {
        /// `loss` or `gradient norm`.
        what: &'static str,
        /// The optimizer step.
        step: usize,
        /// Ids of the rows in it.
        rows: String,
    },
    /// A watchdog that the user set has seen enough.
    #[error(
        "the {what} was above `{setting}` = {most} in {times} steps in a row: {value} at step {step} (rows {rows})"
    )]
    Astray {
        /// `loss` or `gradient norm`.
        what: &'static str,
        /// The key that holds the limit.
        setting: &'static str,
        /// At the last step.
        value: f64,
        /// The limit.
        most: f64,
        /// Steps in a row.
        times: usize,
        /// The last of them.
        step: usize,
        /// Ids of the rows in it.
        rows: String,
    },
    /// The checkpoint is that of a run with other inputs or settings.
    #[error("checkpoint {path} belongs to another run: {changes}")]
    OtherRun {
        /// Its directory.
        path: String,
        /// What has changed, one part for each thing.
        changes: String,
    },
    /// A checkpoint cannot be continued.
    #[error("checkpoint {path}: {reason}")]
    Checkpoint {
        /// Its directory.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A merged model cannot be written.
    #[error("cannot merge: {reason}")]
    Merge {
        /// Why not.
        reason: String,
    },
    /// The user asked to stop; what was finished is in a checkpoint.
    #[error("stopped before the end, with a checkpoint of what was finished")]
    Interrupted,
}

impl Diagnose for EngineError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Format(error) => error.kind(),
            Self::Template(error) => error.kind(),
            Self::Io(_) => FailureKind::Io,
            Self::KernelPath { .. } | Self::Setting { .. } | Self::OtherRun { .. } => {
                FailureKind::Configuration
            }
            Self::Threads { .. } | Self::Interrupted => FailureKind::Temporary,
            Self::Adapter { .. }
            | Self::Row { .. }
            | Self::Unlabelled { .. }
            | Self::NotFinite { .. }
            | Self::Merge { .. }
            | Self::Astray { .. }
            | Self::Checkpoint { .. } => FailureKind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Format(error) => error.hint(),
            Self::Template(error) => error.hint(),
            Self::KernelPath { .. } => {
                let here = KernelPath::ALL.into_iter().filter(|path| path.available());
                let here: Vec<&str> = here.map(KernelPath::name).collect();
                Some(format!("{KERNELS_VARIABLE} may be one of {}, or unset", here.join(", ")))
            }
            Self::Unlabelled { .. } => Some(
                "mend the rows, or let that many be left out: `--set train.max_unlabelled=N`"
                    .to_owned(),
            ),
            Self::NotFinite { .. } => Some("lower the learning rate with `--lr`".to_owned()),
            Self::Astray { .. } => {
                Some("lower the learning rate with `--lr`, or look at those rows".to_owned())
            }
            Self::OtherRun { .. } => Some(
                "repeat the earlier settings, or choose another `--run DIR` to start over"
                    .to_owned(),
            ),
            Self::Checkpoint { .. } => Some("choose another `--run DIR` to start over".to_owned()),
            Self::Interrupted => Some("run the same command again to go on".to_owned()),
            _ => None,
        }
    }
}
