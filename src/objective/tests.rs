use super::*;
use burn::tensor::{DType, Device, TensorData};

/// The device that the tests run on.
pub(crate) fn device() -> Device {
    Device::flex()
}

/// `[rows, columns]` in f64.
pub(crate) fn tensor2(rows: &[&[f64]], device: &Device) -> Tensor<2> {
    let shape = [rows.len(), rows[0].len()];
    let flat: Vec<f64> = rows.concat();
    Tensor::from_data(TensorData::new(flat, shape), (device, DType::F64))
}

pub(crate) fn f64s<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.try_into_vec_as().unwrap()
}

#[test]
fn names_are_strict() {
    for objective in Objective::ALL {
        assert_eq!(
            objective.name().parse::<Objective>().as_ref(),
            Ok(objective)
        );
    }
    let error = "GRPO".parse::<Objective>().unwrap_err().to_string();
    assert_eq!(
        error,
        "unknown objective `GRPO`: expected one of `gcpo`, `grpo`, `grpo_alpha`"
    );
}
