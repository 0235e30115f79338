//! The text of gcpo: problems, prompts, tokenizers and the check of an answer.
//!
//! Everything that is text is here, and nothing that is a tensor.

pub mod grade;
mod problem;

pub use grade::{GradeError, Grader, Rule, Verdict};
pub use problem::Problem;
