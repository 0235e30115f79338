//! What is asked of models beside a pass: the reference model's log-probabilities, and how it follows the policy; the trainer's
//! own of what the engine sampled; which tokens have the highest entropy.

use std::borrow::Borrow;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use burn::module::{Module as _, Param};
use burn::tensor::{Tensor, TensorReadError};
use gcpo_model::checkpoint::Format;
use gcpo_model::dtype::Dtype;
use gcpo_model::llama::Llama;
use gcpo_model::logp::{TokenLogp, completion_logp, tokens_run};
use gcpo_model::names::{self, ParamPath, with_value};

use super::batch::{Member, asked};
use super::cut::{Limits, is_group};
use super::saved::TRAINER;
use super::update::{members, members_of};
use super::{Learner, UpdateError};
use crate::group::{Candidate, Group, with_those_of};
use crate::objective::highest_entropies;
use crate::policy::open;

/// Where a checkpoint has a reference model that follows the policy, beside what only the trainer reads.
const REFERENCE: &str = "reference";

impl Learner {
    /// Fills in the candidates' log-probabilities under the reference model, if one is kept.
    ///
    /// # Errors
    /// The device failed.
    pub fn score_reference(&self, groups: &mut Vec<Group>, temperature: f64) -> Result<(), UpdateError> {
        if self.reference.is_empty() {
            return Ok(());
        }
        let limits = Limits::of(&self.train);
        let scored = with_those_of(self.ranks.rank(), groups, |groups| {
            self.reference.map(groups, |reference, groups| {
                let scores = scores(reference, groups, limits, temperature, |found| found.logp_bt)?;
                fill(groups, scores, |candidate, scores| {
                    candidate.logp_ref = Some(scores)
                });
                Ok::<_, UpdateError>(())
            })
        });
        self.ranks.agree(scored)?;
        Ok(())
    }

    /// Fills in the candidates' log-probabilities under the policy as it is now, by the trainer's forward, which the engine's need
    /// not equal to the last bit.
    ///
    /// # Errors
    /// The device failed.
    pub fn score_trainer(&self, groups: &mut Vec<Group>, temperature: f64) -> Result<(), UpdateError> {
        let limits = Limits::of(&self.train);
        let scored = with_those_of(self.ranks.rank(), groups, |groups| {
            self.workers().map(groups, |model, groups| {
                let scores = scores(&model.valid(), groups, limits, temperature, |found| found.logp_bt)?;
                fill(groups, scores, |candidate, scores| {
                    candidate.logp_trainer = Some(scores)
                });
                Ok::<_, UpdateError>(())
            })
        });
        self.ranks.agree(scored)?;
        Ok(())
    }

    /// Says of every token of some groups whether its entropy, under the policy as it is now, is among the highest `share` of those
    /// that are in the loss.
    ///
    /// # Errors
    /// The device failed.
    pub fn select_tokens(
        &self,
        groups: &mut [Group],
        share: f64,
        temperature: f64,
    ) -> Result<(), UpdateError> {
        let limits = Limits::of(&self.train);
        let own: Vec<&Group> = groups
            .iter()
            .filter(|group| group.rank == self.ranks.rank())
            .collect();
        let found = self.workers().share(&own, |model, groups| {
            scores(&model.valid(), groups, limits, temperature, |found| {
                found.entropy_bt
            })
        });
        let found = self.ranks.agree(found.map_err(UpdateError::from))?;
        // Each rank's, in the order of its groups.
        let mut of_ranks: Vec<_> = self
            .ranks
            .all_gather(found.concat())
            .into_iter()
            .map(Vec::into_iter)
            .collect();
        let entropies: Vec<Vec<f32>> = members(groups)
            .filter_map(|(group, _)| of_ranks[group.rank].next())
            .collect();
        let all = members(groups).zip(&entropies);
        let counted = all.flat_map(|((_, candidate), of)| &of[..candidate.tokens_in_loss()]);
        let least = highest_entropies(counted.copied().collect(), share);
        fill(groups, entropies, |candidate, entropies| {
            candidate.selected = Some(entropies.iter().map(|&entropy| entropy >= least).collect());
        });
        Ok(())
    }

    /// Lets the reference model follow the policy, if it does and update `update` (from 0) is one after which it does.
    pub(super) fn follow_policy(&mut self, update: usize) {
        let Some(sync) = self
            .ref_sync
            .filter(|sync| (update + 1).is_multiple_of(sync.steps))
        else {
            return;
        };
        let mixed = self.reference.make_with(&self.workers(), |reference, policy| {
            mix(reference, policy, sync.alpha)
        });
        self.reference = mixed;
    }

    /// Writes the reference model, where it follows the policy.
    pub(super) fn save_reference(&self, dir: &Path) -> Result<()> {
        let (Some(_), Some(reference)) = (self.ref_sync, self.reference.first()) else {
            return Ok(());
        };
        let dir = dir.join(TRAINER).join(REFERENCE);
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let dtype = Dtype::F32;
        let policy = self.policy.with_model(reference.clone());
        Ok(policy.save_network(&dir, Format { dtype, ..self.format })?)
    }

    /// Reads what [`Learner::save_reference`] wrote.
    pub(super) fn restore_reference(&mut self, dir: &Path) -> Result<()> {
        if self.ref_sync.is_none() || self.reference.is_empty() {
            return Ok(());
        }
        let dir = dir.join(TRAINER).join(REFERENCE);
        // A new run may begin from one whose reference model followed nothing; what a run that goes on needs is known by digest.
        if !dir.is_dir() {
            return Ok(());
        }
        let saved = open::network(&dir, Dtype::F32, &self.device())?.model;
        let saved = saved.cast(self.train.dtype);
        self.reference = self
            .workers()
            .make(|model| saved.clone().fork(&model.device().inner()));
        Ok(())
    }
}

/// A number for each token of each candidate of some groups, in their order, as many candidates at a time as may be.
fn scores<G: Borrow<Group>>(
    model: &Llama,
    groups: &[G],
    limits: Limits,
    temperature: f64,
    of: impl Fn(TokenLogp) -> Tensor<2>,
) -> Result<Vec<Vec<f32>>, TensorReadError> {
    let members: Vec<Member> = members_of(groups.iter().map(Borrow::borrow)).collect();
    let run = |rows: &[Member]| tokens_run(model, &asked(rows));
    let mut scores = Vec::with_capacity(members.len());
    for rows in limits.cut(&members, is_group, run) {
        let pairs = &asked(rows)[..];
        let found_bt = of(completion_logp(model, pairs, temperature));
        let [_, t] = found_bt.dims();
        let found: Vec<f32> = found_bt.try_into_vec_as()?;
        let rows = found.chunks(t).zip(pairs);
        scores.extend(rows.map(|(row, (_, tokens))| row[..tokens.len()].to_vec()));
    }
    Ok(scores)
}

/// Hands each candidate its numbers.
fn fill(groups: &mut [Group], scores: Vec<Vec<f32>>, put: impl Fn(&mut Candidate, Vec<f32>)) {
    let candidates = groups.iter_mut().flat_map(|group| &mut group.candidates);
    for (candidate, scores) in candidates.zip(scores) {
        put(candidate, scores);
    }
}

/// `α·policy + (1 − α)·reference` (TR-DPO, arXiv 2404.09656), on the reference model's device and in its dtype.
fn mix(reference: &Llama, policy: &Llama, alpha: f64) -> Llama {
    let mut numbers = Numbers(Vec::new());
    names::visit(policy, &mut numbers);
    let numbers = &mut numbers.0.into_iter();
    names::map(reference.clone(), &mut Mix { numbers, alpha })
}

struct Numbers(Vec<Tensor<1>>);

impl names::Visit for Numbers {
    fn float<const D: usize>(&mut self, _: &ParamPath, param: &Param<Tensor<D>>) {
        let value = param.val().without_autodiff();
        let count = value.shape().num_elements();
        self.0.push(value.reshape([count]));
    }
}

struct Mix<'a> {
    numbers: &'a mut dyn Iterator<Item = Tensor<1>>,
    alpha: f64,
}

impl names::Map for Mix<'_> {
    fn float<const D: usize>(&mut self, _: &ParamPath, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let new = self.numbers.next().expect("the two are of one shape");
        with_value(param, |old| {
            let new = new
                .to_device(&old.device())
                .cast(old.dtype())
                .reshape(old.shape());
            old.mul_scalar(1.0 - self.alpha) + new.mul_scalar(self.alpha)
        })
    }
}
