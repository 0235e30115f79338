//! What can be wrong with a checkpoint.

use std::path::{Path, PathBuf};

use safetensors::Dtype;

use crate::config::ConfigError;

/// Where the weights are,
pub const WEIGHTS: &str = "model.safetensors";
/// or which files they are in.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// What says that a directory holds an adapter: the file that describes it.
pub const ADAPTER: &str = "adapter_config.json";

/// Why a checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A configuration file was not accepted.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A directory holds an adapter and no model.
    #[error(
        "{0} holds an adapter, not a model: name its base model with --model, and {0} with --adapter; or `gcpo merge` makes a model of both"
    )]
    Adapter(PathBuf),
    /// A directory holds no weights.
    #[error("{0} holds neither {WEIGHTS} nor {INDEX}; only safetensors checkpoints are read{hint}", hint = converting(.0))]
    NoWeights(PathBuf),
    /// A file could not be written.
    #[error("cannot write {path}: {problem}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        problem: String,
    },
    /// A file is no safetensors file, or a damaged one.
    #[error("{path} is not a whole safetensors file: {problem}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The index of a sharded checkpoint does not fit its shards.
    #[error("{path}: {problem}")]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A reward model has no head that scores.
    #[error(
        "{0} has no score.weight: a reward model is a sequence classifier (LlamaForSequenceClassification, \
         Qwen2ForSequenceClassification, …), and this is another model"
    )]
    NoScore(PathBuf),
    /// A classifier has more labels than a reward model.
    #[error(
        "{path}: score.weight has shape {found:?}: a reward model has one label (num_labels=1), which makes it [1, {size}]"
    )]
    Labels {
        /// The weights file.
        path: PathBuf,
        /// As Hugging Face stores it.
        found: Vec<usize>,
        /// Features of the network.
        size: usize,
    },
    /// Tensors that the configuration asks for are not there.
    #[error("{path} lacks {}; config.json asks for {}", list(.names, *.count), if *.count == 1 { "it" } else { "them" })]
    Missing {
        /// The weights file, or the directory of a sharded checkpoint.
        path: PathBuf,
        /// The names of the first few.
        names: Vec<String>,
        /// How many there are.
        count: usize,
    },
    /// One tensor is there twice.
    #[error("{name} is in {path} and in {other}, by this name or without `model.`; which one counts?")]
    Twice {
        /// A weights file.
        path: PathBuf,
        /// The other one, or the same.
        other: PathBuf,
        /// The tensor.
        name: String,
    },
    /// Tensors are there that the configuration has no place for.
    #[error("{path} holds {}, for which the model of config.json has no place", list(.names, .names.len()))]
    Extra {
        /// The weights file.
        path: PathBuf,
        /// Their names.
        names: Vec<String>,
    },
    /// A tensor has another shape than the configuration says.
    #[error("{path}: {name} has shape {found}, but config.json makes it {expected:?}")]
    Shape {
        /// The weights file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// As Hugging Face stores it.
        expected: Vec<usize>,
        /// What the file holds.
        found: String,
    },
    /// A tensor holds a number format that is not read.
    #[error("{path}: {name} is of type {found}; F32, F16, BF16 and F64 are read")]
    Dtype {
        /// The weights file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        found: Dtype,
    },
    /// A tensor holds numbers that are no use.
    #[error(
        "{path}: {count} of the {of} numbers of {name} are {}",
        match .wider {
            Some(dtype) => format!("beyond the range of {dtype}; take float32"),
            None => "NaN or infinite; the checkpoint is damaged, or its training failed".into(),
        }
    )]
    NotFinite {
        /// The weights file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// How many are not finite.
        count: usize,
        /// How many numbers it has.
        of: usize,
        /// The format that does not hold them, where f32 does.
        wider: Option<crate::dtype::Dtype>,
    },
}

/// The first few of `count` names, and how many more there are.
fn list(names: &[String], count: usize) -> String {
    match names {
        [name] => format!("the tensor {name}"),
        names if count <= 4 => format!("the tensors {}", names.join(", ")),
        names => format!(
            "{count} tensors: {} and {} more",
            names[..3].join(", "),
            count - 3
        ),
    }
}

/// How to make weights of another format into safetensors, where there are such.
fn converting(dir: &Path) -> String {
    let pickled = ["pytorch_model.bin", "pytorch_model.bin.index.json"];
    if !pickled.iter().any(|name| dir.join(name).is_file()) {
        return String::new();
    }
    let dir = dir.display();
    format!(
        "; pytorch_model.bin is turned into one by: python -c \"from transformers import AutoModelForCausalLM as M; \
         M.from_pretrained('{dir}', dtype='auto').save_pretrained('{dir}')\""
    )
}
