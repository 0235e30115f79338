//! From completions to rewards: the grader's verdicts, weighed.

use gcpo_data::{GradeError, Grader};
use thiserror::Error;

use crate::config;
use crate::rollout::{Completion, Rollouts};

/// A step's candidates with their rewards.
pub struct Graded {
    /// The candidates.
    pub rollouts: Rollouts,
    /// `[p][g]`: the candidates as text, special tokens left out.
    pub texts: Vec<Vec<String>>,
    /// `[p][g]`: rewards.
    pub rewards: Vec<Vec<f64>>,
}

impl Graded {
    /// Whether all candidates of the prompt earned the same: their advantages are 0.
    pub fn is_flat(&self, prompt: usize) -> bool {
        self.rewards[prompt].windows(2).all(|pair| pair[0] == pair[1])
    }
}

/// A gold answer that cannot be graded against.
#[derive(Debug, Error)]
#[error("problem `{id}`: {source}")]
pub struct RewardError {
    /// The problem.
    pub id: String,
    /// What is wrong with it.
    pub source: GradeError,
}

/// What an answer is worth.
#[derive(Debug, Clone)]
pub struct Reward {
    grader: Grader,
    correct: f64,
    wrong: f64,
}

impl Reward {
    /// `correct` for a right answer, `wrong` for any other.
    pub fn new(grader: Grader, correct: f64, wrong: f64) -> Self {
        Self {
            grader,
            correct,
            wrong,
        }
    }

    /// What `[reward]` says.
    pub fn of(config: &config::Reward) -> Self {
        let grader = Grader::new().with_expressions(config.expressions);
        Self::new(grader, config.correct, config.wrong)
    }

    /// Whether the text answers the problem.
    ///
    /// # Errors
    /// [`RewardError`] if the problem's own answer cannot be read.
    pub fn is_right(&self, text: &str, problem: &gcpo_data::Problem) -> Result<bool, RewardError> {
        let verdict = self.grader.grade(text, &problem.answer);
        Ok(verdict
            .map_err(|source| RewardError {
                id: problem.id.clone(),
                source,
            })?
            .correct)
    }

    /// Grades every candidate. `decode` turns tokens into text.
    ///
    /// # Errors
    /// [`RewardError`] if a problem's own answer cannot be read.
    pub fn grade(
        &self,
        rollouts: Rollouts,
        decode: impl Fn(&Completion) -> String,
    ) -> Result<Graded, RewardError> {
        let mut texts = Vec::with_capacity(rollouts.problems.len());
        let mut rewards = Vec::with_capacity(rollouts.problems.len());
        for (problem, candidates) in rollouts.problems.iter().zip(&rollouts.candidates) {
            let decoded: Vec<String> = candidates.iter().map(&decode).collect();
            let row: Result<Vec<f64>, RewardError> = decoded
                .iter()
                .map(|text| {
                    Ok(if self.is_right(text, problem)? {
                        self.correct
                    } else {
                        self.wrong
                    })
                })
                .collect();
            rewards.push(row?);
            texts.push(decoded);
        }
        Ok(Graded {
            rollouts,
            texts,
            rewards,
        })
    }
}
