//! `π'_ref`: the projected reference of the second KL term (eq. 13).

use burn::tensor::{Bool, DType, Tensor};

use super::ProjectionError;

/// The result of [`reference`].
#[derive(Debug, Clone)]
pub struct Reference {
    /// `π'_ref`, a probability in `[floor, 1]`, `[b, t]`; 1 where a token is not kept.
    pub pi_ref_bt: Tensor<2>,
    /// True where the clamp changed a kept token's value, `[b, t]`.
    pub clamped_bt: Tensor<2, Bool>,
}

/// The projected prediction `Ψπ(x) + π(q) = π(x_0) − mean_l π(x_l) + π(q)`, before any clamp
/// (eqs. 2, 13 with the mean in place of the sum). With one integration it is exactly `π(q)`.
///
/// Works on anything that is averaged over the collider: probabilities, features, predictions.
///
/// # Shapes
/// - `p_q_bt`: `[b, t]`, given the query alone
/// - `p_x_blt`: `[b, l, t]`, given `x_{i,l}`; `l = 0` is `x_i` itself
/// - returns `[b, t]`
pub fn project_probability(p_q_bt: Tensor<2>, p_x_blt: Tensor<3>) -> Tensor<2> {
    let first_bt = p_x_blt.clone().narrow(1, 0, 1).squeeze_dim::<2>(1);
    first_bt - p_x_blt.mean_dim(1).squeeze_dim::<2>(1) + p_q_bt
}

/// `π'_ref = p_x − mean_l p_x,l + p_q`, clamped to `[floor, 1]` (eq. 13).
///
/// Probabilities are those of the sampled tokens under `π_old`. The mean stands where the paper
/// prints a sum without `1/n`: it approximates a conditional expectation.
///
/// # Shapes
/// - `logp_q_bt`: `[b, t]`, `log π_old(y_{i,t} | q, y_{i,<t})`, nats
/// - `logp_x_blt`: `[b, l, t]`, `log π_old(y_{i,t} | x_{i,l}, y_{i,<t})`, nats
/// - `keep_bt`: `[b, t]`, true where the token belongs to the completion; the other cells may
///   hold anything
///
/// # Errors
/// [`ProjectionError`] where the shapes disagree or there is no integration.
pub fn reference(
    logp_q_bt: Tensor<2>,
    logp_x_blt: Tensor<3>,
    keep_bt: Tensor<2, Bool>,
    floor: f64,
) -> Result<Reference, ProjectionError> {
    let [b, t] = logp_q_bt.dims();
    let [b_x, l, t_x] = logp_x_blt.dims();
    if l == 0 {
        return Err(ProjectionError::Empty {
            input: "logp_x_blt",
            actual: vec![b_x, l, t_x],
        });
    }
    if [b, t] != [b_x, t_x] {
        return Err(ProjectionError::Shape {
            input: "logp_x_blt",
            actual: vec![b_x, l, t_x],
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
    let logp_q_bt = match logp_q_bt.dtype() {
        DType::F32 | DType::F64 => logp_q_bt.inner(),
        _ => logp_q_bt.inner().cast(DType::F32),
    };
    let logp_x_blt = logp_x_blt.inner().cast(logp_q_bt.dtype());
    let pad_bt = keep_bt.inner().bool_not();
    let raw_bt = project_probability(logp_q_bt.exp(), logp_x_blt.exp()).mask_fill(pad_bt, 1.0);
    let below_bt = raw_bt.clone().lower_scalar(floor);
    let above_bt = raw_bt.clone().greater_scalar(1.0);
    Ok(Reference {
        pi_ref_bt: raw_bt
            .mask_fill(below_bt.clone(), floor)
            .mask_fill(above_bt.clone(), 1.0),
        clamped_bt: below_bt.bool_or(above_bt),
    })
}
