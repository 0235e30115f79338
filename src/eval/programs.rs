//! Answers that are programs: run by their tests.

use gcpo_data::{CodeProblem, Problem};

use super::record::{Record, RecordKind, TestsRun};
use crate::code::{CodeError, Job, Judge};
use crate::policy::Policy;
use crate::reward::Reward;
use crate::rollout::Finish;
use crate::run::digest;

/// What a record's rule is where the completion goes on from the beginning of a program.
const CONTINUED: &str = "continued";
/// And where the program is in an answer.
const ANSWERED: &str = "answered";

/// What stands for a gold answer: which tests these are.
pub(super) fn gold(code: &CodeProblem) -> String {
    let text = format!("{}\0{}", code.setup, code.tests.join("\0"));
    let sum = digest::of_bytes(text.as_bytes());
    let tests = code.tests.len();
    format!(
        "{tests} test{}, sha256 {}",
        if tests == 1 { "" } else { "s" },
        &sum[..16]
    )
}

/// No test is passed yet.
pub(super) fn none_run(code: &CodeProblem) -> TestsRun {
    TestsRun {
        passed: 0,
        of: code.tests.len(),
    }
}

/// How the program is to be found in a completion, if the answer is one.
pub(super) fn rule(problem: &Problem, policy: &Policy, kind: RecordKind) -> Option<String> {
    problem.code.as_ref()?;
    let continued = policy.prompts().continues_programs() && kind == RecordKind::Answer;
    Some(if continued { CONTINUED } else { ANSWERED }.to_owned())
}

/// Runs the programs of records, all at once; those of problems without tests are left as they are.
///
/// # Errors
/// The sandbox fails.
///
/// # Panics
/// There are programs, and no judge.
pub fn run(
    judge: Option<&Judge>,
    problems: &[Problem],
    records: &mut [Record],
    grader: &Reward,
) -> Result<(), CodeError> {
    let (mut jobs, mut of) = (Vec::new(), Vec::new());
    for (at, record) in records.iter_mut().enumerate() {
        let code = problems
            .get(record.problem)
            .and_then(|problem| problem.code.as_deref());
        let Some(code) = code.filter(|_| record.kind != RecordKind::TooLong) else {
            continue;
        };
        record.tests = Some(none_run(code));
        record.right = false;
        record.answer = None;
        if grader.is_unfinished(record.finish.unwrap_or(Finish::Eos)) {
            record.by = Some("unfinished".to_owned());
            record.why = Some("it was cut at its longest length, and is not run".to_owned());
            continue;
        }
        let program = match record.rule.as_deref() {
            Some(CONTINUED) => code.program_behind(&record.completion),
            _ => code.program(&record.completion),
        };
        let said = !record.completion.trim().is_empty();
        record.answer = said.then(|| program.clone());
        jobs.push(Job {
            problem: code,
            program,
        });
        of.push(at);
    }
    if jobs.is_empty() {
        return Ok(());
    }
    let judge = judge.expect("whoever evaluates programs brings a judge");
    for (at, outcome) in of.into_iter().zip(judge.judge_all(&jobs)?) {
        let record = &mut records[at];
        record.by = Some("tests".to_owned());
        record.right = outcome.passed;
        record.why = (!outcome.passed).then_some(outcome.why);
        record.tests = Some(TestsRun {
            passed: outcome.tests_passed,
            of: outcome.tests,
        });
    }
    Ok(())
}
