//! JSON lines: reading with the line named in every error, and writing in one call.

use std::io::Write;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::diagnose::{Diagnose, FailureKind};

/// A file of JSON lines that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JsonlError {
    /// The file system refused; the source names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// One line is not a row.
    #[error("{path}:{line}: {reason}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl Diagnose for JsonlError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Io(_) => FailureKind::Io,
            Self::Line { .. } => FailureKind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Io(_) => None,
            Self::Line { .. } => Some("each line must be one JSON object".to_owned()),
        }
    }
}

/// Every row of the file; blank lines are skipped, the first bad line is an error.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, JsonlError> {
    let text = fs_err::read_to_string(path)?;
    parse(&text, path)
}

/// Every row of `text`; `path` is used in errors only.
pub fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<Vec<T>, JsonlError> {
    let mut rows = Vec::new();
    for (position, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let row = serde_json::from_str(line).map_err(|error| JsonlError::Line {
            path: path.to_owned(),
            line: position + 1,
            reason: error.to_string(),
        })?;
        rows.push(row);
    }
    Ok(rows)
}

/// Writes one JSON object per line.
pub fn write<T: Serialize>(
    out: &mut dyn Write,
    rows: impl IntoIterator<Item = T>,
) -> std::io::Result<()> {
    for row in rows {
        serde_json::to_writer(&mut *out, &row)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// What [`write()`] writes, part by part in its order, made on all threads of the current rayon pool.
pub fn in_parallel<T: Serialize + Sync>(
    rows: &[T],
    mut take: impl FnMut(Vec<u8>),
) -> std::io::Result<()> {
    // So many rows are in memory as text at a time.
    for rows in rows.chunks(1 << 14) {
        let parts = rows.par_chunks(256).map(|rows| {
            let mut text = Vec::new();
            write(&mut text, rows).map(|()| text)
        });
        parts.collect::<std::io::Result<Vec<_>>>()?.into_iter().for_each(&mut take);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_broken_line_is_named() {
        let text = "{\"a\":1}\n\n{broken\n";
        let error = parse::<Value>(text, Path::new("rows.jsonl")).unwrap_err();
        assert!(error.to_string().starts_with("rows.jsonl:3: "), "{error}");
        assert_eq!(error.kind(), FailureKind::Data);
    }

    #[test]
    fn rows_survive_a_round_trip() {
        let rows = vec![serde_json::json!({"z": 1, "a": "β\n"}), serde_json::json!([1, 2])];
        let mut bytes = Vec::new();
        write(&mut bytes, &rows).unwrap();
        let mut again = Vec::new();
        in_parallel(&rows, |part| again.extend(part)).unwrap();
        assert_eq!(again, bytes);
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(parse::<Value>(&text, Path::new("x")).unwrap(), rows);
    }
}
