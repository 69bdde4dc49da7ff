//! Every model family against transformers and PEFT, read from safetensors and from GGUF: logits, loss and gradients; and
//! the bit rules on each.
//!
//! The models are in `tests/fixtures/tiny-families`, the goldens and their script in `tests/goldens/engine`.

#![expect(clippy::unwrap_used, reason = "a test")]

mod golden_files;

use std::path::PathBuf;

use bioinstruct_engine::backend::{Backend, Cpu, Phase};
use bioinstruct_engine::format::{Family, ModelFile, RopeScaling};
use bioinstruct_engine::kernels::KernelPath;
use bioinstruct_engine::lora::Adapter;
use bioinstruct_engine::model::Llama;
use bioinstruct_engine::model::inference::{Cache, Extension, Workspace};
use bioinstruct_engine::model::training::{Activations, Batch, Step};
use bioinstruct_engine::peft;
use golden_files::{
    all_logits, example, golden, ids, model, paths, relative_error, repository, values,
};

const FAMILIES: [&str; 8] =
    ["llama-1", "llama-2", "llama-3", "llama-bias", "mistral", "qwen2", "qwen3", "smollm2"];

/// As a Hugging Face folder.
fn folder(family: &str) -> String {
    format!("tiny-families/{family}")
}

fn gguf(family: &str) -> String {
    format!("tiny-families/{family}.gguf")
}

fn goldens(family: &str) -> PathBuf {
    golden(&format!("families/{family}.safetensors"))
}

fn adapter(model: &Llama<Cpu>, family: &str) -> Adapter<Cpu> {
    let folder = golden(&format!("families/{family}"));
    peft::load(model, &folder).unwrap().adapter
}

fn sequences(family: &str) -> [Vec<u32>; 2] {
    [0, 1].map(|at| ids(&goldens(family), &format!("seq{at}.ids")))
}

#[test]
fn every_fixture_is_listed_and_is_what_its_name_says() {
    let fixtures = repository().join("tests/fixtures/tiny-families");
    let mut found: Vec<String> = fs_err::read_dir(&fixtures)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, FAMILIES);
    let config = |name: &str| ModelFile::open(&fixtures.join(name)).unwrap().config().clone();
    let families = FAMILIES.map(|name| config(name).family);
    for family in Family::ALL {
        assert!(families.contains(&family), "{family:?} has no fixture");
    }
    assert!(config("llama-1").key_value_heads == config("llama-1").attention_heads);
    for form in ["mistral", "mistral.gguf"] {
        assert_eq!(config(form).sliding_window, Some(7));
        assert_eq!((config(form).head_size, config(form).hidden_size), (12, 32));
    }
    for form in ["llama-2", "llama-2.gguf"] {
        assert_eq!(config(form).rope_scaling, RopeScaling::Linear { factor: 2.0 });
    }
    assert!(matches!(config("llama-3").rope_scaling, RopeScaling::Llama3 { .. }));
    assert!(matches!(config("llama-3.gguf").rope_scaling, RopeScaling::Divisors(_)));
    for form in ["qwen2", "qwen2.gguf"] {
        assert!(config(form).attention_bias && !config(form).attention_output_bias);
        assert_eq!(config(form).sliding_window, None, "declared, and switched off");
    }
    for form in ["qwen3", "qwen3.gguf"] {
        assert!(config(form).query_key_norm && config(form).query_size() == 64);
    }
}

#[test]
fn logits_equal_transformers() {
    for family in FAMILIES {
        for path in paths() {
            let model = model(&folder(family), path, 2);
            for (at, ids) in sequences(family).iter().enumerate() {
                let found = all_logits(&model, None, ids);
                let expected = values(&goldens(family), &format!("seq{at}.base"));
                let error = relative_error(&found, &expected);
                assert!(error < 1e-5, "{family} sequence {at}, {path:?}: {error}");
            }
        }
    }
}

/// The GGUF's LLaMA 3 scaling is a table rounded to 32 bits; all else is the same numbers.
#[test]
fn gguf_gives_the_same_logits() {
    for family in FAMILIES {
        for path in paths() {
            let (ours, theirs) = (model(&gguf(family), path, 2), model(&folder(family), path, 2));
            for ids in sequences(family) {
                let [found, expected] = [&ours, &theirs].map(|model| all_logits(model, None, &ids));
                if family == "llama-3" {
                    let error = relative_error(&found, &expected);
                    assert!(error < 1e-5, "{family}, {path:?}: {error}");
                } else {
                    assert_eq!(found, expected, "{family}, {path:?}");
                }
            }
        }
    }
}

#[test]
fn adapter_logits_loss_and_gradients_equal_peft() {
    for family in FAMILIES {
        for path in paths() {
            for form in [folder(family), gguf(family)] {
                let model = model(&form, path, 2);
                let adapter = adapter(&model, family);
                let file = goldens(family);
                let mut batch = Batch::default();
                for sequence in 0..2 {
                    let (ids, learned) = example(&file, sequence);
                    let found = all_logits(&model, Some(&adapter), &ids);
                    let expected = values(&file, &format!("seq{sequence}.logits"));
                    let error = relative_error(&found, &expected);
                    assert!(error < 1e-5, "{form} logits of {sequence}, {path:?}: {error}");
                    batch.push(&ids, &learned);
                }
                let mut gradient = model.backend().zeros(adapter.layout.length());
                let scale = 1.0 / batch.labels.len() as f32;
                let losses = model.losses_and_gradient(
                    &mut model.new_tape(Activations::Kept),
                    &adapter,
                    &batch,
                    Step::plain(scale),
                    &mut gradient,
                );
                let loss =
                    losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() * f64::from(scale);
                let expected = f64::from(values(&file, "loss")[0]);
                assert!((loss - expected).abs() < 1e-6 * expected, "{form}: {loss}, {expected}");
                for (name, range) in peft::tensor_names(&adapter.layout) {
                    let expected = values(&file, &format!("grad.{name}"));
                    let error = relative_error(&gradient[range], &expected);
                    assert!(error < 1e-4, "{form} gradient of {name}, {path:?}: {error}");
                }
            }
        }
    }
}

#[test]
fn a_sequence_has_the_same_bits_alone_in_a_batch_in_pieces_and_on_any_number_of_threads() {
    for family in FAMILIES {
        let sequences = sequences(family);
        for path in paths() {
            let one = model(&folder(family), path, 1);
            let alone = sequences.each_ref().map(|ids| all_logits(&one, None, ids));
            let vocabulary = one.config().vocabulary_size;
            for threads in [1, 2, 4] {
                let name = format!("{family}, {path:?}, {threads} threads");
                let model = model(&folder(family), path, threads);
                let mut work = Workspace::new(model.backend());
                let mut caches = [Cache::new(), Cache::new()];
                let mut batch: Vec<Extension<'_, Cpu>> = caches
                    .iter_mut()
                    .zip(&sequences)
                    .map(|(cache, ids)| Extension { ids, cache, adapter: None })
                    .collect();
                let rows: Vec<usize> = (0..sequences.iter().map(Vec::len).sum()).collect();
                model.extend(&mut work, Phase::Prefill, &mut batch, &rows);
                let found = model.logits(&work, Phase::Prefill, &rows);
                assert_eq!(found, alone.concat(), "{name}, one batch");

                let (first, second) = sequences[1].split_at(21);
                let mut prefix = Cache::new();
                let extension = Extension { ids: first, cache: &mut prefix, adapter: None };
                model.extend(&mut work, Phase::Prefill, &mut [extension], &[]);
                let mut rest = prefix.fork(prefix.length());
                let extension = Extension { ids: second, cache: &mut rest, adapter: None };
                // Every second row, the last among them.
                let rows: Vec<usize> = (0..second.len()).rev().step_by(2).collect();
                let rows: Vec<usize> = rows.into_iter().rev().collect();
                model.extend(&mut work, Phase::Prefill, &mut [extension], &rows);
                let places: Vec<usize> = (0..rows.len()).collect();
                let found = model.logits(&work, Phase::Prefill, &places);
                for (row, found) in rows.iter().zip(found.chunks_exact(vocabulary)) {
                    let expected = &alone[1][(first.len() + row) * vocabulary..][..vocabulary];
                    assert_eq!(found, expected, "{name}, row {row} after a prefix");
                }
            }
        }
    }
}

/// Logits of each token after the one before it, decoded one at a time by all of `chosen` together.
fn decoded(model: &Llama<Cpu>, chosen: &[&Vec<u32>]) -> Vec<Vec<f32>> {
    let mut work = Workspace::new(model.backend());
    let mut caches: Vec<_> = chosen.iter().map(|_| Cache::new()).collect();
    let mut logits = vec![Vec::new(); chosen.len()];
    for at in 0..chosen.iter().map(|ids| ids.len()).max().unwrap() {
        let running: Vec<usize> =
            (0..chosen.len()).filter(|number| at < chosen[*number].len()).collect();
        let mut batch: Vec<Extension<'_, Cpu>> = caches
            .iter_mut()
            .zip(chosen)
            .filter(|(_, ids)| at < ids.len())
            .map(|(cache, ids)| Extension { ids: &ids[at..=at], cache, adapter: None })
            .collect();
        let rows: Vec<usize> = (0..running.len()).collect();
        model.extend(&mut work, Phase::Decode, &mut batch, &rows);
        let found = model.logits(&work, Phase::Decode, &rows);
        for (number, found) in running.iter().zip(found.chunks(model.config().vocabulary_size)) {
            logits[*number].extend_from_slice(found);
        }
    }
    logits
}

#[test]
fn decoding_token_by_token_equals_transformers_with_the_same_bits_in_any_batch() {
    for family in FAMILIES {
        let sequences = sequences(family);
        for path in paths() {
            let model = model(&folder(family), path, 2);
            let together = decoded(&model, &[&sequences[0], &sequences[1]]);
            for (at, (ids, found)) in sequences.iter().zip(&together).enumerate() {
                assert_eq!(decoded(&model, &[ids])[0], *found, "{family}, {path:?}");
                let expected = values(&goldens(family), &format!("seq{at}.base"));
                let error = relative_error(found, &expected);
                assert!(error < 1e-5, "{family} sequence {at}, {path:?}: {error}");
            }
        }
    }
}

#[test]
fn gradients_have_the_same_bits_on_any_number_of_threads_and_from_activations_computed_again() {
    let run = |family: &str, path: KernelPath, threads: usize, activations: Activations| {
        let model = model(&folder(family), path, threads);
        let adapter = adapter(&model, family);
        let mut batch = Batch::default();
        for sequence in 0..2 {
            let (ids, learned) = example(&goldens(family), sequence);
            batch.push(&ids, &learned);
        }
        let stream = bioinstruct_core::random::Stream::new(7, "dropout");
        let step = Step { scale: 0.1, dropout: Some((0.1, stream)), noise: None };
        let mut gradient = model.backend().zeros(adapter.layout.length());
        let losses = model.losses_and_gradient(
            &mut model.new_tape(activations),
            &adapter,
            &batch,
            step,
            &mut gradient,
        );
        (losses, gradient)
    };
    for family in FAMILIES {
        for path in paths() {
            let one = run(family, path, 1, Activations::Kept);
            for threads in [1, 2, 4] {
                let kept = run(family, path, threads, Activations::Kept);
                assert_eq!(one, kept, "{family}, {path:?}, {threads} threads");
                let again = run(family, path, threads, Activations::Recomputed);
                assert_eq!(one, again, "{family}, {path:?}, {threads} threads, recomputed");
            }
        }
    }
}
