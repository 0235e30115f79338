//! Tokens through all layers.
//!
//! A task is some tokens of some rows. It runs on one thread, from embedding to the final norm, and tasks run beside
//! each other. Where there are too few rows for that, or the weights are too large for every core to read them all, the
//! tasks go one after another and each product is shared out instead.

use std::sync::Arc;

use rayon::prelude::*;

use super::attention::{self, Heads, Query, attend};
use super::job::{Job, Wanted, Window, cut};
use super::math::{Angles, add_lines, cap, divide, gate_lines, norm_line, norm_lines, prepare_heads};
use super::product::PANEL;
use super::scratch::Scratch;
use super::segment::{Row, Segment};
use super::weights::{Branch, Dense, LayerWeights, Weights};
use crate::host::exponentials;

/// Most tokens of a task: its buffers fit the second-level cache.
const TASK: usize = 48;
/// Most tokens of a task whose products are shared out.
const TEAM_TASK: usize = 256;
/// Layers larger than this (bytes) do not stay in the caches: cores that each read all of them share out what memory
/// delivers, and need the more rows to make up for it the more of them there are.
const CACHED: usize = 24 << 20;
/// Rows a core for each core that reads beside it, and rows that are enough however many do.
const BUSY: (usize, usize) = (4, 32);

impl Weights {
    /// Appends tokens (none empty) to rows: states after the final norm at each row's last token, `[b, d]`.
    pub fn advance<'a>(
        &self,
        rows: &mut [Row],
        tokens: impl ExactSizeIterator<Item = &'a [u32]>,
    ) -> Vec<f32> {
        let d = self.config.hidden_size;
        assert_eq!(rows.len(), tokens.len(), "tokens for each row");
        let mut states = vec![0.0; tokens.len() * d];
        let jobs = rows
            .iter_mut()
            .zip(tokens)
            .zip(states.chunks_exact_mut(d))
            .map(|((row, tokens), state)| Job {
                row,
                tokens,
                wanted: Wanted::Last(state),
            })
            .collect();
        self.run(jobs);
        states
    }

    /// Log-probabilities of `tokens[r]` (none empty) in row `r`, whose last state is `states[r]`:
    /// `log softmax(logits / temperature)`. All tokens but the last are appended.
    pub fn score(
        &self,
        rows: &mut [Row],
        states: &[f32],
        tokens: &[&[u32]],
        temperature: f64,
    ) -> Vec<Vec<f32>> {
        let mut logits = self.head_logits(states);
        let mut scores: Vec<Vec<f32>> = logits
            .chunks_exact_mut(self.config.vocab_size)
            .zip(tokens)
            .map(|(logits, tokens)| vec![logp(logits, tokens[0] as usize, temperature)])
            .collect();
        let jobs = rows
            .iter_mut()
            .zip(tokens)
            .zip(&mut scores)
            .filter(|((_, tokens), _)| tokens.len() > 1)
            .map(|((row, tokens), scores)| Job {
                row,
                tokens: &tokens[..tokens.len() - 1],
                wanted: Wanted::Scores(temperature, &tokens[1..], scores),
            })
            .collect();
        self.run(jobs);
        scores
    }

    /// Logits of states.
    ///
    /// # Shapes
    /// `[b, d]` to `[b, v]`
    pub fn head_logits(&self, states: &[f32]) -> Vec<f32> {
        let (d, v) = (self.config.hidden_size, self.config.vocab_size);
        let columns = self.head.columns();
        let rows = states.len() / d;
        let mut logits = vec![0.0; rows * v];
        let team = self.is_team_work(rows, rows);
        let task = if team { TEAM_TASK } else { self.task(rows) };
        let each = |(states, logits): (&[f32], &mut [f32])| {
            let lines: Vec<&[f32]> = states.chunks_exact(d).collect();
            if columns == v {
                self.head.multiply(&lines, false, team, logits);
            } else {
                let mut padded = vec![0.0; lines.len() * columns];
                self.head.multiply(&lines, false, team, &mut padded);
                for (logits, padded) in logits.chunks_exact_mut(v).zip(padded.chunks_exact(columns)) {
                    logits.copy_from_slice(&padded[..v]);
                }
            }
            self.scale_logits(logits);
        };
        if team {
            states
                .chunks(task * d)
                .zip(logits.chunks_mut(task * v))
                .for_each(each);
        } else {
            states
                .par_chunks(task * d)
                .zip(logits.par_chunks_mut(task * v))
                .for_each(each);
        }
        logits
    }

    /// What becomes of the head's products.
    fn scale_logits(&self, logits: &mut [f32]) {
        let scales = &self.config.scales;
        if scales.logits_scaling != 1.0 {
            divide(logits, scales.logits_scaling as f32);
        }
        if let Some(most) = scales.final_logit_softcapping {
            cap(logits, most as f32);
        }
    }

    fn is_team_work(&self, rows: usize, tokens: usize) -> bool {
        let threads = rayon::current_num_threads();
        let busy = threads * (BUSY.0 * threads).min(BUSY.1);
        threads > 1 && (rows < threads || (self.bytes() > CACHED && tokens < busy))
    }

    /// Tokens of a task, so that every thread has one.
    fn task(&self, tokens: usize) -> usize {
        tokens
            .div_ceil(rayon::current_num_threads())
            .next_multiple_of(4)
            .min(TASK)
    }

    fn run(&self, mut jobs: Vec<Job>) {
        // Rows that continue the same segments become neighbours. No result depends on the order.
        let key = |job: &Job| -> Vec<*const Segment> { job.row.chain.iter().map(Arc::as_ptr).collect() };
        if !jobs.is_sorted_by_key(key) {
            jobs.sort_by_cached_key(key);
        }
        let total: usize = jobs.iter().map(|job| job.tokens.len()).sum();
        if self.is_team_work(jobs.len(), total) {
            // On one of the threads, as one from without would have to be woken up after each product.
            rayon::scope(|_| {
                cut(&mut jobs, TEAM_TASK)
                    .into_iter()
                    .for_each(|jobs| self.run_task(jobs, TEAM_TASK, true));
            });
        } else {
            let task = self.task(total);
            cut(&mut jobs, task)
                .into_par_iter()
                .for_each(|jobs| self.run_task(jobs, TASK, false));
        }
    }

    /// A task's jobs: together where they fit, else one after another in windows of `most` tokens.
    fn run_task(&self, jobs: &mut [Job], most: usize, team: bool) {
        let mut scratch = self
            .scratch
            .lock()
            .expect("no task panics while it holds it")
            .pop()
            .unwrap_or_default();
        let longest = jobs.iter().map(|job| job.tokens.len()).max().unwrap_or(0);
        for from in (0..longest).step_by(most) {
            self.run_window(jobs, from, most, team, &mut scratch);
        }
        self.scratch
            .lock()
            .expect("no task panics while it holds it")
            .push(scratch);
    }

    /// Tokens `from..from + most` of some jobs.
    fn run_window(&self, jobs: &mut [Job], from: usize, most: usize, team: bool, scratch: &mut Scratch) {
        let window = self.begin(jobs, from, most, team, scratch);
        for (index, layer) in self.layers.iter().enumerate() {
            self.normed(layer.before_attention.as_deref(), scratch);
            self.project(layer, index, jobs, &window, scratch);
            self.attend(layer, index, jobs, &window, scratch);
            self.normed(layer.before_feed_forward.as_deref(), scratch);
            self.feed_forward(layer, &window, scratch);
        }
        self.give(jobs, &window, scratch);
    }

    /// Embeds the window's tokens, and makes room for them in their rows.
    fn begin(&self, jobs: &mut [Job], from: usize, most: usize, team: bool, scratch: &mut Scratch) -> Window {
        let (d, width) = (self.config.hidden_size, self.width());
        let spans: Vec<usize> = jobs
            .iter()
            .map(|job| job.tokens.len().saturating_sub(from).min(most))
            .collect();
        scratch.x.clear();
        let mut positions = Vec::with_capacity(spans.iter().sum());
        for (job, &span) in jobs.iter_mut().zip(&spans) {
            let tokens = &job.tokens[job.tokens.len().min(from)..][..span];
            for (at, &token) in tokens.iter().enumerate() {
                self.embed(token as usize, &mut scratch.x);
                scratch.x.resize(scratch.x.len() + width - d, 0.0);
                positions.push(job.row.length + at);
            }
            job.row.length += span;
            Arc::make_mut(&mut job.row.own).grow(&self.block, span);
        }
        let of_table = |table| positions.iter().map(|&at| Angles::at(table, at)).collect();
        Window {
            from,
            spans,
            angles: self.tables.iter().map(of_table).collect(),
            team,
        }
    }

    /// Width of a line of states.
    fn width(&self) -> usize {
        self.config.hidden_size.next_multiple_of(PANEL)
    }

    /// The norm of all states; themselves where there is none.
    fn normed(&self, weight: Option<&[f32]>, scratch: &mut Scratch) {
        let (width, eps) = (self.width(), self.config.rms_norm_eps as f32);
        fill(&mut scratch.normed, scratch.x.len());
        match weight {
            Some(weight) => norm_lines(&scratch.x, width, weight, eps, &mut scratch.normed, width),
            None => scratch.normed.copy_from_slice(&scratch.x),
        }
    }

    /// Adds a product of lines, `k` numbers each at multiples of `stride`, to the states.
    fn add(
        &self,
        branch: &Branch,
        (lines, stride, k): (&[f32], usize, usize),
        team: bool,
        x: &mut [f32],
        buffer: &mut Vec<f32>,
    ) {
        let c = &self.config;
        let multiplier = c.scales.residual_multiplier as f32;
        if branch.norm.is_none() && multiplier == 1.0 {
            branch.dense.apply((lines, stride), k, true, team, x);
            return;
        }
        fill(buffer, x.len());
        branch.dense.apply((lines, stride), k, false, team, buffer);
        let norm = branch
            .norm
            .as_deref()
            .map(|weight| (weight, c.rms_norm_eps as f32));
        add_lines(buffer, norm, multiplier, (c.hidden_size, self.width()), x);
    }

    /// Queries, keys and values, rotated; keys and values go to their rows.
    fn project(
        &self,
        layer: &LayerWeights,
        index: usize,
        jobs: &mut [Job],
        window: &Window,
        scratch: &mut Scratch,
    ) {
        let c = &self.config;
        let (e, eps) = (c.head_dim, c.rms_norm_eps as f32);
        let (q_len, k_len) = (c.num_attention_heads * e, c.num_key_value_heads * e);
        let (q_width, k_width) = (q_len.next_multiple_of(PANEL), k_len.next_multiple_of(PANEL));
        let scale = match (c.scales.attention_multiplier, c.scales.query_pre_attn_scalar) {
            (None, None) => (e as f32).powf(-0.5),
            _ => c.attention_scale() as f32,
        };
        let norms = (layer.q_norm.as_deref(), layer.k_norm.as_deref());
        // Of each head, or of all of a token's together.
        let (q_norm, k_norm, whole) = match c.has_qk_norm() {
            true => (norms.0, norms.1, None),
            false => (None, None, norms.0.zip(norms.1)),
        };
        let table = c.rotation(index);
        let angles = &window.angles[table.unwrap_or(0)];
        let stride = layer.qkv.matrix.columns();
        fill(&mut scratch.qkv, window.tokens() * stride);
        let normed = (scratch.normed.as_slice(), self.width());
        layer
            .qkv
            .apply(normed, c.hidden_size, false, window.team, &mut scratch.qkv);
        let mut lines = scratch.qkv.chunks_exact_mut(stride).zip(angles);
        for (job, &span) in jobs.iter_mut().zip(&window.spans) {
            let own = Arc::make_mut(&mut job.row.own);
            let start = own.len() - span;
            for (slot, (line, angles)) in (start..).zip(lines.by_ref().take(span)) {
                let (q, kv) = line.split_at_mut(q_width);
                let (k, v) = kv.split_at_mut(k_width);
                let (q, k) = (&mut q[..q_len], &mut k[..k_len]);
                if let Some((q_norm, k_norm)) = whole {
                    norm_line(q, q_norm, eps);
                    norm_line(k, k_norm, eps);
                }
                let angles = table.map(|_| angles);
                prepare_heads(q, e, q_norm, eps, angles, scale);
                prepare_heads(k, e, k_norm, eps, angles, 1.0);
                let heads = k.chunks_exact(e).zip(v.chunks_exact(e));
                for (head, (key, value)) in heads.enumerate() {
                    own.write(&self.block, index, head, slot, key, value);
                }
            }
        }
    }

    /// Attention and its output, added to the states.
    fn attend(
        &self,
        layer: &LayerWeights,
        index: usize,
        jobs: &[Job],
        window: &Window,
        scratch: &mut Scratch,
    ) {
        let queries: Vec<Query> = jobs
            .iter()
            .zip(&window.spans)
            .flat_map(|(job, &span)| {
                let own: &Segment = &job.row.own;
                let chain = job.row.chain.as_slice();
                let start = own.len() - span;
                (0..span).map(move |slot| Query {
                    chain,
                    own,
                    own_seen: start + slot + 1,
                })
            })
            .collect();
        let c = &self.config;
        let heads = Heads {
            shape: self.block,
            layer: index,
            kv: c.num_key_value_heads,
            groups: c.groups(),
            e: c.head_dim,
            window: c.layers.window(index),
            cap: c.scales.attn_logit_softcapping.map(|cap| cap as f32),
        };
        let (stride, inner) = (layer.qkv.matrix.columns(), c.num_attention_heads * c.head_dim);
        let Scratch {
            x,
            qkv,
            mixed,
            attention,
            branch,
            ..
        } = scratch;
        fill(mixed, queries.len() * inner);
        if window.team {
            let part = queries.len().div_ceil(rayon::current_num_threads());
            queries
                .par_chunks(part)
                .zip(qkv.par_chunks(part * stride))
                .zip(mixed.par_chunks_mut(part * inner))
                .for_each(|((queries, q), mixed)| {
                    let mut scratch = attention::Scratch::default();
                    attend(heads, queries, q, stride, mixed, inner, &mut scratch);
                });
        } else {
            attend(heads, &queries, qkv, stride, mixed, inner, attention);
        }
        self.add(&layer.output, (&*mixed, inner, inner), window.team, x, branch);
    }

    /// The feed-forward, added to the states.
    fn feed_forward(&self, layer: &LayerWeights, window: &Window, scratch: &mut Scratch) {
        let Scratch {
            x,
            normed,
            ff,
            branch,
            ..
        } = scratch;
        let (c, team) = (&self.config, window.team);
        let stride = layer.gate_up.matrix.columns();
        fill(ff, window.tokens() * stride);
        let normed = (normed.as_slice(), self.width());
        layer.gate_up.apply(normed, c.hidden_size, false, team, ff);
        gate_lines(ff, stride, stride / 2, c.hidden_act);
        self.add(&layer.down, (&*ff, stride, c.intermediate_size), team, x, branch);
    }

    /// What is wanted of a window's last states.
    fn give(&self, jobs: &mut [Job], window: &Window, scratch: &mut Scratch) {
        let (d, v, eps) = (
            self.config.hidden_size,
            self.config.vocab_size,
            self.config.rms_norm_eps as f32,
        );
        let width = self.width();
        let mut first = 0;
        for (job, &span) in jobs.iter_mut().zip(&window.spans) {
            let states = &scratch.x[first * width..(first + span) * width];
            first += span;
            let end = window.from + span == job.tokens.len();
            match &mut job.wanted {
                Wanted::Last(out) => {
                    if span > 0 && end {
                        norm_lines(&states[(span - 1) * width..], width, &self.norm, eps, out, d);
                    }
                }
                Wanted::Scores(temperature, targets, scores) => {
                    norm_lines(states, width, &self.norm, eps, &mut scratch.normed, width);
                    let lines: Vec<&[f32]> = scratch
                        .normed
                        .chunks_exact(width)
                        .take(span)
                        .map(|x| &x[..d])
                        .collect();
                    let columns = self.head.columns();
                    fill(&mut scratch.logits, span * columns);
                    self.head
                        .multiply(&lines, false, window.team, &mut scratch.logits);
                    self.scale_logits(&mut scratch.logits);
                    let logits = scratch.logits.chunks_exact_mut(columns);
                    for (logits, &target) in logits.zip(&targets[window.from..]) {
                        scores.push(logp(&mut logits[..v], target as usize, *temperature));
                    }
                }
            }
        }
    }
}

/// `log softmax(logits / temperature)[target]`; the logits are used up.
fn logp(logits: &mut [f32], target: usize, temperature: f64) -> f32 {
    let chosen = f64::from(logits[target]);
    let (most, sum) = exponentials(logits, (1.0 / temperature) as f32);
    ((chosen - f64::from(most)) / temperature - f64::from(sum).ln()) as f32
}

impl Dense {
    /// `out (+)= x · W + b`, lines of `x` at multiples of `stride`, `k` numbers each.
    fn apply(&self, (x, stride): (&[f32], usize), k: usize, add: bool, team: bool, out: &mut [f32]) {
        let lines: Vec<&[f32]> = x.chunks_exact(stride).map(|line| &line[..k]).collect();
        self.matrix.multiply(&lines, add, team, out);
        if let Some(bias) = &self.bias {
            for line in out.chunks_exact_mut(bias.len()) {
                line.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
            }
        }
    }
}

/// Gives a buffer its length; what it holds stays.
fn fill(buffer: &mut Vec<f32>, len: usize) {
    buffer.resize(len, 0.0);
}
