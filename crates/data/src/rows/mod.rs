//! Instruction rows in files: [`read_rows`] takes what people have and never drops a row silently, [`Format`] writes it.
//!
//! Read are JSON lines and JSON arrays, CSV and Parquet, each of them also packed with gzip or Zstandard, told apart by
//! content. A row needs `instruction` and `output`; `input`, `system`, `history`, `id`, `category`, `provenance`,
//! `licence` and `restricted` are optional, other fields are ignored. In their place a row may have `messages` or
//! `conversations`: a chat of one turn or more, a system message before it. Text is taken as it stands. What is no row
//! becomes a [`Quarantined`] with its file, line (in Parquet: row) and reason. At most two [`ROW_LIMIT`]s are in memory
//! in raw form (in Parquet: one page of each column), and no row longer than one, whatever a packed file unpacks to.

mod chat;
mod delimited;
mod error;
mod fields;
mod json;
mod no_input;
mod packing;
mod parquet;
mod pieces;
mod plain;
mod write;

pub use error::RowsError;
pub use no_input::{input_or_empty, says_no_input};
pub use packing::Packing;
pub use write::{Format, named_format, write_rows};

use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use bioinstruct_core::record::Instruction;
use serde::{Deserialize, Serialize};

/// Most bytes of one row.
pub const ROW_LIMIT: usize = 4 << 20;

/// A row and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocatedRow {
    /// The row.
    pub row: Instruction,
    /// The file, as it was given; shared by its rows.
    pub file: Arc<str>,
    /// Where the row begins, counted from one; in Parquet the row's number.
    pub line: usize,
}

/// A place in a file where a row should be and is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The file, as it was given.
    pub file: String,
    /// Counted from one; in Parquet the row's number.
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
        if self.rows.is_empty() {
            self.rows = other.rows; // the first file, often the only one: nothing is moved
        } else {
            self.rows.extend(other.rows);
        }
        self.quarantined.extend(other.quarantined);
    }

    fn keep(&mut self, row: Instruction, file: &Arc<str>, line: usize) {
        self.rows.push(LocatedRow { row, file: Arc::clone(file), line });
    }

    fn quarantine(&mut self, file: &str, line: usize, field: Option<&str>, reason: String) {
        let field = field.map(str::to_owned);
        self.quarantined.push(Quarantined { file: file.to_owned(), line, field, reason });
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

/// Reads all rows of a file.
pub fn read_rows(path: &Path) -> Result<ReadRows, RowsError> {
    let mut reader = BufReader::with_capacity(1 << 16, fs_err::File::open(path)?);
    let packing = Packing::of(reader.fill_buf()?);
    let name: Arc<str> = path.display().to_string().into();
    let damaged = |error: std::io::Error| match packing {
        // The system's own errors carry a number; what is left says that the packed bytes are wrong.
        Some(packing) if error.raw_os_error().is_none() => {
            RowsError::Damaged { path: path.to_owned(), packing, reason: error.to_string() }
        }
        _ => RowsError::Io(error),
    };
    let Some(packing) = packing else {
        if parquet::is_parquet(reader.fill_buf()?) {
            return parquet::read(reader.into_inner().into_parts().0, path, &name);
        }
        return read_text(reader, path);
    };
    let mut unpacked = BufReader::with_capacity(1 << 16, packing.reader(reader));
    if parquet::is_parquet(unpacked.fill_buf().map_err(damaged)?) {
        let bytes = parquet::whole(unpacked, path).map_err(damaged)?;
        return parquet::read(bytes, path, &name);
    }
    match read_text(unpacked, path) {
        Err(RowsError::Io(error)) => Err(damaged(error)),
        other => other,
    }
}

/// Reads all rows of a text; `file` is its name in locations and in the provenance of rows that bring none.
pub fn read_rows_from(reader: impl BufRead + Send, file: &str) -> Result<ReadRows, RowsError> {
    read_text(reader, Path::new(file))
}

/// JSON or CSV, by the text's beginning and, where that leaves it open, by the file's name.
fn read_text(mut reader: impl BufRead + Send, path: &Path) -> Result<ReadRows, RowsError> {
    let mut head = Vec::new();
    reader.by_ref().take(1 << 16).read_to_end(&mut head)?;
    if let Some(found) = not_text(&head) {
        return Err(RowsError::NotText { path: path.to_owned(), found });
    }
    let delimiter = delimited::delimiter_of(&head, path);
    let whole = Cursor::new(head).chain(reader);
    let name: Arc<str> = path.display().to_string().into();
    let source = source_name(path);
    match delimiter {
        Some(delimiter) => delimited::read(whole, delimiter, path, &name, &source),
        None => Ok(json::read(whole, &name, &source)?),
    }
}

/// How a file is named in the provenance of its rows.
fn source_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Files that people give by mistake, by their first bytes.
fn not_text(start: &[u8]) -> Option<&'static str> {
    match start {
        [b'P', b'K', 3, 4, ..] => Some("a ZIP archive"),
        [0x1f, 0x8b, ..] => Some("packed with gzip twice"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("packed with Zstandard twice"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
