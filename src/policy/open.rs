//! From `[model]` and `[prompt]` to a policy.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Device;
use bytesize::ByteSize;
use gcpo_data::dataset::hub_name;
use gcpo_data::{Tokenizer, arithmetic};
use gcpo_model::checkpoint::{self, CheckpointError, Described, Loaded};
use gcpo_model::config::ModelConfig;
use gcpo_model::dtype::Dtype;
use gcpo_model::generation::GenerationConfig;
use gcpo_model::inference;
use gcpo_model::llama::Llama;
use gcpo_model::lora::{self, Lora, Peft};
use gcpo_model::quickstart;
use serde_json::json;

use crate::console::note;
use crate::policy::{Model, ModelPath, Policy, PromptChoice, PromptStyle, Shape, TokenizerSource};
use crate::run::digest::{self, Digests};
use crate::stream::{Stage, StreamKey, uniform};

/// Special tokens of tokenizers that are made here. The second ends a completion.
const SPECIALS: &[&str] = &["<pad>", "<eos>", "<q>", "<a>", "<final>"];

/// The policy that `[model]` says, in f32; random weights are drawn from `seed`. `texts` are what a tokenizer is learnt from, if it
/// is to be.
///
/// # Errors
/// A file is missing or wrong, or the parts do not belong together.
pub fn policy(
    model: &Model,
    choice: &PromptChoice,
    seed: u64,
    texts: impl FnOnce() -> Vec<String>,
    device: &Device,
) -> Result<Policy> {
    let path = match &model.path {
        Some(path) => path,
        None => return random(model, choice, seed, texts, device),
    };
    let policy = load(path, choice, Dtype::F32, device)?;
    match &model.lora {
        None => Ok(policy),
        Some(settings) => adapted(policy, settings.lora(), path, seed),
    }
}

/// The policy with new adapters on it, whose numbers are drawn from `seed`.
fn adapted(policy: Policy, lora: Lora, path: &ModelPath, seed: u64) -> Result<Policy> {
    let key = StreamKey {
        seed,
        step: 0,
        prompt: 0,
        stage: Stage::Adapters,
        sample: 0,
    };
    let mut rng = key.rng();
    let model =
        lora::attach(policy.model.clone(), &lora, &mut || uniform(&mut rng)).context("[model.lora]")?;
    let base = path.to_string();
    Ok(policy.with_adapter(model, Peft { lora, base }))
}

/// The policy of a checkpoint with the adapter in `adapter`, if one is given.
///
/// # Errors
/// A file is missing or wrong, or the adapter is of another model.
pub fn load_adapted(
    path: &ModelPath,
    adapter: Option<&Path>,
    choice: &PromptChoice,
    dtype: Dtype,
    device: &Device,
) -> Result<Policy> {
    let policy = load(path, choice, dtype, device)?;
    let Some(dir) = adapter else {
        return Ok(policy);
    };
    let (model, peft) = Peft::load(policy.model.clone(), dir)?;
    Ok(policy.with_adapter(model, peft))
}

/// [`load_adapted`] of a policy that is only generated from, by [`inference::Inference`]: on the processor its weights take no more room than
/// they need there.
///
/// # Errors
/// As [`load_adapted`].
pub fn load_to_generate(
    path: &ModelPath,
    adapter: Option<&Path>,
    choice: &PromptChoice,
    dtype: Dtype,
    device: &Device,
) -> Result<Policy> {
    let dtype = inference::read_in(&describe(path)?, dtype, device);
    load_adapted(path, adapter, choice, dtype, device)
}

/// SHA-256 of an adapter's files.
///
/// # Errors
/// A file cannot be read.
pub fn adapter_digests(dir: &Path) -> Result<Digests> {
    let names = [lora::CONFIG, lora::WEIGHTS].map(str::to_owned).to_vec();
    Ok(digest::of_files(dir, names)?)
}

/// The policy of a checkpoint, its weights of kind `dtype`.
///
/// # Errors
/// A file is missing or wrong.
pub fn load(path: &ModelPath, choice: &PromptChoice, dtype: Dtype, device: &Device) -> Result<Policy> {
    check_here(path)?;
    Ok(match path {
        ModelPath::Quickstart => Policy::quickstart(choice, dtype, device)?,
        ModelPath::Dir(dir) => Policy::load(dir, choice, dtype, device)?,
    })
}

/// The network of the checkpoint in `dir`; where that contradicts itself, the console says what was made of it.
///
/// # Errors
/// A file is missing or wrong.
pub fn network(dir: &Path, dtype: Dtype, device: &Device) -> Result<Loaded, CheckpointError> {
    let loaded = checkpoint::read(dir, dtype, device)?;
    for warning in &loaded.warnings {
        note(&format!("warning: {warning}"));
    }
    Ok(loaded)
}

/// Refuses the name of a model that is on the hub and not here, with how to get it; what else is wrong with a path is said by whoever
/// reads it.
fn check_here(path: &ModelPath) -> Result<()> {
    if let ModelPath::Dir(dir) = path
        && let Some((name, revision)) = hub_name(dir)
    {
        let option = revision.map_or_else(String::new, |revision| format!(" --revision {revision}"));
        bail!(
            "{path}: no directory here. If it is a model on the Hugging Face hub, download it (`hf download {name}{option} --local-dir \
             DIR`) and give DIR: this program fetches no models"
        );
    }
    Ok(())
}

/// What can be known of a checkpoint without loading it.
///
/// # Errors
/// It cannot be read.
pub fn describe(path: &ModelPath) -> Result<Described> {
    check_here(path)?;
    Ok(match path {
        ModelPath::Dir(dir) => checkpoint::describe(dir)?,
        ModelPath::Quickstart => checkpoint::describe_bytes(quickstart::CONFIG, quickstart::WEIGHTS)?,
    })
}

/// The number format that a checkpoint is written again in: the one that most of its numbers have. The console says so where that is
/// not plain.
///
/// # Errors
/// The checkpoint cannot be read.
pub fn own_dtype(path: &ModelPath) -> Result<Dtype> {
    let (dtype, doubt) = describe(path)?.dtype();
    if let Some(doubt) = doubt {
        note(&format!("note: {path}: {doubt}; what is saved is in {dtype}"));
    }
    Ok(dtype)
}

/// `model.save_dtype` where it is not given.
///
/// # Errors
/// As [`own_dtype`].
pub fn save_dtype(model: &Model) -> Result<Dtype> {
    match &model.path {
        Some(path @ ModelPath::Dir(_)) if model.lora.is_none() => own_dtype(path),
        _ => Ok(Dtype::F32),
    }
}

/// The tokenizer of a checkpoint.
///
/// # Errors
/// A file is missing or wrong.
pub fn tokenizer(path: &ModelPath) -> Result<Tokenizer> {
    check_here(path)?;
    Ok(match path {
        ModelPath::Quickstart => Policy::quickstart_tokenizer()?,
        ModelPath::Dir(dir) => Tokenizer::load(dir)?,
    })
}

/// Files of a checkpoint that decide what a policy does, beside its weights.
const FILES: [&str; 9] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "model.safetensors.index.json",
];

/// SHA-256 of the files of the checkpoint that `[model]` names, by their names: tells one base model from another, wherever it is
/// kept.
///
/// # Errors
/// A file cannot be read.
pub fn digests(model: &Model) -> Result<Digests> {
    let mut found = match &model.path {
        None => Digests::new(),
        Some(path) => checkpoint_digests(path)?,
    };
    if let Some(TokenizerSource::Path(path)) = &model.tokenizer {
        let file = match path.is_dir() {
            true => path.join("tokenizer.json"),
            false => path.clone(),
        };
        let digest = digest::of_file(&file).with_context(|| file.display().to_string())?;
        found.insert("model.tokenizer".to_owned(), digest);
    }
    Ok(found)
}

/// SHA-256 of a checkpoint's files, by their names.
///
/// # Errors
/// A file cannot be read.
pub fn checkpoint_digests(path: &ModelPath) -> Result<Digests> {
    check_here(path)?;
    let dir = match path {
        ModelPath::Dir(dir) => dir,
        ModelPath::Quickstart => {
            let bundled = [quickstart::CONFIG, quickstart::WEIGHTS, quickstart::TOKENIZER].concat();
            return Ok(Digests::from([(
                "quickstart".to_owned(),
                digest::of_bytes(&bundled),
            )]));
        }
    };
    let entries = dir.read_dir().with_context(|| dir.display().to_string())?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names
        .filter(|name| FILES.contains(&name.as_str()) || name.ends_with(".safetensors"))
        .collect();
    if names.iter().any(|name| name == checkpoint::WEIGHTS) {
        // Where the weights are in one file, others are not read; an optimiser's state never is.
        names.retain(|name| name == checkpoint::WEIGHTS || !name.ends_with(".safetensors"));
    }
    names.retain(|name| dir.join(name).is_file());
    Ok(digest::of_files(dir, names)?)
}

/// The prompts that a checkpoint was most likely trained on, and by what one sees it.
pub fn prompt_style(tokenizer: &Tokenizer) -> (PromptStyle, &'static str) {
    if tokenizer.chat_template().is_some() {
        (PromptStyle::Chat, "the checkpoint has a chat template")
    } else if tokenizer.token_id("<q>").is_some() && tokenizer.token_id("<a>").is_some() {
        (PromptStyle::Marks, "its tokenizer has the tokens <q> and <a>")
    } else {
        (
            PromptStyle::Plain,
            "the checkpoint has neither a chat template nor the tokens <q> and <a>",
        )
    }
}

/// The policy that `[model]` says, with all but its network, in whose place is one of no size; and the configuration of the network
/// that it should have. For what is worked out before a network is loaded.
///
/// # Errors
/// A file is missing or wrong, or the parts do not belong together.
pub fn outline(model: &Model, choice: &PromptChoice, device: &Device) -> Result<(Policy, ModelConfig)> {
    let (tokenizer, network) = match &model.path {
        Some(path) => (self::tokenizer(path)?, describe(path)?.config),
        None => {
            let shape = model.shape.as_ref();
            let shape = shape.context("model.init = \"random\" needs [model.shape]")?;
            let tokenizer = made(model, shape, Vec::new)?;
            let config = model_config(shape, &tokenizer)?;
            (tokenizer, config)
        }
    };
    let generation = match &model.path {
        Some(ModelPath::Dir(dir)) => GenerationConfig::load(dir, &network)?,
        Some(ModelPath::Quickstart) => GenerationConfig::from_json(
            quickstart::GENERATION_CONFIG,
            Path::new("generation_config.json"),
            &network,
        )?,
        None => GenerationConfig::from_config(&network),
    };
    let shape = json!({
        "model_type": "llama", "vocab_size": network.vocab_size, "hidden_size": 2, "intermediate_size": 1,
        "num_hidden_layers": 1, "num_attention_heads": 1, "tie_word_embeddings": true,
    });
    let mut none = ModelConfig::from_json(shape.to_string().as_bytes(), Path::new("outline"))?;
    none.num_hidden_layers = 0;
    let policy = Policy::from_parts(Llama::init(&none, 0, device), tokenizer, generation, choice)?;
    Ok((policy, network))
}

/// A network of `[model.shape]` with random weights.
fn random(
    model: &Model,
    choice: &PromptChoice,
    seed: u64,
    texts: impl FnOnce() -> Vec<String>,
    device: &Device,
) -> Result<Policy> {
    let shape = model.shape.as_ref();
    let shape = shape.context("model.init = \"random\" needs [model.shape]")?;
    check_memory(shape)?;
    let tokenizer = made(model, shape, texts)?;
    let model_config = model_config(shape, &tokenizer)?;
    let generation = GenerationConfig::from_config(&model_config);
    let model = Llama::init(&model_config, seed, device);
    Ok(Policy::from_parts(model, tokenizer, generation, choice)?)
}

/// The tokenizer of a network with random weights.
fn made(model: &Model, shape: &Shape, texts: impl FnOnce() -> Vec<String>) -> Result<Tokenizer> {
    Ok(match &model.tokenizer {
        Some(TokenizerSource::Path(path)) => Tokenizer::load(path)?,
        Some(TokenizerSource::Arithmetic) => Tokenizer::char_level(arithmetic::ALPHABET, SPECIALS)?,
        Some(TokenizerSource::Train) => {
            let size = shape
                .vocab_size
                .context("model.tokenizer = \"train\" needs model.shape.vocab_size")?;
            Tokenizer::train_bpe(texts(), size, SPECIALS)?
        }
        None => anyhow::bail!(
            "model.init = \"random\" needs model.tokenizer: a directory, \"arithmetic\" or \"train\""
        ),
    })
}

/// `[model.shape]` with what the tokenizer decides.
fn model_config(shape: &Shape, tokenizer: &Tokenizer) -> Result<ModelConfig> {
    Ok(shape.model_config(&json!({
        "vocab_size": shape.vocab_size.unwrap_or_else(|| tokenizer.vocab_size()),
        "eos_token_id": tokenizer.eos_id(),
        "pad_token_id": tokenizer.pad_id(),
    }))?)
}

/// Whether the numbers of a network fit this machine's memory, in which they are drawn.
fn check_memory(shape: &Shape) -> Result<()> {
    let config = shape.model_config(&json!({ "vocab_size": shape.vocab_size.unwrap_or(1) }))?;
    let bytes = config.parameters() as u64 * size_of::<f32>() as u64;
    if let Some(memory) = gcpo_model::device::of_this_machine() {
        ensure!(
            bytes <= memory.total,
            "[model.shape] makes a network of {} parameters, whose weights alone take {} in float32; this machine has {}",
            config.parameters(),
            ByteSize(bytes),
            ByteSize(memory.total)
        );
    }
    Ok(())
}
