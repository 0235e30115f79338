//! What must hold between the sections of a config; what must hold within one is checked by the section.

use super::{Config, RecipeName};
use crate::demonstrate::Solutions;
use crate::objective::SettingsDraft;
use crate::projection::{Estimator, FeatureContext, Features, ProjectionDraft};
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
        self.check_objective()?;
        self.check_projection()
    }
}

impl Config {
    fn check_projection(&self) -> Result<(), ConfigError> {
        let (projection, rollout) = (&self.projection, &self.rollout);
        if projection.max_completion_length > rollout.max_completion_length {
            let what = format!(
                "{} is more than rollout.max_completion_length, {}, which every stage keeps to",
                projection.max_completion_length, rollout.max_completion_length
            );
            return impossible(
                "projection.max_completion_length",
                what,
                "give at most that, or leave it out",
            );
        }
        if projection.estimator == Estimator::Own {
            return Ok(());
        }
        if self.features.context == FeatureContext::InContext {
            return impossible(
                "projection.estimator",
                "\"pooled\" takes a text for the same in every context, and with features.context = \"in_context\" it is not",
                "leave one of them out",
            );
        }
        let is_plain = rollout.top_k == 0 && rollout.top_p == 1.0 && rollout.min_p == 0.0;
        if !is_plain || rollout.repetition_penalty != 1.0 {
            return impossible(
                "projection.estimator",
                "\"pooled\" weighs texts by their probability under the policy, and with rollout.top_k, top_p, min_p or \
                 repetition_penalty they are drawn from another distribution",
                "leave these at their defaults, or take \"own\"",
            );
        }
        Ok(())
    }

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
