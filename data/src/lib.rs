//! The text of gcpo: problems, prompts, tokenizers and the check of an answer.
//!
//! Everything that is text is here, and nothing that is a tensor.

pub mod arithmetic;
pub mod chat;
mod code;
mod context;
pub mod dataset;
pub mod files;
pub mod grade;
mod jinja;
mod nearest;
mod problem;
pub mod program;
pub mod prompt;
mod solution;
#[cfg(test)]
mod testing;
pub mod tokenizer;

pub use chat::{ChatError, ChatOptions, ChatTemplate, Message};
pub use code::{CodeForm, CodeProblem, NoShots, take_shots};
pub use context::{Context, Part};
pub use dataset::{AnswerRule, BadRows, DatasetError, Preset};
pub use grade::{By, Gold, GradeError, Grader, Rule, Verdict};
pub use nearest::nearest;
pub use problem::{Place, Problem, Turns};
pub use prompt::{Asked, PromptError, Prompts, Query, Templates};
pub use solution::{Form, NoSolution, right_solution, wrong_solution};
pub use tokenizer::{Tokenizer, TokenizerError};

/// The features that this crate was built with.
pub fn features() -> Vec<&'static str> {
    let features = [
        ("hub", cfg!(feature = "hub")),
        ("parquet", cfg!(feature = "parquet")),
    ];
    let built = features.into_iter().filter(|(_, built)| *built);
    built.map(|(name, _)| name).collect()
}
