//! Is this answer right?
//!
//! A check has two parts: where the answer stands in the completion ([`Rule`]), and whether it equals the gold one.
//! There are two graders. [`Grader::new`] takes numbers only, compared as exact rationals: for arithmetic, where
//! `3 + 4` must not pass for 7. [`Grader::math`] takes mathematics ([`math`]): expressions, intervals, sets, matrices,
//! equations, choices. Each says how it found the answer, how it read both sides, and what decided.
//! Time and memory are bounded for any input.

pub mod cases;
mod choice;
mod dress;
pub(crate) mod equation;
mod extract;
mod find;
mod judge;
mod marks;
pub mod math;
pub mod number;
mod outcome;
mod prose;
mod signs;
mod spans;
mod spelling;

pub use extract::{Rule, UnknownRule, after_hashes, last_boxed};
pub use judge::Gold;
use number::Number;
use outcome::cut;
pub use outcome::{By, GradeError, Verdict};

/// What a grader takes for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Takes {
    #[default]
    Numbers,
    Mathematics,
}

/// The check of an answer.
///
/// The first rule that applies decides: an answer in a box that cannot be read is wrong, whatever else the text says.
/// With a closing `</think>`, only what follows it counts; with `<answer>…</answer>`, only what is in it.
#[derive(Debug, Clone)]
pub struct Grader {
    takes: Takes,
    expressions: bool,
    rounding: bool,
    rules: Vec<Rule>,
}

impl Default for Grader {
    fn default() -> Self {
        Self {
            takes: Takes::Numbers,
            expressions: false,
            rounding: true,
            rules: Rule::ALL.to_vec(),
        }
    }
}

impl Grader {
    /// A grader of numbers.
    pub fn new() -> Self {
        Self::default()
    }

    /// A grader of mathematics.
    pub fn math() -> Self {
        Self {
            takes: Takes::Mathematics,
            ..Self::default()
        }
    }

    /// Whether an answer behind `####` may also be an expression, `#### ( 5 + 3 ) * 2`, that is worked out exactly
    /// here. It is right where it rounds to the gold answer as that is written. Off by default; a grader of
    /// mathematics works out every expression.
    pub fn with_expressions(self, expressions: bool) -> Self {
        Self { expressions, ..self }
    }

    /// Whether a grader of mathematics takes a decimal of four digits or more for the value that rounds to it, `0.3333`
    /// for 1/3. On by default; the verdict says where it was needed.
    pub fn with_rounding(self, rounding: bool) -> Self {
        Self { rounding, ..self }
    }

    /// The rules by which an answer is looked for, in this order; [`Rule::ALL`] by default. A grader of numbers passes over
    /// [`Rule::Whole`] and [`Rule::Math`]; one of mathematics always looks for the letter of a choice where the gold answer is one.
    pub fn with_rules(self, rules: impl Into<Vec<Rule>>) -> Self {
        Self {
            rules: rules.into(),
            ..self
        }
    }

    /// Checks a completion against a gold answer.
    ///
    /// # Errors
    /// The gold answer cannot be checked against ([`GradeError`]). It may itself stand in a box or behind `####`.
    pub fn grade(&self, completion: &str, gold: &str) -> Result<Verdict, GradeError> {
        if self.takes == Takes::Mathematics {
            return Ok(self.check(completion, &Gold::read(gold)?));
        }
        let number = number_of(gold)?;
        let completion = signs::plain(extract::final_part(completion));
        let (rule, answer, value) = find_number(&completion, &self.rules);
        let worked = answer
            .as_deref()
            .filter(|_| self.expressions && rule == Some(Rule::Hashes))
            .and_then(|answer| equation::work(answer, &[]).ok());
        let shown = |value: &num_rational::BigRational| cut(&value.to_string());
        Ok(Verdict {
            correct: value.as_ref().is_some_and(|value| value.equals(&number))
                || worked.as_ref().is_some_and(|worked| {
                    worked.value == number.value() || equation::agrees(&worked.value, gold)
                }),
            by: (value.is_some() || worked.is_some()).then_some(By::Exact),
            gold: shown(&number.value()),
            reading: value
                .map(|value| value.value())
                .or(worked.map(|worked| worked.value))
                .map(|value| shown(&value)),
            answer,
            rule,
        })
    }

    /// Checks a completion against a gold answer that was read before, as mathematics.
    pub fn check(&self, completion: &str, gold: &Gold) -> Verdict {
        gold.check(completion, &self.rules, self.rounding)
    }

    /// Whether a gold answer can be checked against, so that a data set can be looked through before a run.
    ///
    /// # Errors
    /// As [`Grader::grade`].
    pub fn accepts(&self, gold: &str) -> Result<(), GradeError> {
        match self.takes {
            Takes::Numbers => number_of(gold).map(|_| ()),
            Takes::Mathematics => Gold::read(gold).map(|_| ()),
        }
    }
}

/// The number that a gold answer is.
fn number_of(gold: &str) -> Result<Number, GradeError> {
    let plain = signs::plain(gold);
    let text = extract::last_boxed(&plain)
        .or_else(|| extract::after_hashes(&plain))
        .unwrap_or(&plain);
    number::parse(text).ok_or_else(|| GradeError::Gold { gold: cut(gold) })
}

/// The answer of a text: the first of the rules that applies, its words, and its value where it is one number.
fn find_number(text: &str, rules: &[Rule]) -> (Option<Rule>, Option<String>, Option<Number>) {
    let found = rules
        .iter()
        .find_map(|rule| Some((*rule, number_by(*rule, text)?)));
    match found {
        Some((rule, (words, value))) => (Some(rule), words, value),
        None => (None, None, None),
    }
}

/// What a rule finds; none where it does not apply, no words where a box was cut off, no value where the words around an
/// answer deny it, offer another or take it back.
fn number_by(rule: Rule, text: &str) -> Option<(Option<String>, Option<Number>)> {
    match rule {
        Rule::Boxed => match find::boxed_at(text) {
            Some((inside, place)) => {
                let denied = find::is_denied(text, &place);
                let value = number::parse(&inside).filter(|_| !denied);
                Some((Some(inside), value))
            }
            None => extract::opens_box(text).then_some((None, None)),
        },
        Rule::Hashes => {
            let rest = extract::after_hashes(text)?;
            Some((Some(rest.to_owned()), number::parse(rest)))
        }
        Rule::AnswerIs => {
            let rest = extract::after_answer_is(text)?;
            let value = number::parse(rest).or_else(|| {
                // "the answer is 12 because she has twelve": one number in the sentence is the answer, two are not.
                let mut found = number::scan(rest);
                (found.len() == 1).then(|| found.remove(0).1)
            });
            let denied = ["n't", "not "].iter().any(|no| rest.starts_with(no)) || find::mark_is_denied(text);
            Some((Some(rest.to_owned()), value.filter(|_| !denied)))
        }
        Rule::LastNumber => {
            let (last, number) = number::scan(text).pop()?;
            Some(match find::last_number(text)? {
                None => (None, None),
                // A list is not one value; in "2,74" the comma parts two.
                Some(words) if words.contains(", ") => (Some(words), None),
                Some(words) if words == last || words.contains(',') => (Some(last), Some(number)),
                Some(words) => {
                    let value = number::parse(&words);
                    (Some(words), value)
                }
            })
        }
        Rule::Whole | Rule::Math | Rule::Choice => None,
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod text_tests;
