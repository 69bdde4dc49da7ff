//! The header of a GGUF file, validated in full. Main function: [`read`].
//!
//! Layout: magic, version, count of tensors, count of metadata pairs, the pairs, the tensor descriptions, padding, the
//! data section. All arithmetic is checked and nothing is allocated by a count that the file's length does not bear
//! out; `tests/formats_hostile.rs` has a file for each rule.

use std::collections::BTreeMap;
use std::ops::Range;

use super::cursor::Cursor;
use super::data_type::{DataType, SUPPORTED_GGML};
use super::error::Problem;
use super::gguf_value::Value;

/// Tensors, and metadata pairs, that a file may have.
const MAXIMUM_ENTRIES: u64 = 1 << 16;
/// Bytes that the header (all before the data section) may have. The largest in use are near 15 MiB.
pub(crate) const MAXIMUM_HEADER: usize = 32 << 20;
/// Elements along one dimension, and in all.
const MAXIMUM_DIMENSION: u64 = 1 << 31;
const MAXIMUM_ELEMENTS: u64 = 1 << 40;
/// Bytes of a tensor's name.
const MAXIMUM_NAME: usize = 256;

/// A tensor as the file describes it.
#[derive(Clone, Debug)]
pub(crate) struct GgufTensor {
    /// GGUF's name, such as `blk.0.attn_q.weight`.
    pub(crate) name: String,
    /// Outermost dimension first (the file has it the other way round).
    pub(crate) shape: Vec<usize>,
    pub(crate) data_type: DataType,
    /// Bytes, from the start of the file.
    pub(crate) start: usize,
    pub(crate) length: usize,
}

/// Metadata by key.
pub(crate) type Metadata = BTreeMap<String, Value>;

/// Everything before the data section of a file of `file_length` bytes.
pub(crate) fn read(
    header: &[u8],
    file_length: usize,
) -> Result<(Metadata, Vec<GgufTensor>), Problem> {
    let mut cursor = Cursor::new(header);
    let magic = cursor.magic()?;
    if &magic != b"GGUF" {
        return Err(Problem::BadMagic { found: magic });
    }
    let version = cursor.u32("the version")?;
    if !(2..=3).contains(&version) {
        return Err(Problem::Version { version });
    }
    // the shortest pair: an 8-byte length, one letter, a type, one byte; the shortest tensor: a name of
    // one letter, one dimension, type and offset
    let tensor_count = cursor.u64("the tensor count")?;
    let pairs = cursor.count("metadata pairs", 14, MAXIMUM_ENTRIES)?;
    let limit = MAXIMUM_ENTRIES.min((cursor.remaining() / 33) as u64);
    if tensor_count > limit {
        return Err(Problem::Count { what: "tensors", count: tensor_count, limit });
    }
    let metadata = read_metadata(&mut cursor, pairs)?;
    let alignment = alignment(&metadata)?;
    let described: Vec<Description> = (0..tensor_count)
        .map(|_| Description::read(&mut cursor, alignment))
        .collect::<Result<_, _>>()?;
    let tensors = place(described, cursor.position(), alignment, file_length)?;
    Ok((metadata, tensors))
}

fn read_metadata(cursor: &mut Cursor<'_>, pairs: usize) -> Result<Metadata, Problem> {
    let mut metadata = BTreeMap::new();
    for _ in 0..pairs {
        let key = cursor.text("a metadata key")?;
        if key.is_empty() || key.len() > usize::from(u16::MAX) {
            return Err(Problem::BadName { what: "metadata key", name: shorten(key) });
        }
        let number = cursor.u32("a metadata type")?;
        let value = Value::read(cursor, key, number)?;
        if metadata.insert(key.to_string(), value).is_some() {
            return Err(Problem::Duplicate { what: "metadata key", name: key.to_string() });
        }
    }
    Ok(metadata)
}

/// Every metadata pair as it stands in a header that [`read`] has validated: key, number of the type, place of the value.
pub(crate) fn raw_pairs(header: &[u8]) -> Result<Vec<(String, u32, Range<usize>)>, Problem> {
    let mut cursor = Cursor::new(header);
    cursor.magic()?;
    cursor.u32("the version")?;
    cursor.u64("the tensor count")?;
    let pairs = cursor.u64("the pair count")?;
    (0..pairs)
        .map(|_| {
            let key = cursor.text("a metadata key")?.to_string();
            let number = cursor.u32("a metadata type")?;
            let start = cursor.position();
            Value::read(&mut cursor, &key, number)?;
            Ok((key, number, start..cursor.position()))
        })
        .collect()
}

/// The first part of a name that is too long to print.
fn shorten(name: &str) -> String {
    name.chars().take(80).collect()
}

fn alignment(metadata: &Metadata) -> Result<u64, Problem> {
    let found = match metadata.get("general.alignment") {
        None => 32,
        Some(Value::Unsigned(value)) => *value,
        Some(other) => {
            return Err(Problem::Field {
                field: "general.alignment".to_string(),
                found: other.describe(),
                expected: "an unsigned integer",
            });
        }
    };
    if found.is_power_of_two() && (8..=65536).contains(&found) {
        Ok(found)
    } else {
        Err(Problem::Alignment { found })
    }
}

/// A tensor before its place in the file is known.
struct Description {
    name: String,
    shape: Vec<usize>,
    data_type: DataType,
    /// From the start of the data section.
    offset: u64,
    length: u64,
}

impl Description {
    fn read(cursor: &mut Cursor<'_>, alignment: u64) -> Result<Self, Problem> {
        let name = cursor.text("a tensor's name")?;
        if name.is_empty() || name.len() > MAXIMUM_NAME {
            return Err(Problem::BadName { what: "tensor name", name: shorten(name) });
        }
        let bad_shape = |reason: String| Problem::TensorShape { tensor: name.to_string(), reason };
        let dimensions = cursor.u32("a tensor's dimension count")?;
        if !(1..=4).contains(&dimensions) {
            return Err(bad_shape(format!("{dimensions} dimensions; 1 to 4 are possible")));
        }
        let mut shape = Vec::with_capacity(4);
        let mut elements = 1u64;
        for _ in 0..dimensions {
            let size = cursor.u64("a tensor's dimension")?;
            if size == 0 || size > MAXIMUM_DIMENSION {
                return Err(bad_shape(format!("a dimension of {size}")));
            }
            elements = elements
                .checked_mul(size)
                .filter(|elements| *elements <= MAXIMUM_ELEMENTS)
                .ok_or_else(|| bad_shape("more than 2^40 elements".to_string()))?;
            shape.insert(0, size as usize);
        }
        let data_type =
            DataType::from_ggml(cursor.u32("a tensor's type")?).map_err(|type_name| {
                Problem::TensorType {
                    tensor: name.to_string(),
                    type_name,
                    supported: SUPPORTED_GGML,
                }
            })?;
        let (columns, block) = (shape[shape.len() - 1], data_type.block_elements());
        if columns % block != 0 {
            return Err(bad_shape(format!(
                "rows of {columns} elements are not whole blocks of {block}"
            )));
        }
        let offset = cursor.u64("a tensor's offset")?;
        if !offset.is_multiple_of(alignment) {
            return Err(Problem::Misaligned { tensor: name.to_string(), offset, alignment });
        }
        // at most 2^40 elements of at most 4 bytes
        let length = elements / block as u64 * data_type.block_bytes() as u64;
        Ok(Self { name: name.to_string(), shape, data_type, offset, length })
    }
}

/// Checks that the tensors lie in the data section, apart from one another, and have different names.
fn place(
    mut described: Vec<Description>,
    header_end: usize,
    alignment: u64,
    file_length: usize,
) -> Result<Vec<GgufTensor>, Problem> {
    let data_start = (header_end as u64).next_multiple_of(alignment);
    let available = (file_length as u64).saturating_sub(data_start);
    described.sort_by_key(|tensor| tensor.offset);
    let mut previous: Option<(&str, u64)> = None;
    for tensor in &described {
        if let Some((name, _)) = previous.filter(|(_, end)| *end > tensor.offset) {
            let (first, second) = (name.to_string(), tensor.name.clone());
            return Err(Problem::Overlap { first, second });
        }
        let end = tensor.offset.saturating_add(tensor.length);
        if end > available {
            return Err(Problem::OutsideFile { tensor: tensor.name.clone(), end, available });
        }
        previous = Some((&tensor.name, end));
    }
    described.sort_by(|left, right| left.name.cmp(&right.name));
    if let Some(pair) = described.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(Problem::Duplicate { what: "tensor", name: pair[0].name.clone() });
    }
    Ok(described
        .into_iter()
        .map(|tensor| GgufTensor {
            name: tensor.name,
            shape: tensor.shape,
            data_type: tensor.data_type,
            // in the file, whose length is a usize
            start: (data_start + tensor.offset) as usize,
            length: tensor.length as usize,
        })
        .collect())
}
