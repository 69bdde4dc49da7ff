//! Rows of the owners' files: [`read`] turns any [`Format`] into JSON objects that know where they stand.

use std::path::Path;

use serde_json::{Map, Value};

use super::{DataSpec, FieldSpec, Format, Place, TaskError};

/// One row of a data file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) place: Place,
    /// Its key, in a file keyed by id.
    pub(super) key: Option<String>,
    pub(super) value: Value,
}

/// The text of a file, without a byte order mark.
pub(super) fn read_text(path: &Path) -> Result<String, TaskError> {
    let text = String::from_utf8(fs_err::read(path)?).map_err(|error| {
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
    let rows = match data.format {
        Format::Jsonl => read_lines(text, path),
        Format::Json => read_array(text, path),
        Format::JsonByKey => read_object(text, path),
        Format::Csv => read_csv(text, path, data.columns.as_deref()),
    }?;
    if rows.is_empty() {
        return Err(wrong_file(path, "there are no rows in it".to_owned()));
    }
    Ok(rows)
}

fn wrong_file(path: &Path, reason: String) -> TaskError {
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

fn read_array(text: &str, path: &Path) -> Result<Vec<Row>, TaskError> {
    let values: Vec<Value> =
        serde_json::from_str(text).map_err(|error| wrong_file(path, error.to_string()))?;
    values
        .into_iter()
        .enumerate()
        .map(|(position, value)| object(Place::Element(position + 1), None, value, path))
        .collect()
}

fn read_object(text: &str, path: &Path) -> Result<Vec<Row>, TaskError> {
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
    let bad = |error: &csv::Error| wrong_file(path, error.to_string());
    let mut reader =
        csv::ReaderBuilder::new().has_headers(columns.is_none()).from_reader(text.as_bytes());
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
        let whole = self.value.get(field);
        let found = whole.or_else(|| field.split('.').try_fold(&self.value, step));
        found.ok_or_else(|| {
            let names: Vec<&str> = match &self.value {
                Value::Object(map) => map.keys().map(String::as_str).collect(),
                _ => Vec::new(),
            };
            let reason = format!("missing; the row has {}", names.join(", "));
            self.wrong(field, reason, path)
        })
    }

    /// The text of a field; a number is taken as it is written.
    pub(super) fn text(&self, field: &str, path: &Path) -> Result<String, TaskError> {
        let value = self.value(field, path)?;
        scalar_text(value)
            .ok_or_else(|| self.wrong(field, format!("expected text, found {}", kind(value)), path))
    }

    /// A template variable: text, or an array joined into one, with listed values replaced.
    pub(super) fn variable(&self, spec: &FieldSpec, path: &Path) -> Result<String, TaskError> {
        let text = match &spec.join {
            None => self.text(&spec.field, path)?,
            Some(between) => self.texts(&spec.field, path)?.join(between),
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
