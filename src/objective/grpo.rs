//! Group Relative Policy Optimization (Shao et al., arXiv 2402.03300).

use super::Hyper;
use super::loss::{BatchTotals, LossInputs, LossOutput};
use super::terms::{Rows, Surrogate, mean_of_token_means};

/// `−(1/N) Σ_i (1/T_i) Σ_t [ min(R·A, clip(R)·A) − β K ]`.
pub(super) fn loss(inputs: &LossInputs, totals: &BatchTotals, hyper: &Hyper) -> LossOutput {
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
    mean_of_token_means(&rows, objective_bt, totals, surrogate, kl_ref_bt, None)
}
