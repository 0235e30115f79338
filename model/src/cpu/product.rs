//! Matrix products on the processor: weights laid out once, in panels of 32 columns, and a register tile over them.
//!
//! Every number of a result is summed in the order of `k`, with one fused multiply-add a term, whatever stands in the
//! neighbouring lines: a line's result has the same bits alone and in any batch.

mod tile;

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::buffer::Buffer;
use tile::{Ahead, depths, product_of_columns};
pub(super) use tile::{Next, product};

/// Columns of a panel, slots of a block of keys: what all widths are rounded up to.
pub(crate) const PANEL: usize = 32;
/// Lines of a panel that are transposed together.
const STRIP: usize = 16;
/// Lines of a result whose sums are in registers at once, at most.
pub(super) const TILE: usize = 12;

/// A weight `[k, n]`, as panels `[n / 32][k][32]`, the last filled up with zeros.
#[derive(Debug)]
pub(super) struct Matrix<T = f32, P = Vec<T>> {
    pub(super) k: usize,
    /// Columns, rounded up to whole panels.
    columns: usize,
    pub(super) panels: P,
    of: PhantomData<T>,
}

/// A weight, or a part of one, that is to be laid out.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part<'a, T = f32> {
    /// `[k, n]` row by row, a row at every multiple of `stride`.
    Rows {
        values: &'a [T],
        stride: usize,
        n: usize,
    },
    /// `[n, k]` row by row, a row at every multiple of `stride`: its transpose is laid out.
    Transposed {
        values: &'a [T],
        stride: usize,
        n: usize,
    },
}

impl<T: Copy + Default> Part<'_, T> {
    fn n(&self) -> usize {
        match *self {
            Self::Rows { n, .. } | Self::Transposed { n, .. } => n,
        }
    }

    /// Fills a panel with the columns from `from` on, and zeros beyond the last.
    fn fill(&self, k: usize, from: usize, panel: &mut [T]) {
        let width = PANEL.min(self.n() - from);
        if width < PANEL {
            panel.fill(T::default());
        }
        match *self {
            Self::Rows { values, stride, .. } => {
                for (line, row) in panel.chunks_exact_mut(PANEL).zip(values.chunks(stride)) {
                    copy_first::<PANEL, _>(&row[from..], width, line);
                }
            }
            Self::Transposed { values, stride, .. } => {
                let rows: Vec<&[T]> = values[from * stride..].chunks(stride).take(width).collect();
                // Few enough lines of the panel to stay in the cache while every row gives its numbers.
                for (strip, lines) in panel.chunks_mut(STRIP * PANEL).enumerate() {
                    let at = strip * STRIP;
                    for (column, row) in rows.iter().enumerate() {
                        let values = &row[at..k.min(at + STRIP)];
                        for (line, &value) in lines.chunks_exact_mut(PANEL).zip(values) {
                            line[column] = value;
                        }
                    }
                }
            }
        }
    }
}

/// Copies `width` numbers. All `N` of them, as nearly always, are a few instructions, where a number that the compiler does not know is a call.
#[inline(always)]
fn copy_first<const N: usize, T: Copy>(from: &[T], width: usize, to: &mut [T]) {
    match (from.first_chunk::<N>(), to.first_chunk_mut::<N>()) {
        (Some(from), Some(to)) if width == N => *to = *from,
        _ => to[..width].copy_from_slice(&from[..width]),
    }
}

/// [`Matrix::columns`] of parts.
pub(super) fn columns_of<T: Copy + Default>(parts: &[Part<T>]) -> usize {
    parts.iter().map(|part| part.n().next_multiple_of(PANEL)).sum()
}

impl<T: Copy + Default + Send + Sync> Matrix<T> {
    /// Lays out weights side by side; each is `[k, n]`, row by row. Each starts a panel of its own.
    pub fn new(k: usize, parts: &[(usize, &[T])]) -> Self {
        let parts: Vec<Part<T>> = parts
            .iter()
            .map(|&(n, values)| {
                assert_eq!(values.len(), k * n);
                Part::Rows { values, stride: n, n }
            })
            .collect();
        Self::pack(k, &parts, true)
    }

    /// Lays out parts side by side, each from a panel of its own on. With `team` the panels are shared out among the threads.
    pub fn pack(k: usize, parts: &[Part<T>], team: bool) -> Self {
        let panels = vec![T::default(); k * columns_of(parts)];
        Self::pack_into(panels, k, parts, team)
    }

    /// Lays out the transpose of a weight `[n, k]`, row by row, where it lies: the rows of a panel's columns take as much room as the panel.
    pub fn transposed(k: usize, mut values: Vec<T>) -> Self {
        let columns = (values.len() / k).next_multiple_of(PANEL);
        values.resize(k * columns, T::default());
        values.par_chunks_mut(k * PANEL).for_each_init(
            || vec![T::default(); k * PANEL],
            |rows, panel| {
                rows.copy_from_slice(panel);
                let (values, stride, n) = (rows.as_slice(), k, PANEL);
                Part::Transposed { values, stride, n }.fill(k, 0, panel);
            },
        );
        Self {
            k,
            columns,
            panels: values,
            of: PhantomData,
        }
    }
}

impl<T: Copy + Default + Send + Sync, P: DerefMut<Target = [T]>> Matrix<T, P> {
    /// [`Matrix::pack`] into as many numbers, whatever they are.
    pub fn pack_into(mut panels: P, k: usize, parts: &[Part<T>], team: bool) -> Self {
        let starts = |part: &Part<T>| (0..part.n()).step_by(PANEL);
        let jobs: Vec<(&Part<T>, usize)> = parts
            .iter()
            .flat_map(|part| starts(part).map(move |from| (part, from)))
            .collect();
        let columns = jobs.len() * PANEL;
        assert_eq!(panels.len(), k * columns);
        let fill = |(panel, (part, from)): (&mut [T], &(&Part<T>, usize))| part.fill(k, *from, panel);
        match team {
            true => panels.par_chunks_mut(k * PANEL).zip(&jobs).for_each(fill),
            false => panels.chunks_mut(k * PANEL).zip(&jobs).for_each(fill),
        }
        Self {
            k,
            columns,
            panels,
            of: PhantomData,
        }
    }
}

impl<T: Copy + Default + Send + Sync, P: Deref<Target = [T]> + Sync> Matrix<T, P> {
    /// The numbers of a column, in the order of `k`.
    pub fn column(&self, at: usize) -> impl Iterator<Item = T> {
        let panel = &self.panels[at / PANEL * self.k * PANEL..][..self.k * PANEL];
        panel.iter().skip(at % PANEL).step_by(PANEL).copied()
    }

    /// Columns of a result: all parts, each rounded up to whole panels.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.panels)
    }

    /// Calls `each(panels, part, stride)` for shares of the panels, one a thread: `part`, lines of `stride` numbers, holds what stands in their
    /// columns of `out`, and goes back there. Sums that go on from it are so those of a product that is not shared out.
    ///
    /// # Shapes
    /// `out`: `[n, columns]`
    pub(super) fn share_out(&self, out: &mut [f32], each: impl Fn(&[T], &mut [f32], usize) + Sync) {
        let per_task = (self.columns / PANEL).div_ceil(rayon::current_num_threads());
        let (before, n): (&[f32], usize) = (out, out.len() / self.columns);
        let parts: Vec<(usize, Vec<f32>)> = self
            .panels
            .par_chunks(self.k * PANEL * per_task)
            .enumerate()
            .map(|(index, panels)| {
                let (from, stride) = (index * per_task * PANEL, panels.len() / self.k);
                let mut part = Vec::with_capacity(n * stride);
                for line in before.chunks_exact(self.columns) {
                    part.extend_from_slice(&line[from..from + stride]);
                }
                each(panels, &mut part, stride);
                (from, part)
            })
            .collect();
        for (from, part) in parts {
            let stride = part.len() / n;
            for (to, values) in out.chunks_exact_mut(self.columns).zip(part.chunks_exact(stride)) {
                to[from..from + stride].copy_from_slice(values);
            }
        }
    }
}

impl<P: Deref<Target = [f32]> + Sync> Matrix<f32, P> {
    /// `out = lines · self`, or `out += lines · self`, line `i` of `out` at `i * stride`.
    ///
    /// # Shapes
    /// `lines`: `[n][k]`, or of fewer numbers, where only so many rows of the weight are meant
    pub fn multiply_into(&self, lines: &[&[f32]], add: bool, out: &mut [f32], stride: usize) {
        self.multiply_first(self.columns, lines, add, out, stride);
    }

    /// `out (+)= xᵀ · self`, a line of `out` for each column of `x`, at multiples of `stride`.
    pub fn multiply_columns(&self, x: &Columns, add: bool, out: &mut [f32], stride: usize) {
        Arch::new().dispatch(ProductOfColumns {
            x,
            panels: &self.panels,
            panel: self.k * PANEL,
            add,
            out,
            stride,
        });
    }

    /// [`Self::multiply_into`] with the first `columns` columns, rounded up to whole panels.
    pub fn multiply_first(
        &self,
        columns: usize,
        lines: &[&[f32]],
        add: bool,
        out: &mut [f32],
        stride: usize,
    ) {
        let panel = self.k * PANEL;
        Arch::new().dispatch(Product {
            lines,
            panels: &self.panels[..columns.div_ceil(PANEL) * panel],
            panel,
            add,
            out,
            stride,
        });
    }

    /// `out = lines · self`, or `out += lines · self`. With `team` the panels are shared out among the threads.
    ///
    /// # Shapes
    /// `lines`: `[n][k]`; `out`: `[n, columns]`
    pub fn multiply(&self, lines: &[&[f32]], add: bool, team: bool, out: &mut [f32]) {
        let panel = self.k * PANEL;
        if !team {
            return self.multiply_into(lines, add, out, self.columns);
        }
        self.share_out(&mut out[..lines.len() * self.columns], |panels, out, stride| {
            Arch::new().dispatch(Product {
                lines,
                panels,
                panel,
                add,
                out,
                stride,
            });
        });
    }
}

/// Columns of lines, in blocks of twelve, to be multiplied with a matrix: the transpose of the lines without its being made.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    values: &'a [f32],
    /// How far apart lines are, and blocks.
    stride: usize,
    step: usize,
    count: usize,
}

impl<'a> Columns<'a> {
    /// The first columns of lines at multiples of `stride`, where they are: for few products.
    pub fn new(values: &'a [f32], stride: usize, count: usize) -> Self {
        Self {
            values,
            stride,
            step: TILE,
            count,
        }
    }

    /// The same laid out side by side in a buffer, `[columns / 12][k][12]`, of the last block what there is: for many products. Lines far
    /// apart would drive each other out of the nearest cache.
    pub fn laid_out(values: &[f32], stride: usize, count: usize, buffer: &'a mut Buffer) -> Self {
        let k = values.len().div_ceil(stride);
        let blocks = buffer.sized(count.div_ceil(TILE) * k * TILE);
        for (number, block) in blocks.chunks_exact_mut(k * TILE).enumerate() {
            let first = number * TILE;
            let width = TILE.min(count - first);
            for (line, x) in block.chunks_exact_mut(TILE).zip(values.chunks(stride)) {
                copy_first::<TILE, _>(&x[first..], width, line);
            }
        }
        let (stride, step) = (TILE, k * TILE);
        Self {
            values: blocks,
            stride,
            step,
            count,
        }
    }
}

struct ProductOfColumns<'a> {
    x: &'a Columns<'a>,
    panels: &'a [f32],
    panel: usize,
    add: bool,
    out: &'a mut [f32],
    stride: usize,
}

impl WithSimd for ProductOfColumns<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let &Columns {
            values,
            stride,
            step,
            count,
        } = self.x;
        for (index, panel) in self.panels.chunks_exact(self.panel).enumerate() {
            for depth in depths(self.panel / PANEL) {
                let add = self.add || depth.start > 0;
                let panel = &panel[depth.start * PANEL..depth.end * PANEL];
                for first in (0..count).step_by(TILE) {
                    let x = &values[first / TILE * step + depth.start * stride..];
                    let out = &mut self.out[index * PANEL + first * self.stride..];
                    let columns = TILE.min(count - first);
                    let ahead = Ahead::new(Next::Behind, panel).of_pass(first / TILE, count > TILE);
                    product_of_columns(simd, (x, stride), columns, panel, add, out, self.stride, ahead);
                }
            }
        }
    }
}

struct Product<'a> {
    lines: &'a [&'a [f32]],
    panels: &'a [f32],
    panel: usize,
    add: bool,
    out: &'a mut [f32],
    stride: usize,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (index, panel) in self.panels.chunks_exact(self.panel).enumerate() {
            let out = &mut self.out[index * PANEL..];
            product(
                simd,
                self.lines,
                panel,
                PANEL,
                self.add,
                out,
                self.stride,
                Next::Behind,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count)
            .map(|i| (((i + seed) * 7919) % 1009) as f32 / 500.0 - 1.0)
            .collect()
    }

    #[test]
    fn a_product_is_the_sum_over_k_whatever_the_batch() {
        let (k, widths) = (37, [40, 5]);
        let parts = widths.map(|n| numbers(k * n, n));
        let matrix = Matrix::new(k, &[(40, &parts[0]), (5, &parts[1])]);
        assert_eq!(matrix.columns(), 64 + 32);
        let a = numbers(15 * k, 3);
        let lines: Vec<&[f32]> = a.chunks_exact(k).collect();
        let mut alone = vec![0.0; 15 * 96];
        for (line, out) in lines.iter().zip(alone.chunks_exact_mut(96)) {
            matrix.multiply(&[line], false, false, out);
        }
        for (row, line) in lines.iter().enumerate() {
            for (part, (n, at)) in [(40, 0), (5, 64)].into_iter().enumerate() {
                for column in 0..n {
                    let exact: f64 = (0..k)
                        .map(|i| f64::from(line[i]) * f64::from(parts[part][i * n + column]))
                        .sum();
                    assert!((exact - f64::from(alone[row * 96 + at + column])).abs() < 1e-5);
                }
            }
        }
        let mut added = Vec::new();
        for team in [false, true] {
            let mut together = vec![7.0; 15 * 96];
            matrix.multiply(&lines, false, team, &mut together);
            assert_eq!(together, alone);
            matrix.multiply(&lines, true, team, &mut together);
            let twice = |(twice, once): (&f32, &f32)| (twice - 2.0 * once).abs() < 1e-5;
            assert!(together.iter().zip(&alone).all(twice));
            added.push(together);
        }
        assert_eq!(added[0], added[1]);
    }
}
