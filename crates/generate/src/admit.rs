//! Which drafts become rows: [`Admitter`] takes replies in any order and decides in the order of the plan.
//!
//! Whether a draft is new depends on what was accepted before it, so a reply waits here until all requests before it are
//! settled. What is accepted is then a function of the replies alone, whatever order they came in.

use std::collections::BTreeMap;

use bioinstruct_core::model::ChatReply;
use bioinstruct_core::record::{Instruction, Provenance, SeedTask};
use bioinstruct_curate::{Admission, CurateConfig, Evidence};
use serde::{Deserialize, Serialize};

use crate::GenerateError;
use crate::config::{Form, GenerateConfig};
use crate::parse::{Draft, Piece, json, numbered};
use crate::plan::PlannedRequest;
use crate::prompt::JSON_LIMITS;

/// The name, beside those of filters and faults, of a request without a reply.
pub const REQUEST_FAILED: &str = "request-failed";

/// A piece of a reply that became no row: a line of `generate/rejected.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RejectedDraft {
    /// The ledger's request.
    pub request_id: String,
    /// Which piece of the reply, from one; zero for a request without a reply.
    pub position: usize,
    /// The name of the filter, or `malformed`, `truncated` or `request-failed`.
    pub filter: String,
    /// In words.
    pub reason: String,
    /// The row that it resembles, for filters that compare rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// The task, when it could be read.
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub draft: Option<Draft>,
    /// The text, when it could not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Settled {
    /// Its reply.
    Reply(ChatReply),
    /// There will be none.
    Failed {
        /// Why.
        error: String,
    },
}

/// Numbers of the decisions made so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Requests decided on, in the order of the plan.
    pub requests: u64,
    /// Pieces of replies that were meant as tasks.
    pub drafts: usize,
    /// Rows.
    pub accepted: usize,
    /// Pieces and requests that became no row, by filter or fault.
    pub rejected: BTreeMap<String, usize>,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
}

/// The rows, and what became of everything else.
#[derive(Debug)]
pub struct Admitter<'a> {
    config: &'a GenerateConfig,
    admission: Admission,
    waiting: BTreeMap<u64, (PlannedRequest, Settled)>,
    accepted: Vec<Instruction>,
    rejected: Vec<RejectedDraft>,
    tally: Tally,
    barren: usize,
    failed: usize,
    stopped: Option<String>,
}

impl<'a> Admitter<'a> {
    /// Nothing accepted yet.
    pub fn new(
        config: &'a GenerateConfig,
        curate: &CurateConfig,
        seeds: &[SeedTask],
    ) -> Result<Self, GenerateError> {
        Ok(Self {
            config,
            admission: Admission::new(curate, seeds)?,
            waiting: BTreeMap::new(),
            accepted: Vec::new(),
            rejected: Vec::new(),
            tally: Tally::default(),
            barren: 0,
            failed: 0,
            stopped: None,
        })
    }

    /// Takes what became of a request, and decides on all whose turn it is.
    ///
    /// # Errors
    /// When five requests in a row have failed: the service is down, and stopping there keeps the plan whole.
    pub fn settle(
        &mut self,
        planned: PlannedRequest,
        settled: Settled,
    ) -> Result<(), GenerateError> {
        self.waiting.insert(planned.index, (planned, settled));
        while !self.done() {
            let Some((planned, settled)) = self.waiting.remove(&self.tally.requests) else {
                break;
            };
            self.tally.requests += 1;
            match settled {
                Settled::Reply(reply) => self.read(&planned, &reply),
                Settled::Failed { error } => self.give_up(&planned, error)?,
            }
            self.consider_stopping();
        }
        Ok(())
    }

    /// Whether no further request can change what is accepted.
    pub fn done(&self) -> bool {
        self.accepted.len() == self.config.count || self.stopped.is_some()
    }

    /// Replies that wait for an earlier one.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The decisions so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Why it ended before enough was accepted, if it did.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// The rows in the order of the plan.
    pub fn accepted(&self) -> &[Instruction] {
        &self.accepted
    }

    /// Everything else, up to the last row.
    pub fn rejected(&self) -> &[RejectedDraft] {
        &self.rejected
    }

    fn read(&mut self, planned: &PlannedRequest, reply: &ChatReply) {
        self.failed = 0;
        self.tally.prompt_tokens += reply.usage.prompt_tokens;
        self.tally.completion_tokens += reply.usage.completion_tokens;
        let before = self.accepted.len();
        let pieces = match self.config.form {
            Form::Paper => {
                let first = self.config.exemplars_per_request + 1;
                numbered::parse(&reply.text, first, reply.finish)
            }
            Form::Json => json::parse(&reply.text, reply.finish, JSON_LIMITS),
        };
        for (position, piece) in (1..).zip(pieces) {
            if self.accepted.len() == self.config.count {
                break;
            }
            self.tally.drafts += 1;
            match piece {
                Piece::Draft(draft) => self.judge(planned, reply, position, draft),
                Piece::Bad { fault, reason, text } => self.reject(RejectedDraft {
                    request_id: planned.request.id.clone(),
                    position,
                    filter: fault.name().to_owned(),
                    reason,
                    evidence: None,
                    draft: None,
                    text,
                }),
            }
        }
        self.barren = if self.accepted.len() > before { 0 } else { self.barren + 1 };
    }

    fn judge(
        &mut self,
        planned: &PlannedRequest,
        reply: &ChatReply,
        position: usize,
        draft: Draft,
    ) {
        let row = Instruction::new(
            draft.instruction.clone(),
            draft.input.clone(),
            draft.output.clone(),
            planned.category,
            Provenance {
                source: "generated".to_owned(),
                request_id: planned.request.id.clone(),
                exemplar_ids: planned.exemplar_ids.clone(),
                model: reply.model.clone(),
                licence: String::new(),
                restricted: planned.restricted,
            },
        );
        match self.admission.judge(&row) {
            Ok(()) => {
                self.accepted.push(row);
                self.tally.accepted += 1;
            }
            Err(reject) => self.reject(RejectedDraft {
                request_id: planned.request.id.clone(),
                position,
                filter: reject.filter,
                reason: reject.reason,
                evidence: reject.evidence,
                draft: Some(draft),
                text: String::new(),
            }),
        }
    }

    fn reject(&mut self, rejected: RejectedDraft) {
        *self.tally.rejected.entry(rejected.filter.clone()).or_default() += 1;
        self.rejected.push(rejected);
    }

    fn give_up(&mut self, planned: &PlannedRequest, error: String) -> Result<(), GenerateError> {
        const MOST_IN_A_ROW: usize = 5;
        self.failed += 1;
        if self.failed == MOST_IN_A_ROW {
            return Err(GenerateError::Failing { count: self.failed, error });
        }
        self.reject(RejectedDraft {
            request_id: planned.request.id.clone(),
            position: 0,
            filter: REQUEST_FAILED.to_owned(),
            reason: error,
            evidence: None,
            draft: None,
            text: String::new(),
        });
        Ok(())
    }

    fn consider_stopping(&mut self) {
        if self.accepted.len() == self.config.count {
            return;
        }
        let (accepted, wanted) = (self.accepted.len(), self.config.count);
        let so_far = format!("{accepted} of {wanted} rows are accepted");
        if self.barren >= self.config.max_barren_requests {
            self.stopped =
                Some(format!("{so_far}: {} requests in a row gave no new one", self.barren));
        } else if self.config.max_requests > 0
            && self.tally.requests >= self.config.max_requests as u64
        {
            self.stopped =
                Some(format!("{so_far}: `max_requests` {} is reached", self.config.max_requests));
        }
    }
}
