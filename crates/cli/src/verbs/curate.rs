//! `curate`: instruction files in, `dataset/` out.

use std::path::PathBuf;

use bioinstruct_core::record::SeedTask;
use bioinstruct_core::run_directory::RunDirectory;
use bioinstruct_curate::config::BUILT_IN_SEEDS;
use bioinstruct_curate::{CurateConfig, StageSummary, run_stage};

use crate::arguments::{Curate, Globals};
use crate::config::{Config, Flags, in_run};
use crate::console::Console;
use crate::verbs::generate::read_seeds;

pub(crate) fn run(verb: &Curate, globals: &Globals, console: &Console) -> anyhow::Result<()> {
    let mut flags = Flags::default();
    flags.set("curate.dialect", verb.dialect.clone());
    flags.set("curate.only", (!verb.only.is_empty()).then(|| verb.only.clone()));
    flags.set("curate.also", (!verb.also.is_empty()).then(|| verb.also.clone()));
    flags.set("curate.key", verb.key.clone());
    flags.set("curate.keep", verb.keep.clone());
    flags.set("curate.scores", verb.scores.as_ref().map(|path| path.display().to_string()));
    let config = Config::resolve("", globals, flags)?;
    let seeds = match config.curate.seeds.as_str() {
        "" => Vec::new(),
        BUILT_IN_SEEDS => read_seeds(None)?,
        path => read_seeds(Some(path.as_ref()))?,
    };
    in_run(globals, "curate", |run| {
        let summary = stage(run, &verb.files, &seeds, &config.curate, config.seed, console)?;
        console.say(&format!(
            "dataset: {}",
            run.root().join(bioinstruct_curate::stage::DIRECTORY).display()
        ));
        console.summary(&summary)
    })
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
    for (kind, count) in &summary.findings {
        console.say(&format!("  to look at, {}: {count} (findings.jsonl)", kind.replace('-', " ")));
    }
    Ok(summary)
}
