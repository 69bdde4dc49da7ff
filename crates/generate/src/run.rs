//! The stage `generate` of a run: [`generate`] asks a model until enough rows are accepted, and publishes them.
//!
//! A request is in the ledger before it is sent, a reply before it is read. Started again, the replies are read from the
//! ledger as if they came anew, and requests without one are sent again under their id.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::jsonl;
use bioinstruct_core::model::{ChatEvent, ChatModel, ChatReply, ChatRequest, Exchange};
use bioinstruct_core::record::SeedTask;
use bioinstruct_core::run_directory::{Manifest, RunDirectory, RunError, Stage};
use bioinstruct_curate::CurateConfig;
use bioinstruct_ledger::{EntryState, Ledger};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::GenerateError;
use crate::admit::{Admitter, Settled, Tally};
use crate::config::{Form, GenerateConfig};
use crate::plan::{Plan, PlannedRequest};
use crate::prompt;

/// The directory of the stage in a run.
pub const DIRECTORY: &str = "generate";

const OUTPUTS: [&str; 2] = ["instructions.jsonl", "rejected.jsonl"];

/// After so many attempts that may have been answered, and billed, without the answer arriving, a request is not sent in a
/// later run.
const MOST_DOUBTFUL_ATTEMPTS: u32 = 2;

/// Everything that decides about the rows, but the model.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The tasks to draw exemplars from.
    pub seeds: &'a [SeedTask],
    /// What is wanted.
    pub config: &'a GenerateConfig,
    /// The filters that rows must pass.
    pub curate: &'a CurateConfig,
    /// Of every random choice.
    pub seed: u64,
    /// Whether the model runs on this machine, so that restricted seeds may be shown to it.
    pub local: bool,
}

/// Where a generation stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Requests sent, earlier runs included.
    pub sent: usize,
    /// Requests with a reply.
    pub replied: usize,
    /// Rows wanted.
    pub wanted: usize,
    /// The decisions made, in the order of the plan.
    pub tally: Tally,
}

/// What `generate --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Rows wanted.
    pub wanted: usize,
    /// The decisions up to the last row.
    #[serde(flatten)]
    pub tally: Tally,
    /// Why it ended before enough was accepted, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Whether an earlier run had finished the stage, and nothing was done now.
    #[serde(skip)]
    pub was_finished: bool,
}

/// Runs the stage to its end, or goes on where an earlier run was interrupted. `progress` is told after every event.
pub fn generate(
    run: &RunDirectory,
    model: &mut dyn ChatModel,
    job: &Job<'_>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Summary, GenerateError> {
    let stage = run.stage(DIRECTORY)?;
    let plan = Plan::new(job.seeds, job.config, job.seed)?;
    refuse_egress(job)?;
    if job.config.form == Form::Json && !model.supports_schema() {
        let model = model.identity(None).name;
        return Err(GenerateError::NoSchema { model });
    }
    let manifest = manifest(job, model)?;
    if let Some(found) = stage.finished(&manifest)? {
        return earlier_summary(&stage, &found);
    }
    let ledger = Ledger::open(&stage.path("ledger.sqlite"))?;
    bind(&ledger, job, &manifest)?;
    let mut desk = Desk {
        job,
        plan,
        ledger: &ledger,
        admitter: Admitter::new(job.config, job.curate, job.seeds)?,
        unsent: BTreeMap::new(),
        under_way: BTreeMap::new(),
        settled: BTreeSet::new(),
        replied: 0,
        next: 0,
        failure: None,
        progress,
    };
    desk.replay()?;
    if !desk.admitter.done() {
        let ran = model.run(&mut desk);
        if let Some(error) = desk.failure.take() {
            return Err(error);
        }
        ran?;
    }
    if !desk.admitter.done() {
        return Err(GenerateError::Stopped {
            accepted: desk.admitter.accepted().len(),
            wanted: job.config.count,
        });
    }
    publish(&stage, &desk.admitter, manifest, job.config.count)
}

/// Text under a data-use agreement stays on this machine.
fn refuse_egress(job: &Job<'_>) -> Result<(), GenerateError> {
    let mut restricted = job.seeds.iter().filter(|seed| seed.restricted);
    match restricted.next() {
        Some(first) if !job.local => Err(GenerateError::Restricted {
            first: first.id.clone(),
            count: 1 + restricted.count(),
        }),
        _ => Ok(()),
    }
}

fn manifest(job: &Job<'_>, model: &dyn ChatModel) -> Result<Manifest, GenerateError> {
    let hash = |value: &Value| ContentHash::of_json(value).to_string();
    let inputs = BTreeMap::from([
        ("seeds".to_owned(), hash(&json!(job.seeds))),
        ("prompts".to_owned(), hash(&prompt::resources())),
        ("model".to_owned(), model.identity(None).digest),
    ]);
    let rules = job.curate.resolved()?;
    let filters = json!({
        "dialect": rules.dialect,
        "filters": rules.only,
        "rouge_threshold": rules.rouge_threshold,
        "key": rules.key,
        "min_words": rules.min_words,
        "max_words": rules.max_words,
        "keywords": rules.keywords,
    });
    let config = json!({"generate": job.config, "curate": filters});
    Ok(Manifest::new("generate", job.seed, config, inputs))
}

/// What requests depend on must stay the same from run to run; how many rows are wanted may change until they are there.
fn bind(ledger: &Ledger, job: &Job<'_>, manifest: &Manifest) -> Result<(), GenerateError> {
    let mut config = json!(job.config);
    if let Some(fields) = config.as_object_mut() {
        for limit in ["count", "max_requests", "max_barren_requests"] {
            fields.remove(limit);
        }
    }
    ledger.bind("seed", &json!(job.seed))?;
    ledger.bind("inputs", &json!(manifest.inputs))?;
    ledger.bind("generate", &config)?;
    Ok(())
}

fn earlier_summary(stage: &Stage, found: &Manifest) -> Result<Summary, GenerateError> {
    let mut summary: Summary = serde_json::from_value(found.summary.clone()).map_err(|error| {
        RunError::Manifest { path: stage.path("manifest.json"), reason: error.to_string() }
    })?;
    summary.was_finished = true;
    Ok(summary)
}

fn publish(
    stage: &Stage,
    admitter: &Admitter<'_>,
    mut manifest: Manifest,
    wanted: usize,
) -> Result<Summary, GenerateError> {
    let summary = Summary {
        wanted,
        tally: admitter.tally().clone(),
        stopped: admitter.stopped().map(str::to_owned),
        was_finished: false,
    };
    stage.publish(OUTPUTS[0], |out| jsonl::write(out, admitter.accepted()))?;
    stage.publish(OUTPUTS[1], |out| jsonl::write(out, admitter.rejected()))?;
    manifest.summary = json!(summary);
    stage.finish(manifest, &OUTPUTS)?;
    Ok(summary)
}

/// The caller's side of the conversation with the model.
struct Desk<'a> {
    job: &'a Job<'a>,
    plan: Plan<'a>,
    ledger: &'a Ledger,
    admitter: Admitter<'a>,
    /// Planned or failed in an earlier run, and to be sent again.
    unsent: BTreeMap<u64, PlannedRequest>,
    under_way: BTreeMap<String, PlannedRequest>,
    /// Places whose fate is known.
    settled: BTreeSet<u64>,
    replied: usize,
    /// The first place that was never planned.
    next: u64,
    failure: Option<GenerateError>,
    progress: &'a mut dyn FnMut(&Progress),
}

impl Desk<'_> {
    /// Takes over what earlier runs left.
    fn replay(&mut self) -> Result<(), GenerateError> {
        for entry in self.ledger.entries()? {
            let planned = self.plan.request(entry.plan_index)?;
            // Refuses a ledger whose requests are not those of this plan.
            self.ledger.plan(planned.index, &planned.request, &planned.extra())?;
            self.next = self.next.max(planned.index + 1);
            match entry.state {
                EntryState::Replied(reply) => {
                    self.replied += 1;
                    self.settle(planned, Settled::Reply(reply))?;
                }
                EntryState::Failed { error, .. }
                    if entry.doubtful_attempts >= MOST_DOUBTFUL_ATTEMPTS =>
                {
                    self.settle(planned, Settled::Failed { error })?;
                }
                EntryState::Planned | EntryState::Failed { .. } => {
                    self.unsent.insert(planned.index, planned);
                }
            }
        }
        self.report();
        Ok(())
    }

    fn settle(&mut self, planned: PlannedRequest, settled: Settled) -> Result<(), GenerateError> {
        self.settled.insert(planned.index);
        self.admitter.settle(planned, settled)
    }

    fn report(&mut self) {
        let progress = Progress {
            sent: self.settled.len() + self.under_way.len(),
            replied: self.replied,
            wanted: self.job.config.count,
            tally: self.admitter.tally().clone(),
        };
        (self.progress)(&progress);
    }

    /// The request to send next, if it makes sense to send one now.
    fn choose(&mut self) -> Result<Option<PlannedRequest>, GenerateError> {
        if self.admitter.done() {
            return Ok(None);
        }
        if let Some((_, planned)) = self.unsent.pop_first() {
            return Ok(Some(planned));
        }
        let limit = self.job.config.max_requests as u64;
        if !self.wants_more() || (limit > 0 && self.next >= limit) {
            return Ok(None);
        }
        let planned = self.plan.request(self.next)?;
        self.next += 1;
        self.ledger.plan(planned.index, &planned.request, &planned.extra())?;
        Ok(Some(planned))
    }

    /// Whether the replies that are still out will probably not be enough. This saves requests near the end; it has no part
    /// in what is accepted.
    fn wants_more(&self) -> bool {
        let out = self.under_way.len() + self.admitter.waiting();
        if out == 0 {
            return true;
        }
        let tally = self.admitter.tally();
        let first_guess = self.job.config.tasks_per_reply() as f64 / 2.0;
        let expected = (tally.accepted as f64 + first_guess) / (tally.requests + 1) as f64;
        let missing = self.job.config.count - tally.accepted;
        (out as f64) * expected < missing as f64
    }

    fn take_reply(&mut self, reply: ChatReply) -> Result<(), GenerateError> {
        self.ledger.reply(&reply)?;
        let planned = self.take_under_way(&reply.id)?;
        self.replied += 1;
        self.settle(planned, Settled::Reply(reply))
    }

    /// The model has tried as often as it makes sense now; a later run may try again.
    fn take_failure(
        &mut self,
        id: &str,
        error: String,
        in_doubt: bool,
    ) -> Result<(), GenerateError> {
        let planned = self.take_under_way(id)?;
        self.ledger.failure(id, &error, in_doubt)?;
        tracing::warn!(request = id, in_doubt, "request failed: {error}");
        self.settle(planned, Settled::Failed { error })
    }

    fn take_under_way(&mut self, id: &str) -> Result<PlannedRequest, GenerateError> {
        self.under_way.remove(id).ok_or_else(|| GenerateError::Unasked { id: id.to_owned() })
    }
}

impl Desk<'_> {
    fn go_on_after(&mut self, taken: Result<(), GenerateError>) -> ControlFlow<()> {
        match taken {
            Ok(()) if self.admitter.done() => ControlFlow::Break(()),
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failure.get_or_insert(error);
                ControlFlow::Break(())
            }
        }
    }
}

impl Exchange for Desk<'_> {
    fn next_request(&mut self) -> Option<ChatRequest> {
        if self.failure.is_some() {
            return None;
        }
        let chosen = self.choose().and_then(|chosen| {
            let Some(planned) = chosen else {
                return Ok(None);
            };
            self.ledger.attempt(&planned.request.id)?;
            Ok(Some(planned))
        });
        match chosen {
            Ok(planned) => {
                let planned = planned?;
                let request = planned.request.clone();
                self.under_way.insert(request.id.clone(), planned);
                Some(request)
            }
            Err(error) => {
                self.failure = Some(error);
                None
            }
        }
    }

    fn event(&mut self, event: ChatEvent) -> ControlFlow<()> {
        let taken = match event {
            ChatEvent::Delta { .. } => return ControlFlow::Continue(()),
            ChatEvent::Reply(reply) => self.take_reply(reply),
            ChatEvent::Failure { id, error, in_doubt } => self.take_failure(&id, error, in_doubt),
        };
        self.report();
        self.go_on_after(taken)
    }

    fn retry(&mut self, id: &str, error: &str, in_doubt: bool) -> ControlFlow<()> {
        let noted = self.ledger.retry(id, error, in_doubt);
        self.go_on_after(noted.map(|_| ()).map_err(GenerateError::Ledger))
    }
}
