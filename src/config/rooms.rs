//! What the rooms make of a whole config.

use std::path::Path;

use anyhow::{Context as _, Result};
use burn::tensor::Device;
use gcpo_data::Problem;
use gcpo_model::checkpoint::Format;

use super::{Config, RecipeName};
use crate::objective::Objective;
use crate::policy::{ModelPath, Policy, PromptChoice, Scorer, open};
use crate::reward::{Ahead, ModelReward, Reward, RewardError, RewardKind};
use crate::run::digest::{self, Digests};
use crate::source;

impl Config {
    /// The problems to train on.
    ///
    /// # Errors
    /// The file is missing or malformed, or there is none.
    pub fn problems(&self) -> Result<Vec<Problem>> {
        source::training(&self.data, self.seed, self.asks_for_golds().as_deref())
    }

    /// Sets how many steps `train.num_train_epochs` are of so many problems, where it is given; then what is to be said of it.
    pub fn settle_epochs(&mut self, problems: usize) -> Option<String> {
        let train = &self.train;
        let per_step = match self.recipe {
            Some(RecipeName::Sft) => train.per_device_train_batch_size * train.gradient_accumulation_steps,
            _ => train.prompts_per_step,
        };
        self.train.settle_epochs(problems, per_step)
    }

    /// Who asks for gold answers of the training problems; nobody, where no reward does.
    fn asks_for_golds(&self) -> Option<String> {
        let graded = self.recipe != Some(RecipeName::Sft);
        let mut asking = self
            .reward
            .iter()
            .filter(|reward| graded && reward.needs_verdict());
        asking
            .next()
            .map(|reward| format!("the reward `{}`", reward.label))
    }

    /// What is maximised.
    pub fn objective_row(&self) -> Objective {
        self.objective
            .row(self.projection.floor, self.projection.ratio_max)
    }

    /// Which prompts are used, and where completions stop.
    pub fn prompts(&self) -> PromptChoice {
        PromptChoice::of(&self.prompt, &self.rollout)
    }

    /// The rewards, ready to be asked; their models are on `device`.
    ///
    /// # Errors
    /// A program cannot be started, or a function or a model not be loaded.
    pub fn rewards(&self, device: &Device) -> Result<Reward, RewardError> {
        let open = |model: &ModelReward| {
            let device = device.clone().without_autodiff();
            Scorer::load(&model.path, self.train.dtype, &device)
        };
        Reward::start(&self.grader, &self.code, &self.reward, open)
    }

    /// SHA-256 of the files of rewards that are functions or models, by `LABEL/FILE`.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn reward_digests(&self) -> Result<Digests> {
        let mut found = Digests::new();
        for reward in &self.reward {
            let files = match &reward.kind {
                RewardKind::Python(python) => python.file().map(digest_of).transpose()?.unwrap_or_default(),
                RewardKind::ModelReward(model) => {
                    open::checkpoint_digests(&ModelPath::Dir(model.path.clone()))?
                }
                _ => continue,
            };
            let named = |(name, sum)| (format!("{}/{name}", reward.label), sum);
            found.extend(files.into_iter().map(named));
        }
        Ok(found)
    }

    /// What the rewards are told of a run over so many problems.
    pub fn ahead(&self, problems: usize) -> Ahead {
        Ahead {
            seed: self.seed,
            max_steps: self.train.max_steps,
            epochs_per_step: self.train.prompts_per_step as f64 / problems as f64,
        }
    }

    /// How weights are saved; in f32 where nobody has looked for the base model's own format ([`open::own_dtype`]).
    pub fn format(&self) -> Format {
        Format {
            dtype: self.model.save_dtype.unwrap_or_default(),
            max_shard_size: self.checkpoint.max_shard_size.as_u64(),
        }
    }

    /// The policy, in f32. `texts` are what a tokenizer is learnt from, if it is to be.
    ///
    /// # Errors
    /// A file is missing or wrong, or the parts do not belong together.
    pub fn policy(&self, texts: impl FnOnce() -> Vec<String>, device: &Device) -> Result<Policy> {
        open::policy(&self.model, &self.prompts(), self.seed, texts, device)
    }
}

/// SHA-256 of a file, by its name.
fn digest_of(path: &Path) -> Result<Digests> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let sum = digest::of_file(path).with_context(|| path.display().to_string())?;
    Ok(Digests::from([(name.into_owned(), sum)]))
}
