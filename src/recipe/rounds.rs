//! Stage 1 of a step: candidates are sampled and graded, in one round, or, with `rollout.dynamic_sampling`, in as many as it takes until
//! all groups have something to learn from (DAPO, Yu et al., arXiv 2503.14476, section 3.2).

use gcpo_data::Problem;
use gcpo_model::inference::Inference;

use super::StepError;
use super::exchange::{on_own, share_out, tell_graded};
use crate::config::Config;
use crate::group::Group;
use crate::learner::Workers;
use crate::policy::{EngineWork, Policy};
use crate::projection::ProjectionPlan;
use crate::ranks::Ranks;
use crate::report::{Discarded, Stopwatch};
use crate::reward::Reward;
use crate::rollout::{RolloutError, Work};
use crate::sample::{root, sample};
use crate::source::Problems;

/// What stage 1 works with.
pub(super) struct Rounds<'a> {
    pub config: &'a Config,
    pub policy: &'a Policy,
    pub ranks: &'a Ranks,
    pub models: &'a Workers<Inference>,
    pub plan: ProjectionPlan<'a>,
    /// What the contexts of later stages quote, where there are some.
    pub quoted: Option<(usize, usize)>,
    pub shares_prefixes: bool,
}

/// The groups of a step, and what they took.
#[derive(Default)]
pub(super) struct Answered {
    pub groups: Vec<Group>,
    pub work: Work,
    pub sample_secs: f64,
    pub reward_secs: f64,
    /// What was sampled for nothing, with dynamic sampling.
    pub discarded: Option<Discarded>,
}

impl Rounds<'_> {
    /// The groups of step `step`, sampled and graded.
    ///
    /// # Errors
    /// The policy's logits are damaged, or there is no reward.
    pub fn run(&self, problems: &Problems, reward: &mut Reward, step: usize) -> Result<Answered, StepError> {
        let size = self.config.train.prompts_per_step;
        let mut answered = Answered::default();
        let first = self.round(problems.of_step(step, size), reward, step, &mut answered)?;
        answered.groups = first;
        if self.config.rollout.dynamic_sampling {
            self.refill(problems, reward, step, &mut answered)?;
        }
        Ok(answered)
    }

    /// Groups whose candidates all earned the same give way to those of other problems, until there are none or the rounds are used
    /// up; then some of them stay.
    fn refill(
        &self,
        problems: &Problems,
        reward: &mut Reward,
        step: usize,
        answered: &mut Answered,
    ) -> Result<(), StepError> {
        let size = self.config.train.prompts_per_step;
        let is_idle = |group: &Group| group.is_idle(self.plan.objective);
        let mut others = problems.in_place(step, size);
        let mut discarded = Discarded::of(&answered.groups);
        let mut idle = Vec::new();
        for _ in 1..self.config.rollout.max_num_gen_batches.unwrap_or(1) {
            if !answered.groups.iter().any(is_idle) {
                break;
            }
            // What is held of what was run is let go of: the groups that stay are no longer those that were run together.
            answered.groups.iter_mut().for_each(Group::let_go_of_prefix);
            idle.extend(answered.groups.extract_if(.., |group| is_idle(group)));
            let missing = size - answered.groups.len();
            let fresh = others.by_ref().take(missing);
            let fresh = self.round(fresh, reward, step, answered)?;
            discarded.add_round(&fresh);
            answered.groups.extend(fresh);
        }
        discarded.throw(&idle);
        let changed = discarded.rounds > 1;
        if changed && self.plan.objective.needs_integration() {
            self.root(&mut answered.groups)?;
        }
        answered.discarded = Some(discarded);
        Ok(())
    }

    /// Samples and grades some problems, each with its number in the step.
    fn round<'p>(
        &self,
        problems: impl Iterator<Item = (usize, &'p Problem)>,
        reward: &mut Reward,
        step: usize,
        answered: &mut Answered,
    ) -> Result<Vec<Group>, StepError> {
        let mut clock = Stopwatch::start();
        let group = |(number, problem)| self.policy.group(problem, number, self.quoted);
        let mut groups: Vec<Group> = problems.map(group).collect::<Result<_, _>>()?;
        let rollout = &self.config.rollout;
        let how = self.plan.answers(rollout.num_generations);
        let sampled = rollout.num_generations * rollout.max_completion_length;
        share_out(self.ranks, &mut groups, sampled, self.config.train.mini_batches);
        let work = on_own(self.ranks, &mut groups, |groups| {
            let sampled = self.models.map(groups, |model, groups| {
                self.with(model, &mut |engine| sample(engine, groups, &how))
            });
            let sampled = sampled.map_err(|error| StepError::in_rollout(error, groups))?;
            answered.sample_secs += clock.lap();
            reward.grade(groups, step, |y| self.policy.decode(y))?;
            Ok(Work::of_engines(sampled))
        })?;
        tell_graded(self.ranks, &mut groups);
        reward.say_none(&groups, step);
        answered.work = answered.work.then(self.of_all(work));
        answered.reward_secs += clock.lap();
        Ok(groups)
    }

    /// What the engines of all ranks did.
    fn of_all(&self, work: Work) -> Work {
        Work::of_engines(self.ranks.all_gather(work))
    }

    /// Runs the prefixes of groups that were sampled in several rounds, for the stages that go on from them.
    fn root(&self, groups: &mut Vec<Group>) -> Result<(), StepError> {
        let how = self.plan.answers(self.config.rollout.num_generations);
        on_own(self.ranks, groups, |groups| {
            let run = self.models.map(groups, |model, groups| {
                self.with(model, &mut |engine| {
                    root(engine, groups, &how);
                    Ok(())
                })
            });
            run.map_err(|error| StepError::in_rollout(error, groups))?;
            Ok(())
        })
    }

    fn with(&self, model: &Inference, work: &mut EngineWork) -> Result<Work, RolloutError> {
        self.policy
            .with_engine(model, &self.config.rollout, self.shares_prefixes, work)
    }
}
