//! What can go wrong while a local model is set up: [`LocalError`].

use std::path::PathBuf;

use bioinstruct_core::diagnose::{Diagnose, FailureKind};

use crate::error::EngineError;
use crate::format::FormatError;
use crate::tokenizer::TokenizerError;

/// A local model or one of its adapters that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The model's or the adapter's files cannot be used.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The tokenizer belongs to another model.
    #[error("{}: the tokenizer has {tokens} tokens, the model knows {rows}", path.display())]
    Vocabulary {
        /// The model.
        path: PathBuf,
        /// Tokens of the tokenizer.
        tokens: usize,
        /// Rows of the embedding.
        rows: usize,
    },
    /// No sequence could ever run.
    #[error("slots: at least 1 is needed")]
    NoSlots,
}

impl From<FormatError> for LocalError {
    fn from(error: FormatError) -> Self {
        Self::Engine(error.into())
    }
}

impl Diagnose for LocalError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Engine(error) => error.kind(),
            Self::Tokenizer(error) => error.kind(),
            Self::Vocabulary { .. } => FailureKind::Data,
            Self::NoSlots => FailureKind::Configuration,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Engine(error) => error.hint(),
            Self::Tokenizer(error) => error.hint(),
            Self::Vocabulary { .. } => {
                Some("take the tokenizer files that came with the weights".to_owned())
            }
            Self::NoSlots => None,
        }
    }
}
