//! `config.json` and `generation_config.json` of a written Hugging Face folder. Main function: [`config_json`].

use serde_json::{Value, json};

use crate::error::EngineError;
use crate::format::{DataType, Family, ModelConfig, ModelFile, RopeScaling, parse_hf_config};

/// LLaMA 3.1's rule as its makers use it: factors of stretching, low and high wavelengths, and the original context.
const FACTORS: [f32; 6] = [8.0, 32.0, 2.0, 4.0, 16.0, 64.0];
const LOW: f32 = 1.0;
const HIGH: f32 = 4.0;
const ORIGINAL: usize = 8192;

/// The config of the model in `file`, stored in `data_type`: a folder's own with what has changed, or one made from a GGUF's
/// numbers, which is read again and must say the same.
///
/// # Errors
/// `config.json` has no field for what the GGUF says.
pub(super) fn config_json(file: &ModelFile, data_type: DataType) -> Result<Value, EngineError> {
    let mut json = if file.gguf().is_some() {
        made(file.config()).map_err(|reason| EngineError::Merge { reason })?
    } else {
        let text = fs_err::read_to_string(file.path().join("config.json"))?;
        serde_json::from_str(&text).map_err(std::io::Error::from)?
    };
    let name = match data_type {
        DataType::F32 => "float32",
        DataType::F16 => "float16",
        _ => "bfloat16",
    };
    let field = if json.get("dtype").is_some() { "dtype" } else { "torch_dtype" };
    json[field] = json!(name);
    if let Some(object) = json.as_object_mut() {
        object.shift_remove("quantization_config");
    }
    if data_type == DataType::NF4 {
        json["quantization_config"] = quantization();
    }
    Ok(json)
}

/// As transformers writes it for bitsandbytes' 4-bit normal float with double quantisation.
fn quantization() -> Value {
    json!({
        "_load_in_4bit": true, "_load_in_8bit": false, "bnb_4bit_compute_dtype": "bfloat16",
        "bnb_4bit_quant_storage": "uint8", "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": true, "llm_int8_enable_fp32_cpu_offload": false,
        "llm_int8_has_fp16_weight": false, "llm_int8_skip_modules": null,
        "llm_int8_threshold": 6.0, "load_in_4bit": true, "load_in_8bit": false,
        "quant_method": "bitsandbytes"
    })
}

fn made(config: &ModelConfig) -> Result<Value, String> {
    let mut wanted = config.clone();
    if let RopeScaling::Divisors(divisors) = &config.rope_scaling {
        wanted.rope_scaling = llama3(config, divisors)
            .ok_or("its stored rotary divisors are not those of LLaMA 3's rule")?;
    }
    if config.family == Family::Llama && config.sliding_window.is_some() {
        // GGUF has one name for both
        wanted.family = Family::Mistral;
    }
    let mut json = json!({
        "architectures": [wanted.family.architecture()],
        "model_type": wanted.family.name(),
        "vocab_size": config.vocabulary_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.attention_heads,
        "num_key_value_heads": config.key_value_heads,
        "head_dim": config.head_size,
        "hidden_act": "silu",
        "max_position_embeddings": config.maximum_positions,
        "rms_norm_eps": shortest(config.rms_norm_epsilon),
        "rope_theta": shortest(config.rope_theta),
        "tie_word_embeddings": config.tied_embeddings,
        "eos_token_id": tokens(&config.eos_tokens),
        "use_cache": true,
    });
    if let Some(bos) = config.bos_token {
        json["bos_token_id"] = json!(bos);
    }
    if config.family != Family::Qwen2 {
        json["attention_bias"] = json!(config.attention_bias);
    }
    match &wanted.rope_scaling {
        RopeScaling::None => {}
        RopeScaling::Linear { factor } => {
            json["rope_scaling"] = json!({"rope_type": "linear", "factor": shortest(*factor)});
        }
        RopeScaling::Llama3 { factor, low, high, original } => {
            json["rope_scaling"] = json!({
                "rope_type": "llama3", "factor": shortest(*factor), "low_freq_factor": shortest(*low),
                "high_freq_factor": shortest(*high), "original_max_position_embeddings": original,
            });
        }
        RopeScaling::Divisors(_) => unreachable!("divisors became a rule above"),
    }
    match wanted.family {
        Family::Llama => {}
        // without the field there would be a window
        Family::Mistral => json["sliding_window"] = json!(config.sliding_window),
        Family::Qwen2 | Family::Qwen3 => {
            json["use_sliding_window"] = json!(config.sliding_window.is_some());
            json["sliding_window"] = json!(config.sliding_window);
            json["max_window_layers"] = json!(0);
        }
    }
    let read = parse_hf_config(&json, &Value::Null).map_err(|problem| problem.to_string())?;
    if read == wanted {
        Ok(json)
    } else {
        Err("config.json has no form for this combination of biases, norms and windows".to_string())
    }
}

/// The rule that gives these divisors of the frequencies.
fn llama3(config: &ModelConfig, divisors: &[f32]) -> Option<RopeScaling> {
    let plain = ModelConfig { rope_scaling: RopeScaling::None, ..config.clone() };
    let plain = plain.rope_frequencies();
    FACTORS.into_iter().find_map(|factor| {
        let scaling = RopeScaling::Llama3 { factor, low: LOW, high: HIGH, original: ORIGINAL };
        let scaled = ModelConfig { rope_scaling: scaling.clone(), ..config.clone() };
        let scaled = scaled.rope_frequencies();
        let near = |((plain, scaled), divisor): ((&f32, &f32), &f32)| {
            (plain / scaled / divisor - 1.0).abs() < 1e-5
        };
        plain.iter().zip(&scaled).zip(divisors).all(near).then_some(scaling)
    })
}

/// The number whose decimal digits are the fewest that give this float.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

fn tokens(ids: &[u32]) -> Value {
    match ids {
        [] => Value::Null,
        [one] => json!(one),
        several => json!(several),
    }
}

/// The `generation_config.json` of a model that came as GGUF.
pub(super) fn generation_json(config: &ModelConfig) -> Value {
    let mut json = json!({"_from_model_config": true, "eos_token_id": tokens(&config.eos_tokens)});
    if let Some(bos) = config.bos_token {
        json["bos_token_id"] = json!(bos);
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ModelConfig {
        ModelConfig {
            family: Family::Llama,
            vocabulary_size: 16,
            hidden_size: 512,
            intermediate_size: 12,
            layers: 1,
            attention_heads: 4,
            key_value_heads: 2,
            head_size: 128,
            rope_theta: 500_000.0,
            rope_scaling: RopeScaling::None,
            rms_norm_epsilon: 1e-5,
            tied_embeddings: true,
            maximum_positions: 64,
            attention_bias: false,
            attention_output_bias: false,
            query_key_norm: false,
            sliding_window: None,
            bos_token: Some(1),
            eos_tokens: vec![2, 3],
        }
    }

    #[test]
    fn stored_divisors_become_the_rule_they_came_from() {
        let mut config = config();
        let plain = config.rope_frequencies();
        let rule = RopeScaling::Llama3 { factor: 32.0, low: 1.0, high: 4.0, original: 8192 };
        config.rope_scaling = rule.clone();
        let scaled = config.rope_frequencies();
        let mut divisors: Vec<f32> = plain.iter().zip(&scaled).map(|(p, s)| p / s).collect();
        config.rope_scaling = RopeScaling::Divisors(divisors.clone());
        let json = made(&config).unwrap();
        assert_eq!(json["rope_scaling"]["factor"], 32.0);
        assert_eq!(parse_hf_config(&json, &Value::Null).unwrap().rope_scaling, rule);
        // Not the neighbour that the 32-bit float would be as a 64-bit one.
        assert_eq!(json["rms_norm_eps"].as_f64(), Some(1e-5));
        divisors[40] *= 1.01;
        config.rope_scaling = RopeScaling::Divisors(divisors);
        assert!(made(&config).unwrap_err().contains("divisors"));
    }

    #[test]
    fn windows_and_linear_scaling_are_said() {
        let scaled = ModelConfig {
            sliding_window: Some(32),
            rope_scaling: RopeScaling::Linear { factor: 2.5 },
            ..config()
        };
        let json = made(&scaled).unwrap();
        assert_eq!((&json["model_type"], &json["sliding_window"]), (&json!("mistral"), &json!(32)));
        assert_eq!(json["rope_scaling"]["factor"], 2.5);
        for (family, query_key_norm) in [(Family::Qwen2, false), (Family::Qwen3, true)] {
            for sliding_window in [None, Some(16)] {
                let attention_bias = family == Family::Qwen2;
                let config = ModelConfig {
                    family,
                    attention_bias,
                    query_key_norm,
                    sliding_window,
                    ..config()
                };
                assert!(made(&config).is_ok(), "{config:?}");
            }
        }
    }

    #[test]
    fn what_config_json_cannot_say_is_an_error() {
        let config = ModelConfig { attention_bias: true, ..config() };
        assert!(made(&config).is_err(), "a bias on q, k and v alone is no LLaMA's");
    }
}
