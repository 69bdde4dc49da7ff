//! What lies in a run directory: [`RunFiles`] reads every file that the report shows.
//!
//! A report is often wanted of a run that is not finished, or that an older version wrote. So a missing file is no error, a
//! field that is not there gets its default, and a row that cannot be read becomes a notice on the page.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bioinstruct_core::record::Instruction;
use bioinstruct_core::run_directory::Manifest;
use bioinstruct_curate::review::Review;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::records::{Comparison, PredictionFile, Score, StepRow};

/// The stages in the order of the flow: directory, and what the page calls it.
pub(super) const STAGES: [(&str, &str); 4] = [
    ("generate", "Generation"),
    ("dataset", "Curation"),
    ("train", "Tuning"),
    ("eval", "Evaluation"),
];

/// Everything read from one run directory.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunFiles {
    /// Short and unique among the runs of the report.
    pub label: String,
    /// As it was given.
    pub path: String,
    /// By stage directory.
    pub manifests: BTreeMap<String, Manifest>,
    /// `generate/rejected.jsonl`; nothing when there is no file.
    pub(super) generate_rejected: Option<Vec<Value>>,
    /// `generate/instructions.jsonl`.
    pub(super) instructions: Option<Vec<Instruction>>,
    /// `dataset/train.jsonl`.
    pub(super) train: Option<Vec<Instruction>>,
    /// `dataset/dev.jsonl`.
    pub(super) dev: Option<Vec<Instruction>>,
    /// `dataset/rejected.jsonl`.
    pub(super) dataset_rejected: Option<Vec<Value>>,
    /// `dataset/quarantine.jsonl`.
    pub(super) quarantined: Option<Vec<Value>>,
    /// `dataset/stats.json`.
    pub(super) statistics: Option<Value>,
    /// `review/review.json`.
    pub(super) review: Option<Review>,
    /// `train/metrics.jsonl`.
    pub(super) steps: Option<Vec<StepRow>>,
    /// `train/timing.jsonl`.
    pub(super) timing: Option<Vec<Value>>,
    /// `train/speed.json`.
    pub(super) speed: Option<Value>,
    /// `train/adapter/bioinstruct.json`.
    pub(super) adapter_card: Option<Value>,
    /// `eval/scores.json`.
    pub scores: Option<Vec<Score>>,
    /// `eval/comparisons.json`.
    pub comparisons: Option<Vec<Comparison>>,
    /// In the order of their paths.
    pub(super) predictions: Vec<PredictionFile>,
    /// What could not be read, in words.
    pub(super) notices: Vec<String>,
}

impl RunFiles {
    /// Reads all that is there; only a directory that cannot be opened is an error.
    pub(super) fn read(path: &Path, label: String) -> anyhow::Result<Self> {
        let mut run = Self::read_scores(path, label)?;
        run.manifests = run.read_manifests(path);
        run.generate_rejected = run.lines(path, "generate/rejected.jsonl");
        run.instructions = run.lines(path, "generate/instructions.jsonl");
        run.train = run.lines(path, "dataset/train.jsonl");
        run.dev = run.lines(path, "dataset/dev.jsonl");
        run.dataset_rejected = run.lines(path, "dataset/rejected.jsonl");
        run.quarantined = run.lines(path, "dataset/quarantine.jsonl");
        run.statistics = run.json(path, "dataset/stats.json");
        run.review = run.record(path, "review/review.json");
        run.steps = run.lines(path, "train/metrics.jsonl");
        run.timing = run.lines(path, "train/timing.jsonl");
        run.speed = run.json(path, "train/speed.json");
        run.adapter_card = run.json(path, "train/adapter/bioinstruct.json");
        run.predictions = run.read_predictions(path)?;
        Ok(run)
    }

    /// Scores and comparisons alone.
    pub(super) fn read_scores(path: &Path, label: String) -> anyhow::Result<Self> {
        fs_err::read_dir(path)?;
        let mut run = Self { label, path: path.display().to_string(), ..Self::default() };
        run.scores = run.list(path, "eval/scores.json", "scores");
        run.comparisons = run.list(path, "eval/comparisons.json", "comparisons");
        Ok(run)
    }

    fn read_manifests(&mut self, path: &Path) -> BTreeMap<String, Manifest> {
        let mut manifests = BTreeMap::new();
        for (stage, _) in STAGES {
            if let Some(manifest) = self.record(path, &format!("{stage}/manifest.json")) {
                manifests.insert(stage.to_owned(), manifest);
            }
        }
        manifests
    }

    /// A JSON file of known fields.
    fn record<T: DeserializeOwned>(&mut self, path: &Path, file: &str) -> Option<T> {
        let value = self.json(path, file)?;
        serde_json::from_value(value)
            .inspect_err(|error| self.notices.push(format!("{file}: {error}")))
            .ok()
    }

    /// A whole JSON file.
    fn json(&mut self, path: &Path, file: &str) -> Option<Value> {
        let text = self.text(path, file)?;
        serde_json::from_str(&text)
            .inspect_err(|error| self.notices.push(format!("{file}: {error}")))
            .ok()
    }

    /// A JSON list; also one that stands under `key` in an object.
    fn list<T: DeserializeOwned>(&mut self, path: &Path, file: &str, key: &str) -> Option<Vec<T>> {
        let rows = match self.json(path, file)? {
            Value::Array(rows) => rows,
            Value::Object(mut object) => match object.remove(key) {
                Some(Value::Array(rows)) => rows,
                _ => return self.note(format!("{file}: not a list")),
            },
            _ => return self.note(format!("{file}: not a list")),
        };
        let rows = rows.into_iter().enumerate();
        Some(self.rows(file, "entry", rows.map(|(at, row)| (at + 1, serde_json::from_value(row)))))
    }

    /// A file of JSON lines.
    fn lines<T: DeserializeOwned>(&mut self, path: &Path, file: &str) -> Option<Vec<T>> {
        let text = self.text(path, file)?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        Some(self.rows(file, "line", lines.map(|(at, line)| (at + 1, serde_json::from_str(line)))))
    }

    fn rows<T>(
        &mut self,
        file: &str,
        unit: &str,
        parsed: impl Iterator<Item = (usize, Result<T, serde_json::Error>)>,
    ) -> Vec<T> {
        let mut rows = Vec::new();
        let mut first_bad = None;
        let mut bad = 0;
        for (place, row) in parsed {
            match row {
                Ok(row) => rows.push(row),
                Err(error) => {
                    bad += 1;
                    first_bad.get_or_insert_with(|| format!("{unit} {place}: {error}"));
                }
            }
        }
        if let Some(first) = first_bad {
            self.notices.push(format!("{file}: {bad} not readable and left out; {first}"));
        }
        rows
    }

    fn text(&mut self, path: &Path, file: &str) -> Option<String> {
        match fs_err::read_to_string(path.join(file)) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => self.note(format!("{file}: {error}")),
        }
    }

    fn note<T>(&mut self, notice: String) -> Option<T> {
        self.notices.push(notice);
        None
    }

    fn read_predictions(&mut self, path: &Path) -> anyhow::Result<Vec<PredictionFile>> {
        let mut files = Vec::new();
        for folder in sorted_entries(&path.join("eval"))? {
            if !folder.is_dir() {
                continue;
            }
            for file in sorted_entries(&folder)? {
                let (Some(candidate), Some(name)) = (file_name(&folder), file_name(&file)) else {
                    continue;
                };
                let Some((task, profile, shots)) = prediction_name(&name) else {
                    continue;
                };
                let relative = format!("eval/{candidate}/{name}");
                let rows = self.lines(path, &relative).unwrap_or_default();
                let beside = relative.replace(".jsonl", ".info.json");
                let info = self.json(path, &beside).unwrap_or_default();
                files.push(PredictionFile { candidate, task, profile, shots, rows, info });
            }
        }
        Ok(files)
    }
}

/// `<task>@<profile>-<k>shot.jsonl`.
fn prediction_name(name: &str) -> Option<(String, String, u64)> {
    let stem = name.strip_suffix("shot.jsonl")?;
    let (task, rest) = stem.split_once('@')?;
    let (profile, shots) = rest.rsplit_once('-')?;
    Some((task.to_owned(), profile.to_owned(), shots.parse().ok()?))
}

/// What is in a directory, sorted; nothing when there is none.
fn sorted_entries(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(Vec::new());
    }
    let mut entries = Vec::new();
    for entry in fs_err::read_dir(path)? {
        entries.push(entry?.path());
    }
    entries.sort();
    Ok(entries)
}

fn file_name(path: &Path) -> Option<String> {
    path.file_name().map(|name| name.to_string_lossy().into_owned())
}

/// One short name per run: the last part of its path, the whole path where that would be ambiguous.
pub(super) fn labels(paths: &[PathBuf]) -> Vec<String> {
    let short: Vec<String> = paths
        .iter()
        .map(|path| file_name(path).unwrap_or_else(|| path.display().to_string()))
        .collect();
    let is_unique = |label: &String| short.iter().filter(|other| *other == label).count() == 1;
    short
        .iter()
        .zip(paths)
        .map(
            |(label, path)| {
                if is_unique(label) { label.clone() } else { path.display().to_string() }
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prediction_files_are_known_by_their_names() {
        assert_eq!(
            prediction_name("mmlu_anatomy@lm-eval-5shot.jsonl"),
            Some(("mmlu_anatomy".to_owned(), "lm-eval".to_owned(), 5))
        );
        assert_eq!(prediction_name("timing.jsonl"), None);
        assert_eq!(prediction_name("a@b-xshot.jsonl"), None);
    }

    #[test]
    fn labels_are_short_and_unique() {
        let paths = ["runs/a", "runs/b", "old/a"].map(PathBuf::from);
        assert_eq!(labels(&paths), ["runs/a", "b", "old/a"]);
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        let error = RunFiles::read(Path::new("no/such/run"), "x".to_owned()).unwrap_err();
        assert!(error.to_string().contains("no/such/run"), "{error}");
    }
}
