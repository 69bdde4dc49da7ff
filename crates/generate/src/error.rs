//! What can go wrong in generation: [`GenerateError`].

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_core::model::ModelError;
use bioinstruct_core::run_directory::RunError;
use bioinstruct_core::template::TemplateError;
use bioinstruct_curate::CurateError;
use bioinstruct_ledger::LedgerError;

/// A generation that did not come to an end. Whatever was answered is in the ledger.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The journal of requests cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The run directory cannot be used.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The filters cannot be set up.
    #[error(transparent)]
    Curate(#[from] CurateError),
    /// The model cannot go on.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A prompt cannot be rendered.
    #[error(transparent)]
    Prompt(#[from] TemplateError),
    /// A setting has no meaning.
    #[error("`generate.{key}`: {reason}")]
    Setting {
        /// The key.
        key: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
    /// Text under a data-use agreement would leave the machine.
    #[error("{count} seeds are restricted (the first is {first}) and the model is not local")]
    Restricted {
        /// The id of the first.
        first: String,
        /// How many there are.
        count: usize,
    },
    /// The JSON form was asked of a model that cannot be held to a schema.
    #[error("{model} cannot be held to a JSON schema")]
    NoSchema {
        /// Its name.
        model: String,
    },
    /// Several requests in a row failed for good.
    #[error("{count} requests in a row failed, the last with: {error}")]
    Failing {
        /// How many.
        count: usize,
        /// What the last one said.
        error: String,
    },
    /// The model answered something that it was not asked.
    #[error("the model answered request {id}, which is not under way")]
    Unasked {
        /// The id.
        id: String,
    },
    /// The model stopped asking for requests before enough was written.
    #[error("the model stopped early: {accepted} of {wanted} rows are accepted")]
    Stopped {
        /// Rows so far.
        accepted: usize,
        /// Rows wanted.
        wanted: usize,
    },
}

impl Diagnose for GenerateError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Ledger(error) => error.kind(),
            Self::Run(error) => error.kind(),
            Self::Curate(error) => error.kind(),
            Self::Model(error) => error.kind(),
            Self::Prompt(error) => error.kind(),
            Self::Setting { .. } | Self::Restricted { .. } | Self::NoSchema { .. } => {
                FailureKind::Configuration
            }
            Self::Failing { .. } | Self::Unasked { .. } => FailureKind::Unavailable,
            Self::Stopped { .. } => FailureKind::Temporary,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Ledger(error) => error.hint(),
            Self::Run(error) => error.hint(),
            Self::Curate(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Prompt(error) => error.hint(),
            Self::Setting { .. } | Self::Unasked { .. } => None,
            Self::Restricted { .. } => {
                Some("use a local model with `--model`, or leave these seeds out".to_owned())
            }
            Self::NoSchema { .. } => Some("use `--form paper`".to_owned()),
            Self::Failing { .. } => {
                Some("see what the service says; run again to go on, nothing is lost".to_owned())
            }
            Self::Stopped { .. } => Some("run again to go on".to_owned()),
        }
    }
}
