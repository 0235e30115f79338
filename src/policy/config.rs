//! `[model]` and `[prompt]`.

use std::path::{Path, PathBuf};

use gcpo_data::{ChatOptions, Templates};
use gcpo_model::config::{ConfigError as ModelError, ModelConfig};
use gcpo_model::dtype::Dtype;
use serde_json::{Value as Json, json};
use toml::Value as Toml;

use super::chat::Day;
use crate::policy::lora::{LoraDraft, LoraSettings};
use crate::section::{
    Arguments, Check, ConfigError, Known as _, Maybe, Value, impossible, positive, required, section, text,
    within, words,
};

section! {
    /// `[model]`: the network that is trained, and its tokenizer.
    pub struct Model from ModelDraft {
        /// A checkpoint directory in Hugging Face layout, or `"quickstart"` for the one in the binary. Either this or `init`.
        /// Source: this project.
        pub path: Option<ModelPath>,
        /// How to make a network without a checkpoint: `"random"` draws one of `shape` from `seed`. Source: this project.
        pub init: Option<Init>,
        /// The tokenizer: a directory or `tokenizer.json`, `"arithmetic"` (characters, built in) or `"train"` (a byte-level BPE
        /// learned from the demonstrations; `gcpo sft` only). Default: the checkpoint's own. Source: this project.
        pub tokenizer: Option<TokenizerSource>,
        /// Number format of the weights in saved checkpoints; where it is not float32, a resume finds them in float32 in `trainer/`.
        /// Default: the checkpoint's own, which most of its numbers have; `"float32"` for `init`, `"quickstart"` and adapters.
        /// Source: transformers (`dtype = "auto"`).
        pub save_dtype: Option<Dtype>,
        /// The network's shape where `init = "random"`.
        pub shape: Option<Shape> of ShapeDraft => match init {
            _ if shape == ShapeDraft::default() => Ok(None),
            Some(Init::Random) => shape.complete().map(Some),
            None => Err(ConfigError::new("a shape is for random weights only")
                .help("add `init = \"random\"` to [model] or remove the shape")),
        },
        /// Adapters that are trained in the model's place.
        pub lora: Option<LoraSettings> of Maybe<LoraDraft> => lora.complete(LoraDraft::complete),
    }
}

impl Check for Model {
    fn check(&self) -> Result<(), ConfigError> {
        self.check_lora()?;
        match (&self.path, self.init, &self.shape) {
            (Some(_), Some(_), _) => impossible(
                "init",
                "a model is either loaded (`model.path`) or made (`model.init`), not both",
                "remove one of the two",
            ),
            (_, Some(Init::Random), None) => impossible(
                "init",
                "random weights need a shape",
                "add a section [model.shape] with hidden_size, intermediate_size, num_hidden_layers and num_attention_heads",
            ),
            (_, Some(Init::Random), Some(shape)) => match &self.tokenizer {
                None => impossible(
                    "init",
                    "random weights bring no tokenizer",
                    "set `model.tokenizer` to a directory, \"arithmetic\" or \"train\"",
                ),
                Some(TokenizerSource::Train) if shape.vocab_size.is_none() => impossible(
                    "shape.vocab_size",
                    "a tokenizer that is learned needs its size",
                    "add `vocab_size = …`, 256 or more, to [model.shape]",
                ),
                _ => Ok(()),
            },
            (Some(ModelPath::Quickstart), None, _) if self.tokenizer.is_some() => impossible(
                "tokenizer",
                "the quickstart checkpoint brings its own tokenizer",
                "remove the key",
            ),
            _ => Ok(()),
        }
    }
}

impl Model {
    /// What adapters cannot go with.
    fn check_lora(&self) -> Result<(), ConfigError> {
        if self.lora.is_none() {
            return Ok(());
        }
        if self.init.is_some() || self.tokenizer.is_some() {
            return impossible(
                "lora",
                "adapters are of a checkpoint, with its own tokenizer",
                "set `model.path` and remove `init` and `tokenizer`, or remove [model.lora]",
            );
        }
        if self.save_dtype.is_some_and(|dtype| dtype != Dtype::F32) {
            return impossible(
                "save_dtype",
                "adapters are saved in float32",
                "remove the key; `gcpo merge` writes the merged model in the base model's format",
            );
        }
        Ok(())
    }
}

section! {
    /// `[model.shape]`: the shape of a network made from random weights, in the names of Hugging Face's `config.json`.
    pub struct Shape from ShapeDraft {
        /// Family: `"llama"`, `"qwen2"`, `"qwen3"`, `"mistral"` and others, with the defaults of its `config.json` for what has no key
        /// here. Source: Hugging Face.
        pub model_type: String = String::from("llama"),
        /// Rows of the embedding. Default: what the tokenizer needs. Source: this project.
        pub vocab_size: Option<usize>,
        /// Width of the residual stream. Default: none, it must be given. Source: Hugging Face.
        pub hidden_size: usize => of_shape("hidden_size")?,
        /// Width inside the MLP. Default: none, it must be given. Source: Hugging Face.
        pub intermediate_size: usize => of_shape("intermediate_size")?,
        /// Number of layers. Default: none, it must be given. Source: Hugging Face.
        pub num_hidden_layers: usize => of_shape("num_hidden_layers")?,
        /// Number of query heads. Default: none, it must be given. Source: Hugging Face.
        pub num_attention_heads: usize => of_shape("num_attention_heads")?,
        /// Number of key/value heads. Source: Hugging Face.
        pub num_key_value_heads: usize => num_attention_heads,
        /// Width of one head. Default: `hidden_size / num_attention_heads`. Source: Hugging Face.
        pub head_dim: usize => per_head(hidden_size, num_attention_heads)?,
        /// Longest context in tokens. Source: Hugging Face (Llama).
        pub max_position_embeddings: usize = 2048,
        /// Base of the rotary position embedding. Source: Hugging Face (Llama).
        pub rope_theta: f64 = 10000.0,
        /// Epsilon of the RMS norms. Source: Hugging Face (Llama).
        pub rms_norm_eps: f64 = 1e-6,
        /// Whether the head is the embedding. Source: Hugging Face.
        pub tie_word_embeddings: bool = false,
        /// Standard deviation of the random weights. Source: Hugging Face.
        pub initializer_range: f64 = 0.02,
    }
}

fn of_shape(key: &str) -> Result<usize, ConfigError> {
    required(key, &format!("add `{key} = …` to [model.shape]"))
}

/// Sixty times the largest vocabulary there is.
const MOST_TOKENS: usize = 1 << 24;

/// Width of one head where it is not given.
fn per_head(hidden_size: usize, heads: usize) -> Result<usize, ConfigError> {
    match hidden_size.checked_div(heads) {
        None => impossible("num_attention_heads", "0 is too small", "give 1 or more"),
        Some(width) if width * heads == hidden_size => Ok(width),
        _ => impossible(
            "hidden_size",
            format!("{hidden_size} is no multiple of num_attention_heads = {heads}"),
            "mend one of them or give `head_dim`",
        ),
    }
}

impl Check for Shape {
    /// What is wrong with it as a `config.json`, and what only random weights cannot have.
    fn check(&self) -> Result<(), ConfigError> {
        // JSON has no such numbers, so they would be lost on the way.
        for (key, value) in [
            ("rope_theta", self.rope_theta),
            ("rms_norm_eps", self.rms_norm_eps),
            ("initializer_range", self.initializer_range),
        ] {
            positive(key, value)?;
        }
        // As in transformers.
        within("initializer_range", self.initializer_range, 0.0, 1.0)?;
        let vocab_size = self.vocab_size.unwrap_or(1);
        if vocab_size > MOST_TOKENS {
            let what = format!("{vocab_size} is more than any tokenizer has");
            return impossible("vocab_size", what, format!("give at most {MOST_TOKENS}"));
        }
        match self.model_config(&json!({ "vocab_size": vocab_size })) {
            Err(ModelError::Field { field, problem, .. }) => Err(ConfigError::new(problem).under(&field)),
            Err(other) => Err(ConfigError::new(other.to_string())),
            Ok(_) => Ok(()),
        }
    }
}

impl Shape {
    /// The network's configuration, with `more` fields of `config.json`, which are not of the shape's own keys.
    pub(super) fn model_config(&self, more: &Json) -> Result<ModelConfig, ModelError> {
        let draft: ShapeDraft = self.known();
        let mut json = json!(draft.write());
        for (key, value) in more.as_object().into_iter().flatten() {
            json[key] = value.clone();
        }
        ModelConfig::from_json(json.to_string().as_bytes(), Path::new("[model.shape]"))
    }
}

section! {
    /// `[prompt]`: the three prompts of GCPO as Jinja over `question`, `instruction`, `candidates` (a list) and `integration`. Where a row's
    /// prompt is a list of messages, `question` is what the user says last; what was said before stands before all three.
    pub struct Prompt from PromptDraft {
        /// Which default prompts: `"plain"` (English text), `"chat"` (English text inside the checkpoint's chat template) or
        /// `"marks"` (`<q> … <a> … <final>`, for tiny tokenizers). Source: this project.
        pub style: PromptStyle = PromptStyle::Plain,
        /// System message of the chat template, for rows that bring none of their own; `"chat"` style only. Source: this project.
        pub system: Option<String>,
        /// Arguments for the chat template, `{ enable_thinking = false }`; one that the template never reads is an error; a row's column
        /// of this name goes before it; `"chat"` style only. Source: TRL (`chat_template_kwargs`).
        pub chat_template_kwargs: Option<Arguments>,
        /// What the date (and time, in UTC) is for a chat template that asks, so that a run is the same on every day; `"chat"` style
        /// only. Default: `"2024-07-26"` with `style = "chat"`. Source: Llama 3's chat templates, where there is no clock.
        pub date: Option<Day> => (style == PromptStyle::Chat).then(Day::default),
        /// What is said behind a question, in the place of the prompts' `instruction`; `""` is nothing. Default: with `style = "chat"`
        /// `"Reason step by step, and put your final answer within \\boxed{}."`, but nothing behind a prompt of messages, which says
        /// itself what it wants; with other styles nothing. Source: this project.
        pub instruction: Option<String>,
        /// Stage 1, a query alone: Jinja over `question` and `instruction`. Default: of `style`. Source: this project.
        pub answer: String => style.templates().answer,
        /// Stage 2, a query and all candidates: Jinja over `question` and `candidates`. Default: of `style`. Source: this project.
        pub integrate: String => style.templates().integrate,
        /// Stage 3, a query, the other candidates and an integration: Jinja over `question`, `candidates` and `integration`.
        /// Default: of `style`. Source: this project.
        pub project: String => style.templates().project,
    }
}

impl Check for Prompt {
    fn check(&self) -> Result<(), ConfigError> {
        let said = self.instruction.as_ref().is_some_and(|text| !text.is_empty());
        let prompts = [&self.answer, &self.integrate, &self.project];
        if said && !prompts.iter().any(|prompt| prompt.contains("instruction")) {
            return impossible(
                "instruction",
                "none of the three prompts has a place for it",
                "write `{{ instruction }}` in prompt.answer, or remove the key",
            );
        }
        if self.style == PromptStyle::Chat {
            return Ok(());
        }
        for (key, given, what) in [
            ("system", self.system.is_some(), "no system message"),
            (
                "chat_template_kwargs",
                self.chat_template_kwargs.is_some(),
                "no chat template",
            ),
            (
                "date",
                self.date.is_some(),
                "no chat template that could ask for it",
            ),
        ] {
            if given {
                let what = format!("style \"{}\" has {what}", self.style);
                return impossible(key, what, "set `prompt.style = \"chat\"` or remove the key");
            }
        }
        Ok(())
    }
}

impl Prompt {
    /// What the chat template is given beside the messages.
    pub fn chat_options(&self) -> ChatOptions {
        let arguments = self.chat_template_kwargs.as_ref();
        ChatOptions {
            now: self.date.unwrap_or_default().seconds(),
            arguments: arguments.map(Arguments::json).unwrap_or_default(),
        }
    }

    /// What is said behind a question of text though no key of the config says it.
    pub fn added(&self) -> Option<String> {
        let templates = self.templates();
        let is_added = self.instruction.is_none() && self.answer.contains("instruction");
        Some(templates.instruction).filter(|text| is_added && !text.is_empty())
    }

    /// The three prompts.
    pub fn templates(&self) -> Templates {
        Templates {
            answer: self.answer.clone(),
            integrate: self.integrate.clone(),
            project: self.project.clone(),
            instruction: self
                .instruction
                .clone()
                .unwrap_or_else(|| self.style.templates().instruction),
            instructs_messages: self.instruction.is_some(),
        }
    }
}

words! {
    /// How a network is made without a checkpoint.
    Init {
        /// Random weights of `model.shape`.
        Random = "random",
    }
}

words! {
    /// Which default prompts.
    PromptStyle {
        /// English text.
        Plain = "plain",
        /// English text inside the checkpoint's chat template.
        Chat = "chat",
        /// Short marks between the parts, for tiny tokenizers.
        Marks = "marks",
    }
}

impl PromptStyle {
    /// Its prompts.
    fn templates(self) -> Templates {
        match self {
            Self::Plain => Templates::plain(),
            Self::Chat => Templates::default(),
            Self::Marks => Templates::marks(),
        }
    }
}

/// `model.path`.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelPath {
    /// The tiny checkpoint in the binary.
    Quickstart,
    /// A directory in Hugging Face layout.
    Dir(PathBuf),
}

impl std::fmt::Display for ModelPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Quickstart => f.write_str("quickstart"),
            Self::Dir(dir) => dir.display().fmt(f),
        }
    }
}

/// `model.tokenizer`.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenizerSource {
    /// The built-in tokenizer of characters.
    Arithmetic,
    /// A byte-level BPE learned from the demonstrations.
    Train,
    /// A directory that holds a `tokenizer.json`, or such a file.
    Path(PathBuf),
}

/// A path, or one of a few words instead.
macro_rules! path_or_word {
    ($name:ident, $wants:literal, $($word:literal => $variant:ident,)+ else $other:ident) => {
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $($word => Self::$variant,)+
                    path => Self::$other(path.into()),
                }
            }
        }

        impl Value for $name {
            fn wants() -> String {
                $wants.into()
            }

            fn read(value: Toml) -> Result<Self, ConfigError> {
                text(value, $wants).map(|text| text.as_str().into())
            }

            fn write(&self) -> Toml {
                match self {
                    $(Self::$variant => $word.into(),)+
                    Self::$other(path) => path.write(),
                }
            }

            fn settled(self) -> Self {
                match self {
                    Self::$other(path) => Self::$other(path.settled()),
                    word => word,
                }
            }
        }
    };
}

path_or_word!(ModelPath, "a directory in quotes, or \"quickstart\"", "quickstart" => Quickstart, else Dir);
path_or_word!(
    TokenizerSource,
    "a path in quotes, \"arithmetic\" or \"train\"",
    "arithmetic" => Arithmetic,
    "train" => Train,
    else Path
);
