//! Logits and a random number in, a token out.
//!
//! Twice the same: [`Rollout::draw`] takes one row on the host, [`Rollout::draw_on_device`] a whole batch where its
//! logits are. Every filter comes down to one least value of the scaled logits `(x - max) / temperature`, and tokens of
//! equal value share their fate.

mod device;
#[cfg(test)]
mod tests;

use std::cell::RefCell;

use gcpo_model::host::exponentials_of;

use super::Rollout;

/// Weights that are added up before the scan looks at single ones.
const BLOCK: usize = 64;

/// A drawn token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// Its id.
    pub token: u32,
    /// `log softmax(logits / temperature)[token]`, over the whole vocabulary: neither penalty nor filter changes it, so
    /// it is what the trainer computes. With `temperature = 0`, of the plain softmax.
    pub logp: f32,
    /// Log-probability under the distribution that was drawn from: penalty, temperature and filters applied, and the
    /// rest made a whole again. With `temperature = 0` there was no choice: 0.
    pub sampling_logp: f32,
}

/// Room that rows of logits are worked on in, kept from one draw to the next.
#[derive(Default)]
struct Scratch {
    penalised: Vec<f32>,
    scaled: Vec<f32>,
    weights: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// How tokens are drawn. The steps apply in the order repetition penalty, temperature, top-k, top-p, min-p, as in
/// transformers; a temperature of 0 takes the most likely token. Tokens that tie at the border of a filter are all kept.
impl Rollout {
    /// The temperature by which log-probabilities are taken (docs/algorithms.md, section 5).
    pub fn logp_temperature(&self) -> f64 {
        if self.temperature > 0.0 {
            self.temperature
        } else {
            1.0
        }
    }

    /// Whether the tokens already seen matter.
    pub fn penalises(&self) -> bool {
        self.repetition_penalty != 1.0
    }

    /// Draws one token by the inverse of the cumulative distribution in order of token id.
    ///
    /// `seen` are the tokens of prompt and completion; they may repeat, and none is looked at unless
    /// [`Rollout::penalises`]. `uniform` is in [0, 1). `None` if no logit is finite or one is NaN or +∞.
    pub fn draw(&self, logits: &[f32], seen: &[u32], uniform: f64) -> Option<Draw> {
        SCRATCH.with_borrow_mut(|scratch| self.draw_in(scratch, logits, seen, uniform))
    }

    fn draw_in(&self, scratch: &mut Scratch, logits: &[f32], seen: &[u32], uniform: f64) -> Option<Draw> {
        let inverse = 1.0 / self.logp_temperature();
        let max = peak(logits)?;
        scratch.weights.resize(logits.len(), 0.0);
        let total = exponentials_of(logits, inverse as f32, max, &mut scratch.weights);
        let logp = |token: usize| log_share(logits[token], max, inverse, total);
        let penalise = self.penalises() && !seen.is_empty();
        if !penalise && self.temperature > 0.0 && !self.filters(logits.len()) {
            let token = pick(&scratch.weights, uniform * total);
            return Some(Draw {
                token: token as u32,
                logp: logp(token),
                sampling_logp: logp(token),
            });
        }
        let (from, top) = if penalise {
            self.penalise(logits, seen, &mut scratch.penalised);
            (scratch.penalised.as_slice(), peak(&scratch.penalised)?)
        } else {
            (logits, max)
        };
        if self.temperature <= 0.0 {
            let token = from.iter().position(|&x| x == top)?;
            return Some(Draw {
                token: token as u32,
                logp: logp(token),
                sampling_logp: 0.0,
            });
        }
        let mut kept = match penalise {
            true => exponentials_of(from, inverse as f32, top, &mut scratch.weights),
            false => total,
        };
        if self.filters(from.len()) {
            let scaled = from.iter().map(|&x| (x - top) * inverse as f32);
            scratch.scaled.clear();
            scratch.scaled.extend(scaled.clone());
            let least = self.least(&mut scratch.scaled, kept);
            for (weight, scaled) in scratch.weights.iter_mut().zip(scaled) {
                *weight = if scaled < least { 0.0 } else { *weight };
            }
            kept = sum(&scratch.weights);
        }
        let token = pick(&scratch.weights, uniform * kept);
        Some(Draw {
            token: token as u32,
            logp: logp(token),
            sampling_logp: log_share(from[token], top, inverse, kept),
        })
    }

    /// Whether one of the filters can rule a token out.
    fn filters(&self, vocab: usize) -> bool {
        self.limits_k(vocab) || self.top_p < 1.0 || self.min_p > 0.0
    }

    fn limits_k(&self, vocab: usize) -> bool {
        self.top_k > 0 && self.top_k < vocab
    }

    /// The logits with the repetition penalty, into `out`. Ids beyond the vocabulary have no logit.
    fn penalise(&self, logits: &[f32], seen: &[u32], out: &mut Vec<f32>) {
        let penalty = self.repetition_penalty as f32;
        out.clear();
        out.extend_from_slice(logits);
        for &token in seen {
            if let Some(&x) = logits.get(token as usize) {
                out[token as usize] = if x > 0.0 { x / penalty } else { x * penalty };
            }
        }
    }

    /// The least scaled logit that top-k, top-p and min-p let pass. `total` is the sum of all weights.
    /// Reorders `scaled` and may drop from it what does not pass.
    fn least(&self, scaled: &mut Vec<f32>, total: f64) -> f32 {
        let down = |a: &f32, b: &f32| b.total_cmp(a);
        let mut least = f32::NEG_INFINITY;
        let mut total = total;
        if self.limits_k(scaled.len()) {
            least = *scaled.select_nth_unstable_by(self.top_k - 1, down).1;
            scaled.retain(|&s| s >= least);
            total = scaled.iter().map(|s| f64::from(s.exp())).sum();
        }
        if self.top_p < 1.0 {
            least = least.max(reaching(scaled, self.top_p * total));
        }
        if self.min_p > 0.0 {
            least = least.max(self.min_p.ln() as f32);
        }
        least
    }
}

/// The greatest value of which, with all above it, the weights reach `goal`. Sorts no more of `scaled` than it takes.
fn reaching(scaled: &mut [f32], goal: f64) -> f32 {
    let down = |a: &f32, b: &f32| b.total_cmp(a);
    let mut mass = 0.0;
    let mut rest = scaled;
    let mut count = BLOCK;
    while !rest.is_empty() {
        if count < rest.len() {
            rest.select_nth_unstable_by(count - 1, down);
        }
        let (first, others) = rest.split_at_mut(count.min(rest.len()));
        first.sort_unstable_by(down);
        for s in first {
            mass += f64::from(s.exp());
            if mass >= goal {
                return *s;
            }
        }
        rest = others;
        count *= 8;
    }
    f32::NEG_INFINITY
}

/// The greatest logit, if it is finite and none is NaN.
fn peak(logits: &[f32]) -> Option<f32> {
    // Lanes of their own, so that the compiler can take many at once.
    const LANES: usize = 16;
    let mut best = [f32::NEG_INFINITY; LANES];
    let mut damaged = [0u32; LANES];
    let chunks = logits.chunks_exact(LANES);
    let rest = chunks.remainder();
    let mut take = |chunk: &[f32]| {
        for ((best, damaged), &x) in best.iter_mut().zip(&mut damaged).zip(chunk) {
            *best = if x > *best { x } else { *best };
            *damaged |= u32::from(x.is_nan());
        }
    };
    chunks.for_each(&mut take);
    take(rest);
    let max = best.into_iter().fold(f32::NEG_INFINITY, f32::max);
    (max.is_finite() && damaged == [0; LANES]).then_some(max)
}

fn sum(values: &[f32]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0f64; LANES];
    for chunk in values.chunks(LANES) {
        for (sum, &x) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(x);
        }
    }
    sums.iter().sum()
}

/// `log(exp((logit - max) * inverse) / total)`
fn log_share(logit: f32, max: f32, inverse: f64, total: f64) -> f32 {
    ((f64::from(logit) - f64::from(max)) * inverse - total.ln()) as f32
}

/// The first token at which the cumulative weight passes `goal`; where rounding lets none pass, the last that has any.
fn pick(weights: &[f32], goal: f64) -> usize {
    let mut before = 0.0;
    let mut last = 0;
    for (number, block) in weights.chunks(BLOCK).enumerate() {
        let after = before + sum(block);
        if after <= goal {
            if after > before {
                last = number;
            }
            before = after;
            continue;
        }
        last = number;
        let mut passed = before;
        for (place, &weight) in block.iter().enumerate() {
            passed += f64::from(weight);
            if passed > goal {
                return number * BLOCK + place;
            }
        }
        break;
    }
    let block = &weights[last * BLOCK..weights.len().min((last + 1) * BLOCK)];
    let place = block.iter().rposition(|&weight| weight > 0.0).unwrap_or(0);
    last * BLOCK + place
}
