//! What a step measured, typed. The lines of `metrics.jsonl` are written from it, and everything that shows a run reads it.

use std::time::Instant;

use crate::eval::report::SuiteReport;
use crate::eval::stats::Estimate;
use crate::group::Group;
use crate::learner::{Learnt, Update};
use crate::objective::Objective;
use crate::projection::Summary;
use crate::ranks::Traffic;
use crate::rollout::{Finish, Work};
use crate::run::Metrics;
use crate::search::SearchReport;

/// What a step measured. Step 0 is the evaluation before training.
#[derive(Debug, Clone, Default)]
pub struct StepReport {
    /// The step.
    pub step: usize,
    /// What was done in it; nothing in step 0.
    pub done: Option<Done>,
    /// The evaluation after it, where there was one.
    pub eval: Option<Evaluation>,
    /// What talking to other ranks took in it, where there are some.
    pub traffic: Option<Traffic>,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum Done {
    /// Reinforcement learning.
    Rl(Box<RlReport>),
    /// Supervised training.
    Sft(SftReport),
    /// Tree search, and supervised training on what it found.
    Rest(Box<RestReport>),
}

impl Done {
    /// A step of reinforcement learning, and its seconds: those of the reference model, of the optimiser's passes, and of all.
    pub fn rl(rollout: RolloutReport, learnt: Learnt, secs: [f64; 3]) -> Self {
        let [score_secs, train_secs, step_secs] = secs;
        Self::Rl(Box::new(RlReport {
            rollout,
            learnt,
            score_secs,
            train_secs,
            step_secs,
        }))
    }
}

/// A step of reinforcement learning.
#[derive(Debug, Clone, Default)]
pub struct RlReport {
    /// Sampling, grading and projecting.
    pub rollout: RolloutReport,
    /// What the passes of the optimiser came to.
    pub learnt: Learnt,
    /// Seconds of the reference model.
    pub score_secs: f64,
    /// Seconds of the optimiser's passes.
    pub train_secs: f64,
    /// Seconds of the whole step.
    pub step_secs: f64,
}

/// What a step sampled, in numbers.
#[derive(Debug, Clone, Default)]
pub struct RolloutReport {
    /// What the engines did.
    pub work: Work,
    /// Seconds of stage 1.
    pub sample_secs: f64,
    /// Seconds of the rewards.
    pub reward_secs: f64,
    /// Seconds of stages 2 and 3.
    pub project_secs: f64,
    /// What candidates earned.
    pub reward: Option<Summary>,
    /// Share of the candidates that earned nothing, as no reward applies to them: they are left out of the loss.
    pub none_frac: f64,
    /// Each reward's values, before they are weighed; none where it applied to no candidate.
    pub components: Vec<(String, Option<Summary>)>,
    /// What programs and functions measured beside their rewards, as `LABEL/NAME`: the mean over all that the step asked them.
    pub measured: Vec<(String, f64)>,
    /// Share of groups whose rewards are all equal.
    pub flat_frac: f64,
    /// Mean length of the candidates, in tokens.
    pub length_mean: f64,
    /// Share of the candidates that reached the longest length, TRL's `completions/clipped_ratio`.
    pub truncated_frac: f64,
    /// Υ; none where all groups were flat.
    pub upsilon: Option<Summary>,
    /// What dynamic sampling sampled for nothing, where it is on.
    pub discarded: Option<Discarded>,
}

/// What was sampled for a step with dynamic sampling, and how much of it was thrown away.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Discarded {
    /// Rounds of sampling.
    pub rounds: usize,
    /// Groups sampled.
    pub sampled: usize,
    /// Groups thrown away, as their candidates all earned the same.
    pub groups: usize,
    /// Tokens of their candidates.
    pub tokens: usize,
    /// Sum of all rewards, and how many there are.
    rewards: (f64, usize),
}

impl Discarded {
    /// After the first round.
    pub fn of(groups: &[Group]) -> Self {
        let mut all = Self::default();
        all.add_round(groups);
        all
    }

    /// One round more.
    pub fn add_round(&mut self, groups: &[Group]) {
        self.rounds += 1;
        self.sampled += groups.len();
        for reward in groups.iter().flat_map(Group::rewards).flatten() {
            self.rewards.0 += reward;
            self.rewards.1 += 1;
        }
    }

    /// These were thrown away.
    pub fn throw(&mut self, groups: &[Group]) {
        self.groups += groups.len();
        let candidates = groups.iter().flat_map(|group| &group.candidates);
        self.tokens += candidates
            .map(|candidate| candidate.tokens().len())
            .sum::<usize>();
    }

    fn put(&self, line: &mut Metrics) {
        line.put("rollout/rounds", self.rounds as f64);
        line.put("rollout/sampled_groups", self.sampled as f64);
        line.put("rollout/discarded_groups", self.groups as f64);
        line.put("rollout/discarded_tokens", self.tokens as f64);
        line.put("reward/sampled_mean", self.rewards.0 / self.rewards.1 as f64);
    }
}

/// A step of supervised training.
#[derive(Debug, Clone, Copy, Default)]
pub struct SftReport {
    /// The update.
    pub update: Update,
    /// Mean loss of a target token, in nats.
    pub loss: f64,
    /// Target tokens.
    pub tokens: usize,
    /// Seconds of the whole step.
    pub step_secs: f64,
}

/// A round: what was searched, and what was learnt of it.
#[derive(Debug, Clone, Default)]
pub struct RestReport {
    /// The completions of all searches, and what they earned.
    pub rollout: RolloutReport,
    /// The trees.
    pub search: SearchReport,
    /// What was learnt; none where nothing was found.
    pub taught: Option<Taught>,
    /// Seconds of the optimiser's passes.
    pub train_secs: f64,
    /// Seconds of the whole round.
    pub step_secs: f64,
}

/// Supervised training on the solutions of a round.
#[derive(Debug, Clone, Copy, Default)]
pub struct Taught {
    /// The last update.
    pub update: Update,
    /// Mean loss of a target token over the updates, in nats.
    pub loss: f64,
    /// Target tokens of all passes.
    pub tokens: usize,
}

/// An evaluation of the state after a step.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// What was found.
    pub report: SuiteReport,
    /// What rewards measured beside their values, as `LABEL/NAME`.
    pub measured: Vec<(String, f64)>,
    /// Seconds.
    pub secs: f64,
}

/// Seconds from one stage to the next.
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Seconds since the start, or since this was last asked.
    pub fn lap(&mut self) -> f64 {
        let now = Instant::now();
        (now - std::mem::replace(&mut self.0, now)).as_secs_f64()
    }
}

impl RolloutReport {
    /// What candidates of a step earned, how long they are, and Υ; `labels` are the rewards'. Seconds and work are left at 0.
    pub fn of(groups: &[Group], labels: &[&str], objective: &Objective) -> Self {
        let upsilon: Vec<f64> = match objective.constant_upsilon() {
            Some(upsilon) => vec![upsilon],
            None => {
                let candidates = groups.iter().flat_map(|group| &group.candidates);
                candidates.filter_map(|candidate| candidate.upsilon).collect()
            }
        };
        Self {
            upsilon: Summary::of(&upsilon),
            ..Self::of_tried(groups, labels)
        }
    }

    /// As [`RolloutReport::of`], without Υ.
    pub fn of_tried(groups: &[Group], labels: &[&str]) -> Self {
        let candidates = || groups.iter().flat_map(|group| &group.candidates);
        let count = candidates().count() as f64;
        let tokens: usize = candidates().map(|candidate| candidate.tokens().len()).sum();
        let truncated = candidates().filter(|candidate| candidate.completion.finish == Finish::Length);
        let flat = groups.iter().filter(|group| group.is_flat()).count();
        let component = |(at, label): (usize, &&str)| {
            let values: Vec<f64> = candidates()
                .filter_map(|candidate| candidate.scores[at].value)
                .collect();
            ((*label).to_owned(), Summary::of(&values))
        };
        let rewards: Vec<f64> = groups.iter().flat_map(Group::rewards).flatten().collect();
        Self {
            reward: Summary::of(&rewards),
            none_frac: 1.0 - rewards.len() as f64 / count,
            components: labels.iter().enumerate().map(component).collect(),
            flat_frac: flat as f64 / groups.len() as f64,
            length_mean: tokens as f64 / count,
            truncated_frac: truncated.count() as f64 / count,
            ..Self::default()
        }
    }

    fn put(&self, line: &mut Metrics) {
        self.put_sampled(line);
        let upsilon = self.upsilon.unwrap_or(NONE);
        line.put("projection/upsilon_mean", upsilon.mean);
        line.put("projection/upsilon_std", upsilon.std);
        line.put("projection/upsilon_min", upsilon.min);
        line.put("projection/upsilon_max", upsilon.max);
    }

    /// All but Υ.
    fn put_sampled(&self, line: &mut Metrics) {
        line.put("time/rollout_secs", self.sample_secs);
        line.put("time/reward_secs", self.reward_secs);
        line.put("time/project_secs", self.project_secs);
        let work = &self.work;
        line.put("rollout/generations", work.generations as f64);
        line.put("rollout/tokens", work.tokens as f64);
        line.put("rollout/decoded_tokens", work.decoded as f64);
        line.put("rollout/prefill_tokens", work.prefilled as f64);
        line.put("rollout/kv_bytes", work.kv_bytes as f64);
        if let Some(discarded) = &self.discarded {
            discarded.put(line);
        }
        line.put("time/collider_score_secs", work.score_secs);
        line.put("time/represent_secs", work.represent_secs);
        let reward = self.reward.unwrap_or(NONE);
        line.put("reward/mean", reward.mean);
        line.put("reward/std", reward.std);
        line.put("reward/none_frac", self.none_frac);
        for (label, values) in &self.components {
            let values = values.unwrap_or(NONE);
            line.put(format!("reward/{label}_mean"), values.mean);
            line.put(format!("reward/{label}_std"), values.std);
        }
        for (name, mean) in &self.measured {
            line.put(format!("reward/{name}"), *mean);
        }
        line.put("reward/flat_frac", self.flat_frac);
        line.put("completion/length_mean", self.length_mean);
        line.put("completion/truncated_frac", self.truncated_frac);
    }
}

/// Of no values: null in the file.
const NONE: Summary = Summary {
    mean: f64::NAN,
    std: f64::NAN,
    min: f64::NAN,
    max: f64::NAN,
};

impl StepReport {
    /// A step that was not evaluated after.
    pub fn of(step: usize, done: Done) -> Self {
        Self {
            step,
            done: Some(done),
            eval: None,
            traffic: None,
        }
    }

    /// The step's line of `metrics.jsonl`.
    pub fn metrics(&self) -> Metrics {
        let mut line = Metrics::new(self.step);
        match &self.done {
            Some(Done::Rl(report)) => report.put(&mut line),
            Some(Done::Sft(report)) => report.put(&mut line),
            Some(Done::Rest(report)) => report.put(&mut line),
            None => {}
        }
        if let Some(traffic) = &self.traffic {
            line.put("ranks/sent_bytes", traffic.bytes as f64);
            line.put("time/ranks_secs", traffic.secs);
        }
        if let Some(eval) = &self.eval {
            eval.put(&mut line);
        }
        line
    }

    /// The report of a step of reinforcement learning.
    pub fn rl(&self) -> Option<&RlReport> {
        match &self.done {
            Some(Done::Rl(report)) => Some(report),
            _ => None,
        }
    }

    /// What the step sampled, where it samples.
    pub fn rollout(&self) -> Option<&RolloutReport> {
        match &self.done {
            Some(Done::Rl(report)) => Some(&report.rollout),
            Some(Done::Rest(report)) => Some(&report.rollout),
            _ => None,
        }
    }

    /// The step's last update.
    pub fn update(&self) -> Option<Update> {
        match self.done.as_ref()? {
            Done::Rl(report) => Some(report.learnt.update),
            Done::Sft(report) => Some(report.update),
            Done::Rest(report) => report.taught.map(|taught| taught.update),
        }
    }

    /// The step's loss.
    pub fn loss(&self) -> Option<f64> {
        match self.done.as_ref()? {
            Done::Rl(report) => Some(report.learnt.loss),
            Done::Sft(report) => Some(report.loss),
            Done::Rest(report) => report.taught.map(|taught| taught.loss),
        }
    }

    /// Seconds of the optimiser's passes, where they are not the whole step.
    pub fn train_secs(&self) -> Option<f64> {
        match self.done.as_ref()? {
            Done::Rl(report) => Some(report.train_secs),
            Done::Rest(report) => Some(report.train_secs),
            Done::Sft(_) => None,
        }
    }

    /// Seconds of the step, without its evaluation.
    pub fn secs(&self) -> Option<f64> {
        self.done.as_ref().map(|done| match done {
            Done::Rl(report) => report.step_secs,
            Done::Sft(report) => report.step_secs,
            Done::Rest(report) => report.step_secs,
        })
    }
}

impl RlReport {
    fn put(&self, line: &mut Metrics) {
        self.rollout.put(line);
        let Learnt {
            loss,
            sums,
            policy,
            tokens,
            ..
        } = &self.learnt;
        line.put("time/score_secs", self.score_secs);
        self.learnt.update.put(line);
        line.put("objective/loss", *loss);
        line.put("objective/kl_ref", sums.kl_ref().unwrap_or(0.0));
        line.put("objective/kl_projected", sums.kl_projected().unwrap_or(0.0));
        line.put("objective/clip_frac", sums.clip_frac().unwrap_or(0.0));
        line.put("objective/ratio_mean", sums.ratio_mean().unwrap_or(1.0));
        line.put("projection/clamped_frac", self.clamped_frac());
        line.put("policy/entropy", policy.entropy());
        line.put("rollout/trainer_gap", policy.trainer_gap());
        line.put("train/tokens", tokens.of_rows as f64);
        line.put("train/tokens_run_frac", tokens.run_frac());
        line.put("time/train_secs", self.train_secs);
        line.put("time/step_secs", self.step_secs);
    }

    /// Share of tokens where a clamp of the second KL term was active; 0 without that term.
    pub fn clamped_frac(&self) -> f64 {
        self.learnt.sums.clamped_frac().unwrap_or(0.0)
    }
}

impl SftReport {
    fn put(&self, line: &mut Metrics) {
        self.update.put(line);
        line.put("sft/loss", self.loss);
        line.put("sft/tokens", self.tokens as f64);
        line.put("time/step_secs", self.step_secs);
    }
}

impl RestReport {
    fn put(&self, line: &mut Metrics) {
        self.rollout.put_sampled(line);
        let search = &self.search;
        line.put("search/expansions", search.expansions as f64);
        line.put("search/nodes", search.nodes as f64);
        line.put("search/depth_mean", search.depth_mean);
        line.put("search/solved_frac", search.solved_frac);
        line.put("search/solutions", search.solutions as f64);
        line.put(
            "search/first_expansion_mean",
            search.first_mean.unwrap_or(f64::NAN),
        );
        if let Some(taught) = &self.taught {
            taught.update.put(line);
        }
        line.put("sft/loss", self.taught.map_or(f64::NAN, |taught| taught.loss));
        line.put(
            "sft/tokens",
            self.taught.map_or(0.0, |taught| taught.tokens as f64),
        );
        line.put("time/train_secs", self.train_secs);
        line.put("time/step_secs", self.step_secs);
    }
}

impl Update {
    fn put(&self, line: &mut Metrics) {
        line.put("grad/norm", self.grad_norm);
        line.put("train/learning_rate", self.learning_rate);
    }
}

impl Evaluation {
    fn put(&self, line: &mut Metrics) {
        let report = &self.report;
        if let Some(pass_at_1) = report.pass_at_1 {
            line.put("eval/pass@1", pass_at_1.mean);
            line.put("eval/pass@1_stderr", pass_at_1.stderr);
        }
        if !report.rewards.is_empty() {
            let mean = |of: Option<Estimate>| of.map_or(f64::NAN, |of| of.mean);
            line.put("eval/reward/mean", mean(report.reward));
            for (label, of) in &report.rewards {
                line.put(format!("eval/reward/{label}_mean"), mean(*of));
            }
            for (name, mean) in &self.measured {
                line.put(format!("eval/reward/{name}"), *mean);
            }
        }
        if let (Some(y), Some(y_n)) = (report.candidates, report.integrated) {
            line.put("eval/candidates_pass@1", y.mean);
            line.put("eval/integrated_pass@1", y_n.mean);
        }
        line.put("eval/length_mean", report.length_mean);
        line.put("eval/truncated_frac", report.truncated_frac);
        line.put("time/eval_secs", self.secs);
    }
}
