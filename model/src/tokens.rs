//! Rows of token ids of different lengths as one rectangle.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// The side on which shorter rows are filled up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// Tokens end at the right edge.
    Left,
    /// Tokens begin at the left edge. The cheaper one: causal attention hides the padding by itself.
    Right,
}

/// What a network is fed to predict the tokens of each pair of a context and tokens: the last one predicts nothing that is asked for.
pub(crate) fn fed(pairs: &[(&[u32], &[u32])]) -> Vec<Vec<u32>> {
    let text = |(context, tokens): &(&[u32], &[u32])| [context, &tokens[..tokens.len() - 1]].concat();
    pairs.iter().map(text).collect()
}

/// A rectangle of token ids; shorter rows are filled with id 0, which no real token ever sees.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// `[b, t]`
    pub ids_bt: Tensor<2, Int>,
    /// Real tokens of each row.
    pub lengths: Vec<usize>,
    /// Where the padding is.
    pub padding: Padding,
}

impl Tokens {
    /// Puts rows into a rectangle as wide as the longest.
    ///
    /// # Panics
    /// There are no rows, or one of them is empty.
    pub fn new(rows: &[impl AsRef<[u32]>], padding: Padding, device: &Device) -> Self {
        let lengths: Vec<usize> = rows.iter().map(|row| row.as_ref().len()).collect();
        let width = lengths.iter().copied().max().unwrap_or(0);
        assert!(
            lengths.iter().all(|&length| length > 0) && width > 0,
            "token rows must not be empty"
        );
        let mut ids = vec![0i64; rows.len() * width];
        for ((row, &length), out) in rows.iter().zip(&lengths).zip(ids.chunks_mut(width)) {
            let start = match padding {
                Padding::Left => width - length,
                Padding::Right => 0,
            };
            for (to, &id) in out[start..start + length].iter_mut().zip(row.as_ref()) {
                *to = i64::from(id);
            }
        }
        Self {
            ids_bt: Tensor::from_data(TensorData::new(ids, [rows.len(), width]), device),
            lengths,
            padding,
        }
    }

    /// One token a row: a step of decoding.
    pub fn step(tokens: &[u32], device: &Device) -> Self {
        let ids: Vec<i64> = tokens.iter().map(|&id| i64::from(id)).collect();
        Self {
            ids_bt: Tensor::from_data(TensorData::new(ids, [tokens.len(), 1]), device),
            lengths: vec![1; tokens.len()],
            padding: Padding::Right,
        }
    }

    /// Number of rows, `b`.
    pub fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// Width of the rectangle, `t`.
    pub fn width(&self) -> usize {
        self.ids_bt.dims()[1]
    }

    /// The column of each row's first real token.
    pub fn start(&self, row: usize) -> usize {
        match self.padding {
            Padding::Left => self.width() - self.lengths[row],
            Padding::Right => 0,
        }
    }

    /// Whether column `column` of row `row` holds a real token.
    pub fn keeps(&self, row: usize, column: usize) -> bool {
        let start = self.start(row);
        (start..start + self.lengths[row]).contains(&column)
    }

    /// Position of every cell, row by row, where row `r` has already seen `seen[r]` tokens.
    /// Padding before a row gets its first position, padding after it runs on.
    pub fn positions(&self, seen: &[usize]) -> Vec<usize> {
        let width = self.width();
        let mut positions = Vec::with_capacity(self.rows() * width);
        for (row, &seen) in seen.iter().enumerate() {
            let start = self.start(row);
            positions.extend((0..width).map(|column| seen + column.saturating_sub(start)));
        }
        positions
    }

    /// The columns `from..to` of the same rows. Rows that end before them have length 0 there.
    pub(crate) fn columns(&self, from: usize, to: usize) -> Self {
        let lengths = (0..self.rows())
            .map(|row| {
                let start = self.start(row);
                let end = start + self.lengths[row];
                end.min(to).saturating_sub(start.max(from))
            })
            .collect();
        Self {
            ids_bt: self.ids_bt.clone().slice([0..self.rows(), from..to]),
            lengths,
            padding: self.padding,
        }
    }
}
