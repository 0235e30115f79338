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
        self.check_objective()
    }
}

impl Config {
    fn check_objective(&self) -> Result<(), ConfigError> {
        if self.rollout.dynamic_sampling && !self.objective_row().flat_is_idle() {
            let what = format!(
                "groups of equal rewards have weights under `{}`, as {}",
                self.objective.kind.name(),
                match self.objective.use_kl_in_reward {
                    Some(true) => "the KL is subtracted from the rewards",
                    _ => "they are compared with the whole step",
                }
            );
            return impossible("rollout.dynamic_sampling", what, "remove it");
        }
        Ok(())
    }
}
