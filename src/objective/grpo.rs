//! Group Relative Policy Optimization (Shao et al., arXiv 2402.03300).

use super::Hyper;
use super::loss::{BatchTotals, LossInputs, LossOutput};
use super::terms::{Clipped, mean_of_token_means};

/// `−(1/N) Σ_i (1/T_i) Σ_t [ min(R·A, clip(R)·A) − β K ]`.
pub(super) fn loss(inputs: &LossInputs, totals: &BatchTotals, hyper: &Hyper) -> LossOutput {
    mean_of_token_means(Clipped::new(inputs, hyper), None, totals)
}
