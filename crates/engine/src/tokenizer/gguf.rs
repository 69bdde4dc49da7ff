//! Reading a tokenizer from a GGUF file's metadata.

use super::added::AddedToken;
use super::bpe::{Bpe, BpeOptions, Merges};
use super::byte_level;
use super::error::{TokenizerError, TokenizerProblem};
use super::sentence_piece::SentencePiece;
use super::split::{KNOWN_PRE, Splitter, Step};
use super::vocabulary::{Kind, MAXIMUM_TOKENS, RawToken, check_count};
use super::{Algorithm, Parts, Prefix, Tokenizer, spaced_bytes};
use crate::format::Gguf;

impl Tokenizer {
    /// The tokenizer in the metadata of `gguf`: `tokenizer.ggml.model` is `gpt2` (byte-level BPE, with a known
    /// `tokenizer.ggml.pre`) or `llama` (SentencePiece BPE by scores).
    ///
    /// # Errors
    /// [`TokenizerError`]: the metadata is missing or broken, or names something that is not implemented.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, TokenizerError> {
        Self::assemble(Parts::from_gguf(gguf)?)
            .map_err(|problem| TokenizerError::new(gguf.path(), problem))
    }
}

impl Parts {
    /// What the metadata of `gguf` says.
    pub(super) fn from_gguf(gguf: &Gguf) -> Result<Self, TokenizerError> {
        let error = |problem| TokenizerError::new(gguf.path(), problem);
        let model = gguf.text("tokenizer.ggml.model")?.ok_or_else(|| error(missing("model")))?;
        let tokens = read_tokens(gguf)?;
        if flag(gguf, "add_eos_token")? == Some(true) {
            let what = "a tokenizer that appends the end-of-text token (add_eos_token)".to_string();
            return Err(error(TokenizerProblem::Unsupported { what }));
        }
        let Model { algorithm, merges, adds_bos } = match model {
            "gpt2" => byte_level(gguf, &tokens)?,
            "llama" => sentence_piece(gguf, &tokens)?,
            other => {
                return Err(error(TokenizerProblem::UnknownModel { name: other.to_string() }));
            }
        };
        let mut eos: Vec<u32> = Vec::new();
        for name in ["eos", "eot", "eom"] {
            eos.extend(token_id(gguf, name, tokens.len())?.filter(|id| !eos.contains(id)));
        }
        let bos = token_id(gguf, "bos", tokens.len())?;
        Ok(Self {
            algorithm,
            added: added_tokens(&tokens),
            merges,
            bos,
            eos,
            adds_bos: flag(gguf, "add_bos_token")?.unwrap_or(adds_bos) && bos.is_some(),
            padding: token_id(gguf, "padding", tokens.len())?,
            chat_template: gguf.text("tokenizer.chat_template")?.map(str::to_string),
            tokens,
        })
    }
}

/// What depends on `tokenizer.ggml.model`.
struct Model {
    algorithm: Algorithm,
    /// For the identity.
    merges: Merges,
    /// Whether the bos token is prepended when the file does not say.
    adds_bos: bool,
}

fn flag(gguf: &Gguf, name: &str) -> Result<Option<bool>, TokenizerError> {
    Ok(gguf.boolean(&format!("tokenizer.ggml.{name}"))?)
}

/// The id under `tokenizer.ggml.NAME_token_id`.
fn token_id(gguf: &Gguf, name: &str, size: usize) -> Result<Option<u32>, TokenizerError> {
    let what = format!("tokenizer.ggml.{name}_token_id");
    match gguf.unsigned(&what)? {
        Some(id) if id >= size as u64 => {
            Err(TokenizerError::new(gguf.path(), TokenizerProblem::TokenId { what, id, size }))
        }
        id => Ok(id.map(|id| id as u32)),
    }
}

/// The tokens that are matched before anything else.
fn added_tokens(tokens: &[Option<RawToken>]) -> Vec<AddedToken> {
    let added = tokens.iter().enumerate().filter_map(|(id, token)| {
        let token = token.as_ref()?;
        let control = match token.kind {
            Kind::Control | Kind::Unknown => true,
            Kind::UserDefined => false,
            Kind::Normal | Kind::Unused | Kind::Byte => return None,
        };
        let (text, id) = (token.text.clone(), id as u32);
        Some(AddedToken { text, id, control, strip_left: false, strip_right: false })
    });
    added.collect()
}

fn missing(name: &str) -> TokenizerProblem {
    TokenizerProblem::Missing { field: format!("tokenizer.ggml.{name}") }
}

fn read_tokens(gguf: &Gguf) -> Result<Vec<Option<RawToken>>, TokenizerError> {
    let error = |problem| TokenizerError::new(gguf.path(), problem);
    let texts = gguf.strings("tokenizer.ggml.tokens")?.ok_or_else(|| error(missing("tokens")))?;
    check_count("tokens", texts.len(), MAXIMUM_TOKENS).map_err(error)?;
    let kinds = gguf.integers("tokenizer.ggml.token_type")?;
    let kinds = kinds.unwrap_or_else(|| vec![Kind::Normal as i64; texts.len()]);
    if kinds.len() != texts.len() {
        let (expected, got) = (texts.len(), kinds.len());
        return Err(error(TokenizerProblem::Lengths { what: "token types", expected, got }));
    }
    (0u32..)
        .zip(texts)
        .zip(kinds)
        .map(|((id, text), number)| {
            let kind = Kind::from_number(number).ok_or_else(|| {
                let found = number.to_string();
                error(TokenizerProblem::TokenField { id, what: "type", found })
            })?;
            Ok(Some(RawToken { text: text.to_string(), kind }))
        })
        .collect()
}

fn read_merges(gguf: &Gguf) -> Result<Merges, TokenizerError> {
    let error = |problem| TokenizerError::new(gguf.path(), problem);
    let merges = gguf.strings("tokenizer.ggml.merges")?.ok_or_else(|| error(missing("merges")))?;
    merges
        .into_iter()
        .enumerate()
        .map(|(number, merge)| parse_merge(number, merge).map_err(error))
        .collect()
}

/// `left right`, where `left` may begin with the space.
pub(super) fn parse_merge(
    number: usize,
    merge: &str,
) -> Result<(String, String), TokenizerProblem> {
    let first = merge.chars().next().map_or(0, char::len_utf8);
    match merge[first..].split_once(' ') {
        Some((rest, right)) if !right.is_empty() => {
            Ok((format!("{}{rest}", &merge[..first]), right.to_string()))
        }
        _ => Err(TokenizerProblem::MergeSyntax { number, found: merge.to_string() }),
    }
}

fn byte_level(gguf: &Gguf, tokens: &[Option<RawToken>]) -> Result<Model, TokenizerError> {
    let error = |problem| TokenizerError::new(gguf.path(), problem);
    let merges = read_merges(gguf)?;
    let pre = gguf.text("tokenizer.ggml.pre")?.ok_or_else(|| error(missing("pre")))?;
    let splitter = Splitter::from_pre(pre).ok_or_else(|| {
        error(TokenizerProblem::UnknownPre { name: pre.to_string(), supported: KNOWN_PRE })
    })?;
    let llama3 = splitter.0 == [Step::Llama3];
    let options = BpeOptions { ignore_merges: llama3, ..BpeOptions::default() };
    let bpe = Bpe::new(tokens, merges.clone(), options).map_err(error)?;
    // Qwen2's own tokenizer composes first; llama.cpp leaves that out, which changes decomposed text only
    let compose = splitter.0 == [Step::Qwen2];
    let algorithm = Algorithm::ByteLevel { bpe, splitter, compose };
    Ok(Model { algorithm, merges, adds_bos: llama3 })
}

fn sentence_piece(gguf: &Gguf, tokens: &[Option<RawToken>]) -> Result<Model, TokenizerError> {
    let error = |problem| TokenizerError::new(gguf.path(), problem);
    let scores = gguf.numbers("tokenizer.ggml.scores")?.ok_or_else(|| error(missing("scores")))?;
    let pieces = SentencePiece::new(tokens, &scores).map_err(error)?;
    let prefixed = flag(gguf, "add_space_prefix")?.unwrap_or(true);
    let prefix = if prefixed { Prefix::EachText } else { Prefix::Never };
    // scores take the place of merges in the identity
    let ranks = scores.iter().map(|score| (format!("{:08x}", score.to_bits()), String::new()));
    let algorithm = Algorithm::SentencePiece { pieces, prefix };
    Ok(Model { algorithm, merges: ranks.collect(), adds_bos: true })
}

/// What a normal token of a GGUF vocabulary stands for.
pub(super) fn normal_bytes(
    algorithm: &Algorithm,
    token: &RawToken,
) -> Result<Vec<u8>, TokenizerProblem> {
    if matches!(algorithm, Algorithm::ByteLevel { .. }) {
        return Ok(byte_level::bytes(&token.text));
    }
    if token.kind != Kind::Byte {
        return Ok(spaced_bytes(&token.text));
    }
    let byte = token.text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    let byte = byte.filter(|digits| digits.len() == 2 && !digits.starts_with('+'));
    match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
        Some(byte) => Ok(vec![byte]),
        None => {
            Err(TokenizerProblem::Unsupported { what: format!("the byte token {:?}", token.text) })
        }
    }
}
