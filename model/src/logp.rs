//! The door for log-probabilities: contexts and tokens in, values out and, with autodiff, their gradient. The logits of a
//! whole batch are never held at once.

use burn::tensor::{Int, Tensor, TensorData};

use crate::config::ModelConfig;
use crate::limits::Limits;
use crate::llama::Llama;
use crate::tokens::{Padding, Tokens};
use crate::{cpu, head};

/// Log-probabilities of tokens and the entropies of the distributions they came from.
#[derive(Debug, Clone)]
pub struct TokenLogp {
    /// `[b, t]`: log-probability of each token; differentiable.
    pub logp_bt: Tensor<2>,
    /// `[b, t]`: entropy of the distribution, in nats; carries no gradient.
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

/// Whether [`completion_logp`] with gradients keeps the scores of a layer's attention where it runs by tensor operations: those of `rows`
/// texts of `length` tokens. Beyond a few million they are computed again on the way back.
pub fn keeps_scores(config: &ModelConfig, rows: usize, length: usize) -> bool {
    Limits::USUAL.keep_scores(config.num_attention_heads, rows, length)
}

/// [`completion_logp`] by tensor operations, whatever the device.
pub(crate) fn by_tensors(model: &Llama, pairs: &[(&[u32], &[u32])], temperature: f64) -> TokenLogp {
    by_tensors_within(model, pairs, temperature, &Limits::USUAL)
}

fn by_tensors_within(
    model: &Llama,
    pairs: &[(&[u32], &[u32])],
    temperature: f64,
    limits: &Limits,
) -> TokenLogp {
    let device = model.device();
    let t = pairs.iter().map(|(_, tokens)| tokens.len()).max().unwrap_or(0);
    // The last token predicts nothing that is asked for.
    let fed: Vec<Vec<u32>> = pairs
        .iter()
        .map(|(context, tokens)| [context, &tokens[..tokens.len() - 1]].concat())
        .collect();
    let hidden_bsd = model.forward_within(&Tokens::new(&fed, Padding::Right, &device), limits);
    let [b, s, d] = hidden_bsd.dims();
    let mut picks = Vec::with_capacity(b * t);
    let mut targets = Vec::with_capacity(b * t);
    for (row, (context, tokens)) in pairs.iter().enumerate() {
        for at in 0..t {
            let within = at.min(tokens.len() - 1);
            picks.push((row * s + context.len() - 1 + within) as i64);
            targets.push(i64::from(tokens[within]));
        }
    }
    let inner = device.inner();
    let picks = Tensor::<1, Int>::from_data(TensorData::new(picks, [b * t]), &inner);
    let targets_bt = Tensor::<2, Int>::from_data(TensorData::new(targets, [b, t]), &inner);
    let (picks, targets_bt) = match hidden_bsd.is_autodiff() {
        true => (picks.autodiff(), targets_bt.autodiff()),
        false => (picks, targets_bt),
    };
    let hidden_btd = hidden_bsd.reshape([b * s, d]).select(0, picks).reshape([b, t, d]);
    token_logp_within(model, hidden_btd, targets_bt, temperature, limits)
}

/// Log-probabilities of `targets_bt` under the distributions that the hidden states predict, at a temperature. The state
/// at column `t` predicts the target at column `t`: shifting by one is the caller's.
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
    token_logp_within(model, hidden_btd, targets_bt, temperature, &Limits::USUAL)
}

fn token_logp_within(
    model: &Llama,
    hidden_btd: Tensor<3>,
    targets_bt: Tensor<2, Int>,
    temperature: f64,
    limits: &Limits,
) -> TokenLogp {
    let [b, t, d] = hidden_btd.dims();
    let n = b * t;
    let (hidden_nd, targets) = (hidden_btd.reshape([n, d]), targets_bt.reshape([n, 1]));
    let scored = head::score(model.head(), hidden_nd, targets, temperature, limits);
    TokenLogp {
        logp_bt: scored.logp.reshape([b, t]),
        entropy_bt: scored.entropy.reshape([b, t]),
    }
}

#[cfg(test)]
mod tests;
