//! The policy term of a loss: what is made of ratios and weights.

use burn::tensor::activation::sigmoid;
use burn::tensor::{Bool, Tensor, TensorData};

use super::options::{Clip, Correction, Gamma, Level, Surrogate};
use super::terms::{Rows, below_overflow, bound, constant};
use super::{Objective, Ratio};

/// The policy term and where it was clipped.
///
/// `r` is `t` with a ratio for each token, 1 with one for each sequence.
pub(super) struct PolicyTerm {
    pub value_bt: Tensor<2>,
    pub ratio_br: Tensor<2>,
    pub low_br: Tensor<2, Bool>,
    pub high_br: Tensor<2, Bool>,
    /// True where there is no ratio: padding, or a row of nothing else.
    pub pad_br: Tensor<2, Bool>,
}

impl PolicyTerm {
    /// `group_b`: which group each row is of; read where the objective compares them.
    pub fn new(rows: &Rows, objective: &Objective, group_b: &[usize]) -> Self {
        let (log_ratio_br, pad_br) = rows.log_ratio_br(objective.ratio);
        let ratio_br = below_overflow(log_ratio_br.clone()).exp();
        // No ratio is negative.
        let nowhere_br = ratio_br.clone().lower_scalar(0.0);
        let mut term = Self {
            value_bt: ratio_br.clone(),
            low_br: nowhere_br.clone(),
            high_br: nowhere_br,
            ratio_br,
            pad_br,
        };
        let correction_br = objective.correction.and_then(|how| correction_br(rows, how));
        let value_br = match objective.surrogate {
            Surrogate::Clipped { clip, delta } => term.clipped_br(rows, clip, delta),
            Surrogate::ClippedWeight { high } => {
                term.high_br = term.above(1.0, high, rows);
                let (weight_br, _) = bound(term.ratio_br.clone().detach(), 0.0, high);
                weight_br * rows.advantage_br.clone() * rows.logp_bt.clone()
            }
            Surrogate::SoftGate { positive, negative } => {
                let is_positive_b1 = rows.advantage_br.clone().greater_scalar(0.0);
                let tau_b1 = either(is_positive_b1, positive, negative, rows);
                let gate_br = sigmoid((term.ratio_br.clone() - 1.0) * tau_b1.clone());
                gate_br.mul_scalar(4.0) / tau_b1 * rows.advantage_br.clone()
            }
            Surrogate::Gamma(gamma) => {
                let phi_b1 = phi_b1(rows, &gamma, correction_br.clone());
                phi_b1 * rows.advantage_br.clone() * rows.logp_bt.clone()
            }
            Surrogate::Squares { beta } => squares_b1(rows, log_ratio_br, beta, group_b),
        };
        term.value_bt = value_br.expand(rows.pad_bt.shape());
        if let Some(threshold) = objective.off_policy_mask_threshold {
            term.value_bt = term.value_bt * on_policy_br(rows, threshold);
        }
        if let Some(selected_bt) = &rows.selected_bt {
            term.value_bt = term.value_bt * selected_bt.clone();
        }
        // VESPO has it in its `w`.
        let is_apart = !matches!(objective.surrogate, Surrogate::Gamma(_));
        if let Some(correction_br) = correction_br.filter(|_| is_apart) {
            term.value_bt = term.value_bt * correction_br;
        }
        term
    }

    /// `min(min(R, δ)·B, clip(R, 1 − low, 1 + high)·B)` (eq. 10).
    ///
    /// The minimum is written as a choice between `R·B` and constants. The gradient is then
    /// that of the branch taken, without a rule for ties, and NaN in `R` stays NaN.
    fn clipped_br(&mut self, rows: &Rows, clip: Clip, delta: Option<f64>) -> Tensor<2> {
        let Clip { low, high } = clip;
        let (advantage_br, shape) = (rows.advantage_br.clone(), self.ratio_br.shape());
        self.low_br = self
            .ratio_br
            .clone()
            .lower_scalar(1.0 - low)
            .bool_and(advantage_br.clone().lower_scalar(0.0).expand(shape.clone()));
        self.high_br = self.above(1.0, 1.0 + high, rows);
        let at = |bound: f64| advantage_br.clone().mul_scalar(bound).expand(shape.clone());
        let value_br = (self.ratio_br.clone() * advantage_br.clone())
            .mask_where(self.low_br.clone(), at(1.0 - low))
            .mask_where(self.high_br.clone(), at(1.0 + high));
        match delta {
            Some(delta) => value_br.mask_where(self.above(-1.0, delta, rows), at(delta)),
            None => value_br,
        }
    }

    /// Where the ratio is above a bound and the weight of this sign.
    fn above(&self, sign: f64, bound: f64, rows: &Rows) -> Tensor<2, Bool> {
        let signed_b1 = match sign > 0.0 {
            true => rows.advantage_br.clone().greater_scalar(0.0),
            false => rows.advantage_br.clone().lower_scalar(0.0),
        };
        let above_br = self.ratio_br.clone().greater_scalar(bound);
        above_br.bool_and(signed_b1.expand(self.ratio_br.shape()))
    }
}

/// One of two numbers for each row.
fn either(is_first_b1: Tensor<2, Bool>, first: f64, second: f64, rows: &Rows) -> Tensor<2> {
    let second_b1 = rows.advantage_br.zeros_like().add_scalar(second);
    second_b1.mask_fill(is_first_b1, first)
}

/// Logarithms of ratios that VESPO takes, at most and at least.
const LOG_W: (f64, f64) = (-18.420_680_743_952_367, 20.0);

/// `φ(w)` of every row, a constant; `w` is the ratio of the completion's probabilities, times the correction where there is one.
/// The bounds are those of the authors' code.
fn phi_b1(rows: &Rows, gamma: &Gamma, correction_bt: Option<Tensor<2>>) -> Tensor<2> {
    let (log_ratio_bt, _) = rows.log_ratio_br(Ratio::Token);
    let (log_ratio_bt, _) = bound(log_ratio_bt.detach(), -LOG_W.1, LOG_W.1);
    let mut log_w_b1: Tensor<2> = rows.token_sum_b(log_ratio_bt).unsqueeze_dim(1);
    if let Some(correction_bt) = correction_bt {
        let (log_bt, _) = bound(correction_bt.log(), LOG_W.0, LOG_W.1);
        log_w_b1 = log_w_b1 + log_bt.sum_dim(1);
    }
    let (log_w_b1, _) = bound(log_w_b1, LOG_W.0, LOG_W.1);
    let is_positive_b1 = rows.advantage_br.clone().greater_equal_scalar(0.0);
    let k_b1 = either(is_positive_b1.clone(), gamma.k_pos, gamma.k_neg, rows);
    let lambda_b1 = either(is_positive_b1, gamma.lambda_pos, gamma.lambda_neg, rows);
    let log_phi_b1 = lambda_b1.clone() + k_b1 * log_w_b1.clone() - lambda_b1 * log_w_b1.exp();
    log_phi_b1.exp()
}

/// GVPO's `−(n/(2(n' − 1)))·((β log w − mean) − B)²` of every row: the mean over rows is that over groups of
/// `1/(2(n' − 1)) Σ`, where `n'` rows of the group's `n` are in the loss.
fn squares_b1(rows: &Rows, log_w_b1: Tensor<2>, beta: f64, group_b: &[usize]) -> Tensor<2> {
    let b = group_b.len();
    let same: Vec<f64> = group_b
        .iter()
        .flat_map(|i| group_b.iter().map(move |j| f64::from(u8::from(i == j))))
        .collect();
    let like = &rows.logp_bt;
    let same_bb = Tensor::<2>::from_data(
        TensorData::new(same, [b, b]),
        (&like.device().inner(), like.dtype()),
    );
    let same_bb = constant(same_bb, like);
    let out_b1 = rows.pad_bt.clone().all_dim(1);
    let kept_b1 = rows.advantage_br.ones_like().mask_fill(out_b1.clone(), 0.0);
    let (n_b1, all_b1) = (same_bb.clone().matmul(kept_b1), same_bb.clone().sum_dim(1));
    let implicit_b1 = log_w_b1.mul_scalar(beta);
    let mean_b1 = same_bb.matmul(implicit_b1.clone()) / n_b1.clone().clamp_min(1.0);
    let off_b1 = (implicit_b1 - mean_b1 - rows.advantage_br.clone()).mask_fill(out_b1, 0.0);
    let share_b1 = all_b1 / (n_b1 - 1.0).clamp_min(1.0).mul_scalar(-2.0);
    off_b1.square() * share_b1
}

/// 1 for what has a policy term, 0 for what has a negative weight in a row whose log-probability has fallen by more than
/// `threshold` in the mean over its tokens (DeepSeek-V3.2, arXiv 2512.02556, eq. 9).
fn on_policy_br(rows: &Rows, threshold: f64) -> Tensor<2> {
    let sampled_bt = rows.logp_sampled_bt.as_ref().unwrap_or(&rows.logp_old_bt);
    let fallen_b = rows.token_mean_b(sampled_bt.clone() - rows.logp_bt.clone().detach());
    let is_far_b1: Tensor<2, Bool> = fallen_b.greater_scalar(threshold).unsqueeze_dim(1);
    let is_negative_br = rows.advantage_br.clone().lower_scalar(0.0);
    let is_far_br = is_far_b1.expand(is_negative_br.shape());
    rows.advantage_br
        .ones_like()
        .mask_fill(is_far_br.bool_and(is_negative_br), 0.0)
}

/// `π_old` of the trainer over that of the engine, bounded; 1 in the padding. None without the engine's.
fn correction_br(rows: &Rows, how: Correction) -> Option<Tensor<2>> {
    let log_bt = rows.logp_old_bt.clone() - rows.logp_sampled_bt.clone()?;
    let log_br = match how.level {
        Level::Token => log_bt,
        Level::Sequence => rows.token_sum_b(log_bt).unsqueeze_dim(1),
    };
    let ratio_br = below_overflow(log_br).exp();
    let (low, high) = (how.low.unwrap_or(0.0), how.high.unwrap_or(f64::INFINITY));
    let (bounded_br, beyond_br) = bound(ratio_br.clone(), low, high);
    Some(match how.masks {
        true => ratio_br.mask_fill(beyond_br, 0.0),
        false => bounded_br,
    })
}
