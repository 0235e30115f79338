//! `command`: any program that reads a line of JSON for each completion and writes one with its reward.
//!
//! The program is started once and kept running ([`Process`]).

use std::time::{Duration, Instant};
use std::{io, process};

use gcpo_data::Problem;
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use super::{Case, Measured, secret};
use crate::bridge::{Process, Reply, unset};
use crate::group::Score;
use crate::rollout::Finish;
use crate::section::{Check, ConfigError, at_least, impossible, positive, required, section, within};

section! {
    /// Any program.
    pub struct Command from CommandDraft {
        /// The program and its arguments. Started once and kept running; it reads a line of JSON for each completion
        /// and writes one for each. No shell reads it, and no secret may be in it. Default: none, it must be given. Source: this project.
        pub command: Vec<String> => required(
            "command",
            "add the program and its arguments, such as `command = [\"python3\", \"reward.py\"]`",
        )?,
        /// Environment variables that the program needs, by their names, such as `["API_KEY"]`: a run does not begin without them.
        /// It is given them, as the rest of this program's environment; their values are written nowhere. Source: this project.
        pub env: Vec<String> = Vec::<String>::new(),
        /// Seconds in which a batch must be answered. Source: this project.
        pub timeout_secs: f64 = 60.0,
        /// Completions that are asked about before the first answer is waited for. Source: this project.
        pub batch_size: usize = 64,
    }
}

impl Check for Command {
    fn check(&self) -> Result<(), ConfigError> {
        let help = "begin with the program";
        match self.command.first() {
            None => impossible("command", "it is empty", help)?,
            Some(program) if program.is_empty() => impossible("command", "the program has no name", help)?,
            Some(_) => {}
        }
        self.check_secrets()?;
        positive("timeout_secs", self.timeout_secs)?;
        // A day: more than any clock needs to hold.
        within("timeout_secs", self.timeout_secs, 0.0, 86_400.0)?;
        at_least("batch_size", self.batch_size, 1)
    }
}

impl Command {
    fn check_secrets(&self) -> Result<(), ConfigError> {
        secret::check_names("env", &self.env)?;
        if let Some((number, by)) = secret::find(&self.command[1..]) {
            let what = format!(
                "argument {number} looks like a secret (by {by}), and arguments are written to the run's files and seen by all users \
                 of this machine"
            );
            let help = "put it into an environment variable, let the program read it from there, and say so: `env = [\"API_KEY\"]`";
            return impossible("command", what, help).map_err(ConfigError::unquoted);
        }
        if let Some(name) = self
            .command
            .iter()
            .find_map(|argument| secret::variable(argument))
        {
            return impossible(
                "command",
                format!("nothing puts a value in the place of `${name}`: no shell reads this"),
                format!(
                    "let the program read it from its environment and add `env = [\"{name}\"]`, or run a shell: [\"sh\", \"-c\", …]"
                ),
            );
        }
        Ok(())
    }
}

/// A program that does not do its part.
#[derive(Debug, Error)]
#[error("reward `{label}`: `{program}` {what}{said}")]
pub struct ProgramError {
    /// The reward.
    label: String,
    /// The program, without its arguments.
    program: String,
    what: Box<Failure>,
    /// Its last words.
    said: String,
}

/// What it does wrong.
#[derive(Debug, Error)]
enum Failure {
    #[error("needs environment variables that are not set: {}; export them, or take them out of the reward's `env`", .0.join(", "))]
    Unset(Vec<String>),
    #[error("cannot be started: {0}; {1}")]
    Start(io::Error, &'static str),
    #[error(
        "wrote a wrong line for problem `{id}`: {line:?}: {what}; \
         it must write one line of {{\"reward\": a number or null}} for each line it reads, and anything else to standard error"
    )]
    Line { id: String, line: String, what: String },
    #[error(
        "wrote more lines than it was given: {0:?}; \
         it must write one line for each line it reads, and anything else to standard error"
    )]
    Unasked(String),
    #[error("{0} before it was asked anything more")]
    Gone(String),
    #[error("{how} when {answered} of {asked} lines were answered, the next one for problem `{id}`")]
    Ended {
        how: String,
        answered: usize,
        asked: usize,
        id: String,
    },
    #[error(
        "answered {answered} of {asked} lines in {secs} s{deaf}, the next one would be for problem `{id}`; \
         it must flush its output after each line; raise the reward's `timeout_secs` or lower its `batch_size` if it needs longer{start}"
    )]
    Late {
        answered: usize,
        asked: usize,
        secs: f64,
        deaf: &'static str,
        id: String,
        start: &'static str,
    },
}

/// A line to the program.
#[derive(Serialize)]
struct Request<'a> {
    /// Counts the completions of the step, from 0.
    id: usize,
    step: usize,
    prompt: &'a str,
    completion: &'a str,
    /// `stop`, or `length` if it was cut.
    finish_reason: &'static str,
    answer: Option<&'a str>,
    problem: &'a Problem,
}

/// A running program.
#[derive(Debug)]
pub struct Program {
    label: String,
    program: String,
    timeout: Duration,
    batch_size: usize,
    process: Process,
    /// Whether it has answered a line.
    has_answered: bool,
}

impl Program {
    /// Starts the program of a `[[reward]]`.
    ///
    /// # Errors
    /// It cannot be started, or its environment lacks something.
    pub fn start(config: &Command, label: &str) -> Result<Self, ProgramError> {
        let (program, arguments) = config
            .command
            .split_first()
            .expect("it is checked not to be empty");
        let failed = |what| ProgramError {
            label: label.to_owned(),
            program: program.clone(),
            what: Box::new(what),
            said: String::new(),
        };
        let unset = unset(&config.env);
        if !unset.is_empty() {
            return Err(failed(Failure::Unset(unset)));
        }
        let mut start = process::Command::new(program);
        start.args(arguments);
        let process = Process::start(start, label)
            .map_err(|error| failed(Failure::Start(error, start_help(program))))?;
        Ok(Self {
            timeout: Duration::from_secs_f64(config.timeout_secs),
            batch_size: config.batch_size,
            label: label.to_owned(),
            program: program.clone(),
            process,
            has_answered: false,
        })
    }

    /// Sees whether it is still there, before it is needed.
    ///
    /// # Errors
    /// It has ended.
    pub fn check(&mut self) -> Result<(), ProgramError> {
        match self.process.has_ended() {
            true => {
                let how = self.process.ending();
                Err(self.failed(Failure::Gone(how)))
            }
            false => Ok(()),
        }
    }

    /// Asks about every completion, in order and in batches.
    ///
    /// # Errors
    /// The program ended, took too long, or wrote something wrong. It has been ended then, with all that it started.
    pub fn ask(&mut self, cases: &[Case<'_>], step: usize) -> Result<(Vec<Score>, Measured), ProgramError> {
        let (mut scores, mut measured) = (Vec::with_capacity(cases.len()), Vec::new());
        for (number, batch) in cases.chunks(self.batch_size).enumerate() {
            let more = self.ask_batch(batch, number * self.batch_size, step);
            for (score, also) in more.map_err(|what| self.failed(what))? {
                scores.push(score);
                measured.extend(also);
            }
        }
        Ok((scores, measured))
    }

    fn ask_batch(
        &mut self,
        cases: &[Case<'_>],
        first: usize,
        step: usize,
    ) -> Result<Vec<(Score, Measured)>, Failure> {
        if let Some(line) = self.process.waiting() {
            return Err(Failure::Unasked(cut(&line)));
        }
        self.process.send(questions(cases, first, step));
        let deadline = Instant::now() + self.timeout;
        let mut replies = Vec::with_capacity(cases.len());
        for (answered, case) in cases.iter().enumerate() {
            let (id, asked) = (case.group.problem.id.clone(), cases.len());
            let wrong = |id, line: &[u8], what| Failure::Line {
                id,
                line: cut(line),
                what,
            };
            let line = match self.process.reply(deadline) {
                Reply::Line(line) => line,
                Reply::Unreadable(error) => return Err(wrong(id, &[], error.to_string())),
                Reply::Late => {
                    return Err(Failure::Late {
                        answered,
                        asked,
                        secs: self.timeout.as_secs_f64(),
                        deaf: if self.process.is_deaf() {
                            " and reads no more"
                        } else {
                            ""
                        },
                        id,
                        start: if self.has_answered {
                            ""
                        } else {
                            " (to start, perhaps: it has answered nothing yet)"
                        },
                    });
                }
                Reply::Ended => {
                    return Err(Failure::Ended {
                        how: self.process.ending(),
                        answered,
                        asked,
                        id,
                    });
                }
            };
            self.has_answered = true;
            replies.push(reply(&line, first + answered).map_err(|what| wrong(id, &line, what))?);
        }
        Ok(replies)
    }

    /// Ends it: what it may still write would be taken for answers to other lines.
    fn failed(&mut self, what: Failure) -> ProgramError {
        self.process.kill();
        let words = self.process.last_words();
        ProgramError {
            label: self.label.clone(),
            program: self.program.clone(),
            what: Box::new(what),
            said: match words.is_empty() {
                true => String::new(),
                false => format!("; its last words:\n    {}", words.replace('\n', "\n    ")),
            },
        }
    }
}

/// What to do where a program cannot be started.
fn start_help(program: &str) -> &'static str {
    match std::path::Path::new(program).is_file() {
        true => "the file is there: is it executable, and is the interpreter that its first line names?",
        false => "check `command` (a path is relative to the current directory)",
    }
}

/// The lines that ask about completions, of which the first has number `first`.
fn questions(cases: &[Case<'_>], first: usize, step: usize) -> Vec<u8> {
    let mut lines = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        let request = Request {
            id: first + at,
            step,
            prompt: &case.group.prompt,
            completion: &case.candidate.text,
            finish_reason: match case.candidate.completion.finish {
                Finish::Eos | Finish::Stop => "stop",
                Finish::Length => "length",
            },
            answer: case.group.problem.answer.as_deref(),
            problem: &case.group.problem,
        };
        serde_json::to_writer(&mut lines, &request).expect("texts and numbers are JSON");
        lines.push(b'\n');
    }
    lines
}

/// The first 200 characters of a line.
fn cut(line: &[u8]) -> String {
    String::from_utf8_lossy(line).chars().take(200).collect()
}

/// What a line says of completion `id`.
fn reply(line: &[u8], id: usize) -> Result<(Score, Measured), String> {
    let value: Value = serde_json::from_slice(line).map_err(|error| format!("this is no JSON ({error})"))?;
    let Value::Object(mut more) = value else {
        return Err("this is no JSON object".into());
    };
    if let Some(found) = more.shift_remove("id")
        && found.as_u64() != Some(id as u64)
    {
        return Err(format!(
            "this answers the line with \"id\": {found}, but the next one was {id}"
        ));
    }
    let reward = match more.shift_remove("reward") {
        Some(Value::Null) => None,
        Some(Value::Number(number)) => Some(number.as_f64().ok_or("`reward` is out of range")?),
        Some(other) => return Err(format!("`reward` is {other}, neither a number nor null")),
        None => return Err("there is no `reward` in it".into()),
    };
    let measured = match more.shift_remove("metrics") {
        None => Vec::new(),
        Some(Value::Object(metrics)) => metrics.into_iter().map(metric).collect::<Result<_, _>>()?,
        Some(other) => return Err(format!("`metrics` is {other}, no object of numbers")),
    };
    let note = Some(more);
    Ok((Score { value: reward, note }, measured))
}

/// A number beside the reward, by its name.
fn metric((name, value): (String, Value)) -> Result<(String, f64), String> {
    match value.as_f64() {
        Some(number) => Ok((name, number)),
        None => Err(format!("`{name}` of its `metrics` is {value}, no number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_a_number_or_null_and_may_say_more() {
        let read = |line: &str| reply(line.as_bytes(), 7);
        let line = r#"{"reward": -0.5, "passed": 3, "metrics": {"a": 1, "b": 0.5}, "id": 7}"#;
        let (found, measured) = read(line).unwrap();
        let note = found.note.unwrap();
        assert_eq!((found.value, note["passed"].as_u64()), (Some(-0.5), Some(3)));
        assert_eq!(note.len(), 1);
        assert_eq!(measured, [("a".to_owned(), 1.0), ("b".to_owned(), 0.5)]);
        assert_eq!(read(r#"{"reward": null}"#).unwrap().0.value, None);
        assert_eq!(read(r#"{"reward": 1}"#).unwrap().0.value, Some(1.0));
        for (line, part) in [
            ("", "no JSON"),
            ("ready", "no JSON"),
            ("0.5", "no JSON object"),
            ("{}", "no `reward`"),
            (r#"{"reward": NaN}"#, "no JSON"),
            (r#"{"reward": 1e999}"#, "out of range"),
            (r#"{"reward": true}"#, "`reward` is true"),
            (r#"{"reward": "1"}"#, "neither a number nor null"),
            (r#"{"reward": 1, "id": 8}"#, "the next one was 7"),
            (r#"{"reward": 1, "metrics": 3}"#, "`metrics` is 3"),
            (
                r#"{"reward": 1, "metrics": {"a": "3"}}"#,
                "`a` of its `metrics` is \"3\"",
            ),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
        assert!(reply(&[0xff, 0xfe], 0).is_err());
    }
}
