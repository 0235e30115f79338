//! Log-probabilities of given tokens, without the logits of a whole batch at once.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};

use crate::dtype::widen;
use crate::llama::Llama;

/// Logits that are held at once, in numbers.
const LOGITS_AT_ONCE: usize = 1 << 22;

/// Log-probabilities of tokens and the entropies of the distributions they came from.
#[derive(Debug, Clone)]
pub struct TokenLogp {
    /// `[b, t]`: log-probability of each target; differentiable.
    pub logp_bt: Tensor<2>,
    /// `[b, t]`: entropy of the distribution, in nats; carries no gradient.
    pub entropy_bt: Tensor<2>,
}

/// As [`TokenLogp`], for tokens picked out of a batch.
#[derive(Debug, Clone)]
pub struct FlatLogp {
    /// `[n]`: log-probability of each target; differentiable.
    pub logp_n: Tensor<1>,
    /// `[n]`: entropy of the distribution, in nats; carries no gradient.
    pub entropy_n: Tensor<1>,
}

/// Log-probabilities of `targets_bt` under the distributions that the hidden states predict, at a temperature:
/// `log softmax(logits / temperature)`. The state at column `t` predicts the target at column `t`:
/// shifting by one is the caller's.
///
/// # Shapes
/// * `hidden_btd`: `[b, t, d]`, after the final norm
/// * `targets_bt`: `[b, t]`
///
/// # Panics
/// `temperature` is not positive.
pub fn token_logp(
    model: &Llama,
    hidden_btd: Tensor<3>,
    targets_bt: Tensor<2, Int>,
    temperature: f64,
) -> TokenLogp {
    let [b, t, d] = hidden_btd.dims();
    let flat = flat_logp(
        model,
        hidden_btd.reshape([b * t, d]),
        targets_bt.reshape([b * t]),
        temperature,
    );
    TokenLogp {
        logp_bt: flat.logp_n.reshape([b, t]),
        entropy_bt: flat.entropy_n.reshape([b, t]),
    }
}

/// [`token_logp`] for chosen positions: in training, send only those in that count
/// (`hidden.reshape([b * t, d]).select(0, positions)`), since the head is most of a small model's work.
///
/// # Shapes
/// * `hidden_nd`: `[n, d]`, after the final norm
/// * `targets_n`: `[n]`
///
/// # Panics
/// `temperature` is not positive.
pub fn flat_logp(
    model: &Llama,
    hidden_nd: Tensor<2>,
    targets_n: Tensor<1, Int>,
    temperature: f64,
) -> FlatLogp {
    assert!(temperature > 0.0, "temperature must be > 0: {temperature}");
    let n = hidden_nd.dims()[0];
    if n == 0 {
        let nothing = Tensor::zeros([0], &hidden_nd.device());
        return FlatLogp {
            logp_n: nothing.clone(),
            entropy_n: nothing,
        };
    }
    let chunk = (LOGITS_AT_ONCE / model.config().vocab_size).max(1);
    let (mut logps, mut entropies) = (Vec::new(), Vec::new());
    for from in (0..n).step_by(chunk) {
        let to = n.min(from + chunk);
        let mut logits = widen(model.lm_head(hidden_nd.clone().slice(from..to)));
        if temperature != 1.0 {
            logits = logits / temperature;
        }
        let logp = log_softmax(logits, 1);
        let detached = logp.clone().without_autodiff();
        entropies.push((detached.clone().exp() * detached).sum_dim(1).neg());
        let targets = targets_n.clone().slice(from..to).reshape([to - from, 1]);
        logps.push(logp.gather(1, targets));
    }
    let join = |parts: Vec<Tensor<2>>| match parts.len() {
        1 => parts.into_iter().next().expect("there is one part"),
        _ => Tensor::cat(parts, 0),
    };
    FlatLogp {
        logp_n: join(logps).reshape([n]),
        entropy_n: join(entropies).reshape([n]),
    }
}
