//! `[sft]`.

use crate::rollout::Rollout;
use crate::section::{Check, ConfigError, MANY, count, impossible, section, within, words};

section! {
    /// `[sft]`: what the demonstrations of `gcpo sft` are made of.
    pub struct Sft from SftDraft(rollout: &Rollout) {
        /// Share of demonstrations that teach the integrate prompt (stage 2). Source: this project.
        pub integrate_frac: f64 = 0.25,
        /// Share of demonstrations that teach the project prompt (stage 3). Source: this project.
        pub project_frac: f64 = 0.25,
        /// How many candidates an integrate prompt shows; a project prompt shows one less, and an integration. Source: this project.
        pub candidates: usize => rollout.num_generations,
        /// How solutions are written: `"expression"` makes steps `5 + 3 = 8, 8 * 2 = 16 #### 16` into
        /// `#### ( 5 + 3 ) * 2`, which needs a grader that works it out (`[grader]`). Source: this project.
        pub solutions: Solutions = Solutions::AsGiven,
        /// Share of answer demonstrations that are wrong on purpose; what follows an integrate or project prompt is right.
        /// Needs solutions that a mistake can be put into: built-in ones, or steps `56 * 9 = 504 #### 504`. Source: this project.
        pub wrong_frac: f64 = 0.0,
        /// The same of the candidates that integrate and project prompts show. Default: `sft.wrong_frac`. Source: this project.
        pub candidate_wrong_frac: f64 => wrong_frac,
    }
}

impl Check for Sft {
    fn check(&self) -> Result<(), ConfigError> {
        within("integrate_frac", self.integrate_frac, 0.0, 1.0)?;
        within("project_frac", self.project_frac, 0.0, 1.0)?;
        within("wrong_frac", self.wrong_frac, 0.0, 1.0)?;
        within("candidate_wrong_frac", self.candidate_wrong_frac, 0.0, 1.0)?;
        if self.integrate_frac + self.project_frac > 1.0 {
            return impossible(
                "project_frac",
                "the integrate and project shares are more than the whole",
                "make `sft.integrate_frac + sft.project_frac` at most 1",
            );
        }
        count("candidates", self.candidates, 1, MANY)
    }
}

words! {
    /// How the solutions of demonstrations are written.
    Solutions {
        /// As the data give them.
        AsGiven = "as_given",
        /// As one expression.
        Expression = "expression",
    }
}
