//! Layered configuration: defaults, then a verb's own preset, then a TOML file, then `--set key=value`, then flags; the main
//! function is [`resolve`].
//!
//! The result is written into each stage's manifest, so a run can be repeated from its directory alone.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::diagnose::{Diagnose, FailureKind};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read; the source names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The file is not TOML.
    #[error("{path}: {reason}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's message, with line and column.
        reason: String,
    },
    /// A `--set` argument is not `key=value`.
    #[error("--set {argument}: {reason}")]
    Set {
        /// As typed.
        argument: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An unknown key, or a value of the wrong type.
    #[error("configuration: {reason}")]
    Value {
        /// Which key, and what was expected.
        reason: String,
    },
}

impl Diagnose for ConfigError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Io(_) => FailureKind::Io,
            Self::Set { .. } => FailureKind::Usage,
            Self::Syntax { .. } | Self::Value { .. } => FailureKind::Configuration,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Set { .. } => {
                Some("write `--set train.lr=2e-4`, the value as in TOML".to_owned())
            }
            Self::Value { .. } => {
                Some("`configs/paper.toml` shows every section and key".to_owned())
            }
            Self::Io(_) | Self::Syntax { .. } => None,
        }
    }
}

/// Merges the layers, later ones over earlier ones, and reads the result as `T`.
///
/// `T::default()` is the lowest layer, the text of `preset` (TOML, may be empty) the one above it; `flags` holds only what
/// the user typed.
pub fn resolve<T>(
    preset: &str,
    file: Option<&Path>,
    sets: &[String],
    flags: Table,
) -> Result<T, ConfigError>
where
    T: Default + Serialize + DeserializeOwned,
{
    let mut merged = Table::try_from(T::default())
        .map_err(|error| ConfigError::Value { reason: error.to_string() })?;
    merge(&mut merged, parse(preset, Path::new("preset"))?);
    if let Some(path) = file {
        let text = fs_err::read_to_string(path)?;
        merge(&mut merged, parse(&text, path)?);
    }
    for argument in sets {
        merge(&mut merged, parse_set(argument)?);
    }
    merge(&mut merged, flags);
    serde_path(merged)
}

fn parse(text: &str, path: &Path) -> Result<Table, ConfigError> {
    toml::from_str(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        reason: error.to_string().trim_end().to_owned(),
    })
}

fn serde_path<T: DeserializeOwned>(table: Table) -> Result<T, ConfigError> {
    T::deserialize(Value::Table(table))
        .map_err(|error| ConfigError::Value { reason: error.to_string().trim_end().to_owned() })
}

/// `a.b=value` as a nested table; a value that is not TOML is taken as a string.
fn parse_set(argument: &str) -> Result<Table, ConfigError> {
    let bad = |reason: &str| ConfigError::Set {
        argument: argument.to_owned(),
        reason: reason.to_owned(),
    };
    let (key, text) = argument.split_once('=').ok_or_else(|| bad("there is no `=`"))?;
    let parts: Vec<&str> = key.trim().split('.').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(bad("the key is empty"));
    }
    let value = toml::from_str::<Table>(&format!("value = {}", text.trim()))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.trim().to_owned()));
    let nested = parts.iter().rev().fold(value, |inner, part| {
        let mut table = Table::new();
        table.insert((*part).to_owned(), inner);
        Value::Table(table)
    });
    match nested {
        Value::Table(table) => Ok(table),
        _ => Err(bad("the key is empty")),
    }
}

/// Lays `upper` over `lower`; tables are merged key by key, everything else is replaced.
pub fn merge(lower: &mut Table, upper: Table) {
    for (key, value) in upper {
        match (lower.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(table)) => merge(inner, table),
            (_, value) => {
                lower.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Sample {
        seed: u64,
        train: Train,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Train {
        lr: f64,
        targets: Vec<String>,
    }

    impl Default for Sample {
        fn default() -> Self {
            Self { seed: 1, train: Train::default() }
        }
    }

    impl Default for Train {
        fn default() -> Self {
            Self { lr: 1e-3, targets: vec!["q".to_owned()] }
        }
    }

    fn set(arguments: &[&str]) -> Result<Sample, ConfigError> {
        let owned: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        resolve("", None, &owned, Table::new())
    }

    #[test]
    fn later_layers_win() {
        let directory =
            std::env::temp_dir().join(format!("bioinstruct-config-{}", std::process::id()));
        fs_err::create_dir_all(&directory).unwrap();
        let path = directory.join("run.toml");
        fs_err::write(&path, "seed = 2\n[train]\nlr = 0.5\n").unwrap();
        let flags: Table = toml::from_str("[train]\nlr = 0.25").unwrap();
        let config: Sample =
            resolve("seed = 9", Some(&path), &["train.targets=[\"v\", \"o\"]".to_owned()], flags)
                .unwrap();
        assert_eq!(config.seed, 2);
        assert_eq!(config.train, Train { lr: 0.25, targets: vec!["v".to_owned(), "o".to_owned()] });
        fs_err::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn unknown_keys_and_wrong_types_are_named() {
        let error = set(&["train.speed=3"]).unwrap_err();
        assert!(error.to_string().contains("speed"), "{error}");
        assert_eq!(error.kind(), FailureKind::Configuration);
        let error = set(&["train.lr=fast"]).unwrap_err();
        assert!(error.to_string().contains("fast"), "{error}");
        assert_eq!(set(&["train.lr"]).unwrap_err().kind(), FailureKind::Usage);
        assert_eq!(set(&["=3"]).unwrap_err().kind(), FailureKind::Usage);
    }
}
