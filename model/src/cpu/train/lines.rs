//! Products of many lines with weights as they are: a weight is laid out for each product and forgotten, so that nothing is held twice.
//!
//! Lines are shared out among the threads; a line's numbers, and the sums over lines, have the same bits however many there are.

use std::ops::Range;

use rayon::prelude::*;

use crate::cpu::buffer::Buffer;
use crate::cpu::product::{Columns, Matrix, PANEL, Part, TILE, columns_of};

/// Lines that a thread takes at once, at most: what they are made of stays in its cache.
const LINES: usize = 5 * TILE;
/// Lines whose products are added up at once.
const RUN: usize = 1024;
/// Lines that are added up one after the other, where no products are.
const SUMMED: usize = 256;

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

    /// The columns where they are.
    pub fn across(self) -> Columns<'a> {
        Columns::new(self.values, self.stride, self.width)
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

    /// The lines, each as several of so many numbers.
    pub fn pieces(self, width: usize) -> impl Iterator<Item = &'a [f32]> {
        self.iter().flat_map(move |line| line.chunks_exact(width))
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

/// Lines for a thread, so that all have as many, and whole tiles of them.
pub(super) fn share(lines: usize) -> usize {
    let threads = rayon::current_num_threads();
    let rounds = lines.div_ceil(threads * LINES).max(1);
    lines.div_ceil(threads * rounds).next_multiple_of(TILE).max(TILE)
}

/// Calls `each(first line, lines)` with shares of lines of `stride` numbers, in parallel.
pub(super) fn for_lines(values: &mut [f32], stride: usize, each: impl Fn(usize, &mut [f32]) + Sync) {
    for_all_lines([(values, stride)], |first, [lines], _| each(first, lines));
}

/// Buffers of a task, as it left them.
pub(super) type Scratch = [Buffer; 3];

/// [`for_lines`] with the same lines of several buffers, each with its stride.
pub(super) fn for_all_lines<const N: usize>(
    buffers: [(&mut [f32], usize); N],
    each: impl Fn(usize, [&mut [f32]; N], &mut Scratch) + Sync,
) {
    let lines = buffers[0].0.len() / buffers[0].1;
    let share = share(lines);
    let mut chunks = buffers.map(|(values, stride)| values.chunks_mut(share * stride));
    let tasks: Vec<[&mut [f32]; N]> = (0..lines.div_ceil(share))
        .map(|_| {
            chunks
                .each_mut()
                .map(|chunks| chunks.next().expect("as many lines in all"))
        })
        .collect();
    tasks
        .into_par_iter()
        .enumerate()
        .for_each_init(Scratch::default, |scratch, (number, lines)| {
            each(number * share, lines, scratch)
        });
}

/// A matrix that is laid out for a while.
pub(super) type Packed = Matrix<f32, Buffer>;

/// [`Matrix::pack`] into a buffer.
pub(super) fn packed(k: usize, parts: &[Part], team: bool) -> Packed {
    let panels = Buffer::unset(k * columns_of(parts));
    Matrix::pack_into(panels, k, parts, team)
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
    let weight = packed(lines.width(), &[weight], true);
    for_lines(out, stride, |first, out| {
        let lines: Vec<&[f32]> = lines.rows(first..first + out.len() / stride).iter().collect();
        weight.multiply_into(&lines, add, &mut out[from..], stride);
    });
}

/// `Σ x[i]ᵀ · y[i]` over the lines, in their order: a weight's gradient.
///
/// # Shapes
/// `x`: `[n][k]`; `y`: `[n][m]`; `[k, m]`
pub(super) fn outer(x: Lines, y: Lines) -> Buffer {
    outers(x, &[y]).remove(0)
}

/// [`outer`] with several `y`.
pub(super) fn outers(x: Lines, ys: &[Lines]) -> Vec<Buffer> {
    let (n, k) = (x.count(), x.width());
    let columns: Vec<usize> = ys.iter().map(|y| y.width().next_multiple_of(PANEL)).collect();
    let mut sums: Vec<Buffer> = columns.iter().map(|columns| Buffer::apart(k * columns)).collect();
    let share = share(k);
    for from in (0..n).step_by(RUN) {
        let rows = from..n.min(from + RUN);
        let x = x.rows(rows.clone());
        let ys: Vec<Packed> = ys
            .par_iter()
            .map(|y| packed(rows.len(), &[y.rows(rows.clone()).part()], true))
            .collect();
        // Of each share of the columns of `x`, the lines of every sum.
        let mut tasks: Vec<Vec<&mut [f32]>> = (0..k.div_ceil(share)).map(|_| Vec::new()).collect();
        for (sum, columns) in sums.iter_mut().zip(&columns) {
            let lines = sum.chunks_mut(share * columns);
            tasks
                .iter_mut()
                .zip(lines)
                .for_each(|(task, lines)| task.push(lines));
        }
        let tasks = tasks.into_par_iter().enumerate();
        tasks.for_each_init(Buffer::default, |blocks, (number, sums)| {
            let first = number * share;
            let x = x.columns(first, share.min(k - first));
            let x = Columns::laid_out(x.values, x.stride, x.width, blocks);
            for ((sum, y), columns) in sums.into_iter().zip(&ys).zip(&columns) {
                y.multiply_columns(&x, from > 0, sum, *columns);
            }
        });
    }
    let widths = ys.iter().map(Lines::width);
    let sums = sums.into_iter().zip(&columns).zip(widths);
    sums.map(|((sum, &columns), width)| cut(sum, columns, width))
        .collect()
}

/// Some lines of `width` numbers.
pub(super) fn rows(values: &[f32], width: usize, rows: &[Range<usize>]) -> Buffer {
    let mut chosen = Buffer::unset(rows.iter().map(|row| row.len() * width).sum());
    let mut at = 0;
    for row in rows {
        let from = &values[row.start * width..row.end * width];
        chosen[at..at + from.len()].copy_from_slice(from);
        at += from.len();
    }
    chosen
}

/// The first `width` numbers of lines of `stride`.
fn cut(mut values: Buffer, stride: usize, width: usize) -> Buffer {
    if stride > width {
        let lines = values.len() / stride;
        for line in 1..lines {
            values.copy_within(line * stride..line * stride + width, line * width);
        }
        values.truncate(lines * width);
    }
    values
}

/// The sum of the lines.
pub(super) fn sum_lines(lines: Lines) -> Buffer {
    sum_of_parts(lines.count(), lines.width(), |rows, sum| {
        for line in lines.rows(rows).iter() {
            sum.iter_mut().zip(line).for_each(|(sum, value)| *sum += value);
        }
    })
}

/// The sum of what `add` adds to `width` zeros for parts of `n` lines. The parts, and the order that their sums are added in, do not depend on the
/// threads.
pub(super) fn sum_of_parts(n: usize, width: usize, add: impl Fn(Range<usize>, &mut [f32]) + Sync) -> Buffer {
    let parts: Vec<Vec<f32>> = (0..n.div_ceil(SUMMED))
        .into_par_iter()
        .map(|part| {
            let mut sum = vec![0.0; width];
            add(part * SUMMED..n.min((part + 1) * SUMMED), &mut sum);
            sum
        })
        .collect();
    let mut sum = vec![0.0; width];
    for part in parts {
        sum.iter_mut().zip(&part).for_each(|(sum, value)| *sum += value);
    }
    sum.into()
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
            pool.install(|| outer(Lines::new(&x, 50), Lines::new(&y, 70)).to_vec())
        };
        assert_eq!(of(1), of(3));
    }
}
