//! A model whose answers are written down in the test, and that remembers what it was asked.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use bioinstruct_core::model::{
    ChatEvent, ChatModel, ChatReply, ChatRequest, ContinuationScore, Exchange, Finish, ModelError,
    ModelIdentity, Prompt, ScoreReply, ScoreRequest, Scorer, Usage,
};
use bioinstruct_core::run_directory::{RunDirectory, Stage};
use bioinstruct_data::task::{Answer, ItemSources, Task};
use bioinstruct_eval::{Candidate, EvaluationConfig, EvaluationError, Scores, TaskInput, evaluate};
use serde_json::Value;

type Score = Box<dyn FnMut(&ScoreRequest) -> Vec<f64>>;
type Write = Box<dyn FnMut(&ChatRequest) -> Result<String, String>>;

/// The scripted model.
pub(crate) struct Scripted {
    pub(crate) score: Score,
    pub(crate) write: Write,
    pub(crate) scored: Vec<ScoreRequest>,
    pub(crate) written: Vec<ChatRequest>,
    /// Answers before the service goes away.
    pub(crate) patience: usize,
}

impl Scripted {
    pub(crate) fn scoring(score: impl FnMut(&ScoreRequest) -> Vec<f64> + 'static) -> Self {
        Self {
            score: Box::new(score),
            write: Box::new(|_| panic!("nothing is to be written")),
            scored: Vec::new(),
            written: Vec::new(),
            patience: usize::MAX,
        }
    }

    pub(crate) fn writing(
        write: impl FnMut(&ChatRequest) -> Result<String, String> + 'static,
    ) -> Self {
        Self { write: Box::new(write), ..Self::scoring(|_| panic!("nothing is to be scored")) }
    }

    pub(crate) fn with_patience(mut self, patience: usize) -> Self {
        self.patience = patience;
        self
    }

    fn tire(&mut self) -> Result<(), ModelError> {
        if self.patience == 0 {
            return Err(ModelError::Unavailable {
                model: "scripted".to_owned(),
                reason: "gone".to_owned(),
                hint: None,
            });
        }
        self.patience -= 1;
        Ok(())
    }
}

fn identity(adapter: Option<&str>) -> ModelIdentity {
    ModelIdentity { name: "scripted".to_owned(), digest: format!("digest of {adapter:?}") }
}

impl Scorer for Scripted {
    fn identity(&self, adapter: Option<&str>) -> ModelIdentity {
        identity(adapter)
    }

    fn score(
        &mut self,
        requests: &mut dyn Iterator<Item = ScoreRequest>,
        sink: &mut dyn FnMut(ScoreReply) -> ControlFlow<()>,
    ) -> Result<(), ModelError> {
        for request in requests {
            self.tire()?;
            let continuations = (self.score)(&request)
                .into_iter()
                .map(|sum| ContinuationScore {
                    sum,
                    token_ids: vec![1],
                    token_loglikelihoods: vec![sum],
                    greedy: false,
                })
                .collect();
            let reply = ScoreReply {
                id: request.id.clone(),
                continuations,
                prompt_tokens: 9,
                truncated_tokens: usize::from(request.id.ends_with('3')),
            };
            self.scored.push(request);
            if sink(reply).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl ChatModel for Scripted {
    fn identity(&self, adapter: Option<&str>) -> ModelIdentity {
        identity(adapter)
    }

    fn supports_schema(&self) -> bool {
        false
    }

    fn run(&mut self, exchange: &mut dyn Exchange) -> Result<(), ModelError> {
        while let Some(request) = exchange.next_request() {
            self.tire()?;
            let event = match (self.write)(&request) {
                Ok(text) => ChatEvent::Reply(ChatReply {
                    id: request.id.clone(),
                    finish: if text.ends_with("...") { Finish::Length } else { Finish::Stop },
                    text,
                    usage: Usage::default(),
                    model: "scripted".to_owned(),
                }),
                Err(error) => ChatEvent::Failure { id: request.id.clone(), error, in_doubt: false },
            };
            self.written.push(request);
            if exchange.event(event).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// A fresh stage in a temporary directory.
pub(crate) fn stage(folder: &Path) -> Stage {
    RunDirectory::open(&folder.join("run")).unwrap().stage("eval").unwrap()
}

pub(crate) fn candidate(id: &str, adapter: Option<&str>, template: &str) -> Candidate {
    Candidate {
        id: id.to_owned(),
        adapter: adapter.map(str::to_owned),
        template: template.to_owned(),
    }
}

pub(crate) fn base_and_tuned() -> Vec<Candidate> {
    vec![candidate("tuned", Some("adapter"), "bioinstruct"), candidate("base", None, "bioinstruct")]
}

pub(crate) fn input(task: &str, sources: &ItemSources<'_>) -> TaskInput {
    let task = Task::load(task).unwrap();
    let items = task.items(sources).unwrap();
    TaskInput { task, items }
}

pub(crate) fn limited(task: &str, limit: usize) -> TaskInput {
    input(task, &ItemSources { limit: Some(limit), ..ItemSources::default() })
}

pub(crate) fn run(
    stage: &Stage,
    model: &mut Scripted,
    candidates: &[Candidate],
    tasks: &[TaskInput],
) -> Result<Scores, EvaluationError> {
    let config = EvaluationConfig { resamples: 1_000, ..EvaluationConfig::default() };
    evaluate(stage, model, candidates, tasks, &config, &mut |_| ControlFlow::Continue(()))
}

pub(crate) fn prompt_text(prompt: &Prompt) -> &str {
    match prompt {
        Prompt::Text(text) => text,
        Prompt::Instruction { input, .. } => input,
        Prompt::Messages(_) => panic!("tasks send no conversations"),
    }
}

/// The base cannot decide between A and B; the tuned model is right on all but the second item.
pub(crate) fn opinions(input: &TaskInput) -> impl FnMut(&ScoreRequest) -> Vec<f64> + use<> {
    let right: BTreeMap<String, usize> = input
        .items
        .items
        .iter()
        .map(|item| match item.answer {
            Answer::Choice(right) => (item.id.clone(), right),
            _ => panic!("{} is no question", item.id),
        })
        .collect();
    let second = input.items.items[1].id.clone();
    move |request| {
        if request.adapter.is_none() {
            return vec![-1.5, -1.5, -2.0, -3.0];
        }
        let shift = usize::from(request.id == second);
        let favourite = (right[&request.id] + shift) % 4;
        let value = |choice| {
            if choice == favourite { -0.1 } else { -4.0 - 0.1 * choice as f64 }
        };
        (0..4).map(value).collect()
    }
}

pub(crate) fn lines(stage: &Stage, file: &str) -> Vec<Value> {
    let text = fs_err::read_to_string(stage.path(file)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
