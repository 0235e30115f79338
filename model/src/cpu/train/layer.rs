//! A layer, forward and backward, over the tokens of all trees at once.
//!
//! `n` tokens; `D` is the model's width and `F` the feed-forward's, both rounded up to whole panels.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::attention::{self, Heads, Mixed, Qkv};
use super::lines::{Lines, Scratch, for_all_lines, for_lines, sized};
use super::parameters::{Found, LayerParameters, Projection, Values};
use super::projection::Laid;
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
    /// `[n, Q + 2 K]`: queries, keys and values, each rounded up to whole panels; before norms and rotation where heads have norms, else
    /// as attention wants them.
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
            let mut sum = vec![0.0; self.d];
            let lines = self.states(states).iter().zip(self.states(grads).iter());
            norm_weight_gradient(lines, self.eps, &mut sum);
            sum
        });
    }

    /// Queries, keys and values of states.
    fn projected(&self, layer: &LayerParameters, states: &[f32]) -> Vec<f32> {
        let (width, widths) = (self.width(), self.widths());
        let laid = layer.qkv.each_ref().map(Projection::forward);
        let mut qkv = vec![0.0; states.len() / width * widths.stride];
        for_all_lines([(&mut qkv, widths.stride)], |first, [lines], [normed, low, _]| {
            let count = lines.len() / widths.stride;
            let marks = self.marks(first, count);
            let normed = sized(normed, count * width);
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
        });
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

    /// What was kept of queries, keys and values, as attention wants it.
    fn prepared<'a>(&self, layer: &LayerParameters, qkv: &'a [f32]) -> Cow<'a, [f32]> {
        if !layer.has_head_norms() {
            return Cow::Borrowed(qkv);
        }
        let mut prepared = vec![0.0; qkv.len()];
        for_lines(&mut prepared, self.widths().stride, |first, lines| {
            lines.copy_from_slice(&qkv[first * self.widths().stride..][..lines.len()]);
            self.prepare(layer, first, lines);
        });
        Cow::Owned(prepared)
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
            .parts(self.qkv(&prepared))
            .par_iter()
            .map(attention::Part::forward)
            .collect();
        drop(prepared);
        let inner = self.widths().len[0];
        let mut mixed = vec![0.0; self.forest.tokens.len() * inner];
        let of_parts: Vec<&[f32]> = parts.iter().map(|part| part.mixed.as_slice()).collect();
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
    fn feed_forward(
        &self,
        layer: &LayerParameters,
        mixed: &[f32],
        states: &mut [f32],
    ) -> (Vec<f32>, Vec<f32>) {
        let (width, half) = (self.width(), self.f.next_multiple_of(PANEL));
        let (n, inner) = (states.len() / width, self.widths().len[0]);
        let mixed = Lines::new(mixed, inner);
        let [output, gate, up, down] =
            [&layer.output, &layer.gate, &layer.up, &layer.down].map(Projection::forward);
        let (mut middle, mut gate_up) = (vec![0.0; n * width], vec![0.0; n * 2 * half]);
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
                let normed = sized(normed, states.len());
                self.norm(states, &layer.mlp_norm, normed);
                let normed: Vec<&[f32]> = self.states(normed).iter().collect();
                gate.run((&normed, marks), false, gate_up, (2 * half, 0), low);
                up.run((&normed, marks), false, gate_up, (2 * half, half), low);
                let active = sized(active, count * half);
                gated(gate_up, half, active);
                let active: Vec<&[f32]> = Lines::new(active, half).columns(0, self.f).iter().collect();
                down.run((&active, marks), true, states, (width, 0), low);
            },
        );
        (middle, gate_up)
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
        (found, scratch): (&mut Found, &mut Scratch),
    ) {
        let Kept {
            qkv,
            mixed,
            log_sums,
            middle,
            mut gate_up,
        } = kept;
        let half = self.f.next_multiple_of(PANEL);
        self.activation_backward(layer, &mut gate_up, grads, (found, scratch));
        let of_gates = Lines::new(&gate_up, 2 * half);
        let of_gates = [of_gates.columns(0, self.f), of_gates.columns(half, self.f)];
        let projections = [&layer.gate, &layer.up];
        self.normed_backward(
            &projections,
            &layer.mlp_norm,
            (&middle, grads),
            &of_gates,
            true,
            (found, scratch),
        );
        drop(gate_up);
        let (width, widths) = (self.width(), self.widths());
        let inner = widths.len[0];
        let x = Lines::new(&mixed, inner);
        let marks = &self.forest.marks;
        Projection::gradients(&[&layer.output], (x, marks), &[self.states(grads)], found);
        let stride = inner.next_multiple_of(PANEL);
        let mut of_mixed = vec![0.0; x.count() * stride];
        let output = layer.output.backward();
        for_all_lines([(&mut of_mixed[..], stride)], |first, [lines], [low, ..]| {
            let grads = self.states(&grads[first * width..][..lines.len() / stride * width]);
            let grads: Vec<&[f32]> = grads.iter().collect();
            output.run(
                (&grads, self.marks(first, grads.len())),
                false,
                lines,
                (stride, 0),
                low,
            );
        });
        let of_mixed = Lines::new(&of_mixed, stride).columns(0, inner);
        let of_qkv = self.attention_backward(layer, &qkv, &mixed, &log_sums, of_mixed, found);
        let of_qkv = Lines::new(&of_qkv, widths.stride);
        let of_qkv = [0, 1, 2].map(|part| of_qkv.columns(widths.at[part], widths.len[part]));
        let wanted = below || layer.attention_norm.is_trained();
        let norm = &layer.attention_norm;
        self.normed_backward(
            &layer.qkv.each_ref(),
            norm,
            (states, grads),
            &of_qkv,
            wanted,
            (found, scratch),
        );
    }

    /// The gradients of gates and ups in their place, given those of the states behind the layer.
    fn activation_backward(
        &self,
        layer: &LayerParameters,
        gate_up: &mut [f32],
        grads: &[f32],
        (found, [active, ..]): (&mut Found, &mut Scratch),
    ) {
        let (width, half) = (self.width(), self.f.next_multiple_of(PANEL));
        let active = sized(active, gate_up.len() / 2);
        let down = layer.down.backward();
        let buffers = [(gate_up, 2 * half), (&mut *active, half)];
        for_all_lines(buffers, |first, [gate_up, active], [of_active, low, _]| {
            gated(gate_up, half, active);
            let of_active = sized(of_active, active.len());
            let grads = self.states(&grads[first * width..][..active.len() / half * width]);
            let grads: Vec<&[f32]> = grads.iter().collect();
            down.run(
                (&grads, self.marks(first, grads.len())),
                false,
                of_active,
                (half, 0),
                low,
            );
            gated_backward(gate_up, half, of_active);
        });
        let active = Lines::new(active, half).columns(0, self.f);
        let marks = &self.forest.marks;
        Projection::gradients(&[&layer.down], (active, marks), &[self.states(grads)], found);
    }

    /// The way back through projections of a norm of `states`, given the gradients of what they make: added to `grads`, if that is wanted.
    fn normed_backward(
        &self,
        projections: &[&Projection],
        norm: &Values,
        (states, grads): (&[f32], &mut [f32]),
        of_made: &[Lines],
        wanted: bool,
        (found, [normed, of_normed, _]): (&mut Found, &mut Scratch),
    ) {
        let width = self.width();
        let (normed, of_normed) = (sized(normed, states.len()), sized(of_normed, states.len()));
        let laid: Vec<Laid> = match wanted {
            true => projections
                .iter()
                .map(|projection| projection.backward())
                .collect(),
            false => Vec::new(),
        };
        let buffers = [(grads, width), (&mut *normed, width), (&mut *of_normed, width)];
        for_all_lines(buffers, |first, [grads, normed, of_normed], [low, ..]| {
            let states = &states[first * width..][..grads.len()];
            self.norm(states, norm, normed);
            for (number, (laid, of_made)) in laid.iter().zip(of_made).enumerate() {
                let lines: Vec<&[f32]> = of_made.rows(first..first + grads.len() / width).iter().collect();
                laid.run(
                    (&lines, self.marks(first, lines.len())),
                    number > 0,
                    of_normed,
                    (width, 0),
                    low,
                );
            }
            if wanted {
                self.norm_backward(states, norm, of_normed, grads);
            }
        });
        let x = (self.states(normed), &self.forest.marks[..]);
        Projection::gradients(projections, x, of_made, found);
        if wanted {
            self.norm_gradient(states, norm, of_normed, found);
        }
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
        let group = self.heads.query_width();
        let of = |part: fn(&attention::Gradients) -> &Vec<f32>| -> Vec<&[f32]> {
            parts.iter().map(|of| part(of).as_slice()).collect()
        };
        let (queries, keys, values) = (
            of(|part| &part.queries),
            of(|part| &part.keys),
            of(|part| &part.values),
        );
        let (stride, scales) = (widths.stride, [self.scale(), 1.0]);
        let mut out = vec![0.0; qkv.len()];
        for_lines(&mut out, stride, |first, lines| {
            for (parts, width, at) in [(&queries, group, 0), (&keys, e, 1), (&values, e, 2)] {
                self.join(parts, width, first, lines, (stride, widths.at[at]));
            }
            for (token, line) in (first..).zip(lines.chunks_exact_mut(stride)) {
                for (part, scale) in scales.into_iter().enumerate() {
                    let heads = &mut line[widths.at[part]..][..widths.len[part]];
                    turn_heads_back(heads, e, self.angles(token), scale);
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
