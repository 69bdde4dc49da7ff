//! The LLaMA-family network: [`Llama`] holds the frozen weights on a [`Backend`]; running it is in [`inference`], its
//! training step in [`training`], and what adapters need of it in [`adapting`].

pub mod adapting;
pub(crate) mod batch;
mod cache;
mod heads;
pub mod inference;
pub mod training;
mod training_block;

use std::sync::Arc;

use crate::backend::{Backend, RotaryTable};
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
    /// Of the projections that have one.
    biases: [Option<B::Buffer>; 7],
    /// Of query and key heads, where the model norms them.
    head_norms: Option<[B::Buffer; 2]>,
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
        Self::read(file, file.config().clone(), backend, options, file.weights_hash()?)
    }

    /// Only the first blocks between embedding and head, without a hash: enough to measure how long a block takes.
    pub fn load_first(
        file: &ModelFile,
        backend: B,
        options: LoadOptions,
        blocks: usize,
    ) -> Result<Self, EngineError> {
        let mut config = file.config().clone();
        config.layers = config.layers.min(blocks);
        Self::read(file, config, backend, options, [0; 32])
    }

    fn read(
        file: &ModelFile,
        config: ModelConfig,
        backend: B,
        options: LoadOptions,
        weights_hash: [u8; 32],
    ) -> Result<Self, EngineError> {
        let matrix = |name: &str| {
            Ok::<_, EngineError>(backend.matrix(&file.tensor(name)?, options.precision))
        };
        let vector =
            |name: &str| Ok::<_, EngineError>(backend.upload(&file.tensor(name)?.to_f32()));
        let embedding = Arc::new(matrix("model.embed_tokens.weight")?);
        let head = if config.tied_embeddings {
            Arc::clone(&embedding)
        } else {
            Arc::new(matrix("lm_head.weight")?)
        };
        let mut blocks = Vec::with_capacity(config.layers);
        for block in 0..config.layers {
            let name = |part: &str| format!("model.layers.{block}.{part}");
            let norm = |part: &str| vector(&name(&format!("{part}.weight")));
            let mut projections = Vec::with_capacity(7);
            let mut biases = [const { None }; 7];
            for projection in Projection::ALL {
                let path = name(projection.path());
                projections.push(matrix(&format!("{path}.weight"))?);
                if has_bias(&config, projection) {
                    biases[projection as usize] = Some(vector(&format!("{path}.bias"))?);
                }
            }
            let head_norms = if config.query_key_norm {
                Some([norm("self_attn.q_norm")?, norm("self_attn.k_norm")?])
            } else {
                None
            };
            blocks.push(Block {
                input_norm: norm("input_layernorm")?,
                middle_norm: norm("post_attention_layernorm")?,
                projections: projections.try_into().unwrap_or_else(|_| {
                    unreachable!("one matrix was pushed for each of the seven")
                }),
                biases,
                head_norms,
            });
        }
        let final_norm = vector("model.norm.weight")?;
        let rotary = RotaryTable::new(&config, context_length(&config, options.positions));
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
}

/// Most positions of a sequence: what the model was made for, or `wanted` where that is fewer and not zero.
pub fn context_length(config: &ModelConfig, wanted: usize) -> usize {
    let made_for = config.maximum_positions;
    if wanted == 0 { made_for } else { wanted.min(made_for) }
}

fn has_bias(config: &ModelConfig, projection: Projection) -> bool {
    match projection {
        Projection::Query | Projection::Key | Projection::Value => config.attention_bias,
        Projection::Output => config.attention_output_bias,
        Projection::Gate | Projection::Up | Projection::Down => false,
    }
}
