//! Rows on the processor. Only segments are shared and handed on, so rows may come in any order.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};

use super::product::PANEL;
use super::segment::{Row, bytes};
use super::weights::Weights;
use crate::llama::Llama;
use crate::runtime::{KvCache, Lanes, Logits, RowSource, Runtime};

#[derive(Debug)]
struct Rows {
    weights: Arc<Weights>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Batch {
    weights: Arc<Weights>,
    trunk: Vec<Row>,
    rows: Vec<Row>,
}

/// What runs a model without autodiff; the model itself where its parameters are neither f32 nor bfloat16 on the processor's backend, or
/// layers have experts.
pub(crate) fn runtime(model: Llama) -> Result<Arc<dyn Runtime>, Box<Llama>> {
    Ok(Arc::new(Weights::new(model)?))
}

impl Weights {
    /// `[b, d]`
    fn states(&self, states: Vec<f32>) -> Tensor<2> {
        let d = self.config.hidden_size;
        let rows = states.len() / d;
        Tensor::from_data(TensorData::new(states, [rows, d]), &self.device)
    }
}

impl Runtime for Weights {
    fn row_bytes(&self, tokens: usize) -> usize {
        // A row that parts from another leaves a block behind that is not full.
        (tokens.div_ceil(PANEL) + 1) * self.block.bytes()
    }

    fn cache(self: Arc<Self>, rows: usize) -> Box<dyn KvCache> {
        let rows = vec![Row::default(); rows];
        Box::new(Rows { weights: self, rows })
    }

    fn read(self: Arc<Self>, texts: &[&[u32]]) -> Tensor<2> {
        self.cache(texts.len()).advance(texts)
    }

    fn logits(&self, states_bd: Tensor<2>) -> Logits {
        Logits::Host(self.head_logits(&read(states_bd)))
    }
}

impl KvCache for Rows {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn bytes(&self) -> usize {
        bytes(self.rows.iter())
    }

    fn fork(&self, parents: &[usize]) -> Box<dyn KvCache> {
        Box::new(Self {
            weights: self.weights.clone(),
            rows: fork(&self.rows, parents),
        })
    }

    fn advance(&mut self, tokens: &[&[u32]]) -> Tensor<2> {
        let states = self.weights.advance(&mut self.rows, tokens.iter().copied());
        self.weights.states(states)
    }

    fn score(&mut self, states_bd: Tensor<2>, tokens: &[&[u32]], temperature: f64) -> Vec<Vec<f32>> {
        self.weights
            .score(&mut self.rows, &read(states_bd), tokens, temperature)
    }

    fn lanes(&self, parents: &[usize]) -> Box<dyn Lanes> {
        Box::new(Batch {
            weights: self.weights.clone(),
            trunk: fork(&self.rows, parents),
            rows: Vec::new(),
        })
    }
}

impl Lanes for Batch {
    fn can_reorder(&self) -> bool {
        true
    }

    fn arrange(&mut self, sources: &[RowSource]) {
        let mut uses = vec![0; self.rows.len()];
        for source in sources {
            if let RowSource::Row(row) = source {
                uses[*row] += 1;
            }
        }
        let mut before = std::mem::take(&mut self.rows);
        let continued = |&source: &RowSource| match source {
            // Moved, it stays the only one that may write to its own segment.
            RowSource::Row(row) if uses[row] == 1 => std::mem::take(&mut before[row]),
            RowSource::Row(row) => before[row].fork(),
            RowSource::Trunk(row) => self.trunk[row].fork(),
        };
        self.rows = sources.iter().map(continued).collect();
    }

    fn step(&mut self, tokens: &[u32]) -> Tensor<2> {
        let states = self.weights.advance(&mut self.rows, tokens.chunks(1));
        self.weights.states(states)
    }

    fn bytes(&self) -> usize {
        bytes(self.rows.iter().chain(&self.trunk))
    }
}

fn fork(rows: &[Row], parents: &[usize]) -> Vec<Row> {
    parents.iter().map(|&parent| rows[parent].fork()).collect()
}

fn read(states_bd: Tensor<2>) -> Vec<f32> {
    states_bd.try_into_vec_as().expect("states can be read as f32")
}
