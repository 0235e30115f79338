//! What `gcpo train` and `gcpo sft` have in common: a policy with its optimiser, and the problems it is judged on.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::module::Module as _;
use burn::optim::GradientsParams;
use burn::tensor::Device;
use gcpo_data::Problem;
use gcpo_model::checkpoint;
use gcpo_model::llama::Llama;

use crate::config::{Config, SaveDtype};
use crate::eval::{EvalPlan, EvalReport, evaluate};
use crate::metrics::Metrics;
use crate::optim::{AdamWConfig, Optimizer, clip_grads};
use crate::policy::Policy;
use crate::reward::Reward;
use crate::rollout::{Limits, Sampling};
use crate::schedule::LrSchedule;
use crate::source;

/// The optimiser's state in a checkpoint.
const OPTIMIZER: &str = "optimizer.safetensors";

/// A gradient that is no number.
#[derive(Debug, thiserror::Error)]
#[error("the gradient of `{parameter}` is not finite: lower train.learning_rate")]
pub struct NonFiniteGradient {
    /// The first parameter that it was seen in.
    pub parameter: String,
}

/// A policy that is being trained.
pub struct Session {
    /// The run.
    pub config: Config,
    /// The policy; its model carries gradients.
    pub policy: Policy,
    /// Whether its answers are right.
    pub reward: Reward,
    optimizer: Optimizer,
    schedule: LrSchedule,
    held_out: Vec<Problem>,
}

/// Weights and optimiser at some moment: handles, not copies.
pub struct Snapshot {
    model: Llama,
    optimizer: Optimizer,
}

impl Session {
    /// A session about to do its first update of `updates` in all.
    ///
    /// # Errors
    /// The held-out problems cannot be read.
    pub fn new(config: Config, policy: Policy, updates: usize) -> Result<Self> {
        let train = &config.train;
        let optimizer = Optimizer::new(&AdamWConfig {
            adam_beta1: train.adam_beta1 as f32,
            adam_beta2: train.adam_beta2 as f32,
            adam_epsilon: train.adam_epsilon as f32,
            weight_decay: train.weight_decay as f32,
        });
        let schedule = LrSchedule::new(
            train.lr_scheduler_type,
            train.warmup_steps,
            train.warmup_ratio,
            updates,
        );
        let held_out = source::held_out(&config)?.problems;
        let reward = Reward::accuracy(&config.grader);
        Ok(Self {
            config,
            policy,
            reward,
            optimizer,
            schedule,
            held_out,
        })
    }

    /// The device without autodiff, for constants.
    pub fn device(&self) -> Device {
        self.policy.model.device().inner()
    }

    /// The policy as it is now, for everything that needs no gradients.
    pub fn frozen(&self) -> Llama {
        self.policy.model.valid()
    }

    /// Clips the gradients, refuses damaged ones, and makes update `update` (from 0).
    ///
    /// # Errors
    /// [`NonFiniteGradient`]; nothing has been changed then.
    pub fn update(&mut self, grads: GradientsParams, update: usize, metrics: &mut Metrics) -> Result<()> {
        let (grads, norms) = clip_grads(&self.policy.model, grads, self.config.train.max_grad_norm)?;
        if let Some(parameter) = norms.first_non_finite() {
            return Err(NonFiniteGradient {
                parameter: parameter.to_owned(),
            }
            .into());
        }
        let lr = self.config.train.learning_rate * self.schedule.multiplier(update);
        let model = self.policy.model.clone();
        self.policy.model = self.optimizer.step(model, grads, lr);
        metrics.put("grad/norm", norms.global);
        metrics.put("train/learning_rate", lr);
        Ok(())
    }

    /// The state, to go back to if an update fails.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            model: self.policy.model.clone(),
            optimizer: self.optimizer.clone(),
        }
    }

    /// Goes back to a snapshot.
    pub fn roll_back(&mut self, snapshot: Snapshot) {
        self.policy.model = snapshot.model;
        self.optimizer = snapshot.optimizer;
    }

    /// pass@1 on the held-out problems; `None` if the run has none.
    ///
    /// # Errors
    /// Generation or grading failed.
    pub fn evaluate(&self) -> Result<Option<EvalReport>> {
        if self.held_out.is_empty() {
            return Ok(None);
        }
        let plan = eval_plan(&self.config);
        Ok(Some(evaluate(
            &self.policy,
            &self.frozen(),
            &self.held_out,
            &self.reward,
            &plan,
            |_, _| {},
        )?))
    }

    /// Writes the checkpoint and the optimiser's state.
    ///
    /// # Errors
    /// A file could not be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let dtype = dtype(self.config.model.save_dtype);
        self.policy.save(dir, dtype)?;
        if dtype != checkpoint::SaveDtype::F32 {
            // A resume needs the weights as they are.
            let exact = dir.join("trainer");
            fs::create_dir_all(&exact)?;
            self.policy.save(&exact, checkpoint::SaveDtype::F32)?;
        }
        let path = dir.join(OPTIMIZER);
        fs::write(&path, self.optimizer.to_bytes()?)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reads what [`Session::save`] wrote.
    ///
    /// # Errors
    /// A file is missing, damaged, or of another model.
    pub fn restore(&mut self, dir: &Path) -> Result<()> {
        let exact = dir.join("trainer");
        let weights = if exact.is_dir() { exact.as_path() } else { dir };
        let model = checkpoint::load(weights, &self.policy.model.device())?;
        if model.config() != self.policy.model.config() {
            bail!(
                "{}: the checkpoint is of another shape than [model] of this run",
                dir.display()
            );
        }
        let path = dir.join(OPTIMIZER);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        self.optimizer
            .load_bytes(&bytes, &model)
            .with_context(|| path.display().to_string())?;
        self.policy.model = model;
        Ok(())
    }
}

/// How `[eval]` samples.
pub fn eval_plan(config: &Config) -> EvalPlan {
    let how = config.eval_rollout();
    EvalPlan {
        samples: how.num_generations,
        sampling: Sampling::from(&how),
        limits: Limits::from(&how),
        integrate: config.eval.integrated.then_some(config.rollout.num_generations),
        candidate_tokens: config.projection.candidate_tokens,
        skip_too_long: config.eval.skip_too_long,
        seed: config.seed,
    }
}

fn dtype(dtype: SaveDtype) -> checkpoint::SaveDtype {
    match dtype {
        SaveDtype::Float32 => checkpoint::SaveDtype::F32,
        SaveDtype::Bfloat16 => checkpoint::SaveDtype::Bf16,
        SaveDtype::Float16 => checkpoint::SaveDtype::F16,
    }
}
