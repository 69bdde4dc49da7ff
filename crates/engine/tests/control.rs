//! What a run decides by itself, on the tiny random LLaMA: which adapter stays, when it ends, how its loss is averaged, and that
//! a stop anywhere changes nothing.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bioinstruct_engine::backend::Cpu;
use bioinstruct_engine::error::EngineError;
use bioinstruct_engine::format::ModelFile;
use bioinstruct_engine::kernels::lanes::Precision;
use bioinstruct_engine::model::training::Activations;
use bioinstruct_engine::model::{Llama, LoadOptions};
use bioinstruct_engine::train::config::{Keep, LossNorm, TrainConfig};
use bioinstruct_engine::train::evaluate::evaluate;
use bioinstruct_engine::train::example::Example;
use bioinstruct_engine::train::plan::Stratum;
use bioinstruct_engine::train::record::{DevRecord, Record, StepRecord};
use bioinstruct_engine::train::{Inputs, Outcome, run};

fn model(threads: usize) -> Llama<Cpu> {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny-llama");
    let options = LoadOptions { precision: Precision::F32, positions: 0 };
    Llama::load(&ModelFile::open(&fixture).unwrap(), Cpu::new(threads).unwrap(), options).unwrap()
}

fn examples(count: usize, shift: usize) -> Vec<Example> {
    let example = |number: usize| {
        let tokens = 6 + number * 7 % 40;
        let ids = (0..tokens).map(|at| ((number * 31 + at * 17 + shift) % 500) as u32);
        let learned = (0..tokens).map(|at| at > tokens / 3 + number % 3);
        Example { id: format!("row {number}"), ids: ids.collect(), learned: learned.collect() }
    };
    (0..count).map(example).collect()
}

/// A run in `directory`, stopped after so many records where that is given.
fn train(
    model: &Llama<Cpu>,
    directory: &Path,
    config: &TrainConfig,
    stop_after: Option<usize>,
) -> (Result<Outcome, EngineError>, Vec<Record>) {
    let (examples, dev) = (examples(20, 0), examples(6, 9));
    let stop = Arc::new(AtomicBool::new(false));
    let inputs = Inputs {
        model,
        examples: &examples,
        strata: &[Stratum::all(examples.len())],
        dev: &dev,
        config,
        seed: 5,
        fingerprint: BTreeMap::from([("data".to_owned(), "d".to_owned())]),
        directory,
        activations: Activations::Kept,
        stop: Arc::clone(&stop),
    };
    let mut records = Vec::new();
    let outcome = run(&inputs, &mut |progress| {
        records.push(progress.record.clone());
        if stop_after == Some(records.len()) {
            stop.store(true, Ordering::SeqCst);
        }
    });
    (outcome, records)
}

fn config() -> TrainConfig {
    TrainConfig {
        max_steps: 12,
        batch_rows: 3,
        unit_tokens: 40,
        rank: 4,
        lr: 3e-3,
        evaluate_every: 4,
        checkpoint_every: 3,
        ..TrainConfig::default()
    }
}

fn steps(records: &[Record]) -> Vec<&StepRecord> {
    records
        .iter()
        .filter_map(|record| match record {
            Record::Step(step) => Some(step),
            Record::Dev(_) => None,
        })
        .collect()
}

fn dev(records: &[Record]) -> Vec<&DevRecord> {
    records
        .iter()
        .filter_map(|record| match record {
            Record::Dev(dev) => Some(dev),
            Record::Step(_) => None,
        })
        .collect()
}

/// The files of a directory and of those in it, but for what holds times.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if path.is_dir() && name != "tensorboard" {
                folders.push(path);
            } else if path.is_file() && name != "timing.jsonl" {
                found.insert(name, fs_err::read(path).unwrap());
            }
        }
    }
    found
}

/// After every record in turn, which covers each place before, between and after steps and evaluations; on other threads.
#[test]
fn a_stop_after_any_record_changes_no_byte() {
    let (one, three) = (model(1), model(3));
    let whole = tempfile::tempdir().unwrap();
    let (outcome, records) = train(&one, whole.path(), &config(), None);
    let (outcome, expected) = (outcome.unwrap(), files(whole.path()));
    assert_eq!((records.len(), outcome.steps), (16, 12));
    for stop_after in 1..records.len() {
        let directory = tempfile::tempdir().unwrap();
        let (stopped, _) = train(&three, directory.path(), &config(), Some(stop_after));
        assert!(matches!(stopped, Err(EngineError::Interrupted)), "after {stop_after}");
        let (resumed, rest) = train(&one, directory.path(), &config(), None);
        let resumed = resumed.unwrap();
        assert_eq!(resumed.parameters, outcome.parameters, "after {stop_after}");
        assert_eq!(rest, records[stop_after..], "after {stop_after}");
        let mut found = files(directory.path());
        // A checkpoint of the stop may stay in place of an older one.
        found.retain(|name, _| expected.contains_key(name));
        assert!(found["metrics.jsonl"] == expected["metrics.jsonl"], "after {stop_after}");
        let last = "checkpoints/step-000012/";
        for name in ["state.safetensors", "checkpoint.json"].map(|name| format!("{last}{name}")) {
            assert!(found[&name] == expected[&name], "{name} after {stop_after}");
        }
    }
}

#[test]
fn the_best_adapter_stays_and_patience_ends() {
    let model = model(2);
    // A rate that first helps and then destroys.
    let config = TrainConfig {
        max_steps: 40,
        evaluate_every: 2,
        lr: 0.05,
        warmup_ratio: 0.5,
        patience: 3,
        ..config()
    };
    let directory = tempfile::tempdir().unwrap();
    let (outcome, records) = train(&model, directory.path(), &config, None);
    let outcome = outcome.unwrap();
    let after: Vec<&DevRecord> = dev(&records).into_iter().skip(1).collect();
    let best = after.iter().min_by(|left, right| left.dev_loss.total_cmp(&right.dev_loss)).unwrap();
    assert_eq!(outcome.kept_step, best.step);
    assert_eq!(outcome.watch.best.unwrap().dev_loss, best.dev_loss);
    assert!(outcome.ended_early && outcome.steps == best.step + 2 * 3, "{}", outcome.steps);

    // Started again, it ends at once with the same.
    let (ended, _) = train(&model, directory.path(), &config, None);
    let again = Outcome { seconds: 0.0, tokens: 0, resumed_at: outcome.steps, ..outcome.clone() };
    assert_eq!(ended.unwrap(), again);
    let last = TrainConfig { keep: Keep::Last, ..config };
    let other = tempfile::tempdir().unwrap();
    let (kept_last, _) = train(&model, other.path(), &last, None);
    let kept_last = kept_last.unwrap();
    assert_eq!(kept_last.kept_step, kept_last.steps);
    assert_ne!(kept_last.parameters, outcome.parameters);
}

#[test]
fn watchdogs_stop_and_name_the_rows() {
    let model = model(2);
    for (config, what) in [
        (TrainConfig { max_loss: 1.0, ..config() }, "the loss was above `train.max_loss` = 1"),
        (
            TrainConfig { max_unclipped_norm: 1e-6, watchdog_steps: 2, ..config() },
            "the gradient norm was above `train.max_unclipped_norm` = 0.000001 in 2 steps in a row",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (outcome, records) = train(&model, directory.path(), &config, None);
        let said = outcome.unwrap_err().to_string();
        assert!(said.contains(what) && said.contains("row "), "{said}");
        assert_eq!(steps(&records).len(), config.watchdog_steps - 1);
    }
}

/// At the first step B is zero, so the loss is the untuned model's: by hand from each row's own.
#[test]
fn the_two_averages_of_a_loss() {
    let model = model(2);
    let mut first = Vec::new();
    for loss_norm in [LossNorm::Tokens, LossNorm::MicrobatchMean] {
        let config = TrainConfig {
            loss_norm,
            microbatch_rows: 8,
            batch_rows: 20,
            max_steps: 1,
            dropout: 0.0,
            ..config()
        };
        let directory = tempfile::tempdir().unwrap();
        let (outcome, records) = train(&model, directory.path(), &config, None);
        outcome.unwrap();
        first.push(steps(&records)[0].loss);
    }
    let examples = examples(20, 0);
    let lengths: Vec<usize> = examples.iter().map(|row| row.ids.len()).collect();
    let plan = bioinstruct_engine::train::plan::Plan::new(
        &lengths,
        &[Stratum::all(lengths.len())],
        &TrainConfig { batch_rows: 20, max_steps: 1, ..config() },
        5,
    )
    .unwrap();
    let mut tape = model.new_tape(Activations::Kept);
    let mut mean = |rows: &[Example]| {
        let stop = AtomicBool::new(false);
        evaluate(&model, &mut tape, None, rows, 100, &stop).unwrap().loss
    };
    let drawn: Vec<Example> = plan.draws(0).iter().map(|draw| examples[draw.row].clone()).collect();
    let of_means: Vec<f64> = drawn.chunks(8).map(&mut mean).collect();
    let expected = [mean(&drawn), of_means.iter().sum::<f64>() / of_means.len() as f64];
    for (found, expected) in first.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
    }
    assert!((first[0] - first[1]).abs() > 1e-4, "the two would not be told apart: {first:?}");
}
