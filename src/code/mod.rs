//! Programs as answers: whether what a model wrote passes its tests.
//!
//! A program is loaded by `worker.py` in a sandbox of its own. Tests are run by `checker.py`, in another, where no code of a model ever
//! comes: what a test calls goes to the program as plain data, through this process, and its result comes back as plain data. So a
//! program sees neither tests nor expected values, and can say nothing but results.

mod python;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gcpo_data::dataset::CodeProblem;
use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;

use crate::sandbox::{Ended, Isolation, Limits, Running, SandboxError, Spec, start};
use python::Python;

const WORKER: &str = include_str!("worker.py");
const CHECKER: &str = include_str!("checker.py");

/// Longest message between a program and its tests, in bytes.
const MESSAGE: u64 = 16 << 20;

/// Time by the clock for each second of the processor: a busy machine must not make a program wrong.
const PATIENCE: f64 = 10.0;

/// Why programs cannot be judged.
#[derive(Debug, Error)]
pub enum CodeError {
    /// There is no sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// There is no Python.
    #[error(
        "programs are run by the Python `{name}`, which does not do: {why}; name another one (docs/code.md)"
    )]
    Python {
        /// How it was called.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The half that runs tests did not begin.
    #[error("tests cannot be run in the sandbox: {0}")]
    Checker(String),
}

/// How programs are run.
#[derive(Debug, Clone, PartialEq)]
pub struct How {
    /// The Python that runs them, a name or a path.
    pub python: String,
    /// Seconds of the processor for each; by the clock it has ten times as much.
    pub timeout: f64,
    /// Memory of each, in bytes.
    pub memory: u64,
    /// What is hidden from them.
    pub isolation: Isolation,
}

/// A program, and what it is held to.
#[derive(Debug, Clone)]
pub struct Job<'a> {
    /// The problem.
    pub problem: &'a CodeProblem,
    /// The program.
    pub program: String,
}

/// What became of a program.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Whether it passed all tests.
    pub passed: bool,
    /// How many it passed.
    pub tests_passed: usize,
    /// Of how many.
    pub tests: usize,
    /// Why it did not pass; empty if it did.
    pub why: String,
}

/// Runs programs.
#[derive(Debug)]
pub struct Judge {
    how: How,
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

impl Judge {
    /// Finds the Python, and sees whether this system allows a sandbox.
    ///
    /// # Errors
    /// It does not, or there is no Python.
    pub fn start(how: &How) -> Result<Self, CodeError> {
        let judge = Self {
            how: how.clone(),
            python: Python::find(&how.python)?,
            checkers: Mutex::default(),
        };
        let problem = CodeProblem {
            id: String::new(),
            prompt: String::new(),
            entry_point: Some("f".to_owned()),
            setup: String::new(),
            tests: vec!["assert f(1) == 2".to_owned()],
            solution: "f = None".to_owned(),
        };
        let job = Job {
            problem: &problem,
            program: "def f(x):\n    return x + 1\n".to_owned(),
        };
        let found = judge.judge(&job)?;
        let sure = found.passed.then_some(judge);
        sure.ok_or(CodeError::Checker(found.why))
    }

    /// What becomes of each program, in their order; as many at a time as there are cores.
    ///
    /// # Errors
    /// The sandbox fails.
    pub fn judge_all(&self, jobs: &[Job<'_>]) -> Result<Vec<Outcome>, CodeError> {
        let threads = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(jobs.len());
        let next = AtomicUsize::new(0);
        let work = || -> Result<Vec<(usize, Outcome)>, CodeError> {
            let mut found = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(job) = jobs.get(at) else {
                    return Ok(found);
                };
                found.push((at, self.judge(job)?));
            }
        };
        let mut all: Vec<(usize, Outcome)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let found = threads
                .into_iter()
                .map(|thread| thread.join().expect("judging does not panic"));
            found.collect::<Result<Vec<_>, _>>()
        })?
        .into_iter()
        .flatten()
        .collect();
        all.sort_by_key(|(at, _)| *at);
        Ok(all.into_iter().map(|(_, outcome)| outcome).collect())
    }

    /// What becomes of one program.
    ///
    /// # Errors
    /// The sandbox fails.
    pub fn judge(&self, job: &Job<'_>) -> Result<Outcome, CodeError> {
        let tests = job.problem.tests.len();
        let of = |tests_passed: usize, why: String| Outcome {
            passed: tests_passed == tests,
            tests_passed,
            tests,
            why,
        };
        let mut worker = start(&self.worker_spec())?;
        let mut input = format!("{}\n", self.python.packages().len()).into_bytes();
        for path in self.python.packages() {
            input.extend(format!("{}\n", path.display()).into_bytes());
        }
        input.extend(format!("{}\n{}", job.program.len(), job.program).into_bytes());
        // That it has ended is seen when it is read from.
        let _ = worker.write(&input);
        let wall = Duration::from_secs_f64(self.wall() + 5.0);
        match worker.line(MESSAGE, wall) {
            Some(line) if line == br#"["ok",null,null]"# => {}
            Some(line) => return Ok(of(0, loading_error(&line))),
            None => return self.ended(worker).map(|why| of(0, why)),
        }
        let (passed, why) = self.test(job, worker)?;
        Ok(of(passed, why))
    }

    /// Runs the tests against a program that is loaded: how many it passes, and why not all.
    fn test(&self, job: &Job<'_>, worker: Running) -> Result<(usize, String), CodeError> {
        let waiting = self.checkers.lock().expect("no thread panics with it").pop();
        let mut checker = match waiting {
            Some(checker) => checker,
            None => start(&self.checker_spec())?,
        };
        let problem = job.problem;
        let helpers = problem.entry_point.as_ref().map(|_| problem.reference());
        let wall = self.wall() + 5.0;
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
                            None => format!("-{}\n", self.ended(running)?).into_bytes(),
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

    /// How a program ended that should have gone on.
    fn ended(&self, worker: Running) -> Result<String, CodeError> {
        Ok(match worker.wait() {
            Ended::Cpu => format!(
                "timed out: more than {} s of the processor",
                self.how.timeout.ceil()
            ),
            Ended::Wall => format!("timed out: more than {} s", self.wall()),
            Ended::Exit(code) => format!("the program ended itself with code {code}"),
            Ended::Signal(signal) => format!("the program was ended by signal {signal}"),
            Ended::Stopped => "more output than is allowed, or none".to_owned(),
            Ended::Failed(why) => return Err(SandboxError::Refused(why).into()),
        })
    }

    fn wall(&self) -> f64 {
        self.how.timeout * PATIENCE
    }

    fn worker_spec(&self) -> Spec {
        let limits = Limits {
            cpu_secs: Some((self.how.timeout.ceil() as u64).max(1)),
            wall_secs: Some(self.wall()),
            memory: self.how.memory,
            disk: 16 << 20,
            threads: 32,
        };
        self.python.spec(WORKER, limits, self.how.isolation)
    }

    fn checker_spec(&self) -> Spec {
        let limits = Limits {
            cpu_secs: None,
            wall_secs: None,
            memory: self.how.memory.max(2 << 30),
            disk: 16 << 20,
            threads: 32,
        };
        self.python.spec(CHECKER, limits, self.how.isolation)
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
