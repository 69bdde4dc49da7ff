//! Instruction rows from files: [`read_rows`] takes JSON lines and JSON arrays (told apart by content) and never drops a
//! row silently; what is not a row becomes a [`Quarantined`] with its file, line and reason.
//!
//! A row needs `instruction` and `output`; `input`, `id`, `category`, `provenance`, `licence` and `restricted` are
//! optional, other fields are ignored. Text is taken as it stands. At most one row is in memory in raw form, and none
//! longer than [`ROW_LIMIT`]. Rows are written with [`bioinstruct_core::jsonl::write`].

mod fields;
mod no_input;
mod pieces;

pub use no_input::{input_or_empty, says_no_input};

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_core::record::Instruction;
use serde::{Deserialize, Serialize};

use self::pieces::{Piece, Pieces};

/// Most bytes of one row.
pub const ROW_LIMIT: usize = 4 << 20;

/// A row and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocatedRow {
    /// The row.
    pub row: Instruction,
    /// The file, as it was given.
    pub file: String,
    /// Where the row begins, counted from one.
    pub line: usize,
}

/// A place in a file where a row should be and is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The file, as it was given.
    pub file: String,
    /// Counted from one.
    pub line: usize,
    /// Which field is wrong, when the rest could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is wrong.
    pub reason: String,
}

impl std::fmt::Display for Quarantined {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}:{}: ", self.file, self.line)?;
        if let Some(field) = &self.field {
            write!(out, "`{field}` ")?;
        }
        out.write_str(&self.reason)
    }
}

/// Everything found in a file, both lists in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadRows {
    /// The rows.
    pub rows: Vec<LocatedRow>,
    /// What is not a row.
    pub quarantined: Vec<Quarantined>,
}

impl ReadRows {
    /// Appends what another file holds.
    pub fn append(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.quarantined.extend(other.quarantined);
    }

    /// The rows alone; the first bad one is an error.
    pub fn complete(self) -> Result<Vec<Instruction>, RowsError> {
        let count = self.quarantined.len();
        match self.quarantined.into_iter().next() {
            Some(first) => Err(RowsError::BadRow { first, count }),
            None => Ok(self.rows.into_iter().map(|located| located.row).collect()),
        }
    }
}

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
            Self::NotText { .. } | Self::BadRow { .. } => FailureKind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Io(_) => None,
            Self::NotText { .. } => Some("unpack or convert it first".to_owned()),
            Self::BadRow { .. } => Some(
                "a row is a JSON object with the strings `instruction`, `input` and `output`"
                    .to_owned(),
            ),
        }
    }
}

/// Reads all rows of a file.
pub fn read_rows(path: &Path) -> Result<ReadRows, RowsError> {
    let mut reader = BufReader::with_capacity(1 << 16, fs_err::File::open(path)?);
    if let Some(found) = not_text(reader.fill_buf()?) {
        return Err(RowsError::NotText { path: path.to_owned(), found });
    }
    read_rows_from(reader, &path.display().to_string()).map_err(RowsError::Io)
}

/// Reads all rows of a text; `file` is its name in locations and in the provenance of rows that bring none.
pub fn read_rows_from(reader: impl BufRead, file: &str) -> std::io::Result<ReadRows> {
    let mut found = ReadRows::default();
    let source = Path::new(file)
        .file_name()
        .map_or_else(|| file.to_owned(), |name| name.to_string_lossy().into_owned());
    let mut pieces = Pieces::new(reader)?;
    while let Some(piece) = pieces.next_piece()? {
        let start = piece.line;
        match row_of(piece, &source) {
            Ok(row) => found.rows.push(LocatedRow { row, file: file.to_owned(), line: start }),
            Err((line, field, reason)) => found.quarantined.push(Quarantined {
                file: file.to_owned(),
                line,
                field: field.map(str::to_owned),
                reason,
            }),
        }
    }
    Ok(found)
}

type BadPiece = (usize, Option<&'static str>, String);

fn row_of(piece: Piece, source: &str) -> Result<Instruction, BadPiece> {
    let start = piece.line;
    let bytes = piece.content.map_err(|reason| (start, None, reason))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = start + before.split(|&byte| byte == b'\n').count() - 1;
        let reason = format!("is not UTF-8 after {} bytes of the row", before.len());
        (line, None, reason)
    })?;
    let value = serde_json::from_str(text).map_err(|error| {
        let line = start + error.line().saturating_sub(1);
        (line, None, syntax_reason(&error))
    })?;
    fields::row(value, source).map_err(|(field, reason)| (start, field, reason))
}

/// The parser's message without its own line number, which counts from the row.
fn syntax_reason(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    let message = message.strip_suffix(&position).unwrap_or(&message);
    format!("is not JSON: {message} (column {})", error.column())
}

/// Files that people give by mistake, by their first bytes.
fn not_text(start: &[u8]) -> Option<&'static str> {
    match start {
        [0x1f, 0x8b, ..] => Some("gzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("Zstandard"),
        [b'P', b'K', 3, 4, ..] => Some("a ZIP archive"),
        [b'P', b'A', b'R', b'1', ..] => Some("Parquet"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
