//! Products of many lines with weights as they are: a weight is laid out for each product and forgotten, so that nothing is held twice.
//!
//! Lines are shared out among the threads; a line's numbers, and the sums over lines, have the same bits however many there are.

use std::ops::Range;

use rayon::prelude::*;

use crate::cpu::product::{Matrix, PANEL, Part};

/// Lines that a thread takes at once, at most: what they are made of stays in its cache.
const LINES: usize = 64;
/// Lines whose products are added up at once.
const RUN: usize = 1024;

/// Lines of `width` numbers, one at every multiple of `stride`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines<'a> {
    values: &'a [f32],
    stride: usize,
    width: usize,
}

impl<'a> Lines<'a> {
    /// Lines that touch.
    pub fn new(values: &'a [f32], stride: usize) -> Self {
        Self {
            values,
            stride,
            width: stride,
        }
    }

    /// So many columns of the lines.
    pub fn columns(self, from: usize, width: usize) -> Self {
        Self {
            values: self.values.get(from..).unwrap_or_default(),
            width,
            ..self
        }
    }

    /// Some of the lines.
    pub fn rows(self, rows: Range<usize>) -> Self {
        let end = self.values.len().min(rows.end * self.stride);
        Self {
            values: &self.values[end.min(rows.start * self.stride)..end],
            ..self
        }
    }

    /// `out (+)= selfᵀ · matrix`, line `i` of `out` at `i * stride`.
    pub fn multiply_transposed(self, matrix: &Matrix, add: bool, out: &mut [f32], stride: usize) {
        matrix.multiply_columns((self.values, self.stride), self.width, add, out, stride);
    }

    pub fn count(&self) -> usize {
        self.values.len().div_ceil(self.stride)
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn line(&self, at: usize) -> &'a [f32] {
        &self.values[at * self.stride..][..self.width]
    }

    pub fn iter(self) -> impl Iterator<Item = &'a [f32]> {
        (0..self.count()).map(move |at| self.line(at))
    }

    /// A weight `[count, width]`, to be laid out.
    pub fn part(self) -> Part<'a> {
        Part::Rows {
            values: self.values,
            stride: self.stride,
            n: self.width,
        }
    }

    /// The transpose of a weight `[count, width]`, to be laid out.
    pub fn transposed(self) -> Part<'a> {
        Part::Transposed {
            values: self.values,
            stride: self.stride,
            n: self.count(),
        }
    }
}

/// Lines for a thread, so that all have as many.
pub(super) fn share(lines: usize) -> usize {
    let threads = rayon::current_num_threads();
    let rounds = lines.div_ceil(threads * LINES).max(1);
    lines.div_ceil(threads * rounds).max(1)
}

/// Calls `each(first line, lines)` with shares of lines of `stride` numbers, in parallel.
pub(super) fn for_lines(values: &mut [f32], stride: usize, each: impl Fn(usize, &mut [f32]) + Sync) {
    let share = share(values.len() / stride);
    values
        .par_chunks_mut(share * stride)
        .enumerate()
        .for_each(|(number, lines)| each(number * share, lines));
}

/// `out (+)= lines · weight` in the columns from `from` on, the weight's columns rounded up to whole panels.
///
/// # Shapes
/// `lines`: `[n][k]`; `weight`: `[k, m]`; `out`: `[n, stride]`
pub(super) fn multiply(
    lines: Lines,
    weight: Part,
    add: bool,
    out: &mut [f32],
    (stride, from): (usize, usize),
) {
    let weight = Matrix::pack(lines.width(), &[weight], true);
    for_lines(out, stride, |first, out| {
        let lines: Vec<&[f32]> = lines.rows(first..first + out.len() / stride).iter().collect();
        weight.multiply_into(&lines, add, &mut out[from..], stride);
    });
}

/// `Σ x[i]ᵀ · y[i]` over the lines, in their order: a weight's gradient.
///
/// # Shapes
/// `x`: `[n][k]`; `y`: `[n][m]`; `[k, m]`
pub(super) fn outer(x: Lines, y: Lines) -> Vec<f32> {
    let (n, m) = (x.count(), y.width());
    let columns = m.next_multiple_of(PANEL);
    let mut sum = vec![0.0; x.width() * columns];
    for from in (0..n).step_by(RUN) {
        let rows = from..n.min(from + RUN);
        let (x, y) = (
            x.rows(rows.clone()),
            Matrix::pack(rows.len(), &[y.rows(rows).part()], true),
        );
        for_lines(&mut sum, columns, |first, sum| {
            let count = sum.len() / columns;
            x.columns(first, count)
                .multiply_transposed(&y, from > 0, sum, columns);
        });
    }
    cut(sum, columns, m)
}

/// The first `width` numbers of lines of `stride`.
pub(super) fn cut(values: Vec<f32>, stride: usize, width: usize) -> Vec<f32> {
    match stride == width {
        true => values,
        false => values
            .chunks_exact(stride)
            .flat_map(|line| &line[..width])
            .copied()
            .collect(),
    }
}

/// The sum of the lines, in their order.
pub(super) fn sum_lines(lines: Lines) -> Vec<f32> {
    let mut sum = vec![0.0; lines.width()];
    for line in lines.iter() {
        sum.iter_mut().zip(line).for_each(|(sum, value)| *sum += value);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        let number = |i: usize| (((i + seed) * 7919) % 1009) as f32 / 500.0 - 1.0;
        (0..count).map(number).collect()
    }

    #[test]
    fn products_of_all_three_kinds_are_exact() {
        let (n, k, m) = (1030, 37, 40);
        let (x, w, y) = (numbers(n * (k + 3), 1), numbers(k * m, 2), numbers(n * m, 3));
        let (x, w, y) = (
            Lines::new(&x, k + 3).columns(2, k),
            Lines::new(&w, m),
            Lines::new(&y, m),
        );
        assert_eq!(
            (x.count(), x.rows(1000..2000).count(), x.columns(1, 2).count()),
            (n, 30, n)
        );
        let mut forward = vec![1.0; n * 96];
        multiply(x, w.part(), false, &mut forward, (96, 32));
        let mut back = vec![1.0; n * 64];
        multiply(y, w.transposed(), true, &mut back, (64, 0));
        let gradient = outer(x, y);
        assert_eq!(gradient.len(), k * m);
        let dot = |a: &mut dyn Iterator<Item = (f32, f32)>| {
            a.map(|(a, b)| f64::from(a) * f64::from(b)).sum::<f64>()
        };
        for row in [0, 63, 64, n - 1] {
            for column in 0..m {
                let exact = dot(&mut (0..k).map(|i| (x.line(row)[i], w.line(i)[column])));
                assert!((exact - f64::from(forward[row * 96 + 32 + column])).abs() < 1e-5);
            }
            assert_eq!(forward[row * 96 + 31], 1.0);
            for column in 0..k {
                let exact = 1.0 + dot(&mut (0..m).map(|i| (y.line(row)[i], w.line(column)[i])));
                assert!((exact - f64::from(back[row * 64 + column])).abs() < 1e-5);
            }
        }
        for row in 0..k {
            for column in 0..m {
                let exact = dot(&mut (0..n).map(|i| (x.line(i)[row], y.line(i)[column])));
                assert!((exact - f64::from(gradient[row * m + column])).abs() < 1e-3);
            }
        }
        let sums = sum_lines(x);
        assert!((f64::from(sums[5]) - x.iter().map(|line| f64::from(line[5])).sum::<f64>()).abs() < 1e-3);
    }

    #[test]
    fn bits_do_not_depend_on_the_threads() {
        let (x, y) = (numbers(300 * 50, 1), numbers(300 * 70, 2));
        let of = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| outer(Lines::new(&x, 50), Lines::new(&y, 70)))
        };
        assert_eq!(of(1), of(3));
    }
}
