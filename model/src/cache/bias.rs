//! What attention must not see, as numbers added to its scores.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::tokens::Tokens;

/// Added to scores that must not count. Finite, so that a part which is hidden as a whole gives no NaN;
/// large enough that `exp` of it is exactly 0 beside any real score.
pub(crate) const HIDDEN: f32 = -1e30;

pub(super) fn indices(values: &[usize], device: &Device) -> Tensor<1, Int> {
    let ids: Vec<i64> = values.iter().map(|&value| value as i64).collect();
    Tensor::from_data(TensorData::new(ids, [values.len()]), device)
}

/// `[1, rows, 1, slots]`: [`HIDDEN`] where hidden, else 0.
pub(super) fn bias(hidden: &[Vec<bool>], slots: usize, device: &Device) -> Tensor<4> {
    let values: Vec<f32> = hidden
        .iter()
        .flat_map(|row| row.iter().map(|&hide| if hide { HIDDEN } else { 0.0 }))
        .collect();
    Tensor::from_data(TensorData::new(values, [1, hidden.len(), 1, slots]), device)
}

/// `[1, 1, g * t, from + t]`: token `i` of the new ones sees the `from` before them and new ones up to itself; with a `window`
/// only so many of them, itself included.
pub(crate) fn causal_bias(
    groups: usize,
    width: usize,
    from: usize,
    window: Option<usize>,
    device: &Device,
) -> Tensor<4> {
    let slots = from + width;
    let mut values = vec![0f32; groups * width * slots];
    for (row, out) in values.chunks_mut(slots).enumerate() {
        let seen = from + row % width + 1;
        out[seen..].fill(HIDDEN);
        if let Some(window) = window {
            out[..seen.saturating_sub(window)].fill(HIDDEN);
        }
    }
    Tensor::from_data(TensorData::new(values, [1, 1, groups * width, slots]), device)
}

/// `[1, b, 1, t]` for left-padded ragged rows; absent where there is no padding before a real token.
pub(crate) fn padding_bias(tokens: &Tokens, device: &Device) -> Option<Tensor<4>> {
    let hidden: Vec<Vec<bool>> = (0..tokens.rows())
        .map(|row| (0..tokens.width()).map(|c| c < tokens.start(row)).collect())
        .collect();
    hidden
        .iter()
        .any(|row| row.contains(&true))
        .then(|| bias(&hidden, tokens.width(), device))
}

/// Positions of slots, the last of which holds a token at `end - 1`: those of the tokens before it count down, and slots
/// without a token have that of the next.
pub(super) fn count_back(hidden: impl DoubleEndedIterator<Item = bool>, end: usize) -> Vec<usize> {
    let mut at = end;
    let mut positions: Vec<usize> = hidden
        .rev()
        .map(|hidden| {
            if !hidden {
                at -= 1;
            }
            at
        })
        .collect();
    positions.reverse();
    positions
}
