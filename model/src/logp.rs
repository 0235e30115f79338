//! The door for log-probabilities: contexts and tokens in, values out and, with autodiff, their gradient. The logits of a
//! whole batch are never held at once.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};

use crate::cpu;
use crate::dtype::widen;
use crate::llama::Llama;
use crate::tokens::{Padding, Tokens};

/// Logits that are held at once, in numbers.
const LOGITS_AT_ONCE: usize = 1 << 22;

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

/// The same, where [`TokenLogp::entropy_bt`] is differentiable as well: by tensor operations on every device.
///
/// # Panics
/// As [`completion_logp`].
pub fn completion_logp_and_entropy(model: &Llama, pairs: &[(&[u32], &[u32])], temperature: f64) -> TokenLogp {
    assert!(temperature > 0.0, "temperature must be > 0: {temperature}");
    by_tensors_with(model, pairs, temperature, true)
}

/// Whether [`completion_logp`] runs a model in a way of its own (`cpu`), which knows gradient checkpointing, and not by tensor
/// operations.
pub fn is_fused(model: &Llama) -> bool {
    cpu::is_fused(model)
}

/// [`completion_logp`] by tensor operations, whatever the device.
pub(crate) fn by_tensors(model: &Llama, pairs: &[(&[u32], &[u32])], temperature: f64) -> TokenLogp {
    by_tensors_with(model, pairs, temperature, false)
}

fn by_tensors_with(
    model: &Llama,
    pairs: &[(&[u32], &[u32])],
    temperature: f64,
    with_entropy: bool,
) -> TokenLogp {
    let device = model.device();
    let t = pairs.iter().map(|(_, tokens)| tokens.len()).max().unwrap_or(0);
    // The last token predicts nothing that is asked for.
    let fed: Vec<Vec<u32>> = pairs
        .iter()
        .map(|(context, tokens)| [context, &tokens[..tokens.len() - 1]].concat())
        .collect();
    let hidden_bsd = model.forward(&Tokens::new(&fed, Padding::Right, &device), None);
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
    token_logp(model, hidden_btd, targets_bt, temperature, with_entropy)
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
    with_entropy: bool,
) -> TokenLogp {
    let [b, t, d] = hidden_btd.dims();
    let n = b * t;
    let (hidden_nd, targets_n) = (hidden_btd.reshape([n, d]), targets_bt.reshape([n]));
    let chunk = (LOGITS_AT_ONCE / model.config().vocab_size).max(1);
    let (mut logps, mut entropies) = (Vec::new(), Vec::new());
    for from in (0..n).step_by(chunk) {
        let to = n.min(from + chunk);
        let mut logits = widen(model.lm_head(hidden_nd.clone().slice(from..to)));
        if temperature != 1.0 {
            logits = logits / temperature;
        }
        let logp = log_softmax(logits, 1);
        let of = match with_entropy {
            true => logp.clone(),
            false => logp.clone().without_autodiff(),
        };
        entropies.push((of.clone().exp() * of).sum_dim(1).neg());
        let targets = targets_n.clone().slice(from..to).reshape([to - from, 1]);
        logps.push(logp.gather(1, targets));
    }
    let join = |parts: Vec<Tensor<2>>| match parts.len() {
        1 => parts.into_iter().next().expect("there is one part"),
        _ => Tensor::cat(parts, 0),
    };
    TokenLogp {
        logp_bt: join(logps).reshape([b, t]),
        entropy_bt: join(entropies).reshape([b, t]),
    }
}
