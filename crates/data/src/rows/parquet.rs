//! Rows of Parquet: [`read`].
//!
//! Columns that are no field of a row are not read. Of the codecs, those without C are there: none, Snappy and gzip;
//! another one is refused by its name before a page is touched.

use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use serde_json::{Map, Number, Value};

use super::delimited::{listed, make_rows};
use super::{ROW_LIMIT, ReadRows, RowsError, fields, source_name};

/// Most bytes that a packed Parquet file may unpack to: unlike text it cannot be read as a stream.
const WHOLE_LIMIT: u64 = 1 << 30;

/// Most bytes of one column of one row group, as its metadata tell them.
const CHUNK_LIMIT: i64 = 1 << 31;

/// Fields of a row; other columns stay unread.
const COLUMNS: [&str; 12] = [
    "id",
    "instruction",
    "input",
    "output",
    "system",
    "history",
    "category",
    "provenance",
    "licence",
    "restricted",
    "messages",
    "conversations",
];

/// By the first bytes of a file.
pub(super) fn is_parquet(start: &[u8]) -> bool {
    start.starts_with(b"PAR1")
}

/// The bytes of a packed Parquet file.
pub(super) fn whole(unpacked: impl Read, path: &Path) -> io::Result<bytes::Bytes> {
    let mut whole = Vec::new();
    unpacked.take(WHOLE_LIMIT + 1).read_to_end(&mut whole)?;
    if whole.len() as u64 > WHOLE_LIMIT {
        let reason = format!("{} unpacks to more than {WHOLE_LIMIT} bytes", path.display());
        return Err(io::Error::other(reason));
    }
    Ok(whole.into())
}

/// All rows of the file.
pub(super) fn read<C: ChunkReader + 'static>(
    file: C,
    path: &Path,
    name: &Arc<str>,
) -> Result<ReadRows, RowsError> {
    let refuse = |reason: String| RowsError::Parquet { path: path.to_owned(), reason };
    // The crate returns errors for what it checks; what it does not check is a file that cannot be read as well.
    let reader = catch_unwind(AssertUnwindSafe(|| SerializedFileReader::new(file)))
        .map_err(|_| refuse("its metadata contradict themselves".to_owned()))?
        .map_err(|error| refuse(reason_of(&error)))?;
    check(reader.metadata()).map_err(refuse)?;
    let schema = reader.metadata().file_metadata().schema();
    let names: Vec<String> =
        schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
    if !make_rows(&names) {
        return Err(RowsError::Columns { path: path.to_owned(), found: listed(&names) });
    }
    let wanted = projection(schema).map_err(|error| refuse(reason_of(&error)))?;
    let source = source_name(path);
    let mut found = ReadRows::default();
    let mut rows = reader.get_row_iter(Some(wanted)).map_err(|error| refuse(reason_of(&error)))?;
    for number in 1.. {
        let next = catch_unwind(AssertUnwindSafe(|| rows.next()))
            .map_err(|_| refuse(format!("row {number}: the pages contradict themselves")))?;
        let row = match next {
            None => break,
            Some(row) => {
                row.map_err(|error| refuse(format!("row {number}: {}", reason_of(&error))))?
            }
        };
        match row_of(&row, &source) {
            Ok(row) => found.keep(row, name, number),
            Err((field, reason)) => found.quarantine(name, number, field, reason),
        }
    }
    Ok(found)
}

/// The crate's message without its own prefix.
fn reason_of(error: &parquet::errors::ParquetError) -> String {
    let text = error.to_string();
    text.strip_prefix("Parquet error: ").unwrap_or(&text).to_owned()
}

/// Refuses by name what cannot be unpacked, and sizes that nothing should have.
fn check(metadata: &ParquetMetaData) -> Result<(), String> {
    for group in metadata.row_groups() {
        for column in group.columns() {
            let name = column.column_path().string();
            match column.compression() {
                Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::GZIP(_) => {}
                other => {
                    return Err(format!(
                        "column `{name}` is packed with {other}; UNCOMPRESSED, SNAPPY and GZIP are understood"
                    ));
                }
            }
            if !(0..=CHUNK_LIMIT).contains(&column.uncompressed_size()) {
                let size = column.uncompressed_size();
                return Err(format!("a row group of column `{name}` has {size} bytes"));
            }
        }
    }
    Ok(())
}

fn projection(schema: &Type) -> Result<Type, parquet::errors::ParquetError> {
    let is_wanted = |field: &&Arc<Type>| COLUMNS.contains(&field.name());
    let fields = schema.get_fields().iter().filter(is_wanted).cloned().collect();
    Type::group_type_builder(schema.name()).with_fields(fields).build()
}

fn row_of(
    row: &Row,
    source: &str,
) -> Result<bioinstruct_core::record::Instruction, fields::BadField> {
    let mut object = Map::new();
    let mut bytes = 0;
    for (name, field) in row.get_column_iter() {
        let mut value = value_of(field, &mut bytes);
        // As this program writes them: texts that are JSON.
        if let ("history" | "provenance", Value::String(text)) = (name.as_str(), &value) {
            value = if text.is_empty() {
                Value::Null
            } else {
                serde_json::from_str(text).unwrap_or(value)
            };
        }
        object.insert(name.clone(), value);
    }
    if bytes > ROW_LIMIT {
        return Err((None, format!("has {bytes} bytes; a row may have {ROW_LIMIT}")));
    }
    fields::row(Value::Object(object), source)
}

/// A column's value as JSON; `bytes` counts the text in it.
fn value_of(field: &Field, bytes: &mut usize) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => Value::Bool(*value),
        Field::Byte(value) => Value::from(*value),
        Field::Short(value) => Value::from(*value),
        Field::Int(value) => Value::from(*value),
        Field::Long(value) => Value::from(*value),
        Field::UByte(value) => Value::from(*value),
        Field::UShort(value) => Value::from(*value),
        Field::UInt(value) => Value::from(*value),
        Field::ULong(value) => Value::from(*value),
        Field::Float(value) => number(f64::from(*value)),
        Field::Double(value) => number(*value),
        Field::Str(text) => {
            *bytes += text.len();
            Value::String(text.clone())
        }
        // Older writers do not mark text as text.
        Field::Bytes(raw) => match std::str::from_utf8(raw.data()) {
            Ok(text) => {
                *bytes += text.len();
                Value::String(text.to_owned())
            }
            Err(_) => Value::Array(Vec::new()),
        },
        Field::Group(row) => Value::Object(
            row.get_column_iter()
                .map(|(name, field)| (name.clone(), value_of(field, bytes)))
                .collect(),
        ),
        Field::ListInternal(list) => {
            Value::Array(list.elements().iter().map(|field| value_of(field, bytes)).collect())
        }
        // No field of a row is of these kinds: the reader of fields says so.
        other => Value::Array(vec![Value::String(other.to_string())]),
    }
}

fn number(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}
