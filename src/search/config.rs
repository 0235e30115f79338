//! `[rest]`.

use crate::rollout::Rollout;
use crate::section::{Check, ConfigError, MANY, ROWS, count, impossible, section, within};

section! {
    /// `[rest]`: the tree search of `recipe = "rest"`, and what is learnt of it.
    pub struct Rest from RestDraft(rollout: &Rollout) {
        /// Texts that end a step of reasoning; they stay part of it. Source: this project.
        pub separators: Vec<String> = vec!["\n".to_owned()],
        /// Longest step in tokens; the next one goes on from there. Default: `rollout.max_completion_length`. Source: this project.
        pub max_step_tokens: usize => rollout.max_completion_length,
        /// Most expansions of a problem's tree in a round. Source: this project.
        pub expansions: usize = 16,
        /// Steps sampled in an expansion; equal ones are one branch. Default: `rollout.num_generations`. Source: this project.
        pub width: usize => rollout.num_generations,
        /// Completions from each sampled step to its end, whose rewards are its value. Source: this project.
        pub rollouts: usize = 1,
        /// UCT's c, on the scale of the rewards: how much a branch that was seldom taken is preferred. Source: Auer et al. 2002 (√2).
        pub exploration: f64 = 1.4,
        /// A completion that earns this or more is a solution. Source: ReST (the threshold τ of its filter).
        pub threshold: f64 = 1.0,
        /// A problem's search ends when so many different solutions are found, and no more are learnt. Source: this project.
        pub solutions: usize = 4,
    }
}

impl Check for Rest {
    fn check(&self) -> Result<(), ConfigError> {
        if self.separators.is_empty() || self.separators.iter().any(String::is_empty) {
            return impossible(
                "separators",
                "a step ends with a text",
                "give what stands between steps, such as [\"\\n\"]",
            );
        }
        count("max_step_tokens", self.max_step_tokens, 1, ROWS)?;
        count("expansions", self.expansions, 1, MANY)?;
        count("width", self.width, 1, MANY)?;
        count("rollouts", self.rollouts, 1, MANY)?;
        count("solutions", self.solutions, 1, MANY)?;
        within("exploration", self.exploration, 0.0, 1e6)?;
        within("threshold", self.threshold, -1e6, 1e6)
    }
}
