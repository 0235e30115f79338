//! The number formats that weights are kept, computed with and saved in.

use std::fmt;

use burn::module::{Module, Param};
use burn::tensor::{DType, FloatDType, Tensor, bf16, f16};
use serde::{Deserialize, Serialize};

use crate::names::{self, ParamPath, with_value};

/// A number format, spelt as Hugging Face's `dtype`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Dtype {
    /// 32 bits.
    #[default]
    #[serde(rename = "float32")]
    F32,
    /// 16 bits: the range of f32, 8 bits of mantissa.
    #[serde(rename = "bfloat16")]
    Bf16,
    /// 16 bits: up to 65504, 11 bits of mantissa.
    #[serde(rename = "float16")]
    F16,
}

impl Dtype {
    /// All of them.
    pub const ALL: [Dtype; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// Hugging Face's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
            Self::F16 => "float16",
        }
    }

    /// burn's name for it.
    pub fn float(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
            Self::F16 => FloatDType::F16,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Dtype {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|dtype| dtype.name() == text);
        found.ok_or_else(|| format!("unknown number format `{text}`: give float32, bfloat16 or float16"))
    }
}

/// At least f32: what sums, norms, softmax and losses are computed in.
pub fn widen<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match x.dtype() {
        DType::F32 | DType::F64 => x,
        _ => x.cast(FloatDType::F32),
    }
}

/// `x` in format `dtype`; differentiable, and free where it is in that format already.
pub fn cast<const D: usize>(x: Tensor<D>, dtype: DType) -> Tensor<D> {
    match x.dtype() == dtype {
        true => x,
        false => x.cast(dtype),
    }
}

/// A number as one of format `dtype`.
pub(crate) fn rounded(number: f64, dtype: DType) -> f64 {
    match dtype {
        DType::BF16 => bf16::from_f64(number).to_f64(),
        DType::F16 => f16::from_f64(number).to_f64(),
        _ => number,
    }
}

/// The module with its parameters in format `dtype`; the factors of adapters stay in f32. Their ids stay, and so does autodiff where there is some;
/// no gradient flows from the one module to the other.
pub fn cast_module<M: Module>(module: M, dtype: Dtype) -> M {
    names::map(module, &mut Caster(dtype))
}

struct Caster(Dtype);

impl names::Map for Caster {
    fn float<const D: usize>(&mut self, at: &ParamPath, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if at.is_adapter() {
            return param;
        }
        with_value(param, |tensor| cast(tensor, self.0.float().into()))
    }
}
