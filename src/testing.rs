//! What the unit tests of this crate share.

use burn::tensor::{DType, Device, Tensor, TensorData};

/// The device that the tests run on.
pub(crate) fn device() -> Device {
    gcpo_model::device::of_tests()
}

/// The device that tests in f64 run on.
pub(crate) fn device_f64() -> Device {
    gcpo_model::device::of_tests_in_f64()
}

/// `[rows, columns]` in f64.
pub(crate) fn tensor2<R: AsRef<[f64]>>(rows: &[R]) -> Tensor<2> {
    let flat: Vec<f64> = rows.iter().flat_map(|row| row.as_ref().to_vec()).collect();
    let shape = [rows.len(), flat.len() / rows.len()];
    Tensor::from_data(TensorData::new(flat, shape), (&device_f64(), DType::F64))
}

/// The values of a tensor, in its order.
pub(crate) fn f64s<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.try_into_vec_as().unwrap()
}
