//! Which items are scored: [`Task::items`] reads the data, keeps the official ids, leaves out what stands in training data
//! and draws the solved examples.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bioinstruct_core::hash::ContentHash;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rows::{self, Row};
use super::{Origin, Place, Profile, Task, TaskError, TaskItem, overlap};

/// What the user gives for one task; the default reads the task's own data.
#[derive(Debug, Clone, Copy, Default)]
pub struct ItemSources<'a> {
    /// The owners' file, or the folder that holds it.
    pub data: Option<&'a Path>,
    /// The list of ids to score, where it is not beside the data.
    pub ids: Option<&'a Path>,
    /// The training file whose items must not be scored, where it is not beside the data.
    pub training: Option<&'a Path>,
    /// The file of solved examples, where it is not beside the data.
    pub shots_file: Option<&'a Path>,
    /// Texts that a model was tuned on: pass each row's instruction, input and output.
    pub exclude_texts: &'a [String],
    /// At most so many items, counted after exclusion.
    pub limit: Option<usize>,
    /// Decides the subset and the number of solved examples.
    pub profile: Profile,
    /// Solved examples in place of the profile's number.
    pub shots: Option<usize>,
    /// Names the random stream that draws the solved examples.
    pub seed: u64,
}

/// An item that is not scored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excluded {
    /// Its id.
    pub id: String,
    /// Where else it stands.
    pub reason: String,
}

/// What a task is scored on.
#[derive(Debug, Clone, PartialEq)]
pub struct Items {
    /// The items, in the order of the file.
    pub items: Vec<TaskItem>,
    /// Items met on the way that are left out because they stand in training data.
    pub excluded: Vec<Excluded>,
    /// The solved examples shown before every item, in this order.
    pub shots: Vec<TaskItem>,
    /// The profile that they were read for.
    pub profile: Profile,
    /// Hashes of all files read, for the manifest: `task`, `data`, `ids`, `training`, `shots`.
    pub inputs: BTreeMap<String, String>,
    /// What the reader of the scores must know, such as a check that could not be made.
    pub warnings: Vec<String>,
}

/// A data file that has been read.
pub(super) struct Source {
    pub(super) path: PathBuf,
    rows: Vec<Row>,
}

impl Task {
    /// Reads the items to score and the solved examples.
    pub fn items(&self, sources: &ItemSources<'_>) -> Result<Items, TaskError> {
        if self.is_training_only() {
            return Err(TaskError::TrainingOnly { task: self.name.clone() });
        }
        let spec = self.profile(sources.profile)?;
        let mut result = Items {
            items: Vec::new(),
            excluded: Vec::new(),
            shots: Vec::new(),
            profile: sources.profile,
            inputs: BTreeMap::from([("task".to_owned(), self.digest.clone())]),
            warnings: Vec::new(),
        };
        let data = self.open_data(sources.data, &mut result.inputs)?;
        let all = self.items_of(&data)?;
        let ids = match &self.data.ids_file {
            Some(file) if !spec.all_rows => {
                Some(self.official_ids(file, &data.path, &all, sources, &mut result.inputs)?)
            }
            _ => None,
        };
        let is_official = |item: &TaskItem| ids.as_ref().is_none_or(|ids| ids.contains(&item.id));
        let (scored, rest): (Vec<TaskItem>, Vec<TaskItem>) = all.into_iter().partition(is_official);
        let seen = self.seen_in_training(&scored, &data.path, sources, &mut result)?;
        for (item, reason) in scored.into_iter().zip(seen) {
            if sources.limit.is_some_and(|limit| result.items.len() == limit) {
                break;
            }
            match reason {
                Some(reason) => result.excluded.push(Excluded { id: item.id, reason }),
                None => result.items.push(item),
            }
        }
        if result.items.is_empty() {
            return Err(TaskError::File {
                path: data.path,
                reason: "no item is left to score".to_owned(),
            });
        }
        self.draw_shots(rest, &data.path, sources, &mut result)?;
        Ok(result)
    }

    /// The owners' file in a folder that was given: there, or in its own folder of a collection.
    pub(super) fn in_folder(&self, folder: &Path) -> PathBuf {
        let here = folder.join(&self.data.file);
        let inside = folder.join(&self.data.folder).join(&self.data.file);
        if !here.is_file() && inside.is_file() { inside } else { here }
    }

    pub(super) fn open_data(
        &self,
        given: Option<&Path>,
        inputs: &mut BTreeMap<String, String>,
    ) -> Result<Source, TaskError> {
        if let (None, Origin::Demo(text)) = (given, &self.origin) {
            let path = PathBuf::from(&self.data.file);
            inputs.insert("data".to_owned(), ContentHash::of_bytes(text.as_bytes()).to_string());
            let rows = rows::read(text, &path, &self.data)?;
            return Ok(Source { path, rows });
        }
        let beside_task = match (given, &self.origin) {
            (None, Origin::File(task)) => Some(task.with_file_name(&self.data.file)),
            _ => None,
        };
        let path = match (given, beside_task) {
            (Some(given), _) if given.is_dir() => self.in_folder(given),
            (Some(given), _) => given.to_owned(),
            (None, Some(beside)) if beside.is_file() => beside,
            _ => {
                return Err(TaskError::NoData {
                    task: self.name.clone(),
                    file: self.data.file.clone(),
                });
            }
        };
        self.open(path, "data", inputs)
    }

    pub(super) fn open(
        &self,
        path: PathBuf,
        name: &str,
        inputs: &mut BTreeMap<String, String>,
    ) -> Result<Source, TaskError> {
        let text = rows::read_text(&path)?;
        inputs.insert(name.to_owned(), ContentHash::of_bytes(text.as_bytes()).to_string());
        let rows = rows::read(&text, &path, &self.data)?;
        Ok(Source { path, rows })
    }

    /// Every row as an item; two with one id are refused.
    pub(super) fn items_of(&self, source: &Source) -> Result<Vec<TaskItem>, TaskError> {
        let form = self.answer_form(&source.rows, &source.path)?;
        let mut places: BTreeMap<String, &Place> = BTreeMap::new();
        let mut items = Vec::with_capacity(source.rows.len());
        for (position, row) in source.rows.iter().enumerate() {
            let item = self.item(row, position + 1, form, &source.path)?;
            if let Some(first) = places.insert(item.id.clone(), &row.place) {
                let field = self.data.id.as_deref().unwrap_or("id");
                let reason = format!("`{}` also names {first}", item.id);
                return Err(row.wrong(field, reason, &source.path));
            }
            items.push(item);
        }
        Ok(items)
    }

    pub(super) fn official_ids(
        &self,
        file: &str,
        data: &Path,
        all: &[TaskItem],
        sources: &ItemSources<'_>,
        inputs: &mut BTreeMap<String, String>,
    ) -> Result<BTreeSet<String>, TaskError> {
        let path = sources.ids.map_or_else(|| data.with_file_name(file), Path::to_owned);
        if !path.is_file() {
            let scores_all = |spec: &&super::ProfileSpec| spec.all_rows;
            let way_out = match self.profiles.iter().find(|(_, spec)| scores_all(spec)) {
                Some((profile, _)) => {
                    format!(", or use `--profile {profile}`, which scores every row")
                }
                None => String::new(),
            };
            return Err(TaskError::Missing {
                task: self.name.clone(),
                purpose: "the official test ids",
                hint: format!("put the owners' `{file}` beside the data{way_out}"),
                path,
            });
        }
        let text = rows::read_text(&path)?;
        inputs.insert("ids".to_owned(), ContentHash::of_bytes(text.as_bytes()).to_string());
        let ids = parse_ids(&text);
        let present: BTreeSet<&str> = all.iter().map(|item| item.id.as_str()).collect();
        match ids.iter().find(|id| !present.contains(id.as_str())) {
            Some(missing) => Err(TaskError::File {
                path,
                reason: format!("id `{missing}` is not in {}", data.display()),
            }),
            None => Ok(ids),
        }
    }

    /// For each item, where it stands in training data.
    fn seen_in_training(
        &self,
        items: &[TaskItem],
        data: &Path,
        sources: &ItemSources<'_>,
        result: &mut Items,
    ) -> Result<Vec<Option<String>>, TaskError> {
        let texts: Vec<&str> = items.iter().map(|item| self.match_text(item)).collect();
        let mut reasons: Vec<Option<String>> = overlap::find(&texts, sources.exclude_texts)
            .into_iter()
            .map(|found| found.map(|_| "stands in the rows that a model was tuned on".to_owned()))
            .collect();
        let Some(file) = &self.exclude_training else {
            return Ok(reasons);
        };
        let path = sources.training.map_or_else(|| data.with_file_name(file), Path::to_owned);
        if sources.training.is_none() && !path.is_file() {
            result.warnings.push(format!(
                "{file} is not beside the data, so items that also stand in it were not looked for"
            ));
            return Ok(reasons);
        }
        let training = self.open(path, "training", &mut result.inputs)?;
        let name = training
            .path
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let spec = &self.data.fields[&self.match_field];
        let seen: Vec<String> = training
            .rows
            .iter()
            .map(|row| row.variable(spec, &training.path))
            .collect::<Result<_, _>>()?;
        for (reason, found) in reasons.iter_mut().zip(overlap::find(&texts, &seen)) {
            if let Some(row) = found {
                *reason = Some(format!("stands in {name}, {}", training.rows[row].place));
            }
        }
        Ok(reasons)
    }

    pub(super) fn match_text<'a>(&self, item: &'a TaskItem) -> &'a str {
        item.fields.get(&self.match_field).map_or("", String::as_str)
    }
}

/// The keys of a JSON object, the elements of an array, or the lines of a text.
fn parse_ids(text: &str) -> BTreeSet<String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => map.into_iter().map(|(key, _)| key).collect(),
        Ok(Value::Array(items)) => items
            .into_iter()
            .map(|item| match item {
                Value::String(id) => id,
                other => other.to_string(),
            })
            .collect(),
        _ => {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            lines.map(str::to_owned).collect()
        }
    }
}
