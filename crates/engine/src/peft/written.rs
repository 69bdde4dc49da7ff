//! The `adapter_config.json` that we write: the keys that every PEFT release knows.

use serde_json::{Map, Value, json};

use crate::lora::{Layout, LoraConfig, Projection};

/// The configuration of an adapter that lies in this layout.
pub(super) fn config_json(config: &LoraConfig, layout: &Layout, base: &str) -> Value {
    let (targets, layers) = targets(layout);
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
    if config.dora {
        value["use_dora"] = Value::Bool(true);
    }
    if let Some(layers) = layers {
        value["layers_to_transform"] = json!(layers);
    }
    let (ranks, alphas) = patterns(config, layout);
    for (key, pattern) in [("rank_pattern", ranks), ("alpha_pattern", alphas)] {
        if !pattern.is_empty() {
            value[key] = Value::Object(pattern);
        }
    }
    value
}

/// A whole number as an integer: PEFT declares alpha as one.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 { json!(value as i64) } else { json!(value) }
}

/// The end of a module's path from its block on: what old releases match.
fn ending(block: usize, projection: Projection) -> String {
    format!("layers.{block}.{}", projection.path())
}

/// Names of projections with the blocks they are in, where that is not all; single modules where the blocks differ.
fn targets(layout: &Layout) -> (Vec<String>, Option<Vec<usize>>) {
    let of_block = |block: usize| -> Vec<Projection> {
        let adapted = |projection: &Projection| layout.factors(block, *projection).is_some();
        Projection::ALL.into_iter().filter(adapted).collect()
    };
    let layers: Vec<usize> =
        (0..layout.blocks()).filter(|block| !of_block(*block).is_empty()).collect();
    let first = layers.first().map(|block| of_block(*block)).unwrap_or_default();
    if layers.iter().all(|block| of_block(*block) == first) {
        let names = first.into_iter().map(|projection| projection.name().to_owned()).collect();
        return (names, (layers.len() < layout.blocks()).then_some(layers));
    }
    (layout.all().map(|(block, projection, _)| ending(block, projection)).collect(), None)
}

/// `rank_pattern` and `alpha_pattern`. Old releases look both up by the first key of either that matches, so a module has the
/// same key in both: its name where all modules of that name agree.
fn patterns(config: &LoraConfig, layout: &Layout) -> (Map<String, Value>, Map<String, Value>) {
    let (mut ranks, mut alphas) = (Map::new(), Map::new());
    for (block, projection, factors) in layout.all() {
        let values = |block: usize, rank: usize| (rank, config.alpha_of(&projection.module(block)));
        let own = values(block, factors.rank);
        let agree = layout
            .all()
            .filter(|(_, other, _)| *other == projection)
            .all(|(block, _, factors)| values(block, factors.rank) == own);
        let key = if agree { projection.name().to_owned() } else { ending(block, projection) };
        if own.0 != config.rank {
            ranks.insert(key.clone(), json!(own.0));
        }
        if own.1 != config.alpha {
            alphas.insert(key, number(own.1));
        }
    }
    (ranks, alphas)
}
