//! From a JSON value to a row, or to the field that is wrong and why.

use bioinstruct_core::record::{Category, Instruction, Provenance};
use serde_json::{Map, Value};

type BadField = (Option<&'static str>, String);

/// `source` names the file in the provenance of a row that brings none.
pub(super) fn row(value: Value, source: &str) -> Result<Instruction, BadField> {
    let Value::Object(mut object) = value else {
        return Err((None, format!("is {}, not an object", kind(&value))));
    };
    let instruction = text(&mut object, "instruction")?.ok_or_else(|| missing("instruction"))?;
    let input = text(&mut object, "input")?.unwrap_or_default();
    let output = text(&mut object, "output")?.ok_or_else(|| missing("output"))?;
    // The published sets know other categories; those are as good as none.
    let category = text(&mut object, "category")?.and_then(|name| {
        Category::ALL.into_iter().find(|category| category.name().eq_ignore_ascii_case(name.trim()))
    });
    let provenance = match object.remove("provenance") {
        None | Some(Value::Null) => outer_provenance(&mut object, source)?,
        Some(value) => serde_json::from_value(value)
            .map_err(|error| (Some("provenance"), format!("is not understood: {error}")))?,
    };
    Ok(Instruction::new(instruction, input, output, category, provenance))
}

/// What seed tasks and foreign rows say of themselves beside their text.
fn outer_provenance(object: &mut Map<String, Value>, source: &str) -> Result<Provenance, BadField> {
    let source = match object.remove("id") {
        Some(Value::String(id)) if !id.is_empty() => format!("{source}:{id}"),
        Some(Value::Number(id)) => format!("{source}:{id}"),
        _ => source.to_owned(),
    };
    let restricted = match object.remove("restricted") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(restricted)) => restricted,
        Some(other) => return Err(wrong_kind("restricted", &other, "true or false")),
    };
    Ok(Provenance {
        source,
        licence: text(object, "licence")?.unwrap_or_default(),
        restricted,
        ..Provenance::default()
    })
}

/// A text field; absent and null are the same.
fn text(object: &mut Map<String, Value>, field: &'static str) -> Result<Option<String>, BadField> {
    match object.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.contains('\0') => {
            Err((Some(field), "holds a NUL character".to_owned()))
        }
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong_kind(field, &other, "a string")),
    }
}

fn missing(field: &'static str) -> BadField {
    (Some(field), "is missing".to_owned())
}

fn wrong_kind(field: &'static str, found: &Value, wanted: &str) -> BadField {
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
