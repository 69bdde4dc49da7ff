//! Low-rank adapters: [`LoraConfig`] says what is adapted and how, [`Layout`] where each factor lies, [`Adapter`] holds the
//! values.
//!
//! Variants are LoRA (Hu et al. 2021), rank-stabilised scaling (Kalajdzievski 2023) and DoRA (Liu et al. 2024), with PEFT's
//! definitions; [`Targets`] chooses the modules, [`Merge`] turns frozen rows into adapted ones.

mod layout;
mod merge;
mod targets;

use serde::{Deserialize, Serialize};

pub use self::layout::Layout;
pub use self::merge::Merge;
pub use self::targets::{Layers, Matcher, Targets, matchers};
use crate::backend::Backend;
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

    /// The module's whole path, as in Hugging Face checkpoints.
    pub fn module(self, block: usize) -> String {
        format!("model.layers.{block}.{}", self.path())
    }
}

/// How A is drawn; B starts at zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// Uniform in ±1/√in: PEFT's default, Kaiming with a = √5.
    Kaiming,
    /// Normal with deviation 1/rank: PEFT's `gaussian`.
    Gaussian,
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
    /// Rank-stabilised scaling.
    pub rank_stabilised: bool,
    /// Whether the length of each row of the adapted matrix is a parameter of its own.
    pub dora: bool,
    /// How A starts.
    pub init: Init,
    /// The adapted modules.
    pub targets: Targets,
    /// Other ranks of single modules; the first that means a module counts.
    pub rank_pattern: Vec<(Matcher, usize)>,
    /// Other alphas of single modules, likewise.
    pub alpha_pattern: Vec<(Matcher, f64)>,
}

impl LoraConfig {
    /// The rank of a module.
    pub fn rank_of(&self, module: &str) -> Result<usize, EngineError> {
        let rank = first(&self.rank_pattern, module).unwrap_or(self.rank);
        if (1..=4096).contains(&rank) {
            return Ok(rank);
        }
        let reason = format!("{rank} is not between 1 and 4096");
        Err(EngineError::Setting { setting: "train.rank_pattern", reason })
    }

    /// The alpha of a module.
    pub fn alpha_of(&self, module: &str) -> f64 {
        first(&self.alpha_pattern, module).unwrap_or(self.alpha)
    }

    /// What multiplies B A x of a module.
    pub fn scale_of(&self, module: &str, rank: usize) -> Result<f32, EngineError> {
        let (alpha, rank) = (self.alpha_of(module), rank as f64);
        if !(alpha.is_finite() && alpha > 0.0) {
            let reason = format!("{alpha} is not positive");
            return Err(EngineError::Setting { setting: "train.alpha_pattern", reason });
        }
        Ok((alpha / if self.rank_stabilised { rank.sqrt() } else { rank }) as f32)
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

/// The value of the first pattern that means this module.
fn first<T: Copy>(patterns: &[(Matcher, T)], module: &str) -> Option<T> {
    patterns.iter().find(|(key, _)| key.matches(module)).map(|(_, value)| *value)
}

/// An adapter on a device, ready to be used with the base it was made for: see
/// [`Llama::adapter`](crate::model::Llama::adapter).
#[derive(Debug)]
pub struct Adapter<B: Backend> {
    /// What it adapts.
    pub config: LoraConfig,
    /// Where its factors lie.
    pub layout: Layout,
    /// Their values.
    pub(crate) parameters: B::Buffer,
    /// With magnitudes: the length of each row of W + s B A under these values.
    pub(crate) norms: B::Buffer,
}

impl<B: Backend> Adapter<B> {
    /// All values, in the layout's order.
    pub fn download(&self, backend: &B) -> Vec<f32> {
        backend.download(&self.parameters, 0..self.layout.length())
    }
}
