//! Reinforcement learning with a verifier, the main job:
//!
//! ```text
//! problems ─► sample ─► grade ─► project ─► weigh ─► update ─► StepReport
//!    every arrow hands on Vec<Group>
//! ```

use anyhow::{Context as _, Result};
use burn::tensor::Device;
use gcpo_data::Problem;
use gcpo_model::inference::Inference;

use super::{HeldOut, Recipe, StepError};
use crate::config::Config;
use crate::group::Group;
use crate::learner::{Learner, PolicyGradient};
use crate::policy::{Policy, PolicyError};
use crate::projection::{AlignmentConfig, ProjectionPlan, project};
use crate::report::{Clock, Done, RlReport, RolloutReport, Sample, StepReport};
use crate::reward::{Reward, gradable};
use crate::rollout::{Contexts, Engine, Limits, Rollout, RolloutError, Sampling, Work};
use crate::sample::{Answers, answer};
use crate::source::Order;
use crate::stream::Stage;
use crate::weigh::weigh;

/// Reinforcement learning with a verifier.
pub struct Rl {
    config: Config,
    learner: Learner,
    held_out: HeldOut,
    reward: Reward,
    gradient: PolicyGradient,
    problems: Vec<Problem>,
    order: Order,
    shares_prefixes: bool,
}

impl Rl {
    /// A run about to do step 1, on the policy's device and on `others`. Everything that can be known to fail does so here.
    ///
    /// # Errors
    /// A problem's contexts cannot fit the model, its gold answer or the held-out problems cannot be read, or a reward's
    /// program cannot be started.
    pub fn new(config: Config, policy: Policy, problems: Vec<Problem>, others: &[Device]) -> Result<Self> {
        let reward = Reward::start(&config.grader, &config.reward)?;
        let problems = gradable(&config.grader, &config.reward, problems, false)?.problems;
        let updates = config.train.max_steps * config.train.num_iterations * config.train.mini_batches;
        let gradient = PolicyGradient {
            objective: config.objective_row(),
            max_completion_length: config.rollout.max_completion_length,
            temperature: Sampling::from(&config.rollout).logp_temperature(),
        };
        let mut learner = Learner::new(&config.train, config.model.save_dtype, policy, updates, others);
        if gradient.objective.needs_reference_model() {
            learner.keep_reference();
        }
        let rl = Self {
            order: Order::new(problems.len(), config.data.shuffle, config.seed),
            held_out: HeldOut::of(&config)?,
            shares_prefixes: true,
            config,
            learner,
            reward,
            gradient,
            problems,
        };
        let positions = rl.learner.policy.model.config().max_position_embeddings;
        for problem in &rl.problems {
            rl.contexts(problem)?
                .check_fits(rl.config.rollout.max_completion_length, positions)
                .with_context(|| format!("problem `{}`", problem.id))?;
        }
        Ok(rl)
    }

    /// Whether contexts with equal beginnings run them once, as they do by default. Without, every completion runs its
    /// whole context: for `gcpo bench --flat`.
    pub fn sharing_prefixes(mut self, shares: bool) -> Self {
        self.shares_prefixes = shares;
        self
    }

    /// Everything of step `step` that is sampled and scored with the policy as it is: problems ─► sample ─► grade ─► project.
    /// Changes nothing, but asks the rewards' programs.
    ///
    /// # Errors
    /// The policy's logits are damaged, or there is no reward.
    pub fn roll_out(&mut self, step: usize) -> Result<(Vec<Group>, RolloutReport), StepError> {
        let mut clock = Clock::start();
        let mut groups = self.groups(step)?;
        let models = self.learner.generators();
        let (how, plan) = (self.answers(step), self.projection(step));
        let (policy, rollout, shares) = (&self.learner.policy, &self.config.rollout, self.shares_prefixes);
        let engine =
            |model: &Inference, work: &mut EngineWork| on_engine(policy, model, rollout, shares, work);

        let sampled = models.map(&mut groups, |model, groups| {
            engine(model, &mut |engine| answer(engine, groups, &how))
        })?;
        let sample_secs = clock.lap();

        self.reward
            .grade(&mut groups, step, |completion| policy.decode(completion))?;
        let reward_secs = clock.lap();

        let projected = models.map(&mut groups, |model, groups| {
            engine(model, &mut |engine| project(engine, groups, &plan))
        })?;
        let project_secs = clock.lap();

        let upsilon = self.gradient.objective.constant_upsilon();
        let report = RolloutReport {
            work: Work::of_engines(sampled).then(Work::of_engines(projected)),
            sample_secs,
            reward_secs,
            project_secs,
            ..RolloutReport::of(&groups, &self.reward.labels(), upsilon)
        };
        Ok((groups, report))
    }

    /// The problems of a step as groups, nothing sampled yet.
    fn groups(&self, step: usize) -> Result<Vec<Group>, PolicyError> {
        let picks = self.order.step(step, self.config.train.prompts_per_step);
        let group = |(number, pick): (usize, usize)| {
            let problem = &self.problems[pick];
            let contexts = self.contexts(problem)?;
            let prompt = self.learner.policy.prompt_text(&contexts);
            Ok(Group::new(problem.clone(), number, prompt, contexts))
        };
        picks.enumerate().map(group).collect()
    }

    fn contexts(&self, problem: &Problem) -> Result<Contexts, PolicyError> {
        let (config, policy) = (&self.config, &self.learner.policy);
        if !self.gradient.objective.needs_integration() {
            return policy.answer_contexts(problem);
        }
        let n = config.rollout.num_generations;
        policy.contexts(problem, n, config.projection.candidate_tokens)
    }

    fn answers(&self, step: usize) -> Answers {
        let projects = self.gradient.objective.needs_projection();
        Answers {
            num_generations: self.config.rollout.num_generations,
            integrations: if projects {
                self.config.projection.integrations
            } else {
                0
            },
            with_hidden: projects && self.projection(step).in_context(),
            seed: self.config.seed,
            step: step as u64,
            stage: Stage::Answer,
        }
    }

    fn projection(&self, step: usize) -> ProjectionPlan {
        let (config, what) = (&self.config, &self.gradient);
        ProjectionPlan {
            integrations: config.projection.integrations,
            samples: config.projection.samples,
            skip_flat_groups: config.projection.skip_flat_groups,
            context: config.features.context,
            alignment: AlignmentConfig {
                alpha: what.objective.alpha(),
                similarity: config.features.similarity,
                sigma: config.features.sigma,
            },
            weigh: what.objective.needs_projection(),
            refer: what.objective.needs_projected_reference(),
            seed: config.seed,
            step: step as u64,
        }
    }
}

/// What is done with an engine.
type EngineWork<'a> = dyn FnMut(&Engine) -> Result<(), RolloutError> + 'a;

/// Does `work` with an engine over `model`, and says how much it was.
fn on_engine(
    policy: &Policy,
    model: &Inference,
    how: &Rollout,
    shares_prefixes: bool,
    work: &mut EngineWork,
) -> Result<Work, RolloutError> {
    let stops = policy.stops();
    let engine = Engine::new(model, &policy.eos, Sampling::from(how), Limits::from(how))
        .with_stops(stops.as_deref())
        .sharing(shares_prefixes);
    work(&engine)?;
    Ok(engine.work())
}

impl Recipe for Rl {
    fn step(&mut self, step: usize) -> Result<(StepReport, Vec<Sample>), StepError> {
        let (mut whole, mut clock) = (Clock::start(), Clock::start());
        let (mut groups, rollout) = self.roll_out(step)?;
        let labels = self.reward.labels();
        let sample = |group| Sample::of(step, group, &labels, &self.learner.policy);
        let samples = groups.iter().map(sample).collect();
        clock.lap();

        let (what, device) = (&self.gradient, self.learner.device());
        weigh(&mut groups, &what.objective, &device)?;
        self.learner.score_reference(&mut groups, &self.config.rollout)?;
        let score_secs = clock.lap();

        let learnt = self.learner.learn(step, &groups, what)?;
        let report = RlReport {
            rollout,
            learnt,
            score_secs,
            train_secs: clock.lap(),
            step_secs: whole.lap(),
        };
        Ok((StepReport::of(step, Done::Rl(Box::new(report))), samples))
    }

    fn learner(&self) -> &Learner {
        &self.learner
    }

    fn learner_mut(&mut self) -> &mut Learner {
        &mut self.learner
    }

    fn held_out(&self) -> &HeldOut {
        &self.held_out
    }
}
