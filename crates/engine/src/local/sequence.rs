//! One reply under way: [`Sequence`].

use bioinstruct_core::model::{ChatReply, Finish, Sampling, Usage};

use crate::backend::Backend;
use crate::model::inference::Cache;
use crate::sample::{Constraint, Sampler, TextStream};
use crate::tokenizer::Tokenizer;

/// How ids become text, and which of them end a reply.
pub(super) struct Voice<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) ends: &'a [u32],
}

/// What the reply does with a row of logits.
pub(super) struct Step {
    /// New text for the reader; may be empty.
    pub(super) delta: String,
    /// Why the reply is over, when it is.
    pub(super) finish: Option<Finish>,
}

/// A prompt and the reply to it, as far as it is written.
pub(super) struct Sequence<B: Backend> {
    pub(super) id: String,
    pub(super) adapter: Option<String>,
    /// The prompt and the tokens written so far. The cache knows how many of them were read.
    pub(super) ids: Vec<u32>,
    pub(super) cache: Cache<B>,
    prompt: usize,
    limit: usize,
    sampler: Sampler,
    constraint: Option<Constraint>,
    text: TextStream,
}

/// What makes a [`Sequence`].
pub(super) struct Beginning<'a> {
    pub(super) id: String,
    pub(super) adapter: Option<String>,
    /// At least one token.
    pub(super) prompt: Vec<u32>,
    pub(super) sampling: &'a Sampling,
    pub(super) stop: &'a [String],
    pub(super) constraint: Option<Constraint>,
    /// Most tokens that the model can hold.
    pub(super) context: usize,
}

impl<B: Backend> Sequence<B> {
    /// A sequence with nothing read and nothing written. The prompt must leave room for a token.
    pub(super) fn new(beginning: Beginning<'_>, cache: Cache<B>) -> Self {
        let prompt = beginning.prompt.len();
        Self {
            id: beginning.id,
            adapter: beginning.adapter,
            sampler: Sampler::new(beginning.sampling, &beginning.prompt),
            ids: beginning.prompt,
            cache,
            prompt,
            limit: beginning.sampling.max_tokens.min(beginning.context.saturating_sub(prompt)),
            constraint: beginning.constraint,
            text: TextStream::new(beginning.stop),
        }
    }

    /// Whether its prompt is still being read.
    pub(super) fn in_prompt(&self) -> bool {
        self.cache.length() < self.prompt
    }

    /// Adapter, prompt and cache of a reply that is over.
    pub(super) fn into_prompt(mut self) -> (Option<String>, Vec<u32>, Cache<B>) {
        self.ids.truncate(self.prompt);
        (self.adapter, self.ids, self.cache)
    }

    /// The position after which the next token comes.
    pub(super) fn last(&self) -> usize {
        self.ids.len() - 1
    }

    fn written(&self) -> usize {
        self.ids.len() - self.prompt
    }

    /// Takes the logits after the last token.
    ///
    /// # Errors
    /// Why the reply cannot go on.
    pub(super) fn step(&mut self, logits: &mut [f32], voice: &Voice<'_>) -> Result<Step, String> {
        // Rows past the vocabulary are padding of the embedding.
        let known = logits.len().min(voice.tokenizer.vocabulary_size());
        let logits = &mut logits[..known];
        if let Some(constraint) = &mut self.constraint {
            constraint.mask(logits).map_err(|error| error.to_string())?;
        }
        let chosen = self
            .sampler
            .choose(logits, self.written() as u64)
            .ok_or("the model's logits are not numbers")?;
        let mut delta = String::new();
        let mut finish = self.write(chosen, voice, &mut delta);
        if finish != Some(Finish::Stop) {
            finish = self.follow_constraint(chosen, finish, voice, &mut delta)?;
        }
        if finish.is_some() {
            delta.push_str(&self.text.finish());
        }
        Ok(Step { delta, finish })
    }

    /// Tells the constraint of a token and writes what must come after it.
    fn follow_constraint(
        &mut self,
        chosen: u32,
        mut finish: Option<Finish>,
        voice: &Voice<'_>,
        delta: &mut String,
    ) -> Result<Option<Finish>, String> {
        let Some(constraint) = &mut self.constraint else {
            return Ok(finish);
        };
        constraint.advance(chosen).map_err(|error| error.to_string())?;
        let forced = constraint.forced().map_err(|error| error.to_string())?;
        let complete = constraint.complete();
        let mut forced = forced.into_iter().peekable();
        while finish.is_none()
            && let Some(id) = forced.next()
        {
            finish = self.write(id, voice, delta);
        }
        let all_written = forced.peek().is_none() && finish != Some(Finish::StopString);
        Ok(if complete && all_written { Some(Finish::Stop) } else { finish })
    }

    /// Appends a token to the reply.
    fn write(&mut self, id: u32, voice: &Voice<'_>, delta: &mut String) -> Option<Finish> {
        self.ids.push(id);
        self.sampler.see(id);
        if voice.ends.contains(&id) {
            return Some(Finish::Stop);
        }
        if !voice.tokenizer.is_control(id) {
            let piece = self.text.push(voice.tokenizer.token_bytes(id));
            delta.push_str(&piece.text);
            if piece.stopped {
                return Some(Finish::StopString);
            }
        }
        (self.written() >= self.limit).then_some(Finish::Length)
    }

    /// The finished reply.
    pub(super) fn reply(&self, finish: Finish, model: String) -> ChatReply {
        ChatReply {
            id: self.id.clone(),
            text: self.text.text().to_owned(),
            finish,
            usage: Usage {
                prompt_tokens: self.prompt as u64,
                completion_tokens: self.written() as u64,
            },
            model,
        }
    }
}
