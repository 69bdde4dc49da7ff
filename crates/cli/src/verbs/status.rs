//! `status`: how far a run directory is, read without taking its lock.

use std::path::Path;

use bioinstruct_ledger::Ledger;
use serde_json::{Value, json};

use crate::arguments::Status;
use crate::config::{STAGES, require_run};
use crate::console::{Console, counted};

pub(crate) fn run(verb: &Status, console: &Console) -> anyhow::Result<()> {
    let root = &verb.run_directory;
    require_run(root)?;
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
        console.print(&format!("{name:<9} {state}{}\n", text(name, finished, &detail)))?;
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
            let accepted = count_lines(&directory.join("instructions.jsonl"))?;
            json!({"planned": counts.planned, "replied": counts.replied, "failed": counts.failed, "accepted": accepted})
        }
        "dataset" => {
            let train = count_lines(&directory.join("train.jsonl"))?;
            json!({"train": train, "dev": count_lines(&directory.join("dev.jsonl"))?})
        }
        "train" => last_metrics(directory)?,
        "eval" => json!({"prediction_files": prediction_files(directory)?}),
        _ => Value::Null,
    })
}

/// Lines of a file that may not be there yet.
fn count_lines(path: &Path) -> anyhow::Result<usize> {
    if !path.is_file() {
        return Ok(0);
    }
    Ok(fs_err::read_to_string(path)?.lines().count())
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

/// What a person wants to know of a stage, in words.
fn text(stage: &str, finished: bool, detail: &Value) -> String {
    let whole = |key: &str| detail[key].as_u64().unwrap_or_default();
    let mut parts = Vec::new();
    match stage {
        _ if detail.is_null() => return String::new(),
        "generate" => {
            parts.push(format!("{} accepted", counted(whole("accepted"), "row")));
            parts.push(format!("{} replies", whole("replied")));
            if whole("failed") > 0 {
                parts.push(format!("{} failed", counted(whole("failed"), "request")));
            }
            if !finished && whole("planned") > 0 {
                parts.push(format!("{} without a reply yet", counted(whole("planned"), "request")));
            }
        }
        "dataset" => {
            parts.push(format!("{} to learn from", counted(whole("train"), "row")));
            parts.push(format!("{} set aside", whole("dev")));
        }
        "train" => {
            parts.push(format!("step {}", whole("step")));
            for (key, name) in [("loss", "loss"), ("dev_loss", "dev loss")] {
                parts.extend(detail[key].as_f64().map(|loss| format!("{name} {loss:.3}")));
            }
        }
        _ => parts.push(counted(whole("prediction_files"), "prediction file")),
    }
    format!(": {}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_told_in_words() {
        let generated = json!({"planned": 3, "replied": 47, "failed": 0, "accepted": 1});
        assert_eq!(text("generate", true, &generated), ": 1 row accepted, 47 replies");
        assert_eq!(
            text("generate", false, &generated),
            ": 1 row accepted, 47 replies, 3 requests without a reply yet"
        );
        let trained = json!({"step": 40, "dev_loss": 1.946_136_703});
        assert_eq!(text("train", true, &trained), ": step 40, dev loss 1.946");
        assert_eq!(text("eval", true, &json!({"prediction_files": 9})), ": 9 prediction files");
        assert_eq!(text("train", false, &Value::Null), "");
    }
}
