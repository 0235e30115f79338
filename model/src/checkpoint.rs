//! Checkpoints in Hugging Face layout: `config.json`, `generation_config.json`, `model.safetensors` or shards of it.
//!
//! Strict: a tensor that is missing, too many, of another shape or of another number format is an error that names it.
//! Tolerated, because Hugging Face checkpoints in the wild have them: `lm_head.weight` beside a tied embedding, and
//! `rotary_emb.inv_freq` buffers. Neither holds anything that the configuration does not say.
//!
//! This is written on the `safetensors` crate and not on burn-store: the store's remapping by patterns cannot say
//! which file a wrong tensor was in, and it writes no shards.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor, TensorData, bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Map, Value, json};

use crate::config::ModelConfig;
use crate::dtype::{Dtype, cast};
use crate::generation::GenerationConfig;
use crate::llama::Llama;
use crate::names::{self, ParamPath, parameters};

mod error;

pub use error::CheckpointError;
use error::INDEX;
pub use error::WEIGHTS;

/// Largest weights file that [`save`] writes, in bytes; larger models are written in shards.
pub const SHARD_BYTES: usize = 5_000_000_000;

impl Dtype {
    fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Dtype::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Dtype::Bf16 => values
                .iter()
                .flat_map(|&v| bf16::from_f32(v).to_le_bytes())
                .collect(),
            Dtype::F16 => values
                .iter()
                .flat_map(|&v| f16::from_f32(v).to_le_bytes())
                .collect(),
        }
    }

    fn in_file(self) -> safetensors::Dtype {
        match self {
            Dtype::F32 => safetensors::Dtype::F32,
            Dtype::Bf16 => safetensors::Dtype::BF16,
            Dtype::F16 => safetensors::Dtype::F16,
        }
    }
}

/// Reads the model in a Hugging Face directory in format `dtype`, with gradients where `device` has autodiff.
///
/// # Errors
/// Files that are missing or damaged, a configuration that is not supported, weights that do not fit it.
pub fn load(dir: &Path, dtype: Dtype, device: &Device) -> Result<Llama, CheckpointError> {
    let config = ModelConfig::load(dir)?;
    let (weights, index) = (dir.join(WEIGHTS), dir.join(INDEX));
    let mut store = Store::new(&config, dtype, device);
    if weights.exists() {
        store.read_file(&weights, None)?;
        store.finish(&weights)
    } else if index.exists() {
        for (file, names) in read_index(&index)? {
            store.read_file(&dir.join(file), Some((&names, &index)))?;
        }
        store.finish(dir)
    } else {
        Err(CheckpointError::NoWeights(dir.into()))
    }
}

/// As [`load`], from the bytes of `config.json` and `model.safetensors`: for a checkpoint inside a binary.
///
/// # Errors
/// As [`load`].
pub fn load_bytes(
    config: &[u8],
    weights: &[u8],
    dtype: Dtype,
    device: &Device,
) -> Result<Llama, CheckpointError> {
    let config = ModelConfig::from_json(config, Path::new("config.json"))?;
    let path = Path::new(WEIGHTS);
    let mut store = Store::new(&config, dtype, device);
    store.read(weights, path, None)?;
    store.finish(path)
}

/// Writes `config.json`, `generation_config.json` and `model.safetensors` (shards above [`SHARD_BYTES`]) into `dir`,
/// which is made where it does not exist. That the directory appears whole or not at all is the caller's business.
///
/// # Errors
/// A file could not be written.
pub fn save(
    model: &Llama,
    generation: &GenerationConfig,
    dir: &Path,
    dtype: Dtype,
) -> Result<(), CheckpointError> {
    save_sharded(model, generation, dir, dtype, SHARD_BYTES)
}

/// [`save`] with a limit of the size of one weights file, in bytes.
///
/// # Errors
/// As [`save`].
pub fn save_sharded(
    model: &Llama,
    generation: &GenerationConfig,
    dir: &Path,
    dtype: Dtype,
    shard_bytes: usize,
) -> Result<(), CheckpointError> {
    std::fs::create_dir_all(dir).map_err(|error| write_error(dir, error))?;
    write(&dir.join("config.json"), &model.config().to_json(dtype.name()))?;
    write(&dir.join("generation_config.json"), &generation.to_json())?;

    let mut saver = Saver {
        dtype,
        tensors: Vec::new(),
    };
    names::visit(model, &mut saver);
    let mut shards: Vec<Vec<Saved>> = vec![Vec::new()];
    let (mut total, mut size) = (0, 0);
    for tensor in saver.tensors {
        let bytes = tensor.bytes.len();
        if size > 0 && size + bytes > shard_bytes {
            shards.push(Vec::new());
            size = 0;
        }
        size += bytes;
        total += bytes;
        shards.last_mut().expect("there is a shard").push(tensor);
    }
    if let [shard] = shards.as_slice() {
        return write_weights(&dir.join(WEIGHTS), shard, dtype);
    }
    let mut weight_map = Map::new();
    for (number, shard) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", number + 1, shards.len());
        write_weights(&dir.join(&file), shard, dtype)?;
        for tensor in shard {
            weight_map.insert(tensor.name.clone(), json!(file));
        }
    }
    let index = json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
    write(&dir.join(INDEX), &format!("{index:#}\n"))
}

/// A matrix read by columns: `[rows, columns]` to `[columns, rows]`, in tiles that stay in the cache.
fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const TILE: usize = 32;
    let mut out = vec![0f32; values.len()];
    for row_tile in (0..rows).step_by(TILE) {
        for column_tile in (0..columns).step_by(TILE) {
            for row in row_tile..rows.min(row_tile + TILE) {
                for column in column_tile..columns.min(column_tile + TILE) {
                    out[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    out
}

/// Tensors read from files, on their way into a module.
struct Store<'a> {
    config: &'a ModelConfig,
    dtype: Dtype,
    blank: Llama,
    /// Shapes as a checkpoint has them.
    expected: HashMap<String, Vec<usize>>,
    read: HashMap<String, Vec<f32>>,
}

impl<'a> Store<'a> {
    fn new(config: &'a ModelConfig, dtype: Dtype, device: &Device) -> Self {
        let blank = Llama::blank(config, device);
        let expected = parameters(&blank).into_iter();
        Self {
            config,
            dtype,
            expected: expected.map(|p| (p.name, p.checkpoint_shape)).collect(),
            blank,
            read: HashMap::new(),
        }
    }

    fn read_file(
        &mut self,
        path: &Path,
        index: Option<(&BTreeSet<String>, &Path)>,
    ) -> Result<(), CheckpointError> {
        let bytes = std::fs::read(path).map_err(|source| CheckpointError::Read {
            path: path.into(),
            source,
        })?;
        self.read(&bytes, path, index)
    }

    /// Takes the tensors of one file; `index` gives the names that the index promised, and where it is.
    fn read(
        &mut self,
        bytes: &[u8],
        path: &Path,
        index: Option<(&BTreeSet<String>, &Path)>,
    ) -> Result<(), CheckpointError> {
        let file = SafeTensors::deserialize(bytes).map_err(|source| CheckpointError::Format {
            path: path.into(),
            source,
        })?;
        if let Some((names, index)) = index {
            let found: BTreeSet<String> = file.names().into_iter().map(String::from).collect();
            if let Some(name) = names.symmetric_difference(&found).next() {
                let problem = match found.contains(name) {
                    true => format!("{} holds {name}, which is not listed for it", path.display()),
                    false => format!("lists {name} in {}, which lacks it", path.display()),
                };
                return Err(CheckpointError::Index {
                    path: index.into(),
                    problem,
                });
            }
        }
        let mut extra = Vec::new();
        for (name, view) in file.iter() {
            let Some(expected) = self.expected.get(name) else {
                let tied = name == "lm_head.weight" && self.config.tie_word_embeddings;
                if !tied && !name.ends_with(".rotary_emb.inv_freq") {
                    extra.push(name.to_string());
                }
                continue;
            };
            if view.shape() != expected {
                return Err(CheckpointError::Shape {
                    path: path.into(),
                    name: name.into(),
                    expected: expected.clone(),
                    found: view.shape().into(),
                });
            }
            let values = decode(&view).ok_or_else(|| CheckpointError::Dtype {
                path: path.into(),
                name: name.into(),
                found: view.dtype(),
            })?;
            self.read.insert(name.into(), values);
        }
        if !extra.is_empty() {
            extra.sort();
            return Err(CheckpointError::Extra {
                path: path.into(),
                names: extra,
            });
        }
        Ok(())
    }

    fn finish(self, path: &Path) -> Result<Llama, CheckpointError> {
        let mut missing: Vec<String> = self
            .expected
            .keys()
            .filter(|name| !self.read.contains_key(*name))
            .cloned()
            .collect();
        if !missing.is_empty() {
            missing.sort();
            return Err(CheckpointError::Missing {
                path: path.into(),
                names: missing,
            });
        }
        let mut filler = Filler {
            dtype: self.dtype.float().into(),
            read: self.read,
        };
        Ok(names::map(self.blank, &mut filler))
    }
}

/// Numbers of a tensor as f32; none where they are of a type that is not read.
fn decode(view: &TensorView) -> Option<Vec<f32>> {
    let halves = || view.data().chunks_exact(2).map(|b| [b[0], b[1]]);
    match view.dtype() {
        safetensors::Dtype::F32 => Some(
            view.data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
        ),
        safetensors::Dtype::F16 => Some(halves().map(|b| f16::from_le_bytes(b).to_f32()).collect()),
        safetensors::Dtype::BF16 => Some(halves().map(|b| bf16::from_le_bytes(b).to_f32()).collect()),
        _ => None,
    }
}

/// The files of a sharded checkpoint, each with the tensors that it should hold.
fn read_index(path: &Path) -> Result<BTreeMap<String, BTreeSet<String>>, CheckpointError> {
    let text = std::fs::read(path).map_err(|source| CheckpointError::Read {
        path: path.into(),
        source,
    })?;
    let error = |problem: String| CheckpointError::Index {
        path: path.into(),
        problem,
    };
    let index: Value = serde_json::from_slice(&text).map_err(|source| error(source.to_string()))?;
    let map = index["weight_map"]
        .as_object()
        .ok_or_else(|| error("`weight_map` is missing".into()))?;
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, file) in map {
        let file = file
            .as_str()
            .filter(|file| Path::new(file).components().count() == 1)
            .ok_or_else(|| error(format!("`weight_map.{name}` is {file}, no file name")))?;
        files.entry(file.into()).or_default().insert(name.clone());
    }
    Ok(files)
}

struct Filler {
    dtype: DType,
    read: HashMap<String, Vec<f32>>,
}

impl names::Map for Filler {
    fn float<const D: usize>(&mut self, at: &ParamPath, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.lazy_shape();
        let mut values = self
            .read
            .remove(&at.name())
            .expect("every expected tensor was read");
        if at.is_transposed() {
            values = transpose(&values, shape[1], shape[0]);
        }
        let (id, device) = (param.id, param.lazy_device());
        // One tensor at a time is held in f32 on the device.
        let values = Tensor::from_data(TensorData::new(values, shape), (&device, DType::F32));
        param.transform_for_load(cast(values, self.dtype), id)
    }
}

#[derive(Clone)]
struct Saved {
    name: String,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

struct Saver {
    dtype: Dtype,
    tensors: Vec<Saved>,
}

impl names::Visit for Saver {
    fn float<const D: usize>(&mut self, at: &ParamPath, param: &Param<Tensor<D>>) {
        let mut shape = param.shape().to_vec();
        let mut values: Vec<f32> = param
            .val()
            .without_autodiff()
            .try_into_vec_as()
            .expect("a parameter can be read as f32");
        if at.is_transposed() {
            values = transpose(&values, shape[0], shape[1]);
            shape.reverse();
        }
        self.tensors.push(Saved {
            name: at.name(),
            shape,
            bytes: self.dtype.encode(&values),
        });
    }
}

fn write_weights(path: &Path, tensors: &[Saved], dtype: Dtype) -> Result<(), CheckpointError> {
    let views: Vec<(&str, TensorView)> = tensors
        .iter()
        .map(|tensor| {
            let view = TensorView::new(dtype.in_file(), tensor.shape.clone(), &tensor.bytes);
            (
                tensor.name.as_str(),
                view.expect("the bytes were made for this shape"),
            )
        })
        .collect();
    // transformers refuses files that do not say this.
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    safetensors::serialize_to_file(views, Some(metadata), path).map_err(|error| write_error(path, error))
}

fn write(path: &Path, text: &str) -> Result<(), CheckpointError> {
    std::fs::write(path, text).map_err(|error| write_error(path, error))
}

fn write_error(path: &Path, error: impl std::fmt::Display) -> CheckpointError {
    CheckpointError::Write {
        path: path.into(),
        problem: error.to_string(),
    }
}
