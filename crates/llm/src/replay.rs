//! Recorded answers in place of a model: [`Replay`] needs no key and no network.
//!
//! Fed with the replies of a ledger, it repeats a paid run for nothing; fed with a function, it is the model of a test.

use std::collections::BTreeMap;

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::model::{
    ChatEvent, ChatModel, ChatReply, ChatRequest, Exchange, Finish, ModelError, ModelIdentity,
    Usage,
};
use bioinstruct_core::random::Stream;

type Answer = Box<dyn FnMut(&ChatRequest) -> ChatEvent + Send>;

/// A model that answers from a record.
pub struct Replay {
    identity: ModelIdentity,
    answer: Answer,
    concurrency: usize,
    order: Stream,
}

impl Replay {
    /// Answers each request with the reply that was recorded for its id; a request without one fails, and is not in doubt.
    pub fn from_replies(name: &str, replies: impl IntoIterator<Item = ChatReply>) -> Self {
        let recorded: BTreeMap<String, ChatReply> =
            replies.into_iter().map(|reply| (reply.id.clone(), reply)).collect();
        let parts: Vec<String> = recorded
            .values()
            .flat_map(|reply| {
                [
                    reply.id.clone(),
                    reply.text.clone(),
                    format!("{:?}", reply.finish),
                    reply.model.clone(),
                ]
            })
            .collect();
        let digest = ContentHash::of_parts(parts.iter().map(String::as_bytes));
        let answer = move |request: &ChatRequest| match recorded.get(&request.id) {
            Some(reply) => ChatEvent::Reply(reply.clone()),
            None => ChatEvent::Failure {
                id: request.id.clone(),
                error: "no reply was recorded for this request".to_owned(),
                in_doubt: false,
            },
        };
        Self::with_answer(name, &digest, Box::new(answer))
    }

    /// Answers each request with what the function gives: a reply or a failure that carries the request's id.
    pub fn from_function(
        name: &str,
        answer: impl FnMut(&ChatRequest) -> ChatEvent + Send + 'static,
    ) -> Self {
        let digest = ContentHash::of_parts([b"function".as_slice(), name.as_bytes()]);
        Self::with_answer(name, &digest, Box::new(answer))
    }

    /// Keeps up to `concurrency` requests under way and answers them in an order drawn from `seed`, as a server would:
    /// the function is still called in the order of the requests.
    #[must_use]
    pub fn shuffled(mut self, concurrency: usize, seed: u64) -> Self {
        self.concurrency = concurrency.max(1);
        self.order = Stream::new(seed, "replay");
        self
    }

    /// A complete reply with this text, for functions.
    pub fn reply(request: &ChatRequest, text: impl Into<String>) -> ChatEvent {
        ChatEvent::Reply(ChatReply {
            id: request.id.clone(),
            text: text.into(),
            finish: Finish::Stop,
            usage: Usage::default(),
            model: "replay".to_owned(),
        })
    }

    fn with_answer(name: &str, digest: &ContentHash, answer: Answer) -> Self {
        Self {
            identity: ModelIdentity { name: name.to_owned(), digest: digest.to_string() },
            answer,
            concurrency: 1,
            order: Stream::new(0, "replay"),
        }
    }
}

impl ChatModel for Replay {
    fn identity(&self, _adapter: Option<&str>) -> ModelIdentity {
        self.identity.clone()
    }

    fn supports_schema(&self) -> bool {
        true
    }

    fn run(&mut self, exchange: &mut dyn Exchange) -> Result<(), ModelError> {
        let mut under_way = Vec::new();
        for turn in 0.. {
            while under_way.len() < self.concurrency {
                let Some(request) = exchange.next_request() else {
                    break;
                };
                under_way.push((self.answer)(&request));
            }
            if under_way.is_empty() {
                break;
            }
            let next = self.order.at(turn).below(under_way.len());
            if exchange.event(under_way.remove(next)).is_break() {
                break;
            }
        }
        Ok(())
    }
}
