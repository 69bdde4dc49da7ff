//! The local model as a scorer against lm-evaluation-harness: ids, log-likelihoods and greediness of multiple choice, on
//! the tiny model and on SmolLM2; and the same bits in any company.
//!
//! Goldens: see `tests/goldens/README.md`, `engine/choices.json`.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod demo_model;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bioinstruct_core::model::{Message, ModelError, Prompt, ScoreReply, ScoreRequest, Scorer};
use bioinstruct_engine::kernels::lanes::Precision;
use bioinstruct_engine::local::{LocalModel, LocalOptions};
use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn golden() -> Value {
    let path = repository().join("tests/goldens/engine/choices.json");
    serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap()
}

fn load(path: &Path, threads: usize) -> LocalModel {
    let options = LocalOptions { precision: Precision::F32, threads, ..LocalOptions::default() };
    LocalModel::load(path, options).unwrap()
}

fn tiny(threads: usize) -> LocalModel {
    let mut model = load(&repository().join("tests/fixtures/tiny-llama"), threads);
    model.add_adapter("tuned", &repository().join("tests/goldens/engine/tiny_adapter")).unwrap();
    model
}

fn requests(rows: &Value) -> Vec<ScoreRequest> {
    let contexts = rows["contexts"].as_array().unwrap();
    contexts
        .iter()
        .map(|row| ScoreRequest {
            id: row["note"].as_str().unwrap().to_owned(),
            context: Prompt::Text(row["context"].as_str().unwrap().to_owned()),
            continuations: row["choices"]
                .as_array()
                .unwrap()
                .iter()
                .map(|choice| choice["continuation"].as_str().unwrap().to_owned())
                .collect(),
            adapter: None,
        })
        .collect()
}

fn score(model: &mut LocalModel, requests: Vec<ScoreRequest>) -> Vec<ScoreReply> {
    let mut replies = Vec::new();
    model
        .score(&mut requests.into_iter(), &mut |reply| {
            replies.push(reply);
            ControlFlow::Continue(())
        })
        .unwrap();
    replies
}

fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| u32::try_from(id.as_u64().unwrap()).unwrap())
        .collect()
}

/// Every number of the golden; sums within `tolerance`.
fn compare(model: &mut LocalModel, rows: &Value, tolerance: f64) {
    let most = usize::try_from(rows["max_length"].as_u64().unwrap()).unwrap();
    assert_eq!(model.llama().context_length(), most);
    let replies = score(model, requests(rows));
    let contexts = rows["contexts"].as_array().unwrap();
    assert_eq!(replies.len(), contexts.len());
    for (reply, row) in replies.iter().zip(contexts) {
        let choices = row["choices"].as_array().unwrap();
        assert_eq!(reply.id, row["note"].as_str().unwrap());
        assert_eq!(reply.continuations.len(), choices.len());
        let mut cut = 0;
        for (found, choice) in reply.continuations.iter().zip(choices) {
            let what = format!("{}: {}", reply.id, choice["continuation"]);
            let context = ids(&choice["context_ids"]);
            assert_eq!(reply.prompt_tokens, context.len(), "{what}");
            assert_eq!(found.token_ids, ids(&choice["continuation_ids"]), "{what}");
            cut = cut.max((context.len() + found.token_ids.len()).saturating_sub(most + 1));
            let expected = choice["loglikelihood"].as_f64().unwrap();
            assert!((found.sum - expected).abs() < tolerance, "{what}: {}, {expected}", found.sum);
            let tokens = choice["token_loglikelihoods"].as_array().unwrap();
            assert_eq!(found.token_loglikelihoods.len(), tokens.len(), "{what}");
            for (token, expected) in found.token_loglikelihoods.iter().zip(tokens) {
                assert!((token - expected.as_f64().unwrap()).abs() < tolerance, "{what}");
            }
            assert_eq!(found.greedy, choice["is_greedy"].as_bool().unwrap(), "{what}");
            let sum: f64 = found.token_loglikelihoods.iter().sum();
            assert_eq!(found.sum.to_bits(), sum.to_bits());
        }
        assert_eq!(reply.truncated_tokens, cut, "{}", reply.id);
        assert_eq!(cut > 0, choices.iter().any(|choice| choice["truncated"] == true));
    }
}

#[test]
fn the_tiny_model_scores_as_the_harness_does() {
    compare(&mut tiny(2), &golden()["models"]["tiny-llama"], 1e-4);
}

#[test]
fn smollm2_scores_as_the_harness_does() {
    if let Some(path) = demo_model::smollm2() {
        compare(&mut load(&path, 2), &golden()["models"]["smollm2"], 1e-3);
    }
}

/// The golden's contexts, base and adapter in turn, some as messages.
fn mixed() -> Vec<ScoreRequest> {
    let mut requests = requests(&golden()["models"]["tiny-llama"]);
    let mut again = requests.clone();
    for request in &mut again {
        request.id.push_str(", tuned");
        request.adapter = Some("tuned".to_owned());
    }
    requests.extend(again);
    requests.push(ScoreRequest {
        id: "messages".to_owned(),
        context: Prompt::Messages(vec![Message::user("Is it safe?")]),
        continuations: vec!["Yes, it is".to_owned(), "Yes, it was".to_owned(), "No".to_owned()],
        adapter: None,
    });
    requests.push(ScoreRequest {
        id: "none".to_owned(),
        continuations: Vec::new(),
        ..requests[0].clone()
    });
    requests
}

#[test]
fn scores_are_the_same_bits_in_any_company() {
    let together = score(&mut tiny(2), mixed());
    assert_eq!(together.len(), mixed().len());
    let mut model = tiny(1);
    for (request, expected) in mixed().into_iter().zip(&together) {
        assert_eq!(&score(&mut model, vec![request.clone()])[0], expected, "alone");
        for (choice, expected) in request.continuations.iter().zip(&expected.continuations) {
            let one = ScoreRequest { continuations: vec![choice.clone()], ..request.clone() };
            assert_eq!(
                &score(&mut model, vec![one])[0].continuations[0],
                expected,
                "one choice alone"
            );
        }
    }
    let (base, tuned) = (&together[0].continuations[0], &together[6].continuations[0]);
    assert_eq!(base.token_ids, tuned.token_ids);
    assert!((base.sum - tuned.sum).abs() > 1e-3);
}

/// Few-shot questions: the examples before them are read once, and the scores are those of a fresh model.
#[test]
fn examples_before_the_questions_change_no_bit() {
    let examples = "Question: does metformin lower glucose? Answer: yes. ".repeat(8);
    let asked = |number: usize, continuations: &[&str]| ScoreRequest {
        id: number.to_string(),
        context: Prompt::Text(format!("{examples}Question: number {number}? Answer:")),
        continuations: continuations.iter().map(|text| (*text).to_owned()).collect(),
        adapter: None,
    };
    let requests = vec![
        asked(1, &[" yes", " no"]),
        asked(2, &[" yes", " no, it does not"]),
        // The whole text is scored, so nothing of it may be skipped.
        ScoreRequest {
            context: Prompt::Text("Question".to_owned()),
            continuations: vec![examples["Question".len()..].to_owned()],
            ..asked(3, &[])
        },
        asked(4, &[" maybe it does", " maybe not", " yes"]),
        asked(4, &[" maybe it does", " maybe not", " yes"]),
    ];
    let mut model = tiny(2);
    for request in &requests {
        let found = score(&mut model, vec![request.clone()]);
        assert_eq!(found, score(&mut tiny(1), vec![request.clone()]), "{}", request.id);
    }
    let together = score(&mut model, requests.clone());
    for (request, found) in requests.into_iter().zip(together) {
        assert_eq!(vec![found], score(&mut tiny(1), vec![request]));
    }
}

#[test]
fn a_templated_context_is_followed_by_the_beginning_of_the_answer() {
    let mut model = tiny(1);
    let request = mixed().remove(12);
    let prompt = model.encode_prompt(&model.render(&request.context).unwrap());
    let reply = score(&mut model, vec![request]).remove(0);
    assert_eq!(reply.prompt_tokens, prompt.len());
    for (found, text) in reply.continuations.iter().zip(["Yes, it is", "Yes, it was", "No"]) {
        assert_eq!(found.token_ids, model.tokenizer().encode_text(text));
    }
}

#[test]
fn what_cannot_be_scored_ends_the_run_after_what_came_before() {
    let mut model = tiny(1);
    let fine = mixed().remove(0);
    let wrong = [
        ScoreRequest { continuations: vec![" A".to_owned(), String::new()], ..fine.clone() },
        ScoreRequest { continuations: vec!["word ".repeat(300)], ..fine.clone() },
        ScoreRequest { adapter: Some("other".to_owned()), ..fine.clone() },
    ];
    for (number, request) in wrong.into_iter().enumerate() {
        let request = ScoreRequest { id: format!("wrong {number}"), ..request };
        let mut replies = 0;
        let error = model
            .score(&mut [fine.clone(), request].into_iter(), &mut |_| {
                replies += 1;
                ControlFlow::Continue(())
            })
            .unwrap_err();
        assert!(
            matches!(&error, ModelError::Request { id, .. } if *id == format!("wrong {number}")),
            "{error}"
        );
        assert_eq!(replies, 1);
    }
}

#[test]
fn a_break_stops_the_scoring() {
    let mut replies = 0;
    tiny(1)
        .score(&mut mixed().into_iter(), &mut |_| {
            replies += 1;
            if replies == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!(replies, 2);
}
