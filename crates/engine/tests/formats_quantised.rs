//! Quantised rows have the values that ggml's own package gives them, bit for bit.
//!
//! Goldens: `tests/goldens/formats/quantised.json`, `quantisers.json`.

mod formats_builder;

use std::path::Path;

use bioinstruct_engine::format::blocks::dequantise_part;
use bioinstruct_engine::format::quantise::quantise;
use bioinstruct_engine::format::{DataType, Gguf, Problem};
use bioinstruct_engine::kernels::KernelPath;
use formats_builder::GgufBuilder;
use serde_json::Value;

/// ggml's number and name of each quantised type, and the elements of its block.
const TYPES: [(u32, &str, usize); 8] = [
    (2, "Q4_0", 32),
    (3, "Q4_1", 32),
    (6, "Q5_0", 32),
    (7, "Q5_1", 32),
    (8, "Q8_0", 32),
    (12, "Q4_K", 256),
    (13, "Q5_K", 256),
    (14, "Q6_K", 256),
];

/// Numbers of `digits` hexadecimal digits each.
fn hexadecimal(text: &Value, digits: usize) -> Vec<u32> {
    let text = text.as_str().expect("a text").as_bytes();
    let number = |digits: &[u8]| {
        let digits = str::from_utf8(digits).expect("ASCII");
        u32::from_str_radix(digits, 16).expect("hexadecimal digits")
    };
    text.chunks(digits).map(number).collect()
}

fn data_type(name: &str) -> DataType {
    DataType::ALL.into_iter().find(|known| known.name() == name).expect("a type that is read")
}

#[test]
fn values_are_ggmls() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/formats/quantised.json");
    let golden: Value = serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap();
    let columns = golden["columns"].as_u64().unwrap() as usize;
    assert_eq!(golden["types"].as_object().unwrap().len(), TYPES.len());
    for (number, name, elements) in TYPES {
        let rows = golden["types"][name].as_array().expect("rows of each type");
        let stored: Vec<u8> = rows
            .iter()
            .flat_map(|row| hexadecimal(&row["bytes"], 2))
            .map(|byte| byte as u8)
            .collect();
        let file = GgufBuilder::new().tensor("a", &[rows.len(), columns], number, &stored);
        assert!(Gguf::from_bytes(file.build()).is_ok(), "{name}");
        let data_type = data_type(name);
        assert_eq!(data_type.block_elements(), elements);
        let size = data_type.row_bytes(columns);
        assert_eq!(stored.len(), rows.len() * size);
        for (row, bytes) in rows.iter().zip(stored.chunks(size)) {
            let expected = hexadecimal(&row["values"], 8);
            for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
                let mut values = vec![0.0f32; columns];
                dequantise_part(data_type, path, bytes, 0, &mut values);
                let found: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
                assert_eq!(found, expected, "{name} {path:?}");
            }
        }
    }
}

#[test]
fn what_is_written_is_as_near_as_what_ggml_writes() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/formats/quantisers.json");
    let golden: Value = serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap();
    let rows = golden["values"].as_array().expect("rows");
    let values: Vec<f32> =
        rows.iter().flat_map(|row| hexadecimal(row, 8)).map(f32::from_bits).collect();
    let size: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
    let errors = golden["errors"].as_object().expect("types");
    assert_eq!(errors.len(), 4);
    for (name, theirs) in errors {
        let data_type = data_type(name);
        let mut bytes = vec![0; data_type.row_bytes(values.len())];
        quantise(data_type, &values, &mut bytes);
        let mut read = vec![0.0; values.len()];
        dequantise_part(data_type, KernelPath::Portable, &bytes, 0, &mut read);
        let square = |(left, right): (&f32, &f32)| f64::from(left - right).powi(2);
        let error = (values.iter().zip(&read).map(square).sum::<f64>() / size).sqrt();
        let theirs = theirs.as_f64().expect("a number");
        assert!(error <= 1.02 * theirs, "{name}: {error}, ggml {theirs}");
        if data_type == DataType::Q8_0 {
            let expected: Vec<u8> =
                hexadecimal(&golden["q8_0"], 2).into_iter().map(|byte| byte as u8).collect();
            assert_eq!(bytes, expected);
        }
    }
}

#[test]
fn every_block_type_is_known_by_its_number() {
    let quantised = DataType::ALL
        .into_iter()
        .filter(|data_type| data_type.block_elements() > 1 && *data_type != DataType::NF4);
    let names: Vec<&str> = quantised.map(DataType::name).collect();
    assert_eq!(names.len(), TYPES.len());
    assert!(TYPES.iter().all(|(_, name, _)| names.contains(name)));
}

#[test]
fn rows_are_whole_blocks_and_all_there() {
    for (number, name, elements) in TYPES {
        for columns in
            [1, 31, elements - 1, elements + 1, elements + elements / 2, 2 * elements - 1]
        {
            let file = GgufBuilder::new().describe("a", &[columns as u64, 2], number, 0).build();
            let problem = Gguf::from_bytes(file).expect_err("a broken block").problem;
            assert!(
                matches!(&problem, Problem::TensorShape { tensor, reason } if tensor == "a"
                    && reason.contains(&format!("rows of {columns}"))
                    && reason.contains(&format!("blocks of {elements}"))),
                "{name} {columns}: {problem:?}"
            );
        }
        let size = 3 * data_type(name).row_bytes(512);
        let sound = GgufBuilder::new().tensor("a", &[3, 512], number, &vec![0x5a; size]);
        assert!(Gguf::from_bytes(sound.build()).is_ok(), "{name}");
        let mut cut = sound;
        cut.data.truncate(size - 1);
        let problem = Gguf::from_bytes(cut.build()).expect_err("cut").problem;
        assert!(matches!(&problem, Problem::OutsideFile { .. }), "{name}: {problem:?}");
    }
}
