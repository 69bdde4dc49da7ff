//! What a run will hold in memory, known before anything is loaded: [`MemoryPlan`]. Every buffer of the engine has a length
//! that follows from the model's shape, the settings and the rows, so the peak is a sum and no guess.

use serde::Serialize;

use super::config::{Keep, TrainConfig};
use super::example::Example;
use super::gradient::buffers_for;
use super::plan::{Plan, units};
use super::step::Work;
use crate::backend::cpu_memory::{TrainingShape, scratch_bytes};
use crate::backend::{keys_and_pairs, laid_out};
use crate::error::EngineError;
use crate::format::{ModelConfig, ModelFile};
use crate::kernels::KernelPath;
use crate::kernels::lanes::Precision;
use crate::lora::{Layout, Projection};
use crate::model::training::{Activations, Batch};

/// Bytes of a value.
const VALUE: usize = 4;

/// What the rows ask for. Tokens that several rows begin with count once, where it says computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Demand {
    /// Computed tokens of the largest unit, of training or of a dev evaluation.
    pub unit_tokens: usize,
    /// Labelled tokens of the unit that has most.
    pub unit_labels: usize,
    /// Likewise of the training units alone.
    pub unit_label_gradients: usize,
    /// Keys that attention lays out for the unit that has most: [`laid_out`].
    pub unit_keys: usize,
    /// Likewise of the training units alone.
    pub unit_key_gradients: usize,
    /// Keys that attention reads of the unit that has most; those that several sequences share count for each.
    pub unit_attended_keys: usize,
    /// Likewise of the training units alone.
    pub unit_attended_key_gradients: usize,
    /// Pairs of such keys, of which a sequence's last may be half a one.
    pub unit_attended_pairs: usize,
    /// Units of the step that has most.
    pub step_units: usize,
    /// Optimizer steps.
    pub steps: usize,
    /// Tokens of all steps.
    pub tokens: u64,
    /// Computed tokens of all steps.
    pub rows: u64,
    /// Tokens of one dev evaluation.
    pub dev_tokens: u64,
    /// Computed tokens of one dev evaluation.
    pub dev_rows: u64,
}

impl Demand {
    /// Walks through the whole run.
    pub fn of(plan: &Plan, rows: &[Example], dev: &[Example], config: &TrainConfig) -> Self {
        let mut demand = Self { steps: plan.steps(), ..Self::default() };
        for step in 0..plan.steps() {
            let draws = plan.draws(step);
            let work = Work::new(draws, rows, config);
            demand.step_units = demand.step_units.max(work.units());
            demand.tokens += draws.iter().map(|draw| rows[draw.row].ids.len() as u64).sum::<u64>();
            for batch in work.batches(rows, config) {
                demand.rows += batch.rows() as u64;
                demand.make_room(&batch);
            }
        }
        demand.unit_label_gradients = demand.unit_labels;
        demand.unit_key_gradients = demand.unit_keys;
        demand.unit_attended_key_gradients = demand.unit_attended_keys;
        for unit in units(dev, |example| &example.ids, config.unit_tokens, true) {
            let batch = Example::batch(&unit.iter().collect::<Vec<_>>(), false);
            demand.dev_tokens += unit.iter().map(|example| example.ids.len() as u64).sum::<u64>();
            demand.dev_rows += batch.rows() as u64;
            demand.make_room(&batch);
        }
        demand
    }

    fn make_room(&mut self, batch: &Batch) {
        self.unit_tokens = self.unit_tokens.max(batch.rows());
        self.unit_labels = self.unit_labels.max(batch.labels.len());
        self.unit_keys = self.unit_keys.max(laid_out(&batch.sequences));
        let (keys, pairs) = keys_and_pairs(&batch.sequences);
        self.unit_attended_keys = self.unit_attended_keys.max(keys);
        self.unit_attended_pairs = self.unit_attended_pairs.max(pairs);
    }
}

/// One kind of memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What it is for.
    pub name: &'static str,
    /// How much.
    pub bytes: usize,
}

/// What a run will hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// The parts that are there at once while a step is computed and a checkpoint is written.
    pub parts: Vec<Part>,
    /// Bytes of the model's file, which are read through a memory map while it is loaded.
    pub file_bytes: usize,
    /// Bytes of the weights as they are kept.
    pub weight_bytes: usize,
}

impl MemoryPlan {
    /// For these settings and rows, with kernels of this kind.
    pub fn new(
        file: &ModelFile,
        config: &TrainConfig,
        precision: Precision,
        demand: &Demand,
        (path, activations): (KernelPath, Activations),
    ) -> Result<Self, EngineError> {
        let model = file.config();
        let (_, layout) = config.adapter(model)?;
        let (file_bytes, weight_bytes) = weights(file, precision)?;
        let values = layout.length() * VALUE;
        let evaluates = config.keep == Keep::Best && demand.dev_tokens > 0;
        let shape = TrainingShape {
            model,
            layout: &layout,
            dropout: config.dropout > 0.0,
            rows: demand.unit_tokens,
            keys: demand.unit_keys,
            key_gradients: demand.unit_key_gradients,
            attended: (demand.unit_attended_keys, demand.unit_attended_pairs),
            attended_gradients: demand.unit_attended_key_gradients,
            labels: demand.unit_labels,
            label_gradients: demand.unit_label_gradients,
        };
        let (scratch, head) = scratch_bytes(path, precision, &shape);
        let part = |name, bytes| Part { name, bytes };
        let parts = vec![
            part("weights", weight_bytes),
            part("adapter and optimizer state", 3 * values),
            part("row lengths of adapted weights", layout.norms() * VALUE),
            part("best adapter so far", if evaluates { values } else { 0 }),
            part("gradients of units", buffers_for(demand.step_units) * values),
            part(
                "activations",
                demand.unit_tokens * token_bytes(model, &layout, precision, activations),
            ),
            part("operands of products", scratch),
            part("logits", head),
            part("copy for a checkpoint", 3 * values),
        ];
        Ok(Self { parts, file_bytes, weight_bytes })
    }

    /// The most bytes at once: of a step with a checkpoint, or of loading, while file and weights are both there.
    pub fn peak(&self) -> usize {
        let working: usize = self.parts.iter().map(|part| part.bytes).sum();
        working.max(self.file_bytes + self.weight_bytes)
    }

    /// Whether one kind of memory is in it.
    pub fn bytes(&self, name: &str) -> usize {
        self.parts.iter().filter(|part| part.name == name).map(|part| part.bytes).sum()
    }
}

/// Bytes of the tensors in the file, and of the weights as they are kept. Of stored matrices the pages of the file are what is
/// kept; norms and biases are always widened.
fn weights(file: &ModelFile, precision: Precision) -> Result<(usize, usize), EngineError> {
    let (mut stored, mut kept) = (0, 0);
    for (name, shape) in file.config().tensors() {
        let tensor = file.tensor(&name)?;
        let (bytes, count) = (tensor.stored_bytes().len(), shape.iter().product::<usize>());
        stored += bytes;
        let is_vector = shape.len() == 1;
        kept += match precision {
            Precision::Bf16 if !is_vector => count * 2,
            Precision::Stored if !is_vector => bytes,
            _ => count * VALUE,
        };
    }
    Ok((stored, kept))
}

/// What the tape holds of each token of a unit; see [`crate::model::training::Tape`].
fn token_bytes(
    model: &ModelConfig,
    layout: &Layout,
    precision: Precision,
    activations: Activations,
) -> usize {
    let (hidden, wide) = (model.hidden_size, model.intermediate_size);
    let (query, narrow) = (model.query_size(), model.key_value_size());
    let input = hidden + 1;
    let block = hidden + query + narrow + model.attention_heads + 1;
    // What takes 16 bits where the weights do not take 32.
    let working = query + narrow + 2 * wide;
    let kept = if precision == Precision::F32 { VALUE } else { VALUE / 2 } * working;
    let low = |projection: Projection| {
        let kept = (0..model.layers).filter_map(move |block| layout.factors(block, projection));
        let kept = kept.map(|factors| factors.kept(1));
        match activations {
            Activations::Kept => kept.sum::<usize>(),
            Activations::Recomputed => kept.max().unwrap_or(0),
        }
    };
    let low: usize = Projection::ALL.into_iter().map(low).sum();
    let blocks = if activations == Activations::Kept { model.layers } else { 1 };
    let turned = if model.query_key_norm { query + narrow } else { 0 };
    let once = 5 * hidden + 1 + 2 * query + 2 * narrow + 4 * wide + turned + working;
    VALUE * (model.layers * input + blocks * block + low + once) + blocks * kept
}
