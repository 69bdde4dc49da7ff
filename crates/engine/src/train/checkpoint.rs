//! Checkpoints: everything a run needs to go on to the same bytes, published whole or not at all.
//!
//! A checkpoint is a directory `step-NNNNNN` with `state.safetensors` (parameters and both moments) and `checkpoint.json`
//! (step, length of the metrics so far, the run's fingerprint, the state's hash). It is written beside its place and
//! renamed; a damaged one is set aside and the one before it is used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::run_directory::{create_private_directory, publish};
use serde::{Deserialize, Serialize};

use crate::error::EngineError;
use crate::format::{NamedTensor, Safetensors, write_safetensors};

/// How many checkpoints are kept.
const KEPT: usize = 2;

/// The values of a run between two steps.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Steps done.
    pub step: usize,
    /// Bytes of `metrics.jsonl` that belong to those steps.
    pub metrics_bytes: u64,
    /// The adapter.
    pub parameters: Vec<f32>,
    /// First moments.
    pub mean: Vec<f32>,
    /// Second moments.
    pub square: Vec<f32>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    step: usize,
    metrics_bytes: u64,
    fingerprint: BTreeMap<String, String>,
    state: ContentHash,
}

/// Publishes a checkpoint and removes all but the newest ones.
pub fn save(
    directory: &Path,
    fingerprint: &BTreeMap<String, String>,
    state: &State,
) -> Result<(), EngineError> {
    create_private_directory(directory)?;
    let name = format!("step-{:06}", state.step);
    let (temporary, place) = (directory.join(format!(".{name}.tmp")), directory.join(&name));
    if place.exists() {
        return Ok(());
    }
    if temporary.exists() {
        fs_err::remove_dir_all(&temporary)?;
    }
    create_private_directory(&temporary)?;
    let length = state.parameters.len();
    let tensor =
        |name: &str, values| NamedTensor { name: name.to_owned(), shape: vec![length], values };
    let tensors = [
        tensor("parameters", &state.parameters[..]),
        tensor("mean", &state.mean),
        tensor("square", &state.square),
    ];
    let file = temporary.join("state.safetensors");
    write_safetensors(&file, &tensors, &BTreeMap::new())?;
    let header = Header {
        step: state.step,
        metrics_bytes: state.metrics_bytes,
        fingerprint: fingerprint.clone(),
        state: ContentHash::of_file(&file)?,
    };
    publish(&temporary.join("checkpoint.json"), |out| {
        Ok(serde_json::to_writer_pretty(out, &header)?)
    })?;
    fs_err::rename(&temporary, &place)?;
    fs_err::File::open(directory)?.sync_all()?;
    let found = all(directory)?;
    for old in &found[..found.len().saturating_sub(KEPT)] {
        fs_err::remove_dir_all(old)?;
    }
    Ok(())
}

/// The newest sound checkpoint; damaged ones are renamed to `….bad`. One of another run is an error that names the
/// difference.
pub fn load(
    directory: &Path,
    fingerprint: &BTreeMap<String, String>,
) -> Result<Option<State>, EngineError> {
    for path in all(directory)?.into_iter().rev() {
        match read(&path) {
            Ok((header, state)) => {
                refuse_other_run(&path, &header.fingerprint, fingerprint)?;
                return Ok(Some(state));
            }
            Err(reason) => {
                tracing::warn!("checkpoint {} is damaged ({reason}) and set aside", path.display());
                fs_err::rename(&path, path.with_extension("bad"))?;
            }
        }
    }
    Ok(None)
}

/// The published checkpoints, oldest first.
fn all(directory: &Path) -> Result<Vec<PathBuf>, EngineError> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs_err::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number = name.strip_prefix("step-");
        if number.is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        }) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<(Header, State), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let json =
        fs_err::read_to_string(path.join("checkpoint.json")).map_err(|error| text(&error))?;
    let header: Header = serde_json::from_str(&json).map_err(|error| text(&error))?;
    let file = path.join("state.safetensors");
    if ContentHash::of_file(&file).map_err(|error| text(&error))? != header.state {
        return Err("its state does not have the recorded hash".to_owned());
    }
    let tensors = Safetensors::open(&file).map_err(|error| text(&error))?;
    let values =
        |name: &str| tensors.tensor(name).map(|view| view.to_f32()).map_err(|error| text(&error));
    let state = State {
        step: header.step,
        metrics_bytes: header.metrics_bytes,
        parameters: values("parameters")?,
        mean: values("mean")?,
        square: values("square")?,
    };
    Ok((header, state))
}

fn refuse_other_run(
    path: &Path,
    there: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> Result<(), EngineError> {
    let changed: Vec<&str> = there
        .keys()
        .chain(now.keys())
        .filter(|key| there.get(*key) != now.get(*key))
        .map(String::as_str)
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    Err(EngineError::Checkpoint {
        path: path.display().to_string(),
        reason: format!("belongs to a run with other {}", changed.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(step: usize) -> State {
        let value = step as f32;
        State {
            step,
            metrics_bytes: 10,
            parameters: vec![value; 5],
            mean: vec![value + 1.0; 5],
            square: vec![2.0; 5],
        }
    }

    #[test]
    fn a_damaged_checkpoint_is_set_aside_and_another_run_refused() {
        let directory = tempfile::tempdir().unwrap();
        let fingerprint = BTreeMap::from([("data".to_owned(), "a".to_owned())]);
        assert_eq!(load(directory.path(), &fingerprint).unwrap(), None);
        for step in [10, 20, 30] {
            save(directory.path(), &fingerprint, &state(step)).unwrap();
        }
        assert_eq!(load(directory.path(), &fingerprint).unwrap(), Some(state(30)));
        assert!(!directory.path().join("step-000010").exists());

        let file = directory.path().join("step-000030/state.safetensors");
        let mut bytes = fs_err::read(&file).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs_err::write(&file, bytes).unwrap();
        assert_eq!(load(directory.path(), &fingerprint).unwrap(), Some(state(20)));
        assert!(directory.path().join("step-000030.bad").exists());

        let other = BTreeMap::from([("data".to_owned(), "b".to_owned())]);
        let error = load(directory.path(), &other).unwrap_err();
        assert!(error.to_string().contains("other data"), "{error}");
    }
}
