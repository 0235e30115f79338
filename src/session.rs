//! What `gcpo train` and `gcpo sft` have in common: a policy with its optimiser, and the problems it is judged on.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::module::Module as _;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use gcpo_data::Problem;
use gcpo_model::checkpoint;
use gcpo_model::dtype::Dtype;
use gcpo_model::llama::Llama;

use crate::config::Config;
use crate::eval::{EvalPlan, Evaluated, evaluate};
use crate::metrics::Metrics;
use crate::optim::{Optimizer, add_scaled, clip_grads};
use crate::parallel::on_each;
use crate::policy::Policy;
use crate::reward::Reward;
use crate::rollout::{Limits, Sampling};
use crate::schedule::LrSchedule;
use crate::source;

/// The optimiser's state in a checkpoint.
const OPTIMIZER: &str = "optimizer.safetensors";

/// What a loss is multiplied by before its gradients are taken in float16, whose smallest number is 6e-8. Where that
/// overflows, half of it is tried, and so on; a power of 2, so that nothing is rounded.
const LOSS_SCALE: f64 = 16384.0;

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
    /// The policy; its model carries gradients and computes in `train.dtype`.
    pub policy: Policy,
    /// The weights in f32 that the optimiser updates, where the policy's own are of less.
    master: Option<Llama>,
    /// The same on the other devices that train beside the policy's.
    replicas: Vec<Llama>,
    /// Whether its answers are right.
    pub reward: Reward,
    optimizer: Optimizer,
    schedule: LrSchedule,
    held_out: Vec<Problem>,
}

/// Weights and optimiser at some moment: handles, not copies.
pub struct Snapshot {
    model: Llama,
    master: Option<Llama>,
    optimizer: Optimizer,
}

impl Session {
    /// A session about to do its first update of `updates` in all. The policy's weights are in f32.
    ///
    /// # Errors
    /// The held-out problems cannot be read.
    pub fn new(config: Config, mut policy: Policy, updates: usize) -> Result<Self> {
        let train = &config.train;
        let master = (train.dtype != Dtype::F32).then(|| policy.model.clone());
        if master.is_some() {
            policy.model = policy.model.cast(train.dtype);
        }
        let optimizer = Optimizer::new(train);
        let schedule = LrSchedule::new(train, updates);
        let held_out = source::held_out(&config)?.problems;
        let reward = Reward::accuracy(&config.grader);
        Ok(Self {
            config,
            policy,
            master,
            replicas: Vec::new(),
            reward,
            optimizer,
            schedule,
            held_out,
        })
    }

    /// Trains on these devices as well: each runs its share of a step's prompts and of its micro-batches.
    pub fn replicate(&mut self, devices: &[Device]) {
        let on = |device: &Device| self.policy.model.clone().fork(&device.clone().autodiff());
        self.replicas = devices.iter().map(on).collect();
    }

    /// The policy's model on each device, its own first.
    pub fn models(&self) -> Vec<&Llama> {
        std::iter::once(&self.policy.model)
            .chain(&self.replicas)
            .collect()
    }

    /// The device without autodiff, for constants.
    pub fn device(&self) -> Device {
        self.policy.model.device().inner()
    }

    /// The policy as it is now, for everything that needs no gradients.
    pub fn frozen(&self) -> Llama {
        self.policy.model.valid()
    }

    /// Makes update `update` (from 0) from the sum of some micro-batches' gradients. `pass` gives a micro-batch's loss under
    /// a model, and what else is to be known of it, which is handed on in the order of the micro-batches. They are shared
    /// out over the devices; in float16 they may be run again with half the loss scale.
    ///
    /// # Errors
    /// Those of `pass`, or [`NonFiniteGradient`]; nothing has been changed then.
    pub fn update<M: Sync, T: Send>(
        &mut self,
        update: usize,
        metrics: &mut Metrics,
        micros: &[M],
        pass: impl Fn(&Llama, &M) -> Result<(Tensor<1>, T)> + Sync,
    ) -> Result<Vec<T>> {
        let mut scale = match self.config.train.dtype {
            Dtype::F16 => LOSS_SCALE,
            _ => 1.0,
        };
        loop {
            let (grads, found) = self.gradients(micros, scale, &pass)?;
            match self.apply(grads, update, metrics) {
                Err(error) if scale > 1.0 && error.is::<NonFiniteGradient>() => scale /= 2.0,
                done => return done.map(|()| found),
            }
        }
    }

    /// The sum of the micro-batches' gradients, on the first device, in f32 at least.
    fn gradients<M: Sync, T: Send>(
        &self,
        micros: &[M],
        scale: f64,
        pass: &(impl Fn(&Llama, &M) -> Result<(Tensor<1>, T)> + Sync),
    ) -> Result<(GradientsParams, Vec<T>)> {
        let models = self.models();
        let count = models.len();
        let parts = on_each(models.into_iter().enumerate().collect(), |(first, model)| {
            let mut sum = GradientsParams::new();
            let mut found = Vec::new();
            for (place, micro) in micros.iter().enumerate().skip(first).step_by(count) {
                let (loss, what) = pass(model, micro)?;
                let loss = if scale == 1.0 { loss } else { loss * scale };
                let raw = GradientsParams::from_grads(loss.backward(), model);
                add_scaled(model, &mut sum, raw, scale.recip());
                found.push((place, what));
            }
            anyhow::Ok((sum, found))
        })?;
        let (model, device) = (&self.policy.model, self.device());
        let (mut sum, mut found) = (GradientsParams::new(), Vec::new());
        for (grads, of_part) in parts {
            add_scaled(model, &mut sum, grads.to_device(&device, model), 1.0);
            found.extend(of_part);
        }
        found.sort_by_key(|(place, _)| *place);
        Ok((sum, found.into_iter().map(|(_, what)| what).collect()))
    }

    /// Clips the gradients, refuses damaged ones, and steps.
    fn apply(&mut self, grads: GradientsParams, update: usize, metrics: &mut Metrics) -> Result<()> {
        let (grads, norms) = clip_grads(&self.policy.model, grads, self.config.train.max_grad_norm)?;
        if let Some(parameter) = norms.first_non_finite() {
            return Err(NonFiniteGradient {
                parameter: parameter.to_owned(),
            }
            .into());
        }
        let lr = self.config.train.learning_rate * self.schedule.multiplier(update);
        let weights = self.optimizer.step(self.weights().clone(), grads, lr);
        self.take(weights);
        metrics.put("grad/norm", norms.global);
        metrics.put("train/learning_rate", lr);
        Ok(())
    }

    /// The weights that the optimiser updates, in f32.
    fn weights(&self) -> &Llama {
        self.master.as_ref().unwrap_or(&self.policy.model)
    }

    /// Takes new weights, in f32.
    fn take(&mut self, weights: Llama) {
        self.policy.model = match &mut self.master {
            None => weights,
            Some(master) => {
                *master = weights.clone();
                weights.cast(self.config.train.dtype)
            }
        };
        self.refresh();
    }

    /// Gives the other devices the policy's weights.
    fn refresh(&mut self) {
        for replica in &mut self.replicas {
            *replica = self.policy.model.clone().fork(&replica.device());
        }
    }

    /// The state, to go back to if an update fails.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            model: self.policy.model.clone(),
            master: self.master.clone(),
            optimizer: self.optimizer.clone(),
        }
    }

    /// Goes back to a snapshot.
    pub fn roll_back(&mut self, snapshot: Snapshot) {
        self.policy.model = snapshot.model;
        self.master = snapshot.master;
        self.optimizer = snapshot.optimizer;
        self.refresh();
    }

    /// pass@1 on the held-out problems; `None` if the run has none.
    ///
    /// # Errors
    /// Generation or grading failed.
    pub fn evaluate(&self) -> Result<Option<Evaluated>> {
        if self.held_out.is_empty() {
            return Ok(None);
        }
        let plan = eval_plan(&self.config);
        Ok(Some(evaluate(
            &self.policy,
            &self.frozen(),
            "eval",
            &self.held_out,
            &self.reward,
            &plan,
            Vec::new(),
            |_, _| Ok(()),
        )?))
    }

    /// Writes the checkpoint and the optimiser's state.
    ///
    /// # Errors
    /// A file could not be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let dtype = self.config.model.save_dtype;
        let policy = self.policy.with_model(self.weights().clone());
        policy.save(dir, dtype)?;
        if dtype != Dtype::F32 {
            // A resume needs the weights as they are.
            let exact = dir.join("trainer");
            fs::create_dir_all(&exact)?;
            policy.save(&exact, Dtype::F32)?;
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
        let model = checkpoint::load(weights, Dtype::F32, &self.policy.model.device())?;
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
        self.take(model);
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
