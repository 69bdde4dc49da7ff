//! Low-rank adapters: [`LoraConfig`] says what is adapted, [`Layout`] where each factor lies, [`Adapter`] holds the values.
//!
//! All factors of an adapter are one flat buffer, so that a gradient, an optimizer state or a checkpoint is one buffer too.

use bioinstruct_core::random::Stream;

use crate::backend::{Backend, Factors};
use crate::error::EngineError;
use crate::format::ModelConfig;

/// A linear layer of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Projection {
    /// `self_attn.q_proj`.
    Query,
    /// `self_attn.k_proj`.
    Key,
    /// `self_attn.v_proj`.
    Value,
    /// `self_attn.o_proj`.
    Output,
    /// `mlp.gate_proj`.
    Gate,
    /// `mlp.up_proj`.
    Up,
    /// `mlp.down_proj`.
    Down,
}

impl Projection {
    /// All seven, in the order of the forward pass.
    pub const ALL: [Self; 7] =
        [Self::Query, Self::Key, Self::Value, Self::Output, Self::Gate, Self::Up, Self::Down];

    /// The module's path inside a block, as in Hugging Face checkpoints.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Query => "self_attn.q_proj",
            Self::Key => "self_attn.k_proj",
            Self::Value => "self_attn.v_proj",
            Self::Output => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }

    /// The module's own name, as in PEFT's `target_modules`.
    pub fn name(self) -> &'static str {
        self.path().split_once('.').map_or("", |(_, name)| name)
    }

    /// (out, in) of its weight.
    pub fn shape(self, config: &ModelConfig) -> (usize, usize) {
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        match self {
            Self::Query => (config.query_size(), hidden),
            Self::Key | Self::Value => (config.key_value_size(), hidden),
            Self::Output => (hidden, config.query_size()),
            Self::Gate | Self::Up => (wide, hidden),
            Self::Down => (hidden, wide),
        }
    }

    /// The projections that a word of `--targets` names: `q`, `q_proj`, …, or `all-linear`.
    pub fn parse_targets(words: &[String]) -> Result<Vec<Self>, EngineError> {
        let mut found = Vec::new();
        for word in words {
            if word == "all-linear" {
                found.extend(Self::ALL);
                continue;
            }
            let one = Self::ALL.into_iter().find(|projection| {
                let name = projection.name();
                word == name || name.strip_suffix("_proj") == Some(word.as_str())
            });
            found.push(one.ok_or_else(|| EngineError::Setting {
                setting: "train.targets",
                reason: format!("`{word}` is none of q, k, v, o, gate, up, down, all-linear"),
            })?);
        }
        found.sort_unstable();
        found.dedup();
        if found.is_empty() {
            return Err(EngineError::Setting {
                setting: "train.targets",
                reason: "is empty".to_owned(),
            });
        }
        Ok(found)
    }
}

/// What is adapted and how.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// Inner size.
    pub rank: usize,
    /// The update is scaled by alpha / rank (with rsLoRA by alpha / √rank).
    pub alpha: f64,
    /// Dropout of the adapters' input in training.
    pub dropout: f64,
    /// Rank-stabilised scaling (Kalajdzievski 2023).
    pub rank_stabilised: bool,
    /// The adapted projections of every block.
    pub targets: Vec<Projection>,
}

impl LoraConfig {
    /// What multiplies B A x.
    pub fn scale(&self) -> f32 {
        let rank = self.rank as f64;
        (self.alpha / if self.rank_stabilised { rank.sqrt() } else { rank }) as f32
    }

    /// Refuses numbers that make no adapter.
    pub fn check(&self) -> Result<(), EngineError> {
        let refuse = |setting, reason: String| Err(EngineError::Setting { setting, reason });
        if self.rank == 0 || self.rank > 4096 {
            return refuse("train.rank", format!("{} is not between 1 and 4096", self.rank));
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return refuse("train.alpha", format!("{} is not positive", self.alpha));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse("train.dropout", format!("{} is not in [0, 1)", self.dropout));
        }
        Ok(())
    }
}

/// Where the factors of each projection of each block lie in a flat buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    blocks: Vec<[Option<Factors>; 7]>,
    length: usize,
}

impl Layout {
    /// Block by block, projection by projection, A before B.
    pub fn new(model: &ModelConfig, lora: &LoraConfig) -> Self {
        let mut length = 0;
        let mut take = |count: usize| {
            length += count;
            length - count..length
        };
        let blocks = (0..model.layers)
            .map(|_| {
                Projection::ALL.map(|projection| {
                    let (out, input) = projection.shape(model);
                    lora.targets.contains(&projection).then(|| Factors {
                        a: take(lora.rank * input),
                        b: take(out * lora.rank),
                        rank: lora.rank,
                    })
                })
            })
            .collect();
        Self { blocks, length }
    }

    /// How many parameters there are.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The factors of one projection of one block.
    pub fn factors(&self, block: usize, projection: Projection) -> Option<&Factors> {
        self.blocks.get(block)?[projection as usize].as_ref()
    }

    /// The lowest block with an adapted projection: no gradient is needed below it.
    pub fn lowest_block(&self) -> Option<usize> {
        self.blocks.iter().position(|block| block.iter().any(Option::is_some))
    }

    /// Every adapted projection: block, projection, factors.
    pub fn all(&self) -> impl Iterator<Item = (usize, Projection, &Factors)> {
        self.blocks.iter().enumerate().flat_map(|(block, factors)| {
            Projection::ALL.into_iter().zip(factors).filter_map(move |(projection, factors)| {
                Some((block, projection, factors.as_ref()?))
            })
        })
    }

    /// Fresh values as PEFT draws them: A uniform in ±1/√in (Kaiming with a = √5), B zero.
    pub fn initial(&self, seed: u64) -> Vec<f32> {
        let mut values = vec![0.0; self.length];
        let stream = Stream::new(seed, "lora-init");
        for (index, (_, _, factors)) in self.all().enumerate() {
            let input = factors.a.len() / factors.rank;
            let bound = 1.0 / (input as f64).sqrt();
            let mut draws = stream.at(index as u64);
            for value in &mut values[factors.a.clone()] {
                *value = ((draws.unit() * 2.0 - 1.0) * bound) as f32;
            }
        }
        values
    }
}

/// An adapter on a device, ready to be used with the base it was made for.
#[derive(Debug)]
pub struct Adapter<B: Backend> {
    /// What it adapts.
    pub config: LoraConfig,
    /// Where its factors lie.
    pub layout: Layout,
    /// Their values.
    pub parameters: B::Buffer,
}

impl<B: Backend> Adapter<B> {
    /// An adapter with these values.
    pub fn new(
        backend: &B,
        model: &ModelConfig,
        config: LoraConfig,
        values: &[f32],
    ) -> Result<Self, EngineError> {
        config.check()?;
        let layout = Layout::new(model, &config);
        if values.len() != layout.length() {
            return Err(EngineError::Adapter {
                path: String::new(),
                reason: format!(
                    "holds {} values, the base asks for {}",
                    values.len(),
                    layout.length()
                ),
            });
        }
        Ok(Self { config, layout, parameters: backend.upload(values) })
    }

    /// All values, in the layout's order.
    pub fn download(&self, backend: &B) -> Vec<f32> {
        backend.download(&self.parameters, 0..self.layout.length())
    }
}
