//! What a run came to, read from what it wrote.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::eval::record::{self, Record};
use crate::run::metrics::{self, Line, series, step_of};
use crate::run::{EVALUATION, LOGS};

/// What a run came to. What it did not measure is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RunResult {
    /// Its seed.
    pub seed: u64,
    /// Its directory.
    pub dir: String,
    /// Why it failed; none of a run that is over. The rest is then how far it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Steps done.
    pub steps: usize,
    /// pass@1 before the first step.
    #[serde(rename = "pass@1 before")]
    pub before: Option<f64>,
    /// pass@1 after the last one.
    #[serde(rename = "pass@1 after")]
    pub after: Option<f64>,
    /// Of candidates, and of answers integrated from them, before.
    pub candidates_before: Option<f64>,
    /// Of integrated answers.
    pub integrated_before: Option<f64>,
    /// The same after the last step.
    pub candidates_after: Option<f64>,
    /// Of integrated answers.
    pub integrated_after: Option<f64>,
    /// Mean reward of the last tenth of the steps.
    pub reward: Option<f64>,
    /// Mean loss of the last tenth of the steps, of supervised training.
    pub loss: Option<f64>,
    /// Υ's mean, over the steps.
    pub upsilon_mean: Option<f64>,
    /// Its spread within a step, over the steps.
    pub upsilon_std: Option<f64>,
    /// Seconds of the steps, evaluations apart.
    pub secs: f64,
    /// Tokens sampled in the steps.
    pub tokens: f64,
    /// Of each step, what a picture shows.
    #[serde(skip)]
    pub curves: Curves,
}

/// Values by step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curves {
    /// Mean reward of a step.
    pub reward: Vec<(usize, f64)>,
    /// pass@1 of an evaluation.
    pub pass_at_1: Vec<(usize, f64)>,
    /// Mean loss, of supervised training.
    pub loss: Vec<(usize, f64)>,
}

impl RunResult {
    /// Of the run with this seed in a directory.
    ///
    /// # Errors
    /// Its metrics cannot be read.
    pub fn read(dir: &Path, seed: u64) -> Result<Self> {
        let path = dir.join(LOGS[0]);
        let read = metrics::read(&path).with_context(|| path.display().to_string())?;
        if let Some((line, what)) = read.damaged.first() {
            bail!("{}:{line}: {what}", path.display());
        }
        Ok(Self {
            seed,
            dir: dir.display().to_string(),
            ..Self::of(&read.lines)
        })
    }

    /// Of a run's lines of metrics.
    pub fn of(lines: &[Line]) -> Self {
        let series = |key: &str| series(lines, key);
        let first = |key: &str| {
            series(key)
                .first()
                .filter(|(step, _)| *step == 0)
                .map(|(_, value)| *value)
        };
        let last = |key: &str| {
            series(key)
                .last()
                .filter(|(step, _)| *step > 0)
                .map(|(_, value)| *value)
        };
        let all = |key: &str| {
            series(key)
                .into_iter()
                .map(|(_, value)| value)
                .collect::<Vec<_>>()
        };
        let tenth = |key: &str| {
            let values = all(key);
            mean(&values[values.len() - values.len().div_ceil(10)..])
        };
        Self {
            steps: lines.iter().map(step_of).max().unwrap_or(0),
            before: first("eval/pass@1"),
            after: last("eval/pass@1"),
            candidates_before: first("eval/candidates_pass@1"),
            integrated_before: first("eval/integrated_pass@1"),
            candidates_after: last("eval/candidates_pass@1"),
            integrated_after: last("eval/integrated_pass@1"),
            reward: tenth("reward/mean"),
            loss: tenth("sft/loss"),
            upsilon_mean: mean(&all("projection/upsilon_mean")),
            upsilon_std: mean(&all("projection/upsilon_std")),
            secs: all("time/step_secs").iter().sum::<f64>() + 0.0,
            // The sum of nothing is -0.
            tokens: all("rollout/tokens").iter().sum::<f64>() + 0.0,
            curves: Curves {
                reward: series("reward/mean"),
                pass_at_1: series("eval/pass@1"),
                loss: series("sft/loss"),
            },
            ..Self::default()
        }
    }

    /// What pass@1 rose by.
    pub fn gain(&self) -> Option<f64> {
        Some(self.after? - self.before?)
    }

    /// The completions of its last evaluation.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn records(&self) -> Result<Vec<Record>> {
        Ok(record::read(&Path::new(&self.dir).join(EVALUATION))?.1)
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_result_is_what_the_lines_say() {
        let mut lines = vec![json!({"step": 0, "eval/pass@1": 0.25})];
        for step in 1..=20 {
            lines.push(json!({
                "step": step, "reward/mean": f64::from(step) / 20.0, "rollout/tokens": 10, "time/step_secs": 0.5,
                "projection/upsilon_mean": if step == 1 { json!(null) } else { json!(1.5) },
            }));
        }
        lines[20]["eval/pass@1"] = json!(0.75);
        lines[20]["eval/integrated_pass@1"] = json!(0.5);
        let lines: Vec<Line> = lines
            .iter()
            .map(|line| line.as_object().unwrap().clone())
            .collect();
        let found = RunResult::of(&lines);
        assert_eq!(
            (found.before, found.after, found.gain()),
            (Some(0.25), Some(0.75), Some(0.5))
        );
        assert_eq!(
            (found.integrated_before, found.integrated_after),
            (None, Some(0.5))
        );
        assert_eq!(found.reward, Some(0.975));
        assert_eq!(
            (found.upsilon_mean, found.upsilon_std, found.loss),
            (Some(1.5), None, None)
        );
        assert_eq!((found.steps, found.secs, found.tokens), (20, 10.0, 200.0));
        assert_eq!(found.curves.pass_at_1, [(0, 0.25), (20, 0.75)]);
        // A run that was cut short has no result after its last step.
        let found = RunResult::of(&lines[..3]);
        assert_eq!((found.before, found.after, found.steps), (Some(0.25), None, 2));
    }
}
