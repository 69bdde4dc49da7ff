//! The merged model as a Hugging Face folder. Main function: [`write_folder`].

use std::collections::BTreeMap;
use std::path::Path;

use bioinstruct_core::run_directory::publish;
use serde_json::{Value, json};

use super::normal_float::NormalFloat;
use super::{Merged, hf_config};
use crate::backend::Backend;
use crate::error::EngineError;
use crate::format::json_file::read_limited;
use crate::format::{Announced, DataType, RowOrder, write_safetensors_of};
use crate::lora::Projection;
use crate::tokenizer;

/// Files of a folder that are taken over as they are, where there are any.
const KEPT: [&str; 9] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
];
const MAXIMUM_KEPT: u64 = 64 << 20;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Bytes of all tensors.
    pub bytes: usize,
    /// safetensors files.
    pub shards: usize,
    /// Why there is no tokenizer in the folder, when there is none.
    pub without_tokenizer: Option<String>,
}

/// Writes config, tokenizer and tensors to `directory`, which is there and empty: matrices and vectors in `data_type`
/// (F32, F16 or BF16), or for [`DataType::NF4`] the projections in bitsandbytes' layout and the rest in BF16. A file holds
/// tensors of at most `shard_bytes`, or one.
///
/// # Errors
/// Something of the base has no form in such a folder, a value is not finite, or a file cannot be written.
pub fn write_folder<B: Backend>(
    merged: &Merged<'_, B>,
    directory: &Path,
    data_type: DataType,
    shard_bytes: usize,
) -> Result<Written, EngineError> {
    let file = merged.file();
    let config = hf_config::config_json(file, data_type)?;
    write_json(&directory.join("config.json"), &config)?;
    let without_tokenizer = write_tokenizer(merged, directory)?;
    let weights: Vec<Weight> = file
        .config()
        .tensors()
        .into_iter()
        .map(|(name, shape)| Weight::new(name, shape, data_type))
        .collect::<Result<_, _>>()?;
    let shards = shards(&weights, shard_bytes);
    let bytes = weights.iter().map(Weight::bytes).sum();
    let mut place = BTreeMap::new();
    for (number, shard) in shards.iter().enumerate() {
        let name = match shards.len() {
            1 => "model.safetensors".to_string(),
            count => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        write_shard(merged, &directory.join(&name), shard)?;
        for tensor in shard.iter().flat_map(|weight| &weight.announced) {
            place.insert(tensor.name.clone(), name.clone());
        }
    }
    if shards.len() > 1 {
        let index = json!({"metadata": {"total_size": bytes}, "weight_map": place});
        write_json(&directory.join("model.safetensors.index.json"), &index)?;
    }
    Ok(Written { bytes, shards: shards.len(), without_tokenizer })
}

/// A tensor of the model, and what the file will hold of it.
struct Weight {
    name: String,
    shape: Vec<usize>,
    data_type: DataType,
    announced: Vec<Announced>,
}

impl Weight {
    fn new(name: String, shape: Vec<usize>, wanted: DataType) -> Result<Self, EngineError> {
        let elements: usize = shape.iter().product();
        let projection = Projection::ALL
            .iter()
            .any(|projection| name.ends_with(&format!(".{}.weight", projection.path())));
        let data_type = match wanted {
            DataType::NF4 if !projection => DataType::BF16,
            other => other,
        };
        if data_type == DataType::NF4 && !elements.is_multiple_of(64) {
            let reason = format!("{name} has {elements} elements, which are no whole blocks of 64");
            return Err(EngineError::Merge { reason });
        }
        let announced = if data_type == DataType::NF4 {
            NormalFloat::announce(&name, &shape)
        } else {
            let (name, shape, type_name) = (name.clone(), shape.clone(), data_type.name());
            vec![Announced { name, shape, type_name, bytes: data_type.row_bytes(elements) }]
        };
        Ok(Self { name, shape, data_type, announced })
    }

    fn bytes(&self) -> usize {
        self.announced.iter().map(|tensor| tensor.bytes).sum()
    }
}

/// Consecutive weights, as many as fit.
fn shards(weights: &[Weight], shard_bytes: usize) -> Vec<&[Weight]> {
    let (mut shards, mut first, mut bytes) = (Vec::new(), 0, 0);
    for (number, weight) in weights.iter().enumerate() {
        if number > first && bytes + weight.bytes() > shard_bytes {
            shards.push(&weights[first..number]);
            (first, bytes) = (number, 0);
        }
        bytes += weight.bytes();
    }
    shards.push(&weights[first..]);
    shards
}

fn write_shard<B: Backend>(
    merged: &Merged<'_, B>,
    path: &Path,
    weights: &[Weight],
) -> Result<(), EngineError> {
    let announced: Vec<Announced> =
        weights.iter().flat_map(|weight| weight.announced.iter().cloned()).collect();
    let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
    let mut failure = None;
    // the six tensors of a weight stand together, as their names have one beginning
    let mut quantised: Option<(String, NormalFloat)> = None;
    let written = write_safetensors_of(path, &announced, &metadata, &mut |tensor, out| {
        let (name, ending) = NormalFloat::split(tensor);
        let Some(weight) = weights.iter().find(|weight| weight.name == name) else {
            return Ok(());
        };
        let mut write = || -> Result<(), EngineError> {
            let write_rows = |out: &mut dyn std::io::Write| {
                merged.write_tensor(name, weight.data_type, RowOrder::AsStored, out)
            };
            if weight.data_type != DataType::NF4 {
                return write_rows(out);
            }
            if quantised.as_ref().is_none_or(|(known, _)| known != name) {
                let mut blocks = Vec::new();
                write_rows(&mut blocks)?;
                quantised = Some((name.to_string(), NormalFloat::new(&blocks, &weight.shape)));
            }
            let parts = quantised.as_ref().map(|(_, parts)| parts.part(ending));
            Ok(out.write_all(parts.unwrap_or_default())?)
        };
        write().map_err(|error| {
            failure = Some(error);
            std::io::Error::other("see the cause")
        })
    });
    // the reason inside, not that writing stopped
    match failure {
        Some(error) => Err(error),
        None => Ok(written?),
    }
}

/// Copies a folder's tokenizer, or writes a GGUF's own where that is exact. Returns why there is none.
fn write_tokenizer<B: Backend>(
    merged: &Merged<'_, B>,
    directory: &Path,
) -> Result<Option<String>, EngineError> {
    let file = merged.file();
    let Some(gguf) = file.gguf() else {
        for name in KEPT {
            let from = file.path().join(name);
            if from.is_file() {
                let bytes = read_limited(&from, MAXIMUM_KEPT)
                    .map_err(|problem| crate::format::FormatError { path: from, problem })?;
                publish(&directory.join(name), |out| out.write_all(&bytes))?;
            }
        }
        return Ok(None);
    };
    write_json(
        &directory.join("generation_config.json"),
        &hf_config::generation_json(file.config()),
    )?;
    let files = tokenizer::folder_files(gguf)
        .map_err(|error| EngineError::Merge { reason: error.to_string() })?;
    match files {
        Ok(files) => {
            for (name, text) in files {
                publish(&directory.join(name), |out| out.write_all(text.as_bytes()))?;
            }
            Ok(None)
        }
        Err(reason) => Ok(Some(reason)),
    }
}

fn write_json(path: &Path, value: &Value) -> Result<(), EngineError> {
    publish(path, |out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        out.write_all(b"\n")
    })?;
    Ok(())
}
