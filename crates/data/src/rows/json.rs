//! Rows of JSON lines and JSON arrays: [`read`].
//!
//! Pieces are cut one after the other and parsed a batch at a time, on all threads of the current rayon pool; one of them
//! cuts the next batch meanwhile.

use std::io::BufRead;
use std::sync::Arc;

use bioinstruct_core::record::Instruction;
use rayon::prelude::*;

use super::pieces::{Piece, Pieces};
use super::{ROW_LIMIT, ReadRows, fields, plain};

/// Most pieces that are parsed together.
const BATCH: usize = 4096;

/// Pieces of the first batch, for which every thread but one waits.
const FIRST_BATCH: usize = 256;

/// All rows of a JSON text.
pub(super) fn read(
    reader: impl BufRead + Send,
    file: &Arc<str>,
    source: &str,
) -> std::io::Result<ReadRows> {
    // In a thread of the pool itself, which need not be woken for each batch.
    rayon::scope(|_| read_in_batches(reader, file, source))
}

fn read_in_batches(
    reader: impl BufRead + Send,
    file: &Arc<str>,
    source: &str,
) -> std::io::Result<ReadRows> {
    let mut found = ReadRows::default();
    let mut pieces = Pieces::new(reader)?;
    let mut count = FIRST_BATCH;
    let mut batch = next_batch(&mut pieces, count)?;
    let mut parsed = Vec::new();
    while !batch.is_empty() {
        count = (2 * count).min(BATCH);
        let (now, next) = rayon::join(
            || parse(batch, source),
            || {
                keep(parsed, &mut found, file);
                next_batch(&mut pieces, count)
            },
        );
        (parsed, batch) = (now, next?);
    }
    keep(parsed, &mut found, file);
    Ok(found)
}

/// The line of a piece, and what it is.
type Parsed = (usize, Result<Instruction, BadPiece>);

fn keep(parsed: Vec<Parsed>, found: &mut ReadRows, file: &Arc<str>) {
    for (line, row) in parsed {
        match row {
            Ok(row) => found.keep(row, file, line),
            Err((line, field, reason)) => found.quarantine(file, line, field, reason),
        }
    }
}

fn parse(batch: Vec<Piece>, source: &str) -> Vec<Parsed> {
    batch.into_par_iter().map(|piece| (piece.line, row_of(piece, source))).collect()
}

/// The next pieces: up to `count`, and no more than two rows of the greatest length hold.
fn next_batch<R: BufRead>(pieces: &mut Pieces<R>, count: usize) -> std::io::Result<Vec<Piece>> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while batch.len() < count && bytes < ROW_LIMIT {
        let Some(piece) = pieces.next_piece()? else { break };
        bytes += piece.content.as_ref().map_or(0, Vec::len);
        batch.push(piece);
    }
    Ok(batch)
}

/// Line, field and reason.
pub(super) type BadPiece = (usize, Option<&'static str>, String);

/// The row of one piece, or the line, field and reason.
fn row_of(piece: Piece, source: &str) -> Result<Instruction, BadPiece> {
    let start = piece.line;
    let bytes = piece.content.map_err(|reason| (start, None, reason))?;
    let text = utf8(&bytes, start)?;
    if let Some(row) = plain::read(text, source) {
        return Ok(row);
    }
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
