//! `accuracy`: whether the final answer is right.

use super::LARGEST;
use crate::section::{Check, ConfigError, impossible, section, within};

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
        within("correct", self.correct, -LARGEST, LARGEST)?;
        within("wrong", self.wrong, -LARGEST, LARGEST)?;
        // As advantages see them.
        if self.correct as f32 == self.wrong as f32 {
            let what = format!(
                "right and wrong answers both earn {}, so that nothing would be learnt",
                self.correct
            );
            return impossible("correct", what, "give them different rewards; 1 and 0 are usual");
        }
        Ok(())
    }
}

impl Accuracy {
    /// The reward of an answer that is `right`, or is not.
    pub fn value(&self, right: bool) -> f64 {
        if right { self.correct } else { self.wrong }
    }
}
