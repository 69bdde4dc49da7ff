//! Asking a model for the kind of a row, as the paper did: [`request`] and [`read`].
//!
//! The paper prints no prompt, so the words are ours. A reply that does not name exactly one kind gives none.

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::model::{ChatRequest, Message, Prompt, Sampling};
use bioinstruct_core::record::{Category, Instruction};
use bioinstruct_core::template::{self, TemplateError};
use bioinstruct_data::rows::input_or_empty;
use serde_json::{Value, json};

use super::by_name;

/// The words around a row; who keeps replies keeps them for these words.
pub const PROMPT: &str = include_str!("../../templates/category_request.txt.jinja");

/// Characters of each text that are shown; a kind shows early.
const SHOWN: usize = 1500;

/// The request about one row, greedy; with `schema` its reply is a JSON object.
///
/// Its id is a hash of all that it says, so rows that look the same to the model are asked about once.
pub fn request(row: &Instruction, schema: bool) -> Result<ChatRequest, TemplateError> {
    let context = json!({
        "instruction": shown(&row.instruction),
        "input": shown(input_or_empty(&row.input)),
        "output": shown(&row.output),
        "json": schema,
    });
    let text = template::render("category_request.txt.jinja", PROMPT, context, false)?;
    let names: Vec<&str> = Category::ALL.iter().map(|category| category.name()).collect();
    let schema = schema.then(|| {
        json!({
            "type": "object",
            "properties": {"category": {"type": "string", "enum": names}},
            "required": ["category"],
            "additionalProperties": false,
        })
    });
    let mut request = ChatRequest {
        id: String::new(),
        prompt: Prompt::Messages(vec![Message::user(text)]),
        sampling: Sampling { max_tokens: 16, temperature: 0.0, ..Sampling::default() },
        stop: Vec::new(),
        schema,
        adapter: None,
    };
    ContentHash::of_json(&json!(request)).short().clone_into(&mut request.id);
    Ok(request)
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

/// The kind that a reply names: the JSON object that was asked for, or a text in which exactly one of the four names stands as
/// a word.
pub fn read(reply: &str) -> Option<Category> {
    if let Ok(Value::Object(fields)) = serde_json::from_str(reply) {
        return by_name(fields.get("category")?.as_str()?);
    }
    let reply = reply.to_lowercase();
    let mut named: Vec<Category> =
        reply.split(|character: char| !character.is_alphanumeric()).filter_map(by_name).collect();
    named.sort_unstable();
    named.dedup();
    match named[..] {
        [only] => Some(only),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bioinstruct_core::record::Provenance;

    use super::*;

    #[test]
    fn a_reply_names_one_kind_or_none() {
        assert_eq!(read("{\"category\": \"ie\"}"), Some(Category::Ie));
        assert_eq!(read("{\"category\": \"summary\"}"), None);
        assert_eq!(read("Category: **Generation**."), Some(Category::Generation));
        assert_eq!(read("qa, or perhaps other"), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn requests_are_named_by_what_they_say() {
        let row = |output: &str| {
            let texts = ["List the drugs.", "N/A", output].map(str::to_owned);
            let [instruction, input, output] = texts;
            Instruction::new(instruction, input, output, None, Provenance::default())
        };
        let first = request(&row("aspirin"), false).unwrap();
        let Prompt::Messages(messages) = &first.prompt else { panic!("not a conversation") };
        assert!(messages[0].content.contains("Input: (none)\nOutput: aspirin"));
        assert!(messages[0].content.contains("one word") && first.schema.is_none());
        assert_eq!(first, request(&row("aspirin"), false).unwrap());
        assert_ne!(first.id, request(&row("ibuprofen"), false).unwrap().id);
        let with_schema = request(&row("aspirin"), true).unwrap();
        assert!(with_schema.schema.is_some() && with_schema.id != first.id);
        let long = request(&row(&"é".repeat(100_000)), false).unwrap();
        assert!(json!(long).to_string().len() < 20_000);
    }
}
