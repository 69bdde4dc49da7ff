//! What is rounded to 16 bits — operands on some processors, and what a block keeps for its backward where the weights do not take
//! 32 — turns no gradient: each factor's has a cosine of 0.999 or more with that of the same weights in 32 bits.

#![expect(clippy::unwrap_used, reason = "a test")]

mod golden_files;

use std::path::Path;

use bioinstruct_engine::backend::{Backend, Cpu};
use bioinstruct_engine::format::{DataType, ModelFile};
use bioinstruct_engine::kernels::KernelPath;
use bioinstruct_engine::kernels::lanes::{Lane, Precision};
use bioinstruct_engine::merge::Merged;
use bioinstruct_engine::merge::folder::write_folder;
use bioinstruct_engine::merge::gguf::{FileType, write_gguf};
use bioinstruct_engine::model::training::{Activations, Batch, Step};
use bioinstruct_engine::model::{Llama, LoadOptions};
use bioinstruct_engine::peft;
use golden_files::{example, golden, paths, relative_error, repository};

/// The gradient of each factor over three sequences, from the weights of `file` as `precision` keeps them.
fn gradients(file: &ModelFile, path: KernelPath, precision: Precision) -> Vec<(String, Vec<f32>)> {
    let options = LoadOptions { precision, positions: 0 };
    let model = Llama::load(file, Cpu::with_path(path, 2).unwrap(), options).unwrap();
    let adapter = peft::load(&model, &golden("tiny_adapter")).unwrap().adapter;
    let mut batch = Batch::default();
    for sequence in 0..3 {
        let (ids, learned) = example(&golden("tiny_lora.safetensors"), sequence);
        batch.push(&ids, &learned);
    }
    let mut gradient = model.backend().zeros(adapter.layout.length());
    let (mut tape, step) = (model.new_tape(Activations::Kept), Step::plain(1.0));
    model.losses_and_gradient(&mut tape, &adapter, &batch, step, &mut gradient);
    let names = peft::tensor_names(&adapter.layout).into_iter();
    names.map(|(name, range)| (name, gradient[range].to_vec())).collect()
}

fn cosine(left: &[f32], right: &[f32]) -> f64 {
    let dot = |left: &[f32], right: &[f32]| -> f64 {
        left.iter().zip(right).map(|(left, right)| f64::from(*left) * f64::from(*right)).sum()
    };
    dot(left, right) / (dot(left, left) * dot(right, right)).sqrt()
}

/// What the file's weights are.
#[derive(PartialEq)]
enum Holds {
    Halves,
    Blocks,
}

fn check(file: &Path, holds: Holds, precision: Precision) {
    let file = ModelFile::open(file).unwrap();
    for path in paths() {
        let whole = gradients(&file, path, Precision::F32);
        let rounded = gradients(&file, path, precision);
        assert!(whole.len() >= 8, "{} factors", whole.len());
        let pairs = Lane::of(path, precision) == Lane::Bf16Pair;
        // Where pairs of bfloat16 are multiplied, the blocks' own values are rounded as well, which those of `whole` are not.
        let least = if pairs && holds == Holds::Blocks { 0.998 } else { 0.999 };
        let mut farthest = 0.0_f64;
        for ((name, whole), (_, rounded)) in whole.iter().zip(&rounded) {
            let found = cosine(whole, rounded);
            assert!(found >= least, "{name}, {path:?}, {precision:?}: {found}");
            farthest = farthest.max(relative_error(rounded, whole));
        }
        assert!(farthest > 1e-5, "nothing was rounded: {path:?}, {precision:?}, {farthest}");
    }
}

#[test]
fn no_gradient_turns_when_activations_take_16_bits() {
    let scratch = tempfile::tempdir().unwrap();
    let base = ModelFile::open(&repository().join("tests/fixtures/tiny-llama")).unwrap();
    let backend = Cpu::new(2).unwrap();
    let merged = Merged::new(&base, &backend, None);
    let folder = scratch.path().join("bf16");
    fs_err::create_dir(&folder).unwrap();
    write_folder(&merged, &folder, DataType::BF16, usize::MAX).unwrap();
    check(&folder, Holds::Halves, Precision::Bf16);
    check(&folder, Holds::Halves, Precision::Stored);
    let blocks = scratch.path().join("base.gguf");
    write_gguf(&merged, &blocks, "tiny", FileType::Q8_0, &[]).unwrap();
    check(&blocks, Holds::Blocks, Precision::Stored);
}
