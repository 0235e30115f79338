//! Supervised training on demonstrations of the three prompts: what makes a policy that reinforcement learning can
//! start from.
//!
//! A share of the demonstrations may be wrong on purpose, where the source can make wrong ones: the model then knows
//! the right procedure and wavers, which gives every group a spread of rewards (gcpo.md, section 8).

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use burn::tensor::{Device, Tensor, TensorData};
use gcpo_data::{Form, Problem, right_solution, wrong_solution};
use gcpo_model::logp::completion_logp;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::config::{Config, Solutions};
use crate::drive::Trainer;
use crate::eval::Evaluated;
use crate::metrics::{Metrics, Sample};
use crate::policy::Policy;
use crate::rollout::stream::uniform;
use crate::rollout::{Stage, StreamKey};
use crate::session::Session;
use crate::source::Order;

/// One demonstration: what stands in front, and what the model is to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demonstration {
    /// Tokens of the prompt.
    pub context: Vec<u32>,
    /// Tokens to be learnt, the EOS included.
    pub target: Vec<u32>,
}

/// Supervised training.
pub struct SftTrainer {
    session: Session,
    problems: Vec<Problem>,
    order: Order,
}

impl SftTrainer {
    /// A trainer about to do step 1.
    ///
    /// # Errors
    /// A problem has no worked solution, or wrong ones are asked for and cannot be made.
    pub fn new(config: Config, policy: Policy, problems: Vec<Problem>) -> Result<Self> {
        let form = form(&config);
        for problem in &problems {
            right_solution(problem, form)?;
            for (field, share) in [
                ("wrong_frac", config.sft.wrong_frac),
                ("candidate_wrong_frac", config.candidate_wrong_frac()),
            ] {
                if share > 0.0 {
                    wrong_solution(problem, form, &mut ChaCha8Rng::from_seed([0; 32])).map_err(|e| {
                        config.blame(
                            &format!("sft.{field}"),
                            e.to_string(),
                            "set it to 0 for this source",
                        )
                    })?;
                }
            }
        }
        let order = Order::new(problems.len(), config.data.shuffle, config.seed);
        let updates = config.train.max_steps;
        Ok(Self {
            session: Session::new(config, policy, updates)?,
            problems,
            order,
        })
    }

    /// Trains on these devices as well as on the policy's own ([`Session::replicate`]).
    pub fn beside(mut self, devices: &[Device]) -> Self {
        self.session.replicate(devices);
        self
    }

    fn config(&self) -> &Config {
        &self.session.config
    }

    /// Demonstration `index` of step `step`: a function of the seed and these two.
    fn demonstration(&self, problem: &Problem, step: usize, index: usize) -> Result<Demonstration> {
        let (config, policy) = (self.config(), &self.session.policy);
        let key = StreamKey {
            seed: config.seed,
            step: step as u64,
            prompt: index as u64,
            stage: Stage::Demonstrate,
            sample: 0,
        };
        let mut rng = key.rng();
        let sft = &config.sft;
        let form = form(config);
        let (prompts, question) = (policy.prompts(), &problem.question);
        let waver = |rng: &mut ChaCha8Rng, share: f64| -> Result<String> {
            Ok(if share > 0.0 && uniform(rng) < share {
                wrong_solution(problem, form, rng)?
            } else {
                right_solution(problem, form)?
            })
        };
        let encode = |text: &str| -> Result<Vec<u32>> { Ok(policy.tokenizer.encode(text, false)?) };
        let n = config.sft_candidates();
        let shown = config.candidate_wrong_frac();
        let kind = {
            let integrate = uniform(&mut rng) < sft.integrate_frac;
            let rest = (1.0 - sft.integrate_frac).max(f64::MIN_POSITIVE);
            let project = uniform(&mut rng) < sft.project_frac / rest;
            if integrate {
                1
            } else if project {
                2
            } else {
                0
            }
        };
        let (context, target) = match kind {
            0 => (policy.answer_context(question)?, waver(&mut rng, sft.wrong_frac)?),
            1 => {
                let candidates: Result<Vec<Vec<u32>>> =
                    (0..n).map(|_| encode(&waver(&mut rng, shown)?)).collect();
                let pieces = prompts.integrate(question, n)?;
                (
                    prompts.ids(&pieces, &policy.tokenizer, &candidates?, None)?,
                    right_solution(problem, form)?,
                )
            }
            _ => {
                let candidates: Result<Vec<Vec<u32>>> =
                    (1..n).map(|_| encode(&waver(&mut rng, shown)?)).collect();
                let integration = encode(&right_solution(problem, form)?)?;
                let pieces = prompts.project(question, n - 1)?;
                (
                    prompts.ids(&pieces, &policy.tokenizer, &candidates?, Some(&integration))?,
                    right_solution(problem, form)?,
                )
            }
        };
        let mut target = encode(&target)?;
        target.push(policy.eos[0]);
        let limit = policy.model.config().max_position_embeddings;
        if context.len() + target.len() > limit {
            bail!(
                "problem `{}`: a demonstration takes {} tokens, but the model has {limit} positions: lower \
                 sft.candidates or raise model.shape.max_position_embeddings",
                problem.id,
                context.len() + target.len()
            );
        }
        Ok(Demonstration { context, target })
    }
}

/// How the demonstrations' solutions are written.
fn form(config: &Config) -> Form {
    match config.sft.solutions {
        Solutions::AsGiven => Form::AsGiven,
        Solutions::Expression => Form::Expression,
    }
}

impl Trainer for SftTrainer {
    fn step(&mut self, step: usize, metrics: &mut Metrics) -> Result<Vec<Sample>> {
        let started = Instant::now();
        let train = &self.config().train;
        let size = train.per_device_train_batch_size;
        let picks: Vec<usize> = self
            .order
            .step(step, size * train.gradient_accumulation_steps)
            .collect();
        let rows: Result<Vec<Demonstration>> = picks
            .iter()
            .enumerate()
            .map(|(index, &pick)| self.demonstration(&self.problems[pick], step, index))
            .collect();
        let mut rows = rows?;
        rows.sort_by_key(|row| row.context.len() + row.target.len());
        let tokens: usize = rows.iter().map(|row| row.target.len()).sum();
        let micros: Vec<&[Demonstration]> = rows.chunks(size).collect();
        let losses = self
            .session
            .update(step - 1, metrics, &micros, |model, micro| {
                let pairs: Vec<(&[u32], &[u32])> = micro
                    .iter()
                    .map(|row| (row.context.as_slice(), row.target.as_slice()))
                    .collect();
                let logp_bt = completion_logp(model, &pairs, 1.0).logp_bt;
                let [b, t] = logp_bt.dims();
                // Mean over all target tokens of the step, as in transformers.
                let share: Vec<f32> = micro
                    .iter()
                    .flat_map(|row| {
                        (0..t).map(|at| {
                            if at < row.target.len() {
                                -1.0 / tokens as f32
                            } else {
                                0.0
                            }
                        })
                    })
                    .collect();
                let share_bt = Tensor::<2>::from_data(TensorData::new(share, [b, t]), &logp_bt.device());
                let loss = (logp_bt * share_bt).sum();
                let value: f32 = loss.clone().inner().try_into_scalar()?;
                if !value.is_finite() {
                    bail!("the loss is not finite: lower train.learning_rate");
                }
                Ok((loss, f64::from(value)))
            })
            .with_context(|| format!("step {step}"))?;
        metrics.put("sft/loss", losses.iter().sum::<f64>());
        metrics.put("sft/tokens", tokens as f64);
        metrics.put("time/step_secs", started.elapsed().as_secs_f64());
        Ok(Vec::new())
    }

    fn evaluate(&self) -> Result<Option<Evaluated>> {
        self.session.evaluate()
    }

    fn save(&self, dir: &Path) -> Result<()> {
        self.session.save(dir)
    }

    fn restore(&mut self, dir: &Path) -> Result<()> {
        self.session.restore(dir)
    }
}
