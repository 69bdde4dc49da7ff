//! What is rounded to 16 bits — operands on some processors, and what a block keeps for its backward where the weights do not take
//! 32 — turns no gradient: each factor's has a cosine of 0.999 or more with that of the same weights in 32 bits. Logits, for which
//! operands alone are rounded, are a thousandth from those in 32 bits at most. On the demo model, whose vocabulary is large enough,
//! the gradient also takes rare words together.

#![expect(clippy::unwrap_used, reason = "a test")]

mod demo_model;
mod golden_files;

use std::path::Path;

use bioinstruct_core::random::Stream;
use bioinstruct_engine::backend::{Backend, Cpu};
use bioinstruct_engine::format::{DataType, ModelFile};
use bioinstruct_engine::kernels::KernelPath;
use bioinstruct_engine::kernels::lanes::{Lane, Precision};
use bioinstruct_engine::lora::{Adapter, Layout};
use bioinstruct_engine::merge::Merged;
use bioinstruct_engine::merge::folder::write_folder;
use bioinstruct_engine::merge::gguf::{FileType, write_gguf};
use bioinstruct_engine::model::training::{Activations, Batch, Step};
use bioinstruct_engine::model::{Llama, LoadOptions};
use bioinstruct_engine::peft;
use bioinstruct_engine::tokenizer::Tokenizer;
use bioinstruct_engine::train::config::TrainConfig;
use golden_files::{all_logits, example, golden, paths, relative_error, repository};

/// The weights of `file` as `precision` keeps them, and an adapter.
fn load(file: &ModelFile, path: KernelPath, precision: Precision) -> (Llama<Cpu>, Adapter<Cpu>) {
    let options = LoadOptions { precision, positions: 0 };
    let model = Llama::load(file, Cpu::with_path(path, 2).unwrap(), options).unwrap();
    let adapter = peft::load(&model, &golden("tiny_adapter")).unwrap().adapter;
    (model, adapter)
}

/// The logits of three sequences.
fn logits(file: &ModelFile, path: KernelPath, precision: Precision) -> Vec<f32> {
    let (model, adapter) = load(file, path, precision);
    let ids = |sequence| example(&golden("tiny_lora.safetensors"), sequence).0;
    (0..3).flat_map(|sequence| all_logits(&model, Some(&adapter), &ids(sequence))).collect()
}

/// The gradient of each factor over three sequences.
fn gradients(file: &ModelFile, path: KernelPath, precision: Precision) -> Vec<(String, Vec<f32>)> {
    let (model, adapter) = load(file, path, precision);
    let sequence = |number| example(&golden("tiny_lora.safetensors"), number);
    gradients_of(&model, &adapter, &[0, 1, 2].map(sequence))
}

/// The gradient of each factor over sequences of ids, of which some are learned.
fn gradients_of(
    model: &Llama<Cpu>,
    adapter: &Adapter<Cpu>,
    sequences: &[(Vec<u32>, Vec<bool>)],
) -> Vec<(String, Vec<f32>)> {
    let mut batch = Batch::default();
    for (ids, learned) in sequences {
        batch.push(ids, learned);
    }
    let mut gradient = model.backend().zeros(adapter.layout.length());
    let (mut tape, step) = (model.new_tape(Activations::Kept), Step::plain(1.0));
    model.losses_and_gradient(&mut tape, adapter, &batch, step, &mut gradient);
    let names = peft::tensor_names(&adapter.layout).into_iter();
    names.map(|(name, range)| (name, gradient[range].to_vec())).collect()
}

fn cosine(left: &[f32], right: &[f32]) -> f64 {
    let dot = |left: &[f32], right: &[f32]| -> f64 {
        left.iter().zip(right).map(|(left, right)| f64::from(*left) * f64::from(*right)).sum()
    };
    dot(left, right) / (dot(left, left) * dot(right, right)).sqrt()
}

fn check(file: &Path, precision: Precision) {
    let file = ModelFile::open(file).unwrap();
    for path in paths() {
        let exact = logits(&file, path, Precision::F32);
        let error = relative_error(&logits(&file, path, precision), &exact);
        assert!(error < 1e-3, "logits, {path:?}, {precision:?}: {error}");
        assert_eq!(error > 0.0, Lane::of(path, precision) == Lane::I16Pair, "{path:?}: {error}");
        let whole = gradients(&file, path, Precision::F32);
        let rounded = gradients(&file, path, precision);
        assert!(whole.len() >= 8, "{} factors", whole.len());
        let mut farthest = 0.0_f64;
        for ((name, whole), (_, rounded)) in whole.iter().zip(&rounded) {
            let found = cosine(whole, rounded);
            assert!(found >= 0.999, "{name}, {path:?}, {precision:?}: {found}");
            farthest = farthest.max(relative_error(rounded, whole));
        }
        assert!(farthest > 1e-5, "nothing was rounded: {path:?}, {precision:?}, {farthest}");
    }
}

/// A folder of the fixture with its matrices' values moved to the nearest that 32 bits, 16 bits and blocks of `Q8_0` all hold: in
/// each block whole multiples, up to 127, of a power of two. So no weight differs between the precisions that are compared.
fn exact_in_every_type(folder: &Path) {
    let fixture = repository().join("tests/fixtures/tiny-llama");
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        fs_err::copy(fixture.join(name), folder.join(name)).unwrap();
    }
    let mut file = fs_err::read(fixture.join("model.safetensors")).unwrap();
    let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let tensors: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&file[8..8 + header]).unwrap();
    let matrices = tensors
        .values()
        .filter(|tensor| tensor["shape"].as_array().is_some_and(|shape| shape.len() == 2));
    for matrix in matrices {
        assert_eq!(matrix["dtype"], "F32");
        let offset = |at: usize| matrix["data_offsets"][at].as_u64().unwrap() as usize;
        let bytes = &mut file[8 + header..][offset(0)..offset(1)];
        for block in bytes.chunks_exact_mut(4 * 32) {
            let (block, _) = block.as_chunks_mut::<4>();
            let values = block.iter().map(|value| f32::from_le_bytes(*value));
            let greatest = values.fold(0.0, |greatest: f32, value| greatest.max(value.abs()));
            let unit = (greatest / 127.0).log2().round().exp2();
            for value in block {
                // The type takes its unit from the greatest.
                let old = f32::from_le_bytes(*value);
                let count = if old.abs() == greatest { 127.0 } else { (old.abs() / unit).round() };
                *value = (count.min(127.0).copysign(old) * unit).to_le_bytes();
            }
        }
    }
    fs_err::write(folder.join("model.safetensors"), file).unwrap();
}

#[test]
fn no_gradient_turns_when_operands_and_activations_take_16_bits() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("exact");
    fs_err::create_dir(&folder).unwrap();
    exact_in_every_type(&folder);
    let base = ModelFile::open(&folder).unwrap();
    let backend = Cpu::new(2).unwrap();
    let merged = Merged::new(&base, &backend, None);
    let halves = scratch.path().join("bf16");
    fs_err::create_dir(&halves).unwrap();
    write_folder(&merged, &halves, DataType::BF16, usize::MAX).unwrap();
    let blocks = scratch.path().join("base.gguf");
    write_gguf(&merged, &blocks, "tiny", FileType::Q8_0, &[]).unwrap();
    let stored = ModelFile::open(&blocks).unwrap();
    for (name, shape) in base.config().tensors() {
        if shape.len() == 2 {
            let values = |file: &ModelFile| file.tensor(&name).unwrap().to_f32();
            assert_eq!(values(&base), values(&stored), "{name}");
        }
    }
    check(&folder, Precision::Bf16);
    // What is read from the file is what would be kept: the bits are the same.
    for file in [halves, blocks] {
        let file = ModelFile::open(&file).unwrap();
        for path in paths() {
            let [kept, stored] = [Precision::Bf16, Precision::Stored]
                .map(|precision| gradients(&file, path, precision));
            assert_eq!(kept, stored, "{path:?}");
        }
    }
}

/// Texts of which the model knows some words beforehand and others not.
fn texts(file: &ModelFile) -> Vec<(Vec<u32>, Vec<bool>)> {
    let seeds = fs_err::read_to_string(repository().join("seeds/seed_tasks.jsonl")).unwrap();
    let ids = Tokenizer::for_model(file).unwrap().encode_text(&seeds);
    ids.chunks_exact(256).take(3).map(|ids| (ids.to_vec(), vec![true; ids.len()])).collect()
}

#[test]
fn no_gradient_of_the_demo_model_turns_where_rare_words_share_a_row() {
    let Some(path) = demo_model::smollm2() else { return };
    let file = ModelFile::open(&path).unwrap();
    let (texts, config) = (texts(&file), TrainConfig::default().lora().unwrap());
    let gradients = |precision| {
        let options = LoadOptions { precision, positions: 0 };
        let model = Llama::load(&file, Cpu::new(2).unwrap(), options).unwrap();
        let layout = Layout::new(model.config(), &config).unwrap();
        let mut draws = Stream::new(5, "factors").at(0);
        let values: Vec<f32> = (0..layout.length()).map(|_| 0.01 * draws.normal() as f32).collect();
        gradients_of(&model, &model.adapter(config.clone(), &values).unwrap(), &texts)
    };
    let (whole, rounded) = (gradients(Precision::F32), gradients(Precision::Stored));
    let mut farthest = 1.0_f64;
    for ((name, whole), (_, rounded)) in whole.iter().zip(&rounded) {
        let found = cosine(whole, rounded);
        assert!(found >= 0.999, "{name}: {found}");
        farthest = farthest.min(found);
    }
    assert!(farthest < 1.0 - 1e-8, "nothing was rounded: {farthest}");
}
