//! Model files: GGUF and safetensors, read through memory maps after their headers have been validated.
//! Main type: [`ModelFile`].
//!
//! Pickle files are never opened. Whatever the engine does not implement — an architecture, an element type, a
//! variant of rotary embedding — is refused by name when the file is opened, never found out later.
//!
//! A model file must not be changed while it is open: the maps see the change.

mod bitsandbytes;
pub mod blocks;
pub(crate) mod config;
mod cursor;
mod data_type;
mod error;
mod file_bytes;
mod gguf;
mod gguf_config;
mod gguf_header;
mod gguf_model;
mod gguf_value;
mod gguf_write;
mod hf_config;
pub(crate) mod json_file;
pub(crate) mod publish;
pub mod quantise;
mod safetensors;
mod safetensors_header;
mod tensor;
mod write;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use self::config::{Family, ModelConfig, RopeScaling};
pub use self::data_type::{DataType, f16_to_f32, f32_to_f16};
pub use self::error::{FormatError, Problem};
pub use self::gguf::Gguf;
pub(crate) use self::gguf_config::ROPE_DIVISORS;
use self::gguf_model::GgufModel;
pub(crate) use self::gguf_model::{gguf_name, row_order};
pub use self::gguf_write::{GgufEntry, GgufFile, GgufValue};
pub(crate) use self::hf_config::parse as parse_hf_config;
pub use self::safetensors::{Safetensors, SafetensorsSet};
pub(crate) use self::tensor::RowOrder;
pub use self::tensor::TensorView;
pub(crate) use self::write::write_tensors;
pub use self::write::{Announced, Fill, NamedTensor, write_safetensors, write_safetensors_of};

/// Endings of pickle files.
const PICKLES: [&str; 5] = ["bin", "pt", "pth", "ckpt", "pkl"];

/// An opened model: its config and its tensors, each present with the shape that the config asks for.
#[derive(Debug)]
pub struct ModelFile {
    path: PathBuf,
    contents: Contents,
}

#[derive(Debug)]
enum Contents {
    Gguf(Box<GgufModel>),
    Folder { config: Box<ModelConfig>, tensors: SafetensorsSet },
}

impl ModelFile {
    /// Opens a GGUF file, a Hugging Face folder (`config.json` and `model.safetensors` or its shards), or a folder
    /// that holds exactly one GGUF file.
    ///
    /// # Errors
    /// [`FormatError`]: the file is broken or truncated, names something that is not implemented, or lacks a tensor.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let error = |problem| FormatError::new(path, problem);
        let contents = if path.is_dir() {
            open_folder(path)?
        } else if has_extension(path, "safetensors") {
            let what =
                "one .safetensors file without its config.json; give its folder instead; this"
                    .to_string();
            return Err(error(Problem::Unsupported { what }));
        } else if PICKLES.iter().any(|ending| has_extension(path, ending)) {
            return Err(error(Problem::Pickle { file: file_name(path) }));
        } else {
            Contents::Gguf(Box::new(GgufModel::new(Gguf::open(path)?)?))
        };
        let model = Self { path: path.to_path_buf(), contents };
        model.check_tensors()?;
        Ok(model)
    }

    /// What was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The architecture's numbers.
    pub fn config(&self) -> &ModelConfig {
        match &self.contents {
            Contents::Gguf(model) => &model.config,
            Contents::Folder { config, .. } => config,
        }
    }

    /// The GGUF file, when it is one.
    pub fn gguf(&self) -> Option<&Gguf> {
        match &self.contents {
            Contents::Gguf(model) => Some(&model.gguf),
            Contents::Folder { .. } => None,
        }
    }

    /// The names of all tensors in the file, as Hugging Face names them, in alphabetical order.
    pub fn tensor_names(&self) -> Vec<&str> {
        match &self.contents {
            Contents::Gguf(model) => model.names().collect(),
            Contents::Folder { tensors, .. } => tensors.names().collect(),
        }
    }

    /// A tensor by its Hugging Face name, such as `model.layers.0.self_attn.q_proj.weight`. With tied embeddings,
    /// `lm_head.weight` need not exist: see [`ModelConfig::tied_embeddings`].
    ///
    /// # Errors
    /// When there is none of this name, or it is stored in an element type that is not read.
    pub fn tensor(&self, name: &str) -> Result<TensorView, FormatError> {
        match &self.contents {
            Contents::Gguf(model) => model.tensor(name),
            Contents::Folder { tensors, .. } => tensors.tensor(name),
        }
    }

    /// SHA-256 over the names, types, shapes and bytes of the model's tensors, in the order of
    /// [`ModelConfig::tensors`] and in Hugging Face's row order. Reads the whole file.
    ///
    /// # Errors
    /// None in practice: every tensor was found when the file was opened.
    pub fn weights_hash(&self) -> Result<[u8; 32], FormatError> {
        let mut hash = Sha256::new();
        for (name, shape) in self.config().tensors() {
            let tensor = self.tensor(&name)?;
            hash.update(format!("{name} {} {shape:?}\n", tensor.data_type().name()));
            for row in 0..tensor.rows() {
                hash.update(tensor.row_bytes(row));
            }
        }
        Ok(hash.finalize().into())
    }

    /// Every tensor of the config is there in its shape and in a type that is read, and no other is.
    fn check_tensors(&self) -> Result<(), FormatError> {
        let config = self.config();
        let error = |problem| FormatError::new(&self.path, problem);
        let mut known = BTreeSet::new();
        for (name, expected) in config.tensors() {
            let tensor = self.tensor(&name)?;
            if tensor.shape() != expected {
                let got = tensor.shape().to_vec();
                return Err(error(Problem::WrongShape { name, expected, got }));
            }
            known.insert(name);
        }
        let redundant = |name: &str| {
            // a copy of the embedding, and frequencies that are computed
            name == "lm_head.weight" || name.ends_with(".rotary_emb.inv_freq")
        };
        let unexpected =
            self.tensor_names().into_iter().find(|name| !known.contains(*name) && !redundant(name));
        match unexpected {
            Some(name) => Err(error(Problem::UnexpectedTensor {
                name: name.to_string(),
                family: config.family.name(),
            })),
            None => Ok(()),
        }
    }
}

/// Whether the file name ends so, in any case.
pub(crate) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn open_folder(folder: &Path) -> Result<Contents, FormatError> {
    let error = |problem| FormatError::new(folder, problem);
    if folder.join("config.json").is_file()
        && let Some(tensors) = SafetensorsSet::open(folder)?
    {
        let config = Box::new(hf_config::read(folder)?);
        return Ok(Contents::Folder { config, tensors });
    }
    let mut files: Vec<PathBuf> = fs_err::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(|problem| error(Problem::Io(problem)))?;
    files.sort();
    let ggufs: Vec<&PathBuf> = files.iter().filter(|file| has_extension(file, "gguf")).collect();
    if let [only] = ggufs[..] {
        return Ok(Contents::Gguf(Box::new(GgufModel::new(Gguf::open(only)?)?)));
    }
    let pickle = files.iter().find(|file| PICKLES.iter().any(|ending| has_extension(file, ending)));
    match pickle {
        Some(file) if ggufs.is_empty() => Err(error(Problem::Pickle { file: file_name(file) })),
        _ => {
            let names: Vec<String> = ggufs.iter().map(|file| file_name(file)).collect();
            let found = if names.is_empty() {
                String::new()
            } else {
                format!("; name one of these: {}", names.join(", "))
            };
            Err(error(Problem::NoModel { found }))
        }
    }
}
