//! What the program knows of a language model: [`ChatModel`] writes text, [`Scorer`] gives log-likelihoods.
//!
//! Both are implemented by the local engine; `ChatModel` also by HTTP clients and by replay. Neither trait mentions
//! tensors, sockets or threads.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::diagnose::{Diagnose, FailureKind};

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sets the scene.
    System,
    /// Asks.
    User,
    /// Answers.
    Assistant,
}

impl Role {
    /// The name that chat templates expect.
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said; never read as control tokens.
    pub content: String,
}

impl Message {
    /// A user's turn.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: Role::User, content: content.into() }
    }
}

/// What a model is asked to continue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// Exactly this text, no template.
    Text(String),
    /// A conversation, rendered with the model's own chat template.
    Messages(Vec<Message>),
    /// An instruction, rendered with a named template (see [`crate::template::InstructionTemplate::load`]).
    Instruction {
        /// What to do.
        instruction: String,
        /// Empty when there is none.
        input: String,
        /// `bioinstruct`, `alpaca`, `chat` or a path.
        template: String,
    },
}

/// How tokens are drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    /// Most tokens to write.
    pub max_tokens: usize,
    /// Zero is greedy.
    pub temperature: f64,
    /// Keep the smallest set of tokens with at least this probability; 1 keeps all.
    pub top_p: f64,
    /// Keep this many most likely tokens; zero keeps all.
    pub top_k: usize,
    /// Divides positive and multiplies negative logits of tokens already seen (Keskar et al. 2019); 1 changes nothing.
    pub repetition_penalty: f64,
    /// Names the random stream of this request.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            max_tokens: 256,
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            repetition_penalty: 1.0,
            seed: 0,
        }
    }
}

impl Sampling {
    /// The first field that no model can honour, with the reason.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.max_tokens == 0 {
            return Err(("max_tokens", "must be at least 1".to_owned()));
        }
        if !(self.temperature.is_finite() && (0.0..=100.0).contains(&self.temperature)) {
            return Err(("temperature", format!("{} is not between 0 and 100", self.temperature)));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(("top_p", format!("{} is not in (0, 1]", self.top_p)));
        }
        if !(self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0) {
            return Err((
                "repetition_penalty",
                format!("{} is not positive", self.repetition_penalty),
            ));
        }
        Ok(())
    }
}

/// One request to a [`ChatModel`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// Chosen by the caller, returned with every event.
    pub id: String,
    /// What to continue.
    pub prompt: Prompt,
    /// How to draw tokens.
    pub sampling: Sampling,
    /// The reply ends before the first of these; they are not part of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// The reply must be JSON of this schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// Which loaded adapter answers; none is the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
}

/// Why a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model ended its turn, or completed the schema.
    Stop,
    /// A stop string came up.
    StopString,
    /// `max_tokens` or the context was used up: the text is cut off.
    Length,
    /// The provider withheld it.
    ContentFilter,
}

/// Tokens of one request, as the model counted them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Read.
    pub prompt_tokens: u64,
    /// Written.
    pub completion_tokens: u64,
}

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatReply {
    /// The request's id.
    pub id: String,
    /// The text, without control tokens and without the stop string.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// What it took.
    pub usage: Usage,
    /// The model that answered, as it names itself.
    pub model: String,
}

/// What a model tells while it works.
#[derive(Debug, Clone, PartialEq)]
pub enum ChatEvent {
    /// More text of a reply under way.
    Delta {
        /// The request's id.
        id: String,
        /// The new characters.
        text: String,
    },
    /// A reply is complete.
    Reply(ChatReply),
    /// This one request failed; others go on.
    Failure {
        /// The request's id.
        id: String,
        /// Why.
        error: String,
        /// Whether the provider may have done, and billed, the work.
        in_doubt: bool,
    },
}

/// The caller's side of a run: requests are pulled from it, events are pushed to it.
///
/// One object does both, so that budgets, stop rules and refills can decide the next request by what has come back.
pub trait Exchange {
    /// The next request, or nothing for now; asked again after each finished request until nothing is in flight.
    fn next_request(&mut self) -> Option<ChatRequest>;

    /// Takes an event; `Break` stops the run and drops what is in flight.
    fn event(&mut self, event: ChatEvent) -> ControlFlow<()>;

    /// The request is about to be sent again, because an attempt failed like this; what must be durable before its bytes
    /// leave is written now. `Break` stops the run as in [`Exchange::event`]. Local models never call it.
    fn retry(&mut self, _id: &str, _error: &str, _in_doubt: bool) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Names what computed a result, so that results of different models are never mixed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// For people: an alias, a file name, a provider's model name.
    pub name: String,
    /// For programs: a hash of weights, adapter, tokenizer and precision; for HTTP, of URL and model name.
    pub digest: String,
}

/// A model that writes text.
pub trait ChatModel {
    /// What answers when this adapter (none: the base) is asked.
    fn identity(&self, adapter: Option<&str>) -> ModelIdentity;

    /// Whether requests may carry a JSON schema.
    fn supports_schema(&self) -> bool;

    /// Works until the exchange has no more requests and none is in flight, or breaks.
    fn run(&mut self, exchange: &mut dyn Exchange) -> Result<(), ModelError>;
}

/// One context and the texts that may follow it.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreRequest {
    /// Chosen by the caller, returned with the reply.
    pub id: String,
    /// What comes before. With [`Prompt::Text`], context and continuation are tokenized together and cut apart as
    /// lm-evaluation-harness does; with a template, the continuation is the beginning of the answer.
    pub context: Prompt,
    /// What may follow, leading spaces included.
    pub continuations: Vec<String>,
    /// Which loaded adapter scores; none is the base.
    pub adapter: Option<String>,
}

/// The log-likelihood of one continuation, in nats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContinuationScore {
    /// Sum over the continuation's tokens.
    pub sum: f64,
    /// Its token ids.
    pub token_ids: Vec<u32>,
    /// One value per token.
    pub token_loglikelihoods: Vec<f64>,
    /// Whether every token is the most likely one.
    pub greedy: bool,
}

/// The scores of one request, continuations in the request's order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreReply {
    /// The request's id.
    pub id: String,
    /// One per continuation.
    pub continuations: Vec<ContinuationScore>,
    /// Tokens of the context.
    pub prompt_tokens: usize,
    /// Tokens cut from the left because the context is too long for the model.
    pub truncated_tokens: usize,
}

/// A model that scores given text.
pub trait Scorer {
    /// What scores when this adapter (none: the base) is asked.
    fn identity(&self, adapter: Option<&str>) -> ModelIdentity;

    /// Scores every request; replies come in the order of the requests. `Break` stops.
    fn score(
        &mut self,
        requests: &mut dyn Iterator<Item = ScoreRequest>,
        sink: &mut dyn FnMut(ScoreReply) -> ControlFlow<()>,
    ) -> Result<(), ModelError>;
}

/// Vectors of texts, one row each.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// Values of one vector.
    pub width: usize,
    /// (texts, width), each row of length one; a text without a token is a row of zeros.
    pub values: Vec<f32>,
}

impl Embeddings {
    /// The vectors in the order of the texts.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.width)
    }
}

/// A model that turns texts into vectors whose scalar product says how alike they are in meaning.
pub trait Embedder {
    /// What embeds.
    fn identity(&self) -> ModelIdentity;

    /// One unit vector for each text; a text longer than the model reads is embedded by its beginning.
    fn embed(&self, texts: &[&str]) -> Result<Embeddings, ModelError>;
}

/// A model run that cannot go on. A single request's failure is a [`ChatEvent::Failure`] instead.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The service does not answer, or refuses every request.
    #[error("{model} is unavailable: {reason}")]
    Unavailable {
        /// Its name or address.
        model: String,
        /// What came back.
        reason: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A request asks for what the model cannot do.
    #[error("request {id}: {reason}")]
    Request {
        /// The request's id.
        id: String,
        /// What it cannot do.
        reason: String,
    },
    /// The caller broke a rule of the configuration, such as sending data to a host that is not allowed.
    #[error("{reason}")]
    Forbidden {
        /// The rule.
        reason: String,
        /// What to do about it.
        hint: String,
    },
}

impl Diagnose for ModelError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Unavailable { .. } => FailureKind::Unavailable,
            Self::Request { .. } => FailureKind::Data,
            Self::Forbidden { .. } => FailureKind::Configuration,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unavailable { hint, .. } => hint.clone(),
            Self::Request { .. } => None,
            Self::Forbidden { hint, .. } => Some(hint.clone()),
        }
    }
}
