//! The main job: problems → rollout → grade → project → objective → update, step after step.
//!
//! `p` prompts of a step, `g` candidates of a prompt.

mod stages;

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, Result};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use gcpo_data::Problem;
use gcpo_model::inference::Inference;
use gcpo_model::llama::Llama;
use serde_json::{Map, Value};

use crate::batch::{Batch, Row, micro_batch};
use crate::config::Config;
use crate::drive::Trainer;
use crate::eval::Evaluated;
use crate::metrics::{Metrics, Sample};
use crate::objective::{BatchTotals, LossMetrics, Objective};
use crate::optim::grad_norms;
use crate::parallel::on_each;
use crate::policy::Policy;
use crate::projection::{Projected, Summary};
use crate::reward::{Reward, gradable};
use crate::rollout::{Engine, Finish, Limits, PromptPlan, Sampling};
use crate::session::{NonFiniteGradient, Session};
use crate::source::Order;

/// Reinforcement learning with a verifier.
pub struct GroupTrainer {
    session: Session,
    reward: Reward,
    objective: Objective,
    sampling: Sampling,
    /// The policy before the first step on each device, where β > 0.
    references: Vec<Inference>,
    problems: Vec<Problem>,
    order: Order,
    shares_prefixes: bool,
}

impl GroupTrainer {
    /// A trainer about to do step 1. Everything that can be known to fail does so here.
    ///
    /// # Errors
    /// A problem's contexts cannot fit the model, its gold answer or the held-out problems cannot be read, or a reward's
    /// program cannot be started.
    pub fn new(config: Config, policy: Policy, problems: Vec<Problem>) -> Result<Self> {
        let objective = Objective::of(&config.objective, &config.projection);
        let sampling = Sampling::from(&config.rollout);
        let order = Order::new(problems.len(), config.data.shuffle, config.seed);
        let updates = config.train.max_steps * config.train.num_iterations * config.train.mini_batches;
        let reward = Reward::start(&config)?;
        let problems = gradable(&config, problems, false)?.problems;
        let session = Session::new(config, policy, updates)?;
        let mut trainer = Self {
            session,
            reward,
            objective,
            sampling,
            references: Vec::new(),
            problems,
            order,
            shares_prefixes: true,
        };
        let positions = trainer.session.policy.model.config().max_position_embeddings;
        for problem in &trainer.problems {
            trainer
                .plan(problem)?
                .check_fits(trainer.config().rollout.max_completion_length, positions)
                .with_context(|| format!("problem `{}`", problem.id))?;
        }
        trainer.refer();
        Ok(trainer)
    }

    /// Trains on these devices as well as on the policy's own ([`Session::replicate`]). To be called before the first step.
    pub fn beside(mut self, devices: &[Device]) -> Self {
        self.session.replicate(devices);
        self.refer();
        self
    }

    /// Keeps the policy as it is for the reference, where one is needed.
    fn refer(&mut self) {
        if self.objective.needs_reference_model() {
            self.references = self.session.models().into_iter().map(Inference::new).collect();
        }
    }

    /// Whether contexts with equal beginnings run them once, as they do by default. Without, every completion runs its
    /// whole context: for `gcpo bench --flat`.
    pub fn sharing_prefixes(mut self, shares: bool) -> Self {
        self.shares_prefixes = shares;
        self
    }

    fn config(&self) -> &Config {
        &self.session.config
    }

    fn plan(&self, problem: &Problem) -> Result<PromptPlan> {
        let policy = &self.session.policy;
        Ok(if self.objective.needs_integration() {
            let config = self.config();
            policy.plan(
                problem,
                config.rollout.num_generations,
                config.projection.candidate_tokens,
            )?
        } else {
            policy.answer_plan(problem)?
        })
    }

    /// Several passes of the optimiser over the step's rows.
    fn optimise(&mut self, batch: &Batch, step: usize, metrics: &mut Metrics) -> Result<()> {
        let train = self.config().train.clone();
        let longest = self.config().rollout.max_completion_length;
        let mut sums = LossMetrics::default();
        let mut policy = PolicySums::default();
        let mut updates = 0;
        for _ in 0..train.num_iterations {
            for rows in batch.mini_batches(train.mini_batches) {
                let lengths = rows.iter().map(|row| row.tokens.len());
                let totals = BatchTotals::of(lengths, longest);
                let update = (step - 1) * train.num_iterations * train.mini_batches + updates;
                let micros = micro_batches(rows, train.per_device_train_batch_size);
                let pass = self.pass();
                let found = self.session.update(update, metrics, &micros, |model, micro| {
                    pass.run(model, micro, &totals)
                });
                match found {
                    Ok(found) => {
                        for (found, of_policy) in found {
                            sums += found;
                            policy.add(&of_policy, updates == 0);
                        }
                    }
                    Err(error) => {
                        return Err(match error.downcast::<NonFiniteGradient>() {
                            Ok(_) => self.find_non_finite(rows, &totals)?,
                            Err(error) => error,
                        });
                    }
                }
                updates += 1;
            }
        }
        metrics.put("objective/loss", sums.loss / updates as f64);
        metrics.put("objective/kl_ref", sums.kl_ref().unwrap_or(0.0));
        metrics.put("objective/kl_projected", sums.kl_projected().unwrap_or(0.0));
        metrics.put("objective/clip_frac", sums.clip_frac().unwrap_or(0.0));
        metrics.put("objective/ratio_mean", sums.ratio_mean().unwrap_or(1.0));
        metrics.put("projection/clamped_frac", sums.clamped_frac().unwrap_or(0.0));
        metrics.put("policy/entropy", policy.entropy / policy.tokens);
        metrics.put("rollout/trainer_gap", 1.0 + policy.gap / policy.gap_tokens);
        Ok(())
    }

    /// The row that makes the gradient of all of them no number.
    fn find_non_finite(&self, rows: &[Row], totals: &BatchTotals) -> Result<anyhow::Error> {
        for row in rows {
            let model = &self.session.policy.model;
            let (loss, _) = self.pass().run(model, &[row], totals)?;
            let grads = GradientsParams::from_grads(loss.backward(), model);
            if !grad_norms(model, &grads)?.global.is_finite() {
                return Ok(NonFinite {
                    prompt: row.prompt,
                    what: "gradient",
                }
                .into());
            }
        }
        // Each is a number; only their sum is not.
        Ok(NonFinite {
            prompt: rows[0].prompt,
            what: "sum of gradients from the mini-batch",
        }
        .into())
    }

    fn pass(&self) -> Pass {
        Pass {
            objective: self.objective,
            temperature: self.sampling.logp_temperature(),
        }
    }
}

/// A forward pass.
struct Pass {
    objective: Objective,
    temperature: f64,
}

impl Pass {
    /// The loss of one micro-batch, and what is to be known of it.
    fn run(
        &self,
        model: &Llama,
        rows: &[&Row],
        totals: &BatchTotals,
    ) -> Result<(Tensor<1>, (LossMetrics, PolicySums))> {
        let micro = micro_batch(model, rows, self.temperature)?;
        let output = self.objective.loss(&micro.inputs, totals)?;
        let found = output.sums.read()?;
        if !found.loss.is_finite() {
            let losses: Vec<f32> = output.row_loss_b.try_into_vec_as()?;
            let bad = losses.iter().position(|l| !l.is_finite()).unwrap_or(0);
            return Err(NonFinite {
                prompt: rows[bad].prompt,
                what: "loss",
            }
            .into());
        }
        let tokens: usize = rows.iter().map(|row| row.tokens.len()).sum();
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

/// A loss or a gradient that is no number, by its prompt in the step.
#[derive(Debug, thiserror::Error)]
#[error("the {what} of prompt {prompt} of the step is not finite")]
struct NonFinite {
    prompt: usize,
    what: &'static str,
}

#[derive(Default)]
struct PolicySums {
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
}

/// Rows in passes of at most `size`, those of similar length together: sums do not depend on the order.
fn micro_batches(rows: &[Row], size: usize) -> Vec<Vec<&Row>> {
    let mut sorted: Vec<&Row> = rows.iter().collect();
    sorted.sort_by_key(|row| {
        let projected = row.collider.as_ref().map_or(0, |c| c.context.len());
        row.tokens.len() + row.context.len().max(projected)
    });
    sorted.chunks(size).map(<[&Row]>::to_vec).collect()
}

impl Trainer for GroupTrainer {
    fn step(&mut self, step: usize, metrics: &mut Metrics) -> Result<Vec<Sample>> {
        let started = Instant::now();
        let before = self.session.snapshot();
        let projected = self.roll_out(step, metrics)?;
        describe(&projected, self.objective.constant_upsilon(), metrics);
        let samples = samples(&projected, step, &self.session.policy);
        let ids: Vec<String> = projected
            .graded
            .rollouts
            .problems
            .iter()
            .map(|p| p.id.clone())
            .collect();

        let scoring = Instant::now();
        let device = self.session.device();
        let mut batch = Batch::new(projected, &self.objective, &device)?;
        if !self.references.is_empty() {
            let (limits, sampling) = (Limits::from(&self.config().rollout), self.sampling);
            let parts = batch.parts_mut(self.references.len());
            on_each(
                self.references.iter().zip(parts).collect(),
                |(reference, rows)| {
                    Batch::score_reference(rows, &Engine::new(reference, &[], sampling, limits))
                },
            )?;
        }
        metrics.put("time/score_secs", scoring.elapsed().as_secs_f64());

        let training = Instant::now();
        if let Err(error) = self.optimise(&batch, step, metrics) {
            self.session.roll_back(before);
            return Err(match error.downcast::<NonFinite>() {
                Ok(bad) => anyhow::anyhow!(
                    "step {step}: the {} of problem `{}` is not finite: lower train.learning_rate, or drop the problem",
                    bad.what,
                    ids[bad.prompt]
                ),
                Err(error) => error.context(format!("step {step}")),
            });
        }
        metrics.put("time/train_secs", training.elapsed().as_secs_f64());
        metrics.put("time/step_secs", started.elapsed().as_secs_f64());
        Ok(samples)
    }

    fn evaluate(&self) -> Result<Option<Evaluated>> {
        self.session.evaluate()
    }

    fn save(&self, dir: &std::path::Path) -> Result<()> {
        self.session.save(dir)
    }

    fn restore(&mut self, dir: &std::path::Path) -> Result<()> {
        self.session.restore(dir)
    }
}

/// Of no values: null in the file.
const NONE: Summary = Summary {
    mean: f64::NAN,
    std: f64::NAN,
    min: f64::NAN,
    max: f64::NAN,
};

/// What a step sampled, in numbers.
fn describe(projected: &Projected, constant_upsilon: Option<f64>, metrics: &mut Metrics) {
    let graded = &projected.graded;
    let rewards = graded.rewards.concat();
    if let Some(reward) = Summary::of(&rewards) {
        metrics.put("reward/mean", reward.mean);
        metrics.put("reward/std", reward.std);
    }
    for component in &graded.components {
        let values: Vec<f64> = component.values.iter().flatten().flatten().copied().collect();
        let summary = Summary::of(&values).unwrap_or(NONE);
        metrics.put(format!("reward/{}_mean", component.label), summary.mean);
        metrics.put(format!("reward/{}_std", component.label), summary.std);
    }
    let flat = (0..graded.rewards.len()).filter(|&p| graded.is_flat(p)).count();
    metrics.put("reward/flat_frac", flat as f64 / graded.rewards.len() as f64);
    let completions: Vec<_> = graded.rollouts.candidates.iter().flatten().collect();
    let share = |count: usize| count as f64 / completions.len() as f64;
    metrics.put(
        "completion/length_mean",
        share(completions.iter().map(|c| c.tokens.len()).sum()),
    );
    metrics.put(
        "completion/truncated_frac",
        share(completions.iter().filter(|c| c.finish == Finish::Length).count()),
    );
    let upsilon: Vec<f64> = match constant_upsilon {
        Some(upsilon) => vec![upsilon],
        None => projected.upsilon.iter().flatten().flatten().copied().collect(),
    };
    // Nothing was weighed where all groups were flat.
    let upsilon = Summary::of(&upsilon).unwrap_or(NONE);
    metrics.put("projection/upsilon_mean", upsilon.mean);
    metrics.put("projection/upsilon_std", upsilon.std);
    metrics.put("projection/upsilon_min", upsilon.min);
    metrics.put("projection/upsilon_max", upsilon.max);
}

/// One line of `samples.jsonl` a prompt.
fn samples(projected: &Projected, step: usize, policy: &Policy) -> Vec<Sample> {
    let graded = &projected.graded;
    (0..graded.rewards.len())
        .map(|p| {
            let problem = &graded.rollouts.problems[p];
            let (mut components, mut notes) = (Map::new(), Map::new());
            for component in &graded.components {
                let label = &component.label;
                components.insert(label.clone(), component.values[p].clone().into());
                if let Some(said) = component.notes.get(p) {
                    let said: Value = said.iter().cloned().map(Value::Object).collect();
                    notes.insert(label.clone(), said);
                }
            }
            let mut more = BTreeMap::new();
            if !notes.is_empty() {
                more.insert("reward_notes".into(), Value::Object(notes));
            }
            Sample {
                step,
                problem: problem.id.clone(),
                prompt: graded.prompts[p].clone(),
                answer: problem.answer.clone(),
                completions: graded.texts[p].clone(),
                integrations: projected.integrations[p]
                    .iter()
                    .map(|c| policy.decode(c))
                    .collect(),
                rewards: graded.rewards[p].clone(),
                components,
                upsilon: projected.upsilon[p].clone().unwrap_or_default(),
                more,
            }
        })
        .collect()
}
