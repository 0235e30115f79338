//! Sums over all numbers of a tensor, by all threads where it is f32 on the processor. A sum has the same bits however many there are.

use burn::tensor::{DType, Tensor, TensorData};
use rayon::prelude::*;

use super::buffer::Buffer;
use super::in_f32;
use crate::device::{Processor, is_processor};
use crate::host::{on_this_processor, sum};

/// Numbers that a thread takes at once.
const SHARE: usize = 1 << 14;

/// `Σ x²`, in f32.
///
/// # Shapes
/// any to `[1]`
pub fn of_squares<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let device = tensor.device();
    let Some(primitive) = in_f32(tensor.clone()) else {
        return tensor.cast(DType::F32).square().sum();
    };
    let values = primitive.as_slice::<f32>().expect("made contiguous");
    let of_share = |values: &[f32]| {
        on_this_processor!({
            sum(
                values,
                #[inline(always)]
                |x| x * x,
            )
        })
    };
    one(of_shares(values, of_share), &device)
}

/// `Σ 0 · x`: 0 where all numbers are finite, NaN where one is not.
///
/// # Shapes
/// any to `[1]`
pub fn of_zeros<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let device = tensor.device();
    let Some(primitive) = in_f32(tensor.clone()) else {
        return tensor.cast(DType::F32).mul_scalar(0.0).sum();
    };
    let values = primitive.as_slice::<f32>().expect("made contiguous");
    let of_share = |values: &[f32]| {
        on_this_processor!({
            sum(
                values,
                #[inline(always)]
                |x| x * 0.0,
            )
        })
    };
    one(of_shares(values, of_share), &device)
}

/// `sum + more`
///
/// # Shapes
/// any, twice
pub fn added<const D: usize>(sum: Tensor<D>, more: Tensor<D>) -> Tensor<D> {
    let fits = |tensor: &Tensor<D>| is_processor(&tensor.device()) && tensor.dtype() == DType::F32;
    if !fits(&sum) || !fits(&more) {
        return sum + more;
    }
    let shape = sum.shape();
    let read = |tensor| in_f32(tensor).expect("f32 on the processor");
    let (sum, more) = (read(sum), read(more));
    let [sums, mores] =
        [&sum, &more].map(|term| term.as_slice::<f32>().expect("made contiguous").par_chunks(SHARE));
    let mut added = Buffer::apart(shape.num_elements());
    let shares = added.par_chunks_mut(SHARE).zip(sums.zip(mores));
    shares.for_each(|(added, (sum, more))| {
        let terms = sum.iter().zip(more);
        added
            .iter_mut()
            .zip(terms)
            .for_each(|(added, (sum, more))| *added = sum + more);
    });
    Tensor::from_primitive::<Processor>(added.into_primitive(shape))
}

fn of_shares(values: &[f32], of_share: impl Fn(&[f32]) -> f32 + Send + Sync) -> f32 {
    if values.len() <= SHARE {
        return of_share(values);
    }
    let shares: Vec<f32> = values.par_chunks(SHARE).map(of_share).collect();
    shares.into_iter().map(f64::from).sum::<f64>() as f32
}

fn one(value: f32, device: &burn::tensor::Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(vec![value], [1]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_is_that_of_tensor_operations() {
        let device = crate::device::processor();
        let count = 2 * (SHARE + 3);
        let of = |seed: usize| {
            let values: Vec<f32> = (0..count)
                .map(|i| ((i + seed) % 1009) as f32 / 500.0 - 1.0)
                .collect();
            Tensor::<2>::from_data(TensorData::new(values, [2, count / 2]), &device)
        };
        let shared = of(1);
        let found = added(shared.clone(), of(5));
        assert_eq!(found.to_data(), (of(1) + of(5)).to_data());
        assert_eq!(shared.to_data(), of(1).to_data());
        let short = |seed| of(seed).cast(DType::BF16);
        assert_eq!(
            added(short(1), short(5)).to_data(),
            (short(1) + short(5)).to_data()
        );
    }

    #[test]
    fn sums_are_those_of_tensor_operations() {
        let device = crate::device::processor();
        for count in [7, 3 * SHARE + 5] {
            let values: Vec<f32> = (0..count).map(|i| (i % 1009) as f32 / 500.0 - 1.0).collect();
            let exact: f64 = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            let of = |values: Vec<f32>| Tensor::<1>::from_data(TensorData::new(values, [count]), &device);
            let tensor = of(values.clone());
            let found = |tensor: Tensor<1>| f64::from(tensor.into_scalar::<f32>());
            assert!((found(of_squares(tensor.clone())) - exact).abs() < 1e-6 * exact);
            assert_eq!(found(of_zeros(tensor.clone())), 0.0);
            let short = tensor.cast(DType::BF16);
            assert!((found(of_squares(short)) - exact).abs() < 1e-2 * exact);
            for bad in [f32::NAN, f32::INFINITY] {
                let mut values = values.clone();
                values[count - 1] = bad;
                assert!(found(of_zeros(of(values.clone()))).is_nan());
                assert!(!found(of_squares(of(values))).is_finite());
            }
        }
    }
}
