//! Solved examples that go before an item: where they come from and which are taken.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bioinstruct_core::random::Stream;
use bioinstruct_text::normalize::answer_key;

use super::{ItemSources, Items, Profile, Task, TaskError, TaskItem};

impl Task {
    /// The solved examples, none of which is among the items. lm-evaluation-harness's convention takes the first ones (its
    /// sampler `first_n`); otherwise they are drawn once for all items, so that every prompt of a task begins alike.
    pub(super) fn draw_shots(
        &self,
        rest: Vec<TaskItem>,
        data: &Path,
        sources: &ItemSources<'_>,
        result: &mut Items,
    ) -> Result<(), TaskError> {
        let count = match sources.shots {
            Some(count) => count,
            None => self.default_shots(sources.profile)?,
        };
        if count == 0 {
            return Ok(());
        }
        let pool = self.shot_pool(rest, data, sources, &mut result.inputs)?;
        let scored: BTreeSet<String> =
            result.items.iter().map(|item| answer_key(self.match_text(item))).collect();
        let pool: Vec<TaskItem> = pool
            .into_iter()
            .filter(|shot| !scored.contains(&answer_key(self.match_text(shot))))
            .collect();
        if pool.len() < count {
            return Err(self.no_shots(format!(
                "{count} solved examples were asked for, and there are {}",
                pool.len()
            )));
        }
        let chosen: Vec<usize> = if sources.profile == Profile::LmEval {
            (0..count).collect()
        } else {
            let purpose = format!("shots/{}", self.name);
            Stream::new(sources.seed, &purpose).at(0).distinct(count, pool.len())
        };
        result.shots = chosen.into_iter().map(|position| pool[position].clone()).collect();
        Ok(())
    }

    fn shot_pool(
        &self,
        rest: Vec<TaskItem>,
        data: &Path,
        sources: &ItemSources<'_>,
        inputs: &mut BTreeMap<String, String>,
    ) -> Result<Vec<TaskItem>, TaskError> {
        let file = self.shots.as_ref().and_then(|shots| shots.file.as_ref());
        let path = match (sources.shots_file, file) {
            (Some(given), _) => given.to_owned(),
            (None, Some(file)) => data.with_file_name(file),
            (None, None) if self.shots.is_some() && !rest.is_empty() => return Ok(rest),
            (None, None) if self.shots.is_some() => {
                return Err(self.no_shots(
                    "every row is scored, so none is left for solved examples".to_owned(),
                ));
            }
            (None, None) => {
                return Err(self.no_shots("it has no solved examples to show".to_owned()));
            }
        };
        if !path.is_file() {
            return Err(TaskError::Missing {
                task: self.name.clone(),
                purpose: "solved examples",
                path,
                hint: "put the owners' file there, or use `--shots 0`".to_owned(),
            });
        }
        let source = self.open(path, "shots", inputs)?;
        self.items_of(&source)
    }

    fn no_shots(&self, reason: String) -> TaskError {
        TaskError::Shots { task: self.name.clone(), reason }
    }
}
