//! `eval.jsonl`: what an evaluation asked and every completion it got, so that it can go on where it was stopped and be
//! graded again.
//!
//! The first line is the [`Header`], every other one a [`Record`], suite after suite, problem after problem.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use gcpo_data::files;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::rollout::Finish;
use crate::run::RunDirError;
use crate::run::digest::Digests;
use crate::run::log::{self, JsonLog};
use crate::section::ConfigError;

/// The form of the file.
const VERSION: u32 = 1;

/// What a completion is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// An answer.
    #[default]
    Answer,
    /// A candidate `y_i` that an answer was integrated from.
    Candidate,
    /// An answer `y_n` that was integrated from candidates.
    Integrated,
    /// None: the problem does not fit the model's positions and counts as wrong.
    TooLong,
}

/// A completion, and what was found of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The suite.
    pub suite: String,
    /// The problem's place in its file, from 0.
    pub problem: usize,
    /// The problem's name.
    pub id: String,
    /// What this is.
    pub kind: RecordKind,
    /// Which of the problem's completions of its kind.
    pub sample: usize,
    /// The gold answer; of a program how many tests there are, and which.
    pub gold: String,
    /// The problem's subject, where its file says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How hard the problem is, where its file says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// The text.
    pub completion: String,
    /// The answer that was found in it; the program that was run.
    pub answer: Option<String>,
    /// By what rule it was found.
    pub rule: Option<String>,
    /// What decided: a way of the grader's, or `unfinished` where it was cut and is wrong for that.
    pub by: Option<String>,
    /// Whether it is right.
    pub right: bool,
    /// Its length in tokens, the EOS included.
    pub tokens: usize,
    /// Why it ended; none where there is no completion.
    pub finish: Option<Finish>,
    /// Of a program: the tests that it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<TestsRun>,
    /// Of a program that did not pass: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What it earns, where that was measured and a reward applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward: Option<f64>,
    /// What each reward says of it, where that was measured: null of one that does not apply.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub rewards: Map<String, Value>,
}

/// Tests of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestsRun {
    /// How many it passed.
    pub passed: usize,
    /// Of how many.
    pub of: usize,
}

/// A set of problems in an evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuiteHeader {
    /// Its name.
    pub name: String,
    /// Where its problems are from.
    pub data: String,
    /// How many there are.
    pub problems: usize,
    /// Answers to each.
    pub samples: usize,
    /// Of the problems' questions and gold answers.
    pub fingerprint: String,
}

/// The first line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The form of the file.
    pub gcpo_eval: u32,
    /// The model, as it was named.
    pub model: String,
    /// SHA-256 of the model's files.
    #[serde(default)]
    pub files: Digests,
    /// The problems.
    pub suites: Vec<SuiteHeader>,
    /// The whole config, as TOML.
    pub config: String,
}

/// What can be wrong with an `eval.jsonl`.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A new evaluation would be written over an old one.
    #[error("{} is there already; go on with it by --resume, or give another file with --out", .0.display())]
    Exists(PathBuf),
    /// A line is none of an evaluation.
    #[error("{}:{line}: {message}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// Another evaluation is to go on than was begun.
    #[error(
        "{}: this evaluation was begun with another {}; an evaluation goes on as it was begun, so give the same, or another file with --out",
        .path.display(), .what
    )]
    Differs {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// The config in the header.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A line could not be written.
    #[error(transparent)]
    Write(Box<RunDirError>),
}

impl Header {
    /// Of an evaluation that is about to begin.
    pub fn new(model: &str, files: Digests, config: String, suites: Vec<SuiteHeader>) -> Self {
        Self {
            gcpo_eval: VERSION,
            model: model.to_owned(),
            files,
            suites,
            config,
        }
    }

    /// What this evaluation has other than `saved`, in words; none if it may go on with what was saved. `differing` names the keys
    /// that decide completions and are other in a saved config.
    fn difference(
        &self,
        saved: &Self,
        differing: impl Fn(&str) -> Result<Vec<String>, ConfigError>,
    ) -> Result<Option<String>, ConfigError> {
        // The same files may be elsewhere now.
        if self.files != saved.files {
            let names = self.files.keys().chain(saved.files.keys());
            let other = names.filter(|name| self.files.get(*name) != saved.files.get(*name));
            let other = other.min().map_or("", String::as_str);
            return Ok(Some(format!(
                "model ({}, of which {other} is other)",
                saved.model
            )));
        }
        let keys = differing(&saved.config)?;
        if !keys.is_empty() {
            return Ok(Some(format!("`{}`", keys.join("`, `"))));
        }
        let same =
            self.suites.len() == saved.suites.len()
                && self.suites.iter().zip(&saved.suites).all(|(a, b)| {
                    (&a.name, a.samples, &a.fingerprint) == (&b.name, b.samples, &b.fingerprint)
                });
        Ok((!same).then(|| "set of problems, or number of samples".to_owned()))
    }
}

/// A set's records, a problem each.
pub fn by_problem(records: &[Record]) -> Vec<&[Record]> {
    records.chunk_by(|a, b| a.problem == b.problem).collect()
}

/// Reads a whole file. A last line without its end was cut off while it was written, and is left out.
///
/// # Errors
/// [`RecordError`] with the line.
pub fn read(path: &Path) -> Result<(Header, Vec<Record>), RecordError> {
    parse(path, &log::read(path).map_err(at(path))?)
}

/// What [`read`] does with the lines of the file.
fn parse(path: &Path, text: &str) -> Result<(Header, Vec<Record>), RecordError> {
    let wrong = |line: usize, message: String| RecordError::Line {
        path: path.to_owned(),
        line,
        message,
    };
    let mut lines = text.split_inclusive('\n').enumerate();
    let header = lines
        .next()
        .and_then(|(_, line)| serde_json::from_str::<Header>(line).ok());
    let Some(header) = header.filter(|header| header.gcpo_eval == VERSION) else {
        let message = "no evaluation of this program: the first line is not its header";
        return Err(wrong(1, message.into()));
    };
    let records = lines
        .map(|(number, line)| {
            let record: Record =
                serde_json::from_str(line).map_err(|e| wrong(number + 1, format!("no completion: {e}")))?;
            match header.suites.iter().any(|suite| suite.name == record.suite) {
                true => Ok(record),
                false => Err(wrong(
                    number + 1,
                    format!("the suite {:?} is not in the header", record.suite),
                )),
            }
        })
        .collect::<Result<Vec<Record>, _>>()?;
    match lost(&header, &records) {
        Some((before, what)) => Err(wrong(before + 2, what)),
        None => Ok((header, records)),
    }
}

/// The number of the record before which some were lost, and which. Those that do not fit come first in a suite; of the others, each
/// has all its answers and follows the one before it, but the last of the file may have been cut off.
fn lost(header: &Header, records: &[Record]) -> Option<(usize, String)> {
    let mut before = 0;
    for of_suite in records.chunk_by(|a, b| a.suite == b.suite) {
        let suite = header
            .suites
            .iter()
            .find(|suite| suite.name == of_suite[0].suite)?;
        let too_long = |number: &usize| {
            let mut left_out = of_suite.iter().filter(|r| r.kind == RecordKind::TooLong);
            left_out.any(|record| record.problem == *number)
        };
        let mut expected = (0..).filter(|number| !too_long(number));
        for of_problem in by_problem(of_suite) {
            let number = of_problem[0].problem;
            if of_problem[0].kind != RecordKind::TooLong && expected.next() != Some(number) {
                let what = format!("lines before this one are missing: problem {number} does not follow");
                return Some((before, what));
            }
            before += of_problem.len();
            let answers = of_problem.iter().filter(|r| r.kind == RecordKind::Answer).count();
            let whole = answers == suite.samples || of_problem[0].kind == RecordKind::TooLong;
            if !whole && before < records.len() {
                let what = format!(
                    "lines before this one are missing: problem {number} has {answers} of {} answers",
                    suite.samples
                );
                return Some((before, what));
            }
        }
    }
    None
}

/// Writes an evaluation that is over, in place of one that was there: the file is there whole or not at all.
///
/// # Errors
/// It cannot be written.
pub fn write_whole(path: &Path, header: &Header, records: &[Record]) -> Result<(), RecordError> {
    make_parent(path)?;
    let mut text = line_of(header);
    text.extend(records.iter().flat_map(line_of));
    files::write(path, text).map_err(at(path))
}

fn line_of(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("headers and records are JSON");
    line.push(b'\n');
    line
}

fn make_parent(path: &Path) -> Result<(), RecordError> {
    path.parent()
        .map_or(Ok(()), |dir| fs::create_dir_all(dir).map_err(at(dir)))
}

/// A file that an evaluation is being written to.
#[derive(Debug)]
pub struct Log(JsonLog);

impl Log {
    /// A new file, its directories too, with its header.
    ///
    /// # Errors
    /// It exists, or cannot be written.
    pub fn create(path: &Path, header: &Header) -> Result<Self, RecordError> {
        make_parent(path)?;
        let log = JsonLog::create(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => RecordError::Exists(path.to_owned()),
            _ => at(path)(error),
        })?;
        let mut log = Self(log);
        log.line(header)?;
        Ok(log)
    }

    /// An evaluation that was stopped: its file, cut to the problems that are whole, and their records. `differing` names the keys
    /// that decide completions and are other in the config that it was begun with.
    ///
    /// # Errors
    /// The file cannot be read, or is of another evaluation.
    pub fn resume(
        path: &Path,
        header: &Header,
        differing: impl Fn(&str) -> Result<Vec<String>, ConfigError>,
    ) -> Result<(Self, Vec<Record>), RecordError> {
        let text = log::read(path).map_err(at(path))?;
        if text.is_empty() && Self::is_beginning(path, header)? {
            let mut log = Self(JsonLog::cut(path, 0).map_err(at(path))?);
            log.line(header)?;
            return Ok((log, Vec::new()));
        }
        let (saved, mut records) = parse(path, &text)?;
        if let Some(what) = header.difference(&saved, differing)? {
            return Err(RecordError::Differs {
                path: path.to_owned(),
                what,
            });
        }
        // A problem's lines are written together: only those of the last one may lack some.
        if let Some((suite, problem)) = records.last().map(|last| (last.suite.clone(), last.problem)) {
            records.retain(|record| record.suite != suite || record.problem != problem);
        }
        let log = JsonLog::cut(path, 1 + records.len()).map_err(at(path))?;
        Ok((Self(log), records))
    }

    /// Whether a file without a whole line was cut off while this header was written to it.
    fn is_beginning(path: &Path, header: &Header) -> Result<bool, RecordError> {
        let found = files::bytes(path, files::limit::ROWS).map_err(at(path))?;
        Ok(line_of(header).starts_with(&found))
    }

    /// Appends records.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, records: &[Record]) -> Result<(), RecordError> {
        records.iter().try_for_each(|record| self.line(record))
    }

    fn line(&mut self, value: &impl Serialize) -> Result<(), RecordError> {
        let written = self.0.append(value);
        written.map_err(|error| RecordError::Write(Box::new(error)))
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> RecordError {
    move |source| RecordError::Io {
        path: path.to_owned(),
        source,
    }
}
