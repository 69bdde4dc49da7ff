//! The LLaMA-family network: [`Llama`] holds the frozen weights on a [`Backend`]; running it is in [`inference`], its
//! training step in [`training`].

pub mod inference;
pub mod training;
mod training_block;

use std::sync::Arc;

use crate::backend::{Backend, Heads, RotaryTable};
use crate::error::EngineError;
use crate::format::{ModelConfig, ModelFile};
use crate::kernels::lanes::Precision;
use crate::lora::Projection;

/// How a model is put on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadOptions {
    /// How weights are kept.
    pub precision: Precision,
    /// Most positions a sequence may have; zero takes what the model was made for.
    pub positions: usize,
}

/// One block's frozen weights.
#[derive(Debug)]
struct Block<B: Backend> {
    input_norm: B::Buffer,
    middle_norm: B::Buffer,
    projections: [B::Matrix; 7],
}

/// A frozen network on a device.
#[derive(Debug)]
pub struct Llama<B: Backend> {
    backend: B,
    config: ModelConfig,
    options: LoadOptions,
    embedding: Arc<B::Matrix>,
    head: Arc<B::Matrix>,
    final_norm: B::Buffer,
    blocks: Vec<Block<B>>,
    rotary: RotaryTable,
    weights_hash: [u8; 32],
}

impl<B: Backend> Llama<B> {
    /// Reads every tensor of the file onto the device.
    pub fn load(file: &ModelFile, backend: B, options: LoadOptions) -> Result<Self, EngineError> {
        let config = file.config().clone();
        refuse_unsupported(&config)?;
        let matrix = |name: &str| {
            Ok::<_, EngineError>(backend.matrix(&file.tensor(name)?, options.precision))
        };
        let norm = |name: &str| Ok::<_, EngineError>(backend.upload(&file.tensor(name)?.to_f32()));
        let embedding = Arc::new(matrix("model.embed_tokens.weight")?);
        let head = if config.tied_embeddings {
            Arc::clone(&embedding)
        } else {
            Arc::new(matrix("lm_head.weight")?)
        };
        let mut blocks = Vec::with_capacity(config.layers);
        for block in 0..config.layers {
            let name = |part: &str| format!("model.layers.{block}.{part}.weight");
            let mut projections = Vec::with_capacity(7);
            for projection in Projection::ALL {
                projections.push(matrix(&name(projection.path()))?);
            }
            blocks.push(Block {
                input_norm: norm(&name("input_layernorm"))?,
                middle_norm: norm(&name("post_attention_layernorm"))?,
                projections: projections.try_into().unwrap_or_else(|_| {
                    unreachable!("one matrix was pushed for each of the seven")
                }),
            });
        }
        let final_norm = norm("model.norm.weight")?;
        let rotary = RotaryTable::new(&config, context_length(&config, options.positions));
        let weights_hash = file.weights_hash()?;
        Ok(Self {
            backend,
            config,
            options,
            embedding,
            head,
            final_norm,
            blocks,
            rotary,
            weights_hash,
        })
    }

    /// The architecture's numbers.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The device.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// How the weights are kept.
    pub fn options(&self) -> LoadOptions {
        self.options
    }

    /// SHA-256 of the weights as they stand in the file.
    pub fn weights_hash(&self) -> [u8; 32] {
        self.weights_hash
    }

    /// Most positions of a sequence.
    pub fn context_length(&self) -> usize {
        self.rotary.positions()
    }

    /// Bytes of the frozen weights on the device.
    pub fn weight_bytes(&self) -> usize {
        let matrices = self.blocks.iter().flat_map(|block| &block.projections);
        let mut bytes: usize = matrices.map(|matrix| self.backend.matrix_bytes(matrix)).sum();
        bytes += self.backend.matrix_bytes(&self.embedding);
        if !self.config.tied_embeddings {
            bytes += self.backend.matrix_bytes(&self.head);
        }
        bytes
    }

    fn heads(&self) -> Heads {
        Heads {
            query: self.config.attention_heads,
            key_value: self.config.key_value_heads,
            size: self.config.head_size,
        }
    }
}

/// A sliding window is exact without further ado as long as no sequence is longer than it.
fn context_length(config: &ModelConfig, wanted: usize) -> usize {
    let made_for = config
        .sliding_window
        .map_or(config.maximum_positions, |window| window.min(config.maximum_positions));
    if wanted == 0 { made_for } else { wanted.min(made_for) }
}

fn refuse_unsupported(config: &ModelConfig) -> Result<(), EngineError> {
    let refuse = |feature: &str| Err(EngineError::Unsupported { feature: feature.to_owned() });
    if config.attention_bias || config.attention_output_bias {
        return refuse("biases on its attention projections");
    }
    if config.query_key_norm {
        return refuse("a norm on queries and keys");
    }
    Ok(())
}
