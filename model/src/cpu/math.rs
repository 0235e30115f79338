//! What stands between the matrix products, beside softmax: norms, rotations, the gated activation.

use crate::config::Activation;
use crate::host::{exp, on_this_processor, sum};

/// `x / sqrt(mean(x²) + eps) · weight`.
#[inline(always)]
fn norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let factor = inverse_rms(x, eps);
    for ((out, &x), &weight) in out.iter_mut().zip(x).zip(weight) {
        *out = x * factor * weight;
    }
}

/// RMS norm of lines of `weight.len()` numbers, every line of `x` and `out` starting at a multiple of its stride.
pub(super) fn norm_lines(
    x: &[f32],
    x_stride: usize,
    weight: &[f32],
    eps: f32,
    out: &mut [f32],
    stride: usize,
) {
    let d = weight.len();
    on_this_processor!({
        for (x, out) in x.chunks_exact(x_stride).zip(out.chunks_exact_mut(stride)) {
            norm(&x[..d], weight, eps, &mut out[..d]);
        }
    });
}

/// `1 / sqrt(mean(x²) + eps)`
#[inline(always)]
fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    let mean = sum(
        x,
        #[inline(always)]
        |value| value * value,
    ) / x.len() as f32;
    1.0 / (mean + eps).sqrt()
}

/// The gradient of `x` where `grad` is that of `norm(x)`, added to `out`.
#[inline(always)]
fn norm_backward(x: &[f32], weight: &[f32], eps: f32, grad: &[f32], out: &mut [f32]) {
    let factor = inverse_rms(x, eps);
    let mut along = 0.0;
    let (xs, rest) = x.as_chunks::<16>();
    let at = x.len() - rest.len();
    let mut parts = [0.0; 16];
    for ((x, w), g) in xs
        .iter()
        .zip(weight.as_chunks::<16>().0)
        .zip(grad.as_chunks::<16>().0)
    {
        for (((part, x), w), g) in parts.iter_mut().zip(x).zip(w).zip(g) {
            *part += x * w * g;
        }
    }
    for ((x, w), g) in rest.iter().zip(&weight[at..]).zip(&grad[at..]) {
        along += x * w * g;
    }
    along += parts.iter().sum::<f32>();
    let back = along * factor * factor * factor / x.len() as f32;
    for (((out, &x), &w), &g) in out.iter_mut().zip(x).zip(weight).zip(grad) {
        *out += factor * w * g - back * x;
    }
}

/// The gradients of lines before [`norm_lines`], added to `out`; all lines at multiples of `stride`.
pub(super) fn norm_lines_backward(
    x: &[f32],
    weight: &[f32],
    eps: f32,
    grads: &[f32],
    out: &mut [f32],
    stride: usize,
) {
    let d = weight.len();
    on_this_processor!({
        let lines = x.chunks_exact(stride).zip(grads.chunks_exact(stride));
        for ((x, grad), out) in lines.zip(out.chunks_exact_mut(stride)) {
            norm_backward(&x[..d], weight, eps, &grad[..d], &mut out[..d]);
        }
    });
}

/// The gradient of the weight of [`norm_lines`], added to `out`, over lines in their order.
pub(super) fn norm_weight_gradient<'a>(
    lines: impl Iterator<Item = (&'a [f32], &'a [f32])>,
    eps: f32,
    out: &mut [f32],
) {
    on_this_processor!({
        for (x, grad) in lines {
            let factor = inverse_rms(x, eps);
            for ((out, &x), &grad) in out.iter_mut().zip(x).zip(grad) {
                *out += x * factor * grad;
            }
        }
    });
}

/// A head's cosines and sines of one position, one of each for a pair of features.
#[derive(Debug, Clone, Default)]
pub(super) struct Angles {
    pub cos: Vec<f32>,
    pub sin: Vec<f32>,
}

impl Angles {
    /// Those of a position, multiplied by a factor.
    pub fn at((frequencies, factor): &(Vec<f64>, f64), position: usize) -> Self {
        let angles = frequencies
            .iter()
            .map(|frequency| (position as f64 * frequency).sin_cos());
        let (sin, cos): (Vec<f64>, Vec<f64>) = angles.unzip();
        Self {
            cos: cos.iter().map(|&x| (x * factor) as f32).collect(),
            sin: sin.iter().map(|&x| (x * factor) as f32).collect(),
        }
    }
}

/// [`norm`] in the place of its numbers.
#[inline(always)]
fn norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) {
    let factor = inverse_rms(x, eps);
    for (x, &weight) in x.iter_mut().zip(weight) {
        *x = *x * factor * weight;
    }
}

/// RMS norm of one line, in place.
pub(super) fn norm_line(x: &mut [f32], weight: &[f32], eps: f32) {
    on_this_processor!({ norm_in_place(x, weight, eps) });
}

/// `x += branch · multiplier`, the lines of `branch` normalised where there is a norm. The first `d` numbers of each line of
/// `width` count; `branch` is used up.
pub(super) fn add_lines(
    branch: &mut [f32],
    norm: Option<(&[f32], f32)>,
    multiplier: f32,
    (d, width): (usize, usize),
    x: &mut [f32],
) {
    on_this_processor!({
        for (branch, x) in branch.chunks_exact_mut(width).zip(x.chunks_exact_mut(width)) {
            let branch = &mut branch[..d];
            if let Some((weight, eps)) = norm {
                norm_in_place(branch, weight, eps);
            }
            for (x, &branch) in x.iter_mut().zip(branch.iter()) {
                *x += branch * multiplier;
            }
        }
    });
}

/// Norm (where there is one), rotation (where there is one) and scaling of every head of a token, in place.
pub(super) fn prepare_heads(
    heads: &mut [f32],
    head_dim: usize,
    norm_weight: Option<&[f32]>,
    eps: f32,
    angles: Option<&Angles>,
    scale: f32,
) {
    on_this_processor!({
        for head in heads.chunks_exact_mut(head_dim) {
            if let Some(weight) = norm_weight {
                norm_in_place(head, weight, eps);
            }
            let Some(angles) = angles else {
                head.iter_mut().for_each(|x| *x *= scale);
                continue;
            };
            let (turned, rest) = head.split_at_mut(2 * angles.cos.len());
            rest.iter_mut().for_each(|x| *x *= scale);
            let (first, second) = turned.split_at_mut(angles.cos.len());
            for (((a, b), &cos), &sin) in first.iter_mut().zip(second).zip(&angles.cos).zip(&angles.sin) {
                let (x, y) = (*a, *b);
                *a = (x * cos - y * sin) * scale;
                *b = (y * cos + x * sin) * scale;
            }
        }
    });
}

/// The gradients of heads before [`prepare_heads`], in the place of those behind it, but for the norm: what comes of it is to go
/// through [`norm_lines_backward`].
pub(super) fn turn_heads_back(grads: &mut [f32], head_dim: usize, angles: &Angles, scale: f32) {
    on_this_processor!({
        for head in grads.chunks_exact_mut(head_dim) {
            let (first, second) = head.split_at_mut(head_dim / 2);
            for (((a, b), &cos), &sin) in first.iter_mut().zip(second).zip(&angles.cos).zip(&angles.sin) {
                let (x, y) = (*a, *b);
                *a = (x * cos + y * sin) * scale;
                *b = (y * cos - x * sin) * scale;
            }
        }
    });
}

/// `1 / (1 + exp(−x))`
#[inline(always)]
fn sigmoid(gate: f32) -> f32 {
    1.0 / (1.0 + exp(-gate))
}

/// `silu(gate) · up` of lines that hold gates first and ups from `half` on, to lines of `half`.
pub(super) fn gated(lines: &[f32], half: usize, out: &mut [f32]) {
    on_this_processor!({
        for (line, out) in lines.chunks_exact(2 * half).zip(out.chunks_exact_mut(half)) {
            let (gates, ups) = line.split_at(half);
            for ((out, &gate), &up) in out.iter_mut().zip(gates).zip(ups) {
                *out = gate * sigmoid(gate) * up;
            }
        }
    });
}

/// The gradients of gates and ups in their own place, given those of [`gated`].
pub(super) fn gated_backward(lines: &mut [f32], half: usize, grads: &[f32]) {
    on_this_processor!({
        for (line, grads) in lines.chunks_exact_mut(2 * half).zip(grads.chunks_exact(half)) {
            let (gates, ups) = line.split_at_mut(half);
            for ((gate, up), &grad) in gates.iter_mut().zip(ups).zip(grads) {
                let (x, sigmoid) = (*gate, sigmoid(*gate));
                let silu = x * sigmoid;
                *gate = grad * *up * (sigmoid + silu * (1.0 - sigmoid));
                *up = grad * silu;
            }
        }
    });
}

/// Divides numbers.
pub(super) fn divide(numbers: &mut [f32], by: f32) {
    numbers.iter_mut().for_each(|x| *x /= by);
}

/// `cap · tanh(x / cap)` of every number.
pub(super) fn cap(numbers: &mut [f32], cap: f32) {
    on_this_processor!({
        for x in numbers {
            *x = cap - 2.0 * cap / (1.0 + exp(*x * (2.0 / cap)));
        }
    });
}

/// `act(gate) · up` of lines that hold gates first and ups from `half` on, into the gates' place.
pub(super) fn gate_lines(lines: &mut [f32], stride: usize, half: usize, activation: Activation) {
    // √(8/π), and with it the weight of x³.
    const LINEAR: f32 = 1.595_769;
    const CUBIC: f32 = 0.071_354_814;
    match activation {
        Activation::Silu => on_this_processor!({
            for line in lines.chunks_exact_mut(stride) {
                let (gates, ups) = line.split_at_mut(half);
                for (gate, &up) in gates.iter_mut().zip(ups.iter()) {
                    *gate = *gate / (1.0 + exp(-*gate)) * up;
                }
            }
        }),
        // `x · sigmoid(2 u)`, as the tensor operations have it.
        Activation::GeluTanh => on_this_processor!({
            for line in lines.chunks_exact_mut(stride) {
                let (gates, ups) = line.split_at_mut(half);
                for (gate, &up) in gates.iter_mut().zip(ups.iter()) {
                    let x = *gate;
                    *gate = x / (1.0 + exp(-x * (LINEAR + CUBIC * x * x))) * up;
                }
            }
        }),
    }
}
