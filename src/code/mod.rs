//! Programs as answers: whether what a model wrote passes its tests.
//!
//! A program in Python is loaded in a sandbox of its own, and its tests are run in another, where no code of a model ever comes
//! (`halves.rs`). With `code.command`, programs in any language are run together with their tests (`command.rs`).

mod command;
mod config;
mod halves;
mod python;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use gcpo_data::{CodeForm, CodeProblem};
use serde::Serialize;
use thiserror::Error;

use crate::console::note;
use crate::sandbox::{Ended, Limits, Running, SandboxError, Spec};
use command::Runner;
pub use config::{CodeConfig, CodeDraft, CodeIsolation, CodeReport};
use halves::Halves;

/// Time by the clock for each second of the processor: a busy machine must not make a program wrong.
const PATIENCE: f64 = 10.0;

/// What a program may write to its own `/tmp`, in bytes.
const DISK: u64 = 16 << 20;

/// The signal by which an engine ends what is over a limit.
const KILL: i32 = 9;

/// Threads of a program, over its one process or its many.
const THREADS: u64 = 32;

/// What every program needs to see: the loader, and the libraries of the system.
const SYSTEM: [&str; 8] = [
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/bin",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/nix/store",
];

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
    /// The command is not there, or not seen.
    #[error("code.command: {0}")]
    Command(String),
    /// The half that runs tests did not begin.
    #[error("tests cannot be run in the sandbox: {0}")]
    Checker(String),
    /// Nothing says how a problem's tests are run.
    #[error(
        "problem `{id}`: its tests are {language} that stands behind the program, and nothing says how that is run: set `code.command`, \
         [\"node\", \"{{file}}\"] for instance (docs/code.md)"
    )]
    NoCommand {
        /// The problem.
        id: String,
        /// Its language.
        language: String,
    },
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
    how: CodeConfig,
    by: By,
}

/// What runs them.
#[derive(Debug)]
enum By {
    Halves(Halves),
    Command(Runner),
}

impl Judge {
    /// Finds what runs programs, and sees whether this system allows a sandbox.
    ///
    /// # Errors
    /// It does not, or there is no Python, or no such command.
    pub fn start(how: &CodeConfig) -> Result<Self, CodeError> {
        if how.isolation == CodeIsolation::Partial {
            note(
                "warning: code.isolation = \"partial\": programs that the model writes read what you may read, and spoil what you may change",
            );
        }
        let judge = Self {
            how: how.clone(),
            by: match &how.command {
                Some(command) => By::Command(Runner::find(command, how)?),
                None => By::Halves(Halves::find(how)?),
            },
        };
        let problem = CodeProblem {
            id: String::new(),
            form: CodeForm::Function,
            prompt: String::new(),
            entry_point: Some("f".to_owned()),
            setup: String::new(),
            tests: vec!["assert f(1) == 2".to_owned()],
            solution: "f = None".to_owned(),
            language: "python".to_owned(),
            stop: Vec::new(),
            shots: Vec::new(),
        };
        let job = Job {
            problem: &problem,
            program: "def f(x):\n    return x + 1\n".to_owned(),
        };
        // What a command says of it is nothing to go by: it may be one for another language.
        let found = judge.judge(&job)?;
        match (found.passed, &judge.by) {
            (false, By::Halves(_)) => Err(CodeError::Checker(found.why)),
            _ => Ok(judge),
        }
    }

    /// Sees whether the tests of problems can be run.
    ///
    /// # Errors
    /// Some are in another language, and there is no command.
    pub fn expect<'a>(&self, problems: impl IntoIterator<Item = &'a CodeProblem>) -> Result<(), CodeError> {
        if matches!(self.by, By::Command(_)) {
            return Ok(());
        }
        let mut problems = problems.into_iter();
        match problems.find(|problem| problem.form == CodeForm::File) {
            None => Ok(()),
            Some(problem) => Err(CodeError::NoCommand {
                id: problem.id.clone(),
                language: problem.language.clone(),
            }),
        }
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
        match &self.by {
            By::Halves(halves) => halves.judge(job, &self.how),
            By::Command(runner) => runner.judge(job, &self.how),
        }
    }
}

impl CodeConfig {
    /// How a program ended that should have gone on.
    fn ended(&self, program: Running) -> Result<String, CodeError> {
        match program.wait() {
            Ended::Failed(why) => Err(SandboxError::Refused(why).into()),
            ended => Ok(self.in_words(&ended)),
        }
    }

    /// How a program ended, for people.
    fn in_words(&self, ended: &Ended) -> String {
        match ended {
            Ended::Cpu => format!("timed out: more than {} s of the processor", self.timeout.ceil()),
            Ended::Wall => format!("timed out: more than {} s", self.wall()),
            Ended::Memory => format!("more memory than {}, all its processes together", self.memory),
            Ended::Exit(code) => format!("the program ended itself with code {code}"),
            Ended::Signal(KILL) if self.isolation().engine().is_some() => {
                "killed at a limit, of time or of memory".to_owned()
            }
            Ended::Signal(signal) => format!("the program was ended by signal {signal}"),
            Ended::Stopped => "more output than is allowed, or none".to_owned(),
            Ended::Failed(why) => why.clone(),
        }
    }

    /// Seconds by the clock.
    fn wall(&self) -> f64 {
        self.timeout * PATIENCE
    }

    /// What a program may use.
    fn limits(&self) -> Limits {
        Limits {
            cpu_secs: Some((self.timeout.ceil() as u64).max(1)),
            wall_secs: Some(self.wall()),
            memory: self.memory.as_u64(),
            resident: false,
            processes: 1,
            disk: DISK,
            threads: THREADS,
        }
    }

    /// What it sees: the system's programs and libraries, `more`, and what the config names; each once.
    fn view(&self, more: &[PathBuf]) -> Vec<PathBuf> {
        let mut view: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
        let own = more.iter().chain(&self.view);
        for path in own.map(PathBuf::as_path).filter(|path| *path != Path::new("/")) {
            if !view.iter().any(|seen| path.starts_with(seen)) {
                view.push(path.to_owned());
            }
        }
        view
    }

    /// A program in the sandbox that is asked for.
    fn spec(&self, command: Vec<String>, more: &[PathBuf], limits: Limits) -> Spec {
        // The same order of sets every time.
        let env = [
            ("PATH", "/usr/bin:/bin"),
            ("HOME", "/tmp"),
            ("LANG", "C.UTF-8"),
            ("PYTHONHASHSEED", "0"),
            ("OMP_NUM_THREADS", "1"),
            ("OPENBLAS_NUM_THREADS", "1"),
        ];
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Spec {
            command,
            env: env.map(own).to_vec(),
            view: self.view(more),
            limits,
            isolation: self.isolation(),
            place: "/tmp".into(),
            files: Vec::new(),
            errors: false,
            image: self.image.clone().unwrap_or_default(),
            container_args: self.container_args.clone(),
        }
    }
}
