//! The classifier that comes with the program: [`LocalClassifier`].

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::record::{Category, Instruction};
use rayon::prelude::*;

use super::Labeller;
use super::features::{BUCKETS, of_row};
use super::train::{Weights, score};
use crate::CurateError;

/// Made by `cargo run -p bioinstruct-curate --example train_categories`; a test makes them again.
const WEIGHTS: &[u8] = include_bytes!("../../data/category_weights.bin");

/// A multinomial logistic regression over hashed words, trained on the 80 seeds and on instructions written for it
/// (`crates/curate/data/category_rows.tsv`).
///
/// How far it can be trusted is measured against rows that neither its author nor a template of ours wrote, in
/// `crates/curate/tests/categories.rs`.
#[derive(Debug, Clone)]
pub struct LocalClassifier {
    weights: Weights,
}

impl Default for LocalClassifier {
    fn default() -> Self {
        Self::new()
    }
}

impl LocalClassifier {
    /// With the weights that come with the program.
    ///
    /// # Panics
    /// Never: a test reads them.
    pub fn new() -> Self {
        let weights = Weights::from_bytes(WEIGHTS).expect("the weights were written by `Weights`");
        Self { weights }
    }

    /// The likeliest kind of a row.
    pub fn classify(&self, row: &Instruction) -> Category {
        let scores = score(&self.weights, &of_row(row));
        let mut best = 0;
        for (at, value) in scores.iter().enumerate() {
            if *value > scores[best] {
                best = at;
            }
        }
        Category::ALL[best]
    }
}

impl Labeller for LocalClassifier {
    fn method(&self) -> String {
        format!("the local classifier ({BUCKETS} hashed features, logistic regression)")
    }

    fn digest(&self) -> String {
        ContentHash::of_bytes(WEIGHTS).to_string()
    }

    fn label(&mut self, rows: &[&Instruction]) -> Result<Vec<Option<Category>>, CurateError> {
        Ok(rows.par_iter().map(|row| Some(self.classify(row))).collect())
    }
}
