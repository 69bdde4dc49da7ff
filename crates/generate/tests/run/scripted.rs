//! A model that answers by the request's own random stream, in whatever order, and fails or dies when told to.

use std::ops::ControlFlow;

use bioinstruct_core::model::{
    ChatEvent, ChatModel, ChatReply, ChatRequest, Exchange, Finish, ModelError, ModelIdentity,
    Usage,
};
use bioinstruct_core::random::{Draws, Stream};
use serde_json::json;

/// Answers by the request's own random stream, so that a request always gets the same reply.
pub(crate) struct Scripted {
    answer: fn(&ChatRequest) -> (String, Finish),
    pub(crate) concurrency: usize,
    /// Decides whose reply comes next.
    pub(crate) order: u64,
    /// Dies before this event.
    pub(crate) dies_at: Option<usize>,
    /// Whether this event is a failure; `true` is in doubt.
    pub(crate) fails: fn(usize) -> Option<bool>,
    pub(crate) schema: bool,
    pub(crate) requests: usize,
    /// The requests that got a reply.
    pub(crate) replied: Vec<String>,
}

impl Scripted {
    pub(crate) fn new(answer: fn(&ChatRequest) -> (String, Finish)) -> Self {
        Self {
            answer,
            concurrency: 1,
            order: 0,
            dies_at: None,
            fails: |_| None,
            schema: true,
            requests: 0,
            replied: Vec::new(),
        }
    }

    fn reply(&self, request: &ChatRequest) -> ChatReply {
        let (text, finish) = (self.answer)(request);
        ChatReply {
            id: request.id.clone(),
            text,
            finish,
            usage: Usage { prompt_tokens: 7, completion_tokens: 11 },
            model: "scripted-1".to_owned(),
        }
    }
}

impl ChatModel for Scripted {
    fn identity(&self, _: Option<&str>) -> ModelIdentity {
        ModelIdentity { name: "scripted".to_owned(), digest: "d".to_owned() }
    }

    fn supports_schema(&self) -> bool {
        self.schema
    }

    fn run(&mut self, exchange: &mut dyn Exchange) -> Result<(), ModelError> {
        let mut draws = Stream::new(self.order, "order").at(0);
        let mut under_way: Vec<ChatRequest> = Vec::new();
        for event in 0.. {
            while under_way.len() < self.concurrency
                && let Some(request) = exchange.next_request()
            {
                self.requests += 1;
                under_way.push(request);
            }
            if under_way.is_empty() {
                return Ok(());
            }
            if self.dies_at == Some(event) {
                return Err(ModelError::Unavailable {
                    model: "scripted".to_owned(),
                    reason: "killed".to_owned(),
                    hint: None,
                });
            }
            let request = under_way.swap_remove(draws.below(under_way.len()));
            let delta = ChatEvent::Delta { id: request.id.clone(), text: "…".to_owned() };
            assert_eq!(exchange.event(delta), ControlFlow::Continue(()));
            if event % 4 == 2 {
                assert!(exchange.retry(&request.id, "busy", false).is_continue());
            }
            let end = if let Some(in_doubt) = (self.fails)(event) {
                ChatEvent::Failure { id: request.id, error: "refused".to_owned(), in_doubt }
            } else {
                self.replied.push(request.id.clone());
                ChatEvent::Reply(self.reply(&request))
            };
            if exchange.event(end).is_break() {
                return Ok(());
            }
        }
        unreachable!("the loop has no end of its own")
    }
}

const VERBS: [&str; 6] = ["List", "Explain", "Summarise", "Rewrite", "Name", "Find the image of"];
const OBJECTS: [&str; 7] = [
    "the drugs that this woman takes",
    "how vaccines protect newborn children",
    "",
    "two early signs of sepsis at home",
    "why anaemia makes people tired all day",
    "a plan for the next visit of this man",
    "which blood tests follow from his story",
];
const ENDS: [&str; 6] = [
    "and name the sentence that says so",
    "for a reader without any medical training",
    "in fewer words than were given",
    "with one reason for each of your points",
    "",
    "as a short table of three columns",
];

fn task(draws: &mut Draws) -> (String, String) {
    let verb = VERBS[draws.below(VERBS.len())];
    let object = OBJECTS[draws.below(OBJECTS.len())];
    let end = ENDS[draws.below(ENDS.len())];
    let number = draws.below(30);
    (format!("{verb} {object} {end}"), format!("Answer {number}."))
}

/// A reply of up to five numbered tasks with duplicates, short ones, missing fields and cut ends.
pub(crate) fn numbered(request: &ChatRequest) -> (String, Finish) {
    let mut draws = Stream::new(request.sampling.seed, "numbered").at(0);
    let mut lines = Vec::new();
    for number in 4..=4 + draws.below(5) {
        let (instruction, output) = task(&mut draws);
        lines.push(format!("{number}. Instruction: {instruction}"));
        if draws.below(8) > 0 {
            lines.push(format!("{number}. Input: 8. Albuterol\n5. x"));
        }
        lines.push(format!("{number}. Output: {output}"));
    }
    let text = lines.join("\n");
    let finish = if draws.below(4) == 0 { Finish::Length } else { Finish::Stop };
    (text, finish)
}

pub(crate) fn in_json(request: &ChatRequest) -> (String, Finish) {
    let mut draws = Stream::new(request.sampling.seed, "json").at(0);
    let (instruction, output) = task(&mut draws);
    let text =
        json!({"tasks": [{"instruction": instruction, "input": "", "output": output}]}).to_string();
    match draws.below(5) {
        0 => (text[..text.len() / 2].to_owned(), Finish::Length),
        _ => (text, Finish::Stop),
    }
}

pub(crate) fn always_the_same(_: &ChatRequest) -> (String, Finish) {
    let text = " Say the same thing again.\n4. Input:\n4. Output: Same.";
    (text.to_owned(), Finish::Stop)
}
