//! What a run means: one TOML file, strict and checked, with every value filled in.
//!
//! Unknown keys, wrong types and impossible values are errors that name the file, the line and the field. `--set key=value`
//! takes any key by its dotted path and is checked the same way. Relative paths are relative to the current directory, as
//! in TRL. The keys are in `schema.rs`, what must hold between them in `check.rs`.

mod check;
mod error;
mod eval;
mod origin;
mod reward;
mod schema;
mod size;

use std::path::{Path, PathBuf};

use gcpo_data::Templates;
use gcpo_data::dataset::is_on_hub;
use serde::{Deserialize, Serialize};

pub use error::ConfigError;
use origin::Origin;
pub use schema::{
    Checkpoint, Eval, EvalSuite, FeatureContext, Features, Generator, Grader, GraderKind, Init,
    LrSchedulerType, Model, ModelPath, Objective, ObjectiveName, Preset, Projection, Prompt, PromptStyle,
    Reward, RewardName, RewardStyle, Rollout, Run, Sft, Shape, Similarity, Solutions, Source,
    TokenizerSource, Train,
};
pub use size::ByteSize;

/// A whole run. What [`Config::load`] returns has passed [`Config::check`] and has its optional values filled in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Seed of everything drawn: weights, data order, samples. Default: 0. Source: this project (TRL: 42).
    pub seed: u64,
    /// The network and its tokenizer.
    pub model: Model,
    /// The problems to train on.
    pub data: Source,
    /// The three prompts.
    pub prompt: Prompt,
    /// How answers are sampled.
    pub rollout: Rollout,
    /// Integrations, projections and the clamp of the projected reference.
    pub projection: Projection,
    /// How a text is represented for Υ.
    pub features: Features,
    /// What is maximised.
    pub objective: Objective,
    /// Steps, batches and the optimiser.
    pub train: Train,
    /// How a final answer is checked.
    pub grader: Grader,
    /// What a completion earns: the weighted sum of these. Default: `accuracy` alone. Source: this project.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reward: Vec<Reward>,
    /// What demonstrations are made of.
    pub sft: Sft,
    /// How pass@1 is measured.
    pub eval: Eval,
    /// When the trainer's state is saved.
    pub checkpoint: Checkpoint,
    /// Where the run is written.
    pub run: Run,
    /// Where each value was given; for messages only.
    #[serde(skip)]
    origin: Origin,
}

impl Config {
    /// Reads the file at `path`, applies `sets` (each `key=value`), fills in what is not given and checks the whole.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, has an unknown key, a wrong type or an impossible value; a set likewise.
    pub fn load(path: &Path, sets: &[String]) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| {
            ConfigError::new(format!("cannot be read: {e}"))
                .in_file(&name)
                .help("give the path of a run's TOML file, such as `configs/quickstart.toml`")
        })?;
        Self::from_str(&text, &name, sets)
    }

    /// As [`Config::load`], with the file's text and the name to call it by in messages.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_str(text: &str, name: &str, sets: &[String]) -> Result<Self, ConfigError> {
        let (mut config, origin) = origin::read(text, name, sets)?;
        config.origin = origin;
        config.resolve();
        config.check()?;
        Ok(config)
    }

    /// An error about `field` (its dotted path): `what` is wrong with it, and what to do (`help`). It names the file and
    /// line, or the `--set`, that gave the field its value.
    pub fn blame(&self, field: &str, what: impl Into<String>, help: impl Into<String>) -> ConfigError {
        self.origin.blame(field, ConfigError::new(what).help(help))
    }

    /// The whole run as a file that repeats it: every value, paths absolute, without `run.dir`.
    pub fn to_toml(&self) -> String {
        let mut config = self.clone();
        config.run.dir = None;
        toml::to_string(&config).expect("a config holds only what TOML can write")
    }

    /// Dotted paths of the keys in which two runs differ, in the file's order. Where they are written is left out.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let table = |config: &Self| toml::from_str(&config.to_toml()).expect("a written config reads back");
        origin::differences(&table(self), &table(other))
    }

    /// Integrations a query, J.
    pub fn integrations(&self) -> usize {
        self.projection
            .integrations
            .unwrap_or(self.rollout.num_generations)
    }

    /// Samples of each projection context, M.
    pub fn projection_samples(&self) -> usize {
        self.projection.samples.unwrap_or(self.rollout.num_generations)
    }

    /// Upper clip of the ratio.
    pub fn epsilon_high(&self) -> f64 {
        self.objective.epsilon_high.unwrap_or(self.objective.epsilon)
    }

    /// Candidates shown by an integrate demonstration.
    pub fn sft_candidates(&self) -> usize {
        self.sft.candidates.unwrap_or(self.rollout.num_generations)
    }

    /// Share of wrong candidates in the prompts of demonstrations.
    pub fn candidate_wrong_frac(&self) -> f64 {
        self.sft.candidate_wrong_frac.unwrap_or(self.sft.wrong_frac)
    }

    /// How evaluation samples: `[rollout]` with what `[eval]` says instead; `num_generations` is `eval.samples`.
    pub fn eval_rollout(&self) -> Rollout {
        let (eval, rollout) = (&self.eval, &self.rollout);
        Rollout {
            num_generations: eval.samples,
            max_completion_length: eval
                .max_completion_length
                .unwrap_or(rollout.max_completion_length),
            temperature: eval.temperature.unwrap_or(rollout.temperature),
            top_k: eval.top_k.unwrap_or(rollout.top_k),
            top_p: eval.top_p.unwrap_or(rollout.top_p),
            min_p: eval.min_p.unwrap_or(rollout.min_p),
            repetition_penalty: eval.repetition_penalty.unwrap_or(rollout.repetition_penalty),
            stop: rollout.stop.clone(),
            max_rows: rollout.max_rows,
            memory_budget: rollout.memory_budget,
        }
    }

    /// The three prompts: what `[prompt]` gives, else those of its style.
    pub fn templates(&self) -> Templates {
        let prompt = &self.prompt;
        let style = match prompt.style {
            PromptStyle::Plain => Templates::plain(),
            PromptStyle::Chat => Templates::default(),
            PromptStyle::Marks => Templates::marks(),
        };
        Templates {
            answer: prompt.answer.clone().unwrap_or(style.answer),
            integrate: prompt.integrate.clone().unwrap_or(style.integrate),
            project: prompt.project.clone().unwrap_or(style.project),
        }
    }

    /// Fills in what other fields decide, and makes paths absolute.
    fn resolve(&mut self) {
        let templates = self.templates();
        self.prompt.answer = Some(templates.answer);
        self.prompt.integrate = Some(templates.integrate);
        self.prompt.project = Some(templates.project);
        self.projection.integrations = Some(self.integrations());
        self.projection.samples = Some(self.projection_samples());
        self.objective.epsilon_high = Some(self.epsilon_high());
        self.sft.candidates = Some(self.sft_candidates());
        self.sft.candidate_wrong_frac = Some(self.candidate_wrong_frac());

        if self.eval.path.is_none() && self.eval.generator.is_none() {
            self.eval.generator = self.data.generator;
        }
        if self.eval.path.is_some() && self.eval.preset.is_none() {
            self.eval.preset = self.data.preset.clone();
        }
        let sampling = self.eval_rollout();
        self.eval.temperature = Some(sampling.temperature);
        self.eval.top_k = Some(sampling.top_k);
        self.eval.top_p = Some(sampling.top_p);
        self.eval.min_p = Some(sampling.min_p);
        self.eval.repetition_penalty = Some(sampling.repetition_penalty);
        self.eval.max_completion_length = Some(sampling.max_completion_length);

        if self.reward.is_empty() {
            self.reward.push(Reward::new(RewardName::Accuracy));
        }
        for reward in &mut self.reward {
            reward.resolve(self.rollout.max_completion_length);
        }

        if let Some(shape) = &mut self.model.shape {
            shape.num_key_value_heads = shape.num_key_value_heads.or(shape.num_attention_heads);
            shape.head_dim = shape.head_dim.or_else(|| {
                let heads = shape.num_attention_heads.filter(|&heads| heads > 0)?;
                Some(shape.hidden_size? / heads)
            });
        }
        if self.run.name.is_none() {
            self.run.name = Some(self.origin.stem());
        }

        let samples = self.eval.samples;
        for suite in &mut self.eval.suite {
            suite.resolve(samples);
        }

        let here = |path: &mut PathBuf| {
            if !is_on_hub(path)
                && let Ok(absolute) = std::path::absolute(&*path)
            {
                *path = absolute;
            }
        };
        if let Some(ModelPath::Dir(path)) = &mut self.model.path {
            here(path);
        }
        if let Some(TokenizerSource::Path(path)) = &mut self.model.tokenizer {
            here(path);
        }
        self.data.path.iter_mut().for_each(here);
        self.eval.path.iter_mut().for_each(here);
        let suites = self.eval.suite.iter_mut();
        suites.filter_map(|suite| suite.path.as_mut()).for_each(here);
        self.run.dir.iter_mut().for_each(here);
    }
}

#[cfg(test)]
mod tests;
