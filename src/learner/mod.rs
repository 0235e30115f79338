//! What learns: a policy with its optimiser and its reference model, on one device or several.

mod batch;
mod config;
mod cut;
pub mod optim;
mod reference;
pub mod schedule;
mod update;
mod workers;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::module::Module as _;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorReadError};
use gcpo_data::files;
use gcpo_model::checkpoint::Format;
use gcpo_model::dropout::Dropout;
use gcpo_model::dtype::Dtype;
use gcpo_model::inference::Inference;
use gcpo_model::llama::Llama;
use gcpo_model::logp::is_fused;
use gcpo_model::lora::{self, Peft};
use rand::Rng as _;
use thiserror::Error;

use crate::objective::{ObjectiveError, RefSync};
use crate::policy::{Policy, open};
use crate::projection::ProjectionError;
use crate::stream::{Stage, StreamKey};
pub use batch::{Member, Micro, micro_batch};
pub use config::{LrSchedulerType, Train, TrainDraft};
pub use cut::{Limits, PassTokens};
use optim::{Optimizer, add_scaled, clip_grads, non_finite};
use schedule::LrSchedule;
pub use update::{Learnt, PolicyGradient, members};
pub use workers::{Workers, split};

/// Where a checkpoint has what only the trainer reads: programs that serve models take every file of tensors beside the weights for
/// weights.
const TRAINER: &str = "trainer";
/// The optimiser's state there.
const OPTIMIZER: &str = "optimizer.safetensors";

/// What a loss is multiplied by before its gradients are taken in float16, whose smallest number is 6e-8. Where that
/// overflows, half of it is tried, and so on; a power of 2, so that nothing is rounded.
const LOSS_SCALE: f64 = 16384.0;

/// Why an update could not be made. Nothing has been changed then.
#[derive(Debug, Error)]
pub enum UpdateError {
    /// The loss or the gradient of a problem's candidates is NaN or infinite.
    #[error(
        "the {what} of problem `{id}` is not finite: lower train.learning_rate, or what multiplies the loss ([objective]); or drop the problem"
    )]
    Problem {
        /// The loss, or the gradient.
        what: &'static str,
        /// The problem.
        id: String,
    },
    /// The gradient of a whole update is.
    #[error("the gradient of `{parameter}` is not finite: lower train.learning_rate")]
    Gradient {
        /// The first parameter that it was seen in.
        parameter: String,
    },
    /// The weights are, after an update.
    #[error("the update made `{parameter}` NaN or infinite: lower train.learning_rate")]
    Weights {
        /// The first parameter that it was seen in.
        parameter: String,
    },
    /// The objective misses what it needs.
    #[error(transparent)]
    Objective(#[from] ObjectiveError),
    /// The projection's numbers do not fit the candidates.
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    /// The device failed.
    #[error("the device failed: {0}")]
    Device(#[from] TensorReadError),
}

/// What an update did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Update {
    /// 2-norm of the gradient of all parameters, before it was clipped.
    pub grad_norm: f64,
    /// The learning rate.
    pub learning_rate: f64,
}

/// A policy that is being trained.
pub struct Learner {
    /// The policy; its model carries gradients and computes in `train.dtype`.
    pub policy: Policy,
    train: Train,
    format: Format,
    seed: u64,
    /// The weights in f32 that the optimiser updates, where the policy's own are of less.
    master: Option<Llama>,
    /// The model on the other devices that train beside the policy's.
    replicas: Vec<Llama>,
    optimizer: Optimizer,
    schedule: LrSchedule,
    /// The reference model on each device; nobody where none is needed.
    reference: Workers<Llama>,
    /// How it follows the policy, if it does.
    ref_sync: Option<RefSync>,
}

/// Weights and optimiser at some moment: handles, not copies.
struct Snapshot {
    model: Llama,
    master: Option<Llama>,
    optimizer: Optimizer,
    reference: Workers<Llama>,
}

impl Learner {
    /// A learner about to do its first update of `updates` in all, on the policy's device and on `others`: each runs its share
    /// of a step's groups and of its micro-batches. The policy's weights are in f32; they are saved in `format`. Random numbers are
    /// those of a run's `seed`.
    pub fn new(
        train: &Train,
        format: Format,
        seed: u64,
        mut policy: Policy,
        updates: usize,
        others: &[Device],
    ) -> Self {
        policy.model = policy
            .model
            .with_gradient_checkpointing(train.gradient_checkpointing);
        let is_short = train.dtype != Dtype::F32;
        // Adapters, and nothing else is trained of a policy that has some, stay in f32.
        let master = (is_short && policy.adapter.is_none()).then(|| policy.model.clone());
        if is_short {
            policy.model = policy.model.cast(train.dtype);
        }
        let optimizer = Optimizer::new(train);
        let on = |device: &Device| policy.model.clone().fork(&device.clone().autodiff());
        Self {
            replicas: others.iter().map(on).collect(),
            master,
            optimizer,
            schedule: LrSchedule::new(train, updates),
            reference: Workers::new(Vec::new()),
            ref_sync: None,
            train: train.clone(),
            format,
            seed,
            policy,
        }
    }

    /// What update `update` leaves out of adapters' inputs.
    fn dropout(&self, update: usize) -> Option<Dropout> {
        let p = self.policy.adapter.as_ref()?.lora.dropout;
        let stream = StreamKey {
            seed: self.seed,
            step: update as u64,
            prompt: 0,
            stage: Stage::Dropout,
            sample: 0,
        };
        (p > 0.0).then(|| Dropout {
            p,
            key: stream.rng().next_u64(),
        })
    }

    /// Whether the processor's kernels would train this policy if its adapters were no DoRA.
    pub fn is_slowed_by_dora(&self) -> bool {
        let model = &self.policy.model;
        let has_dora = self
            .policy
            .adapter
            .as_ref()
            .is_some_and(|adapter| adapter.lora.use_dora);
        has_dora && !is_fused(model) && is_fused(&lora::detach(model))
    }

    /// Keeps the policy as it is for the reference model: the same weights until the policy's change. Where it has adapters, that is
    /// the policy with these off, whose weights are shared for good. With `sync` it follows the policy as it changes.
    pub fn keep_reference(&mut self, sync: Option<RefSync>) {
        self.ref_sync = sync;
        self.reference = self.workers().make(|model| lora::detach(model).valid());
    }

    /// The policy's model on each device, its own first.
    pub fn workers(&self) -> Workers<&Llama> {
        let own = std::iter::once(&self.policy.model);
        Workers::new(own.chain(&self.replicas).collect())
    }

    /// The policy as it is now on each device, ready to generate.
    pub fn generators(&self) -> Workers<Inference> {
        self.workers().make(|model| Inference::new(model))
    }

    /// The policy's device without autodiff, for constants.
    pub fn device(&self) -> Device {
        self.policy.model.device().inner()
    }

    /// Makes update `update` (from 0) from the sum of some micro-batches' gradients. `pass` gives a micro-batch's loss under
    /// a model, and what else is to be known of it, which is handed on in the order of the micro-batches. They are shared
    /// out over the devices; in float16 they may be run again with half the loss scale.
    ///
    /// # Errors
    /// Those of `pass`, or [`UpdateError::Gradient`]; nothing has been changed then.
    pub fn step<M: Sync, T: Send>(
        &mut self,
        update: usize,
        micros: &[M],
        pass: impl Fn(&Llama, &M) -> Result<(Tensor<1>, T), UpdateError> + Sync,
    ) -> Result<(Update, Vec<T>), UpdateError> {
        let mut scale = match self.train.dtype {
            Dtype::F16 => LOSS_SCALE,
            _ => 1.0,
        };
        let dropout = self.dropout(update);
        loop {
            let (grads, found) = self.gradients(micros, scale, dropout, &pass)?;
            match self.apply(grads, update) {
                Err(UpdateError::Gradient { .. }) if scale > 1.0 => scale /= 2.0,
                done => return done.map(|update| (update, found)),
            }
        }
    }

    /// The sum of the micro-batches' gradients, on the first device, in f32 at least.
    fn gradients<M: Sync, T: Send>(
        &self,
        micros: &[M],
        scale: f64,
        dropout: Option<Dropout>,
        pass: &(impl Fn(&Llama, &M) -> Result<(Tensor<1>, T), UpdateError> + Sync),
    ) -> Result<(GradientsParams, Vec<T>), UpdateError> {
        let shares = self.workers().deal(micros, |model, micros| {
            let mut sum = GradientsParams::new();
            let mut found = Vec::new();
            let trained = (*model).clone().with_dropout(dropout);
            for (place, micro) in micros {
                let (loss, what) = pass(&trained, micro)?;
                let loss = if scale == 1.0 { loss } else { loss * scale };
                let raw = GradientsParams::from_grads(loss.backward(), *model);
                add_scaled(*model, &mut sum, raw, scale.recip());
                found.push((place, what));
            }
            Ok::<_, UpdateError>((sum, found))
        })?;
        let (model, device) = (&self.policy.model, self.device());
        let (mut sum, mut found) = (GradientsParams::new(), Vec::new());
        for (grads, of_share) in shares {
            add_scaled(model, &mut sum, grads.to_device(&device, model), 1.0);
            found.extend(of_share);
        }
        found.sort_by_key(|(place, _)| *place);
        Ok((sum, found.into_iter().map(|(_, what)| what).collect()))
    }

    /// Clips the gradients, refuses damaged ones, and steps.
    fn apply(&mut self, grads: GradientsParams, update: usize) -> Result<Update, UpdateError> {
        let (grads, norms) = clip_grads(&self.policy.model, grads, self.train.max_grad_norm)?;
        if let Some(parameter) = norms.first_non_finite() {
            return Err(UpdateError::Gradient {
                parameter: parameter.to_owned(),
            });
        }
        let learning_rate = self.train.learning_rate * self.schedule.multiplier(update);
        let weights = self.optimizer.step(self.weights().clone(), grads, learning_rate);
        self.take(weights);
        self.check_finite()?;
        self.follow_policy(update);
        Ok(Update {
            grad_norm: norms.global,
            learning_rate,
        })
    }

    /// Whether all weights are finite, those that the policy computes with too.
    fn check_finite(&self) -> Result<(), UpdateError> {
        for model in self.master.iter().chain([&self.policy.model]) {
            if let Some(parameter) = non_finite(model)? {
                return Err(UpdateError::Weights { parameter });
            }
        }
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
                weights.cast(self.train.dtype)
            }
        };
        self.refresh();
    }

    /// Gives the other devices the policy's weights.
    fn refresh(&mut self) {
        for replica in &mut self.replicas {
            *replica = match self.policy.adapter {
                None => self.policy.model.clone().fork(&replica.device()),
                // The rest never changes.
                Some(_) => lora::follow(replica.clone(), &self.policy.model),
            };
        }
    }

    /// Makes several updates as one: if one fails, all are undone.
    ///
    /// # Errors
    /// Those of `updates`.
    pub fn as_one<T>(
        &mut self,
        updates: impl FnOnce(&mut Self) -> Result<T, UpdateError>,
    ) -> Result<T, UpdateError> {
        let before = self.snapshot();
        let made = updates(self);
        if made.is_err() {
            self.roll_back(before);
        }
        made
    }

    /// The state, to go back to if an update fails.
    fn snapshot(&self) -> Snapshot {
        Snapshot {
            model: self.policy.model.clone(),
            master: self.master.clone(),
            optimizer: self.optimizer.clone(),
            reference: self.reference.clone(),
        }
    }

    fn roll_back(&mut self, snapshot: Snapshot) {
        self.policy.model = snapshot.model;
        self.master = snapshot.master;
        self.optimizer = snapshot.optimizer;
        self.reference = snapshot.reference;
        self.refresh();
    }

    /// Writes the checkpoint and the optimiser's state.
    ///
    /// # Errors
    /// A file could not be written, or a weight is not finite: such a state is not worth a checkpoint's place.
    pub fn save(&self, dir: &Path) -> Result<()> {
        self.check_finite()?;
        let policy = self.policy.with_model(self.weights().clone());
        policy.save(dir, self.format)?;
        let trainer = dir.join(TRAINER);
        fs::create_dir(&trainer).with_context(|| format!("cannot make {}", trainer.display()))?;
        if self.format.dtype != Dtype::F32 {
            // A resume needs the weights as they are.
            let dtype = Dtype::F32;
            policy.save_network(&trainer, Format { dtype, ..self.format })?;
        }
        self.save_reference(dir)?;
        let path = trainer.join(OPTIMIZER);
        fs::write(&path, self.optimizer.to_bytes()?)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reads what [`Learner::save`] wrote.
    ///
    /// # Errors
    /// A file is missing, damaged, or of another model.
    pub fn restore(&mut self, dir: &Path) -> Result<()> {
        let model = match &self.policy.adapter {
            None => self.saved_weights(dir)?,
            Some(adapter) => self.saved_adapter(adapter, dir)?,
        };
        let path = dir.join(TRAINER).join(OPTIMIZER);
        let bytes =
            files::bytes(&path, u64::MAX - 1).with_context(|| format!("cannot read {}", path.display()))?;
        self.optimizer
            .load_bytes(&bytes, &model)
            .with_context(|| path.display().to_string())?;
        self.take(model);
        self.restore_reference(dir)
    }

    /// The policy's network with the weights in a checkpoint.
    fn saved_weights(&self, dir: &Path) -> Result<Llama> {
        let trainer = dir.join(TRAINER);
        let is_exact = trainer.join("config.json").is_file();
        let weights = if is_exact { trainer.as_path() } else { dir };
        let model = open::network(weights, Dtype::F32, &self.policy.model.device())?.model;
        if model.config() != self.policy.model.config() {
            bail!(
                "{}: the checkpoint is of another shape than [model] of this run",
                dir.display()
            );
        }
        Ok(model)
    }

    /// The policy's network with the adapters in a checkpoint, which must be such as its own.
    fn saved_adapter(&self, own: &Peft, dir: &Path) -> Result<Llama> {
        let (saved, adapter) = Peft::load(lora::detach(&self.policy.model), dir)?;
        let is_same = adapter.lora.r == own.lora.r
            && adapter.lora.scale() == own.lora.scale()
            && adapter.lora.use_dora == own.lora.use_dora
            && lora::places(&saved) == lora::places(&self.policy.model);
        if !is_same {
            bail!(
                "{}: the adapters there are others than [model.lora] of this run",
                dir.display()
            );
        }
        Ok(lora::follow(self.policy.model.clone(), &saved))
    }
}
