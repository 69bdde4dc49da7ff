//! What the user may set about training: [`TrainConfig`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use crate::error::EngineError;
use crate::format::ModelConfig;
use crate::lora::{Init, Layers, Layout, LoraConfig, Matcher, Targets, matchers};

/// Which tokens the loss covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossOn {
    /// The answer and the token that ends it.
    Answer,
    /// Every token but the first.
    All,
}

/// What happens to a row that is longer than the cutoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlong {
    /// It is left out, counted and named.
    Drop,
    /// The end of its input is cut until it fits, never instruction or answer; it is counted and named. Where that is
    /// not enough, it is left out.
    TruncateInput,
    /// Training does not start.
    Error,
}

/// In which order an epoch shows its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// In another random order in each epoch.
    Shuffled,
    /// As they stand in the files, file after file: a curriculum of the user's own.
    AsGiven,
    /// By their number of tokens, and among equals as they stand in the files.
    ShortestFirst,
}

/// How the losses of a step's tokens are averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossNorm {
    /// The mean over all labelled tokens of the step: every token counts alike.
    Tokens,
    /// The mean over micro-batches of the mean over each one's labelled tokens, as transformers did under gradient
    /// accumulation until October 2024: a token in a micro-batch with few labels counts more.
    MicrobatchMean,
}

/// Which step's adapter a run leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// Of the evaluated steps after the first update, the one with the lowest dev loss; without dev rows, the last.
    Best,
    /// The last.
    Last,
}

/// The settings of a run; the section `[train]` of a configuration file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// How a row becomes text: `bioinstruct`, `alpaca`, `chat` or a path.
    pub template: String,
    /// Passes over the data, where `max_steps` is zero.
    pub epochs: f64,
    /// Optimizer steps; zero takes them from `epochs`.
    pub max_steps: usize,
    /// Rows of one optimizer step.
    pub batch_rows: usize,
    /// Instead of `batch_rows`: as many rows as fit this many tokens; zero is off.
    pub batch_tokens: usize,
    /// Rows of one step are computed in units of about this many tokens, whose gradients are added pairwise. It bounds
    /// the memory of activations, and belongs to the result's last bits.
    pub unit_tokens: usize,
    /// Most tokens of a row; zero takes the model's context.
    pub cutoff: usize,
    /// What happens to longer rows.
    pub overlong: Overlong,
    /// What the loss covers.
    pub loss: LossOn,
    /// Rows without an answer that may be left out; more are an error.
    pub max_unlabelled: usize,
    /// In which order an epoch shows its rows.
    pub order: Order,
    /// The share of each category (`qa`, `ie`, `generation`, `other`, `unknown`) in an epoch; empty takes the rows as they
    /// are. Every category that has rows must be named; zero leaves it out.
    pub category_shares: BTreeMap<String, f64>,
    /// How the losses of a step's tokens are averaged.
    pub loss_norm: LossNorm,
    /// Rows of a micro-batch; it has a meaning with `loss_norm = "microbatch_mean"` only.
    pub microbatch_rows: usize,
    /// Inner size of the adapters.
    pub rank: usize,
    /// Their update is scaled by alpha / rank.
    pub alpha: f64,
    /// Dropout of their inputs.
    pub dropout: f64,
    /// Adapted projections: `q`, `k`, `v`, `o`, `gate`, `up`, `down`, `all-linear`, or a regular expression for a whole path
    /// such as `model.layers.3.self_attn.q_proj`.
    pub targets: Vec<String>,
    /// Projections that are left out, in the same words.
    pub exclude: Vec<String>,
    /// Only the last so many blocks are adapted; zero adapts all.
    pub last_layers: usize,
    /// Only these blocks are adapted, counted from zero; none adapts all.
    pub layers: Vec<usize>,
    /// Rank-stabilised scaling: alpha / √rank in place of alpha / rank.
    pub rslora: bool,
    /// DoRA: the length of each row of an adapted matrix is trained beside its direction.
    pub dora: bool,
    /// LoRA+: B learns so many times as fast as A; 1 is off.
    pub lora_plus_ratio: f64,
    /// Other ranks of single projections, by a name or a regular expression for the end of their path; where several mean
    /// one projection, the first in alphabetical order counts.
    pub rank_pattern: BTreeMap<String, usize>,
    /// Other alphas of single projections, likewise.
    pub alpha_pattern: BTreeMap<String, f64>,
    /// How the adapters start: `kaiming` or `gaussian`.
    pub init: Init,
    /// NEFTune: noise on the embeddings in training, of up to this / √(tokens · width); zero is off.
    pub neftune_alpha: f64,
    /// Greatest learning rate.
    pub lr: f64,
    /// How the rate falls after the warm-up.
    pub schedule: Schedule,
    /// Share of the steps in which the rate rises from zero.
    pub warmup_ratio: f64,
    /// Instead of `warmup_ratio`: so many steps; zero is off.
    pub warmup_steps: usize,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// The gradient is scaled down to this norm; zero is off.
    pub max_grad_norm: f64,
    /// A checkpoint every so many steps; zero writes only the last.
    pub checkpoint_every: usize,
    /// How many checkpoints stay; older ones go when a newer one is durable.
    pub keep_checkpoints: usize,
    /// The dev loss every so many steps, besides before the first and after the last; zero is off.
    pub evaluate_every: usize,
    /// Which step's adapter is the result: `best` (lowest dev loss of those evaluated) or `last`.
    pub keep: Keep,
    /// Training ends after so many evaluations in a row without a new lowest dev loss; zero is off.
    pub patience: usize,
    /// The watchdog of the loss: training stops with an error when it is above this in `watchdog_steps` steps in a row; zero
    /// is off.
    pub max_loss: f64,
    /// The watchdog of the gradient: likewise for its norm before it is clipped; zero is off.
    pub max_unclipped_norm: f64,
    /// How many steps in a row a watchdog lets pass.
    pub watchdog_steps: usize,
    /// Whether `tensorboard/` is written beside the metrics, for the program of that name.
    pub tensorboard: bool,
    /// Share of the rows held out as dev rows where no dev file is given.
    pub dev_fraction: f64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            template: "bioinstruct".to_owned(),
            epochs: 3.0,
            max_steps: 0,
            batch_rows: 8,
            batch_tokens: 0,
            unit_tokens: 1024,
            cutoff: 0,
            overlong: Overlong::Drop,
            loss: LossOn::Answer,
            max_unlabelled: 0,
            order: Order::Shuffled,
            category_shares: BTreeMap::new(),
            loss_norm: LossNorm::Tokens,
            microbatch_rows: 4,
            rank: 16,
            alpha: 32.0,
            dropout: 0.05,
            targets: vec!["all-linear".to_owned()],
            exclude: Vec::new(),
            last_layers: 0,
            layers: Vec::new(),
            rslora: false,
            dora: false,
            lora_plus_ratio: 1.0,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            init: Init::Kaiming,
            neftune_alpha: 0.0,
            lr: 2e-4,
            schedule: Schedule::Cosine,
            warmup_ratio: 0.03,
            warmup_steps: 0,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            checkpoint_every: 50,
            keep_checkpoints: 2,
            evaluate_every: 0,
            keep: Keep::Best,
            patience: 0,
            max_loss: 0.0,
            max_unclipped_norm: 0.0,
            watchdog_steps: 3,
            tensorboard: true,
            dev_fraction: 0.05,
        }
    }
}

impl TrainConfig {
    /// The adapter that these settings make.
    pub fn lora(&self) -> Result<LoraConfig, EngineError> {
        let words = |words: &[String], setting| matchers(setting, words.iter().map(String::as_str));
        let config = LoraConfig {
            rank: self.rank,
            alpha: self.alpha,
            dropout: self.dropout,
            rank_stabilised: self.rslora,
            dora: self.dora,
            init: self.init,
            targets: Targets {
                chosen: words(&self.targets, "train.targets")?,
                excluded: words(&self.exclude, "train.exclude")?,
                layers: self.chosen_layers()?,
            },
            rank_pattern: pattern("train.rank_pattern", &self.rank_pattern)?,
            alpha_pattern: pattern("train.alpha_pattern", &self.alpha_pattern)?,
        };
        config.check()?;
        Ok(config)
    }

    /// How many of `steps` optimizer steps the rate rises in.
    pub fn warmup(&self, steps: usize) -> usize {
        match self.warmup_steps {
            0 => (self.warmup_ratio * steps as f64).ceil() as usize,
            given => given,
        }
    }

    /// Whether each row has noise of its own in a step: then no two rows have a token in common.
    pub fn is_noisy(&self) -> bool {
        self.neftune_alpha > 0.0
    }

    /// The adapter that these settings make of a model, and where its values lie. A word or a number that means nothing in
    /// this model is an error.
    pub fn adapter(&self, model: &ModelConfig) -> Result<(LoraConfig, Layout), EngineError> {
        let lora = self.lora()?;
        let refuse = |setting, reason| Err(EngineError::Setting { setting, reason });
        if let Some(idle) = lora.targets.idle(model.layers) {
            let reason = format!(
                "`{}` is none of q, k, v, o, gate, up, down, all-linear, and as a regular expression it matches no whole path \
                 such as `model.layers.0.self_attn.q_proj`",
                idle.text()
            );
            return refuse("train.targets", reason);
        }
        let beyond = self.layers.iter().copied().chain(self.last_layers.checked_sub(1));
        if let Some(layer) = beyond.into_iter().find(|layer| *layer >= model.layers) {
            let reason = format!("asks for layer {layer} of a model with {}", model.layers);
            return refuse("train.layers", reason);
        }
        let layout = Layout::new(model, &lora)?;
        let ranks = lora.rank_pattern.iter().map(|(key, _)| ("train.rank_pattern", key));
        let alphas = lora.alpha_pattern.iter().map(|(key, _)| ("train.alpha_pattern", key));
        for (setting, key) in ranks.chain(alphas) {
            let mut modules = layout.all().map(|(block, projection, _)| projection.module(block));
            if !modules.any(|module| key.matches(&module)) {
                return refuse(setting, format!("`{}` means no adapted projection", key.text()));
            }
        }
        Ok((lora, layout))
    }

    fn chosen_layers(&self) -> Result<Layers, EngineError> {
        match (self.last_layers, self.layers.is_empty()) {
            (0, true) => Ok(Layers::All),
            (last, true) => Ok(Layers::Last(last)),
            (0, false) => Ok(Layers::These(self.layers.clone())),
            _ => Err(EngineError::Setting {
                setting: "train.layers",
                reason: "cannot be set together with `train.last_layers`".to_owned(),
            }),
        }
    }

    /// Refuses numbers that make no run.
    pub fn check(&self) -> Result<(), EngineError> {
        let positive = |setting, value: f64| {
            if value.is_finite() && value > 0.0 {
                return Ok(());
            }
            Err(EngineError::Setting { setting, reason: format!("{value} is not positive") })
        };
        let between = |setting, value: f64, most: f64| {
            if (0.0..=most).contains(&value) {
                return Ok(());
            }
            Err(EngineError::Setting {
                setting,
                reason: format!("{value} is not between 0 and {most}"),
            })
        };
        self.lora()?;
        positive("train.lr", self.lr)?;
        positive("train.unit_tokens", self.unit_tokens as f64)?;
        if self.max_steps == 0 {
            positive("train.epochs", self.epochs)?;
        }
        if self.batch_tokens == 0 {
            positive("train.batch_rows", self.batch_rows as f64)?;
        }
        positive("train.keep_checkpoints", self.keep_checkpoints as f64)?;
        positive("train.watchdog_steps", self.watchdog_steps as f64)?;
        if self.loss_norm == LossNorm::MicrobatchMean {
            positive("train.microbatch_rows", self.microbatch_rows as f64)?;
        }
        if self.patience > 0 && self.evaluate_every == 0 {
            return Err(EngineError::Setting {
                setting: "train.patience",
                reason: "counts evaluations, and `train.evaluate_every` is 0".to_owned(),
            });
        }
        between("train.max_loss", self.max_loss, f64::MAX)?;
        between("train.max_unclipped_norm", self.max_unclipped_norm, f64::MAX)?;
        positive("train.lora_plus_ratio", self.lora_plus_ratio)?;
        between("train.neftune_alpha", self.neftune_alpha, f64::MAX)?;
        between("train.warmup_ratio", self.warmup_ratio, 1.0)?;
        between("train.weight_decay", self.weight_decay, 1.0)?;
        between("train.max_grad_norm", self.max_grad_norm, f64::MAX)?;
        between("train.dev_fraction", self.dev_fraction, 0.9)
    }
}

fn pattern<T: Copy>(
    setting: &'static str,
    values: &BTreeMap<String, T>,
) -> Result<Vec<(Matcher, T)>, EngineError> {
    let key =
        |text: &str| Matcher::key(text).map_err(|reason| EngineError::Setting { setting, reason });
    values.iter().map(|(text, value)| Ok((key(text)?, *value))).collect()
}
