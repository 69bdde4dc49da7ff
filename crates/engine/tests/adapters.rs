//! PEFT's adapters of every kind give its logits here, and ours are what PEFT has always read.
//!
//! The goldens and the scripts that made them are in `tests/goldens/engine`.

#![expect(clippy::unwrap_used, reason = "a test")]

mod golden_files;

use std::path::Path;

use bioinstruct_core::random::Stream;
use bioinstruct_engine::backend::{Backend, Cpu, Phase};
use bioinstruct_engine::format::ModelFile;
use bioinstruct_engine::kernels::KernelPath;
use bioinstruct_engine::lora::{Adapter, Merge, Projection};
use bioinstruct_engine::model::Llama;
use bioinstruct_engine::model::inference::{Cache, Extension, Workspace};
use bioinstruct_engine::model::training::{Activations, Batch, Step};
use bioinstruct_engine::peft;
use bioinstruct_engine::train::config::TrainConfig;
use bioinstruct_engine::train::example::Example;
use golden_files::{golden, ids, model, paths, relative_error, repository, values};
use serde_json::{Value, json};

fn logits(model: &Llama<Cpu>, adapter: &Adapter<Cpu>, phase: Phase, ids: &[u32]) -> Vec<f32> {
    let mut work = Workspace::new(model.backend());
    let mut cache = Cache::new();
    let pieces = if phase == Phase::Decode { 1 } else { ids.len() };
    let mut found = Vec::new();
    for ids in ids.chunks(pieces) {
        let sequence = Extension { ids, cache: &mut cache, adapter: Some(adapter) };
        let rows: Vec<usize> = (0..ids.len()).collect();
        model.extend(&mut work, phase, &mut [sequence], &rows);
        found.extend(model.logits(&work, phase, &rows));
    }
    found
}

#[test]
fn pefts_adapters_of_every_kind_give_its_logits() {
    let file = golden("adapters.safetensors");
    let ids = ids(&file, "ids");
    for path in paths() {
        let model = model("tiny-llama", path, 2);
        for kind in ["rslora", "dora", "patterns", "bf16", "layers", "regex", "together"] {
            let adapter = peft::load(&model, &golden("adapters").join(kind)).unwrap().adapter;
            let expected = values(&file, &format!("{kind}.logits"));
            for phase in [Phase::Prefill, Phase::Decode] {
                let error = relative_error(&logits(&model, &adapter, phase, &ids), &expected);
                assert!(error < 1e-4, "{kind}, {path:?}, {phase:?}: {error}");
            }
        }
    }
    let base = ModelFile::open(&repository().join("tests/fixtures/tiny-llama")).unwrap();
    let stored = peft::read(base.config(), &golden("adapters/dora")).unwrap();
    let merge = Merge::new(&stored.layout, &stored.values, 1, Projection::Down).unwrap();
    let weight = base.tensor("model.layers.1.mlp.down_proj.weight").unwrap();
    let mut merged = weight.to_f32();
    for (row, weights) in merged.chunks_exact_mut(weight.columns()).enumerate() {
        merge.row(row, weights);
    }
    let error = relative_error(&merged, &values(&file, "dora.merged.model.layers.1.mlp.down_proj"));
    assert!(error < 1e-6, "merged: {error}");
}

fn config(changes: Value) -> TrainConfig {
    serde_json::from_value(changes).unwrap()
}

/// Eight rows of 6 to 20 tokens, of which the loss covers the last half.
fn rows() -> Vec<Example> {
    let row = |number: usize| {
        let mut draws = Stream::new(3, "rows").at(number as u64);
        let ids: Vec<u32> = (0..6 + 2 * number).map(|_| 3 + draws.below(500) as u32).collect();
        let learned = (0..ids.len()).map(|at| 2 * at >= ids.len()).collect();
        Example { id: number.to_string(), ids, learned }
    };
    (0..8).map(row).collect()
}

fn write_rows(path: &Path, rows: &[Example]) {
    let line = |row: &Example| {
        let tokens = row.ids.iter().zip(&row.learned);
        let labels: Vec<i64> =
            tokens.map(|(id, learned)| if *learned { i64::from(*id) } else { -100 }).collect();
        format!("{}\n", json!({"ids": row.ids, "labels": labels}))
    };
    fs_err::write(path, rows.iter().map(line).collect::<String>()).unwrap();
}

/// Losses and gradient of eight rows in units of so many rows.
fn in_units(
    model: &Llama<Cpu>,
    adapter: &Adapter<Cpu>,
    rows: &[Example],
    unit: usize,
) -> (f64, Vec<f32>) {
    let labels: usize = rows.iter().map(Example::labels).sum();
    let (mut loss, mut tape) = (0.0, model.new_tape(Activations::Kept));
    let mut gradient = model.backend().zeros(adapter.layout.length());
    for unit in rows.chunks(unit) {
        let mut batch = Batch::default();
        for row in unit {
            batch.push(&row.ids, &row.learned);
        }
        let how = Step::plain(1.0 / labels as f32);
        let losses = model.losses_and_gradient(&mut tape, adapter, &batch, how, &mut gradient);
        loss += losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / labels as f64;
    }
    (loss, gradient)
}

/// The adapters stay in the build's folder for temporary files, with rows and our loss, for `check_our_adapter.py`.
#[test]
fn what_we_write_is_what_we_read_and_holds_old_keys_only() {
    let model = model("tiny-llama", KernelPath::Portable, 2);
    let old = "base_model_name_or_path bias fan_in_fan_out inference_mode init_lora_weights lora_alpha lora_dropout \
               modules_to_save peft_type r revision target_modules task_type";
    let cases = [
        (
            json!({}),
            "",
            json!(["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]),
        ),
        (
            json!({"targets": ["q", "v"], "last_layers": 1, "rslora": true}),
            "layers_to_transform use_rslora",
            json!(["q_proj", "v_proj"]),
        ),
        (
            json!({"dora": true, "rank": 3, "rank_pattern": {"q": 5}, "alpha_pattern": {r"layers\.1\..*": 2.5}}),
            "use_dora rank_pattern alpha_pattern",
            json!(["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]),
        ),
        (
            json!({"targets": ["q", r".*layers\.1\.mlp\..*"], "exclude": ["up"]}),
            "",
            json!([
                "layers.0.self_attn.q_proj",
                "layers.1.self_attn.q_proj",
                "layers.1.mlp.gate_proj",
                "layers.1.mlp.down_proj"
            ]),
        ),
    ];
    let rows = rows();
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("written-adapters");
    fs_err::create_dir_all(&place).unwrap();
    write_rows(&place.join("rows.jsonl"), &rows);
    for (number, (changes, more, targets)) in cases.into_iter().enumerate() {
        let config = config(changes.clone());
        let (lora, layout) = config.adapter(model.config()).unwrap();
        let small = |at: usize| ((at * 37 % 97) as f32 / 97.0 - 0.45) * 0.2;
        let mut values: Vec<f32> = (0..layout.length()).map(small).collect();
        for place in layout.all().filter_map(|(_, _, factors)| factors.magnitude.as_ref()) {
            values[place.values.clone()].iter_mut().for_each(|value| *value += 0.5);
        }
        let directory = place.join(number.to_string());
        peft::save(&directory, &lora, &layout, &values, "tiny-llama").unwrap();
        let text = fs_err::read_to_string(directory.join(peft::CONFIG_FILE)).unwrap();
        let written: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
        let mut keys: Vec<&str> = written.keys().map(String::as_str).collect();
        let mut expected: Vec<&str> = old.split(' ').chain(more.split_whitespace()).collect();
        keys.sort_unstable();
        expected.sort_unstable();
        assert_eq!(keys, expected, "{changes}");
        assert_eq!(written["target_modules"], targets);
        let read = peft::read(model.config(), &directory).unwrap();
        assert_eq!(read.layout, layout, "{changes}");
        assert_eq!(read.values, values, "{changes}");
        let adapter = peft::load(&model, &directory).unwrap().adapter;
        let (loss, _) = in_units(&model, &adapter, &rows, 8);
        fs_err::write(directory.join("loss.txt"), format!("{loss}\n")).unwrap();
    }
}

#[test]
fn settings_that_mean_nothing_in_the_model_are_refused() {
    let model = model("tiny-llama", KernelPath::Portable, 2);
    for (changes, setting) in [
        (json!({"targets": ["lm_head"]}), "train.targets"),
        (json!({"targets": ["q", "mlp"]}), "train.targets"),
        (json!({"targets": ["q"], "exclude": ["q"]}), "train.targets"),
        (json!({"last_layers": 3}), "train.layers"),
        (json!({"layers": [2]}), "train.layers"),
        (json!({"layers": [1], "last_layers": 1}), "train.layers"),
        (json!({"targets": ["q"], "rank_pattern": {"k": 2}}), "train.rank_pattern"),
        (json!({"rank_pattern": {"k": 0}}), "train.rank_pattern"),
        (json!({"alpha_pattern": {"k": -1.0}}), "train.alpha_pattern"),
    ] {
        let error = config(changes.clone()).adapter(model.config()).unwrap_err().to_string();
        assert!(error.contains(setting), "{changes}: {error}");
    }
}

/// Eight packed rows, eight accumulated single rows and two packs of four are one and the same step, for every method.
#[test]
fn a_batch_of_eight_equals_eight_accumulated_batches_of_one() {
    let rows = &rows();
    for path in paths() {
        let model = model("tiny-llama", path, 2);
        for kind in ["rslora", "dora", "together"] {
            let adapter = peft::load(&model, &golden("adapters").join(kind)).unwrap().adapter;
            let (packed, gradient) = in_units(&model, &adapter, rows, 8);
            for unit in [1, 4] {
                let (loss, other) = in_units(&model, &adapter, rows, unit);
                assert!((loss - packed).abs() < 1e-6 * packed, "{kind}, {path:?}: {loss} {packed}");
                let error = relative_error(&other, &gradient);
                assert!(error < 1e-6, "{kind}, {path:?}, gradient in units of {unit}: {error}");
            }
        }
    }
}

/// Noise belongs to the draw and dropout to the step, not to the batch or the threads; the dev loss has neither.
#[test]
fn noise_and_dropout_do_not_depend_on_the_batch() {
    let rows = &rows()[..4];
    let model = model("tiny-llama", KernelPath::choose().unwrap(), 2);
    let adapter = peft::load(&model, &golden("adapters/dora")).unwrap().adapter;
    let streams = [3, 4, 5, 6].map(|seed| Stream::new(seed, "test"));
    let run = |rows: &[Example], streams: &[_], noise: f32| {
        let mut batch = Batch::default();
        for row in rows {
            batch.push(&row.ids, &row.learned);
        }
        let dropout = Some((0.2, Stream::new(2, "test")));
        let step = Step { scale: 1.0, dropout, noise: Some((noise, streams)) };
        let mut gradient = model.backend().zeros(adapter.layout.length());
        model.losses_and_gradient(
            &mut model.new_tape(Activations::Kept),
            &adapter,
            &batch,
            step,
            &mut gradient,
        )
    };
    let together = run(rows, &streams, 5.0);
    let apart: Vec<f32> = rows
        .iter()
        .zip(&streams)
        .flat_map(|(row, stream)| run(std::slice::from_ref(row), &[*stream], 5.0))
        .collect();
    assert_eq!(together, apart);
    assert_ne!(together, run(rows, &streams, 10.0));
}
