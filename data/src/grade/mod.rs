//! Is this answer right?
//!
//! A check has two parts: where the answer stands in the completion ([`Rule`]), and whether it equals the gold one.
//! Equality is that of exact rationals; no floating point anywhere. What does not read as one number is never a
//! match. Time and memory are linear in the completion; a number beyond [`number::MAX_DIGITS`] digits is not read.

mod extract;
pub mod number;
mod spelling;

use crate::dataset::equation;
pub use extract::{Rule, after_hashes, last_boxed};
use number::Number;

/// A gold answer that cannot be checked against.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GradeError {
    /// The gold answer does not read as exactly one number.
    #[error(
        "the gold answer {gold:?} is not one number, so nothing can be checked against it; \
         drop the problem or give its answer as a number (42, -1.5, 3/4, 1 1/2, 50%)"
    )]
    Gold {
        /// The answer as given, cut to 80 characters.
        gold: String,
    },
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The completion's answer equals the gold one.
    pub correct: bool,
    /// The completion's answer as it stands there; `None` where there was none.
    pub answer: Option<String>,
    /// How it was found. A rule without an answer: a box that never closed.
    pub rule: Option<Rule>,
}

/// The numeric check.
///
/// The first rule that applies decides: an answer in a box that is no number is wrong, whatever else the text says.
/// With a closing `</think>`, only what follows it counts.
#[derive(Debug, Clone, Default)]
pub struct Grader {
    expressions: bool,
}

impl Grader {
    /// A grader of numbers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether an answer behind `####` may also be an expression, `#### ( 5 + 3 ) * 2`, that is worked out exactly
    /// here. It is right where it rounds to the gold answer as that is written. Off by default.
    pub fn with_expressions(self, expressions: bool) -> Self {
        Self { expressions }
    }

    /// Checks a completion against a gold answer.
    ///
    /// # Errors
    /// The gold answer is not one number ([`GradeError::Gold`]). It may itself stand in a box or behind `####`.
    pub fn grade(&self, completion: &str, gold: &str) -> Result<Verdict, GradeError> {
        let number = self.gold(gold)?;
        let (rule, answer, value) = find(extract::after_thought(completion));
        let worked = answer
            .as_deref()
            .filter(|_| self.expressions && rule == Some(Rule::Hashes))
            .and_then(|answer| equation::work(answer, &[]).ok());
        Ok(Verdict {
            correct: value.is_some_and(|value| value.equals(&number))
                || worked.is_some_and(|worked| {
                    worked.value == number.value() || equation::agrees(&worked.value, gold)
                }),
            answer,
            rule,
        })
    }

    /// Reads a gold answer, so that a data set can be checked before a run.
    ///
    /// # Errors
    /// As [`Grader::grade`].
    pub fn gold(&self, gold: &str) -> Result<Number, GradeError> {
        let text = extract::last_boxed(gold)
            .or_else(|| extract::after_hashes(gold))
            .unwrap_or(gold);
        number::parse(text).ok_or_else(|| GradeError::Gold {
            gold: gold.chars().take(80).collect(),
        })
    }
}

/// The answer of a text: the rule that found it, its words, and its value where it is one number.
fn find(text: &str) -> (Option<Rule>, Option<String>, Option<Number>) {
    if let Some(inside) = extract::last_boxed(text) {
        return (
            Some(Rule::Boxed),
            Some(inside.trim().to_owned()),
            number::parse(inside),
        );
    }
    if extract::opens_box(text) {
        return (Some(Rule::Boxed), None, None);
    }
    if let Some(rest) = extract::after_hashes(text) {
        return (Some(Rule::Hashes), Some(rest.to_owned()), number::parse(rest));
    }
    if let Some(rest) = extract::after_answer_is(text) {
        let value = number::parse(rest).or_else(|| {
            // "the answer is 12 because she has twelve": one number in the sentence is the answer, two are not.
            let mut found = number::scan(rest);
            (found.len() == 1).then(|| found.remove(0).1)
        });
        return (Some(Rule::AnswerIs), Some(rest.to_owned()), value);
    }
    match number::scan(text).pop() {
        Some((words, value)) => (Some(Rule::LastNumber), Some(words), Some(value)),
        None => (None, None, None),
    }
}

#[cfg(test)]
mod tests;
