//! Log-probabilities and entropies from states, a part of the vocabulary at a time, and the way back, where the logits are computed again.

use std::collections::BTreeSet;
use std::ops::Range;

use rayon::prelude::*;

use super::lines::{Lines, for_lines, outer, packed, share};
use super::parameters::{Found, Parameters, Values};
use crate::cpu::buffer::Buffer;
use crate::cpu::product::{PANEL, Part};
use crate::host::{exponential_sums, exponentials_less_scaled};

/// Logits that are held at once, in numbers.
const LOGITS: usize = 1 << 22;
/// The fewest columns of a part of the vocabulary.
const COLUMNS: usize = 512;

/// Columns of the vocabulary whose logits of so many states are held at once.
pub(crate) fn columns_at_once(states: usize) -> usize {
    (LOGITS / states.max(1)).max(COLUMNS).next_multiple_of(PANEL)
}

/// A token that is asked for: which state predicts it, and where its log-probability goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub state: usize,
    pub token: u32,
    pub slot: usize,
}

/// What is known of a state's distribution.
#[derive(Debug, Clone, Copy)]
struct Distribution {
    most: f32,
    sum: f64,
    /// `Σ e · (x − most) · scale`, `e` the exponentials that `sum` is of.
    product: f64,
}

impl Distribution {
    /// Of no logits.
    const NONE: Self = Self {
        most: f32::NEG_INFINITY,
        sum: 0.0,
        product: 0.0,
    };

    /// Of its logits and some more.
    fn with(self, logits: &[f32], scale: f32) -> Self {
        let (most, sum, product) = exponential_sums(logits, scale);
        let more = Self { most, sum, product };
        if self.sum == 0.0 {
            return more;
        }
        let (high, low) = if self.most < more.most {
            (more, self)
        } else {
            (self, more)
        };
        let shift = f64::from(low.most - high.most) * f64::from(scale);
        let factor = shift.exp();
        Self {
            most: high.most,
            sum: high.sum + factor * low.sum,
            product: high.product + factor * (low.product + shift * low.sum),
        }
    }

    /// Log of the sum of the exponentials of the scaled logits.
    fn log_sum(&self, scale: f32) -> f64 {
        f64::from(self.most) * f64::from(scale) + self.sum.ln()
    }

    /// In nats.
    fn entropy(&self) -> f32 {
        (self.sum.ln() - self.product / self.sum) as f32
    }
}

/// A model's head at a temperature.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub d: usize,
    pub v: usize,
    /// `1 / temperature`
    pub scale: f32,
}

/// What the way back needs.
#[derive(Debug)]
pub(super) struct Kept {
    targets: Vec<Target>,
    log_sums: Vec<f32>,
}

impl Kept {
    /// The states that a gradient comes from, in order.
    pub fn states_with_gradients(&self, grads: &[f32]) -> Vec<usize> {
        let targets = self.targets.iter().filter(|target| grads[target.slot] != 0.0);
        let states: BTreeSet<usize> = targets.map(|target| target.state).collect();
        states.into_iter().collect()
    }

    /// The same of some states alone.
    pub fn of(&self, states: &[usize]) -> Self {
        let targets = self.targets.iter().filter_map(|target| {
            let state = states.binary_search(&target.state).ok()?;
            Some(Target { state, ..*target })
        });
        Self {
            targets: targets.collect(),
            log_sums: states.iter().map(|&state| self.log_sums[state]).collect(),
        }
    }
}

impl Head {
    fn weight(parameters: &Parameters) -> &Values {
        parameters.head.as_ref().unwrap_or(&parameters.embedding)
    }

    /// The weights of some tokens, `[d, tokens]`, to be laid out.
    fn part<'a>(&self, parameters: &'a Parameters, tokens: &Range<usize>) -> Part<'a> {
        match &parameters.head {
            Some(head) => Lines::new(head.get(), self.v)
                .columns(tokens.start, tokens.len())
                .part(),
            None => Lines::new(parameters.embedding.get(), self.d)
                .rows(tokens.clone())
                .transposed(),
        }
    }

    /// The same, transposed: `[tokens, d]`.
    fn transposed<'a>(&self, parameters: &'a Parameters, tokens: &Range<usize>) -> Part<'a> {
        match &parameters.head {
            Some(head) => Lines::new(head.get(), self.v)
                .columns(tokens.start, tokens.len())
                .transposed(),
            None => Lines::new(parameters.embedding.get(), self.d)
                .rows(tokens.clone())
                .part(),
        }
    }

    /// Parts of the vocabulary whose logits of so many states are held at once.
    fn parts(&self, states: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let columns = columns_at_once(states);
        let v = self.v;
        (0..v)
            .step_by(columns)
            .map(move |from| from..v.min(from + columns))
    }

    /// Log-probabilities at the targets' slots, and the entropies of the distributions that they are of.
    ///
    /// # Shapes
    /// `states`: `[n][d]`
    pub fn forward(
        &self,
        parameters: &Parameters,
        states: Lines,
        targets: Vec<Target>,
        logp: &mut [f32],
        entropy: &mut [f32],
    ) -> Kept {
        let n = states.count();
        let mut known = vec![Distribution::NONE; n];
        let mut chosen = vec![0.0; targets.len()];
        let by_state = by_state(&targets, n);
        for tokens in self.parts(n) {
            let weight = packed(self.d, &[self.part(parameters, &tokens)], true);
            let share = share(n);
            let found: Vec<Vec<(usize, f32)>> = known
                .par_chunks_mut(share)
                .enumerate()
                .map(|(number, known)| {
                    let rows = number * share..number * share + known.len();
                    let lines: Vec<&[f32]> = states.rows(rows.clone()).iter().collect();
                    let mut logits = Buffer::unset(lines.len() * weight.columns());
                    weight.multiply_into(&lines, false, &mut logits, weight.columns());
                    let mut found = Vec::new();
                    let logits = logits.chunks_exact(weight.columns());
                    for ((state, known), logits) in rows.zip(known).zip(logits) {
                        for &target in &by_state[state] {
                            let token = targets[target].token as usize;
                            if tokens.contains(&token) {
                                found.push((target, logits[token - tokens.start]));
                            }
                        }
                        *known = known.with(&logits[..tokens.len()], self.scale);
                    }
                    found
                })
                .collect();
            for (target, logit) in found.into_iter().flatten() {
                chosen[target] = logit;
            }
        }
        for (target, &chosen) in targets.iter().zip(&chosen) {
            let known = &known[target.state];
            let exact = f64::from(chosen - known.most) * f64::from(self.scale) - known.sum.ln();
            logp[target.slot] = exact as f32;
            entropy[target.slot] = known.entropy();
        }
        Kept {
            log_sums: known
                .iter()
                .map(|known| known.log_sum(self.scale) as f32)
                .collect(),
            targets,
        }
    }

    /// The gradients of the states, given those at the slots; and `[v, d]` or `[d, v]`, as the head lies, if it is trained.
    pub fn backward(
        &self,
        parameters: &Parameters,
        states: Lines,
        kept: &Kept,
        grads: &[f32],
        stride: usize,
    ) -> (Buffer, Option<Buffer>) {
        let n = states.count();
        let by_state = by_state(&kept.targets, n);
        let grad_of = |target: usize| grads[kept.targets[target].slot];
        let mut of_states = Buffer::zeros(n * stride);
        let weight = Self::weight(parameters);
        let mut of_weight = weight.is_trained().then(Buffer::default);
        for tokens in self.parts(n) {
            let columns = tokens.len().next_multiple_of(PANEL);
            let matrix = packed(self.d, &[self.part(parameters, &tokens)], true);
            let mut logits = Buffer::unset(n * columns);
            for_lines(&mut logits, columns, |first, out| {
                let lines: Vec<&[f32]> = states.rows(first..first + out.len() / columns).iter().collect();
                matrix.multiply_into(&lines, false, out, columns);
                for (state, line) in (first..).zip(out.chunks_exact_mut(columns)) {
                    let line = &mut line[..tokens.len()];
                    let all: f32 = by_state[state].iter().map(|&target| grad_of(target)).sum();
                    exponentials_less_scaled(line, self.scale, kept.log_sums[state], -all * self.scale);
                    for &target in &by_state[state] {
                        let token = kept.targets[target].token as usize;
                        if tokens.contains(&token) {
                            line[token - tokens.start] += grad_of(target) * self.scale;
                        }
                    }
                }
            });
            let lines = Lines::new(&logits, columns).columns(0, tokens.len());
            let transposed = self.transposed(parameters, &tokens);
            super::lines::multiply(lines, transposed, true, &mut of_states, (stride, 0));
            if let Some(sum) = &mut of_weight {
                self.weight_gradient(parameters, states, lines, &tokens, sum);
            }
        }
        (of_states, of_weight)
    }

    fn weight_gradient(
        &self,
        parameters: &Parameters,
        states: Lines,
        of_logits: Lines,
        tokens: &Range<usize>,
        sum: &mut Buffer,
    ) {
        let found = match &parameters.head {
            None => outer(of_logits, states),
            Some(_) => outer(states, of_logits),
        };
        if tokens.len() == self.v {
            *sum = found;
            return;
        }
        if sum.is_empty() {
            *sum = Buffer::apart(self.v * self.d);
        }
        if parameters.head.is_none() {
            sum[tokens.start * self.d..tokens.end * self.d].copy_from_slice(&found);
            return;
        }
        for (line, found) in sum.chunks_exact_mut(self.v).zip(found.chunks_exact(tokens.len())) {
            line[tokens.clone()].copy_from_slice(found);
        }
    }

    /// Hands in the gradient of the head, and that of the embedding, whose lines the tokens' own gradients are added to.
    pub fn put(
        parameters: &Parameters,
        of_weight: Option<Buffer>,
        tokens: &[u32],
        grads: Lines,
        found: &mut Found,
    ) {
        let embedding = &parameters.embedding;
        let tied = match (&parameters.head, of_weight) {
            (None, tied) => tied,
            (Some(head), of_weight) => {
                if let Some(of_weight) = of_weight {
                    found.put(head, || of_weight);
                }
                None
            }
        };
        found.put(embedding, || {
            let d = parameters.config.hidden_size;
            let mut sum = tied.unwrap_or_else(|| Buffer::apart(embedding.get().len()));
            for (&token, grad) in tokens.iter().zip(grads.iter()) {
                let line = &mut sum[token as usize * d..][..d];
                line.iter_mut().zip(grad).for_each(|(sum, grad)| *sum += grad);
            }
            sum
        });
    }
}

/// The targets of each state.
fn by_state(targets: &[Target], states: usize) -> Vec<Vec<usize>> {
    let mut by_state = vec![Vec::new(); states];
    for (number, target) in targets.iter().enumerate() {
        by_state[target.state].push(number);
    }
    by_state
}
