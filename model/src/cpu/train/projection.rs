//! A linear layer with its adapter, forward and backward.

use super::lines::{Lines, outer, outers, sized, sum_lines};
use super::parameters::{Adapter, Found, Projection};
use crate::cpu::product::{Matrix, PANEL, Part};

/// A projection laid out for products one way: `x W + b + s (x A) B`, or back, `g Wᵀ + s (g Bᵀ) Aᵀ`.
pub(super) struct Laid<'a> {
    weight: Matrix,
    bias: Option<&'a [f32]>,
    adapter: Option<LaidAdapter>,
}

struct LaidAdapter {
    first: Matrix,
    second: Matrix,
    r: usize,
    scale: f32,
}

impl Laid<'_> {
    /// What comes of some lines, or that added, in the columns of `out` from `from` on. A line's bits do not depend on the others.
    ///
    /// # Shapes
    /// `x`: `[n][in]`; `out`: `[n, stride]`
    pub fn run(
        &self,
        x: &[&[f32]],
        add: bool,
        out: &mut [f32],
        (stride, from): (usize, usize),
        low: &mut Vec<f32>,
    ) {
        self.weight.multiply_into(x, add, &mut out[from..], stride);
        if let Some(bias) = self.bias {
            for line in out.chunks_exact_mut(stride) {
                let line = &mut line[from..][..bias.len()];
                line.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
            }
        }
        let Some(adapter) = &self.adapter else { return };
        let columns = adapter.first.columns();
        let low = sized(low, x.len() * columns);
        adapter.first.multiply_into(x, false, low, columns);
        low.iter_mut().for_each(|low| *low *= adapter.scale);
        let lines: Vec<&[f32]> = low.chunks_exact(columns).map(|line| &line[..adapter.r]).collect();
        adapter
            .second
            .multiply_into(&lines, true, &mut out[from..], stride);
    }
}

impl Projection {
    /// Laid out for [`Laid::run`] of what goes in.
    pub fn forward(&self) -> Laid<'_> {
        Laid {
            weight: laid(self.lines().part(), self.inner()),
            bias: self.bias.as_ref().map(|bias| bias.get()),
            adapter: self.adapter.as_ref().map(|adapter| LaidAdapter {
                first: laid(adapter.a_lines().part(), self.inner()),
                second: laid(adapter.b_lines(self.out).part(), adapter.r),
                r: adapter.r,
                scale: adapter.scale,
            }),
        }
    }

    /// Laid out for [`Laid::run`] of the gradients of what comes out.
    pub fn backward(&self) -> Laid<'_> {
        Laid {
            weight: laid(self.lines().transposed(), self.out),
            bias: None,
            adapter: self.adapter.as_ref().map(|adapter| LaidAdapter {
                first: laid(adapter.b_lines(self.out).transposed(), self.out),
                second: laid(adapter.a_lines().transposed(), adapter.r),
                r: adapter.r,
                scale: adapter.scale,
            }),
        }
    }

    /// The weight, `in` lines of `out` numbers.
    fn lines(&self) -> Lines<'_> {
        Lines::new(self.weight.get(), self.out)
    }

    fn inner(&self) -> usize {
        self.weight.get().len() / self.out
    }

    /// The gradients of the parameters of projections of the same lines.
    pub fn gradients(projections: &[&Self], x: Lines, grads: &[Lines], found: &mut Found) {
        let trained: Vec<usize> = (0..projections.len())
            .filter(|&number| projections[number].weight.is_trained())
            .collect();
        let of_trained: Vec<Lines> = trained.iter().map(|&number| grads[number]).collect();
        for (number, gradient) in trained.into_iter().zip(outers(x, &of_trained)) {
            found.put(&projections[number].weight, || gradient);
        }
        for (projection, &grads) in projections.iter().zip(grads) {
            if let Some(bias) = &projection.bias {
                found.put(bias, || sum_lines(grads));
            }
            if let Some(adapter) = &projection.adapter {
                found.put(&adapter.a, || {
                    outer(x, adapter.lines(&adapter.low_grads(grads, projection.out)))
                });
                found.put(&adapter.b, || outer(adapter.lines(&adapter.low(x)), grads));
            }
        }
    }
}

/// A weight of `k` lines, laid out by all threads.
fn laid(weight: Part, k: usize) -> Matrix {
    Matrix::pack(k, &[weight], true)
}

impl Adapter {
    /// `[in][r]`
    fn a_lines(&self) -> Lines<'_> {
        Lines::new(self.a.get(), self.r)
    }

    /// `[r][out]`
    fn b_lines(&self, out: usize) -> Lines<'_> {
        Lines::new(self.b.get(), out)
    }

    /// `[n][r]` of lines that [`Self::low`] and [`Self::low_grads`] make.
    fn lines<'a>(&self, low: &'a [f32]) -> Lines<'a> {
        Lines::new(low, self.r.next_multiple_of(PANEL)).columns(0, self.r)
    }

    /// `s x A`: `[n, r rounded up to whole panels]`
    fn low(&self, x: Lines) -> Vec<f32> {
        self.scaled(x, self.a_lines().part())
    }

    /// `s grads Bᵀ`: `[n, r rounded up to whole panels]`
    fn low_grads(&self, grads: Lines, out: usize) -> Vec<f32> {
        self.scaled(grads, self.b_lines(out).transposed())
    }

    fn scaled(&self, lines: Lines, factor: Part) -> Vec<f32> {
        let stride = self.r.next_multiple_of(PANEL);
        let mut low = vec![0.0; lines.count() * stride];
        super::lines::multiply(lines, factor, false, &mut low, (stride, 0));
        low.iter_mut().for_each(|low| *low *= self.scale);
        low
    }
}
