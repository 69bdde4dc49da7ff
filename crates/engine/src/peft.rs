//! Adapters in PEFT's format, both ways: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Only old, stable keys are written, so that every PEFT release reads the result. When reading, a key that changes the
//! maths in a way the engine does not compute is refused by name; other unknown keys are harmless and ignored.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::run_directory::{create_private_directory, publish};
use serde_json::{Map, Value, json};

use crate::backend::Backend;
use crate::error::EngineError;
use crate::format::{ModelConfig, NamedTensor, Safetensors, write_safetensors};
use crate::lora::{Adapter, Layout, LoraConfig, Projection};

/// The configuration's file name.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// The factors' file name.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// Keys whose value must be what PEFT takes when they are absent: anything else is another computation.
const NEUTRAL: [(&str, &[&str]); 21] = [
    ("bias", &["\"none\""]),
    ("fan_in_fan_out", &["false"]),
    ("use_dora", &["false"]),
    ("use_qalora", &["false"]),
    ("lora_bias", &["false"]),
    ("modules_to_save", &["null", "[]"]),
    ("rank_pattern", &["{}", "null"]),
    ("alpha_pattern", &["{}", "null"]),
    ("layers_to_transform", &["null", "[]"]),
    ("layer_replication", &["null", "[]"]),
    ("exclude_modules", &["null", "[]"]),
    ("target_parameters", &["null", "[]"]),
    ("trainable_token_indices", &["null", "[]", "{}"]),
    ("alora_invocation_tokens", &["null", "[]"]),
    ("arrow_config", &["null"]),
    ("kasa_config", &["null"]),
    ("monteclora_config", &["null"]),
    ("velora_config", &["null"]),
    ("use_bdlora", &["null", "false"]),
    ("ensure_weight_tying", &["false", "null"]),
    ("megatron_config", &["null"]),
];

/// An adapter from disk.
#[derive(Debug)]
pub struct LoadedAdapter<B: Backend> {
    /// Ready to run.
    pub adapter: Adapter<B>,
    /// Hash of its two files.
    pub digest: ContentHash,
    /// What its makers call the base.
    pub base: String,
}

/// The tensors of an adapter as PEFT names them, with their place in the flat buffer, A before B, block by block.
pub fn tensor_names(layout: &Layout) -> Vec<(String, Range<usize>)> {
    layout
        .all()
        .flat_map(|(block, projection, factors)| {
            let path = format!("base_model.model.model.layers.{block}.{}", projection.path());
            [
                (format!("{path}.lora_A.weight"), factors.a.clone()),
                (format!("{path}.lora_B.weight"), factors.b.clone()),
            ]
        })
        .collect()
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
    let names = tensor_names(layout);
    let shapes: Vec<Vec<usize>> = layout
        .all()
        .flat_map(|(_, _, factors)| {
            let rank = factors.rank;
            [vec![rank, factors.a.len() / rank], vec![factors.b.len() / rank, rank]]
        })
        .collect();
    let tensors: Vec<NamedTensor<'_>> = names
        .into_iter()
        .zip(shapes)
        .map(|((name, range), shape)| NamedTensor { name, shape, values: &values[range] })
        .collect();
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    write_safetensors(&directory.join(WEIGHTS_FILE), &tensors, &metadata)?;
    publish(&directory.join(CONFIG_FILE), |out| {
        serde_json::to_writer_pretty(&mut *out, &config_json(config, base))?;
        out.write_all(b"\n")
    })?;
    Ok(())
}

fn config_json(config: &LoraConfig, base: &str) -> Value {
    let targets: Vec<&str> = config.targets.iter().map(|projection| projection.name()).collect();
    let mut value = json!({
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "lora_alpha": number(config.alpha),
        "lora_dropout": config.dropout,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": config.rank,
        "revision": null,
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
    });
    if config.rank_stabilised {
        value["use_rslora"] = Value::Bool(true);
    }
    value
}

/// A whole number as an integer: PEFT declares alpha as one.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 { json!(value as i64) } else { json!(value) }
}

/// Reads an adapter directory for this base.
pub fn load<B: Backend>(
    backend: &B,
    model: &ModelConfig,
    directory: &Path,
) -> Result<LoadedAdapter<B>, EngineError> {
    let refuse =
        |reason: String| EngineError::Adapter { path: directory.display().to_string(), reason };
    let config_path = directory.join(CONFIG_FILE);
    if !config_path.is_file() {
        return Err(refuse(format!("there is no {CONFIG_FILE} in it")));
    }
    let text = fs_err::read_to_string(&config_path)?;
    let json: Map<String, Value> =
        serde_json::from_str(&text).map_err(|error| refuse(format!("{CONFIG_FILE}: {error}")))?;
    let config = read_config(&json).map_err(|reason| refuse(format!("{CONFIG_FILE}: {reason}")))?;
    config.check()?;
    let layout = Layout::new(model, &config);
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
    let adapter = Adapter::new(backend, model, config, &values)?;
    Ok(LoadedAdapter { adapter, digest, base })
}

fn read_config(json: &Map<String, Value>) -> Result<LoraConfig, String> {
    if json.get("peft_type").and_then(Value::as_str) != Some("LORA") {
        return Err("peft_type is not \"LORA\"".to_owned());
    }
    for (key, neutral) in NEUTRAL {
        if let Some(value) = json.get(key)
            && !neutral.contains(&value.to_string().as_str())
        {
            return Err(format!("`{key}` is {value}, which the engine does not compute"));
        }
    }
    let number = |key: &str, default: f64| match json.get(key) {
        None => Ok(default),
        Some(value) => {
            value.as_f64().ok_or_else(|| format!("`{key}` is {value}, expected a number"))
        }
    };
    let rank = number("r", 8.0)?;
    if rank.fract() != 0.0 || !(1.0..=4096.0).contains(&rank) {
        return Err(format!("`r` is {rank}, expected a whole number from 1 to 4096"));
    }
    Ok(LoraConfig {
        rank: rank as usize,
        alpha: number("lora_alpha", 8.0)?,
        dropout: number("lora_dropout", 0.0)?,
        rank_stabilised: json.get("use_rslora").is_some_and(|value| *value == Value::Bool(true)),
        targets: read_targets(json.get("target_modules"))?,
    })
}

fn read_targets(value: Option<&Value>) -> Result<Vec<Projection>, String> {
    let words = match value {
        Some(Value::String(word)) => vec![word.clone()],
        Some(Value::Array(words)) => words
            .iter()
            .map(|word| {
                word.as_str().map(str::to_owned).ok_or_else(|| format!("target {word} is not text"))
            })
            .collect::<Result<_, _>>()?,
        _ => return Err("`target_modules` is missing".to_owned()),
    };
    Projection::parse_targets(&words).map_err(|_| {
        format!("`target_modules` {words:?} names modules that the engine does not adapt")
    })
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
