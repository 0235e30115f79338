//! A grader against labelled cases: how often it agrees, how it errs, how fast it is.

use super::{By, Grader, Rule};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

/// A labelled pair of answers. Further fields of a line are its own business.
#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    /// The gold answer.
    pub gold: String,
    /// The answer, or the text that holds it.
    pub pred: String,
    /// Whether they are to be found equal.
    pub equal: bool,
    /// What it is a case of, where the file says so in words.
    #[serde(default, deserialize_with = "words")]
    pub kind: String,
}

/// A text; anything else is none.
fn words<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    Ok(value.as_str().unwrap_or_default().to_owned())
}

/// A case on which label and grader differ.
#[derive(Debug, Clone, Serialize)]
pub struct Disagreement {
    /// Its line in the file, from 1.
    pub line: usize,
    /// The gold answer.
    pub gold: String,
    /// The other.
    pub pred: String,
    /// The label.
    pub equal: bool,
    /// Its kind; empty where the file names none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// How the gold answer was read, or why it could not be.
    pub gold_reading: String,
    /// How the other was read.
    pub reading: Option<String>,
    /// How it was found.
    pub rule: Option<Rule>,
    /// What decided.
    pub by: Option<By>,
}

/// The cases of one kind.
#[derive(Debug, Clone, Default, Serialize)]
pub struct KindReport {
    /// How many there were.
    pub cases: usize,
    /// Labelled different, found equal.
    pub false_match: usize,
    /// Labelled equal, found different.
    pub false_mismatch: usize,
}

/// What a file of cases shows.
#[derive(Debug, Clone, Serialize)]
pub struct CasesReport {
    /// How many there were.
    pub cases: usize,
    /// The share on which label and grader agree.
    pub agreement: f64,
    /// Labelled different, found equal.
    pub false_match: usize,
    /// Labelled equal, found different.
    pub false_mismatch: usize,
    /// Gold answers that could not be read; a case counts as found different.
    pub unreadable_gold: usize,
    /// Checks a second, gold answer read anew for each, on one core.
    pub grades_per_sec: f64,
    /// By kind, where the file names kinds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: BTreeMap<String, KindReport>,
    /// Every case on which they differ.
    pub disagreements: Vec<Disagreement>,
}

/// The counts in one line.
impl fmt::Display for CasesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cases, {:.2} % agreement: {} false matches, {} false mismatches; {} gold answers not readable; {:.0} \
             grades a second",
            self.cases,
            100.0 * self.agreement,
            self.false_match,
            self.false_mismatch,
            self.unreadable_gold,
            self.grades_per_sec
        )
    }
}

/// A line that is no case.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {source}; a case is {{\"gold\": …, \"pred\": …, \"equal\": true or false}}")]
pub struct BadCase {
    /// Its line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub source: serde_json::Error,
}

/// The cases of a JSONL text, with their lines. Python's `NaN` and `Infinity` in fields that are not read are passed
/// over.
///
/// # Errors
/// [`BadCase`].
pub fn read(text: &str) -> Result<Vec<(usize, Case)>, BadCase> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(at, line)| {
            let case = serde_json::from_str(line).or_else(|error| {
                let plain = without_python(line).ok_or(error)?;
                serde_json::from_str(&plain)
            });
            match case {
                Ok(case) => Ok((at + 1, case)),
                Err(source) => Err(BadCase { line: at + 1, source }),
            }
        })
        .collect()
}

/// The line with Python's numbers outside of strings made null; `None` if it has none.
fn without_python(line: &str) -> Option<String> {
    let mut out = String::with_capacity(line.len());
    let mut found = false;
    for (part, piece) in pieces(line) {
        if part {
            out.push_str(piece);
            continue;
        }
        let plain = piece
            .replace("-Infinity", "null")
            .replace("Infinity", "null")
            .replace("NaN", "null");
        found |= plain != piece;
        out.push_str(&plain);
    }
    found.then_some(out)
}

/// A line in turns: outside of strings, inside with their quotes (true).
fn pieces(line: &str) -> Vec<(bool, &str)> {
    let mut pieces = Vec::new();
    let (mut start, mut inside, mut escaped) = (0, false, false);
    for (at, c) in line.char_indices() {
        if escaped {
            escaped = false;
        } else if inside && c == '\\' {
            escaped = true;
        } else if c == '"' {
            let end = at + usize::from(inside);
            pieces.push((inside, &line[start..end]));
            start = end;
            inside = !inside;
        }
    }
    pieces.push((inside, &line[start..]));
    pieces
}

/// Grades every case.
pub fn score(grader: &Grader, cases: &[(usize, Case)]) -> CasesReport {
    let start = Instant::now();
    let verdicts: Vec<_> = cases
        .iter()
        .map(|(_, case)| grader.grade(&case.pred, &case.gold))
        .collect();
    let seconds = start.elapsed().as_secs_f64();
    let mut report = CasesReport {
        cases: cases.len(),
        agreement: 0.0,
        false_match: 0,
        false_mismatch: 0,
        unreadable_gold: 0,
        grades_per_sec: cases.len() as f64 / seconds.max(1e-9),
        kinds: BTreeMap::new(),
        disagreements: Vec::new(),
    };
    for ((line, case), verdict) in cases.iter().zip(verdicts) {
        let correct = verdict.as_ref().is_ok_and(|verdict| verdict.correct);
        report.unreadable_gold += usize::from(verdict.is_err());
        let (matched, missed) = (correct && !case.equal, !correct && case.equal);
        if !case.kind.is_empty() {
            let kind = report.kinds.entry(case.kind.clone()).or_default();
            kind.cases += 1;
            kind.false_match += usize::from(matched);
            kind.false_mismatch += usize::from(missed);
        }
        report.false_match += usize::from(matched);
        report.false_mismatch += usize::from(missed);
        if !matched && !missed {
            continue;
        }
        let (gold_reading, reading, rule, by) = match verdict {
            Ok(verdict) => (verdict.gold, verdict.reading, verdict.rule, verdict.by),
            Err(error) => (error.to_string(), None, None, None),
        };
        report.disagreements.push(Disagreement {
            line: *line,
            gold: case.gold.clone(),
            pred: case.pred.clone(),
            equal: case.equal,
            kind: case.kind.clone(),
            gold_reading,
            reading,
            rule,
            by,
        });
    }
    report.agreement = 1.0 - report.disagreements.len() as f64 / cases.len().max(1) as f64;
    report
}
