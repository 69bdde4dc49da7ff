//! The config of a Hugging Face folder: `config.json` and `generation_config.json` → [`ModelConfig`].

use std::path::Path;

use serde_json::Value;

use super::config::{Family, ModelConfig, RopeScaling, field_problem};
use super::error::{FormatError, Problem};
use super::json_file::read_json;

const MAXIMUM_CONFIG: u64 = 4 << 20;

/// What transformers takes for `sliding_window` and `max_window_layers` where a config of Mistral or Qwen has no such field.
const DEFAULT_WINDOW: usize = 4096;
const DEFAULT_FIRST_WINDOWED_LAYER: usize = 28;

/// Reads the config of `folder`.
pub(crate) fn read(folder: &Path) -> Result<ModelConfig, FormatError> {
    let path = folder.join("config.json");
    let json = read_json(&path, MAXIMUM_CONFIG, "config.json")
        .map_err(|problem| FormatError::new(&path, problem))?;
    let generation_path = folder.join("generation_config.json");
    let generation = if generation_path.is_file() {
        read_json(&generation_path, MAXIMUM_CONFIG, "generation_config.json")
            .map_err(|problem| FormatError::new(&generation_path, problem))?
    } else {
        Value::Null
    };
    parse(&json, &generation).map_err(|problem| FormatError::new(&path, problem))
}

/// The same from parsed JSON; `generation` is null when there is no such file.
pub(crate) fn parse(json: &Value, generation: &Value) -> Result<ModelConfig, Problem> {
    let fields = Fields(json);
    let family = family(json)?;
    refuse_variants(json)?;
    let heads = fields.size("num_attention_heads")?;
    let hidden_size = fields.size("hidden_size")?;
    let key_value_heads = match fields.optional_size("num_key_value_heads")? {
        Some(heads) => heads,
        // LLaMA's configs from before grouped queries lack it; the others have another default
        None if family == Family::Llama => heads,
        None => return Err(missing("num_key_value_heads")),
    };
    let head_size = match fields.optional_size("head_dim")? {
        Some(size) => size,
        None if family == Family::Qwen3 => return Err(missing("head_dim")),
        None if heads > 0 && hidden_size.is_multiple_of(heads) => hidden_size / heads,
        None => {
            return Err(field_problem("hidden_size", hidden_size, "a multiple of the heads"));
        }
    };
    let layers = fields.size("num_hidden_layers")?;
    let (rope_theta, rope_scaling) = rope(json)?;
    let declared_bias = fields.flag("attention_bias")?.unwrap_or(false);
    let config = ModelConfig {
        family,
        vocabulary_size: fields.size("vocab_size")?,
        hidden_size,
        intermediate_size: fields.size("intermediate_size")?,
        layers,
        attention_heads: heads,
        key_value_heads,
        head_size,
        rope_theta,
        rope_scaling,
        rms_norm_epsilon: fields.number("rms_norm_eps")?.unwrap_or(1e-6),
        tied_embeddings: fields.flag("tie_word_embeddings")?.unwrap_or(false),
        maximum_positions: fields.size("max_position_embeddings")?,
        // Qwen2 has its biases fixed in code and no field for them; the field covers all four elsewhere
        attention_bias: declared_bias || family == Family::Qwen2,
        attention_output_bias: declared_bias && family != Family::Qwen2,
        query_key_norm: family == Family::Qwen3,
        sliding_window: sliding_window(json, family, layers)?,
        bos_token: Fields(generation)
            .tokens("bos_token_id")?
            .into_iter()
            .chain(fields.tokens("bos_token_id")?)
            .next(),
        eos_tokens: eos_tokens(json, generation)?,
    };
    config.validate()?;
    Ok(config)
}

fn missing(field: &str) -> Problem {
    Problem::MissingField { field: field.to_string() }
}

fn family(json: &Value) -> Result<Family, Problem> {
    let architecture = json
        .get("architectures")
        .and_then(Value::as_array)
        .and_then(|names| names.first())
        .and_then(Value::as_str);
    let found = match (architecture, json.get("model_type").and_then(Value::as_str)) {
        (Some(name), _) => {
            (Family::ALL.into_iter().find(|family| family.architecture() == name), name)
        }
        (None, Some(name)) => (Family::ALL.into_iter().find(|family| family.name() == name), name),
        (None, None) => return Err(missing("architectures")),
    };
    found.0.ok_or_else(|| Problem::UnknownFamily {
        name: found.1.to_string(),
        supported: Family::SUPPORTED,
    })
}

/// Options of these architectures that change the computation and are not implemented.
fn refuse_variants(json: &Value) -> Result<(), Problem> {
    let refuse = |what: String| Err(Problem::Unsupported { what });
    if let Some(quantization) = json.get("quantization_config").filter(|value| !value.is_null()) {
        check_quantization(quantization)?;
    }
    match json.get("hidden_act").and_then(Value::as_str) {
        None | Some("silu" | "swish") => {}
        Some(other) => return refuse(format!("hidden_act {other:?}")),
    }
    if json.get("mlp_bias").and_then(Value::as_bool) == Some(true) {
        return refuse("mlp_bias".to_string());
    }
    refuse_partial_rotation(json)
}

/// The factor stands at the top of the file, or among the parameters of rotary embedding.
fn refuse_partial_rotation(json: &Value) -> Result<(), Problem> {
    match json.get("partial_rotary_factor").and_then(Value::as_f64) {
        None | Some(1.0) => Ok(()),
        Some(factor) => {
            Err(Problem::Unsupported { what: format!("partial_rotary_factor {factor}") })
        }
    }
}

/// Of the quantised folders, bitsandbytes' 4-bit normal float is read.
fn check_quantization(quantization: &Value) -> Result<(), Problem> {
    let text = |field: &str| quantization.get(field).and_then(Value::as_str);
    let method = text("quant_method").unwrap_or("unnamed");
    let what = if method != "bitsandbytes" {
        format!("quantization_config of method {method:?}")
    } else if quantization.get("load_in_4bit").and_then(Value::as_bool) != Some(true) {
        "quantization_config of method \"bitsandbytes\" in 8 bits".to_string()
    } else {
        match text("bnb_4bit_quant_type") {
            Some("nf4") => return Ok(()),
            kind => format!("bitsandbytes' 4-bit type {:?}", kind.unwrap_or("unnamed")),
        }
    };
    Err(Problem::Unsupported { what })
}

/// Base and scaling of rotary embedding, from `rope_theta` and `rope_scaling`, or `rope_parameters` of
/// transformers 5.
fn rope(json: &Value) -> Result<(f32, RopeScaling), Problem> {
    let parameters = json.get("rope_parameters").filter(|value| !value.is_null());
    let scaling = parameters.or_else(|| json.get("rope_scaling").filter(|value| !value.is_null()));
    let own_theta = parameters.map(|value| Fields(value).number("rope_theta")).transpose()?;
    let theta = match own_theta.flatten() {
        Some(theta) => theta,
        None => Fields(json).number("rope_theta")?.unwrap_or(10_000.0),
    };
    let Some(scaling) = scaling else {
        return Ok((theta, RopeScaling::None));
    };
    refuse_partial_rotation(scaling)?;
    let number = |field: &str| Fields(scaling).number(field)?.ok_or_else(|| missing(field));
    let kind = scaling.get("rope_type").or_else(|| scaling.get("type"));
    match kind.map(|kind| kind.as_str().unwrap_or("not text")) {
        None if scaling.as_object().is_some_and(|object| object.values().any(Value::is_object)) => {
            Err(Problem::Unsupported { what: "rope_parameters per layer type".to_string() })
        }
        None | Some("default") => Ok((theta, RopeScaling::None)),
        Some("linear") => Ok((theta, RopeScaling::Linear { factor: number("factor")? })),
        Some("llama3") => {
            let scaling = RopeScaling::Llama3 {
                factor: number("factor")?,
                low: number("low_freq_factor")?,
                high: number("high_freq_factor")?,
                original: Fields(scaling).size("original_max_position_embeddings")?,
            };
            Ok((theta, scaling))
        }
        Some(kind) => Err(Problem::UnknownRope { kind: kind.to_string() }),
    }
}

/// The window, when every layer has it; `None` when no layer has; a mixture is refused.
fn sliding_window(json: &Value, family: Family, layers: usize) -> Result<Option<usize>, Problem> {
    let fields = Fields(json);
    // a config with null has none, one without the field the default
    let absent = json.get("sliding_window").is_none() && family != Family::Llama;
    let window =
        if absent { Some(DEFAULT_WINDOW) } else { fields.optional_size("sliding_window")? };
    let mixed =
        || Problem::Unsupported { what: "a sliding window on only some layers".to_string() };
    let switched_on = match family {
        Family::Llama | Family::Mistral => true,
        Family::Qwen2 | Family::Qwen3 => fields.flag("use_sliding_window")?.unwrap_or(false),
    };
    if let Some(types) = json.get("layer_types").and_then(Value::as_array) {
        let sliding = |kind: &&Value| kind.as_str() == Some("sliding_attention");
        let full = |kind: &Value| kind.as_str() == Some("full_attention");
        return match types.iter().filter(sliding).count() {
            0 if types.iter().all(full) => Ok(None),
            count if count == types.len() && switched_on => Ok(window),
            count if count == types.len() => {
                let expected = "true where layer_types has sliding attention";
                Err(field_problem("use_sliding_window", false, expected))
            }
            _ => Err(mixed()),
        };
    }
    match family {
        Family::Llama => Ok(None),
        Family::Mistral => Ok(window),
        Family::Qwen2 | Family::Qwen3 if !switched_on => Ok(None),
        Family::Qwen2 | Family::Qwen3 => {
            // layers from this one on have the window
            let first = fields.optional_size("max_window_layers")?;
            match first.unwrap_or(DEFAULT_FIRST_WINDOWED_LAYER) {
                0 => Ok(window),
                first if first >= layers => Ok(None),
                _ => Err(mixed()),
            }
        }
    }
}

fn eos_tokens(json: &Value, generation: &Value) -> Result<Vec<u32>, Problem> {
    let mut tokens = Fields(generation).tokens("eos_token_id")?;
    tokens.extend(Fields(json).tokens("eos_token_id")?);
    tokens.sort_unstable();
    tokens.dedup();
    Ok(tokens)
}

/// Typed access to the fields of a JSON object; null counts as absent.
struct Fields<'a>(&'a Value);

impl Fields<'_> {
    fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    fn optional_size(&self, field: &str) -> Result<Option<usize>, Problem> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.map(Some).ok_or_else(|| field_problem(field, value, "a non-negative integer"))
    }

    fn size(&self, field: &str) -> Result<usize, Problem> {
        self.optional_size(field)?.ok_or_else(|| missing(field))
    }

    fn number(&self, field: &str) -> Result<Option<f32>, Problem> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        let number = value.as_f64().map(|number| number as f32).filter(|number| number.is_finite());
        number.map(Some).ok_or_else(|| field_problem(field, value, "a finite number"))
    }

    fn flag(&self, field: &str) -> Result<Option<bool>, Problem> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        value.as_bool().map(Some).ok_or_else(|| field_problem(field, value, "true or false"))
    }

    /// One token id, or a list of them.
    fn tokens(&self, field: &str) -> Result<Vec<u32>, Problem> {
        let Some(value) = self.get(field) else {
            return Ok(Vec::new());
        };
        let one = std::slice::from_ref(value);
        let values = value.as_array().map_or(one, Vec::as_slice);
        values
            .iter()
            .map(|value| {
                let token = value.as_u64().and_then(|token| u32::try_from(token).ok());
                token.ok_or_else(|| field_problem(field, value, "a token id or a list of them"))
            })
            .collect()
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these values are exact")]
mod tests {
    use serde_json::json;

    use super::*;

    fn llama() -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"], "vocab_size": 100, "hidden_size": 64,
            "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
            "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2
        })
    }

    fn with(changes: &Value) -> Result<ModelConfig, Problem> {
        let mut config = llama();
        for (key, value) in changes.as_object().expect("an object") {
            config[key] = value.clone();
        }
        parse(&config, &Value::Null)
    }

    #[test]
    fn defaults_are_transformers_own() {
        let config = with(&json!({})).expect("valid");
        assert_eq!((config.head_size, config.rope_theta), (16, 10_000.0));
        assert_eq!(config.rope_scaling, RopeScaling::None);
        assert!(!config.tied_embeddings && !config.attention_bias);
        assert_eq!((config.bos_token, config.eos_tokens), (Some(1), vec![2]));
    }

    #[test]
    fn families_differ_where_they_should() {
        let qwen2 = json!({"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": false, "sliding_window": 32});
        let config = with(&qwen2).expect("valid");
        assert!(config.attention_bias && !config.attention_output_bias);
        assert_eq!(config.sliding_window, None);
        let windowed = json!({"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": true,
            "sliding_window": 32, "max_window_layers": 0});
        assert_eq!(with(&windowed).expect("valid").sliding_window, Some(32));
        let later = json!({"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": true});
        assert_eq!(with(&later).expect("valid").sliding_window, None, "from layer 28 on");
        let qwen3 = json!({"architectures": ["Qwen3ForCausalLM"], "head_dim": 32});
        let config = with(&qwen3).expect("valid");
        assert!(config.query_key_norm && config.query_size() == 128);
        let mistral = json!({"architectures": ["MistralForCausalLM"], "sliding_window": 4096});
        assert_eq!(with(&mistral).expect("valid").sliding_window, Some(4096));
        let none = json!({"architectures": ["MistralForCausalLM"], "sliding_window": null});
        assert_eq!(with(&none).expect("valid").sliding_window, None);
        let silent = with(&json!({"architectures": ["MistralForCausalLM"]})).expect("valid");
        assert_eq!(silent.sliding_window, Some(4096), "transformers' default");
        let biased = with(&json!({"attention_bias": true})).expect("valid");
        assert!(biased.attention_bias && biased.attention_output_bias);
    }

    #[test]
    fn both_spellings_of_rope_are_read() {
        let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
        let old = with(&json!({"rope_theta": 500_000.0, "rope_scaling": llama3})).expect("valid");
        let mut parameters = llama3;
        parameters["rope_theta"] = json!(500_000.0);
        let new = with(&json!({"rope_parameters": parameters})).expect("valid");
        assert_eq!(old, new);
        assert_eq!(old.rope_theta, 500_000.0);
        assert!(matches!(old.rope_scaling, RopeScaling::Llama3 { original: 8192, .. }));
        for linear in [
            json!({"rope_scaling": {"type": "linear", "factor": 2.0}}),
            json!({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}),
        ] {
            let config = with(&linear).expect("valid");
            assert_eq!(config.rope_scaling, RopeScaling::Linear { factor: 2.0 });
            assert_eq!(config.rope_frequencies()[0], 0.5);
        }
        for kind in ["yarn", "dynamic", "longrope", "ntk", "mrope"] {
            let refused = with(&json!({"rope_scaling": {"type": kind, "factor": 4.0}}));
            assert!(
                matches!(refused, Err(Problem::UnknownRope { kind: found }) if found == kind),
                "{kind}"
            );
        }
        let default =
            with(&json!({"rope_parameters": {"rope_type": "default", "rope_theta": 1e5}}));
        assert_eq!(default.expect("valid").rope_theta, 1e5);
    }

    #[test]
    fn generation_config_adds_its_eos() {
        let config = parse(&llama(), &json!({"eos_token_id": [7, 2, 9]})).expect("valid");
        assert_eq!(config.eos_tokens, [2, 7, 9]);
    }

    #[test]
    fn what_is_not_implemented_is_refused_by_name() {
        let gemma = with(&json!({"architectures": ["Gemma2ForCausalLM"]}));
        assert!(
            matches!(gemma, Err(Problem::UnknownFamily { name, .. }) if name == "Gemma2ForCausalLM")
        );
        for change in [
            json!({"quantization_config": {"quant_method": "gptq"}}),
            json!({"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": true}}),
            json!({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true,
                "bnb_4bit_quant_type": "fp4"}}),
            json!({"hidden_act": "gelu"}),
            json!({"mlp_bias": true}),
            json!({"partial_rotary_factor": 0.5}),
            json!({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}),
            json!({"layer_types": ["full_attention", "sliding_attention"]}),
            json!({"rope_parameters": {"full_attention": {"rope_type": "default"}}}),
        ] {
            assert!(matches!(with(&change), Err(Problem::Unsupported { .. })), "{change}");
        }
        for change in [
            json!({"hidden_size": -1}),
            json!({"hidden_size": 65}),
            json!({"rms_norm_eps": "small"}),
            json!({"tie_word_embeddings": 1}),
            json!({"eos_token_id": 100}),
            json!({"architectures": ["Qwen2ForCausalLM"], "layer_types": ["sliding_attention"]}),
        ] {
            assert!(matches!(with(&change), Err(Problem::Field { .. })), "{change}");
        }
        assert!(matches!(with(&json!({"vocab_size": null})), Err(Problem::MissingField { .. })));
    }
}
