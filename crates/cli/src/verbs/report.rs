//! `report`: run directories in, one HTML page out.

use serde_json::json;

use crate::arguments::{Globals, Report};
use crate::config::require_run;
use crate::console::Console;
use crate::failure;

pub(crate) fn run(verb: &Report, _globals: &Globals, console: &Console) -> anyhow::Result<()> {
    for run in &verb.runs {
        require_run(run)?;
    }
    let out = verb.out.clone().unwrap_or_else(|| verb.runs[0].join("report.html"));
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    if out.is_dir() || folder.is_some_and(|folder| !folder.is_dir()) {
        let message = format!("--out {}: cannot be a file there", out.display());
        return Err(failure::usage(message, "name a file in a directory that exists"));
    }
    crate::report::write(&verb.runs, &out)?;
    console.say(&format!("report: {}", out.display()));
    console.summary(&json!({"report": out}))
}
