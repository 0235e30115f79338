//! Keys and values of a run of tokens, in blocks that are laid out for the attention's products, and rows that are made of
//! such runs.

use std::collections::HashSet;
use std::sync::Arc;

use super::product::PANEL;
use crate::config::ModelConfig;

/// Sizes of a block, in numbers: what a layer's key/value head holds for 32 tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockShape {
    /// Layers times key/value heads.
    heads: usize,
    /// Key/value heads of a layer.
    per_layer: usize,
    /// Features of a head, `e`.
    e: usize,
    /// `e` rounded up to whole panels: the width of a line of values.
    width: usize,
}

impl BlockShape {
    pub fn new(config: &ModelConfig) -> Self {
        Self {
            heads: config.num_hidden_layers * config.num_key_value_heads,
            per_layer: config.num_key_value_heads,
            e: config.head_dim,
            width: config.head_dim.next_multiple_of(PANEL),
        }
    }

    /// Width of a line of values.
    pub fn width(&self) -> usize {
        self.width
    }

    fn head(&self) -> usize {
        PANEL * (self.e + self.width)
    }

    fn at(&self, layer: usize, head: usize) -> usize {
        (layer * self.per_layer + head) * self.head()
    }

    /// Bytes of a block.
    pub fn bytes(&self) -> usize {
        self.heads * self.head() * size_of::<f32>()
    }
}

/// What some tokens left in every layer: `[e, 32]` keys and `[32, width]` values a block, layer and head. It grows by
/// blocks; what is written stays where it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Segment {
    blocks: Vec<Box<[f32]>>,
    len: usize,
}

impl Segment {
    /// Tokens held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.blocks.iter().map(|block| size_of_val(&**block)).sum()
    }

    /// Makes room for `tokens` more, to be written in every layer.
    pub fn grow(&mut self, shape: &BlockShape, tokens: usize) {
        self.len += tokens;
        let numbers = shape.heads * shape.head();
        while self.blocks.len() * PANEL < self.len {
            self.blocks.push(vec![0.0; numbers].into());
        }
    }

    /// Writes one token's key and value of a head.
    pub fn write(
        &mut self,
        shape: &BlockShape,
        layer: usize,
        head: usize,
        slot: usize,
        key: &[f32],
        value: &[f32],
    ) {
        let at = shape.at(layer, head);
        let block = &mut self.blocks[slot / PANEL][at..at + shape.head()];
        let (keys, values) = block.split_at_mut(PANEL * shape.e);
        let slot = slot % PANEL;
        for (line, &key) in keys.chunks_exact_mut(PANEL).zip(key) {
            line[slot] = key;
        }
        values[slot * shape.width..][..shape.e].copy_from_slice(value);
    }

    /// The blocks' keys and values of a head: `[e, 32]`, `[32, width]`.
    pub fn head(
        &self,
        shape: BlockShape,
        layer: usize,
        head: usize,
    ) -> impl Iterator<Item = (&[f32], &[f32])> {
        let at = shape.at(layer, head);
        self.blocks
            .iter()
            .map(move |block| block[at..at + shape.head()].split_at(PANEL * shape.e))
    }
}

/// Keys and values of a row: a chain of frozen segments, shared with whoever continues them, and one of its own.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    pub chain: Vec<Arc<Segment>>,
    pub own: Arc<Segment>,
    /// Tokens seen, over the whole chain.
    pub length: usize,
}

impl Row {
    /// A row that continues this one, nothing of its own yet.
    pub fn fork(&self) -> Row {
        let mut chain = self.chain.clone();
        if self.own.len() > 0 {
            chain.push(self.own.clone());
        }
        Row {
            chain,
            own: Arc::default(),
            length: self.length,
        }
    }
}

/// Bytes that rows hold; what they share counts once.
pub(super) fn bytes<'a>(rows: impl Iterator<Item = &'a Row>) -> usize {
    let mut seen = HashSet::new();
    rows.flat_map(|row| row.chain.iter().chain([&row.own]))
        .filter(|segment| seen.insert(Arc::as_ptr(segment)))
        .map(|segment| segment.bytes())
        .sum()
}
