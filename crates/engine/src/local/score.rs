//! The local model as a [`Scorer`]: log-likelihoods of given continuations.
//!
//! What the continuations of a request share is read once, what it shares with the request before it not again, and the head
//! is computed only where a token is scored; with continuations of one token each, that is one row. Several requests are read
//! together up to a number of tokens.

use std::ops::ControlFlow;

use bioinstruct_core::model::{
    ModelError, ModelIdentity, Prompt, ScoreReply, ScoreRequest, Scorer,
};

use super::job::{Job, Text};
use super::pair::Pair;
use super::reading::{Reading, read_piece};
use super::{LocalModel, loaded};
use crate::backend::{Backend, PAGE_TOKENS, Phase};
use crate::model::inference::Cache;
use crate::sample::Likelihoods;

/// Tokens of the requests that are read together.
const GROUP_TOKENS: usize = 2048;
/// Tokens of one pass through the network.
const PIECE: usize = 2048;
/// Bytes of keys and values that continuations of what they share have at once.
const OWN_BYTES: usize = 512 << 20;

impl<B: Backend> Scorer for LocalModel<B> {
    fn identity(&self, adapter: Option<&str>) -> ModelIdentity {
        self.model_identity(adapter)
    }

    fn score(
        &mut self,
        requests: &mut dyn Iterator<Item = ScoreRequest>,
        sink: &mut dyn FnMut(ScoreReply) -> ControlFlow<()>,
    ) -> Result<(), ModelError> {
        let mut group: Vec<Job> = Vec::new();
        let mut next = requests.next();
        while let Some(request) = next {
            let id = request.id.clone();
            let job = self.job(request).map_err(|reason| ModelError::Request { id, reason });
            let failed = job.is_err();
            let jobs = group.iter().chain(&job);
            let tokens: usize = jobs.map(|job| job.tokens() - self.known(job)).sum();
            // What came before a bad request is still answered.
            if (failed || tokens > GROUP_TOKENS) && self.flush(&mut group, sink).is_break() {
                return Ok(());
            }
            group.push(job?);
            next = requests.next();
        }
        let _ = self.flush(&mut group, sink);
        Ok(())
    }
}

impl<B: Backend> LocalModel<B> {
    fn job(&self, request: ScoreRequest) -> Result<Job, String> {
        self.adapter(request.adapter.as_deref())?;
        let pairs = self.pairs(&request)?;
        Job::new(request.id, request.adapter, pairs, self.llama.context_length())
    }

    /// Tokens at the job's beginning that are in memory.
    fn known(&self, job: &Job) -> usize {
        self.memory.known(job.adapter.as_deref(), job.unscored())
    }

    fn pairs(&self, request: &ScoreRequest) -> Result<Vec<Pair>, String> {
        let continuations = request.continuations.iter();
        if let Prompt::Text(context) = &request.context {
            return continuations
                .map(|text| Pair::of_text(&self.tokenizer, context, text))
                .collect();
        }
        let rendered = self.render(&request.context).map_err(|error| error.to_string())?;
        let context = self.encode_prompt(&rendered);
        continuations.map(|text| Pair::of_answer(&self.tokenizer, &context, text)).collect()
    }

    /// Scores the group and hands its replies out in order.
    fn flush(
        &mut self,
        group: &mut Vec<Job>,
        sink: &mut dyn FnMut(ScoreReply) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut jobs = std::mem::take(group);
        let caches = self.read_shared(&mut jobs);
        self.read_rest(&mut jobs, &caches);
        if let Some((job, cache)) = jobs.last().zip(caches.into_iter().last()) {
            let ids = job.texts.first().map_or(&[][..], |text| &text.input[..job.shared]);
            self.memory.keep(job.adapter.clone(), ids.to_vec(), cache);
        }
        for job in jobs {
            sink(ScoreReply {
                id: job.id,
                continuations: job.texts.into_iter().map(Text::score).collect(),
                prompt_tokens: job.prompt_tokens,
                truncated_tokens: job.truncated_tokens,
            })?;
        }
        ControlFlow::Continue(())
    }

    /// Reads what the texts of each job share.
    fn read_shared(&mut self, jobs: &mut [Job]) -> Vec<Cache<B>> {
        let Self { llama, work, adapters, memory, .. } = self;
        let begin = |job: &Job| memory.begin(job.adapter.as_deref(), job.unscored());
        let mut caches: Vec<Cache<B>> = jobs.iter().map(begin).collect();
        let wanted: Vec<Vec<usize>> = jobs.iter().map(Job::shared_rows).collect();
        let mut readings: Vec<Reading<'_, B>> = caches
            .iter_mut()
            .zip(&wanted)
            .zip(&*jobs)
            .map(|((cache, wanted), job)| Reading {
                ids: job.texts.first().map_or(&[], |text| &text.input[..job.shared]),
                cache,
                adapter: loaded(adapters, job.adapter.as_deref()),
                wanted,
            })
            .collect();
        let mut found: Vec<Found> = Vec::new();
        let on_row = &mut |job: usize, position: usize, logits: &mut [f32]| {
            let row = Likelihoods::new(logits);
            let texts = jobs[job].texts.iter().enumerate();
            found.extend(texts.filter_map(|(text, of)| {
                Some(Found { job, text, score: of.score_at(position, &row)? })
            }));
        };
        while read_piece(llama, work, Phase::Prefill, &mut readings, PIECE, on_row) > 0 {}
        note(jobs, found);
        caches
    }

    /// Reads what each text has of its own, after the shared beginnings.
    fn read_rest(&mut self, jobs: &mut [Job], beginnings: &[Cache<B>]) {
        let own: Vec<(usize, usize)> = jobs
            .iter()
            .enumerate()
            .flat_map(|(number, job)| {
                let texts = job.texts.iter().enumerate();
                let longer = texts.filter(|(_, text)| text.input.len() > job.shared);
                longer.map(move |(text, _)| (number, text))
            })
            .collect();
        let config = self.llama.config();
        let token_bytes = 2 * config.layers * config.key_value_size() * size_of::<f32>();
        let mut rest = &own[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fitting = rest.iter().take_while(|(job, text)| {
                let own = jobs[*job].texts[*text].input.len() - jobs[*job].shared;
                bytes += (own + PAGE_TOKENS) * token_bytes;
                bytes <= OWN_BYTES
            });
            let (wave, after) = rest.split_at(fitting.count().max(1));
            self.read_wave(jobs, beginnings, wave);
            rest = after;
        }
    }

    /// Reads the rest of these texts, each given by its job and its number there.
    fn read_wave(&mut self, jobs: &mut [Job], beginnings: &[Cache<B>], wave: &[(usize, usize)]) {
        let Self { llama, work, adapters, .. } = self;
        let fork = |beginning: &Cache<B>| beginning.fork(beginning.length());
        let mut caches: Vec<Cache<B>> =
            wave.iter().map(|(job, _)| fork(&beginnings[*job])).collect();
        let wanted: Vec<Vec<usize>> = wave
            .iter()
            .map(|(job, text)| {
                let text = &jobs[*job].texts[*text];
                (text.first().max(jobs[*job].shared)..text.input.len()).collect()
            })
            .collect();
        let mut readings: Vec<Reading<'_, B>> = caches
            .iter_mut()
            .zip(&wanted)
            .zip(wave)
            .map(|((cache, wanted), (job, text))| Reading {
                ids: &jobs[*job].texts[*text].input,
                cache,
                adapter: loaded(adapters, jobs[*job].adapter.as_deref()),
                wanted,
            })
            .collect();
        let mut found: Vec<Found> = Vec::new();
        let on_row = &mut |number: usize, position: usize, logits: &mut [f32]| {
            let (job, text) = wave[number];
            let score = jobs[job].texts[text].score_at(position, &Likelihoods::new(logits));
            found.extend(score.map(|score| Found { job, text, score }));
        };
        while read_piece(llama, work, Phase::Prefill, &mut readings, PIECE, on_row) > 0 {}
        note(jobs, found);
    }
}

/// The score of a text's next target.
struct Found {
    job: usize,
    text: usize,
    score: (f64, bool),
}

fn note(jobs: &mut [Job], found: Vec<Found>) {
    for Found { job, text, score } in found {
        jobs[job].texts[text].scored.push(score);
    }
}
