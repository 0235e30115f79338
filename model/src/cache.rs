//! The key/value cache: a chain of levels, outermost first, then each row's own part.
//!
//! A level is frozen: its *nodes* are sequences that some rows once held as their own, and a host map says which node
//! each row continues. [`Cache::fork`] turns the own part into a level; nothing is repeated, however many rows continue
//! one node. In attention the (small) queries of a node's rows are brought together into one matrix, so that shared
//! keys and values are read once and never expanded; the scores of all parts of the chain then go through one joint
//! softmax, which is what joining the parts by their log-sum-exp comes to.
//!
//! Everything lives as `[k, nodes or rows, t, e]` (`e` = head_dim): with the heads outermost, bringing together the rows
//! of a node is a reshape wherever every node has equally many neighbouring rows, which is how samplers lay them out.
//!
//! A sampler forks one row for each request (the *trunk*), seats the first of them in its lanes ([`Cache::lanes`]) and
//! the next ones wherever a lane ends ([`Cache::exchange`]): the own part is a ring, in which a row may begin anywhere.
//!
//! No gradient flows through a cache. Give [`crate::llama::Llama::forward`] a model without autodiff (`model.valid()`).

mod bias;
mod level;
mod own;
mod window;

use std::sync::Arc;

use burn::tensor::activation::softmax;
use burn::tensor::{DType, Device, Tensor};

use crate::attention::capped;
use crate::config::ModelConfig;
use crate::dtype::{cast, widen};
use crate::rope::{RopeTable, Rotation};
use crate::tokens::Tokens;
use bias::indices;
use level::Level;
use own::Own;
use window::{Queries, Window};

pub(crate) use bias::{HIDDEN, causal_bias, padding_bias};

/// Keys and values of the rows of a batch.
///
/// Cloning copies handles, not numbers; a clone that is then written to gets its own copy of the own part
/// (levels stay shared). So a frozen prefix can be continued as often as one likes:
/// `prefix.fork(&parents)` for each purpose.
#[derive(Debug, Clone)]
pub struct Cache {
    config: Arc<ModelConfig>,
    device: Device,
    /// Of keys and values.
    dtype: DType,
    rope: RopeTable,
    lengths: Vec<usize>,
    levels: Vec<Level>,
    own: Own,
}

/// What one forward needs to know about the cache, the same in every layer.
pub(crate) struct Step {
    /// Positions of the new tokens, `[b * t]` of them, by the model's tables.
    pub rotations: Vec<Rotation>,
    /// Own column of the first new token.
    from: usize,
    /// `[1, 1, g * t, slots]`: a token does not see those after it; absent for single tokens.
    causal: Option<Tensor<4>>,
    /// `[1, b, 1, slots]`: padding and what belongs to a row's predecessor; absent where there is none that a real
    /// token could see.
    hidden: Option<Tensor<4>>,
    /// For layers with a window; absent where it hides nothing.
    window: Option<Window>,
}

impl Cache {
    /// An empty cache for `rows` rows; keys and values are of a model with parameters of `dtype`.
    ///
    /// # Panics
    /// `rows` is 0.
    pub fn new(config: &ModelConfig, rows: usize, device: &Device, dtype: DType) -> Self {
        assert!(rows > 0, "a cache needs at least one row");
        let device = device.clone().without_autodiff();
        Self {
            config: Arc::new(config.clone()),
            rope: RopeTable::new(config, 256.min(config.max_position_embeddings), &device),
            device,
            dtype,
            lengths: vec![0; rows],
            levels: Vec::new(),
            own: Own::empty(config.num_hidden_layers, rows),
        }
    }

    /// Number of rows, `b`.
    pub fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// Tokens that each row has seen, over all its levels: the position of its next token.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Makes what the rows hold of their own a shared level, for new rows: row `r` of the result continues row
    /// `parents[r]` of this cache, with an empty own part. Nothing is repeated in memory; this cache stays usable.
    ///
    /// Nodes that no row refers to are dropped, except where that would copy most of a level to save little of it.
    /// Rows that continue the same parent should be neighbours, and equally many: then attention needs no gathering.
    ///
    /// # Panics
    /// `parents` is empty or names a row that does not exist.
    pub fn fork(&self, parents: &[usize]) -> Cache {
        assert!(
            !parents.is_empty() && parents.iter().all(|&p| p < self.rows()),
            "fork: parents {parents:?} of {} rows",
            self.rows()
        );
        let mut levels: Vec<Level> = self
            .levels
            .iter()
            .map(|level| level.remapped(parents, &self.device))
            .collect();
        if self.own.live() > 0 {
            let (layers, hidden) = self.own.read();
            let level = Level::freeze(layers, hidden, self.lengths.clone());
            levels.push(level.remapped(parents, &self.device));
        }
        self.below(parents, levels)
    }

    /// Rows with nothing of their own below those of this cache.
    fn below(&self, parents: &[usize], levels: Vec<Level>) -> Cache {
        Cache {
            config: self.config.clone(),
            device: self.device.clone(),
            dtype: self.dtype,
            rope: self.rope.clone(),
            lengths: parents.iter().map(|&p| self.lengths[p]).collect(),
            levels,
            own: Own::empty(self.config.num_hidden_layers, parents.len()),
        }
    }

    /// The first lanes of a trunk: row `r` of the result continues row `rows[r]` of this cache, which must hold nothing
    /// of its own (a fresh [`Cache::fork`], one row for each request). Unlike a fork it keeps every node, so that
    /// [`Cache::exchange`] can seat the trunk's other rows later.
    ///
    /// # Panics
    /// `rows` is empty or names a row that does not exist, or rows hold something of their own.
    pub fn lanes(&self, rows: &[usize]) -> Cache {
        assert!(
            !rows.is_empty() && rows.iter().all(|&r| r < self.rows()),
            "lanes: rows {rows:?} of {}",
            self.rows()
        );
        assert!(self.own.live() == 0, "lanes: fork the trunk first");
        let seated =
            |level: &Level| level.placed(rows.iter().map(|&r| level.node(r)).collect(), &self.device);
        self.below(rows, self.levels.iter().map(seated).collect())
    }

    /// Rows start afresh: for each seat `(row, of_trunk)`, row `row` of this cache now continues row `of_trunk` of the
    /// trunk that it was made from by [`Cache::lanes`]. No key and no value is copied or moved.
    ///
    /// # Panics
    /// A row does not exist, the trunk has other levels than this cache, or its rows hold something of their own.
    pub fn exchange(&mut self, trunk: &Cache, seats: &[(usize, usize)]) {
        let (rows, of_trunk) = (self.rows(), trunk.rows());
        assert!(
            seats.iter().all(|&(row, from)| row < rows && from < of_trunk),
            "exchange: seats {seats:?} of {rows} rows and {of_trunk} of the trunk"
        );
        let same = self.levels.len() == trunk.levels.len()
            && self
                .levels
                .iter()
                .zip(&trunk.levels)
                .all(|(own, theirs)| own.shares_nodes_with(theirs));
        assert!(
            same && trunk.own.live() == 0,
            "exchange: not the trunk that these lanes were made from"
        );
        if seats.is_empty() {
            return;
        }
        for (level, theirs) in self.levels.iter_mut().zip(&trunk.levels) {
            let mut nodes: Vec<usize> = (0..rows).map(|row| level.node(row)).collect();
            for &(row, from) in seats {
                nodes[row] = theirs.node(from);
            }
            *level = level.placed(nodes, &self.device);
        }
        for &(row, from) in seats {
            self.lengths[row] = trunk.lengths[from];
            self.own.restart(row);
        }
    }

    /// Keeps the named rows, in the order given, and drops the others, but no node of a level. It copies what the kept
    /// rows hold of their own: while rows are waiting, [`Cache::exchange`] is the better way.
    ///
    /// # Panics
    /// `rows` is empty or names a row that does not exist.
    pub fn keep(&mut self, rows: &[usize]) {
        assert!(
            !rows.is_empty() && rows.iter().all(|&r| r < self.rows()),
            "keep: rows {rows:?} of {}",
            self.rows()
        );
        if rows.iter().copied().eq(0..self.rows()) {
            return;
        }
        self.own.keep(rows, &indices(rows, &self.device));
        self.lengths = rows.iter().map(|&r| self.lengths[r]).collect();
        for level in &mut self.levels {
            *level = level.placed(rows.iter().map(|&r| level.node(r)).collect(), &self.device);
        }
    }

    /// Makes room for `tokens` more live own tokens a row, so that no append grows before a row has so many. The own
    /// part is a ring: tokens of rows that [`Cache::exchange`] replaced make room by themselves.
    pub fn reserve(&mut self, tokens: usize) {
        self.own.reserve(tokens, &self.config, (&self.device, self.dtype));
    }

    /// Bytes of keys and values held: levels (shared ones count once here, and again in every cache that shares them)
    /// and the own part with its room.
    pub fn bytes(&self) -> usize {
        let slots = self.own.capacity * self.rows()
            + self
                .levels
                .iter()
                .map(|level| level.len() * level.width())
                .sum::<usize>();
        slots * self.token_bytes()
    }

    fn token_bytes(&self) -> usize {
        self.config.kv_numbers_per_token() * self.dtype.size()
    }

    /// Slots that one new token attends to, over the whole chain.
    pub(crate) fn slots(&self) -> usize {
        self.own.live() + self.levels.iter().map(Level::width).sum::<usize>()
    }

    /// Takes note of new tokens: positions, lengths, room and what is hidden. Follow with [`Cache::attend`] once a layer.
    pub(crate) fn begin(&mut self, tokens: &Tokens) -> Step {
        let (rows, width) = (self.rows(), tokens.width());
        assert_eq!(
            tokens.rows(),
            rows,
            "the batch has {} rows, the cache {rows}",
            tokens.rows()
        );
        let positions = tokens.positions(&self.lengths);
        let end = positions.iter().max().map_or(0, |&p| p + 1);
        if end > self.rope.positions() {
            let room = end
                .max(2 * self.rope.positions())
                .min(end.max(self.config.max_position_embeddings));
            self.rope = RopeTable::new(&self.config, room, &self.device);
        }
        let from = self.own.begin(tokens, &self.config, (&self.device, self.dtype));
        for (length, new) in self.lengths.iter_mut().zip(&tokens.lengths) {
            *length += new;
        }
        let seen = from - self.own.view().start;
        let queries = Queries {
            positions: &positions,
            rows,
            groups: self.config.groups(),
        };
        let window = self.config.layers.sliding_window();
        let window = window.and_then(|window| {
            Window::new(
                window,
                &queries,
                &self.lengths,
                &self.own,
                &self.levels,
                &self.device,
            )
        });
        Step {
            rotations: self.rope.at(&positions),
            from,
            causal: (width > 1).then(|| causal_bias(self.config.groups(), width, seen, None, &self.device)),
            hidden: self.own.bias(tokens, &self.device),
            window,
        }
    }

    /// Appends one layer's new keys and values and attends to the whole chain.
    ///
    /// # Shapes
    /// * `queries`: `[k, b, g * t, e]`, scaled; so is the result
    /// * `keys`, `values`: `[k, b, t, e]`
    pub(crate) fn attend(
        &mut self,
        layer: usize,
        step: &Step,
        queries: Tensor<4>,
        keys: Tensor<4>,
        values: Tensor<4>,
    ) -> Tensor<4> {
        let (keys, values) = self.own.append(layer, step.from, keys, values);
        let cap = self.config.scales.attn_logit_softcapping;
        let mut own = capped(widen(queries.clone().matmul(keys.swap_dims(2, 3))), cap);
        if let Some(bias) = &step.causal {
            own = own + bias.clone();
        }
        if let Some(bias) = &step.hidden {
            own = own + bias.clone();
        }
        let window = step.window.as_ref();
        let window = window.filter(|_| self.config.layers.window(layer).is_some());
        if let Some(bias) = window.and_then(|window| window.own.as_ref()) {
            own = own + bias.clone();
        }
        if self.levels.is_empty() {
            return cast(softmax(own, 3), values.dtype()).matmul(values);
        }
        let mut scores: Vec<Tensor<4>> = self
            .levels
            .iter()
            .enumerate()
            .map(|(depth, level)| {
                let scores = level.scores(layer, queries.clone(), cap);
                match window.and_then(|window| window.levels[depth].as_ref()) {
                    Some(bias) => scores + bias.clone(),
                    None => scores,
                }
            })
            .collect();
        scores.push(own);
        let shares = cast(softmax(Tensor::cat(scores, 3), 3), values.dtype());
        let mut from = 0;
        let mut out: Option<Tensor<4>> = None;
        for level in &self.levels {
            let width = level.width();
            let part = level.mix(layer, shares.clone().narrow(3, from, width));
            out = Some(match out {
                Some(sum) => sum + part,
                None => part,
            });
            from += width;
        }
        let slots = values.dims()[2];
        let own = shares.narrow(3, from, slots).matmul(values);
        match out {
            Some(sum) => sum + own,
            None => own,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::bias::HIDDEN;
    use super::*;
    use crate::llama::Llama;

    fn config() -> ModelConfig {
        let json = br#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
            "max_position_embeddings": 64}"#;
        ModelConfig::from_json(json, Path::new("config.json")).unwrap()
    }

    #[test]
    fn nobody_else_holds_the_blocks_that_are_written_to() {
        let config = config();
        let device = crate::test_device();
        let model = Llama::init(&config, 1, &device);
        let mut cache = Cache::new(&config, 3, &device, DType::F32);
        let step = || Tokens::step(&[1, 2, 3], &device);
        let in_place = |cache: &Cache| {
            let mut blocks = cache.own.layers.iter().flatten();
            blocks.all(|(keys, values)| keys.can_mut() && values.can_mut())
        };
        for _ in 0..3 {
            model.forward(&step(), Some(&mut cache));
            assert!(in_place(&cache));
        }
        let shared = cache.clone();
        assert!(!in_place(&cache));
        model.forward(&step(), Some(&mut cache));
        assert!(in_place(&cache));
        assert_eq!((shared.lengths()[0], cache.lengths()[0]), (3, 4));
    }

    #[test]
    fn rows_of_one_age_need_no_bias() {
        let config = config();
        let device = crate::test_device();
        let model = Llama::init(&config, 1, &device);
        let mut root = Cache::new(&config, 1, &device, DType::F32);
        let step = |rows: usize| Tokens::step(&vec![0; rows], &device);
        model.forward(&step(1), Some(&mut root));
        let trunk = root.fork(&[0, 0, 0]);
        let mut lanes = trunk.lanes(&[0, 1]);
        lanes.reserve(4);
        let bias = |lanes: &mut Cache| {
            model.forward(&step(2), Some(lanes));
            lanes.own.bias(&step(2), &device)
        };
        assert!(bias(&mut lanes).is_none() && bias(&mut lanes).is_none());
        lanes.exchange(&trunk, &[(0, 2)]);
        let values: Vec<f32> = bias(&mut lanes).unwrap().try_into_vec_as().unwrap();
        assert_eq!(values, [HIDDEN, HIDDEN, 0.0, 0.0, 0.0, 0.0]);
        lanes.exchange(&trunk, &[(0, 1), (1, 2)]);
        assert!(bias(&mut lanes).is_none());
    }
}
