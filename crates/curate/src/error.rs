//! What can go wrong in curation: [`CurateError`].

use std::path::PathBuf;

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_core::jsonl::JsonlError;
use bioinstruct_core::run_directory::RunError;
use bioinstruct_core::template::TemplateError;
use bioinstruct_data::rows::{Quarantined, RowsError};

use crate::filter;

/// A curation that did not come to an end.
#[derive(Debug, thiserror::Error)]
pub enum CurateError {
    /// An input file cannot be read.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// The run directory cannot be used.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The file of scores cannot be used.
    #[error(transparent)]
    Scores(#[from] JsonlError),
    /// The card cannot be written.
    #[error(transparent)]
    Card(#[from] TemplateError),
    /// A setting has no meaning.
    #[error("`curate.{key}`: {reason}")]
    Setting {
        /// The key.
        key: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
    /// `only` names a filter that does not exist.
    #[error("unknown filter `{name}`")]
    UnknownFilter {
        /// As given.
        name: String,
    },
    /// The files hold nothing at all.
    #[error("there is no row in {files}")]
    NoRows {
        /// Their names.
        files: String,
    },
    /// More bad rows than allowed; they are listed in the quarantine file.
    #[error(
        "{first} ({count} bad rows, {limit} allowed; all are listed in {path})",
        path = path.display()
    )]
    Quarantine {
        /// The first of them.
        first: Quarantined,
        /// How many there are.
        count: usize,
        /// `curate.max_quarantine`.
        limit: usize,
        /// The quarantine file.
        path: PathBuf,
    },
}

impl Diagnose for CurateError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Rows(error) => error.kind(),
            Self::Run(error) => error.kind(),
            Self::Scores(error) => error.kind(),
            Self::Card(error) => error.kind(),
            Self::Setting { .. } | Self::UnknownFilter { .. } => FailureKind::Configuration,
            Self::NoRows { .. } | Self::Quarantine { .. } => FailureKind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Rows(error) => error.hint(),
            Self::Run(error) => error.hint(),
            Self::Scores(error) => error.hint(),
            Self::Card(error) => error.hint(),
            Self::Setting { .. } => None,
            Self::UnknownFilter { .. } => {
                let names: Vec<&str> = filter::ALL.iter().map(|entry| entry.name).collect();
                Some(format!("the filters are {}", names.join(", ")))
            }
            Self::NoRows { .. } => Some(
                "give JSON lines or a JSON array of objects with `instruction`, `input` and `output`"
                    .to_owned(),
            ),
            Self::Quarantine { count, .. } => Some(format!(
                "mend the rows, or leave them out with `--set curate.max_quarantine={count}`"
            )),
        }
    }
}
