//! Greedy replies of SmolLM2 against transformers on the same (dequantised) weights: 40 tokens of each prompt.
//!
//! Goldens: see `tests/goldens/README.md`, `engine/smollm2_greedy.json`. Skipped when the demo model is not on this machine.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod demo_model;

use std::ops::ControlFlow;
use std::path::Path;

use bioinstruct_core::model::{
    ChatEvent, ChatModel, ChatReply, ChatRequest, Exchange, Finish, Message, Prompt, Sampling,
};
use bioinstruct_engine::kernels::lanes::Precision;
use bioinstruct_engine::local::{LocalModel, LocalOptions};
use serde_json::Value;

struct All {
    requests: std::vec::IntoIter<ChatRequest>,
    replies: Vec<ChatReply>,
}

impl Exchange for All {
    fn next_request(&mut self) -> Option<ChatRequest> {
        self.requests.next()
    }

    fn event(&mut self, event: ChatEvent) -> ControlFlow<()> {
        match event {
            ChatEvent::Reply(reply) => self.replies.push(reply),
            ChatEvent::Failure { id, error, .. } => panic!("{id}: {error}"),
            ChatEvent::Delta { .. } => {}
        }
        ControlFlow::Continue(())
    }
}

fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| u32::try_from(id.as_u64().unwrap()).unwrap())
        .collect()
}

fn prompt(row: &Value) -> Prompt {
    match row["kind"].as_str() {
        Some("chat") => {
            let messages: Vec<Message> = serde_json::from_value(row["messages"].clone()).unwrap();
            Prompt::Messages(messages)
        }
        _ => Prompt::Text(row["prompt"].as_str().unwrap().to_owned()),
    }
}

fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/goldens/engine/smollm2_greedy.json");
    serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap()
}

fn requests(rows: &[Value], max_tokens: usize) -> Vec<ChatRequest> {
    rows.iter()
        .enumerate()
        .map(|(number, row)| ChatRequest {
            id: number.to_string(),
            prompt: prompt(row),
            sampling: Sampling { max_tokens, ..Sampling::default() },
            stop: Vec::new(),
            schema: None,
            adapter: None,
        })
        .collect()
}

#[test]
fn greedy_replies_equal_transformers() {
    let Some(path) = demo_model::smollm2() else { return };
    let golden = golden();
    let rows = golden["rows"].as_array().unwrap();
    let max_tokens = usize::try_from(golden["max_new_tokens"].as_u64().unwrap()).unwrap();

    let options = LocalOptions { precision: Precision::F32, ..LocalOptions::default() };
    let mut model = LocalModel::load(&path, options).unwrap();
    let requests = requests(rows, max_tokens);
    for (request, row) in requests.iter().zip(rows) {
        let rendered = model.render(&request.prompt).unwrap();
        assert_eq!(
            model.encode_prompt(&rendered),
            ids(&row["prompt_ids"]),
            "prompt {}",
            request.id
        );
    }
    let mut all = All { requests: requests.into_iter(), replies: Vec::new() };
    model.run(&mut all).unwrap();
    assert_eq!(all.replies.len(), rows.len());
    for reply in &all.replies {
        let row = &rows[reply.id.parse::<usize>().unwrap()];
        let expected = ids(&row["continuation_ids"]);
        assert_eq!(reply.text, row["text"].as_str().unwrap(), "prompt {}", reply.id);
        assert_eq!(reply.text, model.tokenizer().decode(&expected, true));
        assert_eq!(reply.usage.completion_tokens, expected.len() as u64);
        assert_eq!(reply.usage.prompt_tokens, ids(&row["prompt_ids"]).len() as u64);
        let finish = if row["ended"] == true { Finish::Stop } else { Finish::Length };
        assert_eq!(reply.finish, finish);
    }
}

/// The bf16 and the integer path too: a reply does not depend on its company or on the number of threads.
#[test]
fn replies_are_the_same_alone_and_together() {
    let Some(path) = demo_model::smollm2() else { return };
    let golden = golden();
    let requests = requests(golden["rows"].as_array().unwrap(), 24);
    for precision in [Precision::Bf16, Precision::Stored] {
        let replies = |threads: usize, slots: usize| {
            let options = LocalOptions { precision, threads, slots, ..LocalOptions::default() };
            let mut model = LocalModel::load(&path, options).unwrap();
            let mut all = All { requests: requests.clone().into_iter(), replies: Vec::new() };
            model.run(&mut all).unwrap();
            all.replies.sort_by(|left, right| left.id.cmp(&right.id));
            all.replies.into_iter().map(|reply| reply.text).collect::<Vec<_>>()
        };
        let alone = replies(1, 1);
        assert_eq!(alone, replies(2, 8), "{precision:?}");
        assert_eq!(alone, replies(4, 3), "{precision:?}");
        // The first words are those of the reference: rounding has not run wild.
        let expected = golden["rows"].as_array().unwrap().iter();
        let near = expected.zip(&alone).filter(|(row, text)| {
            let reference = row["text"].as_str().unwrap();
            reference.chars().take(12).eq(text.chars().take(12))
        });
        assert!(near.count() >= 3, "{precision:?}: {alone:?}");
    }
}
