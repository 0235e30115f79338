//! The unit that flows through a step: one problem with its candidates and all that is found of them.
//!
//! Each stage fills in what it knows: [`sample`](crate::sample) the candidates, [`Reward::grade`](crate::reward::Reward::grade)
//! what they earn, [`project`](crate::projection::project) the integrations and Υ, [`weigh`](crate::weigh::weigh) the weights
//! of the policy gradient. The learner reads the whole.
//!
//! Axes: `g` candidates, `j` integrations, `t` tokens, `d` features.

use std::sync::Arc;

use burn::tensor::Tensor;
use gcpo_data::{Asked, Problem};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::objective::{Objective, Rewards};
use crate::rollout::{Completion, Contexts, Prefix};

/// A problem of a step, with its candidates and what is known of them.
pub struct Group {
    /// What is asked.
    pub problem: Problem,
    /// Its number in the step: names its streams of random numbers.
    pub number: usize,
    /// The rank that samples, grades, projects and trains it; the first, where there is one alone. Others know what it told them.
    pub rank: usize,
    /// The prompt of a candidate, as text.
    pub prompt: String,
    /// The same before it was tokens, for rewards; none where nobody is to see it.
    pub asked: Option<Asked>,
    /// Its contexts, in tokens.
    pub contexts: Contexts,
    /// `[g]`: the candidates `y_i`; none before they are sampled.
    pub candidates: Vec<Candidate>,
    /// `[j]`: the integrated answers `y_{n,j}`; none where the objective needs none.
    pub integrations: Vec<Completion>,
    /// Its node `(q)` in the tree of prefixes, which later stages go on from; let go of by the last that does. The groups of one
    /// prefix were run together on one device and are neighbours: a group's row in it is its place among them ([`waves`]).
    pub root: Option<Arc<Prefix>>,
    /// `[g, d]`: in-context representations of the candidates, where asked for.
    pub hidden_gd: Option<Tensor<2>>,
}

/// One candidate `y_i` of a group. What is not told to other ranks is of use only where it is trained.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Candidate {
    /// Its tokens, and how they were drawn.
    pub completion: Completion,
    /// Its text, special tokens left out; empty before it is graded.
    pub text: String,
    /// What each `[[reward]]` says of it, in their order.
    pub scores: Vec<Score>,
    /// What it earns: the weighted sum of its scores; none before it is graded, and where no reward applies to it.
    pub reward: Option<f64>,
    /// Υ (eq. 11); none where it was not projected.
    pub upsilon: Option<f64>,
    /// `B_i`, or `A_i`: its weight in the policy gradient (eq. 8); none before it is weighed, and where it is left out of the loss.
    #[serde(skip)]
    pub weight: Option<f64>,
    /// `[t]`: the same of each of its tokens, where these have weights of their own, and `weight` is their mean.
    pub token_weights: Option<Vec<f32>>,
    /// What the κ term needs, where there is one.
    #[serde(skip)]
    pub collider: Option<Collider>,
    /// `[t]`: log-probabilities of its tokens under the reference model, in nats, where there is one.
    pub logp_ref: Option<Vec<f32>>,
    /// `[t]`: the same under the policy that sampled, by the trainer's forward, where that is asked for.
    #[serde(skip)]
    pub logp_trainer: Option<Vec<f32>>,
    /// `[t]`: whether its tokens are among those of the highest entropy in their update, where only these count.
    #[serde(skip)]
    pub selected: Option<Vec<bool>>,
}

/// What one reward says of a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Its value before it is weighed; none where the reward does not apply.
    pub value: Option<f64>,
    /// What else a program or a function said; none where nothing else was said.
    pub note: Option<Map<String, Value>>,
}

impl Score {
    /// Of a reward that is no program.
    pub fn of(value: f64) -> Self {
        Self {
            value: Some(value),
            note: None,
        }
    }
}

/// What the κ term needs of one candidate (eqs. 12, 13).
#[derive(Debug, Clone)]
pub struct Collider {
    /// The context `x_i = x_{i,0}`, in tokens.
    pub context: Vec<u32>,
    /// `[j][t]`: `log p_{x,l}`, of each of the candidate's tokens in the context `x_{i,l}`, in nats.
    pub logp_x: Vec<Vec<f32>>,
}

impl Group {
    /// A problem that is yet to be asked.
    pub fn new(problem: Problem, number: usize, prompt: String, contexts: Contexts) -> Self {
        Self {
            problem,
            number,
            rank: 0,
            prompt,
            asked: None,
            contexts,
            candidates: Vec::new(),
            integrations: Vec::new(),
            root: None,
            hidden_gd: None,
        }
    }

    /// `[g]`: what the candidates earn; none where no reward applies.
    pub fn rewards(&self) -> impl Iterator<Item = Option<f64>> + '_ {
        self.candidates.iter().map(|candidate| candidate.reward)
    }

    /// Lets go of what only the stages before the learner need: keys and values, and representations.
    pub fn release(&mut self) {
        self.root = None;
        self.hidden_gd = None;
    }

    /// Lets go of its node in the tree of prefixes.
    pub fn let_go_of_prefix(&mut self) {
        self.root = None;
    }

    /// Whether its candidates have no weight under an objective, as they all earned the same.
    pub fn is_idle(&self, objective: &Objective) -> bool {
        let is_same = match objective.rewards {
            Rewards::SumThenNormalize => self.is_flat(),
            Rewards::NormalizeThenSum => self.is_flat_in_each(),
        };
        is_same && objective.flat_is_idle()
    }

    /// Whether each reward says the same of all candidates that it applies to.
    fn is_flat_in_each(&self) -> bool {
        let count = self.candidates.first().map_or(0, |first| first.scores.len());
        (0..count).all(|at| {
            let mut said = self
                .candidates
                .iter()
                .filter_map(|candidate| candidate.scores[at].value);
            let first = said.next();
            said.all(|value| Some(value) == first)
        })
    }

    /// Whether all candidates that earned anything earned the same: their advantages are 0.
    pub fn is_flat(&self) -> bool {
        let mut earned = self.rewards().flatten();
        let first = earned.next();
        earned.all(|reward| Some(reward) == first)
    }
}

/// Has `work` done with the groups of rank `rank` alone, as if there were no others; all stay in their order.
pub fn with_those_of<T>(rank: usize, groups: &mut Vec<Group>, work: impl FnOnce(&mut [Group]) -> T) -> T {
    if groups.iter().all(|group| group.rank == rank) {
        return work(groups);
    }
    let ranks: Vec<usize> = groups.iter().map(|group| group.rank).collect();
    let (mut own, others): (Vec<Group>, Vec<Group>) = std::mem::take(groups)
        .into_iter()
        .partition(|group| group.rank == rank);
    let done = work(&mut own);
    let (mut own, mut others) = (own.into_iter(), others.into_iter());
    let next = |of: usize| match of == rank {
        true => own.next(),
        false => others.next(),
    };
    groups.extend(ranks.into_iter().filter_map(next));
    done
}

/// Groups that were run together below one prefix, the neighbours of each other.
pub fn waves(groups: &mut [Group]) -> impl Iterator<Item = &mut [Group]> {
    groups.chunk_by_mut(|a, b| match (&a.root, &b.root) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    })
}

impl Candidate {
    /// What was sampled, nothing known of it yet.
    pub fn new(completion: Completion) -> Self {
        Self {
            completion,
            text: String::new(),
            scores: Vec::new(),
            reward: None,
            upsilon: None,
            weight: None,
            token_weights: None,
            collider: None,
            logp_ref: None,
            logp_trainer: None,
            selected: None,
        }
    }

    /// Its tokens, the EOS that ended it included.
    pub fn tokens(&self) -> &[u32] {
        &self.completion.tokens
    }

    /// How many of its tokens the policy term sees: those of the highest entropy, where only these count.
    pub fn tokens_selected(&self) -> usize {
        match &self.selected {
            Some(selected) => selected[..self.tokens_in_loss()].iter().filter(|&&is| is).count(),
            None => self.tokens_in_loss(),
        }
    }

    /// How many of its tokens the loss sees: all, or none if it is left out.
    pub fn tokens_in_loss(&self) -> usize {
        self.weight.map_or(0, |_| self.tokens().len())
    }
}

impl AsRef<Completion> for Candidate {
    fn as_ref(&self) -> &Completion {
        &self.completion
    }
}
