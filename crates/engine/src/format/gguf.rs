//! GGUF files, versions 2 and 3. Main type: [`Gguf`].
//!
//! The header is validated in `gguf_header` before anything here sees it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{FormatError, Problem};
use super::file_bytes::{FileBytes, FilePart};
use super::gguf_header::{self, GgufTensor, MAXIMUM_HEADER, Metadata};
use super::gguf_value::Value;
use super::gguf_write::GgufValue;

/// A GGUF file with a validated header.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    bytes: Arc<FileBytes>,
    metadata: Metadata,
    tensors: Vec<GgufTensor>,
}

impl Gguf {
    /// Maps and validates the file at `path`.
    ///
    /// # Errors
    /// [`FormatError`] with the first broken rule.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        FileBytes::open(path)
            .and_then(|bytes| Self::parse(path, bytes))
            .map_err(|problem| FormatError::new(path, problem))
    }

    /// Validates bytes in memory, as [`Self::open`] does a file.
    ///
    /// # Errors
    /// [`FormatError`] (with an empty path) with the first broken rule.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, FormatError> {
        let path = Path::new("");
        Self::parse(path, FileBytes::Owned(bytes))
            .map_err(|problem| FormatError::new(path, problem))
    }

    fn parse(path: &Path, bytes: FileBytes) -> Result<Self, Problem> {
        let header = &bytes[..bytes.len().min(MAXIMUM_HEADER)];
        let (metadata, tensors) =
            gguf_header::read(header, bytes.len()).map_err(|problem| match problem {
                Problem::Truncated { offset, needed, .. } if header.len() < bytes.len() => {
                    let (count, limit) = (offset.saturating_add(needed), header.len() as u64);
                    Problem::Count { what: "bytes of header", count, limit }
                }
                other => other,
            })?;
        Ok(Self { path: path.to_path_buf(), bytes: Arc::new(bytes), metadata, tensors })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn tensors(&self) -> &[GgufTensor] {
        &self.tensors
    }

    pub(crate) fn tensor_bytes(&self, tensor: &GgufTensor) -> FilePart {
        FilePart::new(&self.bytes, tensor.start..tensor.start + tensor.length)
    }

    pub(crate) fn error(&self, problem: Problem) -> FormatError {
        FormatError::new(&self.path, problem)
    }

    /// The metadata keys, in alphabetical order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.metadata.keys().map(String::as_str)
    }

    /// All metadata in the file's order, each value as it stands there, for a file made from this one.
    ///
    /// # Errors
    /// None in practice: the header was read when the file was opened.
    pub fn raw_metadata(&self) -> Result<Vec<(String, GgufValue)>, FormatError> {
        let header = &self.bytes[..self.bytes.len().min(MAXIMUM_HEADER)];
        let pairs = gguf_header::raw_pairs(header).map_err(|problem| self.error(problem))?;
        let copied = |(key, number, range): (String, u32, Range<usize>)| {
            (key, GgufValue::Copied(number, self.bytes[range].to_vec()))
        };
        Ok(pairs.into_iter().map(copied).collect())
    }

    fn get<T>(
        &self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, FormatError> {
        let Some(value) = self.metadata.get(key) else {
            return Ok(None);
        };
        match read(value) {
            Some(read) => Ok(Some(read)),
            None => Err(self.error(Problem::Field {
                field: key.to_string(),
                found: value.describe(),
                expected,
            })),
        }
    }

    /// A text value.
    ///
    /// # Errors
    /// When the key has a value of another type.
    pub fn text(&self, key: &str) -> Result<Option<&str>, FormatError> {
        let Some(value) = self.metadata.get(key) else {
            return Ok(None);
        };
        match value {
            Value::Text(text) => Ok(Some(text)),
            other => Err(self.error(Problem::Field {
                field: key.to_string(),
                found: other.describe(),
                expected: "text",
            })),
        }
    }

    /// A non-negative integer of any width.
    ///
    /// # Errors
    /// When the key has a value of another type, or a negative one.
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>, FormatError> {
        self.get(key, "a non-negative integer", |value| match value {
            Value::Unsigned(value) => Some(*value),
            Value::Signed(value) => u64::try_from(*value).ok(),
            _ => None,
        })
    }

    /// A floating-point number.
    ///
    /// # Errors
    /// When the key has a value of another type.
    pub fn float(&self, key: &str) -> Result<Option<f64>, FormatError> {
        self.get(key, "a floating-point number", |value| match value {
            Value::Float(value) => Some(*value),
            _ => None,
        })
    }

    /// A boolean.
    ///
    /// # Errors
    /// When the key has a value of another type.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, FormatError> {
        self.get(key, "a boolean", |value| match value {
            Value::Bool(value) => Some(*value),
            _ => None,
        })
    }

    /// An array of strings, borrowed from the file.
    ///
    /// # Errors
    /// When the key has a value of another type.
    pub fn strings(&self, key: &str) -> Result<Option<Vec<&str>>, FormatError> {
        self.get(key, "an array of strings", |value| match value {
            Value::Array(array) => array.strings(&self.bytes)?.ok(),
            _ => None,
        })
    }

    /// An array of integers, or one integer as an array of one.
    ///
    /// # Errors
    /// When the key has a value of another type.
    pub fn integers(&self, key: &str) -> Result<Option<Vec<i64>>, FormatError> {
        self.get(key, "an array of integers", |value| match value {
            Value::Array(array) => array.integers(&self.bytes),
            Value::Unsigned(value) => i64::try_from(*value).ok().map(|value| vec![value]),
            Value::Signed(value) => Some(vec![*value]),
            _ => None,
        })
    }

    /// An array of numbers.
    ///
    /// # Errors
    /// When the key has a value of another type.
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<f32>>, FormatError> {
        self.get(key, "an array of numbers", |value| match value {
            Value::Array(array) => array.numbers(&self.bytes),
            _ => None,
        })
    }
}
