//! Merged models against base and adapter: folders in every type, whole and in shards, GGUF files, and the way back.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

use bioinstruct_engine::backend::{Backend, Cpu};
use bioinstruct_engine::format::{DataType, Gguf, ModelFile, Problem};
use bioinstruct_engine::kernels::lanes::Precision;
use bioinstruct_engine::merge::Merged;
use bioinstruct_engine::merge::difference::{Difference, probe_ids, probe_logits};
use bioinstruct_engine::merge::folder::{Written, write_folder};
use bioinstruct_engine::merge::gguf::{FileType, write_gguf};
use bioinstruct_engine::merge::gguf_adapter::write_gguf_adapter;
use bioinstruct_engine::model::training::{Activations, Batch, Step};
use bioinstruct_engine::model::{Llama, LoadOptions};
use bioinstruct_engine::peft;
use bioinstruct_engine::tokenizer::Tokenizer;

const WHOLE: usize = usize::MAX;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn base() -> ModelFile {
    ModelFile::open(&repository().join("tests/fixtures/tiny-llama")).unwrap()
}

fn adapter() -> PathBuf {
    repository().join("tests/goldens/engine/tiny_adapter")
}

fn cpu() -> Cpu {
    Cpu::in_32_bits(2).unwrap()
}

fn folder(base: &ModelFile, out: &Path, data_type: DataType, shard_bytes: usize) -> Written {
    let backend = cpu();
    let stored = peft::read(base.config(), &adapter()).unwrap();
    fs_err::create_dir(out).unwrap();
    let merged = Merged::new(base, &backend, Some(&stored));
    write_folder(&merged, out, data_type, shard_bytes).unwrap()
}

fn gguf(base: &ModelFile, out: &Path, file_type: FileType) -> Vec<(DataType, usize)> {
    let backend = cpu();
    let stored = peft::read(base.config(), &adapter()).unwrap();
    let merged = Merged::new(base, &backend, Some(&stored));
    write_gguf(&merged, out, "tiny", file_type, &[("bioinstruct.notice", "a test".to_owned())])
        .unwrap()
}

/// The result's logits against those of base and adapter. The bounds below are a quarter above what this model gives, whose
/// weights are drawn wide: rounding reaches its logits about six times larger than it is.
fn difference(base: &ModelFile, result: &ModelFile) -> Difference {
    let probes = probe_ids(&Tokenizer::for_model(base).unwrap());
    let before = probe_logits(base, cpu(), Some(&adapter()), &probes).unwrap();
    let after = probe_logits(result, cpu(), None, &probes).unwrap();
    Difference::between(&before, &after, base.config().vocabulary_size)
}

/// How much the adapter matters: a merge that left it out would differ by this.
fn without_adapter(base: &ModelFile) -> f64 {
    difference(base, base).relative
}

#[test]
fn a_folder_gives_the_logits_of_base_and_adapter() {
    let scratch = tempfile::tempdir().unwrap();
    let base = base();
    assert!(without_adapter(&base) > 0.2, "the adapter changes something");
    for (data_type, bound) in
        [(DataType::F32, 1e-5), (DataType::F16, 2e-3), (DataType::BF16, 0.02), (DataType::NF4, 0.5)]
    {
        let out = scratch.path().join(data_type.name());
        let written = folder(&base, &out, data_type, WHOLE);
        assert_eq!((written.shards, written.without_tokenizer), (1, None));
        let result = ModelFile::open(&out).unwrap();
        let found = difference(&base, &result);
        assert!(found.relative < bound, "{} {found:?}", data_type.name());
        assert!(found.relative < Difference::bound(data_type));
        let head = result.tensor("lm_head.weight").unwrap().data_type();
        let projection = result.tensor("model.layers.0.mlp.up_proj.weight").unwrap().data_type();
        let others = if data_type == DataType::NF4 { DataType::BF16 } else { data_type };
        assert_eq!((head, projection), (others, data_type));
        assert_eq!(
            Tokenizer::for_model(&result).unwrap().identity(),
            Tokenizer::for_model(&base).unwrap().identity()
        );
    }
}

#[test]
fn shards_are_the_same_model() {
    let scratch = tempfile::tempdir().unwrap();
    let base = base();
    for data_type in [DataType::BF16, DataType::NF4] {
        let whole = scratch.path().join(format!("{} whole", data_type.name()));
        folder(&base, &whole, data_type, WHOLE);
        let parts = scratch.path().join(format!("{} parts", data_type.name()));
        let written = folder(&base, &parts, data_type, 40_000);
        assert!(written.shards > 2, "{written:?}");
        let (whole, parts) = (ModelFile::open(&whole).unwrap(), ModelFile::open(&parts).unwrap());
        assert_eq!(whole.weights_hash().unwrap(), parts.weights_hash().unwrap());
        assert_eq!(whole.tensor_names(), parts.tensor_names());
        assert_eq!(whole.config(), parts.config());
    }
}

#[test]
fn a_gguf_gives_the_logits_of_base_and_adapter() {
    let scratch = tempfile::tempdir().unwrap();
    let base = base();
    for (file_type, bound) in [
        (FileType::F32, 1e-5),
        (FileType::F16, 2e-3),
        (FileType::BF16, 0.02),
        (FileType::Q8_0, 0.05),
        (FileType::Q4_K, 0.35),
    ] {
        let out = scratch.path().join(format!("{}.gguf", file_type.name()));
        gguf(&base, &out, file_type);
        let result = ModelFile::open(&out).unwrap();
        assert_eq!(result.config(), base.config());
        let found = difference(&base, &result);
        assert!(found.relative < bound, "{} {found:?}", file_type.name());
        let (theirs, ours) =
            (Tokenizer::for_model(&base).unwrap(), Tokenizer::for_model(&result).unwrap());
        assert_eq!(ours.identity(), theirs.identity());
        assert_eq!(ours.chat_template(), theirs.chat_template());
        assert_eq!(ours.eos_ids(), theirs.eos_ids());
        assert_eq!(result.gguf().unwrap().text("bioinstruct.notice").unwrap(), Some("a test"));
    }
}

#[test]
fn narrow_rows_take_the_types_that_llama_cpp_falls_back_to() {
    let scratch = tempfile::tempdir().unwrap();
    let base = base();
    let counts = gguf(&base, &scratch.path().join("a.gguf"), FileType::Q4_K);
    // two layers: all of `v_proj` and `down_proj` are in the last eighth or its like, the head always
    let count = |kind: DataType| counts.iter().find(|(k, _)| *k == kind).map_or(0, |(_, n)| *n);
    let last = base.config().layers - 7 * base.config().layers / 8;
    assert_eq!(count(DataType::Q8_0), 1 + 2 * last, "{counts:?}");
    assert_eq!(count(DataType::Q5_0), 1 + 14 - 2 * last, "{counts:?}");
    assert_eq!(count(DataType::Q4_K) + count(DataType::Q6_K) + count(DataType::F16), 0);
    // rows of 256 and more are 4 bits
    let config = base.config();
    let name = "model.layers.0.self_attn.q_proj.weight";
    assert_eq!(FileType::Q4_K.data_type(config, name, &[64, 512]), DataType::Q4_K);
    assert_eq!(FileType::Q4_K.data_type(config, "lm_head.weight", &[64, 512]), DataType::Q6_K);
    assert_eq!(FileType::Q4_K.data_type(config, name, &[64, 48]), DataType::F16);
    assert_eq!(FileType::Q8_0.data_type(config, name, &[64, 48]), DataType::F16);
}

#[test]
fn a_gguf_base_becomes_the_folder_it_came_from() {
    let scratch = tempfile::tempdir().unwrap();
    let base = base();
    let file = scratch.path().join("base.gguf");
    let backend = cpu();
    write_gguf(&Merged::new(&base, &backend, None), &file, "tiny", FileType::F32, &[]).unwrap();
    let from_gguf = ModelFile::open(&file).unwrap();
    assert_eq!(from_gguf.weights_hash().unwrap(), base.weights_hash().unwrap());
    let out = scratch.path().join("folder");
    let written = folder(&from_gguf, &out, DataType::F32, WHOLE);
    assert_eq!(written.without_tokenizer, None);
    let result = ModelFile::open(&out).unwrap();
    assert_eq!(result.config(), base.config());
    assert!(difference(&base, &result).relative < 1e-5);
    let (theirs, ours) =
        (Tokenizer::for_model(&base).unwrap(), Tokenizer::for_model(&result).unwrap());
    assert_eq!(ours.identity(), theirs.identity());
    assert_eq!(ours.chat_template(), theirs.chat_template());
    assert_eq!(ours.bos(), theirs.bos());
}

#[test]
fn an_adapter_alone_has_its_rows_where_the_weights_have_theirs() {
    let scratch = tempfile::tempdir().unwrap();
    let base = base();
    let stored = peft::read(base.config(), &adapter()).unwrap();
    let out = scratch.path().join("adapter.gguf");
    let factors = (&stored.config, &stored.layout, &stored.values[..]);
    write_gguf_adapter(&out, "tiny", base.config(), factors, &[]).unwrap();
    let written = Gguf::open(&out).unwrap();
    assert_eq!(written.text("general.type").unwrap(), Some("adapter"));
    assert_eq!(written.text("adapter.type").unwrap(), Some("lora"));
    assert_eq!(written.float("adapter.lora.alpha").unwrap(), Some(8.0));
    // it is no model, and is not taken for one
    let refused = ModelFile::open(&out).unwrap_err();
    assert!(matches!(refused.problem, Problem::UnexpectedTensor { .. }), "{refused}");
}

/// Loss and gradient of one step over a sentence, from the weights as `precision` keeps them.
fn step(file: &ModelFile, precision: Precision) -> (f32, Vec<f32>) {
    let options = LoadOptions { precision, positions: 0 };
    let model = Llama::load(file, cpu(), options).unwrap();
    let adapter = peft::load(&model, &adapter()).unwrap().adapter;
    let ids: Vec<u32> = (3..40).collect();
    let mut batch = Batch::default();
    batch.push(&ids, &vec![true; ids.len()]);
    let length = adapter.layout.length();
    let mut gradient = model.backend().zeros(length);
    let step = Step::plain(1.0);
    let losses = model.losses_and_gradient(
        &mut model.new_tape(Activations::Kept),
        &adapter,
        &batch,
        step,
        &mut gradient,
    );
    (losses.iter().sum(), model.backend().download(&gradient, 0..length))
}

/// A step on the blocks as the file has them is a step on the values that they stand for.
fn tuned_as_its_values_are(file: &ModelFile) {
    let (loss, gradient) = step(file, Precision::Stored);
    let (expected_loss, expected) = step(file, Precision::F32);
    assert!((loss / expected_loss - 1.0).abs() < 0.01, "{loss} {expected_loss}");
    let square = |values: &mut dyn Iterator<Item = f32>| {
        values.map(|value| f64::from(value).powi(2)).sum::<f64>()
    };
    let differs = square(&mut gradient.iter().zip(&expected).map(|(ours, theirs)| ours - theirs));
    let size = square(&mut expected.iter().copied());
    assert!(size > 0.0 && (differs / size).sqrt() < 0.02, "{differs} {size}");
}

#[test]
fn an_nf4_base_is_tuned_as_its_values_are() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("nf4");
    folder(&base(), &out, DataType::NF4, WHOLE);
    tuned_as_its_values_are(&ModelFile::open(&out).unwrap());
}

#[test]
fn a_quantised_gguf_base_is_tuned_as_its_values_are() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("base.gguf");
    let types = gguf(&base(), &out, FileType::Q8_0);
    assert!(types.iter().any(|(data_type, _)| *data_type == DataType::Q8_0), "{types:?}");
    tuned_as_its_values_are(&ModelFile::open(&out).unwrap());
}

#[test]
fn a_value_that_is_not_finite_stops_the_merge() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("bad");
    fs_err::create_dir(&out).unwrap();
    let source = repository().join("tests/fixtures/tiny-llama");
    for name in ["config.json", "tokenizer.json"] {
        fs_err::copy(source.join(name), out.join(name)).unwrap();
    }
    // the first value of the first tensor is no number
    let mut bytes = fs_err::read(source.join("model.safetensors")).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header..12 + header].copy_from_slice(&f32::NAN.to_le_bytes());
    fs_err::write(out.join("model.safetensors"), bytes).unwrap();
    let (bad, backend) = (ModelFile::open(&out).unwrap(), cpu());
    let result = scratch.path().join("result.gguf");
    let merged = Merged::new(&bad, &backend, None);
    let error = write_gguf(&merged, &result, "bad", FileType::F16, &[]).unwrap_err();
    assert!(error.to_string().contains("not finite"), "{error}");
    assert!(!result.exists());
    assert_eq!(fs_err::read_dir(scratch.path()).unwrap().count(), 1, "nothing is left behind");
}
