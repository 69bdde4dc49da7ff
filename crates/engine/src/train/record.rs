//! What a run tells of each step: [`Records`] writes `metrics.jsonl`, which repeats byte for byte, and `timing.jsonl` and
//! `tensorboard/`, which hold the clock's part.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::tensorboard::Events;
use crate::error::EngineError;

/// One optimizer step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Counted from one.
    pub step: usize,
    /// Passes over the data so far.
    pub epoch: f64,
    /// Mean cross-entropy in nats over the step's labelled tokens.
    pub loss: f64,
    /// Learning rate of the step.
    pub lr: f64,
    /// Norm of the gradient before it is clipped.
    pub grad_norm: f64,
    /// Real tokens; there is no padding.
    pub tokens: usize,
    /// Tokens that the loss covers.
    pub label_tokens: usize,
}

/// The loss on the dev rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DevRecord {
    /// After this step; zero is before the first.
    pub step: usize,
    /// Passes over the data so far.
    pub epoch: f64,
    /// Mean cross-entropy in nats over the labelled tokens.
    pub dev_loss: f64,
    /// Their number.
    pub dev_label_tokens: usize,
}

/// A line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Record {
    /// A step.
    Step(StepRecord),
    /// A dev evaluation.
    Dev(DevRecord),
}

/// The growing files of a run.
#[derive(Debug)]
pub struct Records {
    metrics: fs_err::File,
    timing: fs_err::File,
    events: Option<Events>,
}

impl Records {
    /// Opens them; of the metrics only the first `bytes` are kept: what was written after the checkpoint of step `done` is
    /// done again.
    pub fn open(
        directory: &Path,
        bytes: u64,
        done: usize,
        tensorboard: bool,
    ) -> Result<Self, EngineError> {
        let open = |name: &str| {
            fs_err::OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(directory.join(name))
        };
        let (mut metrics, mut timing) = (open("metrics.jsonl")?, open("timing.jsonl")?);
        metrics.set_len(bytes)?;
        metrics.seek(SeekFrom::End(0))?;
        timing.seek(SeekFrom::End(0))?;
        let events = tensorboard.then(|| Events::create(&directory.join("tensorboard"), done));
        Ok(Self { metrics, timing, events: events.transpose()? })
    }

    /// Appends a step that took so many seconds.
    pub fn step(&mut self, step: &StepRecord, seconds: f64) -> Result<(), EngineError> {
        append(&mut self.metrics, step)?;
        let rate = step.tokens as f64 / seconds.max(1e-9);
        let timing =
            serde_json::json!({"step": step.step, "seconds": seconds, "tokens_per_second": rate});
        append(&mut self.timing, &timing)?;
        if let Some(events) = &mut self.events {
            let scalars = [
                ("loss/train", step.loss),
                ("lr", step.lr),
                ("grad_norm", step.grad_norm),
                ("tokens_per_second", rate),
            ];
            events.scalars(step.step, &scalars)?;
        }
        Ok(())
    }

    /// Appends a dev evaluation.
    pub fn dev(&mut self, dev: &DevRecord) -> Result<(), EngineError> {
        append(&mut self.metrics, dev)?;
        if let Some(events) = &mut self.events {
            events.scalars(dev.step, &[("loss/dev", dev.dev_loss)])?;
        }
        Ok(())
    }

    /// Makes the metrics durable; gives their length.
    pub fn sync(&mut self) -> Result<u64, EngineError> {
        self.metrics.sync_all()?;
        Ok(self.metrics.stream_position()?)
    }
}

fn append(file: &mut fs_err::File, line: &impl Serialize) -> Result<(), EngineError> {
    let mut text = serde_json::to_string(line).map_err(std::io::Error::from)?;
    text.push('\n');
    file.write_all(text.as_bytes())?;
    Ok(())
}
