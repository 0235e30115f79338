//! Attention over whole texts by tensor operations, without a cache: with all scores at once where these are few, else by blocks of
//! queries, whose scores are computed again on the way back.
//!
//! Axes: `k` key/value heads, `b` rows, `g` query heads a key/value head, `t` tokens, `e` features of a head, `s` tokens that a block sees.

use std::ops::Range;

use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, Int, Tensor};

use crate::attention::capped;
use crate::cache::{HIDDEN, causal_bias, padding_bias};
use crate::config::ModelConfig;
use crate::device::{Found, Input, Place, with_way_back};
use crate::dtype::{cast, widen};
use crate::limits::Limits;
use crate::tokens::Tokens;

/// Attention in all layers of a forward pass: what is hidden from which token.
#[derive(Debug, Clone)]
pub(crate) struct Attend {
    groups: usize,
    width: usize,
    cap: Option<f64>,
    /// Of those layers that have one.
    window: Option<usize>,
    /// `[1, b, 1, t]`; where there is padding before a token.
    padding: Option<Tensor<4>>,
    way: Way,
}

#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // a handful in a pass
enum Way {
    /// With biases `[1, 1, g·t, t]`, the second of layers with a window where it hides something.
    Whole(Tensor<4>, Option<Tensor<4>>),
    /// So many scores at a time.
    Blocks(usize),
}

impl Attend {
    pub fn new(config: &ModelConfig, tokens: &Tokens, device: &Device, limits: &Limits) -> Self {
        let (rows, width, groups) = (tokens.rows(), tokens.width(), config.groups());
        let window = config.layers.sliding_window().filter(|&window| window < width);
        let bias = |window| causal_bias(groups, width, 0, window, device);
        Self {
            groups,
            width,
            cap: config.scales.attn_logit_softcapping,
            window,
            padding: padding_bias(tokens, device),
            way: match limits.keep_scores(config.num_attention_heads, rows, width) {
                true => Way::Whole(bias(None), window.map(|window| bias(Some(window)))),
                false => Way::Blocks(limits.scores),
            },
        }
    }

    /// What the queries take of the values, in a layer that has the model's window or none.
    ///
    /// # Shapes
    /// - `queries`: `[k, b, g·t, e]`, scaled; so is the result
    /// - `keys`, `values`: `[k, b, t, e]`
    pub fn mix(
        &self,
        is_windowed: bool,
        queries: Tensor<4>,
        keys: Tensor<4>,
        values: Tensor<4>,
    ) -> Tensor<4> {
        let blocks = match &self.way {
            Way::Whole(causal, windowed) => {
                let bias = windowed.as_ref().filter(|_| is_windowed).unwrap_or(causal);
                return self.block(queries, keys, values, bias.clone(), self.padding.clone());
            }
            &Way::Blocks(scores) => Blocks::new(self.clone(), is_windowed, scores, &queries),
        };
        if !queries.is_autodiff() {
            return blocks.mix(queries, keys, values);
        }
        let inputs = [&queries, &keys, &values].map(Input::from);
        let places = inputs.each_ref().map(Input::place);
        let [q, k, v] = [queries, keys, values].map(Tensor::inner);
        let mixed = blocks.mix(q.clone(), k.clone(), v.clone());
        with_way_back(mixed, inputs, move |grad, found| {
            blocks.way_back([q, k, v], grad, places, found)
        })
    }

    /// `softmax(cap(q kᵀ) + bias) v`
    fn block(
        &self,
        queries: Tensor<4>,
        keys: Tensor<4>,
        values: Tensor<4>,
        bias: Tensor<4>,
        padding: Option<Tensor<4>>,
    ) -> Tensor<4> {
        let mut scores = capped(widen(queries.matmul(keys.swap_dims(2, 3))), self.cap) + bias;
        if let Some(padding) = padding {
            scores = scores + padding;
        }
        cast(softmax(scores, 3), values.dtype()).matmul(values)
    }
}

/// A layer's attention by blocks of queries.
struct Blocks {
    attend: Attend,
    window: Option<usize>,
    /// Queries of a block.
    rows: usize,
}

impl Blocks {
    /// Of so many scores at once.
    fn new(attend: Attend, is_windowed: bool, scores: usize, queries: &Tensor<4>) -> Self {
        let [k, b, _, _] = queries.dims();
        let window = attend.window.filter(|_| is_windowed);
        // With a window, a block of as many queries sees twice as many tokens.
        let seen = window.map_or(attend.width, |window| attend.width.min(2 * window));
        let rows = (scores / (k * b * attend.groups * seen)).max(1);
        Self {
            rows: window.map_or(rows, |window| rows.min(window)),
            window,
            attend,
        }
    }

    /// The queries of each block, and the tokens that they see.
    fn blocks(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> + use<> {
        let (width, rows, window) = (self.attend.width, self.rows, self.window);
        (0..width).step_by(rows).map(move |from| {
            let to = width.min(from + rows);
            let first = window.map_or(0, |window| (from + 1).saturating_sub(window));
            (from..to, first..to)
        })
    }

    fn mix(&self, queries: Tensor<4>, keys: Tensor<4>, values: Tensor<4>) -> Tensor<4> {
        let [k, b, _, e] = queries.dims();
        let (g, t) = (self.attend.groups, self.attend.width);
        let parts = self.blocks().map(|(of, seen)| {
            let keys = tokens(&keys, &seen);
            let values = tokens(&values, &seen);
            let mixed = self.block(self.queries(&queries, &of), keys, values, (&of, &seen));
            mixed.reshape([k, b, g, of.len(), e])
        });
        Tensor::cat(parts.collect::<Vec<Tensor<5>>>(), 3).reshape([k, b, g * t, e])
    }

    /// The gradients of queries, keys and values, given that of what they gave: each block through a graph of its own.
    fn way_back(self, qkv: [Tensor<4>; 3], grad: Tensor<4>, places: [Option<Place>; 3], found: &mut Found) {
        let [queries, keys, values] = qkv;
        let [k, b, _, e] = queries.dims();
        let (g, t) = (self.attend.groups, self.attend.width);
        // Sums over blocks, in f32 at least.
        let mut sums = [&keys, &values].map(|tensor| widen(tensor.clone()).zeros_like());
        let mut of_queries = Vec::new();
        for (of, seen) in self.blocks() {
            let leaves = [
                self.queries(&queries, &of),
                tokens(&keys, &seen),
                tokens(&values, &seen),
            ];
            let [q, k_seen, v_seen] = leaves.map(|leaf| leaf.autodiff().require_grad());
            let mixed = self.block(q.clone(), k_seen.clone(), v_seen.clone(), (&of, &seen));
            let part = self.queries(&grad, &of).autodiff();
            let mut grads = (mixed * part).sum().backward();
            let mut take = |leaf: Tensor<4>| leaf.grad_remove(&mut grads).expect("it is in the graph");
            of_queries.push(take(q).reshape([k, b, g, of.len(), e]));
            let parts = [take(k_seen), take(v_seen)];
            sums = added(sums, parts, &seen);
        }
        let of_queries = Tensor::cat(of_queries, 3).reshape([k, b, g * t, e]);
        let [of_keys, of_values] = sums.map(|sum| cast(sum, keys.dtype()));
        for (place, grad) in places.into_iter().zip([of_queries, of_keys, of_values]) {
            if let Some(place) = place {
                found.put(place, grad);
            }
        }
    }

    /// Some tokens of `[k, b, g·t, e]`.
    fn queries(&self, all: &Tensor<4>, of: &Range<usize>) -> Tensor<4> {
        let [k, b, _, e] = all.dims();
        let (g, t) = (self.attend.groups, self.attend.width);
        all.clone()
            .reshape([k, b, g, t, e])
            .narrow(3, of.start, of.len())
            .reshape([k, b, g * of.len(), e])
    }

    fn block(
        &self,
        queries: Tensor<4>,
        keys: Tensor<4>,
        values: Tensor<4>,
        (of, seen): (&Range<usize>, &Range<usize>),
    ) -> Tensor<4> {
        let bias = self.bias(of, seen, &queries.device().inner());
        let padding = self.attend.padding.clone();
        let padding = padding.map(|padding| padding.narrow(3, seen.start, seen.len()));
        self.attend.block(queries, keys, values, bias, padding)
    }

    /// `[1, 1, g·t, s]`, made on the device: what [`causal_bias`] is of all tokens.
    fn bias(&self, of: &Range<usize>, seen: &Range<usize>, device: &Device) -> Tensor<4> {
        let shape = [of.len(), seen.len()];
        let count =
            |range: &Range<usize>| Tensor::<1, Int>::arange(range.start as i64..range.end as i64, device);
        let rows: Tensor<2, Int> = count(of).reshape([shape[0], 1]).expand(shape);
        let columns: Tensor<2, Int> = count(seen).reshape([1, shape[1]]).expand(shape);
        let ahead = columns - rows;
        let mut hidden: Tensor<2, Bool> = ahead.clone().greater_scalar(0);
        if let Some(window) = self.window {
            hidden = hidden.bool_or(ahead.lower_equal_scalar(-(window as i64)));
        }
        let bias = Tensor::<2>::zeros(shape, device).mask_fill(hidden, HIDDEN);
        bias.repeat_dim(0, self.attend.groups)
            .reshape([1, 1, self.attend.groups * shape[0], shape[1]])
    }
}

/// Some tokens of `[k, b, t, e]`.
fn tokens(all: &Tensor<4>, of: &Range<usize>) -> Tensor<4> {
    all.clone().narrow(2, of.start, of.len())
}

/// `parts` added to some tokens of `sums`.
fn added(sums: [Tensor<4>; 2], parts: [Tensor<4>; 2], of: &Range<usize>) -> [Tensor<4>; 2] {
    let [k, b, _, e] = sums[0].dims();
    let mut parts = parts.into_iter();
    sums.map(|sum| {
        let part = widen(parts.next().expect("one each"));
        let part = tokens(&sum, of) + part;
        sum.slice_assign([0..k, 0..b, of.clone(), 0..e], part)
    })
}
