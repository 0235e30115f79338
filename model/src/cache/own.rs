//! What the rows of a cache hold of their own: a ring of columns, written in place.
//!
//! All rows write into the same column, so one write serves the whole batch. Each row has an age: only its last `age`
//! columns count. Attention does not ask in which order keys stand (positions are rotated into them), so a row may
//! start afresh at any column, and a column whose tokens nobody counts any more is written again.

use std::ops::Range;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::bias::{HIDDEN, bias};
use super::level::KeysValues;
use crate::config::ModelConfig;
use crate::tokens::Tokens;

/// The ring grows to a multiple of this.
const BLOCK: usize = 32;

/// The own part of a cache.
#[derive(Debug, Clone)]
pub(super) struct Own {
    /// Per layer: keys and values, `[k, rows, capacity, e]`; none before the first token.
    pub layers: Vec<Option<KeysValues>>,
    pub capacity: usize,
    /// The column after the newest one, `0 ..= capacity`.
    at: usize,
    /// Per row: the columns that count, the newest ones.
    ages: Vec<usize>,
    /// Per row and column: whether it holds padding. A row's older columns say nothing.
    holes: Vec<Vec<bool>>,
    /// Whether any column ever held padding.
    any_hole: bool,
}

impl Own {
    pub fn empty(layers: usize, rows: usize) -> Self {
        Self {
            layers: vec![None; layers],
            capacity: 0,
            at: 0,
            ages: vec![0; rows],
            holes: vec![Vec::new(); rows],
            any_hole: false,
        }
    }

    /// Columns that count for some row, the newest ones.
    pub fn live(&self) -> usize {
        self.ages.iter().copied().max().unwrap_or(0)
    }

    /// Makes room for `tokens` more live columns.
    pub fn reserve(&mut self, tokens: usize, config: &ModelConfig, of: (&Device, DType)) {
        let wanted = self.live() + tokens;
        if wanted > self.capacity {
            self.rebuild(wanted, config, of);
        }
    }

    /// The row counts none of its columns any more.
    pub fn restart(&mut self, row: usize) {
        self.ages[row] = 0;
    }

    /// Keeps the named rows in the order given: `ids` are the same on the device.
    pub fn keep(&mut self, rows: &[usize], ids: &Tensor<1, Int>) {
        for (keys, values) in self.layers.iter_mut().flatten() {
            keys.inplace(|keys| keys.select(1, ids.clone()));
            values.inplace(|values| values.select(1, ids.clone()));
        }
        self.ages = rows.iter().map(|&row| self.ages[row]).collect();
        self.holes = rows.iter().map(|&row| self.holes[row].clone()).collect();
    }

    /// Takes note of new tokens, and gives the column of the first of them.
    pub fn begin(&mut self, tokens: &Tokens, config: &ModelConfig, of: (&Device, DType)) -> usize {
        let width = tokens.width();
        let live = self.live();
        if live == 0 {
            self.at = 0;
        }
        if live + width > self.capacity {
            // A first append is often a prompt that is then forked: no room beyond it. Growth is by half.
            let room = match live {
                0 => width,
                _ => (live + width).max(live + live / 2).next_multiple_of(BLOCK),
            };
            self.rebuild(room, config, of);
        } else if width == 1 {
            self.at %= self.capacity;
        } else if live > self.at || self.at + width > self.capacity {
            // The causal bias wants the columns of several tokens in their order.
            self.rebuild(self.capacity, config, of);
        }
        let from = self.at;
        self.at += width;
        for (row, (age, holes)) in self.ages.iter_mut().zip(&mut self.holes).enumerate() {
            *age += width;
            for (column, hole) in holes[from..from + width].iter_mut().enumerate() {
                *hole = !tokens.keeps(row, column);
                self.any_hole |= *hole;
            }
        }
        from
    }

    /// The columns that attention reads: the live ones where they lie side by side, else all.
    pub fn view(&self) -> Range<usize> {
        let live = self.live();
        if live <= self.at {
            self.at - live..self.at
        } else {
            0..self.capacity
        }
    }

    /// `[1, b, 1, view]`: what a row must not see among the columns of the view, after [`Own::begin`] for `tokens`.
    /// Absent where the causal bias hides it already, or there is none.
    pub fn bias(&self, tokens: &Tokens, device: &Device) -> Option<Tensor<4>> {
        let view = self.view();
        let width = tokens.width();
        if self.any_hole {
            let first_new = self.at - width;
            let seen = self.holes.iter().enumerate().any(|(row, holes)| {
                // Padding after a row's new tokens is hidden from them by the causal bias.
                let begins_with_padding = tokens.lengths[row] > 0 && holes[first_new];
                let mut before = view.clone().filter(|column| self.counts(row, *column, width));
                begins_with_padding || before.any(|column| holes[column])
            });
            if seen {
                let hidden: Vec<Vec<bool>> = (0..self.ages.len())
                    .map(|row| {
                        let hidden = |column| !self.counts(row, column, 0) || self.holes[row][column];
                        view.clone().map(hidden).collect()
                    })
                    .collect();
                return Some(bias(&hidden, view.len(), device));
            }
        }
        let even = self.ages.iter().all(|&age| age == self.ages[0]);
        if even && view.len() == self.ages[0] {
            return None;
        }
        let ints = |values: Vec<i64>, shape: [usize; 4]| {
            Tensor::<4, Int>::from_data(TensorData::new(values, shape), device)
        };
        let past: Vec<i64> = view.clone().map(|column| self.past(column) as i64).collect();
        let ages: Vec<i64> = self.ages.iter().map(|&age| age as i64).collect();
        let old = ints(past, [1, 1, 1, view.len()]).greater_equal(ints(ages, [1, self.ages.len(), 1, 1]));
        Some(old.float() * HIDDEN)
    }

    /// Writes into the columns that [`Own::begin`] gave, in place where nobody else holds the block,
    /// and gives the view.
    pub fn append(
        &mut self,
        layer: usize,
        from: usize,
        new_keys: Tensor<4>,
        new_values: Tensor<4>,
    ) -> KeysValues {
        let [k, rows, width, e] = new_keys.dims();
        let to = [0..k, 0..rows, from..from + width, 0..e];
        let (keys, values) = self.layers[layer]
            .take()
            .expect("begin() makes room in every layer");
        let keys = keys.slice_assign(to.clone(), new_keys);
        let values = values.slice_assign(to, new_values);
        let view = [self.view()];
        let views = (pick(&keys, &view), pick(&values, &view));
        self.layers[layer] = Some((keys, values));
        views
    }

    /// The live columns of every layer, oldest first (views where they lie side by side), and what of them is hidden
    /// from each row.
    pub fn read(&self) -> (Vec<KeysValues>, Vec<Vec<bool>>) {
        let columns = self.columns();
        let layers = self
            .layers
            .iter()
            .flatten()
            .map(|(keys, values)| (pick(keys, &columns), pick(values, &columns)))
            .collect();
        let hidden = (0..self.ages.len())
            .map(|row| {
                let hidden = |column| !self.counts(row, column, 0) || self.holes[row][column];
                columns.iter().cloned().flatten().map(hidden).collect()
            })
            .collect();
        (layers, hidden)
    }

    /// Positions of the columns of the view for a row that has seen `end` tokens; of those that do not count, anything below.
    pub fn positions(&self, row: usize, end: usize) -> Vec<usize> {
        let view = self.view();
        let mut positions = vec![0; view.len()];
        let mut at = end;
        let columns = self.columns();
        for column in columns.into_iter().flatten().rev() {
            if self.counts(row, column, 0) && !self.holes[row][column] {
                at -= 1;
            }
            positions[column - view.start] = at;
        }
        positions
    }

    /// How many columns are newer than this one.
    fn past(&self, column: usize) -> usize {
        let newest = if column < self.at {
            self.at
        } else {
            self.at + self.capacity
        };
        newest - 1 - column
    }

    /// Whether a column counts for a row and is not among the `newest` ones.
    fn counts(&self, row: usize, column: usize, newest: usize) -> bool {
        (newest..self.ages[row]).contains(&self.past(column))
    }

    /// The live columns, oldest first, in two runs; the first is empty where they lie side by side.
    fn columns(&self) -> [Range<usize>; 2] {
        match self.live().checked_sub(self.at) {
            None | Some(0) => [0..0, self.at - self.live()..self.at],
            Some(wrapped) => [self.capacity - wrapped..self.capacity, 0..self.at],
        }
    }

    /// Moves the live columns to the front of new blocks.
    fn rebuild(&mut self, capacity: usize, config: &ModelConfig, of: (&Device, DType)) {
        let (k, e) = (config.num_key_value_heads, config.head_dim);
        let (rows, live) = (self.ages.len(), self.live());
        let columns = self.columns();
        for layer in &mut self.layers {
            let room = || Tensor::<4>::zeros([k, rows, capacity, e], of);
            let moved =
                |old: &Tensor<4>| room().slice_assign([0..k, 0..rows, 0..live, 0..e], pick(old, &columns));
            *layer = Some(match layer.take() {
                Some((keys, values)) if live > 0 => (moved(&keys), moved(&values)),
                _ => (room(), room()),
            });
        }
        for holes in &mut self.holes {
            let mut moved: Vec<bool> = columns.iter().cloned().flatten().map(|c| holes[c]).collect();
            moved.resize(capacity, false);
            *holes = moved;
        }
        self.at = live;
        self.capacity = capacity;
    }
}

/// Runs of columns of `[k, rows, capacity, e]`, one after the other; a view where it is one run.
fn pick(block: &Tensor<4>, runs: &[Range<usize>]) -> Tensor<4> {
    let capacity = block.dims()[2];
    let one = |run: &Range<usize>| match run.len() {
        all if all == capacity => block.clone(),
        few => block.clone().narrow(2, run.start, few),
    };
    let mut runs = runs.iter().filter(|run| !run.is_empty()).map(one);
    match (runs.next(), runs.next()) {
        (Some(one), None) => one,
        (first, second) => Tensor::cat(first.into_iter().chain(second).collect(), 2),
    }
}
