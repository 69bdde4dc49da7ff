//! What may be learned from a task: [`Task::training`] reads its training split, and what must never be among it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Answer, ItemSources, Task, TaskError, TaskItem, overlap};

/// The training split of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingSplit {
    /// Its items, in the order of the file.
    pub items: Vec<TaskItem>,
    /// The texts by which the owners' test items are recognised.
    pub held_out: Vec<String>,
    /// Hashes of all files read.
    pub inputs: BTreeMap<String, String>,
}

impl Task {
    /// Reads the training split; `data` is the owners' test file, its folder, or the folder of a collection. Every file of test
    /// items that the task names must be there, since no training row can be told from a test item without it.
    pub fn training(&self, data: &Path) -> Result<TrainingSplit, TaskError> {
        if self.export.is_empty() {
            return Err(self.not_exported(
                "no kind of training row is defined for it",
                "the tasks that have one are listed by `bioinstruct tasks`",
            ));
        }
        let path = if data.is_dir() { self.in_folder(data) } else { data.to_owned() };
        let mut inputs = BTreeMap::new();
        let mut held_out = Vec::new();
        let items = match &self.shots {
            _ if self.is_training_only() => {
                self.items_of(&self.open(self.present(path.clone())?, "data", &mut inputs)?)?
            }
            Some(shots) => {
                let all =
                    self.items_of(&self.open(self.present(path.clone())?, "data", &mut inputs)?)?;
                let (test, items) = match &shots.file {
                    Some(file) => {
                        let training = self.present(path.with_file_name(file))?;
                        (all, self.items_of(&self.open(training, "training", &mut inputs)?)?)
                    }
                    None => self.without_official(all, &path, &mut inputs)?,
                };
                held_out.extend(test.iter().map(|item| self.match_text(item).to_owned()));
                items
            }
            None => {
                return Err(self.not_exported(
                    "it has no training split",
                    "`[shots]` of a task file says where the training split is",
                ));
            }
        };
        for (number, file) in self.data.held_out.iter().enumerate() {
            let path = self.present(path.with_file_name(file))?;
            let source = self.open(path, &format!("held out {}", number + 1), &mut inputs)?;
            let items = self.items_of(&source)?;
            held_out.extend(items.iter().map(|item| self.match_text(item).to_owned()));
        }
        Ok(TrainingSplit { items, held_out, inputs })
    }

    /// The official test items and the rest.
    fn without_official(
        &self,
        all: Vec<TaskItem>,
        data: &Path,
        inputs: &mut BTreeMap<String, String>,
    ) -> Result<(Vec<TaskItem>, Vec<TaskItem>), TaskError> {
        let file = self.data.ids_file.as_deref().unwrap_or_default();
        let ids = self.official_ids(file, data, &all, &ItemSources::default(), inputs)?;
        Ok(all.into_iter().partition(|item| ids.contains(&item.id)))
    }

    fn present(&self, path: PathBuf) -> Result<PathBuf, TaskError> {
        if path.is_file() {
            return Ok(path);
        }
        Err(TaskError::Missing {
            task: self.name.clone(),
            purpose: "all files of training and test items to export rows",
            hint: format!(
                "get it from its owners ({}); rows are exported only when they can be compared with the test items",
                self.source
            ),
            path,
        })
    }

    fn not_exported(&self, reason: &str, hint: &str) -> TaskError {
        TaskError::NotExported {
            task: self.name.clone(),
            reason: reason.to_owned(),
            hint: hint.to_owned(),
        }
    }
}

/// For each item whether one of its texts holds a text that is held out: the same words in a row, or for a text of few words the
/// same as a whole.
pub fn holding_held_out(items: &[TaskItem], held_out: &[&str]) -> Vec<bool> {
    if held_out.is_empty() {
        return vec![false; items.len()];
    }
    let mut owners = Vec::new();
    let mut texts: Vec<&str> = Vec::new();
    for (position, item) in items.iter().enumerate() {
        let answer = match &item.answer {
            Answer::Text(text) => Some(text),
            Answer::Choice(_) | Answer::List(_) => None,
        };
        for text in item.fields.values().chain(answer) {
            owners.push(position);
            texts.push(text);
        }
    }
    let mut holds = vec![false; items.len()];
    for (owner, found) in owners.into_iter().zip(overlap::holding(held_out, &texts)) {
        holds[owner] |= found;
    }
    holds
}
