//! What the keys of PEFT's `adapter_config.json` mean here: read, without effect on the result, or refused.

use serde_json::{Map, Value};

use crate::lora::{Init, Layers, LoraConfig, Matcher, Projection, Targets};

/// Keys that the engine reads.
const READ: [&str; 14] = [
    "peft_type",
    "base_model_name_or_path",
    "r",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "use_dora",
    "init_lora_weights",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "rank_pattern",
    "alpha_pattern",
];

/// Keys without effect on what a finished adapter computes.
const WITHOUT_EFFECT: [&str; 13] = [
    "task_type",
    "revision",
    "inference_mode",
    "auto_mapping",
    "peft_version",
    "megatron_core",
    "loftq_config",
    "eva_config",
    "corda_config",
    "lora_ga_config",
    "qalora_group_size",
    "runtime_config",
    "_custom_modules",
];

/// Keys whose value must be what PEFT takes when they are absent: anything else is another computation.
const NEUTRAL: [(&str, &[&str]); 17] = [
    ("bias", &["\"none\""]),
    ("fan_in_fan_out", &["false"]),
    ("use_qalora", &["false"]),
    ("lora_bias", &["false"]),
    ("modules_to_save", &["null", "[]"]),
    ("layer_replication", &["null", "[]"]),
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
    ("aqlm_config", &["null"]),
];

/// Ways to start that leave the base as it is. The others (`PiSSA`, `OLoRA`, `CorDA`, `LoftQ`, LoRA-GA) change its weights when the
/// adapter is put on, so that the factors alone are not the adapter.
const INITS: [&str; 4] = ["true", "false", "\"eva\"", "\"orthogonal\""];

/// Modules outside the blocks, on which PEFT can put an adapter too.
const OUTSIDE: [&str; 3] = ["lm_head", "model.embed_tokens", "model.norm"];

/// Keys that nothing is known of, where they are set to something.
pub(super) fn unknown(json: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let known = |key: &str| {
        READ.contains(&key)
            || WITHOUT_EFFECT.contains(&key)
            || NEUTRAL.iter().any(|(neutral, _)| *neutral == key)
    };
    let unset = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        _ => false,
    };
    json.iter().filter(move |(key, value)| !known(key) && !unset(value)).map(|(key, _)| &key[..])
}

/// The adapter that a configuration describes, on a model of so many blocks; or why the engine does not compute it.
pub(super) fn read_config(json: &Map<String, Value>, blocks: usize) -> Result<LoraConfig, String> {
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
    Ok(LoraConfig {
        rank: match json.get("r") {
            None => 8,
            Some(value) => rank("r", value)?,
        },
        alpha: json.get("lora_alpha").map_or(Ok(8.0), |value| number("lora_alpha", value))?,
        dropout: json.get("lora_dropout").map_or(Ok(0.0), |value| number("lora_dropout", value))?,
        rank_stabilised: flag(json, "use_rslora")?,
        dora: flag(json, "use_dora")?,
        init: init(json)?,
        targets: targets(json, blocks)?,
        rank_pattern: pattern(json, "rank_pattern", rank)?,
        alpha_pattern: pattern(json, "alpha_pattern", number)?,
    })
}

fn number(key: &str, value: &Value) -> Result<f64, String> {
    value.as_f64().ok_or_else(|| format!("`{key}` is {value}, expected a number"))
}

fn rank(key: &str, value: &Value) -> Result<usize, String> {
    let whole = value.as_f64().filter(|rank| rank.fract() == 0.0 && (1.0..=4096.0).contains(rank));
    let wrong = || format!("`{key}` is {value}, expected a whole number from 1 to 4096");
    whole.map(|rank| rank as usize).ok_or_else(wrong)
}

fn flag(json: &Map<String, Value>, key: &str) -> Result<bool, String> {
    match json.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(value) => {
            value.as_bool().ok_or_else(|| format!("`{key}` is {value}, expected true or false"))
        }
    }
}

fn init(json: &Map<String, Value>) -> Result<Init, String> {
    let Some(value) = json.get("init_lora_weights") else { return Ok(Init::Kaiming) };
    let text = value.to_string();
    match text.as_str() {
        "\"gaussian\"" => Ok(Init::Gaussian),
        known if INITS.contains(&known) => Ok(Init::Kaiming),
        _ => Err(format!(
            "`init_lora_weights` is {value}, which may change the base; PEFT converts such an adapter with \
             `path_initial_model_for_weight_conversion`"
        )),
    }
}

fn pattern<T>(
    json: &Map<String, Value>,
    key: &str,
    read: impl Fn(&str, &Value) -> Result<T, String>,
) -> Result<Vec<(Matcher, T)>, String> {
    let values = match json.get(key) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(values)) => values,
        Some(value) => return Err(format!("`{key}` is {value}, expected an object")),
    };
    let one = |(module, value): (&String, &Value)| {
        let matcher = Matcher::ending(module).map_err(|reason| format!("`{key}`: {reason}"))?;
        Ok((matcher, read(key, value)?))
    };
    values.iter().map(one).collect()
}

fn targets(json: &Map<String, Value>, blocks: usize) -> Result<Targets, String> {
    let chosen = modules(json, "target_modules")?;
    if chosen.is_empty() {
        return Err("`target_modules` is missing".to_owned());
    }
    let excluded = modules(json, "exclude_modules")?;
    let layers = layers(json)?;
    if layers != Layers::All && matches!(chosen[..], [Matcher::Pattern(..)]) {
        return Err("`layers_to_transform` needs a list in `target_modules`".to_owned());
    }
    let targets = Targets { chosen, excluded, layers };
    let named = targets.chosen.iter().filter(|matcher| **matcher != Matcher::AllLinear);
    for matcher in named {
        let outside = OUTSIDE.into_iter().find(|path| matcher.matches(path));
        let excluded = |path: &&str| targets.excluded.iter().any(|other| other.matches(path));
        if let Some(path) = outside.filter(|path| !excluded(path)) {
            return Err(format!(
                "`target_modules` adapts `{path}`, which the engine does not compute"
            ));
        }
    }
    let found = |projection: &Projection| {
        (0..blocks).any(|block| targets.select(block, *projection, blocks))
    };
    if !Projection::ALL.iter().any(found) {
        let value = json.get("target_modules").unwrap_or(&Value::Null);
        return Err(format!("`target_modules` {value} names no module that the engine adapts"));
    }
    Ok(targets)
}

/// A list of names, or one regular expression for whole paths.
fn modules(json: &Map<String, Value>, key: &str) -> Result<Vec<Matcher>, String> {
    match json.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(word)) if word == "all-linear" => Ok(vec![Matcher::AllLinear]),
        Some(Value::String(text)) => {
            let matcher = Matcher::pattern(text).map_err(|reason| format!("`{key}`: {reason}"))?;
            Ok(vec![matcher])
        }
        Some(Value::Array(words)) => words
            .iter()
            .map(|word| {
                let name = word.as_str().ok_or_else(|| format!("`{key}`: {word} is not text"))?;
                Ok(Matcher::Name(name.to_owned()))
            })
            .collect(),
        Some(value) => Err(format!("`{key}` is {value}, expected a list or text")),
    }
}

fn layers(json: &Map<String, Value>) -> Result<Layers, String> {
    let whole = |value: &Value| {
        let layer = value.as_u64().map(|layer| layer as usize);
        layer.ok_or_else(|| format!("`layers_to_transform` holds {value}, expected whole numbers"))
    };
    let layers = match json.get("layers_to_transform") {
        None | Some(Value::Null) => return Ok(Layers::All),
        Some(Value::Array(layers)) if layers.is_empty() => return Ok(Layers::All),
        Some(Value::Array(layers)) => layers.iter().map(whole).collect::<Result<_, _>>()?,
        Some(value) => vec![whole(value)?],
    };
    // PEFT looks for the number after one of these words; blocks have no other name here than `layers`.
    let means_layers = |value: &Value| match value {
        Value::Null => true,
        Value::String(word) => word.is_empty() || word == "layers",
        Value::Array(words) => words.is_empty() || words.iter().any(|word| word == "layers"),
        _ => false,
    };
    match json.get("layers_pattern").filter(|value| !means_layers(value)) {
        Some(value) => Err(format!("`layers_pattern` is {value}, the blocks are `layers`")),
        None => Ok(Layers::These(layers)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<LoraConfig, String> {
        let Value::Object(mut json) = serde_json::from_str(text).unwrap() else { panic!() };
        json.entry("peft_type").or_insert_with(|| "LORA".into());
        json.entry("target_modules").or_insert_with(|| serde_json::json!(["q_proj"]));
        read_config(&json, 4)
    }

    #[test]
    fn absent_keys_have_pefts_defaults() {
        let config = read("{}").unwrap();
        assert_eq!((config.rank, config.alpha, config.dropout), (8, 8.0, 0.0));
        assert!(!config.dora && !config.rank_stabilised);
    }

    #[test]
    fn what_changes_the_maths_is_refused_by_name() {
        for (key, value) in [
            ("bias", "\"all\""),
            ("modules_to_save", "[\"lm_head\"]"),
            ("lora_bias", "true"),
            ("layer_replication", "[[0, 2]]"),
            ("alora_invocation_tokens", "[1]"),
            ("use_qalora", "true"),
            ("kasa_config", "{\"beta\": 1}"),
            ("trainable_token_indices", "[3]"),
            ("init_lora_weights", "\"pissa\""),
            ("layers_to_transform", "\"last\""),
            ("use_dora", "1"),
            ("rank_pattern", "{\"q_proj\": 0}"),
        ] {
            let error = read(&format!("{{\"{key}\": {value}}}")).unwrap_err();
            assert!(error.contains(&format!("`{key}`")), "{key}: {error}");
        }
        for targets in ["[\"q_proj\", \"lm_head\"]", "\".*(q_proj|lm_head)\"", "[\"embed_tokens\"]"]
        {
            let error = read(&format!("{{\"target_modules\": {targets}}}")).unwrap_err();
            assert!(error.contains("lm_head") || error.contains("embed_tokens"), "{error}");
        }
        // PEFT leaves out what is excluded.
        let text = r#"{"target_modules": ["q_proj", "lm_head"], "exclude_modules": ["lm_head"]}"#;
        assert!(read(text).is_ok());
        assert!(read(r#"{"target_modules": ["c_attn"]}"#).unwrap_err().contains("names no module"));
    }

    #[test]
    fn the_first_pattern_that_means_a_module_counts() {
        let text = r#"{"r": 4, "lora_alpha": 4,
            "rank_pattern": {"layers.0.self_attn.q_proj": 2, "q_proj": 6, "proj": 9},
            "alpha_pattern": {".*self_attn.*": 12}}"#;
        let config = read(text).unwrap();
        let rank = |block, projection: Projection| config.rank_of(&projection.module(block));
        assert_eq!(rank(0, Projection::Query).unwrap(), 2);
        assert_eq!(rank(1, Projection::Query).unwrap(), 6);
        // A key is the whole last part, not its end.
        assert_eq!(rank(1, Projection::Key).unwrap(), 4);
        assert_eq!(config.alpha_of(&Projection::Key.module(1)), 12.0);
        assert_eq!(config.alpha_of(&Projection::Up.module(1)), 4.0);
    }

    #[test]
    fn unknown_keys_are_told_where_they_are_set() {
        let text = r#"{"r": 1, "peft_version": "9", "frobnicate": 3, "fuzz": null, "off": false}"#;
        let Value::Object(json) = serde_json::from_str(text).unwrap() else { panic!() };
        assert_eq!(unknown(&json).collect::<Vec<_>>(), ["frobnicate"]);
    }
}
