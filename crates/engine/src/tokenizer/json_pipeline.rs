//! The stages of a `tokenizer.json` around its model: normaliser, pre-tokenizer, post-processor. Main type: [`Pipeline`].
//!
//! Each stage is compared with the known ones; anything else is refused with its name.

use serde_json::Value;

use super::Prefix;
use super::error::TokenizerProblem;
use super::sentence_piece::SPACE;
use super::split::{Splitter, Step};

/// What happens to text before the model sees it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pipeline {
    /// Words in the byte alphabet; with `compose`, Unicode NFC first.
    ByteLevel { splitter: Splitter, compose: bool },
    /// The whole text with spaces as `▁`.
    Spaced { prefix: Prefix },
}

fn unsupported(what: impl Into<String>) -> TokenizerProblem {
    TokenizerProblem::Unsupported { what: what.into() }
}

/// The stage `name`, flattened: nothing, one, or the members of a `Sequence`.
fn stages<'a>(json: &'a Value, name: &str, members: &str) -> Vec<&'a Value> {
    match json.get(name).filter(|stage| !stage.is_null()) {
        None => Vec::new(),
        Some(stage) if kind(stage) == "Sequence" => {
            stage.get(members).and_then(Value::as_array).into_iter().flatten().collect()
        }
        Some(stage) => vec![stage],
    }
}

fn kind(stage: &Value) -> &str {
    stage.get("type").and_then(Value::as_str).unwrap_or("unnamed")
}

fn flag(stage: &Value, field: &str, otherwise: bool) -> bool {
    stage.get(field).and_then(Value::as_bool).unwrap_or(otherwise)
}

/// The text that a `String` or `Regex` pattern holds.
fn pattern<'a>(stage: &'a Value, variant: &str) -> Option<&'a str> {
    stage.get("pattern")?.get(variant)?.as_str()
}

impl Pipeline {
    /// Reads the stages of the parsed `tokenizer.json`.
    pub(super) fn read(json: &Value) -> Result<Self, TokenizerProblem> {
        let normalizers = stages(json, "normalizer", "normalizers");
        let pre_tokenizers = stages(json, "pre_tokenizer", "pretokenizers");
        if pre_tokenizers.iter().any(|stage| kind(stage) == "ByteLevel") {
            let splitter = splitter(&pre_tokenizers)?;
            if let Some(other) = normalizers.iter().find(|stage| kind(stage) != "NFC") {
                return Err(unsupported(format!("the normalizer {:?}", kind(other))));
            }
            check_decoder(json, &["ByteLevel"])?;
            return Ok(Self::ByteLevel { splitter, compose: !normalizers.is_empty() });
        }
        check_decoder(json, &["Sequence", "Metaspace"])?;
        match (&normalizers[..], &pre_tokenizers[..]) {
            ([prepend, replace], []) if is_prepend(prepend) && is_replace(replace) => {
                Ok(Self::Spaced { prefix: Prefix::EachText })
            }
            ([replace], []) if is_replace(replace) => Ok(Self::Spaced { prefix: Prefix::Never }),
            ([], [metaspace]) if kind(metaspace) == "Metaspace" => read_metaspace(metaspace),
            _ => {
                let names = |stages: &[&Value]| {
                    stages.iter().map(|stage| kind(stage)).collect::<Vec<_>>().join(", ")
                };
                let what = format!(
                    "a tokenizer with the normalizers [{}] and the pre-tokenizers [{}]",
                    names(&normalizers),
                    names(&pre_tokenizers)
                );
                Err(unsupported(what))
            }
        }
    }
}

fn is_prepend(stage: &Value) -> bool {
    let prepended = stage.get("prepend").and_then(Value::as_str);
    kind(stage) == "Prepend" && prepended == Some(&SPACE.to_string())
}

fn is_replace(stage: &Value) -> bool {
    let content = stage.get("content").and_then(Value::as_str);
    kind(stage) == "Replace"
        && pattern(stage, "String") == Some(" ")
        && content == Some(&SPACE.to_string())
}

fn read_metaspace(stage: &Value) -> Result<Pipeline, TokenizerProblem> {
    if stage.get("replacement").and_then(Value::as_str) != Some(&SPACE.to_string()) {
        return Err(unsupported("a Metaspace pre-tokenizer with another mark than U+2581"));
    }
    if flag(stage, "split", true) {
        return Err(unsupported("a Metaspace pre-tokenizer that splits"));
    }
    let scheme = stage.get("prepend_scheme").and_then(Value::as_str);
    let prefix = match scheme {
        None if flag(stage, "add_prefix_space", true) => Prefix::EachTextOnce,
        None | Some("never") => Prefix::Never,
        Some("always") => Prefix::EachTextOnce,
        Some("first") => Prefix::StartOnce,
        Some(other) => return Err(unsupported(format!("the prepend_scheme {other:?}"))),
    };
    Ok(Pipeline::Spaced { prefix })
}

/// Digits, known patterns, and `ByteLevel` as the last.
fn splitter(stages: &[&Value]) -> Result<Splitter, TokenizerProblem> {
    let mut steps = Vec::new();
    let last = stages.len() - 1;
    for (number, stage) in stages.iter().enumerate() {
        match kind(stage) {
            "ByteLevel" if number == last => {
                if flag(stage, "add_prefix_space", true) {
                    return Err(unsupported("a ByteLevel pre-tokenizer with add_prefix_space"));
                }
                if flag(stage, "use_regex", true) {
                    steps.push(Step::Gpt2);
                }
            }
            "Digits" if flag(stage, "individual_digits", false) => steps.push(Step::Digits),
            "Split" => steps.push(split_step(stage)?),
            other => {
                return Err(unsupported(format!("the pre-tokenizer {other:?} in this place")));
            }
        }
    }
    Ok(Splitter(steps))
}

fn split_step(stage: &Value) -> Result<Step, TokenizerProblem> {
    let isolated = stage.get("behavior").and_then(Value::as_str) == Some("Isolated");
    let published =
        pattern(stage, "Regex").or_else(|| pattern(stage, "String")).unwrap_or_default();
    let step = Step::from_pattern(published).filter(|_| pattern(stage, "Regex").is_some());
    let step =
        step.ok_or_else(|| TokenizerProblem::UnknownPattern { pattern: published.to_string() })?;
    if isolated && !flag(stage, "invert", false) {
        Ok(step)
    } else {
        Err(unsupported("a Split pre-tokenizer that does not keep the matches as they are"))
    }
}

fn check_decoder(json: &Value, known: &[&str]) -> Result<(), TokenizerProblem> {
    match json.get("decoder").filter(|decoder| !decoder.is_null()).map(kind) {
        Some(decoder) if !known.contains(&decoder) => {
            Err(unsupported(format!("the decoder {decoder:?}")))
        }
        _ => Ok(()),
    }
}

/// The control token that the post-processor puts before every text.
pub(super) fn prepended_token(json: &Value) -> Result<Option<String>, TokenizerProblem> {
    let mut prepended = None;
    for stage in stages(json, "post_processor", "processors") {
        match kind(stage) {
            "ByteLevel" => {}
            "TemplateProcessing" => {
                let single = stage.get("single").and_then(Value::as_array);
                let pieces: Vec<&Value> = single.into_iter().flatten().collect();
                let special = |piece: &Value| {
                    piece.get("SpecialToken")?.get("id")?.as_str().map(str::to_string)
                };
                match pieces[..] {
                    [text] if text.get("Sequence").is_some() => {}
                    [token, text] if text.get("Sequence").is_some() => prepended = special(token),
                    _ => {
                        return Err(unsupported(
                            "a post-processor that adds tokens after the text",
                        ));
                    }
                }
            }
            other => return Err(unsupported(format!("the post-processor {other:?}"))),
        }
    }
    Ok(prepended)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn known_pipelines_are_recognised() {
        let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true});
        let smollm = json!({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": true}, byte_level]}});
        let splitter = Splitter(vec![Step::Digits, Step::Gpt2]);
        let expected = Pipeline::ByteLevel { splitter, compose: false };
        assert_eq!(Pipeline::read(&smollm).expect("known"), expected);

        let qwen = json!({"normalizer": {"type": "NFC"}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "behavior": "Isolated", "invert": false, "pattern": {"Regex":
                "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]}});
        let expected = Pipeline::ByteLevel { splitter: Splitter(vec![Step::Qwen2]), compose: true };
        assert_eq!(Pipeline::read(&qwen).expect("known"), expected);

        let llama2 = json!({"normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}});
        let expected = Pipeline::Spaced { prefix: Prefix::EachText };
        assert_eq!(Pipeline::read(&llama2).expect("known"), expected);

        let metaspace = json!({"pre_tokenizer": {"type": "Metaspace", "replacement": "▁",
            "prepend_scheme": "first", "split": false}});
        let expected = Pipeline::Spaced { prefix: Prefix::StartOnce };
        assert_eq!(Pipeline::read(&metaspace).expect("known"), expected);
    }

    #[test]
    fn unknown_stages_are_refused_by_name() {
        let evil = json!({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "behavior": "Isolated", "pattern": {"Regex": "(a+)+$"}},
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]}});
        let error = Pipeline::read(&evil).expect_err("unknown");
        assert!(
            matches!(error, TokenizerProblem::UnknownPattern { pattern } if pattern == "(a+)+$")
        );
        for json in [
            json!({"pre_tokenizer": {"type": "BertPreTokenizer"}}),
            json!({"pre_tokenizer": {"type": "ByteLevel"}, "normalizer": {"type": "Lowercase"}}),
            json!({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": true}}),
            json!({}),
        ] {
            let error = Pipeline::read(&json).expect_err("unknown");
            assert!(matches!(error, TokenizerProblem::Unsupported { .. }), "{json}");
        }
    }

    #[test]
    fn post_processors_tell_the_prepended_token() {
        let llama3 = json!({"post_processor": {"type": "Sequence", "processors": [
            {"type": "ByteLevel"},
            {"type": "TemplateProcessing", "single": [
                {"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}}]}]}});
        let prepended = prepended_token(&llama3).expect("known");
        assert_eq!(prepended.as_deref(), Some("<|begin_of_text|>"));
        assert_eq!(prepended_token(&json!({"post_processor": null})).expect("none"), None);
        let bert = json!({"post_processor": {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "[CLS]"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "[SEP]"}}]}});
        assert!(prepended_token(&bert).is_err());
    }
}
