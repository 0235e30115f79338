//! What runs a network without gradients, whichever way: the questions and orders that the processor's code
//! ([`crate::cpu`]) and the tensor operations ([`crate::tensors`]) answer alike.
//!
//! A cache knows the network that made it, and lanes know their trunk: neither can meet another's.
//!
//! Axes: `b` rows, `d` features, `v` vocabulary.

use std::fmt::Debug;
use std::sync::Arc;

use burn::tensor::Tensor;

/// A network laid out for one way of running it.
pub(crate) trait Runtime: Debug + Send + Sync {
    /// Bytes that a row holds of its own for `tokens` tokens, at most.
    fn row_bytes(&self, tokens: usize) -> usize;

    /// An empty cache for `rows` rows.
    fn cache(self: Arc<Self>, rows: usize) -> Box<dyn KvCache>;

    /// `[b, d]`: states at the last tokens of texts, none empty, run alone.
    fn read(self: Arc<Self>, texts: &[&[u32]]) -> Tensor<2>;

    /// Logits of states `[b, d]`.
    fn logits(&self, states_bd: Tensor<2>) -> Logits;
}

/// Logits of some rows, where they were computed.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // made once a step, and taken apart at once
pub enum Logits {
    /// On the host, row by row: `b · v` of them.
    Host(Vec<f32>),
    /// On a device: `[b, v]`.
    Device(Tensor<2>),
}

/// Keys and values of the rows of a batch.
pub trait KvCache: Debug + Send + Sync {
    /// Number of rows, `b`.
    fn rows(&self) -> usize;

    /// Bytes of keys and values held; what rows share counts once.
    fn bytes(&self) -> usize;

    /// New rows: row `r` continues row `parents[r]` of this cache, with nothing of its own yet. No key and no value is
    /// copied, however many rows continue one; this cache stays usable.
    ///
    /// # Panics
    /// `parents` is empty or names a row that does not exist.
    fn fork(&self, parents: &[usize]) -> Box<dyn KvCache>;

    /// Appends `tokens[r]`, none empty, to row `r`: the states after the final norm at each row's last token.
    ///
    /// # Shapes
    /// `[b, d]`
    fn advance(&mut self, tokens: &[&[u32]]) -> Tensor<2>;

    /// Log-probabilities of `tokens[r]`, none empty, in row `r`, whose last state is given: `log softmax(logits /
    /// temperature)`. The rows then hold all their tokens but the last.
    ///
    /// # Shapes
    /// `states_bd`: `[b, d]`
    fn score(&mut self, states_bd: Tensor<2>, tokens: &[&[u32]], temperature: f64) -> Vec<Vec<f32>>;

    /// Lanes below this cache, none of them taken: a row may begin at each of `parents`, in any order, as
    /// [`RowSource::Trunk`] of its place there.
    ///
    /// # Panics
    /// `parents` is empty or names a row that does not exist.
    fn lanes(&self, parents: &[usize]) -> Box<dyn Lanes>;
}

/// A batch below a trunk, whose rows begin and end one by one.
pub trait Lanes: Debug + Send {
    /// Whether rows may come in any order, and several may continue one, without keys and values being copied. Where
    /// they may not, every row keeps its lane until it has ended.
    fn can_reorder(&self) -> bool;

    /// The batch becomes one row for each source; with none of them, all lanes are free again.
    ///
    /// Unless [`Lanes::can_reorder`], either every `Row(r)` stands at place `r` of as many rows as before, or no row
    /// begins and each goes on at most once.
    ///
    /// # Panics
    /// A row does not exist, or rows come in an order that they cannot.
    fn arrange(&mut self, sources: &[RowSource]);

    /// Appends a token to each row: the states after the final norm there.
    ///
    /// # Shapes
    /// `[b, d]`
    ///
    /// # Panics
    /// There are not as many tokens as rows, or none.
    fn step(&mut self, tokens: &[u32]) -> Tensor<2>;

    /// Bytes of keys and values that rows and trunk hold; what they share counts once.
    fn bytes(&self) -> usize;
}

/// What a row of a new batch continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowSource {
    /// A row of the batch so far.
    Row(usize),
    /// A row of the trunk: it begins.
    Trunk(usize),
}
