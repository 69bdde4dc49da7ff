//! Sentence vectors: [`SentenceEncoder`] reads a BERT-like encoder (Devlin et al. 2019) such as all-MiniLM-L6-v2 and turns
//! texts into unit vectors, as sentence-transformers does: the mean of the last layer's tokens, scaled to length one.
//!
//! Batches are ragged and every row is one chain of additions, so a text's vector is the same bits whatever is embedded
//! beside it and on any number of threads. Everything is computed in 32-bit floats; there is no backward, since nothing here
//! is tuned.

mod attention;
mod config;
mod error;
mod gelu;
mod layer_norm;
mod network;
mod word_piece;

use std::path::Path;

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::model::{Embedder, Embeddings, ModelError, ModelIdentity};

use self::config::EncoderConfig;
pub use self::error::SentenceError;
use self::network::Network;
use self::word_piece::WordPiece;
use crate::format::SafetensorsSet;
use crate::kernels::KernelPath;
use crate::kernels::threads::Threads;

/// Tokens that are worked on at once: enough rows to fill the tiles of the products, few enough to stay in the caches.
const BATCH_TOKENS: usize = 1024;

/// A sentence encoder on the processor.
#[derive(Debug)]
pub struct SentenceEncoder {
    config: EncoderConfig,
    words: WordPiece,
    network: Network,
    path: KernelPath,
    threads: Threads,
    identity: ModelIdentity,
}

impl SentenceEncoder {
    /// Loads a folder with `config.json`, `tokenizer.json` and safetensors; zero threads take every processor.
    ///
    /// # Errors
    /// [`SentenceError`]: a file is missing or broken, or asks for what is not computed here.
    pub fn load(folder: &Path, name: &str, threads: usize) -> Result<Self, SentenceError> {
        let config = EncoderConfig::read(folder)?;
        let words = WordPiece::read(folder, &config)?;
        let tensors = SafetensorsSet::open(folder)?.ok_or_else(|| SentenceError::Folder {
            path: folder.to_owned(),
            reason: "holds no model.safetensors".to_owned(),
        })?;
        let threads = Threads::new(threads)?;
        let network = Network::load(&tensors, &config, &threads)?;
        let digest = format!("{:02x?} {} {config:?}", network.digest(), words.digest());
        let identity = ModelIdentity {
            name: name.to_owned(),
            digest: ContentHash::of_bytes(digest.as_bytes()).to_string(),
        };
        Ok(Self { config, words, network, path: KernelPath::choose()?, threads, identity })
    }

    /// Values of a vector.
    pub fn width(&self) -> usize {
        self.config.hidden_size
    }
}

impl Embedder for SentenceEncoder {
    fn identity(&self) -> ModelIdentity {
        self.identity.clone()
    }

    fn embed(&self, texts: &[&str]) -> Result<Embeddings, ModelError> {
        let ids: Vec<Vec<u32>> = texts
            .iter()
            .enumerate()
            .map(|(at, text)| {
                self.words
                    .encode(text)
                    .map_err(|reason| ModelError::Request { id: format!("text {at}"), reason })
            })
            .collect::<Result<_, _>>()?;
        let mut values = Vec::with_capacity(texts.len() * self.width());
        let mut rest = &ids[..];
        while !rest.is_empty() {
            let batch = rest.split_off(..batch_length(rest)).unwrap_or_default();
            values.extend(self.network.embed((self.path, &self.threads), &self.config, batch));
        }
        Ok(Embeddings { width: self.width(), values })
    }
}

/// How many of the first texts make a batch.
fn batch_length(ids: &[Vec<u32>]) -> usize {
    let mut tokens = 0;
    let fits = ids.iter().take_while(|ids| {
        tokens += ids.len();
        tokens <= BATCH_TOKENS
    });
    fits.count().max(1)
}
