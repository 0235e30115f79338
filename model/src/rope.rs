//! Rotary position embeddings, rotate-half as Hugging Face checkpoints expect them, with scalings.
//!
//! A head `x` of `e` features is rotated by `x · cos + swap(x) · sin`, where `swap` exchanges the halves and `sin` is
//! negative in the first: the same numbers as `x · cos + rotate_half(x) · sin`, in one operation fewer.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::config::{ModelConfig, RopeScaling};
use crate::dtype::cast;

/// The angle that each pair of features turns by per position, `head_dim / 2` of them.
pub fn inverse_frequencies(config: &ModelConfig) -> Vec<f64> {
    base_frequencies(config)
        .into_iter()
        .map(|frequency| scale(frequency, &config.rope_scaling))
        .collect()
}

/// [`inverse_frequencies`] before they are scaled.
pub(crate) fn base_frequencies(config: &ModelConfig) -> Vec<f64> {
    let e = config.head_dim;
    (0..e / 2)
        .map(|i| config.rope_theta.powf(-((2 * i) as f64) / e as f64))
        .collect()
}

/// `_compute_llama3_parameters` and `_compute_linear_scaling_rope_parameters` of transformers.
fn scale(frequency: f64, scaling: &RopeScaling) -> f64 {
    match *scaling {
        RopeScaling::Default => frequency,
        RopeScaling::Linear { factor } => frequency / factor,
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => {
            let original = original_max_position_embeddings as f64;
            let wavelength = 2.0 * std::f64::consts::PI / frequency;
            if wavelength > original / low_freq_factor {
                frequency / factor
            } else if wavelength < original / high_freq_factor {
                frequency
            } else {
                let smooth = (original / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        }
    }
}

/// Cosines and signed sines by position, made once on the host in f64 and read by position on the device.
#[derive(Debug, Clone)]
pub struct RopeTable {
    /// `[positions, head_dim]`: cosines, both halves alike.
    cos: Tensor<2>,
    /// `[positions, head_dim]`: sines, negative in the first half.
    sin: Tensor<2>,
}

impl RopeTable {
    /// A table of the first `positions` positions.
    pub fn new(config: &ModelConfig, positions: usize, device: &Device) -> Self {
        let frequencies = inverse_frequencies(config);
        let (half, e) = (config.head_dim / 2, config.head_dim);
        let mut cos = vec![0f32; positions * e];
        let mut sin = vec![0f32; positions * e];
        for position in 0..positions {
            for (i, frequency) in frequencies.iter().enumerate() {
                let (s, c) = (position as f64 * frequency).sin_cos();
                let at = position * e + i;
                cos[at] = c as f32;
                cos[at + half] = c as f32;
                sin[at] = -s as f32;
                sin[at + half] = s as f32;
            }
        }
        let tensor = |values| Tensor::from_data(TensorData::new(values, [positions, e]), device);
        Self {
            cos: tensor(cos),
            sin: tensor(sin),
        }
    }

    /// Positions the table holds.
    pub fn positions(&self) -> usize {
        self.cos.dims()[0]
    }

    /// The rotation of given positions.
    pub fn at(&self, positions: &[usize]) -> Rotation {
        let ids: Vec<i64> = positions.iter().map(|&p| p as i64).collect();
        let n = ids.len();
        let ids: Tensor<1, Int> = Tensor::from_data(TensorData::new(ids, [n]), &self.cos.device());
        Rotation {
            cos: self.cos.clone().select(0, ids.clone()).unsqueeze_dim(1),
            sin: self.sin.clone().select(0, ids).unsqueeze_dim(1),
        }
    }
}

/// A rotation by the positions of `n` tokens.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// `[n, 1, head_dim]`
    cos: Tensor<3>,
    /// `[n, 1, head_dim]`
    sin: Tensor<3>,
}

impl Rotation {
    /// The same rotation followed by a multiplication: how the queries get attention's `1/√head_dim` for nothing.
    pub fn scaled(&self, scale: f64) -> Self {
        Self {
            cos: self.cos.clone() * scale,
            sin: self.sin.clone() * scale,
        }
    }

    /// The same rotation in numbers of another kind; made in f32.
    pub fn cast(&self, dtype: DType) -> Self {
        Self {
            cos: cast(self.cos.clone(), dtype),
            sin: cast(self.sin.clone(), dtype),
        }
    }

    /// Rotates every head of every token.
    ///
    /// # Shapes
    /// `heads`: `[n, heads, head_dim]`, and so is the result.
    pub fn apply(&self, heads: Tensor<3>) -> Tensor<3> {
        let [n, h, e] = heads.dims();
        let half = e / 2;
        let swapped = Tensor::cat(
            vec![
                heads.clone().slice([0..n, 0..h, half..e]),
                heads.clone().slice([0..n, 0..h, 0..half]),
            ],
            2,
        );
        heads * self.cos.clone() + swapped * self.sin.clone()
    }
}
