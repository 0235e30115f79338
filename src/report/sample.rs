//! The lines of `samples.jsonl`: what was sampled for a query, as text.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::group::Group;
use crate::policy::Policy;
use crate::rollout::Finish;

/// A line of `samples.jsonl`: one query of a step with everything that was sampled for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// The step.
    pub step: usize,
    /// The problem's name in its data set.
    pub problem: String,
    /// The prompt as text.
    pub prompt: String,
    /// The gold answer, where there is one.
    pub answer: Option<String>,
    /// The candidates `y_i`, as text.
    pub completions: Vec<String>,
    /// The integrations `y_{n,j}`, as text.
    pub integrations: Vec<String>,
    /// Why each candidate ended: `eos`, `stop` or `length`.
    pub finish: Vec<Finish>,
    /// Length of each candidate in tokens, the one that ended it included.
    pub lengths: Vec<usize>,
    /// Reward of each candidate; null where none applies.
    pub rewards: Vec<Option<f64>>,
    /// What the rewards are the weighted sums of: each one's label, with its value for each candidate. Null where it does
    /// not apply.
    pub components: Map<String, Value>,
    /// Υ of each candidate; empty where it was not computed.
    pub upsilon: Vec<f64>,
    /// Weight of each candidate in the policy gradient: its advantage, by Υ where there is one (`B_i`, eq. 8); null where it is left out
    /// of the loss. Not there in tree search, which has none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub advantages: Vec<Option<f64>>,
    /// What programs said beside their rewards: each one's label, with its words on each candidate.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub reward_notes: Map<String, Value>,
}

impl Sample {
    /// What was sampled for each group of a step, once its candidates are weighed; the rewards have these labels.
    pub fn all(step: usize, groups: &[Group], labels: &[&str], policy: &Policy) -> Vec<Self> {
        groups
            .iter()
            .map(|group| Self::of(step, group, labels, policy))
            .collect()
    }

    fn of(step: usize, group: &Group, labels: &[&str], policy: &Policy) -> Self {
        let candidates = &group.candidates;
        let (mut components, mut reward_notes) = (Map::new(), Map::new());
        for (at, label) in labels.iter().enumerate() {
            let values: Vec<Option<f64>> = candidates.iter().map(|c| c.scores[at].value).collect();
            components.insert((*label).to_owned(), values.into());
            let notes: Option<Vec<_>> = candidates.iter().map(|c| c.scores[at].note.clone()).collect();
            if let Some(notes) = notes {
                reward_notes.insert(
                    (*label).to_owned(),
                    notes.into_iter().map(Value::Object).collect(),
                );
            }
        }
        let weights: Vec<Option<f64>> = candidates.iter().map(|candidate| candidate.weight).collect();
        let is_weighed = weights.iter().any(Option::is_some);
        Self {
            step,
            problem: group.problem.id.clone(),
            prompt: group.prompt.clone(),
            answer: group.problem.answer.clone(),
            completions: candidates
                .iter()
                .map(|candidate| candidate.text.clone())
                .collect(),
            integrations: group
                .integrations
                .iter()
                .map(|y_n| group.problem.answered(policy.decode(y_n)))
                .collect(),
            finish: candidates
                .iter()
                .map(|candidate| candidate.completion.finish)
                .collect(),
            lengths: candidates
                .iter()
                .map(|candidate| candidate.tokens().len())
                .collect(),
            rewards: group.rewards().collect(),
            advantages: if is_weighed { weights } else { Vec::new() },
            components,
            upsilon: candidates
                .iter()
                .filter_map(|candidate| candidate.upsilon)
                .collect(),
            reward_notes,
        }
    }
}
