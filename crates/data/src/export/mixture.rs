//! Shares of the categories and the kinds of row that fill them: [`Mixture`], a TOML file.

use std::collections::BTreeMap;
use std::path::Path;

use bioinstruct_core::record::Category;
use serde::Deserialize;

use super::ExportError;
use super::fill::apportion;
use crate::task::Task;

/// Every built-in mixture; a new one is its TOML file and one entry here.
const ALL: [(&str, &str); 1] = [("paper", include_str!("../../tasks/mixtures/paper.toml"))];

/// What a set of rows consists of.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mixture {
    /// Short.
    pub name: String,
    /// For people.
    pub description: String,
    /// Share of each category; they need not add up to one.
    pub shares: BTreeMap<Category, f64>,
    /// The kinds of row.
    pub part: Vec<PartSpec>,
}

/// A kind of row that takes part.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartSpec {
    /// The task.
    pub task: String,
    /// Its `[[export]]`.
    pub export: String,
    /// Its share among the parts of its category; when it has no more rows, the others of the category take over.
    #[serde(default = "one")]
    pub weight: f64,
}

const fn one() -> f64 {
    1.0
}

/// The names of the built-in mixtures.
pub fn mixture_names() -> Vec<&'static str> {
    ALL.iter().map(|(name, _)| *name).collect()
}

impl Mixture {
    /// A built-in mixture by its name, or the mixture file at this path.
    pub fn load(name_or_path: &str) -> Result<Self, ExportError> {
        if let Some((name, text)) = ALL.iter().find(|(name, _)| *name == name_or_path) {
            return Self::parse(text, Path::new(name));
        }
        let path = Path::new(name_or_path);
        let is_toml = path.extension().is_some_and(|extension| extension == "toml");
        if !is_toml && !path.is_file() {
            let (name, known) = (name_or_path.to_owned(), mixture_names());
            return Err(ExportError::UnknownMixture { name, known });
        }
        Self::parse(&fs_err::read_to_string(path)?, path)
    }

    pub(super) fn parse(text: &str, path: &Path) -> Result<Self, ExportError> {
        let wrong = |reason: String| ExportError::Definition { path: path.to_owned(), reason };
        let mixture: Self =
            toml::from_str(text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
        let is_weight = |weight: &f64| weight.is_finite() && *weight > 0.0;
        if mixture.shares.is_empty() || !mixture.shares.values().all(is_weight) {
            return Err(wrong("`shares`: each must be more than zero".to_owned()));
        }
        for (position, part) in mixture.part.iter().enumerate() {
            let name = format!("part {}/{}", part.task, part.export);
            if !is_weight(&part.weight) {
                return Err(wrong(format!("`{name}`: `weight` must be more than zero")));
            }
            let is_same = |other: &PartSpec| other.task == part.task && other.export == part.export;
            if mixture.part[..position].iter().any(is_same) {
                return Err(wrong(format!("`{name}`: it stands there twice")));
            }
        }
        Ok(mixture)
    }

    /// The tasks that take part, each once, checked to have the kinds of row that are named.
    pub fn tasks(&self) -> Result<Vec<Task>, ExportError> {
        let wrong = |reason: String| {
            let path = Path::new(&self.name).to_owned();
            ExportError::Definition { path, reason }
        };
        let mut tasks: Vec<Task> = Vec::new();
        let mut filled: Vec<Category> = Vec::new();
        for part in &self.part {
            let known = tasks.iter().find(|task| task.name == part.task).cloned();
            let task = if let Some(task) = known {
                task
            } else {
                let task = Task::load(&part.task)?;
                tasks.push(task.clone());
                task
            };
            let spec = task.export.iter().find(|spec| spec.name == part.export);
            let category = spec.map(|spec| spec.category).ok_or_else(|| {
                let names: Vec<&str> = task.export.iter().map(|spec| spec.name.as_str()).collect();
                let (task, export) = (&part.task, &part.export);
                wrong(format!("`{task}` has no export `{export}`; it has {}", names.join(", ")))
            })?;
            if !self.shares.contains_key(&category) {
                let name = category.name();
                return Err(wrong(format!("`shares.{name}`: missing, and a part is of it")));
            }
            filled.push(category);
        }
        match self.shares.keys().find(|category| !filled.contains(category)) {
            Some(empty) => Err(wrong(format!("`shares.{}`: no part is of it", empty.name()))),
            None => Ok(tasks),
        }
    }

    pub(super) fn weight(&self, task: &str, export: &str) -> Option<f64> {
        let part = self.part.iter().find(|part| part.task == task && part.export == export);
        part.map(|part| part.weight)
    }

    /// Rows of each category out of `count`.
    pub(super) fn quotas(&self, count: usize) -> Vec<(Category, usize)> {
        let shares: Vec<f64> = self.shares.values().copied().collect();
        self.shares.keys().copied().zip(apportion(count, &shares)).collect()
    }
}
