//! Opening models by source, for every verb that needs one.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use bioinstruct_core::hash::ContentHash;
use bioinstruct_engine::source::{CachedModel, Fetch, ModelSource, ResolvedModel, Resolver};
use bioinstruct_llm::{Downloader, HUB_HOSTS, Secret};
use serde::{Deserialize, Serialize};

use crate::console::Console;
use crate::failure;

/// What stands beside an adapter in `bioinstruct.json`: verbs that use the adapter obey it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdapterCard {
    /// The template it was tuned under.
    pub(crate) template: String,
    /// Hash of that template's text.
    pub(crate) template_digest: String,
    /// Most tokens of a training row.
    pub(crate) cutoff: usize,
    /// SHA-256 of the base's weights.
    pub(crate) base: String,
    /// Hash of the tokenizer.
    pub(crate) tokenizer: String,
    /// Hash of the tokenized training rows.
    pub(crate) dataset: String,
    /// The training files.
    pub(crate) data: Vec<DataFile>,
    /// Whether text under a data-use agreement went in.
    pub(crate) restricted: bool,
    /// How the base was kept.
    pub(crate) precision: String,
    /// The line that every use must carry.
    pub(crate) notice: String,
}

/// A training file as a card names it: where it stood is nobody else's business.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DataFile {
    /// Its name, without its folder.
    pub(crate) file: String,
    /// SHA-256 of its bytes.
    pub(crate) sha256: String,
}

impl DataFile {
    /// The file at `path`.
    pub(crate) fn of(path: &Path) -> std::io::Result<Self> {
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { file, sha256: ContentHash::of_file(path)?.to_string() })
    }
}

impl AdapterCard {
    /// The card's file name.
    pub(crate) const FILE: &str = "bioinstruct.json";

    /// The card in an adapter's directory; adapters made elsewhere have none.
    pub(crate) fn read(directory: &Path) -> anyhow::Result<Option<Self>> {
        let path = directory.join(Self::FILE);
        if !directory.join("adapter_config.json").is_file() {
            let message = format!(
                "there is no adapter at {}: it holds no adapter_config.json",
                directory.display()
            );
            return Err(failure::data(message, "`train` writes adapters to RUN/train/adapter"));
        }
        if !path.is_file() {
            return Ok(None);
        }
        let text = fs_err::read_to_string(&path)?;
        serde_json::from_str(&text).map(Some).map_err(|error| {
            failure::data(
                format!("{}: {error}", path.display()),
                "the file belongs to the adapter; restore it",
            )
        })
    }
}

/// The hub through our one owner of sockets.
struct Hub(Downloader);

impl Fetch for Hub {
    fn get(&self, url: &str, destination: &Path, limit: u64) -> Result<(), String> {
        self.0.get(url, destination, limit).map_err(|error| error.to_string())
    }
}

/// The local files of a model, fetched when they are not here yet.
pub(crate) fn resolve(
    source: &str,
    offline: bool,
    console: &Console,
) -> anyhow::Result<ResolvedModel> {
    let parsed = ModelSource::from_str(source)?;
    let hub = if offline { None } else { Some(Hub(hub_downloader()?)) };
    let fetcher = hub.as_ref().map(|hub| hub as &dyn Fetch);
    let resolver = Resolver::new(offline, fetcher)?;
    let before = resolver.cached()?.len();
    let resolved = resolver.resolve(&parsed)?;
    if resolver.cached()?.len() > before {
        console.say(&format!("fetched {source} from {} into the cache", resolved.origin));
    }
    Ok(resolved)
}

fn hub_downloader() -> anyhow::Result<Downloader> {
    let mut hosts: Vec<String> = HUB_HOSTS.iter().map(|host| (*host).to_owned()).collect();
    let endpoint = std::env::var("HF_ENDPOINT").ok().and_then(|address| host_of(&address));
    hosts.extend(endpoint.clone());
    let downloader = Downloader::new(&hosts, false)?;
    Ok(match std::env::var("HF_TOKEN") {
        Ok(token) if !token.is_empty() => {
            let host = endpoint.unwrap_or_else(|| HUB_HOSTS[0].to_owned());
            downloader.with_token(&host, Secret::new(&token))
        }
        _ => downloader,
    })
}

fn host_of(address: &str) -> Option<String> {
    let after = address.split_once("://")?.1;
    let host = after.split(['/', ':', '?']).next()?;
    (!host.is_empty()).then(|| host.to_owned())
}

/// Every model in the cache.
pub(crate) fn cached(offline: bool) -> anyhow::Result<Vec<CachedModel>> {
    Ok(Resolver::new(offline, None)?.cached()?)
}

/// Where models are cached.
pub(crate) fn cache_directory() -> anyhow::Result<PathBuf> {
    Ok(Resolver::new(true, None)?.locations.cache)
}

/// A name for folders and tables: the alias, or the last part of the source, in plain characters.
pub(crate) fn short_name(source: &str) -> String {
    let last = source.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or(source);
    let last = last.strip_suffix(".gguf").unwrap_or(last);
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }
    };
    let name: String = last.chars().map(plain).collect();
    if name.is_empty() { "model".to_owned() } else { name }
}

/// Hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Refuses a template that an adapter was not tuned under, and names the one to use.
pub(crate) fn agreed_template(
    card: Option<&AdapterCard>,
    typed: Option<&str>,
    fallback: &str,
) -> anyhow::Result<String> {
    match (card, typed) {
        (Some(card), Some(typed)) if card.template != typed => Err(failure::data(
            format!("the adapter was tuned under template `{}`, not `{typed}`", card.template),
            "leave `--template` out: the adapter's own is used",
        )),
        (Some(card), _) => Ok(card.template.clone()),
        (None, Some(typed)) => Ok(typed.to_owned()),
        (None, None) => Ok(fallback.to_owned()),
    }
}
