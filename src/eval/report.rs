//! What the completions of an evaluation come to. A pure function of them, so that a file says later what it said at once.

use std::collections::BTreeMap;

use serde::Serialize;
use thiserror::Error;

use super::record::{Record, RecordKind, by_problem};
use super::stats::{Estimate, interval, ks, majority, pass_at_k, sampling_stderr};
use crate::rollout::Finish;

/// What was found on one set of problems.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SuiteReport {
    /// The set.
    pub suite: String,
    /// Number of problems.
    pub problems: usize,
    /// Answers to each.
    pub samples: usize,
    /// Mean over problems of the share of right answers: avg@k, which is the unbiased estimate of pass@1. None where the problems have
    /// no gold answers, and only rewards were asked.
    #[serde(rename = "pass@1", skip_serializing_if = "Option::is_none")]
    pub pass_at_1: Option<Estimate>,
    /// Its 95 % interval, by a bootstrap over problems; a point where all problems have the same share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// The weighted sum of the rewards, where measured: the mean over problems of the mean over the answers that it applies to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward: Option<Estimate>,
    /// Each reward by itself, in their order; none of one that applies to no answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rewards: Vec<(String, Option<Estimate>)>,
    /// The part of the standard error that is due to sampling, the problems being what they are; none with one answer each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling_stderr: Option<f64>,
    /// The unbiased estimate of pass@k, by k: powers of 2, and all answers.
    #[serde(rename = "pass@k")]
    pub pass_at_k: BTreeMap<usize, Estimate>,
    /// maj@k of all k answers: the answer that most agree on, right or wrong; with one answer it is left out, and of
    /// programs.
    #[serde(rename = "maj@k", skip_serializing_if = "Option::is_none")]
    pub majority: Option<Estimate>,
    /// pass@1 of integrated answers `y_n`, where measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integrated: Option<Estimate>,
    /// pass@1 of the candidates `y_i` that they were integrated from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Estimate>,
    /// Mean length of an answer, in tokens.
    pub length_mean: f64,
    /// Mean length of right answers; none where there is none.
    pub length_right: Option<f64>,
    /// Share of answers that reached the longest length.
    pub truncated_frac: f64,
    /// Share of answers in which no final answer was found.
    pub no_answer_frac: f64,
    /// Problems that did not fit the model's positions: left out, and counted as wrong.
    pub too_long: usize,
    /// By subject, where the problems have one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<Breakdown>,
    /// By level, where the problems have one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<Breakdown>,
    /// Of each problem, in order: its share of right answers.
    #[serde(skip)]
    pub shares: Vec<f64>,
}

/// pass@1 of the problems of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Breakdown {
    /// The subject or the level.
    pub name: String,
    /// How many problems.
    pub problems: usize,
    /// pass@1.
    #[serde(rename = "pass@1")]
    pub pass_at_1: Estimate,
}

/// The mean of several sets, each counting alike (as in table 1 of the paper).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Mean {
    /// pass@1.
    #[serde(rename = "pass@1")]
    pub pass_at_1: Estimate,
    /// Its 95 % interval, by a bootstrap over the problems of each.
    pub interval: [f64; 2],
}

impl SuiteReport {
    /// Of a set's records, at least one; `same` says whether two found answers are the same.
    pub fn of(suite: &str, records: &[Record], same: impl Fn(&str, &str) -> bool) -> Self {
        let (problems, graded) = (by_problem(records), is_graded(records));
        let rows_of = |kind: RecordKind| -> Vec<Vec<&Record>> {
            problems.iter().map(|problem| of_kind(problem, kind)).collect()
        };
        let shares_of = |rows: &[Vec<&Record>]| rows.iter().map(|row| share_right(row)).collect::<Vec<f64>>();
        let estimate_of = |kind: RecordKind| {
            let rows = rows_of(kind);
            let some = graded && rows.iter().any(|row| !row.is_empty());
            some.then(|| Estimate::of(&shares_of(&rows)))
        };
        let answers = rows_of(RecordKind::Answer);
        let shares = shares_of(&answers);
        let samples = answers.iter().map(Vec::len).max().unwrap_or(0);
        let estimate = |value: &dyn Fn(&[&Record]) -> f64| {
            let values: Vec<f64> = answers
                .iter()
                .map(|row| if row.is_empty() { 0.0 } else { value(row) })
                .collect();
            Estimate::of(&values)
        };
        let right = |row: &[&Record]| row.iter().filter(|r| r.right).count();
        let all: Vec<&Record> = answers.iter().flatten().copied().collect();
        let share = |count: usize| count as f64 / all.len().max(1) as f64;
        let graded_problems = if graded { &problems[..] } else { &[] };
        let group = |name: fn(&Record) -> Option<&String>| groups(graded_problems, &shares, name);
        Self {
            suite: suite.to_owned(),
            problems: problems.len(),
            samples,
            pass_at_1: graded.then(|| Estimate::of(&shares)),
            interval: graded.then(|| interval(&[&shares])),
            reward: earned(&answers, |record| record.reward),
            rewards: each_earned(&answers),
            sampling_stderr: sampling_stderr(&shares, samples).filter(|_| graded),
            pass_at_k: ks(samples)
                .into_iter()
                .filter(|&k| k > 0 && graded)
                .map(|k| {
                    (
                        k,
                        estimate(&|row| pass_at_k(row.len(), right(row), k.min(row.len()))),
                    )
                })
                .collect(),
            majority: (samples > 1 && graded && records.iter().all(|record| record.tests.is_none()))
                .then(|| estimate(&|row| f64::from(u8::from(majority_right(row, &same))))),
            integrated: estimate_of(RecordKind::Integrated),
            candidates: estimate_of(RecordKind::Candidate),
            length_mean: share(all.iter().map(|r| r.tokens).sum()),
            length_right: mean_length(all.iter().filter(|r| r.right).map(|r| r.tokens)),
            truncated_frac: share(all.iter().filter(|r| r.finish == Some(Finish::Length)).count()),
            no_answer_frac: share(all.iter().filter(|r| r.answer.is_none()).count()),
            too_long: records.iter().filter(|r| r.kind == RecordKind::TooLong).count(),
            subjects: group(|r| r.subject.as_ref()),
            levels: group(|r| r.level.as_ref()),
            shares,
        }
    }
}

impl Mean {
    /// Of several sets; none of fewer than two.
    pub fn of(reports: &[SuiteReport]) -> Option<Self> {
        let shares: Vec<&[f64]> = reports.iter().map(|report| &*report.shares).collect();
        let parts: Option<Vec<Estimate>> = reports.iter().map(|report| report.pass_at_1).collect();
        let parts = parts.filter(|parts| parts.len() > 1)?;
        Some(Self {
            pass_at_1: Estimate::mean_of(&parts),
            interval: interval(&shares),
        })
    }
}

/// Whether answers were held to gold answers, and not only to rewards.
pub fn is_graded(records: &[Record]) -> bool {
    records.iter().any(|r| !r.gold.is_empty()) || records.iter().all(|r| r.rewards.is_empty())
}

/// What each reward that was measured came to, in their order.
fn each_earned(answers: &[Vec<&Record>]) -> Vec<(String, Option<Estimate>)> {
    let first = answers.iter().flatten().find(|record| !record.rewards.is_empty());
    let labels = first.into_iter().flat_map(|record| record.rewards.keys());
    let of = |label: &String| earned(answers, |record| record.rewards.get(label)?.as_f64());
    labels.map(|label| (label.clone(), of(label))).collect()
}

/// The mean over problems of the mean of a value over the answers that have one; none if none has.
fn earned(answers: &[Vec<&Record>], value: impl Fn(&Record) -> Option<f64>) -> Option<Estimate> {
    let of_problem = |answers: &Vec<&Record>| {
        let values: Vec<f64> = answers.iter().filter_map(|record| value(record)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let means: Vec<f64> = answers.iter().filter_map(of_problem).collect();
    (!means.is_empty()).then(|| Estimate::of(&means))
}

fn mean_length(lengths: impl Iterator<Item = usize>) -> Option<f64> {
    let lengths: Vec<usize> = lengths.collect();
    (!lengths.is_empty()).then(|| lengths.iter().sum::<usize>() as f64 / lengths.len() as f64)
}

fn of_kind(problem: &[Record], kind: RecordKind) -> Vec<&Record> {
    problem.iter().filter(|r| r.kind == kind).collect()
}

fn share_right(rows: &[&Record]) -> f64 {
    rows.iter().filter(|r| r.right).count() as f64 / rows.len().max(1) as f64
}

/// Whether the answer that most agree on is right. All right answers agree; a right and a wrong one never do.
fn majority_right(rows: &[&Record], same: impl Fn(&str, &str) -> bool) -> bool {
    let votes: Vec<Option<(bool, &str)>> = rows
        .iter()
        .map(|r| r.answer.as_deref().map(|answer| (r.right, answer)))
        .collect();
    let agree = |a: &(bool, &str), b: &(bool, &str)| a.0 == b.0 && (a.0 || same(a.1, b.1));
    majority(&votes, agree).is_some_and(|first| rows[first].right)
}

/// By what the problems say of themselves, in the order of the names as texts.
fn groups(problems: &[&[Record]], shares: &[f64], name: fn(&Record) -> Option<&String>) -> Vec<Breakdown> {
    let mut found: BTreeMap<&String, Vec<f64>> = BTreeMap::new();
    for (problem, share) in problems.iter().zip(shares) {
        if let Some(name) = name(&problem[0]) {
            found.entry(name).or_default().push(*share);
        }
    }
    let group = |(name, shares): (&String, Vec<f64>)| Breakdown {
        name: name.clone(),
        problems: shares.len(),
        pass_at_1: Estimate::of(&shares),
    };
    found.into_iter().map(group).collect()
}

/// How a second run differs from a first one on the same problems.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The set; `mean` for all of them.
    pub suite: String,
    /// Number of problems.
    pub problems: usize,
    /// pass@1 of the first run.
    pub first: f64,
    /// pass@1 of the second run.
    pub second: f64,
    /// The second less the first, paired by problem.
    pub difference: Estimate,
    /// Its 95 % interval, by a bootstrap over problems.
    pub interval: [f64; 2],
    /// Problems in which the second has the larger share of right answers.
    pub better: usize,
    /// Problems in which it has the smaller.
    pub worse: usize,
}

/// Why two runs cannot be compared.
#[derive(Debug, Error)]
pub enum NotPaired {
    /// A set is in one of them only.
    #[error("the suite {0:?} is in one of the two only; compare evaluations of the same suites")]
    Suite(String),
    /// A problem is.
    #[error(
        "suite {suite:?}: the problems are not the same: problem {number} is `{first}` in one and `{second}` in the other"
    )]
    Problem {
        /// The set.
        suite: String,
        /// Its place, from 1.
        number: usize,
        /// Its name in the first.
        first: String,
        /// Its name in the second.
        second: String,
    },
    /// One has more problems.
    #[error(
        "suite {suite:?}: one has {first} problems and the other {second}; if one was stopped, let it go on first (--resume)"
    )]
    Count {
        /// The set.
        suite: String,
        /// How many the first has.
        first: usize,
        /// How many the second has.
        second: usize,
    },
}

/// Compares two runs' records, set by set, and in the mean over sets where there are several.
///
/// # Errors
/// [`NotPaired`].
pub fn compare(first: &[Record], second: &[Record]) -> Result<Vec<Difference>, NotPaired> {
    let (a, b) = (by_suite(first), by_suite(second));
    let lacks = |sets: &[(&str, &[Record])], name: &str| !sets.iter().any(|(known, _)| *known == name);
    let only = a.iter().filter(|(name, _)| lacks(&b, name));
    let mut only = only.chain(b.iter().filter(|(name, _)| lacks(&a, name)));
    if let Some((name, _)) = only.next() {
        return Err(NotPaired::Suite((*name).to_owned()));
    }
    let mut found = Vec::new();
    let mut paired: Vec<Vec<f64>> = Vec::new();
    for (suite, records) in &a {
        let others = b.iter().filter(|(name, _)| name == suite);
        let others: Vec<&[Record]> = others.flat_map(|(_, records)| in_order(records)).collect();
        let (of_first, of_second) = shares_of_both(suite, &in_order(records), &others)?;
        let pairs = of_first.iter().zip(&of_second);
        let differences: Vec<f64> = pairs.map(|(first, second)| second - first).collect();
        found.push(Difference {
            suite: (*suite).to_owned(),
            problems: differences.len(),
            first: Estimate::of(&of_first).mean,
            second: Estimate::of(&of_second).mean,
            difference: Estimate::of(&differences),
            interval: interval(&[&differences]),
            better: differences.iter().filter(|d| **d > 0.0).count(),
            worse: differences.iter().filter(|d| **d < 0.0).count(),
        });
        paired.push(differences);
    }
    if found.len() > 1 {
        let count = found.len() as f64;
        let parts: Vec<Estimate> = found.iter().map(|of| of.difference).collect();
        let strata: Vec<&[f64]> = paired.iter().map(Vec::as_slice).collect();
        found.push(Difference {
            suite: "mean".into(),
            problems: found.iter().map(|of| of.problems).sum(),
            first: found.iter().map(|of| of.first).sum::<f64>() / count,
            second: found.iter().map(|of| of.second).sum::<f64>() / count,
            difference: Estimate::mean_of(&parts),
            interval: interval(&strata),
            better: found.iter().map(|of| of.better).sum(),
            worse: found.iter().map(|of| of.worse).sum(),
        });
    }
    Ok(found)
}

/// How much larger the share of right answers to each problem is in a second run: the problems of all sets, in their order.
///
/// # Errors
/// [`NotPaired`].
pub fn paired(first: &[Record], second: &[Record]) -> Result<Vec<f64>, NotPaired> {
    let (a, b) = (by_suite(first), by_suite(second));
    let mut found = Vec::new();
    for at in 0..a.len().max(b.len()) {
        let (suite, of_first, of_second) = match (a.get(at), b.get(at)) {
            (Some((name, first)), Some((other, second))) if name == other => (name, first, second),
            (Some((name, _)), _) | (_, Some((name, _))) => return Err(NotPaired::Suite((*name).to_owned())),
            (None, None) => break,
        };
        let (first, second) = shares_of_both(suite, &in_order(of_first), &in_order(of_second))?;
        found.extend(first.iter().zip(&second).map(|(first, second)| second - first));
    }
    Ok(found)
}

/// The shares of right answers of the same problems in two runs.
fn shares_of_both(
    suite: &str,
    first: &[&[Record]],
    second: &[&[Record]],
) -> Result<(Vec<f64>, Vec<f64>), NotPaired> {
    if first.len() != second.len() {
        return Err(NotPaired::Count {
            suite: suite.to_owned(),
            first: first.len(),
            second: second.len(),
        });
    }
    let key = |of: &Record| (of.problem, of.id.clone(), of.gold.clone());
    let mut pairs = first.iter().zip(second);
    if let Some((a, b)) = pairs.find(|(a, b)| key(&a[0]) != key(&b[0])) {
        return Err(NotPaired::Problem {
            suite: suite.to_owned(),
            number: a[0].problem + 1,
            first: a[0].id.clone(),
            second: b[0].id.clone(),
        });
    }
    let shares = |run: &[&[Record]]| -> Vec<f64> {
        let answers = |of: &&[Record]| share_right(&of_kind(of, RecordKind::Answer));
        run.iter().map(answers).collect()
    };
    Ok((shares(first), shares(second)))
}

/// Records by set, in the order of the file.
pub fn by_suite(records: &[Record]) -> Vec<(&str, &[Record])> {
    records
        .chunk_by(|a, b| a.suite == b.suite)
        .map(|of| (of[0].suite.as_str(), of))
        .collect()
}

/// A set's problems by their place in its file: those that were too long come first in an evaluation.
fn in_order(records: &[Record]) -> Vec<&[Record]> {
    let mut problems = by_problem(records);
    problems.sort_by_key(|of| of[0].problem);
    problems
}
