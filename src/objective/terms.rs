//! The terms that a loss is made of.

use burn::tensor::kind::Autodiff;
use burn::tensor::{Bool, Tensor};
use gcpo_model::dtype::widen;

use super::inputs::{LossInputs, Projected};
use super::{Estimator, Objective, Ratio};

/// Largest difference of two log-probabilities that is exponentiated. `exp` of more than 88
/// overflows in f32, and the gradient of a clipped infinity is NaN. Beyond it the gradient is zero.
const LOG_RATIO_MAX: f64 = 80.0;

/// The inputs of a loss, ready for arithmetic: one dtype (f32 at least: exponentials and sums need
/// it), one autodiff context, constants detached, padding at 0.
pub(super) struct Rows {
    pub logp_bt: Tensor<2>,
    pub logp_old_bt: Tensor<2>,
    pub logp_sampled_bt: Option<Tensor<2>>,
    pub logp_ref_bt: Option<Tensor<2>>,
    pub entropy_bt: Option<Tensor<2>>,
    /// 1 where a token is among those of the highest entropy; none where all count.
    pub selected_bt: Option<Tensor<2>>,
    /// `[b, 1]`, or `[b, t]` where each token has its own.
    pub advantage_br: Tensor<2>,
    pub pad_bt: Tensor<2, Bool>,
    /// Kept tokens of a row, at least 1.
    length_b: Tensor<1>,
}

impl Rows {
    pub fn new(inputs: &LossInputs) -> Self {
        let logp_bt = widen(inputs.logp_bt.clone());
        let dtype = logp_bt.dtype();
        let keep_bt = constant(inputs.keep_bt.clone(), &logp_bt);
        let pad_bt = keep_bt.clone().bool_not();
        let length_b = keep_bt.float().cast(dtype).sum_dim(1).squeeze_dim::<1>(1);
        let fill = |x_bt: Tensor<2>| float_constant(x_bt, &logp_bt).mask_fill(pad_bt.clone(), 0.0);
        let entropy_bt = inputs.entropy_bt.clone().map(widen);
        let selected_bt = inputs.selected_bt.clone();
        let selected_bt = selected_bt.map(|of| constant(of, &logp_bt).float().cast(dtype));
        Self {
            logp_old_bt: fill(inputs.logp_old_bt.clone()),
            logp_sampled_bt: inputs.logp_sampled_bt.clone().map(fill),
            logp_ref_bt: inputs.logp_ref_bt.clone().map(fill),
            entropy_bt: entropy_bt.map(|of_bt| of_bt.cast(dtype).mask_fill(pad_bt.clone(), 0.0)),
            selected_bt: selected_bt.map(|of_bt| of_bt.mask_fill(pad_bt.clone(), 0.0)),
            advantage_br: float_constant(inputs.advantage_br.clone(), &logp_bt),
            length_b: length_b.clamp_min(1.0),
            // Filled before any arithmetic: its gradient is then zero there, whatever follows.
            logp_bt: logp_bt.mask_fill(pad_bt.clone(), 0.0),
            pad_bt,
        }
    }

    /// `K` (eq. 7, or by another estimator), or `None` without a reference model.
    ///
    /// Where it is no part of the loss it is only measured, and carries no gradient.
    pub fn kl_ref_bt(&self, objective: &Objective, ratio_br: &Tensor<2>) -> Option<Tensor<2>> {
        let logp_ref_bt = self.logp_ref_bt.clone()?;
        let is_in_loss = objective.kl_in_loss() != 0.0;
        let logp_bt = match is_in_loss {
            false => self.logp_bt.clone().detach(),
            true => self.logp_bt.clone(),
        };
        let kl_bt = divergence(objective.kl.estimator, logp_ref_bt - logp_bt);
        Some(match is_in_loss && objective.kl.corrected {
            true => kl_bt * ratio_br.clone(),
            false => kl_bt,
        })
    }

    /// Sum over each row's kept tokens, `[b]`.
    pub fn token_sum_b(&self, x_bt: Tensor<2>) -> Tensor<1> {
        let sum_b1 = x_bt.mask_fill(self.pad_bt.clone(), 0.0).sum_dim(1);
        sum_b1.squeeze_dim::<1>(1)
    }

    /// Mean over each row's kept tokens, `[b]`.
    pub fn token_mean_b(&self, x_bt: Tensor<2>) -> Tensor<1> {
        self.token_sum_b(x_bt) / self.length_b.clone()
    }

    /// Logarithms of the ratios, `[b, t]` or `[b, 1]`, and true where there is none: padding, or a row of nothing else.
    pub fn log_ratio_br(&self, ratio: Ratio) -> (Tensor<2>, Tensor<2, Bool>) {
        let log_ratio_bt = self.logp_bt.clone() - self.logp_old_bt.clone();
        let of_rows = |of_b: Tensor<1>| (of_b.unsqueeze_dim(1), self.pad_bt.clone().all_dim(1));
        match ratio {
            Ratio::Token => (log_ratio_bt, self.pad_bt.clone()),
            Ratio::Sequence => of_rows(self.token_mean_b(log_ratio_bt)),
            Ratio::Joint => of_rows(self.token_sum_b(log_ratio_bt)),
            Ratio::SequenceToken => {
                let mean_b1: Tensor<2> = self.token_mean_b(log_ratio_bt).unsqueeze_dim(1);
                let own_bt = self.logp_bt.clone() - self.logp_bt.clone().detach();
                (own_bt + mean_b1.detach(), self.pad_bt.clone())
            }
        }
    }
}

/// The second KL term and where one of its clamps was active.
pub(super) struct ProjectedKl {
    pub value_bt: Tensor<2>,
    pub clamped_bt: Tensor<2, Bool>,
}

impl ProjectedKl {
    /// `K' = ρ − log ρ − 1` with `ρ = π'_ref / π_θ(· | x_i)` (eqs. 12, 13).
    ///
    /// `π'_ref` is clamped to `[floor, 1]`, then `ρ` to `[1/ratio_max, ratio_max]`; outside the
    /// latter the gradient is zero. The bounds are chosen, not taken by `min` and `max`, so that
    /// NaN stays NaN.
    pub fn new(rows: &Rows, projected: &Projected, objective: &Objective) -> Self {
        let pi_ref_bt =
            float_constant(projected.pi_ref_bt.clone(), &rows.logp_bt).mask_fill(rows.pad_bt.clone(), 1.0);
        let logp_x_bt = match objective.kappa {
            // Only measured.
            0.0 => float_constant(projected.logp_x_bt.clone(), &rows.logp_bt),
            _ => widen(projected.logp_x_bt.clone()),
        }
        .mask_fill(rows.pad_bt.clone(), 0.0);

        let (pi_ref_bt, floored_bt) = bound(pi_ref_bt, objective.floor, 1.0);
        let limit = objective.ratio_max.ln();
        let (log_rho_bt, limited_bt) = bound(pi_ref_bt.log() - logp_x_bt, -limit, limit);
        Self {
            value_bt: k3(log_rho_bt),
            clamped_bt: floored_bt.bool_or(limited_bt),
        }
    }
}

/// `x` inside `[low, high]`, and where that changed it. The gradient is zero there.
pub(super) fn bound<const D: usize>(x: Tensor<D>, low: f64, high: f64) -> (Tensor<D>, Tensor<D, Bool>) {
    let below = x.clone().lower_scalar(low);
    let above = x.clone().greater_scalar(high);
    let x = x.mask_fill(below.clone(), low).mask_fill(above.clone(), high);
    (x, below.bool_or(above))
}

/// An estimate of a KL divergence from `log π_ref − log π_θ`, in nats.
pub(super) fn divergence<const D: usize>(estimator: Estimator, log_ratio: Tensor<D>) -> Tensor<D> {
    match estimator {
        Estimator::K1 => log_ratio.neg(),
        Estimator::K2 => log_ratio.square().mul_scalar(0.5),
        Estimator::K3 => k3(log_ratio),
    }
}

/// Schulman's estimator `exp(x) − x − 1` of a KL divergence, in nats; never negative.
fn k3<const D: usize>(log_ratio: Tensor<D>) -> Tensor<D> {
    let log_ratio = below_overflow(log_ratio);
    log_ratio.clone().exp() - log_ratio - 1.0
}

pub(super) fn below_overflow<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let above = x.clone().greater_scalar(LOG_RATIO_MAX);
    x.mask_fill(above, LOG_RATIO_MAX)
}

/// `x` without a graph of its own, in the autodiff context of `like`: burn refuses to mix them.
pub(super) fn constant<const D: usize, K: Autodiff>(x: Tensor<D, K>, like: &Tensor<2>) -> Tensor<D, K> {
    let x = x.inner();
    match like.gradient_checkpointing_strategy() {
        Some(strategy) => x.autodiff().with_gradient_checkpointing_strategy(strategy),
        None => x,
    }
}

fn float_constant<const D: usize>(x: Tensor<D>, like: &Tensor<2>) -> Tensor<D> {
    constant(x.inner().cast(like.dtype()), like)
}
