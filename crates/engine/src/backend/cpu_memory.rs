//! How much the processor's backend holds beside the buffers that it hands out: [`scratch_bytes`] follows the calls of a
//! training step through the operands that they lay out.

use crate::format::ModelConfig;
use crate::kernels::KernelPath;
use crate::kernels::gemm::row_lanes;
use crate::kernels::lanes::{Lane, Precision};
use crate::lora::{Layout, Projection};
use crate::ops::attention::operand_lanes;
use crate::ops::head_loss;
use crate::ops::project::{task_values, turned_values};

/// Bytes of a value and of a lane.
const VALUE: usize = 4;

/// What a training step works on.
#[derive(Debug)]
pub struct TrainingShape<'a> {
    /// The network.
    pub model: &'a ModelConfig,
    /// The adapter.
    pub layout: &'a Layout,
    /// Whether the adapter's inputs are dropped.
    pub dropout: bool,
    /// Rows of the largest unit.
    pub rows: usize,
    /// Keys of the unit that lays out most: [`super::laid_out`].
    pub keys: usize,
    /// Likewise of the training units alone.
    pub key_gradients: usize,
    /// Keys that attention reads of the unit that has most, and their pairs: [`super::keys_and_pairs`].
    pub attended: (usize, usize),
    /// Such keys of the training units alone.
    pub attended_gradients: usize,
    /// Labels of the unit that has most.
    pub labels: usize,
    /// Likewise of the training units alone.
    pub label_gradients: usize,
}

/// Projections that are computed in one call, which read the same input.
const CALLS: [&[Projection]; 4] = [
    &[Projection::Query, Projection::Key, Projection::Value],
    &[Projection::Output],
    &[Projection::Gate, Projection::Up],
    &[Projection::Down],
];

/// Bytes of the operands of projections, and of the head's.
pub fn scratch_bytes(
    path: KernelPath,
    precision: Precision,
    shape: &TrainingShape<'_>,
) -> (usize, usize) {
    let lane = Lane::of(path, precision);
    let row = |values: usize| row_lanes(path, lane, values);
    let TrainingShape { model, layout, rows, .. } = *shape;
    let (mut input_lanes, mut slots) = (0, [[0usize; 14]; 3]);
    let lowest = layout.lowest_block().unwrap_or(model.layers);
    for block in 0..model.layers {
        for call in CALLS {
            let mut adapted = 0;
            for (place, projection) in call.iter().enumerate() {
                let (out, input) = projection.shape(model);
                input_lanes = input_lanes.max(rows * row(input));
                let mut grow = |slot: usize, buffer: usize, length: usize| {
                    slots[slot][buffer] = slots[slot][buffer].max(length);
                };
                if block >= lowest {
                    grow(place, 0, rows * row(out));
                }
                let Some(factors) = layout.factors(block, *projection) else { continue };
                let rank = factors.rank;
                // The forward counts the adapters of a call, the backward its projections.
                for slot in [adapted, place] {
                    grow(slot, 2, rows * rank);
                    grow(slot, 3, rows * row(rank));
                }
                grow(place, 4, rank * row(rows));
                grow(place, 5, rank * row(rows));
                grow(place, 6, out * rank);
                if shape.dropout && factors.magnitude.is_none() {
                    for slot in [adapted, place] {
                        grow(slot, 1, turned_values(input, rank));
                    }
                    grow(place, 12, task_values(rows, input, rank));
                }
                if factors.magnitude.is_some() {
                    // Where dropout parts x, both parts, their outputs and gradients are kept apart.
                    let parted = |length: usize| if shape.dropout { length } else { 0 };
                    for slot in [adapted, place] {
                        grow(slot, 7, parted(rows * input));
                    }
                    grow(adapted, 13, parted(2 * rows * row(input)));
                    grow(adapted, 8, parted(rows * out));
                    for slot in [adapted, place] {
                        grow(slot, 9, out);
                    }
                    grow(place, 10, parted(rows * row(out)));
                    grow(place, 11, parted(rows * row(out)));
                }
                adapted += 1;
            }
        }
    }
    let projections = input_lanes + slots.iter().flatten().sum::<usize>();
    let (labels, gradients) = (shape.labels, shape.label_gradients);
    let (hidden, words) = (model.hidden_size, model.vocabulary_size.min(head_loss::WORDS));
    // The labels' rows and their gradients are brought together; what is computed of them is for some rows at a time.
    let row = row(hidden) + words + row(words) + head_loss::ROW;
    let choice = head_loss::choice_values(precision, words, hidden) * usize::from(gradients > 0);
    let head = labels.min(head_loss::ROWS) * row + (labels + gradients) * hidden + choice;
    let together = 2 * (shape.keys + shape.key_gradients) * model.key_value_size();
    let operands = match lane {
        Lane::F32 => 0,
        Lane::I16Pair => {
            let heads = (model.key_value_heads, model.head_size);
            operand_lanes(path, heads, shape.attended, shape.attended_gradients)
        }
    };
    (VALUE * (projections + together + operands), VALUE * head)
}
