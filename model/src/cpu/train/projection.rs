//! A linear layer with its adapter, forward and backward.

use rayon::prelude::*;

use super::lines::{Lines, Packed, for_lines, outer, outers, packed, sum_lines};
use super::parameters::{Adapter, Found, Projection};
use crate::cpu::buffer::Buffer;
use crate::cpu::product::{PANEL, Part};
use crate::dropout::{Mark, Mask};

/// A projection laid out for products one way: `x W + b + s (x A) B`, or back, `g Wᵀ + s (g Bᵀ) Aᵀ`.
pub(super) struct Laid<'a> {
    weight: Packed,
    bias: Option<&'a [f32]>,
    adapter: Option<LaidAdapter<'a>>,
}

struct LaidAdapter<'a> {
    first: Packed,
    second: Packed,
    r: usize,
    scale: f32,
    /// What is left out of what goes in, or on the way back of what comes out.
    mask: Option<&'a Mask>,
    is_back: bool,
}

impl Laid<'_> {
    /// What comes of some lines, or that added, in the columns of `out` from `from` on; `marks` are those of the lines' tokens. A line's
    /// bits do not depend on the others.
    ///
    /// # Shapes
    /// `x`: `[n][in]`; `out`: `[n, stride]`
    pub fn run(
        &self,
        (x, marks): (&[&[f32]], &[Mark]),
        add: bool,
        out: &mut [f32],
        (stride, from): (usize, usize),
        scratch: &mut Buffer,
    ) {
        self.weight.multiply_into(x, add, &mut out[from..], stride);
        if let Some(bias) = self.bias {
            for line in out.chunks_exact_mut(stride) {
                let line = &mut line[from..][..bias.len()];
                line.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
            }
        }
        if let Some(adapter) = &self.adapter {
            adapter.add((x, marks), &mut out[from..], stride, scratch);
        }
    }
}

impl LaidAdapter<'_> {
    fn add(&self, (x, marks): (&[&[f32]], &[Mark]), out: &mut [f32], stride: usize, scratch: &mut Buffer) {
        let (columns, width) = (self.first.columns(), x.first().map_or(0, |line| line.len()));
        let masked = match (self.mask, self.is_back) {
            (None, _) => 0,
            (Some(_), false) => width,
            (Some(_), true) => self.second.columns(),
        };
        let (low, masked) = scratch
            .sized(x.len() * (columns + masked))
            .split_at_mut(x.len() * columns);
        match self.mask.filter(|_| !self.is_back) {
            None => self.first.multiply_into(x, false, low, columns),
            Some(mask) => {
                for ((line, x), mark) in masked.chunks_exact_mut(width).zip(x).zip(marks) {
                    line.copy_from_slice(x);
                    mask.apply(*mark, line);
                }
                let x: Vec<&[f32]> = masked.chunks_exact(width).collect();
                self.first.multiply_into(&x, false, low, columns);
            }
        }
        low.iter_mut().for_each(|low| *low *= self.scale);
        let lines: Vec<&[f32]> = low.chunks_exact(columns).map(|line| &line[..self.r]).collect();
        let Some(mask) = self.mask.filter(|_| self.is_back) else {
            return self.second.multiply_into(&lines, true, out, stride);
        };
        let columns = self.second.columns();
        self.second.multiply_into(&lines, false, masked, columns);
        let out = out.chunks_mut(stride);
        for ((line, out), mark) in masked.chunks_exact_mut(columns).zip(out).zip(marks) {
            mask.apply(*mark, line);
            out.iter_mut().zip(line).for_each(|(out, grad)| *out += *grad);
        }
    }
}

impl Projection {
    /// [`Self::forward`] of each, together.
    pub fn all_forward<const N: usize>(projections: [&Self; N]) -> [Laid<'_>; N] {
        let mut all = [const { None }; N];
        let places = all.par_iter_mut().zip(projections);
        places.for_each(|(laid, projection)| *laid = Some(projection.forward()));
        all.map(|laid| laid.expect("each is laid out"))
    }

    /// Laid out for [`Laid::run`] of what goes in.
    fn forward(&self) -> Laid<'_> {
        Laid {
            weight: laid(self.lines().part(), self.inner()),
            bias: self.bias.as_ref().map(|bias| bias.get()),
            adapter: self.adapter.as_ref().map(|adapter| LaidAdapter {
                first: laid(adapter.a_lines().part(), self.inner()),
                second: laid(adapter.b_lines(self.out).part(), adapter.r),
                r: adapter.r,
                scale: adapter.scale,
                mask: adapter.mask.as_ref(),
                is_back: false,
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
                mask: adapter.mask.as_ref(),
                is_back: true,
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

    /// The gradients of the parameters of projections of the same lines; `marks` are those of the lines' tokens.
    pub fn gradients(
        projections: &[&Self],
        (x, marks): (Lines, &[Mark]),
        grads: &[Lines],
        found: &mut Found,
    ) {
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
                let dropped = adapter.dropped(x, marks);
                let x = dropped
                    .as_deref()
                    .map_or(x, |dropped| Lines::new(dropped, x.width()));
                found.put(&adapter.a, || {
                    outer(x, adapter.lines(&adapter.low_grads(grads, projection.out)))
                });
                found.put(&adapter.b, || outer(adapter.lines(&adapter.low(x)), grads));
            }
        }
    }
}

/// A weight of `k` lines, laid out by all threads.
fn laid(weight: Part, k: usize) -> Packed {
    packed(k, &[weight], true)
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
    fn low(&self, x: Lines) -> Buffer {
        self.scaled(x, self.a_lines().part())
    }

    /// `s grads Bᵀ`: `[n, r rounded up to whole panels]`
    fn low_grads(&self, grads: Lines, out: usize) -> Buffer {
        self.scaled(grads, self.b_lines(out).transposed())
    }

    /// What it takes of `x`, where it does not take all: `[n, in]`. It is made for each use, and not kept.
    fn dropped(&self, x: Lines, marks: &[Mark]) -> Option<Buffer> {
        let mask = self.mask.as_ref()?;
        let mut dropped = Buffer::unset(x.count() * x.width());
        for_lines(&mut dropped, x.width(), |first, lines| {
            let lines = lines.chunks_exact_mut(x.width());
            for ((at, line), mark) in (first..).zip(lines).zip(&marks[first..]) {
                line.copy_from_slice(x.line(at));
                mask.apply(*mark, line);
            }
        });
        Some(dropped)
    }

    fn scaled(&self, lines: Lines, factor: Part) -> Buffer {
        let stride = self.r.next_multiple_of(PANEL);
        let mut low = Buffer::unset(lines.count() * stride);
        super::lines::multiply(lines, factor, false, &mut low, (stride, 0));
        low.iter_mut().for_each(|low| *low *= self.scale);
        low
    }
}
