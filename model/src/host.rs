//! Softmax over slices on the host: for the processor's way through a network, and for samplers.
//!
//! Loops that the compiler turns into vector instructions of the processor at hand; sums run in sixteen lanes that are
//! added up at the end, so that a line's result never depends on its neighbours.

/// What a closure uses up that is to run once.
pub(crate) struct Once;

/// Runs a block as it is compiled for the processor at hand. A closure that could run again would be called through a function of its own, which
/// is compiled for any processor, with vectors of four numbers: this one cannot.
macro_rules! on_this_processor {
    ($block:block) => {{
        let once = $crate::host::Once;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                let _once = once;
                $block
            },
        )
    }};
}
pub(crate) use on_this_processor;

const PARTS: usize = 16;

/// `e^x` within two units in the last place of f32, by Cephes' polynomial; 0 below −87.3, never infinite.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding 1.5 · 2²³ leaves the nearest whole number in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.3, 88.3);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let rest = clamped - whole * 0.693_359_4 - whole * -2.121_944_4e-4;
    let polynomial =
        ((((1.987_569_1e-4 * rest + 1.398_199_9e-3) * rest + 8.333_452e-3) * rest + 4.166_579_6e-2) * rest
            + 1.666_666_5e-1)
            * rest
            + 0.5;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    let value = (polynomial * rest * rest + rest + 1.0) * power;
    if x < -87.3 { 0.0 } else { value }
}

#[inline(always)]
pub(crate) fn sum(values: &[f32], each: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = values.as_chunks::<PARTS>();
    let mut parts = [0.0; PARTS];
    for chunk in chunks {
        for (part, &value) in parts.iter_mut().zip(chunk) {
            *part += each(value);
        }
    }
    for (part, &value) in parts.iter_mut().zip(rest) {
        *part += each(value);
    }
    parts.iter().sum()
}

#[inline(always)]
fn greatest(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<PARTS>();
    let mut parts = [f32::NEG_INFINITY; PARTS];
    for chunk in chunks {
        for (part, &value) in parts.iter_mut().zip(chunk) {
            *part = if value > *part { value } else { *part };
        }
    }
    rest.iter()
        .chain(&parts)
        .fold(f32::NEG_INFINITY, |most, &value| most.max(value))
}

#[inline(always)]
fn exp_sum(line: &mut [f32], scale: f32, most: f32) -> f32 {
    let (chunks, rest) = line.as_chunks_mut::<PARTS>();
    let mut parts = [0.0; PARTS];
    for chunk in chunks {
        for (part, value) in parts.iter_mut().zip(chunk) {
            *value = exp((*value - most) * scale);
            *part += *value;
        }
    }
    for (part, value) in parts.iter_mut().zip(rest) {
        *value = exp((*value - most) * scale);
        *part += *value;
    }
    parts.iter().sum()
}

/// Puts `exp((x − max) · scale)` in the place of every number of a line; returns the greatest number and the sum.
/// With NaN in the line the sum is NaN.
pub(crate) fn exponentials(line: &mut [f32], scale: f32) -> (f32, f32) {
    on_this_processor!({
        let most = greatest(line);
        (most, exp_sum(line, scale, most))
    })
}

/// Puts `exp(x · scale − less) · times` in the place of every number of a line.
pub(crate) fn exponentials_less_scaled(line: &mut [f32], scale: f32, less: f32, times: f32) {
    on_this_processor!({
        for x in line {
            *x = exp(*x * scale - less) * times;
        }
    });
}

/// `Σ a · b`
pub(crate) fn sum_of_products(a: &[f32], b: &[f32]) -> f32 {
    on_this_processor!({
        let ((a_chunks, a_rest), (b_chunks, b_rest)) = (a.as_chunks::<PARTS>(), b.as_chunks::<PARTS>());
        let mut parts = [0.0; PARTS];
        for (a, b) in a_chunks.iter().zip(b_chunks) {
            for ((part, a), b) in parts.iter_mut().zip(a).zip(b) {
                *part += a * b;
            }
        }
        for ((part, a), b) in parts.iter_mut().zip(a_rest).zip(b_rest) {
            *part += a * b;
        }
        parts.iter().sum()
    })
}

#[inline(always)]
fn add_exponentials(
    values: &[f32],
    scale: f32,
    most: f32,
    sums: &mut [f32; PARTS],
    products: &mut [f32; PARTS],
) {
    for ((&value, sum), product) in values.iter().zip(sums).zip(products) {
        let x = (value - most) * scale;
        let e = exp(x);
        *sum += e;
        *product += e * x;
    }
}

/// The greatest number of a line, and with `e = exp((x − most) · scale)` the sums of `e` and of `e · (x − most) · scale`.
pub(crate) fn exponential_sums(line: &[f32], scale: f32) -> (f32, f64, f64) {
    /// So many are added up in f32.
    const RUN: usize = 1024;
    on_this_processor!({
        let most = greatest(line);
        let (mut sum, mut product) = (0.0, 0.0);
        for run in line.chunks(RUN) {
            let (mut sums, mut products) = ([0.0; PARTS], [0.0; PARTS]);
            let (chunks, rest) = run.as_chunks::<PARTS>();
            for chunk in chunks {
                add_exponentials(chunk, scale, most, &mut sums, &mut products);
            }
            add_exponentials(rest, scale, most, &mut sums, &mut products);
            sum += f64::from(sums.iter().sum::<f32>());
            product += f64::from(products.iter().sum::<f32>());
        }
        (most, sum, product)
    })
}

/// Puts `exp((x − most) · scale)` of every number of a line into `out`, of the same length; returns their sum.
pub fn exponentials_of(line: &[f32], scale: f32, most: f32, out: &mut [f32]) -> f64 {
    /// So many are added up in f32.
    const RUN: usize = 1024;
    out.copy_from_slice(line);
    on_this_processor!({
        let mut sum = 0.0;
        for run in out.chunks_mut(RUN) {
            sum += f64::from(exp_sum(run, scale, most));
        }
        sum
    })
}

/// Softmax without its division: puts exponentials in place, and the inverse of their sum in `inverse`.
pub(crate) fn softmax_lines<'a>(lines: impl Iterator<Item = (&'a mut [f32], &'a mut f32)>) {
    on_this_processor!({
        for (line, inverse) in lines {
            let most = greatest(line);
            *inverse = 1.0 / exp_sum(line, 1.0, most);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_right_to_the_last_places() {
        let mut x = -87.0f32;
        while x < 88.0 {
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2.4e-7, "exp({x}): {error}");
            x += 0.003_1;
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(1e30).is_finite());
    }

    #[test]
    fn a_line_is_normalised_by_its_sum() {
        let mut line: Vec<f32> = (0..37).map(|i| (i as f32 * 0.37).sin() * 5.0).collect();
        let before = line.clone();
        let (most, sum) = exponentials(&mut line, 0.5);
        assert_eq!(most, before.iter().copied().fold(f32::MIN, f32::max));
        let exact: f64 = before.iter().map(|&x| (f64::from(x - most) * 0.5).exp()).sum();
        assert!((f64::from(sum) - exact).abs() < 1e-5);
        assert!(exponentials(&mut [0.0, f32::NAN, 1.0], 1.0).1.is_nan());
    }
}
