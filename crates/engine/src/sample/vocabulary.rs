//! The tokenizer as llguidance asks for it: [`Environment`].

use std::sync::Arc;

use llguidance::toktrie::{INVALID_TOKEN, TokRxInfo, TokTrie, TokenId, TokenizerEnv};

use crate::tokenizer::Tokenizer;

/// Longer tokens do not fit llguidance's vocabulary tree; no tokenizer has such a token with a use in JSON.
const LONGEST_TOKEN: usize = 1000;

/// Our vocabulary as llguidance asks for it.
pub(super) struct Environment {
    trie: TokTrie,
    tokenizer: Arc<Tokenizer>,
    /// Whether forced text can be cut into tokens as the model learned it.
    canonical: bool,
}

impl Environment {
    /// For replies that end with one of `ends`. Panics of llguidance are left to the caller.
    pub(super) fn new(tokenizer: Arc<Tokenizer>, ends: &[u32]) -> Self {
        let size = tokenizer.vocabulary_size() as u32;
        let words: Vec<Vec<u8>> = (0..size).map(|id| plain_bytes(&tokenizer, id)).collect();
        let ends: Vec<u32> = ends.iter().copied().filter(|id| *id < size).collect();
        let info = TokRxInfo::new(size, ends.first().copied().unwrap_or(INVALID_TOKEN));
        let mut trie = TokTrie::from(&info, &words);
        if !ends.is_empty() {
            trie = trie.with_eos_tokens(&ends);
        }
        let mut environment = Self { trie, tokenizer, canonical: true };
        environment.canonical = environment.exact_ids(br#"{"a":["b c",1]}"#).is_some();
        environment
    }

    /// The tokenizer's ids of a text, when they spell exactly that text.
    fn exact_ids(&self, bytes: &[u8]) -> Option<Vec<TokenId>> {
        let ids = self.tokenizer.encode_text(std::str::from_utf8(bytes).ok()?);
        ids.iter().flat_map(|id| self.trie.token(*id)).eq(bytes).then_some(ids)
    }
}

/// A token's bytes; nothing for control tokens and for those that cannot be part of JSON.
fn plain_bytes(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let bytes = tokenizer.token_bytes(id);
    // 0xFF is in no UTF-8 text, and is llguidance's mark of special tokens.
    if tokenizer.is_control(id) || bytes.len() > LONGEST_TOKEN || bytes.contains(&0xFF) {
        return Vec::new();
    }
    bytes.to_vec()
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.exact_ids(bytes).unwrap_or_else(|| self.trie.greedy_tokenize(bytes))
    }

    fn tokenize_is_canonical(&self) -> bool {
        self.canonical
    }
}
