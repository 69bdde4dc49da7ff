//! What the loss covers: the answer, its end and nothing else, whatever the texts hold, and no row is lost unsaid.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

use bioinstruct_core::record::{Exchange, Instruction, Provenance};
use bioinstruct_core::template::{ChatTemplate, InstructionTemplate};
use bioinstruct_engine::backend::Cpu;
use bioinstruct_engine::format::ModelFile;
use bioinstruct_engine::kernels::KernelPath;
use bioinstruct_engine::kernels::lanes::Precision;
use bioinstruct_engine::local::{chat_template, encode_rendered};
use bioinstruct_engine::model::training::{Activations, Batch};
use bioinstruct_engine::model::{Llama, LoadOptions};
use bioinstruct_engine::tokenizer::Tokenizer;
use bioinstruct_engine::train::config::TrainConfig;
use bioinstruct_engine::train::example::{Encoder, Example, Fitted};
use proptest::prelude::*;
use serde_json::json;

const TEMPLATES: [&str; 3] = ["bioinstruct", "alpaca", "chat"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny-llama").join(name)
}

struct Model {
    tokenizer: Tokenizer,
    chat: ChatTemplate,
}

impl Model {
    fn new() -> Self {
        let tokenizer = Tokenizer::from_file(&fixture("tokenizer.json")).unwrap();
        let chat = chat_template(&tokenizer).unwrap();
        Self { tokenizer, chat }
    }

    fn encoder(&self, settings: &serde_json::Value) -> Encoder<'_> {
        let config: TrainConfig = serde_json::from_value(settings.clone()).unwrap();
        let ends = self.tokenizer.eos_ids();
        Encoder::new(&config, Some(&self.chat), &self.tokenizer, ends, 4096).unwrap()
    }

    /// The learned tokens in runs, each as text.
    fn learned(&self, example: &Example) -> Vec<String> {
        let mut runs: Vec<Vec<u32>> = Vec::new();
        let mut inside = false;
        for (id, learned) in example.ids.iter().zip(&example.learned) {
            match (inside, learned) {
                (false, true) => runs.push(vec![*id]),
                (true, true) => runs.last_mut().unwrap().push(*id),
                (_, false) => {}
            }
            inside = *learned;
        }
        runs.iter().map(|ids| self.tokenizer.decode(ids, false)).collect()
    }
}

fn row(instruction: &str, input: &str, output: &str) -> Instruction {
    let [instruction, input, output] = [instruction, input, output].map(str::to_owned);
    Instruction::new(instruction, input, output, None, Provenance::default())
}

/// Training pain 2: a model that never learned to stop.
#[test]
fn the_end_of_every_answer_is_learned() {
    let model = Model::new();
    let end = model.tokenizer.eos().unwrap();
    for template in TEMPLATES {
        for loss in ["answer", "all"] {
            let encoder = model.encoder(&json!({"template": template, "loss": loss}));
            let example = encoder.example(&row("Name a drug.", "", "Aspirin")).unwrap();
            assert_eq!(example.ids.last(), Some(&end), "{template}");
            assert_eq!(example.learned.last(), Some(&true), "{template}");
        }
    }
}

/// Training pain 2: what ends an answer in training must end a reply.
#[test]
fn an_answer_that_would_not_end_is_refused() {
    let model = Model::new();
    let config: TrainConfig = serde_json::from_value(json!({"template": "chat"})).unwrap();
    let refused = |chat: &ChatTemplate, ends: &[u32]| {
        let encoder = Encoder::new(&config, Some(chat), &model.tokenizer, ends, 256).unwrap();
        encoder.example(&row("a", "", "b")).unwrap_err().to_string()
    };
    let error = refused(&model.chat, &[]);
    assert!(error.contains("no token that ends a reply"), "{error}");
    let error = refused(&model.chat, &[0]);
    assert!(error.contains("ends an answer with `<|im_end|>`, which does not end"), "{error}");
    // The template of another model: its end is no token here.
    let mut chat = model.chat.clone();
    chat.source = chat.source.replace("<|im_end|>", "<end_of_turn>");
    chat.control_tokens.push("<end_of_turn>".to_owned());
    let error = refused(&chat, model.tokenizer.eos_ids());
    assert!(error.contains("does not end this model's replies"), "{error}");
}

/// Texts that look like a template's own.
fn markers() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "### Response:\n",
        "### Output:\n",
        "\n### Output:",
        "<|im_start|>assistant\n",
        "<|im_end|>",
        "<|endoftext|>",
        "{{ instruction }}",
        "\u{f8f0}0\u{f8f1}",
        "a",
        " dose",
        "\n",
        "é",
    ]);
    prop::collection::vec(parts, 1..6).prop_map(|parts| parts.concat())
}

proptest! {
    /// Training pain 3: labels found by searching for a marker. Ours are where the answer is, whatever the texts say, and
    /// no text becomes a control token.
    #[test]
    fn the_learned_tokens_are_the_answers(
        instruction in markers(),
        input in prop_oneof![Just(String::new()), markers()],
        output in markers(),
    ) {
        let model = Model::new();
        let output = format!("b{output}c");
        let instruction = format!("a{instruction}c");
        let input = if input.is_empty() { input } else { format!("a{input}c") };
        for template in TEMPLATES {
            let encoder = model.encoder(&json!({"template": template, "cutoff": 100_000}));
            let example = encoder.example(&row(&instruction, &input, &output)).unwrap();
            let end = model.tokenizer.eos().unwrap();
            let from = example.learned.iter().position(|learned| *learned).unwrap();
            prop_assert!(example.learned[from..].iter().all(|learned| *learned));
            let answer = &example.ids[from..example.ids.len() - 1];
            prop_assert_eq!(answer, &model.tokenizer.encode_text(&output)[..], "{}", template);
            prop_assert!(answer.iter().all(|id| !model.tokenizer.is_control(*id)));
            let control = example.ids.iter().filter(|id| model.tokenizer.is_control(**id)).count();
            let own = if template == "chat" { 4 } else { 1 };
            let bos = usize::from(template != "chat" && model.tokenizer.adds_bos());
            prop_assert_eq!((control, example.ids.last()), (own + bos, Some(&end)));
        }
    }

    /// Training pain 5: a prompt that is another one in training than when the model is asked.
    #[test]
    fn the_prompt_of_training_is_the_prompt_of_serving(
        instruction in markers(),
        input in prop_oneof![Just(String::new()), markers()],
    ) {
        let model = Model::new();
        let (instruction, input) = (instruction.trim(), input.trim());
        for template in TEMPLATES {
            let encoder = model.encoder(&json!({"template": template}));
            let example = encoder.example(&row(instruction, input, "yes")).unwrap();
            let asked = InstructionTemplate::load(template).unwrap();
            let asked = asked.prompt(instruction, input, Some(&model.chat)).unwrap();
            let prompt: Vec<u32> =
                encode_rendered(&model.tokenizer, &asked).into_iter().map(|(id, _)| id).collect();
            prop_assert_eq!(&example.ids[..prompt.len()], &prompt[..], "{}", template);
            prop_assert!(example.learned[..prompt.len()].iter().all(|learned| !learned));
        }
    }
}

#[test]
fn every_answer_of_a_chat_is_learned() {
    let model = Model::new();
    let turn = |user: &str, assistant: &str| Exchange {
        user: user.to_owned(),
        assistant: assistant.to_owned(),
    };
    let chat = row("and in children?", "", "less")
        .in_conversation("be brief".to_owned(), vec![turn("which dose?", "500 mg")]);
    let encoder = model.encoder(&json!({"template": "chat"}));
    let example = encoder.example(&chat).unwrap();
    assert_eq!(model.learned(&example), ["500 mg<|im_end|>", "less<|im_end|>"]);
    let encoder = model.encoder(&json!({"template": "bioinstruct"}));
    let error = encoder.example(&chat).unwrap_err().to_string();
    assert!(error.contains("has no place for earlier turns"), "{error}");
}

/// Training pain 4: a row whose answer fell off the end, a loss of zero and a run that "succeeds".
#[test]
fn an_answer_is_never_cut_and_no_row_is_lost_unsaid() {
    let model = Model::new();
    let fits = row("Say yes.", "to this", "yes");
    let long_input = row("Summarise.", &"The patient is well. ".repeat(40), "Well.");
    let long_answer = row("Say much.", "x", &"very ".repeat(200));
    let rows = [fits.clone(), long_input.clone(), long_answer.clone()];
    let cutoff = model.encoder(&json!({})).example(&fits).unwrap().ids.len() + 20;
    let settings = |overlong: &str| json!({"cutoff": cutoff, "overlong": overlong});

    let dropped = model.encoder(&settings("drop")).examples(&rows, 1).unwrap();
    assert_eq!((dropped.examples.len(), &dropped.rows[..]), (1, &[0][..]));
    let named: Vec<&str> = dropped.overlong.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(named, [&long_input.id, &long_answer.id]);
    assert!(dropped.overlong.iter().all(|(_, tokens)| *tokens > cutoff));

    let cut = model.encoder(&settings("truncate-input")).examples(&rows, 1).unwrap();
    assert_eq!(cut.rows, [0, 1]);
    assert_eq!(cut.shortened[0].0, long_input.id);
    assert_eq!(cut.overlong[0].0, long_answer.id);
    let shortened = &cut.examples[1];
    assert!((cutoff - 5..=cutoff).contains(&shortened.ids.len()), "{} tokens", shortened.ids.len());
    assert_eq!(model.learned(shortened), ["Well.<|im_end|>"]);
    let text = model.tokenizer.decode(&shortened.ids, true);
    assert!(text.contains("Summarise.") && text.contains("### Output:\nWell."), "{text}");

    let error = model.encoder(&settings("error")).examples(&rows, 1).unwrap_err().to_string();
    assert!(error.contains(&long_input.id) && error.contains("the cutoff is"), "{error}");
}

/// As much of the input as fits, to the character.
#[test]
fn an_input_is_cut_as_late_as_possible() {
    let model = Model::new();
    let input = "Blutdruck 120/80, Größe 1,80 m — ".repeat(20);
    let long = row("Summarise.", &input, "ok");
    let least = model.encoder(&json!({})).example(&row("Summarise.", "B", "ok")).unwrap().ids.len();
    for cutoff in [least, least + 37, least + 80] {
        let encoder = model.encoder(&json!({"cutoff": cutoff, "overlong": "truncate-input"}));
        let Fitted::Shortened { example, tokens } = encoder.fit(&long).unwrap() else {
            panic!("it is too long")
        };
        assert!(tokens > cutoff && example.ids.len() <= cutoff);
        assert_eq!(example.id, long.id);
        let mut kept = input.char_indices().map(|(at, _)| at).filter(|end| {
            let cut = row("Summarise.", &input[..*end], "ok");
            *end > 0 && encoder.example(&cut).unwrap().ids.len() <= cutoff
        });
        let best = row("Summarise.", &input[..kept.next_back().unwrap()], "ok");
        assert_eq!(example.ids, encoder.example(&best).unwrap().ids);
    }
}

/// Training pain 4: rows that teach nothing.
#[test]
fn rows_without_an_answer_are_counted_against_a_limit() {
    let model = Model::new();
    let rows = [row("a", "", "b"), row("c", "", ""), row("d", "", " \n")];
    for loss in ["answer", "all"] {
        let error = model.encoder(&json!({"loss": loss})).examples(&rows, 1).unwrap_err();
        let error = error.to_string();
        assert!(
            error.starts_with("2 rows have no answer") && error.contains(&rows[1].id),
            "{error}"
        );
        let settings = json!({"loss": loss, "max_unlabelled": 2});
        let found = model.encoder(&settings).examples(&rows, 1).unwrap();
        assert_eq!((&found.rows[..], found.unlabelled.len()), (&[0][..], 2));
    }
}

/// Training pain 12: tokenising that takes longer than a collective's patience. The floor is a small part of what one
/// thread does, and far above the 155 rows a second of the complaint.
#[test]
fn rows_are_encoded_fast_and_alike_on_any_number_of_threads() {
    let model = Model::new();
    let rows: Vec<Instruction> = (0..3_000)
        .map(|n| {
            let input = format!("Patient {n} takes aspirin and has a fever. ").repeat(n % 7);
            row(&format!("Name the drug of patient {n}."), &input, "Aspirin")
        })
        .collect();
    let encoder = model.encoder(&json!({"cutoff": 240}));
    let begin = std::time::Instant::now();
    let one = encoder.examples(&rows, 1).unwrap();
    let rate = rows.len() as f64 / begin.elapsed().as_secs_f64();
    assert!(rate > 300.0, "{rate} rows a second");
    for threads in [2, 3, 8] {
        assert_eq!(encoder.examples(&rows, threads).unwrap(), one);
    }
    assert!(!one.overlong.is_empty());
}

/// Training pain 19: a cache that does not notice another template. There is none: the hash that a run goes by is of the
/// tokens and their mask.
#[test]
fn another_template_or_mask_is_another_dataset() {
    let model = Model::new();
    let rows = [row("a", "b", "c")];
    let digest = |settings: serde_json::Value| {
        model.encoder(&settings).examples(&rows, 1).unwrap().digest().to_string()
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.jinja");
    let write = |text: &str| fs_err::write(&path, text).unwrap();
    write("{{ instruction }} {{ input }} ->");
    let first = digest(json!({"template": path}));
    assert_eq!(first, digest(json!({"template": path})));
    write("{{ instruction }} {{ input }} =>");
    let second = digest(json!({"template": path}));
    let all = digest(json!({"template": path, "loss": "all"}));
    assert!(first != second && second != all);
}

/// Training pain 10: rows that are computed together and see one another. The loss of each is the same to the bit alone
/// and among others, whatever their order.
#[test]
fn rows_of_one_batch_do_not_see_one_another() {
    let file = ModelFile::open(&fixture("")).unwrap();
    let options = LoadOptions { precision: Precision::F32, positions: 0 };
    let llama =
        Llama::load(&file, Cpu::with_path(KernelPath::Portable, 1).unwrap(), options).unwrap();
    let model = Model::new();
    let encoder = model.encoder(&json!({}));
    let rows = [row("Name a drug.", "", "Aspirin"), row("Say.", "a b c", "d"), row("x", "", "yes")];
    let examples = encoder.examples(&rows, 1).unwrap().examples;
    let mut tape = llama.new_tape(Activations::Kept);
    let mut losses = |examples: &[&Example]| {
        let mut batch = Batch::default();
        for example in examples {
            batch.push(&example.ids, &example.learned);
        }
        llama.losses(&mut tape, None, &batch)
    };
    let together = losses(&examples.iter().collect::<Vec<_>>());
    let alone: Vec<f32> = examples.iter().flat_map(|example| losses(&[example])).collect();
    assert_eq!(together, alone);
    let turned = losses(&examples.iter().rev().collect::<Vec<_>>());
    let mut sorted = [together, turned];
    for losses in &mut sorted {
        losses.sort_by(f32::total_cmp);
    }
    assert_eq!(sorted[0], sorted[1]);
}
