//! How often is the policy right? Sampled answers to problems that it was not trained on ([`evaluate`]), kept one by one
//! ([`record`]), and what can be said of them ([`report`], [`stats`]).

mod asked;
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
use crate::ranks::share::deal;
use crate::ranks::{Failed, Ranks};
use crate::reward::{Reward, RewardError};
use crate::rollout::{Completion, Contexts, Engine, Finish, Rollout, RolloutError};
use crate::sample::{AnswerPlan, integrate, sample};
use crate::stream::{Stage, StreamKey};
use asked::{Asked, fitting};
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
    /// Who shares the problems out among themselves.
    pub ranks: Ranks,
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
    /// Another rank failed.
    #[error("rank {rank}: {said}")]
    Elsewhere {
        /// The rank.
        rank: usize,
        /// Its error.
        said: String,
    },
}

impl From<Failed<Self>> for EvalError {
    fn from(failed: Failed<Self>) -> Self {
        match failed {
            Failed::Here(error) => error,
            Failed::Elsewhere { rank, said } => Self::Elsewhere { rank, said },
        }
    }
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
/// completions of whole problems as they come, with how many problems are done. Of several ranks each asks its share, and all know all
/// completions.
///
/// # Errors
/// [`EvalError`]; [`EvalError::TooLong`] before anything is sampled.
#[allow(clippy::too_many_arguments)] // who, on what, judged by whom, how, from where, to where
pub fn evaluate(
    policy: &Policy,
    model: &Inference,
    suite: &str,
    problems: &[Problem],
    judges: Judges<'_>,
    plan: &EvalPlan,
    kept: Vec<Record>,
    mut keep: impl FnMut(usize, &[Record]) -> Result<(), EvalError>,
) -> Result<Evaluated, EvalError> {
    let started = std::time::Instant::now();
    let (asked, too_long) = fitting(policy, problems, plan)?;
    let stops = policy.stops_for(problems);
    let engine = Engine::new(model, &policy.eos, &plan.rollout).with_stops(stops.as_deref());
    let (grader, programs, mut rewards) = (judges.grader, judges.programs, judges.rewards);
    let graded = (rewards.is_none() || has_gold(problems)).then_some(grader);
    let record = |at, kind| Grading::new(suite, policy, graded, problems, at, kind);
    let mut records = kept;
    let done = by_problem(&records).len();
    // Whoever is left out is wrong.
    let none = |&at: &usize| record(at, RecordKind::TooLong).none();
    let missing: Vec<Record> = too_long.iter().skip(done).map(none).collect();
    if !missing.is_empty() {
        keep(too_long.len(), &missing)?;
        records.extend(missing);
    }
    let first = done.saturating_sub(too_long.len());
    let own = plan.share_of(asked.get(first..).unwrap_or_default());
    let answer = |chunk: &[&Asked]| {
        let answered = answer_chunk(&engine, problems, chunk, plan);
        let [mut answers, integrated] =
            answered.map_err(|error| EvalError::of_problem(error, problems, &asked))?;
        let labels = earn(policy, &mut rewards, &mut answers)?;
        let mut found = Vec::new();
        for (p, asked) in chunk.iter().enumerate() {
            let of = |kind| record(asked.at, kind);
            found.extend(of_problem(of, &labels, &answers[p], integrated.get(p))?);
        }
        programs::run(programs, problems, &mut found, grader)?;
        Ok(found)
    };
    let new = in_chunks(
        &own,
        plan.problems_at_once(),
        too_long.len() + first,
        answer,
        keep,
    );
    records.extend(plan.of_all(new)?);
    Ok(Evaluated {
        report: SuiteReport::of(suite, &records, |a, b| grader.same(a, b)),
        measured: rewards.map_or_else(Vec::new, |(rewards, _)| rewards.take_measured(&plan.ranks)),
        records,
        tokens: plan.ranks.all_gather(engine.work().tokens).into_iter().sum(),
        secs: started.elapsed().as_secs_f64(),
    })
}

/// The records of problems, so many of them at a time, behind `done`; `keep` is given those of each time.
fn in_chunks(
    own: &[&Asked],
    at_once: usize,
    mut done: usize,
    mut answer: impl FnMut(&[&Asked]) -> Result<Vec<Record>, EvalError>,
    mut keep: impl FnMut(usize, &[Record]) -> Result<(), EvalError>,
) -> Result<Vec<Record>, EvalError> {
    let mut all = Vec::new();
    for chunk in own.chunks(at_once) {
        let found = answer(chunk)?;
        done += chunk.len();
        keep(done, &found)?;
        all.extend(found);
    }
    Ok(all)
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

/// Answers to some problems; and, where they are measured, the same problems with candidates and an answer integrated from them.
fn answer_chunk(
    engine: &Engine,
    problems: &[Problem],
    chunk: &[&Asked],
    plan: &EvalPlan,
) -> Result<[Vec<Group>; 2], RolloutError> {
    let groups = |contexts: &dyn Fn(&Asked) -> Option<Contexts>| -> Vec<Group> {
        let asked = chunk.iter();
        asked
            .filter_map(|asked| {
                let problem = problems[asked.at].clone();
                Some(Group::new(problem, asked.number, String::new(), contexts(asked)?))
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

impl<'a> Grading<'a> {
    fn new(
        suite: &'a str,
        policy: &'a Policy,
        grader: Option<&'a Reward>,
        problems: &'a [Problem],
        at: usize,
        kind: RecordKind,
    ) -> Self {
        Self {
            suite,
            policy,
            grader,
            at,
            problem: &problems[at],
            kind,
        }
    }

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

impl EvalPlan {
    /// As many as the rows hold.
    fn problems_at_once(&self) -> usize {
        let per_problem = self.rollout.num_generations.max(self.integrate.unwrap_or(1));
        (self.rollout.max_rows / per_problem).max(1)
    }

    /// This rank's share of some problems: the longest first, each to the rank that has least.
    fn share_of<'a>(&self, asked: &'a [Asked]) -> Vec<&'a Asked> {
        let costs: Vec<u64> = asked
            .iter()
            .map(|asked| asked.answer.answer().len() as u64)
            .collect();
        let owners = deal(&costs, &mut vec![0; self.ranks.size()]);
        let own = asked
            .iter()
            .zip(owners)
            .filter(|(_, owner)| *owner == self.ranks.rank());
        own.map(|(asked, _)| asked).collect()
    }

    /// What all ranks found, in the problems' order; those of one problem are of one rank, and stay in theirs.
    fn of_all(&self, own: Result<Vec<Record>, EvalError>) -> Result<Vec<Record>, EvalError> {
        let own = self.ranks.agree(own)?;
        let mut all = self.ranks.all_gather(own).concat();
        all.sort_by_key(|record| record.problem);
        Ok(all)
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
