//! The register tiles of [`super`]: some lines of a result, two vectors of each, summed over `k` in registers.

use std::ops::Range;

use branches::prefetch_read_data;
use burn::tensor::bf16;
use pulp::Simd;

use super::{PANEL, TILE};

/// Lines of a panel that are gone through at once: with as much of twelve lines they fill the nearest cache.
const DEPTH: usize = 256;

/// The parts of `k` that are gone through one after the other; at least one. Sums go on from what the part before wrote, so they have the bits of one sum.
pub(super) fn depths(k: usize) -> impl Iterator<Item = Range<usize>> {
    (0..k.max(1))
        .step_by(DEPTH)
        .map(move |from| from..k.min(from + DEPTH))
}

/// Bytes of a cache line.
const CACHE_LINE: usize = 64;

/// What comes next when a part of a panel is done. A tile would wait for every line of it that is in no near cache: it takes more instructions than a
/// processor looks ahead.
#[derive(Clone, Copy)]
pub(crate) enum Next<'a> {
    /// Nobody knows, or it is near.
    Unknown,
    /// What lies behind the part in memory.
    Behind,
    /// This, which is as many lines.
    Short(&'a [bf16]),
}

/// What is asked of memory while a tile goes through the lines of a part: for each of them `lines` cache lines, `step` bytes on from those before.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    from: *const u8,
    step: usize,
    lines: usize,
}

impl Ahead {
    pub(super) fn new(next: Next, part: &[f32]) -> Self {
        let (from, step) = match next {
            Next::Unknown => (std::ptr::null(), 0),
            Next::Behind => (part.as_ptr_range().end.cast(), PANEL * size_of::<f32>()),
            Next::Short(next) => (next.as_ptr().cast(), PANEL * size_of::<bf16>()),
        };
        let lines = step / CACHE_LINE;
        Self { from, step, lines }
    }

    /// The share of a pass through the part: the first asks for all, or where there are many lines of a result the first two share it out.
    #[inline(always)]
    pub(super) fn of_pass(self, pass: usize, is_many: bool) -> Self {
        let (skipped, lines) = match (self.lines, pass) {
            (2, 0 | 1) if is_many => (pass, 1),
            (lines, 0) => (0, lines),
            _ => (0, 0),
        };
        let from = self.from.wrapping_add(skipped * CACHE_LINE);
        Self { from, lines, ..self }
    }

    /// Asks for what goes with line number `at`; into the second-level cache, as the nearest is full of the part at hand.
    #[inline(always)]
    fn ask(self, at: usize) {
        // What is asked for may lie behind the end: nothing comes of that.
        let from = self.from.wrapping_add(at * self.step);
        if self.lines > 0 {
            prefetch_read_data::<u8, 1>(from);
        }
        if self.lines > 1 {
            prefetch_read_data::<u8, 1>(from.wrapping_add(CACHE_LINE));
        }
    }
}

/// `out[i] (+)= lines[i] · b`: lines `[n][k]`, `b` `[at least k, width]` row by row (`width` a multiple of 32),
/// line `i` of `out` at `i * stride`.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a matrix product has this many")]
pub(crate) fn product<S: Simd>(
    simd: S,
    lines: &[&[f32]],
    b: &[f32],
    width: usize,
    add: bool,
    out: &mut [f32],
    stride: usize,
    next: Next,
) {
    let Some(first) = lines.first() else { return };
    let is_many = lines.len() > TILE;
    for depth in depths(first.len()) {
        let (b, add) = (&b[depth.start * width..], add || depth.start > 0);
        let ahead = Ahead::new(next, &b[..depth.len() * width]);
        let mut pass = 0;
        for column in (0..width).step_by(2 * S::F32_LANES) {
            let (mut lines, mut at) = (lines, 0);
            macro_rules! next {
                ($tile:ident, $lines:literal) => {
                    while let Some((now, rest)) = lines.split_first_chunk::<$lines>() {
                        let out = &mut out[at * stride..];
                        let ahead = ahead.of_pass(pass, is_many);
                        $tile(simd, now, &depth, b, width, column, add, out, stride, ahead);
                        (lines, at, pass) = (rest, at + $lines, pass + 1);
                    }
                };
            }
            // As many sums as there are registers, less three: twelve lines of two vectors where there are 32 of them, six where there are 16.
            if S::F32_LANES >= 16 {
                next!(tile_12, 12);
                next!(tile_8, 8);
            }
            next!(tile_6, 6);
            next!(tile_4, 4);
            next!(tile_2, 2);
            next!(tile_1, 1);
        }
    }
}

/// Two vectors of columns of some lines' results, kept in registers over all of `k`. Written out line by line,
/// because a loop over the lines is not unrolled and would keep its sums in memory.
macro_rules! tile {
    ($name:ident, $lines:literal, $($i:literal)*) => {
        #[inline(always)]
        #[expect(clippy::too_many_arguments, reason = "a matrix product has this many")]
        fn $name<S: Simd>(
            simd: S,
            lines: &[&[f32]; $lines],
            depth: &Range<usize>,
            b: &[f32],
            width: usize,
            column: usize,
            add: bool,
            out: &mut [f32],
            stride: usize,
            ahead: Ahead,
        ) {
            let columns = column..column + 2 * S::F32_LANES;
            let k = depth.len();
            let lines = [$(&lines[$i][depth.start..depth.end],)*];
            let mut sums = [[simd.splat_f32s(0.0); 2]; $lines];
            if add {
                $(
                    let (line, _) = S::as_simd_f32s(&out[$i * stride..][columns.clone()]);
                    sums[$i] = [line[0], line[1]];
                )*
            }
            for (at, row) in b.chunks_exact(width).take(k).enumerate() {
                ahead.ask(at);
                let (row, _) = S::as_simd_f32s(&row[columns.clone()]);
                let (first, second) = (row[0], row[1]);
                $(
                    let factor = simd.splat_f32s(lines[$i][at]);
                    sums[$i][0] = simd.mul_add_f32s(factor, first, sums[$i][0]);
                    sums[$i][1] = simd.mul_add_f32s(factor, second, sums[$i][1]);
                )*
            }
            $(
                let (line, _) = S::as_mut_simd_f32s(&mut out[$i * stride..][columns.clone()]);
                line[0] = sums[$i][0];
                line[1] = sums[$i][1];
            )*
        }
    };
}

tile!(tile_12, 12, 0 1 2 3 4 5 6 7 8 9 10 11);
tile!(tile_8, 8, 0 1 2 3 4 5 6 7);
tile!(tile_6, 6, 0 1 2 3 4 5);
tile!(tile_4, 4, 0 1 2 3);
tile!(tile_2, 2, 0 1);
tile!(tile_1, 1, 0);

/// `out[i] (+)= Σ x[at][i] · b[at]`: the transpose of `x`, lines at multiples of `x_stride`, times `b`, as [`product`] does it.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a matrix product has this many")]
pub(super) fn product_of_columns<S: Simd>(
    simd: S,
    (x, x_stride): (&[f32], usize),
    columns: usize,
    b: &[f32],
    add: bool,
    out: &mut [f32],
    stride: usize,
    ahead: Ahead,
) {
    for column in (0..PANEL).step_by(2 * S::F32_LANES) {
        let mut at = 0;
        macro_rules! next {
            ($tile:ident, $lines:literal) => {
                while columns - at >= $lines {
                    let out = &mut out[at * stride..];
                    $tile(
                        simd,
                        (&x[at..], x_stride),
                        b,
                        column,
                        add,
                        out,
                        stride,
                        ahead,
                    );
                    at += $lines;
                }
            };
        }
        if S::F32_LANES >= 16 {
            next!(columns_12, 12);
            next!(columns_8, 8);
        }
        next!(columns_6, 6);
        next!(columns_4, 4);
        next!(columns_2, 2);
        next!(columns_1, 1);
    }
}

/// Two vectors of some lines of [`product_of_columns`], as [`tile`] has them.
macro_rules! columns {
    ($name:ident, $lines:literal, $($i:literal)*) => {
        #[inline(always)]
        #[expect(clippy::too_many_arguments, reason = "a matrix product has this many")]
        fn $name<S: Simd>(
            simd: S,
            (x, x_stride): (&[f32], usize),
            b: &[f32],
            column: usize,
            add: bool,
            out: &mut [f32],
            stride: usize,
            ahead: Ahead,
        ) {
            let columns = column..column + 2 * S::F32_LANES;
            let mut sums = [[simd.splat_f32s(0.0); 2]; $lines];
            if add {
                $(
                    let (line, _) = S::as_simd_f32s(&out[$i * stride..][columns.clone()]);
                    sums[$i] = [line[0], line[1]];
                )*
            }
            for (at, (factors, row)) in x.chunks(x_stride).zip(b.chunks_exact(PANEL)).enumerate() {
                let Some(factors) = factors.first_chunk::<$lines>() else { break };
                ahead.ask(at);
                let (row, _) = S::as_simd_f32s(&row[columns.clone()]);
                let (first, second) = (row[0], row[1]);
                $(
                    let factor = simd.splat_f32s(factors[$i]);
                    sums[$i][0] = simd.mul_add_f32s(factor, first, sums[$i][0]);
                    sums[$i][1] = simd.mul_add_f32s(factor, second, sums[$i][1]);
                )*
            }
            $(
                let (line, _) = S::as_mut_simd_f32s(&mut out[$i * stride..][columns.clone()]);
                line[0] = sums[$i][0];
                line[1] = sums[$i][1];
            )*
        }
    };
}

columns!(columns_12, 12, 0 1 2 3 4 5 6 7 8 9 10 11);
columns!(columns_8, 8, 0 1 2 3 4 5 6 7);
columns!(columns_6, 6, 0 1 2 3 4 5);
columns!(columns_4, 4, 0 1 2 3);
columns!(columns_2, 2, 0 1);
columns!(columns_1, 1, 0);
