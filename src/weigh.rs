//! From rewards and Υ to each candidate's weight in the policy gradient.

use burn::tensor::{Device, Tensor, TensorData};

use crate::group::Group;
use crate::objective::{Objective, ObjectiveError};

/// Fills in each candidate's weight, `B_i = A_i · Υ_i` or what the objective has in its place (eqs. 8, 11). All groups have
/// equally many candidates.
///
/// # Errors
/// [`ObjectiveError`] if the objective needs what was not projected.
pub fn weigh(groups: &mut [Group], objective: &Objective, device: &Device) -> Result<(), ObjectiveError> {
    let (p, g) = (
        groups.len(),
        groups.first().map_or(0, |group| group.candidates.len()),
    );
    let table = |flat: Vec<f64>| Tensor::<2>::from_data(TensorData::new(flat, [p, g]), device);
    let rewards_pg = table(groups.iter().flat_map(Group::rewards).collect());
    // A group that was not projected has advantages of 0, whatever stands here.
    let upsilon_pg = objective.needs_projection().then(|| {
        let candidates = groups.iter().flat_map(|group| &group.candidates);
        table(
            candidates
                .map(|candidate| candidate.upsilon.unwrap_or(1.0))
                .collect(),
        )
    });
    let weights_pg = objective.weigh(rewards_pg, upsilon_pg)?;
    let weights = weights_pg.into_data().convert::<f64>();
    let weights = weights.try_into_vec::<f64>().expect("converted to f64");
    let candidates = groups.iter_mut().flat_map(|group| &mut group.candidates);
    for (candidate, weight) in candidates.zip(weights) {
        candidate.weight = weight;
    }
    Ok(())
}
