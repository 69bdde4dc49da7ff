//! Tuning an adapter: [`run`] is the whole loop on one screen; what surrounds it is in the files beside it.
//!
//! The loss is the mean over all labelled tokens of a step, so it does not depend on how the rows are cut into units. A
//! step's gradient is the pairwise sum of its units' gradients; everything random is a function of (seed, draw); so a run
//! gives the same bytes however often it is interrupted and on however many threads it runs.

pub mod checkpoint;
pub mod config;
pub mod estimate;
pub mod evaluate;
pub mod example;
pub mod gradient;
pub mod memory;
pub mod plan;
pub mod record;
pub mod schedule;
mod step;
pub mod tensorboard;
pub mod watch;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use bioinstruct_core::files::Files;

use self::checkpoint::State;
use self::config::{Keep, TrainConfig};
use self::evaluate::evaluate;
use self::example::Example;
use self::gradient::GradientTree;
use self::memory::Demand;
use self::plan::{Draw, Plan, Stratum};
use self::record::{DevRecord, Record, Records, StepRecord};
use self::step::{Computed, Work};
use self::watch::Watch;
use crate::backend::{AdamW, Backend};
use crate::error::EngineError;
use crate::lora::{Adapter, Layout};
use crate::model::Llama;
use crate::model::adapting::Moments;
use crate::model::training::{Activations, Tape};

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
    /// What a step keeps of its forward; of no consequence for the result.
    pub activations: Activations,
    /// Set from outside to stop: the step at work is dropped, the last finished one becomes a checkpoint.
    pub stop: Arc<AtomicBool>,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The adapter's layout.
    pub layout: Layout,
    /// The values of the adapter that is kept.
    pub parameters: Vec<f32>,
    /// The step they are from.
    pub kept_step: usize,
    /// Optimizer steps in the whole run.
    pub steps: usize,
    /// Whether it ended because the user's patience was over.
    pub ended_early: bool,
    /// What was seen of dev losses.
    pub watch: Watch,
    /// The step this process started from.
    pub resumed_at: usize,
    /// Seconds inside this process's steps.
    pub seconds: f64,
    /// Tokens of this process's steps.
    pub tokens: u64,
}

/// What is told of a run while it works.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// What was just written to the metrics.
    pub record: &'a Record,
    /// Steps of the whole run.
    pub steps: usize,
    /// Speed of this process's steps so far; zero before the first.
    pub tokens_per_second: f64,
}

/// The directory of a run's checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";

/// Tunes an adapter, going on from the newest checkpoint of the same run where there is one.
///
/// # Errors
/// [`EngineError::Interrupted`] when it was stopped; everything that was finished is then in a checkpoint.
pub fn run<B: Backend>(
    inputs: &Inputs<'_, B>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Outcome, EngineError> {
    inputs.config.check()?;
    let mut run = Run::start(inputs)?;
    loop {
        match run.advance(progress) {
            Ok(true) => {}
            Ok(false) => return Ok(run.finish()),
            Err(EngineError::Interrupted) => {
                run.checkpoint()?;
                return Err(EngineError::Interrupted);
            }
            Err(error) => return Err(error),
        }
    }
}

/// A run between two steps.
struct Run<'a, B: Backend> {
    inputs: &'a Inputs<'a, B>,
    plan: Plan,
    layout: Layout,
    adapter: Adapter<B>,
    moments: Moments<B>,
    tape: Tape<B>,
    tree: GradientTree<B>,
    records: Records,
    watch: Watch,
    /// The adapter of the best evaluation, where that is kept.
    best: Option<Vec<f32>>,
    /// Steps done.
    done: usize,
    /// The checkpoint on disk: its step, and the last evaluated step that it knows of.
    saved: Option<(usize, Option<usize>)>,
    resumed_at: usize,
    seconds: f64,
    tokens: u64,
}

impl<'a, B: Backend> Run<'a, B> {
    fn start(inputs: &'a Inputs<'a, B>) -> Result<Self, EngineError> {
        let Inputs { model, config, seed, directory, .. } = *inputs;
        let backend = model.backend();
        let (lora, layout) = config.adapter(model.config())?;
        let lengths: Vec<usize> = inputs.examples.iter().map(|example| example.ids.len()).collect();
        let plan = Plan::new(&lengths, inputs.strata, config, seed)?;
        let resumed = checkpoint::load(&directory.join(CHECKPOINTS), &inputs.fingerprint)?;
        let saved = resumed.as_ref().map(|state| (state.step, state.watch.evaluated));
        let state = resumed.unwrap_or_else(|| first_state(model, &layout, config, seed));
        let records =
            Records::open(directory, state.metrics_bytes, state.step, config.tensorboard)?;
        let adapter = model.adapter(lora, &state.parameters)?;
        let mut tape = model.new_tape(inputs.activations);
        tape.stop_at(Arc::clone(&inputs.stop));
        let demand = Demand::of(&plan, inputs.examples, inputs.dev, config);
        model.reserve_tape(&mut tape, demand.unit_tokens, Some(&adapter));
        Ok(Self {
            inputs,
            plan,
            adapter,
            moments: Moments {
                mean: backend.upload(&state.mean),
                square: backend.upload(&state.square),
            },
            tape,
            tree: GradientTree::new(layout.length()),
            layout,
            records,
            watch: state.watch,
            best: state.best,
            done: state.step,
            saved,
            resumed_at: state.step,
            seconds: 0.0,
            tokens: 0,
        })
    }

    /// What is due after the steps so far, then one step more; false when there is none.
    fn advance(&mut self, progress: &mut dyn FnMut(Progress<'_>)) -> Result<bool, EngineError> {
        let config = self.inputs.config;
        let last = self.done >= self.plan.steps();
        let evaluates = last || self.done == 0 || due(self.done, config.evaluate_every);
        if evaluates && !self.inputs.dev.is_empty() && self.watch.evaluated != Some(self.done) {
            let record = Record::Dev(self.evaluate()?);
            progress(self.told(&record));
        }
        let ends = last || self.watch.is_patience_over(config);
        if ends || (self.done > 0 && due(self.done, config.checkpoint_every)) {
            self.checkpoint()?;
        }
        if !ends {
            let record = Record::Step(self.step()?);
            progress(self.told(&record));
        }
        Ok(!ends)
    }

    fn told<'r>(&self, record: &'r Record) -> Progress<'r> {
        let tokens_per_second = self.tokens as f64 / self.seconds.max(1e-9);
        Progress { record, steps: self.plan.steps(), tokens_per_second }
    }

    fn evaluate(&mut self) -> Result<DevRecord, EngineError> {
        let Inputs { model, dev, config, ref stop, .. } = *self.inputs;
        let adapter = Some(&self.adapter);
        let found = evaluate(model, &mut self.tape, adapter, dev, config.unit_tokens, stop)?;
        if !found.loss.is_finite() {
            let (step, rows) = (self.done, found.not_finite.join(", "));
            return Err(EngineError::NotFinite { what: "dev loss", step, rows });
        }
        let record = DevRecord {
            step: self.done,
            epoch: self.plan.epoch_after(self.done),
            dev_loss: found.loss,
            dev_label_tokens: found.labels,
        };
        self.records.dev(&record)?;
        if self.watch.evaluation(&record) && config.keep == Keep::Best {
            self.best = Some(self.adapter.download(model.backend()));
        }
        Ok(record)
    }

    fn step(&mut self) -> Result<StepRecord, EngineError> {
        let begin = Instant::now();
        let Inputs { model, examples, config, .. } = *self.inputs;
        let (backend, steps) = (model.backend(), self.plan.steps());
        let draws = self.plan.draws(self.done);
        let work = Work::new(draws, examples, config);
        let Computed { loss, gradient, not_finite } =
            work.compute(self.inputs, &self.adapter, &mut self.tape, &mut self.tree)?;
        let norm = backend.norm(&gradient);
        let step = self.done + 1;
        refuse_not_finite(examples, draws, step, (loss, norm), &not_finite)?;
        let lr = config.lr * config.schedule.factor(self.done, config.warmup(steps), steps);
        let record = StepRecord {
            step,
            epoch: self.plan.epoch_after(step),
            loss,
            lr,
            grad_norm: norm,
            tokens: draws.iter().map(|draw| examples[draw.row].ids.len()).sum(),
            label_tokens: work.labels(),
        };
        self.watch.step(config, &record, &rows_of(examples, draws))?;
        let (optimizer, ratio) = (optimizer(config, step, lr, norm), config.lora_plus_ratio);
        model.step(&mut self.adapter, optimizer, ratio, &gradient, &mut self.moments);
        self.tree.recycle(gradient);
        self.done = step;
        let elapsed = begin.elapsed().as_secs_f64();
        self.seconds += elapsed;
        self.tokens += record.tokens as u64;
        self.records.step(&record, elapsed)?;
        Ok(record)
    }

    /// Makes what was finished durable, unless that was done or nothing was.
    fn checkpoint(&mut self) -> Result<(), EngineError> {
        let now = (self.done, self.watch.evaluated);
        if self.saved == Some(now) || now == (0, None) {
            return Ok(());
        }
        let (backend, length) = (self.inputs.model.backend(), self.layout.length());
        let state = State {
            step: self.done,
            metrics_bytes: self.records.sync()?,
            watch: self.watch.clone(),
            parameters: self.adapter.download(backend),
            mean: backend.download(&self.moments.mean, 0..length),
            square: backend.download(&self.moments.square, 0..length),
            best: self.best.take(),
        };
        let directory = self.inputs.directory.join(CHECKPOINTS);
        let kept = self.inputs.config.keep_checkpoints;
        checkpoint::save(&Files::default(), &directory, &self.inputs.fingerprint, &state, kept)?;
        self.best = state.best;
        self.saved = Some(now);
        Ok(())
    }

    fn finish(self) -> Outcome {
        let last = (self.adapter.download(self.inputs.model.backend()), self.done);
        let (parameters, kept_step) = match (self.best, self.watch.best) {
            (Some(values), Some(best)) => (values, best.step),
            _ => last,
        };
        Outcome {
            layout: self.layout,
            parameters,
            kept_step,
            steps: self.done,
            ended_early: self.done < self.plan.steps(),
            watch: self.watch,
            resumed_at: self.resumed_at,
            seconds: self.seconds,
            tokens: self.tokens,
        }
    }
}

fn due(step: usize, every: usize) -> bool {
    every > 0 && step.is_multiple_of(every)
}

fn first_state<B: Backend>(
    model: &Llama<B>,
    layout: &Layout,
    config: &TrainConfig,
    seed: u64,
) -> State {
    State {
        parameters: model.initial_values(layout, seed, config.init),
        mean: vec![0.0; layout.length()],
        square: vec![0.0; layout.length()],
        ..State::default()
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

fn rows_of(examples: &[Example], draws: &[Draw]) -> String {
    let rows: Vec<&str> = draws.iter().map(|draw| examples[draw.row].id.as_str()).collect();
    rows.join(", ")
}

/// Names the rows whose own loss is no number, or all of the step's where only the gradient is none.
fn refuse_not_finite(
    examples: &[Example],
    draws: &[Draw],
    step: usize,
    (loss, norm): (f64, f64),
    not_finite: &[String],
) -> Result<(), EngineError> {
    let what = match (loss.is_finite(), norm.is_finite()) {
        (true, true) => return Ok(()),
        (false, _) => "loss",
        (true, false) => "gradient norm",
    };
    let rows = if not_finite.is_empty() { rows_of(examples, draws) } else { not_finite.join(", ") };
    Err(EngineError::NotFinite { what, step, rows })
}
