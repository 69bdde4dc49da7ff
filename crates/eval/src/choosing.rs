//! Multiple choice: [`choose`] asks a [`Scorer`] for the log-likelihood of every choice and takes the largest.

use std::ops::ControlFlow;

use bioinstruct_core::model::{ScoreReply, ScoreRequest, Scorer};
use bioinstruct_data::task::{Answer, TaskItem};
use bioinstruct_ledger::Ledger;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::evaluate::ProgressSink;
use crate::journal::Session;
use crate::prediction::{Answered, Chosen, Outcome, Prediction, argmax};
use crate::prompt::Asked;
use crate::{Candidate, EvaluationError, TaskInput};

/// What the journal keeps of a score.
#[derive(Serialize, Deserialize)]
struct Kept {
    sums: Vec<f64>,
    truncated_tokens: usize,
}

/// Every item's choice, in the task's order.
pub(crate) fn choose(
    model: &mut dyn Scorer,
    input: &TaskInput,
    candidate: &Candidate,
    asked: &[Asked],
    ledger: &Ledger,
    progress: &mut ProgressSink<'_>,
) -> Result<Vec<Prediction>, EvaluationError> {
    let digest = model.identity(candidate.adapter.as_deref()).digest;
    let keys = asked
        .iter()
        .map(|asked| asked.key(&digest, &json!({"continuations": asked.continuations})))
        .collect();
    let mut session = Session::open(input, candidate, asked, ledger, "score", keys, progress)?;
    let pending = session.pending();
    let mut expected = pending.iter().copied();
    let mut requests = pending.iter().map(|&position| request(input, candidate, asked, position));
    let ended = if pending.is_empty() {
        Ok(())
    } else {
        model.score(&mut requests, &mut |reply| match expected.next() {
            Some(position) => keep(&mut session, position, &reply),
            None => ControlFlow::Break(()),
        })
    };
    let answers = session.finish(ended, |_| None)?;
    input
        .items
        .items
        .iter()
        .zip(asked)
        .zip(answers)
        .map(|((item, asked), answer)| predict(input, candidate, item, asked, answer))
        .collect()
}

fn request(
    input: &TaskInput,
    candidate: &Candidate,
    asked: &[Asked],
    position: usize,
) -> ScoreRequest {
    ScoreRequest {
        id: input.items.items[position].id.clone(),
        context: asked[position].prompt.clone(),
        continuations: asked[position].continuations.clone(),
        adapter: candidate.adapter.clone(),
    }
}

/// Checks a reply before it becomes durable: a damaged model must not fill the journal with what JSON cannot hold.
fn keep(session: &mut Session<'_, '_>, position: usize, reply: &ScoreReply) -> ControlFlow<()> {
    let sums: Vec<f64> = reply.continuations.iter().map(|score| score.sum).collect();
    let wanted = session.asked[position].continuations.len();
    let reason = if reply.id != session.input.items.items[position].id {
        Some(format!("the reply is to `{}`", reply.id))
    } else if sums.len() != wanted {
        Some(format!("{} scores for {wanted} choices", sums.len()))
    } else {
        let bad = sums.iter().position(|sum| !sum.is_finite());
        bad.map(|choice| format!("the log-likelihood of choice {} is {}", choice + 1, sums[choice]))
    };
    if let Some(reason) = reason {
        let error = session.bad_reply(position, reason);
        return session.fail(error);
    }
    session.record(position, json!({"sums": sums, "truncated_tokens": reply.truncated_tokens}))
}

fn predict(
    input: &TaskInput,
    candidate: &Candidate,
    item: &TaskItem,
    asked: &Asked,
    answer: Value,
) -> Result<Prediction, EvaluationError> {
    let bad = |reason: String| EvaluationError::Reply {
        task: input.task.name.clone(),
        item: item.id.clone(),
        candidate: candidate.id.clone(),
        reason,
    };
    let kept: Kept = serde_json::from_value(answer).map_err(|error| bad(error.to_string()))?;
    let best = argmax(&kept.sums).ok_or_else(|| bad("a log-likelihood is no number".to_owned()))?;
    let label = |position: usize| item.choices.get(position).map(|choice| choice.label.clone());
    let choice = label(best.position).ok_or_else(|| bad("more scores than choices".to_owned()))?;
    let correct = item.answer == Answer::Choice(best.position);
    Ok(Prediction {
        id: item.id.clone(),
        prompt: asked.hash(),
        target: Some(Answered::One(item.answer_text())),
        outcome: Outcome::Chosen(Chosen {
            loglikelihoods: kept.sums,
            choice,
            correct,
            tie: best.tie,
            truncated_tokens: kept.truncated_tokens,
        }),
    })
}
