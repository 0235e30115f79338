//! What a run is judged on while it trains.

use anyhow::Result;
use gcpo_data::Problem;
use gcpo_model::inference::Inference;

use crate::config::Config;
use crate::console::note;
use crate::eval::{EvalError, EvalPlan, evaluate};
use crate::policy::Policy;
use crate::report::Evaluation;
use crate::reward::Reward;
use crate::source::{fingerprint, shared};

/// The held-out problems of a run, and how they are asked and graded.
pub struct HeldOut {
    problems: Vec<Problem>,
    plan: EvalPlan,
    reward: Reward,
}

impl HeldOut {
    /// What `[eval]` names; no problems if it names none, or nothing is to be measured. Says so where some are in `training`.
    ///
    /// # Errors
    /// The problems cannot be read.
    pub fn of(config: &Config, training: &[Problem]) -> Result<Self> {
        let problems = match config.eval.every {
            0 => Vec::new(),
            _ => config.eval.held_out()?.problems,
        };
        let shared = shared(&problems, training);
        if shared > 0 {
            note(&format!(
                "warning: {shared} of the {} problems of [eval] are trained on ([data]): what is measured on them is not held out",
                problems.len()
            ));
        }
        Ok(Self {
            problems,
            plan: eval_plan(config),
            reward: Reward::accuracy(&config.grader),
        })
    }

    /// SHA-256 of the problems; empty where there are none.
    pub fn fingerprint(&self) -> String {
        match self.problems.as_slice() {
            [] => String::new(),
            problems => fingerprint(problems),
        }
    }

    /// How often a policy is right; `None` without any problems.
    ///
    /// # Errors
    /// Generation or grading failed.
    pub fn evaluate(&self, policy: &Policy) -> Result<Option<Evaluation>, EvalError> {
        if self.problems.is_empty() {
            return Ok(None);
        }
        let found = evaluate(
            policy,
            &Inference::new(&policy.model),
            "eval",
            &self.problems,
            &self.reward,
            &self.plan,
            Vec::new(),
            |_, _| Ok(()),
        )?;
        Ok(Some(Evaluation {
            report: found.report,
            secs: found.secs,
        }))
    }
}

/// How `[eval]` samples.
pub fn eval_plan(config: &Config) -> EvalPlan {
    EvalPlan {
        rollout: config.eval.rollout(&config.rollout),
        integrate: config.eval.integrated.then_some(config.rollout.num_generations),
        candidate_tokens: config.projection.candidate_tokens,
        skip_too_long: config.eval.skip_too_long,
        seed: config.seed,
    }
}
