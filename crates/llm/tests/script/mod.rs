//! An exchange that asks a list of requests and keeps all that it is told: [`Script`]; and quick settings for a server
//! on this machine.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::time::Duration;

use bioinstruct_core::model::{
    ChatEvent, ChatModel, ChatReply, ChatRequest, Exchange, ModelError, Prompt, Sampling,
};
use bioinstruct_llm::{Backoff, OpenAiClient, OpenAiConfig, Timeouts};

/// What a caller saw.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) waiting: VecDeque<ChatRequest>,
    pub(crate) events: Vec<ChatEvent>,
    pub(crate) retries: Vec<(String, String, bool)>,
    /// Stop after this many events.
    pub(crate) stop_after: Option<usize>,
    pub(crate) stop_at_retry: bool,
}

impl Script {
    pub(crate) fn of(count: usize) -> Self {
        Self { waiting: (0..count).map(request).collect(), ..Self::default() }
    }

    /// The only reply.
    pub(crate) fn reply(&self) -> &ChatReply {
        match self.events.as_slice() {
            [ChatEvent::Reply(reply)] => reply,
            other => panic!("{other:?}"),
        }
    }

    /// The only failure: its text, and whether it is in doubt.
    pub(crate) fn failure(&self) -> (&str, bool) {
        match self.events.as_slice() {
            [ChatEvent::Failure { error, in_doubt, .. }] => (error, *in_doubt),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn texts(&self) -> BTreeMap<String, String> {
        self.events
            .iter()
            .filter_map(|event| match event {
                ChatEvent::Reply(reply) => Some((reply.id.clone(), reply.text.clone())),
                _ => None,
            })
            .collect()
    }
}

impl Exchange for Script {
    fn next_request(&mut self) -> Option<ChatRequest> {
        self.waiting.pop_front()
    }

    fn event(&mut self, event: ChatEvent) -> ControlFlow<()> {
        self.events.push(event);
        match self.stop_after {
            Some(limit) if self.events.len() >= limit => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    fn retry(&mut self, id: &str, error: &str, in_doubt: bool) -> ControlFlow<()> {
        self.retries.push((id.to_owned(), error.to_owned(), in_doubt));
        if self.stop_at_retry {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

pub(crate) fn request(number: usize) -> ChatRequest {
    ChatRequest {
        id: format!("r{number}"),
        prompt: Prompt::Text(format!("question {number}")),
        sampling: Sampling::default(),
        stop: Vec::new(),
        schema: None,
        adapter: None,
    }
}

/// Settings whose waits are too short to notice.
pub(crate) fn quick(base_url: &str) -> OpenAiConfig {
    OpenAiConfig {
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            idle: Duration::from_secs(5),
            total: Duration::from_secs(10),
        },
        max_attempts: 3,
        backoff: Backoff {
            base: Duration::from_millis(5),
            cap: Duration::from_millis(300),
            seed: 1,
        },
        ..OpenAiConfig::new(base_url, "test-model")
    }
}

pub(crate) fn run(config: OpenAiConfig, script: &mut Script) -> Result<(), ModelError> {
    OpenAiClient::new(config)?.run(script)
}

/// A complete answer with this text.
pub(crate) fn completion(text: &str) -> serde_json::Value {
    serde_json::json!({
        "id": "c", "object": "chat.completion", "model": "served-model",
        "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13},
    })
}
