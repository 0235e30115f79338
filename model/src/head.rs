//! The head by tensor operations: logits, and log-probabilities of given tokens, whose logits are not kept for the way back.
//!
//! Axes: `n` tokens, `d` features, `v` vocabulary.

use std::ops::Range;

use burn::tensor::activation::log_softmax;
use burn::tensor::module::linear;
use burn::tensor::{IndexingUpdateOp, Int, Tensor};

use crate::attention::capped;
use crate::config::Scales;
use crate::device::{Found, Input, Place, with_way_back};
use crate::dtype::{cast, widen};
use crate::limits::Limits;

/// The fewest columns of a part of the vocabulary.
const COLUMNS: usize = 512;

/// What makes logits of hidden states.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// `[d, v]`, or where the embedding is the head that, `[v, d]`.
    pub weight: Tensor<2>,
    pub is_embedding: bool,
    pub scales: Scales,
}

impl Head {
    /// Logits of hidden states, divided and capped where the family's are; then they are in f32 at least.
    ///
    /// # Shapes
    /// `[.., d]` to `[.., v]`
    pub fn logits<const D: usize>(&self, hidden: Tensor<D>) -> Tensor<D> {
        let weight = match self.is_embedding {
            false => self.weight.clone(),
            true => self.weight.clone().transpose(),
        };
        let logits = linear(hidden, weight, None);
        let logits = match self.scales.logits_scaling {
            1.0 => logits,
            scaling => widen(logits) / scaling,
        };
        match self.scales.final_logit_softcapping {
            None => logits,
            cap => capped(widen(logits), cap),
        }
    }

    fn vocabulary(&self) -> usize {
        self.weight.dims()[usize::from(!self.is_embedding)]
    }

    /// Where the weight has what makes the logits of some tokens.
    fn place_of(&self, tokens: &Range<usize>) -> [Range<usize>; 2] {
        let [rows, columns] = self.weight.dims();
        match self.is_embedding {
            true => [tokens.clone(), 0..columns],
            false => [0..rows, tokens.clone()],
        }
    }
}

/// Logits in f32 at least, divided by the temperature.
fn tempered(logits: Tensor<2>, temperature: f64) -> Tensor<2> {
    let logits = widen(logits);
    match temperature {
        1.0 => logits,
        temperature => logits / temperature,
    }
}

/// What is known of some tokens, each `[n, 1]`.
pub(crate) struct Scored {
    /// Log-probabilities.
    pub logp: Tensor<2>,
    /// In nats; without gradient.
    pub entropy: Tensor<2>,
}

/// Log-probabilities `log softmax(logits / temperature)` of `targets`, and entropies. Where logits beyond the limit would be kept for a
/// gradient, they are computed again on the way back.
///
/// # Shapes
/// - `hidden`: `[n, d]`, at least one
/// - `targets`: `[n, 1]`, below `v`
pub(crate) fn score(
    head: Head,
    hidden: Tensor<2>,
    targets: Tensor<2, Int>,
    temperature: f64,
    limits: &Limits,
) -> Scored {
    let is_large = hidden.dims()[0].saturating_mul(head.vocabulary()) > limits.logits;
    if !is_large || !hidden.is_autodiff() {
        let (scored, _) = by_tokens(&head, hidden, targets, temperature, limits, false);
        return scored;
    }
    let inputs = [Input::from(&hidden), Input::from(&head.weight)];
    let places = [inputs[0].place(), inputs[1].place()];
    let (hidden, targets) = (hidden.inner(), targets.inner());
    let head = Head {
        weight: head.weight.inner(),
        ..head
    };
    let (scored, log_sums) = by_tokens(&head, hidden.clone(), targets.clone(), temperature, limits, true);
    let again = Again {
        head,
        hidden,
        targets,
        log_sums: log_sums.expect("they were asked for"),
        temperature,
        columns: limits.logits_again,
    };
    Scored {
        logp: with_way_back(scored.logp, inputs, move |grad, found| {
            again.way_back(grad, places, found)
        }),
        entropy: scored.entropy,
    }
}

/// The same, some tokens at a time, and where they are asked for the logs of the sums of the exponentials, `[n, 1]`.
fn by_tokens(
    head: &Head,
    hidden: Tensor<2>,
    targets: Tensor<2, Int>,
    temperature: f64,
    limits: &Limits,
    with_log_sums: bool,
) -> (Scored, Option<Tensor<2>>) {
    let n = hidden.dims()[0];
    let chunk = (limits.logits / head.vocabulary()).max(1);
    let (mut logps, mut entropies, mut log_sums) = (Vec::new(), Vec::new(), Vec::new());
    for from in (0..n).step_by(chunk) {
        let to = n.min(from + chunk);
        let logits = tempered(head.logits(hidden.clone().slice(from..to)), temperature);
        let targets = targets.clone().slice(from..to);
        let of_targets = with_log_sums.then(|| logits.clone().gather(1, targets.clone()));
        let logp = log_softmax(logits, 1);
        let detached = logp.clone().without_autodiff();
        entropies.push((detached.clone().exp() * detached).sum_dim(1).neg());
        let logp = logp.gather(1, targets);
        log_sums.extend(of_targets.map(|logits| logits - logp.clone()));
        logps.push(logp);
    }
    let join = |parts: Vec<Tensor<2>>| match parts.len() {
        1 => parts.into_iter().next().expect("there is one part"),
        _ => Tensor::cat(parts, 0),
    };
    let scored = Scored {
        logp: join(logps),
        entropy: join(entropies),
    };
    (scored, with_log_sums.then(|| join(log_sums)))
}

/// What the way back computes the logits from, nothing of it with autodiff.
struct Again {
    head: Head,
    hidden: Tensor<2>,
    targets: Tensor<2, Int>,
    log_sums: Tensor<2>,
    temperature: f64,
    /// Logits that are held at once.
    columns: usize,
}

impl Again {
    /// The gradients of hidden states and weight, given those of the log-probabilities. A part of the vocabulary at a time: each part of
    /// the weight's gradient is then made once, and where it belongs.
    fn way_back(self, grad: Tensor<2>, places: [Option<Place>; 2], found: &mut Found) {
        let (n, v) = (self.hidden.dims()[0], self.head.vocabulary());
        let columns = (self.columns / n).max(COLUMNS).min(v);
        let dtype = self.hidden.dtype();
        let mut of_hidden = None;
        let mut of_weight = places[1].map(|_| self.head.weight.zeros_like());
        for from in (0..v).step_by(columns) {
            let tokens = from..v.min(from + columns);
            let [part_of_hidden, part_of_weight] =
                self.part(&grad, tokens.clone(), places.map(|place| place.is_some()));
            if let Some(part) = part_of_hidden.map(widen) {
                of_hidden = Some(match of_hidden {
                    None => part,
                    Some(sum) => sum + part,
                });
            }
            of_weight = of_weight
                .zip(part_of_weight)
                .map(|(all, part)| all.slice_assign(self.head.place_of(&tokens), part));
        }
        if let (Some(place), Some(grad)) = (places[0], of_hidden) {
            found.put(place, cast(grad, dtype));
        }
        if let (Some(place), Some(grad)) = (places[1], of_weight) {
            found.put(place, grad);
        }
    }

    /// What comes by the logits of some tokens, through a graph of their own: `∂/∂logits = grad · (onehot − softmax)`.
    fn part(&self, grad: &Tensor<2>, tokens: Range<usize>, wanted: [bool; 2]) -> [Option<Tensor<2>>; 2] {
        let leaf = |tensor: Tensor<2>, is_wanted: bool| {
            let tensor = tensor.autodiff();
            if is_wanted { tensor.require_grad() } else { tensor }
        };
        let hidden = leaf(self.hidden.clone(), wanted[0]);
        let weight = self.head.weight.clone().slice(self.head.place_of(&tokens));
        let head = Head {
            weight: leaf(weight, wanted[1]),
            ..self.head.clone()
        };
        let logits = tempered(head.logits(hidden.clone()), self.temperature);
        let shares = (logits.clone().inner() - self.log_sums.clone()).exp();
        let (first, last) = (tokens.start as i64, tokens.end as i64 - 1);
        let is_elsewhere = self
            .targets
            .clone()
            .lower_scalar(first)
            .bool_or(self.targets.clone().greater_scalar(last));
        let of_targets = grad.clone().mask_fill(is_elsewhere, 0.0);
        let columns = self.targets.clone().clamp(first, last) - first;
        let of_logits = (shares * grad.clone().neg()).scatter(1, columns, of_targets, IndexingUpdateOp::Add);
        let mut grads = (logits * of_logits.autodiff()).sum().backward();
        [
            hidden.grad_remove(&mut grads),
            head.weight.grad_remove(&mut grads),
        ]
    }
}
