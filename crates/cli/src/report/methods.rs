//! How the numbers came about: every setting, version and hash of the manifests, and the limits of what they show.

use std::collections::{BTreeMap, BTreeSet};

use bioinstruct_core::run_directory::Manifest;
use serde::Serialize;
use serde_json::Value;

use super::collect::{RunFiles, STAGES};
use super::records::PredictionFile;

/// One stage of one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct StageView {
    /// The run's label.
    pub run: String,
    /// What the page calls it.
    pub name: String,
    /// Of the program.
    pub version: String,
    /// Of every random choice.
    pub seed: u64,
    /// Which kernels computed it; empty where none did.
    pub kernels: String,
    /// Settings: key and value.
    pub settings: Vec<(String, String)>,
    /// Files and models that were read: name and hash.
    pub inputs: Vec<(String, String)>,
    /// Files that were written: name and hash.
    pub outputs: Vec<(String, String)>,
}

/// Every finished stage of every run.
pub(super) fn stages(runs: &[RunFiles]) -> Vec<StageView> {
    let mut stages = Vec::new();
    for run in runs {
        for (directory, name) in STAGES {
            let manifest = run.manifests.get(directory);
            stages.extend(manifest.map(|manifest| stage(run, name, manifest)));
        }
    }
    stages
}

/// What the reader of the scores must know, each sentence once.
pub(super) fn warnings(runs: &[RunFiles]) -> Vec<String> {
    let of = |file: &PredictionFile| -> Vec<String> {
        let sentences = file.info.get("warnings").and_then(Value::as_array);
        let sentences = sentences.into_iter().flatten().filter_map(Value::as_str);
        sentences.map(|sentence| format!("{}: {sentence}", file.task)).collect()
    };
    let all: BTreeSet<String> = runs.iter().flat_map(|run| &run.predictions).flat_map(of).collect();
    all.into_iter().collect()
}

/// How each metric was computed.
pub(super) fn signatures(runs: &[RunFiles]) -> Vec<String> {
    let scores = runs.iter().flat_map(|run| run.scores.iter().flatten());
    let signatures = scores.map(|score| score.signature.clone());
    let all: BTreeSet<String> = signatures.filter(|signature| !signature.is_empty()).collect();
    all.into_iter().collect()
}

/// Resamples of intervals and tests, as noted beside the predictions.
pub(super) fn resamples(runs: &[RunFiles]) -> Vec<u64> {
    let files = runs.iter().flat_map(|run| &run.predictions);
    let counts = files.filter_map(|file| file.info.get("resamples")?.as_u64());
    counts.collect::<BTreeSet<u64>>().into_iter().collect()
}

fn stage(run: &RunFiles, name: &str, manifest: &Manifest) -> StageView {
    let pairs = |map: &BTreeMap<String, String>| {
        map.iter().map(|(name, hash)| (name.clone(), hash.clone())).collect()
    };
    let mut settings = Vec::new();
    flatten("", &manifest.config, &mut settings);
    StageView {
        run: run.label.clone(),
        name: name.to_owned(),
        version: manifest.version.clone(),
        seed: manifest.seed,
        kernels: manifest.kernels.clone(),
        settings,
        inputs: pairs(&manifest.inputs),
        outputs: pairs(&manifest.outputs),
    }
}

/// Nested settings as `a.b`, sorted by key.
fn flatten(path: &str, value: &Value, out: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            for key in keys {
                let name = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&name, &map[key], out);
            }
        }
        Value::Null if path.is_empty() => {}
        Value::String(text) => out.push((path.to_owned(), text.clone())),
        other => out.push((path.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_are_flat_and_sorted() {
        let mut settings = Vec::new();
        flatten("", &json!({"b": {"y": 1, "x": "text"}, "a": [1, 2], "c": {}}), &mut settings);
        let named: Vec<(&str, &str)> =
            settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(named, [("a", "[1,2]"), ("b.x", "text"), ("b.y", "1"), ("c", "{}")]);
    }
}
