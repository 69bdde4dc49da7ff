//! Writing safetensors files, for adapters and merged models. Main functions: [`write_safetensors`] and, for tensors that are
//! made piece by piece, [`write_safetensors_of`].

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::error::{FormatError, Problem};
use super::publish::publish_checked;

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

/// What a safetensors header says of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The name in the file.
    pub name: String,
    /// The element type in the format's spelling, such as `BF16`.
    pub type_name: &'static str,
    /// The shape, outermost dimension first.
    pub shape: Vec<usize>,
    /// Bytes of all elements.
    pub bytes: usize,
}

/// Writes one tensor's elements, by name.
pub type Fill<'a> = dyn FnMut(&str, &mut dyn Write) -> std::io::Result<()> + 'a;

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
    let announced: Vec<Announced> = tensors.iter().map(announce).collect();
    let mut values: BTreeMap<&str, &[f32]> = BTreeMap::new();
    for tensor in tensors {
        let (expected, got) = (tensor.shape.iter().product::<usize>(), tensor.values.len());
        if expected != got {
            let (expected, got) = (expected as u64 * 4, got as u64 * 4);
            let problem = Problem::ByteRange { tensor: tensor.name.clone(), expected, got };
            return Err(FormatError::new(path, problem));
        }
        values.insert(&tensor.name, tensor.values);
    }
    write_safetensors_of(path, &announced, metadata, &mut |name, out| {
        let values = values.get(name).copied().unwrap_or_default();
        values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
    })
}

fn announce(tensor: &NamedTensor<'_>) -> Announced {
    Announced {
        name: tensor.name.clone(),
        type_name: "F32",
        shape: tensor.shape.clone(),
        bytes: tensor.values.len() * 4,
    }
}

/// Writes the bytes of such a file to `out`, for those who publish it themselves.
pub(crate) fn write_tensors(
    out: &mut dyn Write,
    tensors: &[NamedTensor<'_>],
    metadata: &BTreeMap<String, String>,
) -> std::io::Result<()> {
    let mut ordered: Vec<&NamedTensor<'_>> = tensors.iter().collect();
    ordered.sort_by(|left, right| left.name.cmp(&right.name));
    let announced: Vec<Announced> = ordered.iter().copied().map(announce).collect();
    let header = header(&announced.iter().collect::<Vec<_>>(), metadata).map_err(|problem| {
        std::io::Error::other(FormatError::new(Path::new("tensors"), problem))
    })?;
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    let mut values = ordered.iter().flat_map(|tensor| tensor.values);
    values.try_for_each(|value| out.write_all(&value.to_le_bytes()))
}

/// Writes a file whose tensors' elements `fill` writes, one tensor after the other in alphabetical order; else as
/// [`write_safetensors`].
///
/// # Errors
/// When two tensors have one name, `fill` fails or writes another number of bytes, or the file cannot be written.
pub fn write_safetensors_of(
    path: &Path,
    tensors: &[Announced],
    metadata: &BTreeMap<String, String>,
    fill: &mut Fill<'_>,
) -> Result<(), FormatError> {
    let error = |problem| FormatError::new(path, problem);
    let mut ordered: Vec<&Announced> = tensors.iter().collect();
    ordered.sort_by(|left, right| left.name.cmp(&right.name));
    let header = header(&ordered, metadata).map_err(error)?;
    let write = |file: &mut dyn Write| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        ordered.iter().try_for_each(|tensor| fill(&tensor.name, file))
    };
    publish_checked(path, write, check).map_err(error)
}

fn header(tensors: &[&Announced], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>, Problem> {
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".to_string(), json!(metadata));
    }
    let mut start = 0;
    for tensor in tensors {
        let end = start + tensor.bytes;
        let (type_name, shape) = (tensor.type_name, &tensor.shape);
        let entry = json!({ "dtype": type_name, "shape": shape, "data_offsets": [start, end] });
        if tensor.name == "__metadata__" || header.insert(tensor.name.clone(), entry).is_some() {
            return Err(Problem::Duplicate { what: "tensor", name: tensor.name.clone() });
        }
        start = end;
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    // the data section starts at a multiple of eight bytes
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok(text)
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
