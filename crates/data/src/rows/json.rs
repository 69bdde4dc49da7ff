//! Rows of JSON lines and JSON arrays: [`read`].

use std::io::BufRead;

use bioinstruct_core::record::Instruction;

use super::pieces::{Piece, Pieces};
use super::{ReadRows, fields};

/// All rows of a JSON text.
pub(super) fn read(reader: impl BufRead, file: &str, source: &str) -> std::io::Result<ReadRows> {
    let mut found = ReadRows::default();
    let mut pieces = Pieces::new(reader)?;
    while let Some(piece) = pieces.next_piece()? {
        let line = piece.line;
        match row_of(piece, source) {
            Ok(row) => found.keep(row, file, line),
            Err((line, field, reason)) => found.quarantine(file, line, field, reason),
        }
    }
    Ok(found)
}

/// Line, field and reason.
pub(super) type BadPiece = (usize, Option<&'static str>, String);

/// The row of one piece, or the line, field and reason.
fn row_of(piece: Piece, source: &str) -> Result<Instruction, BadPiece> {
    let start = piece.line;
    let bytes = piece.content.map_err(|reason| (start, None, reason))?;
    let text = utf8(&bytes, start)?;
    let value = serde_json::from_str(text).map_err(|error| {
        let line = start + error.line().saturating_sub(1);
        (line, None, syntax_reason(&error))
    })?;
    fields::row(value, source).map_err(|(field, reason)| (start, field, reason))
}

/// The bytes as text, or where they stop being text.
pub(super) fn utf8(bytes: &[u8], start: usize) -> Result<&str, BadPiece> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = start + before.split(|&byte| byte == b'\n').count() - 1;
        (line, None, format!("is not UTF-8 after {} bytes of the row", before.len()))
    })
}

/// The parser's message without its own line number, which counts from the row.
fn syntax_reason(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    let message = message.strip_suffix(&position).unwrap_or(&message);
    format!("is not JSON: {message} (column {})", error.column())
}
