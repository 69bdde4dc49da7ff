//! The gradient of one optimizer step: [`Work`] is its rows in parts whose mean losses are averaged, each part in units.

use std::sync::atomic::Ordering;

use bioinstruct_core::random::Stream;

use super::Inputs;
use super::config::{LossNorm, TrainConfig};
use super::evaluate::rows_not_finite;
use super::example::Example;
use super::gradient::GradientTree;
use super::plan::{Draw, units};
use crate::backend::Backend;
use crate::error::EngineError;
use crate::lora::Adapter;
use crate::model::training::{Batch, Step, Tape};

/// The rows of one step whose mean losses count alike: all of them, or a micro-batch each.
#[derive(Debug, PartialEq, Eq)]
struct Part<'a> {
    /// Consecutive rows that are computed together.
    units: Vec<&'a [Draw]>,
    /// Tokens that the loss covers.
    labels: usize,
}

/// One step's rows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Work<'a> {
    /// Names the step.
    first_draw: u64,
    parts: Vec<Part<'a>>,
}

/// What the units of a step give.
#[derive(Debug)]
pub(super) struct Computed<B: Backend> {
    /// The step's loss.
    pub(super) loss: f64,
    /// Its gradient.
    pub(super) gradient: B::Buffer,
    /// Ids of the rows whose own loss is no finite number.
    pub(super) not_finite: Vec<String>,
}

impl<'a> Work<'a> {
    /// Cuts a step's rows.
    pub(super) fn new(draws: &'a [Draw], examples: &[Example], config: &TrainConfig) -> Self {
        let rows = match config.loss_norm {
            LossNorm::Tokens => draws.len(),
            LossNorm::MicrobatchMean => config.microbatch_rows,
        };
        let part = |draws: &'a [Draw]| Part {
            units: units(
                draws,
                |draw| &examples[draw.row].ids,
                config.unit_tokens,
                !config.is_noisy(),
            ),
            labels: draws.iter().map(|draw| examples[draw.row].labels()).sum(),
        };
        let first_draw = draws.first().map_or(0, |draw| draw.index);
        Self { first_draw, parts: draws.chunks(rows.max(1)).map(part).collect() }
    }

    /// Tokens that the loss covers.
    pub(super) fn labels(&self) -> usize {
        self.parts.iter().map(|part| part.labels).sum()
    }

    /// How many units there are.
    pub(super) fn units(&self) -> usize {
        self.parts.iter().map(|part| part.units.len()).sum()
    }

    /// The units as they are computed.
    pub(super) fn batches(
        &self,
        examples: &[Example],
        config: &TrainConfig,
    ) -> impl Iterator<Item = Batch> {
        let units = self.parts.iter().flat_map(|part| &part.units);
        units.map(move |unit| batch_of(examples, unit, config))
    }

    /// Computes all units and adds their gradients; a part's losses are divided by its labels and by the number of parts.
    ///
    /// # Errors
    /// [`EngineError::Interrupted`] when the run is to stop: the step is not done.
    pub(super) fn compute<B: Backend>(
        &self,
        inputs: &Inputs<'_, B>,
        adapter: &Adapter<B>,
        tape: &mut Tape<B>,
        tree: &mut GradientTree<B>,
    ) -> Result<Computed<B>, EngineError> {
        let Inputs { model, config, examples, .. } = *inputs;
        let (backend, parts) = (model.backend(), self.parts.len());
        let root = |purpose: &str| Stream::new(inputs.seed, purpose);
        let (dropout, noise) = (root("dropout").fork(self.first_draw), root("neftune"));
        let (mut loss, mut not_finite) = (0.0, Vec::new());
        for part in &self.parts {
            let mut sum = 0.0;
            for unit in &part.units {
                let batch = batch_of(examples, unit, config);
                let noisy: Vec<Stream> = unit.iter().map(|draw| noise.fork(draw.index)).collect();
                let how = Step {
                    scale: 1.0 / (part.labels * parts) as f32,
                    dropout: with(config.dropout, dropout),
                    noise: with(config.neftune_alpha, &noisy),
                };
                let mut gradient = tree.buffer(backend);
                let losses = model.losses_and_gradient(tape, adapter, &batch, how, &mut gradient);
                if inputs.stop.load(Ordering::Relaxed) {
                    return Err(EngineError::Interrupted);
                }
                sum += losses.iter().map(|loss| f64::from(*loss)).sum::<f64>();
                let rows = unit.iter().map(|draw| &examples[draw.row]);
                not_finite.extend(rows_not_finite(rows, &losses));
                tree.push(backend, gradient);
            }
            loss += sum / part.labels as f64;
        }
        Ok(Computed { loss: loss / parts as f64, gradient: tree.take(backend), not_finite })
    }
}

/// The rows of one unit as a batch.
fn batch_of(examples: &[Example], unit: &[Draw], config: &TrainConfig) -> Batch {
    let rows: Vec<&Example> = unit.iter().map(|draw| &examples[draw.row]).collect();
    Example::batch(&rows, config.is_noisy())
}

/// Strength and streams of what is random in a step, where it is on.
fn with<T>(strength: f64, streams: T) -> Option<(f32, T)> {
    (strength > 0.0).then_some((strength as f32, streams))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micro_batches_are_parts_and_units_stay_inside_them() {
        let example = |tokens: usize, labels: usize| Example {
            id: String::new(),
            ids: vec![0; tokens],
            learned: (0..tokens).map(|at| at >= tokens - labels).collect(),
        };
        let examples = [example(6, 1), example(6, 2), example(9, 3), example(2, 1), example(2, 1)];
        let draws: Vec<Draw> = (0..5).map(|row| Draw { index: row as u64, row }).collect();
        let cut = |loss_norm: LossNorm| {
            let config = TrainConfig {
                loss_norm,
                microbatch_rows: 2,
                unit_tokens: 10,
                ..TrainConfig::default()
            };
            let work = Work::new(&draws, &examples, &config);
            let lengths = |part: &Part<'_>| part.units.iter().map(|unit| unit.len()).collect();
            let parts: Vec<(Vec<usize>, usize)> =
                work.parts.iter().map(|part| (lengths(part), part.labels)).collect();
            assert_eq!(work.labels(), 8);
            parts
        };
        assert_eq!(cut(LossNorm::Tokens), [(vec![1, 1, 1, 2], 8)]);
        let parts = [(vec![1, 1], 3), (vec![1, 1], 4), (vec![1], 1)];
        assert_eq!(cut(LossNorm::MicrobatchMean), parts);
    }
}
