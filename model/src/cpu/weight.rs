//! Weights in the format that they are kept in. Those of bfloat16 are widened as they are multiplied, a piece of a panel at a time: half
//! the memory, which is what decoding waits for, and the bits of f32 arithmetic on weights that were rounded before. So
//! are those of f32 whose numbers bfloat16 holds.

use std::ops::Range;

use burn::tensor::{Tensor, bf16};
use pulp::{Arch, Simd, WithSimd};

use super::product::{Matrix, Next, PANEL, product};
use crate::device::processor_numbers as numbers;

/// Rows of a panel that are widened at once: 32 KiB, which the first-level cache holds.
const STRIP: usize = 256;
/// Numbers that are looked at together.
const PIECE: usize = 4096;

/// A tensor's numbers, row by row.
#[derive(Debug)]
pub(super) enum Numbers {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
}

impl Numbers {
    /// None where the tensor is neither, or not on the processor's backend.
    pub fn of<const D: usize>(tensor: Tensor<D>) -> Option<Self> {
        let tensor = match numbers(tensor) {
            Ok(values) => return Some(Self::shortest(values)),
            Err(tensor) => tensor?,
        };
        numbers(tensor).ok().map(Self::Bf16)
    }

    /// As bfloat16 where that holds every number, as where a checkpoint of bfloat16 was read in f32: half the memory, and the same bits.
    fn shortest(values: Vec<f32>) -> Self {
        let is_short =
            |values: &[f32]| values.iter().fold(0, |bits, value| bits | value.to_bits()) & 0xffff == 0;
        match values.chunks(PIECE).all(is_short) {
            true => Self::Bf16(
                values
                    .iter()
                    .map(|value| bf16::from_bits((value.to_bits() >> 16) as u16))
                    .collect(),
            ),
            false => Self::F32(values),
        }
    }

    /// In f32.
    pub fn widened(self) -> Vec<f32> {
        match self {
            Self::F32(values) => values,
            Self::Bf16(values) => values.into_iter().map(bf16::to_f32).collect(),
        }
    }

    /// Some columns of a weight `[k, n]`.
    pub fn columns(&self, n: usize, columns: Range<usize>) -> Self {
        fn of<T: Copy>(values: &[T], n: usize, columns: &Range<usize>) -> Vec<T> {
            let rows = values.chunks_exact(n);
            rows.flat_map(|row| &row[columns.clone()]).copied().collect()
        }
        match self {
            Self::F32(values) => Self::F32(of(values, n, &columns)),
            Self::Bf16(values) => Self::Bf16(of(values, n, &columns)),
        }
    }

    /// The transpose of a weight `[n, k]`.
    pub fn transposed(self, k: usize) -> Weight {
        match self {
            Self::F32(values) => Weight::F32(Matrix::transposed(k, values)),
            Self::Bf16(values) => Weight::Bf16(Matrix::transposed(k, values)),
        }
    }

    /// Appends the numbers in a range, each multiplied, to `out`.
    pub fn append(&self, range: Range<usize>, factor: f32, out: &mut Vec<f32>) {
        match self {
            Self::F32(values) => out.extend(values[range].iter().map(|value| value * factor)),
            Self::Bf16(values) => out.extend(values[range].iter().map(|value| value.to_f32() * factor)),
        }
    }
}

/// A weight `[k, n]`, laid out in panels.
#[derive(Debug)]
pub(super) enum Weight {
    F32(Matrix),
    Bf16(Matrix<bf16>),
}

impl Weight {
    /// Weights `[k, n]` side by side, each from a panel of its own on: in bfloat16 if all of them are.
    pub fn new(k: usize, parts: Vec<(usize, Numbers)>) -> Self {
        let short: Option<Vec<(usize, &[bf16])>> = parts
            .iter()
            .map(|(n, values)| match values {
                Numbers::Bf16(values) => Some((*n, values.as_slice())),
                Numbers::F32(_) => None,
            })
            .collect();
        if let Some(parts) = short {
            return Self::Bf16(Matrix::new(k, &parts));
        }
        let parts: Vec<(usize, Vec<f32>)> = parts
            .into_iter()
            .map(|(n, values)| (n, values.widened()))
            .collect();
        let parts: Vec<(usize, &[f32])> = parts.iter().map(|(n, values)| (*n, values.as_slice())).collect();
        Self::F32(Matrix::new(k, &parts))
    }

    /// Columns of a result: all parts, each rounded up to whole panels.
    pub fn columns(&self) -> usize {
        match self {
            Self::F32(matrix) => matrix.columns(),
            Self::Bf16(matrix) => matrix.columns(),
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        match self {
            Self::F32(matrix) => matrix.bytes(),
            Self::Bf16(matrix) => matrix.bytes(),
        }
    }

    /// Appends the numbers of a column, each multiplied, to `out`.
    pub fn append_column(&self, at: usize, factor: f32, out: &mut Vec<f32>) {
        match self {
            Self::F32(matrix) => out.extend(matrix.column(at).map(|value| value * factor)),
            Self::Bf16(matrix) => out.extend(matrix.column(at).map(|value| value.to_f32() * factor)),
        }
    }

    /// `out = lines · self`, or `out += lines · self`. With `team` the panels are shared out among the threads.
    ///
    /// # Shapes
    /// `lines`: `[n][k]`; `out`: `[n, columns]`
    pub fn multiply(&self, lines: &[&[f32]], add: bool, team: bool, out: &mut [f32]) {
        match self {
            Self::F32(matrix) => matrix.multiply(lines, add, team, out),
            Self::Bf16(matrix) => matrix.multiply_widened(lines, add, team, out),
        }
    }
}

impl Matrix<bf16> {
    fn multiply_widened(&self, lines: &[&[f32]], add: bool, team: bool, out: &mut [f32]) {
        let run = |panels: &[bf16], out: &mut [f32], stride: usize| {
            Arch::new().dispatch(Widened {
                lines,
                panels,
                k: self.k,
                add,
                out,
                stride,
            });
        };
        let out = &mut out[..lines.len() * self.columns()];
        match team {
            true => self.share_out(out, run),
            false => run(&self.panels, out, self.columns()),
        }
    }
}

struct Widened<'a> {
    lines: &'a [&'a [f32]],
    panels: &'a [bf16],
    k: usize,
    add: bool,
    out: &'a mut [f32],
    stride: usize,
}

impl WithSimd for Widened<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut wide = [0.0; STRIP * PANEL];
        for from in (0..self.k).step_by(STRIP) {
            let rows = from..self.k.min(from + STRIP);
            let lines: Vec<&[f32]> = self.lines.iter().map(|line| &line[rows.clone()]).collect();
            // A sum goes on from where the strip before left it.
            let add = self.add || from > 0;
            let strip_of = |panel: usize| {
                let at = panel * self.k * PANEL;
                self.panels.get(at + rows.start * PANEL..at + rows.end * PANEL)
            };
            let panels = self.panels.len() / (self.k * PANEL);
            for (index, strip) in (0..panels).filter_map(strip_of).enumerate() {
                let next = strip_of(index + 1).map_or(Next::Unknown, Next::Short);
                for (wide, short) in wide.iter_mut().zip(strip) {
                    *wide = f32::from_bits(u32::from(short.to_bits()) << 16);
                }
                let out = &mut self.out[index * PANEL..];
                product(
                    simd,
                    &lines,
                    &wide[..strip.len()],
                    PANEL,
                    add,
                    out,
                    self.stride,
                    next,
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_with_bfloat16_has_the_bits_of_f32() {
        let numbers = |count: usize, seed: usize| -> Vec<f32> {
            let number = |i: usize| (((i + seed) * 7919) % 1009) as f32 / 500.0 - 1.0;
            (0..count).map(number).collect()
        };
        let short = |values: &[f32]| -> Vec<bf16> { values.iter().copied().map(bf16::from_f32).collect() };
        let wide = |values: &[bf16]| -> Vec<f32> { values.iter().copied().map(bf16::to_f32).collect() };
        for k in [37, STRIP, 2 * STRIP + 5] {
            let parts = [40, 5].map(|n| (n, short(&numbers(k * n, n))));
            let rounded = parts.clone().map(|(n, values)| (n, Numbers::F32(wide(&values))));
            let [kept, plain] = [
                parts.map(|(n, values)| (n, Numbers::Bf16(values))).into(),
                rounded.into(),
            ]
            .map(|parts| Weight::new(k, parts));
            assert_eq!(2 * kept.bytes(), plain.bytes());
            let x = numbers(15 * k, 3);
            let lines: Vec<&[f32]> = x.chunks_exact(k).collect();
            for (add, team) in [(false, false), (true, false), (true, true)] {
                let mut out = [(); 2].map(|()| numbers(15 * kept.columns(), 9));
                kept.multiply(&lines, add, team, &mut out[0]);
                plain.multiply(&lines, add, team, &mut out[1]);
                assert_eq!(out[0], out[1], "{k} {add} {team}");
            }
        }
    }

    #[test]
    fn what_bfloat16_holds_is_kept_in_it() {
        let short: Vec<f32> = (0..2 * PIECE)
            .map(|i| bf16::from_f32(i as f32 * 0.37 - 9.0).to_f32())
            .collect();
        let mut long = short.clone();
        long[PIECE + 3] = 0.1;
        let kept = Numbers::shortest(short.clone());
        assert!(matches!(kept, Numbers::Bf16(_)));
        assert_eq!(kept.widened(), short);
        let kept = Numbers::shortest(long.clone());
        assert!(matches!(&kept, Numbers::F32(values) if *values == long));
    }

    #[test]
    fn a_transpose_is_laid_out_where_it_lies() {
        let (k, n) = (21, 75);
        let values: Vec<f32> = (0..k * n).map(|i| i as f32).collect();
        let weight = Numbers::F32(values.clone()).transposed(k);
        assert_eq!(weight.columns(), 96);
        for at in 0..n {
            let mut column = Vec::new();
            weight.append_column(at, 2.0, &mut column);
            let row = values[at * k..][..k].iter().map(|x| 2.0 * x);
            assert!(column.into_iter().eq(row), "{at}");
        }
        let one: Vec<f32> = (0..k).map(|i| f32::from(u8::from(i == 4))).collect();
        let mut out = vec![0.0; 96];
        weight.multiply(&[&one], false, false, &mut out);
        let wanted = (0..n).map(|at| values[at * k + 4]).chain(vec![0.0; 96 - n]);
        assert!(out.into_iter().eq(wanted));
    }
}
