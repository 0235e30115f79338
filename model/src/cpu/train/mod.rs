//! Log-probabilities with their gradient on the processor, fused: what `crate::logp` runs where the parameters are f32 on the
//! processor's backend.
//!
//! Texts are run without padding, and what several begin with is run once, forward and backward ([`tree`]). Every product goes
//! through the register tile that sampling uses ([`lines`]); scores and logits are computed again on the way back and never held for
//! all tokens ([`attention`], [`head`]). burn's autodiff sees one operation, from the parameters to the log-probabilities: objectives
//! are tensor operations on top of it, and gradients are where they would be without it. The tensor operations of [`crate::llama`]
//! remain what every other device runs, and are this module's test.
//!
//! A result has the same bits however many threads there are.

mod attention;
mod head;
mod layer;
mod lines;
mod parameters;
mod projection;
#[cfg(test)]
mod tests;
mod tree;

use std::ops::Range;
use std::sync::{Arc, Mutex};

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::{Tensor, TensorData};

use self::head::{Head, Target};
use self::layer::{Frame, Kept};
use self::lines::{Lines, Scratch};
use self::parameters::{Found, Parameters, a_trained_node};
use self::tree::Forest;
use super::Primitive;
use super::buffer::Buffer;
use crate::device::Processor;
use crate::llama::Llama;
use crate::tokens::fed;

pub(crate) use self::head::columns_at_once;

/// Log-probabilities, differentiable, and entropies: `[b, t]`.
pub(crate) type Scored = (Tensor<2>, Tensor<2>);

/// Those of `crate::logp::completion_logp`; none where the parameters are not f32 on the processor's backend, or the model has what is
/// not known here.
pub(crate) fn completion_logp(model: &Llama, pairs: &[(&[u32], &[u32])], temperature: f64) -> Option<Scored> {
    let parameters = Parameters::new(model)?;
    let t = pairs.iter().map(|(_, tokens)| tokens.len()).max().unwrap_or(0);
    let (forest, places) = Forest::new(&fed(pairs));
    let mut asked = Asked::default();
    for (row, ((context, tokens), places)) in pairs.iter().zip(&places).enumerate() {
        for (at, &token) in tokens.iter().enumerate() {
            asked.add(places[context.len() - 1 + at], token, row * t + at);
        }
    }
    let guard = a_trained_node(model);
    let mut tape = Tape {
        head: Head {
            d: parameters.config.hidden_size,
            v: parameters.config.vocab_size,
            scale: (1.0 / temperature) as f32,
        },
        frame: Frame::new(&parameters.config, forest),
        layers: Vec::new(),
        recomputes: model.recomputes(),
        last: Buffer::default(),
        asked: asked.states,
        known: None,
        parameters,
    };
    let shape = [pairs.len(), t];
    let (mut logp, mut entropy) = (vec![0.0; shape[0] * t], vec![0.0; shape[0] * t]);
    rayon::scope(|_| tape.forward(asked.targets, guard.is_some(), &mut logp, &mut entropy));
    let device = model.device().inner();
    let logp = TensorData::new(logp, shape);
    let logp_bt = match guard {
        None => Tensor::from_data(logp, &device),
        Some(guard) => {
            let prepared = Scores.prepare::<NoCheckpointing>([guard]).compute_bound();
            let output = Primitive::from_data(logp);
            let output = match prepared.stateful() {
                OpsKind::Tracked(prepared) => {
                    prepared.finish(Taped(Arc::new(Mutex::new(Some(tape)))), output)
                }
                OpsKind::UnTracked(prepared) => prepared.finish(output),
            };
            Tensor::from_primitive::<Autodiff<Processor>>(output)
        }
    };
    let entropy_bt = Tensor::from_data(TensorData::new(entropy, shape), &device);
    Some((logp_bt, entropy_bt))
}

/// Tokens that are run for some texts: those of their trees.
pub(crate) fn tokens_run(texts: &[Vec<u32>]) -> usize {
    Forest::new(texts).0.tokens.len()
}

/// Whether [`completion_logp`] runs a model.
pub(crate) fn is_fused(model: &Llama) -> bool {
    Parameters::new(model).is_some()
}

/// The states that are asked, and for what.
#[derive(Default)]
struct Asked {
    /// Where they stand, in order.
    states: Vec<usize>,
    targets: Vec<Target>,
    numbers: std::collections::HashMap<usize, usize>,
}

impl Asked {
    fn add(&mut self, place: usize, token: u32, slot: usize) {
        let next = self.states.len();
        let state = *self.numbers.entry(place).or_insert(next);
        if state == next {
            self.states.push(place);
        }
        self.targets.push(Target { state, token, slot });
    }
}

/// A forward pass, and what the way back needs of it.
#[derive(Debug)]
struct Tape {
    parameters: Parameters,
    frame: Frame,
    head: Head,
    /// Of each layer the states before it, `[n, D]`, and unless it is to be computed again what is kept of it.
    layers: Vec<(Buffer, Option<Kept>)>,
    recomputes: bool,
    /// `[asked, D]`: states before the final norm.
    last: Buffer,
    /// Where these stand.
    asked: Vec<usize>,
    known: Option<head::Kept>,
}

impl Tape {
    fn forward(&mut self, targets: Vec<Target>, with_gradients: bool, logp: &mut [f32], entropy: &mut [f32]) {
        let (width, d) = (self.frame.width(), self.head.d);
        let embedding = Lines::new(self.parameters.embedding.get(), d);
        let mut states = Buffer::zeros(self.frame.forest.tokens.len() * width);
        for (state, &token) in states.chunks_exact_mut(width).zip(&self.frame.forest.tokens) {
            state[..d].copy_from_slice(embedding.line(token as usize));
        }
        let lowest = self.lowest();
        for (index, layer) in self.parameters.layers.iter().enumerate() {
            let is_kept = with_gradients && index >= lowest;
            let before = if is_kept {
                Buffer::copy(&states)
            } else {
                Buffer::default()
            };
            let kept = self.frame.forward(layer, &mut states);
            self.layers
                .push((before, (is_kept && !self.recomputes).then_some(kept)));
        }
        let asked: Vec<Range<usize>> = self.asked.iter().map(|&place| place..place + 1).collect();
        self.last = lines::rows(&states, width, &asked);
        drop(states);
        let mut normed = Buffer::unset(self.last.len());
        self.frame.norm(&self.last, &self.parameters.norm, &mut normed);
        let lines = self.frame.states(&normed);
        self.known = Some(self.head.forward(&self.parameters, lines, targets, logp, entropy));
    }

    /// The lowest layer that has or passes on what is trained; as many as there are if none does.
    fn lowest(&self) -> usize {
        let layers = &self.parameters.layers;
        match self.parameters.embedding.is_trained() {
            true => 0,
            false => layers
                .iter()
                .position(|layer| layer.is_trained())
                .unwrap_or(layers.len()),
        }
    }

    /// The parameters' gradients, given those of the log-probabilities. What no gradient comes from is not gone back through.
    fn backward(self, grads: &[f32]) -> Found {
        let mut found = Found::default();
        let (width, parameters, head) = (self.frame.width(), &self.parameters, self.head);
        let kept = self.known.as_ref().expect("the forward pass came first");
        // Where nothing comes from anywhere, one state says so to all parameters.
        let states = match kept.states_with_gradients(grads) {
            states if states.is_empty() => vec![0],
            states => states,
        };
        let (kept, asked) = (kept.of(&states), states.iter().map(|&state| self.asked[state]));
        let (forest, from) = self.frame.forest.with(asked.clone());
        let is_whole = forest.tokens.len() == self.frame.forest.tokens.len();
        let frame = self.frame.with(forest);
        let lines: Vec<Range<usize>> = states.iter().map(|&state| state..state + 1).collect();
        let last = lines::rows(&self.last, width, &lines);
        let mut normed = Buffer::unset(last.len());
        frame.norm(&last, &parameters.norm, &mut normed);
        let (of_normed, of_head) = head.backward(parameters, frame.states(&normed), &kept, grads, width);
        let mut of_last = Buffer::zeros(last.len());
        frame.norm_backward(&last, &parameters.norm, &of_normed, &mut of_last);
        frame.norm_gradient(&last, &parameters.norm, &of_normed, &mut found);
        let mut of_states = Buffer::zeros(frame.forest.tokens.len() * width);
        for (place, line) in asked.zip(of_last.chunks_exact(width)) {
            let node = from.partition_point(|node| node.end <= place);
            let place = frame.forest.nodes[node].tokens.start + place - from[node].start;
            of_states[place * width..][..width].copy_from_slice(line);
        }
        let (lowest, mut scratch) = (self.lowest(), Scratch::default());
        for (index, (layer, (states, kept))) in parameters
            .layers
            .iter()
            .zip(self.layers)
            .enumerate()
            .skip(lowest)
            .rev()
        {
            let (states, kept) = match is_whole {
                true => (states, kept),
                false => (
                    lines::rows(&states, width, &from),
                    kept.map(|kept| kept.of(&self.frame, &frame, &from)),
                ),
            };
            let kept = kept.unwrap_or_else(|| frame.forward(layer, &mut Buffer::copy(&states)));
            let below = index > lowest || parameters.embedding.is_trained();
            frame.backward(
                layer,
                &states,
                kept,
                &mut of_states,
                below,
                (&mut found, &mut scratch),
            );
        }
        let of_tokens = frame.states(&of_states);
        Head::put(parameters, of_head, &frame.forest.tokens, of_tokens, &mut found);
        found
    }
}

/// A tape that is used up by the way back.
#[derive(Debug, Clone)]
struct Taped(Arc<Mutex<Option<Tape>>>);

/// From the parameters to log-probabilities.
#[derive(Debug)]
struct Scores;

impl Backward<Processor, 1> for Scores {
    type State = Taped;

    fn backward(self, ops: Ops<Taped, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let given = grads.consume::<Processor>(&ops.node).to_contiguous();
        let tape = ops.state.0.lock().ok().and_then(|mut tape| tape.take());
        let tape = tape.expect("a graph is gone through once");
        let given = given
            .as_slice::<f32>()
            .expect("made contiguous, and f32 as the output");
        let found = rayon::scope(|_| tape.backward(given));
        for (node, grad) in found.0 {
            grads.register::<Processor>(node, grad);
        }
    }
}
