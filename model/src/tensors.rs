//! Generation by tensor operations: what [`crate::inference::Inference`] runs on every device but the processor.
//!
//! Keys and values stay where they are, so rows do too: those that end give their lanes to those that begin.
//!
//! Axes: `b` rows, `t` tokens, `d` features.

use std::sync::Arc;

use burn::tensor::{Int, Tensor, TensorData};

use crate::cache::Cache;
use crate::llama::Llama;
use crate::logp::token_logp;
use crate::runtime::{KvCache, Lanes, Logits, RowSource, Runtime};
use crate::tokens::{Padding, Tokens};

/// A model without autodiff.
#[derive(Debug)]
pub(crate) struct Network(pub Llama);

#[derive(Debug)]
struct Rows {
    network: Arc<Network>,
    cache: Cache,
}

#[derive(Debug)]
struct Batch {
    network: Arc<Network>,
    /// A row for each that may ever begin, with nothing of its own.
    trunk: Cache,
    /// None while all lanes are free.
    rows: Option<Cache>,
}

impl Network {
    fn tokens(&self, rows: &[impl AsRef<[u32]>]) -> Tokens {
        Tokens::new(rows, Padding::Right, &self.0.device())
    }

    /// States at the last token of each row.
    fn last_states(&self, tokens: &Tokens, cache: Option<&mut Cache>) -> Tensor<2> {
        let hidden_btd = self.0.forward(tokens, cache);
        let [b, t, d] = hidden_btd.dims();
        if t == 1 {
            return hidden_btd.reshape([b, d]);
        }
        let picks = tokens.lengths.iter().enumerate();
        let picks: Vec<i64> = picks
            .map(|(row, &length)| (row * t + length - 1) as i64)
            .collect();
        let picks = Tensor::from_data(TensorData::new(picks, [b]), &hidden_btd.device());
        hidden_btd.reshape([b * t, d]).select(0, picks)
    }
}

impl Runtime for Network {
    fn row_bytes(&self, tokens: usize) -> usize {
        // Room grows by half.
        (tokens + tokens / 2).next_multiple_of(32)
            * self.0.config().kv_numbers_per_token()
            * self.0.dtype().size()
    }

    fn cache(self: Arc<Self>, rows: usize) -> Box<dyn KvCache> {
        let model = &self.0;
        let cache = Cache::new(model.config(), rows, &model.device(), model.dtype());
        Box::new(Rows { network: self, cache })
    }

    fn read(self: Arc<Self>, texts: &[&[u32]]) -> Tensor<2> {
        self.last_states(&self.tokens(texts), None)
    }

    fn logits(&self, states_bd: Tensor<2>) -> Logits {
        Logits::Device(self.0.lm_head(states_bd))
    }
}

impl KvCache for Rows {
    fn rows(&self) -> usize {
        self.cache.rows()
    }

    fn bytes(&self) -> usize {
        self.cache.bytes()
    }

    fn fork(&self, parents: &[usize]) -> Box<dyn KvCache> {
        Box::new(Self {
            network: self.network.clone(),
            cache: self.cache.fork(parents),
        })
    }

    fn advance(&mut self, tokens: &[&[u32]]) -> Tensor<2> {
        let tokens = self.network.tokens(tokens);
        self.network.last_states(&tokens, Some(&mut self.cache))
    }

    fn score(&mut self, states_bd: Tensor<2>, tokens: &[&[u32]], temperature: f64) -> Vec<Vec<f32>> {
        let model = &self.network.0;
        let longest = tokens.iter().map(|t| t.len()).max().unwrap_or(0);
        // The state before token 0 is the row's own; the state at the last token predicts nothing here.
        let mut hidden_btd = states_bd.unsqueeze_dim::<3>(1);
        if longest > 1 {
            let fed: Vec<&[u32]> = tokens.iter().map(|t| &t[..(t.len() - 1).max(1)]).collect();
            let fed_btd = model.forward(&self.network.tokens(&fed), Some(&mut self.cache));
            hidden_btd = Tensor::cat(vec![hidden_btd, fed_btd], 1);
        }
        let targets: Vec<i64> = tokens
            .iter()
            .flat_map(|t| (0..longest).map(|i| t.get(i).map_or(0, |&id| i64::from(id))))
            .collect();
        let targets = TensorData::new(targets, [tokens.len(), longest]);
        let targets_bt = Tensor::<2, Int>::from_data(targets, &model.device());
        let logp_bt = token_logp(model, hidden_btd, targets_bt, temperature, false).logp_bt;
        let flat: Vec<f32> = logp_bt.try_into_vec_as().expect("numbers can be read as f32");
        flat.chunks_exact(longest)
            .zip(tokens)
            .map(|(scores, tokens)| scores[..tokens.len()].to_vec())
            .collect()
    }

    fn lanes(&self, parents: &[usize]) -> Box<dyn Lanes> {
        Box::new(Batch {
            network: self.network.clone(),
            trunk: self.cache.fork(parents),
            rows: None,
        })
    }
}

impl Lanes for Batch {
    fn can_reorder(&self) -> bool {
        false
    }

    fn arrange(&mut self, sources: &[RowSource]) {
        let (mut go_on, mut begin) = (Vec::new(), Vec::new());
        for (lane, source) in sources.iter().enumerate() {
            match source {
                RowSource::Row(row) => go_on.push((lane, *row)),
                RowSource::Trunk(row) => begin.push((lane, *row)),
            }
        }
        let rows =
            |picks: Vec<(usize, usize)>| -> Vec<usize> { picks.into_iter().map(|pick| pick.1).collect() };
        match &mut self.rows {
            _ if sources.is_empty() => self.rows = None,
            None => {
                assert!(go_on.is_empty(), "arrange: rows {go_on:?} of no batch");
                self.rows = Some(self.trunk.lanes(&rows(begin)));
            }
            Some(batch) if begin.is_empty() => batch.keep(&rows(go_on)),
            Some(batch) => {
                let in_place = go_on.iter().all(|(lane, row)| lane == row);
                assert!(in_place && sources.len() == batch.rows(), "arrange: {sources:?}");
                batch.exchange(&self.trunk, &begin);
            }
        }
    }

    fn step(&mut self, tokens: &[u32]) -> Tensor<2> {
        let cache = self.rows.as_mut().expect("lanes are taken before a step");
        let tokens = Tokens::step(tokens, &self.network.0.device());
        self.network.last_states(&tokens, Some(cache))
    }

    fn bytes(&self) -> usize {
        // Rows hold all of their trunk.
        self.rows.as_ref().unwrap_or(&self.trunk).bytes()
    }
}
