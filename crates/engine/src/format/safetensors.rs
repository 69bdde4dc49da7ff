//! safetensors files: one, or several with an index. Main types: [`Safetensors`], [`SafetensorsSet`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::bitsandbytes::{self, COMPANIONS, Part, STATE, STATE_OF_FP4};
use super::data_type::{DataType, SUPPORTED_SAFETENSORS};
use super::error::{FormatError, Problem};
use super::file_bytes::{FileBytes, FilePart};
use super::json_file::read_json;
use super::safetensors_header::{self, Entry};
use super::tensor::{RowOrder, TensorView};

/// Shards that an index may name.
const MAXIMUM_SHARDS: usize = 1024;
/// Bytes of an index file.
const MAXIMUM_INDEX: u64 = 16 << 20;

/// A safetensors file with a validated header.
#[derive(Debug)]
pub struct Safetensors {
    path: PathBuf,
    bytes: Arc<FileBytes>,
    tensors: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
}

impl Safetensors {
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
        let header = safetensors_header::read(&bytes)?;
        let (tensors, metadata) = (header.tensors, header.metadata);
        Ok(Self { path: path.to_path_buf(), bytes: Arc::new(bytes), tensors, metadata })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all tensors, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The free-form metadata of the header.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// When there is none, or its element type is not F32, F16 or BF16.
    pub fn tensor(&self, name: &str) -> Result<TensorView, FormatError> {
        let error = |problem| FormatError::new(&self.path, problem);
        let entry = self
            .tensors
            .get(name)
            .ok_or_else(|| error(Problem::MissingTensor { name: name.to_string() }))?;
        let data_type = match entry.type_name.as_str() {
            "F32" => DataType::F32,
            "F16" => DataType::F16,
            "BF16" => DataType::BF16,
            other => {
                return Err(error(Problem::TensorType {
                    tensor: name.to_string(),
                    type_name: other.to_string(),
                    supported: SUPPORTED_SAFETENSORS,
                }));
            }
        };
        let bytes = FilePart::new(&self.bytes, entry.start..entry.start + entry.length);
        Ok(TensorView::new(name, &entry.shape, data_type, RowOrder::AsStored, bytes))
    }
}

/// The tensors of a Hugging Face folder: `model.safetensors`, or the shards that
/// `model.safetensors.index.json` names.
#[derive(Debug)]
pub struct SafetensorsSet {
    folder: PathBuf,
    shards: Vec<Safetensors>,
    /// Tensor name → index in `shards`.
    place: BTreeMap<String, usize>,
    /// Weights that bitsandbytes quantised, each put together when it is first asked for.
    quantised: BTreeMap<String, OnceLock<TensorView>>,
    /// Tensors that belong to those.
    companions: BTreeSet<String>,
}

impl SafetensorsSet {
    /// Opens the tensors of `folder`; `None` when it has neither file.
    ///
    /// # Errors
    /// [`FormatError`] when a shard's name is not a plain file name, a shard is missing or broken, or index and
    /// shards disagree on where a tensor is.
    pub fn open(folder: &Path) -> Result<Option<Self>, FormatError> {
        let index = folder.join("model.safetensors.index.json");
        let single = folder.join("model.safetensors");
        if index.is_file() {
            let (shards, place) = Self::sharded(folder, &index)?;
            Self::new(folder, shards, place).map(Some)
        } else if single.is_file() {
            let shard = Safetensors::open(&single)?;
            let place = shard.names().map(|name| (name.to_string(), 0)).collect();
            Self::new(folder, vec![shard], place).map(Some)
        } else {
            Ok(None)
        }
    }

    fn new(
        folder: &Path,
        shards: Vec<Safetensors>,
        place: BTreeMap<String, usize>,
    ) -> Result<Self, FormatError> {
        if let Some(tensor) = place.keys().find_map(|name| name.strip_suffix(STATE_OF_FP4)) {
            let (tensor, type_name) = (tensor.to_string(), "bitsandbytes FP4".to_string());
            let supported = SUPPORTED_SAFETENSORS;
            let problem = Problem::TensorType { tensor, type_name, supported };
            return Err(FormatError::new(folder, problem));
        }
        let weights = place.keys().filter_map(|name| name.strip_suffix(STATE));
        let quantised: BTreeMap<String, OnceLock<TensorView>> =
            weights.map(|name| (name.to_string(), OnceLock::new())).collect();
        let endings = COMPANIONS.into_iter().chain([STATE]);
        let companions = quantised
            .keys()
            .flat_map(|name| endings.clone().map(move |ending| format!("{name}{ending}")))
            .collect();
        Ok(Self { folder: folder.to_path_buf(), shards, place, quantised, companions })
    }

    fn sharded(
        folder: &Path,
        index: &Path,
    ) -> Result<(Vec<Safetensors>, BTreeMap<String, usize>), FormatError> {
        let error = |problem| FormatError::new(index, problem);
        let weight_map = read_weight_map(index).map_err(error)?;
        let mut files: Vec<&str> = weight_map.values().map(String::as_str).collect();
        files.sort_unstable();
        files.dedup();
        let (count, limit) = (files.len() as u64, MAXIMUM_SHARDS as u64);
        if count > limit {
            return Err(error(Problem::Count { what: "shards", count, limit }));
        }
        if let Some(shard) = files.iter().find(|file| !is_plain_shard_name(file)) {
            return Err(error(Problem::ShardName { shard: (*shard).to_string() }));
        }
        let mut shards = Vec::with_capacity(files.len());
        let mut place = BTreeMap::new();
        for (number, file) in files.iter().enumerate() {
            let shard = Safetensors::open(&folder.join(file))?;
            for name in shard.names() {
                // every tensor of the shard is placed there by the index
                if weight_map.get(name).map(String::as_str) != Some(*file) {
                    let (tensor, shard) = (name.to_string(), (*file).to_string());
                    return Err(error(Problem::ShardContent { tensor, shard }));
                }
                place.insert(name.to_string(), number);
            }
            shards.push(shard);
        }
        // and the other way round
        if let Some((tensor, shard)) =
            weight_map.iter().find(|(name, _)| !place.contains_key(*name))
        {
            let (tensor, shard) = (tensor.clone(), shard.clone());
            return Err(error(Problem::ShardContent { tensor, shard }));
        }
        Ok((shards, place))
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The names of all tensors, in alphabetical order; what belongs to a quantised weight goes without saying.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.place.keys().filter(|name| !self.companions.contains(*name)).map(String::as_str)
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// As [`Safetensors::tensor`]; or the companions of a quantised weight are not what they should be.
    pub fn tensor(&self, name: &str) -> Result<TensorView, FormatError> {
        if let Some(kept) = self.quantised.get(name) {
            if let Some(tensor) = kept.get() {
                return Ok(tensor.clone());
            }
            let part = |name: &str| {
                let shard = &self.shards[*self.place.get(name)?];
                let entry = shard.tensors.get(name)?;
                let bytes = &shard.bytes[entry.start..entry.start + entry.length];
                Some(Part { entry, bytes })
            };
            let tensor = bitsandbytes::read(name, &part)
                .map_err(|problem| FormatError::new(&self.folder, problem))?;
            return Ok(kept.get_or_init(|| tensor).clone());
        }
        let shard = self.place.get(name).ok_or_else(|| {
            FormatError::new(&self.folder, Problem::MissingTensor { name: name.to_string() })
        })?;
        self.shards[*shard].tensor(name)
    }
}

fn read_weight_map(index: &Path) -> Result<BTreeMap<String, String>, Problem> {
    let json = read_json(index, MAXIMUM_INDEX, "model.safetensors.index.json")?;
    let map = json
        .get("weight_map")
        .and_then(serde_json::Value::as_object)
        .ok_or_else(|| Problem::MissingField { field: "weight_map".to_string() })?;
    map.iter()
        .map(|(name, file)| match file.as_str() {
            Some(file) => Ok((name.clone(), file.to_string())),
            None => Err(Problem::ShardName { shard: file.to_string() }),
        })
        .collect()
}

/// One normal path component that ends in `.safetensors`: no separator, no `..`, no drive, nothing hidden.
fn is_plain_shard_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let plain = matches!(components.next(), Some(Component::Normal(part)) if part == name);
    plain
        && components.next().is_none()
        && !name.starts_with('.')
        && !name.contains(['\\', ':', '\0'])
        && super::has_extension(Path::new(name), "safetensors")
}
