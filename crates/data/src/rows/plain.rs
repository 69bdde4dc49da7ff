//! The kind of row that nearly all files consist of, read without a tree of values in between: [`read`].
//!
//! Everything else (a chat, a conversation, a field of another name or type, an error) is left to [`super::fields`], which knows
//! how to say what is wrong. So this reader must agree with that one on every row that it takes; a test holds it to that.

use bioinstruct_core::record::{Instruction, Provenance};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::fields;

/// A row whose fields have the types that they should have, and no others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainRow {
    instruction: String,
    #[serde(default)]
    input: Option<String>,
    output: String,
    #[serde(default)]
    category: Option<String>,
    #[serde(default)]
    provenance: Option<Provenance>,
    #[serde(default)]
    id: Option<Name>,
    #[serde(default)]
    restricted: Option<bool>,
    #[serde(default)]
    licence: Option<String>,
    #[serde(default)]
    system: Option<IgnoredAny>,
    #[serde(default)]
    history: Option<IgnoredAny>,
}

/// An id that another program gave.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Number(serde_json::Number),
    Other(IgnoredAny),
}

/// The row of this text, when it is plain and right; `source` names the file in the provenance of a row that brings none.
pub(super) fn read(text: &str, source: &str) -> Option<Instruction> {
    let row: PlainRow = serde_json::from_str(text).ok()?;
    let input = row.input.unwrap_or_default();
    let licence = row.licence.unwrap_or_default();
    let texts = [&row.instruction, &input, &row.output, &licence];
    let is_conversation = row.system.is_some() || row.history.is_some();
    let holds_nul = |text: &str| memchr::memchr(0, text.as_bytes()).is_some();
    if is_conversation || texts.into_iter().chain(&row.category).any(|text| holds_nul(text)) {
        return None;
    }
    let category = row.category.and_then(|name| fields::category(&name));
    let provenance = row.provenance.unwrap_or_else(|| {
        let id = row.id.and_then(Name::text);
        fields::provenance(source, id, licence, row.restricted.unwrap_or_default())
    });
    Some(Instruction::new(row.instruction, input, row.output, category, provenance))
}

impl Name {
    fn text(self) -> Option<String> {
        match self {
            Self::Text(id) => Some(id),
            Self::Number(id) => Some(id.to_string()),
            Self::Other(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_as_files_have_them_are_taken() {
        for text in [
            r#"{"instruction":"a","input":"","output":"b"}"#,
            r#"{"output":"b","input":null,"instruction":"\u00e9\n","id":7,"licence":"MIT"}"#,
            r#"{"id":"x","instruction":"a","input":"","output":"b","category":"qa","provenance":{"source":"s"},"history":null}"#,
        ] {
            let row = read(text, "file").unwrap();
            assert_eq!(Ok(row), fields::row(serde_json::from_str(text).unwrap(), "file"), "{text}");
        }
    }

    /// Any field with any kind of value, right or wrong; several with one name are possible.
    fn field() -> impl Strategy<Value = String> {
        let names = [
            "instruction",
            "instruction",
            "input",
            "output",
            "output",
            "category",
            "provenance",
            "id",
            "restricted",
            "licence",
            "system",
            "history",
            "messages",
            "other",
        ];
        let values = [
            json!("text"),
            json!("text"),
            json!(""),
            json!("qa"),
            json!("a\0b"),
            json!(null),
            json!(1.5),
            json!(true),
            json!([["u", "a"]]),
            json!({"source": "s"}),
            json!({"source": "s", "odd": 1}),
            json!([]),
        ];
        (prop::sample::select(names.to_vec()), prop::sample::select(values.to_vec()))
            .prop_map(|(name, value)| format!("{name:?}:{value}"))
    }

    proptest! {
        #[test]
        fn what_is_taken_is_what_the_other_reader_gives(fields in prop::collection::vec(field(), 0..9)) {
            let text = format!("{{{}}}", fields.join(","));
            if let Some(row) = read(&text, "file") {
                let value = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(Ok(row), fields::row(value, "file"));
            }
        }
    }
}
