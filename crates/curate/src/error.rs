//! What can go wrong in curation: [`CurateError`].

use std::path::PathBuf;

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_core::jsonl::JsonlError;
use bioinstruct_core::model::ModelError;
use bioinstruct_core::run_directory::RunError;
use bioinstruct_core::template::TemplateError;
use bioinstruct_data::rows::{Quarantined, RowsError};
use bioinstruct_data::task::TaskError;

use crate::decontaminate::hashed::HashedItemsError;
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
    /// The items of a task that rows are compared with cannot be read.
    #[error(transparent)]
    Items(#[from] TaskError),
    /// A file of hashed items cannot be used.
    #[error(transparent)]
    HashedItems(#[from] HashedItemsError),
    /// Rows could not be embedded.
    #[error(transparent)]
    Embedding(#[from] ModelError),
    /// There is no finished dataset in the run directory.
    #[error("there is no dataset in {run}", run = run.display())]
    NoDataset {
        /// The run directory.
        run: PathBuf,
    },
    /// No row of the run has the id that was asked for.
    #[error("no row of {run} has the id `{id}`", run = run.display())]
    NoSuchRow {
        /// As given.
        id: String,
        /// The run directory.
        run: PathBuf,
    },
    /// A file is not what the program wrote, or what it asked for.
    #[error("{path}: {reason}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// Rows could not be given their kinds.
    #[error("categories: {reason}")]
    Labelling {
        /// What happened.
        reason: String,
        /// Its class.
        kind: FailureKind,
        /// What the user can do.
        hint: Option<String>,
    },
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

impl CurateError {
    /// A file that cannot be read.
    pub(crate) fn read(error: std::io::Error) -> Self {
        Self::Rows(RowsError::Io(error))
    }
}

impl Diagnose for CurateError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Rows(error) => error.kind(),
            Self::Run(error) => error.kind(),
            Self::Scores(error) => error.kind(),
            Self::Card(error) => error.kind(),
            Self::Items(error) => error.kind(),
            Self::HashedItems(error) => error.kind(),
            Self::Embedding(error) => error.kind(),
            Self::Labelling { kind, .. } => *kind,
            Self::Setting { .. } | Self::UnknownFilter { .. } => FailureKind::Configuration,
            Self::NoRows { .. }
            | Self::Quarantine { .. }
            | Self::NoDataset { .. }
            | Self::NoSuchRow { .. }
            | Self::Damaged { .. } => FailureKind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Rows(error) => error.hint(),
            Self::Run(error) => error.hint(),
            Self::Scores(error) => error.hint(),
            Self::Card(error) => error.hint(),
            Self::Items(TaskError::NoData { task, .. }) => {
                Some(format!("say where it is: `--against {task}=PATH`"))
            }
            Self::Items(error) => error.hint(),
            Self::HashedItems(error) => error.hint(),
            Self::Embedding(error) => error.hint(),
            Self::Setting { .. } | Self::Damaged { .. } => None,
            Self::NoDataset { .. } => {
                Some("`bioinstruct curate FILE --run DIR` makes one; name that DIR".to_owned())
            }
            Self::NoSuchRow { .. } => {
                Some("ids are the 16 digits in `id` of the dataset's files".to_owned())
            }
            Self::Labelling { hint, .. } => hint.clone(),
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
