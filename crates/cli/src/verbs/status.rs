//! `status`: how far a run directory is, read without taking its lock.

use std::path::Path;

use bioinstruct_ledger::Ledger;
use serde_json::{Value, json};

use crate::arguments::Status;
use crate::console::Console;
use crate::failure;

/// Directories of the stages, in the order of a run.
const STAGES: [&str; 4] = ["generate", "dataset", "train", "eval"];

pub(crate) fn run(verb: &Status, console: &Console) -> anyhow::Result<()> {
    let root = &verb.run_directory;
    if !root.is_dir() {
        let message = format!("{} is not a run directory", root.display());
        return Err(failure::data(
            message,
            "run directories are under `runs/` unless `--run` said otherwise",
        ));
    }
    let mut stages = Vec::new();
    for name in STAGES {
        let directory = root.join(name);
        if !directory.is_dir() {
            console.print(&format!("{name:<9} not begun\n"))?;
            continue;
        }
        let finished = directory.join("manifest.json").is_file();
        let detail = detail(name, &directory)?;
        let state = if finished { "done" } else { "begun" };
        console.print(&format!("{name:<9} {state}{}\n", text(&detail)))?;
        stages.push(json!({"stage": name, "finished": finished, "detail": detail}));
    }
    let report = root.join("report.html");
    if report.is_file() {
        console.print(&format!("report    {}\n", report.display()))?;
    }
    console.summary(&json!({"run": root, "stages": stages}))
}

fn detail(stage: &str, directory: &Path) -> anyhow::Result<Value> {
    Ok(match stage {
        "generate" if directory.join("ledger.sqlite").is_file() => {
            let counts = Ledger::open(&directory.join("ledger.sqlite"))?.counts()?;
            json!({"planned": counts.planned, "replied": counts.replied, "failed": counts.failed})
        }
        "train" => last_metrics(directory)?,
        "eval" => json!({"prediction_files": prediction_files(directory)?}),
        _ => Value::Null,
    })
}

/// The last line of `metrics.jsonl` that is whole.
fn last_metrics(directory: &Path) -> anyhow::Result<Value> {
    let path = directory.join("metrics.jsonl");
    if !path.is_file() {
        return Ok(Value::Null);
    }
    let text = fs_err::read_to_string(&path)?;
    Ok(text.lines().rev().find_map(|line| serde_json::from_str(line).ok()).unwrap_or(Value::Null))
}

fn prediction_files(directory: &Path) -> anyhow::Result<usize> {
    let mut count = 0;
    for entry in fs_err::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            for file in fs_err::read_dir(&path)? {
                count += usize::from(
                    file?.path().extension().is_some_and(|extension| extension == "jsonl"),
                );
            }
        }
    }
    Ok(count)
}

fn text(detail: &Value) -> String {
    let Value::Object(fields) = detail else {
        return String::new();
    };
    let parts: Vec<String> = fields.iter().map(|(key, value)| format!("{key} {value}")).collect();
    format!(": {}", parts.join(", "))
}
