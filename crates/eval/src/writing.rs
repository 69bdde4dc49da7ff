//! Extraction and generation: [`write`] lets a [`ChatModel`] answer greedily, then the answer is read and scored.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::model::{ChatEvent, ChatModel, ChatRequest, Exchange, Finish, Sampling};
use bioinstruct_data::task::{Answer, Metric, ReadSpec, TaskItem};
use bioinstruct_ledger::Ledger;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::evaluate::ProgressSink;
use crate::journal::Session;
use crate::metrics::{SpanCounts, rouges, spans, tokens};
use crate::prediction::{Answered, Outcome, Prediction, Written};
use crate::prompt::Asked;
use crate::read::read_list;
use crate::{Candidate, EvaluationError, TaskInput, labelled};

/// What the journal keeps of a reply; of a credentialed task it keeps the scored outcome without its text instead.
#[derive(Serialize, Deserialize)]
struct Kept {
    text: String,
    finish: Finish,
}

/// Every item's answer, in the task's order.
pub(crate) fn write(
    model: &mut dyn ChatModel,
    input: &TaskInput,
    candidate: &Candidate,
    asked: &[Asked],
    ledger: &Ledger,
    progress: &mut ProgressSink<'_>,
) -> Result<Vec<Prediction>, EvaluationError> {
    let digest = model.identity(candidate.adapter.as_deref()).digest;
    let sampling = sampling(input)?;
    let stop = input.task.answer_stop(input.items.profile)?.to_vec();
    let keys = keys(input, asked, &digest, &sampling, &stop);
    let kind = if input.task.credentialed { "scored" } else { "text" };
    let session = Session::open(input, candidate, asked, ledger, kind, keys, progress)?;
    let mut conversation = Conversation {
        pending: session.pending().into(),
        positions: BTreeMap::new(),
        failures: BTreeMap::new(),
        sampling,
        stop,
        session,
    };
    let ended = if conversation.pending.is_empty() { Ok(()) } else { model.run(&mut conversation) };
    let failures = conversation.failures;
    let answers =
        conversation.session.finish(ended, |position| failures.get(&position).cloned())?;
    input
        .items
        .items
        .iter()
        .zip(asked)
        .zip(answers)
        .map(|((item, asked), answer)| predict(input, candidate, item, asked, answer))
        .collect()
}

/// What each answer depends on, hashed.
fn keys(
    input: &TaskInput,
    asked: &[Asked],
    digest: &str,
    sampling: &Sampling,
    stop: &[String],
) -> Vec<String> {
    let key = |(item, asked): (&TaskItem, &Asked)| {
        let mut rest = json!({"sampling": sampling, "stop": stop});
        if input.task.credentialed {
            // A scored outcome also depends on how the task reads and scores, and on the target.
            rest["task"] = json!(input.task.digest());
            rest["target"] = json!(ContentHash::of_bytes(item.answer_text().as_bytes()));
        }
        asked.key(digest, &rest)
    };
    input.items.items.iter().zip(asked).map(key).collect()
}

/// Greedy: a score must not depend on a draw.
fn sampling(input: &TaskInput) -> Result<Sampling, EvaluationError> {
    let max_tokens = input.task.answer_tokens(input.items.profile)?;
    Ok(Sampling { max_tokens, ..Sampling::default() })
}

/// What was read, the metrics, and the spans behind them.
type Grade = (Option<Answered>, BTreeMap<String, f64>, Option<SpanCounts>);

struct Conversation<'a, 'p> {
    pending: VecDeque<usize>,
    positions: BTreeMap<String, usize>,
    failures: BTreeMap<usize, String>,
    sampling: Sampling,
    stop: Vec<String>,
    session: Session<'a, 'p>,
}

impl Exchange for Conversation<'_, '_> {
    fn next_request(&mut self) -> Option<ChatRequest> {
        let position = self.pending.pop_front()?;
        let input = self.session.input;
        let id = format!("{}/{}", input.task.name, input.items.items[position].id);
        self.positions.insert(id.clone(), position);
        Some(ChatRequest {
            id,
            prompt: self.session.asked[position].prompt.clone(),
            sampling: self.sampling.clone(),
            stop: self.stop.clone(),
            schema: None,
            adapter: self.session.candidate.adapter.clone(),
        })
    }

    fn event(&mut self, event: ChatEvent) -> ControlFlow<()> {
        match event {
            ChatEvent::Delta { .. } => ControlFlow::Continue(()),
            ChatEvent::Failure { id, error, .. } => {
                if let Some(&position) = self.positions.get(&id) {
                    self.failures.insert(position, error);
                }
                ControlFlow::Continue(())
            }
            ChatEvent::Reply(reply) => {
                let Some(&position) = self.positions.get(&reply.id) else {
                    return ControlFlow::Continue(());
                };
                let input = self.session.input;
                let kept = Kept { text: reply.text, finish: reply.finish };
                let answer = if input.task.credentialed {
                    json!(without_text(grade(input, &input.items.items[position], kept)))
                } else {
                    json!(kept)
                };
                self.session.record(position, answer)
            }
        }
    }
}

fn predict(
    input: &TaskInput,
    candidate: &Candidate,
    item: &TaskItem,
    asked: &Asked,
    answer: Value,
) -> Result<Prediction, EvaluationError> {
    let read = if input.task.credentialed {
        serde_json::from_value(answer)
    } else {
        serde_json::from_value(answer).map(|kept| grade(input, item, kept))
    };
    let written: Written = read.map_err(|error| EvaluationError::Reply {
        task: input.task.name.clone(),
        item: item.id.clone(),
        candidate: candidate.id.clone(),
        reason: error.to_string(),
    })?;
    let target = match &item.answer {
        _ if input.task.credentialed => None,
        Answer::List(answers) => Some(Answered::Many(answers.clone())),
        Answer::Text(_) | Answer::Choice(_) => Some(Answered::One(item.answer_text())),
    };
    Ok(Prediction {
        id: item.id.clone(),
        prompt: asked.hash(),
        target,
        outcome: Outcome::Written(written),
    })
}

/// Reads and scores a reply. What cannot be read scores as an empty answer.
fn grade(input: &TaskInput, item: &TaskItem, kept: Kept) -> Written {
    let (parsed, metrics, counts) = match (&item.answer, &input.task.read) {
        (Answer::List(gold), Some(spec)) => grade_list(&input.task.metrics, gold, &kept.text, spec),
        (Answer::Text(_) | Answer::Choice(_) | Answer::List(_), _) => {
            let text = kept.text.trim();
            let metrics = rouges(&input.task.metrics, &item.answer_text(), text);
            let parsed = (!text.is_empty()).then(|| Answered::One(text.to_owned()));
            (parsed, metrics, None)
        }
    };
    Written {
        unparsed: parsed.is_none(),
        text: Some(kept.text),
        parsed,
        finish: kept.finish,
        metrics,
        counts,
    }
}

fn grade_list(measured: &[Metric], gold: &[String], text: &str, spec: &ReadSpec) -> Grade {
    let parsed = read_list(text, spec);
    let answers = parsed.as_deref().unwrap_or_default();
    let (counts, mut metrics) = if measured.contains(&Metric::TokenF1) {
        tokens(gold, answers.first().map_or("", String::as_str))
    } else if measured.contains(&Metric::LabelAccuracy) {
        labelled::score(gold, answers, spec)
    } else {
        spans(gold, answers)
    };
    if parsed.is_none() {
        // An unreadable text is not the right answer "nothing".
        for value in metrics.values_mut() {
            *value = 0.0;
        }
    }
    (parsed.map(Answered::Many), metrics, Some(counts))
}

fn without_text(written: Written) -> Written {
    Written { text: None, parsed: None, ..written }
}
