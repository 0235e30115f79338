//! Stages 1 to 3 of a step, each device with its share of the prompts.

use std::time::Instant;

use anyhow::Result;
use gcpo_data::Problem;
use gcpo_model::inference::Inference;

use super::GroupTrainer;
use crate::metrics::Metrics;
use crate::parallel::{on_each, split};
use crate::policy::Policy;
use crate::projection::{AlignmentConfig, Projected, ProjectionPlan, project_wave};
use crate::rollout::{
    AnswerPlan, Engine, Limits, PromptPlan, RolloutError, Rollouts, Sampling, Stage, Stops, Wave, Work,
    answer,
};

impl GroupTrainer {
    /// Stages 1 to 3 of step `step` with the policy as it is: everything that is sampled and scored with it. Changes
    /// nothing, but asks the rewards' programs.
    ///
    /// # Errors
    /// The policy's logits are damaged, or there is no reward.
    pub fn roll_out(&mut self, step: usize, metrics: &mut Metrics) -> Result<Projected> {
        let (config, policy) = (&self.session.config, &self.session.policy);
        let n = config.rollout.num_generations;
        let (j, m) = (config.integrations(), config.projection_samples());
        let projects = self.objective.needs_projection();
        let plan = ProjectionPlan {
            integrations: j,
            samples: m,
            skip_flat_groups: config.projection.skip_flat_groups,
            context: config.features.context,
            alignment: AlignmentConfig {
                alpha: self.objective.alpha(),
                similarity: config.features.similarity,
                sigma: config.features.sigma,
            },
            weigh: projects,
            refer: self.objective.needs_projected_reference(),
            seed: config.seed,
            step: step as u64,
        };

        let started = Instant::now();
        let problems: Vec<Problem> = self
            .order
            .step(step, config.train.prompts_per_step)
            .map(|index| self.problems[index].clone())
            .collect();
        let plans: Result<Vec<PromptPlan>> = problems.iter().map(|p| self.plan(p)).collect();
        let plans = plans?;
        let how = AnswerPlan {
            num_generations: n,
            integrations: if projects { j } else { 0 },
            with_hidden: projects && plan.in_context(),
            seed: config.seed,
            step: step as u64,
            stage: Stage::Answer,
            first_prompt: 0,
        };
        let models = on_each(self.session.models(), |model| anyhow::Ok(Inference::new(model)))?;
        let common = EngineChoice {
            sampling: self.sampling,
            limits: Limits::from(&config.rollout),
            shares: self.shares_prefixes,
        };
        let parts = models.iter().zip(split(problems.len(), models.len())).collect();
        let (parts, works) = unzip(on_each(parts, |(model, part)| {
            let stops = policy.stops();
            let engine = common.engine(model, policy, stops.as_deref());
            let how = AnswerPlan {
                first_prompt: part.start,
                ..how
            };
            let (problems, plans) = (problems[part.clone()].to_vec(), plans[part].to_vec());
            anyhow::Ok((answer(&engine, problems, plans, how)?, engine.work()))
        })?);
        let rollouts = Rollouts::join(parts);
        metrics.put("time/rollout_secs", started.elapsed().as_secs_f64());

        let started = Instant::now();
        let prompt = |plan: &PromptPlan| policy.tokenizer.decode(plan.answer(), false).unwrap_or_default();
        let mut graded = self.reward.grade(rollouts, step, prompt, |c| policy.decode(c))?;
        metrics.put("time/reward_secs", started.elapsed().as_secs_f64());

        let started = Instant::now();
        let waves = std::mem::take(&mut graded.rollouts.waves);
        let mut work = beside(works);
        let projected = if plan.weigh || plan.refer {
            let mut of_engine: Vec<Vec<Wave>> = models.iter().map(|_| Vec::new()).collect();
            for wave in waves {
                of_engine[wave.engine].push(wave);
            }
            let parts = models.iter().zip(of_engine).collect();
            let (parts, works) = unzip(on_each(parts, |(model, waves)| {
                let stops = policy.stops();
                let engine = common.engine(model, policy, stops.as_deref());
                let found: Result<Vec<_>, RolloutError> = waves
                    .into_iter()
                    .map(|wave| project_wave(&engine, &graded, &wave, &plan))
                    .collect();
                anyhow::Ok((found?, engine.work()))
            })?);
            work = work.then(beside(works));
            Projected::new(graded, parts.into_iter().flatten())
        } else {
            Projected::new(graded, [])
        };
        metrics.put("time/project_secs", started.elapsed().as_secs_f64());
        metrics.put("rollout/generations", work.generations as f64);
        metrics.put("rollout/tokens", work.tokens as f64);
        metrics.put("rollout/decoded_tokens", work.decoded as f64);
        metrics.put("rollout/prefill_tokens", work.prefilled as f64);
        metrics.put("rollout/kv_bytes", work.kv_bytes as f64);
        metrics.put("time/collider_score_secs", work.score_secs);
        metrics.put("time/represent_secs", work.represent_secs);
        Ok(projected)
    }
}

/// What the engines of all devices have in common.
#[derive(Clone, Copy)]
struct EngineChoice {
    sampling: Sampling,
    limits: Limits,
    shares: bool,
}

impl EngineChoice {
    fn engine<'a>(&self, model: &'a Inference, policy: &'a Policy, stops: Option<Stops<'a>>) -> Engine<'a> {
        Engine::new(model, &policy.eos, self.sampling, self.limits)
            .with_stops(stops)
            .sharing(self.shares)
    }
}

fn unzip<A, B>(pairs: Vec<(A, B)>) -> (Vec<A>, Vec<B>) {
    pairs.into_iter().unzip()
}

/// What several engines did side by side.
fn beside(works: Vec<Work>) -> Work {
    works.into_iter().reduce(Work::beside).unwrap_or_default()
}
