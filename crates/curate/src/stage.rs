//! The stage `curate` of a run: [`run_stage`] reads files and publishes `dataset/`.

mod publish;

use std::collections::BTreeMap;
use std::path::PathBuf;

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::jsonl;
use bioinstruct_core::model::Embedder;
use bioinstruct_core::record::SeedTask;
use bioinstruct_core::run_directory::{Manifest, RunDirectory, RunError, Stage};
use bioinstruct_data::rows::{ReadRows, RowsError, read_rows};
use bioinstruct_data::split::{DevSize, Split, split};
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::publish::{CONTAMINATION, SIDES, exports, publish, publish_exports};
use crate::category::{self, HandLabels, Labeller, LocalClassifier, choice};
use crate::decontaminate::against::Against;
use crate::meaning;
use crate::pipeline::{FunnelStep, Outcome, curate_against};
use crate::{CurateConfig, CurateError};

/// The directory of the stage in a run.
pub const DIRECTORY: &str = "dataset";

/// Rows that are alike in meaning.
const ALIKE: &str = "alike.jsonl";

const OUTPUTS: [&str; 8] = [
    "train.jsonl",
    "dev.jsonl",
    "origins.jsonl",
    "rejected.jsonl",
    "quarantine.jsonl",
    "findings.jsonl",
    "stats.json",
    "README.md",
];

/// What `curate --json` prints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StageSummary {
    /// Pieces of input: kept + rejected + quarantined.
    pub read: usize,
    /// Rows in train and dev.
    pub kept: usize,
    /// Kept, to learn from.
    pub train: usize,
    /// Kept, to measure with.
    pub dev: usize,
    /// Dropped rows by filter.
    pub rejected: BTreeMap<String, usize>,
    /// What is not a row.
    pub quarantined: usize,
    /// Kept rows that were given their kind.
    #[serde(default)]
    pub labelled: usize,
    /// Kept rows without a kind.
    #[serde(default)]
    pub unlabelled: usize,
    /// Rows that are alike in meaning to an earlier one, when an encoder was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alike: Option<usize>,
    /// What a person should look at, by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub findings: BTreeMap<String, usize>,
    /// Rows that hold test items, by task, when rows were compared with any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub contaminated: BTreeMap<String, usize>,
    /// Wall time by filter; in no published file but `timing.jsonl`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seconds: BTreeMap<String, f64>,
    /// Whether an earlier run had finished the stage, and nothing was done now.
    #[serde(skip)]
    pub was_finished: bool,
}

/// One line of `timing.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
struct Timing {
    filter: String,
    seconds: f64,
}

/// Reads `files` in order, curates their rows and publishes the dataset.
///
/// A stage that was finished with the same files, seeds and settings gives its summary again; with others it is an error.
pub fn run_stage(
    run: &RunDirectory,
    files: &[PathBuf],
    seeds: &[SeedTask],
    config: &CurateConfig,
    seed: u64,
) -> Result<StageSummary, CurateError> {
    run_stage_asking(run, files, seeds, config, seed, Models::default())
}

/// Models that the caller lends the stage.
#[derive(Default)]
pub struct Models<'a> {
    /// Gives kinds to rows, for `curate.categories = "llm"`.
    pub labeller: Option<&'a mut dyn Labeller>,
    /// Embeds rows, for `curate.embedder`.
    pub embedder: Option<&'a dyn Embedder>,
}

/// [`run_stage`] with models of the caller's.
pub fn run_stage_asking(
    run: &RunDirectory,
    files: &[PathBuf],
    seeds: &[SeedTask],
    config: &CurateConfig,
    seed: u64,
    models: Models<'_>,
) -> Result<StageSummary, CurateError> {
    let Models { labeller: asked, embedder } = models;
    let stage = run.stage(DIRECTORY)?;
    let exports = exports(config)?;
    let against = Against::read(&config.against)?;
    let mut own = labeller(config, asked.is_some())?;
    let labeller: Option<&mut dyn Labeller> = match (asked, &mut own) {
        (Some(asked), _) => Some(asked),
        (None, Some(own)) => Some(own.as_mut()),
        (None, None) => None,
    };
    // To hash a file takes as long as to read it; a stage that may be finished reads no rows.
    let may_be_finished = stage.manifest()?.is_some();
    let (wanted, early) = rayon::join(
        || manifest(files, seeds, config, &against, seed),
        || (!may_be_finished).then(|| read_files(files)),
    );
    let mut wanted = wanted?;
    if let Some(labeller) = &labeller {
        wanted.inputs.insert("categories".to_owned(), labeller.digest());
    }
    match (embedder, config.embedder.is_empty()) {
        (Some(embedder), _) => {
            wanted.inputs.insert("embedder".to_owned(), embedder.identity().digest);
        }
        (None, true) => {}
        (None, false) => {
            let reason = "there is no encoder to embed with".to_owned();
            return Err(CurateError::Setting { key: "embedder", reason });
        }
    }
    if let Some(found) = stage.finished(&wanted)? {
        return earlier_summary(&stage, &found);
    }
    let read = early.unwrap_or_else(|| read_files(files))?;
    refuse_bad_input(&stage, &read, files, config)?;
    let mut outcome = curate_against(read, seeds, config, &against)?;
    let labelling = category::fill(&mut outcome.kept, labeller)?;
    let (meaning, alike) = embedder
        .map(|embedder| meaning::read(&outcome.kept, embedder, config.alike_threshold as f32))
        .transpose()?
        .unzip();
    let parted = split(&outcome.kept, DevSize::Fraction(config.dev_fraction), seed)
        .map_err(|error| CurateError::Setting { key: "dev_fraction", reason: error.to_string() })?;
    let mut summary = summary_of(&outcome, &parted);
    summary.labelled = labelling.labelled;
    summary.unlabelled = labelling.unlabelled;
    summary.alike = meaning.as_ref().map(|meaning| meaning.alike);
    publish(&stage, &outcome, (labelling, meaning), &parted, config, seed)?;
    if let Some(alike) = &alike {
        stage.publish(ALIKE, |out| jsonl::write(out, alike))?;
    }
    publish_exports(&stage, &outcome, &parted, &exports)?;
    let mut manifest = wanted;
    manifest.summary = json!(summary);
    let mut outputs: Vec<String> = Vec::from(OUTPUTS.map(str::to_owned));
    if outcome.contamination.is_some() {
        outputs.extend(CONTAMINATION.map(str::to_owned));
    }
    outputs.extend(alike.map(|_| ALIKE.to_owned()));
    outputs.extend(exports.iter().flat_map(|export| SIDES.map(|side| export.file(side))));
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let timed = |step: &FunnelStep| (step.filter.clone(), step.seconds);
    summary.seconds = outcome.funnel.iter().map(timed).collect();
    // To free millions of texts takes about as long as to hash them.
    let (finished, ()) = rayon::join(|| stage.finish(manifest, &outputs), || drop(outcome));
    finished?;
    Ok(summary)
}

fn read_files(files: &[PathBuf]) -> Result<ReadRows, RowsError> {
    let mut read = ReadRows::default();
    for file in files {
        read.append(read_rows(file)?);
    }
    Ok(read)
}

/// The labeller that the configuration names, when it is one of ours.
fn labeller(
    config: &CurateConfig,
    model_is_there: bool,
) -> Result<Option<Box<dyn Labeller>>, CurateError> {
    Ok(match config.categories.as_str() {
        choice::NONE => None,
        choice::LOCAL => Some(Box::new(LocalClassifier::new())),
        choice::MODEL if model_is_there => None,
        choice::MODEL => {
            let reason = "`llm` needs a model to ask".to_owned();
            return Err(CurateError::Setting { key: "categories", reason });
        }
        file => Some(Box::new(HandLabels::read(file.as_ref())?)),
    })
}

fn manifest(
    files: &[PathBuf],
    seeds: &[SeedTask],
    config: &CurateConfig,
    against: &Against,
    seed: u64,
) -> Result<Manifest, CurateError> {
    let mut inputs = BTreeMap::new();
    for (position, file) in files.iter().enumerate() {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
        let hash = ContentHash::of_file(file).map_err(RowsError::Io)?;
        let key = format!("file {}: {}", position + 1, name.unwrap_or_default());
        inputs.insert(key, hash.to_string());
    }
    inputs.insert("seeds".to_owned(), ContentHash::of_json(&json!(seeds)).to_string());
    let mut resolved = config.resolved()?;
    for (task, data) in against.digests() {
        inputs.insert(format!("against {task}"), data.clone());
    }
    // Seeds and scores themselves are inputs; the paths by which they were found say nothing.
    resolved.seeds.clear();
    resolved.against.clear();
    resolved.embedder.clear();
    if !resolved.scores.is_empty() {
        let hash = ContentHash::of_file(resolved.scores.as_ref()).map_err(RowsError::Io)?;
        inputs.insert("scores".to_owned(), hash.to_string());
        resolved.scores.clear();
    }
    if ![choice::NONE, choice::LOCAL, choice::MODEL].contains(&resolved.categories.as_str()) {
        "file".clone_into(&mut resolved.categories);
    }
    let mut config = json!(resolved);
    if let Some(fields) = config.as_object_mut() {
        fields.remove("seeds");
    }
    Ok(Manifest::new("curate", seed, config, inputs))
}

fn earlier_summary(stage: &Stage, found: &Manifest) -> Result<StageSummary, CurateError> {
    let mut summary: StageSummary =
        serde_json::from_value(found.summary.clone()).map_err(|error| RunError::Manifest {
            path: stage.path("manifest.json"),
            reason: error.to_string(),
        })?;
    // Times are a courtesy: a finished stage stays finished without them.
    let timings: Vec<Timing> = jsonl::read(&stage.path("timing.jsonl")).unwrap_or_default();
    summary.seconds = timings.into_iter().map(|timing| (timing.filter, timing.seconds)).collect();
    summary.was_finished = true;
    Ok(summary)
}

/// Bad rows are published before the run is refused for them; otherwise with everything else.
fn refuse_bad_input(
    stage: &Stage,
    read: &ReadRows,
    files: &[PathBuf],
    config: &CurateConfig,
) -> Result<(), CurateError> {
    let count = read.quarantined.len();
    let first = read.quarantined.first().filter(|_| count > config.max_quarantine);
    if first.is_none() && (!read.rows.is_empty() || count > 0) {
        return Ok(());
    }
    let path = stage.publish("quarantine.jsonl", |out| jsonl::write(out, &read.quarantined))?;
    Err(match first {
        Some(first) => CurateError::Quarantine {
            first: first.clone(),
            count,
            limit: config.max_quarantine,
            path,
        },
        None => CurateError::NoRows {
            files: files
                .iter()
                .map(|file| file.display().to_string())
                .collect::<Vec<_>>()
                .join(", "),
        },
    })
}

fn summary_of(outcome: &Outcome, parted: &Split) -> StageSummary {
    let funnel = outcome.funnel.iter();
    StageSummary {
        read: outcome.read,
        kept: outcome.kept.len(),
        train: parted.train.len(),
        dev: parted.dev.len(),
        rejected: funnel.map(|step| (step.filter.clone(), step.rejected)).collect(),
        quarantined: outcome.quarantined.len(),
        labelled: 0,
        unlabelled: 0,
        alike: None,
        findings: outcome.findings.iter().fold(BTreeMap::new(), |mut counts, finding| {
            *counts.entry(finding.kind.name().to_owned()).or_default() += 1;
            counts
        }),
        contaminated: outcome.contamination.iter().fold(BTreeMap::new(), |mut rows, found| {
            rows.extend(
                found.report.tasks.iter().map(|(task, of)| (task.clone(), of.contaminated_rows)),
            );
            rows
        }),
        seconds: BTreeMap::new(),
        was_finished: false,
    }
}
