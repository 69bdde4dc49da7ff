//! `curate`: instruction files in, `dataset/` out; and what is asked of a dataset [`afterwards`].

mod afterwards;

use std::path::PathBuf;

use bioinstruct_core::model::{ChatModel, Embedder};
use bioinstruct_core::record::SeedTask;
use bioinstruct_core::run_directory::RunDirectory;
use bioinstruct_curate::category::choice;
use bioinstruct_curate::stage::DIRECTORY;
use bioinstruct_curate::{Models, StageSummary, run_stage_asking};
use bioinstruct_engine::sentence::SentenceEncoder;

use crate::arguments::{Curate, Globals};
use crate::config::{Config, Flags, in_run};
use crate::console::Console;
use crate::labelling::ModelLabeller;
use crate::model::{resolve, short_name};
use crate::{asked_model, failure};

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
    flags.set("curate.export", (!verb.export.is_empty()).then(|| verb.export.clone()));
    flags.set("curate.categories", verb.categories.clone());
    flags.set("curate.embedder", verb.embedder.clone());
    let config = Config::resolve("", globals, flags)?;
    if afterwards::run(verb, &config, globals, console)? {
        return Ok(());
    }
    let seeds = afterwards::seeds(&config.curate.seeds)?;
    use_threads(config.threads)?;
    let mut model = model(verb, &config, globals, console)?;
    let encoder = encoder(&config, globals.offline, console)?;
    let embedder = encoder.as_ref().map(|encoder| encoder as &dyn Embedder);
    in_run(globals, "curate", |run| {
        let summary = match &mut model {
            Some(model) => {
                let asked = (model.as_mut(), verb.asked.is_local());
                stage_asking(run, &verb.files, &seeds, &config, asked, embedder, console)?
            }
            None => stage(run, &verb.files, &seeds, &config, embedder, console)?,
        };
        console.say(&format!("dataset: {}", run.root().join(DIRECTORY).display()));
        console.summary(&summary)
    })
}

/// The sentence encoder that the configuration names.
pub(crate) fn encoder(
    config: &Config,
    offline: bool,
    console: &Console,
) -> anyhow::Result<Option<SentenceEncoder>> {
    let source = &config.curate.embedder;
    if source.is_empty() {
        return Ok(None);
    }
    let resolved = resolve(source, offline, console)?;
    Ok(Some(SentenceEncoder::load(&resolved.path, &short_name(source), config.threads)?))
}

/// Rows are compared on so many threads; zero takes every processor.
fn use_threads(count: usize) -> anyhow::Result<()> {
    rayon::ThreadPoolBuilder::new().num_threads(count).build_global()?;
    Ok(())
}

/// The model that says what kind a row is, when one is to be asked.
fn model(
    verb: &Curate,
    config: &Config,
    globals: &Globals,
    console: &Console,
) -> anyhow::Result<Option<Box<dyn ChatModel>>> {
    let wanted = config.curate.categories == choice::MODEL;
    if verb.asked.is_named() && !wanted {
        return Err(failure::usage(
            "a model is named and has nothing to do".to_owned(),
            "it is asked with --categories llm",
        ));
    }
    match asked_model::open(&verb.asked, config, globals.offline, console)? {
        None if wanted => Err(failure::usage(
            "no model is named to ask for categories".to_owned(),
            &format!("{}; --categories local needs none", asked_model::NAME_ONE),
        )),
        model => Ok(model),
    }
}

fn stage_asking(
    run: &RunDirectory,
    files: &[PathBuf],
    seeds: &[SeedTask],
    config: &Config,
    (model, local): (&mut (dyn ChatModel + '_), bool),
    embedder: Option<&dyn Embedder>,
    console: &Console,
) -> anyhow::Result<StageSummary> {
    let bar = console.bar("categories", 0, "rows");
    let mut progress = |done: usize, wanted: usize| bar.update(done as u64, format!("of {wanted}"));
    let ledger = run.root().join(DIRECTORY).join("ledger.sqlite");
    let mut labeller = ModelLabeller { model, ledger, local, progress: &mut progress };
    let models = Models { labeller: Some(&mut labeller), embedder };
    let summary = run_stage_asking(run, files, seeds, &config.curate, config.seed, models)?;
    bar.finish(&format!("{} rows were given their kind", summary.labelled));
    tell(&summary, console);
    Ok(summary)
}

/// Curates and says what became of the rows.
pub(crate) fn stage(
    run: &RunDirectory,
    files: &[PathBuf],
    seeds: &[SeedTask],
    config: &Config,
    embedder: Option<&dyn Embedder>,
    console: &Console,
) -> anyhow::Result<StageSummary> {
    let models = Models { labeller: None, embedder };
    let summary = run_stage_asking(run, files, seeds, &config.curate, config.seed, models)?;
    tell(&summary, console);
    Ok(summary)
}

fn tell(summary: &StageSummary, console: &Console) {
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
    if summary.labelled > 0 {
        let (labelled, unlabelled) = (summary.labelled, summary.unlabelled);
        console.say(&format!("  given a category: {labelled}; without one: {unlabelled}"));
    }
    if let Some(count) = summary.alike {
        console.say(&format!("  to look at, alike in meaning: {count} (alike.jsonl)"));
    }
    for (kind, count) in &summary.findings {
        console.say(&format!("  to look at, {}: {count} (findings.jsonl)", kind.replace('-', " ")));
    }
}
