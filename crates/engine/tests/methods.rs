//! Twenty steps of LoRA, rsLoRA, DoRA and LoRA+ against PEFT, transformers and torch, through the whole training loop.
//!
//! The goldens and the script that made them are in `tests/goldens/engine`.

#![expect(clippy::unwrap_used, reason = "a test")]

mod golden_files;

use std::collections::BTreeMap;
use std::sync::Arc;

use bioinstruct_core::files::Files;
use bioinstruct_engine::backend::Cpu;
use bioinstruct_engine::kernels::KernelPath;
use bioinstruct_engine::lora::{Init, Layout, Projection};
use bioinstruct_engine::model::Llama;
use bioinstruct_engine::model::training::Activations;
use bioinstruct_engine::train::checkpoint::{self, State};
use bioinstruct_engine::train::config::TrainConfig;
use bioinstruct_engine::train::example::Example;
use bioinstruct_engine::train::plan::{Plan, Stratum};
use bioinstruct_engine::train::record::{Record, StepRecord};
use bioinstruct_engine::train::{self, Inputs};
use golden_files::{golden, model};
use serde_json::{Value, json};

/// Tiny models of which there is a golden `training_NAME.json`, with their folders under `tests/fixtures`.
const FAMILIES: [(&str, &str); 9] = [
    ("llama", "tiny-llama"),
    ("llama-1", "tiny-families/llama-1"),
    ("llama-2", "tiny-families/llama-2"),
    ("llama-3", "tiny-families/llama-3"),
    ("llama-bias", "tiny-families/llama-bias"),
    ("mistral", "tiny-families/mistral"),
    ("qwen2", "tiny-families/qwen2"),
    ("qwen3", "tiny-families/qwen3"),
    ("smollm2", "tiny-families/smollm2"),
];

fn config(changes: Value) -> TrainConfig {
    serde_json::from_value(changes).unwrap()
}

/// The values that both sides start from: A spread by the golden ratio, B zero, magnitudes from the base.
fn start(model: &Llama<Cpu>, layout: &Layout) -> Vec<f32> {
    let mut values = model.initial_values(layout, 1, Init::Kaiming);
    for (block, projection, factors) in layout.all() {
        let place = (block * Projection::ALL.len() + projection as usize) as f64;
        let width = ((factors.a.len() / factors.rank) as f64).sqrt();
        for (count, value) in values[factors.a.clone()].iter_mut().enumerate() {
            let part = ((count + 1) as f64 * 0.618_033_988_749_894_9 + place * 0.37) % 1.0;
            *value = ((2.0 * part - 1.0) / width) as f32;
        }
    }
    values
}

fn training(family: &str) -> Value {
    let text = fs_err::read_to_string(golden(&format!("training_{family}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn examples(golden: &Value) -> Vec<Example> {
    let rows = golden["rows"].as_array().unwrap().iter().enumerate();
    rows.map(|(number, row)| Example {
        id: number.to_string(),
        ids: serde_json::from_value(row["ids"].clone()).unwrap(),
        learned: serde_json::from_value(row["learned"].clone()).unwrap(),
    })
    .collect()
}

fn settings_of(golden: &Value, method: &str, schedule: &str) -> TrainConfig {
    let mut settings = golden["settings"].clone();
    let fields = settings.as_object_mut().unwrap();
    fields.remove("seed");
    if method != "lora_plus" {
        fields.remove("lora_plus_ratio");
    }
    fields.insert("rslora".to_owned(), json!(method == "rslora"));
    fields.insert("dora".to_owned(), json!(method == "dora"));
    fields.insert("schedule".to_owned(), json!(schedule));
    // A step of six rows is three to five units.
    for (key, value) in
        [("dropout", json!(0.0)), ("unit_tokens", json!(24)), ("tensorboard", json!(false))]
    {
        fields.insert(key.to_owned(), value);
    }
    config(settings)
}

/// The whole loop, from a checkpoint before the first step that holds the common start.
fn train(
    model: &Llama<Cpu>,
    config: &TrainConfig,
    examples: &[Example],
    seed: u64,
) -> Vec<StepRecord> {
    let directory = tempfile::tempdir().unwrap();
    let (_, layout) = config.adapter(model.config()).unwrap();
    let zeros = vec![0.0; layout.length()];
    let state = State {
        parameters: start(model, &layout),
        mean: zeros.clone(),
        square: zeros,
        ..State::default()
    };
    let fingerprint = BTreeMap::new();
    let checkpoints = directory.path().join(train::CHECKPOINTS);
    checkpoint::save(&Files::default(), &checkpoints, &fingerprint, &state, 1).unwrap();
    let inputs = Inputs {
        model,
        examples,
        strata: &[Stratum::all(examples.len())],
        dev: &[],
        config,
        seed,
        fingerprint,
        directory: directory.path(),
        activations: Activations::Kept,
        stop: Arc::default(),
    };
    let mut records = Vec::new();
    train::run(&inputs, &mut |progress| {
        if let Record::Step(step) = progress.record {
            records.push(step.clone());
        }
    })
    .unwrap();
    records
}

#[test]
fn twenty_steps_of_every_method_equal_peft() {
    for (family, fixture) in FAMILIES {
        let golden = training(family);
        let seed = golden["settings"]["seed"].as_u64().unwrap();
        let (examples, model) =
            (examples(&golden), model(fixture, KernelPath::choose().unwrap(), 2));
        let lengths: Vec<usize> = examples.iter().map(|example| example.ids.len()).collect();
        for (name, expected) in golden["runs"].as_object().unwrap() {
            let (method, schedule) = name.split_once('.').unwrap();
            let config = settings_of(&golden, method, schedule);
            let plan = Plan::new(&lengths, &[Stratum::all(lengths.len())], &config, seed).unwrap();
            let draws: Vec<Vec<usize>> = (0..plan.steps())
                .map(|step| plan.draws(step).iter().map(|draw| draw.row).collect())
                .collect();
            assert_eq!(json!(draws), golden["draws"], "the golden was made for another plan");
            let found = train(&model, &config, &examples, seed);
            assert_eq!(found.len(), expected["loss"].as_array().unwrap().len());
            for (step, record) in found.iter().enumerate() {
                let value = |key: &str| expected[key][step].as_f64().unwrap();
                let (loss, norm, lr) = (value("loss"), value("grad_norm"), value("lr"));
                let told =
                    format!("{family} {name}, step {}: {record:?}, {loss} {norm} {lr}", step + 1);
                assert!((record.loss - loss).abs() < 1e-4 * loss, "{told}");
                assert!((record.grad_norm - norm).abs() < 1e-3 * norm, "{told}");
                assert!((record.lr - lr).abs() < 1e-9, "{told}");
            }
        }
    }
}
