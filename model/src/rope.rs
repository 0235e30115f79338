//! Rotary position embeddings, rotate-half as Hugging Face checkpoints expect them, with scalings.
//!
//! A head `x` of `e` features is rotated by `x · cos + swap(x) · sin`, where `swap` exchanges the halves and `sin` is
//! negative in the first: the same numbers as `x · cos + rotate_half(x) · sin`, in one operation fewer.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::config::{ModelConfig, RopeScaling, Yarn};
use crate::dtype::cast;

/// The angle that each pair of features turns by per position, `rotary_dim / 2` of them.
pub fn inverse_frequencies(config: &ModelConfig) -> Vec<f64> {
    let base = base_frequencies(config);
    let each = |scale: &dyn Fn(f64) -> f64| base.iter().map(|&frequency| scale(frequency)).collect();
    match &config.rope_scaling {
        // No text goes beyond the positions up to which Dynamic stretches nothing.
        RopeScaling::Default | RopeScaling::Dynamic { .. } => base,
        RopeScaling::Linear { factor } => each(&|frequency| frequency / factor),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => {
            let original = *original_max_position_embeddings as f64;
            each(&|frequency| {
                llama3(
                    frequency,
                    original,
                    *factor,
                    [*low_freq_factor, *high_freq_factor],
                )
            })
        }
        RopeScaling::Yarn(scaling) => yarn(&base, config.rope_theta, scaling),
        RopeScaling::LongRope(scaling) => {
            let pairs = base.iter().zip(&scaling.short_factor);
            pairs.map(|(frequency, factor)| frequency / factor).collect()
        }
    }
}

/// [`inverse_frequencies`] before they are scaled.
pub(crate) fn base_frequencies(config: &ModelConfig) -> Vec<f64> {
    frequencies(config.rope_theta, config.rotary_dim())
}

/// Frequencies and attention's factor of the tables of a model that [`ModelConfig::rotation`] numbers: that of most layers, and
/// where layers with a window have a base of their own, theirs.
pub(crate) fn tables(config: &ModelConfig) -> Vec<(Vec<f64>, f64)> {
    let most = (inverse_frequencies(config), config.attention_factor());
    let local = config.rope_local_base_freq;
    let local = local.map(|theta| (frequencies(theta, config.rotary_dim()), 1.0));
    [most].into_iter().chain(local).collect()
}

fn frequencies(theta: f64, rotated: usize) -> Vec<f64> {
    (0..rotated / 2)
        .map(|i| theta.powf(-((2 * i) as f64) / rotated as f64))
        .collect()
}

/// `_compute_llama3_parameters` of transformers.
fn llama3(frequency: f64, original: f64, factor: f64, [low, high]: [f64; 2]) -> f64 {
    let wavelength = 2.0 * std::f64::consts::PI / frequency;
    if wavelength > original / low {
        frequency / factor
    } else if wavelength < original / high {
        frequency
    } else {
        let smooth = (original / wavelength - low) / (high - low);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}

/// `_compute_yarn_parameters` of transformers.
fn yarn(base: &[f64], theta: f64, yarn: &Yarn) -> Vec<f64> {
    let (dim, original) = (
        (2 * base.len()) as f64,
        yarn.original_max_position_embeddings as f64,
    );
    // The feature that turns so often in the length trained for.
    let turning =
        |turns: f64| dim * (original / (turns * 2.0 * std::f64::consts::PI)).ln() / (2.0 * theta.ln());
    let (fast, slow) = yarn.betas();
    let (mut low, mut high) = (turning(fast), turning(slow));
    if yarn.truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(dim - 1.0));
    if low == high {
        high += 0.001;
    }
    let stretched = |(i, frequency): (usize, &f64)| {
        let share = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
        frequency / yarn.factor * share + frequency * (1.0 - share)
    };
    base.iter().enumerate().map(stretched).collect()
}

/// Cosines and signed sines by position, made once on the host in f64 and read by position on the device.
#[derive(Debug, Clone)]
pub struct RopeTable {
    /// Of each of a model's tables: cosines `[positions, head_dim]`, both halves of what is rotated alike, 1 beyond it; sines,
    /// negative in the first half, 0 beyond.
    tables: Vec<(Tensor<2>, Tensor<2>)>,
    positions: usize,
    /// Features of a head that are rotated.
    rotated: usize,
}

impl RopeTable {
    /// A table of the first `positions` positions.
    pub fn new(config: &ModelConfig, positions: usize, device: &Device) -> Self {
        let e = config.head_dim;
        let table = |(frequencies, factor): (Vec<f64>, f64)| {
            let half = frequencies.len();
            let mut cos = vec![1f32; positions * e];
            let mut sin = vec![0f32; positions * e];
            for position in 0..positions {
                for (i, frequency) in frequencies.iter().enumerate() {
                    let (s, c) = (position as f64 * frequency).sin_cos();
                    let (s, c) = (s * factor, c * factor);
                    let at = position * e + i;
                    cos[at] = c as f32;
                    cos[at + half] = c as f32;
                    sin[at] = -s as f32;
                    sin[at + half] = s as f32;
                }
            }
            let tensor = |values| Tensor::from_data(TensorData::new(values, [positions, e]), device);
            (tensor(cos), tensor(sin))
        };
        Self {
            tables: tables(config).into_iter().map(table).collect(),
            positions,
            rotated: config.rotary_dim(),
        }
    }

    /// Positions the table holds.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// The rotations of given positions, by the numbers of their tables.
    pub fn at(&self, positions: &[usize]) -> Vec<Rotation> {
        let ids: Vec<i64> = positions.iter().map(|&p| p as i64).collect();
        let n = ids.len();
        let ids: Tensor<1, Int> = Tensor::from_data(TensorData::new(ids, [n]), &self.tables[0].0.device());
        let rotation = |(cos, sin): &(Tensor<2>, Tensor<2>)| Rotation {
            cos: cos.clone().select(0, ids.clone()).unsqueeze_dim(1),
            sin: sin.clone().select(0, ids.clone()).unsqueeze_dim(1),
            rotated: self.rotated,
        };
        self.tables.iter().map(rotation).collect()
    }
}

/// A rotation by the positions of `n` tokens.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// `[n, 1, head_dim]`
    cos: Tensor<3>,
    /// `[n, 1, head_dim]`
    sin: Tensor<3>,
    /// Features of a head that are rotated.
    rotated: usize,
}

impl Rotation {
    /// The same rotation followed by a multiplication: how the queries get attention's `1/√head_dim` for nothing.
    pub fn scaled(&self, scale: f64) -> Self {
        Self {
            cos: self.cos.clone() * scale,
            sin: self.sin.clone() * scale,
            rotated: self.rotated,
        }
    }

    /// The same rotation in numbers of another kind; made in f32.
    pub fn cast(&self, dtype: DType) -> Self {
        Self {
            cos: cast(self.cos.clone(), dtype),
            sin: cast(self.sin.clone(), dtype),
            rotated: self.rotated,
        }
    }

    /// Rotates every head of every token.
    ///
    /// # Shapes
    /// `heads`: `[n, heads, head_dim]`, and so is the result.
    pub fn apply(&self, heads: Tensor<3>) -> Tensor<3> {
        let [n, h, e] = heads.dims();
        let half = self.rotated / 2;
        let part = |from: usize, to: usize| heads.clone().slice([0..n, 0..h, from..to]);
        let mut swapped = vec![part(half, self.rotated), part(0, half)];
        if self.rotated < e {
            swapped.push(part(self.rotated, e));
        }
        let swapped = Tensor::cat(swapped, 2);
        heads * self.cos.clone() + swapped * self.sin.clone()
    }
}
