//! The numbers of a sentence encoder: [`EncoderConfig`], from `config.json` and what sentence-transformers puts beside it.

use std::path::Path;

use serde_json::Value;

use super::error::SentenceError;
use crate::format::FormatError;
use crate::format::json_file::read_json;

const MAXIMUM_CONFIG: u64 = 4 << 20;
/// The largest size, count or position that is read.
const MAXIMUM_SIZE: u64 = 1 << 20;

/// Sizes of a BERT encoder.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EncoderConfig {
    pub(super) vocabulary_size: usize,
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    /// Positions that have a vector.
    pub(super) positions: usize,
    /// Kinds of token (first and second text of a pair) that have a vector; every token here is of the first.
    pub(super) token_kinds: usize,
    pub(super) epsilon: f32,
    /// Most tokens of a text; what comes after is cut off.
    pub(super) maximum_tokens: usize,
}

impl EncoderConfig {
    /// Reads `config.json` of `folder`, and where they are there `sentence_bert_config.json` and `1_Pooling/config.json`.
    pub(super) fn read(folder: &Path) -> Result<Self, SentenceError> {
        let json = json_of(folder, "config.json")?;
        let config = Self::parse(&json).map_err(|reason| at(folder, "config.json", reason))?;
        let positions = config.positions;
        let maximum_tokens = match optional_json_of(folder, "sentence_bert_config.json")? {
            Some(json) => json["max_seq_length"].as_u64().map_or(positions, |most| most as usize),
            None => positions,
        };
        if maximum_tokens < 3 || maximum_tokens > positions {
            let reason = format!("max_seq_length is {maximum_tokens}, expected 3 to {positions}");
            return Err(at(folder, "sentence_bert_config.json", reason));
        }
        if let Some(pooling) = optional_json_of(folder, "1_Pooling/config.json")? {
            refuse_other_pooling(&pooling)
                .map_err(|reason| at(folder, "1_Pooling/config.json", reason))?;
        }
        Ok(Self { maximum_tokens, ..config })
    }

    fn parse(json: &Value) -> Result<Self, String> {
        let expected = [
            ("model_type", "bert"),
            ("hidden_act", "gelu"),
            ("position_embedding_type", "absolute"),
        ];
        for (field, value) in expected {
            match &json[field] {
                Value::Null if field != "model_type" => {}
                Value::String(found) if found == value => {}
                other => return Err(format!("`{field}` is {other}, expected {value:?}")),
            }
        }
        let size = |field: &str| match json[field].as_u64() {
            Some(size) if (1..=MAXIMUM_SIZE).contains(&size) => Ok(size as usize),
            _ => Err(format!("`{field}` is {}, expected a size", json[field])),
        };
        let config = Self {
            vocabulary_size: size("vocab_size")?,
            hidden_size: size("hidden_size")?,
            intermediate_size: size("intermediate_size")?,
            layers: size("num_hidden_layers")?,
            heads: size("num_attention_heads")?,
            positions: size("max_position_embeddings")?,
            token_kinds: size("type_vocab_size")?,
            epsilon: json["layer_norm_eps"].as_f64().unwrap_or(1e-12) as f32,
            maximum_tokens: 0,
        };
        if !config.hidden_size.is_multiple_of(config.heads) {
            return Err(format!(
                "`hidden_size` is {}, no multiple of the {} heads",
                config.hidden_size, config.heads
            ));
        }
        Ok(config)
    }

    /// Values of a head.
    pub(super) fn head_size(&self) -> usize {
        self.hidden_size / self.heads
    }
}

fn refuse_other_pooling(json: &Value) -> Result<(), String> {
    let fields = json.as_object().into_iter().flatten();
    let on = |name: &str| {
        fields.clone().any(|(field, value)| field == name && value.as_bool() == Some(true))
    };
    let other = fields.clone().map(|(field, _)| field.as_str()).find(|field| {
        field.starts_with("pooling_mode_") && *field != "pooling_mode_mean_tokens" && on(field)
    });
    match other {
        Some(field) => Err(format!("`{field}` is on; only the mean of the tokens is computed")),
        None if on("pooling_mode_mean_tokens") => Ok(()),
        None => Err("`pooling_mode_mean_tokens` is not on".to_owned()),
    }
}

fn at(folder: &Path, file: &str, reason: String) -> SentenceError {
    SentenceError::Folder { path: folder.join(file), reason }
}

fn json_of(folder: &Path, file: &'static str) -> Result<Value, SentenceError> {
    let path = folder.join(file);
    read_json(&path, MAXIMUM_CONFIG, file)
        .map_err(|problem| SentenceError::Format(FormatError::new(&path, problem)))
}

fn optional_json_of(folder: &Path, file: &'static str) -> Result<Option<Value>, SentenceError> {
    if !folder.join(file).is_file() {
        return Ok(None);
    }
    json_of(folder, file).map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bert() -> Value {
        json!({
            "model_type": "bert", "hidden_act": "gelu", "vocab_size": 50, "hidden_size": 16, "type_vocab_size": 2,
            "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 24,
        })
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        assert_eq!(EncoderConfig::parse(&bert()).unwrap().head_size(), 4);
        for (field, value) in [
            ("model_type", json!("roberta")),
            ("hidden_act", json!("relu")),
            ("position_embedding_type", json!("relative_key")),
            ("num_attention_heads", json!(3)),
            ("hidden_size", json!(0)),
            ("vocab_size", json!(-1)),
            ("num_hidden_layers", json!(1u64 << 60)),
            ("type_vocab_size", Value::Null),
        ] {
            let mut json = bert();
            json[field] = value;
            let error = EncoderConfig::parse(&json).unwrap_err();
            assert!(error.contains(field) || error.contains("hidden_size"), "{field}: {error}");
        }
    }

    #[test]
    fn only_the_mean_of_tokens_is_pooled() {
        let mean = json!({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false});
        assert!(refuse_other_pooling(&mean).is_ok());
        let first = json!({"pooling_mode_mean_tokens": false, "pooling_mode_cls_token": true});
        assert!(refuse_other_pooling(&first).unwrap_err().contains("pooling_mode_cls_token"));
        assert!(refuse_other_pooling(&json!({})).is_err());
    }
}
