//! What learns: a policy with its optimiser and its reference model, on one device or several.

mod batch;
mod config;
mod cut;
mod layout;
pub mod optim;
mod reference;
mod saved;
pub mod schedule;
mod shard;
mod update;
mod workers;

use std::ops::Range;
use std::time::Duration;

use burn::module::Module as _;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorReadError};
use gcpo_model::checkpoint::Format;
use gcpo_model::dropout::Dropout;
use gcpo_model::dtype::Dtype;
use gcpo_model::inference::Inference;
use gcpo_model::llama::Llama;
use gcpo_model::logp::is_fused;
use gcpo_model::lora;
use rand::Rng as _;
use thiserror::Error;

use crate::objective::{ObjectiveError, RefSync};
use crate::policy::Policy;
use crate::projection::ProjectionError;
use crate::ranks::{Failed, Ranks};
use crate::stream::{Stage, StreamKey};
pub use batch::{Member, Micro, micro_batch};
pub use config::{LrSchedulerType, Train, TrainDraft};
pub use cut::{Limits, PassTokens};
use optim::{GradNorms, Optimizer, add_scaled, clip_factor, grad_norms, non_finite};
use schedule::LrSchedule;
use shard::Shard;
pub use update::{Learnt, PolicyGradient, members};
pub use workers::{Workers, split};

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
    /// Another rank could not.
    #[error("rank {rank}: {said}")]
    Elsewhere {
        /// The rank.
        rank: usize,
        /// Its error.
        said: String,
    },
}

impl From<Failed<Self>> for UpdateError {
    fn from(failed: Failed<Self>) -> Self {
        match failed {
            Failed::Here(error) => error,
            Failed::Elsewhere { rank, said } => Self::Elsewhere { rank, said },
        }
    }
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
    /// The weights in f32 that the optimiser updates, where the policy's own are of less; none where they are shared out over ranks.
    master: Option<Llama>,
    /// What of the optimiser's state, and of the weights in f32, is this rank's, where there are several.
    shard: Option<Shard>,
    ranks: Ranks,
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
    shard: Option<Shard>,
    optimizer: Optimizer,
    reference: Workers<Llama>,
}

impl Learner {
    /// A learner about to do its first update of `updates` in all, on the policy's device and on `others`: each runs its share
    /// of a step's groups and of its micro-batches. The policy's weights are in f32; they are saved in `format`. Random numbers are
    /// those of a run's `seed`. Where there are several `ranks`, each has its share of the optimiser's state.
    pub fn new(
        train: &Train,
        format: Format,
        seed: u64,
        mut policy: Policy,
        updates: usize,
        others: &[Device],
        ranks: Ranks,
    ) -> Self {
        ranks.wait_at_most(Duration::from_secs_f64(train.ddp_timeout));
        policy.model = policy
            .model
            .with_gradient_checkpointing(train.gradient_checkpointing);
        let is_short = train.dtype != Dtype::F32;
        // Adapters, and nothing else is trained of a policy that has some, stay in f32.
        let mut master = (is_short && policy.adapter.is_none()).then(|| policy.model.clone());
        if is_short {
            policy.model = policy.model.cast(train.dtype);
        }
        let bucket = (train.ddp_bucket_cap_mb * 1048576.0) as usize;
        let share = || Shard::new(&ranks, &policy.model, master.as_ref(), bucket);
        let shard = (!ranks.is_alone()).then(share);
        if shard.is_some() {
            master = None;
        }
        let optimizer = Optimizer::new(train);
        let on = |device: &Device| policy.model.clone().fork(&device.clone().autodiff());
        Self {
            replicas: others.iter().map(on).collect(),
            master,
            shard,
            ranks,
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

    /// The processes that train together.
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// Makes update `update` (from 0) from the sum of some micro-batches' gradients, those of other ranks too. `pass` gives a micro-batch's loss under
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
            let made = self.gradients(micros, scale, dropout, &pass);
            let (grads, found) = self.ranks.agree(made)?;
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
        let learning_rate = self.train.learning_rate * self.schedule.multiplier(update);
        let (model, most) = (&self.policy.model, self.train.max_grad_norm);
        let damaged = |norms: &GradNorms| match norms.first_non_finite() {
            Some(parameter) => Err(UpdateError::Gradient {
                parameter: parameter.to_owned(),
            }),
            None => Ok(()),
        };
        let norms = match &mut self.shard {
            None => {
                let norms = grad_norms(model, &grads)?;
                damaged(&norms)?;
                let (weights, factor) = (self.weights().clone(), clip_factor(&norms, most));
                let weights = self.optimizer.step(weights, grads, factor, learning_rate);
                self.take(weights);
                norms
            }
            Some(shard) => {
                let summed = shard.sum(model, grads);
                let norms = summed.norms.clone();
                damaged(&norms)?;
                let factor = clip_factor(&norms, most);
                let model = model.clone();
                self.policy.model = shard.update(model, &mut self.optimizer, summed, factor, learning_rate);
                self.refresh();
                norms
            }
        };
        self.check_finite()?;
        self.follow_policy(update);
        Ok(Update {
            grad_norm: norms.global,
            learning_rate,
        })
    }

    /// Whether all weights are finite, those that the policy computes with too.
    fn check_finite(&self) -> Result<(), UpdateError> {
        // Of the model's own weights all ranks have the same.
        let own = self.shard.as_ref().and_then(Shard::master_non_finite);
        let found = match own {
            Some(parameter) => Err(UpdateError::Weights {
                parameter: parameter.to_owned(),
            }),
            None => Ok(()),
        };
        self.ranks.agree(found)?;
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
        if let Some(master) = &mut self.master {
            *master = weights.clone();
        }
        let is_short = self.train.dtype != Dtype::F32 && self.policy.adapter.is_none();
        self.policy.model = match is_short {
            false => weights,
            true => {
                if let Some(shard) = &mut self.shard {
                    shard.set_master(Some(&weights));
                }
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
            shard: self.shard.clone(),
            optimizer: self.optimizer.clone(),
            reference: self.reference.clone(),
        }
    }

    fn roll_back(&mut self, snapshot: Snapshot) {
        self.policy.model = snapshot.model;
        self.master = snapshot.master;
        self.shard = snapshot.shard;
        self.optimizer = snapshot.optimizer;
        self.reference = snapshot.reference;
        self.refresh();
    }

    /// Which numbers of a parameter, of so many, this rank updates.
    fn parts(&self, name: &str, count: usize) -> Vec<Range<usize>> {
        match &self.shard {
            Some(shard) => shard.parts(name),
            None => std::iter::once(0..count).collect(),
        }
    }
}
