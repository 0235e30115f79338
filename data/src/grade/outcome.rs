//! What a check comes to: equal or not and by what ([`Outcome`]), the whole finding ([`Verdict`]), or why there is none
//! ([`GradeError`]).

use super::extract::Rule;
use serde::Serialize;
use std::fmt;

/// What decided. Of a compound answer, the last of these that was needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Exact rational numbers.
    Exact,
    /// The same words or the same letter.
    Text,
    /// Kind or length: a tuple is not a number, three values are not two.
    Shape,
    /// The symbolic normal form.
    Symbolic,
    /// Evaluation with about thirty digits at several points.
    Numeric,
    /// One is a decimal of four digits or more, and the other rounds to it.
    Rounding,
    /// Nothing could decide; that is no match.
    Undecided,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            By::Exact => "exact",
            By::Text => "text",
            By::Shape => "shape",
            By::Symbolic => "symbolic",
            By::Numeric => "numeric",
            By::Rounding => "rounding",
            By::Undecided => "undecided",
        })
    }
}

/// Equal or not, and what decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// They are the same.
    pub equal: bool,
    /// What decided.
    pub by: By,
}

impl Outcome {
    pub(super) const fn of(equal: bool, by: By) -> Self {
        Self { equal, by }
    }
    pub(super) const DIFFERENT: Self = Self::of(false, By::Shape);
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The completion's answer equals the gold one.
    pub correct: bool,
    /// The completion's answer as it stands there; `None` where there was none.
    pub answer: Option<String>,
    /// How it was found. A rule without an answer: a box that never closed, or what the words around it deny.
    pub rule: Option<Rule>,
    /// What decided; `None` where there was nothing to compare.
    pub by: Option<By>,
    /// The gold answer as it was read, cut to 80 characters.
    pub gold: String,
    /// The completion's answer as it was read, cut to 80 characters; `None` where it could not be.
    pub reading: Option<String>,
}

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
    /// The gold answer does not read as mathematics, nor as words.
    #[error("the gold answer {gold:?} cannot be read: {why}; correct it or drop the problem")]
    Unreadable {
        /// The answer as given, cut to 80 characters.
        gold: String,
        /// What is wrong with it.
        why: String,
    },
    /// The gold answer is prose that does not say which part of it is the answer.
    #[error(
        "the gold answer {gold:?} is a text without an answer that stands out; \
         put the answer alone, in \\boxed{{}} or behind ####"
    )]
    Ambiguous {
        /// The answer as given, cut to 80 characters.
        gold: String,
    },
    /// The gold answer has no value: it divides by zero, or it is too large to work with.
    #[error("the gold answer {gold:?} has no value that could be compared (a division by zero?); correct it")]
    NoValue {
        /// The answer as given, cut to 80 characters.
        gold: String,
    },
}

/// The first 80 characters.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}
