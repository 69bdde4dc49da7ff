//! `curate`: instruction files in, `dataset/` out; and what is asked of a dataset [`afterwards`].

mod afterwards;

use std::path::PathBuf;

use bioinstruct_core::record::SeedTask;
use bioinstruct_core::run_directory::RunDirectory;
use bioinstruct_curate::{CurateConfig, StageSummary, run_stage};

use crate::arguments::{Curate, Globals};
use crate::config::{Config, Flags, in_run};
use crate::console::Console;

pub(crate) fn run(verb: &Curate, globals: &Globals, console: &Console) -> anyhow::Result<()> {
    let mut flags = Flags::default();
    flags.set("curate.dialect", verb.dialect.clone());
    flags.set("curate.only", (!verb.only.is_empty()).then(|| verb.only.clone()));
    flags.set("curate.also", (!verb.also.is_empty()).then(|| verb.also.clone()));
    flags.set("curate.key", verb.key.clone());
    flags.set("curate.keep", verb.keep.clone());
    flags.set("curate.scores", verb.scores.as_ref().map(|path| path.display().to_string()));
    flags.set("curate.against", (!verb.against.is_empty()).then(|| verb.against.clone()));
    flags.set("curate.contaminated", verb.contaminated.clone());
    let config = Config::resolve("", globals, flags)?;
    if afterwards::run(verb, &config, globals, console)? {
        return Ok(());
    }
    let seeds = afterwards::seeds(&config.curate.seeds)?;
    use_threads(config.threads)?;
    in_run(globals, "curate", |run| {
        let summary = stage(run, &verb.files, &seeds, &config.curate, config.seed, console)?;
        console.say(&format!(
            "dataset: {}",
            run.root().join(bioinstruct_curate::stage::DIRECTORY).display()
        ));
        console.summary(&summary)
    })
}

/// Rows are compared on so many threads; zero takes every processor.
fn use_threads(count: usize) -> anyhow::Result<()> {
    rayon::ThreadPoolBuilder::new().num_threads(count).build_global()?;
    Ok(())
}

/// Curates and says what became of the rows.
pub(crate) fn stage(
    run: &RunDirectory,
    files: &[PathBuf],
    seeds: &[SeedTask],
    config: &CurateConfig,
    seed: u64,
    console: &Console,
) -> anyhow::Result<StageSummary> {
    let summary = run_stage(run, files, seeds, config, seed)?;
    let state = if summary.was_finished { "already done: " } else { "" };
    let rejected: usize = summary.rejected.values().sum();
    console.say(&format!(
        "curate: {state}{} read, {} kept ({} train, {} dev), {rejected} rejected, {} quarantined",
        summary.read, summary.kept, summary.train, summary.dev, summary.quarantined
    ));
    for (filter, count) in summary.rejected.iter().filter(|(_, count)| **count > 0) {
        console.say(&format!("  rejected by {filter}: {count}"));
    }
    for (task, count) in &summary.contaminated {
        console.say(&format!("  rows that hold items of {task}: {count} (contamination.jsonl)"));
    }
    for (kind, count) in &summary.findings {
        console.say(&format!("  to look at, {}: {count} (findings.jsonl)", kind.replace('-', " ")));
    }
    Ok(summary)
}
