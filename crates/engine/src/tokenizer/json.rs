//! Reading a tokenizer from a Hugging Face folder: `tokenizer.json`, and beside it `tokenizer_config.json`,
//! `chat_template.jinja` and the generation config.

use std::path::Path;

use serde_json::Value;

use super::added::AddedToken;
use super::bpe::{Bpe, BpeOptions, Merges};
use super::error::{TokenizerError, TokenizerProblem};
use super::gguf::parse_merge;
use super::json_beside::Beside;
use super::json_pipeline::{Pipeline, prepended_token};
use super::vocabulary::{Kind, MAXIMUM_TOKENS, RawToken, check_count};
use super::{Algorithm, Parts, Tokenizer};
use crate::format::json_file::read_json;

const MAXIMUM_TOKENIZER: u64 = 64 << 20;

impl Tokenizer {
    /// The tokenizer in `path`, a `tokenizer.json` with a BPE model. Beside it are read, when they are there:
    /// `tokenizer_config.json` (bos, eos, chat template), `chat_template.jinja`, and the eos tokens of
    /// `generation_config.json` and `config.json`.
    ///
    /// # Errors
    /// [`TokenizerError`]: a file is broken, or names something that is not implemented.
    pub fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        Self::assemble(Parts::from_file(path)?)
            .map_err(|problem| TokenizerError::new(path, problem))
    }
}

impl Parts {
    /// What `path` and the files beside it say.
    pub(super) fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        let error = |problem| TokenizerError::new(path, problem);
        let json = read_json(path, MAXIMUM_TOKENIZER, "tokenizer.json")
            .map_err(|problem| error(problem.into()))?;
        let beside = Beside::read(path.parent().unwrap_or(Path::new("")))?;
        read(&json, &beside).map_err(error)
    }
}

fn missing(field: &str) -> TokenizerProblem {
    TokenizerProblem::Missing { field: field.to_string() }
}

fn unsupported(what: impl Into<String>) -> TokenizerProblem {
    TokenizerProblem::Unsupported { what: what.into() }
}

/// The parts of a parsed `tokenizer.json` and what stands beside it.
pub(super) fn read(json: &Value, beside: &Beside) -> Result<Parts, TokenizerProblem> {
    let model = json.get("model").ok_or_else(|| missing("model"))?;
    let options = read_options(model)?;
    let added = read_added(json)?;
    let tokens = read_tokens(model, &added)?;
    let merges = read_merges(model)?;
    let pipeline = Pipeline::read(json)?;
    if options.byte_fallback && matches!(pipeline, Pipeline::ByteLevel { .. }) {
        return Err(unsupported("a byte-level BPE model with byte_fallback"));
    }
    let bpe = Bpe::new(&tokens, merges.clone(), options)?;
    let algorithm = match pipeline {
        Pipeline::ByteLevel { splitter, compose } => {
            Algorithm::ByteLevel { bpe, splitter, compose }
        }
        Pipeline::Spaced { prefix } => Algorithm::SpacedBpe { bpe, prefix },
    };
    let id_of = |name: String| {
        let named =
            |token: &Option<RawToken>| token.as_ref().is_some_and(|token| token.text == name);
        let found = tokens.iter().position(named).map(|id| id as u32);
        found.ok_or_else(|| missing(&format!("the token {name:?}")))
    };
    let declared = |field: &str| named_token(&beside.config, field).map(id_of).transpose();
    let prepended = prepended_token(json)?.map(id_of).transpose()?;
    let bos = match prepended {
        Some(bos) => Some(bos),
        None => declared("bos_token")?,
    };
    let add_bos = beside.config.get("add_bos_token").and_then(Value::as_bool);
    Ok(Parts {
        algorithm,
        merges,
        bos,
        eos: eos_tokens(declared("eos_token")?, &beside.eos, tokens.len())?,
        adds_bos: add_bos.unwrap_or(prepended.is_some()) && bos.is_some(),
        padding: declared("pad_token").unwrap_or_default(),
        chat_template: beside.chat_template.clone(),
        tokens,
        added,
    })
}

/// The settings of the BPE model; what is not implemented is refused.
fn read_options(model: &Value) -> Result<BpeOptions, TokenizerProblem> {
    match model.get("type").and_then(Value::as_str) {
        Some("BPE") => {}
        // files from before 2021 leave it out
        None if model.get("merges").is_some() => {}
        other => {
            let name = other.unwrap_or("unnamed").to_string();
            return Err(TokenizerProblem::UnknownModel { name });
        }
    }
    let text = |field: &str| model.get(field).and_then(Value::as_str);
    for field in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if text(field).is_some_and(|text| !text.is_empty()) {
            return Err(unsupported(format!("a BPE model with {field}")));
        }
    }
    let dropout = model.get("dropout").and_then(Value::as_f64);
    if dropout.is_some_and(|dropout| dropout > 0.0) {
        return Err(unsupported("a BPE model with dropout"));
    }
    let flag = |field: &str| model.get(field).and_then(Value::as_bool).unwrap_or(false);
    let options = BpeOptions {
        ignore_merges: flag("ignore_merges"),
        byte_fallback: flag("byte_fallback"),
        unknown: text("unk_token").map(str::to_string),
        fuse_unknown: flag("fuse_unk"),
    };
    if options.byte_fallback && options.ignore_merges {
        return Err(unsupported("a BPE model with both byte_fallback and ignore_merges"));
    }
    Ok(options)
}

/// The declared token first, then the others that end generation.
fn eos_tokens(
    declared: Option<u32>,
    others: &[u64],
    size: usize,
) -> Result<Vec<u32>, TokenizerProblem> {
    let mut eos: Vec<u32> = declared.into_iter().collect();
    for &id in others {
        if id >= size as u64 {
            return Err(TokenizerProblem::TokenId { what: "eos_token_id".to_string(), id, size });
        }
        if !eos.contains(&(id as u32)) {
            eos.push(id as u32);
        }
    }
    Ok(eos)
}

/// A token of `tokenizer_config.json`: its text, or an object with its text.
fn named_token(config: &Value, field: &str) -> Option<String> {
    let value = config.get(field)?;
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_string)
}

fn read_added(json: &Value) -> Result<Vec<AddedToken>, TokenizerProblem> {
    let entries = json.get("added_tokens").and_then(Value::as_array);
    let entries = entries.map_or(&[][..], Vec::as_slice);
    check_count("added tokens", entries.len(), MAXIMUM_TOKENS)?;
    entries
        .iter()
        .map(|entry| {
            let text = entry.get("content").and_then(Value::as_str);
            let text = text.ok_or_else(|| missing("added_tokens: content"))?.to_string();
            let id = token_id("added_tokens: id", entry.get("id"))?;
            let flag = |field: &str| entry.get(field).and_then(Value::as_bool).unwrap_or(false);
            if text.is_empty() {
                return Err(TokenizerProblem::EmptyToken { id });
            }
            if flag("single_word") {
                return Err(unsupported(format!("the added token {text:?} with single_word")));
            }
            let (strip_left, strip_right) = (flag("lstrip"), flag("rstrip"));
            Ok(AddedToken { text, id, control: flag("special"), strip_left, strip_right })
        })
        .collect()
}

fn token_id(what: &str, value: Option<&Value>) -> Result<u32, TokenizerProblem> {
    let value = value.and_then(Value::as_u64).ok_or_else(|| missing(what))?;
    match u32::try_from(value) {
        Ok(id) if (id as usize) < MAXIMUM_TOKENS => Ok(id),
        _ => {
            let (what, size) = (what.to_string(), MAXIMUM_TOKENS);
            Err(TokenizerProblem::TokenId { what, id: value, size })
        }
    }
}

/// The vocabulary by id, added tokens included; ids that neither names are left out.
fn read_tokens(
    model: &Value,
    added: &[AddedToken],
) -> Result<Vec<Option<RawToken>>, TokenizerProblem> {
    let vocabulary =
        model.get("vocab").and_then(Value::as_object).ok_or_else(|| missing("model.vocab"))?;
    check_count("tokens", vocabulary.len(), MAXIMUM_TOKENS)?;
    let byte_fallback = model.get("byte_fallback").and_then(Value::as_bool).unwrap_or(false);
    let mut tokens: Vec<Option<RawToken>> = Vec::new();
    let mut place = |text: &str, id: u32, kind: Kind, replace: bool| {
        if tokens.len() <= id as usize {
            tokens.resize(id as usize + 1, None);
        }
        let slot = &mut tokens[id as usize];
        match slot {
            Some(token) if !(replace && token.text == text) => {
                Err(TokenizerProblem::TokenTwice { text: text.to_string(), first: id, second: id })
            }
            _ => {
                *slot = Some(RawToken { text: text.to_string(), kind });
                Ok(())
            }
        }
    };
    for (text, id) in vocabulary {
        let kind = if byte_fallback && is_byte_name(text) { Kind::Byte } else { Kind::Normal };
        place(text, token_id("model.vocab", Some(id))?, kind, false)?;
    }
    for token in added {
        let kind = if token.control { Kind::Control } else { Kind::UserDefined };
        place(&token.text, token.id, kind, true)?;
    }
    Ok(tokens)
}

/// `<0x00>` to `<0xFF>`.
fn is_byte_name(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| {
        digits.len() == 2 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'))
    })
}

fn read_merges(model: &Value) -> Result<Merges, TokenizerProblem> {
    let merges =
        model.get("merges").and_then(Value::as_array).ok_or_else(|| missing("model.merges"))?;
    let pair = |(number, merge): (usize, &Value)| match merge {
        Value::String(text) => parse_merge(number, text),
        Value::Array(pieces) => match &pieces[..] {
            [Value::String(left), Value::String(right)] => Ok((left.clone(), right.clone())),
            _ => Err(TokenizerProblem::MergeSyntax { number, found: merge.to_string() }),
        },
        _ => Err(TokenizerProblem::MergeSyntax { number, found: merge.to_string() }),
    };
    merges.iter().enumerate().map(pair).collect()
}
