//! A program in Python and its tests, apart.
//!
//! The program is loaded by `worker.py` in a sandbox of its own. Tests are run by `checker.py`, in another, where no code of a model ever
//! comes: what a test calls goes to the program as plain data, through this process, and its result comes back as plain data. So a
//! program sees neither tests nor expected values, and can say nothing but results.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use super::python::Python;
use super::{CodeConfig, CodeError, Job, Outcome};
use crate::sandbox::{Limits, Running, Spec, start};

const WORKER: &str = include_str!("worker.py");
const CHECKER: &str = include_str!("checker.py");

/// The Python that is taken where none is named.
const PYTHON: &str = "python3";

/// Longest message between a program and its tests, in bytes.
const MESSAGE: u64 = 16 << 20;

/// What runs programs in Python.
#[derive(Debug)]
pub struct Halves {
    python: Python,
    /// Halves that run tests and wait for more.
    checkers: Mutex<Vec<Running>>,
}

/// What the half that runs tests says.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Ask { ask: String },
    Done { passed: usize, why: String },
}

impl Halves {
    /// Finds the Python.
    ///
    /// # Errors
    /// There is none, or it is too old.
    pub fn find(how: &CodeConfig) -> Result<Self, CodeError> {
        let name = how.python.as_deref().unwrap_or(PYTHON);
        let in_image = how.isolation().engine().is_some();
        Ok(Self {
            python: match in_image {
                true => Python::of_image(name),
                false => Python::find(name)?,
            },
            checkers: Mutex::default(),
        })
    }

    /// What becomes of one program.
    ///
    /// # Errors
    /// The sandbox fails.
    pub fn judge(&self, job: &Job<'_>, how: &CodeConfig) -> Result<Outcome, CodeError> {
        let tests = job.problem.tests.len();
        let of = |tests_passed: usize, why: String| Outcome {
            passed: tests_passed == tests,
            tests_passed,
            tests,
            why,
        };
        let mut worker = start(&self.worker_spec(how), &[])?;
        let mut input = format!("{}\n", self.python.packages().len()).into_bytes();
        for path in self.python.packages() {
            input.extend(format!("{}\n", path.display()).into_bytes());
        }
        input.extend(format!("{}\n{}", job.program.len(), job.program).into_bytes());
        // That it has ended is seen when it is read from.
        let _ = worker.write(&input);
        let wall = Duration::from_secs_f64(how.wall() + 5.0);
        match worker.line(MESSAGE, wall) {
            Some(line) if line == br#"["ok",null,null]"# => {}
            Some(line) => return Ok(of(0, loading_error(&line))),
            None => return how.ended(worker).map(|why| of(0, why)),
        }
        let (passed, why) = self.test(job, worker, how)?;
        Ok(of(passed, why))
    }

    /// Runs the tests against a program that is loaded: how many it passes, and why not all.
    fn test(&self, job: &Job<'_>, worker: Running, how: &CodeConfig) -> Result<(usize, String), CodeError> {
        let waiting = self.checkers.lock().expect("no thread panics with it").pop();
        let mut checker = match waiting {
            Some(checker) => checker,
            None => start(&self.checker_spec(how), &[])?,
        };
        let problem = job.problem;
        let helpers = problem.entry_point.as_ref().map(|_| problem.reference());
        let wall = how.wall() + 5.0;
        let order = json!({
            "helpers": helpers.unwrap_or_default(),
            "setup": problem.setup,
            "tests": problem.tests,
            "names": problem.entry_point.as_ref().map(|entry| [entry]),
            "reference": problem.solution,
            "secs": wall,
        });
        let mut order = order.to_string();
        order.push('\n');
        let gone = |_| CodeError::Checker("the half that runs tests has ended".to_owned());
        checker.write(order.as_bytes()).map_err(gone)?;
        let mut worker = Some(worker);
        let deadline = Instant::now() + Duration::from_secs_f64(wall * 2.0);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = checker.line(MESSAGE, left);
            let Some(said) = line.and_then(|line| serde_json::from_slice(&line).ok()) else {
                // What came back from the program was too much for the tests. Another half is started for the next.
                return Ok((0, "its results could not be tested within the limits".to_owned()));
            };
            match said {
                Said::Ask { ask } => {
                    let answer = match worker.take() {
                        Some(mut running) => match ask_worker(&mut running, &ask, left) {
                            Some(line) => {
                                worker = Some(running);
                                [b"+", line.as_slice(), b"\n"].concat()
                            }
                            None => format!("-{}\n", how.ended(running)?).into_bytes(),
                        },
                        None => b"-the program had ended\n".to_vec(),
                    };
                    checker.write(&answer).map_err(gone)?;
                }
                Said::Done { passed, why } => {
                    self.checkers
                        .lock()
                        .expect("no thread panics with it")
                        .push(checker);
                    return Ok((passed, why));
                }
            }
        }
    }

    fn worker_spec(&self, how: &CodeConfig) -> Spec {
        how.spec(self.python.command(WORKER), &self.python.view(), how.limits())
    }

    fn checker_spec(&self, how: &CodeConfig) -> Spec {
        let limits = Limits {
            cpu_secs: None,
            wall_secs: None,
            memory: how.memory.as_u64().max(2 << 30),
            ..how.limits()
        };
        how.spec(self.python.command(CHECKER), &self.python.view(), limits)
    }
}

/// One question to the program, and its answer.
fn ask_worker(worker: &mut Running, ask: &str, left: Duration) -> Option<Vec<u8>> {
    worker.write(format!("{ask}\n").as_bytes()).ok()?;
    worker.line(MESSAGE, left)
}

/// Why a program was not loaded, from what it says.
fn loading_error(line: &[u8]) -> String {
    match serde_json::from_slice::<(String, String, String)>(line) {
        Ok((_, kind, message)) => format!("{kind}: {message}"),
        Err(_) => "the program wrote to where only results go".to_owned(),
    }
}
