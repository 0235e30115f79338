//! The door for log-probabilities: contexts and tokens in, values out and, with autodiff, their gradient. The logits of a
//! whole batch are never held at once.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};

use crate::config::ModelConfig;
use crate::dtype::widen;
use crate::limits::Limits;
use crate::llama::Llama;
use crate::tokens::{Padding, Tokens, fed};
use crate::{cpu, head};

/// Log-probabilities of tokens and the entropies of the distributions they came from.
#[derive(Debug, Clone)]
pub struct TokenLogp {
    /// `[b, t]`: log-probability of each token; differentiable.
    pub logp_bt: Tensor<2>,
    /// `[b, t]`: entropy of the distribution, in nats; carries no gradient where that was not asked for.
    pub entropy_bt: Tensor<2>,
}

/// Log-probabilities of tokens behind their contexts, neither empty: `log softmax(logits / temperature)`.
///
/// # Shapes
/// - `pairs`: `b` of (context, tokens)
/// - returns `[b, t]`, `t` the longest tokens; cells past the end of a row's tokens hold anything finite
///
/// # Panics
/// `temperature` is not positive, there are no pairs, or a context or tokens are empty.
pub fn completion_logp(model: &Llama, pairs: &[(&[u32], &[u32])], temperature: f64) -> TokenLogp {
    assert!(temperature > 0.0, "temperature must be > 0: {temperature}");
    match cpu::completion_logp(model, pairs, temperature) {
        Some((logp_bt, entropy_bt)) => TokenLogp { logp_bt, entropy_bt },
        None => by_tensors(model, pairs, temperature),
    }
}

/// The same, where [`TokenLogp::entropy_bt`] is differentiable as well: by tensor operations on every device, which then keep the logits.
///
/// # Panics
/// As [`completion_logp`].
pub fn completion_logp_and_entropy(model: &Llama, pairs: &[(&[u32], &[u32])], temperature: f64) -> TokenLogp {
    assert!(temperature > 0.0, "temperature must be > 0: {temperature}");
    by_tensors_within(model, pairs, temperature, &Limits::USUAL, true)
}

/// Whether [`completion_logp`] runs a model in a way of its own (`cpu`), which runs what texts share once and pads nothing, and not by tensor
/// operations.
pub fn is_fused(model: &Llama) -> bool {
    cpu::is_fused(model)
}

/// Whether [`completion_logp`] with gradients keeps the scores of a layer's attention where it runs by tensor operations: those of `rows`
/// texts of `length` tokens. Beyond a few million they are computed again on the way back.
pub fn keeps_scores(config: &ModelConfig, rows: usize, length: usize) -> bool {
    Limits::USUAL.keep_scores(config.num_attention_heads, rows, length)
}

/// Tokens that [`completion_logp`] runs for some pairs: what a row is filled up with counts, too, and what several rows begin with counts
/// once where it is run once.
pub fn tokens_run(model: &Llama, pairs: &[(&[u32], &[u32])]) -> usize {
    let texts = fed(pairs);
    match is_fused(model) {
        true => cpu::tokens_run(&texts),
        false => alike(&texts).map(|rows| rows.len() * texts[rows[0]].len()).sum(),
    }
}

/// The rows that are run together, the longest first: filled up to their longest they are at most a tenth more than their tokens.
fn alike(texts: &[Vec<u32>]) -> impl Iterator<Item = Vec<usize>> {
    let length = |row: usize| texts[row].len();
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&row| std::cmp::Reverse(length(row)));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut tokens = 0;
    for row in order {
        if let Some(batch) = batches.last_mut()
            && 10 * (batch.len() + 1) * length(batch[0]) <= 11 * (tokens + length(row))
        {
            batch.push(row);
            tokens += length(row);
        } else {
            batches.push(vec![row]);
            tokens = length(row);
        }
    }
    batches.into_iter()
}

/// [`completion_logp`] by tensor operations, whatever the device. Rows of like length are run together, so that little is padding, and the
/// head sees no padding at all.
pub(crate) fn by_tensors(model: &Llama, pairs: &[(&[u32], &[u32])], temperature: f64) -> TokenLogp {
    by_tensors_within(model, pairs, temperature, &Limits::USUAL, false)
}

fn by_tensors_within(
    model: &Llama,
    pairs: &[(&[u32], &[u32])],
    temperature: f64,
    limits: &Limits,
    with_entropy: bool,
) -> TokenLogp {
    let device = model.device();
    let t = pairs.iter().map(|(_, tokens)| tokens.len()).max().unwrap_or(0);
    let texts = fed(pairs);
    let mut states = Vec::new();
    let mut targets = Vec::new();
    // Where each row's tokens stand among all that are asked for.
    let mut first = vec![0; pairs.len()];
    for rows in alike(&texts) {
        let batch: Vec<&[u32]> = rows.iter().map(|&row| texts[row].as_slice()).collect();
        let hidden_bsd = model.forward_within(&Tokens::new(&batch, Padding::Right, &device), limits);
        let [b, s, d] = hidden_bsd.dims();
        let mut picks = Vec::new();
        for (at, &row) in rows.iter().enumerate() {
            let (context, tokens) = pairs[row];
            first[row] = targets.len();
            targets.extend(tokens.iter().map(|&token| i64::from(token)));
            let start = at * s + context.len() - 1;
            picks.extend((start..start + tokens.len()).map(|place| place as i64));
        }
        let picks = ints(picks, &hidden_bsd);
        states.push(hidden_bsd.reshape([b * s, d]).select(0, picks));
    }
    let hidden_nd = joined(states);
    let [n, d] = hidden_nd.dims();
    let targets_bt = ints(targets, &hidden_nd).reshape([1, n]);
    let found = token_logp_within(
        model,
        hidden_nd.reshape([1, n, d]),
        targets_bt,
        temperature,
        limits,
        with_entropy,
    );
    let mut places = Vec::with_capacity(pairs.len() * t);
    for (first, (_, tokens)) in first.iter().zip(pairs) {
        places.extend((0..t).map(|at| (first + at.min(tokens.len() - 1)) as i64));
    }
    let shape = [pairs.len(), t];
    let laid_out = |of_1n: Tensor<2>| {
        let places = ints(places.clone(), &of_1n);
        of_1n.reshape([n]).select(0, places).reshape(shape)
    };
    TokenLogp {
        logp_bt: laid_out(found.logp_bt),
        entropy_bt: laid_out(found.entropy_bt),
    }
}

/// Numbers to index `like` with.
fn ints<const D: usize>(values: Vec<i64>, like: &Tensor<D>) -> Tensor<1, Int> {
    let count = values.len();
    let made = Tensor::<1, Int>::from_data(TensorData::new(values, [count]), &like.device().inner());
    match like.is_autodiff() {
        true => made.autodiff(),
        false => made,
    }
}

fn joined(parts: Vec<Tensor<2>>) -> Tensor<2> {
    match parts.len() {
        1 => parts.into_iter().next().expect("there is one part"),
        _ => Tensor::cat(parts, 0),
    }
}

/// Log-probabilities of `targets_bt` under the distributions that the hidden states predict, at a temperature. The state
/// at column `t` predicts the target at column `t`: shifting by one is the caller's. `with_entropy`: the entropies are differentiable, too.
///
/// # Shapes
/// * `hidden_btd`: `[b, t, d]`, after the final norm, at least one of them
/// * `targets_bt`: `[b, t]`
///
/// # Panics
/// `temperature` is not positive.
pub(crate) fn token_logp(
    model: &Llama,
    hidden_btd: Tensor<3>,
    targets_bt: Tensor<2, Int>,
    temperature: f64,
) -> TokenLogp {
    token_logp_within(model, hidden_btd, targets_bt, temperature, &Limits::USUAL, false)
}

fn token_logp_within(
    model: &Llama,
    hidden_btd: Tensor<3>,
    targets_bt: Tensor<2, Int>,
    temperature: f64,
    limits: &Limits,
    with_entropy: bool,
) -> TokenLogp {
    let [b, t, d] = hidden_btd.dims();
    let n = b * t;
    let (hidden_nd, targets) = (hidden_btd.reshape([n, d]), targets_bt.reshape([n, 1]));
    if with_entropy {
        let logits = widen(model.lm_head(hidden_nd)) / temperature;
        let logp = log_softmax(logits, 1);
        return TokenLogp {
            logp_bt: logp.clone().gather(1, targets).reshape([b, t]),
            entropy_bt: (logp.clone().exp() * logp).sum_dim(1).neg().reshape([b, t]),
        };
    }
    let scored = head::score(model.head(), hidden_nd, targets, temperature, limits);
    TokenLogp {
        logp_bt: scored.logp.reshape([b, t]),
        entropy_bt: scored.entropy.reshape([b, t]),
    }
}

#[cfg(test)]
mod tests;
