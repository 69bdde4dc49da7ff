//! Kinds of rows by a model: [`ModelLabeller`] asks about each row once, and keeps requests and replies in a ledger.
//!
//! A request is in the ledger before it is sent, a reply before it is read. Stopped and started again, only what has no reply is
//! asked.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::model::{ChatEvent, ChatModel, ChatRequest, Exchange, ModelIdentity};
use bioinstruct_core::record::{Category, Instruction};
use bioinstruct_curate::CurateError;
use bioinstruct_curate::category::{Labeller, ask};
use bioinstruct_ledger::{EntryState, Ledger, LedgerError};
use serde_json::json;

/// A model that gives kinds to rows.
pub(crate) struct ModelLabeller<'a> {
    /// Who is asked.
    pub(crate) model: &'a mut dyn ChatModel,
    /// The ledger; its folder is there when rows are labelled.
    pub(crate) ledger: PathBuf,
    /// Whether the model runs on this machine, so that restricted rows may be shown to it.
    pub(crate) local: bool,
    /// Told how many replies are there, and how many are wanted.
    pub(crate) progress: &'a mut dyn FnMut(usize, usize),
}

impl ModelLabeller<'_> {
    fn identity(&self) -> ModelIdentity {
        self.model.identity(None)
    }
}

impl Labeller for ModelLabeller<'_> {
    fn method(&self) -> String {
        format!("the model {}, asked about each row", self.identity().name)
    }

    fn digest(&self) -> String {
        ContentHash::of_json(&json!([self.identity().digest, ask::PROMPT])).to_string()
    }

    fn label(&mut self, rows: &[&Instruction]) -> Result<Vec<Option<Category>>, CurateError> {
        let restricted = rows.iter().filter(|row| row.provenance.restricted).count();
        if restricted > 0 && !self.local {
            return Err(CurateError::Labelling {
                reason: format!(
                    "{restricted} rows are under a data-use agreement and may not leave this machine"
                ),
                kind: FailureKind::Configuration,
                hint: Some("label them with `--model SOURCE` or `--categories local`".to_owned()),
            });
        }
        let schema = self.model.supports_schema();
        let requests: Vec<ChatRequest> =
            rows.iter().map(|row| ask::request(row, schema)).collect::<Result<_, _>>()?;
        let ledger = Ledger::open(&self.ledger).map_err(|error| failed(&error))?;
        ledger.bind("labeller", &json!(self.digest())).map_err(|error| failed(&error))?;
        let mut desk =
            Desk::new(&ledger, &requests, self.progress).map_err(|error| failed(&error))?;
        if !desk.open.is_empty() {
            let ran = self.model.run(&mut desk);
            if let Some(error) = desk.failure.take() {
                return Err(failed(&error));
            }
            ran.map_err(|error| failed(&error))?;
        }
        desk.labels(&requests)
    }
}

fn failed(error: &impl Diagnose) -> CurateError {
    CurateError::Labelling { reason: error.to_string(), kind: error.kind(), hint: error.hint() }
}

/// The caller's side of the conversation with the model.
struct Desk<'a> {
    ledger: &'a Ledger,
    /// Requests without a reply, in the order of the rows, the last first.
    open: Vec<&'a ChatRequest>,
    /// Places in the ledger's plan.
    places: BTreeMap<String, u64>,
    /// What the model wrote, by request.
    replies: BTreeMap<String, String>,
    wanted: usize,
    last_error: Option<String>,
    failure: Option<LedgerError>,
    progress: &'a mut dyn FnMut(usize, usize),
}

impl<'a> Desk<'a> {
    fn new(
        ledger: &'a Ledger,
        requests: &'a [ChatRequest],
        progress: &'a mut dyn FnMut(usize, usize),
    ) -> Result<Self, LedgerError> {
        let mut places = BTreeMap::new();
        let mut replies = BTreeMap::new();
        for entry in ledger.entries()? {
            places.insert(entry.request.id.clone(), entry.plan_index);
            if let EntryState::Replied(reply) = entry.state {
                replies.insert(entry.request.id, reply.text);
            }
        }
        let mut seen = BTreeSet::new();
        let mut open: Vec<&ChatRequest> =
            requests.iter().filter(|request| seen.insert(request.id.as_str())).collect();
        let wanted = open.len();
        open.retain(|request| !replies.contains_key(&request.id));
        open.reverse();
        Ok(Self {
            ledger,
            open,
            places,
            replies,
            wanted,
            last_error: None,
            failure: None,
            progress,
        })
    }

    /// Writes the next request down, then hands it out.
    fn choose(&mut self) -> Result<Option<ChatRequest>, LedgerError> {
        let Some(request) = self.open.pop() else {
            return Ok(None);
        };
        let next = self.places.len() as u64;
        let place = *self.places.entry(request.id.clone()).or_insert(next);
        self.ledger.plan(place, request, &json!(null))?;
        self.ledger.attempt(&request.id)?;
        Ok(Some(request.clone()))
    }

    fn go_on_after(&mut self, taken: Result<(), LedgerError>) -> ControlFlow<()> {
        match taken {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failure.get_or_insert(error);
                ControlFlow::Break(())
            }
        }
    }

    /// A row whose request has no reply stops the stage: asked again, it goes on there.
    fn labels(&self, requests: &[ChatRequest]) -> Result<Vec<Option<Category>>, CurateError> {
        let missing = self.wanted - requests_answered(requests, &self.replies);
        if missing > 0 {
            let reason = self.last_error.as_deref().unwrap_or("the model stopped");
            return Err(CurateError::Labelling {
                reason: format!("{missing} of {} rows have no reply yet: {reason}", self.wanted),
                kind: FailureKind::Temporary,
                hint: Some("run the same command again; only they are asked about".to_owned()),
            });
        }
        let label =
            |request: &ChatRequest| self.replies.get(&request.id).and_then(|text| ask::read(text));
        Ok(requests.iter().map(label).collect())
    }
}

fn requests_answered(requests: &[ChatRequest], replies: &BTreeMap<String, String>) -> usize {
    let answered = requests.iter().filter(|request| replies.contains_key(&request.id));
    answered.map(|request| request.id.as_str()).collect::<BTreeSet<_>>().len()
}

impl Exchange for Desk<'_> {
    fn next_request(&mut self) -> Option<ChatRequest> {
        if self.failure.is_some() {
            return None;
        }
        self.choose().unwrap_or_else(|error| {
            self.failure = Some(error);
            None
        })
    }

    fn event(&mut self, event: ChatEvent) -> ControlFlow<()> {
        let taken = match event {
            ChatEvent::Delta { .. } => return ControlFlow::Continue(()),
            ChatEvent::Reply(reply) => self.ledger.reply(&reply).map(|()| {
                self.replies.insert(reply.id, reply.text);
            }),
            ChatEvent::Failure { id, error, in_doubt } => {
                let stored = self.ledger.failure(&id, &error, in_doubt);
                self.last_error = Some(error);
                stored
            }
        };
        (self.progress)(self.replies.len(), self.wanted);
        self.go_on_after(taken)
    }

    fn retry(&mut self, id: &str, error: &str, in_doubt: bool) -> ControlFlow<()> {
        let noted = self.ledger.retry(id, error, in_doubt);
        self.go_on_after(noted.map(|_| ()))
    }
}

#[cfg(test)]
mod tests {
    use bioinstruct_core::model::{ChatReply, Finish, ModelError, Usage};
    use bioinstruct_core::record::Provenance;

    use super::*;

    /// Says what kind a row is by its output, and fails after some replies.
    struct Scripted {
        replies: usize,
        asked: usize,
    }

    impl ChatModel for Scripted {
        fn identity(&self, _adapter: Option<&str>) -> ModelIdentity {
            ModelIdentity { name: "scripted".to_owned(), digest: "0".to_owned() }
        }

        fn supports_schema(&self) -> bool {
            false
        }

        fn run(&mut self, exchange: &mut dyn Exchange) -> Result<(), ModelError> {
            while let Some(request) = exchange.next_request() {
                self.asked += 1;
                let id = request.id.clone();
                let event = if self.replies == 0 {
                    ChatEvent::Failure { id, error: "no more".to_owned(), in_doubt: false }
                } else {
                    self.replies -= 1;
                    let says_ie = json!(request.prompt).to_string().contains("aspirin");
                    let text = if says_ie { "ie" } else { "I cannot say." }.to_owned();
                    let (finish, usage, model) =
                        (Finish::Stop, Usage::default(), "scripted".to_owned());
                    ChatEvent::Reply(ChatReply { id, text, finish, usage, model })
                };
                if exchange.event(event).is_break() {
                    break;
                }
            }
            Ok(())
        }
    }

    fn rows(restricted: bool) -> Vec<Instruction> {
        ["aspirin", "water", "aspirin", "salt"]
            .map(|output| {
                let provenance = Provenance { restricted, ..Provenance::default() };
                let texts = ["Name it.".to_owned(), String::new(), output.to_owned()];
                let [instruction, input, output] = texts;
                Instruction::new(instruction, input, output, None, provenance)
            })
            .to_vec()
    }

    fn label(
        model: &mut Scripted,
        folder: &std::path::Path,
        local: bool,
        restricted: bool,
    ) -> Result<Vec<Option<Category>>, CurateError> {
        let rows = rows(restricted);
        let rows: Vec<&Instruction> = rows.iter().collect();
        let ledger = folder.join("ledger.sqlite");
        let mut labeller = ModelLabeller { model, ledger, local, progress: &mut |_, _| () };
        labeller.label(&rows)
    }

    #[test]
    fn what_was_answered_is_not_asked_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut stopped = Scripted { replies: 1, asked: 0 };
        let error = label(&mut stopped, folder.path(), true, false).unwrap_err();
        assert_eq!(error.kind(), FailureKind::Temporary);
        assert!(error.to_string().contains("2 of 3 rows"), "{error}");
        let mut rest = Scripted { replies: 9, asked: 0 };
        let labels = label(&mut rest, folder.path(), true, false).unwrap();
        assert_eq!(labels, [Some(Category::Ie), None, Some(Category::Ie), None]);
        assert_eq!((stopped.asked, rest.asked), (3, 2), "two rows look the same to the model");
        let mut nobody = Scripted { replies: 0, asked: 0 };
        assert_eq!(label(&mut nobody, folder.path(), true, false).unwrap(), labels);
        assert_eq!(nobody.asked, 0);
    }

    #[test]
    fn restricted_rows_stay_here() {
        let folder = tempfile::tempdir().unwrap();
        let mut model = Scripted { replies: 9, asked: 0 };
        let error = label(&mut model, folder.path(), false, true).unwrap_err();
        assert_eq!((error.kind(), model.asked), (FailureKind::Configuration, 0));
        assert!(label(&mut model, folder.path(), true, true).is_ok());
    }
}
