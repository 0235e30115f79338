//! A checkpoint as the program uses it: a network, its tokenizer, its prompts, and the files that belong to it.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use gcpo_data::{ChatTemplate, Piece, Problem, PromptError, Prompts, Templates, Tokenizer, TokenizerError};
use gcpo_model::{CheckpointError, Dtype, GenerationConfig, Llama, checkpoint, quickstart};
use thiserror::Error;

use crate::rollout::{Chunk, Completion, PromptPlan, RolloutError};

/// Files beside the weights that a checkpoint is saved with, where it was loaded with them.
const COMPANIONS: &[&str] = &[
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
];

/// Why a checkpoint cannot be used as a policy.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// The weights or their configuration.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A prompt template.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// A prompt's tokens.
    #[error("problem `{id}`: {source}")]
    Plan {
        /// The problem.
        id: String,
        /// What is wrong with its prompts.
        source: RolloutError,
    },
    /// The tokenizer has ids that the model has no row for.
    #[error("the tokenizer has {tokenizer} tokens, but the model's vocabulary only {model}: they do not belong together")]
    Vocabulary {
        /// Ids of the tokenizer.
        tokenizer: usize,
        /// Rows of the embedding.
        model: usize,
    },
    /// Nothing ends a completion.
    #[error("{0}: no end-of-sequence token: set eos_token_id in generation_config.json or config.json")]
    NoEos(String),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// A network with all that turns problems into tokens and tokens into text.
#[derive(Clone)]
pub struct Policy {
    /// The network.
    pub model: Llama,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// All tokens that end a completion.
    pub eos: Vec<u32>,
    generation: GenerationConfig,
    prompts: Prompts,
    files: Vec<(String, Vec<u8>)>,
}

/// Which prompts to use with a checkpoint.
#[derive(Debug, Clone)]
pub struct PromptChoice {
    /// The three templates.
    pub templates: Templates,
    /// Whether they go through the checkpoint's chat template.
    pub chat: bool,
    /// System message of the chat template.
    pub system: Option<String>,
}

impl Policy {
    /// The checkpoint in `dir`, in Hugging Face layout.
    ///
    /// # Errors
    /// [`PolicyError`] naming the file that is missing or wrong.
    pub fn load(dir: &Path, prompts: &PromptChoice, device: &Device) -> Result<Self, PolicyError> {
        let model = checkpoint::load(dir, device)?;
        let generation = GenerationConfig::load(dir)?;
        let mut files = Vec::new();
        for name in COMPANIONS {
            let path = dir.join(name);
            match fs::read(&path) {
                Ok(bytes) => files.push((name.to_string(), bytes)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(PolicyError::Io { path, source }),
            }
        }
        let chat = if prompts.chat { Some(ChatTemplate::load(dir)?) } else { None };
        Self::assemble(model, Tokenizer::load(dir)?, generation, prompts, chat, files, &dir.display().to_string())
    }

    /// The tiny checkpoint in the binary.
    ///
    /// # Errors
    /// [`PolicyError`] if `prompts` do not work.
    pub fn quickstart(prompts: &PromptChoice, device: &Device) -> Result<Self, PolicyError> {
        let model = checkpoint::load_bytes(quickstart::CONFIG, quickstart::WEIGHTS, device)?;
        let generation = GenerationConfig::from_bytes(quickstart::GENERATION_CONFIG)?;
        let files = vec![
            ("tokenizer.json".to_string(), quickstart::TOKENIZER.to_vec()),
            ("tokenizer_config.json".to_string(), quickstart::TOKENIZER_CONFIG.to_vec()),
        ];
        let tokenizer = Tokenizer::from_bytes(quickstart::TOKENIZER)?;
        Self::assemble(model, tokenizer, generation, prompts, None, files, "quickstart")
    }

    /// A new network with a tokenizer that has no checkpoint of its own.
    ///
    /// # Errors
    /// [`PolicyError`] if they do not belong together.
    pub fn from_parts(
        model: Llama,
        tokenizer: Tokenizer,
        generation: GenerationConfig,
        prompts: &PromptChoice,
    ) -> Result<Self, PolicyError> {
        let files = tokenizer.files()?;
        Self::assemble(model, tokenizer, generation, prompts, None, files, "model")
    }

    fn assemble(
        model: Llama,
        tokenizer: Tokenizer,
        generation: GenerationConfig,
        prompts: &PromptChoice,
        chat: Option<ChatTemplate>,
        files: Vec<(String, Vec<u8>)>,
        name: &str,
    ) -> Result<Self, PolicyError> {
        let eos = generation.eos_token_ids().to_vec();
        if eos.is_empty() {
            return Err(PolicyError::NoEos(name.into()));
        }
        let vocabulary = model.config().vocab_size;
        if tokenizer.vocab_size() > vocabulary {
            return Err(PolicyError::Vocabulary { tokenizer: tokenizer.vocab_size(), model: vocabulary });
        }
        let prompts = Prompts::new(&prompts.templates, chat, prompts.system.as_deref())?;
        Ok(Self { model, tokenizer, eos, generation, prompts, files })
    }

    /// Writes the checkpoint, in Hugging Face layout, into the existing directory `dir`.
    ///
    /// # Errors
    /// [`PolicyError`] naming the file that could not be written.
    pub fn save(&self, dir: &Path, dtype: Dtype) -> Result<(), PolicyError> {
        checkpoint::save(&self.model, &self.generation, dir, dtype)?;
        for (name, bytes) in &self.files {
            let path = dir.join(name);
            fs::write(&path, bytes).map_err(|source| PolicyError::Io { path, source })?;
        }
        Ok(())
    }

    /// The contexts of a problem that is only answered.
    ///
    /// # Errors
    /// [`PolicyError`] if the prompt cannot be made of it.
    pub fn answer_plan(&self, problem: &Problem) -> Result<PromptPlan, PolicyError> {
        PromptPlan::answer_only(self.answer_context(&problem.question)?)
            .map_err(|source| PolicyError::Plan { id: problem.id.clone(), source })
    }

    /// All contexts of a problem with `n` candidates, quoted by their last `candidate_tokens` tokens (0: all).
    ///
    /// # Errors
    /// [`PolicyError`] if a prompt cannot be made of it.
    pub fn plan(&self, problem: &Problem, n: usize, candidate_tokens: usize) -> Result<PromptPlan, PolicyError> {
        let question = &problem.question;
        PromptPlan::new(
            self.answer_context(question)?,
            self.chunks(self.prompts.integrate(question, n)?),
            self.chunks(self.prompts.project(question, n - 1)?),
            candidate_tokens,
        )
        .map_err(|source| PolicyError::Plan { id: problem.id.clone(), source })
    }

    /// The tokens of the answer prompt.
    ///
    /// # Errors
    /// [`PolicyError`] if the prompt cannot be made of the question.
    pub fn answer_context(&self, question: &str) -> Result<Vec<u32>, PolicyError> {
        let chunks = self.chunks(self.prompts.answer(question)?);
        Ok(chunks
            .into_iter()
            .flat_map(|chunk| match chunk {
                Chunk::Tokens(tokens) => tokens,
                Chunk::Candidate(_) | Chunk::Integration => Vec::new(),
            })
            .collect())
    }

    /// A prompt's pieces as tokens. A chat template writes its own beginning-of-sequence token; without one the
    /// tokenizer's own special tokens stand in front.
    pub fn chunks(&self, pieces: Vec<Piece>) -> Vec<Chunk> {
        let plain = !self.prompts.is_chat();
        pieces
            .into_iter()
            .enumerate()
            .map(|(at, piece)| match piece {
                Piece::Text(text) => Chunk::Tokens(self.tokenizer.encode(&text, plain && at == 0)),
                Piece::Candidate(k) => Chunk::Candidate(k),
                Piece::Integration => Chunk::Integration,
            })
            .collect()
    }

    /// The three prompts.
    pub fn prompts(&self) -> &Prompts {
        &self.prompts
    }

    /// A completion as text, special tokens left out.
    pub fn decode(&self, completion: &Completion) -> String {
        self.tokenizer.decode(&completion.tokens, true)
    }
}
