//! What ranks tell each other of a step's groups: each samples, grades and projects its share, and all must know what the objective
//! needs of the whole step. What only training needs (the κ term's contexts) stays where it is.

use serde::{Deserialize, Serialize};

use super::StepError;
use crate::group::{Candidate, Group, with_those_of};
use crate::objective::Objective;
use crate::ranks::share::deal;
use crate::ranks::{Failed, Ranks};
use crate::rollout::Completion;

/// What is told of a group once its candidates are graded.
#[derive(Serialize, Deserialize)]
struct Graded {
    candidates: Vec<Candidate>,
}

/// What is told of a group once it is projected.
#[derive(Serialize, Deserialize)]
struct Projected {
    integrations: Vec<Completion>,
    upsilon: Vec<Option<f64>>,
}

/// Shares groups out over ranks: the largest first, by the tokens that are expected; in each of `parts` ranges that are updates of their
/// own, so that no rank waits in one of them. `sampled`: tokens of all completions of a group, at most.
pub(super) fn share_out(ranks: &Ranks, groups: &mut [Group], sampled: usize, parts: usize) {
    if ranks.is_alone() {
        return;
    }
    let mut before = vec![0u64; ranks.size()];
    for range in crate::learner::split(groups.len(), parts) {
        let groups = &mut groups[range];
        let cost = |group: &Group| (group.contexts.answer().len() + sampled) as u64;
        let costs: Vec<u64> = groups.iter().map(cost).collect();
        // Who has less of the parts before comes first where a part would be even either way.
        let least = before.iter().min().copied().unwrap_or(0);
        let mut loads: Vec<u64> = before.iter().map(|load| load - least).collect();
        for (group, rank) in groups.iter_mut().zip(deal(&costs, &mut loads)) {
            group.rank = rank;
        }
        before = loads;
    }
}

/// Tells all ranks what this one sampled and graded, and takes what they did.
pub(super) fn tell_graded(ranks: &Ranks, groups: &mut [Group]) {
    let graded = |group: &Group| Graded {
        candidates: group.candidates.clone(),
    };
    tell(ranks, groups, graded, |group, told| {
        group.candidates = told.candidates
    });
}

/// Tells all ranks what this one projected, and takes what they did.
pub(super) fn tell_projected(ranks: &Ranks, groups: &mut [Group]) {
    let projected = |group: &Group| Projected {
        integrations: group.integrations.clone(),
        upsilon: group
            .candidates
            .iter()
            .map(|candidate| candidate.upsilon)
            .collect(),
    };
    tell(ranks, groups, projected, |group, told| {
        group.integrations = told.integrations;
        for (candidate, upsilon) in group.candidates.iter_mut().zip(told.upsilon) {
            candidate.upsilon = upsilon;
        }
    });
}

/// Tells all ranks what the reference model says of this one's candidates, where weights depend on it.
pub(super) fn tell_reference(ranks: &Ranks, objective: &Objective, groups: &mut [Group]) {
    if objective.kl_in_reward() == 0.0 {
        return;
    }
    let scored = |group: &Group| -> Vec<Option<Vec<f32>>> {
        let candidates = group.candidates.iter();
        candidates.map(|candidate| candidate.logp_ref.clone()).collect()
    };
    tell(ranks, groups, scored, |group, told| {
        for (candidate, logp_ref) in group.candidates.iter_mut().zip(told) {
            candidate.logp_ref = logp_ref;
        }
    });
}

/// Takes what other ranks say of their groups.
fn tell<T: Serialize + for<'a> Deserialize<'a>>(
    ranks: &Ranks,
    groups: &mut [Group],
    say: impl Fn(&Group) -> T,
    take: impl Fn(&mut Group, T),
) {
    if ranks.is_alone() {
        return;
    }
    let own: Vec<T> = groups
        .iter()
        .filter(|group| group.rank == ranks.rank())
        .map(say)
        .collect();
    let mut told: Vec<_> = ranks.all_gather(own).into_iter().map(Vec::into_iter).collect();
    for group in groups {
        if let Some(told) = told[group.rank].next()
            && group.rank != ranks.rank()
        {
            take(group, told);
        }
    }
}

/// What every rank does with its groups; of the errors, all ranks get one.
///
/// # Errors
/// This rank's, or another's.
pub(super) fn on_own<T>(
    ranks: &Ranks,
    groups: &mut Vec<Group>,
    work: impl FnOnce(&mut [Group]) -> Result<T, StepError>,
) -> Result<T, StepError> {
    agree(ranks, with_those_of(ranks.rank(), groups, work))
}

/// [`Ranks::agree`] of what stops a step: the same for all ranks.
///
/// # Errors
/// This rank's, or another's.
pub(super) fn agree<T>(ranks: &Ranks, own: Result<T, StepError>) -> Result<T, StepError> {
    let marked = own.map_err(Marked);
    ranks.agree(marked).map_err(|failed| match failed {
        Failed::Here(Marked(error)) => error,
        Failed::Elsewhere { rank, said } => {
            let of_the_policy = said.starts_with(OF_THE_POLICY);
            StepError::Elsewhere {
                rank,
                said: said.trim_start_matches(OF_THE_POLICY).to_owned(),
                of_the_policy,
            }
        }
    })
}

/// What an error of the policy as it was begins with on its way.
const OF_THE_POLICY: char = '\u{1}';

struct Marked(StepError);

impl std::fmt::Display for Marked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_of_the_policy() {
            write!(f, "{OF_THE_POLICY}")?;
        }
        self.0.fmt(f)
    }
}
