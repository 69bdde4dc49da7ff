//! `generate`: seed tasks and a model in, `generate/instructions.jsonl` out.

use std::path::Path;

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_core::jsonl;
use bioinstruct_core::model::ChatModel;
use bioinstruct_core::record::SeedTask;
use bioinstruct_core::run_directory::RunDirectory;
use bioinstruct_generate::{Job, Summary, generate};

use crate::arguments::{Generate, Globals};
use crate::config::{Config, Flags, in_run};
use crate::console::Console;
use crate::{asked_model, failure};

/// The 80 tasks written for this project.
const SEEDS: &str = include_str!("../../../../seeds/seed_tasks.jsonl");

pub(crate) fn run(verb: &Generate, globals: &Globals, console: &Console) -> anyhow::Result<()> {
    let mut flags = Flags::default();
    flags.set("generate.count", verb.count.map(|count| count as i64));
    flags.set("generate.form", verb.form.clone());
    let preset = if verb.asked.is_local() { LOCAL_PRESET } else { "" };
    let config = Config::resolve(preset, globals, flags)?;
    let seeds = read_seeds(verb.seeds.as_deref())?;
    let Some(mut model) = asked_model::open(&verb.asked, &config, globals.offline, console)? else {
        return Err(failure::usage("no model is named".to_owned(), asked_model::NAME_ONE));
    };
    in_run(globals, "generate", |run| {
        let local = verb.asked.is_local();
        let summary = stage(run, model.as_mut(), &seeds, &config, local, console)?;
        console.say(&format!("rows: {}", run.root().join("generate/instructions.jsonl").display()));
        console.summary(&summary)
    })
}

/// What suits a small model on this machine, under everything that the user sets.
pub(crate) const LOCAL_PRESET: &str = "[generate]\nform = \"json\"\n";

const SEED_HINT: &str = "a seed task is a JSON object on a line of its own with `id`, `instruction`, `input`, `output`, \
                         `category` and more; `seeds/seed_tasks.jsonl` is the pattern";

/// The seed tasks of a file, or those built in.
pub(crate) fn read_seeds(path: Option<&Path>) -> anyhow::Result<Vec<SeedTask>> {
    Ok(match path {
        Some(path) => jsonl::read(path).map_err(|error| match error.kind() {
            FailureKind::Data => failure::data(error.to_string(), SEED_HINT),
            _ => error.into(),
        })?,
        None => jsonl::parse(SEEDS, Path::new("seed_tasks.jsonl"))?,
    })
}

/// Generates, or goes on generating, or says that it is done.
pub(crate) fn stage(
    run: &RunDirectory,
    model: &mut dyn ChatModel,
    seeds: &[SeedTask],
    config: &Config,
    local: bool,
    console: &Console,
) -> anyhow::Result<Summary> {
    let job =
        Job { seeds, config: &config.generate, curate: &config.curate, seed: config.seed, local };
    let bar = console.bar("generate", config.generate.count as u64, "rows");
    let summary = generate(run, model, &job, &mut |progress| {
        let tally = &progress.tally;
        let rejected: usize = tally.rejected.values().sum();
        let remark =
            format!("{} replies, {} drafts, {rejected} rejected", progress.replied, tally.drafts);
        bar.update(tally.accepted as u64, remark);
    })?;
    let state = if summary.was_finished { "already done: " } else { "" };
    let tally = &summary.tally;
    bar.finish(&format!(
        "{state}{} rows accepted of {} drafts in {} replies",
        tally.accepted, tally.drafts, tally.requests
    ));
    if let Some(reason) = &summary.stopped {
        console.say(&format!("warning: stopped before {} rows: {reason}", summary.wanted));
    }
    Ok(summary)
}
