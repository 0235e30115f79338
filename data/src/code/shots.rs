//! Examples that are shown before a problem (few-shot).

use super::{CodeForm, CodeProblem};
use thiserror::Error;

/// Why no examples can be shown.
#[derive(Debug, Error)]
pub enum NoShots {
    /// There are too few.
    #[error("problem `{id}` is asked behind {wanted} examples, and there are {found} of others")]
    TooFew {
        /// The problem.
        id: String,
        /// How many are to be shown.
        wanted: usize,
        /// How many there are.
        found: usize,
    },
    /// An example lacks its program.
    #[error("the example `{0}` has no program that is right (canonical_solution, of MBPP code)")]
    NoSolution(String),
    /// MBPP's prompt shows tests.
    #[error(
        "a task is asked as MBPP's authors do, with tests, and the example `{0}` is no row of MBPP's form"
    )]
    NoTask(String),
    /// A language is another one.
    #[error("problem `{id}` is in {language}, and the example `{example}` in {other}")]
    Language {
        /// The problem.
        id: String,
        /// Its language.
        language: String,
        /// The example.
        example: String,
        /// Its language.
        other: String,
    },
}

/// Shows `count` examples of `from` before each problem: the first of them, without the problem itself. Of MBPP's own file these are of its
/// part for prompts, task ids 1 to 10, the authors' three (2, 3, 4) first. Gives their names.
///
/// # Errors
/// [`NoShots`].
pub fn take_shots<'a>(
    problems: impl Iterator<Item = &'a mut CodeProblem>,
    from: &[CodeProblem],
    count: usize,
) -> Result<Vec<String>, NoShots> {
    let ordered = in_order(from);
    let mut names = Vec::new();
    for problem in problems {
        let is_another = |of: &&&CodeProblem| of.prompt != problem.prompt;
        let shots: Vec<CodeProblem> = ordered
            .iter()
            .filter(is_another)
            .take(count)
            .map(|shot| (*shot).clone())
            .collect();
        if shots.len() < count {
            let id = problem.id.clone();
            let found = shots.len();
            return Err(NoShots::TooFew {
                id,
                wanted: count,
                found,
            });
        }
        for shot in &shots {
            fits(problem, shot)?;
            if !names.contains(&shot.id) {
                names.push(shot.id.clone());
            }
        }
        problem.shots = shots;
    }
    Ok(names)
}

fn fits(problem: &CodeProblem, shot: &CodeProblem) -> Result<(), NoShots> {
    if shot.solution.trim().is_empty() {
        return Err(NoShots::NoSolution(shot.id.clone()));
    }
    if problem.form == CodeForm::Task && shot.form != CodeForm::Task {
        return Err(NoShots::NoTask(shot.id.clone()));
    }
    if problem.language != shot.language {
        return Err(NoShots::Language {
            id: problem.id.clone(),
            language: problem.language.clone(),
            example: shot.id.clone(),
            other: shot.language.clone(),
        });
    }
    Ok(())
}

/// Examples in the order in which they are taken.
fn in_order(from: &[CodeProblem]) -> Vec<&CodeProblem> {
    if !is_mbpp(from.iter().map(|problem| problem.id.as_str())) {
        return from.iter().collect();
    }
    // The authors show 2, 3 and 4; the rest of their ten come after these.
    let order = [2, 3, 4, 1, 5, 6, 7, 8, 9, 10].map(|id: usize| id.to_string());
    let by_id = |id: &String| from.iter().find(|problem| problem.id == *id);
    order.iter().filter_map(by_id).collect()
}

/// Whether the names are those of MBPP's own file, 1 to 974.
pub fn is_mbpp<'a>(ids: impl Iterator<Item = &'a str>) -> bool {
    let mut ids: Vec<usize> = match ids.map(str::parse).collect() {
        Ok(ids) => ids,
        Err(_) => return false,
    };
    ids.sort_unstable();
    ids.len() == MBPP && ids.iter().zip(1..).all(|(id, at)| *id == at)
}

/// How many problems MBPP has.
const MBPP: usize = 974;

/// The task ids of a part of MBPP, as its authors divide it; none if it has no such part.
pub fn mbpp_part(split: &str) -> Option<std::ops::RangeInclusive<usize>> {
    match split {
        "prompt" => Some(1..=10),
        "test" => Some(11..=510),
        "validation" => Some(511..=600),
        "train" => Some(601..=MBPP),
        _ => None,
    }
}
