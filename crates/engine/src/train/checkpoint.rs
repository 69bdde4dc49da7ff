//! Checkpoints: everything a run needs to go on to the same bytes, published whole or not at all.
//!
//! A checkpoint is a directory `step-NNNNNN` with `state.safetensors` (parameters, both moments, the best parameters so far)
//! and `checkpoint.json` (step, length of the metrics so far, what the run watches, its fingerprint, the state's hash), which
//! is written last. It is written beside its place, file by file synced, and renamed; a damaged one is set aside and the one
//! before it is used. Older ones go only when the newer one is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bioinstruct_core::files::Files;
use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::run_directory::create_private_directory;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::watch::Watch;
use crate::error::EngineError;
use crate::format::{NamedTensor, Safetensors, write_tensors};

/// The values of a run between two steps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// Steps done.
    pub step: usize,
    /// Bytes of `metrics.jsonl` that belong to those steps.
    pub metrics_bytes: u64,
    /// What the run has seen.
    pub watch: Watch,
    /// The adapter.
    pub parameters: Vec<f32>,
    /// First moments.
    pub mean: Vec<f32>,
    /// Second moments.
    pub square: Vec<f32>,
    /// The adapter of the best evaluation so far, where that is kept.
    pub best: Option<Vec<f32>>,
}

/// The key of the header's own hash.
const DIGEST: &str = "digest";

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    step: usize,
    metrics_bytes: u64,
    watch: Watch,
    fingerprint: BTreeMap<String, String>,
    state: ContentHash,
}

/// Publishes a checkpoint, then removes all but the `kept` newest ones.
pub fn save(
    files: &Files<'_>,
    directory: &Path,
    fingerprint: &BTreeMap<String, String>,
    state: &State,
    kept: usize,
) -> Result<(), EngineError> {
    create_private_directory(directory)?;
    let name = format!("step-{:06}", state.step);
    let aside = |ending: &str| directory.join(format!(".{name}.{ending}"));
    let (temporary, old, place) = (aside("tmp"), aside("old"), directory.join(&name));
    files.remove_directory(&temporary)?;
    create_private_directory(&temporary)?;
    let file = temporary.join("state.safetensors");
    files.publish(&file, |out| write_tensors(out, &tensors(state), &BTreeMap::new()))?;
    let header = Header {
        step: state.step,
        metrics_bytes: state.metrics_bytes,
        watch: state.watch.clone(),
        fingerprint: fingerprint.clone(),
        state: ContentHash::of_file(&file)?,
    };
    let header = sealed(&header).map_err(std::io::Error::from)?;
    files.publish(&temporary.join("checkpoint.json"), |out| {
        Ok(serde_json::to_writer_pretty(out, &header)?)
    })?;
    if place.exists() {
        // A stop before the step's evaluation left it without that.
        files.remove_directory(&old)?;
        files.rename(&place, &old)?;
    }
    files.rename(&temporary, &place)?;
    files.sync_directory(directory)?;
    files.remove_directory(&old)?;
    let found = all(directory)?;
    for old in &found[..found.len().saturating_sub(kept.max(1))] {
        files.remove_directory(old)?;
    }
    Ok(())
}

/// The header with a hash of itself: a digit that has become another one is noticed too.
fn sealed(header: &Header) -> serde_json::Result<Value> {
    let mut value = serde_json::to_value(header)?;
    value[DIGEST] = ContentHash::of_json(&value).to_string().into();
    Ok(value)
}

fn tensors(state: &State) -> Vec<NamedTensor<'_>> {
    let named = [
        ("parameters", Some(&state.parameters)),
        ("mean", Some(&state.mean)),
        ("square", Some(&state.square)),
        ("best", state.best.as_ref()),
    ];
    let present = named.into_iter().filter_map(|(name, values)| Some((name.to_owned(), values?)));
    present.map(|(name, values)| NamedTensor { name, shape: vec![values.len()], values }).collect()
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
            Err(Unread::Io(error)) => return Err(error.into()),
            Err(Unread::Damaged(reason)) => {
                tracing::warn!("checkpoint {} is damaged ({reason}) and set aside", path.display());
                fs_err::rename(&path, free_name(&path))?;
            }
        }
    }
    Ok(None)
}

/// Refuses to go on in a directory whose newest readable checkpoint belongs to another run, before anything is written there.
pub fn refuse_other(
    directory: &Path,
    fingerprint: &BTreeMap<String, String>,
) -> Result<(), EngineError> {
    let newest = all(directory)?.into_iter().rev().find_map(|path| {
        let header = header(&path).ok()?;
        Some((path, header))
    });
    newest
        .map_or(Ok(()), |(path, header)| refuse_other_run(&path, &header.fingerprint, fingerprint))
}

/// `step-000020.bad`, or where that is taken `step-000020.bad-2` and so on.
fn free_name(path: &Path) -> PathBuf {
    let name = |count: usize| {
        let ending = if count == 1 { "bad".to_owned() } else { format!("bad-{count}") };
        path.with_extension(ending)
    };
    (1..10_000).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(1))
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
        let number = name.strip_prefix("step-").and_then(|digits| digits.parse::<u64>().ok());
        found.extend(number.map(|number| (number, path)));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Why a checkpoint was not read.
enum Unread {
    /// The system would not let us; what is there may be sound.
    Io(std::io::Error),
    /// What is there is not what was written.
    Damaged(String),
}

fn damaged(error: impl std::fmt::Display) -> Unread {
    Unread::Damaged(error.to_string())
}

fn unread(error: std::io::Error) -> Unread {
    use std::io::ErrorKind::{InvalidData, NotADirectory, NotFound, UnexpectedEof};
    match error.kind() {
        NotFound | NotADirectory | InvalidData | UnexpectedEof => damaged(error),
        _ => Unread::Io(error),
    }
}

fn header(path: &Path) -> Result<Header, Unread> {
    let json = fs_err::read_to_string(path.join("checkpoint.json")).map_err(unread)?;
    let mut value: Value = serde_json::from_str(&json).map_err(damaged)?;
    let digest = value.as_object_mut().and_then(|object| object.remove(DIGEST));
    if digest != Some(ContentHash::of_json(&value).to_string().into()) {
        return Err(damaged("its `checkpoint.json` does not have the recorded hash"));
    }
    serde_json::from_value(value).map_err(damaged)
}

fn read(path: &Path) -> Result<(Header, State), Unread> {
    let header = header(path)?;
    let file = path.join("state.safetensors");
    if ContentHash::of_file(&file).map_err(unread)? != header.state {
        return Err(damaged("its state does not have the recorded hash"));
    }
    let tensors = Safetensors::open(&file).map_err(damaged)?;
    let values = |name: &str| tensors.tensor(name).map(|view| view.to_f32()).map_err(damaged);
    let has_best = tensors.names().any(|name| name == "best");
    let state = State {
        step: header.step,
        metrics_bytes: header.metrics_bytes,
        watch: header.watch.clone(),
        parameters: values("parameters")?,
        mean: values("mean")?,
        square: values("square")?,
        best: has_best.then(|| values("best")).transpose()?,
    };
    Ok((header, state))
}

fn refuse_other_run(
    path: &Path,
    there: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> Result<(), EngineError> {
    let names: BTreeSet<&String> = there.keys().chain(now.keys()).collect();
    let changed: Vec<String> =
        names.into_iter().filter_map(|name| change(name, there.get(name), now.get(name))).collect();
    if changed.is_empty() {
        return Ok(());
    }
    Err(EngineError::OtherRun { path: path.display().to_string(), changes: changed.join("; ") })
}

/// How one thing that a run depends on has changed: `train.lr was 0.0002, is 0.001`. A hash would tell nobody anything.
fn change(name: &str, there: Option<&String>, now: Option<&String>) -> Option<String> {
    let is_hash =
        |value: &String| value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    match (there, now) {
        (there, now) if there == now => None,
        (Some(there), Some(now)) if is_hash(there) && is_hash(now) => {
            Some(format!("{name}: not the same"))
        }
        (there, now) => {
            let text = |value: Option<&String>| value.map_or("not set", String::as_str).to_owned();
            Some(format!("{name} was {}, is {}", text(there), text(now)))
        }
    }
}

#[cfg(test)]
mod tests;
