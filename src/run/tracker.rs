//! wandb and trackio: each by its own Python package, in a Python of its own that is sent the lines of `metrics.jsonl`.
//!
//! Nothing waits for them while steps go by, and one that fails is a warning. `trackers.json` in the run directory says as what the run is
//! known there and up to which step it is, so that a run that goes on sends no step twice, and what was missed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gcpo_data::files;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::config::{ReportTo, Run};
use super::digest;
use super::metrics::{Line, step_of};
use crate::bridge::{NoPython, Process, Reply, start_python};
use crate::console::say;

/// What runs in Python.
const SCRIPT: &str = include_str!("tracker.py");

/// Where it is written as what the run is known.
const KNOWN: &str = "trackers.json";

/// Seconds in which a package must be loaded, and in which it must have begun or gone on with a run.
const LOAD_SECS: u64 = 180;
/// Seconds in which it must have taken a step.
const STEP_SECS: u64 = 600;
/// Seconds that it has at the end to send what is left.
const FINISH_SECS: u64 = 300;

/// A tracker that cannot be used.
#[derive(Debug, Error)]
#[error("run.report_to = [\"{tracker}\"] {what}{said}")]
pub struct TrackerError {
    tracker: &'static str,
    what: Failure,
    /// The last words of its Python.
    said: String,
}

#[derive(Debug, Error)]
enum Failure {
    #[error(
        "needs Python, and `{python}` cannot be started: {error}; install Python 3.8 or later, or name one with \
         `run.python = \"…/bin/python\"`"
    )]
    NoPython { python: String, error: io::Error },
    #[error(
        "needs Python 3.8 or later, and `{python}` is {version}; name another with `run.python = \"…/bin/python\"`"
    )]
    Old { python: String, version: String },
    #[error(
        "needs the Python package `{package}`, and {python} has none: `{python} -m pip install {package}`, or name a Python that has it \
         with `run.python = \"…/bin/python\"`"
    )]
    Missing { package: &'static str, python: String },
    #[error("cannot be used: {0}")]
    Refused(String),
    #[error(
        "cannot be used: {0}; `WANDB_MODE=offline` in the environment keeps the run on this machine (`wandb sync` sends it later)"
    )]
    NoWandb(String),
    #[error("was not ready in {0} s")]
    Late(u64),
    #[error("cannot be used: its Python (`{python}`) {how}")]
    Ended { python: String, how: String },
    #[error("is refused: {}: {error}", .path.display())]
    Known { path: PathBuf, error: io::Error },
}

/// As what a run is known to a tracker, and the last step that it took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Known {
    id: String,
    step: Option<usize>,
}

/// A package in its Python.
#[derive(Debug)]
struct Tracker {
    name: &'static str,
    process: Process,
    python: String,
    /// Whether it failed.
    gone: bool,
}

/// The trackers of a run.
#[derive(Debug, Default)]
pub struct Trackers {
    all: Vec<Tracker>,
    known: BTreeMap<String, Known>,
    file: PathBuf,
}

/// The package of a tracker; none where there is no need of one.
fn package(of: ReportTo) -> Option<&'static str> {
    match of {
        ReportTo::TensorBoard => None,
        ReportTo::Wandb => Some("wandb"),
        ReportTo::Trackio => Some("trackio"),
    }
}

impl Trackers {
    /// Starts the Pythons of those that a run names; [`Trackers::loaded`] waits for them.
    ///
    /// # Errors
    /// There is no Python.
    pub fn start(run: &Run) -> Result<Self, TrackerError> {
        let mut trackers = Self::default();
        for name in run.report_to.iter().filter_map(|of| package(*of)) {
            // wandb would take down what is printed, which is nothing here.
            let env = [("WANDB_CONSOLE", "off")];
            let (process, python) = start_python(run.python.as_ref(), SCRIPT, name, &env).map_err(
                |NoPython { python, error }| TrackerError {
                    tracker: name,
                    what: Failure::NoPython { python, error },
                    said: String::new(),
                },
            )?;
            let tracker = Tracker {
                name,
                process,
                python,
                gone: false,
            };
            tracker.send("load", LOAD_SECS, &json!(name));
            trackers.all.push(tracker);
        }
        Ok(trackers)
    }

    /// Waits until their packages are loaded.
    ///
    /// # Errors
    /// A package is missing, or its Python is too old.
    pub fn loaded(&mut self) -> Result<(), TrackerError> {
        for tracker in &mut self.all {
            let said = tracker.reply(LOAD_SECS)?;
            let text = |key: &str| said.get(key).and_then(Value::as_str).map(str::to_owned);
            if let Some(version) = text("old") {
                let python = tracker.python.clone();
                return Err(tracker.failed(Failure::Old { python, version }));
            }
            if let Some(python) = text("missing") {
                let package = tracker.name;
                return Err(tracker.failed(Failure::Missing { package, python }));
            }
        }
        Ok(())
    }

    /// Begins the run in `dir` with each, or goes on with it, and sends those of its `lines` that are not there.
    ///
    /// # Errors
    /// A tracker refuses: nobody is logged in, or there is no way to it.
    pub fn open(
        &mut self,
        run: &Run,
        dir: &Path,
        config: &Value,
        lines: &[Line],
    ) -> Result<(), TrackerError> {
        self.file = dir.join(KNOWN);
        self.known = read(&self.file).unwrap_or_default();
        for name in self.known.keys() {
            if !self.all.iter().any(|tracker| tracker.name == name) {
                say!(
                    "note: run.report_to no longer names \"{name}\": what is there of the run stays as it was"
                );
            }
        }
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        for tracker in &mut self.all {
            let known = self.known.entry(tracker.name.to_owned());
            let known = known.or_insert_with(|| Known {
                id: new_id(&dir),
                step: None,
            });
            let told = json!({
                "id": known.id, "name": name, "project": run.project, "config": config, "dir": dir.to_string_lossy(),
            });
            tracker.send("open", LOAD_SECS, &told);
        }
        for tracker in &mut self.all {
            tracker.reply(LOAD_SECS)?;
        }
        // Without it the run could not go on there.
        self.save().map_err(|error| TrackerError {
            tracker: self.all.first().map_or("", |tracker| tracker.name),
            what: Failure::Known {
                path: self.file.clone(),
                error,
            },
            said: String::new(),
        })?;
        lines.iter().for_each(|line| self.append(line));
        Ok(())
    }

    /// Sends a line of `metrics.jsonl`. What goes wrong is said, and the run goes on.
    pub fn append(&mut self, line: &Line) {
        let step = step_of(line);
        let numbers = line.iter().filter(|(key, _)| *key != "step");
        let numbers: Map<String, Value> = numbers
            .filter(|(_, value)| value.is_number())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let told = json!({"step": step, "metrics": numbers});
        for tracker in self.all.iter_mut().filter(|tracker| !tracker.gone) {
            let known = self.known.get(tracker.name);
            if known.is_none_or(|known| known.step.is_none_or(|last| last < step)) {
                tracker.send("log", STEP_SECS, &told);
            }
        }
        self.collect();
    }

    /// Ends the run with each, with an exit code.
    pub fn finish(&mut self, code: u8) {
        for tracker in self.all.iter_mut().filter(|tracker| !tracker.gone) {
            tracker.send("finish", FINISH_SECS, &json!(code));
        }
        for at in 0..self.all.len() {
            while !self.all[at].gone {
                let tracker = &mut self.all[at];
                match tracker.reply(FINISH_SECS) {
                    Ok(said) if said.contains_key("finished") => break,
                    Ok(said) => take(&mut self.known, tracker.name, &said),
                    Err(error) => tracker.lose(&error),
                }
            }
        }
        self.note_known();
        self.all.clear();
    }

    /// Reads what they have said by now.
    fn collect(&mut self) {
        let before = self.known.clone();
        for tracker in self.all.iter_mut().filter(|tracker| !tracker.gone) {
            while let Some(line) = tracker.process.waiting() {
                match tracker.read(&line) {
                    Ok(said) => take(&mut self.known, tracker.name, &said),
                    Err(error) => {
                        tracker.lose(&error);
                        break;
                    }
                }
            }
            if !tracker.gone && tracker.process.has_ended() {
                let error = tracker.ended();
                tracker.lose(&error);
            }
        }
        if self.known != before {
            self.note_known();
        }
    }

    fn note_known(&self) {
        if self.all.is_empty() {
            return;
        }
        if let Err(error) = self.save() {
            say!(
                "warning: {}: {error}; a resumed run would send steps again",
                self.file.display()
            );
        }
    }

    fn save(&self) -> io::Result<()> {
        if self.all.is_empty() {
            return Ok(());
        }
        files::write(&self.file, serde_json::to_vec(&self.known)?)
    }
}

impl Tracker {
    fn send(&self, what: &str, secs: u64, body: &Value) {
        let line = format!("{{\"timeout\":{secs},\"{what}\":{body}}}\n");
        self.process.send(line.into_bytes());
    }

    /// The next thing that it says, which is no error.
    fn reply(&mut self, secs: u64) -> Result<Map<String, Value>, TrackerError> {
        match self.process.reply(Instant::now() + Duration::from_secs(secs)) {
            Reply::Line(line) => self.read(&line),
            Reply::Unreadable(error) => Err(self.failed(Failure::Refused(error.to_string()))),
            Reply::Late => Err(self.failed(Failure::Late(secs))),
            Reply::Ended => Err(self.ended()),
        }
    }

    fn read(&mut self, line: &[u8]) -> Result<Map<String, Value>, TrackerError> {
        let Ok(said) = serde_json::from_slice::<Map<String, Value>>(line) else {
            let line = String::from_utf8_lossy(line).into_owned();
            return Err(self.failed(Failure::Refused(format!("it said {line:?}"))));
        };
        match said.get("error").and_then(Value::as_str) {
            None => Ok(said),
            Some(error) if self.name == "wandb" => Err(self.failed(Failure::NoWandb(error.to_owned()))),
            Some(error) => Err(self.failed(Failure::Refused(error.to_owned()))),
        }
    }

    fn ended(&mut self) -> TrackerError {
        let (python, how) = (self.python.clone(), self.process.ending());
        self.failed(Failure::Ended { python, how })
    }

    fn failed(&mut self, what: Failure) -> TrackerError {
        self.process.kill();
        let words = match what {
            // All was said.
            Failure::Refused(_) | Failure::NoWandb(_) | Failure::Missing { .. } => String::new(),
            _ => self.process.last_words(),
        };
        let said = match words.is_empty() {
            true => String::new(),
            false => format!("; its last words:\n    {}", words.replace('\n', "\n    ")),
        };
        TrackerError {
            tracker: self.name,
            what,
            said,
        }
    }

    /// Goes on without it.
    fn lose(&mut self, error: &TrackerError) {
        self.gone = true;
        say!("warning: {error}; the run goes on without it, and a resumed run sends what is missing");
    }
}

/// Notes a step that was taken.
fn take(known: &mut BTreeMap<String, Known>, name: &str, said: &Map<String, Value>) {
    let step = said.get("logged").and_then(Value::as_u64);
    if let (Some(step), Some(known)) = (step, known.get_mut(name)) {
        known.step = known.step.max(usize::try_from(step).ok());
    }
}

fn read(file: &Path) -> Option<BTreeMap<String, Known>> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// A name that no other run has.
fn new_id(dir: &Path) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let text = format!("{now} {} {}", std::process::id(), dir.display());
    digest::of_bytes(text.as_bytes())[..8].to_owned()
}
