//! `accuracy`: whether the final answer is right.

use crate::section::{Check, ConfigError, section, within};

section! {
    /// What a right answer is worth, and any other.
    pub struct Accuracy from AccuracyDraft {
        /// Reward of a right final answer. Source: paper, section 5.
        pub correct: f64 = 1.0,
        /// Reward of a wrong or missing one. Source: paper, section 5.
        pub wrong: f64 = 0.0,
    }
}

impl Check for Accuracy {
    fn check(&self) -> Result<(), ConfigError> {
        within("correct", self.correct, f64::MIN, f64::MAX)?;
        within("wrong", self.wrong, f64::MIN, f64::MAX)
    }
}

impl Accuracy {
    /// The reward of an answer that is `right`, or is not.
    pub fn value(&self, right: bool) -> f64 {
        if right { self.correct } else { self.wrong }
    }
}
