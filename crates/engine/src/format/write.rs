//! Writing safetensors files, for adapters and merged models. Main function: [`write_safetensors`].

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::error::{FormatError, Problem};

/// A tensor to be written: name, shape, and its elements in row order.
#[derive(Clone, Debug)]
pub struct NamedTensor<'a> {
    /// The name in the file.
    pub name: String,
    /// The shape, outermost dimension first.
    pub shape: Vec<usize>,
    /// As many elements as the shape says.
    pub values: &'a [f32],
}

/// Writes `tensors` as F32, with `metadata` in the header, to `path`: to a temporary file beside it, which is
/// flushed to disk, re-read and renamed, so that `path` is either the old file or the whole new one.
///
/// The bytes depend only on the arguments: tensors and metadata are in alphabetical order. (The `safetensors` crate
/// writes metadata in hash order, so the header is ours and the crate checks the result.)
///
/// # Errors
/// When a shape does not fit its elements, two tensors have one name, or the file cannot be written.
pub fn write_safetensors(
    path: &Path,
    tensors: &[NamedTensor<'_>],
    metadata: &BTreeMap<String, String>,
) -> Result<(), FormatError> {
    let error = |problem| FormatError::new(path, problem);
    let mut ordered: Vec<&NamedTensor<'_>> = tensors.iter().collect();
    ordered.sort_by(|left, right| left.name.cmp(&right.name));
    let header = header(&ordered, metadata).map_err(error)?;
    let temporary = temporary_sibling(path);
    let written = write_file(&temporary, &header, &ordered)
        .and_then(|()| check(&temporary))
        .and_then(|()| publish(&temporary, path));
    if written.is_err() {
        // the error that matters is the one at hand
        let _ = fs_err::remove_file(&temporary);
    }
    written.map_err(error)
}

fn header(
    tensors: &[&NamedTensor<'_>],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, Problem> {
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".to_string(), json!(metadata));
    }
    let mut start = 0;
    for tensor in tensors {
        let (expected, got) = (tensor.shape.iter().product::<usize>() * 4, tensor.values.len() * 4);
        if expected != got {
            let (expected, got) = (expected as u64, got as u64);
            return Err(Problem::ByteRange { tensor: tensor.name.clone(), expected, got });
        }
        let entry =
            json!({ "dtype": "F32", "shape": tensor.shape, "data_offsets": [start, start + got] });
        if tensor.name == "__metadata__" || header.insert(tensor.name.clone(), entry).is_some() {
            return Err(Problem::Duplicate { what: "tensor", name: tensor.name.clone() });
        }
        start += got;
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    // the data section starts at a multiple of eight bytes
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok(text)
}

fn temporary_sibling(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

fn write_file(path: &Path, header: &[u8], tensors: &[&NamedTensor<'_>]) -> Result<(), Problem> {
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use fs_err::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = std::io::BufWriter::with_capacity(1 << 20, options.open(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header)?;
    for tensor in tensors {
        for value in tensor.values {
            file.write_all(&value.to_le_bytes())?;
        }
    }
    let file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(())
}

/// Reads the file back with the reference implementation of the format.
fn check(path: &Path) -> Result<(), Problem> {
    let bytes = super::file_bytes::FileBytes::open(path)?;
    match safetensors::SafeTensors::deserialize(&bytes) {
        Ok(_) => Ok(()),
        Err(error) => {
            let message = error.to_string();
            Err(Problem::Json { what: "the header just written", message })
        }
    }
}

fn publish(temporary: &Path, path: &Path) -> Result<(), Problem> {
    fs_err::rename(temporary, path)?;
    #[cfg(unix)] // elsewhere a folder cannot be opened as a file
    {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        fs_err::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}
