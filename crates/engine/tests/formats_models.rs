//! The same model as GGUF and as a Hugging Face folder, read to the same numbers; and what is written is read back.

mod formats_builder;

use std::collections::BTreeMap;
use std::path::Path;

use bioinstruct_engine::format::{
    DataType, Family, ModelFile, NamedTensor, Problem, RopeScaling, Safetensors, write_safetensors,
};
use bioinstruct_engine::tokenizer::Tokenizer;
use formats_builder::{
    FEED, HEAD, HEADS, HIDDEN, KEY_VALUE_HEADS, VOCABULARY, tiny_metadata, tiny_tensors, values,
    with_tiny_tensors,
};

/// Where Hugging Face's row `row` stands in GGUF: written independently of the reader, after the converter's
/// `reshape(heads, 2, head / 2).swapaxes(1, 2)`.
fn gguf_row(row: usize) -> usize {
    let (head, within) = (row / HEAD, row % HEAD);
    let (half, pair) = (within / (HEAD / 2), within % (HEAD / 2));
    head * HEAD + pair * 2 + half
}

/// The tiny model's values under Hugging Face's names, from what [`with_tiny_tensors`] stores.
fn expected() -> BTreeMap<String, Vec<f32>> {
    let tensors = tiny_tensors().into_iter().enumerate();
    tensors
        .map(|(number, (_, name, shape))| {
            let stored = values(shape.iter().product(), number as u32);
            let rotated = name.contains("q_proj") || name.contains("k_proj");
            let ordered = if rotated {
                (0..shape[0])
                    .flat_map(|row| stored[gguf_row(row) * HIDDEN..][..HIDDEN].to_vec())
                    .collect()
            } else {
                stored
            };
            (name, ordered)
        })
        .collect()
}

fn write_folder(folder: &Path, shards: usize) {
    let expected = expected();
    let shapes: BTreeMap<String, Vec<usize>> =
        tiny_tensors().into_iter().map(|(_, name, shape)| (name, shape)).collect();
    let mut map = serde_json::Map::new();
    for shard in 0..shards {
        let file = match shards {
            1 => "model.safetensors".to_string(),
            _ => format!("model-{:05}-of-{shards:05}.safetensors", shard + 1),
        };
        let tensors: Vec<NamedTensor<'_>> = expected
            .iter()
            .enumerate()
            .filter(|(number, _)| number % shards == shard)
            .map(|(_, (name, values))| {
                map.insert(name.clone(), file.clone().into());
                NamedTensor { name: name.clone(), shape: shapes[name].clone(), values }
            })
            .collect();
        write_safetensors(&folder.join(file), &tensors, &BTreeMap::new()).expect("written");
    }
    if shards > 1 {
        let index = serde_json::json!({ "weight_map": map }).to_string();
        fs_err::write(folder.join("model.safetensors.index.json"), index).expect("written");
    }
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "vocab_size": VOCABULARY, "hidden_size": HIDDEN,
        "intermediate_size": FEED, "num_hidden_layers": 1, "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_VALUE_HEADS, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2
    });
    fs_err::write(folder.join("config.json"), config.to_string()).expect("written");
}

#[test]
fn gguf_folder_and_shards_are_one_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let gguf = folder.path().join("tiny.gguf");
    fs_err::write(&gguf, with_tiny_tensors(tiny_metadata()).build()).expect("written");
    let mut models = vec![ModelFile::open(&gguf).expect("sound")];
    for shards in [1, 3] {
        let folder = folder.path().join(shards.to_string());
        fs_err::create_dir(&folder).expect("made");
        write_folder(&folder, shards);
        models.push(ModelFile::open(&folder).expect("sound"));
    }
    // a folder that holds nothing but the file
    models.push(ModelFile::open(folder.path()).expect("sound"));
    let expected = expected();
    for model in &models {
        assert_eq!(model.config(), models[0].config());
        assert_eq!(model.weights_hash().expect("read"), models[0].weights_hash().expect("read"));
        let names: Vec<&str> = expected.keys().map(String::as_str).collect();
        assert_eq!(model.tensor_names(), names);
        for (name, values) in &expected {
            assert_eq!(&model.tensor(name).expect("there").to_f32(), values, "{name}");
        }
        let problem =
            model.tensor("model.layers.9.mlp.up_proj.weight").expect_err("absent").problem;
        assert!(matches!(problem, Problem::MissingTensor { .. }));
    }
    let config = models[0].config();
    assert_eq!((config.family, config.head_size), (Family::Llama, HEAD));
    assert_eq!((config.bos_token, config.eos_tokens.as_slice()), (Some(1), &[2][..]));
}

#[test]
fn rotary_divisors_of_a_gguf_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tiny.gguf");
    let divisors = [1.0, 1.5, 4.0, 8.0];
    let builder = tiny_metadata().f32("llama.rope.freq_base", 500_000.0);
    let builder = with_tiny_tensors(builder).f32_tensor("rope_freqs.weight", &[4], &divisors);
    fs_err::write(&path, builder.build()).expect("written");
    let model = ModelFile::open(&path).expect("sound");
    assert_eq!(model.config().rope_scaling, RopeScaling::Divisors(divisors.to_vec()));
    assert!((model.config().rope_theta - 500_000.0).abs() < 1.0);
}

#[test]
fn written_files_depend_on_their_arguments_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let (a, b) = (values(6, 1), values(4, 2));
    let tensor = |name: &str, shape: &[usize], values| NamedTensor {
        name: name.to_string(),
        shape: shape.to_vec(),
        values,
    };
    let metadata: BTreeMap<String, String> =
        (0..20).map(|number| (format!("key{number}"), number.to_string())).collect();
    let forward = [tensor("a", &[2, 3], &a[..]), tensor("b", &[4], &b[..])];
    let backward = [forward[1].clone(), forward[0].clone()];
    let (first, second) =
        (folder.path().join("1.safetensors"), folder.path().join("2.safetensors"));
    write_safetensors(&first, &forward, &metadata).expect("written");
    write_safetensors(&second, &backward, &metadata).expect("written");
    assert_eq!(fs_err::read(&first).expect("read"), fs_err::read(&second).expect("read"));
    assert_eq!(fs_err::read_dir(folder.path()).expect("read").count(), 2, "nothing is left over");

    let file = Safetensors::open(&first).expect("sound");
    assert_eq!(file.metadata(), &metadata);
    let view = file.tensor("a").expect("there");
    assert_eq!(
        (view.shape(), view.data_type(), view.to_f32()),
        (&[2, 3][..], DataType::F32, a.clone())
    );
    let mut row = [0.0; 3];
    view.row_to_f32(1, &mut row);
    assert_eq!(
        row.map(f32::to_bits)[..],
        a[3..].iter().map(|value| value.to_bits()).collect::<Vec<_>>()
    );

    let wrong = write_safetensors(&second, &[tensor("a", &[7], &a[..])], &metadata);
    assert!(matches!(wrong.expect_err("6 values").problem, Problem::ByteRange { .. }));
    let twice = [forward[0].clone(), forward[0].clone()];
    let twice = write_safetensors(&second, &twice, &metadata);
    assert!(matches!(twice.expect_err("two a").problem, Problem::Duplicate { .. }));
    assert!(Safetensors::open(&second).is_ok(), "the old file is still there");
}

/// Weights dequantised and reordered by transformers, when `SMOLLM2_HF` names that folder.
#[test]
fn smollm2_equals_transformers_dequantised_weights() {
    let (Ok(gguf), Ok(folder)) = (std::env::var("SMOLLM2_GGUF"), std::env::var("SMOLLM2_HF"))
    else {
        println!("skipped: SMOLLM2_GGUF and SMOLLM2_HF do not name the model in both forms");
        return;
    };
    let ours = ModelFile::open(Path::new(&gguf)).expect("sound");
    let theirs = ModelFile::open(Path::new(&folder)).expect("sound");
    assert_eq!(ours.config(), theirs.config());
    for (name, _) in ours.config().tensors() {
        let (left, right) =
            (ours.tensor(&name).expect("there"), theirs.tensor(&name).expect("there"));
        assert_eq!(left.to_f32(), right.to_f32(), "{name}");
    }
}

/// The fixtures of the whole engine, with their tokenizer.
#[test]
fn the_tiny_fixtures_are_read() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    let tiny = ModelFile::open(&fixtures.join("tiny-llama")).expect("sound");
    let tokenizer = Tokenizer::for_model(&tiny).expect("known");
    let text = "Pt c/o chest pain x 3 days.";
    assert_eq!(tokenizer.decode(&tokenizer.encode_text(text), false), text);
    assert!(tokenizer.vocabulary_size() <= tiny.config().vocabulary_size);
    let tied = ModelFile::open(&fixtures.join("tiny-llama-tied")).expect("sound");
    assert!(tied.config().tied_embeddings && !tiny.config().tied_embeddings);
}
