//! The local model as a [`ChatModel`]: up to so many replies at once, each of which comes out as it would alone.
//!
//! In each round the prompts that are not read yet go on by a bounded piece, and every reply under way gets one token (and
//! those that a schema forces after it). A finished reply leaves at once and the next request takes its place.

use std::time::Instant;

use bioinstruct_core::model::{
    ChatEvent, ChatModel, ChatRequest, Exchange, ModelError, ModelIdentity,
};
use bioinstruct_core::template::TemplateError;

use super::reading::{Reading, read_piece};
use super::sequence::{Beginning, Sequence, Step, Voice};
use super::{LocalModel, Timing, loaded};
use crate::backend::{Backend, Phase};
use crate::sample::{Constraint, SchemaCompiler};

/// Tokens of prompts that are read between two tokens of the replies under way.
const PROMPT_PIECE: usize = 256;

/// What becomes of a request.
enum Admission<B: Backend> {
    Runs(Box<Sequence<B>>),
    /// Its own content is at fault; others go on.
    Refused {
        id: String,
        reason: String,
    },
}

impl<B: Backend> ChatModel for LocalModel<B> {
    fn identity(&self, adapter: Option<&str>) -> ModelIdentity {
        self.model_identity(adapter)
    }

    fn supports_schema(&self) -> bool {
        true
    }

    fn run(&mut self, exchange: &mut dyn Exchange) -> Result<(), ModelError> {
        self.timing = Timing::default();
        let mut active: Vec<Sequence<B>> = Vec::with_capacity(self.slots);
        let mut ask = true;
        loop {
            while ask && active.len() < self.slots {
                let Some(request) = exchange.next_request() else {
                    ask = false;
                    break;
                };
                match self.admit(request)? {
                    Admission::Runs(sequence) => active.push(*sequence),
                    Admission::Refused { id, reason } => {
                        if exchange.event(failure(id, reason)).is_break() {
                            return Ok(());
                        }
                    }
                }
            }
            if active.is_empty() {
                return Ok(());
            }
            for phase in [Phase::Prefill, Phase::Decode] {
                let before = active.len();
                if self.round(&mut active, phase, exchange) == Flow::Stop {
                    return Ok(());
                }
                ask |= active.len() < before;
            }
        }
    }
}

/// Whether the caller wants more.
#[derive(PartialEq, Eq)]
enum Flow {
    Go,
    Stop,
}

fn failure(id: String, error: String) -> ChatEvent {
    ChatEvent::Failure { id, error, in_doubt: false }
}

impl<B: Backend> LocalModel<B> {
    /// Turns a request into a sequence.
    ///
    /// # Errors
    /// [`ModelError::Request`] for what is wrong with the request's settings, which no other text would mend.
    fn admit(&mut self, request: ChatRequest) -> Result<Admission<B>, ModelError> {
        let wrong = |reason: String| ModelError::Request { id: request.id.clone(), reason };
        request.sampling.check().map_err(|(field, reason)| wrong(format!("{field}: {reason}")))?;
        self.adapter(request.adapter.as_deref()).map_err(&wrong)?;
        let prompt = match self.render(&request.prompt) {
            Ok(rendered) => self.encode_prompt(&rendered),
            Err(error) if depends_on_text(&error) => {
                return Ok(Admission::Refused { id: request.id, reason: error.to_string() });
            }
            Err(error) => return Err(wrong(error.to_string())),
        };
        let context = self.llama.context_length();
        if let Some(reason) = unfit(prompt.len(), context) {
            return Ok(Admission::Refused { id: request.id, reason });
        }
        let constraint = self.constraint(&request)?;
        // The last token is read in any case: what is written comes after it.
        let (_, before) = prompt.split_last().unwrap_or((&0, &[]));
        let cache = self.memory.begin(request.adapter.as_deref(), before);
        let beginning = Beginning {
            id: request.id,
            adapter: request.adapter,
            prompt,
            sampling: &request.sampling,
            stop: &request.stop,
            constraint,
            context,
        };
        Ok(Admission::Runs(Box::new(Sequence::new(beginning, cache))))
    }

    fn constraint(&mut self, request: &ChatRequest) -> Result<Option<Constraint>, ModelError> {
        let Some(schema) = &request.schema else {
            return Ok(None);
        };
        let wrong = |error: crate::sample::ConstraintError| ModelError::Request {
            id: request.id.clone(),
            reason: error.to_string(),
        };
        let compiler = match self.schemas.take() {
            Some(compiler) => compiler,
            None => SchemaCompiler::new(std::sync::Arc::clone(&self.tokenizer), &self.ends)
                .map_err(wrong)?,
        };
        self.schemas.insert(compiler).compile(schema).map(Some).map_err(wrong)
    }

    /// Moves the sequences of a phase, tells what they wrote, and removes those that are over.
    fn round(
        &mut self,
        active: &mut Vec<Sequence<B>>,
        phase: Phase,
        exchange: &mut dyn Exchange,
    ) -> Flow {
        let steps = self.steps(active, phase);
        let mut over = vec![false; active.len()];
        for (index, step) in steps {
            let sequence = &active[index];
            let (delta, end) = match step {
                Ok(Step { delta, finish }) => {
                    let model = || self.model_identity(sequence.adapter.as_deref()).name;
                    (delta, finish.map(|finish| ChatEvent::Reply(sequence.reply(finish, model()))))
                }
                Err(reason) => (String::new(), Some(failure(sequence.id.clone(), reason))),
            };
            over[index] = end.is_some();
            let delta = (!delta.is_empty())
                .then(|| ChatEvent::Delta { id: sequence.id.clone(), text: delta });
            for event in delta.into_iter().chain(end) {
                if exchange.event(event).is_break() {
                    return Flow::Stop;
                }
            }
        }
        for (index, over) in over.into_iter().enumerate().rev() {
            if over {
                let (adapter, prompt, cache) = active.remove(index).into_prompt();
                self.memory.keep(adapter, prompt, cache);
            }
        }
        Flow::Go
    }

    /// Reads on and chooses tokens; each result with the number of its sequence.
    fn steps(
        &mut self,
        active: &mut [Sequence<B>],
        phase: Phase,
    ) -> Vec<(usize, Result<Step, String>)> {
        let clock = Instant::now();
        let mut rows: Vec<Option<Vec<f32>>> = vec![None; active.len()];
        let read = self.read(active, phase, &mut rows);
        let voice = Voice { tokenizer: &self.tokenizer, ends: &self.ends };
        // Each reply chooses from its own row, so they can do so at once.
        let mut choices: Vec<Choice<'_, B>> =
            active.iter_mut().zip(rows).map(|(sequence, row)| (sequence, row, None)).collect();
        self.llama.backend().on_host(&mut choices, |(sequence, row, step)| {
            *step = row.as_mut().map(|logits| sequence.step(logits, &voice));
        });
        let steps = choices.into_iter().enumerate();
        let steps = steps.filter_map(|(number, (_, _, step))| Some((number, step?))).collect();
        self.timing.add(phase == Phase::Prefill, read, clock.elapsed());
        steps
    }

    /// Reads on in the sequences of a phase; those that are read to their end get the logits after it.
    fn read(
        &mut self,
        active: &mut [Sequence<B>],
        phase: Phase,
        rows: &mut [Option<Vec<f32>>],
    ) -> usize {
        let Self { llama, work, adapters, .. } = self;
        let lasts: Vec<[usize; 1]> = active.iter().map(|sequence| [sequence.last()]).collect();
        let mut numbers = Vec::with_capacity(active.len());
        let mut readings: Vec<Reading<'_, B>> = Vec::with_capacity(active.len());
        for (number, (sequence, wanted)) in active.iter_mut().zip(&lasts).enumerate() {
            if sequence.in_prompt() == (phase == Phase::Prefill) {
                numbers.push(number);
                readings.push(Reading {
                    ids: &sequence.ids,
                    cache: &mut sequence.cache,
                    adapter: loaded(adapters, sequence.adapter.as_deref()),
                    wanted,
                });
            }
        }
        let most = if phase == Phase::Prefill { PROMPT_PIECE } else { usize::MAX };
        read_piece(llama, work, phase, &mut readings, most, &mut |reading, _, logits| {
            rows[numbers[reading]] = Some(logits.to_vec());
        })
    }
}

/// A sequence, the logits after it where there are any, and what was chosen from them.
type Choice<'a, B> = (&'a mut Sequence<B>, Option<Vec<f32>>, Option<Result<Step, String>>);

/// Whether another text could be rendered where this one could not.
fn depends_on_text(error: &TemplateError) -> bool {
    matches!(error, TemplateError::RewritesContent { .. } | TemplateError::Render { .. })
}

/// Why a prompt of so many tokens cannot be answered.
fn unfit(tokens: usize, context: usize) -> Option<String> {
    match tokens {
        0 => Some("the prompt is empty".to_owned()),
        _ if tokens >= context => Some(format!(
            "the prompt has {tokens} tokens, and the model's context of {context} leaves no room for an answer"
        )),
        _ => None,
    }
}
