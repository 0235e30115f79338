//! The check of one answer against a gold one, both read as mathematics.

use super::choice::{self, Decided};
use super::extract::{self, Rule};
use super::find;
use super::math::compare::Comparison;
use super::math::units::{self, Units};
use super::math::{self, Answer, Dialect, words};
use super::outcome::{By, GradeError, Outcome, Verdict, cut};
use super::prose;
use super::signs;

/// A gold answer, read once and checked against as often as there are candidates.
#[derive(Debug, Clone)]
pub struct Gold {
    text: String,
    answer: Answer,
    units: Vec<Units>,
    /// What else it may mean: as SymPy prints, or with a decimal comma.
    others: Vec<Answer>,
    /// The letter of a choice; true where the letter is all of it.
    choice: Option<(char, bool)>,
}

impl Gold {
    /// Reads a gold answer: bare, in a box, behind `####`, or in a worked solution that says which it is.
    ///
    /// # Errors
    /// [`GradeError::Unreadable`], [`GradeError::Ambiguous`], [`GradeError::NoValue`].
    pub fn read(gold: &str) -> Result<Self, GradeError> {
        let gold = &*signs::plain(gold);
        let unreadable = |why: math::Unreadable| GradeError::Unreadable {
            gold: cut(gold),
            why: why.to_string(),
        };
        let choice = choice::of_gold(gold);
        let found = find::gold(gold);
        let Some(text) = found else {
            if let Some(choice) = choice {
                return Ok(Self::words(gold, Some(choice)));
            }
            if gold.trim().is_empty() {
                return Err(unreadable(math::Unreadable::Empty));
            }
            return match math::read(gold, Dialect::Common) {
                Err(why) if !prose::is_prose(gold) => Err(unreadable(why)),
                _ if is_words(gold) && !gold.bytes().any(|b| b.is_ascii_digit()) => {
                    Ok(Self::words(gold, None))
                }
                _ => Err(GradeError::Ambiguous { gold: cut(gold) }),
            };
        };
        let choice = choice.or_else(|| choice::of_gold(&text));
        let point = find::decimal_comma(&text);
        let sure = point.is_some() && find::is_decimal_comma(&text);
        let first = point.as_deref().filter(|_| sure).unwrap_or(&text);
        let (answer, units) = match math::read_with_units(first, Dialect::Common) {
            Ok(read) => read,
            Err(_) if is_words(&text) => (Answer::Text(choice::plain(&text).trim().to_owned()), Vec::new()),
            Err(why) => return Err(unreadable(why)),
        };
        if choice.is_none() && !math::compare::has_meaning(&answer) {
            return Err(GradeError::NoValue { gold: cut(gold) });
        }
        let mut others: Vec<Answer> = sympy(&text, &answer).into_iter().collect();
        if let Some(point) = point.filter(|_| !sure) {
            others.extend(math::read(&point, Dialect::Common));
        }
        Ok(Self {
            text,
            answer,
            units,
            others,
            choice,
        })
    }

    fn words(gold: &str, choice: Option<(char, bool)>) -> Self {
        Self {
            text: gold.to_owned(),
            answer: Answer::Text(choice::plain(gold).trim().to_owned()),
            units: Vec::new(),
            others: Vec::new(),
            choice,
        }
    }

    /// The answer, as it was read.
    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    /// Checks a model's text.
    pub(super) fn check(&self, text: &str, rules: &[Rule], rounding: bool) -> Verdict {
        let text = &*signs::plain(extract::final_part(text));
        if let Some(verdict) = self.chosen(text) {
            return verdict;
        }
        let mut verdict = Verdict {
            correct: false,
            answer: None,
            rule: None,
            by: None,
            gold: cut(&self.answer.to_string()),
            reading: None,
        };
        let Some((rule, found)) = find::answer(text, rules) else {
            return verdict;
        };
        verdict.rule = Some(rule);
        let Some(found) = found else { return verdict };
        let (mut outcome, mut reading) = self.against(&found.text, rounding);
        if let Some(or) = found.or.filter(|_| !outcome.equal) {
            let other = self.against(&or, rounding);
            if other.0.equal {
                (outcome, reading) = other;
            }
        }
        verdict.correct = outcome.equal;
        verdict.by = Some(outcome.by);
        verdict.reading = reading.map(|answer| cut(&answer.to_string()));
        verdict.answer = Some(found.text);
        verdict
    }

    /// The choice that a text makes, where the gold answer is one. A letter may also be a variable: where a box or a formula
    /// holds no letter, the text is read as mathematics.
    fn chosen(&self, text: &str) -> Option<Verdict> {
        let (letter, alone) = self.choice?;
        let (found, words) = match choice::of_text(text)? {
            Decided::For(found, words) => (Some(found), words),
            Decided::Undecided(words) => (None, words),
        };
        let other = found.is_some_and(|found| found != letter);
        if other && alone && text.trim().len() != 1 {
            return None;
        }
        Some(Verdict {
            correct: found == Some(letter),
            answer: Some(words),
            rule: Some(Rule::Choice),
            by: Some(By::Text),
            gold: letter.to_string(),
            reading: found.map(|found| found.to_string()),
        })
    }

    /// Compares with one answer, in each way that it may be meant.
    fn against(&self, text: &str, rounding: bool) -> (Outcome, Option<Answer>) {
        let mut comparison = Comparison::new(rounding);
        if let Some(said) = words::value(text) {
            let said = Answer::Value(said);
            return (comparison.same(&self.answer, &said), Some(said));
        }
        let by_words = |equal| Outcome { equal, by: By::Text };
        let (first, units) = match math::read_with_units(text, Dialect::Common) {
            Ok(read) => read,
            Err(_) => {
                let equal = is_words(text) && self.same_words(text);
                let undecided = Outcome {
                    equal: false,
                    by: By::Undecided,
                };
                return (if equal { by_words(true) } else { undecided }, None);
            }
        };
        if units::differ(&self.units, &units) {
            return (Outcome::of(false, By::Shape), Some(first));
        }
        let outcome = comparison.same(&self.answer, &first);
        if outcome.equal {
            return (outcome, Some(first));
        }
        if self.same_words(text) {
            return (by_words(true), Some(first));
        }
        let others = self.other_readings(text, &first);
        for other in &others {
            let outcome = comparison.same(&self.answer, other);
            if outcome.equal {
                return (outcome, Some(other.clone()));
            }
        }
        for gold in &self.others {
            for other in std::iter::once(&first).chain(&others) {
                let outcome = comparison.same(gold, other);
                if outcome.equal {
                    return (outcome, Some(other.clone()));
                }
            }
        }
        (outcome, Some(first))
    }

    /// What else an answer may mean.
    fn other_readings(&self, text: &str, first: &Answer) -> Vec<Answer> {
        let mut others = Vec::new();
        if let Some(point) = find::decimal_comma(text) {
            others.extend(math::read(&point, Dialect::Common));
        }
        others.extend(sympy(text, first));
        let mut read = |dialect| {
            let read = math::read_with_units(text, dialect).ok();
            let read = read.filter(|(other, units)| other != first && !units::differ(&self.units, units));
            others.extend(read.map(|(other, _)| other));
        };
        if text.contains('/') {
            read(Dialect::Flat);
        }
        // A letter behind a plain number may be its unit; where the gold answer has letters it is not.
        if self.answer.is_constant() && text.bytes().any(|b| b.is_ascii_alphabetic()) {
            read(Dialect::Loose);
        }
        others
    }

    /// Whether both are words, and the same: `\text{Even}` and `Even`.
    fn same_words(&self, text: &str) -> bool {
        let both = match &self.answer {
            Answer::Text(gold) => words::plain(gold) == words::plain(&choice::plain(text)),
            _ => {
                only_letters(&self.text) && only_letters(text) && {
                    words::plain(&choice::plain(&self.text)) == words::plain(&choice::plain(text))
                }
            }
        };
        both && text.chars().any(char::is_alphanumeric)
    }
}

/// Letters and spaces, once fonts are off; two letters or more.
fn only_letters(text: &str) -> bool {
    let plain = choice::plain(text);
    let plain = plain.trim().trim_end_matches('.');
    plain.chars().count() > 1 && plain.chars().all(|c| c.is_alphabetic() || c == ' ')
}

/// Mostly words: what is compared as such where it is no mathematics.
fn is_words(text: &str) -> bool {
    let plain = choice::plain(text);
    let longest = plain
        .split(|c: char| !c.is_alphabetic())
        .map(str::len)
        .max()
        .unwrap_or(0);
    let letters = plain
        .chars()
        .filter(|c| c.is_alphabetic() || c.is_whitespace())
        .count();
    longest >= 3 && !plain.contains('\\') && letters * 10 >= plain.chars().count() * 7
}

/// The reading as SymPy's output, where `E`, `I` or `log` make it another.
fn sympy(text: &str, common: &Answer) -> Option<Answer> {
    if !(text.contains(['E', 'I']) || text.contains("log")) {
        return None;
    }
    math::read(text, Dialect::Sympy)
        .ok()
        .filter(|other| other != common)
}
