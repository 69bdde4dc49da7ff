//! `models`: what is known and cached, `fetch` and `verify`.

use bioinstruct_engine::source::ALIASES;
use serde_json::json;

use crate::arguments::{Globals, Models, ModelsAction};
use crate::console::Console;
use crate::model;

pub(crate) fn run(verb: &Models, globals: &Globals, console: &Console) -> anyhow::Result<()> {
    match &verb.action {
        None => list(globals, console),
        Some(ModelsAction::Fetch { source }) => {
            let resolved = model::resolve(source, globals.offline, console)?;
            console.print(&format!("{}\n", resolved.path.display()))?;
            console.summary(
                &json!({"source": source, "path": resolved.path, "sha256": resolved.sha256}),
            )
        }
        Some(ModelsAction::Verify) => verify(globals, console),
    }
}

fn list(globals: &Globals, console: &Console) -> anyhow::Result<()> {
    let cached = model::cached(globals.offline)?;
    let mut text = "Known by name:\n".to_owned();
    for alias in &ALIASES {
        let here = cached.iter().any(|model| model.source == alias.name);
        let state = if here { "cached" } else { "not fetched yet" };
        text += &format!("  {:<10} {} · {} · {state}\n", alias.name, alias.title, alias.licence);
    }
    text += "Cached:\n";
    for model in &cached {
        let megabytes = model.bytes() as f64 / 1e6;
        text += &format!("  {:<28} {megabytes:>8.1} MB  {}\n", model.source, model.path.display());
    }
    if cached.is_empty() {
        text += "  nothing; `bioinstruct models fetch smollm2` fetches the demo model\n";
    }
    console.print(&text)?;
    let models: Vec<_> = cached
        .iter()
        .map(|model| json!({"source": model.source, "origin": model.origin, "bytes": model.bytes(), "path": model.path}))
        .collect();
    console.summary(&json!({"cached": models}))
}

fn verify(globals: &Globals, console: &Console) -> anyhow::Result<()> {
    let cached = model::cached(globals.offline)?;
    for model in &cached {
        model.verify()?;
        console.print(&format!("{}: every file has its recorded hash\n", model.source))?;
    }
    console
        .summary(&json!({"verified": cached.iter().map(|model| &model.source).collect::<Vec<_>>()}))
}
