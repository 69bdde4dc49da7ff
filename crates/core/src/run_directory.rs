//! The run directory: [`RunDirectory`] owns its lock and layout, [`Stage`] publishes files and the manifest that ends a stage.
//!
//! A file appears under its name only when it is complete: it is written to a temporary sibling, synced and renamed. The
//! manifest is written last, so a stage is finished if and only if its `manifest.json` is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::diagnose::{Diagnose, FailureKind};
use crate::files::Files;
pub use crate::files::create_private_directory;
use crate::hash::ContentHash;

/// A run directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The file system refused; the source names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Another process works in it.
    #[error("{path} is in use by another process", path = path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The stage was finished with other inputs or settings.
    #[error("stage `{stage}` in {path} was finished with other settings: {difference}", path = path.display())]
    Changed {
        /// The stage.
        stage: String,
        /// The run directory.
        path: PathBuf,
        /// What differs, one part for each thing.
        difference: String,
    },
    /// The manifest cannot be understood.
    #[error("{path}: {reason}", path = path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Diagnose for RunError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Io(_) => FailureKind::Io,
            Self::Locked { .. } => FailureKind::Temporary,
            Self::Changed { .. } => FailureKind::Configuration,
            Self::Manifest { .. } => FailureKind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Io(error) if error.kind() == ErrorKind::StorageFull => Some(
                "free some space, then run the same command again; what was finished stays"
                    .to_owned(),
            ),
            Self::Io(_) => {
                Some("choose a directory that you may write with `--run DIR`".to_owned())
            }
            Self::Locked { .. } => {
                Some("wait for it to end, or choose another `--run DIR`".to_owned())
            }
            Self::Changed { .. } => {
                Some("choose another `--run DIR`, or repeat the earlier settings".to_owned())
            }
            Self::Manifest { .. } => {
                Some("move the stage's directory away and run the stage again".to_owned())
            }
        }
    }
}

/// What a finished stage says of itself. It holds no clock value, so equal runs give equal bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its name.
    pub stage: String,
    /// The version of the program that wrote it.
    pub version: String,
    /// The seed of every random choice.
    pub seed: u64,
    /// The configuration after all layers.
    pub config: Value,
    /// Hashes of the inputs (files, models, built-in resources) by name.
    pub inputs: BTreeMap<String, String>,
    /// Hashes of the published files by name.
    pub outputs: BTreeMap<String, String>,
    /// Which kernels computed it; empty where none did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kernels: String,
    /// The stage's own summary.
    #[serde(default)]
    pub summary: Value,
}

impl Manifest {
    /// A manifest without outputs, for [`Stage::finished`] and [`Stage::finish`].
    pub fn new(stage: &str, seed: u64, config: Value, inputs: BTreeMap<String, String>) -> Self {
        Self {
            stage: stage.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            seed,
            config,
            inputs,
            outputs: BTreeMap::new(),
            kernels: String::new(),
            summary: Value::Null,
        }
    }

    /// Everything in which the other run was asked for something else, one part for each; nothing when it was not.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let mut found = Vec::new();
        if self.seed != other.seed {
            found.push(format!("seed {} there, {} now", self.seed, other.seed));
        }
        let names: BTreeSet<&String> = self.inputs.keys().chain(other.inputs.keys()).collect();
        for name in names {
            if self.inputs.get(name) != other.inputs.get(name) {
                found.push(format!("input `{name}` is not the same"));
            }
        }
        let (there, now) = (leaves(&self.config), leaves(&other.config));
        let keys: BTreeSet<&String> = there.keys().chain(now.keys()).collect();
        for key in keys {
            if there.get(key) != now.get(key) {
                let value = |leaves: &BTreeMap<String, Value>| {
                    leaves.get(key).map_or_else(|| "not set".to_owned(), Value::to_string)
                };
                found.push(format!("`{key}` is {} there, {} now", value(&there), value(&now)));
            }
        }
        (!found.is_empty()).then(|| found.join("; "))
    }
}

/// The values of a nested configuration that are no tables, by their keys with dots between.
pub fn leaves(config: &Value) -> BTreeMap<String, Value> {
    fn add(path: &str, value: &Value, leaves: &mut BTreeMap<String, Value>) {
        let Value::Object(table) = value else {
            leaves.insert(path.to_owned(), value.clone());
            return;
        };
        for (key, value) in table {
            let name = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            add(&name, value, leaves);
        }
    }
    let mut found = BTreeMap::new();
    add("", config, &mut found);
    found
}

/// A directory that one process works in at a time.
#[derive(Debug)]
pub struct RunDirectory {
    root: PathBuf,
    _lock: File,
}

impl RunDirectory {
    /// Creates the directory (mode 0700) when it is missing and takes its lock, which the system frees when the
    /// process ends in whatever way.
    pub fn open(root: &Path) -> Result<Self, RunError> {
        create_private_directory(root)?;
        let path = root.join(".lock");
        let lock = fs_err::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)?
            .into_file();
        match lock.try_lock() {
            Ok(()) => Ok(Self { root: root.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(RunError::Locked { path: root.to_owned() }),
            Err(TryLockError::Error(error)) => Err(RunError::Io(error)),
        }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The stage's own directory, created when it is missing.
    pub fn stage(&self, name: &str) -> Result<Stage, RunError> {
        let directory = self.root.join(name);
        create_private_directory(&directory)?;
        Ok(Stage { run: self.root.clone(), directory, name: name.to_owned() })
    }
}

/// One stage's directory in a run.
#[derive(Debug, Clone)]
pub struct Stage {
    run: PathBuf,
    directory: PathBuf,
    name: String,
}

impl Stage {
    /// Where a file of this stage lives.
    pub fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The manifest of an earlier, finished run of this stage that was asked for the same thing; an error when it was
    /// asked for something else.
    pub fn finished(&self, wanted: &Manifest) -> Result<Option<Manifest>, RunError> {
        let Some(found) = self.manifest()? else {
            return Ok(None);
        };
        match found.difference(wanted) {
            None => Ok(Some(found)),
            Some(difference) => Err(RunError::Changed {
                stage: self.name.clone(),
                path: self.run.clone(),
                difference,
            }),
        }
    }

    /// The manifest, when the stage is finished.
    pub fn manifest(&self) -> Result<Option<Manifest>, RunError> {
        let path = self.path("manifest.json");
        if !path.exists() {
            return Ok(None);
        }
        let text = fs_err::read_to_string(&path)?;
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| RunError::Manifest { path, reason: error.to_string() })
    }

    /// Writes a whole file: temporary sibling, sync, rename. Readers see the old file or the new one.
    pub fn publish(
        &self,
        file: &str,
        write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<PathBuf, RunError> {
        let path = self.path(file);
        publish(&path, write)?;
        Ok(path)
    }

    /// [`Self::publish`] of a value as JSON for people to read, with a line break at its end.
    pub fn publish_json(&self, file: &str, value: &impl Serialize) -> Result<PathBuf, RunError> {
        self.publish(file, |out| {
            serde_json::to_writer_pretty(&mut *out, value)?;
            out.write_all(b"\n")
        })
    }

    /// Hashes the named outputs into the manifest and writes it: the stage is finished.
    pub fn finish(&self, mut manifest: Manifest, outputs: &[&str]) -> Result<Manifest, RunError> {
        for name in outputs {
            let hash = ContentHash::of_file(&self.path(name))?;
            manifest.outputs.insert((*name).to_owned(), hash.to_string());
        }
        self.publish_json("manifest.json", &manifest)?;
        Ok(manifest)
    }
}

/// [`Files::publish`] on the file system itself.
pub fn publish(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> std::io::Result<()> {
    Files::default().publish(path, write)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use serde_json::json;

    fn scratch(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("bioinstruct-run-{name}-{}", std::process::id()));
        let _ = fs_err::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_full_disk_and_a_forbidden_one_are_told_apart() {
        let hint = |kind: ErrorKind| RunError::Io(kind.into()).hint().unwrap();
        assert!(hint(ErrorKind::StorageFull).contains("space"));
        assert!(hint(ErrorKind::PermissionDenied).contains("--run DIR"));
    }

    #[test]
    fn a_second_process_is_kept_out_and_files_are_private() {
        let root = scratch("lock");
        let run = RunDirectory::open(&root).unwrap();
        assert!(matches!(RunDirectory::open(&root), Err(RunError::Locked { .. })));
        let stage = run.stage("curate").unwrap();
        let path = stage.publish("rows.jsonl", |out| out.write_all(b"{}\n")).unwrap();
        let mode = |path: &Path| fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&root), mode(stage.directory()), mode(&path)), (0o700, 0o700, 0o600));
        drop(run);
        RunDirectory::open(&root).unwrap();
        fs_err::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let root = scratch("publish");
        let stage = RunDirectory::open(&root).unwrap().stage("s").unwrap();
        stage.publish("a", |out| out.write_all(b"old")).unwrap();
        let failed = stage.publish("a", |out| {
            out.write_all(b"new")?;
            Err(std::io::Error::other("disk full"))
        });
        assert!(failed.is_err());
        assert_eq!(fs_err::read(stage.path("a")).unwrap(), b"old");
        assert_eq!(fs_err::read_dir(stage.directory()).unwrap().count(), 1);
        fs_err::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_finished_stage_is_recognised_and_a_changed_one_refused() {
        let root = scratch("manifest");
        let stage = RunDirectory::open(&root).unwrap().stage("s").unwrap();
        let wanted = Manifest::new("s", 1, json!({"a": {"b": 1}}), BTreeMap::new());
        assert!(stage.finished(&wanted).unwrap().is_none());
        stage.publish("rows", |out| out.write_all(b"x")).unwrap();
        stage.finish(wanted.clone(), &["rows"]).unwrap();
        assert_eq!(stage.finished(&wanted).unwrap().unwrap().outputs.len(), 1);
        let other = Manifest::new("s", 2, json!({"a": {"b": 2, "c": "x"}}), BTreeMap::new());
        let error = stage.finished(&other).unwrap_err().to_string();
        for part in ["seed 1 there, 2 now", "`a.b` is 1 there, 2 now", "`a.c` is not set there"] {
            assert!(error.contains(part), "{error}");
        }
        fs_err::remove_dir_all(&root).unwrap();
    }
}
