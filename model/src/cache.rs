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
//! No gradient flows through a cache. Give [`crate::llama::Llama::forward`] a model without autodiff (`model.valid()`).

mod level;

use std::sync::Arc;

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::config::ModelConfig;
use crate::rope::{RopeTable, Rotation};
use crate::tokens::Tokens;
use level::Level;

/// Added to scores that must not count. Finite, so that a part which is hidden as a whole gives no NaN;
/// large enough that `exp` of it is exactly 0 beside any real score.
pub(crate) const HIDDEN: f32 = -1e30;

/// Own slots are grown by at least this many at a time.
const BLOCK: usize = 32;

/// Keys and values of the rows of a batch.
///
/// Cloning copies handles, not numbers; a clone that is then written to gets its own copy of the own part
/// (levels stay shared). So a frozen prefix can be continued as often as one likes:
/// `prefix.fork(&parents)` for each purpose.
#[derive(Debug, Clone)]
pub struct Cache {
    config: Arc<ModelConfig>,
    device: Device,
    rope: RopeTable,
    lengths: Vec<usize>,
    levels: Vec<Level>,
    own: Own,
}

/// What the rows hold of their own, in blocks written in place.
#[derive(Debug, Clone)]
struct Own {
    /// Per layer: keys and values, `[k, rows, capacity, e]`; none before the first token.
    layers: Vec<Option<(Tensor<4>, Tensor<4>)>>,
    capacity: usize,
    used: usize,
    /// Per row and used slot: whether it is hidden (the filling of ragged rows).
    hidden: Vec<Vec<bool>>,
}

/// What one forward needs to know about the cache, the same in every layer.
pub(crate) struct Step {
    /// Positions of the new tokens, `[b * t]` of them.
    pub rotation: Rotation,
    /// Own slots used before these tokens.
    from: usize,
    /// New tokens a row, `t`.
    width: usize,
    /// `[1, 1, g * t, slots]`: a token does not see those after it; absent for single tokens.
    causal: Option<Tensor<4>>,
    /// `[1, b, 1, slots]`: filling; absent where there is none that a real token could see.
    filling: Option<Tensor<4>>,
}

impl Cache {
    /// An empty cache for `rows` rows.
    ///
    /// # Panics
    /// `rows` is 0.
    pub fn new(config: &ModelConfig, rows: usize, device: &Device) -> Self {
        assert!(rows > 0, "a cache needs at least one row");
        let device = device.clone().without_autodiff();
        Self {
            config: Arc::new(config.clone()),
            rope: RopeTable::new(config, 256.min(config.max_position_embeddings), &device),
            device,
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
        if self.own.used > 0 {
            let frozen = Level::freeze(self.own.read(), self.own.hidden.clone());
            levels.push(frozen.remapped(parents, &self.device));
        }
        Cache {
            config: self.config.clone(),
            device: self.device.clone(),
            rope: self.rope.clone(),
            lengths: parents.iter().map(|&p| self.lengths[p]).collect(),
            levels,
            own: Own::empty(self.config.num_hidden_layers, parents.len()),
        }
    }

    /// Keeps the named rows, in the order given, and drops the others. It copies what the kept rows hold of their own,
    /// so a sampler does better to let a few finished lanes gather before it drops them.
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
        let ids = indices(rows, &self.device);
        for layer in &mut self.own.layers {
            if let Some((keys, values)) = layer.take() {
                *layer = Some((keys.select(1, ids.clone()), values.select(1, ids.clone())));
            }
        }
        self.own.hidden = rows.iter().map(|&r| self.own.hidden[r].clone()).collect();
        self.lengths = rows.iter().map(|&r| self.lengths[r]).collect();
        self.levels = self
            .levels
            .iter()
            .map(|level| level.remapped(rows, &self.device))
            .collect();
    }

    /// Makes room for `tokens` more own tokens a row at once, so that no later append has to grow.
    pub fn reserve(&mut self, tokens: usize) {
        let wanted = self.own.used + tokens;
        if wanted > self.own.capacity {
            self.own
                .grow(wanted, &self.config, self.lengths.len(), &self.device);
        }
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
        slots * self.config.kv_bytes_per_token()
    }

    /// Bytes of the own part alone, with its room: what a [`Cache::fork`] of this cache would not share.
    pub fn own_bytes(&self) -> usize {
        self.own.capacity * self.rows() * self.config.kv_bytes_per_token()
    }

    /// Slots that one new token attends to, over the whole chain.
    pub(crate) fn slots(&self) -> usize {
        self.own.used + self.levels.iter().map(Level::width).sum::<usize>()
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
        let from = self.own.used;
        if from + width > self.own.capacity {
            // A first append is often a prompt that is then forked: no room beyond it. Growth is by half.
            let room = match from {
                0 => width,
                _ => (from + width).max(from + from / 2).next_multiple_of(BLOCK),
            };
            self.own.grow(room, &self.config, rows, &self.device);
        }
        self.own.used += width;
        for row in 0..rows {
            self.own.hidden[row].extend((0..width).map(|c| !tokens.keeps(row, c)));
            self.lengths[row] += tokens.lengths[row];
        }

        let slots = from + width;
        // Filling after a row's new tokens is hidden from them by the causal bias already.
        let seen_filling =
            self.own.hidden.iter().enumerate().any(|(row, hidden)| {
                hidden[..from].contains(&true) || (tokens.lengths[row] > 0 && hidden[from])
            });
        Step {
            rotation: self.rope.at(&positions),
            from,
            width,
            causal: (width > 1).then(|| causal_bias(self.config.groups(), width, from, &self.device)),
            filling: seen_filling.then(|| bias(&self.own.hidden, slots, &self.device)),
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
        let (keys, values) = self.own.append(layer, step, keys, values);
        let mut own = queries.clone().matmul(keys.swap_dims(2, 3));
        if let Some(bias) = &step.causal {
            own = own + bias.clone();
        }
        if let Some(bias) = &step.filling {
            own = own + bias.clone();
        }
        if self.levels.is_empty() {
            return softmax(own, 3).matmul(values);
        }
        let mut scores: Vec<Tensor<4>> = self
            .levels
            .iter()
            .map(|level| level.scores(layer, queries.clone()))
            .collect();
        scores.push(own);
        let shares = softmax(Tensor::cat(scores, 3), 3);
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
        let own = shares.narrow(3, from, step.from + step.width).matmul(values);
        match out {
            Some(sum) => sum + own,
            None => own,
        }
    }
}

impl Own {
    fn empty(layers: usize, rows: usize) -> Self {
        Self {
            layers: vec![None; layers],
            capacity: 0,
            used: 0,
            hidden: vec![Vec::new(); rows],
        }
    }

    fn grow(&mut self, capacity: usize, config: &ModelConfig, rows: usize, device: &Device) {
        let (k, e) = (config.num_key_value_heads, config.head_dim);
        for layer in &mut self.layers {
            let room = || Tensor::<4>::zeros([k, rows, capacity, e], device);
            *layer = Some(match layer.take() {
                Some((keys, values)) if self.used > 0 => {
                    let slots = [0..k, 0..rows, 0..self.used, 0..e];
                    (
                        room().slice_assign(slots.clone(), keys.slice(slots.clone())),
                        room().slice_assign(slots.clone(), values.slice(slots)),
                    )
                }
                _ => (room(), room()),
            });
        }
        self.capacity = capacity;
    }

    /// The used part of every layer: views.
    fn read(&self) -> Vec<(Tensor<4>, Tensor<4>)> {
        self.layers
            .iter()
            .flatten()
            .map(|(keys, values)| {
                (
                    keys.clone().narrow(2, 0, self.used),
                    values.clone().narrow(2, 0, self.used),
                )
            })
            .collect()
    }

    /// Writes into the room that [`Cache::begin`] made, in place where nobody else holds the block,
    /// and gives views of the used part.
    fn append(
        &mut self,
        layer: usize,
        step: &Step,
        new_keys: Tensor<4>,
        new_values: Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
        let [k, rows, width, e] = new_keys.dims();
        let to = [0..k, 0..rows, step.from..step.from + width, 0..e];
        let (keys, values) = self.layers[layer]
            .take()
            .expect("begin() makes room in every layer");
        let keys = keys.slice_assign(to.clone(), new_keys);
        let values = values.slice_assign(to, new_values);
        let slots = step.from + width;
        let views = (
            keys.clone().narrow(2, 0, slots),
            values.clone().narrow(2, 0, slots),
        );
        self.layers[layer] = Some((keys, values));
        views
    }
}

fn indices(values: &[usize], device: &Device) -> Tensor<1, Int> {
    let ids: Vec<i64> = values.iter().map(|&value| value as i64).collect();
    Tensor::from_data(TensorData::new(ids, [values.len()]), device)
}

/// `[1, rows, 1, slots]`: [`HIDDEN`] where hidden, else 0.
fn bias(hidden: &[Vec<bool>], slots: usize, device: &Device) -> Tensor<4> {
    let values: Vec<f32> = hidden
        .iter()
        .flat_map(|row| row.iter().map(|&hide| if hide { HIDDEN } else { 0.0 }))
        .collect();
    Tensor::from_data(TensorData::new(values, [1, hidden.len(), 1, slots]), device)
}

/// `[1, 1, g * t, from + t]`: token `i` of the new ones sees the `from` before them and new ones up to itself.
pub(crate) fn causal_bias(groups: usize, width: usize, from: usize, device: &Device) -> Tensor<4> {
    let slots = from + width;
    let mut values = vec![0f32; groups * width * slots];
    for (row, out) in values.chunks_mut(slots).enumerate() {
        out[from + row % width + 1..].fill(HIDDEN);
    }
    Tensor::from_data(TensorData::new(values, [1, 1, groups * width, slots]), device)
}

/// `[1, b, 1, t]` for left-padded ragged rows; absent where there is no filling before a real token.
pub(crate) fn filling_bias(tokens: &Tokens, device: &Device) -> Option<Tensor<4>> {
    let hidden: Vec<Vec<bool>> = (0..tokens.rows())
        .map(|row| (0..tokens.width()).map(|c| c < tokens.start(row)).collect())
        .collect();
    hidden
        .iter()
        .any(|row| row.contains(&true))
        .then(|| bias(&hidden, tokens.width(), device))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::llama::Llama;

    #[test]
    fn nobody_else_holds_the_blocks_that_are_written_to() {
        let json = br#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
            "max_position_embeddings": 64}"#;
        let config = ModelConfig::from_json(json, Path::new("config.json")).unwrap();
        let device = crate::test_device();
        let model = Llama::init(&config, 1, &device);
        let mut cache = Cache::new(&config, 3, &device);
        let step = || Tokens::step(Tensor::from_data([1, 2, 3], &device));
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
}
