//! The terms that the objectives are made of.

use burn::tensor::kind::Autodiff;
use burn::tensor::{Bool, DType, Tensor};

use super::Hyper;
use super::loss::{BatchTotals, LossInputs, LossOutput, Projected};
use super::metrics::MetricSums;

/// Largest difference of two log-probabilities that is exponentiated. `exp` of more than 88
/// overflows in f32, and the gradient of a clipped infinity is NaN. Beyond it the gradient is zero.
const LOG_RATIO_MAX: f64 = 80.0;

/// The inputs of a loss, ready for arithmetic: one dtype (f32 at least), one autodiff context,
/// constants detached, padding at 0.
pub(super) struct Rows {
    pub logp_bt: Tensor<2>,
    pub logp_old_bt: Tensor<2>,
    pub logp_ref_bt: Option<Tensor<2>>,
    pub advantage_b1: Tensor<2>,
    pub pad_bt: Tensor<2, Bool>,
    /// Kept tokens of a row, at least 1.
    pub length_b: Tensor<1>,
    kept: Tensor<1>,
}

impl Rows {
    pub fn new(inputs: &LossInputs) -> Self {
        let logp_bt = widen(inputs.logp_bt.clone());
        let dtype = logp_bt.dtype();
        let keep_bt = constant(inputs.keep_bt.clone(), &logp_bt);
        let pad_bt = keep_bt.clone().bool_not();
        let length_b = keep_bt.float().cast(dtype).sum_dim(1).squeeze_dim::<1>(1);
        let fill = |x_bt: Tensor<2>| float_constant(x_bt, &logp_bt).mask_fill(pad_bt.clone(), 0.0);
        Self {
            logp_old_bt: fill(inputs.logp_old_bt.clone()),
            logp_ref_bt: inputs.logp_ref_bt.clone().map(fill),
            advantage_b1: float_constant(inputs.advantage_b.clone(), &logp_bt).unsqueeze_dim(1),
            kept: length_b.clone().sum(),
            length_b: length_b.clamp_min(1.0),
            // Filled before any arithmetic: its gradient is then zero there, whatever follows.
            logp_bt: logp_bt.mask_fill(pad_bt.clone(), 0.0),
            pad_bt,
        }
    }

    /// `log R`.
    pub fn log_ratio_bt(&self) -> Tensor<2> {
        self.logp_bt.clone() - self.logp_old_bt.clone()
    }

    /// `K` (eq. 7), or `None` without a reference model.
    ///
    /// With `beta` 0 it is only looked at, and carries no gradient.
    pub fn kl_ref_bt(&self, beta: f64) -> Option<Tensor<2>> {
        let logp_ref_bt = self.logp_ref_bt.clone()?;
        let logp_bt = match beta {
            0.0 => self.logp_bt.clone().detach(),
            _ => self.logp_bt.clone(),
        };
        Some(k3(logp_ref_bt - logp_bt))
    }

    /// Sum over the kept tokens of all rows, `[1]`, detached.
    pub fn token_sum(&self, x_bt: Tensor<2>) -> Tensor<1> {
        x_bt.detach().mask_fill(self.pad_bt.clone(), 0.0).sum()
    }

    /// How many kept tokens `flag_bt` is true for, `[1]`.
    pub fn token_count(&self, flag_bt: Tensor<2, Bool>) -> Tensor<1> {
        self.token_sum(flag_bt.float().cast(self.logp_bt.dtype()))
    }

    /// Mean over each row's kept tokens, `[b]`.
    pub fn token_mean_b(&self, x_bt: Tensor<2>) -> Tensor<1> {
        let sum_b1 = x_bt.mask_fill(self.pad_bt.clone(), 0.0).sum_dim(1);
        sum_b1.squeeze_dim::<1>(1) / self.length_b.clone()
    }
}

/// `min(R·B, clip(R, 1 − ε_low, 1 + ε_high)·B)` and where it was clipped.
pub(super) struct Surrogate {
    pub value_bt: Tensor<2>,
    pub ratio_bt: Tensor<2>,
    pub low_bt: Tensor<2, Bool>,
    pub high_bt: Tensor<2, Bool>,
}

impl Surrogate {
    /// The minimum is written as a choice between `R·B` and two constants. The gradient is then
    /// that of the branch taken, without a rule for ties, and NaN in `R` stays NaN.
    ///
    /// # Shapes
    /// - `log_ratio_bt`: `[b, t]`
    /// - `advantage_b1`: `[b, 1]`
    pub fn new(log_ratio_bt: Tensor<2>, advantage_b1: Tensor<2>, low: f64, high: f64) -> Self {
        let ratio_bt = below_overflow(log_ratio_bt).exp();
        let sign_of = |bt: Tensor<2, Bool>, b1: Tensor<2, Bool>| {
            let shape = bt.shape();
            bt.bool_and(b1.expand(shape))
        };
        let low_bt = sign_of(
            ratio_bt.clone().lower_scalar(1.0 - low),
            advantage_b1.clone().lower_scalar(0.0),
        );
        let high_bt = sign_of(
            ratio_bt.clone().greater_scalar(1.0 + high),
            advantage_b1.clone().greater_scalar(0.0),
        );
        let shape = ratio_bt.shape();
        let at = |bound: f64| {
            let value_b1 = advantage_b1.clone().mul_scalar(bound);
            value_b1.expand(shape.clone())
        };
        let value_bt = (ratio_bt.clone() * advantage_b1.clone())
            .mask_where(low_bt.clone(), at(1.0 - low))
            .mask_where(high_bt.clone(), at(1.0 + high));
        Self {
            value_bt,
            ratio_bt,
            low_bt,
            high_bt,
        }
    }
}

/// What GRPO's and GCPO's objectives have in common: `min(R·B, clip(R)·B) − β K`, and its parts.
pub(super) struct Clipped {
    pub rows: Rows,
    pub surrogate: Surrogate,
    pub kl_ref_bt: Option<Tensor<2>>,
    pub objective_bt: Tensor<2>,
}

impl Clipped {
    pub fn new(inputs: &LossInputs, hyper: &Hyper) -> Self {
        let rows = Rows::new(inputs);
        let surrogate = Surrogate::new(
            rows.log_ratio_bt(),
            rows.advantage_b1.clone(),
            hyper.epsilon,
            hyper.epsilon_high,
        );
        let kl_ref_bt = rows.kl_ref_bt(hyper.beta);
        let mut objective_bt = surrogate.value_bt.clone();
        if let Some(kl_bt) = kl_ref_bt.clone().filter(|_| hyper.beta != 0.0) {
            objective_bt = objective_bt - kl_bt.mul_scalar(hyper.beta);
        }
        Self {
            rows,
            surrogate,
            kl_ref_bt,
            objective_bt,
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
    pub fn new(rows: &Rows, projected: &Projected, hyper: &Hyper) -> Self {
        let pi_ref_bt =
            float_constant(projected.pi_ref_bt.clone(), &rows.logp_bt).mask_fill(rows.pad_bt.clone(), 1.0);
        let logp_x_bt = match hyper.kappa {
            // Only looked at.
            0.0 => float_constant(projected.logp_x_bt.clone(), &rows.logp_bt),
            _ => widen(projected.logp_x_bt.clone()),
        }
        .mask_fill(rows.pad_bt.clone(), 0.0);

        let (pi_ref_bt, floored_bt) = bound(pi_ref_bt, hyper.floor, 1.0);
        let limit = hyper.ratio_max.ln();
        let (log_rho_bt, limited_bt) = bound(pi_ref_bt.log() - logp_x_bt, -limit, limit);
        Self {
            value_bt: k3(log_rho_bt),
            clamped_bt: floored_bt.bool_or(limited_bt),
        }
    }
}

/// `x` inside `[low, high]`, and where that changed it. The gradient is zero there.
fn bound<const D: usize>(x: Tensor<D>, low: f64, high: f64) -> (Tensor<D>, Tensor<D, Bool>) {
    let below = x.clone().lower_scalar(low);
    let above = x.clone().greater_scalar(high);
    let x = x.mask_fill(below.clone(), low).mask_fill(above.clone(), high);
    (x, below.bool_or(above))
}

/// The loss `−(1/N) Σ_i (1/T_i) Σ_t objective_bt` and its metrics, for ratios of tokens.
pub(super) fn mean_of_token_means(
    clipped: Clipped,
    kl_projected: Option<ProjectedKl>,
    totals: &BatchTotals,
) -> LossOutput {
    let Clipped {
        rows,
        surrogate,
        kl_ref_bt,
        objective_bt,
    } = clipped;
    let row_loss_b = rows
        .token_mean_b(objective_bt)
        .div_scalar(-(totals.completions as f64));
    let loss = row_loss_b.clone().sum();
    let (kl_projected_bt, clamped_bt) = match kl_projected {
        Some(kl) => (Some(kl.value_bt), Some(kl.clamped_bt)),
        None => (None, None),
    };
    let count = |present: bool| present.then(|| rows.kept.clone());
    let sums = MetricSums::new([
        Some(loss.clone()),
        count(true),
        Some(rows.token_sum(surrogate.ratio_bt)),
        Some(rows.token_count(surrogate.low_bt)),
        Some(rows.token_count(surrogate.high_bt)),
        count(kl_ref_bt.is_some()),
        kl_ref_bt.map(|kl_bt| rows.token_sum(kl_bt)),
        count(kl_projected_bt.is_some()),
        kl_projected_bt.map(|kl_bt| rows.token_sum(kl_bt)),
        clamped_bt.map(|flag_bt| rows.token_count(flag_bt)),
    ]);
    LossOutput {
        loss,
        row_loss_b: row_loss_b.inner(),
        sums,
    }
}

/// Schulman's estimator `exp(x) − x − 1` of a KL divergence, in nats; never negative.
fn k3<const D: usize>(log_ratio: Tensor<D>) -> Tensor<D> {
    let log_ratio = below_overflow(log_ratio);
    log_ratio.clone().exp() - log_ratio - 1.0
}

fn below_overflow<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let above = x.clone().greater_scalar(LOG_RATIO_MAX);
    x.mask_fill(above, LOG_RATIO_MAX)
}

/// Half-precision log-probabilities are taken to f32: exponentials and sums need it.
fn widen<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match x.dtype() {
        DType::F32 | DType::F64 => x,
        _ => x.cast(DType::F32),
    }
}

/// `x` without a graph of its own, in the autodiff context of `like`: burn refuses to mix them.
fn constant<const D: usize, K: Autodiff>(x: Tensor<D, K>, like: &Tensor<2>) -> Tensor<D, K> {
    let x = x.inner();
    match like.gradient_checkpointing_strategy() {
        Some(strategy) => x.autodiff().with_gradient_checkpointing_strategy(strategy),
        None => x,
    }
}

fn float_constant<const D: usize>(x: Tensor<D>, like: &Tensor<2>) -> Tensor<D> {
    constant(x.inner().cast(like.dtype()), like)
}
