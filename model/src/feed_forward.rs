//! The feed-forward: gated, in one matrix for gate and up or in two, or a mixture of such.
//!
//! Axes: `n` tokens, `d` features, `f` features inside.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::activation::{sigmoid, silu, softmax};
use burn::tensor::{Int, Tensor, TensorData};

use crate::config::Activation;
use crate::dtype::{cast, widen};
use crate::projection::Projector;

/// A layer's feed-forward, its matrices as the checkpoint has them.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // of most families
pub enum FeedForward {
    /// A matrix each.
    Split(Mlp),
    /// Gate and up in one: Phi-3.
    Fused(FusedMlp),
    /// Experts, of which each token takes some.
    Sparse(SparseMlp),
}

/// Gated feed-forward: `down(act(gate(x)) · up(x))`.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[d, f]`
    pub gate_proj: Linear,
    /// `[d, f]`
    pub up_proj: Linear,
    /// `[f, d]`
    pub down_proj: Linear,
}

/// Gated feed-forward with one matrix before the gate.
#[derive(Module, Debug)]
pub struct FusedMlp {
    /// `[d, 2·f]`: gate and up side by side.
    pub gate_up_proj: Linear,
    /// `[f, d]`
    pub down_proj: Linear,
}

/// A mixture of experts.
#[derive(Module, Debug)]
pub struct SparseMlp {
    /// `[d, experts]`: what chooses.
    pub gate: Linear,
    /// The experts.
    pub experts: Vec<Mlp>,
    /// How many a token takes.
    #[module(skip)]
    pub(crate) taken: usize,
    /// Whether their weights are made to sum to 1.
    #[module(skip)]
    pub(crate) normalised: bool,
}

impl FeedForward {
    /// # Shapes
    /// `[n, d]` to `[n, d]`
    pub(crate) fn forward(&self, with: Projector, x: Tensor<2>, activation: Activation) -> Tensor<2> {
        match self {
            Self::Split(split) => split.forward(with, x, activation),
            Self::Sparse(sparse) => sparse.forward(x, activation),
            Self::Fused(fused) => {
                let both = with.project("gate_up_proj", &fused.gate_up_proj, x);
                let f = both.dims()[1] / 2;
                let gate = gated(both.clone().narrow(1, 0, f), activation);
                with.project("down_proj", &fused.down_proj, gate * both.narrow(1, f, f))
            }
        }
    }

    /// Its linear layers, by their names. Experts are none: PEFT sees a layer's as one tensor.
    pub(crate) fn projections(&self) -> Vec<(&'static str, &Linear)> {
        match self {
            Self::Split(split) => vec![
                ("gate_proj", &split.gate_proj),
                ("up_proj", &split.up_proj),
                ("down_proj", &split.down_proj),
            ],
            Self::Fused(fused) => vec![
                ("gate_up_proj", &fused.gate_up_proj),
                ("down_proj", &fused.down_proj),
            ],
            Self::Sparse(_) => Vec::new(),
        }
    }

    /// [`FeedForward::projections`], to be changed.
    pub(crate) fn projections_mut(&mut self) -> Vec<&mut Linear> {
        match self {
            Self::Split(split) => vec![&mut split.gate_proj, &mut split.up_proj, &mut split.down_proj],
            Self::Fused(fused) => vec![&mut fused.gate_up_proj, &mut fused.down_proj],
            Self::Sparse(_) => Vec::new(),
        }
    }
}

impl Mlp {
    fn forward(&self, with: Projector, x: Tensor<2>, activation: Activation) -> Tensor<2> {
        let gate = gated(with.project("gate_proj", &self.gate_proj, x.clone()), activation);
        let up = with.project("up_proj", &self.up_proj, x);
        with.project("down_proj", &self.down_proj, gate * up)
    }
}

impl SparseMlp {
    /// Each expert runs the tokens that take it, which are brought together for it. Which they are is read on the host: one
    /// transfer a layer.
    fn forward(&self, x: Tensor<2>, activation: Activation) -> Tensor<2> {
        let (n, count, device) = (x.dims()[0], self.experts.len(), x.device());
        let shares = softmax(widen(self.gate.forward(x.clone())), 1);
        let on_host: Vec<f32> = shares
            .clone()
            .without_autodiff()
            .try_into_vec_as()
            .expect("shares can be read as f32");
        let taken = Taken::new(&on_host, count, self.taken);
        let weights = match self.normalised {
            false => shares,
            true => {
                let kept = Tensor::<2>::from_data(TensorData::new(taken.kept(count), [n, count]), &device);
                shares.clone() / (shares * kept).sum_dim(1)
            }
        };
        let ids = |ids: &[usize]| {
            let ids: Vec<i64> = ids.iter().map(|&id| id as i64).collect();
            Tensor::<1, Int>::from_data(TensorData::new(ids.clone(), [ids.len()]), &device)
        };
        let run = |number: usize, tokens: Tensor<1, Int>| {
            self.experts[number].forward(Projector::PLAIN, x.clone().select(0, tokens), activation)
        };
        let mut results = Vec::new();
        let (busy, idle): (Vec<_>, Vec<_>) =
            (0..count).partition(|&number| !taken.by_expert[number].is_empty());
        for number in busy {
            let tokens = ids(&taken.by_expert[number]);
            let weight = weights.clone().narrow(1, number, 1).select(0, tokens.clone());
            let result = run(number, tokens);
            let weight = cast(weight, result.dtype());
            results.push(result * weight);
        }
        if x.is_autodiff() {
            // A gradient of 0 is one: a result that nobody takes, behind all others.
            results.extend(idle.into_iter().map(|number| run(number, ids(&[0]))));
        }
        let results = Tensor::cat(results, 0);
        let parts = taken
            .places()
            .into_iter()
            .map(|places| results.clone().select(0, ids(&places)));
        parts
            .reduce(|sum, part| sum + part)
            .expect("a token takes an expert")
    }
}

/// Which experts tokens take.
struct Taken {
    /// The tokens of each expert, in order.
    by_expert: Vec<Vec<usize>>,
    tokens: usize,
}

impl Taken {
    /// Those with the largest of `count` shares a token; of equal ones the first.
    fn new(shares: &[f32], count: usize, taken: usize) -> Self {
        let mut by_expert = vec![Vec::new(); count];
        let mut order: Vec<usize> = Vec::with_capacity(count);
        for (token, shares) in shares.chunks_exact(count).enumerate() {
            order.clear();
            order.extend(0..count);
            order.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]));
            for &expert in &order[..taken] {
                by_expert[expert].push(token);
            }
        }
        let tokens = shares.len() / count;
        Self { by_expert, tokens }
    }

    /// `[n, experts]`: 1 where a token takes an expert, else 0.
    fn kept(&self, count: usize) -> Vec<f32> {
        let mut kept = vec![0.0; self.tokens * count];
        for (expert, tokens) in self.by_expert.iter().enumerate() {
            tokens.iter().for_each(|token| kept[token * count + expert] = 1.0);
        }
        kept
    }

    /// Where the results of a token's first expert, second and so on stand, of all tokens, among the results of all experts one
    /// after the other.
    fn places(&self) -> Vec<Vec<usize>> {
        let mut of_token = vec![Vec::new(); self.tokens];
        for (place, &token) in self.by_expert.iter().flatten().enumerate() {
            of_token[token].push(place);
        }
        let taken = of_token.first().map_or(0, Vec::len);
        let at = |number| of_token.iter().map(|places| places[number]).collect();
        (0..taken).map(at).collect()
    }
}

fn gated(x: Tensor<2>, activation: Activation) -> Tensor<2> {
    match activation {
        Activation::Silu => swish(x),
        Activation::GeluTanh => gelu_tanh(x),
    }
}

/// `x · sigmoid(x)`. burn's sigmoid branches on the sign and costs twice as much on the CPU, but its gradient is safe;
/// this quotient's is not where `exp` overflows (the value is), so it serves where no gradient is wanted.
fn swish(x: Tensor<2>) -> Tensor<2> {
    if x.is_autodiff() {
        return silu(x);
    }
    let denominator = x.clone().neg().exp() + 1.0;
    x / denominator
}

/// `x/2 · (1 + tanh u)` with `u = √(2/π) (x + 0.044715 x³)`, which is `x · sigmoid(2 u)`.
fn gelu_tanh(x: Tensor<2>) -> Tensor<2> {
    let dtype = x.dtype();
    let x = widen(x);
    let twice_u = (x.clone() + x.clone().powi_scalar(3) * 0.044715) * (8.0 / std::f64::consts::PI).sqrt();
    cast(x * sigmoid(twice_u), dtype)
}
