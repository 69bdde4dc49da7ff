//! bitsandbytes' 4-bit normal float: values as its own functions give them, and each broken companion refused.
//!
//! Golden: `tests/goldens/formats/nf4`.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bioinstruct_engine::format::blocks::dequantise_part;
use bioinstruct_engine::format::{DataType, Problem, Safetensors, SafetensorsSet, TensorView};
use bioinstruct_engine::kernels::KernelPath;
use safetensors::Dtype;
use safetensors::tensor::TensorView as Stored;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/formats/nf4")
}

/// A tensor of the golden: type, shape, bytes.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn tensors() -> Tensors {
    let bytes = fs_err::read(golden().join("model.safetensors")).unwrap();
    let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let of = |name: &&str| {
        let view = read.tensor(name).unwrap();
        ((*name).to_string(), (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
    };
    read.names().iter().map(of).collect()
}

/// The weight of this name out of a folder with these tensors.
fn read(tensors: &Tensors, name: &str) -> Result<TensorView, Problem> {
    let folder = tempfile::tempdir().unwrap();
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        (name.as_str(), Stored::new(*dtype, shape.clone(), data).unwrap())
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    fs_err::write(folder.path().join("model.safetensors"), bytes).unwrap();
    let set = SafetensorsSet::open(folder.path()).map_err(|error| error.problem)?.unwrap();
    set.tensor(name).map_err(|error| error.problem)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn values_are_those_of_bitsandbytes() {
    let set = SafetensorsSet::open(&golden()).unwrap().unwrap();
    let names: Vec<&str> = set.names().collect();
    assert_eq!(
        names,
        ["across.weight", "nested.weight", "plain.weight"],
        "companions are not listed"
    );
    let expected = Safetensors::open(&golden().join("expected.safetensors")).unwrap();
    for (name, data_type) in
        [("plain", DataType::NF4), ("nested", DataType::NF4), ("across", DataType::F32)]
    {
        let tensor = set.tensor(&format!("{name}.weight")).unwrap();
        assert_eq!(tensor.data_type(), data_type, "{name}");
        let values = expected.tensor(&format!("{name}.read")).unwrap();
        assert_eq!(tensor.shape(), values.shape());
        assert_eq!(bits(&tensor.to_f32()), bits(&values.to_f32()), "{name}");
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            let mut part = [0.0; 32];
            let row = tensor.row_bytes(1);
            dequantise_part(data_type, path, row, 32, &mut part);
            assert_eq!(bits(&part), bits(&values.to_f32()[tensor.columns() + 32..][..32]));
        }
    }
}

#[test]
fn each_broken_companion_is_refused() {
    let state = "nested.weight.quant_state.bitsandbytes__nf4";
    let with_state = |from: &str, to: &str| {
        let mut tensors = tensors();
        let (_, shape, bytes) = tensors.get_mut(state).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.contains(from), "{text}");
        *bytes = text.replacen(from, to, 1).into_bytes();
        *shape = vec![bytes.len()];
        read(&tensors, "nested.weight").unwrap_err()
    };
    for (from, to) in [
        ("\"nf4\"", "\"fp4\""),
        ("\"blocksize\": 64", "\"blocksize\": 0"),
        ("\"blocksize\": 64", "\"blocksize\": 65"),
        ("\"nested_blocksize\": 256", "\"nested_blocksize\": 3"),
    ] {
        let problem = with_state(from, to);
        assert!(matches!(problem, Problem::Unsupported { .. }), "{to}: {problem:?}");
    }
    for (from, to) in [
        ("[300, 64]", "[0, 64]"),
        ("[300, 64]", "[]"),
        ("[300, 64]", "[1, 2, 3]"),
        ("[300, 64]", "[18446744073709551615, 64]"),
        ("[300, 64]", "[1099511627776, 64]"),
    ] {
        let problem = with_state(from, to);
        assert!(matches!(problem, Problem::TensorShape { .. }), "{to}: {problem:?}");
    }
    // another shape than the codes have, and text that is no state
    assert!(matches!(with_state("[300, 64]", "[301, 64]"), Problem::ByteRange { .. }));
    assert!(matches!(with_state("{", "[{"), Problem::Json { .. }));
    assert!(matches!(with_state("\"blocksize\"", "\"block_size\""), Problem::Json { .. }));
    assert!(matches!(with_state("\"nested_offset\"", "\"shape_\""), Problem::Json { .. }));
}

#[test]
fn missing_cut_and_mistyped_companions_are_refused() {
    for (ending, optional) in [
        (".absmax", false),
        (".quant_map", false),
        (".nested_quant_map", false),
        // without it, the bytes of `.absmax` are no floats
        (".nested_absmax", true),
    ] {
        let name = format!("nested.weight{ending}");
        let mut without = tensors();
        let (dtype, shape, bytes) = without.remove(&name).unwrap();
        let problem = read(&without, "nested.weight").unwrap_err();
        let missing =
            matches!(&problem, Problem::MissingTensor { name: missing } if *missing == name);
        assert!(
            missing || (optional && matches!(problem, Problem::Unsupported { .. })),
            "{problem:?}"
        );

        let mut cut = without.clone();
        let width = bytes.len() / shape[0];
        cut.insert(name.clone(), (dtype, vec![shape[0] - 1], bytes[width..].to_vec()));
        let problem = read(&cut, "nested.weight").unwrap_err();
        assert!(matches!(problem, Problem::ByteRange { .. }), "{ending}: {problem:?}");
    }
    let mut not_a_number = tensors();
    let (_, _, bytes) = not_a_number.get_mut("nested.weight.nested_absmax").unwrap();
    bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let problem = read(&not_a_number, "nested.weight").unwrap_err();
    assert!(
        matches!(&problem, Problem::Unsupported { what } if what.contains("not finite")),
        "{problem:?}"
    );
    let mut other_map = tensors();
    let (_, _, bytes) = other_map.get_mut("plain.weight.quant_map").unwrap();
    bytes[0] ^= 1;
    let problem = read(&other_map, "plain.weight").unwrap_err();
    assert!(
        matches!(&problem, Problem::Unsupported { what } if what.contains("quant_map")),
        "{problem:?}"
    );
    let mut fp4 = tensors();
    let state = fp4.remove("plain.weight.quant_state.bitsandbytes__nf4").unwrap();
    fp4.insert("plain.weight.quant_state.bitsandbytes__fp4".to_string(), state);
    let problem = read(&fp4, "plain.weight").unwrap_err();
    assert!(matches!(&problem, Problem::TensorType { type_name, .. } if type_name.contains("FP4")));
}
