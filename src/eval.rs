//! How often is the policy right? Sampled answers to problems that it was not trained on.

use gcpo_data::Problem;
use gcpo_model::inference::Inference;
use gcpo_model::llama::Llama;
use serde::Serialize;
use thiserror::Error;

use crate::policy::{Policy, PolicyError};
use crate::reward::{Reward, RewardError};
use crate::rollout::{
    self, AnswerPlan, Completion, Engine, Finish, Limits, PromptPlan, RolloutError, Rollouts, Sampling,
    Stage, StreamKey, answer,
};

/// How an evaluation samples.
#[derive(Debug, Clone, Copy)]
pub struct EvalPlan {
    /// Answers to each problem.
    pub samples: usize,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Longest answer, and what may run together.
    pub limits: Limits,
    /// With `Some(n)`, answers integrated from `n` candidates are measured as well.
    pub integrate: Option<usize>,
    /// Quotes of candidates keep their last tokens, this many (0: all).
    pub candidate_tokens: usize,
    /// Whether problems that do not fit the model's positions are left out and count as wrong.
    pub skip_too_long: bool,
    /// Seed of the answers; the same seed gives the same random numbers at every evaluation of a run.
    pub seed: u64,
}

/// What an evaluation can fail on.
#[derive(Debug, Error)]
pub enum EvalError {
    /// There is nothing to evaluate on.
    #[error("there are no problems to evaluate on: check eval.path, or --data")]
    NoProblems,
    /// A problem does not fit the model's positions. Nothing has been sampled.
    #[error(
        "problem `{id}`{others}: {what} takes {needed} tokens, but the model has {limit} positions: {help}"
    )]
    TooLong {
        /// The first such problem.
        id: String,
        /// How many more there are, in words.
        others: String,
        /// What does not fit.
        what: String,
        /// Tokens needed, the completion included.
        needed: usize,
        /// `max_position_embeddings`.
        limit: usize,
        /// What to set.
        help: String,
    },
    /// Generation failed.
    #[error(transparent)]
    Rollout(#[from] RolloutError),
    /// A gold answer cannot be read.
    #[error(transparent)]
    Reward(#[from] RewardError),
    /// A prompt cannot be made.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// One answer of an evaluation.
#[derive(Debug, Clone, Serialize)]
pub struct EvalRow {
    /// The problem.
    pub id: String,
    /// Which of its answers.
    pub sample: usize,
    /// `"answer"`, or `"integrated"` for an answer integrated from candidates.
    pub kind: &'static str,
    /// The answer.
    pub completion: String,
    /// Whether it is right.
    pub right: bool,
    /// Its length in tokens, the EOS included.
    pub tokens: usize,
    /// Why it ended.
    pub finish: Finish,
}

/// A share of right answers with its standard error over problems.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Accuracy {
    /// Mean over problems of the share of right answers: an unbiased estimate of pass@1.
    pub mean: f64,
    /// Standard error of the mean, over problems.
    pub stderr: f64,
}

/// What an evaluation found.
#[derive(Debug, Clone, Serialize)]
pub struct EvalReport {
    /// Number of problems.
    pub problems: usize,
    /// Answers to each.
    pub samples: usize,
    /// pass@1.
    #[serde(rename = "pass@1")]
    pub pass_at_1: Accuracy,
    /// pass@1 of integrated answers `y_n`, where measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integrated: Option<Accuracy>,
    /// pass@1 of the candidates `y_i` that they were integrated from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Accuracy>,
    /// Mean length of an answer, in tokens.
    pub length_mean: f64,
    /// Share of answers that reached the longest length.
    pub truncated_frac: f64,
    /// Problems that did not fit the model's positions: left out, and counted as wrong.
    pub too_long: usize,
    /// Tokens sampled.
    pub tokens: usize,
    /// Seconds.
    pub secs: f64,
}

/// Evaluates a policy, telling `progress` how many problems are done and what was answered since it was last told.
///
/// # Errors
/// [`EvalError`]; [`EvalError::TooLong`] before anything is sampled.
pub fn evaluate(
    policy: &Policy,
    model: &Llama,
    problems: &[Problem],
    reward: &Reward,
    plan: &EvalPlan,
    mut progress: impl FnMut(usize, &[EvalRow]),
) -> Result<EvalReport, EvalError> {
    if problems.is_empty() {
        return Err(EvalError::NoProblems);
    }
    let started = std::time::Instant::now();
    let asked = fitting(policy, problems, plan, model.config().max_position_embeddings)?;
    let too_long = problems.len() - asked.len();
    let inference = Inference::new(model);
    let stops = policy.stops();
    let engine =
        Engine::new(&inference, &policy.eos, plan.sampling, plan.limits).with_stops(stops.as_deref());
    // Whoever is left out is wrong.
    let mut tally = Tally {
        shares: vec![0.0; too_long],
        ..Tally::default()
    };
    let mut integrated = tally.shares.clone();
    let mut candidates = tally.shares.clone();
    let per_chunk = (plan.limits.max_rows / plan.samples.max(plan.integrate.unwrap_or(1))).max(1);
    for (index, chunk) in asked.chunks(per_chunk).enumerate() {
        let first = index * per_chunk;
        let plans = chunk.iter().map(|asked| asked.answer.clone()).collect();
        let chunk_problems: Vec<Problem> = chunk.iter().map(|asked| asked.problem.clone()).collect();
        let how = plan.answers(Stage::Evaluate, plan.samples, first);
        let rollouts = answer(&engine, chunk_problems, plans, how)?;
        let mut rows = Vec::new();
        for (asked, answers) in chunk.iter().zip(&rollouts.candidates) {
            let graded = grade(policy, reward, asked.problem, answers, "answer")?;
            tally.add(&graded);
            rows.extend(graded);
        }
        if let Some(n) = plan.integrate {
            let (ys, y_ns) = integrate(&engine, chunk, plan, n, first)?;
            for (p, asked) in chunk.iter().enumerate() {
                let y = grade(policy, reward, asked.problem, &ys.candidates[p], "candidate")?;
                candidates.push(share_right(&y));
                let y_n = grade(policy, reward, asked.problem, &y_ns[p..=p], "integrated")?;
                integrated.push(share_right(&y_n));
                rows.extend(y_n);
            }
        }
        progress(too_long + first + chunk.len(), &rows);
    }
    let answers = (asked.len() * plan.samples) as f64;
    Ok(EvalReport {
        problems: problems.len(),
        samples: plan.samples,
        pass_at_1: accuracy(&tally.shares),
        integrated: plan.integrate.map(|_| accuracy(&integrated)),
        candidates: plan.integrate.map(|_| accuracy(&candidates)),
        length_mean: tally.tokens as f64 / answers,
        truncated_frac: tally.truncated as f64 / answers,
        too_long,
        tokens: engine.work().tokens,
        secs: started.elapsed().as_secs_f64(),
    })
}

/// A problem with its contexts.
struct Asked<'a> {
    problem: &'a Problem,
    answer: PromptPlan,
    /// With the contexts of an integrated answer, where it is measured.
    integrate: Option<PromptPlan>,
}

impl Asked<'_> {
    fn check_fits(&self, max_completion_length: usize, positions: usize) -> Result<(), RolloutError> {
        let mut plans = std::iter::once(&self.answer).chain(&self.integrate);
        plans.try_for_each(|plan| plan.check_fits(max_completion_length, positions))
    }
}

/// The problems whose contexts fit the model's positions: all of them, unless some may be left out.
fn fitting<'a>(
    policy: &Policy,
    problems: &'a [Problem],
    plan: &EvalPlan,
    positions: usize,
) -> Result<Vec<Asked<'a>>, EvalError> {
    let all: Result<Vec<Asked>, EvalError> = problems
        .iter()
        .map(|problem| {
            let integrate = plan
                .integrate
                .map(|n| policy.plan(problem, n, plan.candidate_tokens));
            Ok(Asked {
                problem,
                answer: policy.answer_plan(problem)?,
                integrate: integrate.transpose()?,
            })
        })
        .collect();
    let all = all?;
    let misfits: Vec<(usize, RolloutError)> = all
        .iter()
        .enumerate()
        .filter_map(|(at, asked)| {
            Some((
                at,
                asked
                    .check_fits(plan.limits.max_completion_length, positions)
                    .err()?,
            ))
        })
        .collect();
    if misfits.is_empty() {
        return Ok(all);
    }
    if plan.skip_too_long && misfits.len() < all.len() {
        let mut fits = all;
        let mut misfits = misfits.into_iter().map(|(at, _)| at).peekable();
        let mut at = 0..;
        fits.retain(|_| misfits.next_if_eq(&at.next().expect("without an end")).is_none());
        return Ok(fits);
    }
    let count = misfits.len();
    let (first, error) = misfits.into_iter().next().expect("there is one");
    let RolloutError::TooLong { what, needed, limit } = error else {
        return Err(error.into());
    };
    Err(EvalError::TooLong {
        id: problems[first].id.clone(),
        others: match count {
            1 => String::new(),
            _ => format!(" and {} more of the {}", count - 1, problems.len()),
        },
        what,
        needed,
        limit,
        help: too_long_help(
            &all,
            plan.limits.max_completion_length,
            positions,
            count == all.len(),
        ),
    })
}

/// What to set so that the problems fit: the longest completion for which all do.
fn too_long_help(all: &[Asked], max_completion_length: usize, positions: usize, none_fits: bool) -> String {
    let fits = |length: usize| {
        all.iter()
            .all(|asked| asked.check_fits(length, positions).is_ok())
    };
    // A shorter completion fits wherever a longer one does.
    let (mut good, mut bad) = (0, max_completion_length);
    while good + 1 < bad {
        let middle = good.midpoint(bad);
        if fits(middle) { good = middle } else { bad = middle }
    }
    let shorter = match good {
        0 => "lower eval.max_completion_length (some prompts leave no room for any answer)".to_owned(),
        _ => format!("`--set eval.max_completion_length={good}` is the most with which all fit"),
    };
    if none_fits {
        return format!("{shorter}; as it is, no problem fits");
    }
    format!("{shorter}; `--set eval.skip_too_long=true` leaves such problems out and counts them as wrong")
}

impl EvalPlan {
    fn answers(&self, stage: Stage, num_generations: usize, first_prompt: usize) -> AnswerPlan {
        AnswerPlan {
            num_generations,
            integrations: 0,
            with_hidden: false,
            seed: self.seed,
            step: 0,
            stage,
            first_prompt,
        }
    }
}

/// Candidates and one answer integrated from them, for each problem.
fn integrate(
    engine: &Engine,
    asked: &[Asked],
    plan: &EvalPlan,
    n: usize,
    first: usize,
) -> Result<(Rollouts, Vec<Completion>), EvalError> {
    let plans = asked.iter().filter_map(|asked| asked.integrate.clone()).collect();
    let problems = asked.iter().map(|asked| asked.problem.clone()).collect();
    let rollouts = answer(
        engine,
        problems,
        plans,
        plan.answers(Stage::EvaluateIntegrated, n, first),
    )?;
    let mut answers = Vec::with_capacity(asked.len());
    for wave in &rollouts.waves {
        let of_wave = rollout::integrate(engine, &rollouts, wave, 1, |p, _| StreamKey {
            seed: plan.seed,
            step: 0,
            prompt: (first + p) as u64,
            stage: Stage::EvaluateIntegrated,
            // After the candidates' own streams.
            sample: n as u64,
        })?;
        answers.extend(of_wave.into_iter().flatten());
    }
    Ok((rollouts, answers))
}

fn grade(
    policy: &Policy,
    reward: &Reward,
    problem: &Problem,
    answers: &[Completion],
    kind: &'static str,
) -> Result<Vec<EvalRow>, RewardError> {
    answers
        .iter()
        .enumerate()
        .map(|(sample, answer)| {
            let completion = policy.decode(answer);
            Ok(EvalRow {
                id: problem.id.clone(),
                sample,
                kind,
                right: reward.is_right(&completion, problem)?,
                completion,
                tokens: answer.tokens.len(),
                finish: answer.finish,
            })
        })
        .collect()
}

fn share_right(rows: &[EvalRow]) -> f64 {
    rows.iter().filter(|r| r.right).count() as f64 / rows.len() as f64
}

#[derive(Default)]
struct Tally {
    shares: Vec<f64>,
    tokens: usize,
    truncated: usize,
}

impl Tally {
    fn add(&mut self, rows: &[EvalRow]) {
        self.shares.push(share_right(rows));
        self.tokens += rows.iter().map(|r| r.tokens).sum::<usize>();
        self.truncated += rows.iter().filter(|r| r.finish == Finish::Length).count();
    }
}

/// Mean and standard error (ddof 1) of the problems' shares.
fn accuracy(shares: &[f64]) -> Accuracy {
    let n = shares.len() as f64;
    let mean = shares.iter().sum::<f64>() / n;
    let squares: f64 = shares.iter().map(|s| (s - mean).powi(2)).sum();
    Accuracy {
        mean,
        stderr: (squares / (n - 1.0).max(1.0) / n).sqrt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_has_the_binomial_standard_error() {
        let shares: Vec<f64> = (0..400).map(|i| f64::from(i % 4 == 0)).collect();
        let found = accuracy(&shares);
        assert!((found.mean - 0.25).abs() < 1e-12);
        assert!((found.stderr - (0.25 * 0.75 / 399.0f64).sqrt()).abs() < 1e-12);
        assert_eq!(
            accuracy(&[1.0]),
            Accuracy {
                mean: 1.0,
                stderr: 0.0
            }
        );
    }
}
