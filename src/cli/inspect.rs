//! `gcpo inspect`: what a model is, from its `config.json` and the headers of its weights; no weight is read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use bytesize::ByteSize;
use gcpo_model::config::ModelConfig;
use serde_json::{Map, Value};

use super::args::InspectArgs;
use super::run::print_line;

/// Prints what the model in a directory is.
///
/// # Errors
/// The directory holds no model, or one that is not supported.
pub fn run(args: &InspectArgs) -> Result<()> {
    let config = ModelConfig::load(&args.model)?;
    let stored = Stored::read(&args.model)?;
    let length = args.length.unwrap_or(config.max_position_embeddings);
    ensure!(
        length <= config.max_position_embeddings,
        "--length {length} is more than the {} positions of the model; give at most that",
        config.max_position_embeddings
    );
    print_line(describe(&config, &stored, args.batch, length).trim_end())
}

/// Numbers in the weights files, from their headers.
#[derive(Debug, Default, PartialEq)]
struct Stored {
    files: usize,
    tensors: usize,
    bytes: u64,
    /// How many numbers of each format.
    numbers: BTreeMap<String, u64>,
}

impl Stored {
    fn read(dir: &Path) -> Result<Self> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
            .with_context(|| format!("cannot read {}", dir.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "safetensors")
            })
            .filter(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with("model"))
            })
            .collect();
        files.sort();
        ensure!(!files.is_empty(), "{} holds no model*.safetensors", dir.display());
        let mut stored = Self::default();
        for file in files {
            stored
                .add(&file)
                .with_context(|| format!("{} is no safetensors file", file.display()))?;
        }
        Ok(stored)
    }

    /// Adds a file: eight bytes with the header's length, the header as JSON, the numbers.
    fn add(&mut self, path: &Path) -> Result<()> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        ensure!(length <= size.saturating_sub(8), "its header is cut off");
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header)?;
        let header: Map<String, Value> = serde_json::from_slice(&header)?;
        self.files += 1;
        self.bytes += size;
        for (name, tensor) in header.iter().filter(|(name, _)| *name != "__metadata__") {
            let (Some(dtype), Some(shape)) = (tensor["dtype"].as_str(), tensor["shape"].as_array()) else {
                bail!("its header says nothing of `{name}`");
            };
            let count: u64 = shape.iter().filter_map(Value::as_u64).product();
            self.tensors += 1;
            *self.numbers.entry(dtype.to_owned()).or_default() += count;
        }
        Ok(())
    }
}

/// Bytes that `rows` rows of `length` tokens take, with numbers in f32 as they are computed with.
struct Memory {
    weights: u64,
    cache: u64,
    /// Gradients and AdamW's two moments.
    optimiser: u64,
    /// What the backward pass needs of the forward pass; about.
    activations: u64,
}

impl Memory {
    fn of(config: &ModelConfig, rows: usize, length: usize) -> Self {
        const F32: u64 = 4;
        let parameters = config.parameters() as u64;
        let tokens = (rows * length) as u64;
        let (d, f) = (config.hidden_size as u64, config.intermediate_size as u64);
        let q = (config.num_attention_heads * config.head_dim) as u64;
        let kv = (config.num_key_value_heads * config.head_dim) as u64;
        // A layer keeps its two norms' inputs and outputs, q, k and v before and after rotation, the attention's output, and
        // the four products of the MLP; and the scores and their softmax, since autodiff runs attention in steps.
        let per_token = 5 * d + 3 * q + 4 * kv + 4 * f;
        let scores = 2 * (config.num_attention_heads * length) as u64;
        Self {
            weights: F32 * parameters,
            cache: tokens * (config.kv_numbers_per_token() * size_of::<f32>()) as u64,
            optimiser: 3 * F32 * parameters,
            activations: F32 * tokens * config.num_hidden_layers as u64 * (per_token + scores),
        }
    }
}

fn describe(config: &ModelConfig, stored: &Stored, rows: usize, length: usize) -> String {
    let tied = match config.tie_word_embeddings {
        true => "head tied to it",
        false => "head of its own",
    };
    let formats: Vec<String> = stored
        .numbers
        .iter()
        .map(|(dtype, count)| format!("{dtype} {}", grouped(*count)))
        .collect();
    let shape = format!(
        "{} layers, d {}, {} heads and {} key/value heads of {}, ff {}",
        config.num_hidden_layers,
        config.hidden_size,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_dim,
        config.intermediate_size
    );
    let of_model = [
        ("architecture", config.model_type.architecture().to_owned()),
        ("shape", shape),
        ("vocabulary", format!("{}, {tied}", config.vocab_size)),
        ("positions", config.max_position_embeddings.to_string()),
        ("parameters", grouped(config.parameters() as u64)),
        ("dtype", formats.join(", ")),
        (
            "stored in",
            format!(
                "{}, {} tensors, {}",
                counted(stored.files, "file"),
                stored.tensors,
                ByteSize(stored.bytes)
            ),
        ),
    ];
    let for_rows = format!(
        "for {} of {length} tokens, computed in float32",
        counted(rows, "row")
    );
    let of_memory = Memory::of(config, rows, length).describe(for_rows);
    let lines = of_model.into_iter().chain(of_memory);
    lines.fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name:<14}{value}");
        text
    })
}

impl Memory {
    fn describe(&self, for_rows: String) -> [(&'static str, String); 5] {
        let training = ByteSize(self.weights + self.optimiser + self.activations);
        let (weights, cache) = (ByteSize(self.weights), ByteSize(self.cache));
        let (optimiser, activations) = (ByteSize(self.optimiser), ByteSize(self.activations));
        [
            ("memory", for_rows),
            ("  sampling", ByteSize(self.weights + self.cache).to_string()),
            ("", format!("weights {weights}, keys and values {cache}")),
            ("  training", format!("about {training}")),
            (
                "",
                format!(
                    "weights {weights}, gradients and AdamW {optimiser}, activations about {activations}"
                ),
            ),
        ]
    }
}

/// `1 row`, `2 rows`
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A count with a comma between thousands.
fn grouped(count: u64) -> String {
    indicatif::HumanCount(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: &str = r#"{"model_type": "llama", "vocab_size": 512, "hidden_size": 128, "intermediate_size": 384,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
        "rms_norm_eps": 1e-6, "tie_word_embeddings": true}"#;

    fn config() -> ModelConfig {
        ModelConfig::from_json(SHAPE.as_bytes(), Path::new("config.json")).unwrap()
    }

    fn write(path: &Path, header: &str) {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.extend_from_slice(&[0; 20]);
        std::fs::write(path, file).unwrap();
    }

    #[test]
    fn headers_are_counted_over_shards() {
        let dir = tempfile::tempdir().unwrap();
        let header = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},
            "b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}}"#;
        for name in [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "optimizer.safetensors",
        ] {
            write(&dir.path().join(name), header);
        }
        let stored = Stored::read(dir.path()).unwrap();
        assert_eq!((stored.files, stored.tensors), (2, 4));
        assert_eq!(
            stored.numbers,
            BTreeMap::from([("BF16".into(), 12), ("F32".into(), 4)])
        );

        std::fs::write(dir.path().join("model-3.safetensors"), b"hello, world").unwrap();
        let error = format!("{:#}", Stored::read(dir.path()).unwrap_err());
        assert!(
            error.contains("model-3.safetensors") && error.contains("cut off"),
            "{error}"
        );
    }

    #[test]
    fn memory_grows_with_rows_and_length() {
        let config = config();
        let one = Memory::of(&config, 1, 64);
        let four = Memory::of(&config, 4, 64);
        assert_eq!(one.weights, 4 * config.parameters() as u64);
        // 4 layers, keys and values, 2 heads of 32 numbers of 4 bytes.
        assert_eq!(one.cache, 64 * 4 * 2 * 2 * 32 * 4);
        assert_eq!(
            (four.cache, four.activations),
            (4 * one.cache, 4 * one.activations)
        );
        assert!(
            Memory::of(&config, 1, 128).activations > 2 * one.activations,
            "the scores grow with the square"
        );
    }

    #[test]
    fn the_text_names_the_facts() {
        let stored = Stored {
            files: 1,
            tensors: 38,
            bytes: 3 << 20,
            numbers: BTreeMap::from([("F32".into(), 7)]),
        };
        let text = describe(&config(), &stored, 8, 256);
        for part in [
            "LlamaForCausalLM",
            "4 layers, d 128",
            "512, head tied",
            "F32 7",
            "3.0 MiB",
            "8 rows of 256 tokens",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
