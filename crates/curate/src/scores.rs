//! Scores of rows that something else has judged: [`Scores`].

use std::collections::BTreeMap;
use std::path::Path;

use bioinstruct_core::jsonl;
use serde::Deserialize;

use crate::CurateError;

/// A score for each row that has one, by its id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores {
    by_id: BTreeMap<String, f64>,
}

#[derive(Debug, Deserialize)]
struct Line {
    id: String,
    score: f64,
}

impl Scores {
    /// Reads JSON lines with `id` and `score`; other fields are ignored, and of several scores of a row the last one counts.
    ///
    /// # Errors
    /// When the file cannot be read or a line has not both.
    pub fn read(path: &Path) -> Result<Self, CurateError> {
        let lines: Vec<Line> = jsonl::read(path)?;
        Ok(Self { by_id: lines.into_iter().map(|line| (line.id, line.score)).collect() })
    }

    /// The score of a row.
    pub fn of(&self, id: &str) -> Option<f64> {
        self.by_id.get(id).copied()
    }
}
