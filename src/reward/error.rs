//! What can be wrong with rewards.

use gcpo_data::GradeError;
use thiserror::Error;

use crate::code::CodeError;

use super::{ProgramError, PythonError};
use crate::policy::ScorerError;

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
    /// There is no gold answer.
    #[error("problem {problem}: it has no gold answer, and a reward asks for one")]
    NoAnswer {
        /// The problem.
        problem: String,
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
    /// A program is no answer that is graded.
    #[error(
        "problem {problem}: its answer is a program, and the reward `{label}` asks for a gold answer; take [[reward]] with name = \"code\" in \
         its place"
    )]
    IsProgram {
        /// The problem.
        problem: String,
        /// The reward.
        label: String,
    },
    /// A problem whose program is to be tested has no tests.
    #[error("problem {problem}: the reward \"code\" runs tests, and its row has none: {reason}")]
    NoTests {
        /// The problem.
        problem: String,
        /// What its row lacks.
        reason: String,
    },
    /// Programs cannot be judged.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// A program failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// A Python function failed.
    #[error(transparent)]
    Python(#[from] PythonError),
    /// A reward model cannot be opened, or not be asked.
    #[error("reward `{label}`{problem}: {source}")]
    Scorer {
        /// The reward.
        label: String,
        /// Of which problem, in words.
        problem: String,
        /// What is wrong.
        source: Box<ScorerError>,
    },
    /// A reward model's score is NaN or infinite.
    #[error(
        "reward `{label}`, problem `{id}`: its score is not finite; is the model sound, and does `train.dtype` hold its numbers?"
    )]
    NotFinite {
        /// The reward.
        label: String,
        /// The problem.
        id: String,
    },
    /// A reward is so large that advantages lose their meaning.
    #[error(
        "problem `{id}`, completion {number}: {what} is {value}, but advantages are computed in 32 bits and take rewards up to \
         ±16777216; scale it down"
    )]
    TooLarge {
        /// The problem.
        id: String,
        /// The candidate, from 1.
        number: usize,
        /// The reward's label, or the sum.
        what: String,
        /// How large.
        value: f64,
    },
}
