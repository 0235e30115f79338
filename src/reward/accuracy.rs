//! `accuracy`: whether the final answer is right.

use crate::config;

/// What a right answer is worth, and any other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Accuracy {
    correct: f64,
    wrong: f64,
}

impl Accuracy {
    /// What the `[[reward]]` says.
    pub fn of(config: &config::Reward) -> Self {
        Self {
            correct: config.correct.unwrap_or(1.0),
            wrong: config.wrong.unwrap_or(0.0),
        }
    }

    /// The reward of an answer that is `right`, or is not.
    pub fn value(&self, right: bool) -> f64 {
        if right { self.correct } else { self.wrong }
    }
}
