//! The metadata of a written GGUF file: copied from a GGUF base, or made from a folder's config. Main function: [`metadata`].

use super::gguf::FileType;
use crate::error::EngineError;
use crate::format::{Family, GgufFile, GgufValue, ModelConfig, ModelFile, RopeScaling};
use crate::tokenizer;

/// Keys that belong to the base's file alone.
const NOT_COPIED: [&str; 4] = ["general.alignment", "general.file_type", "split.", "quantize."];

/// GGUF's name of the architecture: LLaMA's covers Mistral.
pub(super) fn architecture(family: Family) -> &'static str {
    match family {
        Family::Mistral => Family::Llama.name(),
        other => other.name(),
    }
}

/// A GGUF file with the metadata of the model in `file`, and no tensor yet.
///
/// # Errors
/// The tokenizer, or a number of the config, has no form that llama.cpp reads to the same.
pub(super) fn metadata(
    file: &ModelFile,
    name: &str,
    file_type: FileType,
) -> Result<GgufFile, EngineError> {
    let mut out = GgufFile::default();
    if let Some(gguf) = file.gguf() {
        for (key, value) in gguf.raw_metadata()? {
            if !NOT_COPIED.iter().any(|other| key.starts_with(other)) {
                out.set(&key, value);
            }
        }
    } else {
        let config = file.config();
        out.set("general.architecture", text(architecture(config.family)));
        out.set("general.type", text("model"));
        numbers(&mut out, config);
        let tokenizer = tokenizer::gguf_metadata(file, config.vocabulary_size)
            .map_err(|error| EngineError::Merge { reason: error.to_string() })?;
        for (key, value) in tokenizer {
            out.set(&key, value);
        }
    }
    out.set("general.name", text(name));
    out.set("general.quantization_version", GgufValue::U32(2));
    out.set("general.file_type", GgufValue::U32(file_type.number()));
    Ok(out)
}

pub(super) fn text(value: &str) -> GgufValue {
    GgufValue::Text(value.to_string())
}

fn numbers(out: &mut GgufFile, config: &ModelConfig) {
    let architecture = architecture(config.family);
    let mut set = |name: &str, value: GgufValue| out.set(&format!("{architecture}.{name}"), value);
    for (name, size) in [
        ("block_count", config.layers),
        ("context_length", config.maximum_positions),
        ("embedding_length", config.hidden_size),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.attention_heads),
        ("attention.head_count_kv", config.key_value_heads),
        ("attention.key_length", config.head_size),
        ("attention.value_length", config.head_size),
        ("rope.dimension_count", config.head_size),
        ("vocab_size", config.vocabulary_size),
    ] {
        set(name, GgufValue::U32(size as u32));
    }
    set("attention.layer_norm_rms_epsilon", GgufValue::F32(config.rms_norm_epsilon));
    set("rope.freq_base", GgufValue::F32(config.rope_theta));
    if let Some(window) = config.sliding_window {
        set("attention.sliding_window", GgufValue::U32(window as u32));
    }
    // the divisors of LLaMA 3's rule are a tensor
    if let RopeScaling::Linear { factor } = config.rope_scaling {
        set("rope.scaling.type", text("linear"));
        set("rope.scaling.factor", GgufValue::F32(factor));
    }
}
