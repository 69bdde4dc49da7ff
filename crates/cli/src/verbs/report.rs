//! `report`: run directories in, one HTML page out.

use serde_json::json;

use crate::arguments::{Globals, Report};
use crate::console::Console;

pub(crate) fn run(verb: &Report, _globals: &Globals, console: &Console) -> anyhow::Result<()> {
    let out = verb.out.clone().unwrap_or_else(|| verb.runs[0].join("report.html"));
    crate::report::write(&verb.runs, &out)?;
    console.say(&format!("report: {}", out.display()));
    console.summary(&json!({"report": out}))
}
