//! How a policy is trained: by reinforcement learning ([`rl`]), on demonstrations ([`sft`]), or on what a tree search finds ([`rest`]), step after
//! step ([`drive`]).

mod desk;
mod drive;
mod exchange;
mod held_out;
pub mod rest;
mod resume;
pub mod rl;
mod rounds;
pub mod sft;

use burn::tensor::Device;
use gcpo_data::Problem;
use thiserror::Error;

use crate::config::{Config, ConfigError};
use crate::console::note;
use crate::demonstrate::DemonstrationError;
use crate::group::Group;
use crate::learner::{Learner, UpdateError};
use crate::objective::ObjectiveError;
use crate::policy::{Policy, PolicyError};
use crate::ranks::Ranks;
use crate::report::{Sample, StepReport};
use crate::reward::{Reward, RewardError, gradable};
use crate::rollout::RolloutError;
pub use drive::{Outcome, drive};
pub use held_out::{HeldOut, eval_plan};
pub use rest::Rest;
pub use resume::{Start, compare_inputs, resume};
pub use rl::Rl;
pub use sft::Sft;

/// A run that goes forward step by step.
pub trait Recipe {
    /// Does step `step` (from 1) and says what it measured and sampled.
    ///
    /// # Errors
    /// Whatever stops the run. The learner's state is then still that of the last whole step.
    fn step(&mut self, step: usize) -> Result<(StepReport, Vec<Sample>), StepError>;

    /// What learns, what it is judged on, and the run's rewards, where there are some.
    fn parts(&mut self) -> (&mut Learner, &HeldOut, Option<&mut Reward>);

    /// The problems that it trains on, in their order.
    fn problems(&self) -> &[Problem];
}

/// What learns in a run about to do step 1 that makes so many `updates`, on the policy's device and on `others`, by this rank and others.
///
/// # Errors
/// Something asked for would be without effect.
fn learner(
    config: &Config,
    policy: Policy,
    updates: usize,
    others: &[Device],
    ranks: Ranks,
) -> Result<Learner, ConfigError> {
    let (train, format) = (&config.train, config.format());
    let learner = Learner::new(train, format, config.seed, policy, updates, others, ranks);
    check_effect(config, &learner)?;
    Ok(learner)
}

/// The rewards of a run whose samples are graded, its problems and the held-out ones.
///
/// # Errors
/// A gold answer or the held-out problems cannot be read, or a reward's program cannot be started.
fn graded(
    config: &Config,
    device: &Device,
    problems: Vec<Problem>,
) -> anyhow::Result<(Reward, Vec<Problem>, HeldOut)> {
    let mut reward = config.rewards(device)?;
    let problems = gradable(&config.grader, &config.reward, problems, false)?.problems;
    let held_out = HeldOut::of(config, &problems)?;
    let ahead = config.ahead(problems.len());
    reward.expect(&problems, ahead)?;
    held_out.expect(&mut reward, ahead)?;
    Ok((reward, problems, held_out))
}

/// Refuses what would be without effect on the learner's device, and says what is slow there.
fn check_effect(config: &Config, learner: &Learner) -> Result<(), ConfigError> {
    if config.objective.sync_ref_model == Some(true) && learner.policy.adapter.is_some() {
        let what = "the reference model of adapters is the policy with these off, which cannot follow them";
        return Err(config.blame("objective.sync_ref_model", what, "leave it out"));
    }
    if learner.is_slowed_by_dora() {
        note(
            "note: model.lora.use_dora: training computes by tensor operations, slower than without it: the processor's kernels \
             know no DoRA",
        );
    }
    Ok(())
}

/// Why a step could not be done.
#[derive(Debug, Error)]
pub enum StepError {
    /// A prompt cannot be made of a problem.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A demonstration cannot be made of a problem.
    #[error(transparent)]
    Demonstration(#[from] DemonstrationError),
    /// Nothing could be sampled or scored.
    #[error(transparent)]
    Rollout(#[from] RolloutError),
    /// The policy's logits for a problem are NaN or infinite.
    #[error("problem `{id}`: {source}")]
    Logits {
        /// The problem.
        id: String,
        /// What was seen.
        source: RolloutError,
    },
    /// There is no reward.
    #[error(transparent)]
    Reward(#[from] RewardError),
    /// The objective misses what it needs.
    #[error(transparent)]
    Objective(#[from] ObjectiveError),
    /// The policy could not be updated.
    #[error(transparent)]
    Update(#[from] UpdateError),
    /// Another rank failed.
    #[error("rank {rank}: {said}")]
    Elsewhere {
        /// The rank.
        rank: usize,
        /// Its error.
        said: String,
        /// Whether the policy as it was before the step is at fault.
        of_the_policy: bool,
    },
}

impl StepError {
    /// What a rollout of some groups failed on, with the problem where it is one's.
    fn in_rollout(source: RolloutError, groups: &[Group]) -> Self {
        let prompt = match source {
            RolloutError::NonFinite { prompt, .. } => prompt,
            _ => return source.into(),
        };
        match groups.iter().find(|group| group.number as u64 == prompt) {
            Some(group) => Self::Logits {
                id: group.problem.id.clone(),
                source,
            },
            None => source.into(),
        }
    }

    /// Whether the policy as it was before the step is at fault.
    fn is_of_the_policy(&self) -> bool {
        matches!(
            self,
            Self::Logits { .. }
                | Self::Rollout(RolloutError::NonFinite { .. })
                | Self::Elsewhere {
                    of_the_policy: true,
                    ..
                }
        )
    }
}
