//! The network thread: [`with_line`] keeps sockets moving while the caller's thread parses, writes and syncs.
//!
//! Without it, a caller that takes long over one event would let the time limits of other requests run out.

use std::sync::{Arc, mpsc};

use bioinstruct_core::model::{ChatReply, ModelError};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::endpoint::Endpoint;
use super::trouble::Trouble;

/// One attempt to make.
pub(super) struct Job {
    pub(super) id: String,
    pub(super) body: Vec<u8>,
    pub(super) not_before: Instant,
}

/// What became of it.
pub(super) enum Outcome {
    /// It was sent.
    Sent(Result<ChatReply, Trouble>),
    /// The line was halted while it waited.
    Unsent,
}

/// The caller's end.
pub(super) struct Line {
    jobs: UnboundedSender<Job>,
    outcomes: mpsc::Receiver<(String, Outcome)>,
    halt: watch::Sender<bool>,
}

impl Line {
    /// Hands over an attempt; its outcome comes back through [`Line::receive`].
    pub(super) fn send(&self, job: Job) -> Result<(), ModelError> {
        self.jobs.send(job).map_err(|_| lost())
    }

    /// Waits for the next outcome.
    pub(super) fn receive(&self) -> Result<(String, Outcome), ModelError> {
        self.outcomes.recv().map_err(|_| lost())
    }

    /// Attempts that still wait come back unsent; those under way go on.
    pub(super) fn halt(&self) {
        self.halt.send_replace(true);
    }
}

/// Runs `work` with a line to the endpoint; when it returns, whatever is still under way is dropped.
pub(super) fn with_line<T>(
    endpoint: &Arc<Endpoint>,
    work: impl FnOnce(&Line) -> Result<T, ModelError>,
) -> Result<T, ModelError> {
    let failed = |error: std::io::Error| ModelError::Unavailable {
        model: endpoint.address().to_owned(),
        reason: format!("the network thread cannot start: {error}"),
        hint: None,
    };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (jobs, job_receiver) = unbounded_channel();
    let (outcome_sender, outcomes) = mpsc::channel();
    let (halt, halted) = watch::channel(false);
    std::thread::scope(|scope| {
        let endpoint = Arc::clone(endpoint);
        std::thread::Builder::new()
            .name("llm".to_owned())
            .spawn_scoped(scope, move || {
                runtime.block_on(dispatch(endpoint, job_receiver, outcome_sender, halted));
                // A name lookup under way must not hold up the end of the run.
                runtime.shutdown_background();
            })
            .map_err(failed)?;
        let line = Line { jobs, outcomes, halt };
        work(&line)
    })
}

/// Ends when the caller drops its end, and with it every attempt under way.
async fn dispatch(
    endpoint: Arc<Endpoint>,
    mut jobs: UnboundedReceiver<Job>,
    outcomes: mpsc::Sender<(String, Outcome)>,
    halted: watch::Receiver<bool>,
) {
    let mut attempts = JoinSet::new();
    loop {
        tokio::select! {
            job = jobs.recv() => match job {
                Some(job) => {
                    attempts.spawn(attempt(Arc::clone(&endpoint), job, halted.clone()));
                }
                None => return,
            },
            Some(done) = attempts.join_next(), if !attempts.is_empty() => {
                let Ok(outcome) = done else { return };
                if outcomes.send(outcome).is_err() {
                    return;
                }
            }
        }
    }
}

async fn attempt(
    endpoint: Arc<Endpoint>,
    job: Job,
    mut halted: watch::Receiver<bool>,
) -> (String, Outcome) {
    let waited = tokio::select! {
        biased;
        _ = halted.wait_for(|&halted| halted) => false,
        () = sleep_until(job.not_before) => true,
    };
    if !waited {
        return (job.id, Outcome::Unsent);
    }
    let result = endpoint.attempt(&job.id, job.body).await;
    (job.id, Outcome::Sent(result))
}

/// The thread ended while the caller still waits for it: a defect, reported like a lost connection.
fn lost() -> ModelError {
    ModelError::Unavailable {
        model: "the network thread".to_owned(),
        reason: "it ended early".to_owned(),
        hint: Some("run the same command again to go on".to_owned()),
    }
}
