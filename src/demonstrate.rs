//! Demonstrations of the three prompts: what makes a policy that reinforcement learning can start from.
//!
//! A share of the demonstrations may be wrong on purpose, where the source can make wrong ones: the model then knows
//! the right procedure and wavers, which gives every group a spread of rewards (docs/algorithms.md, section 8).

mod config;

use gcpo_data::{Form, NoSolution, Problem, PromptError, right_solution, wrong_solution};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use thiserror::Error;

pub use config::{Sft, SftDraft, Solutions};

use crate::policy::{Policy, PolicyError};
use crate::stream::{StreamKey, uniform};

/// One demonstration: what stands in front, and what the model is to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demonstration {
    /// Tokens of the prompt.
    pub context: Vec<u32>,
    /// Tokens to be learnt, what ends the turn included.
    pub target: Vec<u32>,
}

/// Why a demonstration cannot be made of a problem.
#[derive(Debug, Error)]
pub enum DemonstrationError {
    /// There is no solution to show.
    #[error(transparent)]
    NoSolution(#[from] NoSolution),
    /// A prompt cannot be made.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The tokens of a prompt cannot be made.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// It does not fit the model's positions.
    #[error(
        "problem `{id}`: a demonstration takes {needed} tokens, but the model has {limit} positions: lower \
         sft.candidates or raise model.shape.max_position_embeddings"
    )]
    TooLong {
        /// The problem.
        id: String,
        /// Tokens needed.
        needed: usize,
        /// `max_position_embeddings`.
        limit: usize,
    },
}

/// Which prompt a demonstration teaches.
enum Prompt {
    Answer,
    Integrate,
    Project,
}

/// Says so if a problem cannot be demonstrated as `how` asks: the key of `[sft]` that asks for it, and what is missing.
///
/// # Errors
/// It has no worked solution, or wrong ones are asked for and cannot be made.
pub fn check(problem: &Problem, how: &Sft) -> Result<(), (Option<&'static str>, NoSolution)> {
    let form = form(how);
    right_solution(problem, form).map_err(|missing| (None, missing))?;
    for (key, share) in [
        ("sft.wrong_frac", how.wrong_frac),
        ("sft.candidate_wrong_frac", how.candidate_wrong_frac),
    ] {
        if share > 0.0 {
            let any = &mut ChaCha8Rng::from_seed([0; 32]);
            wrong_solution(problem, form, any).map_err(|missing| (Some(key), missing))?;
        }
    }
    Ok(())
}

/// A demonstration of a problem: a function of the stream and of `how`.
///
/// # Errors
/// [`DemonstrationError`], naming the problem.
pub fn demonstration(
    policy: &Policy,
    problem: &Problem,
    how: &Sft,
    key: StreamKey,
) -> Result<Demonstration, DemonstrationError> {
    let mut rng = key.rng();
    let form = form(how);
    let (prompts, tokenizer) = (policy.prompts(), &policy.tokenizer);
    let waver = |rng: &mut ChaCha8Rng, share: f64| -> Result<String, NoSolution> {
        if share > 0.0 && uniform(rng) < share {
            wrong_solution(problem, form, rng)
        } else if let (Some(code), true) = (&problem.code, prompts.continues_programs()) {
            let missing = || right_solution(problem, form);
            code.continued().map_or_else(missing, Ok)
        } else {
            right_solution(problem, form)
        }
    };
    let right = || right_solution(problem, form);
    // What the model would have written where it was asked so.
    let answer = prompts.answer(problem, tokenizer)?;
    let quoted = |rng: &mut ChaCha8Rng, count: usize| -> Result<Vec<Vec<u32>>, DemonstrationError> {
        let shown = how.candidate_wrong_frac;
        let candidate = |_| Ok(prompts.written(&answer, &waver(rng, shown)?, tokenizer)?);
        (0..count).map(candidate).collect()
    };
    let n = how.candidates;
    let (context, candidates, integration, target) = match prompt(&mut rng, how) {
        Prompt::Answer => {
            let target = waver(&mut rng, how.wrong_frac)?;
            (answer.clone(), Vec::new(), None, target)
        }
        Prompt::Integrate => {
            let context = prompts.integrate(problem, n, tokenizer)?;
            (context, quoted(&mut rng, n)?, None, right()?)
        }
        Prompt::Project => {
            let context = prompts.project(problem, n - 1, tokenizer)?;
            let candidates = quoted(&mut rng, n - 1)?;
            let integrate = prompts.integrate(problem, n, tokenizer)?;
            let integration = prompts.written(&integrate, &right()?, tokenizer)?;
            (context, candidates, Some(integration), right()?)
        }
    };
    let target = prompts.target(&context, &target, tokenizer, &policy.eos)?;
    let candidates: Vec<&[u32]> = candidates.iter().map(Vec::as_slice).collect();
    let context = context.fill(&candidates, integration.as_deref());
    let (needed, limit) = (context.len() + target.len(), policy.model.config().positions());
    if needed > limit {
        let id = problem.id.clone();
        return Err(DemonstrationError::TooLong { id, needed, limit });
    }
    Ok(Demonstration { context, target })
}

/// Draws which prompt is taught.
fn prompt(rng: &mut ChaCha8Rng, how: &Sft) -> Prompt {
    let integrate = uniform(rng) < how.integrate_frac;
    let rest = (1.0 - how.integrate_frac).max(f64::MIN_POSITIVE);
    let project = uniform(rng) < how.project_frac / rest;
    match (integrate, project) {
        (true, _) => Prompt::Integrate,
        (false, true) => Prompt::Project,
        (false, false) => Prompt::Answer,
    }
}

/// How the demonstrations' solutions are written.
fn form(how: &Sft) -> Form {
    match how.solutions {
        Solutions::AsGiven => Form::AsGiven,
        Solutions::Expression => Form::Expression,
    }
}
