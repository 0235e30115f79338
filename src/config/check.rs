//! What must hold between the sections of a config; what must hold within one is checked by the section.

use super::{Config, RecipeName};
use crate::demonstrate::Solutions;
use crate::objective::SettingsDraft;
use crate::projection::{Features, ProjectionDraft};
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
        if self.recipe == Some(RecipeName::Rest) {
            self.check_rest()?;
        }
        let (prompts, answers) = (self.train.prompts_per_step, self.rollout.num_generations);
        count("train.prompts_per_step", prompts, 1, ROWS / answers)?;
        Ok(())
    }
}

impl Config {
    /// Refuses what a tree search does not read.
    fn check_rest(&self) -> Result<(), ConfigError> {
        let differ = [
            (
                "objective",
                self.objective != SettingsDraft::default().complete()?,
            ),
            (
                "projection",
                self.projection != ProjectionDraft::default().complete(&self.rollout)?,
            ),
            ("features", self.features != Features::default()),
        ];
        match differ.iter().find(|(_, differs)| *differs) {
            None => Ok(()),
            Some((section, _)) => impossible(
                section,
                "recipe = \"rest\" learns from what it finds by supervised training, and reads nothing of this section",
                "leave it out, or train with recipe = \"rl\"",
            ),
        }
    }
}
