//! The keys of a run, one struct a section. Every field says what it does, its default and where the default comes from.
//!
//! Names follow TRL's `GRPOConfig` where it has one. An `Option` is a value that another field decides when it is not
//! given; [`Config::load`](super::Config::load) fills it in, so what the rest of the program sees is complete.
//!
//! Long: one list of every key, to be read as a table; half of it is the keys' documentation.

use std::fmt;
use std::path::PathBuf;

use super::size::ByteSize;
use gcpo_data::Rule;
use gcpo_data::dataset::{DatasetError, Preset as Rows};
use gcpo_model::device::DeviceSpec;
use gcpo_model::dtype::Dtype;
use serde::de::{self, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `[model]`: the network that is trained, and its tokenizer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Model {
    /// A checkpoint directory in Hugging Face layout, or `"quickstart"` for the one in the binary. Either this or `init`.
    /// Default: none. Source: this project.
    pub path: Option<ModelPath>,
    /// How to make a network without a checkpoint: `"random"` draws one of `shape` from `seed`. Default: none. Source: this project.
    pub init: Option<Init>,
    /// The tokenizer: a directory or `tokenizer.json`, `"arithmetic"` (characters, built in) or `"train"` (a byte-level BPE
    /// learned from the demonstrations; `gcpo sft` only). Default: the checkpoint's own. Source: this project.
    pub tokenizer: Option<TokenizerSource>,
    /// Number format of the weights in saved checkpoints. Default: `"float32"`. Source: this project (a resume needs exact weights).
    pub save_dtype: Dtype,
    /// The network's shape where `init = "random"`, with the names of Hugging Face's `config.json`. Default: none. Source: Hugging Face.
    pub shape: Option<Shape>,
}

/// `[model.shape]`: the shape of a network made from random weights, in Hugging Face's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shape {
    /// Family: `"llama"`, `"qwen2"` or `"qwen3"`. Default: `"llama"`. Source: Hugging Face.
    pub model_type: String,
    /// Rows of the embedding. Default: what the tokenizer needs. Source: this project.
    pub vocab_size: Option<usize>,
    /// Width of the residual stream. Default: none, it must be given. Source: Hugging Face.
    pub hidden_size: Option<usize>,
    /// Width inside the MLP. Default: none, it must be given. Source: Hugging Face.
    pub intermediate_size: Option<usize>,
    /// Number of layers. Default: none, it must be given. Source: Hugging Face.
    pub num_hidden_layers: Option<usize>,
    /// Number of query heads. Default: none, it must be given. Source: Hugging Face.
    pub num_attention_heads: Option<usize>,
    /// Number of key/value heads. Default: `num_attention_heads`. Source: Hugging Face.
    pub num_key_value_heads: Option<usize>,
    /// Width of one head. Default: `hidden_size / num_attention_heads`. Source: Hugging Face.
    pub head_dim: Option<usize>,
    /// Longest context in tokens. Default: 2048. Source: Hugging Face (Llama).
    pub max_position_embeddings: usize,
    /// Base of the rotary position embedding. Default: 10000.0. Source: Hugging Face (Llama).
    pub rope_theta: f64,
    /// Epsilon of the RMS norms. Default: 1e-6. Source: Hugging Face (Llama).
    pub rms_norm_eps: f64,
    /// Whether the head is the embedding. Default: false. Source: Hugging Face.
    pub tie_word_embeddings: bool,
    /// Standard deviation of the random weights. Default: 0.02. Source: Hugging Face.
    pub initializer_range: f64,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            model_type: "llama".into(),
            vocab_size: None,
            hidden_size: None,
            intermediate_size: None,
            num_hidden_layers: None,
            num_attention_heads: None,
            num_key_value_heads: None,
            head_dim: None,
            max_position_embeddings: 2048,
            rope_theta: 10000.0,
            rms_norm_eps: 1e-6,
            tie_word_embeddings: false,
            initializer_range: 0.02,
        }
    }
}

/// Where problems come from: a file (`path`, `preset`) or the built-in generator (`generator`, `count`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Source {
    /// A file of problems: JSONL, JSON or CSV. Either this or `generator`. Default: none. Source: this project.
    pub path: Option<PathBuf>,
    /// How the file's rows are read: a preset's name (`"gsm8k"`, `"svamp"`, `"math"`, …) or a table of field names.
    /// Default: none, it must be given with `path`. Source: this project.
    pub preset: Option<Preset>,
    /// Built-in problems instead of a file: `"arithmetic"`. Default: none. Source: this project.
    pub generator: Option<Generator>,
    /// How many problems the generator makes. Default: 4096. Source: this project.
    pub count: usize,
    /// Use only this many problems of the file, the first ones; 0 takes all. Default: 0. Source: this project.
    pub limit: usize,
    /// Train also on so many copies of each problem with other numbers in it, drawn from `seed`, where the file gives the
    /// numbers and the equation (`"mawps"`, `"svamp"`). Default: 0. Source: this project.
    pub variants: usize,
    /// Leave out problems whose gold answer the grader cannot read; without it one such problem is an error before anything is
    /// sampled. Default: false. Source: this project.
    pub skip_unreadable: bool,
    /// Draw the problems in an order shuffled anew each epoch, from `seed`. Default: true. Source: TRL (`shuffle_dataset`).
    pub shuffle: bool,
}

impl Default for Source {
    fn default() -> Self {
        Self {
            path: None,
            preset: None,
            generator: None,
            count: 4096,
            limit: 0,
            variants: 0,
            skip_unreadable: false,
            shuffle: true,
        }
    }
}

/// `[prompt]`: the three prompts of GCPO as Jinja over `question`, `candidates` (a list) and `integration`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prompt {
    /// Which default prompts: `"plain"` (English text), `"chat"` (English text inside the checkpoint's chat template) or
    /// `"marks"` (`<q> … <a> … <final>`, for tiny tokenizers). Default: `"plain"`. Source: this project.
    pub style: PromptStyle,
    /// System message of the chat template; `"chat"` style only. Default: none. Source: this project.
    pub system: Option<String>,
    /// Stage 1, a query alone: Jinja over `question`. Default: of `style`. Source: this project.
    pub answer: Option<String>,
    /// Stage 2, a query and all candidates: Jinja over `question` and `candidates`. Default: of `style`. Source: this project.
    pub integrate: Option<String>,
    /// Stage 3, a query, the other candidates and an integration: Jinja over `question`, `candidates` and `integration`.
    /// Default: of `style`. Source: this project.
    pub project: Option<String>,
}

/// `[rollout]`: how answers are sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rollout {
    /// Candidates for each query, the paper's n. Default: 8. Source: TRL.
    pub num_generations: usize,
    /// Longest completion in tokens, of every stage. Default: 256. Source: TRL.
    pub max_completion_length: usize,
    /// Sampling temperature; logits are divided by it in the rollout and in the trainer alike. Default: 1.0. Source: TRL.
    pub temperature: f64,
    /// Sample among the k likeliest tokens; 0 takes all. Default: 0. Source: TRL.
    pub top_k: usize,
    /// Sample among the likeliest tokens that hold this much probability. Default: 1.0. Source: TRL.
    pub top_p: f64,
    /// Sample among tokens at least this likely, relative to the likeliest. Default: 0.0. Source: TRL (there `None`).
    pub min_p: f64,
    /// Logits of tokens that prompt or completion hold already are divided by it where positive, else multiplied, before the
    /// temperature; above 1 discourages repetition. The trainer's policy is without it. Default: 1.0. Source: TRL.
    pub repetition_penalty: f64,
    /// Texts that end a completion, beside the tokens that do; they stay part of it. Default: `[]`. Source: transformers (`stop_strings`).
    pub stop: Vec<String>,
    /// How many rows are decoded together. It changes memory and speed, never a result. Default: 512. Source: this project.
    pub max_rows: usize,
    /// Bytes of keys and values held at a time (`"512 MiB"`, `"4 GiB"`, or a number); what does not fit runs later. It changes memory
    /// and speed, never a result. Default: `"4 GiB"`. Source: this project.
    pub memory_budget: ByteSize,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            num_generations: 8,
            max_completion_length: 256,
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            stop: Vec::new(),
            max_rows: 512,
            memory_budget: ByteSize::gib(4),
        }
    }
}

/// `[projection]`: stages 2 and 3 of the paper, and the clamp of the projected reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Projection {
    /// Integrations a query, the paper's J. 1 is a control without a collider. Default: `rollout.num_generations`. Source: paper, section 4.
    pub integrations: Option<usize>,
    /// Samples of each projection context, the paper's M. Default: `rollout.num_generations`. Source: paper, section 4.
    pub samples: Option<usize>,
    /// Last tokens kept of each candidate in a context that would outgrow the model; 0 keeps all. Default: 0. Source: this project.
    pub candidate_tokens: usize,
    /// Skip stage 3 of queries whose rewards are all equal (their Υ is never used). Default: true. Source: this project.
    pub skip_flat_groups: bool,
    /// Lower clamp of π'_ref, a probability. Default: 1e-6. Source: this project (the paper leaves it open).
    pub floor: f64,
    /// Clamp of ρ = π'_ref / π_θ to `[1/ratio_max, ratio_max]`. Default: 10.0. Source: this project (the paper leaves it open).
    pub ratio_max: f64,
}

impl Default for Projection {
    fn default() -> Self {
        Self {
            integrations: None,
            samples: None,
            candidate_tokens: 0,
            skip_flat_groups: true,
            floor: 1e-6,
            ratio_max: 10.0,
        }
    }
}

/// `[features]`: how a text is represented for Υ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Features {
    /// `"response"`: the last hidden state of the text run alone. `"in_context"`: the state in the context it was generated in,
    /// which costs nothing. Default: `"response"`. Source: paper, eq. 8, step 1.
    pub context: FeatureContext,
    /// `"cosine"`, `"euclidean"` or `"gaussian"`. Default: `"cosine"`. Source: paper, eq. 8 and figure 3d.
    pub similarity: Similarity,
    /// Width of the gaussian similarity. Default: 1.0. Source: this project.
    pub sigma: f64,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            context: FeatureContext::default(),
            similarity: Similarity::default(),
            sigma: 1.0,
        }
    }
}

/// `[objective]`: what is maximised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Objective {
    /// `"gcpo"`, `"grpo"`, or `"grpo_alpha"` (GRPO with advantages times `alpha`, a control). Default: `"gcpo"`. Source: paper, eq. 10.
    pub name: ObjectiveName,
    /// Scale of Υ. Default: 2.0. Source: paper, figure 3.
    pub alpha: f64,
    /// Weight of the second KL term, towards the projected reference. Default: 0.06. Source: paper, figure 3.
    pub kappa: f64,
    /// Weight of the KL term towards the reference model; 0 loads none. Default: 0.0. Source: TRL.
    pub beta: f64,
    /// Lower clip of the ratio. Default: 0.2. Source: TRL.
    pub epsilon: f64,
    /// Upper clip of the ratio. Default: `epsilon`. Source: TRL.
    pub epsilon_high: Option<f64>,
}

impl Default for Objective {
    fn default() -> Self {
        Self {
            name: ObjectiveName::default(),
            alpha: 2.0,
            kappa: 0.06,
            beta: 0.0,
            epsilon: 0.2,
            epsilon_high: None,
        }
    }
}

/// `[train]`: steps, batches and the optimiser, for `gcpo train` and `gcpo sft`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Train {
    /// Number of steps: rollouts in `gcpo train`, optimiser updates in `gcpo sft`. Default: 100. Source: this project.
    pub max_steps: usize,
    /// Queries a step (`gcpo train`). Default: 256. Source: paper, section 5.
    pub prompts_per_step: usize,
    /// Optimiser updates in one pass over a rollout; each takes whole groups (`gcpo train`). Default: 1. Source: this project.
    pub mini_batches: usize,
    /// Passes over a rollout, TRL's μ (`gcpo train`). Default: 1. Source: TRL.
    pub num_iterations: usize,
    /// Sequences in one forward and backward pass. In `gcpo train` it changes memory and speed only: gradients are accumulated
    /// over the mini-batch. In `gcpo sft` a step sees this many times `gradient_accumulation_steps`. Default: 8. Source: TRL.
    pub per_device_train_batch_size: usize,
    /// Forward and backward passes in one update of `gcpo sft`; `gcpo train` works it out from the mini-batch. Default: 1. Source: TRL.
    pub gradient_accumulation_steps: usize,
    /// What the network computes with: `"float32"`, `"bfloat16"` or `"float16"`, as far as the device does. In 16 bits the optimiser
    /// updates a copy of the weights in float32, and norms, softmax, log-probabilities and losses are in float32.
    /// Default: `"float32"`. Source: verl (`dtype`; TRL has `bf16`, `fp16`).
    pub dtype: Dtype,
    /// Devices that train together, each on its share of the prompts and rows, `["cuda:0", "cuda:1"]`; the first holds the optimiser.
    /// Those of other machines, which `gcpo serve` lends, are `"remote:host:3000"`; each server must reach the others by these names.
    /// Without any it is the one of `--device`. Default: `[]`. Source: this project.
    pub devices: Vec<DeviceSpec>,
    /// Peak learning rate. Default: 1e-6. Source: paper, section 5, and TRL.
    pub learning_rate: f64,
    /// Decoupled weight decay of AdamW. Default: 0.01. Source: paper, section 5.
    pub weight_decay: f64,
    /// AdamW's β1. Default: 0.9. Source: TRL.
    pub adam_beta1: f64,
    /// AdamW's β2. Default: 0.999. Source: TRL.
    pub adam_beta2: f64,
    /// AdamW's ε. Default: 1e-8. Source: TRL.
    pub adam_epsilon: f64,
    /// Largest norm of the gradient of all parameters together; 0 does not clip. Default: 1.0. Source: TRL.
    pub max_grad_norm: f64,
    /// Course of the learning rate: `"constant"` (without a warm-up), `"constant_with_warmup"`, `"linear"` or `"cosine"` (both
    /// fall to 0 after the warm-up). Default: `"linear"`. Source: TRL.
    pub lr_scheduler_type: LrSchedulerType,
    /// Updates over which the learning rate rises linearly from 0; wins over `warmup_ratio`. Default: 0. Source: TRL.
    pub warmup_steps: usize,
    /// The same as a share of all updates. Default: 0.0. Source: TRL.
    pub warmup_ratio: f64,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            max_steps: 100,
            prompts_per_step: 256,
            mini_batches: 1,
            num_iterations: 1,
            per_device_train_batch_size: 8,
            gradient_accumulation_steps: 1,
            dtype: Dtype::F32,
            devices: Vec::new(),
            learning_rate: 1e-6,
            weight_decay: 0.01,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            max_grad_norm: 1.0,
            lr_scheduler_type: LrSchedulerType::default(),
            warmup_steps: 0,
            warmup_ratio: 0.0,
        }
    }
}

/// `[grader]`: how a final answer is checked, by the reward `accuracy` and in evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grader {
    /// `"math"`: numbers, LaTeX, intervals, sets, matrices, equations, choices, worked out. `"numbers"`: one number, compared
    /// exactly, so that `3 + 4` does not pass for 7. Default: `"math"`. Source: this project.
    pub kind: GraderKind,
    /// With `"numbers"`: a final answer behind `####` may also be an expression, `#### ( 5 + 3 ) * 2`, which the check works
    /// out exactly; `"math"` works out every expression. Default: false. Source: this project (equations are what SVAMP's
    /// authors score).
    pub expressions: bool,
    /// Where in a completion the answer is looked for; the first of these that applies decides. A box; behind `####`; behind "the
    /// answer is"; the whole text; the last formula; the last number. `["boxed"]` rewards no answer that is not in a box.
    /// Default: `["boxed", "hashes", "answer_is", "whole", "math", "last_number"]`. Source: this project.
    pub rules: Vec<Rule>,
    /// With `"math"`: a decimal of four digits or more passes for the value that rounds to it, 0.3333 for 1/3. Default: true.
    /// Source: this project.
    pub rounding: bool,
}

impl Default for Grader {
    fn default() -> Self {
        Self {
            kind: GraderKind::default(),
            expressions: false,
            rules: Rule::ALL.to_vec(),
            rounding: true,
        }
    }
}

/// `[[reward]]`: one of the rewards whose weighted sum a completion earns. Without any, it is `accuracy`.
///
/// Only the keys of its `name` may be given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reward {
    /// `"accuracy"`, `"format"`, `"length"`, `"repetition"` or `"command"`. Default: none, it must be given. Source: this project.
    pub name: RewardName,
    /// What it is called in metrics, `reward/LABEL_mean`, and in samples. Default: `name`. Source: this project.
    pub label: Option<String>,
    #[serde(default = "one")]
    /// Its weight in the sum; 0 only measures it. A gate has none. Default: 1.0. Source: TRL (`reward_weights`).
    pub weight: f64,
    /// `accuracy`: reward of a right final answer. Default: 1.0. Source: paper, section 5.
    pub correct: Option<f64>,
    /// `accuracy`: reward of a wrong or missing one. Default: 0.0. Source: paper, section 5.
    pub wrong: Option<f64>,
    /// `format`: `"boxed"` (an answer in `\boxed{…}`), `"think"` (`<think>…</think>`, then an answer) or `"think_answer"`
    /// (`<think>…</think><answer>…</answer>`). `length`: `"soft_overlong"` or `"cosine"`. Default: `"boxed"` of `format`,
    /// `"soft_overlong"` of `length`. Source: open-r1 and TRL (formats, cosine), DAPO (soft overlong).
    pub style: Option<RewardStyle>,
    /// `format`: a completion of another form counts as wrong, whatever its answer, and the form itself earns nothing; without
    /// it, the form earns 1. Default: true. Source: this project.
    pub gates: Option<bool>,
    /// `length`: tokens, the EOS included, from which on the punishment is whole, DAPO's L_max; with `"cosine"`, where the curve
    /// ends. Default: `rollout.max_completion_length`. Source: DAPO, eq. 13; open-r1 (`cosine_max_len`).
    pub max_length: Option<usize>,
    /// `length`, `"soft_overlong"`: tokens before `max_length` over which the punishment grows from 0 to 1, DAPO's L_cache.
    /// Default: `max_length / 5`. Source: DAPO (4096 of 20480).
    pub cache: Option<usize>,
    /// `length`, `"cosine"`: reward of a wrong answer of no length. Default: -1.0. Source: open-r1.
    pub min_value_wrong: Option<f64>,
    /// `length`, `"cosine"`: reward of a wrong answer of `max_length`. Default: -0.5. Source: open-r1.
    pub max_value_wrong: Option<f64>,
    /// `length`, `"cosine"`: reward of a right answer of `max_length`. Default: 0.5. Source: open-r1.
    pub min_value_correct: Option<f64>,
    /// `length`, `"cosine"`: reward of a right answer of no length. Default: 1.0. Source: open-r1.
    pub max_value_correct: Option<f64>,
    /// `repetition`: tokens of an n-gram. Default: 3. Source: TRL (`get_repetition_penalty_reward`).
    pub ngram_size: Option<usize>,
    /// `repetition`: reward where every n-gram is the same; 0 or less. Default: -1.0. Source: TRL.
    pub max_penalty: Option<f64>,
    /// `command`: the program and its arguments. Started once and kept running; it reads a line of JSON for each completion
    /// and writes one for each. Default: none, it must be given. Source: this project.
    pub command: Option<Vec<String>>,
    /// `command`: seconds in which a batch must be answered. Default: 60.0. Source: this project.
    pub timeout_secs: Option<f64>,
    /// `command`: completions that are asked about before the first answer is waited for. Default: 64. Source: this project.
    pub batch_size: Option<usize>,
}

fn one() -> f64 {
    1.0
}

impl Reward {
    /// The reward of this name, as it is by default.
    pub fn new(name: RewardName) -> Self {
        Self {
            name,
            label: None,
            weight: one(),
            correct: None,
            wrong: None,
            style: None,
            gates: None,
            max_length: None,
            cache: None,
            min_value_wrong: None,
            max_value_wrong: None,
            min_value_correct: None,
            max_value_correct: None,
            ngram_size: None,
            max_penalty: None,
            command: None,
            timeout_secs: None,
            batch_size: None,
        }
    }
}

/// `[sft]`: what the demonstrations of `gcpo sft` are made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sft {
    /// Share of demonstrations that teach the integrate prompt (stage 2). Default: 0.25. Source: this project.
    pub integrate_frac: f64,
    /// Share of demonstrations that teach the project prompt (stage 3). Default: 0.25. Source: this project.
    pub project_frac: f64,
    /// How many candidates an integrate prompt shows; a project prompt shows one less, and an integration.
    /// Default: `rollout.num_generations`. Source: this project.
    pub candidates: Option<usize>,
    /// How solutions are written: `"as_given"`, or `"expression"`: steps `5 + 3 = 8, 8 * 2 = 16 #### 16` become
    /// `#### ( 5 + 3 ) * 2`, which needs a grader that works it out (`[grader]`). Default: `"as_given"`. Source: this project.
    pub solutions: Solutions,
    /// Share of answer demonstrations that are wrong on purpose; what follows an integrate or project prompt is right.
    /// Needs solutions that a mistake can be put into: built-in ones, or steps `56 * 9 = 504 #### 504`.
    /// Default: 0.0. Source: this project.
    pub wrong_frac: f64,
    /// The same of the candidates that integrate and project prompts show. Default: `sft.wrong_frac`. Source: this project.
    pub candidate_wrong_frac: Option<f64>,
}

impl Default for Sft {
    fn default() -> Self {
        Self {
            integrate_frac: 0.25,
            project_frac: 0.25,
            candidates: None,
            solutions: Solutions::AsGiven,
            wrong_frac: 0.0,
            candidate_wrong_frac: None,
        }
    }
}

/// `[eval]`: how pass@1 is measured while training, and by `gcpo eval CONFIG.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Eval {
    /// Evaluate before the first step, after each so many steps and after the last one; 0 = never. Default: 0. Source: this project.
    pub every: usize,
    /// A file of held-out problems, as `data.path`. Default: none. Source: this project.
    pub path: Option<PathBuf>,
    /// How the file's rows are read, as `data.preset`. Default: `data.preset`. Source: this project.
    pub preset: Option<Preset>,
    /// Built-in held-out problems; no training set holds one of them. Default: `data.generator`, unless `path` is given.
    /// Source: this project.
    pub generator: Option<Generator>,
    /// At most so many problems, the first ones; 0 takes the whole file. Default: 512. Source: this project.
    pub size: usize,
    /// Completions for each problem; pass@1 is their mean. Default: 1. Source: this project.
    pub samples: usize,
    /// Sampling temperature; 0 is greedy. Default: `rollout.temperature`. Source: this project.
    pub temperature: Option<f64>,
    /// As `rollout.top_k`. Default: `rollout.top_k`. Source: this project.
    pub top_k: Option<usize>,
    /// As `rollout.top_p`. Default: `rollout.top_p`. Source: this project.
    pub top_p: Option<f64>,
    /// As `rollout.min_p`. Default: `rollout.min_p`. Source: this project.
    pub min_p: Option<f64>,
    /// As `rollout.repetition_penalty`. Default: `rollout.repetition_penalty`. Source: this project.
    pub repetition_penalty: Option<f64>,
    /// Longest completion in tokens. Default: `rollout.max_completion_length`. Source: this project.
    pub max_completion_length: Option<usize>,
    /// Measure integrated answers y_n too, given `rollout.num_generations` candidates. Default: false. Source: this project.
    pub integrated: bool,
    /// Leave out problems whose prompts do not fit the model's positions, and count them as wrong; without it one such problem
    /// is an error before anything is sampled. Default: false. Source: this project.
    pub skip_too_long: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    /// The sets of problems that `gcpo eval CONFIG.toml` measures, in place of `path` and `generator`, which are what training
    /// is judged by. Default: `[]`. Source: this project.
    pub suite: Vec<EvalSuite>,
}

/// `[[eval.suite]]`: a set of problems that models are compared on. All of its problems are asked; the rest is as `[eval]` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalSuite {
    /// Its name: `"aime24"`, `"aime25"`, `"amc23"`, `"math500"`, `"minerva"`, `"olympiadbench"`, `"gsm8k"`, `"svamp"`, `"mawps"`; or
    /// any other with a `preset`. Default: none, it must be given. Source: this project.
    pub name: String,
    /// Its file. Default: the suite's on the Hugging Face hub, in a build with `--features hub`. Source: this project.
    pub path: Option<PathBuf>,
    /// How the file's rows are read, as `data.preset`. Default: the suite's own. Source: this project.
    pub preset: Option<Preset>,
    /// Answers to each problem. Default: 16 of `aime24`, `aime25` and `amc23`, 4 of `math500`, `minerva` and `olympiadbench`, 1 of
    /// others; `eval.samples` where that is more. Source: this project (the paper says pass@1, and not of how many samples).
    pub samples: Option<usize>,
}

impl Default for Eval {
    fn default() -> Self {
        Self {
            every: 0,
            path: None,
            preset: None,
            generator: None,
            size: 512,
            samples: 1,
            temperature: None,
            top_k: None,
            top_p: None,
            min_p: None,
            repetition_penalty: None,
            max_completion_length: None,
            integrated: false,
            skip_too_long: false,
            suite: Vec::new(),
        }
    }
}

impl Eval {
    /// The held-out problems as a source of the same kind as `[data]`: `size` of them, in the file's order.
    pub fn source(&self) -> Source {
        Source {
            path: self.path.clone(),
            preset: self.preset.clone(),
            generator: self.generator,
            count: self.size,
            limit: self.size,
            variants: 0,
            skip_unreadable: false,
            shuffle: false,
        }
    }
}

/// `[checkpoint]`: when the trainer's state is saved under the run directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checkpoint {
    /// Save after each so many steps; 0 = never. The end of a run, Ctrl-C included, is saved in any case. Default: 0. Source: this project.
    pub every: usize,
    /// Keep only so many checkpoints, the last ones; 0 keeps all. Default: 0. Source: TRL (`save_total_limit`).
    pub keep_last: usize,
}

/// `[run]`: where the run is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Run {
    /// The run's name. Default: the config file's, without `.toml`. Source: this project.
    pub name: Option<String>,
    /// The run directory; `--run-dir` wins. Left out of the `config.toml` in a run directory, so that it runs again as it is.
    /// Default: `runs/NAME-TIMESTAMP`. Source: this project.
    pub dir: Option<PathBuf>,
}

/// Implements an enum that a config file spells as one of a few words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$meta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name { $($(#[$meta])* #[serde(rename = $word)] $variant),+ }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

words! {
    /// How a network is made without a checkpoint.
    Init {
        /// Random weights of `model.shape`.
        Random = "random",
    }
}

words! {
    /// How the solutions of demonstrations are written.
    #[derive(Default)]
    Solutions {
        /// As the data give them.
        #[default]
        AsGiven = "as_given",
        /// As one expression.
        Expression = "expression",
    }
}

words! {
    /// A built-in source of problems.
    Generator {
        /// Generated arithmetic problems.
        Arithmetic = "arithmetic",
    }
}

words! {
    /// Which default prompts.
    #[derive(Default)]
    PromptStyle {
        /// English text.
        #[default]
        Plain = "plain",
        /// English text inside the checkpoint's chat template.
        Chat = "chat",
        /// Short marks between the parts, for tiny tokenizers.
        Marks = "marks",
    }
}

words! {
    /// The text around an answer when its feature is taken.
    #[derive(Default)]
    FeatureContext {
        /// None: the text alone.
        #[default]
        Response = "response",
        /// The context it was generated in.
        InContext = "in_context",
    }
}

words! {
    /// Similarity of two features.
    #[derive(Default)]
    Similarity {
        /// Cosine of the angle.
        #[default]
        Cosine = "cosine",
        /// `1 / (1 + ‖a − b‖ / √d)`.
        Euclidean = "euclidean",
        /// `exp(−‖a − b‖² / (2 σ² d))`.
        Gaussian = "gaussian",
    }
}

words! {
    /// What a final answer is read as.
    #[derive(Default)]
    GraderKind {
        /// Mathematics.
        #[default]
        Math = "math",
        /// One number.
        Numbers = "numbers",
    }
}

words! {
    /// What a reward looks at.
    RewardName {
        /// Whether the final answer is right.
        Accuracy = "accuracy",
        /// Whether the completion has the form that was asked for.
        Format = "format",
        /// How long it is.
        Length = "length",
        /// How much of it is said again.
        Repetition = "repetition",
        /// What a program says.
        Command = "command",
    }
}

words! {
    /// Which form, or which curve of the length.
    RewardStyle {
        /// An answer in a box.
        Boxed = "boxed",
        /// A thought, then an answer.
        Think = "think",
        /// A thought and an answer, each in its tags.
        ThinkAnswer = "think_answer",
        /// DAPO's punishment of what is nearly too long.
        SoftOverlong = "soft_overlong",
        /// A cosine from short to long, by whether the answer is right.
        Cosine = "cosine",
    }
}

words! {
    /// The objective that is maximised.
    #[derive(Default)]
    ObjectiveName {
        /// Group Causal Policy Optimization.
        #[default]
        Gcpo = "gcpo",
        /// Group Relative Policy Optimization.
        Grpo = "grpo",
        /// GRPO with advantages times α: GCPO with every Υ = α and κ = 0.
        GrpoAlpha = "grpo_alpha",
    }
}

words! {
    /// Course of the learning rate.
    #[derive(Default)]
    LrSchedulerType {
        /// Stays at the peak, without a warm-up.
        Constant = "constant",
        /// Stays at the peak after the warm-up.
        ConstantWithWarmup = "constant_with_warmup",
        /// Falls linearly to 0 after the warm-up.
        #[default]
        Linear = "linear",
        /// Falls as half a cosine to 0 after the warm-up.
        Cosine = "cosine",
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

/// `data.preset`: how the rows of a file are read.
#[derive(Clone, Debug, PartialEq)]
pub enum Preset {
    /// A preset that the program knows.
    Named(String),
    /// A table of field names: the keys of [`gcpo_data::dataset::Preset`].
    Fields(Box<Rows>),
}

/// A value that is written as a string.
macro_rules! as_string {
    ($name:ident, $($word:literal => $variant:ident,)+ else $other:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$variant => serializer.serialize_str($word),)+
                    Self::$other(path) => path.serialize(serializer),
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $($word => Self::$variant,)+
                    path => Self::$other(path.into()),
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(|text| text.as_str().into())
            }
        }
    };
}

as_string!(ModelPath, "quickstart" => Quickstart, else Dir);
as_string!(TokenizerSource, "arithmetic" => Arithmetic, "train" => Train, else Path);

impl Preset {
    /// How rows are read.
    ///
    /// # Errors
    /// There is no preset of this name.
    pub fn rows(&self) -> Result<&Rows, DatasetError> {
        match self {
            Self::Named(name) => Rows::named(name),
            Self::Fields(rows) => Ok(rows),
        }
    }
}

impl Serialize for Preset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Named(name) => serializer.serialize_str(name),
            Self::Fields(fields) => fields.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Preset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Preset;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a preset's name or a table of field names")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Preset, E> {
                Ok(Preset::Named(name.to_owned()))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Preset, A::Error> {
                Rows::deserialize(MapAccessDeserializer::new(map)).map(|rows| Preset::Fields(Box::new(rows)))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
