//! What is wrong with a run while it goes: conditions that held over the last steps, each said once with what to do about it.
//!
//! They are read from the lines of `metrics.jsonl`, so that a resumed run says what the run would have said.

use std::collections::{BTreeSet, VecDeque};

use serde_json::Value;

use crate::run::metrics::Line;

/// Υ that differs between candidates by less than this share of its mean does nothing that a larger learning rate does not.
const UPSILON_SPREAD: f64 = 0.02;
/// Nats a token from the reference model from which on a policy is another model.
const KL: f64 = 1.0;
/// What is left of the first steps' entropy where it has collapsed.
const ENTROPY_LEFT: f64 = 0.1;
/// Probability ratio of the sampling engine and the trainer, less 1, that rounding does not explain.
const GAP: f64 = 0.05;

/// The state of a run's health.
#[derive(Debug, Clone)]
pub struct Health {
    /// Over how many steps a condition must hold; 0 asks for nothing.
    steps: usize,
    /// Whether Υ is computed, and no constant of the objective.
    projects: bool,
    /// Mean entropy of the first steps, and how many it is of.
    entropy: (f64, usize),
    /// The last steps.
    last: VecDeque<Line>,
    /// What was said and still holds.
    said: BTreeSet<String>,
}

/// Numbers of the last steps.
struct Window<'a>(&'a VecDeque<Line>);

impl Window<'_> {
    /// A metric in every step; nothing where it is absent or null in one.
    fn all(&self, key: &str) -> Option<Vec<f64>> {
        self.0
            .iter()
            .map(|line| line.get(key).and_then(Value::as_f64))
            .collect()
    }

    /// Whether a metric is there in every step, and holds.
    fn every(&self, key: &str, holds: impl Fn(f64) -> bool) -> bool {
        self.all(key).is_some_and(|values| values.into_iter().all(holds))
    }

    fn mean(&self, key: &str) -> Option<f64> {
        let values = self.all(key)?;
        Some(values.iter().sum::<f64>() / values.len() as f64)
    }

    /// Labels of the rewards, in the last step.
    fn labels(&self) -> Vec<String> {
        let Some(last) = self.0.back() else {
            return Vec::new();
        };
        let label = |key: &String| {
            let label = key.strip_prefix("reward/")?.strip_suffix("_mean")?;
            last.contains_key(&format!("reward/{label}_std"))
                .then(|| label.to_owned())
        };
        last.keys().filter_map(label).collect()
    }
}

impl Health {
    /// Of a run: over how many steps a condition must hold before it is said (0 says nothing), and whether its objective computes Υ.
    pub fn new(steps: usize, projects: bool) -> Self {
        Self {
            steps,
            projects,
            entropy: (0.0, 0),
            last: VecDeque::new(),
            said: BTreeSet::new(),
        }
    }

    /// What is newly wrong after a step, by its line of `metrics.jsonl`: a sentence each. What holds on is not said again; what went
    /// away and comes back is.
    pub fn after(&mut self, line: &Line) -> Vec<String> {
        // Evaluations and steps that sample nothing.
        if self.steps == 0 || !line.contains_key("reward/flat_frac") {
            return Vec::new();
        }
        let entropy = line.get("policy/entropy").and_then(Value::as_f64);
        if let (Some(entropy), (mean, count)) = (entropy, &mut self.entropy)
            && *count < self.steps
        {
            *mean = (*mean * *count as f64 + entropy) / (*count + 1) as f64;
            *count += 1;
        }
        self.last.push_back(line.clone());
        if self.last.len() > self.steps {
            self.last.pop_front();
        }
        if self.last.len() < self.steps {
            return Vec::new();
        }
        let found = self.found();
        self.said
            .retain(|name| found.iter().any(|(held, _)| held == name));
        let new = found
            .into_iter()
            .filter(|(name, _)| self.said.insert(name.clone()));
        new.map(|(_, text)| text).collect()
    }

    /// All that holds over the last steps, by name.
    fn found(&self) -> Vec<(String, String)> {
        let window = Window(&self.last);
        let parts = [
            self.of_rewards(&window),
            self.of_labels(&window),
            self.of_projection(&window),
            self.of_policy(&window),
        ];
        parts.into_iter().flatten().collect()
    }

    fn of_rewards(&self, window: &Window) -> Vec<(String, String)> {
        let steps = self.steps;
        let mut found = Vec::new();
        let mut add = |name: &str, text: String| found.push((name.to_owned(), text));
        if window.every("reward/flat_frac", |share| share >= 1.0) {
            let mean = window.mean("reward/mean").unwrap_or(f64::NAN);
            add(
                "flat",
                format!(
                    "in {steps} steps the candidates of each problem all earned the same (reward/flat_frac 1, reward/mean {mean:.3}), so no \
                     reward says which is better: look at samples.jsonl whether answers are found and graded as meant; else take problems \
                     that the model gets right now and then, more `rollout.num_generations`, a higher `rollout.temperature`, or \
                     `rollout.dynamic_sampling`"
                ),
            );
            let moves = window.every("grad/norm", |norm| norm > 0.0)
                && window.every("objective/kl_projected", |kl| kl != 0.0);
            if moves {
                add(
                    "kappa_only",
                    format!(
                        "in {steps} steps the whole gradient came from the projected reference (reward/flat_frac 1, \
                         objective/kl_projected is not 0): the policy follows its own integrations and no reward; \
                         `objective.kappa = 0` turns that off until rewards differ"
                    ),
                );
            }
        }
        if window.every("completion/truncated_frac", |share| share >= 0.95) {
            add(
                "truncated",
                format!(
                    "in {steps} steps nearly all completions were cut at the longest length (completion/truncated_frac ≥ 0.95): raise \
                     `rollout.max_completion_length`, or see that the model ends its answers (its end token, `rollout.stop`)"
                ),
            );
        }
        found
    }

    fn of_labels(&self, window: &Window) -> Vec<(String, String)> {
        let steps = self.steps;
        let mut found = Vec::new();
        let mut add = |name: &str, text: String| found.push((name.to_owned(), text));
        for label in window.labels() {
            let zero = |kind: &str| window.every(&format!("reward/{label}_{kind}"), |value| value == 0.0);
            let never = |line: &Line| {
                line.get(&format!("reward/{label}_mean"))
                    .is_some_and(Value::is_null)
            };
            if zero("mean") && zero("std") {
                add(
                    &format!("zero {label}"),
                    format!(
                        "reward `{label}` was 0 for every completion of {steps} steps (reward/{label}_mean): look at samples.jsonl whether it \
                         asks for what the prompt asks for"
                    ),
                );
            } else if window.0.iter().all(never) {
                add(
                    &format!("none {label}"),
                    format!(
                        "reward `{label}` applied to no completion of {steps} steps (reward/{label}_mean is null): leave it out, or look why"
                    ),
                );
            }
        }
        found
    }

    fn of_projection(&self, window: &Window) -> Vec<(String, String)> {
        let steps = self.steps;
        let mut found = Vec::new();
        let mut add = |name: &str, text: String| found.push((name.to_owned(), text));
        let of_upsilon = ["std", "mean"].map(|kind| window.mean(&format!("projection/upsilon_{kind}")));
        if let [Some(std), Some(mean)] = of_upsilon
            && self.projects
            && std < UPSILON_SPREAD * mean.abs()
        {
            add(
                "upsilon",
                format!(
                    "Υ was nearly constant in {steps} steps (projection/upsilon_std {std:.4} of a mean of {mean:.3}): in its advantages this run \
                     is GRPO × {mean:.2}, at the price of GCPO; try another `features.similarity` or `features.context`, or \
                     train without (`objective.name = \"grpo\"`)"
                ),
            );
        }
        if let Some(share) = window
            .mean("projection/clamped_frac")
            .filter(|&share| share > 0.5)
        {
            add(
                "clamped",
                format!(
                    "{:.0} % of tokens in {steps} steps met a clamp of the projected reference (projection/clamped_frac), where it has no gradient: \
                     the integrations are far from the candidates; lower `objective.kappa`, or teach the model the integration prompt first \
                     (`gcpo sft`)",
                    100.0 * share
                ),
            );
        }
        found
    }

    fn of_policy(&self, window: &Window) -> Vec<(String, String)> {
        let steps = self.steps;
        let mut found = Vec::new();
        let mut add = |name: &str, text: String| found.push((name.to_owned(), text));
        let (first, count) = self.entropy;
        if let Some(entropy) = window.mean("policy/entropy")
            && count == steps
            && entropy < ENTROPY_LEFT * first
        {
            add(
                "entropy",
                format!(
                    "the policy's entropy fell to {entropy:.4} nats a token from {first:.4} (policy/entropy): its candidates are becoming one; lower \
                     `train.learning_rate`, raise `rollout.temperature` or `objective.epsilon_high`, or set `objective.beta` or \
                     `objective.entropy_coef`"
                ),
            );
        }
        if window.every("objective/kl_ref", |kl| kl > KL) {
            let kl = window.mean("objective/kl_ref").unwrap_or(f64::NAN);
            add(
                "kl",
                format!(
                    "the policy is {kl:.2} nats a token away from the reference model (objective/kl_ref > {KL} in {steps} steps): raise \
                     `objective.beta`, or lower `train.learning_rate`"
                ),
            );
        }
        if window.every("rollout/trainer_gap", |gap| (gap - 1.0).abs() > GAP) {
            let gap = window.mean("rollout/trainer_gap").unwrap_or(f64::NAN);
            add(
                "gap",
                format!(
                    "the trainer's probability of sampled tokens is {gap:.3} of the engine's (rollout/trainer_gap, 1 where they agree): gradients are of \
                     another policy than sampled; take `train.dtype = \"float32\"`, `objective.vllm_importance_sampling_correction`, and see `gcpo check`"
                ),
            );
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A step of a healthy run, with some numbers of it replaced.
    fn step(with: &[(&str, Value)]) -> Line {
        let line = json!({
            "step": 1, "reward/mean": 0.4, "reward/std": 0.5, "reward/flat_frac": 0.5, "reward/accuracy_mean": 0.4, "reward/accuracy_std": 0.5,
            "completion/truncated_frac": 0.1, "grad/norm": 0.3, "objective/kl_ref": 0.01, "objective/kl_projected": 0.2,
            "projection/upsilon_mean": 1.8, "projection/upsilon_std": 0.2, "projection/clamped_frac": 0.1, "policy/entropy": 0.5,
            "rollout/trainer_gap": 1.0001,
        });
        let Value::Object(mut line) = line else {
            panic!("an object")
        };
        line.extend(with.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        line
    }

    fn said(health: &mut Health, with: &[(&str, Value)], steps: usize) -> Vec<String> {
        let line = step(with);
        (0..steps).flat_map(|_| health.after(&line)).collect()
    }

    #[test]
    fn a_healthy_run_hears_nothing_and_neither_does_one_that_asks_for_nothing() {
        assert!(said(&mut Health::new(3, true), &[], 20).is_empty());
        assert!(said(&mut Health::new(0, true), &[("reward/flat_frac", json!(1.0))], 20).is_empty());
    }

    #[test]
    fn each_condition_is_named_with_its_metric_after_so_many_steps() {
        let same = |share: f64| {
            [
                ("reward/flat_frac", json!(share)),
                ("objective/kl_projected", json!(0)),
            ]
        };
        let [flat, mixed] = [same(1.0), same(0.9)];
        type Case<'a> = (&'a [(&'a str, Value)], &'a [&'a str]);
        let cases: [Case; 11] = [
            (&flat, &["reward/flat_frac"]),
            (&mixed, &[]),
            (
                &[("reward/flat_frac", json!(1))],
                &["reward/flat_frac", "projected reference"],
            ),
            (
                &[("completion/truncated_frac", json!(0.97))],
                &["completion/truncated_frac"],
            ),
            (
                &[("projection/upsilon_std", json!(0.01))],
                &["projection/upsilon_std"],
            ),
            (
                &[("projection/clamped_frac", json!(0.7))],
                &["projection/clamped_frac"],
            ),
            (&[("objective/kl_ref", json!(1.5))], &["objective/kl_ref"]),
            (&[("rollout/trainer_gap", json!(0.9))], &["rollout/trainer_gap"]),
            (
                &[
                    ("reward/accuracy_mean", json!(0)),
                    ("reward/accuracy_std", json!(0)),
                ],
                &["reward/accuracy_mean"],
            ),
            (
                &[
                    ("reward/accuracy_mean", Value::Null),
                    ("reward/accuracy_std", Value::Null),
                ],
                &["applied to no completion"],
            ),
            // Of no group with different rewards there is no Υ.
            (
                &[
                    ("projection/upsilon_std", Value::Null),
                    ("projection/upsilon_mean", Value::Null),
                ],
                &[],
            ),
        ];
        for (with, expected) in cases {
            let mut health = Health::new(3, true);
            assert!(said(&mut health, with, 2).is_empty(), "{with:?}");
            let texts = said(&mut health, with, 5);
            assert_eq!(texts.len(), expected.len(), "{with:?}: {texts:?}");
            for (text, part) in texts.iter().zip(expected) {
                assert!(text.contains(part), "{text}");
            }
        }
    }

    #[test]
    fn entropy_is_measured_by_the_first_steps() {
        let mut health = Health::new(3, false);
        assert!(said(&mut health, &[("projection/upsilon_std", json!(0))], 5).is_empty());
        let texts = said(&mut health, &[("policy/entropy", json!(0.02))], 9);
        assert!(
            texts.len() == 1 && texts[0].contains("0.0200 nats a token from 0.5000"),
            "{texts:?}"
        );
    }

    #[test]
    fn what_comes_back_is_said_again() {
        let mut health = Health::new(2, true);
        let cut = [("completion/truncated_frac", json!(1))];
        assert_eq!(said(&mut health, &cut, 6).len(), 1);
        assert!(said(&mut health, &[], 1).is_empty());
        assert_eq!(said(&mut health, &cut, 6).len(), 1);
    }
}
