//! Which training rows hold items that a model will be tested on: [`Decontaminator`] looks, [`Report`] tells.
//!
//! An item (its question, its options, its context) and a row are compared as words: the tokens of `rouge_score`, without the
//! single letters that number options. Three signs make a pair worth a second look:
//!
//! 1. a run of 13 or of 8 words of the item stands in the row (runs that stand in many items are stock phrases, and none);
//! 2. ROUGE-L F1 of at least 0.7 between the question and the row's instruction, its input, a line of them, or what stands
//!    before their options;
//! 3. a question of fewer than 8 words stands in the row as a whole.
//!
//! The second look asks how much of the item the row holds, each word weighted by how rare it is among the items. "Which of
//! the following is true about …" is most of many questions and weighs little; the same question with other options is
//! another item. A pair that holds enough is [`Verdict::Contaminated`], others with a long run or a high F1 are
//! [`Verdict::Suspected`] and left to people. [`hashed`] is for test sets that may not be shown. [`against`] reads what the
//! user wants compared, and says what is published of it.

pub mod against;
pub mod hashed;
mod item;
mod runs;
mod search;

use std::collections::{BTreeMap, BTreeSet};

use bioinstruct_core::record::Instruction;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use self::item::{TaskItems, TestItem};
pub use self::search::Decontaminator;
use crate::filter::Similarity;

/// Whether a row gives an item away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The row holds the item, to the word or nearly.
    Contaminated,
    /// The row shares a long run of words with the item, or a like question; a person should look.
    Suspected,
}

/// What one row shares with one item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// The task's name.
    pub task: String,
    /// The item's id.
    pub item: String,
    /// The row's id.
    pub row: String,
    /// What it means.
    pub verdict: Verdict,
    /// Runs of 13 words of the item's that stand in the row, stock phrases apart.
    pub runs_of_13: usize,
    /// Runs of 8 words, likewise.
    pub runs_of_8: usize,
    /// The question's highest ROUGE-L with a part of the row, when that is at least 0.7; `m` is the row's side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rouge_l: Option<Similarity>,
    /// Whether a question of fewer than 8 words stands in the row as a whole.
    pub whole_question: bool,
    /// How many of the item's options stand in the row.
    pub options: usize,
    /// Share of the weight of the item's words (question and options) that the row holds.
    pub coverage: f64,
    /// The item's question and options; empty for tasks whose texts may not be shown.
    pub item_text: String,
    /// The row's instruction and input; empty for tasks whose texts may not be shown, as the row holds them.
    pub row_text: String,
}

/// What was found for one task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskReport {
    /// Items looked for.
    pub items: usize,
    /// Items that at least one row gives away.
    pub contaminated: BTreeSet<String>,
    /// Items that are suspected and not contaminated.
    pub suspected: BTreeSet<String>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Rows looked at.
    pub rows: usize,
    /// By the task's name. An evaluation on the items that are in neither list is one on the clean subset.
    pub tasks: BTreeMap<String, TaskReport>,
    /// All pairs, by row in their order, then by item.
    pub hits: Vec<Hit>,
}

impl Report {
    /// Ids of the rows that give an item away.
    pub fn contaminated_rows(&self) -> BTreeSet<&str> {
        let contaminated = self.hits.iter().filter(|hit| hit.verdict == Verdict::Contaminated);
        contaminated.map(|hit| hit.row.as_str()).collect()
    }
}

impl Decontaminator {
    /// Compares all rows with all items, on all threads of the current rayon pool; the report does not depend on their number.
    pub fn report(&self, rows: &[Instruction]) -> Report {
        let found: Vec<Vec<Hit>> = rows.par_iter().map(|row| self.hits(row)).collect();
        let mut tasks = self.tasks();
        let hits: Vec<Hit> = found.into_iter().flatten().collect();
        for hit in &hits {
            let task = tasks.entry(hit.task.clone()).or_default();
            match hit.verdict {
                Verdict::Contaminated => task.contaminated.insert(hit.item.clone()),
                Verdict::Suspected => task.suspected.insert(hit.item.clone()),
            };
        }
        for task in tasks.values_mut() {
            task.suspected.retain(|item| !task.contaminated.contains(item));
        }
        Report { rows: rows.len(), tasks, hits }
    }
}
