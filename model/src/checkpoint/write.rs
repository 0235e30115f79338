//! Writing checkpoints.

use std::collections::HashMap;
use std::path::Path;

use burn::module::Param;
use burn::tensor::{Tensor, bf16, f16};
use safetensors::tensor::TensorView;
use serde_json::{Map, json};

use super::error::{CheckpointError, INDEX, WEIGHTS};
use super::kept::ConfigJson;
use super::numbers;
use crate::dtype::Dtype;
use crate::generation::GenerationConfig;
use crate::llama::Llama;
use crate::names::{self, ParamPath};

/// Largest weights file that is written where nothing else is said, in bytes; larger models are written in shards. As in transformers 5.
pub const MAX_SHARD_SIZE: u64 = 50_000_000_000;

/// How weights are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// The format of their numbers.
    pub dtype: Dtype,
    /// Largest file, in bytes; one tensor alone may be larger.
    pub max_shard_size: u64,
}

impl From<Dtype> for Format {
    fn from(dtype: Dtype) -> Self {
        Self {
            dtype,
            max_shard_size: MAX_SHARD_SIZE,
        }
    }
}

/// What is written beside weights.
#[derive(Debug, Clone, Copy)]
pub struct Beside<'a> {
    /// The `config.json` that the model came with.
    pub config_json: &'a ConfigJson,
    /// Which tokens end a text.
    pub generation: &'a GenerationConfig,
}

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

/// [`save_as`] of a model that came with no `config.json`, in files of [`MAX_SHARD_SIZE`].
///
/// # Errors
/// As [`save_as`].
pub fn save(
    model: &Llama,
    generation: &GenerationConfig,
    dir: &Path,
    dtype: Dtype,
) -> Result<(), CheckpointError> {
    let config_json = &ConfigJson::default();
    let beside = Beside {
        config_json,
        generation,
    };
    save_as(model, beside, dir, dtype.into())
}

/// Writes `config.json`, `generation_config.json` and `model.safetensors`, or shards of it with their index, into `dir`, which is made
/// where it does not exist. That the directory appears whole or not at all is the caller's business.
///
/// # Errors
/// A file could not be written, or a weight is not finite in the format.
pub fn save_as(model: &Llama, beside: Beside, dir: &Path, format: Format) -> Result<(), CheckpointError> {
    let Format {
        dtype,
        max_shard_size,
    } = format;
    let mut saver = Saver {
        dtype,
        dir,
        tensors: Vec::new(),
        failed: None,
    };
    names::visit(model, &mut saver);
    if let Some(error) = saver.failed {
        return Err(error);
    }
    std::fs::create_dir_all(dir).map_err(|error| write_error(dir, error))?;
    let config = beside.config_json.text(model.config(), dtype);
    write(&dir.join("config.json"), &config)?;
    write(&dir.join("generation_config.json"), &beside.generation.to_json())?;

    let mut shards: Vec<Vec<Saved>> = vec![Vec::new()];
    let (mut total, mut size) = (0, 0);
    for tensor in saver.tensors {
        let bytes = tensor.bytes.len();
        if size > 0 && (size + bytes) as u64 > max_shard_size {
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

#[derive(Clone)]
struct Saved {
    name: String,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

struct Saver<'a> {
    dtype: Dtype,
    dir: &'a Path,
    tensors: Vec<Saved>,
    /// The first tensor that must not be written, and why.
    failed: Option<CheckpointError>,
}

impl names::Visit for Saver<'_> {
    fn float<const D: usize>(&mut self, at: &ParamPath, param: &Param<Tensor<D>>) {
        if self.failed.is_some() {
            return;
        }
        let mut shape = param.shape().to_vec();
        let mut values: Vec<f32> = param
            .val()
            .without_autodiff()
            .try_into_vec_as()
            .expect("a parameter can be read as f32");
        if let Err(error) = numbers::check(&values, self.dtype, self.dir, &at.name()) {
            self.failed = Some(error);
            return;
        }
        if at.is_transposed() {
            values = numbers::transpose(&values, shape[0], shape[1]);
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
