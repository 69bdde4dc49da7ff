//! The merged model as one GGUF file. Main function: [`write_gguf`].

use std::path::Path;

use super::Merged;
use super::gguf_metadata::{metadata, text};
use crate::backend::Backend;
use crate::error::EngineError;
use crate::format::{
    DataType, GgufEntry, GgufFile, ModelConfig, ROPE_DIVISORS, RopeScaling, gguf_name, row_order,
};

/// How the matrices of a GGUF file are stored; vectors are F32 in all of them.
#[expect(non_camel_case_types, reason = "llama.cpp's names")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    /// 32-bit floats.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a 32-bit float.
    BF16,
    /// 8 bits and a scale for each 32.
    Q8_0,
    /// llama.cpp's `Q4_K_M`: 4 bits, 6 where they matter most.
    Q4_K,
}

impl FileType {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::F32, Self::F16, Self::BF16, Self::Q8_0, Self::Q4_K];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4_K => "q4_k",
        }
    }

    /// llama.cpp's number of it, under `general.file_type`.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::BF16 => 32,
            Self::Q8_0 => 7,
            Self::Q4_K => 15,
        }
    }

    /// How the tensor of this Hugging Face name is stored.
    ///
    /// For [`Self::Q4_K`] as llama.cpp chooses for `Q4_K_M`: the head (or a tied embedding) in `Q6_K`; `v_proj` and `down_proj`
    /// in `Q6_K` in the first and the last eighth of the blocks and in every third between. Rows that are no whole blocks of
    /// 256 take llama.cpp's fallbacks: `Q5_0` for `Q4_K`, `Q8_0` for `Q6_K`, and F16 where 32 does not divide them either.
    pub fn data_type(self, config: &ModelConfig, name: &str, shape: &[usize]) -> DataType {
        if shape.len() < 2 {
            return DataType::F32;
        }
        let columns = shape[shape.len() - 1];
        let whole = |wanted: DataType, otherwise: DataType| {
            let fitting = [wanted, otherwise, DataType::F16].into_iter();
            fitting
                .clone()
                .find(|kind| columns.is_multiple_of(kind.block_elements()))
                .unwrap_or(wanted)
        };
        match self {
            Self::F32 => DataType::F32,
            Self::F16 => DataType::F16,
            Self::BF16 => DataType::BF16,
            Self::Q8_0 => whole(DataType::Q8_0, DataType::F16),
            Self::Q4_K if matters(config, name) => whole(DataType::Q6_K, DataType::Q8_0),
            Self::Q4_K => whole(DataType::Q4_K, DataType::Q5_0),
        }
    }
}

fn matters(config: &ModelConfig, name: &str) -> bool {
    if name == "lm_head.weight" || (config.tied_embeddings && name == "model.embed_tokens.weight") {
        return true;
    }
    let block = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
    let Some((block, part)) = block else { return false };
    let Ok(block) = block.parse::<usize>() else { return false };
    let eighth = config.layers / 8;
    let more = match block.checked_sub(eighth) {
        None => true,
        Some(after) => block >= 7 * config.layers / 8 || after % 3 == 2,
    };
    more && matches!(part, "self_attn.v_proj.weight" | "mlp.down_proj.weight")
}

/// Writes the model to `path`: metadata, tokenizer and chat template of the base, `extra` texts beside them, and every tensor
/// as `file_type` says. Returns how many tensors are stored in each type, in the order of [`DataType::ALL`].
///
/// # Errors
/// Something of the base has no form that llama.cpp reads to the same, a value is not finite, or the file cannot be written.
pub fn write_gguf<B: Backend>(
    merged: &Merged<'_, B>,
    path: &Path,
    name: &str,
    file_type: FileType,
    extra: &[(&str, String)],
) -> Result<Vec<(DataType, usize)>, EngineError> {
    let config = merged.file().config();
    let mut out = metadata(merged.file(), name, file_type)?;
    for (key, value) in extra {
        out.set(key, text(value));
    }
    let divisors = rope_divisors(config);
    if let Some(divisors) = &divisors {
        let (name, shape) = (ROPE_DIVISORS.to_string(), vec![divisors.len()]);
        out.add(GgufEntry { name, shape, data_type: DataType::F32 });
    }
    let mut sources = Vec::new();
    for (name, shape) in config.tensors() {
        let data_type = file_type.data_type(config, &name, &shape);
        let stored = gguf_name(&name).ok_or_else(|| EngineError::Merge {
            reason: format!("tensor {name:?} has no name in a GGUF"),
        })?;
        out.add(GgufEntry { name: stored.clone(), shape, data_type });
        sources.push((stored, name, data_type));
    }
    write(merged, path, &out, &sources, divisors.as_deref())?;
    let count = |kind: DataType| sources.iter().filter(|(_, _, stored)| *stored == kind).count();
    let counts = DataType::ALL.into_iter().map(|kind| (kind, count(kind)));
    Ok(counts.filter(|(_, count)| *count > 0).collect())
}

fn write<B: Backend>(
    merged: &Merged<'_, B>,
    path: &Path,
    out: &GgufFile,
    sources: &[(String, String, DataType)],
    divisors: Option<&[f32]>,
) -> Result<(), EngineError> {
    let config = merged.file().config();
    let mut failure = None;
    let written = out.write(path, &mut |stored, file| {
        let Some((_, name, data_type)) = sources.iter().find(|(known, _, _)| known == stored)
        else {
            let mut values = divisors.into_iter().flatten();
            return values.try_for_each(|value| file.write_all(&value.to_le_bytes()));
        };
        let order = row_order(config, name);
        merged.write_tensor(name, *data_type, order, file).map_err(|error| {
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

/// What the rotary frequencies are divided by, where they are changed.
fn rope_divisors(config: &ModelConfig) -> Option<Vec<f32>> {
    match &config.rope_scaling {
        RopeScaling::Divisors(divisors) => Some(divisors.clone()),
        RopeScaling::Llama3 { .. } => {
            let plain = ModelConfig { rope_scaling: RopeScaling::None, ..config.clone() };
            let frequencies = plain.rope_frequencies().into_iter().zip(config.rope_frequencies());
            Some(frequencies.map(|(plain, scaled)| plain / scaled).collect())
        }
        RopeScaling::None | RopeScaling::Linear { .. } => None,
    }
}
