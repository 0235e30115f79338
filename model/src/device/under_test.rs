//! The devices that tests run on.

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::backends;
use super::open::open;
use super::probe::quietly;

/// The device that tests run on: the one that `GCPO_TEST_DEVICE` names, `cpu` without it.
///
/// # Panics
/// There is no such device.
pub fn of_tests() -> Device {
    let spec = std::env::var("GCPO_TEST_DEVICE").unwrap_or_else(|_| "cpu".into());
    let opened = spec.parse().and_then(|spec| open(&spec));
    opened
        .unwrap_or_else(|error| panic!("GCPO_TEST_DEVICE: {error}"))
        .device
}

/// [`of_tests`], or the processor where that device does not compute in f64: graphics interfaces may have the type, but not
/// its exponential.
pub fn of_tests_in_f64() -> Device {
    let device = of_tests();
    let exact = |device: &Device| {
        let one = TensorData::new(vec![1f64], [1]);
        let e = Tensor::<1>::from_data(one, (device, DType::F64)).exp();
        let e: Vec<f64> = e.try_into_vec_as().unwrap_or_default();
        e.first().is_some_and(|e| (e - std::f64::consts::E).abs() < 1e-12)
    };
    match device.supports_dtype(DType::F64) && quietly(|| exact(&device)).unwrap_or(false) {
        true => device,
        false => backends::processor(),
    }
}
