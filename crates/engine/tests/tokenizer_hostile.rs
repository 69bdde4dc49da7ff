//! Broken and hostile tokenizers are refused for what is wrong with them; text, whatever it is, never becomes a control
//! token.

mod formats_builder;

use std::path::Path;
use std::sync::LazyLock;

use bioinstruct_engine::format::Gguf;
use bioinstruct_engine::tokenizer::{Tokenizer, TokenizerProblem};
use formats_builder::GgufBuilder;
use proptest::prelude::*;
use serde_json::{Value, json};

macro_rules! assert_problem {
    ($problem:expr, $pattern:pat $(if $guard:expr)?) => {
        let problem = $problem;
        assert!(matches!(&problem, $pattern $(if $guard)?), "{problem:?}");
    };
}

/// A byte-level vocabulary of two letters, a pair and a control token.
fn metadata(model: &str, tokens: &[&str], kinds: &[i32], merges: &[&str]) -> GgufBuilder {
    GgufBuilder::new()
        .text("tokenizer.ggml.model", model)
        .strings("tokenizer.ggml.tokens", tokens)
        .integers("tokenizer.ggml.token_type", kinds)
        .strings("tokenizer.ggml.merges", merges)
}

const TOKENS: [&str; 4] = ["<s>", "a", "b", "ab"];
const KINDS: [i32; 4] = [3, 1, 1, 1];

fn sound() -> GgufBuilder {
    metadata("gpt2", &TOKENS, &KINDS, &["a b"]).text("tokenizer.ggml.pre", "gpt-2")
}

fn load(builder: &GgufBuilder) -> Result<Tokenizer, TokenizerProblem> {
    let gguf = Gguf::from_bytes(builder.build()).expect("a sound file");
    Tokenizer::from_gguf(&gguf).map_err(|error| error.problem)
}

fn problem(builder: &GgufBuilder) -> TokenizerProblem {
    load(builder).expect_err("broken")
}

/// Compiles when it can be shared between threads.
fn shared<T: Send + Sync>(_: &T) {}

#[test]
fn the_sound_one_is_read() {
    let tokenizer = load(&sound().u32("tokenizer.ggml.eos_token_id", 0)).expect("sound");
    assert_eq!(tokenizer.encode_text("ab<s>"), [3], "the letters of <s> have no tokens");
    assert_eq!(tokenizer.encode_with_control("ab<s>"), [3, 0]);
    assert_eq!(tokenizer.decode(&[3, 0, 1], true), "aba");
    assert_eq!((tokenizer.eos(), tokenizer.bos()), (Some(0), None));
    shared(&tokenizer);
}

#[test]
fn gguf_metadata_is_checked() {
    let pre = |builder: GgufBuilder| builder.text("tokenizer.ggml.pre", "gpt-2");
    assert_problem!(problem(&GgufBuilder::new()), TokenizerProblem::Missing { field } if field == "tokenizer.ggml.model");
    let other = metadata("bert", &TOKENS, &KINDS, &[]);
    assert_problem!(problem(&other), TokenizerProblem::UnknownModel { name } if name == "bert");
    let missing = metadata("gpt2", &TOKENS, &KINDS, &["a b"]);
    assert_problem!(problem(&missing), TokenizerProblem::Missing { field } if field == "tokenizer.ggml.pre");
    let short = pre(metadata("gpt2", &TOKENS, &KINDS[1..], &["a b"]));
    assert_problem!(problem(&short), TokenizerProblem::Lengths { expected: 4, got: 3, .. });
    let kind = pre(metadata("gpt2", &TOKENS, &[3, 1, 1, 7], &["a b"]));
    assert_problem!(problem(&kind), TokenizerProblem::TokenField { id: 3, what: "type", .. });
    let twice = pre(metadata("gpt2", &["<s>", "a", "a", "ab"], &KINDS, &[]));
    assert_problem!(problem(&twice), TokenizerProblem::TokenTwice { first: 1, second: 2, .. });
    let empty = pre(metadata("gpt2", &["<s>", "a", "b", ""], &KINDS, &[]));
    assert_problem!(problem(&empty), TokenizerProblem::EmptyToken { id: 3 });
    for merge in ["ab", "", "a", "a "] {
        let merges = pre(metadata("gpt2", &TOKENS, &KINDS, &[merge]));
        assert_problem!(problem(&merges), TokenizerProblem::MergeSyntax { number: 0, .. });
    }
    let long = pre(metadata("gpt2", &TOKENS, &KINDS, &["a b", "ab ab"]));
    assert_problem!(
        problem(&long),
        TokenizerProblem::MergeTooLong { number: 1, length: 4, longest: 3 }
    );
    for key in ["bos", "eos", "eot"] {
        let outside = sound().u32(&format!("tokenizer.ggml.{key}_token_id"), 4);
        assert_problem!(problem(&outside), TokenizerProblem::TokenId { id: 4, size: 4, .. });
    }
    let appended = sound().flag("tokenizer.ggml.add_eos_token", true);
    assert_problem!(problem(&appended), TokenizerProblem::Unsupported { .. });
    let scores = metadata("llama", &TOKENS, &KINDS, &[]);
    assert_problem!(problem(&scores), TokenizerProblem::Missing { field } if field == "tokenizer.ggml.scores");
    let bytes = metadata("llama", &TOKENS, &KINDS, &[]).floats("tokenizer.ggml.scores", &[0.0; 4]);
    assert_problem!(problem(&bytes), TokenizerProblem::ByteToken { byte: 0 });
    let infinite = metadata("llama", &TOKENS, &[3, 2, 1, 1], &[]);
    let infinite = infinite.floats("tokenizer.ggml.scores", &[0.0, 0.0, f32::INFINITY, 0.0]);
    assert_problem!(problem(&infinite), TokenizerProblem::TokenField { id: 2, what: "score", .. });
    // llama.cpp once wrote out of bounds for such a token
    let byte = metadata("llama", &["<unk>", "<0x-1>"], &[2, 6], &[])
        .floats("tokenizer.ggml.scores", &[0.0; 2]);
    assert_problem!(problem(&byte), TokenizerProblem::Unsupported { .. });
}

fn json_tokenizer() -> Value {
    json!({
        "added_tokens": [{"id": 4, "content": "<s>", "special": true}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}
    })
}

fn from_json(json: &Value) -> Result<Tokenizer, TokenizerProblem> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokenizer.json");
    fs_err::write(&path, json.to_string()).expect("written");
    Tokenizer::from_file(&path).map_err(|error| error.problem)
}

/// The error of the sound tokenizer with one value changed.
fn changed(pointer: &str, value: Value) -> TokenizerProblem {
    let mut json = json_tokenizer();
    let (parent, key) = pointer.rsplit_once('/').expect("a path");
    let parent = json.pointer_mut(parent).expect("there");
    match key.parse::<usize>() {
        Ok(index) => parent[index] = value,
        Err(_) => parent[key] = value,
    }
    from_json(&json).expect_err(pointer)
}

#[test]
fn json_files_are_checked() {
    let tokenizer = from_json(&json_tokenizer()).expect("sound");
    assert_eq!((tokenizer.encode_text("ab"), tokenizer.vocabulary_size()), (vec![2], 5));
    assert!(tokenizer.token_bytes(3).is_empty(), "an id that the file leaves out");
    assert_problem!(
        changed("/model/type", json!("Unigram")),
        TokenizerProblem::UnknownModel { .. }
    );
    assert_problem!(
        changed("/model/merges", json!(["ab ab"])),
        TokenizerProblem::MergeTooLong { .. }
    );
    assert_problem!(changed("/model/merges", json!([["a"]])), TokenizerProblem::MergeSyntax { .. });
    assert_problem!(
        changed("/model/merges", json!([["b", "a"]])),
        TokenizerProblem::MergePiece { .. }
    );
    assert_problem!(
        changed("/model/vocab", json!({"a": 4_000_000_000u64})),
        TokenizerProblem::TokenId { .. }
    );
    assert_problem!(
        changed("/model/vocab", json!({"a": 0, "b": 0})),
        TokenizerProblem::TokenTwice { .. }
    );
    assert_problem!(changed("/model/vocab", json!({"a": -1})), TokenizerProblem::Missing { .. });
    assert_problem!(changed("/model/dropout", json!(0.1)), TokenizerProblem::Unsupported { .. });
    assert_problem!(
        changed("/model/byte_fallback", json!(true)),
        TokenizerProblem::Unsupported { .. }
    );
    assert_problem!(
        changed("/model/continuing_subword_prefix", json!("##")),
        TokenizerProblem::Unsupported { .. }
    );
    assert_problem!(changed("/model/unk_token", json!("<none>")), TokenizerProblem::Missing { .. });
}

#[test]
fn added_tokens_and_stages_of_json_files_are_checked() {
    assert_problem!(
        changed("/added_tokens/0", json!({"id": 0, "content": "<s>"})),
        TokenizerProblem::TokenTwice { .. }
    );
    assert_problem!(
        changed("/added_tokens/0", json!({"id": 4, "content": ""})),
        TokenizerProblem::EmptyToken { .. }
    );
    let word = json!({"id": 4, "content": "x", "single_word": true});
    assert_problem!(changed("/added_tokens/0", word), TokenizerProblem::Unsupported { .. });
    assert_problem!(
        changed("/decoder", json!({"type": "WordPiece"})),
        TokenizerProblem::Unsupported { .. }
    );
    assert_problem!(
        changed("/normalizer", json!({"type": "Lowercase"})),
        TokenizerProblem::Unsupported { .. }
    );
}

static SENTENCE_PIECE: LazyLock<[Tokenizer; 2]> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/tokenizer");
    [
        Tokenizer::from_gguf(&Gguf::open(&folder.join("spm.gguf")).expect("sound")).expect("known"),
        Tokenizer::from_file(&folder.join("spm-hf/tokenizer.json")).expect("known"),
    ]
});

proptest! {
    #[test]
    fn any_text_is_encoded_without_loss_or_control(text in "(\\PC|[<>/s ▁]|</s>|<0x41>|[\\x00-\\x20]){0,30}") {
        let [scored, merged] = &*SENTENCE_PIECE;
        let ids = scored.encode_text(&text);
        prop_assert_eq!(&ids, &merged.encode_text(&text));
        prop_assert!(ids.iter().all(|id| !scored.is_control(*id)));
        // a literal `▁` is what a space is written as
        prop_assert_eq!(scored.decode(&ids, false), text.replace('▁', " "));
    }
}
