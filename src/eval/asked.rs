//! Which problems of an evaluation can be asked.

use gcpo_data::Problem;

use super::{EvalError, EvalPlan, has_programs};
use crate::policy::Policy;
use crate::rollout::{Contexts, RolloutError};

/// A problem with its contexts.
pub(super) struct Asked {
    /// Its place among all problems.
    pub at: usize,
    /// Its place among those that are asked: names its streams of random numbers.
    pub number: usize,
    pub answer: Contexts,
    /// With the contexts of an integrated answer, where it is measured.
    pub integrate: Option<Contexts>,
}

impl Asked {
    fn check_fits(&self, max_completion_length: usize, positions: usize) -> Result<(), RolloutError> {
        let mut plans = std::iter::once(&self.answer).chain(&self.integrate);
        plans.try_for_each(|plan| plan.check_fits(max_completion_length, positions))
    }
}

/// The problems whose contexts fit the model's positions, and the places of the others: none, unless some may be left out.
pub(super) fn fitting(
    policy: &Policy,
    problems: &[Problem],
    plan: &EvalPlan,
) -> Result<(Vec<Asked>, Vec<usize>), EvalError> {
    let positions = policy.model.config().positions();
    if problems.is_empty() {
        return Err(EvalError::NoProblems);
    }
    if plan.integrate.is_some() && has_programs(problems) && policy.prompts().continues_programs() {
        return Err(EvalError::IntegratedPrograms);
    }
    let all: Result<Vec<Asked>, EvalError> = problems
        .iter()
        .enumerate()
        .map(|(at, problem)| {
            let integrate = plan
                .integrate
                .map(|n| policy.contexts(problem, n, plan.candidate_tokens));
            Ok(Asked {
                at,
                number: at,
                answer: policy.answer_contexts(problem)?,
                integrate: integrate.transpose()?,
            })
        })
        .collect();
    let all = all?;
    let length = plan.rollout.max_completion_length;
    let misfits: Vec<(usize, RolloutError)> = all
        .iter()
        .filter_map(|asked| Some((asked.at, asked.check_fits(length, positions).err()?)))
        .collect();
    if misfits.is_empty() || plan.skip_too_long && misfits.len() < all.len() {
        let left_out: Vec<usize> = misfits.iter().map(|(at, _)| *at).collect();
        let mut fits = all;
        fits.retain(|asked| left_out.binary_search(&asked.at).is_err());
        for (number, asked) in fits.iter_mut().enumerate() {
            asked.number = number;
        }
        return Ok((fits, left_out));
    }
    let count = misfits.len();
    let (first, error) = misfits.into_iter().next().expect("there is one");
    let RolloutError::TooLong { what, needed, limit } = error else {
        return Err(error.into());
    };
    Err(EvalError::TooLong {
        id: problems[first].id.clone(),
        others: match count {
            1 => String::new(),
            _ => format!(" and {} more of the {}", count - 1, problems.len()),
        },
        what,
        needed,
        limit,
        help: too_long_help(&all, length, positions, count == all.len()),
    })
}

/// What to set so that the problems fit: the longest completion for which all do.
fn too_long_help(all: &[Asked], max_completion_length: usize, positions: usize, none_fits: bool) -> String {
    let fits = |length: usize| {
        all.iter()
            .all(|asked| asked.check_fits(length, positions).is_ok())
    };
    // A shorter completion fits wherever a longer one does.
    let (mut good, mut bad) = (0, max_completion_length);
    while good + 1 < bad {
        let middle = good.midpoint(bad);
        if fits(middle) { good = middle } else { bad = middle }
    }
    let shorter = match good {
        0 => "lower eval.max_completion_length (some prompts leave no room for any answer)".to_owned(),
        _ => format!("`--set eval.max_completion_length={good}` is the most with which all fit"),
    };
    if none_fits {
        return format!("{shorter}; as it is, no problem fits");
    }
    format!("{shorter}; `--set eval.skip_too_long=true` leaves such problems out and counts them as wrong")
}
