//! A linear layer with its adapter, forward and backward.

use super::lines::{Lines, for_lines, multiply, outer, sum_lines};
use super::parameters::{Adapter, Found, Projection};
use crate::cpu::product::{PANEL, Part};

impl Projection {
    /// `out (+)= x W + b + s (x A) B`, in the columns of `out` from `from` on.
    pub fn forward(&self, x: Lines, add: bool, out: &mut [f32], (stride, from): (usize, usize)) {
        multiply(x, self.lines().part(), add, out, (stride, from));
        if let Some(bias) = &self.bias {
            for_lines(out, stride, |_, lines| {
                for line in lines.chunks_exact_mut(stride) {
                    let line = &mut line[from..][..self.out];
                    line.iter_mut()
                        .zip(bias.get())
                        .for_each(|(out, bias)| *out += bias);
                }
            });
        }
        if let Some(adapter) = &self.adapter {
            let (low, b) = (adapter.low(x), Lines::new(adapter.b.get(), self.out));
            multiply(adapter.lines(&low), b.part(), true, out, (stride, from));
        }
    }

    /// The weight, `in` lines of `out` numbers.
    fn lines(&self) -> Lines<'_> {
        Lines::new(self.weight.get(), self.out)
    }

    /// The gradients of the parameters, and unless nobody wants it `out (+)= grads Wᵀ + s (grads Bᵀ) Aᵀ`, that of `x`.
    pub fn backward(
        &self,
        x: Lines,
        grads: Lines,
        out: Option<(&mut [f32], usize, bool)>,
        found: &mut Found,
    ) {
        found.put(&self.weight, || outer(x, grads));
        if let Some(bias) = &self.bias {
            found.put(bias, || sum_lines(grads));
        }
        let of_low = self.adapter.as_ref().map(|adapter| {
            let of_low = adapter.low_grads(grads, self.out);
            let lines = adapter.lines(&of_low);
            found.put(&adapter.a, || outer(x, lines));
            found.put(&adapter.b, || outer(adapter.lines(&adapter.low(x)), grads));
            of_low
        });
        let Some((out, stride, add)) = out else { return };
        multiply(grads, self.lines().transposed(), add, out, (stride, 0));
        if let (Some(adapter), Some(of_low)) = (&self.adapter, &of_low) {
            let a = Lines::new(adapter.a.get(), adapter.r);
            multiply(adapter.lines(of_low), a.transposed(), true, out, (stride, 0));
        }
    }
}

impl Adapter {
    /// `[n][r]` of lines that [`Self::low`] and [`Self::low_grads`] make.
    fn lines<'a>(&self, low: &'a [f32]) -> Lines<'a> {
        Lines::new(low, self.r.next_multiple_of(PANEL)).columns(0, self.r)
    }

    /// `s x A`: `[n, r rounded up to whole panels]`
    fn low(&self, x: Lines) -> Vec<f32> {
        self.scaled(x, Lines::new(self.a.get(), self.r).part())
    }

    /// `s grads Bᵀ`: `[n, r rounded up to whole panels]`
    fn low_grads(&self, grads: Lines, out: usize) -> Vec<f32> {
        self.scaled(grads, Lines::new(self.b.get(), out).transposed())
    }

    fn scaled(&self, lines: Lines, factor: Part) -> Vec<f32> {
        let stride = self.r.next_multiple_of(PANEL);
        let mut low = vec![0.0; lines.count() * stride];
        multiply(lines, factor, false, &mut low, (stride, 0));
        low.iter_mut().for_each(|low| *low *= self.scale);
        low
    }
}
