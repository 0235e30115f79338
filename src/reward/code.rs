//! `code`: whether the program in a completion passes the tests of its problem.

use std::borrow::Cow;

use gcpo_data::{Asked, CodeProblem, Problem};
use serde_json::Map;

use super::{Case, RewardError};
use crate::code::{Job, Judge};
use crate::group::Score;
use crate::section::{Check, section, words};

section! {
    /// Tests of programs, in a sandbox, run as `[code]` says. Rows of the data are HumanEval's or MBPP's, or have their fields.
    pub struct Code from CodeDraft {
        /// `"all"`: 1 where all tests pass, and 0 elsewhere; `"share"`: the share of tests that pass. Source: this project (open-r1:
        /// `code_reward` is the share, `binary_code_reward` all).
        pub score: CodeScore = CodeScore::All,
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

impl Check for Code {}

impl Code {
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
                problem: problem.as_ref(),
                program: program(problem, case),
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

/// The tests of a problem: its own, or those of its row.
///
/// # Errors
/// It has none.
pub fn tests(problem: &Problem) -> Result<Cow<'_, CodeProblem>, RewardError> {
    if let Some(code) = &problem.code {
        return Ok(Cow::Borrowed(code));
    }
    let mut fields = problem.columns.clone();
    fields.insert("task_id".to_owned(), problem.id.clone().into());
    let found = CodeProblem::of_row(&fields, Some(&problem.question));
    found.map(Cow::Owned).map_err(|reason| RewardError::NoTests {
        problem: problem.named(),
        reason,
    })
}

/// The program in a completion: what its prompt asks it for.
fn program(problem: &CodeProblem, case: &Case<'_>) -> String {
    let text = &case.candidate.text;
    match &case.group.asked {
        // The prompt was the beginning of the program itself.
        Some(Asked::Text(asked)) if *asked == problem.continuation() => problem.program_behind(text),
        _ => problem.program(text),
    }
}
