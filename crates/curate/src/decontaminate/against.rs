//! What rows are compared with when a dataset is made: [`Against`] holds the items of the tasks and hashed files that the user
//! named, [`Comparison`] what was found, row by row, and [`ContaminationReport`] what is published of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::record::Instruction;
use bioinstruct_data::rows::RowsError;
use bioinstruct_data::task::{ItemSources, Task};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::hashed::{HashedHit, HashedItems};
use super::{Decontaminator, Hit, TaskItems, TestItem, Verdict};
use crate::CurateError;

/// What happens to a row that gives an item away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contaminated {
    /// It is dropped.
    #[default]
    Drop,
    /// It is kept, and the report names it.
    Report,
}

impl Contaminated {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
    pub(crate) fn is_drop(&self) -> bool {
        *self == Self::Drop
    }
}

/// Items of tasks, with and without their texts.
#[derive(Debug, Clone, Default)]
pub struct Against {
    tasks: Vec<TaskItems>,
    hashed: Vec<HashedItems>,
    /// By task: the hash of the data that the items were read from.
    digests: BTreeMap<String, String>,
}

/// A line of `contamination.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Found {
    /// Texts were compared.
    Text(Hit),
    /// Hashes were compared; there are no texts.
    Hashes(HashedHit),
}

/// What was found for one task: a value of [`ContaminationReport::tasks`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskContamination {
    /// Items looked for.
    pub items: usize,
    /// Hash of the data that they were read from.
    pub data: String,
    /// Whether the task's texts may not be shown.
    pub credentialed: bool,
    /// Whether only hashes were compared.
    pub hashed: bool,
    /// Rows that give an item away.
    pub contaminated_rows: usize,
    /// Rows that a person should look at and that give none away.
    pub suspected_rows: usize,
    /// Items that at least one row gives away.
    pub contaminated: BTreeSet<String>,
    /// Items that are suspected and not contaminated.
    pub suspected: BTreeSet<String>,
    /// Items of both lists with a row that stayed in the dataset: an evaluation without them is one on the clean subset.
    pub remaining: BTreeSet<String>,
}

/// The content of `contamination.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContaminationReport {
    /// What was done with rows that give an item away.
    pub action: Contaminated,
    /// Rows compared.
    pub rows: usize,
    /// By the task's name.
    pub tasks: BTreeMap<String, TaskContamination>,
}

/// What rows and items share.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// One list a row, in the order of the rows.
    pub found: Vec<Vec<Found>>,
    /// Nothing found yet.
    tasks: BTreeMap<String, TaskContamination>,
}

impl Found {
    /// The task and the item.
    pub fn item(&self) -> (&str, &str) {
        match self {
            Self::Text(hit) => (&hit.task, &hit.item),
            Self::Hashes(hit) => (&hit.task, &hit.item),
        }
    }

    /// What it means.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Text(hit) => hit.verdict,
            Self::Hashes(hit) => hit.verdict(),
        }
    }

    /// In words.
    pub fn reason(&self) -> String {
        let (task, item) = self.item();
        let runs = match self {
            Self::Text(hit) if hit.runs_of_8 == 0 => String::new(),
            Self::Text(hit) => format!(", {} runs of 8 words", hit.runs_of_8),
            Self::Hashes(hit) => format!(", {} of {} hashed runs", hit.runs, hit.of_runs),
        };
        let likeness = match self {
            Self::Text(Hit { rouge_l: Some(likeness), .. }) => {
                format!(", ROUGE-L {:.4}", likeness.f)
            }
            _ => String::new(),
        };
        format!("holds item {item} of {task}{runs}{likeness}")
    }
}

impl Against {
    /// Reads the items of tasks (`NAME`, `NAME=PATH`, a task file) and files of hashed items.
    ///
    /// # Errors
    /// When a name is unknown, data are missing or cannot be read, or a task is named twice.
    pub fn read(named: &[String]) -> Result<Self, CurateError> {
        let mut against = Self::default();
        for name in named {
            let path = Path::new(name);
            let task = if path.is_file() && HashedItems::is_one(path) {
                let items = HashedItems::read(path)?;
                let task = items.task().to_owned();
                let hash = ContentHash::of_file(path).map_err(RowsError::Io)?;
                against.hashed.push(items);
                (task, hash.to_string())
            } else {
                let (items, data) = task_items(name)?;
                let task = items.task.clone();
                against.tasks.push(items);
                (task, data)
            };
            if against.digests.contains_key(&task.0) {
                let reason = format!("`{}` is named twice", task.0);
                return Err(CurateError::Setting { key: "against", reason });
            }
            against.digests.insert(task.0, task.1);
        }
        Ok(against)
    }

    /// Whether there is nothing to compare with.
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// The hash of each task's data.
    pub fn digests(&self) -> &BTreeMap<String, String> {
        &self.digests
    }

    /// Compares all rows with all items, on all threads of the current rayon pool; the result does not depend on their number.
    ///
    /// # Errors
    /// Never in practice: the threshold of ROUGE-L is fixed and in range.
    pub fn compare(&self, rows: &[&Instruction]) -> Result<Comparison, CurateError> {
        let decontaminator = Decontaminator::new(&self.tasks)
            .map_err(|error| CurateError::Setting { key: "against", reason: error.to_string() })?;
        let indices: Vec<_> = self.hashed.iter().map(HashedItems::index).collect();
        let compare = |row: &&Instruction| -> Vec<Found> {
            let hits = decontaminator.hits(row).into_iter().map(Found::Text);
            let hashed = indices.iter().flat_map(|index| index.hits(row)).map(Found::Hashes);
            hits.chain(hashed).collect()
        };
        Ok(Comparison {
            found: rows.par_iter().map(compare).collect(),
            tasks: self.nothing_found(),
        })
    }

    fn nothing_found(&self) -> BTreeMap<String, TaskContamination> {
        let of = |task: &str, items, credentialed, hashed| {
            let data = self.digests.get(task).cloned().unwrap_or_default();
            let found =
                TaskContamination { items, data, credentialed, hashed, ..Default::default() };
            (task.to_owned(), found)
        };
        let shown =
            self.tasks.iter().map(|task| of(&task.task, task.items.len(), !task.shown, false));
        shown
            .chain(self.hashed.iter().map(|items| of(items.task(), items.len(), true, true)))
            .collect()
    }
}

impl Comparison {
    /// The first sign that a row gives an item away; of several items the one that comes first.
    pub fn contaminated(&self, row: usize) -> Option<&Found> {
        self.found[row].iter().find(|found| found.verdict() == Verdict::Contaminated)
    }

    /// Counts what was found; `stayed` says of each row whether it is in the dataset.
    pub fn report(
        &self,
        action: Contaminated,
        stayed: impl Fn(usize) -> bool,
    ) -> ContaminationReport {
        let mut tasks = self.tasks.clone();
        for (row, found) in self.found.iter().enumerate() {
            let mut worst: BTreeMap<&str, Verdict> = BTreeMap::new();
            for one in found {
                let ((name, item), verdict) = (one.item(), one.verdict());
                let task = tasks.entry(name.to_owned()).or_default();
                match verdict {
                    Verdict::Contaminated => task.contaminated.insert(item.to_owned()),
                    Verdict::Suspected => task.suspected.insert(item.to_owned()),
                };
                if stayed(row) {
                    task.remaining.insert(item.to_owned());
                }
                let known = worst.entry(name).or_insert(verdict);
                *known = verdict.min(*known);
            }
            for (name, verdict) in worst {
                let task = tasks.entry(name.to_owned()).or_default();
                match verdict {
                    Verdict::Contaminated => task.contaminated_rows += 1,
                    Verdict::Suspected => task.suspected_rows += 1,
                }
            }
        }
        for task in tasks.values_mut() {
            task.suspected.retain(|item| !task.contaminated.contains(item));
        }
        ContaminationReport { action, rows: self.found.len(), tasks }
    }
}

/// The items of a task that is named as in `--against`, and the hash of their data.
///
/// # Errors
/// When the name is unknown, or the data are missing or cannot be read.
pub fn task_items(named: &str) -> Result<(TaskItems, String), CurateError> {
    let (task, data) = match Task::load(named) {
        Ok(task) => (task, None),
        Err(error) => match named.split_once('=') {
            Some((name, path)) => (Task::load(name)?, Some(PathBuf::from(path))),
            None => return Err(error.into()),
        },
    };
    let sources = ItemSources { data: data.as_deref(), shots: Some(0), ..ItemSources::default() };
    let read = task.items(&sources)?;
    // Yes, no and maybe stand under each question: they are no options of this one.
    let are_own = task.choices.as_ref().is_some_and(|choices| !choices.fields.is_empty());
    let item = |item| {
        let item = TestItem::from(item);
        TestItem { options: if are_own { item.options } else { Vec::new() }, ..item }
    };
    let items = read.items.iter().map(item).collect();
    let digest = ContentHash::of_json(&serde_json::json!(read.inputs)).to_string();
    Ok((TaskItems { task: task.name.clone(), shown: !task.credentialed, items }, digest))
}
