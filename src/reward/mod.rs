//! From completions to rewards: each `[[reward]]` by itself, and their weighted sum.
//!
//! `p` prompts of a step, `g` candidates of a prompt.

mod accuracy;
mod code;
mod command;
mod config;
mod entry;
mod error;
mod format;
mod length;
mod model;
mod python;
mod repetition;
mod secret;

use gcpo_data::{Grader, Problem, Rule, Verdict};

use crate::code::CodeConfig;
use crate::console::note;
use crate::group::{Candidate, Group, Score};
use crate::policy::{Scorer, ScorerError};
use crate::ranks::Ranks;
use crate::rollout::{Completion, Finish};
pub use command::ProgramError;
pub use config::{
    GraderConfig, GraderDraft, GraderKind, RewardConfig, RewardDraft, RewardKind, RewardKindDraft,
    Unfinished, complete,
};
use entry::Entry;
pub use error::RewardError;
use format::Format;
pub use model::ModelReward;
pub use python::PythonError;
use python::Worker;

/// The largest reward. Advantages are computed in 32 bits, which tell every whole number from the next up to here.
const LARGEST: f64 = 16_777_216.0;

/// Problems that can be graded, and those that cannot.
pub struct Gradable {
    /// In their order; at least one.
    pub problems: Vec<Problem>,
    /// What is wrong with each of the others.
    pub left_out: Vec<RewardError>,
}

/// A candidate with its group: what a reward may look at.
struct Case<'a> {
    group: &'a Group,
    candidate: &'a Candidate,
    /// Whether it was cut, and is wrong for that.
    unfinished: bool,
}

impl Case<'_> {
    fn has(&self, format: &Format) -> bool {
        !self.unfinished && format.holds(&self.group.prompt, &self.candidate.text)
    }
}

/// What a run is, as far as its rewards are told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ahead {
    /// The run's seed.
    pub seed: u64,
    /// `train.max_steps`.
    pub max_steps: usize,
    /// Problems of a step, as a share of all.
    pub epochs_per_step: f64,
}

impl Ahead {
    /// What TRL calls the state of the trainer: before a step, so many have been done.
    fn trainer_state(&self, step: usize) -> serde_json::Value {
        let done = step.saturating_sub(1);
        serde_json::json!({
            "global_step": done,
            "max_steps": self.max_steps,
            "epoch": done as f64 * self.epochs_per_step,
            "is_local_process_zero": true,
            "is_world_process_zero": true,
        })
    }

    /// What a function's own random numbers begin with in a step.
    fn seed_of(&self, step: usize) -> u32 {
        (self.seed.wrapping_mul(1_000_003).wrapping_add(step as u64)) as u32
    }
}

/// Numbers that a reward gives beside its values, by their names; one name may come often.
type Measured = Vec<(String, f64)>;

/// What a completion is worth.
#[derive(Debug)]
pub struct Reward {
    grader: Grader,
    unfinished: Unfinished,
    /// Whether it was said that some completions earn nothing.
    said_none: bool,
    /// Whether any part asks if an answer is right.
    asks: bool,
    parts: Vec<Entry>,
}

impl Reward {
    /// The reward without any `[[reward]]`: 1 for a right answer, 0 for any other.
    pub fn accuracy(grader: &GraderConfig) -> Self {
        let accuracy = RewardDraft::default().complete(0);
        let config = accuracy.expect("the defaults are possible");
        Self {
            grader: grader.grader(),
            unfinished: grader.unfinished,
            said_none: false,
            asks: true,
            parts: vec![Entry::inside(config)],
        }
    }

    /// What `[grader]`, `[code]` and the `[[reward]]`s say; starts their programs, loads their functions, and has `open` open their models.
    ///
    /// # Errors
    /// A program cannot be started, or a function or a model not be loaded.
    pub fn start(
        grader: &GraderConfig,
        code: &CodeConfig,
        rewards: &[RewardConfig],
        open: impl Fn(&ModelReward) -> Result<Scorer, ScorerError>,
    ) -> Result<Self, RewardError> {
        let mut reward = Self {
            grader: grader.grader(),
            unfinished: grader.unfinished,
            said_none: false,
            asks: rewards.iter().any(RewardConfig::needs_verdict),
            parts: rewards
                .iter()
                .map(|config| Entry::start(config, code, &open))
                .collect::<Result<_, _>>()?,
        };
        // They were all started before one is waited for.
        reward.functions().try_for_each(Worker::loaded)?;
        Ok(reward)
    }

    fn functions(&mut self) -> impl Iterator<Item = &mut Worker> {
        self.parts.iter_mut().filter_map(Entry::function)
    }

    /// Sees whether the rewards can be asked about problems, before anything is sampled for them.
    ///
    /// # Errors
    /// A function takes other arguments than it is given.
    pub fn expect(&mut self, problems: &[Problem], ahead: Ahead) -> Result<(), RewardError> {
        for judge in self.parts.iter().filter_map(Entry::judge) {
            for problem in problems {
                judge.expect([code::tests(problem)?.as_ref()])?;
            }
        }
        let mut functions = self.functions();
        Ok(functions.try_for_each(|function| function.expect(problems, ahead))?)
    }

    /// What the rewards measured beside their values since this was last asked, those of all ranks: the mean of each number, as
    /// `LABEL/NAME`.
    pub fn take_measured(&mut self, ranks: &Ranks) -> Vec<(String, f64)> {
        let own: Vec<_> = self.parts.iter_mut().flat_map(Entry::take_measured).collect();
        let mut all: Vec<(String, (f64, usize))> = Vec::new();
        for (name, (sum, count)) in ranks.all_gather(own).into_iter().flatten() {
            match all.iter_mut().find(|(known, _)| *known == name) {
                Some((_, of)) => *of = (of.0 + sum, of.1 + count),
                None => all.push((name, (sum, count))),
            }
        }
        let mean = |(name, (sum, count)): (String, (f64, usize))| (name, sum / count as f64);
        all.into_iter().map(mean).collect()
    }

    /// Whether a completion that ended so is wrong for that, whatever stands in it.
    pub fn is_unfinished(&self, finish: Finish) -> bool {
        self.unfinished == Unfinished::Wrong && finish == Finish::Length
    }

    /// What the check finds of a completion, its text and why it ended, and the gold answer of problem `id`. One that is
    /// unfinished has no answer.
    ///
    /// # Errors
    /// [`RewardError::Gold`] if the gold answer cannot be read.
    pub fn verdict(&self, text: &str, finish: Finish, id: &str, gold: &str) -> Result<Verdict, RewardError> {
        let text = if self.is_unfinished(finish) { "" } else { text };
        let verdict = self.grader.grade(text, gold);
        verdict.map_err(|source| RewardError::Gold {
            id: id.to_owned(),
            source,
        })
    }

    /// Whether two answers, as [`Verdict::answer`] has them, are the same to the grader.
    pub fn same(&self, a: &str, b: &str) -> bool {
        let equal = || {
            let grader = self.grader.clone().with_rules([Rule::Hashes]);
            grader.grade(&format!("#### {}", b.replace('\n', " ")), a)
        };
        a == b || equal().is_ok_and(|verdict| verdict.correct)
    }

    /// What the rewards are called, in their order.
    pub fn labels(&self) -> Vec<&str> {
        self.parts.iter().map(|part| part.config.label.as_str()).collect()
    }

    /// The weight of each in the sum, in their order; 0 of one that gates.
    pub fn weights(&self) -> Vec<f64> {
        let weight = |config: &RewardConfig| if config.gates() { 0.0 } else { config.weight };
        self.parts.iter().map(|part| weight(&part.config)).collect()
    }

    /// Sees whether the rewards' programs are still there, before anything is sampled for them.
    ///
    /// # Errors
    /// One has ended.
    pub fn check(&mut self) -> Result<(), RewardError> {
        self.parts.iter_mut().try_for_each(Entry::check)
    }

    /// Grades every candidate of step `step`: fills in its text, by `text`, its scores and its reward.
    ///
    /// A candidate's reward is `Σ weight · value` over the rewards that apply to it, as in TRL; none where none does.
    ///
    /// # Errors
    /// A problem's own answer cannot be read, a program failed, or a reward is too large.
    pub fn grade(
        &mut self,
        groups: &mut [Group],
        step: usize,
        text: impl Fn(&Completion) -> String,
    ) -> Result<(), RewardError> {
        for group in groups.iter_mut() {
            for candidate in &mut group.candidates {
                candidate.text = group.problem.answered(text(&candidate.completion));
            }
        }
        let cases: Vec<Case> = groups
            .iter()
            .flat_map(|group| group.candidates.iter().map(move |candidate| (group, candidate)))
            .map(|(group, candidate)| Case {
                group,
                candidate,
                unfinished: self.is_unfinished(candidate.completion.finish),
            })
            .collect();
        let mut columns: Vec<_> = self
            .judge(&cases, step)?
            .into_iter()
            .map(Vec::into_iter)
            .collect();
        for group in groups.iter_mut() {
            for (at, candidate) in group.candidates.iter_mut().enumerate() {
                candidate.scores = columns.iter_mut().flat_map(Iterator::next).collect();
                candidate.reward = self.sum(&candidate.scores);
                self.check_size(candidate, &group.problem.id, at + 1)?;
            }
        }
        self.say_none(groups, step);
        Ok(())
    }

    /// Refuses what 32 bits do not hold.
    fn check_size(&self, candidate: &Candidate, id: &str, number: usize) -> Result<(), RewardError> {
        let parts = self.labels().into_iter().zip(&candidate.scores);
        let parts = parts.map(|(label, score)| (format!("the reward `{label}`"), score.value));
        let mut all = parts.chain([("the weighted sum of its rewards".to_owned(), candidate.reward)]);
        let fits = |value: f64| value.abs() <= LARGEST;
        match all.find(|(_, value)| value.is_some_and(|value| !fits(value))) {
            Some((what, Some(value))) => Err(RewardError::TooLarge {
                id: id.to_owned(),
                number,
                what,
                value,
            }),
            _ => Ok(()),
        }
    }

    /// Says once that completions earn nothing.
    pub fn say_none(&mut self, groups: &[Group], step: usize) {
        let earns_nothing = |group: &&Group| group.rewards().any(|reward| reward.is_none());
        let Some(first) = groups.iter().find(earns_nothing).filter(|_| !self.said_none) else {
            return;
        };
        self.said_none = true;
        let all: Vec<Option<f64>> = groups.iter().flat_map(Group::rewards).collect();
        note(&format!(
            "warning: no [[reward]] applies to {} of the {} completions of step {step}, the first of problem `{}`: all that could said \
             null. They are left out of their group and of the loss; the metric reward/none_frac says how many there are",
            all.iter().filter(|reward| reward.is_none()).count(),
            all.len(),
            first.problem.id
        ));
    }

    /// The weighted sum of the rewards that apply; none if none does.
    fn sum(&self, scores: &[Score]) -> Option<f64> {
        let mut sum = None;
        let parts = self.parts.iter().map(|part| &part.config);
        for (config, score) in parts.zip(scores).filter(|(config, _)| !config.gates()) {
            if let Some(value) = score.value {
                *sum.get_or_insert(0.0) += config.weight * value;
            }
        }
        sum
    }

    /// Every reward's scores, in the order of the cases.
    fn judge(&mut self, cases: &[Case<'_>], step: usize) -> Result<Vec<Vec<Score>>, RewardError> {
        let mut right = vec![false; cases.len()];
        if self.asks {
            for (right, case) in right.iter_mut().zip(cases) {
                // Asked even where the form decides, so that an unreadable gold answer never passes.
                let (completion, problem) = (&case.candidate.completion, &case.group.problem);
                let gold = problem.answer.as_deref().ok_or_else(|| RewardError::NoAnswer {
                    problem: problem.named(),
                })?;
                let verdict = self.verdict(&case.candidate.text, completion.finish, &problem.id, gold)?;
                *right = verdict.correct && self.parts.iter().all(|part| part.lets_pass(case));
            }
        }
        // Functions work while the others are asked.
        self.functions().for_each(|function| function.ask(cases, step));
        let mut found = Vec::with_capacity(self.parts.len());
        for part in &mut self.parts {
            let each = |value: &dyn Fn(&Case<'_>, bool) -> f64| -> Vec<Score> {
                let cases = cases.iter().zip(&right);
                cases
                    .map(|(case, &right)| Score::of(value(case, right)))
                    .collect()
            };
            found.push(match &part.config.kind {
                RewardKind::Accuracy(accuracy) => each(&|_, right| accuracy.value(right)),
                RewardKind::Format(format) => each(&|case, _| f64::from(case.has(format))),
                RewardKind::Length(length) => {
                    each(&|case, right| length.value(case.candidate.tokens().len(), right))
                }
                RewardKind::Repetition(repetition) => {
                    each(&|case, _| repetition.value(case.candidate.tokens()))
                }
                RewardKind::Code(_)
                | RewardKind::Command(_)
                | RewardKind::Python(_)
                | RewardKind::ModelReward(_) => part.ask_outside(cases, step)?,
            });
        }
        Ok(found)
    }
}

/// The problems whose gold answers can be read, if any `[[reward]]` asks for them; with `skip` without the others.
///
/// # Errors
/// [`RewardError::Golds`] without `skip`, [`RewardError::NoGold`] if none is left.
pub fn gradable(
    grader: &GraderConfig,
    rewards: &[RewardConfig],
    problems: Vec<Problem>,
    skip: bool,
) -> Result<Gradable, RewardError> {
    let mut found = Gradable {
        problems,
        left_out: Vec::new(),
    };
    if !rewards.iter().any(RewardConfig::needs_verdict) {
        return Ok(found);
    }
    let asking = rewards.iter().find(|reward| reward.needs_verdict());
    let program = found.problems.iter().find(|problem| problem.code.is_some());
    if let (Some(problem), Some(reward)) = (program, asking) {
        return Err(RewardError::IsProgram {
            problem: problem.named(),
            label: reward.label.clone(),
        });
    }
    let (count, grader) = (found.problems.len(), grader.grader());
    let mut first = None;
    found.problems.retain(|problem| {
        let gold = problem.answer.as_deref().unwrap_or_default();
        let Err(source) = grader.accepts(gold) else {
            return true;
        };
        let id = problem.id.clone();
        first.get_or_insert_with(|| (id.clone(), source.clone()));
        found.left_out.push(RewardError::Gold { id, source });
        false
    });
    match first {
        Some((id, source)) if found.problems.is_empty() => Err(RewardError::NoGold { count, id, source }),
        Some((id, source)) if !skip => Err(RewardError::Golds {
            id,
            others: match found.left_out.len() {
                1 => String::new(),
                bad => format!(" and {} more of the {count}", bad - 1),
            },
            source,
        }),
        _ => Ok(found),
    }
}

impl GraderConfig {
    /// What it says, at work.
    fn grader(&self) -> Grader {
        let grader = match self.kind {
            GraderKind::Math => Grader::math(),
            GraderKind::Numbers => Grader::new().with_expressions(self.expressions),
        };
        grader.with_rounding(self.rounding).with_rules(self.rules.clone())
    }
}

#[cfg(test)]
mod tests;
