//! Rows of the owners' files: [`read`] turns any [`Format`] into JSON objects that know where they stand.

use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use super::{DataSpec, FieldSpec, Format, Place, TaskError, iob, nli4ct};

/// One row of a data file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) place: Place,
    /// Its key, in a file keyed by id.
    pub(super) key: Option<String>,
    pub(super) value: Value,
}

/// The text of a file, unpacked when it is gzip, without a byte order mark.
pub(super) fn read_text(path: &Path) -> Result<String, TaskError> {
    let mut bytes = fs_err::read(path)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = Vec::new();
        flate2::read::MultiGzDecoder::new(bytes.as_slice())
            .read_to_end(&mut unpacked)
            .map_err(|error| wrong_file(path, format!("is damaged gzip: {error}")))?;
        bytes = unpacked;
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|&byte| byte == b'\n').count();
        wrong_file(path, format!("line {line} is not UTF-8"))
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// Every row of `text`; `path` is used in errors only.
pub(super) fn read(text: &str, path: &Path, data: &DataSpec) -> Result<Vec<Row>, TaskError> {
    let mut rows = match data.format {
        Format::Jsonl => read_lines(text, path),
        Format::Json => read_array(text, path, data.rows.as_deref()),
        Format::JsonByKey => read_object(text, path),
        Format::Csv => read_csv(text, path, data.columns.as_deref()),
        Format::Tsv => {
            let mut reader = csv::ReaderBuilder::new();
            read_table(reader.delimiter(b'\t').quoting(false), text, path, None)
        }
        Format::Iob => iob::read(text, path),
        Format::Nli4ct => nli4ct::read(text, path),
    }?;
    if rows.is_empty() {
        return Err(wrong_file(path, "there are no rows in it".to_owned()));
    }
    for (field, values) in &data.only {
        let found = rows
            .iter()
            .map(|row| row.text(field, path))
            .collect::<Result<Vec<String>, TaskError>>()?;
        let mut found = found.into_iter();
        rows.retain(|_| found.next().is_some_and(|value| values.contains(&value)));
    }
    if rows.is_empty() {
        return Err(wrong_file(path, "no row in it is of the kind that is asked for".to_owned()));
    }
    Ok(rows)
}

pub(super) fn wrong_file(path: &Path, reason: String) -> TaskError {
    TaskError::File { path: path.to_owned(), reason }
}

fn read_lines(text: &str, path: &Path) -> Result<Vec<Row>, TaskError> {
    let filled = |(_, line): &(usize, &str)| !line.trim().is_empty();
    text.lines()
        .enumerate()
        .filter(filled)
        .map(|(position, line)| {
            let place = Place::Line(position + 1);
            let value = serde_json::from_str(line)
                .map_err(|error| wrong_file(path, format!("{place}: {error}")))?;
            object(place, None, value, path)
        })
        .collect()
}

fn read_array(text: &str, path: &Path, key: Option<&str>) -> Result<Vec<Row>, TaskError> {
    let mut whole: Value =
        serde_json::from_str(text).map_err(|error| wrong_file(path, error.to_string()))?;
    if let Some(key) = key {
        whole = whole.get_mut(key).map(Value::take).ok_or_else(|| {
            wrong_file(path, format!("expected a JSON object with the rows under `{key}`"))
        })?;
    }
    let Value::Array(values) = whole else {
        let found = kind(&whole);
        return Err(wrong_file(path, format!("expected an array of rows, found {found}")));
    };
    values
        .into_iter()
        .enumerate()
        .map(|(position, value)| object(Place::Element(position + 1), None, value, path))
        .collect()
}

pub(super) fn read_object(text: &str, path: &Path) -> Result<Vec<Row>, TaskError> {
    let values: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| wrong_file(path, error.to_string()))?;
    values
        .into_iter()
        .map(|(key, value)| object(Place::Key(key.clone()), Some(key), value, path))
        .collect()
}

fn object(place: Place, key: Option<String>, value: Value, path: &Path) -> Result<Row, TaskError> {
    if value.is_object() {
        Ok(Row { place, key, value })
    } else {
        Err(wrong_file(path, format!("{place} is not a JSON object")))
    }
}

fn read_csv(text: &str, path: &Path, columns: Option<&[String]>) -> Result<Vec<Row>, TaskError> {
    let mut reader = csv::ReaderBuilder::new();
    read_table(reader.has_headers(columns.is_none()), text, path, columns)
}

fn read_table(
    reader: &csv::ReaderBuilder,
    text: &str,
    path: &Path,
    columns: Option<&[String]>,
) -> Result<Vec<Row>, TaskError> {
    let bad = |error: &csv::Error| wrong_file(path, error.to_string());
    let mut reader = reader.from_reader(text.as_bytes());
    let header: Vec<String> = match columns {
        Some(columns) => columns.to_vec(),
        None => reader
            .headers()
            .map_err(|error| bad(&error))?
            .iter()
            .map(|name| name.trim().to_owned())
            .collect(),
    };
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| bad(&error))?;
        let line = record.position().map_or(0, csv::Position::line) as usize;
        if record.len() != header.len() {
            let (found, wanted) = (record.len(), header.len());
            let reason = format!("line {line} has {found} columns, expected {wanted}");
            return Err(wrong_file(path, reason));
        }
        let cells = record.iter().map(|cell| Value::String(cell.to_owned()));
        rows.push(Row {
            place: Place::Line(line),
            key: None,
            value: Value::Object(header.iter().cloned().zip(cells).collect()),
        });
    }
    Ok(rows)
}

impl Row {
    /// The value of a field: its name, or keys and array positions separated by dots.
    pub(super) fn value(&self, field: &str, path: &Path) -> Result<&Value, TaskError> {
        self.find(field).ok_or_else(|| {
            let names: Vec<&str> = match &self.value {
                Value::Object(map) => map.keys().map(String::as_str).collect(),
                _ => Vec::new(),
            };
            let reason = format!("missing; the row has {}", names.join(", "));
            self.wrong(field, reason, path)
        })
    }

    fn find(&self, field: &str) -> Option<&Value> {
        let whole = self.value.get(field);
        whole.or_else(|| field.split('.').try_fold(&self.value, step))
    }

    /// The text of a field; a number is taken as it is written.
    pub(super) fn text(&self, field: &str, path: &Path) -> Result<String, TaskError> {
        let value = self.value(field, path)?;
        scalar_text(value)
            .ok_or_else(|| self.wrong(field, format!("expected text, found {}", kind(value)), path))
    }

    /// A template variable: text, or an array joined into one, with listed values replaced.
    pub(super) fn variable(&self, spec: &FieldSpec, path: &Path) -> Result<String, TaskError> {
        if spec.optional && self.find(&spec.field).is_none_or(Value::is_null) {
            return Ok(String::new());
        }
        let text = match (&spec.join, &spec.each) {
            (None, _) => self.text(&spec.field, path)?,
            (Some(between), None) => self.texts(&spec.field, path)?.join(between),
            (Some(between), Some(key)) => self.texts_of(&spec.field, key, path)?.join(between),
        };
        Ok(spec.values.get(&text).cloned().unwrap_or(text))
    }

    /// The texts of an array.
    pub(super) fn texts(&self, field: &str, path: &Path) -> Result<Vec<String>, TaskError> {
        let value = self.value(field, path)?;
        let items = value.as_array().ok_or_else(|| {
            self.wrong(field, format!("expected an array, found {}", kind(value)), path)
        })?;
        let text = |item| {
            scalar_text(item).ok_or_else(|| {
                self.wrong(field, format!("expected texts, found {} among them", kind(item)), path)
            })
        };
        items.iter().map(text).collect()
    }

    /// The texts under `key` of an array's objects.
    fn texts_of(&self, field: &str, key: &str, path: &Path) -> Result<Vec<String>, TaskError> {
        let value = self.value(field, path)?;
        let items = value.as_array().ok_or_else(|| {
            self.wrong(field, format!("expected an array, found {}", kind(value)), path)
        })?;
        let text = |item: &Value| {
            item.get(key).and_then(scalar_text).ok_or_else(|| {
                self.wrong(field, format!("expected objects with the text `{key}`"), path)
            })
        };
        items.iter().map(text).collect()
    }

    /// The text of a field, or of the only element of its array.
    pub(super) fn single(&self, field: &str, path: &Path) -> Result<String, TaskError> {
        match self.value(field, path)?.as_array().map(Vec::as_slice) {
            Some([only]) => scalar_text(only).ok_or_else(|| {
                self.wrong(field, format!("expected text, found {}", kind(only)), path)
            }),
            _ => self.text(field, path),
        }
    }

    pub(super) fn wrong(&self, field: &str, reason: String, path: &Path) -> TaskError {
        TaskError::Row {
            path: path.to_owned(),
            place: self.place.clone(),
            field: field.to_owned(),
            reason,
        }
    }
}

fn step<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(key),
        Value::Array(items) => key.parse::<usize>().ok().and_then(|at| items.get(at)),
        _ => None,
    }
}

fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
