//! Text to the ids of a vocabulary of word pieces: [`WordPiece`], by the `tokenizers` crate.
//!
//! What could make it give other ids than the encoder was trained with, an unknown normaliser or model, is refused by name.

use std::path::Path;

use bioinstruct_core::hash::ContentHash;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::config::EncoderConfig;
use super::error::SentenceError;
use crate::format::FormatError;
use crate::format::json_file::read_limited;

const MAXIMUM_TOKENIZER: u64 = 64 << 20;

/// The parts of `tokenizer.json` that must be of this kind.
const PARTS: [(&str, &[&str]); 4] = [
    ("model", &["WordPiece"]),
    ("normalizer", &["BertNormalizer"]),
    ("pre_tokenizer", &["BertPreTokenizer"]),
    ("post_processor", &["TemplateProcessing", "BertProcessing"]),
];

/// A tokenizer into word pieces (Wu et al. 2016).
#[derive(Debug)]
pub(super) struct WordPiece {
    tokenizer: Tokenizer,
    maximum_tokens: usize,
    digest: ContentHash,
}

impl WordPiece {
    /// Reads `tokenizer.json` of `folder`.
    pub(super) fn read(folder: &Path, config: &EncoderConfig) -> Result<Self, SentenceError> {
        let path = folder.join("tokenizer.json");
        let refuse = |reason: String| SentenceError::Folder { path: path.clone(), reason };
        let bytes = read_limited(&path, MAXIMUM_TOKENIZER)
            .map_err(|problem| SentenceError::Format(FormatError::new(&path, problem)))?;
        let json: Value =
            serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
        for (part, known) in PARTS {
            let kind = json[part]["type"].as_str().unwrap_or("none");
            if !known.contains(&kind) {
                return Err(refuse(format!("`{part}` is {kind}, expected {}", known.join(" or "))));
            }
        }
        let mut tokenizer =
            Tokenizer::from_bytes(&bytes).map_err(|error| refuse(error.to_string()))?;
        // What is kept of a long text is decided here, and nothing is padded.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| refuse(error.to_string()))?;
        let tokens = tokenizer.get_vocab_size(true);
        if tokens > config.vocabulary_size {
            let reason =
                format!("has {tokens} tokens, the encoder knows {}", config.vocabulary_size);
            return Err(refuse(reason));
        }
        let digest = ContentHash::of_bytes(&bytes);
        Ok(Self { tokenizer, maximum_tokens: config.maximum_tokens, digest })
    }

    /// The ids of a text between the tokens that open and close it. Of a long text the end is cut off, before the closing
    /// token.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        let encoding = self.tokenizer.encode(text, true).map_err(|error| error.to_string())?;
        let mut ids = encoding.get_ids().to_vec();
        if ids.len() > self.maximum_tokens {
            ids.drain(self.maximum_tokens - 1..ids.len() - 1);
        }
        Ok(ids)
    }

    /// A hash of the file.
    pub(super) fn digest(&self) -> &ContentHash {
        &self.digest
    }
}
