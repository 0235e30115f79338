//! The way back through a layer.

use std::ops::Range;

use rayon::prelude::*;

use super::super::attention;
use super::super::lines::{Lines, Scratch, for_all_lines, for_lines, sum_of_parts};
use super::super::parameters::{Found, LayerParameters, Projection, Values};
use super::super::projection::Laid;
use super::{Frame, Kept};
use crate::cpu::buffer::Buffer;
use crate::cpu::math::{gated, gated_backward, norm_lines_backward, norm_weight_gradient, turn_heads_back};
use crate::cpu::product::PANEL;

impl Frame {
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
        let of_mixed = self.output_backward(layer, &mixed, grads, found);
        let widths = self.widths();
        let stride = widths.len[0].next_multiple_of(PANEL);
        let of_mixed = Lines::new(&of_mixed, stride).columns(0, widths.len[0]);
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

    /// The gradients of what attention mixed, `[n, h · e rounded up to whole panels]`, given those of the states in the middle.
    fn output_backward(
        &self,
        layer: &LayerParameters,
        mixed: &[f32],
        grads: &[f32],
        found: &mut Found,
    ) -> Buffer {
        let (width, inner) = (self.width(), self.widths().len[0]);
        let x = Lines::new(mixed, inner);
        let marks = &self.forest.marks;
        Projection::gradients(&[&layer.output], (x, marks), &[self.states(grads)], found);
        let stride = inner.next_multiple_of(PANEL);
        let mut of_mixed = Buffer::unset(x.count() * stride);
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
        of_mixed
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
        let active = active.sized(gate_up.len() / 2);
        let down = layer.down.backward();
        let buffers = [(gate_up, 2 * half), (&mut *active, half)];
        for_all_lines(buffers, |first, [gate_up, active], [of_active, low, _]| {
            gated(gate_up, half, active);
            let of_active = of_active.sized(active.len());
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
        let (normed, of_normed) = (normed.sized(states.len()), of_normed.sized(states.len()));
        let laid: Vec<Laid> = match wanted {
            true => projections
                .par_iter()
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
    ) -> Buffer {
        let (widths, e) = (self.widths(), self.heads.e);
        let prepared = self.prepared(layer, qkv);
        let mixed = Lines::new(mixed, widths.len[0]);
        let parts: Vec<attention::Gradients> = self
            .parts(self.qkv(prepared.as_deref().unwrap_or(qkv)))
            .par_iter()
            .zip(log_sums)
            .map(|(part, log_sums)| part.backward(mixed, log_sums, grads))
            .collect();
        drop(prepared);
        let group = self.heads.query_width();
        let of = |part: fn(&attention::Gradients) -> &Buffer| -> Vec<&[f32]> {
            parts.iter().map(|of| &**part(of)).collect()
        };
        let (queries, keys, values) = (
            of(|part| &part.queries),
            of(|part| &part.keys),
            of(|part| &part.values),
        );
        let (stride, scales) = (widths.stride, [self.scale(), 1.0]);
        let mut out = Buffer::unset(qkv.len());
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
        let x = Lines::new(qkv, stride).columns(columns.start, columns.len());
        found.put(norm, || {
            let grads = Lines::new(grads, stride).columns(columns.start, columns.len());
            sum_of_parts(x.count(), e, |rows, sum| {
                let heads = x.rows(rows.clone()).pieces(e).zip(grads.rows(rows).pieces(e));
                norm_weight_gradient(heads, self.eps, sum);
            })
        });
        for_lines(grads, stride, |first, lines| {
            let mut of_x = vec![0.0; columns.len()];
            for (token, line) in (first..).zip(lines.chunks_exact_mut(stride)) {
                let grads = &mut line[columns.clone()];
                of_x.fill(0.0);
                norm_lines_backward(x.line(token), norm.get(), self.eps, grads, &mut of_x, e);
                grads.copy_from_slice(&of_x);
            }
        });
    }
}
