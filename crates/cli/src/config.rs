//! The whole configuration: [`Config`] has a section for each stage.

use std::path::{Path, PathBuf};

use bioinstruct_core::config::resolve;
use bioinstruct_core::run_directory::RunDirectory;
use bioinstruct_curate::CurateConfig;
use bioinstruct_engine::format::DataType;
use bioinstruct_engine::kernels::lanes::Precision;
use bioinstruct_engine::train::config::TrainConfig;
use bioinstruct_generate::GenerateConfig;
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::arguments::Globals;

/// All settings, defaults included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Names every random choice.
    pub(crate) seed: u64,
    /// Threads of the engine; zero takes every processor.
    pub(crate) threads: usize,
    /// Most memory of this process in MiB, where it is less than what the machine has free; zero is off.
    pub(crate) memory_limit: usize,
    /// Whether a training step computes activations again instead of keeping them: `auto` where memory asks for it, `always`,
    /// `never`. It changes no result; a step takes up to a half longer.
    pub(crate) recompute: Recompute,
    /// How frozen weights are kept: `f32`, `bf16` or `stored`.
    pub(crate) precision: String,
    /// The section of `generate`.
    pub(crate) generate: GenerateConfig,
    /// The section of `curate`.
    pub(crate) curate: CurateConfig,
    /// The section of `train`.
    pub(crate) train: TrainConfig,
    /// The section of `eval`.
    pub(crate) eval: EvalConfig,
    /// The section of `merge` and `export`.
    pub(crate) merge: MergeConfig,
}

/// When activations are computed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Recompute {
    /// Where they do not fit into the memory that is free, and would fit so.
    Auto,
    /// In every run.
    Always,
    /// In none.
    Never,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 42,
            threads: 0,
            memory_limit: 0,
            recompute: Recompute::Auto,
            precision: "bf16".to_owned(),
            generate: GenerateConfig::default(),
            curate: CurateConfig::default(),
            train: TrainConfig::default(),
            eval: EvalConfig::default(),
            merge: MergeConfig::default(),
        }
    }
}

/// The section `[eval]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EvalConfig {
    /// Prompt and scoring convention.
    pub(crate) profile: String,
    /// Score only the first items; zero scores all.
    pub(crate) limit: usize,
    /// Bootstrap resamples of every interval.
    pub(crate) resamples: usize,
    /// Sequences that are decoded together.
    pub(crate) slots: usize,
    /// The training file whose items must not be scored, where it is not beside a task's data.
    pub(crate) training: String,
    /// The list of item ids to score, where it is not beside a task's data.
    pub(crate) ids: String,
    /// The file of solved examples, where it is not beside a task's data.
    pub(crate) shots_file: String,
    /// The `contamination.json` of the dataset that was trained on: items that its rows give away are left out of the clean subset.
    pub(crate) contamination: String,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self {
            profile: "default".to_owned(),
            limit: 0,
            resamples: 2_000,
            slots: 8,
            training: String::new(),
            ids: String::new(),
            shots_file: String::new(),
            contamination: String::new(),
        }
    }
}

/// The section `[merge]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MergeConfig {
    /// How weights are stored: `bf16`, `f16`, `f32` or `nf4`.
    pub(crate) dtype: String,
    /// Another file is begun when one would grow above this.
    pub(crate) shard_megabytes: usize,
    /// The relative difference of logits above which a result is refused; zero takes what the type allows.
    pub(crate) max_difference: f64,
}

impl Default for MergeConfig {
    fn default() -> Self {
        Self { dtype: "bf16".to_owned(), shard_megabytes: 5_000, max_difference: 0.0 }
    }
}

impl MergeConfig {
    /// How weights are stored.
    pub(crate) fn data_type(&self) -> anyhow::Result<DataType> {
        match self.dtype.as_str() {
            "bf16" => Ok(DataType::BF16),
            "f16" => Ok(DataType::F16),
            "f32" => Ok(DataType::F32),
            "nf4" => Ok(DataType::NF4),
            other => Err(crate::failure::configuration(format!(
                "`merge.dtype` is {other:?}, expected bf16, f16, f32 or nf4"
            ))),
        }
    }
}

impl Config {
    /// Defaults, preset, file, `--set`, then the flags that were typed.
    pub(crate) fn resolve(
        preset: &str,
        globals: &Globals,
        mut flags: Flags,
    ) -> anyhow::Result<Self> {
        flags.set("seed", globals.seed.map(|seed| seed as i64));
        flags.set("threads", globals.threads.map(|threads| threads as i64));
        let config: Self = resolve(preset, globals.config.as_deref(), &globals.sets, flags.table)?;
        config.precision()?;
        Ok(config)
    }

    /// How frozen weights are kept.
    pub(crate) fn precision(&self) -> anyhow::Result<Precision> {
        match self.precision.as_str() {
            "f32" => Ok(Precision::F32),
            "bf16" => Ok(Precision::Bf16),
            "stored" => Ok(Precision::Stored),
            other => Err(crate::failure::configuration(format!(
                "`precision` is {other:?}, expected f32, bf16 or stored"
            ))),
        }
    }
}

/// Typed flags as a configuration layer.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    table: Table,
}

impl Flags {
    /// Sets `section.key` (or a top-level key) when the flag was typed.
    pub(crate) fn set(&mut self, key: &str, value: Option<impl Into<toml::Value>>) {
        let Some(value) = value else { return };
        match key.split_once('.') {
            None => {
                self.table.insert(key.to_owned(), value.into());
            }
            Some((section, key)) => {
                let section =
                    self.table.entry(section).or_insert_with(|| toml::Value::Table(Table::new()));
                if let toml::Value::Table(section) = section {
                    section.insert(key.to_owned(), value.into());
                }
            }
        }
    }
}

/// Directories of the stages, in the order of a run.
pub(crate) const STAGES: [&str; 4] = ["generate", "dataset", "train", "eval"];

/// The run directory that was asked for, or the next free `runs/VERB-N`, and work in it. A directory that was made for
/// work that failed before it wrote a file is taken away again.
pub(crate) fn in_run<R>(
    globals: &Globals,
    verb: &str,
    work: impl FnOnce(&RunDirectory) -> anyhow::Result<R>,
) -> anyhow::Result<R> {
    let path = globals.run.clone().unwrap_or_else(|| {
        let path = |number: usize| PathBuf::from(format!("runs/{verb}-{number}"));
        (1..100_000).map(path).find(|path| !path.exists()).unwrap_or_else(|| path(0))
    });
    let is_new = !path.exists();
    let run = RunDirectory::open(&path)?;
    let result = work(&run);
    if result.is_err() && is_new {
        remove_if_empty(&path);
    }
    result
}

/// Takes a new run directory away. Only empty directories can be removed so: what holds a file stays.
fn remove_if_empty(root: &Path) {
    let held: Vec<PathBuf> = fs_err::read_dir(root)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    let is_lock = |path: &Path| path.file_name().is_some_and(|name| name == ".lock");
    let stages = held.iter().filter(|path| !is_lock(path));
    if stages.clone().all(|path| fs_err::remove_dir(path).is_ok()) {
        for lock in held.iter().filter(|path| is_lock(path)) {
            let _ = fs_err::remove_file(lock);
        }
        let _ = fs_err::remove_dir(root);
    }
}

/// Refuses a path that no stage has worked in.
pub(crate) fn require_run(path: &Path) -> anyhow::Result<()> {
    let held = STAGES.iter().chain(&[".lock"]).any(|name| path.join(name).exists());
    if path.is_dir() && held {
        return Ok(());
    }
    Err(crate::failure::data(
        format!("{} is not a run directory", path.display()),
        "run directories are under `runs/` unless `--run` said otherwise",
    ))
}

#[cfg(test)]
mod documented;

#[cfg(test)]
mod tests {
    use super::*;

    fn globals(run: &Path) -> Globals {
        Globals {
            config: None,
            sets: Vec::new(),
            run: Some(run.to_owned()),
            seed: None,
            threads: None,
            offline: true,
            json: false,
            verbose: 0,
        }
    }

    #[test]
    fn a_directory_made_for_failed_work_is_taken_away_unless_it_holds_a_file() {
        let root = std::env::temp_dir().join(format!("bioinstruct-in-run-{}", std::process::id()));
        let failing = |leave: bool| {
            in_run(&globals(&root), "train", |run| {
                let stage = run.stage("train")?;
                if leave {
                    stage.publish("rows.jsonl", |out| out.write_all(b"{}\n"))?;
                }
                Err::<(), _>(anyhow::anyhow!("no model"))
            })
        };
        assert!(failing(false).is_err());
        assert!(!root.exists());
        assert!(require_run(&root).is_err());
        assert!(failing(true).is_err());
        assert!(root.join("train/rows.jsonl").is_file());
        assert!(require_run(&root).is_ok());
        // It was there before: nothing of it is taken away.
        fs_err::remove_file(root.join("train/rows.jsonl")).unwrap();
        assert!(failing(false).is_err());
        assert!(root.exists());
        fs_err::remove_dir_all(&root).unwrap();
    }
}
