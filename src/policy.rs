//! A checkpoint as the program uses it: a network, its tokenizer, its prompts, and the files that belong to it.

mod chat;
mod config;
mod lora;
pub mod open;
mod scorer;
mod stops;

use std::path::Path;

use burn::module::Module as _;
use burn::tensor::Device;
use gcpo_data::{ChatError, ChatTemplate, Problem, PromptError, Prompts, Tokenizer, TokenizerError};
use gcpo_model::checkpoint::{self, Beside, CheckpointError, ConfigJson, Format, Loaded};
use gcpo_model::dtype::Dtype;
use gcpo_model::generation::GenerationConfig;
use gcpo_model::inference::Inference;
use gcpo_model::llama::Llama;
use gcpo_model::lora::{LoraError, Peft};
use gcpo_model::quickstart;
use thiserror::Error;

pub use chat::Day;
pub use config::{
    Init, Model, ModelDraft, ModelPath, Prompt, PromptDraft, PromptStyle, Shape, ShapeDraft, TokenizerSource,
};
pub use scorer::{Scorer, ScorerError};
pub use stops::StopCheck;

use crate::console::note;
pub use lora::{LoraDraft, LoraSettings, TargetModules};

use crate::group::Group;
use crate::rollout::{Completion, Contexts, Engine, Rollout, RolloutError, Work};

/// Why a checkpoint cannot be used as a policy.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// The weights or their configuration.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The adapters.
    #[error(transparent)]
    Adapter(#[from] LoraError),
    /// The generation configuration.
    #[error(transparent)]
    Generation(#[from] gcpo_model::config::ConfigError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A prompt template.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// A problem's prompts.
    #[error("problem {problem}: {source}")]
    Prompted {
        /// The problem.
        problem: String,
        /// Why they cannot be made of it.
        source: PromptError,
    },
    /// A prompt's tokens.
    #[error("problem `{id}`: {source}")]
    Contexts {
        /// The problem.
        id: String,
        /// What is wrong with its prompts.
        source: RolloutError,
    },
    /// The tokenizer has ids that the model has no row for, and not only by tokens that were added to it.
    #[error(
        "the tokenizer has {tokenizer} tokens, but the model's vocabulary only {model}: they do not belong together"
    )]
    Vocabulary {
        /// Ids of the tokenizer, without added tokens.
        tokenizer: usize,
        /// Rows of the embedding.
        model: usize,
    },
    /// Nothing ends a completion.
    #[error("{0}: no end-of-sequence token: set eos_token_id in generation_config.json or config.json")]
    NoEos(String),
    /// The checkpoint's chat template.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// Chat prompts are asked for, and the checkpoint has no chat template.
    #[error(
        "{0}: prompt.style = \"chat\" needs a chat template, and this checkpoint has none: take prompt.style = \"plain\""
    )]
    NoChatTemplate(String),
}

impl PolicyError {
    fn prompt(problem: &Problem, source: PromptError) -> Self {
        Self::Prompted {
            problem: problem.named(),
            source,
        }
    }

    fn contexts(problem: &Problem, source: RolloutError) -> Self {
        Self::Contexts {
            id: problem.id.clone(),
            source,
        }
    }
}

/// What is done with an engine.
pub type EngineWork<'a> = dyn FnMut(&Engine) -> Result<(), RolloutError> + 'a;

/// A network with all that turns problems into tokens and tokens into text.
#[derive(Clone)]
pub struct Policy {
    /// The network.
    pub model: Llama,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// All tokens that end a completion.
    pub eos: Vec<u32>,
    /// The adapters that the network has, if it has any: they are what is trained and saved.
    pub adapter: Option<Peft>,
    generation: GenerationConfig,
    config_json: ConfigJson,
    prompts: Prompts,
    stop: Vec<String>,
    /// What ends the programs that are trained on.
    ends: Vec<String>,
}

/// Which prompts to use with a checkpoint, and where their completions stop.
#[derive(Debug, Clone)]
pub struct PromptChoice {
    /// The prompts.
    pub prompt: Prompt,
    /// Texts that end a completion.
    pub stop: Vec<String>,
}

impl PromptChoice {
    /// What a config says.
    pub fn of(prompt: &Prompt, rollout: &Rollout) -> Self {
        Self {
            prompt: prompt.clone(),
            stop: rollout.stop.clone(),
        }
    }
}

impl Policy {
    /// The checkpoint in `dir`, in Hugging Face layout, its weights of kind `dtype`.
    ///
    /// # Errors
    /// [`PolicyError`] naming the file that is missing or wrong.
    pub fn load(
        dir: &Path,
        prompts: &PromptChoice,
        dtype: Dtype,
        device: &Device,
    ) -> Result<Self, PolicyError> {
        let loaded = open::network(dir, dtype, device)?;
        let generation = GenerationConfig::load(dir, loaded.model.config())?;
        Self::assemble(
            loaded,
            Tokenizer::load(dir)?,
            generation,
            prompts,
            &dir.display().to_string(),
        )
    }

    /// The tiny checkpoint in the binary.
    ///
    /// # Errors
    /// [`PolicyError`] if `prompts` do not work.
    pub fn quickstart(prompts: &PromptChoice, dtype: Dtype, device: &Device) -> Result<Self, PolicyError> {
        let loaded = checkpoint::read_bytes(quickstart::CONFIG, quickstart::WEIGHTS, dtype, device)?;
        let generation = GenerationConfig::from_json(
            quickstart::GENERATION_CONFIG,
            Path::new("generation_config.json"),
            loaded.model.config(),
        )?;
        Self::assemble(
            loaded,
            Self::quickstart_tokenizer()?,
            generation,
            prompts,
            "quickstart",
        )
    }

    /// The tokenizer of [`Policy::quickstart`].
    ///
    /// # Errors
    /// [`TokenizerError`] if the bundled files are damaged.
    pub fn quickstart_tokenizer() -> Result<Tokenizer, TokenizerError> {
        let config = std::str::from_utf8(quickstart::TOKENIZER_CONFIG).expect("bundled as UTF-8");
        Tokenizer::from_bytes(quickstart::TOKENIZER)?.with_config(config)
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
        let loaded = Loaded {
            model,
            config_json: ConfigJson::default(),
            warnings: Vec::new(),
        };
        Self::assemble(loaded, tokenizer, generation, prompts, "model")
    }

    fn assemble(
        loaded: Loaded,
        tokenizer: Tokenizer,
        generation: GenerationConfig,
        prompts: &PromptChoice,
        name: &str,
    ) -> Result<Self, PolicyError> {
        let Loaded {
            model, config_json, ..
        } = loaded;
        let vocabulary = model.config().vocab_size;
        if tokenizer.learnt_size() > vocabulary {
            return Err(PolicyError::Vocabulary {
                tokenizer: tokenizer.learnt_size(),
                model: vocabulary,
            });
        }
        for text in tokenizer.notes() {
            note(&format!("note: {name}: {text}"));
        }
        let tokenizer = tokenizer.with_rows(vocabulary);
        let eos = eos(&generation.eos_token_id, &tokenizer, vocabulary);
        if eos.is_empty() {
            return Err(PolicyError::NoEos(name.into()));
        }
        let chat = match prompts.prompt.style {
            PromptStyle::Chat => Some(
                ChatTemplate::of(&tokenizer, &prompts.prompt.chat_options())?
                    .ok_or_else(|| PolicyError::NoChatTemplate(name.into()))?,
            ),
            _ => None,
        };
        let stop = prompts.stop.clone();
        let prompts = Prompts::new(
            &prompts.prompt.templates(),
            chat,
            prompts.prompt.system.as_deref(),
        )?;
        Ok(Self {
            stop,
            ends: Vec::new(),
            model,
            tokenizer,
            eos,
            adapter: None,
            generation,
            config_json,
            prompts,
        })
    }

    /// The same with another network.
    pub fn with_model(&self, model: Llama) -> Self {
        Self {
            model,
            ..self.clone()
        }
    }

    /// The same with adapters on its network, which `model` is.
    pub fn with_adapter(self, model: Llama, adapter: Peft) -> Self {
        Self {
            model,
            adapter: Some(adapter),
            ..self
        }
    }

    /// The same with its adapters merged into the network's weights.
    pub fn merged(self) -> Self {
        Self {
            model: self.model.materialize(),
            adapter: None,
            ..self
        }
    }

    /// Writes the checkpoint, in Hugging Face layout, into the existing directory `dir`; where the network has adapters, these alone,
    /// in f32 and in PEFT's. Where the format does not hold a weight, all are in f32, and the console says so.
    ///
    /// # Errors
    /// [`PolicyError`] naming the file that could not be written, or the tensor that is not finite.
    pub fn save(&self, dir: &Path, format: impl Into<Format>) -> Result<(), PolicyError> {
        match &self.adapter {
            None => self.save_network(dir, format.into())?,
            Some(adapter) => adapter.save(&self.model, dir)?,
        }
        Ok(self.tokenizer.save(dir)?)
    }

    /// Writes the network alone, without the tokenizer.
    ///
    /// # Errors
    /// As [`Policy::save`].
    pub fn save_network(&self, dir: &Path, format: Format) -> Result<(), PolicyError> {
        let beside = Beside {
            config_json: &self.config_json,
            generation: &self.generation,
        };
        let save = |format| checkpoint::save_as(&self.model, beside, dir, format);
        match save(format) {
            Err(error @ CheckpointError::NotFinite { wider: Some(_), .. }) => {
                note(&format!("warning: {error}, as is done here"));
                let dtype = Dtype::F32;
                Ok(save(Format { dtype, ..format })?)
            }
            saved => Ok(saved?),
        }
    }

    /// The contexts of a problem that is only answered.
    ///
    /// # Errors
    /// [`PolicyError`] if the prompt cannot be made of it.
    pub fn answer_contexts(&self, problem: &Problem) -> Result<Contexts, PolicyError> {
        let answer = self.prompts.answer(problem, &self.tokenizer);
        let answer = answer.map_err(|source| PolicyError::prompt(problem, source))?;
        Contexts::answer_only(answer.fill(&[], None)).map_err(|source| PolicyError::contexts(problem, source))
    }

    /// All contexts of a problem with `n` candidates, quoted by their last `candidate_tokens` tokens (0: all).
    ///
    /// # Errors
    /// [`PolicyError`] if a prompt cannot be made of it.
    pub fn contexts(
        &self,
        problem: &Problem,
        n: usize,
        candidate_tokens: usize,
    ) -> Result<Contexts, PolicyError> {
        let (prompts, tokenizer) = (&self.prompts, &self.tokenizer);
        let made = || -> Result<_, PromptError> {
            Ok((
                prompts.answer(problem, tokenizer)?.fill(&[], None),
                prompts.integrate(problem, n, tokenizer)?,
                prompts.project(problem, n - 1, tokenizer)?,
            ))
        };
        let (answer, integrate, project) = made().map_err(|source| PolicyError::prompt(problem, source))?;
        Contexts::new(answer, integrate, project, candidate_tokens)
            .map_err(|source| PolicyError::contexts(problem, source))
    }

    /// A problem as a group that is yet to be asked, number `number` of its step. With `quoted = Some((n, tokens))` it has the
    /// contexts of all stages for `n` candidates ([`Policy::contexts`]), without only that of the answer.
    ///
    /// # Errors
    /// [`PolicyError`] if a prompt cannot be made of it.
    pub fn group(
        &self,
        problem: &Problem,
        number: usize,
        quoted: Option<(usize, usize)>,
    ) -> Result<Group, PolicyError> {
        let contexts = self.contexts_of(problem, quoted)?;
        let mut group = Group::new(problem.clone(), number, String::new(), contexts);
        self.write_prompt(&mut group)?;
        Ok(group)
    }

    /// Writes a group's prompt into it, as the model reads it and as others do.
    ///
    /// # Errors
    /// [`PolicyError`] if the prompt cannot be made of its problem.
    pub fn write_prompt(&self, group: &mut Group) -> Result<(), PolicyError> {
        let text = self.tokenizer.decode(group.contexts.answer(), false);
        group.prompt = text.unwrap_or_default();
        group.asked = Some(self.prompts.asked(&group.problem)?);
        Ok(())
    }

    fn contexts_of(
        &self,
        problem: &Problem,
        quoted: Option<(usize, usize)>,
    ) -> Result<Contexts, PolicyError> {
        match quoted {
            None => self.answer_contexts(problem),
            Some((n, candidate_tokens)) => self.contexts(problem, n, candidate_tokens),
        }
    }

    /// Looks whether the longest context that a problem's group ([`Policy::group`]) can come to fits the network's positions.
    ///
    /// # Errors
    /// [`PolicyError::Contexts`] with the problem and what does not fit.
    pub fn check_fits(
        &self,
        problem: &Problem,
        quoted: Option<(usize, usize)>,
        how: &Rollout,
    ) -> Result<(), PolicyError> {
        let positions = self.model.config().positions();
        let contexts = self.contexts_of(problem, quoted)?;
        let fits = contexts.check_fits(how.max_completion_length, positions);
        fits.map_err(|source| PolicyError::contexts(problem, source))
    }

    /// Does `work` with an engine over `model`, this policy's network ready to generate, and says how much work it was.
    /// `shares_prefixes` as [`Engine::sharing`].
    ///
    /// # Errors
    /// That of `work`.
    pub fn with_engine(
        &self,
        model: &Inference,
        how: &Rollout,
        shares_prefixes: bool,
        work: &mut EngineWork,
    ) -> Result<Work, RolloutError> {
        let stops = self.stops();
        let engine = Engine::new(model, &self.eos, how)
            .with_stops(stops.as_deref())
            .sharing(shares_prefixes);
        work(&engine)?;
        Ok(engine.work())
    }

    /// What transformers would leave out at random while it trains this network, by the keys of `config.json`: nothing is left out here.
    pub fn dropouts(&self) -> Vec<String> {
        self.config_json.dropouts()
    }

    /// The three prompts.
    pub fn prompts(&self) -> &Prompts {
        &self.prompts
    }

    /// A completion as text, special tokens left out, and ids without a token as well (rows by which an embedding was rounded
    /// up): an untrained row may be sampled.
    pub fn decode(&self, completion: &Completion) -> String {
        self.text(&completion.tokens)
    }

    /// The text of tokens, special ones and those that the tokenizer does not know left out.
    pub fn text(&self, tokens: &[u32]) -> String {
        self.tokenizer.decode(tokens, true).unwrap_or_default()
    }
}

/// What ends a completion: the ids of `generation_config.json`, and the tokenizer's EOS beside them, as in vLLM. Says so where the
/// latter is not among the former, for transformers takes those only.
fn eos(generation: &[u32], tokenizer: &Tokenizer, vocabulary: usize) -> Vec<u32> {
    let own = tokenizer.eos_id().filter(|&id| (id as usize) < vocabulary);
    let more = own.filter(|id| !generation.contains(id));
    if let Some(id) = more
        && !generation.is_empty()
    {
        let named = |ids: &[u32]| {
            let names = ids
                .iter()
                .map(|&id| format!("{} ({id})", tokenizer.token(id).unwrap_or_default()));
            names.collect::<Vec<_>>().join(", ")
        };
        note(&format!(
            "the tokenizer's eos_token {} is not among those of generation_config.json, {}: each of them ends a completion",
            named(&[id]),
            named(generation)
        ));
    }
    generation.iter().copied().chain(more).collect()
}
