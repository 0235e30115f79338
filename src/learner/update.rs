//! The passes of the optimiser over the groups of a step.

use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use gcpo_model::llama::Llama;

use super::batch::{Member, micro_batch};
use super::cut::{Limits, PassTokens, in_order, is_group};
use super::optim::grad_norms;
use super::workers::split;
use super::{Learner, Update, UpdateError};
use crate::group::Group;
use crate::objective::{BatchTotals, LossMetrics, Objective};
use crate::rollout::Rollout;

/// What is optimised over the groups of a step.
#[derive(Debug, Clone)]
pub struct PolicyGradient {
    /// The objective.
    pub objective: Objective,
    /// The most tokens that a completion may have.
    pub max_completion_length: usize,
    /// The temperature by which log-probabilities are taken: the sampling's.
    pub temperature: f64,
}

/// What the passes over a step's groups came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Learnt {
    /// The last update.
    pub update: Update,
    /// Mean loss of the updates.
    pub loss: f64,
    /// Sums over all passes.
    pub sums: LossMetrics,
    /// The policy beside its loss.
    pub policy: PolicySums,
    /// Tokens of the policy's passes.
    pub tokens: PassTokens,
}

/// What is to be known of the policy's distributions, over the tokens of some passes.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
pub struct PolicySums {
    entropy: f64,
    tokens: f64,
    /// Σ (exp |Δ log p| − 1) between the trainer's forward and the engine's, over the tokens run before the first update.
    gap: f64,
    gap_tokens: f64,
}

impl PolicySums {
    /// `fresh`: the policy is still the one that sampled.
    fn add(&mut self, other: &Self, fresh: bool) {
        self.entropy += other.entropy;
        self.tokens += other.tokens;
        if fresh {
            self.gap += other.gap;
            self.gap_tokens += other.gap_tokens;
        }
    }

    /// Mean entropy of a token's distribution, in nats.
    pub fn entropy(&self) -> f64 {
        self.entropy / self.tokens
    }

    /// Mean of `exp |Δ log p|` between the trainer's forward and the engine's; 1 where they agree.
    pub fn trainer_gap(&self) -> f64 {
        1.0 + self.gap / self.gap_tokens
    }
}

impl Learner {
    /// Several passes of the optimiser over the groups of step `step` (from 1), whose candidates have been weighed. Fills in what the
    /// objective wants to know of their tokens: the trainer's log-probabilities, and which have the highest entropy.
    ///
    /// # Errors
    /// A loss or a gradient is not finite: the weights and the optimiser are then what they were before the first pass.
    pub fn update(
        &mut self,
        step: usize,
        groups: &mut Vec<Group>,
        what: &PolicyGradient,
    ) -> Result<Learnt, UpdateError> {
        self.as_one(|learner| learner.passes(step, groups, what))
    }

    fn passes(
        &mut self,
        step: usize,
        groups: &mut Vec<Group>,
        what: &PolicyGradient,
    ) -> Result<Learnt, UpdateError> {
        let (iterations, mini_batches) = (self.train.num_iterations, self.train.mini_batches);
        let mut learnt = Learnt::default();
        let mut updates = 0;
        if what.objective.correction.is_some() {
            self.score_trainer(groups, what.temperature)?;
        }
        for _ in 0..iterations {
            // Whole groups, sizes as equal as can be.
            for part in split(groups.len(), mini_batches) {
                let part = &mut groups[part];
                let share = what.objective.top_entropy_quantile;
                if share < 1.0 {
                    self.select_tokens(part, share, what.temperature)?;
                }
                let update = (step - 1) * iterations * mini_batches + updates;
                let (done, sums, policy, tokens) = self.learn_of(update, part, what)?;
                learnt.update = done;
                learnt.sums += sums;
                learnt.policy.add(&policy, updates == 0);
                learnt.tokens += tokens;
                updates += 1;
            }
        }
        let told = (learnt.sums, learnt.policy, learnt.tokens);
        learnt = Learnt {
            update: learnt.update,
            ..Learnt::default()
        };
        for (sums, policy, tokens) in self.ranks.all_gather(told) {
            learnt.sums += sums;
            learnt.policy.add(&policy, true);
            learnt.tokens += tokens;
        }
        learnt.loss = learnt.sums.loss / updates as f64;
        Ok(learnt)
    }

    /// Update `update`, from the groups of one mini-batch: what it did, and sums over this rank's share of them.
    fn learn_of(
        &mut self,
        update: usize,
        part: &[Group],
        what: &PolicyGradient,
    ) -> Result<(Update, LossMetrics, PolicySums, PassTokens), UpdateError> {
        let lengths = members(part).map(|(_, candidate)| candidate.tokens_in_loss());
        let totals = BatchTotals {
            selected: members(part)
                .map(|(_, candidate)| candidate.tokens_selected())
                .sum(),
            ..BatchTotals::of(lengths, what.max_completion_length)
        };
        // The totals are of all; what is run is this rank's share.
        let own = part.iter().filter(|group| group.rank == self.ranks.rank());
        let members: Vec<Member> = members_of(own).collect();
        let (model, whole) = (&self.policy.model, what.objective.couples_groups());
        let rows = in_order(model, &members, whole);
        let run = |rows: &[Member]| PassTokens::of(model, rows).run;
        let limits = Limits::of(&self.train);
        let micros = match whole {
            true => limits.cut_between(&rows, is_group, run),
            false => limits.cut(&rows, is_group, run),
        };
        let mut tokens = PassTokens::default();
        for micro in &micros {
            tokens += PassTokens::of(model, micro);
        }
        let done = self.step(update, &micros, |model, micro| what.run(model, micro, &totals));
        let (update, found) = match done {
            Err(UpdateError::Gradient { .. }) => {
                let bad = self.find_non_finite(update, &members, &totals, what);
                self.ranks.agree(bad)?;
                // Each is finite; only their sum is not.
                let first = part.first().map(|group| group.problem.id.clone());
                return Err(UpdateError::Problem {
                    what: "sum of gradients from the mini-batch",
                    id: first.unwrap_or_default(),
                });
            }
            done => done?,
        };
        let (mut sums, mut policy) = (LossMetrics::default(), PolicySums::default());
        for (of_micro, policy_of) in found {
            sums += of_micro;
            policy.add(&policy_of, true);
        }
        Ok((update, sums, policy, tokens))
    }

    /// Says which problem's candidate makes the gradient of all of them NaN or infinite, if one of this rank's does.
    fn find_non_finite(
        &self,
        update: usize,
        members: &[Member],
        totals: &BatchTotals,
        what: &PolicyGradient,
    ) -> Result<(), UpdateError> {
        let model = &self.policy.model.clone().with_dropout(self.dropout(update));
        let alone: Vec<&[Member]> = match what.objective.couples_groups() {
            true => members.chunk_by(is_group).collect(),
            false => members.chunks(1).collect(),
        };
        for alone in alone {
            let (loss, _) = what.run(model, alone, totals)?;
            let grads = GradientsParams::from_grads(loss.backward(), model);
            if !grad_norms(model, &grads)?.global.is_finite() {
                return Err(UpdateError::Problem {
                    what: "gradient",
                    id: alone[0].0.problem.id.clone(),
                });
            }
        }
        Ok(())
    }
}

impl PolicyGradient {
    /// An objective over completions that are sampled as `how` says.
    pub fn new(objective: Objective, how: &Rollout) -> Self {
        Self {
            objective,
            max_completion_length: how.max_completion_length,
            temperature: how.logp_temperature(),
        }
    }

    /// The loss of one micro-batch, and what is to be known of it.
    fn run(
        &self,
        model: &Llama,
        members: &[Member],
        totals: &BatchTotals,
    ) -> Result<(Tensor<1>, (LossMetrics, PolicySums)), UpdateError> {
        let with_entropy = self.objective.entropy_coef != 0.0;
        let micro = micro_batch(model, members, self.temperature, with_entropy)?;
        let output = self.objective.loss(&micro.inputs, totals)?;
        let found = output.sums.read()?;
        if !found.loss.is_finite() {
            let losses: Vec<f32> = output.row_loss_b.try_into_vec_as()?;
            let bad = losses.iter().position(|loss| !loss.is_finite()).unwrap_or(0);
            return Err(UpdateError::Problem {
                what: "loss",
                id: members[bad].0.problem.id.clone(),
            });
        }
        let tokens: usize = members
            .iter()
            .map(|(_, candidate)| candidate.tokens_in_loss())
            .sum();
        let [entropy, gap] = micro.policy_sums();
        let of_policy = PolicySums {
            entropy,
            tokens: tokens as f64,
            gap,
            gap_tokens: tokens as f64,
        };
        Ok((output.loss, (found, of_policy)))
    }
}

/// All candidates, each with its group.
pub fn members(groups: &[Group]) -> impl Iterator<Item = Member<'_>> {
    members_of(groups.iter())
}

/// The same of some groups.
pub(super) fn members_of<'a>(groups: impl Iterator<Item = &'a Group>) -> impl Iterator<Item = Member<'a>> {
    groups.flat_map(|group| group.candidates.iter().map(move |candidate| (group, candidate)))
}
