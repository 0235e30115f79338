//! What the optimiser sees: rows of tokens with constants, cut into micro-batches of tensors.
//!
//! Axes: `b` rows, `t` tokens of a completion, `l` integrations, `d` features.

use burn::tensor::{Bool, Device, Tensor, TensorData};
use gcpo_model::llama::Llama;
use gcpo_model::logp::{TokenLogp, completion_logp};

use crate::objective::{Hyper, LossInputs, Objective, ObjectiveError, Projected as ProjectedTerms};
use crate::parallel::split;
use crate::projection::{ColliderScores, Projected, ProjectionError, reference};
use crate::rollout::{Engine, RolloutError};

/// One completion with all that is constant during the step.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its prompt in the step.
    pub prompt: usize,
    /// The tokens in front of it.
    pub context: Vec<u32>,
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Their log-probabilities under the policy that sampled them.
    pub logp_old: Vec<f32>,
    /// The same under the reference model, where there is one.
    pub logp_ref: Option<Vec<f32>>,
    /// The weight `B_i` (or `A_i`) of the policy gradient.
    pub weight: f64,
    /// What the κ term needs.
    pub collider: Option<ColliderScores>,
}

/// All rows of a step, the candidates of a prompt together.
#[derive(Debug, Clone)]
pub struct Batch {
    /// `p·g` rows.
    pub rows: Vec<Row>,
    /// Candidates of a prompt.
    pub num_generations: usize,
}

/// The tensors of some rows.
pub struct Micro {
    /// For the loss.
    pub inputs: LossInputs,
    /// `[b, t]`: entropy of the policy at each token, in nats, detached.
    pub entropy_bt: Tensor<2>,
}

impl Micro {
    /// Over all tokens: the sum of the policy's entropy, and of `exp |log p − log p_old| − 1`.
    pub fn policy_sums(&self) -> [f64; 2] {
        let LossInputs {
            logp_bt,
            logp_old_bt,
            keep_bt,
            ..
        } = &self.inputs;
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

impl Batch {
    /// Weighs the candidates of a step.
    ///
    /// # Errors
    /// [`ObjectiveError`] if the objective needs what was not projected.
    pub fn new(
        projected: Projected,
        objective: Objective,
        hyper: &Hyper,
        device: &Device,
    ) -> Result<Self, ObjectiveError> {
        let Projected {
            graded,
            mut colliders,
            upsilon,
            ..
        } = projected;
        let p = graded.rewards.len();
        let g = graded.rewards[0].len();
        let table = |flat: Vec<f64>| Tensor::<2>::from_data(TensorData::new(flat, [p, g]), device);
        let rewards_pg = table(graded.rewards.concat());
        // A prompt that was not projected has advantages of 0, whatever stands here.
        let upsilon_pg = objective.needs_projection().then(|| {
            table(
                upsilon
                    .into_iter()
                    .flat_map(|row| row.unwrap_or_else(|| vec![1.0; g]))
                    .collect(),
            )
        });
        let weights = objective
            .weigh(rewards_pg, upsilon_pg, hyper)?
            .into_data()
            .convert::<f64>();
        let mut weights = weights
            .try_into_vec::<f64>()
            .expect("converted to f64")
            .into_iter();
        let rollouts = graded.rollouts;
        let mut rows = Vec::with_capacity(p * g);
        for (prompt, candidates) in rollouts.candidates.into_iter().enumerate() {
            let mut scores = std::mem::take(&mut colliders[prompt]).into_iter();
            for candidate in candidates {
                rows.push(Row {
                    prompt,
                    context: rollouts.plans[prompt].answer().to_vec(),
                    tokens: candidate.tokens,
                    logp_old: candidate.logp,
                    logp_ref: None,
                    weight: weights.next().expect("one weight a candidate"),
                    collider: scores.next(),
                });
            }
        }
        Ok(Self {
            rows,
            num_generations: g,
        })
    }

    /// The rows in `count` parts of whole prompts, sizes as equal as can be.
    pub fn parts_mut(&mut self, count: usize) -> Vec<&mut [Row]> {
        let prompts = self.rows.len() / self.num_generations;
        let mut rest = self.rows.as_mut_slice();
        split(prompts, count)
            .into_iter()
            .map(|part| {
                let (rows, after) = std::mem::take(&mut rest).split_at_mut(part.len() * self.num_generations);
                rest = after;
                rows
            })
            .collect()
    }

    /// Fills in rows' log-probabilities under the reference model, whose engine it is given. A prompt is run once for all
    /// its candidates.
    ///
    /// # Errors
    /// [`RolloutError::Memory`] if the engine's budget holds too little.
    pub fn score_reference(rows: &mut [Row], reference: &Engine) -> Result<(), RolloutError> {
        for rows in rows.chunk_by_mut(|a, b| a.context == b.context) {
            let root = reference.root(&[&rows[0].context]);
            let requests: Vec<(usize, &[u32])> = rows.iter().map(|row| (0, row.tokens.as_slice())).collect();
            let scores = reference.score(&root, &requests)?;
            for (row, scores) in rows.iter_mut().zip(scores) {
                row.logp_ref = Some(scores);
            }
        }
        Ok(())
    }

    /// The rows of each of `count` mini-batches: whole prompts, sizes as equal as can be.
    pub fn mini_batches(&self, count: usize) -> Vec<&[Row]> {
        let prompts = self.rows.len() / self.num_generations;
        split(prompts, count)
            .into_iter()
            .map(|part| &self.rows[part.start * self.num_generations..part.end * self.num_generations])
            .collect()
    }
}

/// Runs the policy on some rows, with gradients if `model` has autodiff.
///
/// # Errors
/// [`ProjectionError`] if the collider's scores do not fit the rows.
pub fn micro_batch(model: &Llama, rows: &[&Row], temperature: f64) -> Result<Micro, ProjectionError> {
    let device = model.device().inner();
    let t = rows.iter().map(|r| r.tokens.len()).max().unwrap_or(0);
    let lengths: Vec<usize> = rows.iter().map(|r| r.tokens.len()).collect();
    let keep_bt = keep(&lengths, t, &device);
    let logp_old_bt = padded(rows.iter().map(|r| r.logp_old.as_slice()), t, &device);
    let pairs: Vec<(&[u32], &[u32])> = rows
        .iter()
        .map(|r| (r.context.as_slice(), r.tokens.as_slice()))
        .collect();
    let TokenLogp { logp_bt, entropy_bt } = completion_logp(model, &pairs, temperature);
    let colliders: Option<Vec<&ColliderScores>> = rows.iter().map(|r| r.collider.as_ref()).collect();
    let projected = match colliders {
        None => None,
        Some(colliders) => {
            let pairs: Vec<(&[u32], &[u32])> = rows
                .iter()
                .zip(&colliders)
                .map(|(r, c)| (c.context.as_slice(), r.tokens.as_slice()))
                .collect();
            let l = colliders[0].logp_x.len();
            let scores = colliders.iter().flat_map(|c| c.logp_x.iter().map(Vec::as_slice));
            let logp_x_blt = padded(scores, t, &device).reshape([rows.len(), l, t]);
            Some(ProjectedTerms {
                logp_x_bt: completion_logp(model, &pairs, temperature).logp_bt,
                pi_ref_bt: reference(logp_old_bt.clone(), logp_x_blt, keep_bt.clone())?,
            })
        }
    };
    let references: Option<Vec<&[f32]>> = rows.iter().map(|r| r.logp_ref.as_deref()).collect();
    let weights: Vec<f64> = rows.iter().map(|r| r.weight).collect();
    let inputs = LossInputs {
        logp_bt,
        logp_old_bt,
        logp_ref_bt: references.map(|rows| padded(rows.into_iter(), t, &device)),
        advantage_b: Tensor::from_data(TensorData::new(weights, [rows.len()]), &device),
        keep_bt,
        projected,
    };
    Ok(Micro { inputs, entropy_bt })
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

/// True where a token is part of its row: `[b, t]`.
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
            inputs: LossInputs {
                logp_bt: bt([[-1.0, -2.0], [-3.0, -900.0]]),
                logp_old_bt: bt([[-1.0, -2.00001], [-2.5, -1.0]]),
                logp_ref_bt: None,
                advantage_b: Tensor::from_floats([0.0, 0.0], &device),
                keep_bt: keep(&[2, 1], 2, &device),
                projected: None,
            },
            entropy_bt: bt([[0.5, 0.25], [1.0, 7.0]]),
        };
        let [entropy, gap] = micro.policy_sums();
        assert_eq!(entropy, 1.75);
        let exact = 1e-5f64.exp_m1() + 0.5f64.exp_m1();
        assert!((gap - exact).abs() < 1e-6, "{gap} {exact}");
    }
}
