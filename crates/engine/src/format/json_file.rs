//! JSON files of a model folder, read with a limit on their size.

use std::io::Read;
use std::path::Path;

use super::error::Problem;

/// The JSON value in `path`, a file of at most `limit` bytes. `what` names it in errors.
pub(crate) fn read_json(
    path: &Path,
    limit: u64,
    what: &'static str,
) -> Result<serde_json::Value, Problem> {
    let text = read_limited(path, limit)?;
    serde_json::from_slice(&text)
        .map_err(|error| Problem::Json { what, message: error.to_string() })
}

/// The bytes of `path`, a regular file of at most `limit` bytes.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, Problem> {
    let file = fs_err::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Problem::NotAFile);
    }
    let mut bytes = Vec::new();
    let read = file.take(limit + 1).read_to_end(&mut bytes)? as u64;
    if read > limit {
        return Err(Problem::Count { what: "bytes", count: read, limit });
    }
    Ok(bytes)
}
