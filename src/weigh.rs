//! From rewards and Υ to each candidate's weight in the policy gradient.

use burn::tensor::{Bool, Device, Tensor, TensorData};

use crate::group::{Candidate, Group};
use crate::objective::{Objective, ObjectiveError, Rewards, Scores};
use crate::rollout::Finish;

/// Fills in each candidate's weight, `B_i = A_i · Υ_i` or what the objective has in its place (eqs. 8, 11). All groups have
/// equally many candidates.
///
/// `weights`: those of the rewards in their sum, which `candidate.reward` is; read where the objective normalises each of them by itself.
///
/// Candidates without a reward get no weight, and count for no advantage. Those that were cut at the longest length get none
/// where the objective says so; their rewards count as any other. Where the objective subtracts a KL from the rewards, the candidates
/// have been scored by the reference model. Where each token has a weight of its own, the candidate's is their mean.
///
/// # Errors
/// [`ObjectiveError`] if the objective needs what was not projected.
pub fn weigh(
    groups: &mut [Group],
    objective: &Objective,
    weights: &[f64],
    device: &Device,
) -> Result<(), ObjectiveError> {
    if objective.weighs_tokens() {
        return weigh_tokens(groups, objective, device);
    }
    let (p, g) = (
        groups.len(),
        groups.first().map_or(0, |group| group.candidates.len()),
    );
    let table = |flat: Vec<f64>| Tensor::<2>::from_data(TensorData::new(flat, [p, g]), device);
    let penalised = |candidate: &Candidate| {
        let kl = match &candidate.logp_ref {
            Some(logp_ref) => {
                let to_come = objective.kl_to_come(&candidate.completion.logp, logp_ref);
                to_come.first().copied().unwrap_or(0.0)
            }
            None => 0.0,
        };
        candidate.reward.map(|reward| reward - kl)
    };
    // Whatever stands where there is no reward is not read; of a group's own it keeps differences small.
    let filled = |group: &Group| -> Vec<f64> {
        let rewards = || group.candidates.iter().map(penalised);
        let any = rewards().flatten().next().unwrap_or(0.0);
        rewards().map(|reward| reward.unwrap_or(any)).collect()
    };
    let summed_pg = || table(groups.iter().flat_map(filled).collect());
    let rewards_pg = match objective.rewards {
        Rewards::SumThenNormalize => summed_pg(),
        Rewards::NormalizeThenSum => scores(groups, weights, device)
            .normalized_sum()
            .unwrap_or_else(summed_pg),
    };
    let earned: Vec<bool> = groups
        .iter()
        .flat_map(|group| group.rewards().map(|reward| reward.is_some()))
        .collect();
    let earned_pg = Tensor::<2, Bool>::from_data(TensorData::new(earned, [p, g]), device);
    // A group that was not projected has advantages of 0, whatever stands here.
    let upsilon_pg = objective.needs_projection().then(|| {
        let candidates = groups.iter().flat_map(|group| &group.candidates);
        table(
            candidates
                .map(|candidate| candidate.upsilon.unwrap_or(1.0))
                .collect(),
        )
    });
    let weights_pg = objective.weigh(rewards_pg, Some(earned_pg), upsilon_pg)?;
    let found = weights_pg.into_data().convert::<f64>();
    let found = found.try_into_vec::<f64>().expect("converted to f64");
    let candidates = groups.iter_mut().flat_map(|group| &mut group.candidates);
    for (candidate, weight) in candidates.zip(found) {
        candidate.weight = is_in_loss(candidate, objective).then_some(weight);
    }
    Ok(())
}

fn is_in_loss(candidate: &Candidate, objective: &Objective) -> bool {
    let cut = objective.mask_truncated && candidate.completion.finish == Finish::Length;
    candidate.reward.is_some() && !cut
}

/// The same where each token has a weight of its own.
fn weigh_tokens(groups: &mut [Group], objective: &Objective, device: &Device) -> Result<(), ObjectiveError> {
    let candidates = || groups.iter().flat_map(|group| &group.candidates);
    let t = candidates().map(|candidate| candidate.tokens().len()).max();
    let (b, t) = (candidates().count(), t.unwrap_or(0));
    let (mut returns, mut keep) = (Vec::with_capacity(b * t), Vec::with_capacity(b * t));
    for (row, candidate) in candidates().enumerate() {
        if let Some(reward) = candidate.reward {
            let logp_ref = candidate
                .logp_ref
                .as_deref()
                .ok_or(ObjectiveError::MissingInput {
                    objective: objective.name,
                    input: "the reference model's log-probabilities",
                    because: "the KL in the reward",
                })?;
            let to_come = objective.kl_to_come(&candidate.completion.logp, logp_ref);
            returns.extend(to_come.into_iter().map(|kl| reward - kl));
        }
        keep.resize(returns.len(), true);
        returns.resize((row + 1) * t, 0.0);
        keep.resize((row + 1) * t, false);
    }
    let return_bt = Tensor::from_data(TensorData::new(returns, [b, t]), device);
    let keep_bt = Tensor::from_data(TensorData::new(keep, [b, t]), device);
    let weight_bt = objective.weigh_tokens(return_bt, keep_bt)?.into_data();
    let found = weight_bt.convert::<f32>().try_into_vec::<f32>();
    let found = found.expect("converted to f32");
    let candidates = groups.iter_mut().flat_map(|group| &mut group.candidates);
    for (candidate, row) in candidates.zip(found.chunks(t.max(1))) {
        if is_in_loss(candidate, objective) {
            let row = &row[..candidate.tokens().len()];
            let sum: f64 = row.iter().map(|&weight| f64::from(weight)).sum();
            candidate.weight = Some(sum / row.len().max(1) as f64);
            candidate.token_weights = Some(row.to_vec());
        }
    }
    Ok(())
}

/// What each reward says of the candidates.
fn scores(groups: &[Group], weights: &[f64], device: &Device) -> Scores {
    let shape = [
        groups.len(),
        groups.first().map_or(0, |group| group.candidates.len()),
    ];
    let of = |at: usize| -> Vec<Option<f64>> {
        let candidates = groups.iter().flat_map(|group| &group.candidates);
        candidates.map(|candidate| candidate.scores[at].value).collect()
    };
    let parts = (0..weights.len()).map(|at| {
        let values = of(at);
        // What stands where a reward does not apply is not read.
        let filled: Vec<f64> = values.iter().map(|value| value.unwrap_or(0.0)).collect();
        let applies: Vec<bool> = values.iter().map(Option::is_some).collect();
        (
            Tensor::<2>::from_data(TensorData::new(filled, shape), device),
            Tensor::<2, Bool>::from_data(TensorData::new(applies, shape), device),
        )
    });
    let (value_kpg, applies_kpg) = parts.unzip();
    Scores {
        value_kpg,
        applies_kpg,
        weight_k: weights.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use gcpo_data::Problem;

    use super::*;
    use crate::objective::{Clip, gcpo, grpo};
    use crate::rollout::{Completion, Contexts};
    use crate::testing::device;

    /// A group of candidates: what each earned, and whether it was cut.
    fn group(earned: &[(Option<f64>, bool)]) -> Group {
        let mut group = Group::new(
            Problem::default(),
            0,
            String::new(),
            Contexts::answer_only(vec![1]).unwrap(),
        );
        let candidate = |&(reward, cut): &(Option<f64>, bool)| {
            let completion = Completion {
                tokens: vec![1, 2],
                logp: vec![-1.0; 2],
                sampling_logp: vec![-1.0; 2],
                finish: if cut { Finish::Length } else { Finish::Eos },
            };
            Candidate {
                reward,
                upsilon: Some(2.0),
                ..Candidate::new(completion)
            }
        };
        group.candidates = earned.iter().map(candidate).collect();
        group
    }

    fn weights(groups: &mut [Group], objective: &Objective) -> Vec<Vec<Option<f64>>> {
        weigh(groups, objective, &[1.0], &device()).unwrap();
        let of = |group: &Group| {
            group
                .candidates
                .iter()
                .map(|candidate| candidate.weight)
                .collect()
        };
        groups.iter().map(of).collect()
    }

    #[test]
    fn what_earned_nothing_has_no_weight_and_what_was_cut_only_where_it_is_masked() {
        let clip = Clip { low: 0.2, high: 0.2 };
        let z = 0.5 / (0.5f64.sqrt() + 1e-4);
        for (objective, times) in [
            (grpo(0.0, clip), 1.0),
            (gcpo(1.0, 0.06, 0.0, clip, 1e-6, 10.0), 2.0),
        ] {
            for mask_truncated in [false, true] {
                let mut groups = [
                    group(&[(None, false), (Some(1.0), false), (Some(0.0), true)]),
                    group(&[(None, false), (Some(3.0), false), (None, true)]),
                    group(&[(None, true); 3]),
                ];
                let objective = Objective {
                    mask_truncated,
                    ..objective
                };
                let found = weights(&mut groups, &objective);
                let close = |weight: Option<f64>, expected: f64| (weight.unwrap() - expected).abs() < 1e-6;
                assert!(
                    found[0][0].is_none() && close(found[0][1], times * z),
                    "{found:?}"
                );
                match mask_truncated {
                    true => assert_eq!(found[0][2], None),
                    false => assert!(close(found[0][2], -times * z), "{found:?}"),
                }
                assert_eq!(found[1], [None, Some(0.0), None]);
                assert_eq!(found[2], [None; 3]);
                assert!(groups[1].is_flat() && groups[2].is_flat() && !groups[0].is_flat());
                assert_eq!(groups[0].candidates[1].tokens_in_loss(), 2);
                assert_eq!(groups[0].candidates[0].tokens_in_loss(), 0);
            }
        }
    }
}
