//! The loss on rows that are not learned from: [`evaluate`] computes it unit by unit, in the memory that a training step
//! already has.

use std::sync::atomic::{AtomicBool, Ordering};

use super::example::Example;
use super::plan::units;
use crate::backend::Backend;
use crate::error::EngineError;
use crate::lora::Adapter;
use crate::model::Llama;
use crate::model::training::Tape;

/// The loss on a set of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Mean cross-entropy in nats over all labelled tokens.
    pub loss: f64,
    /// Their number.
    pub labels: usize,
    /// Ids of the rows whose own loss is no finite number.
    pub not_finite: Vec<String>,
}

/// Evaluates `examples` in units of about `unit_tokens` tokens; only losses are kept.
///
/// # Errors
/// [`EngineError::Interrupted`] when `stop` is set.
pub fn evaluate<B: Backend>(
    model: &Llama<B>,
    tape: &mut Tape<B>,
    adapter: Option<&Adapter<B>>,
    examples: &[Example],
    unit_tokens: usize,
    stop: &AtomicBool,
) -> Result<Evaluation, EngineError> {
    let mut found = Evaluation { loss: 0.0, labels: 0, not_finite: Vec::new() };
    let mut sum = 0.0;
    for unit in units(examples, |example| &example.ids, unit_tokens, true) {
        let batch = Example::batch(&unit.iter().collect::<Vec<_>>(), false);
        let losses = model.losses(tape, adapter, &batch);
        if stop.load(Ordering::Relaxed) {
            return Err(EngineError::Interrupted);
        }
        sum += losses.iter().map(|loss| f64::from(*loss)).sum::<f64>();
        found.labels += batch.labels.len();
        found.not_finite.extend(rows_not_finite(unit.iter(), &losses));
    }
    found.loss = sum / found.labels.max(1) as f64;
    Ok(found)
}

/// Ids of the examples of which a label's loss is no finite number; `losses` are those of one batch, in order.
pub(super) fn rows_not_finite<'a>(
    examples: impl Iterator<Item = &'a Example>,
    losses: &[f32],
) -> Vec<String> {
    let mut rest = losses;
    let mut found = Vec::new();
    for example in examples {
        let (own, after) = rest.split_at(example.labels().min(rest.len()));
        if own.iter().any(|loss| !loss.is_finite()) {
            found.push(example.id.clone());
        }
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_that_is_no_number_names_its_row() {
        let example = |id: &str, labels: usize| Example {
            id: id.to_owned(),
            ids: vec![0; labels + 1],
            learned: (0..=labels).map(|at| at > 0).collect(),
        };
        let examples = [example("a", 2), example("b", 1), example("c", 2)];
        let named = |losses: &[f32]| rows_not_finite(examples.iter(), losses);
        assert_eq!(named(&[1.0, 2.0, f32::NAN, 3.0, f32::INFINITY]), ["b", "c"]);
        assert!(named(&[1.0; 5]).is_empty());
    }
}
