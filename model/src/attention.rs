//! What attention's projections are, and how its scores are capped.
//!
//! Axes: `n` tokens, `d` features, `h`/`k` query/key-value heads, `e` features of a head.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::Tensor;

use crate::norm::RmsNorm;
use crate::projection::Projector;

/// Grouped-query attention, its projections as the checkpoint has them.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // of all but one family
pub enum SelfAttention {
    /// A matrix each.
    Split(Attention),
    /// q, k and v in one: Phi-3.
    Fused(FusedAttention),
}

/// Grouped-query attention.
#[derive(Module, Debug)]
pub struct Attention {
    /// `[d, h·e]`
    pub q_proj: Linear,
    /// `[d, k·e]`
    pub k_proj: Linear,
    /// `[d, k·e]`
    pub v_proj: Linear,
    /// `[h·e, d]`
    pub o_proj: Linear,
    /// Norm of each query head, `[e]`, or of all together, `[h·e]`.
    pub q_norm: Option<RmsNorm>,
    /// Norm of each key head, `[e]`, or of all together, `[k·e]`.
    pub k_norm: Option<RmsNorm>,
}

/// Grouped-query attention with one matrix before it.
#[derive(Module, Debug)]
pub struct FusedAttention {
    /// `[d, h·e + 2·k·e]`: q, k and v side by side.
    pub qkv_proj: Linear,
    /// `[h·e, d]`
    pub o_proj: Linear,
}

impl SelfAttention {
    /// Queries, keys and values, not normalised yet.
    ///
    /// # Shapes
    /// `x`: `[n, d]` to `[n, h·e]`, `[n, k·e]`, `[n, k·e]`, of which `widths` are the second sizes
    pub(crate) fn project(&self, with: Projector, x: Tensor<2>, widths: [usize; 3]) -> [Tensor<2>; 3] {
        match self {
            Self::Split(split) => [
                with.project("q_proj", &split.q_proj, x.clone()),
                with.project("k_proj", &split.k_proj, x.clone()),
                with.project("v_proj", &split.v_proj, x),
            ],
            Self::Fused(fused) => {
                let all = with.project("qkv_proj", &fused.qkv_proj, x);
                let [q, k, v] = widths;
                [(0, q), (q, k), (q + k, v)].map(|(from, width)| all.clone().narrow(1, from, width))
            }
        }
    }

    pub(crate) fn o_proj(&self) -> &Linear {
        match self {
            Self::Split(split) => &split.o_proj,
            Self::Fused(fused) => &fused.o_proj,
        }
    }

    /// Norms of queries and of keys.
    pub(crate) fn norms(&self) -> [Option<&RmsNorm>; 2] {
        match self {
            Self::Split(split) => [split.q_norm.as_ref(), split.k_norm.as_ref()],
            Self::Fused(_) => [None; 2],
        }
    }

    /// Its linear layers, by their names.
    pub(crate) fn projections(&self) -> Vec<(&'static str, &Linear)> {
        match self {
            Self::Split(split) => vec![
                ("q_proj", &split.q_proj),
                ("k_proj", &split.k_proj),
                ("v_proj", &split.v_proj),
                ("o_proj", &split.o_proj),
            ],
            Self::Fused(fused) => vec![("qkv_proj", &fused.qkv_proj), ("o_proj", &fused.o_proj)],
        }
    }

    /// [`SelfAttention::projections`], to be changed.
    pub(crate) fn projections_mut(&mut self) -> Vec<&mut Linear> {
        match self {
            Self::Split(split) => vec![
                &mut split.q_proj,
                &mut split.k_proj,
                &mut split.v_proj,
                &mut split.o_proj,
            ],
            Self::Fused(fused) => vec![&mut fused.qkv_proj, &mut fused.o_proj],
        }
    }
}

/// `cap · tanh(x / cap)`, where there is a cap.
pub(crate) fn capped<const D: usize>(x: Tensor<D>, cap: Option<f64>) -> Tensor<D> {
    match cap {
        Some(cap) => (x / cap).tanh() * cap,
        None => x,
    }
}
