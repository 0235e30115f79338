//! What must hold between the sections of a config; what must hold within one is checked by the section.

use super::Config;
use crate::demonstrate::Solutions;
use crate::reward::GraderKind;
use crate::section::{Check, ConfigError, ROWS, count, impossible};

impl Check for Config {
    fn check(&self) -> Result<(), ConfigError> {
        let numbers_only = self.grader.kind == GraderKind::Numbers && !self.grader.expressions;
        if self.sft.solutions == Solutions::Expression && numbers_only {
            return impossible(
                "sft.solutions",
                "the grader takes no expression for an answer",
                "set `grader.expressions = true` as well",
            );
        }
        let (prompts, answers) = (self.train.prompts_per_step, self.rollout.num_generations);
        count("train.prompts_per_step", prompts, 1, ROWS / answers)?;
        Ok(())
    }
}
