//! Broken and hostile GGUF files: each is refused for the reason that is wrong with it, and no mutation panics.

mod formats_builder;

use std::path::Path;

use bioinstruct_engine::format::{FormatError, Gguf, ModelFile, Problem};
use formats_builder::{
    GgufBuilder, mutate, text, tiny_metadata, tiny_tensors, values, with_tiny_tensors,
};
use proptest::prelude::*;

fn gguf(builder: &GgufBuilder) -> Problem {
    Gguf::from_bytes(builder.build()).expect_err("a broken file").problem
}

fn one_tensor() -> GgufBuilder {
    GgufBuilder::new().f32_tensor("a", &[2, 4], &[1.0; 8])
}

macro_rules! assert_problem {
    ($problem:expr, $pattern:pat $(if $guard:expr)?) => {
        let problem = $problem;
        assert!(matches!(&problem, $pattern $(if $guard)?), "{problem:?}");
    };
}

#[test]
fn the_sound_file_is_read() {
    let file = Gguf::from_bytes(one_tensor().u32("k", 7).build()).expect("sound");
    assert_eq!(file.unsigned("k").expect("an integer"), Some(7));
    assert_eq!(file.unsigned("missing").expect("absent"), None);
    assert!(file.text("k").is_err());
}

#[test]
fn magic_and_version() {
    let mut file = one_tensor();
    file.magic = *b"GGML";
    assert_problem!(gguf(&file), Problem::BadMagic { found: [b'G', b'G', b'M', b'L'] });
    for version in [0, 1, 4, 3u32.swap_bytes()] {
        let mut file = one_tensor();
        file.version = version;
        assert_problem!(gguf(&file), Problem::Version { version: found } if *found == version);
    }
    for length in [0, 3, 4, 7, 12, 20] {
        let bytes = one_tensor().build()[..length].to_vec();
        let problem = Gguf::from_bytes(bytes).expect_err("cut").problem;
        assert_problem!(problem, Problem::Truncated { .. });
    }
}

#[test]
fn counts_beyond_the_file() {
    for count in [1 << 60, u64::MAX, 1 << 32, 5000] {
        let mut file = one_tensor();
        file.tensor_count = Some(count);
        assert_problem!(gguf(&file), Problem::Count { what: "tensors", .. });
        let mut file = one_tensor();
        file.pair_count = Some(count);
        assert_problem!(gguf(&file), Problem::Count { what: "metadata pairs", .. });
    }
    let array = |element: u32, count: u64| {
        [&element.to_le_bytes()[..], &count.to_le_bytes(), &[0; 64]].concat()
    };
    for (element, count) in [(8, 1 << 60), (0, 1 << 60), (10, u64::MAX / 8 + 2), (4, 17)] {
        let file = GgufBuilder::new().raw("k", 9, &array(element, count));
        assert_problem!(gguf(&file), Problem::Count { what: "array elements", .. });
    }
}

#[test]
fn strings_beyond_the_file() {
    for length in [1u64 << 63, u64::MAX, 100] {
        let file = GgufBuilder::new().raw("k", 8, &length.to_le_bytes());
        assert_problem!(gguf(&file), Problem::Truncated { needed, .. } if *needed == length);
    }
    let file = GgufBuilder::new().raw("k", 8, &[&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat());
    assert_problem!(gguf(&file), Problem::NotUtf8 { .. });
}

#[test]
fn names_and_types_of_metadata() {
    assert_problem!(
        gguf(&GgufBuilder::new().u32("", 1)),
        Problem::BadName { what: "metadata key", .. }
    );
    let file = GgufBuilder::new().u32("k", 1).u32("k", 1);
    assert_problem!(gguf(&file), Problem::Duplicate { what: "metadata key", .. });
    let file = GgufBuilder::new().raw("k", 13, &[0; 8]);
    assert_problem!(gguf(&file), Problem::ValueType { number: 13, .. });
    let nested = [&9u32.to_le_bytes()[..], &1u64.to_le_bytes(), &[0; 16]].concat();
    assert_problem!(
        gguf(&GgufBuilder::new().raw("k", 9, &nested)),
        Problem::ValueType { number: 9, .. }
    );
    assert_problem!(gguf(&GgufBuilder::new().raw("k", 7, &[2])), Problem::Field { .. });
}

#[test]
fn alignments() {
    for found in [0u32, 1, 4, 7, 33, 1 << 17, u32::MAX] {
        let file = one_tensor().u32("general.alignment", found);
        assert_problem!(gguf(&file), Problem::Alignment { .. });
    }
    let file = one_tensor().text("general.alignment", "32");
    assert_problem!(gguf(&file), Problem::Field { .. });
    let mut file = GgufBuilder::new().u32("general.alignment", 64);
    file.alignment = 64;
    assert!(Gguf::from_bytes(file.f32_tensor("a", &[4], &[0.0; 4]).build()).is_ok());
}

#[test]
fn shapes_of_tensors() {
    let shape = |dimensions: &[u64]| {
        let mut file = GgufBuilder::new().describe("a", dimensions, 0, 0);
        file.data = vec![0; 64];
        gguf(&file)
    };
    for dimensions in [
        &[][..],
        &[1, 1, 1, 1, 1],
        &[0],
        &[4, 0],
        &[(1 << 31) + 1],
        &[u64::MAX],
        &[1 << 31, 1 << 31],
        &[1 << 20, 1 << 20, 2],
        // 2^64 elements: an unchecked product would be zero
        &[1 << 31, 1 << 31, 4],
    ] {
        assert_problem!(shape(dimensions), Problem::TensorShape { .. });
    }
    let mut many = GgufBuilder::new().raw("pad", 9, &[0; 12]);
    many = many.describe("a", &[4; 3], 0, 0);
    let mut bytes = many.build();
    let at = bytes.len() - 4 * 8 - 4 - 4;
    bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_problem!(
        Gguf::from_bytes(bytes).expect_err("broken").problem,
        Problem::TensorShape { .. }
    );
    let file = GgufBuilder::new().describe("a", &[33, 2], 8, 0);
    assert_problem!(gguf(&file), Problem::TensorShape { .. });
}

#[test]
fn types_of_tensors_are_refused_by_name() {
    for (number, expected) in
        [(10, "Q2_K"), (15, "Q8_K"), (22, "IQ2_S"), (24, "I8"), (4, "Q4_2"), (99, "ggml type 99")]
    {
        let problem = gguf(&GgufBuilder::new().describe("blk.0.attn_q.weight", &[256], number, 0));
        assert_problem!(&problem, Problem::TensorType { tensor, type_name, .. }
            if tensor == "blk.0.attn_q.weight" && type_name.starts_with(expected));
        assert!(problem.to_string().contains(expected), "{problem}");
    }
}

#[test]
fn places_of_tensors() {
    let two = |first: u64, second: u64| {
        let mut file =
            GgufBuilder::new().describe("a", &[16], 0, first).describe("b", &[16], 0, second);
        file.data = vec![0; 128];
        file
    };
    assert!(Gguf::from_bytes(two(0, 64).build()).is_ok());
    assert!(Gguf::from_bytes(two(64, 0).build()).is_ok());
    assert_problem!(gguf(&two(0, 32)), Problem::Overlap { first, second } if first == "a" && second == "b");
    assert_problem!(gguf(&two(0, 0)), Problem::Overlap { .. });
    assert_problem!(gguf(&two(0, 65)), Problem::Misaligned { offset: 65, alignment: 32, .. });
    assert_problem!(gguf(&two(0, 96)), Problem::OutsideFile { tensor, .. } if tensor == "b");
    assert_problem!(gguf(&two(0, u64::MAX - 31)), Problem::OutsideFile { .. });
    // both end past 2^64
    assert_problem!(gguf(&two(u64::MAX - 31, u64::MAX - 31)), Problem::OutsideFile { .. });
    let mut file = one_tensor();
    file.data.truncate(31);
    assert_problem!(gguf(&file), Problem::OutsideFile { .. });
    file.data.clear();
    assert_problem!(gguf(&file), Problem::OutsideFile { .. });
    let file = GgufBuilder::new().f32_tensor("a", &[1], &[0.0]).f32_tensor("a", &[1], &[0.0]);
    assert_problem!(gguf(&file), Problem::Duplicate { what: "tensor", .. });
    let file = GgufBuilder::new().f32_tensor("", &[1], &[0.0]);
    assert_problem!(gguf(&file), Problem::BadName { what: "tensor name", .. });
    let file = GgufBuilder::new().f32_tensor(&"n".repeat(300), &[1], &[0.0]);
    assert_problem!(gguf(&file), Problem::BadName { what: "tensor name", .. });
}

#[test]
fn headers_that_outgrow_the_limit() {
    // metadata that is all there
    let length = 33u64 << 20;
    let mut value = length.to_le_bytes().to_vec();
    value.resize(8 + length as usize, b'x');
    let problem = gguf(&GgufBuilder::new().raw("k", 8, &value));
    assert_problem!(problem, Problem::Count { what: "bytes of header", .. });
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    fs_err::write(folder.join(name), bytes).expect("written");
}

fn problem(result: Result<ModelFile, FormatError>) -> Problem {
    result.expect_err("broken").problem
}

#[test]
fn pickles_are_never_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "MODEL.PKL"] {
        write(folder.path(), name, b"\x80\x04");
        let found = problem(ModelFile::open(&folder.path().join(name)));
        assert!(found.to_string().contains("safetensors"), "names the way out: {found}");
        assert_problem!(found, Problem::Pickle { .. });
    }
    assert_problem!(problem(ModelFile::open(folder.path())), Problem::Pickle { .. });
    let empty = tempfile::tempdir().expect("a folder");
    assert_problem!(problem(ModelFile::open(empty.path())), Problem::NoModel { .. });
    assert_problem!(problem(ModelFile::open(&empty.path().join("x.gguf"))), Problem::Io(_));
}

/// A model must be whole, and nothing else.
#[test]
fn models_are_complete() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tiny.gguf");
    let open = |builder: GgufBuilder| {
        fs_err::write(&path, builder.build()).expect("written");
        ModelFile::open(&path)
    };
    assert!(open(with_tiny_tensors(tiny_metadata())).is_ok());

    let mut missing = tiny_metadata();
    for (name, _, shape) in tiny_tensors().into_iter().filter(|(name, ..)| !name.contains("ffn_up"))
    {
        missing = missing.f32_tensor(&name, &shape, &values(shape.iter().product(), 1));
    }
    assert_problem!(problem(open(missing)), Problem::MissingTensor { name } if name.contains("up_proj"));
    let extra =
        with_tiny_tensors(tiny_metadata()).f32_tensor("blk.0.ffn_gate_inp.weight", &[1], &[0.0]);
    assert_problem!(problem(open(extra)), Problem::UnexpectedTensor { .. });
    let extra =
        with_tiny_tensors(tiny_metadata()).f32_tensor("blk.1.ffn_norm.weight", &[1], &[0.0]);
    assert_problem!(problem(open(extra)), Problem::UnexpectedTensor { .. });
    let bias =
        with_tiny_tensors(tiny_metadata()).f32_tensor("blk.0.attn_v.bias", &[16], &[0.0; 16]);
    assert_problem!(problem(open(bias)), Problem::UnexpectedTensor { .. });
    let wide =
        with_tiny_tensors(tiny_metadata()).f32_tensor("output.weight", &[10, 31], &[0.0; 310]);
    assert_problem!(problem(open(wide)), Problem::WrongShape { .. });
    let metadata = |key: &str, value: &str| with_tiny_tensors(tiny_metadata().text(key, value));
    assert_problem!(problem(open(metadata("llama.rope.scaling.type", "yarn"))), Problem::UnknownRope { kind } if kind == "yarn");
    let experts = with_tiny_tensors(tiny_metadata().u32("llama.expert_count", 8));
    assert_problem!(problem(open(experts)), Problem::Unsupported { .. });
    let split = with_tiny_tensors(tiny_metadata().u32("split.count", 3));
    assert_problem!(problem(open(split)), Problem::Unsupported { .. });
    let other = GgufBuilder::new().text("general.architecture", "gemma2");
    assert_problem!(problem(open(with_tiny_tensors(other))), Problem::UnknownFamily { name, .. } if name == "gemma2");
    let odd = with_tiny_tensors(tiny_metadata().u32("llama.rope.dimension_count", 4));
    assert_problem!(problem(open(odd)), Problem::Unsupported { .. });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn mutated_gguf_files_never_panic(changes in prop::collection::vec((any::<usize>(), any::<u8>(), any::<u8>()), 1..6)) {
        let mut bytes = with_tiny_tensors(tiny_metadata().strings("tokenizer.ggml.tokens", &["a", "b"])).build();
        // the header is what can be made wrong
        let header = bytes.len() - with_tiny_tensors(tiny_metadata()).data.len();
        let changes: Vec<_> = changes.into_iter().map(|(at, kind, value)| (at % header, kind, value)).collect();
        mutate(&mut bytes, &changes);
        if let Ok(file) = Gguf::from_bytes(bytes) {
            let keys: Vec<String> = file.keys().map(str::to_string).collect();
            for key in keys {
                let _ = (file.strings(&key), file.integers(&key), file.numbers(&key));
            }
        }
    }
}

#[test]
fn text_is_length_and_bytes() {
    // the builder itself
    assert_eq!(text("ab"), [2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b']);
}
