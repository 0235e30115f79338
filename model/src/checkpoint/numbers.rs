//! The numbers of a tensor, in files and in memory.

use burn::tensor::{bf16, f16};
use safetensors::Dtype as InFile;

use super::error::CheckpointError;
use crate::dtype::Dtype;

/// Formats that are read.
pub(crate) const READ: [InFile; 4] = [InFile::F32, InFile::BF16, InFile::F16, InFile::F64];

/// Numbers of one of the formats in [`READ`] as f32.
pub(crate) fn decode(dtype: InFile, bytes: &[u8]) -> Vec<f32> {
    fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|&bytes| number(bytes)).collect()
    }
    match dtype {
        InFile::F32 => each(bytes, f32::from_le_bytes),
        InFile::BF16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        InFile::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
        InFile::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
        other => unreachable!("{other} was refused"),
    }
}

/// How many numbers are NaN or infinite once they are in format `dtype`.
pub(super) fn not_finite(values: &[f32], dtype: Dtype) -> usize {
    // The least number that rounds to infinity.
    let limit = match dtype {
        Dtype::F32 => f32::INFINITY,
        Dtype::Bf16 => f32::from_bits(0x7f7f_8000),
        Dtype::F16 => 65_520.0,
    };
    // Counted in blocks of 32-bit numbers, which the compiler does many at a time.
    let of_block = |block: &[f32]| {
        block
            .iter()
            .map(|value| u32::from(value.is_nan() | (value.abs() >= limit)))
            .sum::<u32>()
    };
    values.chunks(1 << 16).map(|block| of_block(block) as usize).sum()
}

/// The error for a tensor that holds such numbers, if it does.
pub(crate) fn check(
    values: &[f32],
    dtype: Dtype,
    path: &std::path::Path,
    name: &str,
) -> Result<(), CheckpointError> {
    match not_finite(values, dtype) {
        0 => Ok(()),
        count => Err(CheckpointError::NotFinite {
            path: path.into(),
            name: name.into(),
            count,
            of: values.len(),
            // Whether another format would hold them.
            wider: (not_finite(values, Dtype::F32) == 0).then_some(dtype),
        }),
    }
}

/// A matrix read by columns: `[rows, columns]` to `[columns, rows]`, in tiles that stay in the cache.
pub(crate) fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const TILE: usize = 32;
    let mut out = vec![0f32; values.len()];
    for row_tile in (0..rows).step_by(TILE) {
        for column_tile in (0..columns).step_by(TILE) {
            for row in row_tile..rows.min(row_tile + TILE) {
                for column in column_tile..columns.min(column_tile + TILE) {
                    out[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    out
}
