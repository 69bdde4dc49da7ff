//! Adapters in PEFT's format, both ways: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Only old, stable keys are written, so that every PEFT release reads the result. When reading, a key that changes the
//! maths in a way the engine does not compute is refused by name; other unknown keys are warned of. What each key means is
//! in `keys.rs`, what is written in `written.rs`.

mod keys;
mod written;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::run_directory::{create_private_directory, publish};
use serde_json::{Map, Value};

use crate::backend::Backend;
use crate::error::EngineError;
use crate::format::{ModelConfig, NamedTensor, Safetensors, write_safetensors};
use crate::lora::{Adapter, Layout, LoraConfig};
use crate::model::Llama;

/// The configuration's file name.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// The factors' file name.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// An adapter as it lies on disk, fitted to a base.
#[derive(Debug)]
pub struct StoredAdapter {
    /// What it adapts.
    pub config: LoraConfig,
    /// Where each factor lies in `values`.
    pub layout: Layout,
    /// All values, widened to 32 bits.
    pub values: Vec<f32>,
    /// Hash of its two files.
    pub digest: ContentHash,
    /// What its makers call the base.
    pub base: String,
}

/// An adapter from disk, ready to run.
#[derive(Debug)]
pub struct LoadedAdapter<B: Backend> {
    /// Ready to run.
    pub adapter: Adapter<B>,
    /// Hash of its two files.
    pub digest: ContentHash,
    /// What its makers call the base.
    pub base: String,
}

/// The tensors of an adapter as PEFT names them, with their place in the flat buffer: block by block A, B, magnitudes.
pub fn tensor_names(layout: &Layout) -> Vec<(String, Range<usize>)> {
    named_tensors(layout).map(|(name, _, range)| (name, range)).collect()
}

/// Name, shape and place of each tensor.
fn named_tensors(layout: &Layout) -> impl Iterator<Item = (String, Vec<usize>, Range<usize>)> {
    layout.all().flat_map(|(block, projection, factors)| {
        let path = format!("base_model.model.{}", projection.module(block));
        let (rank, a, b) = (factors.rank, factors.a.clone(), factors.b.clone());
        let magnitude = factors.magnitude.as_ref().map(|place| {
            let range = place.values.clone();
            (format!("{path}.lora_magnitude_vector"), vec![range.len()], range)
        });
        [
            (format!("{path}.lora_A.weight"), vec![rank, a.len() / rank], a),
            (format!("{path}.lora_B.weight"), vec![b.len() / rank, rank], b),
        ]
        .into_iter()
        .chain(magnitude)
    })
}

/// Writes an adapter directory.
pub fn save(
    directory: &Path,
    config: &LoraConfig,
    layout: &Layout,
    values: &[f32],
    base: &str,
) -> Result<(), EngineError> {
    create_private_directory(directory)?;
    let tensors: Vec<NamedTensor<'_>> = named_tensors(layout)
        .map(|(name, shape, range)| NamedTensor { name, shape, values: &values[range] })
        .collect();
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    write_safetensors(&directory.join(WEIGHTS_FILE), &tensors, &metadata)?;
    publish(&directory.join(CONFIG_FILE), |out| {
        serde_json::to_writer_pretty(&mut *out, &written::config_json(config, layout, base))?;
        out.write_all(b"\n")
    })?;
    Ok(())
}

/// Reads an adapter directory and puts it on its base's device.
pub fn load<B: Backend>(
    model: &Llama<B>,
    directory: &Path,
) -> Result<LoadedAdapter<B>, EngineError> {
    let StoredAdapter { config, values, digest, base, .. } = read(model.config(), directory)?;
    Ok(LoadedAdapter { adapter: model.adapter(config, &values)?, digest, base })
}

/// Reads an adapter directory for a base of this architecture.
pub fn read(model: &ModelConfig, directory: &Path) -> Result<StoredAdapter, EngineError> {
    let refuse =
        |reason: String| EngineError::Adapter { path: directory.display().to_string(), reason };
    let config_path = directory.join(CONFIG_FILE);
    if !config_path.is_file() {
        return Err(refuse(format!("there is no {CONFIG_FILE} in it")));
    }
    let text = fs_err::read_to_string(&config_path)?;
    let json: Map<String, Value> =
        serde_json::from_str(&text).map_err(|error| refuse(format!("{CONFIG_FILE}: {error}")))?;
    let of_file = |reason: String| refuse(format!("{CONFIG_FILE}: {reason}"));
    let config = keys::read_config(&json, model.layers).map_err(of_file)?;
    for key in keys::unknown(&json) {
        tracing::warn!("{}: {CONFIG_FILE} has an unknown key `{key}`", directory.display());
    }
    config.check().map_err(|error| of_file(error.to_string()))?;
    let layout = Layout::new(model, &config).map_err(|error| of_file(error.to_string()))?;
    let weights = directory.join(WEIGHTS_FILE);
    if !weights.is_file() {
        return Err(refuse(format!("there is no {WEIGHTS_FILE} in it")));
    }
    let values = read_values(&Safetensors::open(&weights)?, &layout).map_err(refuse)?;
    let digest = ContentHash::of_parts([
        text.as_bytes(),
        ContentHash::of_file(&weights)?.as_str().as_bytes(),
    ]);
    let base =
        json.get("base_model_name_or_path").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(StoredAdapter { config, layout, values, digest, base })
}

/// Every factor in its place; a missing, misshapen, unexpected or non-finite tensor is an error.
fn read_values(file: &Safetensors, layout: &Layout) -> Result<Vec<f32>, String> {
    let mut values = vec![0.0; layout.length()];
    let names = tensor_names(layout);
    for (name, range) in &names {
        let tensor = file.tensor(name).map_err(|error| error.to_string())?;
        let read = tensor.to_f32();
        if read.len() != range.len() {
            return Err(format!(
                "tensor {name} holds {} values, the base asks for {}",
                read.len(),
                range.len()
            ));
        }
        if read.iter().any(|value| !value.is_finite()) {
            return Err(format!("tensor {name} holds values that are not finite"));
        }
        values[range.clone()].copy_from_slice(&read);
    }
    match file.names().find(|found| !names.iter().any(|(name, _)| name == found)) {
        Some(unexpected) => Err(format!("tensor {unexpected} belongs to no adapted projection")),
        None => Ok(values),
    }
}
