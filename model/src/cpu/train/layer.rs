//! A layer, forward and backward, over the tokens of all trees at once.
//!
//! `n` tokens; `D` is the model's width and `F` the feed-forward's, both rounded up to whole panels.

mod backward;

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::attention::{self, Heads, Mixed, Qkv};
use super::lines::{Lines, for_all_lines, for_lines, rows, sum_of_parts};
use super::parameters::{Found, LayerParameters, Projection, Values};
use super::tree::Forest;
use crate::config::ModelConfig;
use crate::cpu::buffer::Buffer;
use crate::cpu::math::{Angles, gated, norm_lines, norm_lines_backward, norm_weight_gradient, prepare_heads};
use crate::cpu::product::PANEL;
use crate::dropout::Mark;
use crate::rope::inverse_frequencies;

/// What all layers of a model have in common, for some trees.
#[derive(Debug)]
pub(super) struct Frame {
    pub forest: Forest,
    pub heads: Heads,
    /// Of each position.
    angles: Arc<[Angles]>,
    eps: f32,
    d: usize,
    f: usize,
}

/// What a layer computed, as far as the way back needs it.
#[derive(Debug)]
pub(super) struct Kept {
    /// `[n, Q + 2 K]`: queries, keys and values, each rounded up to whole panels; before norms and rotation where heads have norms, else
    /// as attention wants them.
    qkv: Buffer,
    /// `[n, h · e]`
    mixed: Buffer,
    /// Of each tree and each of its key/value heads: `[tokens, groups]`
    log_sums: Vec<Vec<f32>>,
    /// `[n, D]`: the states behind attention.
    middle: Buffer,
    /// `[n, 2 F]`: gates and ups.
    gate_up: Buffer,
}

impl Kept {
    /// The same of the tokens in `from` alone, which are those of `part`.
    pub fn of(self, whole: &Frame, part: &Frame, from: &[Range<usize>]) -> Self {
        let lines = |values: Buffer| rows(&values, values.len() / whole.forest.tokens.len(), from);
        let groups = whole.heads.groups;
        let mut log_sums = Vec::new();
        let mut from = from.iter();
        for tree in &part.forest.trees {
            let from: Vec<&Range<usize>> = from.by_ref().take(tree.len()).collect();
            let holds = |tree: &Range<usize>| whole.forest.tokens_of(tree).contains(&from[0].start);
            let number = whole
                .forest
                .trees
                .iter()
                .position(holds)
                .expect("a part of the whole");
            let first = whole.forest.tokens_of(&whole.forest.trees[number]).start;
            let inner: Vec<Range<usize>> = from.iter().map(|at| at.start - first..at.end - first).collect();
            let kv = whole.heads.kv;
            let of_heads = &self.log_sums[number * kv..][..kv];
            log_sums.extend(
                of_heads
                    .iter()
                    .map(|log_sums| rows(log_sums, groups, &inner).to_vec()),
            );
        }
        Self {
            qkv: lines(self.qkv),
            mixed: lines(self.mixed),
            log_sums,
            middle: lines(self.middle),
            gate_up: lines(self.gate_up),
        }
    }
}

/// Where queries, keys and values stand in a line.
struct Widths {
    at: [usize; 3],
    len: [usize; 3],
    stride: usize,
}

impl Frame {
    pub fn new(config: &ModelConfig, forest: Forest) -> Self {
        let frequencies = (inverse_frequencies(config), 1.0);
        let positions = forest.positions.iter().max().map_or(0, |most| most + 1);
        Self {
            heads: Heads {
                kv: config.num_key_value_heads,
                groups: config.groups(),
                e: config.head_dim,
                window: None,
            },
            angles: (0..positions)
                .into_par_iter()
                .map(|position| Angles::at(&frequencies, position))
                .collect(),
            eps: config.rms_norm_eps as f32,
            d: config.hidden_size,
            f: config.intermediate_size,
            forest,
        }
    }

    /// The same for other trees, of positions that are known here.
    pub fn with(&self, forest: Forest) -> Self {
        Self {
            forest,
            angles: self.angles.clone(),
            ..*self
        }
    }

    /// `D`
    pub fn width(&self) -> usize {
        self.d.next_multiple_of(PANEL)
    }

    fn widths(&self) -> Widths {
        let Heads { kv, e, .. } = self.heads;
        let len = [kv * self.heads.query_width(), kv * e, kv * e];
        let [q, k, v] = len.map(|len| len.next_multiple_of(PANEL));
        Widths {
            at: [0, q, q + k],
            len,
            stride: q + k + v,
        }
    }

    fn angles(&self, token: usize) -> &Angles {
        &self.angles[self.forest.positions[token]]
    }

    /// States as lines of `d`.
    pub fn states<'a>(&self, states: &'a [f32]) -> Lines<'a> {
        Lines::new(states, self.width()).columns(0, self.d)
    }

    /// The marks of so many tokens.
    fn marks(&self, first: usize, count: usize) -> &[Mark] {
        &self.forest.marks[first..first + count]
    }

    /// The norm of states: of as many lines in `out`, their first `d` numbers.
    pub fn norm(&self, states: &[f32], weight: &Values, out: &mut [f32]) {
        norm_lines(states, self.width(), weight.get(), self.eps, out, self.width());
    }

    /// The way back through the norm of `states`, added to `out`.
    pub fn norm_backward(&self, states: &[f32], weight: &Values, grads: &[f32], out: &mut [f32]) {
        norm_lines_backward(states, weight.get(), self.eps, grads, out, self.width());
    }

    /// The gradient of the weight of a norm of `states`.
    pub fn norm_gradient(&self, states: &[f32], weight: &Values, grads: &[f32], found: &mut Found) {
        found.put(weight, || {
            sum_of_parts(states.len() / self.width(), self.d, |rows, sum| {
                let lines = |of| self.states(of).rows(rows.clone());
                let lines = lines(states).iter().zip(lines(grads).iter());
                norm_weight_gradient(lines, self.eps, sum);
            })
        });
    }

    /// Queries, keys and values of states.
    fn projected(&self, layer: &LayerParameters, states: &[f32]) -> Buffer {
        let (width, widths) = (self.width(), self.widths());
        let laid = Projection::all_forward(layer.qkv.each_ref());
        let mut qkv = Buffer::unset(states.len() / width * widths.stride);
        for_all_lines(
            [(&mut qkv[..], widths.stride)],
            |first, [lines], [normed, low, _]| {
                let count = lines.len() / widths.stride;
                let marks = self.marks(first, count);
                let normed = normed.sized(count * width);
                self.norm(
                    &states[first * width..][..count * width],
                    &layer.attention_norm,
                    normed,
                );
                let normed: Vec<&[f32]> = self.states(normed).iter().collect();
                for (laid, at) in laid.iter().zip(widths.at) {
                    laid.run((&normed, marks), false, lines, (widths.stride, at), low);
                }
                if !layer.has_head_norms() {
                    self.prepare(layer, first, lines);
                }
            },
        );
        qkv
    }

    /// Makes of lines of queries, keys and values what attention wants.
    fn prepare(&self, layer: &LayerParameters, first: usize, lines: &mut [f32]) {
        let widths = self.widths();
        let norms = [&layer.q_norm, &layer.k_norm].map(|norm| norm.as_ref().map(Values::get));
        for (token, line) in (first..).zip(lines.chunks_exact_mut(widths.stride)) {
            let angles = self.angles(token);
            for (part, (norm, scale)) in norms.into_iter().zip([self.scale(), 1.0]).enumerate() {
                let heads = &mut line[widths.at[part]..][..widths.len[part]];
                prepare_heads(heads, self.heads.e, norm, self.eps, Some(angles), scale);
            }
        }
    }

    /// What was kept of queries, keys and values as attention wants it; none where it is kept so.
    fn prepared(&self, layer: &LayerParameters, qkv: &[f32]) -> Option<Buffer> {
        if !layer.has_head_norms() {
            return None;
        }
        let mut prepared = Buffer::unset(qkv.len());
        for_lines(&mut prepared, self.widths().stride, |first, lines| {
            lines.copy_from_slice(&qkv[first * self.widths().stride..][..lines.len()]);
            self.prepare(layer, first, lines);
        });
        Some(prepared)
    }

    fn scale(&self) -> f32 {
        (self.heads.e as f32).powf(-0.5)
    }

    fn qkv<'a>(&self, prepared: &'a [f32]) -> Qkv<'a> {
        let widths = self.widths();
        let lines =
            |part: usize| Lines::new(prepared, widths.stride).columns(widths.at[part], widths.len[part]);
        Qkv {
            queries: lines(0),
            keys: lines(1),
            values: lines(2),
        }
    }

    /// Each key/value head of each tree.
    fn parts<'a>(&'a self, qkv: Qkv<'a>) -> Vec<attention::Part<'a>> {
        let part = |tree, head| attention::Part {
            forest: &self.forest,
            tree,
            heads: self.heads,
            head,
            qkv,
        };
        let trees = self.forest.trees.iter();
        trees
            .flat_map(|tree| (0..self.heads.kv).map(move |head| part(tree, head)))
            .collect()
    }

    /// Joins lines `[tokens of the tree, width]` of all parts to lines of `stride` from `first` on, each head's in columns of its own.
    fn join(
        &self,
        parts: &[&[f32]],
        width: usize,
        first: usize,
        lines: &mut [f32],
        (stride, from): (usize, usize),
    ) {
        let here = first..first + lines.len() / stride;
        for (number, tree) in self.forest.trees.iter().enumerate() {
            let tokens = self.forest.tokens_of(tree);
            for token in tokens.start.max(here.start)..tokens.end.min(here.end) {
                let line = &mut lines[(token - here.start) * stride + from..];
                let parts = &parts[number * self.heads.kv..][..self.heads.kv];
                for (to, part) in line.chunks_exact_mut(width).zip(parts) {
                    to.copy_from_slice(&part[(token - tokens.start) * width..][..width]);
                }
            }
        }
    }

    /// The states behind a layer, in the place of those before it, and what the way back needs.
    pub fn forward(&self, layer: &LayerParameters, states: &mut [f32]) -> Kept {
        let qkv = self.projected(layer, states);
        let prepared = self.prepared(layer, &qkv);
        let parts: Vec<Mixed> = self
            .parts(self.qkv(prepared.as_deref().unwrap_or(&qkv)))
            .par_iter()
            .map(attention::Part::forward)
            .collect();
        drop(prepared);
        let inner = self.widths().len[0];
        let mut mixed = Buffer::unset(self.forest.tokens.len() * inner);
        let of_parts: Vec<&[f32]> = parts.iter().map(|part| &*part.mixed).collect();
        for_lines(&mut mixed, inner, |first, lines| {
            self.join(&of_parts, self.heads.query_width(), first, lines, (inner, 0));
        });
        let (middle, gate_up) = self.feed_forward(layer, &mixed, states);
        Kept {
            qkv,
            mixed,
            log_sums: parts.into_iter().map(|part| part.log_sums).collect(),
            middle,
            gate_up,
        }
    }

    /// The states behind a layer, in the place of those before it, given what attention mixed; and those in the middle, and gates and ups.
    fn feed_forward(&self, layer: &LayerParameters, mixed: &[f32], states: &mut [f32]) -> (Buffer, Buffer) {
        let (width, half) = (self.width(), self.f.next_multiple_of(PANEL));
        let (n, inner) = (states.len() / width, self.widths().len[0]);
        let mixed = Lines::new(mixed, inner);
        let [output, gate, up, down] =
            Projection::all_forward([&layer.output, &layer.gate, &layer.up, &layer.down]);
        let (mut middle, mut gate_up) = (Buffer::unset(n * width), Buffer::unset(n * 2 * half));
        let buffers = [
            (states, width),
            (&mut middle[..], width),
            (&mut gate_up[..], 2 * half),
        ];
        for_all_lines(
            buffers,
            |first, [states, middle, gate_up], [normed, active, low]| {
                let count = states.len() / width;
                let marks = self.marks(first, count);
                let mixed: Vec<&[f32]> = mixed.rows(first..first + count).iter().collect();
                output.run((&mixed, marks), true, states, (width, 0), low);
                middle.copy_from_slice(states);
                let normed = normed.sized(states.len());
                self.norm(states, &layer.mlp_norm, normed);
                let normed: Vec<&[f32]> = self.states(normed).iter().collect();
                gate.run((&normed, marks), false, gate_up, (2 * half, 0), low);
                up.run((&normed, marks), false, gate_up, (2 * half, half), low);
                let active = active.sized(count * half);
                gated(gate_up, half, active);
                let active: Vec<&[f32]> = Lines::new(active, half).columns(0, self.f).iter().collect();
                down.run((&active, marks), true, states, (width, 0), low);
            },
        );
        (middle, gate_up)
    }
}
