//! Writing GGUF files, version 3. Main type: [`GgufFile`].

use std::io::Write;
use std::path::Path;

use super::data_type::DataType;
use super::error::{FormatError, Problem};
use super::gguf::Gguf;
use super::publish::publish_checked;
use super::write::Fill;

/// The alignment of tensors, GGUF's default.
const ALIGNMENT: usize = 32;

/// A metadata value to be written, in the width that llama.cpp expects of its key.
#[derive(Clone, Debug, PartialEq)]
pub enum GgufValue {
    /// A 32-bit unsigned integer.
    U32(u32),
    /// A 32-bit float.
    F32(f32),
    /// A boolean.
    Bool(bool),
    /// A text.
    Text(String),
    /// An array of texts.
    Texts(Vec<String>),
    /// An array of 32-bit integers.
    I32s(Vec<i32>),
    /// An array of 32-bit floats.
    F32s(Vec<f32>),
    /// A value of another file, as it stands there: the number of its type, and its bytes.
    Copied(u32, Vec<u8>),
}

impl GgufValue {
    /// The number of the type, and the value's bytes.
    fn encode(&self) -> (u32, Vec<u8>) {
        let array = |element: u32, count: usize, bytes: Vec<u8>| {
            (9, [&element.to_le_bytes()[..], &(count as u64).to_le_bytes(), &bytes].concat())
        };
        match self {
            Self::U32(value) => (4, value.to_le_bytes().to_vec()),
            Self::F32(value) => (6, value.to_le_bytes().to_vec()),
            Self::Bool(value) => (7, vec![u8::from(*value)]),
            Self::Text(value) => (8, text(value)),
            Self::Texts(values) => {
                array(8, values.len(), values.iter().flat_map(|value| text(value)).collect())
            }
            Self::I32s(values) => array(
                5,
                values.len(),
                values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            ),
            Self::F32s(values) => array(
                6,
                values.len(),
                values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            ),
            Self::Copied(number, bytes) => (*number, bytes.clone()),
        }
    }
}

/// A length and the text's bytes.
fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat()
}

/// A tensor to be written, under GGUF's name and in its order of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufEntry {
    /// GGUF's name.
    pub name: String,
    /// The shape, outermost dimension first.
    pub shape: Vec<usize>,
    /// How it is stored; a type that ggml has, and rows of whole blocks.
    pub data_type: DataType,
}

impl GgufEntry {
    /// Bytes of all rows.
    pub fn bytes(&self) -> usize {
        let columns = self.shape.last().copied().unwrap_or(1);
        let rows: usize = self.shape.iter().rev().skip(1).product();
        rows * self.data_type.row_bytes(columns)
    }
}

/// What a GGUF file will hold: metadata and tensors, in this order.
#[derive(Clone, Debug, Default)]
pub struct GgufFile {
    metadata: Vec<(String, GgufValue)>,
    tensors: Vec<GgufEntry>,
}

impl GgufFile {
    /// Sets a metadata value; one that is there is replaced in its place.
    pub fn set(&mut self, key: &str, value: GgufValue) {
        match self.metadata.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None => self.metadata.push((key.to_string(), value)),
        }
    }

    /// Takes a metadata value out.
    pub fn remove(&mut self, key: &str) {
        self.metadata.retain(|(known, _)| known != key);
    }

    /// Adds a tensor after the others.
    pub fn add(&mut self, tensor: GgufEntry) {
        self.tensors.push(tensor);
    }

    /// The tensors so far.
    pub fn tensors(&self) -> &[GgufEntry] {
        &self.tensors
    }

    /// Writes the file, the tensors' bytes by `fill`: to a temporary file beside `path`, which is flushed to disk, read back
    /// and renamed.
    ///
    /// # Errors
    /// When `fill` fails or writes another number of bytes, the result breaks a rule of the format, or the file cannot be
    /// written.
    pub fn write(&self, path: &Path, fill: &mut Fill<'_>) -> Result<(), FormatError> {
        let error = |problem| FormatError::new(path, problem);
        let header = self.header().map_err(error)?;
        let write = |file: &mut dyn Write| {
            file.write_all(&header)?;
            for tensor in &self.tensors {
                fill(&tensor.name, file)?;
                let bytes = tensor.bytes();
                file.write_all(&vec![0; bytes.next_multiple_of(ALIGNMENT) - bytes])?;
            }
            Ok(())
        };
        let length = header.len() as u64 + self.data_bytes();
        let check = |temporary: &Path| {
            let got = fs_err::metadata(temporary)?.len();
            if got != length {
                let tensor = "of the whole file".to_string();
                return Err(Problem::ByteRange { tensor, expected: length, got });
            }
            Gguf::open(temporary).map(|_| ()).map_err(|error| error.problem)
        };
        publish_checked(path, write, check).map_err(error)
    }

    fn data_bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.bytes().next_multiple_of(ALIGNMENT) as u64).sum()
    }

    fn header(&self) -> Result<Vec<u8>, Problem> {
        let mut header = b"GGUF".to_vec();
        header.extend(3u32.to_le_bytes());
        header.extend((self.tensors.len() as u64).to_le_bytes());
        header.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            let (number, bytes) = value.encode();
            header.extend(text(key));
            header.extend(number.to_le_bytes());
            header.extend(bytes);
        }
        let mut offset = 0u64;
        for tensor in &self.tensors {
            let number = tensor.data_type.ggml_number().ok_or_else(|| Problem::TensorType {
                tensor: tensor.name.clone(),
                type_name: tensor.data_type.name().to_string(),
                supported: super::data_type::SUPPORTED_GGML,
            })?;
            header.extend(text(&tensor.name));
            header.extend((tensor.shape.len() as u32).to_le_bytes());
            header.extend(tensor.shape.iter().rev().flat_map(|size| (*size as u64).to_le_bytes()));
            header.extend(number.to_le_bytes());
            header.extend(offset.to_le_bytes());
            offset += tensor.bytes().next_multiple_of(ALIGNMENT) as u64;
        }
        header.resize(header.len().next_multiple_of(ALIGNMENT), 0);
        Ok(header)
    }
}
