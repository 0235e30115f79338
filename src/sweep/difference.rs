//! How the runs of a setting differ from the baseline's, on the same seeds and the same problems.

use serde::Serialize;

use super::result::RunResult;
use crate::eval::report::paired;
use crate::eval::stats::{Estimate, interval, t_interval};

/// How a setting differs from the baseline: the setting less the baseline, on the same seeds.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// The setting.
    pub setting: String,
    /// What it is compared with.
    pub baseline: String,
    /// What is compared: `pass@1` after the last step, or `reward` of the last tenth of the steps where there is no evaluation.
    pub measure: &'static str,
    /// The difference of each seed that both have.
    pub by_seed: Vec<(u64, f64)>,
    /// Their mean; none where there is no such seed.
    pub mean: Option<f64>,
    /// The 95 % interval of the mean over seeds, by Student's t; none of a single seed.
    pub interval: Option<[f64; 2]>,
    /// Paired by problem; none where evaluations are not of the same problems, or there are none.
    pub problems: Option<ByProblem>,
    /// Why evaluations could not be paired by problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_paired: Option<String>,
}

/// A difference paired by problem: that of a problem is the mean over seeds.
#[derive(Debug, Clone, Serialize)]
pub struct ByProblem {
    /// How many problems.
    pub problems: usize,
    /// Standard error of the difference over problems.
    pub stderr: f64,
    /// Its 95 % interval, by a bootstrap over problems: these runs on other problems. What other seeds would give it does not say.
    pub interval: [f64; 2],
    /// Problems in which the setting has the larger share of right answers.
    pub better: usize,
    /// Problems in which it has the smaller.
    pub worse: usize,
}

impl Difference {
    /// Of a setting and the baseline, each with its name and runs.
    pub fn of(baseline: (&str, &[RunResult]), setting: (&str, &[RunResult])) -> Self {
        let over = |runs: &'_ [RunResult]| runs.iter().filter(|run| run.failed.is_none()).cloned().collect();
        let [firsts, seconds]: [Vec<RunResult>; 2] = [over(baseline.1), over(setting.1)];
        let pairs: Vec<(&RunResult, &RunResult)> = firsts
            .iter()
            .filter_map(|first| Some((first, seconds.iter().find(|run| run.seed == first.seed)?)))
            .collect();
        let mut all = firsts.iter().chain(&seconds);
        let evaluated = all.all(|run| run.after.is_some());
        let (measure, value): (_, fn(&RunResult) -> Option<f64>) = match evaluated {
            true => ("pass@1", |run| run.after),
            false => ("reward", |run| run.reward),
        };
        let by_seed: Vec<(u64, f64)> = pairs
            .iter()
            .filter_map(|(first, second)| Some((first.seed, value(second)? - value(first)?)))
            .collect();
        let values: Vec<f64> = by_seed.iter().map(|(_, value)| *value).collect();
        let (problems, not_paired) = match evaluated && !pairs.is_empty() {
            true => match by_problem(&pairs) {
                Ok(found) => (Some(found), None),
                Err(why) => (None, Some(why)),
            },
            false => (None, None),
        };
        Self {
            setting: setting.0.to_owned(),
            baseline: baseline.0.to_owned(),
            measure,
            mean: (!values.is_empty()).then(|| Estimate::of(&values).mean),
            interval: t_interval(&values),
            by_seed,
            problems,
            not_paired,
        }
    }
}

/// Differences by problem, over the seeds' pairs of runs; why there are none.
fn by_problem(pairs: &[(&RunResult, &RunResult)]) -> Result<ByProblem, String> {
    let mut sums: Vec<f64> = Vec::new();
    for (first, second) in pairs {
        let records = |run: &RunResult| run.records().map_err(|error| format!("{error:#}"));
        let differences = paired(&records(first)?, &records(second)?).map_err(|error| error.to_string())?;
        if sums.is_empty() {
            sums = vec![0.0; differences.len()];
        }
        if sums.len() != differences.len() {
            return Err("the seeds were not evaluated on the same number of problems".to_owned());
        }
        sums.iter_mut()
            .zip(differences)
            .for_each(|(sum, difference)| *sum += difference);
    }
    let means: Vec<f64> = sums.into_iter().map(|sum| sum / pairs.len() as f64).collect();
    Ok(ByProblem {
        problems: means.len(),
        stderr: Estimate::of(&means).stderr,
        interval: interval(&[&means]),
        better: means.iter().filter(|mean| **mean > 0.0).count(),
        worse: means.iter().filter(|mean| **mean < 0.0).count(),
    })
}
