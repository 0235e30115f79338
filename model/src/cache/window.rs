//! What of a chain lies before the window of new tokens.
//!
//! A token at position `q` of a layer with a window of `w` sees the positions above `q − w`. Slots know no positions; those
//! of a row or a node are counted back from its end, over the slots that hold tokens.

use burn::tensor::{Device, Tensor, TensorData};

use super::bias::HIDDEN;
use super::level::Level;
use super::own::Own;

/// Numbers added to the scores of layers with a window, each `[1, b, t or g * t, slots]`; absent where all that a part
/// holds is in every window.
pub(super) struct Window {
    pub own: Option<Tensor<4>>,
    pub levels: Vec<Option<Tensor<4>>>,
}

/// New tokens: their positions, `[b * t]`, and how their queries lie.
pub(super) struct Queries<'a> {
    pub positions: &'a [usize],
    pub rows: usize,
    /// Query heads of a key/value head.
    pub groups: usize,
}

impl Window {
    /// `ends`: tokens that each row has seen, the new ones included.
    pub fn new(
        window: usize,
        queries: &Queries,
        ends: &[usize],
        own: &Own,
        levels: &[Level],
        device: &Device,
    ) -> Option<Self> {
        // Padding may have any position, but none beyond its row's.
        if ends.iter().all(|&end| end <= window) {
            return None;
        }
        let bias = |slots: usize, position: &dyn Fn(usize) -> Vec<usize>| {
            queries.bias(window, slots, position, device)
        };
        Some(Self {
            own: bias(own.view().len(), &|row| own.positions(row, ends[row])),
            levels: levels
                .iter()
                .map(|level| bias(level.width(), &|row| level.positions(row)))
                .collect(),
        })
    }
}

impl Queries<'_> {
    /// Hides slots whose position, given row by row, is before a query's window. Slots without a token are hidden by others.
    fn bias(
        &self,
        window: usize,
        slots: usize,
        positions: &dyn Fn(usize) -> Vec<usize>,
        device: &Device,
    ) -> Option<Tensor<4>> {
        let width = self.positions.len() / self.rows;
        // The queries of a single token share one line.
        let groups = if width == 1 { 1 } else { self.groups };
        let mut values = vec![0f32; self.rows * groups * width * slots];
        let mut hides = false;
        for (row, out) in values.chunks_mut(groups * width * slots).enumerate() {
            let slots_at = positions(row);
            for (line, out) in out.chunks_mut(slots).enumerate() {
                let query = self.positions[row * width + line % width];
                for (value, at) in out.iter_mut().zip(&slots_at) {
                    if at + window <= query {
                        *value = HIDDEN;
                        hides = true;
                    }
                }
            }
        }
        let shape = [1, self.rows, groups * width, slots];
        hides.then(|| Tensor::from_data(TensorData::new(values, shape), device))
    }
}
