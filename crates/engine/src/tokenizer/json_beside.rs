//! The files beside a `tokenizer.json`: names of tokens, ids that end generation, the chat template. Main type: [`Beside`].

use std::path::Path;

use serde_json::Value;

use super::error::TokenizerError;
use crate::format::Problem;
use crate::format::json_file::{read_json, read_limited};

const MAXIMUM_CONFIG: u64 = 4 << 20;
/// Bytes of a chat template.
const MAXIMUM_TEMPLATE: u64 = 1 << 20;

/// What the other files of the folder say.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// `tokenizer_config.json`, or null.
    pub(super) config: Value,
    /// Ids that end generation.
    pub(super) eos: Vec<u64>,
    pub(super) chat_template: Option<String>,
}

impl Beside {
    pub(super) fn read(folder: &Path) -> Result<Self, TokenizerError> {
        let optional = |name: &'static str| -> Result<Value, TokenizerError> {
            let path = folder.join(name);
            if !path.is_file() {
                return Ok(Value::Null);
            }
            read_json(&path, MAXIMUM_CONFIG, name)
                .map_err(|problem| TokenizerError::new(&path, problem.into()))
        };
        let config = optional("tokenizer_config.json")?;
        let mut eos = Vec::new();
        for name in ["generation_config.json", "config.json"] {
            let json = optional(name)?;
            if let Some(value) = json.get("eos_token_id") {
                let one = std::slice::from_ref(value);
                let values = value.as_array().map_or(one, Vec::as_slice);
                eos.extend(values.iter().filter_map(Value::as_u64));
            }
        }
        let template = folder.join("chat_template.jinja");
        let chat_template = if template.is_file() {
            let error = |problem: Problem| TokenizerError::new(&template, problem.into());
            let bytes = read_limited(&template, MAXIMUM_TEMPLATE).map_err(error)?;
            let text = String::from_utf8(bytes)
                .map_err(|_| error(Problem::NotUtf8 { what: "the chat template", offset: 0 }))?;
            Some(text)
        } else {
            config.get("chat_template").and_then(default_template)
        };
        Ok(Self { config, eos, chat_template })
    }
}

/// A template, or the one named `default` of several.
fn default_template(value: &Value) -> Option<String> {
    let named = |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some("default");
    match value {
        Value::String(template) => Some(template.clone()),
        Value::Array(entries) => {
            entries.iter().find(named)?.get("template")?.as_str().map(str::to_string)
        }
        _ => None,
    }
}
