//! A file of rows that cannot be used: [`RowsError`].

use std::path::PathBuf;

use bioinstruct_core::diagnose::{Diagnose, FailureKind};

use super::{Packing, Quarantined};

/// A file of rows that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The file system refused; the source names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The file is something else than UTF-8 text.
    #[error("{path} is {found}, not JSON text in UTF-8", path = path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// What its first bytes say.
        found: &'static str,
    },
    /// A packed file ends too early, or is not what its checksum says.
    #[error("{path} cannot be unpacked ({packing}): {reason}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How it is packed.
        packing: Packing,
        /// What is wrong.
        reason: String,
    },
    /// A Parquet file cannot be read.
    #[error("{path} is not a Parquet file that can be read: {reason}", path = path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A table has no columns that make a row.
    #[error("{path} has the columns {found}, which make no row", path = path.display())]
    Columns {
        /// The file.
        path: PathBuf,
        /// Their names.
        found: String,
    },
    /// A reader that wants every row met one that is none.
    #[error("{first}{}", also(*count))]
    BadRow {
        /// The first of them.
        first: Quarantined,
        /// How many there are.
        count: usize,
    },
}

fn also(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        _ => format!(" (and {} more bad rows)", count - 1),
    }
}

impl Diagnose for RowsError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Io(_) => FailureKind::Io,
            Self::NotText { .. }
            | Self::Damaged { .. }
            | Self::Parquet { .. }
            | Self::Columns { .. }
            | Self::BadRow { .. } => FailureKind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Io(_) => None,
            Self::NotText { .. } => Some("unpack or convert it first".to_owned()),
            Self::Damaged { .. } | Self::Parquet { .. } => {
                Some("copy or download the file again".to_owned())
            }
            Self::Columns { .. } => Some(
                "a table needs `instruction` and `output`, or a chat in `messages` or `conversations`"
                    .to_owned(),
            ),
            Self::BadRow { .. } => Some(
                "a row has the texts `instruction`, `input` and `output`, or a chat in `messages` or `conversations`"
                    .to_owned(),
            ),
        }
    }
}
