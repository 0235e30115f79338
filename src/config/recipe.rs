//! `recipe`: how a run trains.

use crate::section::words;

words! {
    /// How a run trains.
    RecipeName {
        /// Reinforcement learning with a verifier.
        Rl = "rl",
        /// Tree search, and supervised training on what it finds.
        Rest = "rest",
        /// Supervised training on demonstrations.
        Sft = "sft",
    }
}
