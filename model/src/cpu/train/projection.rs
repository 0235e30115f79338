//! A linear layer with its adapter, forward and backward.

use super::lines::{Lines, for_lines, multiply, outer, sum_lines};
use super::parameters::{Adapter, Found, Projection};
use crate::cpu::product::{PANEL, Part};
use crate::lora::dropout::{Mark, Mask};

impl Projection {
    /// `out (+)= x W + b + s (x A) B`, in the columns of `out` from `from` on; `marks` are those of the tokens, for what the adapter
    /// leaves out of `x`.
    pub fn forward(
        &self,
        (x, marks): (Lines, &[Mark]),
        add: bool,
        out: &mut [f32],
        (stride, from): (usize, usize),
    ) {
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
            let dropped = adapter.dropped(x, marks);
            let x = as_lines(dropped.as_deref(), x);
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
        (x, marks): (Lines, &[Mark]),
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
            let dropped = adapter.dropped(x, marks);
            let x = as_lines(dropped.as_deref(), x);
            found.put(&adapter.a, || outer(x, lines));
            found.put(&adapter.b, || outer(adapter.lines(&adapter.low(x)), grads));
            of_low
        });
        let Some((out, stride, add)) = out else { return };
        multiply(grads, self.lines().transposed(), add, out, (stride, 0));
        if let (Some(adapter), Some(of_low)) = (&self.adapter, &of_low) {
            adapter.add_input_grads(of_low, marks, x.width(), out, stride);
        }
    }
}

/// What is left of lines, where something was left out, else all.
fn as_lines<'a>(dropped: Option<&'a [f32]>, x: Lines<'a>) -> Lines<'a> {
    dropped.map_or(x, |dropped| Lines::new(dropped, x.width()))
}

/// Leaves out of lines of `stride` numbers what a mask says.
fn leave_out(mask: &Mask, marks: &[Mark], lines: &mut [f32], stride: usize) {
    for_lines(lines, stride, |first, lines| {
        let lines = lines.chunks_exact_mut(stride).zip(&marks[first..]);
        lines.for_each(|(line, mark)| mask.apply(*mark, line));
    });
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

    /// What it takes of `x`, where it does not take all: `[n, in]`. It is made for each use, and not kept.
    fn dropped(&self, x: Lines, marks: &[Mark]) -> Option<Vec<f32>> {
        let mask = self.mask.as_ref()?;
        let mut dropped: Vec<f32> = x.iter().flatten().copied().collect();
        leave_out(mask, marks, &mut dropped, x.width());
        Some(dropped)
    }

    /// Adds the gradients of what goes in, `width` numbers a token, to lines of `stride`.
    fn add_input_grads(&self, of_low: &[f32], marks: &[Mark], width: usize, out: &mut [f32], stride: usize) {
        let a = Lines::new(self.a.get(), self.r);
        let Some(mask) = &self.mask else {
            return multiply(self.lines(of_low), a.transposed(), true, out, (stride, 0));
        };
        let columns = width.next_multiple_of(PANEL);
        let mut grads = vec![0.0; marks.len() * columns];
        multiply(
            self.lines(of_low),
            a.transposed(),
            false,
            &mut grads,
            (columns, 0),
        );
        leave_out(mask, marks, &mut grads, columns);
        for_lines(out, stride, |first, out| {
            let lines = out
                .chunks_exact_mut(stride)
                .zip(grads[first * columns..].chunks_exact(columns));
            for (out, grads) in lines {
                out.iter_mut().zip(grads).for_each(|(out, grad)| *out += grad);
            }
        });
    }

    fn scaled(&self, lines: Lines, factor: Part) -> Vec<f32> {
        let stride = self.r.next_multiple_of(PANEL);
        let mut low = vec![0.0; lines.count() * stride];
        multiply(lines, factor, false, &mut low, (stride, 0));
        low.iter_mut().for_each(|low| *low *= self.scale);
        low
    }
}
