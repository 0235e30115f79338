//! How often is the policy right? Sampled answers to problems that it was not trained on ([`evaluate`]), kept one by one
//! ([`record`]), and what can be said of them ([`report`], [`stats`]).

mod config;
pub mod programs;
pub mod record;
pub mod report;
mod sets;
pub mod stats;

use gcpo_data::Problem;
use gcpo_model::inference::Inference;
use serde_json::Map;
use thiserror::Error;

use crate::code::{CodeError, Judge};
use crate::group::{Candidate, Group, waves};
use crate::policy::{Policy, PolicyError};
use crate::reward::{Reward, RewardError};
use crate::rollout::{Completion, Contexts, Engine, Finish, Rollout, RolloutError};
use crate::sample::{AnswerPlan, integrate, sample};
use crate::stream::{Stage, StreamKey};
pub use config::{Eval, EvalDraft, EvalSuite, EvalSuiteDraft};
use record::{Record, RecordError, RecordKind, by_problem};
use report::SuiteReport;
pub use sets::Set;

/// How an evaluation samples.
#[derive(Debug, Clone)]
pub struct EvalPlan {
    /// How answers are drawn, and how many to each problem.
    pub rollout: Rollout,
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
    /// It failed on a problem.
    #[error("problem `{id}`: {source}")]
    Logits {
        /// The problem.
        id: String,
        /// What was seen.
        source: RolloutError,
    },
    /// A gold answer cannot be read.
    #[error(transparent)]
    Reward(#[from] RewardError),
    /// A prompt cannot be made.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A program cannot be run.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// What is integrated is no beginning of a program.
    #[error(
        "eval.integrated: prompts are the beginnings of programs here (no chat template), and no answer integrated from several goes on from \
         one; take prompt.style = \"chat\", or leave it out"
    )]
    IntegratedPrograms,
    /// A completion cannot be kept.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// An evaluation that was done.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// What was found.
    pub report: SuiteReport,
    /// Every completion.
    pub records: Vec<Record>,
    /// What rewards measured beside their values, as `LABEL/NAME`, of what was sampled now.
    pub measured: Vec<(String, f64)>,
    /// Tokens sampled.
    pub tokens: usize,
    /// Seconds.
    pub secs: f64,
}

/// Who judges answers.
pub struct Judges<'a> {
    /// Says whether they are right.
    pub grader: &'a Reward,
    /// Runs those that are programs; needed where there are some.
    pub programs: Option<&'a Judge>,
    /// The run's own rewards, where these are measured, and the step that they are told.
    pub rewards: Option<(&'a mut Reward, usize)>,
}

/// Whether any problem has a gold answer, or tests.
pub fn has_gold(problems: &[Problem]) -> bool {
    problems
        .iter()
        .any(|problem| problem.answer.is_some() || problem.code.is_some())
}

/// Whether the answer to any problem is a program, which must be run.
pub fn has_programs(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.code.is_some())
}

impl EvalError {
    /// What generation failed on, with the problem where it is one's.
    fn of_problem(source: RolloutError, problems: &[Problem], asked: &[Asked]) -> Self {
        match source {
            RolloutError::NonFinite { prompt, .. } => Self::Logits {
                id: problems[asked[prompt as usize].at].id.clone(),
                source,
            },
            source => source.into(),
        }
    }
}

/// Evaluates a policy, whose network `model` is ready to generate, on a `suite`, which goes on behind the problems that `kept` has completions of. `keep` is given the
/// completions of whole problems as they come, with how many problems are done.
///
/// # Errors
/// [`EvalError`]; [`EvalError::TooLong`] before anything is sampled.
#[allow(clippy::too_many_arguments)] // who, on what, judged by whom, how, from where, to where
pub fn evaluate(
    policy: &Policy,
    model: &Inference,
    suite: &str,
    problems: &[Problem],
    mut judges: Judges<'_>,
    plan: &EvalPlan,
    kept: Vec<Record>,
    mut keep: impl FnMut(usize, &[Record]) -> Result<(), EvalError>,
) -> Result<Evaluated, EvalError> {
    let started = std::time::Instant::now();
    let (asked, too_long) = fitting(policy, problems, plan)?;
    let stops = policy.stops_for(problems);
    let engine = Engine::new(model, &policy.eos, &plan.rollout).with_stops(stops.as_deref());
    let grader = judges.grader;
    let graded = judges.rewards.is_none() || has_gold(problems);
    let record = |at: usize, kind| Grading {
        suite,
        policy,
        grader: graded.then_some(grader),
        at,
        problem: &problems[at],
        kind,
    };
    let mut records = kept;
    let done = by_problem(&records).len();
    // Whoever is left out is wrong.
    let none = |&at: &usize| record(at, RecordKind::TooLong).none();
    let missing: Vec<Record> = too_long.iter().skip(done).map(none).collect();
    if !missing.is_empty() {
        keep(too_long.len(), &missing)?;
        records.extend(missing);
    }
    let mut first = done.saturating_sub(too_long.len());
    let per_chunk = plan.problems_at_once();
    while first < asked.len() {
        let chunk = &asked[first..asked.len().min(first + per_chunk)];
        let before = records.len();
        let answered = answer_chunk(&engine, problems, chunk, first, plan);
        let [mut answers, integrated] =
            answered.map_err(|error| EvalError::of_problem(error, problems, &asked))?;
        let labels = earn(policy, &mut judges.rewards, &mut answers)?;
        for (p, asked) in chunk.iter().enumerate() {
            let of = |kind| record(asked.at, kind);
            records.extend(of_problem(of, &labels, &answers[p], integrated.get(p))?);
        }
        programs::run(judges.programs, problems, &mut records[before..], grader)?;
        first += chunk.len();
        keep(too_long.len() + first, &records[before..])?;
    }
    Ok(Evaluated {
        report: SuiteReport::of(suite, &records, |a, b| grader.same(a, b)),
        measured: judges
            .rewards
            .map_or_else(Vec::new, |(rewards, _)| rewards.take_measured()),
        records,
        tokens: engine.work().tokens,
        secs: started.elapsed().as_secs_f64(),
    })
}

/// The records of a problem's answers, and of those that were integrated, where there are some.
fn of_problem<'a>(
    of: impl Fn(RecordKind) -> Grading<'a>,
    labels: &[&str],
    answered: &Group,
    integrated: Option<&Group>,
) -> Result<Vec<Record>, RewardError> {
    let mut records = of(RecordKind::Answer).all(&answered.candidates)?;
    let both = records.iter_mut().zip(&answered.candidates);
    both.for_each(|(record, answer)| record.take_scores(labels, answer));
    if let Some(group) = integrated {
        records.extend(of(RecordKind::Candidate).all(&group.candidates)?);
        records.extend(of(RecordKind::Integrated).all(&group.integrations)?);
    }
    Ok(records)
}

/// Asks rewards about answers, where there are some; gives their labels.
fn earn<'r>(
    policy: &Policy,
    rewards: &'r mut Option<(&mut Reward, usize)>,
    answers: &mut [Group],
) -> Result<Vec<&'r str>, EvalError> {
    let Some((rewards, step)) = rewards else {
        return Ok(Vec::new());
    };
    answers
        .iter_mut()
        .try_for_each(|group| policy.write_prompt(group))?;
    rewards.check()?;
    rewards.grade(answers, *step, |y| policy.decode(y))?;
    Ok(rewards.labels())
}

/// Answers to some problems, the first of which is number `first` of those that are asked; and, where they are measured, the
/// same problems with candidates and an answer integrated from them.
fn answer_chunk(
    engine: &Engine,
    problems: &[Problem],
    chunk: &[Asked],
    first: usize,
    plan: &EvalPlan,
) -> Result<[Vec<Group>; 2], RolloutError> {
    let groups = |contexts: &dyn Fn(&Asked) -> Option<Contexts>| -> Vec<Group> {
        let asked = chunk.iter().zip(first..);
        asked
            .filter_map(|(asked, number)| {
                let problem = problems[asked.at].clone();
                Some(Group::new(problem, number, String::new(), contexts(asked)?))
            })
            .collect()
    };
    let mut answers = groups(&|asked| Some(asked.answer.clone()));
    let how = plan.answers(Stage::Evaluate, plan.rollout.num_generations);
    sample(engine, &mut answers, &how)?;
    let mut integrations = groups(&|asked| asked.integrate.clone());
    if let Some(n) = plan.integrate {
        sample_integrated(engine, &mut integrations, plan, n)?;
    }
    Ok([answers, integrations])
}

/// Whose completions are graded.
struct Grading<'a> {
    suite: &'a str,
    policy: &'a Policy,
    /// None where there are no gold answers.
    grader: Option<&'a Reward>,
    at: usize,
    problem: &'a Problem,
    kind: RecordKind,
}

impl Grading<'_> {
    /// The record of no completion.
    fn none(&self) -> Record {
        Record {
            suite: self.suite.to_owned(),
            problem: self.at,
            id: self.problem.id.clone(),
            kind: self.kind,
            sample: 0,
            gold: match &self.problem.code {
                Some(code) => programs::gold(code),
                None => self.problem.answer.clone().unwrap_or_default(),
            },
            subject: self.problem.subject.clone(),
            level: self.problem.level.clone(),
            completion: String::new(),
            answer: None,
            rule: None,
            by: None,
            right: false,
            tokens: 0,
            finish: None,
            tests: self.problem.code.as_deref().map(programs::none_run),
            why: None,
            reward: None,
            rewards: Map::new(),
        }
    }

    /// The records of completions, graded.
    fn all(&self, completions: &[impl AsRef<Completion>]) -> Result<Vec<Record>, RewardError> {
        let completions = completions.iter().map(AsRef::as_ref);
        let graded = completions.enumerate().map(|(sample, completion)| {
            let mut record = Record {
                sample,
                completion: self.problem.answered(self.policy.decode(completion)),
                tokens: completion.tokens.len(),
                finish: Some(completion.finish),
                rule: programs::rule(self.problem, self.policy, self.kind),
                ..self.none()
            };
            if let Some(grader) = self.grader {
                record.grade(grader)?;
            }
            Ok(record)
        });
        graded.collect()
    }
}

impl Record {
    /// Notes what rewards, which are called so, say of the completion.
    fn take_scores(&mut self, labels: &[&str], candidate: &Candidate) {
        self.reward = candidate.reward;
        let scores = labels.iter().zip(&candidate.scores);
        self.rewards = scores
            .map(|(label, score)| ((*label).to_owned(), score.value.into()))
            .collect();
    }

    /// Grades the completion, as if it had not been graded before; not one that only rewards were asked about, and no program.
    ///
    /// # Errors
    /// [`RewardError::Gold`] if the gold answer cannot be read.
    pub fn grade(&mut self, reward: &Reward) -> Result<(), RewardError> {
        let is_program = self.tests.is_some();
        if is_program || self.kind == RecordKind::TooLong || self.gold.is_empty() && !self.rewards.is_empty()
        {
            return Ok(());
        }
        let finish = self.finish.unwrap_or(Finish::Eos);
        let verdict = reward.verdict(&self.completion, finish, &self.id, &self.gold)?;
        self.right = verdict.correct;
        self.answer = verdict.answer;
        self.rule = verdict.rule.map(|rule| rule.to_string());
        self.by = match reward.is_unfinished(finish) {
            true => Some("unfinished".to_owned()),
            false => verdict.by.map(|by| by.to_string()),
        };
        Ok(())
    }
}

/// A problem with its contexts.
struct Asked {
    /// Its place among all problems.
    at: usize,
    answer: Contexts,
    /// With the contexts of an integrated answer, where it is measured.
    integrate: Option<Contexts>,
}

impl Asked {
    fn check_fits(&self, max_completion_length: usize, positions: usize) -> Result<(), RolloutError> {
        let mut plans = std::iter::once(&self.answer).chain(&self.integrate);
        plans.try_for_each(|plan| plan.check_fits(max_completion_length, positions))
    }
}

/// The problems whose contexts fit the model's positions, and the places of the others: none, unless some may be left out.
fn fitting(
    policy: &Policy,
    problems: &[Problem],
    plan: &EvalPlan,
) -> Result<(Vec<Asked>, Vec<usize>), EvalError> {
    let positions = policy.model.config().positions();
    if problems.is_empty() {
        return Err(EvalError::NoProblems);
    }
    if plan.integrate.is_some() && has_programs(problems) && policy.prompts().continues_programs() {
        return Err(EvalError::IntegratedPrograms);
    }
    let all: Result<Vec<Asked>, EvalError> = problems
        .iter()
        .enumerate()
        .map(|(at, problem)| {
            let integrate = plan
                .integrate
                .map(|n| policy.contexts(problem, n, plan.candidate_tokens));
            Ok(Asked {
                at,
                answer: policy.answer_contexts(problem)?,
                integrate: integrate.transpose()?,
            })
        })
        .collect();
    let all = all?;
    let length = plan.rollout.max_completion_length;
    let misfits: Vec<(usize, RolloutError)> = all
        .iter()
        .filter_map(|asked| Some((asked.at, asked.check_fits(length, positions).err()?)))
        .collect();
    if misfits.is_empty() || plan.skip_too_long && misfits.len() < all.len() {
        let left_out: Vec<usize> = misfits.iter().map(|(at, _)| *at).collect();
        let mut fits = all;
        fits.retain(|asked| left_out.binary_search(&asked.at).is_err());
        return Ok((fits, left_out));
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
        help: too_long_help(&all, length, positions, count == all.len()),
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
    /// As many as the rows hold.
    fn problems_at_once(&self) -> usize {
        let per_problem = self.rollout.num_generations.max(self.integrate.unwrap_or(1));
        (self.rollout.max_rows / per_problem).max(1)
    }

    fn answers(&self, stage: Stage, num_generations: usize) -> AnswerPlan {
        AnswerPlan {
            num_generations,
            integrations: 0,
            with_hidden: false,
            seed: self.seed,
            step: 0,
            stage,
        }
    }
}

/// `n` candidates and one answer integrated from them, for each group.
fn sample_integrated(
    engine: &Engine,
    groups: &mut [Group],
    plan: &EvalPlan,
    n: usize,
) -> Result<(), RolloutError> {
    let stage = Stage::EvaluateIntegrated;
    sample(engine, groups, &plan.answers(stage, n))?;
    for wave in waves(groups) {
        integrate(engine, wave, 1, |group, _| StreamKey {
            seed: plan.seed,
            step: 0,
            prompt: group.number as u64,
            stage,
            // After the candidates' own streams.
            sample: n as u64,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
