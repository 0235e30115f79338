//! Problems from files: JSONL, JSON, CSV and Parquet, gzipped or not, by presets that name the fields; and the suites
//! that models are compared on.

mod code;
mod error;
mod field;
mod file;
#[cfg(feature = "parquet")]
mod parquet;
mod preset;
mod rows;
mod split;
mod suite;
mod turns;
mod unique;
mod vary;

pub use code::{NoSplit, load_code, of_mbpp};
pub use error::DatasetError;
pub use file::{HUB, hub_name, is_on_hub};
pub use preset::{AnswerRule, BadRows, Preset};
pub use split::files_of;
pub use suite::{Answers, Suite};

use crate::grade::{after_hashes, equation, last_boxed};
use crate::problem::{Place, Problem, Turns};
use field::{find, optional, solution_text, text};
use num_rational::BigRational;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rows::Row;
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;

/// A row that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The line it begins on, counted from 1.
    pub line: usize,
    /// Why.
    pub reason: String,
}

/// A file's problems, and what was left out of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// In the order of the file; at least one.
    pub problems: Vec<Problem>,
    /// Rows left out, with [`BadRows::Skip`].
    pub skipped: Vec<Skipped>,
}

/// The problems of a file.
///
/// # Errors
/// The file cannot be read, is malformed, or holds no problem; with [`BadRows::Error`] also a bad row.
pub fn load(path: &Path, preset: &Preset) -> Result<Vec<Problem>, DatasetError> {
    Ok(load_all(path, preset)?.problems)
}

impl Loaded {
    /// What is to be said of the rows of `data` that were left out: how many, and the first of them; nothing if there are none.
    pub fn left_out(&self, data: &str) -> Vec<String> {
        let (skipped, all) = (self.skipped.len(), self.skipped.len() + self.problems.len());
        let rows = self.skipped.iter().take(SKIPPED_NAMED);
        let rows = rows.map(|row| format!("{data}:{}: left out: {}", row.line, row.reason));
        let count = (skipped > 0).then(|| format!("{data}: {skipped} of {all} rows left out"));
        count.into_iter().chain(rows).collect()
    }
}

/// Rows left out of a file that are named one by one; the rest is counted.
const SKIPPED_NAMED: usize = 5;

/// Longest text of a row, in bytes: twice what a million tokens are in digits.
const MOST_BYTES: usize = 2 << 20;

/// A text that is longer is no answer, but has one in it.
const MOST_ANSWER: usize = 400;

/// The problems of a file, and the rows that were left out. Each has a gold answer.
///
/// # Errors
/// As [`load`].
pub fn load_all(path: &Path, preset: &Preset) -> Result<Loaded, DatasetError> {
    load_for(path, preset, Some("whoever grades"))
}

/// The problems of a file, and the rows that were left out. `asking` is who asks for gold answers; without one, problems need have none.
///
/// # Errors
/// As [`load`].
pub fn load_for(path: &Path, preset: &Preset, asking: Option<&str>) -> Result<Loaded, DatasetError> {
    load_split(path, None, preset, asking)
}

/// As [`load_for`], of a file that holds several splits the one that is named.
///
/// # Errors
/// As [`load`]; also if the file has no such split.
pub fn load_split(
    path: &Path,
    split: Option<&str>,
    preset: &Preset,
    asking: Option<&str>,
) -> Result<Loaded, DatasetError> {
    let (mut problems, mut skipped) = (Vec::new(), Vec::new());
    let stem = file::stem(path);
    let name: Arc<str> = path.display().to_string().into();
    for (at, row) in rows::of_split(path, split)?.into_iter().enumerate() {
        let found = row.and_then(|row| {
            let line = row.line;
            let found = problem(&row, preset, asking, || format!("{stem}-{}", at + 1));
            let place = Place {
                part: 0,
                file: name.clone(),
                line,
            };
            found
                .map(|problem| Problem {
                    place: Some(place),
                    ..problem
                })
                .map_err(|reason| Skipped { line, reason })
        });
        match (found, preset.bad_rows) {
            (Ok(problem), _) => problems.push(problem),
            (Err(row), BadRows::Skip | BadRows::SkipAny) => skipped.push(row),
            (Err(row), BadRows::Error) => {
                return Err(DatasetError::Row {
                    path: path.to_owned(),
                    line: row.line,
                    message: format!("{} (or leave such rows out with bad_rows = \"skip\")", row.reason),
                });
            }
        }
    }
    if problems.is_empty() {
        return Err(DatasetError::Empty {
            path: path.to_owned(),
            skipped: skipped.len(),
            first: first_of(&skipped),
        });
    }
    if preset.bad_rows == BadRows::Skip && skipped.len() > problems.len() {
        return Err(DatasetError::Most {
            path: path.to_owned(),
            skipped: skipped.len(),
            all: skipped.len() + problems.len(),
            first: first_of(&skipped),
        });
    }
    Ok(Loaded { problems, skipped })
}

/// Whether the prompt of the first row of a split of a file or a directory is a list of messages; not where it cannot be read.
pub fn begins_with_messages(path: &Path, split: &str, preset: &Preset) -> bool {
    let [field] = preset.question.as_slice() else {
        return false;
    };
    let first = || {
        let in_file = Some(split).filter(|_| !path.is_dir() && split::holds_splits(path));
        let files = files_of(path, Some(split).filter(|_| path.is_dir()), split).ok()?;
        let of_split = in_file.and_then(|_| rows::of_split(path, in_file).ok());
        match of_split {
            Some(rows) => rows.into_iter().flatten().next(),
            None => rows::first(files.first()?).ok()?,
        }
    };
    first().is_some_and(|row| turns::of_messages(&row, field).is_ok_and(|found| found.is_some()))
}

/// The first row that was left out, for people.
fn first_of(skipped: &[Skipped]) -> String {
    skipped.first().map_or_else(String::new, |row| {
        format!(", the first on line {}: {}", row.line, row.reason)
    })
}

/// The first `limit` problems of a file (0: all) with other numbers, `copies` times each where its row has numbers and
/// an equation for them. The same for the same seed.
///
/// # Errors
/// As [`load`]; also if there is no such row.
pub fn variants(
    path: &Path,
    preset: &Preset,
    limit: usize,
    copies: usize,
    seed: u64,
) -> Result<Vec<Problem>, DatasetError> {
    let loaded = load_all(path, preset)?;
    let used = if limit == 0 { loaded.problems.len() } else { limit };
    let skipped: Vec<usize> = loaded.skipped.iter().map(|skipped| skipped.line).collect();
    let rows: Vec<Row> = rows::read(path)?
        .into_iter()
        .flatten()
        .filter(|row| !skipped.contains(&row.line))
        .collect();
    let mut varied = Vec::new();
    for (at, (row, problem)) in rows.iter().zip(&loaded.problems).take(used).enumerate() {
        for copy in 1..=copies {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&seed.to_le_bytes());
            key[8..16].copy_from_slice(&(at as u64).to_le_bytes());
            key[16..24].copy_from_slice(&(copy as u64).to_le_bytes());
            let mut rng = ChaCha8Rng::from_seed(key);
            let of_row = variant(row, preset, format!("{}~{copy}", problem.id), &mut rng);
            varied.extend(of_row.map(|varied| Problem {
                place: problem.place.clone(),
                ..varied
            }));
        }
    }
    if varied.is_empty() {
        return Err(DatasetError::NoVariants {
            path: path.to_owned(),
        });
    }
    Ok(varied)
}

/// A usable row with other numbers, if it says what they are for.
fn variant(row: &Row, preset: &Preset, id: String, rng: &mut ChaCha8Rng) -> Option<Problem> {
    let given = numbers(&optional(row, preset.numbers.as_deref()).ok()??).ok()?;
    let equation = optional(row, preset.equation.as_deref()).ok()??;
    let (drawn, worked) = vary::numbers(&equation, &given, rng)?;
    let answer = equation::brief(&worked.value);
    Some(Problem {
        id,
        question: question(row, preset, Some(&drawn)).ok()?,
        solution: Some(worked.solution(&answer)),
        answer: Some(answer),
        subject: optional(row, preset.subject.as_deref()).ok()?,
        level: optional(row, preset.level.as_deref()).ok()?,
        // They are of the row's own numbers.
        columns: Map::new(),
        ..Problem::default()
    })
}

/// One row as a problem; an error says which field and what to do.
fn problem(
    row: &Row,
    preset: &Preset,
    asking: Option<&str>,
    name: impl Fn() -> String,
) -> Result<Problem, String> {
    if preset.programs {
        return code::problem(row);
    }
    let numbers = match optional(row, preset.numbers.as_deref())? {
        Some(text) => numbers(&text)?,
        None => Vec::new(),
    };
    let given = preset
        .numbers
        .as_deref()
        .is_some_and(|field| find(row, field).is_some());
    let (question, turns) = asked(row, preset, given.then_some(&numbers[..]))?;
    let gold = match (gold(row, preset), asking) {
        (Ok(gold), _) => Some(gold),
        (Err(_), None) => None,
        (Err(reason), Some(asking)) => return Err(format!("{reason}; {asking} asks for a gold answer")),
    };
    let mut solution = solution_text(row, preset.solution.as_deref())?;
    if preset.answer_rule == AnswerRule::AfterHashes {
        solution = solution.map(|text| without_calculator(&text));
    }
    solution = solution.or_else(|| gold.as_ref()?.solution.clone());
    let equation = optional(row, preset.equation.as_deref())?;
    if let (Some(text), Some(gold)) = (equation.filter(|_| given || preset.numbers.is_none()), &gold) {
        solution = solution.or(Some(work_out(&text, &numbers, gold, preset)?));
    }
    let answer = gold.map(|gold| gold.answer);
    let texts = [
        ("question", Some(&question)),
        ("answer", answer.as_ref()),
        ("solution", solution.as_ref()),
    ];
    check_lengths(&texts)?;
    let id = optional(row, preset.id.as_deref())?.unwrap_or_else(name);
    Ok(Problem {
        id,
        question,
        answer,
        solution,
        subject: optional(row, preset.subject.as_deref())?,
        level: optional(row, preset.level.as_deref())?,
        turns,
        code: None,
        columns: columns(row),
        place: None,
    })
}

/// What a row asks, and what stands around it.
fn asked(row: &Row, preset: &Preset, numbers: Option<&[BigRational]>) -> Result<(String, Turns), String> {
    let messages = match preset.question.as_slice() {
        [field] => turns::of_messages(row, field)?,
        _ => None,
    };
    let (question, mut turns) = match messages {
        Some(found) => found,
        None => (question(row, preset, numbers)?, Turns::default()),
    };
    if question.trim().is_empty() {
        return Err(empty(preset));
    }
    turns::add_columns(row, &mut turns)?;
    Ok((question, turns))
}

/// A row's gold answer.
struct GoldText {
    /// As it stands.
    taken: String,
    /// A plain number in its shortest form; anything else as it stands.
    answer: String,
    /// The whole field, where that is more than the answer and the rule takes it for a worked solution.
    solution: Option<String>,
}

fn gold(row: &Row, preset: &Preset) -> Result<GoldText, String> {
    let field = &preset.answer;
    let raw = answer_text(row, field)?
        .ok_or_else(|| format!("`{field}` is empty; give an answer or drop the row"))?;
    let taken = taken(&raw, preset)?;
    let answer = equation::plain(taken).map_or_else(|| taken.to_owned(), |value| equation::exact(&value));
    let is_worked = preset.answer_rule == AnswerRule::Marked && taken.len() < raw.trim().len();
    let solution = is_worked.then(|| without_calculator(&raw));
    let taken = taken.to_owned();
    Ok(GoldText {
        taken,
        answer,
        solution,
    })
}

/// The worked solution that a row's equation is; what it comes to must be the answer, in as many places as that is written with.
fn work_out(text: &str, numbers: &[BigRational], gold: &GoldText, preset: &Preset) -> Result<String, String> {
    let worked = equation::work(text, numbers).map_err(|what| format!("equation {text:?}: {what}"))?;
    if !equation::agrees(&worked.value, &gold.taken) {
        let (value, field, answer) = (equation::exact(&worked.value), &preset.answer, &gold.taken);
        return Err(format!(
            "the equation {text:?} gives {value}, but `{field}` says {answer}; correct one of them"
        ));
    }
    Ok(worked.solution(&gold.answer))
}

/// What travels with a problem: the row as it is in the file. `prompt` is left out, as TRL does, for the problem itself holds it.
fn columns(row: &Row) -> Map<String, Value> {
    let others = row.fields.iter().filter(|(name, _)| *name != "prompt");
    others
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// What of the answer's field is the answer.
fn taken<'a>(raw: &'a str, preset: &Preset) -> Result<&'a str, String> {
    let field = &preset.answer;
    let taken = match preset.answer_rule {
        AnswerRule::AsIs => Some(raw),
        AnswerRule::AfterHashes => after_hashes(raw),
        AnswerRule::LastBoxed => last_boxed(raw),
        AnswerRule::Marked => marked(raw),
    };
    taken
        .map(str::trim)
        .filter(|taken| !taken.is_empty())
        .ok_or_else(|| {
            let mark = match preset.answer_rule {
                AnswerRule::AfterHashes => "####",
                AnswerRule::Marked => {
                    return format!(
                        "`{field}` holds a text whose answer is marked neither by \\boxed{{…}} nor by ####; name the field that holds the \
                         answer alone (`data.preset = {{ answer = \"…\" }}`)"
                    );
                }
                AnswerRule::AsIs | AnswerRule::LastBoxed => "\\boxed{…}",
            };
            format!(
                "`{field}` holds no answer: {mark} is missing or empty; add it, or set another answer_rule"
            )
        })
}

/// The answer in a field that nobody has said anything of: in the last box, behind `####` on the last line, or the whole of a line.
fn marked(raw: &str) -> Option<&str> {
    let raw = raw.trim();
    let last = raw.lines().next_back().unwrap_or_default();
    last_boxed(raw)
        .or_else(|| after_hashes(last))
        .or_else(|| (raw.len() == last.len() && raw.len() <= MOST_ANSWER).then_some(raw))
}

/// No text of a row is longer than any model reads.
fn check_lengths(texts: &[(&str, Option<&String>)]) -> Result<(), String> {
    let too_long = |text: &&String| text.len() > MOST_BYTES;
    let long = texts
        .iter()
        .find_map(|(what, text)| Some((what, text.filter(too_long)?)));
    long.map_or(Ok(()), |(what, text)| {
        Err(format!(
            "the {what} has {:.1} MB, which no model reads; shorten it to {} MB at most",
            text.len() as f64 / 1e6,
            MOST_BYTES / 1_000_000
        ))
    })
}

/// The text of the answer's field. A list of answers (OlympiadBench) is one text, with commas between.
fn answer_text(row: &Row, field: &str) -> Result<Option<String>, String> {
    let Some((name, Value::Array(items))) = find(row, field) else {
        return text(row, field);
    };
    let texts: Option<Vec<String>> = items
        .iter()
        .map(|item| match item {
            Value::String(text) => Some(text.trim().to_owned()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
        .collect();
    match texts {
        Some(texts) => Ok(Some(texts.join(", ")).filter(|text| !text.is_empty())),
        None => Err(format!(
            "`{name}` is a list of more than texts and numbers; name another field"
        )),
    }
}

/// A row's question, with the numbers put into it if there are any.
fn question(row: &Row, preset: &Preset, numbers: Option<&[BigRational]>) -> Result<String, String> {
    let mut parts = Vec::new();
    for field in &preset.question {
        if let Some(part) = text(row, field)?.filter(|part| Some(part) != preset.blank.as_ref()) {
            parts.push(match numbers {
                Some(numbers) => filled(&part, numbers)?,
                None => part,
            });
        }
    }
    let question = parts.join(" ");
    if question.is_empty() {
        return Err(empty(preset));
    }
    Ok(question)
}

fn empty(preset: &Preset) -> String {
    let fields = preset.question.join(", ");
    format!("the question ({fields}) is empty; fill it or drop the row")
}

fn numbers(text: &str) -> Result<Vec<BigRational>, String> {
    text.split_whitespace()
        .map(|number| {
            equation::plain(number).ok_or_else(|| format!("{number:?} in the numbers is not one; correct it"))
        })
        .collect()
}

/// `number0`, `number1`, … replaced by the numbers.
fn filled(text: &str, numbers: &[BigRational]) -> Result<String, String> {
    const MARK: &str = "number";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(MARK) {
        let after = &rest[at + MARK.len()..];
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        out.push_str(&rest[..at]);
        if digits == 0 {
            out.push_str(MARK);
        } else {
            let number = after[..digits]
                .parse::<usize>()
                .ok()
                .and_then(|at| numbers.get(at));
            let number = number.ok_or_else(|| {
                let given = numbers.len();
                format!(
                    "the question holds number{}, but {given} numbers are given",
                    &after[..digits]
                )
            })?;
            out.push_str(&equation::exact(number));
        }
        rest = &after[digits..];
    }
    out.push_str(rest);
    Ok(out)
}

/// GSM8K's solutions without `<<3*4=12>>`.
fn without_calculator(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find("<<")
        && let Some(close) = rest[open..].find(">>")
    {
        out.push_str(&rest[..open]);
        rest = &rest[open + close + 2..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests;
