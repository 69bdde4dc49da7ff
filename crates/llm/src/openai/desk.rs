//! The caller's side of a run: [`Desk`] pulls requests, hands out attempts, and decides about each that fails.
//!
//! Once something fatal is known, nothing new is sent: attempts under way may still bring their replies, those that wait
//! come back unsent, and the run ends with the error. A request without any event is to be asked again by the next run.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use bioinstruct_core::model::{ChatEvent, ChatRequest, Exchange, ModelError};
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::line::{Job, Line, Outcome};
use super::trouble::{Class, Trouble};
use super::{OpenAiConfig, request};

/// A request that has no event yet.
struct Flight {
    body: Vec<u8>,
    attempts: u32,
    /// Attempts whose work may have been done, and billed, for nothing.
    doubts: u32,
}

/// One run.
pub(super) struct Desk<'run> {
    config: &'run OpenAiConfig,
    endpoint: &'run Endpoint,
    exchange: &'run mut dyn Exchange,
    line: &'run Line,
    flights: BTreeMap<String, Flight>,
    /// Why the run will end.
    end: Option<ModelError>,
    failures_in_a_row: u32,
    /// A server that asked for a pause gets it from all requests.
    quiet_until: Option<Instant>,
}

impl<'run> Desk<'run> {
    pub(super) fn new(
        config: &'run OpenAiConfig,
        endpoint: &'run Endpoint,
        exchange: &'run mut dyn Exchange,
        line: &'run Line,
    ) -> Self {
        Self {
            config,
            endpoint,
            exchange,
            line,
            flights: BTreeMap::new(),
            end: None,
            failures_in_a_row: 0,
            quiet_until: None,
        }
    }

    /// Works until nothing is left to ask and nothing is under way, or the exchange breaks.
    pub(super) fn run(mut self) -> Result<(), ModelError> {
        loop {
            self.fill()?;
            if self.flights.is_empty() {
                return self.end.map_or(Ok(()), Err);
            }
            let (id, outcome) = self.line.receive()?;
            if self.settle(id, outcome)?.is_break() {
                return Ok(());
            }
        }
    }

    /// Pulls requests while there is room.
    fn fill(&mut self) -> Result<(), ModelError> {
        while self.end.is_none() && self.flights.len() < self.config.concurrency.max(1) {
            let Some(request) = self.exchange.next_request() else {
                return Ok(());
            };
            match self.prepare(&request) {
                Ok(flight) => self.launch(request.id, flight, Duration::ZERO)?,
                Err(error) => self.end_with(error),
            }
        }
        Ok(())
    }

    fn prepare(&self, request: &ChatRequest) -> Result<Flight, ModelError> {
        if self.flights.contains_key(&request.id) {
            return Err(ModelError::Request {
                id: request.id.clone(),
                reason: "another request of this id is under way".to_owned(),
            });
        }
        let body = request::body(request, &self.config.model_name, self.config.token_limit)?;
        Ok(Flight { body, attempts: 0, doubts: 0 })
    }

    fn launch(&mut self, id: String, mut flight: Flight, wait: Duration) -> Result<(), ModelError> {
        flight.attempts += 1;
        let soonest = Instant::now() + wait;
        let job = Job {
            id: id.clone(),
            body: flight.body.clone(),
            not_before: self.quiet_until.map_or(soonest, |quiet| quiet.max(soonest)),
        };
        self.flights.insert(id, flight);
        self.line.send(job)
    }

    fn settle(&mut self, id: String, outcome: Outcome) -> Result<ControlFlow<()>, ModelError> {
        let Some(flight) = self.flights.remove(&id) else {
            return Ok(ControlFlow::Continue(()));
        };
        match outcome {
            Outcome::Sent(Ok(reply)) => {
                self.failures_in_a_row = 0;
                Ok(self.exchange.event(ChatEvent::Reply(reply)))
            }
            Outcome::Sent(Err(trouble)) => self.trouble(id, flight, &trouble),
            Outcome::Unsent => {
                Ok(self.leave(id, &flight, "the run ended before it was sent again"))
            }
        }
    }

    fn trouble(
        &mut self,
        id: String,
        mut flight: Flight,
        trouble: &Trouble,
    ) -> Result<ControlFlow<()>, ModelError> {
        let in_doubt = matches!(trouble.class, Class::InDoubt | Class::Spent);
        flight.doubts += u32::from(in_doubt);
        tracing::debug!(request = id, attempt = flight.attempts, class = ?trouble.class, "attempt failed");
        if self.may_repeat(&flight, trouble.class) {
            if self.end.is_some() {
                return Ok(self.leave(id, &flight, &trouble.message));
            }
            if self.exchange.retry(&id, &trouble.message, in_doubt).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            let wait = self.config.backoff.delay(&id, flight.attempts, trouble.wait);
            if trouble.wait.is_some() {
                self.quiet_until = self.quiet_until.max(Some(Instant::now() + wait));
            }
            self.launch(id, flight, wait)?;
            return Ok(ControlFlow::Continue(()));
        }
        if matches!(trouble.class, Class::Fatal | Class::Busy) {
            self.end_with(self.unavailable(&flight, trouble));
            return Ok(self.leave(id, &flight, &trouble.message));
        }
        self.failures_in_a_row += 1;
        if self.failures_in_a_row >= self.config.give_up_after.max(1) {
            self.end_with(self.gave_up(trouble));
        }
        Ok(self.exchange.event(ChatEvent::Failure {
            id,
            error: counted(&trouble.message, flight.attempts),
            in_doubt: flight.doubts > 0,
        }))
    }

    fn may_repeat(&self, flight: &Flight, class: Class) -> bool {
        let left = flight.attempts < self.config.max_attempts.max(1);
        match class {
            Class::Busy | Class::Faulty => left,
            Class::InDoubt => left && flight.doubts <= self.config.in_doubt_retries,
            Class::Refused | Class::Spent | Class::Fatal => false,
        }
    }

    /// The run ends before this request has its answer. It stays without an event, so that the next run asks again,
    /// unless an attempt may have been billed: that must not be forgotten.
    fn leave(&mut self, id: String, flight: &Flight, error: &str) -> ControlFlow<()> {
        if flight.doubts == 0 {
            return ControlFlow::Continue(());
        }
        self.exchange.event(ChatEvent::Failure {
            id,
            error: counted(error, flight.attempts),
            in_doubt: true,
        })
    }

    /// Nothing new is sent from here on; the first reason stands.
    fn end_with(&mut self, error: ModelError) {
        self.line.halt();
        self.end.get_or_insert(error);
    }

    fn unavailable(&self, flight: &Flight, trouble: &Trouble) -> ModelError {
        let again = "run the same command again to go on";
        ModelError::Unavailable {
            model: self.name(),
            reason: counted(&trouble.message, flight.attempts),
            hint: Some(trouble.hint.unwrap_or(again).to_owned()),
        }
    }

    fn gave_up(&self, trouble: &Trouble) -> ModelError {
        ModelError::Unavailable {
            model: self.name(),
            reason: format!(
                "{} requests failed in a row, the last with: {}",
                self.failures_in_a_row, trouble.message
            ),
            hint: Some("mend what the message names, then run the same command again".to_owned()),
        }
    }

    fn name(&self) -> String {
        format!("{} at {}", self.config.model_name, self.endpoint.address())
    }
}

fn counted(message: &str, attempts: u32) -> String {
    match attempts {
        0 | 1 => message.to_owned(),
        _ => format!("{message} ({attempts} attempts)"),
    }
}
