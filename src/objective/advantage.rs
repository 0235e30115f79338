//! Advantages inside a group: eq. 8.

use burn::tensor::Tensor;

/// `ε_A` of eq. 8, as in TRL.
pub const ADVANTAGE_EPS: f64 = 1e-4;

/// The advantage of every candidate in its group: `A = (r − mean r) / (std r + ε_A)` (eq. 8).
///
/// The standard deviation has `n − 1` in its denominator (ddof 1). A group of equal rewards gets
/// exactly 0, as does a group of one.
///
/// # Shapes
/// - `rewards_pg`: `[p, g]`, any float dtype
/// - returns `[p, g]`, detached
pub fn group_advantage(rewards_pg: Tensor<2>) -> Tensor<2> {
    let centred_pg = centre(rewards_pg);
    let [_, g] = centred_pg.dims();
    let std_p1 = centred_pg
        .clone()
        .square()
        .sum_dim(1)
        .div_scalar(g.saturating_sub(1).max(1) as f64)
        .sqrt();
    centred_pg / std_p1.add_scalar(ADVANTAGE_EPS)
}

/// `r − mean r` in every group.
///
/// The first reward is taken off before the mean is, so that equal rewards give exactly 0: the
/// mean of n equal floats need not be that float.
pub(super) fn centre(rewards_pg: Tensor<2>) -> Tensor<2> {
    let rewards_pg = rewards_pg.inner();
    let shifted_pg = rewards_pg.clone() - rewards_pg.narrow(1, 0, 1);
    shifted_pg.clone() - shifted_pg.mean_dim(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{f64s, tensor2};

    #[test]
    fn is_the_z_score_with_ddof_one() {
        let a = f64s(group_advantage(tensor2(&[&[1.0, 0.0, 0.0, 1.0]])));
        let expected = 0.5 / ((4.0 * 0.25 / 3.0_f64).sqrt() + 1e-4);
        for (got, sign) in a.iter().zip([1.0, -1.0, -1.0, 1.0]) {
            assert!((got - sign * expected).abs() < 1e-12, "{got}");
        }
    }

    #[test]
    fn a_flat_group_is_exactly_zero() {
        // Three times 0.1 is not 0.3 in floats: the plain mean would leave a rest.
        let rows: [&[f64]; 3] = [&[0.1, 0.1, 0.1], &[-0.7, -0.7, -0.7], &[1e9, 1e9, 1e9]];
        for value in f64s(group_advantage(tensor2(&rows))) {
            assert_eq!(value, 0.0);
        }
    }

    #[test]
    fn a_group_of_one_is_zero() {
        assert_eq!(f64s(group_advantage(tensor2(&[&[3.0]]))), vec![0.0]);
    }
}
