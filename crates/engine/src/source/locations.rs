//! The directories and the hub's address, from the environment. Main type: [`Locations`].

use std::ffi::OsString;
use std::path::PathBuf;

use super::error::SourceError;

/// The hub's own address: the only remote host that this program names.
const HUB: &str = "https://huggingface.co";

/// Where models are kept and fetched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locations {
    /// This program's cache. Models are in its folder `models`.
    pub cache: PathBuf,
    /// Hugging Face's own cache, which is read but never written; `None` when no home is known.
    pub hub_cache: Option<PathBuf>,
    /// The hub's address, without a slash at the end.
    pub endpoint: String,
    /// Whether `HF_HUB_OFFLINE` forbids asking the hub.
    pub hub_offline: bool,
}

impl Locations {
    /// Reads `BIOINSTRUCT_CACHE`, `XDG_CACHE_HOME` and `HOME` for the cache; `HF_HUB_CACHE`, `HF_HOME` and the same for
    /// Hugging Face's; `HF_ENDPOINT` and `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    /// [`SourceError::NoCache`] when none of the three for the cache is set.
    pub fn from_environment() -> Result<Self, SourceError> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    /// The same with another way to look variables up. Empty ones count as unset.
    ///
    /// # Errors
    /// As [`Self::from_environment`].
    pub fn from_variables(look_up: impl Fn(&str) -> Option<OsString>) -> Result<Self, SourceError> {
        let variable = |name: &str| look_up(name).filter(|value| !value.is_empty());
        let folder = |name: &str| variable(name).map(PathBuf::from);
        let caches = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
        let cache = folder("BIOINSTRUCT_CACHE")
            .or_else(|| Some(caches.as_ref()?.join("bioinstruct")))
            .ok_or(SourceError::NoCache)?;
        let hub_cache = folder("HF_HUB_CACHE")
            .or_else(|| Some(folder("HF_HOME")?.join("hub")))
            .or_else(|| Some(caches?.join("huggingface").join("hub")));
        let endpoint = variable("HF_ENDPOINT").and_then(|value| value.into_string().ok());
        let endpoint = endpoint.as_deref().unwrap_or(HUB).trim_end_matches('/').to_string();
        let hub_offline = variable("HF_HUB_OFFLINE").is_some_and(|value| {
            ["1", "true", "yes", "on"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
        });
        Ok(Self { cache, hub_cache, endpoint, hub_offline })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn locations(variables: &[(&str, &str)]) -> Result<Locations, SourceError> {
        Locations::from_variables(|name| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn variables_are_taken_in_order() {
        let home = locations(&[("HOME", "/h")]).expect("home");
        assert_eq!(home.cache, Path::new("/h/.cache/bioinstruct"));
        assert_eq!(home.hub_cache.as_deref(), Some(Path::new("/h/.cache/huggingface/hub")));
        assert_eq!((home.endpoint.as_str(), home.hub_offline), (HUB, false));
        let all = locations(&[
            ("HOME", "/h"),
            ("XDG_CACHE_HOME", "/x"),
            ("BIOINSTRUCT_CACHE", "/b"),
            ("HF_HOME", "/f"),
            ("HF_ENDPOINT", "http://127.0.0.1:8080/"),
            ("HF_HUB_OFFLINE", "1"),
        ])
        .expect("all");
        assert_eq!(all.cache, Path::new("/b"));
        assert_eq!(all.hub_cache.as_deref(), Some(Path::new("/f/hub")));
        assert_eq!((all.endpoint.as_str(), all.hub_offline), ("http://127.0.0.1:8080", true));
        let xdg = locations(&[("XDG_CACHE_HOME", "/x"), ("BIOINSTRUCT_CACHE", "")]).expect("xdg");
        assert_eq!(xdg.cache, Path::new("/x/bioinstruct"));
        assert!(matches!(locations(&[]), Err(SourceError::NoCache)));
    }
}
