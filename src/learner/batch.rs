//! What a pass of the network sees: candidates with their contexts as tensors, padded to one length.
//!
//! Axes: `b` rows, `t` tokens of a completion, `l` integrations, `d` features.

use burn::tensor::{Bool, Device, Tensor, TensorData};
use gcpo_model::llama::Llama;
use gcpo_model::logp::{TokenLogp, completion_logp, completion_logp_and_entropy};

use crate::group::{Candidate, Collider, Group};
use crate::objective::{LossInputs, Projected as ProjectedTerms};
use crate::projection::{ProjectionError, reference};

/// A candidate and the group that it is of.
pub type Member<'a> = (&'a Group, &'a Candidate);

/// A context with the tokens behind it.
pub(super) type Pair<'a> = (&'a [u32], &'a [u32]);

/// Candidates in the context that they were sampled in.
pub(super) fn asked<'a>(members: &[Member<'a>]) -> Vec<Pair<'a>> {
    members
        .iter()
        .map(|(group, candidate)| (group.contexts.answer(), candidate.tokens()))
        .collect()
}

/// Candidates in the contexts of the κ term, those that have one.
pub(super) fn projected<'a>(members: &[Member<'a>]) -> Vec<Pair<'a>> {
    let with_context = |(_, candidate): &Member<'a>| {
        let collider = candidate.collider.as_ref()?;
        Some((collider.context.as_slice(), candidate.tokens()))
    };
    members.iter().filter_map(with_context).collect()
}

/// The tensors of some candidates.
pub struct Micro {
    /// For the loss.
    pub inputs: LossInputs,
    /// `[b, t]`: entropy of the policy at each token, in nats.
    pub entropy_bt: Tensor<2>,
}

impl Micro {
    /// Over all tokens: the sum of the policy's entropy, and of `exp |log p − log p_old| − 1`.
    pub fn policy_sums(&self) -> [f64; 2] {
        let LossInputs { logp_bt, keep_bt, .. } = &self.inputs;
        // As the engine had it.
        let logp_old_bt = self
            .inputs
            .logp_sampled_bt
            .as_ref()
            .unwrap_or(&self.inputs.logp_old_bt);
        let keep_bt = keep_bt.clone().float();
        let gap_bt = (logp_bt.clone().inner() - logp_old_bt.clone()).abs().exp() - 1.0;
        // What is beyond a completion's end may be as far apart as it likes.
        let gap_bt = gap_bt.mask_fill(self.inputs.keep_bt.clone().bool_not(), 0.0);
        let sums = [self.entropy_bt.clone().inner(), gap_bt].map(|of_bt| (of_bt * keep_bt.clone()).sum());
        let sums = Tensor::cat(sums.to_vec(), 0).into_data().convert::<f64>();
        let sums = sums.try_into_vec::<f64>().expect("converted to f64");
        [sums[0], sums[1]]
    }
}

/// Runs the policy on some candidates, with gradients if `model` has autodiff; `with_entropy`: that of its entropy, too.
///
/// # Errors
/// [`ProjectionError`] if what the κ term needs does not fit the candidates.
pub fn micro_batch(
    model: &Llama,
    members: &[Member],
    temperature: f64,
    with_entropy: bool,
) -> Result<Micro, ProjectionError> {
    let device = model.device().inner();
    let rows: Vec<&Candidate> = members.iter().map(|(_, candidate)| *candidate).collect();
    let lengths: Vec<usize> = rows.iter().map(|row| row.tokens().len()).collect();
    let t = lengths.iter().copied().max().unwrap_or(0);
    let kept: Vec<usize> = rows.iter().map(|row| row.tokens_in_loss()).collect();
    let keep_bt = keep(&kept, t, &device);
    let logp_old_bt = padded(rows.iter().map(|row| row.completion.logp.as_slice()), t, &device);
    let TokenLogp { logp_bt, entropy_bt } = match with_entropy {
        true => completion_logp_and_entropy(model, &asked(members), temperature),
        false => completion_logp(model, &asked(members), temperature),
    };
    let colliders: Option<Vec<&Collider>> = rows.iter().map(|row| row.collider.as_ref()).collect();
    let projected = match colliders {
        None => None,
        Some(colliders) => {
            let pairs = projected(members);
            let l = colliders[0].logp_x.len();
            let scores = colliders.iter().flat_map(|c| c.logp_x.iter().map(Vec::as_slice));
            let logp_x_blt = padded(scores, t, &device).reshape([rows.len(), l, t]);
            Some(ProjectedTerms {
                logp_x_bt: completion_logp(model, &pairs, temperature).logp_bt,
                pi_ref_bt: reference(logp_old_bt.clone(), logp_x_blt, keep_bt.clone())?,
            })
        }
    };
    let known = |of| of_all(&rows, of, t, &device);
    let logp_trainer_bt = known(|row| row.logp_trainer.as_deref());
    let selected: Option<Vec<&[bool]>> = rows.iter().map(|row| row.selected.as_deref()).collect();
    let weights: Vec<f64> = rows.iter().map(|row| row.weight.unwrap_or(0.0)).collect();
    let advantage_b1 = || Tensor::from_data(TensorData::new(weights, [rows.len(), 1]), &device);
    let inputs = LossInputs {
        logp_ref_bt: known(|row| row.logp_ref.as_deref()),
        projected,
        entropy_bt: with_entropy.then(|| entropy_bt.clone()),
        selected_bt: selected.map(|rows| flags(&rows, t, &device)),
        logp_sampled_bt: logp_trainer_bt.is_some().then(|| logp_old_bt.clone()),
        group_b: Some(members.iter().map(|(group, _)| group.number).collect()),
        ..LossInputs::new(
            logp_bt,
            logp_trainer_bt.unwrap_or(logp_old_bt),
            known(|row| row.token_weights.as_deref()).unwrap_or_else(advantage_b1),
            keep_bt,
        )
    };
    Ok(Micro { inputs, entropy_bt })
}

/// Numbers that are known of all candidates, or of none: `[b, t]`.
fn of_all(
    rows: &[&Candidate],
    of: fn(&Candidate) -> Option<&[f32]>,
    t: usize,
    device: &Device,
) -> Option<Tensor<2>> {
    let known: Option<Vec<&[f32]>> = rows.iter().map(|row| of(row)).collect();
    known.map(|rows| padded(rows.into_iter(), t, device))
}

/// Rows of numbers, filled up with 0 on the right: `[b, t]`.
fn padded<'a>(rows: impl Iterator<Item = &'a [f32]>, t: usize, device: &Device) -> Tensor<2> {
    let mut flat = Vec::new();
    let mut b = 0;
    for row in rows {
        flat.extend_from_slice(row);
        flat.resize((b + 1) * t, 0.0);
        b += 1;
    }
    Tensor::from_data(TensorData::new(flat, [b, t]), device)
}

/// Rows of flags, filled up with false on the right: `[b, t]`.
fn flags(rows: &[&[bool]], t: usize, device: &Device) -> Tensor<2, Bool> {
    let flat: Vec<bool> = rows
        .iter()
        .flat_map(|row| (0..t).map(move |at| row.get(at).copied().unwrap_or(false)))
        .collect();
    Tensor::from_data(TensorData::new(flat, [rows.len(), t]), device)
}

/// True where a token is part of its row, which is of so many: `[b, t]`.
fn keep(lengths: &[usize], t: usize, device: &Device) -> Tensor<2, Bool> {
    let flat: Vec<bool> = lengths
        .iter()
        .flat_map(|&length| (0..t).map(move |at| at < length))
        .collect();
    Tensor::from_data(TensorData::new(flat, [lengths.len(), t]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::device;

    #[test]
    fn the_gap_is_of_the_tokens_that_count_and_small_ones_are_seen() {
        let device = device();
        let bt = |values: [[f32; 2]; 2]| Tensor::<2>::from_floats(values, &device);
        let micro = Micro {
            inputs: LossInputs::new(
                bt([[-1.0, -2.0], [-3.0, -900.0]]),
                bt([[-1.0, -2.00001], [-2.5, -1.0]]),
                Tensor::from_floats([[0.0], [0.0]], &device),
                keep(&[2, 1], 2, &device),
            ),
            entropy_bt: bt([[0.5, 0.25], [1.0, 7.0]]),
        };
        let [entropy, gap] = micro.policy_sums();
        assert_eq!(entropy, 1.75);
        let exact = 1e-5f64.exp_m1() + 0.5f64.exp_m1();
        assert!((gap - exact).abs() < 1e-6, "{gap} {exact}");
    }
}
