//! A frozen level of a cache, and how the rows of a batch come to its nodes.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor};

use super::bias::{bias, count_back, indices};
use crate::attention::capped;
use crate::dtype::widen;

/// Keys and values of one layer, each `[k, rows or nodes, t, e]`.
pub(super) type KeysValues = (Tensor<4>, Tensor<4>);

/// A frozen part of the chain.
#[derive(Debug, Clone)]
pub(super) struct Level {
    /// Per layer: keys and values, `[k, nodes, t, e]`.
    layers: Arc<Vec<KeysValues>>,
    /// Per node and slot: whether it is hidden.
    hidden: Vec<Vec<bool>>,
    /// Per node: tokens seen at its end, those of outer levels included.
    ends: Vec<usize>,
    /// `[1, nodes, 1, t]`, absent where nothing is hidden.
    bias: Option<Tensor<4>>,
    /// The node that each row continues.
    nodes: Vec<usize>,
    /// From the first node that a row continues to the last: attention looks at no others.
    window: Range<usize>,
    /// Absent where rows are in the order of the window's nodes, equally many for each: then it takes a reshape only.
    gather: Option<Gather>,
}

/// Rows are picked into `cap` places for each node of the window (places left over are filled with row 0), and back.
#[derive(Debug, Clone)]
struct Gather {
    /// `[nodes * cap]`: the row in each place.
    to_nodes: Tensor<1, Int>,
    /// `[rows]`: the place of each row.
    to_rows: Tensor<1, Int>,
    cap: usize,
}

impl Level {
    /// A level whose nodes are rows, each continued by itself; `ends` are the tokens that each has seen.
    pub fn freeze(layers: Vec<KeysValues>, hidden: Vec<Vec<bool>>, ends: Vec<usize>) -> Level {
        Level {
            layers: Arc::new(layers),
            ends,
            bias: None,
            nodes: (0..hidden.len()).collect(),
            window: 0..hidden.len(),
            hidden,
            gather: None,
        }
    }

    /// Nodes of the level.
    pub fn len(&self) -> usize {
        self.hidden.len()
    }

    /// Slots of each node.
    pub fn width(&self) -> usize {
        self.hidden[0].len()
    }

    /// The node that a row continues.
    pub fn node(&self, row: usize) -> usize {
        self.nodes[row]
    }

    /// Positions of the slots that a row continues.
    pub fn positions(&self, row: usize) -> Vec<usize> {
        let node = self.nodes[row];
        count_back(self.hidden[node].iter().copied(), self.ends[node])
    }

    /// Whether nodes of the same number are the same in both.
    pub fn shares_nodes_with(&self, other: &Level) -> bool {
        Arc::ptr_eq(&self.layers, &other.layers)
    }

    /// The same level for other rows, all its nodes kept: row `r` continues node `nodes[r]`.
    pub fn placed(&self, nodes: Vec<usize>, device: &Device) -> Level {
        let mut level = self.clone();
        let first = nodes.iter().copied().min().unwrap_or(0);
        let last = nodes.iter().copied().max().unwrap_or(0);
        level.window = first..last + 1;
        let places: Vec<usize> = nodes.iter().map(|node| node - first).collect();
        level.gather = Gather::new(&places, level.window.len(), device);
        level.nodes = nodes;
        level
    }

    /// The same level for other rows, without the nodes that they do not need: row `r` continues what row `rows[r]`
    /// continued.
    pub fn remapped(&self, rows: &[usize], device: &Device) -> Level {
        let mut level = self.clone();
        level.nodes = rows.iter().map(|&r| self.nodes[r]).collect();
        level.drop_unused(device);
        level.bias = level
            .hidden
            .iter()
            .any(|node| node.contains(&true))
            .then(|| bias(&level.hidden, level.width(), device));
        let nodes = std::mem::take(&mut level.nodes);
        level.placed(nodes, device)
    }

    /// Drops nodes that no row refers to: those at the edges by a view, which costs nothing; those between where
    /// at most half are left, since dropping them copies what is kept.
    fn drop_unused(&mut self, device: &Device) {
        let mut used = self.nodes.clone();
        used.sort_unstable();
        used.dedup();
        let (first, last) = (used[0], used[used.len() - 1]);
        let count = last + 1 - first;
        if 2 * used.len() <= count {
            let ids = indices(&used, device);
            self.replace(|tensor| tensor.clone().select(1, ids.clone()));
            self.hidden = used.iter().map(|&node| self.hidden[node].clone()).collect();
            self.ends = used.iter().map(|&node| self.ends[node]).collect();
            for node in &mut self.nodes {
                *node = used.binary_search(node).expect("used holds every row's node");
            }
        } else if count < self.hidden.len() {
            self.replace(|tensor| tensor.clone().narrow(1, first, count));
            self.hidden = self.hidden[first..=last].to_vec();
            self.ends = self.ends[first..=last].to_vec();
            for node in &mut self.nodes {
                *node -= first;
            }
        }
    }

    fn replace(&mut self, each: impl Fn(&Tensor<4>) -> Tensor<4>) {
        self.layers = Arc::new(
            self.layers
                .iter()
                .map(|(keys, values)| (each(keys), each(values)))
                .collect(),
        );
    }

    /// Scores of all rows against the nodes they continue, capped where there is a cap, hidden slots marked.
    ///
    /// # Shapes
    /// `queries`: `[k, b, gt, e]` to `[k, b, gt, t]`
    pub fn scores(&self, layer: usize, queries: Tensor<4>, cap: Option<f64>) -> Tensor<4> {
        let keys = self.in_window(&self.layers[layer].0);
        let rows = self.nodes.len();
        let scores = self.to_nodes(queries).matmul(keys.swap_dims(2, 3));
        let mut scores = capped(widen(scores), cap);
        if let Some(bias) = &self.bias {
            scores = scores + self.in_window(bias);
        }
        self.to_rows(scores, rows)
    }

    /// Values of the nodes that the rows continue, weighted.
    ///
    /// # Shapes
    /// `shares`: `[k, b, gt, t]` to `[k, b, gt, e]`
    pub fn mix(&self, layer: usize, shares: Tensor<4>) -> Tensor<4> {
        let rows = self.nodes.len();
        let out = self
            .to_nodes(shares)
            .matmul(self.in_window(&self.layers[layer].1));
        self.to_rows(out, rows)
    }

    /// The window's nodes of a tensor whose axis 1 is nodes.
    fn in_window(&self, by_node: &Tensor<4>) -> Tensor<4> {
        match self.window.len() {
            all if all == self.len() => by_node.clone(),
            few => by_node.clone().narrow(1, self.window.start, few),
        }
    }

    /// `[k, b, gt, x]` to `[k, nodes, cap * gt, x]`, the nodes those of the window
    fn to_nodes(&self, by_row: Tensor<4>) -> Tensor<4> {
        let [k, rows, gt, x] = by_row.dims();
        let nodes = self.window.len();
        match &self.gather {
            None if rows == nodes => by_row,
            None => by_row.reshape([k, nodes, rows / nodes * gt, x]),
            Some(Gather { to_nodes, cap, .. }) => {
                by_row
                    .select(1, to_nodes.clone())
                    .reshape([k, nodes, cap * gt, x])
            }
        }
    }

    /// `[k, nodes, cap * gt, x]` to `[k, b, gt, x]`
    fn to_rows(&self, by_node: Tensor<4>, rows: usize) -> Tensor<4> {
        let [k, nodes, places, x] = by_node.dims();
        match &self.gather {
            None if rows == nodes => by_node,
            None => by_node.reshape([k, rows, nodes * places / rows, x]),
            Some(Gather { to_rows, cap, .. }) => by_node
                .reshape([k, nodes * cap, places / cap, x])
                .select(1, to_rows.clone()),
        }
    }
}

impl Gather {
    fn new(nodes: &[usize], count: usize, device: &Device) -> Option<Gather> {
        let rows = nodes.len();
        if rows.is_multiple_of(count) {
            let cap = rows / count;
            if nodes.iter().enumerate().all(|(row, &node)| node == row / cap) {
                return None;
            }
        }
        let mut rows_of = vec![Vec::new(); count];
        for (row, &node) in nodes.iter().enumerate() {
            rows_of[node].push(row);
        }
        let cap = rows_of.iter().map(Vec::len).max().unwrap_or(1);
        let mut to_nodes = vec![0; count * cap];
        let mut to_rows = vec![0; rows];
        for (node, rows) in rows_of.iter().enumerate() {
            for (place, &row) in rows.iter().enumerate() {
                to_nodes[node * cap + place] = row;
                to_rows[row] = node * cap + place;
            }
        }
        Some(Gather {
            to_nodes: indices(&to_nodes, device),
            to_rows: indices(&to_rows, device),
            cap,
        })
    }
}
