//! The network against transformers and PEFT: logits, losses, gradients and optimizer steps of a tiny random LLaMA.
//!
//! The goldens and the scripts that made them are in `tests/goldens/engine`.

#![expect(clippy::unwrap_used, reason = "a test")]

mod golden_files;

use bioinstruct_engine::backend::{AdamW, Backend, Cpu, Phase};
use bioinstruct_engine::kernels::KernelPath;
use bioinstruct_engine::model::adapting::Moments;
use bioinstruct_engine::model::inference::{Cache, Extension, Workspace};
use bioinstruct_engine::model::training::{Activations, Batch, Step};
use bioinstruct_engine::peft;
use golden_files::{all_logits, example, golden, ids, model, paths, relative_error, values};
use serde_json::Value;

#[test]
fn logits_equal_transformers() {
    let file = golden("tiny_logits.safetensors");
    for path in paths() {
        for (name, keys) in
            [("tiny-llama", &["seq0", "seq1", "seq2"][..]), ("tiny-llama-tied", &["tied"])]
        {
            let model = model(name, path, 2);
            for key in keys {
                let found = all_logits(&model, None, &ids(&file, &format!("{key}.ids")));
                let error = relative_error(&found, &values(&file, &format!("{key}.logits")));
                assert!(error < 1e-4, "{name} {key} {path:?}: {error}");
            }
        }
    }
}

#[test]
fn adapter_logits_loss_and_gradients_equal_peft() {
    let file = golden("tiny_lora.safetensors");
    for path in paths() {
        let model = model("tiny-llama", path, 2);
        let adapter = peft::load(&model, &golden("tiny_adapter")).unwrap().adapter;
        let mut batch = Batch::default();
        for sequence in 0..3 {
            let (ids, learned) = example(&file, sequence);
            let found = all_logits(&model, Some(&adapter), &ids);
            let error = relative_error(&found, &values(&file, &format!("seq{sequence}.logits")));
            assert!(error < 1e-4, "logits of sequence {sequence}, {path:?}: {error}");
            batch.push(&ids, &learned);
        }
        let mut gradient = model.backend().zeros(adapter.layout.length());
        let scale = 1.0 / batch.labels.len() as f32;
        let step = Step::plain(scale);
        let losses = model.losses_and_gradient(
            &mut model.new_tape(Activations::Kept),
            &adapter,
            &batch,
            step,
            &mut gradient,
        );
        let loss = losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() * f64::from(scale);
        let expected = f64::from(values(&file, "loss")[0]);
        assert!((loss - expected).abs() < 1e-5 * expected, "loss {loss}, {expected}");
        for (name, range) in peft::tensor_names(&adapter.layout) {
            let error = relative_error(&gradient[range], &values(&file, &format!("grad.{name}")));
            assert!(error < 1e-3, "gradient of {name}, {path:?}: {error}");
        }
    }
}

/// The learning rate, batch and settings of each step come from the golden's own record.
#[test]
fn adamw_steps_equal_torch() {
    let file = golden("tiny_lora.safetensors");
    let record: Value =
        serde_json::from_str(&fs_err::read_to_string(golden("tiny_lora.json")).unwrap()).unwrap();
    let model = model("tiny-llama", KernelPath::Portable, 2);
    for (variant, settings) in record["variants"].as_object().unwrap() {
        let mut adapter = peft::load(&model, &golden("tiny_adapter")).unwrap().adapter;
        let length = adapter.layout.length();
        let mut moments = Moments { mean: vec![0.0; length], square: vec![0.0; length] };
        let mut tape = model.new_tape(Activations::Kept);
        for step in 0..3 {
            let mut batch = Batch::default();
            for sequence in settings["batches"][step].as_array().unwrap() {
                let (ids, learned) =
                    example(&file, usize::try_from(sequence.as_u64().unwrap()).unwrap());
                batch.push(&ids, &learned);
            }
            let mut gradient = model.backend().zeros(length);
            let scale = 1.0 / batch.labels.len() as f32;
            let losses = model.losses_and_gradient(
                &mut tape,
                &adapter,
                &batch,
                Step::plain(scale),
                &mut gradient,
            );
            let loss = losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() * f64::from(scale);
            let expected = settings["loss"][step].as_f64().unwrap();
            assert!(
                (loss - expected).abs() < 1e-4 * expected,
                "{variant} loss of step {step}: {loss}, {expected}"
            );
            let norm = model.backend().norm(&gradient);
            let expected = settings["grad_norm"][step].as_f64().unwrap();
            assert!(
                (norm - expected).abs() < 1e-3 * expected,
                "{variant} norm of step {step}: {norm}, {expected}"
            );
            let limit = settings["max_norm"].as_f64().unwrap();
            let optimizer = AdamW {
                learning_rate: settings["lr_used"][step].as_f64().unwrap(),
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay: settings["weight_decay"].as_f64().unwrap(),
                step: step as u64 + 1,
                gradient_scale: (limit / (norm + 1e-6)).min(1.0) as f32,
            };
            model.step(&mut adapter, optimizer, 1.0, &gradient, &mut moments);
            let after = adapter.download(model.backend());
            for (name, range) in peft::tensor_names(&adapter.layout) {
                let expected = values(&file, &format!("{variant}.step{}.{name}", step + 1));
                let largest =
                    expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
                let difference = after[range]
                    .iter()
                    .zip(&expected)
                    .fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
                assert!(
                    difference < 1e-4 * largest,
                    "{variant} {name} after step {}: {difference}",
                    step + 1
                );
            }
        }
    }
}

#[test]
fn a_sequence_has_the_same_bits_alone_in_a_batch_in_pieces_and_on_any_number_of_threads() {
    let file = golden("tiny_logits.safetensors");
    let sequences: Vec<Vec<u32>> = (0..3).map(|at| ids(&file, &format!("seq{at}.ids"))).collect();
    for path in paths() {
        let alone: Vec<Vec<f32>> = {
            let model = model("tiny-llama", path, 1);
            sequences.iter().map(|ids| all_logits(&model, None, ids)).collect()
        };
        for threads in [1, 2, 4] {
            let model = model("tiny-llama", path, threads);
            let mut work = Workspace::new(model.backend());
            let mut caches = [Cache::new(), Cache::new(), Cache::new()];
            let mut batch: Vec<Extension<'_, Cpu>> = caches
                .iter_mut()
                .zip(&sequences)
                .map(|(cache, ids)| Extension { ids, cache, adapter: None })
                .collect();
            let rows: Vec<usize> = (0..sequences.iter().map(Vec::len).sum()).collect();
            model.extend(&mut work, Phase::Prefill, &mut batch, &rows);
            assert_eq!(
                model.logits(&work, Phase::Prefill, &rows),
                alone.concat(),
                "{path:?}, {threads} threads, one batch"
            );

            let (first, second) = sequences[2].split_at(20);
            let mut prefix = Cache::new();
            model.extend(
                &mut work,
                Phase::Prefill,
                &mut [Extension { ids: first, cache: &mut prefix, adapter: None }],
                &[],
            );
            let mut rest = prefix.fork(prefix.length());
            model.extend(
                &mut work,
                Phase::Prefill,
                &mut [Extension { ids: second, cache: &mut rest, adapter: None }],
                &[second.len() - 1],
            );
            let found = model.logits(&work, Phase::Prefill, &[0]);
            assert_eq!(
                found,
                alone[2][32 * 512..],
                "{path:?}, {threads} threads, after a shared prefix"
            );
        }
    }
}

#[test]
fn gradients_have_the_same_bits_on_any_number_of_threads() {
    let file = golden("tiny_lora.safetensors");
    let run = |path: KernelPath, threads: usize| {
        let model = model("tiny-llama", path, threads);
        let adapter = peft::load(&model, &golden("tiny_adapter")).unwrap().adapter;
        let mut batch = Batch::default();
        for sequence in 0..3 {
            let (ids, learned) = example(&file, sequence);
            batch.push(&ids, &learned);
        }
        let stream = bioinstruct_core::random::Stream::new(7, "dropout");
        let step = Step { scale: 0.1, dropout: Some((0.1, stream)), noise: None };
        let mut gradient = model.backend().zeros(adapter.layout.length());
        let losses = model.losses_and_gradient(
            &mut model.new_tape(Activations::Kept),
            &adapter,
            &batch,
            step,
            &mut gradient,
        );
        (losses, gradient)
    };
    for path in paths() {
        let one = run(path, 1);
        assert_eq!(one, run(path, 2));
        assert_eq!(one, run(path, 4));
    }
}
