//! Reinforcement learning with a verifier, the main job:
//!
//! ```text
//! problems ─► sample ─► grade ─► project ─► weigh ─► update ─► StepReport
//!    every arrow hands on Vec<Group>
//! ```

use anyhow::Result;
use burn::tensor::Device;
use gcpo_data::Problem;
use gcpo_model::inference::Inference;

use super::exchange::{agree, on_own, tell_projected, tell_reference};
use super::rounds::Rounds;
use super::{HeldOut, Recipe, StepError, graded, learner};
use crate::config::Config;
use crate::group::Group;
use crate::learner::{Learner, PolicyGradient};
use crate::policy::{EngineWork, Policy};
use crate::projection::{ProjectionPlan, project};
use crate::ranks::Ranks;
use crate::report::{Done, RolloutReport, Sample, StepReport, Stopwatch};
use crate::reward::Reward;
use crate::rollout::Work;
use crate::source::Problems;
use crate::weigh::weigh;

/// Reinforcement learning with a verifier.
pub struct Rl {
    config: Config,
    problems: Problems,
    reward: Reward,
    gradient: PolicyGradient,
    learner: Learner,
    held_out: HeldOut,
    shares_prefixes: bool,
}

impl Rl {
    /// A run about to do step 1, on the policy's device and on `others`, by this rank and others. Everything that can be known to fail
    /// does so here.
    ///
    /// # Errors
    /// A problem's contexts cannot fit the model, its gold answer or the held-out problems cannot be read, or a reward's
    /// program cannot be started.
    pub fn new(
        config: Config,
        policy: Policy,
        problems: Vec<Problem>,
        others: &[Device],
        ranks: Ranks,
    ) -> Result<Self> {
        let (reward, problems, held_out) = graded(&config, &policy.model.device(), problems)?;
        let updates = config.train.max_steps * config.train.num_iterations * config.train.mini_batches;
        let gradient = PolicyGradient::new(config.objective_row(), &config.rollout);
        let mut learner = learner(&config, policy, updates, others, ranks)?;
        if gradient.objective.needs_reference_model() {
            learner.keep_reference(config.objective.ref_sync());
        }
        let rl = Self {
            held_out,
            problems: Problems::new(problems, &config.data, config.seed),
            shares_prefixes: true,
            config,
            learner,
            reward,
            gradient,
        };
        for problem in rl.problems.all() {
            let policy = &rl.learner.policy;
            policy.check_fits(problem, rl.quoted(), &rl.config.rollout)?;
        }
        Ok(rl)
    }

    /// Whether contexts with equal beginnings run them once, as they do by default. Without, every completion runs its
    /// whole context: for `gcpo bench --flat`.
    pub fn sharing_prefixes(mut self, shares: bool) -> Self {
        self.shares_prefixes = shares;
        self
    }

    /// problems ─► sample ─► grade ─► project: all that the policy as it is does for a step. Changes nothing, but asks the
    /// rewards' programs.
    ///
    /// # Errors
    /// The policy's logits are damaged, or there is no reward.
    pub fn roll_out(&mut self, step: usize) -> Result<(Vec<Group>, RolloutReport), StepError> {
        let (config, policy, shares) = (&self.config, &self.learner.policy, self.shares_prefixes);
        let ranks = self.learner.ranks();
        let plan = ProjectionPlan {
            projection: &config.projection,
            features: &config.features,
            objective: &self.gradient.objective,
            seed: config.seed,
            step: step as u64,
        };
        agree(ranks, self.reward.check().map_err(StepError::from))?;
        let models = self.learner.generators();
        let rounds = Rounds {
            config,
            policy,
            ranks,
            models: &models,
            plan,
            quoted: self.quoted(),
            shares_prefixes: shares,
        };
        let answered = rounds.run(&self.problems, &mut self.reward, step)?;
        let mut groups = answered.groups;

        let mut clock = Stopwatch::start();
        let with = |model: &Inference, work: &mut EngineWork| {
            policy.with_engine(model, &config.rollout, shares, work)
        };
        let projected = on_own(ranks, &mut groups, |groups| {
            let projected = models.map(groups, |model, groups| {
                with(model, &mut |engine| project(engine, groups, &plan))
            });
            projected.map_err(|error| StepError::in_rollout(error, groups))
        })?;
        tell_projected(ranks, &mut groups);
        let projected = ranks.all_gather(Work::of_engines(projected));
        let report = RolloutReport {
            work: answered.work.then(Work::of_engines(projected)),
            sample_secs: answered.sample_secs,
            reward_secs: answered.reward_secs,
            discarded: answered.discarded,
            project_secs: clock.lap(),
            measured: self.reward.take_measured(ranks),
            ..RolloutReport::of(&groups, &self.reward.labels(), plan.objective)
        };
        Ok((groups, report))
    }

    /// What the contexts of stages 2 and 3 quote ([`Policy::group`]), where the objective needs these stages.
    fn quoted(&self) -> Option<(usize, usize)> {
        let (rollout, projection) = (&self.config.rollout, &self.config.projection);
        let integrates = self.gradient.objective.needs_integration();
        integrates.then_some((rollout.num_generations, projection.candidate_tokens))
    }
}

impl Recipe for Rl {
    fn step(&mut self, step: usize) -> Result<(StepReport, Vec<Sample>), StepError> {
        let mut whole = Stopwatch::start();
        let (mut groups, rollout) = self.roll_out(step)?;
        let mut clock = Stopwatch::start();
        self.learner
            .score_reference(&mut groups, self.gradient.temperature)?;
        tell_reference(self.learner.ranks(), &self.gradient.objective, &mut groups);
        let (objective, device) = (&self.gradient.objective, self.learner.device());
        weigh(&mut groups, objective, &self.reward.weights(), &device)?;
        let samples = Sample::all(step, &groups, &self.reward.labels(), &self.learner.policy);
        let score_secs = clock.lap();

        let learnt = self.learner.update(step, &mut groups, &self.gradient)?;
        let secs = [score_secs, clock.lap(), whole.lap()];
        Ok((StepReport::of(step, Done::rl(rollout, learnt, secs)), samples))
    }

    fn parts(&mut self) -> (&mut Learner, &HeldOut, Option<&mut Reward>) {
        (&mut self.learner, &self.held_out, Some(&mut self.reward))
    }

    fn problems(&self) -> &[Problem] {
        self.problems.all()
    }
}
