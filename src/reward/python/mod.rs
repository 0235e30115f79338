//! `python`: a function of Python, called as TRL's trainers call theirs, so that one written for them runs unchanged.
//!
//! Each has a Python of its own ([`Process`]), which runs `reward.py`, and is asked about all completions of a step at once. All
//! functions of a step run at the same time.

mod function;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use gcpo_data::{Asked, Message, Problem};
use serde::Serialize;
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::{Ahead, Case, Measured, secret};
use crate::bridge::{Interpreter, NoPython, Process, Reply, start_python, unset};
use crate::group::Score;
use crate::section::{Arguments, Check, ConfigError, impossible, positive, required, section, within};
use function::Function;

/// What runs in Python.
const SCRIPT: &str = include_str!("reward.py");

section! {
    /// A Python function, as TRL's trainers take it.
    pub struct Python from PythonDraft {
        /// The function, `"FILE.py:NAME"`, or `"MODULE:NAME"` of what is installed, `"trl.rewards:think_format_reward"`. It is called as
        /// TRL's trainers call theirs, once with all completions of a step. Default: none, it must be given. Source: this project.
        pub function: Function => required(
            "function",
            "add the file and the name of the function, such as `function = \"rewards.py:brief\"`",
        )?,
        /// NAME is called with these once, and what it makes is the function: `{ max_completion_len = 256, soft_punish_cache = 64 }` for
        /// `"trl.rewards:get_soft_overlong_punishment"`; of a class, an instance. Default: NAME is the function itself. Source: this project.
        pub args: Option<Arguments>,
        /// Arguments that the function is given in every call, beside TRL's. Source: verl (`reward_kwargs`).
        pub kwargs: Option<Arguments>,
        /// The Python that runs it, 3.8 or later: a path, or a name in `PATH`. Default: that of the active virtual environment
        /// (`VIRTUAL_ENV`), else `python3`. Source: this project.
        pub python: Option<Interpreter>,
        /// Whether prompts and completions are lists of messages (`completions[0][0]["content"]`), or texts. Default: messages where a chat
        /// template makes the prompt. Source: TRL (conversational data sets).
        pub conversational: Option<bool>,
        /// As with `"command"`: environment variables that it needs, by their names. Source: this project.
        pub env: Vec<String> = Vec::<String>::new(),
        /// Seconds in which it must be loaded, and in which it must judge the completions of a step. Source: this project.
        pub timeout_secs: f64 = 600.0,
    }
}

impl Check for Python {
    fn check(&self) -> Result<(), ConfigError> {
        secret::check_names("env", &self.env)?;
        for (key, arguments) in [("args", &self.args), ("kwargs", &self.kwargs)] {
            let texts = arguments.as_ref().map(Arguments::texts).unwrap_or_default();
            let flags: Vec<String> = texts
                .iter()
                .map(|(name, text)| format!("--{name}={text}"))
                .collect();
            if let Some((_, by)) = secret::find(&flags) {
                let what = format!(
                    "one of these looks like a secret (by {by}), and they are written to the run's files"
                );
                let help = "put it into an environment variable, read it there with `os.environ`, and say so: `env = [\"API_KEY\"]`";
                return impossible(key, what, help).map_err(ConfigError::unquoted);
            }
        }
        positive("timeout_secs", self.timeout_secs)?;
        // A day: more than any clock needs to hold.
        within("timeout_secs", self.timeout_secs, 0.0, 86_400.0)
    }
}

impl Python {
    /// The file that the function is in; none where it is in a module.
    pub fn file(&self) -> Option<&Path> {
        self.function.file()
    }
}

/// A Python function that does not do its part.
#[derive(Debug, Error)]
#[error("reward `{label}`: `{function}` {what}{said}")]
pub struct PythonError {
    /// The reward.
    label: String,
    function: String,
    what: Box<Failure>,
    /// The last words of its Python.
    said: String,
}

/// What it does wrong.
#[derive(Debug, Error)]
enum Failure {
    #[error("needs environment variables that are not set: {}; export them, or take them out of the reward's `env`", .0.join(", "))]
    Unset(Vec<String>),
    #[error(
        "needs Python, and `{python}` cannot be started: {error}; install Python 3.8 or later, or name one with the reward's \
         `python = \"…/bin/python\"`"
    )]
    NoPython { python: String, error: io::Error },
    #[error(
        "needs Python 3.8 or later, and `{python}` is {version}; name another with the reward's `python = \"…/bin/python\"`"
    )]
    Old { python: String, version: String },
    #[error("{0}")]
    Refused(String),
    #[error("{what} for completion {number} of problem `{id}`")]
    Of { what: String, number: usize, id: String },
    #[error("was not done {doing} in {secs} s; raise the reward's `timeout_secs` if it needs longer")]
    Late { doing: &'static str, secs: f64 },
    #[error("is gone: its Python (`{python}`) {how} while it was {doing}")]
    Ended {
        python: String,
        how: String,
        doing: &'static str,
    },
    #[error("wrote to a file that it did not open, the bridge's own: {0:?}")]
    Line(String),
}

/// A function in its Python.
#[derive(Debug)]
pub struct Worker {
    config: Python,
    label: String,
    python: String,
    process: Process,
    /// Columns of the problems that it will be asked about.
    columns: Vec<String>,
    ahead: Ahead,
    /// How the completions that it was sent are numbered: problem and number in its group.
    sent: Vec<(String, usize)>,
}

impl Worker {
    /// Starts the Python of a `[[reward]]` and sends for the function; [`Worker::loaded`] waits for it.
    ///
    /// # Errors
    /// There is no Python, or its environment lacks something.
    pub fn start(config: &Python, label: &str) -> Result<Self, PythonError> {
        let failed = |what| PythonError {
            label: label.to_owned(),
            function: config.function.to_string(),
            what: Box::new(what),
            said: String::new(),
        };
        let unset = unset(&config.env);
        if !unset.is_empty() {
            return Err(failed(Failure::Unset(unset)));
        }
        // So that sets have one order, and a resumed run gives the same numbers.
        let env = [("PYTHONHASHSEED", "0")];
        let (process, python) = start_python(config.python.as_ref(), SCRIPT, label, &env)
            .map_err(|NoPython { python, error }| failed(Failure::NoPython { python, error }))?;
        let worker = Self {
            config: config.clone(),
            label: label.to_owned(),
            python,
            process,
            columns: Vec::new(),
            ahead: Ahead::default(),
            sent: Vec::new(),
        };
        let mut setup = config.function.json();
        setup["args"] = json!(config.args.as_ref().map(Arguments::json));
        setup["kwargs"] = json!(config.kwargs.as_ref().map(Arguments::json));
        worker.send("load", &setup);
        Ok(worker)
    }

    /// Waits for the function to be loaded.
    ///
    /// # Errors
    /// There is no such function, or it takes too long.
    pub fn loaded(&mut self) -> Result<(), PythonError> {
        let deadline = self.deadline();
        let line = self.line("loading", deadline)?;
        match line.get("old").and_then(Value::as_str) {
            Some(version) => {
                let (python, version) = (self.python.clone(), version.to_owned());
                Err(self.failed(Failure::Old { python, version }))
            }
            None => Ok(()),
        }
    }

    /// Sees whether the function can be called with what these problems have, before it is needed.
    ///
    /// # Errors
    /// It takes other arguments.
    pub fn expect(&mut self, problems: &[Problem], ahead: Ahead) -> Result<(), PythonError> {
        self.ahead = ahead;
        problems.iter().for_each(|problem| self.take_columns(problem));
        self.send("check", &json!(self.columns));
        let deadline = self.deadline();
        self.line("loading", deadline).map(drop)
    }

    /// Sees whether its Python is still there.
    ///
    /// # Errors
    /// It has ended.
    pub fn check(&mut self) -> Result<(), PythonError> {
        match self.process.has_ended() {
            true => Err(self.ended("idle")),
            false => Ok(()),
        }
    }

    /// Asks about completions, all at once; [`Worker::judged`] waits for what comes of it.
    pub fn ask(&mut self, cases: &[Case<'_>], step: usize) {
        cases
            .iter()
            .for_each(|case| self.take_columns(&case.group.problem));
        let mut number = 0;
        self.sent = Vec::with_capacity(cases.len());
        for (at, case) in cases.iter().enumerate() {
            let is_first = at == 0 || !std::ptr::eq(cases[at - 1].group, case.group);
            number = if is_first { 1 } else { number + 1 };
            self.sent.push((case.group.problem.id.clone(), number));
        }
        let column = |name: &String| {
            let values = cases.iter().map(|case| column(&case.group.problem, name));
            (name.clone(), values.collect())
        };
        let messages = self.config.conversational;
        let asked = Questions {
            prompts: cases.iter().map(|case| Said::prompt(case, messages)).collect(),
            completions: cases
                .iter()
                .map(|case| Said::completion(case, messages))
                .collect(),
            completion_ids: cases.iter().map(|case| case.candidate.tokens()).collect(),
            columns: self.columns.iter().map(column).collect(),
            trainer_state: self.ahead.trainer_state(step),
            seed: self.ahead.seed_of(step),
        };
        self.send("ask", &asked);
    }

    /// What the function says of the completions that it was asked about.
    ///
    /// # Errors
    /// It raised an exception, returned what is no list of rewards, took too long or ended its Python.
    pub fn judged(&mut self) -> Result<(Vec<Score>, Measured), PythonError> {
        let deadline = self.deadline();
        let mut scores = Vec::with_capacity(self.sent.len());
        for _ in 0..self.sent.len() {
            let mut line = self.line("judging", deadline)?;
            let note = match line.remove("extra") {
                Some(Value::Object(extra)) if !extra.is_empty() => Some(extra),
                _ => None,
            };
            scores.push(Score {
                value: line.get("reward").and_then(Value::as_f64),
                note,
            });
        }
        let line = self.line("judging", deadline)?;
        let metrics = line.get("metrics").and_then(Value::as_object);
        let metrics = metrics.into_iter().flatten();
        let metrics = metrics.map(|(name, value)| (name.clone(), value.as_f64().unwrap_or(f64::NAN)));
        Ok((scores, metrics.collect()))
    }

    /// Notes the columns of a problem.
    fn take_columns(&mut self, problem: &Problem) {
        let own = OWN.iter().filter(|(_, of)| of(problem).is_some());
        let names = own
            .map(|(name, _)| *name)
            .chain(problem.columns.keys().map(String::as_str));
        for name in names.filter(|name| !LEFT_OUT.contains(name)) {
            if !self.columns.iter().any(|known| known == name) {
                self.columns.push(name.to_owned());
            }
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_secs_f64(self.config.timeout_secs)
    }

    fn send(&self, what: &str, body: &impl Serialize) {
        let secs = self.config.timeout_secs;
        let mut line = format!("{{\"timeout\":{secs},\"{what}\":").into_bytes();
        serde_json::to_writer(&mut line, body).expect("texts and numbers are JSON");
        line.extend_from_slice(b"}\n");
        self.process.send(line);
    }

    /// The next line of the bridge, which is no error.
    fn line(&mut self, doing: &'static str, deadline: Instant) -> Result<Map<String, Value>, PythonError> {
        let line = match self.process.reply(deadline) {
            Reply::Line(line) => line,
            Reply::Unreadable(error) => {
                return Err(self.failed(Failure::Refused(format!("said too much: {error}"))));
            }
            Reply::Late => {
                let secs = self.config.timeout_secs;
                return Err(self.failed(Failure::Late { doing, secs }));
            }
            Reply::Ended => return Err(self.ended(doing)),
        };
        let Ok(Value::Object(found)) = serde_json::from_slice(&line) else {
            let line = String::from_utf8_lossy(&line).chars().take(200).collect();
            return Err(self.failed(Failure::Line(line)));
        };
        let Some(error) = found.get("error").and_then(Value::as_str) else {
            return Ok(found);
        };
        let at = found.get("at").and_then(Value::as_u64);
        let of = at.and_then(|at| self.sent.get(usize::try_from(at).ok()?));
        let what = match of {
            Some((id, number)) => Failure::Of {
                what: error.to_owned(),
                number: *number,
                id: id.clone(),
            },
            None => Failure::Refused(error.to_owned()),
        };
        // All was said.
        self.process.kill();
        Err(self.error(what, String::new()))
    }

    fn ended(&mut self, doing: &'static str) -> PythonError {
        let (python, how) = (self.python.clone(), self.process.ending());
        self.failed(Failure::Ended { python, how, doing })
    }

    fn failed(&mut self, what: Failure) -> PythonError {
        self.process.kill();
        let words = self.process.last_words();
        let said = match words.is_empty() {
            true => String::new(),
            false => format!("; its last words:\n    {}", words.replace('\n', "\n    ")),
        };
        self.error(what, said)
    }

    fn error(&self, what: Failure, said: String) -> PythonError {
        PythonError {
            label: self.label.clone(),
            function: self.config.function.to_string(),
            what: Box::new(what),
            said,
        }
    }
}

/// What the bridge is asked.
#[derive(Serialize)]
struct Questions<'a> {
    prompts: Vec<Said<'a>>,
    completions: Vec<Said<'a>>,
    completion_ids: Vec<&'a [u32]>,
    columns: Map<String, Value>,
    trainer_state: Value,
    seed: u32,
}

/// A prompt or a completion: text or messages.
#[derive(Serialize)]
#[serde(untagged)]
enum Said<'a> {
    Text(&'a str),
    Messages(&'a [Message]),
    Message([Turn<'a>; 1]),
}

#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    content: &'a str,
}

impl<'a> Said<'a> {
    fn prompt(case: &Case<'a>, messages: Option<bool>) -> Self {
        let (written, asked) = (case.group.prompt.as_str(), case.group.asked.as_ref());
        match (asked, messages.unwrap_or(is_conversation(case))) {
            (Some(Asked::Messages(messages)), true) => Self::Messages(messages),
            // As the chat template wrote it.
            (Some(Asked::Messages(_)) | None, false) => Self::Text(written),
            (Some(Asked::Text(text)), false) => Self::Text(text),
            (Some(Asked::Text(text)), true) => Self::turn("user", text),
            (None, true) => Self::turn("user", written),
        }
    }

    fn completion(case: &Case<'a>, messages: Option<bool>) -> Self {
        let text = case.candidate.text.as_str();
        match messages.unwrap_or(is_conversation(case)) {
            false => Self::Text(text),
            true => Self::turn("assistant", text),
        }
    }

    fn turn(role: &'static str, content: &'a str) -> Self {
        Self::Message([Turn { role, content }])
    }
}

fn is_conversation(case: &Case<'_>) -> bool {
    matches!(case.group.asked, Some(Asked::Messages(_)))
}

/// Columns that TRL gives no function, as they are given in another form.
const LEFT_OUT: [&str; 3] = ["prompt", "completion", "completion_ids"];

/// What of a problem has a column, where the row has none of that name.
type Own = (&'static str, fn(&Problem) -> Option<&String>);

const OWN: [Own; 6] = [
    ("id", |problem| Some(&problem.id)),
    ("question", |problem| Some(&problem.question)),
    ("answer", |problem| problem.answer.as_ref()),
    ("solution", |problem| problem.solution.as_ref()),
    ("subject", |problem| problem.subject.as_ref()),
    ("level", |problem| problem.level.as_ref()),
];

/// A column of a problem: as it stands in the row, or what is known of the problem; null where there is neither.
fn column(problem: &Problem, name: &str) -> Value {
    let own = || {
        let (_, of) = OWN.iter().find(|(own, _)| *own == name)?;
        of(problem).map(|text| text.as_str().into())
    };
    problem
        .columns
        .get(name)
        .cloned()
        .or_else(own)
        .unwrap_or(Value::Null)
}
