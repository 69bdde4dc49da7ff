//! Answers of a model through the journal: what stands there is not asked again, and each new answer is durable before it is
//! used. [`Session`] belongs to one task and one candidate.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bioinstruct_core::model::ModelError;
use bioinstruct_ledger::Ledger;
use serde_json::Value;

use crate::evaluate::{Progress, ProgressSink};
use crate::prompt::Asked;
use crate::{Candidate, EvaluationError, TaskInput};

/// The answers of one candidate to one task.
pub(crate) struct Session<'a, 'p> {
    pub(crate) input: &'a TaskInput,
    pub(crate) candidate: &'a Candidate,
    pub(crate) asked: &'a [Asked],
    ledger: &'a Ledger,
    kind: &'static str,
    /// One key per item; items that are asked the same thing share one.
    keys: Vec<String>,
    answers: BTreeMap<String, Value>,
    /// Items whose answer stands.
    done: usize,
    progress: &'a mut ProgressSink<'p>,
    /// The first error of a callback, which can only say `Break`.
    failure: Option<EvaluationError>,
}

impl<'a, 'p> Session<'a, 'p> {
    /// Looks up what already stands.
    pub(crate) fn open(
        input: &'a TaskInput,
        candidate: &'a Candidate,
        asked: &'a [Asked],
        ledger: &'a Ledger,
        kind: &'static str,
        keys: Vec<String>,
        progress: &'a mut ProgressSink<'p>,
    ) -> Result<Self, EvaluationError> {
        let mut answers = BTreeMap::new();
        for key in &keys {
            if let Some(answer) = ledger.answer(kind, key)? {
                answers.insert(key.clone(), answer);
            }
        }
        let done = keys.iter().filter(|key| answers.contains_key(*key)).count();
        let mut session = Self {
            input,
            candidate,
            asked,
            ledger,
            kind,
            keys,
            answers,
            done,
            progress,
            failure: None,
        };
        match session.report() {
            ControlFlow::Continue(()) => Ok(session),
            ControlFlow::Break(()) => Err(EvaluationError::Interrupted),
        }
    }

    /// Positions of the items to ask, one for each key that has no answer.
    pub(crate) fn pending(&self) -> Vec<usize> {
        let mut first: BTreeMap<&str, usize> = BTreeMap::new();
        for (position, key) in self.keys.iter().enumerate() {
            if !self.answers.contains_key(key) {
                first.entry(key).or_insert(position);
            }
        }
        let mut positions: Vec<usize> = first.into_values().collect();
        positions.sort_unstable();
        positions
    }

    /// Stores the answer to the item at `position`; `Break` when it cannot be stored or the caller wants to stop.
    pub(crate) fn record(&mut self, position: usize, answer: Value) -> ControlFlow<()> {
        let key = &self.keys[position];
        if let Err(error) = self.ledger.record_answer(self.kind, key, &answer) {
            return self.fail(error.into());
        }
        self.done += self.keys.iter().filter(|other| *other == key).count();
        self.answers.insert(key.clone(), answer);
        match self.report() {
            ControlFlow::Continue(()) => ControlFlow::Continue(()),
            ControlFlow::Break(()) => self.fail(EvaluationError::Interrupted),
        }
    }

    /// Keeps the error for [`Session::finish`]; later ones do not replace it.
    pub(crate) fn fail(&mut self, error: EvaluationError) -> ControlFlow<()> {
        self.failure.get_or_insert(error);
        ControlFlow::Break(())
    }

    fn report(&mut self) -> ControlFlow<()> {
        (self.progress)(Progress {
            task: &self.input.task.name,
            candidate: &self.candidate.id,
            done: self.done,
            total: self.keys.len(),
        })
    }

    /// The answers in the order of the items, or why they are not all there: an error of a callback, then how the model's run
    /// `ended`, then items without an answer. `reason` says why the item at a position has none.
    pub(crate) fn finish(
        self,
        ended: Result<(), ModelError>,
        reason: impl Fn(usize) -> Option<String>,
    ) -> Result<Vec<Value>, EvaluationError> {
        if let Some(error) = self.failure {
            return Err(error);
        }
        ended?;
        let unanswered: Vec<usize> = (0..self.keys.len())
            .filter(|&position| !self.answers.contains_key(&self.keys[position]))
            .collect();
        if let Some(&first) = unanswered.first() {
            return Err(EvaluationError::Unanswered {
                task: self.input.task.name.clone(),
                candidate: self.candidate.id.clone(),
                failed: unanswered.len(),
                total: self.keys.len(),
                item: self.input.items.items[first].id.clone(),
                reason: reason(first).unwrap_or_else(|| "the model gave no reply".to_owned()),
            });
        }
        Ok(self.keys.iter().map(|key| self.answers[key].clone()).collect())
    }

    /// An error about the reply to one item.
    pub(crate) fn bad_reply(&self, position: usize, reason: String) -> EvaluationError {
        EvaluationError::Reply {
            task: self.input.task.name.clone(),
            item: self.input.items.items[position].id.clone(),
            candidate: self.candidate.id.clone(),
            reason,
        }
    }
}
