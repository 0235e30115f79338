//! From completions to rewards: each `[[reward]]` by itself, and their weighted sum.
//!
//! `p` prompts of a step, `g` candidates of a prompt.

mod accuracy;
mod command;
mod format;
mod length;
mod repetition;

use gcpo_data::{GradeError, Grader, Problem, Rule, Verdict};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::config::{self, Config, GraderKind, RewardName};
use crate::rollout::{Completion, Contexts, Rollouts};
use accuracy::Accuracy;
use command::Program;
pub use command::ProgramError;
use format::Format;
use length::Length;
use repetition::Repetition;

/// A step's candidates with their rewards.
pub struct Graded {
    /// The candidates.
    pub rollouts: Rollouts,
    /// `[p]`: the prompts as text.
    pub prompts: Vec<String>,
    /// `[p][g]`: the candidates as text, special tokens left out.
    pub texts: Vec<Vec<String>>,
    /// `[p][g]`: rewards.
    pub rewards: Vec<Vec<f64>>,
    /// What they are the weighted sums of, in the config's order.
    pub components: Vec<Component>,
}

/// One reward of a step's candidates, by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// What it is called.
    pub label: String,
    /// `[p][g]`: its values before they are weighed; `None` where it does not apply.
    pub values: Vec<Vec<Option<f64>>>,
    /// `[p][g]`: what else a program said; empty for rewards that are none.
    pub notes: Vec<Vec<Map<String, Value>>>,
}

impl Graded {
    /// Whether all candidates of the prompt earned the same: their advantages are 0.
    pub fn is_flat(&self, prompt: usize) -> bool {
        self.rewards[prompt].windows(2).all(|pair| pair[0] == pair[1])
    }
}

/// Why there is no reward.
#[derive(Debug, Error)]
pub enum RewardError {
    /// A gold answer cannot be graded against.
    #[error("problem `{id}`: {source}")]
    Gold {
        /// The problem.
        id: String,
        /// What is wrong with it.
        source: GradeError,
    },
    /// Gold answers of the training problems cannot be graded against. Nothing has been sampled.
    #[error("problem `{id}`{others}: {source}; `--set data.skip_unreadable=true` leaves such problems out")]
    Golds {
        /// The first such problem.
        id: String,
        /// How many more there are, in words.
        others: String,
        /// What is wrong with the first.
        source: GradeError,
    },
    /// There is nothing left to train on.
    #[error("none of the {count} problems can be graded: problem `{id}`: {source}; check [grader]")]
    NoGold {
        /// How many problems there are.
        count: usize,
        /// The first.
        id: String,
        /// What is wrong with it.
        source: GradeError,
    },
    /// A program failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// No reward applies to a completion.
    #[error(
        "problem `{id}`: no [[reward]] applies to completion {number}, as all that could said null; \
         add one that always applies, or let one say a number"
    )]
    NothingApplies {
        /// The problem.
        id: String,
        /// The candidate, from 1.
        number: usize,
    },
}

/// Problems that can be graded, and those that cannot.
pub struct Gradable {
    /// In their order; at least one.
    pub problems: Vec<Problem>,
    /// What is wrong with each of the others.
    pub left_out: Vec<RewardError>,
}

/// A completion with what a reward may look at.
struct Case<'a> {
    problem: &'a Problem,
    prompt: &'a str,
    text: &'a str,
    completion: &'a Completion,
}

/// What one `[[reward]]` does.
#[derive(Debug)]
enum Kind {
    Accuracy(Accuracy),
    Format(Format),
    Length(Length),
    Repetition(Repetition),
    Command(Box<Program>),
}

#[derive(Debug)]
struct Part {
    label: String,
    /// Unused by a format that gates.
    weight: f64,
    kind: Kind,
}

/// What a completion is worth.
#[derive(Debug)]
pub struct Reward {
    grader: Grader,
    /// Whether any part asks if an answer is right.
    asks: bool,
    parts: Vec<Part>,
}

impl Reward {
    /// The reward without any `[[reward]]`: 1 for a right answer, 0 for any other.
    pub fn accuracy(config: &config::Grader) -> Self {
        let entry = config::Reward::new(RewardName::Accuracy);
        Self {
            grader: grader(config),
            asks: true,
            parts: vec![Part {
                label: entry.label(),
                weight: entry.weight,
                kind: Kind::Accuracy(Accuracy::of(&entry)),
            }],
        }
    }

    /// What `[grader]` and the `[[reward]]`s say; starts their programs.
    ///
    /// # Errors
    /// [`ProgramError::Start`].
    pub fn start(config: &Config) -> Result<Self, RewardError> {
        let part = |entry: &config::Reward| -> Result<Part, RewardError> {
            let kind = match entry.name {
                RewardName::Accuracy => Kind::Accuracy(Accuracy::of(entry)),
                RewardName::Format => Kind::Format(Format::of(entry)),
                RewardName::Length => Kind::Length(Length::of(entry)),
                RewardName::Repetition => Kind::Repetition(Repetition::of(entry)),
                RewardName::Command => Kind::Command(Box::new(Program::start(entry)?)),
            };
            Ok(Part {
                label: entry.label(),
                weight: entry.weight,
                kind,
            })
        };
        Ok(Self {
            grader: grader(&config.grader),
            asks: config.reward.iter().any(config::Reward::needs_verdict),
            parts: config.reward.iter().map(part).collect::<Result<_, _>>()?,
        })
    }

    /// Whether the text answers the problem.
    ///
    /// # Errors
    /// [`RewardError::Gold`] if the problem's own answer cannot be read.
    pub fn is_right(&self, text: &str, problem: &Problem) -> Result<bool, RewardError> {
        Ok(self.verdict(text, &problem.id, &problem.answer)?.correct)
    }

    /// What the check finds of a text and the gold answer of problem `id`.
    ///
    /// # Errors
    /// [`RewardError::Gold`] if the gold answer cannot be read.
    pub fn verdict(&self, text: &str, id: &str, gold: &str) -> Result<Verdict, RewardError> {
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

    /// Grades every candidate of step `step`. `prompt` and `text` turn tokens into text.
    ///
    /// A candidate's reward is `Σ weight · value` over the rewards that apply to it, as in TRL.
    ///
    /// # Errors
    /// A problem's own answer cannot be read, a program failed, or no reward applies to a candidate.
    pub fn grade(
        &mut self,
        rollouts: Rollouts,
        step: usize,
        prompt: impl Fn(&Contexts) -> String,
        text: impl Fn(&Completion) -> String,
    ) -> Result<Graded, RewardError> {
        let prompts: Vec<String> = rollouts.plans.iter().map(prompt).collect();
        let texts: Vec<Vec<String>> = rollouts
            .candidates
            .iter()
            .map(|candidates| candidates.iter().map(&text).collect())
            .collect();
        let mut cases = Vec::new();
        for (p, problem) in rollouts.problems.iter().enumerate() {
            for (completion, text) in rollouts.candidates[p].iter().zip(&texts[p]) {
                cases.push(Case {
                    problem,
                    prompt: &prompts[p],
                    text,
                    completion,
                });
            }
        }
        let found = self.judge(&cases, step)?;
        let mut sums = Vec::with_capacity(cases.len());
        for (at, case) in cases.iter().enumerate() {
            let mut sum = None;
            for (part, (values, _)) in self.parts.iter().zip(&found).filter(|(part, _)| !part.gates()) {
                if let Some(value) = values[at] {
                    *sum.get_or_insert(0.0) += part.weight * value;
                }
            }
            let Some(sum) = sum else {
                let before = cases[..at].iter().rev();
                let number = 1 + before
                    .take_while(|other| std::ptr::eq(other.problem, case.problem))
                    .count();
                return Err(RewardError::NothingApplies {
                    id: case.problem.id.clone(),
                    number,
                });
            };
            sums.push(sum);
        }
        let components = self
            .parts
            .iter()
            .zip(found)
            .map(|(part, (values, notes))| Component {
                label: part.label.clone(),
                values: table(values, &texts),
                notes: if notes.is_empty() {
                    Vec::new()
                } else {
                    table(notes, &texts)
                },
            })
            .collect();
        Ok(Graded {
            rewards: table(sums, &texts),
            components,
            rollouts,
            prompts,
            texts,
        })
    }

    /// Every reward's values and notes, in the order of the cases.
    fn judge(&mut self, cases: &[Case<'_>], step: usize) -> Result<Vec<Judged>, RewardError> {
        let mut right = vec![false; cases.len()];
        if self.asks {
            for (right, case) in right.iter_mut().zip(cases) {
                // Asked even where the form decides, so that an unreadable gold answer never passes.
                let answered = self.is_right(case.text, case.problem)?;
                *right = answered && self.parts.iter().all(|part| part.lets_pass(case));
            }
        }
        let mut found = Vec::with_capacity(self.parts.len());
        for part in &mut self.parts {
            let each = |value: &dyn Fn(&Case<'_>, bool) -> f64| -> Judged {
                let values = cases
                    .iter()
                    .zip(&right)
                    .map(|(case, &right)| Some(value(case, right)));
                (values.collect(), Vec::new())
            };
            found.push(match &mut part.kind {
                Kind::Accuracy(accuracy) => each(&|_, right| accuracy.value(right)),
                Kind::Format(format) => each(&|case, _| f64::from(format.holds(case.prompt, case.text))),
                Kind::Length(length) => {
                    each(&|case, right| length.value(case.completion.tokens.len(), right))
                }
                Kind::Repetition(repetition) => each(&|case, _| repetition.value(&case.completion.tokens)),
                Kind::Command(program) => {
                    let replies = program.ask(cases, step)?;
                    replies
                        .into_iter()
                        .map(|reply| (reply.reward, reply.more))
                        .unzip()
                }
            });
        }
        Ok(found)
    }
}

/// The problems whose gold answers can be read, if any `[[reward]]` asks for them; with `skip` without the others.
///
/// # Errors
/// [`RewardError::Golds`] without `skip`, [`RewardError::NoGold`] if none is left.
pub fn gradable(config: &Config, problems: Vec<Problem>, skip: bool) -> Result<Gradable, RewardError> {
    let mut found = Gradable {
        problems,
        left_out: Vec::new(),
    };
    if !config.reward.iter().any(config::Reward::needs_verdict) {
        return Ok(found);
    }
    let (count, grader) = (found.problems.len(), grader(&config.grader));
    let mut first = None;
    found.problems.retain(|problem| {
        let Err(source) = grader.accepts(&problem.answer) else {
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

/// The values of one reward, and what else was said.
type Judged = (Vec<Option<f64>>, Vec<Map<String, Value>>);

impl Part {
    /// Whether this is a condition, and no summand.
    fn gates(&self) -> bool {
        matches!(&self.kind, Kind::Format(format) if format.gates())
    }

    /// Whether a right answer may count, as far as this reward is concerned.
    fn lets_pass(&self, case: &Case<'_>) -> bool {
        match &self.kind {
            Kind::Format(format) if format.gates() => format.holds(case.prompt, case.text),
            _ => true,
        }
    }
}

/// What `[grader]` says.
fn grader(config: &config::Grader) -> Grader {
    let grader = match config.kind {
        GraderKind::Math => Grader::math(),
        GraderKind::Numbers => Grader::new().with_expressions(config.expressions),
    };
    grader
        .with_rounding(config.rounding)
        .with_rules(config.rules.clone())
}

/// `[p·g]` as `[p][g]`, in the rows of `like`.
fn table<T, L>(flat: Vec<T>, like: &[Vec<L>]) -> Vec<Vec<T>> {
    let mut flat = flat.into_iter();
    like.iter()
        .map(|row| flat.by_ref().take(row.len()).collect())
        .collect()
}

#[cfg(test)]
mod tests;
