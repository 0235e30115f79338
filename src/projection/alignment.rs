//! `Υ`: how well a candidate agrees with the projected prediction (eq. 11).

use super::{Features, Similarity};
use burn::tensor::Tensor;
use gcpo_model::dtype::widen;

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
    alpha: f64,
    features: &Features,
) -> Result<Alignment, ProjectionError> {
    let [p, g, d] = z_pgd.dims();
    let dims @ [p_z, g_z, _, _, d_z] = projections_pgjmd.dims();
    if [p, g, d] != [p_z, g_z, d_z] {
        return Err(ProjectionError::Shape {
            input: "projections_pgjmd",
            actual: dims.to_vec(),
            expected: format!("[{p}, {g}, integrations, samples, {d}]"),
        });
    }
    let z_pgd = widen(z_pgd.inner());
    let means = projection_means(projections_pgjmd.cast(z_pgd.dtype()))?;
    let group_p1d = z_pgd.clone().mean_dim(1);
    let projected_pgd = means.first_pgd - means.average_pgd + group_p1d;

    let similarity_pg = similarity(z_pgd, projected_pgd, features.similarity, features.sigma);
    Ok(Alignment {
        upsilon_pg: similarity_pg.clone().mul_scalar(alpha),
        similarity_pg,
    })
}

/// Means of the representations of stage 3.
#[derive(Debug, Clone)]
pub struct ProjectionMeans {
    /// `Z̄_i`, over the samples of the first integration, `[p, g, d]`.
    pub first_pgd: Tensor<3>,
    /// `Z̄'_i`, over the integrations and their samples, `[p, g, d]`: estimates `Φ`.
    pub average_pgd: Tensor<3>,
}

/// `Z̄_i` and `Z̄'_i` of eq. 11.
///
/// # Shapes
/// - `projections_pgjmd`: `[p, g, j, m, d]`, representations of `O_{i,j,m}`
///
/// # Errors
/// [`ProjectionError::Empty`] where there is nothing to average over.
pub fn projection_means(projections_pgjmd: Tensor<5>) -> Result<ProjectionMeans, ProjectionError> {
    let dims = projections_pgjmd.dims();
    if dims.contains(&0) {
        return Err(ProjectionError::Empty {
            input: "projections_pgjmd",
            actual: dims.to_vec(),
        });
    }
    let over_m_pgjd = widen(projections_pgjmd.inner()).mean_dim(3).squeeze_dim::<4>(3);
    Ok(ProjectionMeans {
        first_pgd: over_m_pgjd.clone().narrow(2, 0, 1).squeeze_dim(2),
        average_pgd: over_m_pgjd.mean_dim(2).squeeze_dim(2),
    })
}

/// The similarity of the vectors of `a` and `b` on the last axis.
///
/// # Shapes
/// - `a_pgd`, `b_pgd`: `[p, g, d]`
/// - returns `[p, g]`
pub fn similarity(a_pgd: Tensor<3>, b_pgd: Tensor<3>, similarity: Similarity, sigma: f64) -> Tensor<2> {
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
        Similarity::Constant => a_pgd.narrow(2, 0, 1).ones_like(),
    };
    similarity_pg1.squeeze_dim(2)
}

/// Vectors of length 1 on the last axis; the zero vector stays zero.
fn unit(a_pgd: Tensor<3>) -> Tensor<3> {
    let norm_pg1 = a_pgd.clone().square().sum_dim(2).sqrt();
    let zero_pg1 = norm_pg1.clone().equal_scalar(0.0);
    a_pgd / norm_pg1.mask_fill(zero_pg1, 1.0)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{device, device_f64, f64s};
    use burn::tensor::{Distribution, TensorData};

    fn vectors<const D: usize>(values: &[f64], shape: [usize; D]) -> Tensor<D> {
        let data = TensorData::new(values.to_vec(), shape);
        Tensor::from_data(data, (&device_f64(), burn::tensor::DType::F64))
    }

    fn similar(kind: Similarity, a: [f64; 2], b: [f64; 2], sigma: f64) -> f64 {
        let pair = |x: [f64; 2]| vectors(&x, [1, 1, 2]);
        f64s(similarity(pair(a), pair(b), kind, sigma))[0]
    }

    #[test]
    fn similarities_are_their_formulas() {
        let (a, b) = ([3.0, 0.0], [3.0, 4.0]);
        let cases = [
            (Similarity::Cosine, 1.0, 0.6),
            (Similarity::Euclidean, 1.0, 1.0 / (1.0 + 4.0 / 2.0_f64.sqrt())),
            (Similarity::Gaussian, 1.0, (-4.0_f64).exp()),
            (Similarity::Gaussian, 2.0, (-1.0_f64).exp()),
        ];
        for (kind, sigma, expected) in cases {
            let got = similar(kind, a, b, sigma);
            assert!((got - expected).abs() < 1e-12, "{kind:?}: {got}");
        }
    }

    #[test]
    fn cosine_of_a_zero_vector_is_zero() {
        assert_eq!(similar(Similarity::Cosine, [0.0; 2], [1.0, 2.0], 1.0), 0.0);
        assert_eq!(similar(Similarity::Cosine, [1.0, 2.0], [0.0; 2], 1.0), 0.0);
        assert_eq!(similar(Similarity::Cosine, [0.0; 2], [0.0; 2], 1.0), 0.0);
    }

    #[test]
    fn one_integration_compares_with_the_group() {
        let z = vectors(&[1.0, 0.0, 0.0, 2.0, -1.0, 3.0], [1, 3, 2]);
        let far = vectors(&[7.0; 12], [1, 3, 1, 2, 2]);
        let alignment = align(z.clone(), far, 2.0, &Features::default()).unwrap();
        let mean = z.clone().mean_dim(1).expand([1, 3, 2]);
        let expected = similarity(z, mean, Similarity::Cosine, 1.0);
        assert_eq!(f64s(alignment.similarity_pg), f64s(expected.clone()));
        assert_eq!(f64s(alignment.upsilon_pg), f64s(expected.mul_scalar(2.0)));
    }

    #[test]
    fn prompts_do_not_meet() {
        let random = |shape: [usize; 5]| -> Tensor<5> {
            Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device())
        };
        let z = random([3, 4, 1, 1, 6]).reshape([3, 4, 6]);
        let projections = random([3, 4, 2, 5, 6]);
        let together = align(z.clone(), projections.clone(), 2.0, &Features::default()).unwrap();
        let together = f64s(together.upsilon_pg);
        for p in 0..3 {
            let (z, projections) = (z.clone().narrow(0, p, 1), projections.clone().narrow(0, p, 1));
            let alone = f64s(
                align(z, projections, 2.0, &Features::default())
                    .unwrap()
                    .upsilon_pg,
            );
            assert_eq!(alone, together[4 * p..4 * p + 4]);
        }
    }

    #[test]
    fn shapes_that_disagree_are_an_error() {
        let z = vectors(&[0.0; 6], [1, 3, 2]);
        let error = align(
            z.clone(),
            vectors(&[0.0; 8], [1, 2, 2, 1, 2]),
            2.0,
            &Features::default(),
        );
        assert_eq!(
            error.unwrap_err().to_string(),
            "projection: `projections_pgjmd` has shape [1, 2, 2, 1, 2], \
             expected [1, 3, integrations, samples, 2]"
        );
        let error = align(z, vectors(&[], [1, 3, 0, 1, 2]), 2.0, &Features::default()).unwrap_err();
        assert!(matches!(error, ProjectionError::Empty { .. }));
    }

    #[test]
    fn summaries() {
        let summary = Summary::of(&[1.0, 2.0, 3.0, 6.0]).unwrap();
        assert_eq!((summary.mean, summary.min, summary.max), (3.0, 1.0, 6.0));
        assert!((summary.std - (14.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(Summary::of(&[5.0]).unwrap().std, 0.0);
        assert_eq!(Summary::of(&[]), None);
    }
}
