//! What can be wrong with a model file: [`FormatError`], a [`Problem`] with the path it was found in.

use std::path::{Path, PathBuf};

use bioinstruct_core::diagnose::{Diagnose, FailureKind};

/// A model file that was refused, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct FormatError {
    /// The file or folder that was read.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

impl FormatError {
    pub(crate) fn new(path: &Path, problem: Problem) -> Self {
        Self { path: path.to_path_buf(), problem }
    }
}

/// One broken rule of a model file. Offsets and lengths are in bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A folder, pipe or device where a file was expected.
    #[error("is not a regular file")]
    NotAFile,
    /// A folder without anything that can be loaded.
    #[error(
        "holds no model: expected config.json with model.safetensors (or \
         model.safetensors.index.json), or exactly one .gguf file{found}"
    )]
    NoModel {
        /// What was found instead, ready to be appended (may be empty).
        found: String,
    },
    /// A pickle file: never opened, because reading one can run code.
    #[error(
        "{file} is a Python pickle, which can run code when it is read; it is never opened. Convert \
         it where it is trusted: in Python, transformers' AutoModelForCausalLM.from_pretrained(DIR)\
         .save_pretrained(OUT) writes safetensors; or use llama.cpp's convert_hf_to_gguf.py"
    )]
    Pickle {
        /// The pickle's file name.
        file: String,
    },
    /// The file ends before what its header announces.
    #[error("is truncated: {what} at offset {offset} needs {needed} bytes, {available} are left")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Where in the file.
        offset: u64,
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that are left.
        available: u64,
    },
    /// The file does not start with the bytes of its format.
    #[error("is not a GGUF file: it starts with {found:02x?}, not with \"GGUF\"")]
    BadMagic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// A version of the format that is not read.
    #[error("is GGUF version {version}; versions 2 and 3 (little-endian) are read")]
    Version {
        /// The version found.
        version: u32,
    },
    /// A count or length that cannot be true, or is past this reader's limit.
    #[error("claims {count} {what}, but at most {limit} are possible here")]
    Count {
        /// What is counted.
        what: &'static str,
        /// The count found.
        count: u64,
        /// The largest that could be true.
        limit: u64,
    },
    /// Text that is not UTF-8.
    #[error("{what} at offset {offset} is not UTF-8")]
    NotUtf8 {
        /// Which text.
        what: &'static str,
        /// Where in the file.
        offset: u64,
    },
    /// An empty or otherwise unusable name.
    #[error("has a bad {what} {name:?}")]
    BadName {
        /// What is named.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A name that occurs twice.
    #[error("has two {what}s named {name:?}")]
    Duplicate {
        /// What is named.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A metadata value of an unknown or refused type.
    #[error("metadata {key:?} has the unknown or refused value type {number}")]
    ValueType {
        /// The metadata key.
        key: String,
        /// The type's number in the file.
        number: u32,
    },
    /// A metadata value that is missing.
    #[error("{field} is missing")]
    MissingField {
        /// Key or JSON field.
        field: String,
    },
    /// A metadata value of a known type that breaks a rule.
    #[error("{field} is {found}, expected {expected}")]
    Field {
        /// Key or JSON field.
        field: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// `general.alignment` out of range.
    #[error("general.alignment is {found}, expected a power of two from 8 to 65536")]
    Alignment {
        /// The alignment found.
        found: u64,
    },
    /// A tensor's shape is impossible.
    #[error("tensor {tensor:?} has an impossible shape: {reason}")]
    TensorShape {
        /// The tensor.
        tensor: String,
        /// Which rule is broken.
        reason: String,
    },
    /// A tensor in an element type that is not read (yet).
    #[error(
        "tensor {tensor:?} is stored as {type_name}, which is not supported; supported: {supported}"
    )]
    TensorType {
        /// The tensor.
        tensor: String,
        /// Name (or number) of the type.
        type_name: String,
        /// The types that are read.
        supported: &'static str,
    },
    /// A tensor that does not start at a multiple of the alignment.
    #[error("tensor {tensor:?} starts at {offset}, not a multiple of {alignment}")]
    Misaligned {
        /// The tensor.
        tensor: String,
        /// Its offset in the data section.
        offset: u64,
        /// The alignment of the file.
        alignment: u64,
    },
    /// A tensor that reaches past the end of the file.
    #[error(
        "tensor {tensor:?} ends at byte {end} of a data section of {available} bytes; is the file truncated?"
    )]
    OutsideFile {
        /// The tensor.
        tensor: String,
        /// End of the tensor in the data section.
        end: u64,
        /// Length of the data section.
        available: u64,
    },
    /// Two tensors that share bytes.
    #[error("tensors {first:?} and {second:?} overlap")]
    Overlap {
        /// The tensor that starts first.
        first: String,
        /// The tensor that starts inside it.
        second: String,
    },
    /// Bytes of a safetensors file that belong to no tensor.
    #[error("has {count} bytes that belong to no tensor, at offset {offset} of the data section")]
    Unclaimed {
        /// Where, in the data section.
        offset: u64,
        /// How many.
        count: u64,
    },
    /// A tensor whose shape and type do not give its byte range.
    #[error("tensor {tensor:?} spans {got} bytes, but its shape and type need {expected}")]
    ByteRange {
        /// The tensor.
        tensor: String,
        /// Bytes by shape and type.
        expected: u64,
        /// Bytes by its offsets.
        got: u64,
    },
    /// JSON that cannot be read.
    #[error("{what} is not valid: {message}")]
    Json {
        /// Which JSON.
        what: &'static str,
        /// The parser's message.
        message: String,
    },
    /// A shard name of `model.safetensors.index.json` that is not a plain file name.
    #[error(
        "the index names the shard {shard:?}; a plain file name ending in .safetensors is expected"
    )]
    ShardName {
        /// The name found.
        shard: String,
    },
    /// The index and a shard disagree on where a tensor is.
    #[error(
        "tensor {tensor:?}: the index and shard {shard} disagree on whether it is in that shard"
    )]
    ShardContent {
        /// The tensor.
        tensor: String,
        /// The shard's file name.
        shard: String,
    },
    /// A model architecture that is not implemented.
    #[error("architecture {name:?} is not supported; supported: {supported}")]
    UnknownFamily {
        /// Name in the file.
        name: String,
        /// The families that are.
        supported: &'static str,
    },
    /// A position-encoding variant that is not implemented.
    #[error("rope scaling {kind:?} is not supported; supported: default, linear, llama3")]
    UnknownRope {
        /// Name in the file.
        kind: String,
    },
    /// Something else that is not implemented, said in words.
    #[error("{what} is not supported")]
    Unsupported {
        /// What.
        what: String,
    },
    /// A tensor that the architecture needs is not in the file.
    #[error("tensor {name:?} is missing")]
    MissingTensor {
        /// Hugging Face name.
        name: String,
    },
    /// A tensor that the architecture does not know: the graph would be another one.
    #[error(
        "tensor {name:?} is not part of a {family} model; loading without it would give another model"
    )]
    UnexpectedTensor {
        /// Name in the file.
        name: String,
        /// The family of the config.
        family: &'static str,
    },
    /// A tensor whose shape is not what the config says.
    #[error("tensor {name:?} has shape {got:?}, the config asks for {expected:?}")]
    WrongShape {
        /// Hugging Face name.
        name: String,
        /// Shape by the config.
        expected: Vec<usize>,
        /// Shape in the file.
        got: Vec<usize>,
    },
}

impl Diagnose for FormatError {
    fn kind(&self) -> FailureKind {
        match &self.problem {
            Problem::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
                FailureKind::Unavailable
            }
            Problem::Io(_) => FailureKind::Io,
            _ => FailureKind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match &self.problem {
            Problem::Truncated { .. } | Problem::OutsideFile { .. } | Problem::Unclaimed { .. } => {
                "the file is probably incomplete: fetch it again and compare its size"
            }
            Problem::TensorType { .. } => {
                "take another file of the model, such as its Q8_0 or F16 GGUF, or its safetensors"
            }
            Problem::UnknownFamily { .. }
            | Problem::UnknownRope { .. }
            | Problem::Unsupported { .. } => {
                "take another model; `bioinstruct models` lists what is known and cached"
            }
            Problem::NoModel { .. } => {
                "give a GGUF file, a Hugging Face folder, or a source such as `smollm2` or `hf:owner/name`"
            }
            Problem::Pickle { .. } => "convert it to safetensors, or take the model's GGUF",
            Problem::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
                "check the path; `smollm2` is the built-in demo model"
            }
            Problem::Io(_) => return None,
            _ => {
                "the file is damaged or breaks the format's rules: fetch it again from where it was published"
            }
        };
        Some(hint.to_string())
    }
}
