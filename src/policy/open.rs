//! From `[model]` and `[prompt]` to a policy.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use bytesize::ByteSize;
use gcpo_data::{Tokenizer, arithmetic};
use gcpo_model::checkpoint::{self, CheckpointError};
use gcpo_model::config::ModelConfig;
use gcpo_model::dtype::Dtype;
use gcpo_model::generation::GenerationConfig;
use gcpo_model::llama::Llama;
use serde_json::json;

use crate::console::note;
use crate::policy::{Model, ModelPath, Policy, PromptChoice, PromptStyle, Shape, TokenizerSource};

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
    match &model.path {
        Some(path) => load(path, choice, Dtype::F32, device),
        None => random(model, choice, seed, texts, device),
    }
}

/// The policy of a checkpoint, its weights of kind `dtype`.
///
/// # Errors
/// A file is missing or wrong.
pub fn load(path: &ModelPath, choice: &PromptChoice, dtype: Dtype, device: &Device) -> Result<Policy> {
    Ok(match path {
        ModelPath::Quickstart => Policy::quickstart(choice, dtype, device)?,
        ModelPath::Dir(dir) => Policy::load(dir, choice, dtype, device)?,
    })
}

/// The network of the checkpoint in `dir`; where that contradicts itself, the console says what was made of it.
///
/// # Errors
/// A file is missing or wrong.
pub fn network(dir: &Path, dtype: Dtype, device: &Device) -> Result<Llama, CheckpointError> {
    let loaded = checkpoint::read(dir, dtype, device)?;
    for warning in &loaded.warnings {
        note(&format!("warning: {warning}"));
    }
    Ok(loaded.model)
}

/// The tokenizer of a checkpoint.
///
/// # Errors
/// A file is missing or wrong.
pub fn tokenizer(path: &ModelPath) -> Result<Tokenizer> {
    Ok(match path {
        ModelPath::Quickstart => Policy::quickstart_tokenizer()?,
        ModelPath::Dir(dir) => Tokenizer::load(dir)?,
    })
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
    let tokenizer = match &model.tokenizer {
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
    };
    let model_config = model_config(shape, &tokenizer)?;
    let generation = GenerationConfig::from_config(&model_config);
    let model = Llama::init(&model_config, seed, device);
    Ok(Policy::from_parts(model, tokenizer, generation, choice)?)
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
