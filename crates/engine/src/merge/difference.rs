//! How far a merged model is from its base and adapter: [`Difference`] of their logits on probe prompts.

use std::path::Path;

use crate::backend::{Backend, Phase};
use crate::error::EngineError;
use crate::format::{DataType, ModelFile};
use crate::kernels::lanes::Precision;
use crate::model::inference::{Cache, Extension, Workspace};
use crate::model::{Llama, LoadOptions};
use crate::peft;
use crate::tokenizer::Tokenizer;

/// What both models read: plain sentences of the field, none from a data set.
pub const PROBES: [&str; 4] = [
    "The patient was started on metformin for type 2 diabetes and",
    "Question: Which vitamin deficiency causes scurvy?\nAnswer:",
    "Aspirin irreversibly inhibits cyclooxygenase, which reduces the formation of",
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
];

/// The logits of two models, position by position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// Positions compared.
    pub positions: usize,
    /// The greatest absolute difference of a logit.
    pub largest: f32,
    /// Root mean square of the differences over the root mean square of the logits, each position's mean taken off first.
    pub relative: f64,
    /// Positions at which both give the same token the highest logit.
    pub same_first: usize,
}

impl Difference {
    /// The relative difference above which a result stored in this type is refused: several times what its rounding makes.
    pub fn bound(data_type: DataType) -> f64 {
        match data_type {
            DataType::F32 => 1e-4,
            DataType::F16 => 0.01,
            DataType::BF16 => 0.05,
            DataType::Q8_0 => 0.1,
            _ => 0.5,
        }
    }

    /// Compares rows of logits over `vocabulary` tokens.
    pub fn between(left: &[f32], right: &[f32], vocabulary: usize) -> Self {
        let mut found = Self { positions: 0, largest: 0.0, relative: 0.0, same_first: 0 };
        let (mut differences, mut sizes) = (0.0, 0.0);
        for (left, right) in left.chunks_exact(vocabulary).zip(right.chunks_exact(vocabulary)) {
            let mean = |row: &[f32]| {
                row.iter().map(|logit| f64::from(*logit)).sum::<f64>() / row.len() as f64
            };
            let (left_mean, right_mean) = (mean(left), mean(right));
            for (left, right) in left.iter().zip(right) {
                found.largest = found.largest.max((left - right).abs());
                let (left, right) = (f64::from(*left) - left_mean, f64::from(*right) - right_mean);
                differences += (left - right).powi(2);
                sizes += left.powi(2);
            }
            found.positions += 1;
            found.same_first += usize::from(highest(left) == highest(right));
        }
        found.relative = if sizes > 0.0 { (differences / sizes).sqrt() } else { 0.0 };
        found
    }
}

fn highest(row: &[f32]) -> usize {
    let better = |best: usize, at: usize| if row[at] > row[best] { at } else { best };
    (0..row.len()).fold(0, better)
}

/// The ids of [`PROBES`], each with the model's beginning-of-text token where it wants one.
pub fn probe_ids(tokenizer: &Tokenizer) -> Vec<Vec<u32>> {
    PROBES
        .iter()
        .map(|probe| {
            let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
            bos.into_iter().chain(tokenizer.encode_text(probe)).collect()
        })
        .collect()
}

/// The logits of every position of the probes, by a model as its file stores it, with the adapter in a directory or without.
///
/// # Errors
/// Model or adapter cannot be loaded.
pub fn probe_logits<B: Backend>(
    file: &ModelFile,
    backend: B,
    adapter: Option<&Path>,
    probes: &[Vec<u32>],
) -> Result<Vec<f32>, EngineError> {
    let longest = probes.iter().map(Vec::len).max().unwrap_or_default();
    let options = LoadOptions { precision: Precision::Stored, positions: longest.max(1) };
    let llama = Llama::load(file, backend, options)?;
    let loaded = adapter.map(|directory| peft::load(&llama, directory)).transpose()?;
    let adapter = loaded.as_ref().map(|loaded| &loaded.adapter);
    let mut work = Workspace::new(llama.backend());
    let mut logits = Vec::new();
    for ids in probes {
        let ids = &ids[..ids.len().min(llama.context_length())];
        let mut cache = Cache::new();
        let mut one = [Extension { ids, cache: &mut cache, adapter }];
        let rows: Vec<usize> = (0..ids.len()).collect();
        llama.extend(&mut work, Phase::Prefill, &mut one, &rows);
        logits.extend(llama.logits(&work, Phase::Prefill, &rows));
    }
    Ok(logits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_is_no_difference_of_probabilities() {
        let left = [1.0, 3.0, 2.0, 0.0, 0.0, 6.0];
        let shifted = left.map(|logit| logit + 5.0);
        let found = Difference::between(&left, &shifted, 3);
        assert_eq!((found.positions, found.same_first, found.largest), (2, 2, 5.0));
        assert!(found.relative < 1e-9);
        let found = Difference::between(&left, &[3.0, 1.0, 2.0, 0.0, 0.0, 6.0], 3);
        assert_eq!((found.same_first, found.largest), (1, 2.0));
        assert!(found.relative > 0.4);
    }
}
