//! `generate`: seed tasks and a model in, `generate/instructions.jsonl` out.

use std::path::Path;

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_core::jsonl;
use bioinstruct_core::model::ChatModel;
use bioinstruct_core::record::SeedTask;
use bioinstruct_core::run_directory::RunDirectory;
use bioinstruct_engine::local::{LocalModel, LocalOptions};
use bioinstruct_generate::{Job, Summary, generate};
use bioinstruct_llm::{OpenAiClient, OpenAiConfig, Secret};

use crate::arguments::{Generate, Globals};
use crate::config::{Config, Flags, in_run};
use crate::console::Console;
use crate::{failure, model};

/// The 80 tasks written for this project.
const SEEDS: &str = include_str!("../../../../seeds/seed_tasks.jsonl");

pub(crate) fn run(verb: &Generate, globals: &Globals, console: &Console) -> anyhow::Result<()> {
    let mut flags = Flags::default();
    flags.set("generate.count", verb.count.map(|count| count as i64));
    flags.set("generate.form", verb.form.clone());
    let preset = if verb.model.is_some() { LOCAL_PRESET } else { "" };
    let config = Config::resolve(preset, globals, flags)?;
    let seeds = read_seeds(verb.seeds.as_deref())?;
    let mut model: Box<dyn ChatModel> = match (&verb.model, &verb.base_url) {
        (Some(source), None) => Box::new(local_model(source, &config, globals.offline, console)?),
        (None, Some(url)) => Box::new(server(
            NamedServer {
                url,
                model_name: verb.model_name.as_deref(),
                concurrency: verb.concurrency,
                allow_remote: &verb.allow_remote,
            },
            globals.offline,
        )?),
        _ => {
            return Err(failure::usage(
                "no model is named".to_owned(),
                "give --model SOURCE, or --base-url URL and --model-name NAME",
            ));
        }
    };
    in_run(globals, "generate", |run| {
        let local = verb.model.is_some();
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

/// A local model for writing.
pub(crate) fn local_model(
    source: &str,
    config: &Config,
    offline: bool,
    console: &Console,
) -> anyhow::Result<LocalModel> {
    let resolved = model::resolve(source, offline, console)?;
    let options = LocalOptions {
        precision: config.precision()?,
        threads: config.threads,
        slots: config.eval.slots,
        ..LocalOptions::default()
    };
    Ok(LocalModel::load(&resolved.path, options)?.with_name(&model::short_name(source)))
}

/// A server as flags name it; its key comes from the environment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NamedServer<'a> {
    /// Its address.
    pub(crate) url: &'a str,
    /// The model's name there.
    pub(crate) model_name: Option<&'a str>,
    /// Requests under way at a time.
    pub(crate) concurrency: usize,
    /// Hosts that prompts may go to.
    pub(crate) allow_remote: &'a [String],
}

/// A client of that server.
pub(crate) fn server(named: NamedServer<'_>, offline: bool) -> anyhow::Result<OpenAiClient> {
    let mut config = OpenAiConfig::new(named.url, named.model_name.unwrap_or_default());
    config.api_key = std::env::var("OPENAI_API_KEY")
        .ok()
        .filter(|key| !key.is_empty())
        .map(|key| Secret::new(&key));
    config.concurrency = named.concurrency.max(1);
    named.allow_remote.clone_into(&mut config.allow_remote);
    config.offline = offline;
    Ok(OpenAiClient::new(config)?)
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
