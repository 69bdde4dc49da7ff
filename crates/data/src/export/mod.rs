//! Instruction rows out of the training splits of tasks: [`export`] draws them for a [`Mixture`] or from all kinds of row of some
//! tasks.
//!
//! Which items are taken, in which wording and in which order is a function of the seed and the data alone. No row holds a test
//! item of any task that takes part, none is cut, and nothing is left out without being counted.

mod error;
mod fill;
mod mixture;

pub use error::ExportError;
pub use mixture::{Mixture, PartSpec, mixture_names};

use std::collections::BTreeMap;

use bioinstruct_core::random::Stream;
use bioinstruct_core::record::{Category, Instruction};
use serde::Serialize;

use self::fill::{Part, Settings, fill};
use crate::task::{Task, TrainingSplit, holding_held_out};

/// A task with its training split.
#[derive(Debug)]
pub struct ExportSource {
    /// The task.
    pub task: Task,
    /// What may be learned from it.
    pub split: TrainingSplit,
}

/// How many rows, and which.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExportOptions {
    /// So many rows; without a number all there are, which a mixture does not allow.
    pub count: Option<usize>,
    /// Leave out rows whose three texts together have more words.
    pub max_words: Option<usize>,
    /// Names the random streams.
    pub seed: u64,
}

/// The rows, and an account of where they come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// In the order in which they are to be written.
    pub rows: Vec<Instruction>,
    /// One entry for each kind of row.
    pub parts: Vec<PartCount>,
}

/// What one kind of row gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartCount {
    /// The task.
    pub task: String,
    /// The kind of row.
    pub export: String,
    /// Its category.
    pub category: Category,
    /// Licence of the data.
    pub licence: String,
    /// Items of the training split.
    pub items: usize,
    /// Rows made of them.
    pub rows: usize,
    /// Items met on the way that gave no row, by reason.
    pub left_out: BTreeMap<&'static str, usize>,
}

/// Draws the rows of a mixture, or without one those of every kind that the sources' tasks have.
pub fn export(
    sources: &[ExportSource],
    mixture: Option<&Mixture>,
    options: &ExportOptions,
) -> Result<Exported, ExportError> {
    let kept = without_held_out(sources);
    let mut parts = parts(sources, &kept, mixture, options);
    match (mixture, options.count) {
        (Some(mixture), Some(count)) => parts = fill_categories(parts, mixture, count)?,
        (Some(mixture), None) => {
            return Err(ExportError::NoCount { mixture: mixture.name.clone() });
        }
        (None, Some(wanted)) => {
            let found = fill(&mut parts, wanted)?;
            if found < wanted {
                return Err(ExportError::TooFewInAll { wanted, found });
            }
        }
        (None, None) => {
            for part in &mut parts {
                part.take(usize::MAX)?;
            }
        }
    }
    Ok(gather(parts, options.seed))
}

/// The kinds of row that take part: those of the mixture, or without one all, weighted by their number of items.
fn parts<'a>(
    sources: &'a [ExportSource],
    kept: &[Vec<usize>],
    mixture: Option<&Mixture>,
    options: &ExportOptions,
) -> Vec<Part<'a>> {
    let settings = Settings { max_words: options.max_words, seed: options.seed };
    let mut parts = Vec::new();
    for (source, kept) in sources.iter().zip(kept) {
        for spec in &source.task.export {
            let weight = match mixture {
                Some(mixture) => mixture.weight(&source.task.name, &spec.name),
                None => Some(kept.len() as f64),
            };
            if let Some(weight) = weight {
                parts.push(Part::new(source, spec, kept, weight, settings));
            }
        }
    }
    parts
}

/// Every category gets its share of `count`, or nothing is exported.
fn fill_categories<'a>(
    mut parts: Vec<Part<'a>>,
    mixture: &Mixture,
    count: usize,
) -> Result<Vec<Part<'a>>, ExportError> {
    for (category, wanted) in mixture.quotas(count) {
        let (mut these, others): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|part| part.spec.category == category);
        let found = fill(&mut these, wanted)?;
        if found < wanted {
            return Err(ExportError::TooFew { category, wanted, found, asked: count });
        }
        parts = these.into_iter().chain(others).collect();
    }
    Ok(parts)
}

/// For each source the positions of the items that hold no test item of any source.
fn without_held_out(sources: &[ExportSource]) -> Vec<Vec<usize>> {
    let held_out: Vec<&str> = sources
        .iter()
        .flat_map(|source| source.split.held_out.iter().map(String::as_str))
        .collect();
    let kept = |source: &ExportSource| {
        let holds = holding_held_out(&source.split.items, &held_out);
        (0..holds.len()).filter(|&position| !holds[position]).collect()
    };
    sources.iter().map(kept).collect()
}

fn gather(mut parts: Vec<Part<'_>>, seed: u64) -> Exported {
    parts.sort_by(|one, other| one.name().cmp(&other.name()));
    let mut rows = Vec::new();
    let mut counts = Vec::new();
    for part in parts {
        counts.push(part.count());
        rows.extend(part.rows);
    }
    Stream::new(seed, "export/order").at(0).shuffle(&mut rows);
    Exported { rows, parts: counts }
}

#[cfg(test)]
mod tests;
