//! What a run is judged on while it trains.

use std::path::Path;

use anyhow::Result;
use gcpo_data::Problem;
use gcpo_model::inference::Inference;

use crate::code::Judge;
use crate::config::Config;
use crate::console::note;
use crate::eval::record::{Header, SuiteHeader, write_whole};
use crate::eval::{EvalError, EvalPlan, Judges, evaluate, has_programs};
use crate::policy::Policy;
use crate::ranks::Ranks;
use crate::report::Evaluation;
use crate::reward::{Ahead, Reward, RewardError};
use crate::run::digest::Digests;
use crate::source::{fingerprint, shared};

/// What the held-out problems are called in `eval.jsonl`.
const SUITE: &str = "eval";

/// The held-out problems of a run, and how they are asked and graded.
pub struct HeldOut {
    problems: Vec<Problem>,
    plan: EvalPlan,
    reward: Reward,
    /// Runs answers that are programs.
    programs: Option<Judge>,
    /// Whether the run's own rewards are measured, too.
    asks_rewards: bool,
    /// Where the problems are from, and the whole run, as TOML: what `eval.jsonl` begins with.
    data: String,
    config: String,
}

impl HeldOut {
    /// What `[eval]` names; no problems if it names none, or nothing is to be measured. Says so where some are in `training`.
    ///
    /// # Errors
    /// The problems cannot be read, or be run where they are programs.
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
        let programs = has_programs(&problems).then(|| Judge::start(&config.code));
        let programs = programs.transpose()?;
        for problem in &problems {
            programs
                .iter()
                .try_for_each(|judge| judge.expect(problem.code.as_deref()))?;
        }
        Ok(Self {
            programs,
            problems,
            plan: eval_plan(config),
            reward: Reward::accuracy(&config.grader),
            asks_rewards: config.eval.rewards,
            data: match &config.eval.path {
                Some(path) => path.display().to_string(),
                None => "built in, held out".to_owned(),
            },
            config: config.to_toml(),
        })
    }

    /// Whether the run's rewards are to be measured.
    pub fn asks_rewards(&self) -> bool {
        self.asks_rewards && !self.problems.is_empty()
    }

    /// Sees whether rewards that are to be measured can be asked about the problems.
    ///
    /// # Errors
    /// As [`Reward::expect`]; a gold answer cannot be read that one of them asks for.
    pub fn expect(&self, reward: &mut Reward, ahead: Ahead) -> Result<(), RewardError> {
        match self.asks_rewards() {
            true => reward.expect(&self.problems, ahead),
            false => Ok(()),
        }
    }

    /// SHA-256 of the problems; empty where there are none.
    pub fn fingerprint(&self) -> String {
        match self.problems.as_slice() {
            [] => String::new(),
            problems => fingerprint(problems),
        }
    }

    /// How often a policy, which is called `name`, is right; `None` without any problems. Its completions become the file at `keep`,
    /// in the form of `gcpo eval --out`; the first of several ranks, which share the problems out, writes it. `rewards`: the run's own, and the
    /// step.
    ///
    /// # Errors
    /// Generation or grading failed, or the file cannot be written.
    pub fn evaluate(
        &self,
        policy: &Policy,
        name: &str,
        keep: &Path,
        ranks: &Ranks,
        rewards: Option<(&mut Reward, usize)>,
    ) -> Result<Option<Evaluation>, EvalError> {
        if self.problems.is_empty() {
            return Ok(None);
        }
        let plan = EvalPlan {
            ranks: ranks.clone(),
            ..self.plan.clone()
        };
        let found = evaluate(
            policy,
            &Inference::new(&policy.model),
            SUITE,
            &self.problems,
            Judges {
                grader: &self.reward,
                programs: self.programs.as_ref(),
                rewards: rewards.filter(|_| self.asks_rewards),
            },
            &plan,
            Vec::new(),
            |_, _| Ok(()),
        )?;
        let suite = SuiteHeader {
            name: SUITE.to_owned(),
            data: self.data.clone(),
            problems: self.problems.len(),
            samples: self.plan.rollout.num_generations,
            fingerprint: self.fingerprint(),
        };
        // The model's files are not there yet.
        let header = Header::new(name, Digests::new(), self.config.clone(), vec![suite]);
        if ranks.is_first() {
            write_whole(keep, &header, &found.records)?;
        }
        Ok(Some(Evaluation {
            report: found.report,
            measured: found.measured,
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
        ranks: Ranks::alone(),
    }
}
