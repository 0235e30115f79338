//! Supervised training on demonstrations.

use anyhow::Result;
use burn::tensor::{Device, Tensor, TensorData};
use gcpo_data::Problem;
use gcpo_model::llama::Llama;
use gcpo_model::logp::{completion_logp, tokens_run};

use super::{HeldOut, Recipe, StepError, learner};
use crate::config::Config;
use crate::demonstrate::{self, Demonstration, DemonstrationError, demonstration};
use crate::learner::{Learner, Limits, Train, UpdateError};
use crate::policy::Policy;
use crate::ranks::Ranks;
use crate::ranks::share::deal;
use crate::report::{Done, Sample, SftReport, StepReport, Stopwatch};
use crate::reward::Reward;
use crate::source::Problems;
use crate::stream::{Stage, StreamKey};

/// A demonstration, and the name of its problem.
pub(super) type Row = (String, Demonstration);

/// Supervised training.
pub struct Sft {
    config: Config,
    learner: Learner,
    held_out: HeldOut,
    problems: Problems,
    /// For the held-out problems, where they ask for rewards.
    reward: Option<Reward>,
}

impl Sft {
    /// A run about to do step 1, on the policy's device and on `others`, by this rank and others.
    ///
    /// # Errors
    /// A problem has no worked solution, or wrong ones are asked for and cannot be made; the held-out problems cannot be read.
    pub fn new(
        config: Config,
        policy: Policy,
        problems: Vec<Problem>,
        others: &[Device],
        ranks: Ranks,
    ) -> Result<Self> {
        Self::check(&config, &problems)?;
        let updates = config.train.max_steps;
        let device = policy.model.device();
        let learner = learner(&config, policy, updates, others, ranks)?;
        let held_out = HeldOut::of(&config, &problems)?;
        let mut reward = held_out
            .asks_rewards()
            .then(|| config.rewards(&device))
            .transpose()?;
        if let Some(reward) = &mut reward {
            held_out.expect(reward, config.ahead(problems.len()))?;
        }
        Ok(Self {
            held_out,
            reward,
            problems: Problems::new(problems, &config.data, config.seed),
            learner,
            config,
        })
    }

    /// Refuses problems that no demonstration can be made of.
    ///
    /// # Errors
    /// A problem has no worked solution, or wrong ones are asked for and cannot be made.
    pub fn check(config: &Config, problems: &[Problem]) -> Result<()> {
        for problem in problems {
            demonstrate::check(problem, &config.sft).map_err(|(key, missing)| match key {
                Some(key) => {
                    let error = config.blame(key, missing.to_string(), "set it to 0 for this source");
                    anyhow::Error::new(error)
                }
                None => missing.into(),
            })?;
        }
        Ok(())
    }

    /// The demonstrations of a step, the shortest first, each with its problem's name.
    fn demonstrations(&self, step: usize) -> Result<Vec<Row>, DemonstrationError> {
        let train = &self.config.train;
        let size = train.per_device_train_batch_size * train.gradient_accumulation_steps;
        let problems = self.problems.of_step(step, size);
        let rows: Result<Vec<Row>, DemonstrationError> = problems
            .map(|(index, problem)| {
                let key = StreamKey {
                    seed: self.config.seed,
                    step: step as u64,
                    prompt: index as u64,
                    stage: Stage::Demonstrate,
                    sample: 0,
                };
                let row = demonstration(&self.learner.policy, problem, &self.config.sft, key)?;
                Ok((problem.id.clone(), row))
            })
            .collect();
        let mut rows = rows?;
        rows.sort_by_key(|(_, row)| row.context.len() + row.target.len());
        Ok(rows)
    }
}

/// Contexts with what is learnt behind them.
fn pairs(rows: &[Row]) -> Vec<(&[u32], &[u32])> {
    rows.iter()
        .map(|(_, row)| (row.context.as_slice(), row.target.as_slice()))
        .collect()
}

/// Demonstrations, in their order, in as many forward and backward passes as `[train]` allows; of several ranks, this one's share of them.
pub(super) fn in_passes<'a>(train: &Train, learner: &Learner, rows: &'a [Row]) -> Vec<&'a [Row]> {
    let (model, ranks) = (&learner.policy.model, learner.ranks());
    // No rank is to be without work for as long as there is some.
    let limits = Limits::of(train).with_rows(rows.len().div_ceil(ranks.size()));
    // Demonstrations of one problem may begin alike, but they come from different ones.
    let passes = limits.cut(rows, |_, _| false, |rows| tokens_run(model, &pairs(rows)));
    let tokens = |rows: &&[Row]| -> u64 {
        let lengths = rows.iter().map(|(_, row)| row.context.len() + row.target.len());
        lengths.sum::<usize>() as u64
    };
    let costs: Vec<u64> = passes.iter().map(tokens).collect();
    let owners = deal(&costs, &mut vec![0; ranks.size()]);
    let own = passes
        .into_iter()
        .zip(owners)
        .filter(|(_, owner)| *owner == ranks.rank());
    own.map(|(pass, _)| pass).collect()
}

/// The part of a micro-batch in the mean loss over all `tokens` target tokens of a step, as in transformers.
pub(super) fn loss(model: &Llama, rows: &[Row], tokens: usize) -> Result<(Tensor<1>, f64), UpdateError> {
    let logp_bt = completion_logp(model, &pairs(rows), 1.0).logp_bt;
    let [b, t] = logp_bt.dims();
    let share = |row: &Demonstration, at: usize| match at < row.target.len() {
        true => -1.0 / tokens as f32,
        false => 0.0,
    };
    let shares: Vec<f32> = rows
        .iter()
        .flat_map(|(_, row)| (0..t).map(move |at| share(row, at)))
        .collect();
    let share_bt = Tensor::<2>::from_data(TensorData::new(shares, [b, t]), &logp_bt.device());
    let loss_b = (logp_bt * share_bt).sum_dim(1);
    let loss = loss_b.clone().sum();
    let value: f32 = loss.clone().inner().try_into_scalar()?;
    if !value.is_finite() {
        let losses: Vec<f32> = loss_b.inner().try_into_vec_as()?;
        let bad = losses.iter().position(|loss| !loss.is_finite()).unwrap_or(0);
        return Err(UpdateError::Problem {
            what: "loss",
            id: rows[bad].0.clone(),
        });
    }
    Ok((loss, f64::from(value)))
}

impl Recipe for Sft {
    fn step(&mut self, step: usize) -> Result<(StepReport, Vec<Sample>), StepError> {
        let mut clock = Stopwatch::start();
        let rows = self.demonstrations(step)?;
        let tokens = rows.iter().map(|(_, row)| row.target.len()).sum();
        let micros = in_passes(&self.config.train, &self.learner, &rows);
        let pass = |model: &Llama, rows: &&[Row]| loss(model, rows, tokens);
        let (update, losses) = self.learner.step(step - 1, &micros, pass)?;
        let report = SftReport {
            update,
            loss: self.learner.ranks().sum([losses.iter().sum()])[0],
            tokens,
            step_secs: clock.lap(),
        };
        Ok((StepReport::of(step, Done::Sft(report)), Vec::new()))
    }

    fn parts(&mut self) -> (&mut Learner, &HeldOut, Option<&mut Reward>) {
        (&mut self.learner, &self.held_out, self.reward.as_mut())
    }

    fn problems(&self) -> &[Problem] {
        self.problems.all()
    }
}
