//! Text to token ids and back. Main type: [`Tokenizer`].
//!
//! A tokenizer comes from a GGUF file's metadata or a Hugging Face `tokenizer.json`. Whatever could make it give other
//! ids than the model was trained with — an unknown pre-tokenizer, pattern, normaliser or model — is refused by name.
//!
//! Text is either *plain* ([`Tokenizer::encode_text`]: a control token's name in it is ordinary letters, so nobody's
//! text can speak for the system) or *trusted* ([`Tokenizer::encode_with_control`], for templates).
//!
//! Bytes that a byte-level vocabulary has no token for (rare control characters) are dropped, as the reference
//! implementations do.

mod added;
mod bpe;
mod byte_level;
mod convert;
mod error;
mod gguf;
mod json;
mod json_beside;
mod json_pipeline;
mod sentence_piece;
mod split;
mod vocabulary;

use sha2::{Digest, Sha256};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::{NormalizedString, Normalizer};

use self::added::{AddedToken, AddedTokens, Segment};
use self::bpe::{Bpe, Merges};
pub use self::convert::{Files, folder_files, gguf_metadata};
pub use self::error::{TokenizerError, TokenizerProblem};
use self::sentence_piece::{SPACE, SentencePiece};
use self::split::Splitter;
use self::vocabulary::{Kind, RawToken, Vocabulary};
use crate::format::ModelFile;

/// A model's tokenizer. Can be shared between threads.
#[derive(Debug)]
pub struct Tokenizer {
    vocabulary: Vocabulary,
    algorithm: Algorithm,
    added: AddedTokens,
    control: Vec<(String, u32)>,
    bos: Option<u32>,
    eos: Vec<u32>,
    adds_bos: bool,
    chat_template: Option<String>,
    identity: [u8; 32],
}

/// How ordinary text becomes ids.
#[derive(Debug)]
enum Algorithm {
    /// Words, spelled in GPT-2's byte alphabet, then merges. `compose`: Unicode NFC first.
    ByteLevel { bpe: Bpe, splitter: Splitter, compose: bool },
    /// Merges over the whole text, spaces written as `▁` (a `tokenizer.json` made from SentencePiece).
    SpacedBpe { bpe: Bpe, prefix: Prefix },
    /// Joins by score (a GGUF vocabulary made from SentencePiece).
    SentencePiece { pieces: SentencePiece, prefix: Prefix },
}

/// Where a SentencePiece tokenizer puts a space that is not in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prefix {
    Never,
    /// Before each stretch of text between added tokens.
    EachText,
    /// The same, unless the stretch starts with a space.
    EachTextOnce,
    /// Before the text, unless it starts with a space or an added token.
    StartOnce,
}

/// What a reader gathers; [`Tokenizer::assemble`] checks the rest.
struct Parts {
    algorithm: Algorithm,
    tokens: Vec<Option<RawToken>>,
    added: Vec<AddedToken>,
    /// For the identity.
    merges: Merges,
    bos: Option<u32>,
    eos: Vec<u32>,
    adds_bos: bool,
    /// Fills the places of shorter texts in a batch, elsewhere; for the files that are written.
    padding: Option<u32>,
    chat_template: Option<String>,
}

impl Tokenizer {
    /// The tokenizer of an opened model: the GGUF's own, or `tokenizer.json` of the folder.
    ///
    /// # Errors
    /// As [`Self::from_gguf`] and [`Self::from_file`].
    pub fn for_model(model: &ModelFile) -> Result<Self, TokenizerError> {
        match model.gguf() {
            Some(gguf) => Self::from_gguf(gguf),
            None => Self::from_file(&model.path().join("tokenizer.json")),
        }
    }

    fn assemble(parts: Parts) -> Result<Self, TokenizerProblem> {
        let vocabulary =
            Vocabulary::new(&parts.tokens, |token| gguf::normal_bytes(&parts.algorithm, token))?;
        let mut control: Vec<(String, u32)> = parts
            .added
            .iter()
            .filter(|token| token.control)
            .map(|token| (token.text.clone(), token.id))
            .collect();
        control.sort_by_key(|(_, id)| *id);
        let identity = identity(&parts, &vocabulary);
        Ok(Self {
            vocabulary,
            algorithm: parts.algorithm,
            added: AddedTokens::new(parts.added)?,
            control,
            bos: parts.bos,
            eos: parts.eos,
            adds_bos: parts.adds_bos,
            chat_template: parts.chat_template,
            identity,
        })
    }

    /// The ids of plain text: a control token's name in it is encoded letter by letter. No bos token is added.
    pub fn encode_text(&self, text: &str) -> Vec<u32> {
        self.encode(text, false)
    }

    /// The ids of trusted text, such as a rendered chat template: the names of control tokens become those tokens.
    /// No bos token is added.
    pub fn encode_with_control(&self, text: &str) -> Vec<u32> {
        self.encode(text, true)
    }

    fn encode(&self, text: &str, control: bool) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        for segment in self.added.split(text, control) {
            match segment {
                Segment::Token(id) => ids.push(id),
                Segment::Text(start, text) => self.encode_segment(text, start == 0, &mut ids),
            }
        }
        ids
    }

    fn encode_segment(&self, text: &str, at_start: bool, ids: &mut Vec<u32>) {
        match &self.algorithm {
            Algorithm::ByteLevel { bpe, splitter, compose } => {
                let composed = (*compose && !text.is_ascii()).then(|| compose_nfc(text));
                for word in splitter.split(composed.as_deref().unwrap_or(text)) {
                    bpe.encode(&byte_level::spell(word), ids);
                }
            }
            Algorithm::SpacedBpe { bpe, prefix } => bpe.encode(&prefix.space(text, at_start), ids),
            Algorithm::SentencePiece { pieces, prefix } => {
                pieces.encode(&prefix.space(text, at_start), ids);
            }
        }
    }

    /// The tokens that are never the result of plain text, with their names, in order of id.
    pub fn control_tokens(&self) -> &[(String, u32)] {
        &self.control
    }

    /// Whether `id` is one of [`Self::control_tokens`].
    pub fn is_control(&self, id: u32) -> bool {
        self.control.binary_search_by_key(&id, |(_, id)| *id).is_ok()
    }

    /// The beginning-of-text token.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The end-of-text token.
    pub fn eos(&self) -> Option<u32> {
        self.eos.first().copied()
    }

    /// All tokens that end generation; the first is [`Self::eos`].
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos
    }

    /// Whether the model was trained with [`Self::bos`] before every text. The encoders leave it to the caller.
    pub fn adds_bos(&self) -> bool {
        self.adds_bos
    }

    /// The text of `ids`; with `skip_control`, without control tokens. Bytes that are not UTF-8 become U+FFFD; ids
    /// outside the vocabulary give nothing. A space that a SentencePiece tokenizer puts before a text is taken off
    /// again, so for a continuation join [`Self::token_bytes`] instead.
    pub fn decode(&self, ids: &[u32], skip_control: bool) -> String {
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        for id in ids.iter().filter(|id| !(skip_control && self.is_control(**id))) {
            bytes.extend_from_slice(self.vocabulary.bytes(*id));
        }
        let prefixed = match &self.algorithm {
            Algorithm::ByteLevel { .. } => false,
            Algorithm::SpacedBpe { prefix, .. } | Algorithm::SentencePiece { prefix, .. } => {
                *prefix != Prefix::Never
            }
        };
        let text = if prefixed { bytes.strip_prefix(b" ").unwrap_or(&bytes) } else { &bytes[..] };
        String::from_utf8_lossy(text).into_owned()
    }

    /// The bytes that `id` stands for, which need not be whole characters; empty for an id outside the vocabulary.
    /// Control tokens give their name.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.vocabulary.bytes(id)
    }

    /// One more than the highest id. The model's embedding may have more rows (padding).
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary.len()
    }

    /// SHA-256 of all that decides ids: tokens, kinds, merges or scores, splitting, spaces, bos. The same for a model's
    /// GGUF and its `tokenizer.json` when both encode alike.
    pub fn identity(&self) -> [u8; 32] {
        self.identity
    }

    /// The model's own chat template, Jinja source.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }
}

impl Prefix {
    /// `text` with its spaces, and the one that may be put before it, as `▁`.
    fn space(self, text: &str, at_start: bool) -> String {
        let starts_with_space = text.starts_with([' ', SPACE]);
        let prefixed = match self {
            Self::Never => false,
            Self::EachText => true,
            Self::EachTextOnce => !starts_with_space,
            Self::StartOnce => at_start && !starts_with_space,
        };
        let mut spaced = String::with_capacity(text.len() + 3);
        if prefixed {
            spaced.push(SPACE);
        }
        spaced
            .extend(text.chars().map(|character| if character == ' ' { SPACE } else { character }));
        spaced
    }
}

/// The bytes of a piece in which `▁` is a space.
fn spaced_bytes(piece: &str) -> Vec<u8> {
    piece.replace(SPACE, " ").into_bytes()
}

fn compose_nfc(text: &str) -> String {
    let mut normalized = NormalizedString::from(text);
    NFC.normalize(&mut normalized).expect("composition cannot fail");
    normalized.get().to_string()
}

fn identity(parts: &Parts, vocabulary: &Vocabulary) -> [u8; 32] {
    let mut hash = Sha256::new();
    let algorithm = match &parts.algorithm {
        Algorithm::ByteLevel { bpe, splitter, compose } => {
            format!("{:?} {compose} {:?}", splitter.0, bpe.options())
        }
        Algorithm::SpacedBpe { bpe, prefix } => format!("spaced {prefix:?} {:?}", bpe.options()),
        Algorithm::SentencePiece { prefix, .. } => format!("scored {prefix:?}"),
    };
    hash.update(format!("{algorithm} {} {:?}\n", parts.adds_bos, parts.bos));
    for id in 0..vocabulary.len() as u32 {
        let bytes = vocabulary.bytes(id);
        hash.update((vocabulary.kind(id).unwrap_or(Kind::Unused) as u32).to_le_bytes());
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    for (left, right) in &parts.merges {
        hash.update((left.len() as u64).to_le_bytes());
        hash.update(left);
        hash.update((right.len() as u64).to_le_bytes());
        hash.update(right);
    }
    hash.finalize().into()
}
