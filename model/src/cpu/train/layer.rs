//! A layer, forward and backward, over the tokens of all trees at once.
//!
//! `n` tokens; `D` is the model's width and `F` the feed-forward's, both rounded up to whole panels.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::attention::{self, Heads, Mixed, Qkv};
use super::lines::{Lines, for_lines};
use super::parameters::{Found, LayerParameters, Projection, Values};
use super::tree::Forest;
use crate::config::ModelConfig;
use crate::cpu::math::{
    Angles, gated, gated_backward, norm_lines, norm_lines_backward, norm_weight_gradient, prepare_heads,
    turn_heads_back,
};
use crate::cpu::product::PANEL;
use crate::lora::dropout::Mark;
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
    /// `[n, Q + 2 K]`: queries, keys and values before norms and rotation, each rounded up to whole panels.
    qkv: Vec<f32>,
    /// `[n, h · e]`
    mixed: Vec<f32>,
    /// Of each tree and each of its key/value heads: `[tokens, groups]`
    log_sums: Vec<Vec<f32>>,
    /// `[n, D]`: the states behind attention.
    middle: Vec<f32>,
    /// `[n, 2 F]`: gates and ups.
    gate_up: Vec<f32>,
}

impl Kept {
    /// The same of the tokens in `from` alone, which are those of `part`.
    pub fn of(self, whole: &Frame, part: &Frame, from: &[Range<usize>]) -> Self {
        let lines = |values: Vec<f32>| rows(&values, values.len() / whole.forest.tokens.len(), from);
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
            log_sums.extend(of_heads.iter().map(|log_sums| rows(log_sums, groups, &inner)));
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

/// Some lines of `width` numbers.
pub(super) fn rows(values: &[f32], width: usize, rows: &[Range<usize>]) -> Vec<f32> {
    let slices: Vec<&[f32]> = rows
        .iter()
        .map(|row| &values[row.start * width..row.end * width])
        .collect();
    slices.concat()
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

    /// Lines of all tokens, with the tokens' marks.
    fn marked<'a>(&'a self, lines: Lines<'a>) -> (Lines<'a>, &'a [Mark]) {
        (lines, &self.forest.marks)
    }

    /// The norm of states.
    pub fn normed(&self, states: &[f32], weight: &Values) -> Vec<f32> {
        let (width, weight) = (self.width(), weight.get());
        let mut normed = vec![0.0; states.len()];
        for_lines(&mut normed, width, |first, out| {
            let states = &states[first * width..][..out.len()];
            norm_lines(states, width, weight, self.eps, out, width);
        });
        normed
    }

    /// The way back through the norm of `states`, added to `out`.
    pub fn norm_backward(
        &self,
        states: &[f32],
        weight: &Values,
        grads: &[f32],
        out: &mut [f32],
        found: &mut Found,
    ) {
        let width = self.width();
        for_lines(out, width, |first, out| {
            let lines = first * width..first * width + out.len();
            let (states, grads) = (&states[lines.clone()], &grads[lines]);
            norm_lines_backward(states, weight.get(), self.eps, grads, out, width);
        });
        found.put(weight, || {
            let mut sum = vec![0.0; self.d];
            let lines = self.states(states).iter().zip(self.states(grads).iter());
            norm_weight_gradient(lines, self.eps, &mut sum);
            sum
        });
    }

    /// Queries, keys and values as attention wants them.
    fn prepared(&self, layer: &LayerParameters, qkv: &[f32]) -> Vec<f32> {
        let (widths, e, eps) = (self.widths(), self.heads.e, self.eps);
        let norms = [&layer.q_norm, &layer.k_norm].map(|norm| norm.as_ref().map(Values::get));
        let scales = [self.scale(), 1.0];
        let mut qkv = qkv.to_vec();
        for_lines(&mut qkv, widths.stride, |first, lines| {
            for (at, line) in lines.chunks_exact_mut(widths.stride).enumerate() {
                let angles = self.angles(first + at);
                for (part, (norm, scale)) in norms.into_iter().zip(scales).enumerate() {
                    let heads = &mut line[widths.at[part]..][..widths.len[part]];
                    prepare_heads(heads, e, norm, eps, Some(angles), scale);
                }
            }
        });
        qkv
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

    /// Joins lines `[tokens of the tree, width]` of all parts to `[n, stride]`, each head's in columns of its own.
    fn join(&self, parts: &[&[f32]], width: usize, (stride, from): (usize, usize), out: &mut [f32]) {
        let mut parts = parts.iter();
        for tree in &self.forest.trees {
            let tokens = self.forest.tokens_of(tree);
            for (head, part) in parts.by_ref().take(self.heads.kv).enumerate() {
                let lines = out[tokens.start * stride..tokens.end * stride].chunks_exact_mut(stride);
                for (line, part) in lines.zip(part.chunks_exact(width)) {
                    line[from + head * width..][..width].copy_from_slice(part);
                }
            }
        }
    }

    /// The states behind a layer, in the place of those before it, and what the way back needs.
    pub fn forward(&self, layer: &LayerParameters, states: &mut [f32]) -> Kept {
        let (n, width, widths) = (states.len() / self.width(), self.width(), self.widths());
        let normed = self.normed(states, &layer.attention_norm);
        let mut qkv = vec![0.0; n * widths.stride];
        for (projection, at) in layer.qkv.iter().zip(widths.at) {
            projection.forward(
                self.marked(self.states(&normed)),
                false,
                &mut qkv,
                (widths.stride, at),
            );
        }
        let prepared = self.prepared(layer, &qkv);
        let parts: Vec<Mixed> = self
            .parts(self.qkv(&prepared))
            .par_iter()
            .map(attention::Part::forward)
            .collect();
        drop(prepared);
        let inner = widths.len[0];
        let mut mixed = vec![0.0; n * inner];
        let of_parts: Vec<&[f32]> = parts.iter().map(|part| part.mixed.as_slice()).collect();
        self.join(&of_parts, self.heads.query_width(), (inner, 0), &mut mixed);
        layer
            .output
            .forward(self.marked(Lines::new(&mixed, inner)), true, states, (width, 0));
        let middle = states.to_vec();
        let normed = self.normed(states, &layer.mlp_norm);
        let half = self.f.next_multiple_of(PANEL);
        let mut gate_up = vec![0.0; n * 2 * half];
        for (projection, at) in [(&layer.gate, 0), (&layer.up, half)] {
            projection.forward(
                self.marked(self.states(&normed)),
                false,
                &mut gate_up,
                (2 * half, at),
            );
        }
        drop(normed);
        let active = self.active(&gate_up);
        let active = Lines::new(&active, half).columns(0, self.f);
        layer.down.forward(self.marked(active), true, states, (width, 0));
        Kept {
            qkv,
            mixed,
            log_sums: parts.into_iter().map(|part| part.log_sums).collect(),
            middle,
            gate_up,
        }
    }

    /// `silu(gates) · ups`: `[n, F]`
    fn active(&self, gate_up: &[f32]) -> Vec<f32> {
        let half = self.f.next_multiple_of(PANEL);
        let mut active = vec![0.0; gate_up.len() / 2];
        for_lines(&mut active, half, |first, out| {
            gated(&gate_up[first * 2 * half..][..2 * out.len()], half, out);
        });
        active
    }

    /// The way back through a layer that made `kept` of `states`: the gradients of the states behind it become those of the states
    /// before it. `below`: whether anything there wants them.
    pub fn backward(
        &self,
        layer: &LayerParameters,
        states: &[f32],
        kept: Kept,
        grads: &mut [f32],
        below: bool,
        found: &mut Found,
    ) {
        let Kept {
            qkv,
            mixed,
            log_sums,
            middle,
            gate_up,
        } = kept;
        self.feed_forward_backward(layer, &middle, gate_up, grads, found);
        let (width, widths) = (self.width(), self.widths());
        let inner = widths.len[0];
        let of_mixed = self.grads_of(
            &layer.output,
            Lines::new(&mixed, inner),
            self.states(grads),
            found,
        );
        let stride = inner.next_multiple_of(PANEL);
        let of_mixed = Lines::new(&of_mixed, stride).columns(0, inner);
        let of_qkv = self.attention_backward(layer, &qkv, &mixed, &log_sums, of_mixed, found);
        let normed = self.normed(states, &layer.attention_norm);
        let wanted = below || layer.attention_norm.is_trained();
        let mut of_normed = vec![0.0; states.len()];
        for (part, projection) in layer.qkv.iter().enumerate() {
            let lines = Lines::new(&of_qkv, widths.stride).columns(widths.at[part], widths.len[part]);
            let out = wanted.then_some((of_normed.as_mut_slice(), width, part > 0));
            projection.backward(self.marked(self.states(&normed)), lines, out, found);
        }
        if wanted {
            self.norm_backward(states, &layer.attention_norm, &of_normed, grads, found);
        }
    }

    /// The gradients of what goes into a projection, `[n, in rounded up to whole panels]`.
    fn grads_of(&self, projection: &Projection, x: Lines, grads: Lines, found: &mut Found) -> Vec<f32> {
        let stride = x.width().next_multiple_of(PANEL);
        let mut of_x = vec![0.0; x.count() * stride];
        projection.backward(self.marked(x), grads, Some((&mut of_x, stride, false)), found);
        of_x
    }

    fn feed_forward_backward(
        &self,
        layer: &LayerParameters,
        middle: &[f32],
        mut gate_up: Vec<f32>,
        grads: &mut [f32],
        found: &mut Found,
    ) {
        let (width, half) = (self.width(), self.f.next_multiple_of(PANEL));
        let active = self.active(&gate_up);
        let lines = Lines::new(&active, half).columns(0, self.f);
        let of_active = self.grads_of(&layer.down, lines, self.states(grads), found);
        for_lines(&mut gate_up, 2 * half, |first, lines| {
            gated_backward(lines, half, &of_active[first * half..][..lines.len() / 2]);
        });
        let normed = self.normed(middle, &layer.mlp_norm);
        let mut of_normed = vec![0.0; middle.len()];
        for (projection, at) in [(&layer.gate, 0), (&layer.up, half)] {
            let lines = Lines::new(&gate_up, 2 * half).columns(at, self.f);
            let out = (of_normed.as_mut_slice(), width, at > 0);
            projection.backward(self.marked(self.states(&normed)), lines, Some(out), found);
        }
        self.norm_backward(middle, &layer.mlp_norm, &of_normed, grads, found);
    }

    /// The gradients of queries, keys and values before norms and rotation: `[n, Q + 2 K]`.
    fn attention_backward(
        &self,
        layer: &LayerParameters,
        qkv: &[f32],
        mixed: &[f32],
        log_sums: &[Vec<f32>],
        grads: Lines,
        found: &mut Found,
    ) -> Vec<f32> {
        let (widths, e) = (self.widths(), self.heads.e);
        let prepared = self.prepared(layer, qkv);
        let mixed = Lines::new(mixed, widths.len[0]);
        let parts: Vec<attention::Gradients> = self
            .parts(self.qkv(&prepared))
            .par_iter()
            .zip(log_sums)
            .map(|(part, log_sums)| part.backward(mixed, log_sums, grads))
            .collect();
        drop(prepared);
        let mut out = vec![0.0; qkv.len()];
        let group = self.heads.query_width();
        let of = |part: fn(&attention::Gradients) -> &Vec<f32>| -> Vec<&[f32]> {
            parts.iter().map(|of| part(of).as_slice()).collect()
        };
        self.join(
            &of(|part| &part.queries),
            group,
            (widths.stride, widths.at[0]),
            &mut out,
        );
        self.join(&of(|part| &part.keys), e, (widths.stride, widths.at[1]), &mut out);
        self.join(
            &of(|part| &part.values),
            e,
            (widths.stride, widths.at[2]),
            &mut out,
        );
        let scales = [self.scale(), 1.0];
        for_lines(&mut out, widths.stride, |first, lines| {
            for (at, line) in lines.chunks_exact_mut(widths.stride).enumerate() {
                for (part, scale) in scales.into_iter().enumerate() {
                    let heads = &mut line[widths.at[part]..][..widths.len[part]];
                    turn_heads_back(heads, e, self.angles(first + at), scale);
                }
            }
        });
        for (part, norm) in [&layer.q_norm, &layer.k_norm].into_iter().enumerate() {
            if let Some(norm) = norm {
                let columns = widths.at[part]..widths.at[part] + widths.len[part];
                self.head_norm_backward(norm, qkv, columns, &mut out, found);
            }
        }
        out
    }

    /// The way back through the norm of each head in some columns, in place.
    fn head_norm_backward(
        &self,
        norm: &Values,
        qkv: &[f32],
        columns: Range<usize>,
        grads: &mut [f32],
        found: &mut Found,
    ) {
        let (e, stride) = (self.heads.e, self.widths().stride);
        let heads = |values: &[f32]| -> Vec<f32> {
            let lines = Lines::new(values, stride).columns(columns.start, columns.len());
            lines.iter().flatten().copied().collect()
        };
        let (x, of_normed) = (heads(qkv), heads(grads));
        found.put(norm, || {
            let mut sum = vec![0.0; e];
            norm_weight_gradient(
                x.chunks_exact(e).zip(of_normed.chunks_exact(e)),
                self.eps,
                &mut sum,
            );
            sum
        });
        let mut of_x = vec![0.0; x.len()];
        for_lines(&mut of_x, columns.len(), |first, out| {
            let range = first * columns.len()..first * columns.len() + out.len();
            norm_lines_backward(&x[range.clone()], norm.get(), self.eps, &of_normed[range], out, e);
        });
        for (line, of_x) in grads
            .chunks_exact_mut(stride)
            .zip(of_x.chunks_exact(columns.len()))
        {
            line[columns.clone()].copy_from_slice(of_x);
        }
    }
}
