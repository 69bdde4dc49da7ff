//! `train`: a base and rows in, an adapter out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bioinstruct_core::NOT_FOR_PATIENT_CARE;
use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::jsonl;
use bioinstruct_core::record::Instruction;
use bioinstruct_core::run_directory::{Manifest, RunDirectory, Stage};
use bioinstruct_core::template::InstructionTemplate;
use bioinstruct_engine::backend::Backend;
use bioinstruct_engine::local::{LocalModel, LocalOptions};
use bioinstruct_engine::peft;
use bioinstruct_engine::train::record::{DevRecord, Record};
use bioinstruct_engine::train::{self, Inputs, Outcome};
use serde::Serialize;
use serde_json::{Value, json};

use crate::arguments::{Globals, Train};
use crate::config::{Config, Flags, in_run};
use crate::console::{Bar, Console, counted};
use crate::interrupt::Interrupt;
use crate::model::{self, AdapterCard, DataFile};
use crate::training_data::{Encoded, RowCounts, TrainingData, WeightedFile};

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

/// What `train --json` prints.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    steps: u64,
    final_loss: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_dev_loss: Option<f64>,
    dev_loss: Option<f64>,
    tokens: u64,
    label_tokens: u64,
    tokens_per_second: Option<f64>,
    peak_rss_bytes: Option<u64>,
    /// Where it was written.
    pub(crate) adapter: PathBuf,
    /// What became of the rows.
    #[serde(flatten)]
    rows: RowCounts,
}

pub(crate) fn run(verb: &Train, globals: &Globals, console: &Console) -> anyhow::Result<()> {
    let config = Config::resolve("", globals, flags(verb))?;
    let job = Job {
        model: &verb.model,
        data: &verb.data,
        dev: verb.dev.as_deref(),
        config: &config,
        offline: globals.offline,
    };
    let interrupt = Interrupt::install()?;
    in_run(globals, "train", |run| {
        let summary = stage(run, &job, &interrupt, console)?;
        console.say(&format!("adapter: {}", summary.adapter.display()));
        console.say(NOT_FOR_PATIENT_CARE);
        console.summary(&summary)
    })
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
        return Ok(summary_of(&stage, &found.summary));
    }
    stage.publish(ROWS, |out| jsonl::write(out, &data.rows))?;
    stage.publish("dev.jsonl", |out| jsonl::write(out, &data.dev))?;
    let options = LocalOptions {
        precision: config.precision()?,
        threads: config.threads,
        ..LocalOptions::default()
    };
    let local = LocalModel::load(&resolved.path, options)?.with_name(&model::short_name(job.model));
    let encoded = data.encode(&config.train, &local, config.threads)?;
    encoded.say(console);
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
            fingerprint: fingerprint(&wanted, &local),
            directory: stage.directory(),
            stop,
        };
        train::run(&inputs, &mut |record, steps| told.take(record, steps))
    })?;
    told.finish(&outcome);
    write_adapter(&stage, job, &local, &outcome, &encoded, &data)?;
    let summary = summarise(&stage, &outcome, &encoded)?;
    let mut manifest = wanted;
    manifest.kernels = local.llama().backend().kernels();
    manifest.summary = summary;
    let manifest = stage.finish(manifest, &OUTPUTS)?;
    Ok(summary_of(&stage, &manifest.summary))
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
    add("configuration", ContentHash::of_json(&manifest.config).to_string());
    add("seed", manifest.seed.to_string());
    add("weights", model::hexadecimal(&local.llama().weights_hash()));
    add("tokenizer", model::hexadecimal(&local.tokenizer().identity()));
    add("kernels", local.llama().backend().kernels());
    fingerprint
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
    stage.publish("adapter/bioinstruct.json", |out| {
        serde_json::to_writer_pretty(&mut *out, &card)?;
        out.write_all(b"\n")
    })?;
    Ok(())
}

/// The summary, from the files: it is the same whether the run was interrupted or not, but for speed and memory.
fn summarise(stage: &Stage, outcome: &Outcome, encoded: &Encoded) -> anyhow::Result<Value> {
    let records: Vec<Record> = jsonl::read(&stage.path("metrics.jsonl"))?;
    let (mut tokens, mut label_tokens, mut final_loss) = (0, 0, None);
    let mut dev: Vec<&DevRecord> = Vec::new();
    for record in &records {
        match record {
            Record::Step(step) => {
                tokens += step.tokens;
                label_tokens += step.label_tokens;
                final_loss = Some(step.loss);
            }
            Record::Dev(record) => dev.push(record),
        }
    }
    let rate = (outcome.tokens > 0).then(|| outcome.tokens as f64 / outcome.seconds.max(1e-9));
    let speed = json!({"tokens_per_second": rate, "peak_rss_bytes": model::peak_rss_bytes()});
    stage.publish("speed.json", |out| writeln!(out, "{speed}"))?;
    let mut summary = json!({
        "steps": outcome.steps,
        "final_loss": final_loss,
        "first_dev_loss": dev.first().map(|record| record.dev_loss),
        "dev_loss": dev.last().map(|record| record.dev_loss),
        "tokens": tokens,
        "label_tokens": label_tokens,
    });
    let counts = serde_json::to_value(encoded.counts())?;
    if let (Some(summary), Value::Object(counts)) = (summary.as_object_mut(), counts) {
        summary.extend(counts);
    }
    Ok(summary)
}

fn summary_of(stage: &Stage, summary: &Value) -> Summary {
    let speed: Value = fs_err::read_to_string(stage.path("speed.json"))
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let whole = |key: &str| summary[key].as_u64().unwrap_or_default();
    Summary {
        steps: whole("steps"),
        final_loss: summary["final_loss"].as_f64().unwrap_or(f64::NAN),
        first_dev_loss: summary["first_dev_loss"].as_f64(),
        dev_loss: summary["dev_loss"].as_f64(),
        tokens: whole("tokens"),
        label_tokens: whole("label_tokens"),
        tokens_per_second: speed["tokens_per_second"].as_f64(),
        peak_rss_bytes: speed["peak_rss_bytes"].as_u64(),
        adapter: stage.path("adapter"),
        rows: serde_json::from_value(summary.clone()).unwrap_or_default(),
    }
}

/// Puts the records on the terminal.
struct Told<'a> {
    console: &'a Console,
    bar: Option<Bar>,
    loss: f64,
    dev: Vec<f64>,
}

impl<'a> Told<'a> {
    fn new(console: &'a Console) -> Self {
        Self { console, bar: None, loss: f64::NAN, dev: Vec::new() }
    }

    fn take(&mut self, record: &Record, steps: usize) {
        let bar = self.bar.get_or_insert_with(|| self.console.bar("train", steps as u64, "steps"));
        match record {
            Record::Step(step) => {
                // A smooth value is easier to read than each step's own.
                self.loss =
                    if self.loss.is_nan() { step.loss } else { 0.9 * self.loss + 0.1 * step.loss };
                let dev = self.dev.last().map_or(String::new(), |loss| format!("  dev {loss:.3}"));
                bar.update(step.step as u64, format!("loss {:.3}{dev}", self.loss));
            }
            Record::Dev(record) => {
                self.dev.push(record.dev_loss);
                bar.update(record.step as u64, format!("dev loss {:.3}", record.dev_loss));
            }
        }
    }

    fn finish(self, outcome: &Outcome) {
        let dev = match (self.dev.first(), self.dev.last()) {
            (Some(first), Some(last)) => format!(", dev loss {first:.3} -> {last:.3}"),
            _ => String::new(),
        };
        let rate = outcome.tokens as f64 / outcome.seconds.max(1e-9);
        let line = format!("{}{dev}, {rate:.0} tokens/s", counted(outcome.steps as u64, "step"));
        match self.bar {
            Some(bar) => bar.finish(&line),
            None => self.console.say(&format!("train: {line}")),
        }
    }
}
