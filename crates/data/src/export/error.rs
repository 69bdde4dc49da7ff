//! Why no rows are exported: [`ExportError`].

use std::path::PathBuf;

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_core::record::Category;

use crate::task::TaskError;

/// Rows that cannot be exported as asked.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file system refused; the source names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A task cannot be read or rendered.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// Neither a built-in mixture nor a file.
    #[error("unknown mixture `{name}`")]
    UnknownMixture {
        /// As given.
        name: String,
        /// Those that are built in.
        known: Vec<&'static str>,
    },
    /// The mixture file is wrong.
    #[error("mixture file {path}: {reason}", path = path.display())]
    Definition {
        /// The file; of a built-in mixture its name.
        path: PathBuf,
        /// Which key, and what is wrong with it.
        reason: String,
    },
    /// A mixture has no natural end.
    #[error("how many rows of mixture `{mixture}`?")]
    NoCount {
        /// The mixture.
        mixture: String,
    },
    /// A category cannot be filled, and another category's rows do not stand in for it.
    #[error(
        "of category `{category}`, {wanted} rows are wanted, and the training splits give {found}",
        category = category.name()
    )]
    TooFew {
        /// The category.
        category: Category,
        /// Its share of all rows.
        wanted: usize,
        /// All there are.
        found: usize,
        /// Rows asked for in all.
        asked: usize,
    },
    /// There are not so many rows.
    #[error("{wanted} rows are wanted, and the training splits give {found}")]
    TooFewInAll {
        /// Asked for.
        wanted: usize,
        /// All there are.
        found: usize,
    },
}

impl Diagnose for ExportError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Io(_) => FailureKind::Io,
            Self::Task(error) => error.kind(),
            Self::UnknownMixture { .. } | Self::NoCount { .. } => FailureKind::Usage,
            Self::Definition { .. } => FailureKind::Configuration,
            Self::TooFew { .. } | Self::TooFewInAll { .. } => FailureKind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Io(_) | Self::Definition { .. } => None,
            Self::Task(error) => error.hint(),
            Self::UnknownMixture { known, .. } => Some(format!(
                "built in are {}; one of your own is the path of a TOML file",
                known.join(", ")
            )),
            Self::NoCount { .. } => Some("give `--count N`".to_owned()),
            Self::TooFew { wanted, found, asked, .. } => {
                let most = (*asked as f64 * *found as f64 / *wanted as f64).floor();
                Some(format!("ask for at most {most:.0} rows, or for longer ones"))
            }
            Self::TooFewInAll { found, .. } => Some(format!("ask for at most {found}")),
        }
    }
}
