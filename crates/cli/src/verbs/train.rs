//! `train`: a base and rows in, an adapter out.

mod fit;
mod prepare;
mod progress;
mod summary;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bioinstruct_core::NOT_FOR_PATIENT_CARE;
use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::jsonl;
use bioinstruct_core::record::Instruction;
use bioinstruct_core::run_directory::{Manifest, RunDirectory, Stage, leaves};
use bioinstruct_core::template::InstructionTemplate;
use bioinstruct_engine::backend::{Backend, Cpu};
use bioinstruct_engine::format::ModelFile;
use bioinstruct_engine::local::{LocalModel, LocalOptions};
use bioinstruct_engine::model::training::Activations;
use bioinstruct_engine::peft;
use bioinstruct_engine::train::{self, CHECKPOINTS, Inputs, Outcome, checkpoint};
use serde_json::json;

use crate::arguments::{Globals, Train};
use crate::config::{Config, Flags, Recompute, in_run};
use crate::console::Console;
use crate::interrupt::Interrupt;
use crate::model::{self, AdapterCard, DataFile};
use crate::preset;
use crate::training_data::{Encoded, TrainingData, WeightedFile};

pub(crate) use self::fit::{Fit, megabytes};
pub(crate) use self::prepare::Prepared;
use self::progress::Told;
pub(crate) use self::summary::Summary;

/// The rows that were learned from, as the stage keeps them.
pub(crate) const ROWS: &str = "rows.jsonl";

/// Files of the stage that a manifest names.
const OUTPUTS: [&str; 7] = [
    "metrics.jsonl",
    ROWS,
    "dev.jsonl",
    "left_out.jsonl",
    "adapter/adapter_model.safetensors",
    "adapter/adapter_config.json",
    "adapter/bioinstruct.json",
];

/// What is trained on what.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    /// The base, as it was named.
    pub(crate) model: &'a str,
    /// Row files.
    pub(crate) data: &'a [WeightedFile],
    /// Rows to watch; none holds out a part of the data.
    pub(crate) dev: Option<&'a Path>,
    /// All settings.
    pub(crate) config: &'a Config,
    /// Whether fetching is forbidden.
    pub(crate) offline: bool,
}

impl<'a> Job<'a> {
    /// As typed.
    pub(crate) fn new(verb: &'a Train, globals: &Globals, config: &'a Config) -> Self {
        let dev = verb.dev.as_deref();
        Self { model: &verb.model, data: &verb.data, dev, config, offline: globals.offline }
    }
}

pub(crate) fn run(verb: &Train, globals: &Globals, console: &Console) -> anyhow::Result<()> {
    let config = configuration(verb, globals)?;
    let job = Job::new(verb, globals, &config);
    let interrupt = Interrupt::install()?;
    in_run(globals, "train", |run| {
        let summary = stage(run, &job, &interrupt, console)?;
        console.say(&format!("adapter: {}", summary.adapter.display()));
        console.say(NOT_FOR_PATIENT_CARE);
        console.summary(&summary)
    })
}

/// The settings that flags, files and preset give.
pub(crate) fn configuration(verb: &Train, globals: &Globals) -> anyhow::Result<Config> {
    Config::resolve(preset::text(verb.preset.as_deref()), globals, flags(verb))
}

fn flags(verb: &Train) -> Flags {
    let mut flags = Flags::default();
    let whole = |value: Option<usize>| value.map(|value| value as i64);
    flags.set("train.template", verb.template.clone());
    flags.set("train.max_steps", whole(verb.max_steps));
    flags.set("train.batch_rows", whole(verb.batch_rows));
    flags.set("train.batch_tokens", whole(verb.batch_tokens));
    flags.set("train.cutoff", whole(verb.cutoff));
    flags.set("train.overlong", verb.overlong.clone());
    flags.set("train.loss", verb.loss.clone());
    flags.set("train.order", verb.order.clone());
    flags.set("train.rank", whole(verb.rank));
    flags.set("train.alpha", verb.alpha);
    flags.set("train.dropout", verb.dropout);
    flags.set("train.targets", (!verb.targets.is_empty()).then(|| verb.targets.clone()));
    flags.set("train.exclude", (!verb.exclude.is_empty()).then(|| verb.exclude.clone()));
    flags.set("train.last_layers", whole(verb.last_layers));
    flags.set("train.rslora", verb.rslora.then_some(true));
    flags.set("train.dora", verb.dora.then_some(true));
    flags.set("train.lora_plus_ratio", verb.lora_plus_ratio);
    flags.set("train.neftune_alpha", verb.neftune_alpha);
    flags.set("train.lr", verb.lr);
    flags.set("precision", verb.precision.clone());
    flags
}

/// Tunes, or goes on tuning, or says that it is done.
pub(crate) fn stage(
    run: &RunDirectory,
    job: &Job<'_>,
    interrupt: &Interrupt,
    console: &Console,
) -> anyhow::Result<Summary> {
    let config = job.config;
    config.train.check()?;
    let stage = run.stage("train")?;
    let data = TrainingData::read(job.data, job.dev, &config.train, config.seed)?;
    let resolved = model::resolve(job.model, job.offline, console)?;
    let wanted = manifest(job, &data, &resolved.path)?;
    if let Some(found) = stage.finished(&wanted)? {
        console.say("train: already done");
        return Ok(Summary::read(&stage, &found.summary));
    }
    let file = ModelFile::open(&resolved.path)?;
    let prepared = Prepared::encode(job, file, &data, console)?;
    let fit = Fit::new(&prepared.file, config, prepared.rows())?;
    fit.check(&prepared.file, config, prepared.rows())?;
    if fit.activations == Activations::Recomputed && config.recompute == Recompute::Auto {
        console.say("train: activations are computed again, since memory does not hold them; a step takes up to a half longer");
    }
    let Prepared { file, tokenizer, encoded } = prepared;
    let options = LocalOptions { precision: config.precision()?, ..LocalOptions::default() };
    let local = LocalModel::from_parts(Cpu::new(config.threads)?, &file, tokenizer, options)?;
    drop(file);
    let mut fingerprint = fingerprint(&wanted, &local);
    // A folder's own chat template is no input by name; what it makes of the rows is.
    fingerprint.insert("tokens".to_owned(), encoded.learned.digest().to_string());
    checkpoint::refuse_other(&stage.path(CHECKPOINTS), &fingerprint)?;
    stage.publish(ROWS, |out| jsonl::write(out, &data.rows))?;
    stage.publish("dev.jsonl", |out| jsonl::write(out, &data.dev))?;
    stage.publish("left_out.jsonl", |out| jsonl::write(out, encoded.left_out()))?;
    let mut told = Told::new(console);
    let outcome = interrupt.gracefully(|stop| {
        let inputs = Inputs {
            model: local.llama(),
            examples: &encoded.learned.examples,
            strata: &encoded.strata,
            dev: &encoded.watched.examples,
            config: &config.train,
            seed: config.seed,
            fingerprint,
            directory: stage.directory(),
            activations: fit.activations,
            stop: Arc::clone(stop),
        };
        train::run(&inputs, &mut |progress| told.take(progress))
    })?;
    told.finish(&outcome);
    say_kept(&outcome, console);
    write_adapter(&stage, job, &local, &outcome, &encoded, &data)?;
    let summary = summary::write(&stage, &outcome, &encoded)?;
    let mut manifest = wanted;
    manifest.kernels = local.llama().backend().kernels();
    manifest.summary = summary;
    let manifest = stage.finish(manifest, &OUTPUTS)?;
    Ok(Summary::read(&stage, &manifest.summary))
}

fn manifest(job: &Job<'_>, data: &TrainingData, path: &Path) -> anyhow::Result<Manifest> {
    let hash = |rows: &[Instruction]| ContentHash::of_json(&json!(rows)).to_string();
    let template = InstructionTemplate::load(&job.config.train.template)?;
    let base = if path.is_file() {
        ContentHash::of_file(path)?.to_string()
    } else {
        path.display().to_string()
    };
    let mut inputs = BTreeMap::from([
        ("rows".to_owned(), hash(&data.rows)),
        ("dev rows".to_owned(), hash(&data.dev)),
        ("model".to_owned(), base),
        ("template".to_owned(), template.digest().to_string()),
    ]);
    let mixture = data.mixture();
    if !mixture.is_null() {
        inputs.insert("mixture".to_owned(), ContentHash::of_json(&mixture).to_string());
    }
    let mut config = json!(job.config.train);
    config["precision"] = json!(job.config.precision);
    config["model"] = json!(job.model);
    Ok(Manifest::new("train", job.config.seed, config, inputs))
}

/// A checkpoint is continued only where all of this is the same.
fn fingerprint(manifest: &Manifest, local: &LocalModel) -> BTreeMap<String, String> {
    let mut fingerprint = manifest.inputs.clone();
    let mut add = |name: &str, value: String| fingerprint.insert(name.to_owned(), value);
    for (key, value) in leaves(&manifest.config) {
        match key.as_str() {
            "precision" => add("precision", value.to_string()),
            "model" => add("--model", value.to_string()),
            key => add(&format!("train.{key}"), value.to_string()),
        };
    }
    add("seed", manifest.seed.to_string());
    add("version", manifest.version.clone());
    add("weights", model::hexadecimal(&local.llama().weights_hash()));
    add("tokenizer", model::hexadecimal(&local.tokenizer().identity()));
    add("kernels", local.llama().backend().kernels());
    fingerprint
}

/// Which step's adapter is the result, where that is not plain.
fn say_kept(outcome: &Outcome, console: &Console) {
    let Some(best) = outcome.watch.best else { return };
    if outcome.ended_early {
        console.say(&format!(
            "train: ended after step {}: no evaluation was better than that of step {}",
            outcome.steps, best.step
        ));
    }
    if outcome.kept_step != outcome.steps {
        console.say(&format!(
            "train: the adapter of step {} is kept, whose dev loss is the lowest ({:.3}); `--set train.keep=last` keeps the last",
            outcome.kept_step, best.dev_loss
        ));
    }
    if let Some(untuned) = outcome.watch.untuned.filter(|untuned| *untuned <= best.dev_loss) {
        console.say(&format!(
            "warning: tuning did not lower the dev loss: {untuned:.3} before, {:.3} at its best",
            best.dev_loss
        ));
    }
}

fn write_adapter(
    stage: &Stage,
    job: &Job<'_>,
    local: &LocalModel,
    outcome: &Outcome,
    encoded: &Encoded,
    data: &TrainingData,
) -> anyhow::Result<()> {
    let train = &job.config.train;
    let directory = stage.path("adapter");
    peft::save(&directory, &train.lora()?, &outcome.layout, &outcome.parameters, job.model)?;
    let context = local.llama().context_length();
    let card = AdapterCard {
        template: train.template.clone(),
        template_digest: InstructionTemplate::load(&train.template)?.digest().to_string(),
        cutoff: if train.cutoff == 0 { context } else { train.cutoff.min(context) },
        base: model::hexadecimal(&local.llama().weights_hash()),
        tokenizer: model::hexadecimal(&local.tokenizer().identity()),
        dataset: encoded.learned.digest().to_string(),
        data: job.data.iter().map(|file| DataFile::of(&file.path)).collect::<Result<_, _>>()?,
        restricted: data.rows.iter().any(|row| row.provenance.restricted),
        precision: job.config.precision.clone(),
        notice: NOT_FOR_PATIENT_CARE.to_owned(),
    };
    stage.publish_json("adapter/bioinstruct.json", &card)?;
    Ok(())
}
