//! `Υ`: how well a candidate agrees with the projected prediction (eq. 11).

use burn::tensor::{DType, Tensor};
use serde::{Deserialize, Serialize};

/// Where the representation of a text is taken (`features.context`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureContext {
    /// At the last token of the text run alone, with no query in front: the paper's step 1.
    #[default]
    Response,
    /// At the last generated token, in the context it was generated in: costs nothing.
    InContext,
}

/// How two representations are compared (the paper's figure 3d).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Similarity {
    /// `a·b / (‖a‖ ‖b‖)`; 0 where one of them is the zero vector.
    #[default]
    Cosine,
    /// `1 / (1 + ‖a − b‖ / √d)`.
    Euclidean,
    /// `exp(−‖a − b‖² / (2 σ² d))`.
    Gaussian,
}

/// The numbers of eq. 11.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlignmentConfig {
    /// Weight `α`. Paper: 2.
    pub alpha: f64,
    /// The similarity.
    pub similarity: Similarity,
    /// `σ` of [`Similarity::Gaussian`], in units of a feature's standard deviation.
    pub sigma: f64,
}

impl Default for AlignmentConfig {
    fn default() -> Self {
        Self {
            alpha: 2.0,
            similarity: Similarity::Cosine,
            sigma: 1.0,
        }
    }
}

/// Why a projection could not be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProjectionError {
    /// Two inputs disagree about an axis.
    #[error("projection: `{input}` has shape {actual:?}, expected {expected}")]
    Shape {
        /// The input.
        input: &'static str,
        /// Its shape.
        actual: Vec<usize>,
        /// What it must agree with.
        expected: String,
    },
    /// There is nothing to average over.
    #[error("projection: `{input}` has shape {actual:?}: no axis may be empty")]
    Empty {
        /// The input.
        input: &'static str,
        /// Its shape.
        actual: Vec<usize>,
    },
}

/// The result of [`align`].
#[derive(Debug, Clone)]
pub struct Alignment {
    /// `Υ = α · similarity`, `[p, g]`.
    pub upsilon_pg: Tensor<2>,
    /// The similarity alone, `[p, g]`: look at it before believing `Υ`.
    pub similarity_pg: Tensor<2>,
}

/// `Υ_i = α · sim(z_i, Z̄_i − Z̄'_i + z̄)` (eq. 11).
///
/// `z̄` is the mean over the group, `Z̄_i` the mean over the samples of the first integration
/// (`j = 0`), `Z̄'_i` the mean over the samples of all. With one integration the projected part
/// vanishes and the comparison is with `z̄`.
///
/// # Shapes
/// - `z_pgd`: `[p, g, d]`, representations of the candidates
/// - `projections_pgjmd`: `[p, g, j, m, d]`, representations of `O_{i,j,m}`
///
/// # Errors
/// [`ProjectionError`] where the shapes disagree or an axis is empty.
pub fn align(
    z_pgd: Tensor<3>,
    projections_pgjmd: Tensor<5>,
    config: &AlignmentConfig,
) -> Result<Alignment, ProjectionError> {
    let [p, g, d] = z_pgd.dims();
    let dims @ [p_z, g_z, _, _, d_z] = projections_pgjmd.dims();
    if dims.contains(&0) {
        return Err(ProjectionError::Empty {
            input: "projections_pgjmd",
            actual: dims.to_vec(),
        });
    }
    if [p, g, d] != [p_z, g_z, d_z] {
        return Err(ProjectionError::Shape {
            input: "projections_pgjmd",
            actual: dims.to_vec(),
            expected: format!("[{p}, {g}, integrations, samples, {d}]"),
        });
    }
    let z_pgd = widen(z_pgd.inner());
    let projections_pgjmd = widen(projections_pgjmd.inner()).cast(z_pgd.dtype());

    let over_m_pgjd = projections_pgjmd.mean_dim(3).squeeze_dim::<4>(3);
    let first_pgd = over_m_pgjd.clone().narrow(2, 0, 1).squeeze_dim::<3>(2);
    let average_pgd = over_m_pgjd.mean_dim(2).squeeze_dim::<3>(2);
    let group_p1d = z_pgd.clone().mean_dim(1);
    let projected_pgd = first_pgd - average_pgd + group_p1d;

    let similarity_pg = similarity(z_pgd, projected_pgd, config.similarity, config.sigma);
    Ok(Alignment {
        upsilon_pg: similarity_pg.clone().mul_scalar(config.alpha),
        similarity_pg,
    })
}

/// The similarity of the vectors of `a` and `b` on the last axis.
///
/// # Shapes
/// - `a_pgd`, `b_pgd`: `[p, g, d]`
/// - returns `[p, g]`
pub fn similarity(
    a_pgd: Tensor<3>,
    b_pgd: Tensor<3>,
    similarity: Similarity,
    sigma: f64,
) -> Tensor<2> {
    let d = a_pgd.dims()[2] as f64;
    let similarity_pg1 = match similarity {
        Similarity::Cosine => (unit(a_pgd) * unit(b_pgd)).sum_dim(2),
        Similarity::Euclidean => {
            let distance_pg1 = (a_pgd - b_pgd).square().sum_dim(2).sqrt();
            distance_pg1.div_scalar(d.sqrt()).add_scalar(1.0).recip()
        }
        Similarity::Gaussian => {
            let square_pg1 = (a_pgd - b_pgd).square().sum_dim(2);
            square_pg1.div_scalar(-2.0 * sigma * sigma * d).exp()
        }
    };
    similarity_pg1.squeeze_dim(2)
}

/// Vectors of length 1 on the last axis; the zero vector stays zero.
fn unit(a_pgd: Tensor<3>) -> Tensor<3> {
    let norm_pg1 = a_pgd.clone().square().sum_dim(2).sqrt();
    let zero_pg1 = norm_pg1.clone().equal_scalar(0.0);
    a_pgd / norm_pg1.mask_fill(zero_pg1, 1.0)
}

/// Sums over features need f32.
fn widen<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match x.dtype() {
        DType::F32 | DType::F64 => x,
        _ => x.cast(DType::F32),
    }
}

/// Mean and spread of some values, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Mean.
    pub mean: f64,
    /// Standard deviation (ddof 1; 0 for a single value).
    pub std: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

impl Summary {
    /// The summary of `values`, or `None` of none.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        Some(Self {
            mean,
            std: (squares / (n - 1.0).max(1.0)).sqrt(),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }
}
