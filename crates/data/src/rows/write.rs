//! Rows as files of other programs: the registry [`ALL`](Format) and [`write_rows`].
//!
//! Every format keeps what a row says of itself (`id`, `category`, `provenance`) beside its texts, so that reading it back
//! gives the same rows; in the two chat formats instruction and input become one message, as training makes them.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use bioinstruct_core::jsonl;
use bioinstruct_core::record::Instruction;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};

use super::Packing;

/// A format that rows can be written in.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// How it is asked for.
    pub name: &'static str,
    /// Endings of file names that mean it; none where the ending does not tell.
    pub endings: &'static [&'static str],
    /// What it is, for people.
    pub description: &'static str,
    encode: fn(&[Instruction]) -> io::Result<Vec<u8>>,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 6] = [
        Self {
            name: "jsonl",
            endings: &["jsonl"],
            description: "JSON lines, as this program writes its datasets",
            encode: json_lines,
        },
        Self {
            name: "alpaca",
            endings: &["json"],
            description: "one JSON array with `instruction`, `input` and `output`",
            encode: alpaca,
        },
        Self {
            name: "messages",
            endings: &[],
            description: "JSON lines with `messages` of `role` and `content`",
            encode: messages,
        },
        Self {
            name: "sharegpt",
            endings: &[],
            description: "one JSON array with `conversations` of `from` and `value`",
            encode: sharegpt,
        },
        Self {
            name: "csv",
            endings: &["csv"],
            description: "a table with a header (RFC 4180)",
            encode: comma_separated,
        },
        Self {
            name: "parquet",
            endings: &["parquet"],
            description: "Parquet, its pages packed with Snappy",
            encode: parquet_file,
        },
    ];

    /// The format of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name == name)
    }
}

/// What a file's name asks for: its format, by the ending before `.gz` or `.zst`, and the packing.
pub fn named_format(path: &Path) -> (Option<Format>, Option<Packing>) {
    let (bare, packing) = Packing::of_name(path);
    let ending = bare.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    (Format::ALL.into_iter().find(|format| format.endings.contains(&ending)), packing)
}

/// Writes rows; the same rows give the same bytes.
pub fn write_rows(
    out: &mut dyn Write,
    format: Format,
    packing: Option<Packing>,
    rows: &[Instruction],
) -> io::Result<()> {
    let bytes = (format.encode)(rows)?;
    match packing {
        None => out.write_all(&bytes),
        Some(packing) => packing.write(out, &bytes),
    }
}

fn json_lines(rows: &[Instruction]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    jsonl::write(&mut bytes, rows)?;
    Ok(bytes)
}

fn array(rows: impl Iterator<Item = Value>) -> io::Result<Vec<u8>> {
    let rows: Vec<Value> = rows.collect();
    let mut bytes = serde_json::to_vec_pretty(&rows)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn alpaca(rows: &[Instruction]) -> io::Result<Vec<u8>> {
    array(rows.iter().map(|row| json!(row)))
}

fn messages(rows: &[Instruction]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let chats = rows.iter().map(|row| {
        let names = ["system", "user", "assistant"];
        chat(row, "messages", names, |role, content| json!({"role": role, "content": content}))
    });
    jsonl::write(&mut bytes, chats)?;
    Ok(bytes)
}

fn sharegpt(rows: &[Instruction]) -> io::Result<Vec<u8>> {
    array(rows.iter().map(|row| {
        let names = ["system", "human", "gpt"];
        chat(row, "conversations", names, |from, value| json!({"from": from, "value": value}))
    }))
}

fn chat(
    row: &Instruction,
    list: &str,
    [system, user, assistant]: [&str; 3],
    message: impl Fn(&str, &str) -> Value,
) -> Value {
    let mut turns = Vec::new();
    if !row.system.is_empty() {
        turns.push(message(system, &row.system));
    }
    for turn in &row.history {
        turns.push(message(user, &turn.user));
        turns.push(message(assistant, &turn.assistant));
    }
    turns.push(message(user, &row.user_text()));
    turns.push(message(assistant, &row.output));
    let mut object = json!({"id": row.id, list: turns, "provenance": row.provenance});
    if let Some(category) = row.category {
        object["category"] = json!(category);
    }
    object
}

/// The columns of a table, in which all is text.
const COLUMNS: [&str; 8] =
    ["id", "instruction", "input", "output", "system", "history", "category", "provenance"];

fn cells(row: &Instruction) -> io::Result<[String; 8]> {
    let history =
        if row.history.is_empty() { String::new() } else { serde_json::to_string(&row.history)? };
    Ok([
        row.id.clone(),
        row.instruction.clone(),
        row.input.clone(),
        row.output.clone(),
        row.system.clone(),
        history,
        row.category.map_or("", |category| category.name()).to_owned(),
        serde_json::to_string(&row.provenance)?,
    ])
}

fn comma_separated(rows: &[Instruction]) -> io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for row in rows {
        writer.write_record(cells(row)?)?;
    }
    writer.into_inner().map_err(|error| io::Error::other(error.to_string()))
}

fn parquet_file(rows: &[Instruction]) -> io::Result<Vec<u8>> {
    /// Rows whose columns stand together.
    const GROUP: usize = 10_000;
    let columns: Vec<String> =
        COLUMNS.iter().map(|name| format!("REQUIRED BYTE_ARRAY {name} (UTF8);")).collect();
    let schema = format!("message rows {{ {} }}", columns.join(" "));
    let schema = Arc::new(parse_message_type(&schema).map_err(io::Error::other)?);
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by("bioinstruct".to_owned())
        .build();
    let mut bytes = Vec::new();
    let mut file = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties))
        .map_err(io::Error::other)?;
    for rows in rows.chunks(GROUP) {
        let cells: Vec<[String; 8]> = rows.iter().map(cells).collect::<Result<_, _>>()?;
        let mut group = file.next_row_group().map_err(io::Error::other)?;
        let mut at = 0;
        while let Some(mut column) = group.next_column().map_err(io::Error::other)? {
            let values: Vec<ByteArray> =
                cells.iter().map(|row| ByteArray::from(row[at].as_str())).collect();
            column
                .typed::<ByteArrayType>()
                .write_batch(&values, None, None)
                .map_err(io::Error::other)?;
            column.close().map_err(io::Error::other)?;
            at += 1;
        }
        group.close().map_err(io::Error::other)?;
    }
    file.close().map_err(io::Error::other)?;
    Ok(bytes)
}
