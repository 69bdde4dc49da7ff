//! From a JSON value to a row, or to the field that is wrong and why.

use bioinstruct_core::record::{Category, Exchange, Instruction, Provenance};
use serde_json::{Map, Value};

use super::chat;

/// Which field is wrong, when the rest could be read, and why.
pub(super) type BadField = (Option<&'static str>, String);

/// `source` names the file in the provenance of a row that brings none.
pub(super) fn row(value: Value, source: &str) -> Result<Instruction, BadField> {
    let Value::Object(mut object) = value else {
        return Err((None, format!("is {}, not an object", kind(&value))));
    };
    let turn = if is_absent(&object, "instruction") {
        chat::last_turn(&mut object)?.ok_or_else(|| missing("instruction"))?
    } else {
        own_turn(&mut object)?
    };
    let category = text(&mut object, "category")?.and_then(|name| category(&name));
    let provenance = match object.remove("provenance") {
        None | Some(Value::Null) => outer_provenance(&mut object, source)?,
        Some(value) => serde_json::from_value(value)
            .map_err(|error| (Some("provenance"), format!("is not understood: {error}")))?,
    };
    let row = Instruction::new(turn.instruction, turn.input, turn.output, category, provenance);
    Ok(row.in_conversation(turn.system, turn.history))
}

/// The texts of a row.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) system: String,
    pub(super) history: Vec<Exchange>,
    pub(super) instruction: String,
    pub(super) input: String,
    pub(super) output: String,
}

/// A row that is no chat, or the last turn of one with the turns before it in `history`.
fn own_turn(object: &mut Map<String, Value>) -> Result<Turn, BadField> {
    let instruction = text(object, "instruction")?.ok_or_else(|| missing("instruction"))?;
    let input = text(object, "input")?.unwrap_or_default();
    let output = text(object, "output")?.ok_or_else(|| missing("output"))?;
    let system = text(object, "system")?.unwrap_or_default();
    let history = match object.remove("history") {
        None | Some(Value::Null) => Vec::new(),
        Some(value) => serde_json::from_value::<Vec<Exchange>>(value)
            .map_err(|_| (Some("history"), "is no list of pairs of texts".to_owned()))?,
    };
    if history.iter().any(|turn| turn.user.contains('\0') || turn.assistant.contains('\0')) {
        return Err((Some("history"), "holds a NUL character".to_owned()));
    }
    Ok(Turn { system, history, instruction, input, output })
}

/// Whether a field is absent or null.
fn is_absent(object: &Map<String, Value>, field: &str) -> bool {
    object.get(field).is_none_or(Value::is_null)
}

/// What seed tasks and foreign rows say of themselves beside their text.
fn outer_provenance(object: &mut Map<String, Value>, source: &str) -> Result<Provenance, BadField> {
    let id = match object.remove("id") {
        Some(Value::String(id)) => Some(id),
        Some(Value::Number(id)) => Some(id.to_string()),
        _ => None,
    };
    let restricted = match object.remove("restricted") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(restricted)) => restricted,
        Some(other) => return Err(wrong_kind("restricted", &other, "true or false")),
    };
    let licence = text(object, "licence")?.unwrap_or_default();
    Ok(provenance(source, id, licence, restricted))
}

/// The provenance of a row that brings none: the file and the id that the row has there.
pub(super) fn provenance(
    file: &str,
    id: Option<String>,
    licence: String,
    restricted: bool,
) -> Provenance {
    let source = match id.filter(|id| !id.is_empty()) {
        Some(id) => format!("{file}:{id}"),
        None => file.to_owned(),
    };
    Provenance { source, licence, restricted, ..Provenance::default() }
}

/// The published sets know other categories; those are as good as none.
pub(super) fn category(name: &str) -> Option<Category> {
    Category::ALL.into_iter().find(|category| category.name().eq_ignore_ascii_case(name.trim()))
}

/// A text field; absent and null are the same.
pub(super) fn text(
    object: &mut Map<String, Value>,
    field: &'static str,
) -> Result<Option<String>, BadField> {
    match object.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.contains('\0') => {
            Err((Some(field), "holds a NUL character".to_owned()))
        }
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong_kind(field, &other, "a string")),
    }
}

pub(super) fn missing(field: &'static str) -> BadField {
    (Some(field), "is missing".to_owned())
}

pub(super) fn wrong_kind(field: &'static str, found: &Value, wanted: &str) -> BadField {
    (Some(field), format!("is {}, not {wanted}", kind(found)))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
