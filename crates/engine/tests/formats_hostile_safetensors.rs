//! Broken and hostile safetensors files and indices: each is refused for the reason that is wrong with it, and what is
//! accepted is what the reference implementation reads.

mod formats_builder;

use std::path::Path;

use bioinstruct_engine::format::{FormatError, ModelFile, Problem, Safetensors};
use formats_builder::{mutate, safetensors_file};
use proptest::prelude::*;

macro_rules! assert_problem {
    ($problem:expr, $pattern:pat $(if $guard:expr)?) => {
        let problem = $problem;
        assert!(matches!(&problem, $pattern $(if $guard)?), "{problem:?}");
    };
}

fn safetensors(header: &str, data: usize) -> Problem {
    Safetensors::from_bytes(safetensors_file(header, data)).expect_err("broken").problem
}

fn entry(dtype: &str, shape: &str, start: u64, end: u64) -> String {
    format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
}

#[test]
fn safetensors_headers() {
    let sound = safetensors_file(&format!(r#"{{"a":{}}}"#, entry("F32", "[2]", 0, 8)), 8);
    assert!(Safetensors::from_bytes(sound).is_ok());
    let cut = |bytes: &[u8]| Safetensors::from_bytes(bytes.to_vec()).expect_err("broken").problem;
    assert_problem!(cut(&[1, 2, 3]), Problem::Truncated { .. });
    for length in [u64::MAX, 1 << 63, 100_000_000, (32 << 20) + 1] {
        let problem = cut(&[&length.to_le_bytes()[..], b"{}"].concat());
        assert_problem!(problem, Problem::Count { what: "bytes of header", .. });
    }
    assert_problem!(cut(&[&100u64.to_le_bytes()[..], b"{}"].concat()), Problem::Truncated { .. });
    assert_problem!(
        cut(&[&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat()),
        Problem::NotUtf8 { .. }
    );
    for header in
        ["", "[]", "{", r#"{"a":1}"#, r#"{"a":{"dtype":"F32"}}"#, r#"{"__metadata__":{"a":1}}"#]
    {
        assert_problem!(safetensors(header, 0), Problem::Json { .. });
    }
    assert_problem!(safetensors(&"[".repeat(1000), 0), Problem::Json { .. });
    let negative = r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#;
    assert_problem!(safetensors(negative, 4), Problem::Json { .. });
}

#[test]
fn safetensors_tensors() {
    let one = |dtype: &str, shape: &str, start: u64, end: u64, data: usize| {
        safetensors(&format!(r#"{{"a":{}}}"#, entry(dtype, shape, start, end)), data)
    };
    assert_problem!(one("F32", "[2]", 0, 4, 4), Problem::ByteRange { expected: 8, got: 4, .. });
    assert_problem!(one("F16", "[2]", 0, 8, 8), Problem::ByteRange { expected: 4, got: 8, .. });
    assert_problem!(one("F32", "[2]", 8, 0, 8), Problem::ByteRange { .. });
    assert_problem!(one("F32", "[2]", 0, 8, 4), Problem::OutsideFile { .. });
    assert_problem!(one("F32", "[2]", 4, 12, 12), Problem::Unclaimed { offset: 0, count: 4 });
    assert_problem!(one("F32", "[2]", 0, 8, 12), Problem::Unclaimed { offset: 8, count: 4 });
    assert_problem!(one("Q8", "[2]", 0, 8, 8), Problem::TensorType { type_name, .. } if type_name == "Q8");
    assert_problem!(one("F4", "[3]", 0, 1, 1), Problem::TensorShape { .. });
    for shape in [
        "[1,1,1,1,1]",
        "[4294967296,4294967296]",
        "[2147483648,2147483648,4]",
        "[18446744073709551615]",
    ] {
        assert_problem!(one("F32", shape, 0, 0, 0), Problem::TensorShape { .. });
    }
    let two = |first: String, second: String, data: usize| {
        safetensors(&format!(r#"{{"a":{first},"b":{second}}}"#), data)
    };
    let f32 = |start, end| entry("F32", "[2]", start, end);
    assert_problem!(two(f32(0, 8), f32(4, 12), 12), Problem::Overlap { .. });
    assert_problem!(two(f32(0, 8), f32(0, 8), 8), Problem::Overlap { .. });
    assert_problem!(two(f32(0, 8), f32(12, 20), 20), Problem::Unclaimed { offset: 8, count: 4 });
    let twice = format!(r#"{{"a":{},"a":{}}}"#, f32(0, 8), f32(8, 16));
    assert_problem!(safetensors(&twice, 16), Problem::Duplicate { what: "tensor", .. });
    let twice = r#"{"__metadata__":{},"__metadata__":{}}"#;
    assert_problem!(safetensors(twice, 0), Problem::Json { .. });
    // known to the format, but not to the engine: refused when asked for
    let file = safetensors_file(&format!(r#"{{"a":{}}}"#, entry("I64", "[1]", 0, 8)), 8);
    let file = Safetensors::from_bytes(file).expect("sound");
    let problem = file.tensor("a").expect_err("I64").problem;
    assert_problem!(problem, Problem::TensorType { type_name, .. } if type_name == "I64");
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    fs_err::write(folder.join(name), bytes).expect("written");
}

fn problem(result: Result<ModelFile, FormatError>) -> Problem {
    result.expect_err("broken").problem
}

#[test]
fn shards_stay_in_their_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "config.json", "{}");
    write(folder.path(), "outside.safetensors", safetensors_file("{}", 0));
    let model = folder.path().join("model");
    fs_err::create_dir(&model).expect("made");
    write(&model, "config.json", "{}");
    let open = |shard: &str| {
        let index = serde_json::json!({ "weight_map": { "a": shard } }).to_string();
        write(&model, "model.safetensors.index.json", index);
        problem(ModelFile::open(&model))
    };
    let absolute = folder.path().join("outside.safetensors").display().to_string();
    for shard in [
        "../outside.safetensors",
        absolute.as_str(),
        "sub/x.safetensors",
        "./x.safetensors",
        "..",
        ".hidden.safetensors",
        "a\\b.safetensors",
        "c:x.safetensors",
        "x.bin",
        "",
        "x.safetensors/",
    ] {
        assert_problem!(open(shard), Problem::ShardName { shard: found } if found == shard);
    }
    assert_problem!(open("missing.safetensors"), Problem::Io(_));
}

#[test]
fn index_and_shards_agree() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    write(path, "config.json", "{}");
    let shard = safetensors_file(&format!(r#"{{"a":{}}}"#, entry("F32", "[2]", 0, 8)), 8);
    write(path, "one.safetensors", shard);
    let open = |map: serde_json::Value| {
        let index = serde_json::json!({ "weight_map": map }).to_string();
        write(path, "model.safetensors.index.json", index);
        problem(ModelFile::open(path))
    };
    let both = serde_json::json!({"a": "one.safetensors", "b": "one.safetensors"});
    assert_problem!(open(both), Problem::ShardContent { tensor, .. } if tensor == "b");
    let other = serde_json::json!({"b": "one.safetensors"});
    assert_problem!(open(other), Problem::ShardContent { tensor, .. } if tensor == "a");
    assert_problem!(open(serde_json::json!([])), Problem::MissingField { .. });
    assert_problem!(open(serde_json::json!({"a": 1})), Problem::ShardName { .. });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn mutated_safetensors_files_never_panic_and_agree_with_the_reference(
        changes in prop::collection::vec((any::<usize>(), any::<u8>(), any::<u8>()), 0..6)
    ) {
        let header = format!(r#"{{"__metadata__":{{"k":"v"}},"a":{},"b":{}}}"#, entry("F32", "[2, 3]", 0, 24), entry("BF16", "[4]", 24, 32));
        let mut bytes = safetensors_file(&header, 32);
        mutate(&mut bytes, &changes);
        if let Ok(ours) = Safetensors::from_bytes(bytes.clone()) {
            let theirs = safetensors::SafeTensors::deserialize(&bytes).expect("accepted by ours, so by the reference");
            let names: Vec<String> = ours.names().map(str::to_string).collect();
            prop_assert_eq!(names.len(), theirs.len());
            for name in names {
                if let Ok(view) = ours.tensor(&name) {
                    let other = theirs.tensor(&name).expect("the same names");
                    let bytes = view.bytes();
                    prop_assert_eq!(bytes.as_ref(), other.data());
                    prop_assert_eq!(view.shape(), other.shape());
                }
            }
        }
    }
}
