//! Tuning an adapter: [`run`] is the whole loop on one screen; what surrounds it is in the files beside it.
//!
//! The loss is the mean over all labelled tokens of a step, so it does not depend on how the rows are cut into units. A
//! step's gradient is the pairwise sum of its units' gradients; everything random is a function of (seed, draw); so a run
//! gives the same bytes however often it is interrupted and on however many threads it runs.

pub mod checkpoint;
pub mod config;
pub mod example;
pub mod gradient;
pub mod plan;
pub mod record;
pub mod schedule;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bioinstruct_core::random::Stream;

use self::checkpoint::State;
use self::config::TrainConfig;
use self::example::Example;
use self::gradient::GradientTree;
use self::plan::{Draw, Plan, Stratum, units};
use self::record::{DevRecord, Record, Records, StepRecord};
use crate::backend::{AdamW, Backend};
use crate::error::EngineError;
use crate::lora::{Adapter, Layout};
use crate::model::Llama;
use crate::model::training::{Batch, Step, Tape};

/// What a run works on.
#[derive(Debug)]
pub struct Inputs<'a, B: Backend> {
    /// The base, loaded for training.
    pub model: &'a Llama<B>,
    /// Rows to learn from.
    pub examples: &'a [Example],
    /// How often which of them are drawn.
    pub strata: &'a [Stratum],
    /// Rows whose loss is watched; may be empty.
    pub dev: &'a [Example],
    /// The settings.
    pub config: &'a TrainConfig,
    /// Names every random choice.
    pub seed: u64,
    /// What the run depends on, by name: a checkpoint of other inputs is refused.
    pub fingerprint: BTreeMap<String, String>,
    /// Where metrics and checkpoints go.
    pub directory: &'a Path,
    /// Set from outside to stop after the present step, with a checkpoint.
    pub stop: &'a AtomicBool,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The adapter's layout.
    pub layout: Layout,
    /// Its values.
    pub parameters: Vec<f32>,
    /// Optimizer steps in the whole run.
    pub steps: usize,
    /// The step this process started from.
    pub resumed_at: usize,
    /// Seconds inside this process's steps.
    pub seconds: f64,
    /// Tokens of this process's steps.
    pub tokens: u64,
}

/// Tunes an adapter, going on from the newest checkpoint of the same run where there is one.
pub fn run<B: Backend>(
    inputs: &Inputs<'_, B>,
    progress: &mut dyn FnMut(&Record, usize),
) -> Result<Outcome, EngineError> {
    let Inputs { model, config, seed, .. } = *inputs;
    config.check()?;
    let (backend, lora) = (model.backend(), config.lora()?);
    let layout = Layout::new(model.config(), &lora);
    let lengths: Vec<usize> = inputs.examples.iter().map(|example| example.ids.len()).collect();
    let plan = Plan::new(&lengths, inputs.strata, config, seed)?;
    let checkpoints = inputs.directory.join("checkpoints");
    let resumed = checkpoint::load(&checkpoints, &inputs.fingerprint)?;
    let fresh = resumed.is_none();
    let state = resumed.unwrap_or_else(|| first_state(&layout, seed));
    let mut records = Records::open(inputs.directory, state.metrics_bytes)?;
    let mut adapter = Adapter::new(backend, model.config(), lora, &state.parameters)?;
    let (mut mean, mut square) = (backend.upload(&state.mean), backend.upload(&state.square));
    let (mut tape, mut tree) = (model.new_tape(), GradientTree::new(layout.length()));
    let warmup = (config.warmup_ratio * plan.steps() as f64).ceil() as usize;
    let dropout = Stream::new(seed, "dropout");
    let (mut seconds, mut tokens) = (0.0, 0);
    if fresh && !inputs.dev.is_empty() {
        let record = dev_record(inputs, &mut tape, &adapter, 0, 0.0);
        progress(&records.write(Record::Dev(record), None)?, plan.steps());
    }
    for step in state.step..plan.steps() {
        let begin = std::time::Instant::now();
        let draws = plan.draws(step);
        let labels: usize = draws.iter().map(|draw| inputs.examples[draw.row].labels()).sum();
        let mut loss = 0.0;
        for unit in plan.units(step, &lengths, config.unit_tokens) {
            let (batch, streams) = batch_of(inputs.examples, unit, dropout);
            let dropout = (config.dropout > 0.0).then_some((config.dropout as f32, &streams[..]));
            let mut gradient = tree.buffer(backend);
            let how = Step { scale: 1.0 / labels as f32, dropout };
            let losses = model.losses_and_gradient(&mut tape, &adapter, &batch, how, &mut gradient);
            loss += losses.iter().map(|loss| f64::from(*loss)).sum::<f64>();
            tree.push(backend, gradient);
        }
        let gradient = tree.take(backend);
        let norm = backend.norm(&gradient);
        refuse_not_finite(inputs.examples, draws, step + 1, loss, norm)?;
        let lr = config.lr * config.schedule.factor(step, warmup, plan.steps());
        let optimizer = optimizer(config, step + 1, lr, norm);
        backend.adamw(optimizer, &mut adapter.parameters, &gradient, &mut mean, &mut square);
        tree.recycle(gradient);

        let elapsed = begin.elapsed().as_secs_f64();
        let count: usize = draws.iter().map(|draw| lengths[draw.row]).sum();
        (seconds, tokens) = (seconds + elapsed, tokens + count as u64);
        let record = StepRecord {
            step: step + 1,
            epoch: plan.epoch_after(step),
            loss: loss / labels as f64,
            lr,
            grad_norm: norm,
            tokens: count,
            label_tokens: labels,
        };
        progress(&records.write(Record::Step(record), Some(elapsed))?, plan.steps());
        let last = step + 1 == plan.steps();
        if !inputs.dev.is_empty() && (last || due(step + 1, config.evaluate_every)) {
            let record = dev_record(inputs, &mut tape, &adapter, step + 1, plan.epoch_after(step));
            progress(&records.write(Record::Dev(record), None)?, plan.steps());
        }
        let stopping = inputs.stop.load(Ordering::Relaxed);
        if last || stopping || due(step + 1, config.checkpoint_every) {
            let state = State {
                step: step + 1,
                metrics_bytes: records.sync()?,
                parameters: adapter.download(backend),
                mean: backend.download(&mean, 0..layout.length()),
                square: backend.download(&square, 0..layout.length()),
            };
            checkpoint::save(&checkpoints, &inputs.fingerprint, &state)?;
        }
        if stopping && !last {
            return Err(EngineError::Interrupted);
        }
    }
    let parameters = adapter.download(backend);
    Ok(Outcome { layout, parameters, steps: plan.steps(), resumed_at: state.step, seconds, tokens })
}

fn due(step: usize, every: usize) -> bool {
    every > 0 && step.is_multiple_of(every)
}

fn first_state(layout: &Layout, seed: u64) -> State {
    State {
        step: 0,
        metrics_bytes: 0,
        parameters: layout.initial(seed),
        mean: vec![0.0; layout.length()],
        square: vec![0.0; layout.length()],
    }
}

/// Clipping as `torch.nn.utils.clip_grad_norm_`, the other numbers as `torch.optim.AdamW`'s defaults.
fn optimizer(config: &TrainConfig, step: usize, learning_rate: f64, norm: f64) -> AdamW {
    let limit = config.max_grad_norm;
    AdamW {
        learning_rate,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: config.weight_decay,
        step: step as u64,
        gradient_scale: if limit > 0.0 { (limit / (norm + 1e-6)).min(1.0) as f32 } else { 1.0 },
    }
}

/// The rows of one unit as a batch, each with the dropout stream of its draw.
fn batch_of(examples: &[Example], unit: &[Draw], dropout: Stream) -> (Batch, Vec<Stream>) {
    let mut batch = Batch::default();
    for draw in unit {
        let example = &examples[draw.row];
        batch.push(&example.ids, &example.learned);
    }
    (batch, unit.iter().map(|draw| dropout.fork(draw.index)).collect())
}

/// Mean loss in nats over all labelled tokens of `examples`, and their number.
pub fn mean_loss<B: Backend>(
    model: &Llama<B>,
    tape: &mut Tape<B>,
    adapter: Option<&Adapter<B>>,
    examples: &[Example],
    unit_tokens: usize,
) -> (f64, usize) {
    let (mut sum, mut labels) = (0.0, 0);
    for unit in units(examples, |example| example.ids.len(), unit_tokens) {
        let mut batch = Batch::default();
        for example in unit {
            batch.push(&example.ids, &example.learned);
        }
        sum += model.losses(tape, adapter, &batch).iter().map(|loss| f64::from(*loss)).sum::<f64>();
        labels += batch.labels.len();
    }
    (sum / labels.max(1) as f64, labels)
}

fn dev_record<B: Backend>(
    inputs: &Inputs<'_, B>,
    tape: &mut Tape<B>,
    adapter: &Adapter<B>,
    step: usize,
    epoch: f64,
) -> DevRecord {
    let (dev_loss, dev_label_tokens) =
        mean_loss(inputs.model, tape, Some(adapter), inputs.dev, inputs.config.unit_tokens);
    DevRecord { step, epoch, dev_loss, dev_label_tokens }
}

fn refuse_not_finite(
    examples: &[Example],
    draws: &[Draw],
    step: usize,
    loss: f64,
    norm: f64,
) -> Result<(), EngineError> {
    let what = match (loss.is_finite(), norm.is_finite()) {
        (true, true) => return Ok(()),
        (false, _) => "loss",
        (true, false) => "gradient norm",
    };
    let rows: Vec<&str> = draws.iter().map(|draw| examples[draw.row].id.as_str()).collect();
    Err(EngineError::NotFinite { what, step, rows: rows.join(", ") })
}
