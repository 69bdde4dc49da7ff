//! What `train --json` prints: [`Summary`], rebuilt from the stage's files.

use std::path::PathBuf;

use bioinstruct_core::jsonl;
use bioinstruct_core::run_directory::Stage;
use bioinstruct_engine::train::Outcome;
use bioinstruct_engine::train::record::{DevRecord, Record};
use serde::Serialize;
use serde_json::{Value, json};

use crate::memory::peak_rss_bytes;
use crate::training_data::{Encoded, RowCounts};

/// What `train --json` prints.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    steps: u64,
    final_loss: f64,
    /// Before the first step.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_dev_loss: Option<f64>,
    /// Of the adapter that is kept.
    dev_loss: Option<f64>,
    /// The step whose adapter is kept.
    kept_step: u64,
    /// Whether patience ended it before all steps were done.
    ended_early: bool,
    tokens: u64,
    label_tokens: u64,
    tokens_per_second: Option<f64>,
    peak_rss_bytes: Option<u64>,
    /// Where it was written.
    pub(crate) adapter: PathBuf,
    /// What became of the rows.
    #[serde(flatten)]
    rows: RowCounts,
}

/// The manifest's part, from the files: it is the same whether the run was interrupted or not. Speed and memory are published
/// beside it.
pub(super) fn write(stage: &Stage, outcome: &Outcome, encoded: &Encoded) -> anyhow::Result<Value> {
    let records: Vec<Record> = jsonl::read(&stage.path("metrics.jsonl"))?;
    let (mut tokens, mut label_tokens, mut final_loss) = (0, 0, None);
    let mut dev: Vec<&DevRecord> = Vec::new();
    for record in &records {
        match record {
            Record::Step(step) => {
                tokens += step.tokens;
                label_tokens += step.label_tokens;
                final_loss = Some(step.loss);
            }
            Record::Dev(record) => dev.push(record),
        }
    }
    let kept = dev.iter().find(|record| record.step == outcome.kept_step);
    let rate = (outcome.tokens > 0).then(|| outcome.tokens as f64 / outcome.seconds.max(1e-9));
    let speed = json!({"tokens_per_second": rate, "peak_rss_bytes": peak_rss_bytes()});
    stage.publish("speed.json", |out| writeln!(out, "{speed}"))?;
    let mut summary = json!({
        "steps": outcome.steps,
        "final_loss": final_loss,
        "first_dev_loss": dev.first().map(|record| record.dev_loss),
        "dev_loss": kept.map(|record| record.dev_loss),
        "kept_step": outcome.kept_step,
        "ended_early": outcome.ended_early,
        "tokens": tokens,
        "label_tokens": label_tokens,
    });
    let counts = serde_json::to_value(encoded.counts())?;
    if let (Some(summary), Value::Object(counts)) = (summary.as_object_mut(), counts) {
        summary.extend(counts);
    }
    Ok(summary)
}

impl Summary {
    /// The manifest's part joined with speed and memory.
    pub(super) fn read(stage: &Stage, summary: &Value) -> Self {
        let speed: Value = fs_err::read_to_string(stage.path("speed.json"))
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        let whole = |key: &str| summary[key].as_u64().unwrap_or_default();
        Self {
            steps: whole("steps"),
            final_loss: summary["final_loss"].as_f64().unwrap_or(f64::NAN),
            first_dev_loss: summary["first_dev_loss"].as_f64(),
            dev_loss: summary["dev_loss"].as_f64(),
            kept_step: whole("kept_step"),
            ended_early: summary["ended_early"].as_bool().unwrap_or_default(),
            tokens: whole("tokens"),
            label_tokens: whole("label_tokens"),
            tokens_per_second: speed["tokens_per_second"].as_f64(),
            peak_rss_bytes: speed["peak_rss_bytes"].as_u64(),
            adapter: stage.path("adapter"),
            rows: serde_json::from_value(summary.clone()).unwrap_or_default(),
        }
    }
}
