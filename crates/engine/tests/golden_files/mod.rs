//! Golden files of `tests/goldens/engine`, and how near to them a result is.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::allow_attributes, reason = "`expect` would fail in the files that use all of it")]

use std::path::{Path, PathBuf};

use bioinstruct_engine::backend::{Cpu, Phase};
use bioinstruct_engine::format::ModelFile;
use bioinstruct_engine::kernels::KernelPath;
use bioinstruct_engine::kernels::lanes::Precision;
use bioinstruct_engine::lora::Adapter;
use bioinstruct_engine::model::inference::{Cache, Extension, Workspace};
use bioinstruct_engine::model::{Llama, LoadOptions};

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn golden(name: &str) -> PathBuf {
    repository().join("tests/goldens/engine").join(name)
}

/// A model of `tests/fixtures` in full precision.
pub(crate) fn model(name: &str, path: KernelPath, threads: usize) -> Llama<Cpu> {
    let file = ModelFile::open(&repository().join("tests/fixtures").join(name)).unwrap();
    let options = LoadOptions { precision: Precision::F32, positions: 0 };
    Llama::load(&file, Cpu::with_path(path, threads).unwrap(), options).unwrap()
}

pub(crate) fn paths() -> impl Iterator<Item = KernelPath> {
    KernelPath::ALL.into_iter().filter(|path| path.available())
}

pub(crate) fn integers(file: &Path, name: &str) -> Vec<i64> {
    // Token ids are I64, which the model reader refuses by design: the crate of the format reads them.
    let bytes = fs_err::read(file).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = tensors.tensor(name).unwrap();
    view.data().chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap())).collect()
}

pub(crate) fn values(file: &Path, name: &str) -> Vec<f32> {
    let bytes = fs_err::read(file).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = tensors.tensor(name).unwrap();
    view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

pub(crate) fn ids(file: &Path, name: &str) -> Vec<u32> {
    integers(file, name).into_iter().map(|id| u32::try_from(id).unwrap()).collect()
}

/// Ids of a sequence, and which of them the loss covers.
pub(crate) fn example(file: &Path, sequence: usize) -> (Vec<u32>, Vec<bool>) {
    let learned = integers(file, &format!("seq{sequence}.labels"))
        .iter()
        .map(|label| *label != -100)
        .collect();
    (ids(file, &format!("seq{sequence}.ids")), learned)
}

/// ‖found − expected‖ / ‖expected‖.
pub(crate) fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let difference: f64 = found.iter().zip(expected).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let size: f64 = expected.iter().map(|b| f64::from(*b).powi(2)).sum();
    (difference / size).sqrt()
}

/// Logits of every position.
pub(crate) fn all_logits(
    model: &Llama<Cpu>,
    adapter: Option<&Adapter<Cpu>>,
    ids: &[u32],
) -> Vec<f32> {
    let mut work = Workspace::new(model.backend());
    let mut cache = Cache::new();
    let rows: Vec<usize> = (0..ids.len()).collect();
    let mut one = [Extension { ids, cache: &mut cache, adapter }];
    model.extend(&mut work, Phase::Prefill, &mut one, &rows);
    model.logits(&work, Phase::Prefill, &rows)
}
