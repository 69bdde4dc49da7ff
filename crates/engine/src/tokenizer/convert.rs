//! A tokenizer in the other kind of file: a GGUF's own vocabulary as `tokenizer.json`, and the other way round.
//! Main functions: [`folder_files`], [`gguf_metadata`].
//!
//! Nothing is written that is not exact: the result is read again, and must be the same tokenizer.

use serde_json::{Map, Value, json};

use super::error::{TokenizerError, TokenizerProblem};
use super::json_beside::Beside;
use super::split::Step;
use super::vocabulary::{Kind, RawToken};
use super::{Algorithm, Parts, Tokenizer, json};
use crate::format::{Gguf, GgufValue, ModelFile};

/// Files by name, or why they cannot say the same.
pub type Files = Result<Vec<(&'static str, String)>, String>;

/// The files of a Hugging Face folder that hold the tokenizer of `gguf`: `tokenizer.json`, `tokenizer_config.json` and, with a
/// chat template, `chat_template.jinja`; or why they cannot say the same.
///
/// # Errors
/// The GGUF's own tokenizer is broken or not implemented.
pub fn folder_files(gguf: &Gguf) -> Result<Files, TokenizerError> {
    let mut parts = Parts::from_gguf(gguf)?;
    // ids of the embedding's padding stand for nothing, and a `tokenizer.json` leaves them out
    let unused =
        |token: &Option<RawToken>| token.as_ref().is_none_or(|token| token.kind == Kind::Unused);
    while parts.tokens.last().is_some_and(unused) {
        parts.tokens.pop();
    }
    let files = json_of(&parts).and_then(|tokenizer| {
        let config = config_of(&parts);
        same_when_read(parts, &tokenizer, &config).map(|template| (tokenizer, config, template))
    });
    Ok(files.map(|(tokenizer, config, template)| {
        let text = |value: &Value| format!("{value:#}\n");
        let mut files =
            vec![("tokenizer.json", text(&tokenizer)), ("tokenizer_config.json", text(&config))];
        files.extend(template.map(|template| ("chat_template.jinja", template)));
        files
    }))
}

/// Reads what was made, compares, and gives the chat template.
fn same_when_read(
    parts: Parts,
    tokenizer: &Value,
    config: &Value,
) -> Result<Option<String>, String> {
    let said = |problem: TokenizerProblem| problem.to_string();
    let beside = Beside {
        config: config.clone(),
        eos: parts.eos.iter().map(|id| u64::from(*id)).collect(),
        chat_template: parts.chat_template.clone(),
    };
    let read = json::read(tokenizer, &beside).and_then(Tokenizer::assemble).map_err(said)?;
    let ours = Tokenizer::assemble(parts).map_err(said)?;
    let same = read.identity() == ours.identity()
        && read.eos == ours.eos
        && read.chat_template == ours.chat_template;
    if same {
        Ok(ours.chat_template)
    } else {
        Err("its tokens are of kinds that a tokenizer.json does not tell apart".to_string())
    }
}

fn json_of(parts: &Parts) -> Result<Value, String> {
    let Algorithm::ByteLevel { bpe, splitter, compose } = &parts.algorithm else {
        return Err(
            "its vocabulary is joined by scores (SentencePiece), which has no exact form in \
                    tokenizer.json"
                .to_string(),
        );
    };
    let (last, before) = splitter.0.split_last().ok_or("it does not split words")?;
    let mut stages = Vec::new();
    for step in before.iter().chain((*last != Step::Gpt2).then_some(last)) {
        stages.push(match (step, step.pattern()) {
            (Step::Digits, _) => json!({"type": "Digits", "individual_digits": true}),
            (Step::Llama3 | Step::Qwen2, Some(pattern)) => json!({
                "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false
            }),
            _ => return Err("it splits words as llama.cpp's `default` does, and no known \
                             tokenizer.json does"
                .to_string()),
        });
    }
    stages.push(json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
        "use_regex": *last == Step::Gpt2}));
    let tokens =
        || (0u32..).zip(&parts.tokens).filter_map(|(id, token)| Some((id, token.as_ref()?)));
    let vocabulary: Map<String, Value> =
        tokens().map(|(id, token)| (token.text.clone(), json!(id))).collect();
    let special = |kind| matches!(kind, Kind::Control | Kind::Unknown);
    let added: Vec<Value> = tokens()
        .filter(|(_, token)| special(token.kind) || token.kind == Kind::UserDefined)
        .map(|(id, token)| {
            json!({"id": id, "content": token.text, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": special(token.kind)})
        })
        .collect();
    let merges: Vec<String> =
        parts.merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false,
        "use_regex": true});
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added,
        "normalizer": if *compose { json!({"type": "NFC"}) } else { Value::Null },
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": stages},
        "post_processor": post_processor(parts),
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": bpe.options().ignore_merges, "vocab": vocabulary, "merges": merges},
    }))
}

/// The bos token before every text, where the model was trained so.
fn post_processor(parts: &Parts) -> Value {
    let Some(bos) = parts.bos.filter(|_| parts.adds_bos) else { return Value::Null };
    let name = text_of(parts, bos);
    let token = json!({"SpecialToken": {"id": name, "type_id": 0}});
    let sequence = |id: &str, number: u32| json!({"Sequence": {"id": id, "type_id": number}});
    let mut special = Map::new();
    special.insert(name.clone(), json!({"id": name, "ids": [bos], "tokens": [name]}));
    json!({"type": "TemplateProcessing",
        "single": [token, sequence("A", 0)],
        "pair": [token, sequence("A", 0), {"SpecialToken": {"id": name, "type_id": 1}}, sequence("B", 1)],
        "special_tokens": special})
}

fn text_of(parts: &Parts, id: u32) -> String {
    let token = parts.tokens.get(id as usize).and_then(Option::as_ref);
    token.map(|token| token.text.clone()).unwrap_or_default()
}

fn config_of(parts: &Parts) -> Value {
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": parts.adds_bos,
        "add_prefix_space": false,
        "clean_up_tokenization_spaces": false,
    });
    let named = [
        ("bos_token", parts.bos),
        ("eos_token", parts.eos.first().copied()),
        ("pad_token", parts.padding),
    ];
    for (field, id) in named {
        if let Some(id) = id {
            config[field] = json!(text_of(parts, id));
        }
    }
    config
}

/// The `tokenizer.*` metadata of a GGUF file for a model whose embedding has `rows`: copied from a GGUF, or made from a
/// folder's `tokenizer.json`.
///
/// # Errors
/// The tokenizer is broken, or llama.cpp has no form that gives the same ids.
pub fn gguf_metadata(
    model: &ModelFile,
    rows: usize,
) -> Result<Vec<(String, GgufValue)>, TokenizerError> {
    if let Some(gguf) = model.gguf() {
        let pairs = gguf.raw_metadata()?.into_iter();
        return Ok(pairs.filter(|(key, _)| key.starts_with("tokenizer.")).collect());
    }
    let path = model.path().join("tokenizer.json");
    let parts = Parts::from_file(&path)?;
    metadata_of(&parts, rows).map_err(|what| {
        let what = format!("its tokenizer in a GGUF file: {what}");
        TokenizerError::new(&path, TokenizerProblem::Unsupported { what })
    })
}

fn metadata_of(parts: &Parts, rows: usize) -> Result<Vec<(String, GgufValue)>, String> {
    let Algorithm::ByteLevel { bpe, splitter, compose } = &parts.algorithm else {
        return Err(
            "a vocabulary made from SentencePiece needs scores, which tokenizer.json does not \
                    have; export from the model's GGUF"
                .to_string(),
        );
    };
    let pre = splitter.pre().ok_or("llama.cpp has no `pre` for its way of splitting words")?;
    let implied = (pre == "llama-bpe", pre == "qwen2");
    if (bpe.options().ignore_merges, *compose) != implied {
        return Err(format!("llama.cpp's `{pre}` has other rules for whole words or composition"));
    }
    if let Some(token) = parts.added.iter().find(|token| token.strip_left || token.strip_right) {
        return Err(format!("the added token {:?} takes whitespace along", token.text));
    }
    if parts.eos.len() > 3 || rows < parts.tokens.len() {
        return Err(format!("{} tokens that end, {rows} rows of the embedding", parts.eos.len()));
    }
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let (mut texts, mut kinds) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    for id in 0..rows {
        let token = parts.tokens.get(id).cloned().flatten();
        let token =
            token.unwrap_or_else(|| RawToken { text: format!("[PAD{id}]"), kind: Kind::Unused });
        texts.push(token.text);
        kinds.push(token.kind as i32);
    }
    let merges = parts.merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
    let mut metadata = vec![
        (key("model"), GgufValue::Text("gpt2".to_string())),
        (key("pre"), GgufValue::Text(pre.to_string())),
        (key("tokens"), GgufValue::Texts(texts)),
        (key("token_type"), GgufValue::I32s(kinds)),
        (key("merges"), GgufValue::Texts(merges)),
        (key("add_bos_token"), GgufValue::Bool(parts.adds_bos)),
    ];
    let ends =
        ["eos", "eot", "eom"].into_iter().zip(&parts.eos).map(|(name, id)| (name, Some(*id)));
    for (name, id) in ends.chain([("bos", parts.bos), ("padding", parts.padding)]) {
        metadata.extend(id.map(|id| (key(&format!("{name}_token_id")), GgufValue::U32(id))));
    }
    let template = parts.chat_template.clone().map(GgufValue::Text);
    metadata.extend(template.map(|text| ("tokenizer.chat_template".to_string(), text)));
    Ok(metadata)
}
