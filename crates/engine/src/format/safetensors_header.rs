//! The header of a safetensors file, validated. Main type: [`Entry`].
//!
//! Rules: the header is at most 32 MiB of JSON, an object without duplicate names; shapes multiply without overflow;
//! type and shape give exactly the byte range; ranges follow one another without hole or overlap and cover the data
//! section exactly.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use super::error::Problem;

/// One tensor: its stored type by name (not all are read), its shape, and where its bytes are in the file.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) type_name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) start: usize,
    pub(crate) length: usize,
}

/// The parsed header: tensors and free-form metadata, both by name.
pub(crate) struct Header {
    pub(crate) tensors: BTreeMap<String, Entry>,
    pub(crate) metadata: BTreeMap<String, String>,
}

const MAXIMUM_HEADER: u64 = 32 << 20;
const MAXIMUM_TENSORS: usize = 1 << 16;
const MAXIMUM_DIMENSION: u64 = 1 << 31;
const MAXIMUM_ELEMENTS: u64 = 1 << 40;

/// Bits of one element of each type that the format knows.
const TYPE_BITS: &[(&str, u64)] = &[
    ("F32", 32),
    ("F16", 16),
    ("BF16", 16),
    ("F64", 64),
    ("F8_E5M2", 8),
    ("F8_E4M3", 8),
    ("F8_E8M0", 8),
    ("F6_E2M3", 6),
    ("F6_E3M2", 6),
    ("F4", 4),
    ("C64", 64),
    ("I64", 64),
    ("I32", 32),
    ("I16", 16),
    ("I8", 8),
    ("U64", 64),
    ("U32", 32),
    ("U16", 16),
    ("U8", 8),
    ("BOOL", 8),
];

/// A tensor as the JSON describes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The JSON object, with duplicates caught.
struct RawHeader {
    tensors: Vec<(String, Description)>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = RawHeader;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
        use serde::de::Error;
        let mut header = RawHeader { tensors: Vec::new(), metadata: BTreeMap::new() };
        let mut has_metadata = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                if std::mem::replace(&mut has_metadata, true) {
                    return Err(A::Error::custom("__metadata__ occurs twice"));
                }
                header.metadata = map.next_value()?;
            } else if header.tensors.len() == MAXIMUM_TENSORS {
                return Err(A::Error::custom(format!("more than {MAXIMUM_TENSORS} tensors")));
            } else {
                header.tensors.push((name, map.next_value()?));
            }
        }
        Ok(header)
    }
}

/// Reads and validates the header of `file`, the whole file.
pub(crate) fn read(file: &[u8]) -> Result<Header, Problem> {
    let Some((prefix, rest)) = file.split_first_chunk::<8>() else {
        let (what, available) = ("the header length", file.len() as u64);
        return Err(Problem::Truncated { what, offset: 0, needed: 8, available });
    };
    let length = u64::from_le_bytes(*prefix);
    if length > MAXIMUM_HEADER {
        let what = "bytes of header";
        return Err(Problem::Count { what, count: length, limit: MAXIMUM_HEADER });
    }
    let Some((header, data)) = rest.split_at_checked(length as usize) else {
        let (what, available) = ("the header", rest.len() as u64);
        return Err(Problem::Truncated { what, offset: 8, needed: length, available });
    };
    let text = std::str::from_utf8(header)
        .map_err(|_| Problem::NotUtf8 { what: "the header", offset: 8 })?;
    let raw: RawHeader = serde_json::from_str(text).map_err(|error| Problem::Json {
        what: "the safetensors header",
        message: error.to_string(),
    })?;
    let data_start = file.len() - data.len();
    Ok(Header { tensors: place(&raw.tensors, data_start, data.len())?, metadata: raw.metadata })
}

fn place(
    described: &[(String, Description)],
    data_start: usize,
    data_length: usize,
) -> Result<BTreeMap<String, Entry>, Problem> {
    let mut order: Vec<&(String, Description)> = described.iter().collect();
    order.sort_by_key(|(_, description)| description.data_offsets);
    let available = data_length as u64;
    let mut covered = 0;
    let mut tensors: BTreeMap<String, Entry> = BTreeMap::new();
    let mut previous = "";
    for (name, description) in order {
        let (start, end) = description.data_offsets;
        let length = end.checked_sub(start).ok_or_else(|| Problem::ByteRange {
            tensor: name.clone(),
            expected: 0,
            got: 0,
        })?;
        let expected = byte_length(name, description)?;
        if length != expected {
            return Err(Problem::ByteRange { tensor: name.clone(), expected, got: length });
        }
        if start < covered {
            let (first, second) = (previous.to_string(), name.clone());
            return Err(Problem::Overlap { first, second });
        }
        if end > available {
            return Err(Problem::OutsideFile { tensor: name.clone(), end, available });
        }
        if start > covered {
            return Err(Problem::Unclaimed { offset: covered, count: start - covered });
        }
        (covered, previous) = (end, name);
        let entry = Entry {
            type_name: description.dtype.clone(),
            shape: description.shape.iter().map(|size| *size as usize).collect(),
            start: data_start + start as usize,
            length: length as usize,
        };
        if tensors.insert(name.clone(), entry).is_some() {
            return Err(Problem::Duplicate { what: "tensor", name: name.clone() });
        }
    }
    if covered < available {
        return Err(Problem::Unclaimed { offset: covered, count: available - covered });
    }
    Ok(tensors)
}

/// Bytes that type and shape need.
fn byte_length(name: &str, description: &Description) -> Result<u64, Problem> {
    let bad_shape = |reason: String| Problem::TensorShape { tensor: name.to_string(), reason };
    if description.shape.len() > 4 {
        return Err(bad_shape(format!("{} dimensions; at most 4", description.shape.len())));
    }
    let mut elements = 1u64;
    for size in &description.shape {
        elements = elements
            .checked_mul(*size)
            .filter(|elements| *size <= MAXIMUM_DIMENSION && *elements <= MAXIMUM_ELEMENTS)
            .ok_or_else(|| bad_shape(format!("a dimension of {size}, or over 2^40 elements")))?;
    }
    let bits =
        TYPE_BITS.iter().find(|(known, _)| *known == description.dtype).ok_or_else(|| {
            Problem::TensorType {
                tensor: name.to_string(),
                type_name: description.dtype.clone(),
                supported: super::data_type::SUPPORTED_SAFETENSORS,
            }
        })?;
    // at most 2^40 elements of at most 64 bits
    let bits = elements * bits.1;
    if bits.is_multiple_of(8) {
        Ok(bits / 8)
    } else {
        Err(bad_shape("its elements do not fill whole bytes".to_string()))
    }
}
