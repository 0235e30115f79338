//! A model ready to generate: one door for the engine, two ways behind it.
//!
//! Where the parameters are f32 on burn's CPU backend, [`crate::cpu`] runs them; everywhere else the tensor operations of
//! [`crate::llama`] over [`crate::cache::Cache`] do. Both give the same numbers up to rounding, and a test says so.
//!
//! Axes: `b` rows, `t` tokens, `d` features, `v` vocabulary.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::cache;
use crate::config::ModelConfig;
use crate::cpu;
use crate::llama::Llama;
use crate::logp::token_logp;
use crate::tokens::{Padding, Tokens};

/// A model without gradients, laid out for generation. It is a snapshot: later updates of the model do not reach it.
pub struct Inference {
    model: Llama,
    cpu: Option<cpu::Weights>,
}

/// Keys and values of the rows of a batch. Cloning copies handles, not numbers.
#[derive(Debug, Clone)]
pub struct KvCache(Way);

#[derive(Debug, Clone)]
enum Way {
    Cpu(cpu::Cache),
    Tensors(Box<cache::Cache>),
}

/// What a row of a new batch goes on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A row of the old batch.
    Row(usize),
    /// A row of the trunk, where it begins.
    Trunk(usize),
}

const ONE_WAY: &str = "a cache is used with the inference that made it";

impl Inference {
    /// The fastest way that the model's device has.
    pub fn new(model: &Llama) -> Self {
        let plain = Self::plain(model);
        Self {
            cpu: cpu::Weights::new(&plain.model),
            ..plain
        }
    }

    /// By tensor operations, whatever the device.
    pub fn plain(model: &Llama) -> Self {
        let model = match model.device().is_autodiff() {
            true => model.clone().valid(),
            false => model.clone(),
        };
        Self { model, cpu: None }
    }

    /// Whether the processor's own way is taken: then logits are on the host already.
    pub fn is_on_host(&self) -> bool {
        self.cpu.is_some()
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        self.model.config()
    }

    /// Bytes that a row holds of its own for `tokens` tokens, at most.
    pub fn row_bytes(&self, tokens: usize) -> usize {
        match &self.cpu {
            Some(weights) => weights.row_bytes(tokens),
            // Room grows by half.
            None => {
                (tokens + tokens / 2).next_multiple_of(32)
                    * self.config().kv_numbers_per_token()
                    * self.model.dtype().size()
            }
        }
    }

    /// Where tensors are.
    pub fn device(&self) -> Device {
        self.model.device()
    }

    /// An empty cache for `rows` rows.
    ///
    /// # Panics
    /// `rows` is 0.
    pub fn cache(&self, rows: usize) -> KvCache {
        assert!(rows > 0, "a cache needs at least one row");
        KvCache(match &self.cpu {
            Some(weights) => Way::Cpu(weights.cache(rows)),
            None => {
                let cache = cache::Cache::new(self.config(), rows, &self.device());
                Way::Tensors(cache.of_dtype(self.model.dtype()).into())
            }
        })
    }

    /// Appends `tokens[r]`, none empty, to row `r`: the states after the final norm at each row's last token.
    ///
    /// # Shapes
    /// `[b, d]`
    pub fn advance(&self, cache: &mut KvCache, tokens: &[impl AsRef<[u32]>]) -> Tensor<2> {
        match (&self.cpu, &mut cache.0) {
            (Some(weights), Way::Cpu(cache)) => self.states(weights.advance(cache, tokens)),
            (None, Way::Tensors(cache)) => {
                let tokens = Tokens::new(tokens, Padding::Right, &self.device());
                last_states(self.model.forward(&tokens, Some(cache)), &tokens.lengths)
            }
            _ => unreachable!("{ONE_WAY}"),
        }
    }

    /// States at the last tokens of texts, none empty, run alone.
    ///
    /// # Shapes
    /// `[b, d]`
    pub fn read(&self, texts: &[impl AsRef<[u32]>]) -> Tensor<2> {
        match &self.cpu {
            Some(weights) => self.states(weights.advance(&mut weights.cache(texts.len()), texts)),
            None => {
                let tokens = Tokens::new(texts, Padding::Right, &self.device());
                last_states(self.model.forward(&tokens, None), &tokens.lengths)
            }
        }
    }

    /// Log-probabilities of `tokens[r]`, none empty, in row `r`, whose last state is given: `log softmax(logits /
    /// temperature)`. The rows then hold all their tokens but the last.
    ///
    /// # Shapes
    /// `states_bd`: `[b, d]`
    pub fn score(
        &self,
        mut cache: KvCache,
        states_bd: Tensor<2>,
        tokens: &[&[u32]],
        temperature: f64,
    ) -> Vec<Vec<f32>> {
        if let (Some(weights), Way::Cpu(cache)) = (&self.cpu, &mut cache.0) {
            return weights.score(cache, &host(states_bd), tokens, temperature);
        }
        let Way::Tensors(cache) = &mut cache.0 else {
            unreachable!("{ONE_WAY}")
        };
        let longest = tokens.iter().map(|t| t.len()).max().unwrap_or(0);
        // The state before token 0 is the row's own; the state at the last token predicts nothing here.
        let mut hidden_btd = states_bd.unsqueeze_dim::<3>(1);
        if longest > 1 {
            let fed: Vec<&[u32]> = tokens.iter().map(|t| &t[..(t.len() - 1).max(1)]).collect();
            let fed = Tokens::new(&fed, Padding::Right, &self.device());
            hidden_btd = Tensor::cat(vec![hidden_btd, self.model.forward(&fed, Some(cache))], 1);
        }
        let targets: Vec<i64> = tokens
            .iter()
            .flat_map(|t| (0..longest).map(|i| t.get(i).map_or(0, |&id| i64::from(id))))
            .collect();
        let targets = TensorData::new(targets, [tokens.len(), longest]);
        let targets_bt = Tensor::<2, Int>::from_data(targets, &self.device());
        let flat = host(token_logp(&self.model, hidden_btd, targets_bt, temperature).logp_bt);
        flat.chunks_exact(longest)
            .zip(tokens)
            .map(|(scores, tokens)| scores[..tokens.len()].to_vec())
            .collect()
    }

    /// Logits of states, where they are.
    ///
    /// # Shapes
    /// `[b, d]` to `[b, v]`
    pub fn logits(&self, states_bd: Tensor<2>) -> Tensor<2> {
        self.model.lm_head(states_bd)
    }

    /// Logits of states `[b, d]` on the host, row by row: `b · v` of them.
    pub fn host_logits(&self, states_bd: Tensor<2>) -> Vec<f32> {
        match &self.cpu {
            Some(weights) => weights.logits(&host(states_bd)),
            None => host(self.logits(states_bd)),
        }
    }

    fn states(&self, states: Vec<f32>) -> Tensor<2> {
        let d = self.config().hidden_size;
        let rows = states.len() / d;
        Tensor::from_data(TensorData::new(states, [rows, d]), &self.device())
    }
}

impl KvCache {
    /// Number of rows, `b`.
    pub fn rows(&self) -> usize {
        match &self.0 {
            Way::Cpu(cache) => cache.rows(),
            Way::Tensors(cache) => cache.rows(),
        }
    }

    /// New rows: row `r` continues row `parents[r]` of this cache, with nothing of its own yet. No key and no value is
    /// copied, however many rows continue one; this cache stays usable.
    ///
    /// # Panics
    /// `parents` is empty or names a row that does not exist.
    pub fn fork(&self, parents: &[usize]) -> KvCache {
        KvCache(match &self.0 {
            Way::Cpu(cache) => Way::Cpu(cache.fork(parents)),
            Way::Tensors(cache) => Way::Tensors(cache.fork(parents).into()),
        })
    }

    /// A batch with one row for each source: rows of `old`, the batch so far, which go on, and rows of `trunk` that
    /// begin. The trunk is a [`KvCache::fork`] with one row for each that may ever begin, and nothing of its own.
    ///
    /// On the host any rows may come in any order, and several may go on from one: what it holds is then shared.
    /// On another device keys and values stay where they are, so the rows must too: either every `Row(r)` stands at
    /// place `r` of as many rows as before, or no row begins and each goes on at most once.
    ///
    /// # Panics
    /// `sources` is empty, or a row does not exist.
    pub fn seated(old: Option<KvCache>, trunk: &KvCache, sources: &[Source]) -> KvCache {
        assert!(!sources.is_empty(), "a batch needs at least one row");
        let of_trunk = |source: &Source| match source {
            Source::Trunk(row) => *row,
            Source::Row(row) => panic!("row {row} of no batch"),
        };
        KvCache(match (old.map(|old| old.0), &trunk.0) {
            (old, Way::Cpu(trunk)) => {
                let old = match old {
                    Some(Way::Cpu(old)) => Some(old),
                    Some(Way::Tensors(_)) => unreachable!("{ONE_WAY}"),
                    None => None,
                };
                Way::Cpu(cpu::Cache::seated(old, trunk, sources))
            }
            (None, Way::Tensors(trunk)) => Way::Tensors(
                trunk
                    .lanes(&sources.iter().map(of_trunk).collect::<Vec<_>>())
                    .into(),
            ),
            (Some(Way::Tensors(mut old)), Way::Tensors(trunk)) => {
                let begin: Vec<(usize, usize)> = sources
                    .iter()
                    .enumerate()
                    .filter(|(_, source)| matches!(source, Source::Trunk(_)))
                    .map(|(row, source)| (row, of_trunk(source)))
                    .collect();
                if begin.is_empty() {
                    let kept = |source: &Source| match source {
                        Source::Row(row) => *row,
                        Source::Trunk(_) => unreachable!("no row begins"),
                    };
                    old.keep(&sources.iter().map(kept).collect::<Vec<_>>());
                } else {
                    old.exchange(trunk, &begin);
                }
                Way::Tensors(old)
            }
            (Some(Way::Cpu(_)), Way::Tensors(_)) => unreachable!("{ONE_WAY}"),
        })
    }

    /// Bytes of keys and values held; what rows share counts once.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Way::Cpu(cache) => cache.bytes(),
            Way::Tensors(cache) => cache.bytes(),
        }
    }

    /// Bytes that a batch and the trunk that it came from hold together.
    pub fn bytes_with(&self, trunk: &KvCache) -> usize {
        match (&self.0, &trunk.0) {
            (Way::Cpu(cache), Way::Cpu(trunk)) => cache.bytes_with(trunk),
            // A batch of tensors holds all of its trunk.
            _ => self.bytes(),
        }
    }
}

/// `[b, t, d]` → `[b, d]`: the state at the last of each row's `lengths` tokens, rows padded on the right.
fn last_states(hidden_btd: Tensor<3>, lengths: &[usize]) -> Tensor<2> {
    let [b, t, d] = hidden_btd.dims();
    if t == 1 {
        return hidden_btd.reshape([b, d]);
    }
    let picks: Vec<i64> = lengths
        .iter()
        .enumerate()
        .map(|(row, &length)| (row * t + length - 1) as i64)
        .collect();
    let picks = Tensor::from_data(TensorData::new(picks, [b]), &hidden_btd.device());
    hidden_btd.reshape([b * t, d]).select(0, picks)
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor
        .into_data()
        .convert::<f32>()
        .try_into_vec()
        .expect("converted to f32")
}
