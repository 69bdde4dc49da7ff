//! How long a run will take: [`measure`] times a few blocks of the model on rows of the run, on this machine.
//!
//! All blocks of a network cost the same, so two short networks tell what one block costs and what embedding, head and loss
//! cost; the rest is multiplication. The longer one has as much work in its blocks as in its head, else what a block costs would
//! be lost in what a head costs more or less the next time. It is as good as the machine is steady.

use std::time::Instant;

use bioinstruct_core::random::Stream;
use serde::Serialize;

use super::config::TrainConfig;
use super::example::Example;
use super::memory::Demand;
use super::plan::{Plan, units};
use crate::backend::{Backend, Cpu};
use crate::error::EngineError;
use crate::format::{ModelConfig, ModelFile};
use crate::lora::{Adapter, Layers, Layout, LoraConfig, Matcher, Projection, Targets};
use crate::model::training::{Activations, Batch, Step, Tape};
use crate::model::{Llama, LoadOptions};

/// Weights of a block times tokens that are timed at most, with what the head costs for them: some seconds on a slow machine.
const MOST_WORK: usize = 30_000_000_000;
/// Fewest blocks of the longer network, where there are so many.
const LEAST_BLOCKS: usize = 3;
/// Each measurement is the best of so many.
const REPEATS: usize = 3;

/// Seconds that the work on one token takes that is computed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Speed {
    /// In an optimizer step.
    pub train: f64,
    /// In a dev evaluation.
    pub evaluate: f64,
}

impl Speed {
    /// Seconds of a whole run with so many dev evaluations.
    pub fn seconds(&self, demand: &Demand, evaluations: usize) -> f64 {
        let evaluated = demand.dev_rows as f64 * evaluations as f64;
        demand.rows as f64 * self.train + evaluated * self.evaluate
    }
}

/// Dev evaluations of a run: before the first step, after the last, and between.
pub fn evaluations(config: &TrainConfig, demand: &Demand) -> usize {
    if demand.dev_tokens == 0 {
        return 0;
    }
    let every = config.evaluate_every;
    let between = demand.steps.saturating_sub(1).checked_div(every).unwrap_or(0);
    between + 2
}

/// Times one block, and as many as cost what the head costs, on a unit of the first step.
pub fn measure(
    file: &ModelFile,
    config: &TrainConfig,
    (options, activations): (LoadOptions, Activations),
    threads: usize,
    plan: &Plan,
    rows: &[Example],
) -> Result<Speed, EngineError> {
    let model = file.config();
    let (block, _) = weights(model);
    let most = (MOST_WORK / block.max(1)).clamp(16, config.unit_tokens.max(16));
    let draws: Vec<&Example> = plan.draws(0).iter().map(|draw| &rows[draw.row]).collect();
    let cut = units(&draws, |row| &row.ids, most, !config.is_noisy());
    let unit = cut.first().copied().unwrap_or_default();
    let cut: Vec<Example> = unit.iter().map(|row| row.beginning(most)).collect();
    let batch = Example::batch(&cut.iter().collect::<Vec<_>>(), config.is_noisy());
    let rows = batch.rows().max(1) as f64;
    let blocks = longer(model);
    let load = |blocks| Timed::load(file, config, (options, activations), threads, blocks);
    let mut few = load(1)?;
    if blocks < 2 {
        (0..REPEATS).for_each(|_| few.run(&batch));
        return Ok(Speed { train: few.best.train / rows, evaluate: few.best.evaluate / rows });
    }
    let mut more = load(blocks)?;
    for _ in 0..REPEATS {
        // In turn, so that both meet the same machine.
        few.run(&batch);
        more.run(&batch);
    }
    let whole = |few: f64, more: f64| {
        let block = ((more - few) / (blocks - 1) as f64).max(0.0);
        (few + block * (model.layers - 1) as f64) / rows
    };
    let (few, more) = (few.best, more.best);
    Ok(Speed { train: whole(few.train, more.train), evaluate: whole(few.evaluate, more.evaluate) })
}

/// Weights of a block, and of the head.
fn weights(model: &ModelConfig) -> (usize, usize) {
    let of = |projection: Projection| {
        let (out, input) = projection.shape(model);
        out * input
    };
    (Projection::ALL.into_iter().map(of).sum(), model.vocabulary_size * model.hidden_size)
}

/// Blocks of the longer network.
fn longer(model: &ModelConfig) -> usize {
    let (block, head) = weights(model);
    (1 + head.div_ceil(block.max(1))).max(LEAST_BLOCKS).min(model.layers)
}

/// The first blocks of a model, and the fewest seconds that a batch took through them.
struct Timed {
    model: Llama<Cpu>,
    adapter: Adapter<Cpu>,
    tape: Tape<Cpu>,
    gradient: Vec<f32>,
    dropout: Option<(f32, Stream)>,
    best: Speed,
}

impl Timed {
    fn load(
        file: &ModelFile,
        config: &TrainConfig,
        (options, activations): (LoadOptions, Activations),
        threads: usize,
        blocks: usize,
    ) -> Result<Self, EngineError> {
        let model = Llama::load_first(file, Cpu::new(threads)?, options, blocks)?;
        let lora = on_every_block(file, config)?;
        let layout = Layout::new(model.config(), &lora)?;
        let adapter = model.adapter(lora, &model.initial_values(&layout, 0, config.init))?;
        let dropout =
            (config.dropout > 0.0).then(|| (config.dropout as f32, Stream::new(0, "dropout")));
        Ok(Self {
            tape: model.new_tape(activations),
            gradient: model.backend().zeros(layout.length()),
            adapter,
            dropout,
            best: Speed { train: f64::INFINITY, evaluate: f64::INFINITY },
            model,
        })
    }

    fn run(&mut self, batch: &Batch) {
        let begin = Instant::now();
        let step = Step { scale: 1.0, dropout: self.dropout, noise: None };
        let (tape, gradient) = (&mut self.tape, &mut self.gradient);
        self.model.losses_and_gradient(tape, &self.adapter, batch, step, gradient);
        self.best.train = self.best.train.min(begin.elapsed().as_secs_f64());
        let begin = Instant::now();
        self.model.losses(&mut self.tape, Some(&self.adapter), batch);
        self.best.evaluate = self.best.evaluate.min(begin.elapsed().as_secs_f64());
    }
}

/// The adapter with each of its projections on every block, as the few blocks that are timed may be none of the adapted ones:
/// where only some blocks are adapted, the time is a bound.
fn on_every_block(file: &ModelFile, config: &TrainConfig) -> Result<LoraConfig, EngineError> {
    let (lora, layout) = config.adapter(file.config())?;
    let is_adapted = |one: &Projection| layout.all().any(|(_, projection, _)| projection == *one);
    let chosen = Projection::ALL.into_iter().filter(is_adapted);
    let chosen = chosen.map(|projection| Matcher::Name(projection.name().to_owned())).collect();
    let targets = Targets { chosen, excluded: Vec::new(), layers: Layers::All };
    Ok(LoraConfig { targets, ..lora })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::config::tests::small;

    #[test]
    fn blocks_cost_what_the_head_costs() {
        let of_135_million = ModelConfig {
            vocabulary_size: 49_152,
            hidden_size: 576,
            intermediate_size: 1536,
            layers: 30,
            attention_heads: 9,
            key_value_heads: 3,
            head_size: 64,
            ..small()
        };
        let of_7_billion = ModelConfig {
            vocabulary_size: 32_000,
            hidden_size: 4096,
            intermediate_size: 11_008,
            layers: 32,
            attention_heads: 32,
            key_value_heads: 32,
            head_size: 128,
            ..small()
        };
        let of_words = ModelConfig { vocabulary_size: 100_000, layers: 4, ..small() };
        let models = [of_135_million, of_7_billion, of_words, small()];
        assert_eq!(models.map(|model| longer(&model)), [9, 3, 4, 1]);
    }

    #[test]
    fn evaluations_are_counted_as_they_are_made() {
        let count = |steps: usize, evaluate_every: usize, dev_tokens: u64| {
            let config = TrainConfig { evaluate_every, ..TrainConfig::default() };
            evaluations(&config, &Demand { steps, dev_tokens, ..Demand::default() })
        };
        assert_eq!((count(60, 10, 5), count(61, 10, 5), count(9, 0, 5)), (7, 8, 2));
        assert_eq!(count(60, 10, 0), 0);
    }
}
