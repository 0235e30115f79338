//! `π'_ref`: the projected reference of the second KL term (eq. 13).

use burn::tensor::{Bool, Tensor};
use gcpo_model::dtype::widen;

use super::ProjectionError;

/// The projected prediction `Ψπ(x) + π(q) = π(x_0) − mean_l π(x_l) + π(q)` (eqs. 2, 13 with the
/// mean in place of the sum). With one integration it is exactly `π(q)`.
///
/// Works on whatever is averaged over the collider: probabilities, features, predictions.
///
/// # Shapes
/// - `p_q_bt`: `[b, t]`, given the query alone
/// - `p_x_blt`: `[b, l, t]`, given `x_{i,l}`; `l = 0` is `x_i` itself
/// - returns `[b, t]`
pub fn project_prediction(p_q_bt: Tensor<2>, p_x_blt: Tensor<3>) -> Tensor<2> {
    let first_bt = p_x_blt.clone().narrow(1, 0, 1).squeeze_dim::<2>(1);
    first_bt - p_x_blt.mean_dim(1).squeeze_dim::<2>(1) + p_q_bt
}

/// `π'_ref = p_x − mean_l p_x,l + p_q`, before the clamp (eq. 13), detached.
///
/// Probabilities are those of the sampled tokens under `π_old`. The mean stands where the paper
/// prints a sum without `1/n`: it approximates a conditional expectation. The result may be
/// negative or above 1: the loss clamps it to `[floor, 1]` and counts where it did
/// ([`LossMetrics::clamped_frac`](crate::objective::LossMetrics::clamped_frac)).
///
/// # Shapes
/// - `logp_q_bt`: `[b, t]`, `log π_old(y_{i,t} | q, y_{i,<t})`, nats
/// - `logp_x_blt`: `[b, l, t]`, `log π_old(y_{i,t} | x_{i,l}, y_{i,<t})`, nats
/// - `keep_bt`: `[b, t]`, true where the token belongs to the completion; the other cells may
///   hold anything
/// - returns `[b, t]`; 1 where a token is not kept
///
/// # Errors
/// [`ProjectionError`] where the shapes disagree or there is no integration.
pub fn reference(
    logp_q_bt: Tensor<2>,
    logp_x_blt: Tensor<3>,
    keep_bt: Tensor<2, Bool>,
) -> Result<Tensor<2>, ProjectionError> {
    let [b, t] = logp_q_bt.dims();
    let dims @ [b_x, l, t_x] = logp_x_blt.dims();
    if l == 0 {
        return Err(ProjectionError::Empty {
            input: "logp_x_blt",
            actual: dims.to_vec(),
        });
    }
    if [b, t] != [b_x, t_x] {
        return Err(ProjectionError::Shape {
            input: "logp_x_blt",
            actual: dims.to_vec(),
            expected: format!("[{b}, integrations, {t}]"),
        });
    }
    if [b, t] != keep_bt.dims() {
        return Err(ProjectionError::Shape {
            input: "keep_bt",
            actual: keep_bt.dims().to_vec(),
            expected: format!("[{b}, {t}]"),
        });
    }
    // The difference of two probabilities needs the precision of f32.
    let logp_q_bt = widen(logp_q_bt.inner());
    let logp_x_blt = logp_x_blt.inner().cast(logp_q_bt.dtype());
    let pad_bt = keep_bt.inner().bool_not();
    Ok(project_prediction(logp_q_bt.exp(), logp_x_blt.exp()).mask_fill(pad_bt, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{device, device_f64, f64s, tensor2};
    use burn::tensor::TensorData;

    fn logs(values: &[f64], shape: [usize; 3]) -> Tensor<3> {
        let logs: Vec<f64> = values.iter().map(|p| p.ln()).collect();
        Tensor::from_data(
            TensorData::new(logs, shape),
            (&device_f64(), burn::tensor::DType::F64),
        )
    }

    fn keep(flags: &[bool]) -> Tensor<2, Bool> {
        let data = TensorData::new(flags.to_vec(), [1, flags.len()]);
        Tensor::from_data(data, &device())
    }

    #[test]
    fn is_the_first_less_the_mean_plus_the_query() {
        let q = tensor2(&[&[0.5_f64.ln(), 0.2_f64.ln()]]);
        let x = logs(&[0.9, 0.1, 0.3, 0.7], [1, 2, 2]);
        let pi = f64s(reference(q, x, keep(&[true, true])).unwrap());
        for (got, expected) in pi.iter().zip([0.9 - 0.6 + 0.5, 0.1 - 0.4 + 0.2]) {
            assert!((got - expected).abs() < 1e-12, "{got} for {expected}");
        }
    }

    #[test]
    fn one_integration_leaves_the_query() {
        let logp_q = [0.37_f64.ln(), 0.011_f64.ln()];
        let x = logs(&[0.9, 0.123456], [1, 1, 2]);
        let pi = reference(tensor2(&[&logp_q]), x, keep(&[true, true])).unwrap();
        assert_eq!(f64s(pi), f64s(tensor2(&[&logp_q]).exp()));
    }

    #[test]
    fn padding_is_one_whatever_it_held() {
        let q = tensor2(&[&[0.5_f64.ln(), f64::NAN]]);
        let x = logs(&[0.5, -1.0, 0.5, f64::INFINITY], [1, 2, 2]);
        let pi = f64s(reference(q, x, keep(&[true, false])).unwrap());
        assert!((pi[0] - 0.5).abs() < 1e-12);
        assert_eq!(pi[1], 1.0);
    }

    #[test]
    fn shapes_that_disagree_are_an_error() {
        let q = tensor2(&[&[-1.0, -1.0]]);
        let wide = logs(&[0.5; 6], [1, 2, 3]);
        let error = reference(q, wide, keep(&[true, true])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "projection: `logp_x_blt` has shape [1, 2, 3], expected [1, integrations, 2]"
        );
    }
}
