//! The Hugging Face hub: its cache on this machine, and its files over HTTP. Main trait: [`Fetch`].

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::cache::check_hash;
use super::error::SourceError;
use super::has_ending;
use super::locations::Locations;
use super::wheel::COMPANIONS;
use crate::format::json_file::read_limited;

/// An HTTP client, implemented outside this crate: models know no HTTP.
pub trait Fetch {
    /// Writes the body of `url` to the new file `destination`, following redirects. Credentials (`HF_TOKEN`) are the
    /// implementor's matter.
    ///
    /// # Errors
    /// A message for the user, when the status is not 200, the connection breaks, or the body is over `limit` bytes.
    fn get(&self, url: &str, destination: &Path, limit: u64) -> Result<(), String>;
}

/// Bytes of an answer of the hub's interface, and of one file.
const MAXIMUM_ANSWER: u64 = 16 << 20;
const MAXIMUM_FILE: u64 = 512 << 30;
/// Bytes of a file that is not in the hub's large-file store, and so has no SHA-256 there.
const MAXIMUM_SMALL: u64 = 64 << 20;

/// A repository.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repository<'a> {
    pub(super) owner: &'a str,
    pub(super) name: &'a str,
}

/// The snapshot of `repository` in Hugging Face's own cache: the GGUF file when one is named or it is the only one,
/// else the folder. `None` when it is not there, or not complete.
pub(super) fn cached_snapshot(
    hub_cache: &Path,
    repository: Repository<'_>,
    revision: Option<&str>,
    file: Option<&str>,
) -> Option<PathBuf> {
    let folder = hub_cache.join(format!("models--{}--{}", repository.owner, repository.name));
    let revision = match revision {
        Some(revision) => revision.to_string(),
        None => {
            String::from_utf8(read_limited(&folder.join("refs").join("main"), 256).ok()?).ok()?
        }
    };
    let revision = revision.trim();
    if !super::is_plain(revision) {
        return None;
    }
    let snapshot = folder.join("snapshots").join(revision);
    if let Some(file) = file {
        return Some(snapshot.join(file)).filter(|path| path.is_file());
    }
    if snapshot.join("config.json").is_file() && shards_are_there(&snapshot) {
        return Some(snapshot);
    }
    let mut ggufs: Vec<PathBuf> = fs_err::read_dir(&snapshot)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| crate::format::has_extension(path, "gguf"))
        .collect();
    ggufs.pop().filter(|_| ggufs.is_empty())
}

/// Whether `model.safetensors`, or every shard that the index names, is in `folder`.
fn shards_are_there(folder: &Path) -> bool {
    if folder.join("model.safetensors").is_file() {
        return true;
    }
    let index = read_limited(&folder.join("model.safetensors.index.json"), MAXIMUM_ANSWER).ok();
    let index: Option<serde_json::Value> =
        index.and_then(|text| serde_json::from_slice(&text).ok());
    let map = index.as_ref().and_then(|index| index.get("weight_map")?.as_object());
    map.is_some_and(|map| {
        map.values().all(|file| file.as_str().is_some_and(|file| folder.join(file).is_file()))
    })
}

/// An entry of the hub's file list.
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    size: u64,
    lfs: Option<LargeFile>,
}

/// What the hub says of a file in its large-file store: `oid` is its SHA-256.
#[derive(Debug, Deserialize)]
struct LargeFile {
    oid: String,
}

#[derive(Deserialize)]
struct Revision {
    sha: String,
}

/// Downloads the model of `repository` to `folder`: `file`, or the safetensors files with their companions, or the
/// only GGUF. Each file of the large-file store is compared with the hub's SHA-256. Gives the commit and the names.
pub(super) fn download(
    fetcher: &dyn Fetch,
    locations: &Locations,
    repository: Repository<'_>,
    file: Option<&str>,
    folder: &Path,
) -> Result<(String, Vec<String>), SourceError> {
    let Repository { owner, name } = repository;
    let endpoint = &locations.endpoint;
    let what = format!("hf:{owner}/{name}");
    let answer = folder.join("answer");
    let url = format!("{endpoint}/api/models/{owner}/{name}/revision/main");
    let revision: Revision = ask(fetcher, &url, &answer, &what)?;
    let commit = revision.sha;
    if !super::is_plain(&commit) {
        let reason = format!("the commit {commit:?}");
        return Err(SourceError::HubAnswer { what, reason });
    }
    let url = format!("{endpoint}/api/models/{owner}/{name}/tree/{commit}");
    let entries: Vec<Entry> = ask(fetcher, &url, &answer, &what)?;
    let wanted = choose(&entries, file, &what)?;
    for entry in &wanted {
        let target = folder.join(&entry.path);
        let url = format!("{endpoint}/{owner}/{name}/resolve/{commit}/{}", entry.path);
        download_file(fetcher, &url, &target, entry)?;
    }
    Ok((commit, wanted.iter().map(|entry| entry.path.clone()).collect()))
}

/// Downloads one file at a known commit, and compares it with its pinned hash.
pub(super) fn download_pinned(
    fetcher: &dyn Fetch,
    url: &str,
    target: &Path,
    bytes: u64,
    sha256: &str,
) -> Result<(), SourceError> {
    get(fetcher, url, target, bytes)?;
    check_hash(target, sha256)
}

fn get(fetcher: &dyn Fetch, url: &str, target: &Path, limit: u64) -> Result<(), SourceError> {
    fetcher
        .get(url, target, limit)
        .map_err(|message| SourceError::Fetch { what: url.to_string(), message })
}

fn ask<T: serde::de::DeserializeOwned>(
    fetcher: &dyn Fetch,
    url: &str,
    answer: &Path,
    what: &str,
) -> Result<T, SourceError> {
    get(fetcher, url, answer, MAXIMUM_ANSWER)?;
    let text = fs_err::read(answer)?;
    fs_err::remove_file(answer)?;
    serde_json::from_slice(&text).map_err(|error| SourceError::HubAnswer {
        what: what.to_string(),
        reason: error.to_string(),
    })
}

fn download_file(
    fetcher: &dyn Fetch,
    url: &str,
    target: &Path,
    entry: &Entry,
) -> Result<(), SourceError> {
    if entry.lfs.is_none() && entry.size > MAXIMUM_SMALL || entry.size > MAXIMUM_FILE {
        let (what, reason) = (url.to_string(), format!("a file of {} bytes", entry.size));
        return Err(SourceError::HubAnswer { what, reason });
    }
    get(fetcher, url, target, entry.size)?;
    if let Some(large) = &entry.lfs {
        return check_hash(target, &large.oid);
    }
    let length = fs_err::metadata(target)?.len();
    if length == entry.size {
        return Ok(());
    }
    let message = format!("{length} bytes came, {} were announced", entry.size);
    Err(SourceError::Fetch { what: url.to_string(), message })
}

fn choose<'a>(
    entries: &'a [Entry],
    file: Option<&str>,
    what: &str,
) -> Result<Vec<&'a Entry>, SourceError> {
    // files at the top, whose names are safe to write
    let files: Vec<&Entry> = entries
        .iter()
        .filter(|entry| entry.kind == "file" && super::is_plain(&entry.path))
        .collect();
    let nothing =
        |found: String| SourceError::NoModelInside { source_name: what.to_string(), found };
    if let Some(file) = file {
        let found: Vec<&Entry> = files.into_iter().filter(|entry| entry.path == file).collect();
        return if found.is_empty() { Err(nothing(format!("no file {file}"))) } else { Ok(found) };
    }
    let has = |name: &str| files.iter().any(|entry| entry.path == name);
    let is_shard = |entry: &&&Entry| {
        // consolidated.safetensors and the like are the same weights again
        entry.path.starts_with("model") && has_ending(&entry.path, "safetensors")
    };
    if has("config.json") && files.iter().any(|entry| is_shard(&entry)) {
        let mut wanted: Vec<&Entry> = files.iter().filter(is_shard).copied().collect();
        wanted.extend(files.iter().filter(|entry| COMPANIONS.contains(&entry.path.as_str())));
        return Ok(wanted);
    }
    let ggufs: Vec<&Entry> =
        files.iter().filter(|entry| has_ending(&entry.path, "gguf")).copied().collect();
    match ggufs.len() {
        1 => Ok(ggufs),
        0 => {
            let pickle = files.iter().find(|entry| has_ending(&entry.path, "bin"));
            let pickle = pickle.map_or(String::new(), |entry| {
                format!(" ({} is a Python pickle, which is never read)", entry.path)
            });
            Err(nothing(format!("neither safetensors with config.json nor GGUF{pickle}")))
        }
        _ => {
            let names: Vec<&str> = ggufs.iter().map(|entry| entry.path.as_str()).collect();
            Err(nothing(format!("several GGUF files: {}", names.join(", "))))
        }
    }
}
