//! Checkpoints in Hugging Face layout: `config.json`, `generation_config.json`, `model.safetensors` or shards of it.
//!
//! Strict: a tensor that is missing, too many, of another shape or of another number format is an error that names it, and so
//! are numbers that are not finite. What transformers reads is read: names without `model.`, f64, a head beside the
//! embedding that it is tied to, rotary frequencies that old releases stored. The last two are left out only where their
//! values are those that the model has anyway; where they are not, a warning says what was done.
//!
//! This is written on the `safetensors` crate and not on burn-store: the store's remapping by patterns cannot say
//! which file a wrong tensor was in, and it writes no shards.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::config::ModelConfig;
use crate::dtype::{Dtype, cast};
use crate::json;
use crate::llama::Llama;
use crate::names::{self, ParamPath};

mod contents;
mod error;
mod expected;
mod header;
mod kept;
mod numbers;
mod write;

use contents::Contents;
pub use error::{ADAPTER, CheckpointError, WEIGHTS};
pub use header::{Entry, Header};
pub use kept::ConfigJson;
pub(crate) use numbers::{READ, check as check_numbers, decode, transpose};
pub use write::{Beside, Format, MAX_SHARD_SIZE, save, save_as};

/// A model from a checkpoint.
#[derive(Debug)]
pub struct Loaded {
    /// The model. Its configuration says what the weights are: see [`Loaded::warnings`].
    pub model: Llama,
    /// Its `config.json` as it was.
    pub config_json: ConfigJson,
    /// Where the checkpoint contradicts itself, and what was made of it; a line each, for the user.
    pub warnings: Vec<String>,
}

/// What a checkpoint is, by its configuration and the headers of its weights.
#[derive(Debug)]
pub struct Described {
    /// The shape of the model.
    pub config: ModelConfig,
    /// Files of weights.
    pub files: usize,
    /// Their tensors.
    pub tensors: usize,
    /// Their bytes.
    pub bytes: u64,
    /// How many numbers they hold of each format.
    pub numbers: BTreeMap<String, u64>,
    /// Its `config.json` as it was.
    pub config_json: ConfigJson,
    /// As [`Loaded::warnings`].
    pub warnings: Vec<String>,
}

impl Described {
    /// The format in which such a checkpoint is written again: the one that most of its numbers have. Where others do not have it, or
    /// `config.json` names another, this is said in words.
    pub fn dtype(&self) -> (Dtype, Option<String>) {
        let most = self.numbers.iter().max_by_key(|(_, count)| **count);
        let most = most.map_or("F32", |(name, _)| name.as_str());
        let dtype = match most {
            "BF16" => Dtype::Bf16,
            "F16" => Dtype::F16,
            _ => Dtype::F32,
        };
        let formats: Vec<String> = self
            .numbers
            .iter()
            .map(|(name, count)| format!("{count} numbers in {name}"))
            .collect();
        let said = self.config_json.dtype();
        let note = if formats.len() > 1 || most == "F64" {
            Some(format!("the weights have {}", formats.join(", ")))
        } else {
            let other = said.filter(|said| *said != dtype.name());
            other.map(|said| {
                format!(
                    "config.json says {}, but the weights are in {most}",
                    json::shorten(said)
                )
            })
        };
        (dtype, note)
    }
}

/// Reads the model in a Hugging Face directory in format `dtype`, with gradients where `device` has autodiff.
///
/// # Errors
/// Files that are missing or damaged, a configuration that is not supported, weights that do not fit it, or that are not
/// finite in `dtype`.
pub fn read(dir: &Path, dtype: Dtype, device: &Device) -> Result<Loaded, CheckpointError> {
    fill(Contents::of_dir(dir)?, dtype, device)
}

/// As [`read`], for checkpoints that nothing has to be said of.
///
/// # Errors
/// As [`read`].
pub fn load(dir: &Path, dtype: Dtype, device: &Device) -> Result<Llama, CheckpointError> {
    Ok(read(dir, dtype, device)?.model)
}

/// Reads the reward model in a Hugging Face directory: a sequence classifier with one label (`LlamaForSequenceClassification`, …). The
/// network, whose head is the embedding and means nothing, and `[d]`, `score.weight`.
///
/// # Errors
/// As [`read`]; it is no classifier, or one with more labels.
pub fn read_classifier(
    dir: &Path,
    dtype: Dtype,
    device: &Device,
) -> Result<(Loaded, Vec<f32>), CheckpointError> {
    let mut contents = Contents::of_classifier(dir)?;
    let score = contents.score()?;
    numbers::check(&score, dtype, dir, "score.weight")?;
    Ok((fill(contents, dtype, device)?, score))
}

/// As [`read`], from the bytes of `config.json` and `model.safetensors`: for a checkpoint inside a binary.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(
    config: &[u8],
    weights: &[u8],
    dtype: Dtype,
    device: &Device,
) -> Result<Loaded, CheckpointError> {
    fill(Contents::of_bytes(config, weights)?, dtype, device)
}

/// What is in a Hugging Face directory. Weights are not read, but for a head that may be the embedding. That tensors are
/// missing is a warning here.
///
/// # Errors
/// As [`read`], for all else that can be known from headers.
pub fn describe(dir: &Path) -> Result<Described, CheckpointError> {
    described(Contents::of_dir(dir)?)
}

/// As [`describe`], for a reward model as [`read_classifier`] reads it.
///
/// # Errors
/// As [`describe`].
pub fn describe_classifier(dir: &Path) -> Result<Described, CheckpointError> {
    described(Contents::of_classifier(dir)?)
}

/// As [`describe`], from the bytes of `config.json` and `model.safetensors`.
///
/// # Errors
/// As [`describe`].
pub fn describe_bytes(config: &[u8], weights: &[u8]) -> Result<Described, CheckpointError> {
    described(Contents::of_bytes(config, weights)?)
}

fn described(mut contents: Contents) -> Result<Described, CheckpointError> {
    if let Err(error) = contents.check_missing() {
        contents.warnings.push(format!("it cannot be loaded: {error}"));
    }
    let mut numbers = BTreeMap::new();
    let headers = || contents.files.iter().map(|file| &file.header);
    for entry in headers().flat_map(|header| header.tensors.values()) {
        let count: u64 = entry.shape.iter().map(|&size| size as u64).product();
        *numbers.entry(entry.dtype.to_string()).or_default() += count;
    }
    Ok(Described {
        files: contents.files.len(),
        tensors: headers().map(|header| header.tensors.len()).sum(),
        bytes: contents.files.iter().map(|file| file.bytes).sum(),
        numbers,
        config_json: contents.config_json,
        warnings: contents.warnings,
        config: contents.config,
    })
}

fn fill(contents: Contents, dtype: Dtype, device: &Device) -> Result<Loaded, CheckpointError> {
    contents.check_missing()?;
    let blank = Llama::blank(&contents.config, device);
    let mut filler = Filler {
        contents,
        dtype,
        failed: None,
    };
    let model = names::map(blank, &mut filler);
    match filler.failed {
        Some(error) => Err(error),
        None => Ok(Loaded {
            model,
            config_json: filler.contents.config_json,
            warnings: filler.contents.warnings,
        }),
    }
}

/// Puts a checkpoint's numbers into a module, one tensor at a time.
struct Filler<'a> {
    contents: Contents<'a>,
    dtype: Dtype,
    /// The first error; nothing is read after it.
    failed: Option<CheckpointError>,
}

impl Filler<'_> {
    fn values(&mut self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        let (values, path) = self.contents.numbers(name)?;
        numbers::check(&values, self.dtype, path, name)?;
        Ok(values)
    }
}

impl names::Map for Filler<'_> {
    fn float<const D: usize>(&mut self, at: &ParamPath, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.failed.is_some() {
            return param;
        }
        let mut values = match self.values(&at.name()) {
            Ok(values) => values,
            Err(error) => {
                self.failed = Some(error);
                return param;
            }
        };
        let shape = param.lazy_shape();
        if at.is_transposed() {
            values = numbers::transpose(&values, shape[1], shape[0]);
        }
        let (id, device) = (param.id, param.lazy_device());
        // One tensor at a time is held in f32 on the device.
        let values = Tensor::from_data(TensorData::new(values, shape), (&device, DType::F32));
        param.transform_for_load(cast(values, self.dtype.float().into()), id)
    }
}
