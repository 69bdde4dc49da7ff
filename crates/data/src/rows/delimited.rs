//! Rows of CSV and its relatives (RFC 4180, with comma, semicolon or tabulator): [`read`].
//!
//! Records are cut here, so that each is bounded by [`ROW_LIMIT`](super::ROW_LIMIT) and known by its line, and taken apart
//! by the `csv` crate. A quotation mark opens a quoted field only at the field's beginning.

use std::io::{self, BufRead};
use std::path::Path;
use std::sync::Arc;

use bioinstruct_core::record::Instruction;
use serde_json::{Map, Value};

use super::chat::is_chat_column;
use super::json::{BadPiece, utf8};
use super::pieces::{Bounded, Piece};
use super::{Packing, ReadRows, RowsError, fields};

const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// Columns whose text is JSON where it is not empty: they hold no plain text.
const JSON_COLUMNS: [&str; 5] =
    ["history", "provenance", "restricted", "messages", "conversations"];

/// The delimiter of a text that is CSV: its first record names the columns of a row, or the file is called so.
pub(super) fn delimiter_of(head: &[u8], path: &Path) -> Option<u8> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    if head.trim_ascii_start().first().is_none_or(|first| b"{[".contains(first)) {
        return None;
    }
    let header = Records::new(head, b',').next_record().ok().flatten()?.content.ok()?;
    let makes_rows =
        |delimiter: &&u8| names_of(&header, **delimiter).is_some_and(|it| make_rows(&it));
    if let Some(delimiter) = DELIMITERS.iter().find(makes_rows) {
        return Some(*delimiter);
    }
    match Packing::of_name(path).0.extension().and_then(|ending| ending.to_str()) {
        Some("csv") => Some(b','),
        Some("tsv") => Some(b'\t'),
        _ => None,
    }
}

fn names_of(header: &[u8], delimiter: u8) -> Option<Vec<String>> {
    let header = std::str::from_utf8(header).ok()?;
    let names = fields_of(header, delimiter).ok()?;
    Some(names.iter().map(|name| name.trim().to_owned()).collect())
}

/// Whether columns of these names make rows.
pub(super) fn make_rows(names: &[String]) -> bool {
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    has("instruction") && has("output") || names.iter().any(|name| is_chat_column(name))
}

/// All rows of a table whose first record names the columns.
pub(super) fn read(
    reader: impl BufRead,
    delimiter: u8,
    path: &Path,
    file: &Arc<str>,
    source: &str,
) -> Result<ReadRows, RowsError> {
    let mut found = ReadRows::default();
    let mut records = Records::new(reader, delimiter);
    let header = records.next_record()?.and_then(|header| header.content.ok());
    let header =
        header.as_deref().map(|header| header.strip_prefix(b"\xef\xbb\xbf").unwrap_or(header));
    let names = header.and_then(|header| names_of(header, delimiter)).unwrap_or_default();
    if !make_rows(&names) {
        return Err(RowsError::Columns { path: path.to_owned(), found: listed(&names) });
    }
    while let Some(record) = records.next_record()? {
        let line = record.line;
        match row_of(record, &names, delimiter, source) {
            Ok(row) => found.keep(row, file, line),
            Err((line, field, reason)) => found.quarantine(file, line, field, reason),
        }
    }
    Ok(found)
}

/// Names in backticks.
pub(super) fn listed(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "(none)".to_owned() } else { names.join(", ") }
}

fn row_of(
    record: Piece,
    names: &[String],
    delimiter: u8,
    source: &str,
) -> Result<Instruction, BadPiece> {
    let line = record.line;
    let bytes = record.content.map_err(|reason| (line, None, reason))?;
    let text = utf8(&bytes, line)?;
    let values = fields_of(text, delimiter).map_err(|reason| (line, None, reason))?;
    if values.len() != names.len() {
        let reason = format!("has {} fields, the header has {}", values.len(), names.len());
        return Err((line, None, reason));
    }
    let mut object = Map::new();
    for (name, value) in names.iter().zip(values) {
        let value = match serde_json::from_str(&value) {
            Ok(value) if JSON_COLUMNS.contains(&name.as_str()) => value,
            _ if JSON_COLUMNS.contains(&name.as_str()) && value.trim().is_empty() => Value::Null,
            _ => Value::String(value),
        };
        object.insert(name.clone(), value);
    }
    fields::row(Value::Object(object), source).map_err(|(field, reason)| (line, field, reason))
}

/// The fields of one record.
fn fields_of(record: &str, delimiter: u8) -> Result<Vec<String>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(record.as_bytes());
    let mut records = reader.records();
    let fields = match records.next() {
        Some(Ok(fields)) => fields.iter().map(str::to_owned).collect(),
        Some(Err(error)) => return Err(format!("is not CSV: {error}")),
        None => return Err("holds nothing".to_owned()),
    };
    if records.next().is_some() {
        return Err("goes on behind its end".to_owned());
    }
    Ok(fields)
}

/// The records of a text, each from its first byte to its line's end outside quotation marks.
struct Records<R> {
    reader: R,
    delimiter: u8,
    line: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    FieldStart,
    Bare,
    Quoted,
    /// Behind a quotation mark in a quoted field: its end, or half of a doubled one.
    AfterQuote,
}

impl<R: BufRead> Records<R> {
    fn new(reader: R, delimiter: u8) -> Self {
        Self { reader, delimiter, line: 1 }
    }

    /// The next record that is not blank.
    fn next_record(&mut self) -> io::Result<Option<Piece>> {
        loop {
            let line = self.line;
            let Some((record, place)) = self.record()? else { return Ok(None) };
            if place == Place::Quoted {
                let reason =
                    "a quotation mark is not closed: the file is not read behind this line";
                return Ok(Some(Piece { line, content: Err(reason.to_owned()) }));
            }
            if !record.is_blank() {
                return Ok(Some(Piece { line, content: record.finish() }));
            }
        }
    }

    /// One record without its end, and where the text stood when it ended.
    fn record(&mut self) -> io::Result<Option<(Bounded, Place)>> {
        let mut record = Bounded::default();
        let mut place = Place::FieldStart;
        let mut any = false;
        while let Some(byte) = self.next_byte()? {
            any = true;
            let is_end = byte == b'\n' || byte == b'\r';
            if is_end && place != Place::Quoted {
                if byte == b'\r' && self.reader.fill_buf()?.first() == Some(&b'\n') {
                    self.next_byte()?;
                }
                return Ok(Some((record, place)));
            }
            record.push(byte);
            place = match (place, byte) {
                (Place::Quoted, b'"') => Place::AfterQuote,
                (Place::FieldStart | Place::AfterQuote, b'"') | (Place::Quoted, _) => Place::Quoted,
                (_, byte) if byte == self.delimiter => Place::FieldStart,
                _ => Place::Bare,
            };
        }
        Ok(any.then_some((record, place)))
    }

    fn next_byte(&mut self) -> io::Result<Option<u8>> {
        let Some(byte) = self.reader.fill_buf()?.first().copied() else { return Ok(None) };
        self.reader.consume(1);
        self.line += usize::from(byte == b'\n');
        Ok(Some(byte))
    }
}
