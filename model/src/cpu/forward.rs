//! Tokens through all layers.
//!
//! A task is some tokens of some rows. It runs on one thread, from embedding to the final norm, and tasks run beside
//! each other. Where there are too few rows for that, or the weights are too large for every core to read them all, the
//! tasks go one after another and each product is shared out instead.

use std::sync::Arc;

use rayon::prelude::*;

use super::attention::{self, Heads, Query, attend};
use super::math::{Angles, exponentials, gate_lines, norm_lines, prepare_heads};
use super::product::PANEL;
use super::segment::Segment;
use super::{Cache, Dense, Row, Weights};

/// Most tokens of a task: its buffers fit the second-level cache.
const TASK: usize = 48;
/// Most tokens of a task whose products are shared out.
const TEAM_TASK: usize = 256;
/// Layers larger than this (bytes) do not stay in the caches: cores that each read all of them share out what memory
/// delivers, and need the more rows to make up for it the more of them there are.
const CACHED: usize = 24 << 20;
/// Rows a core for each core that reads beside it, and rows that are enough however many do.
const BUSY: (usize, usize) = (4, 32);

/// Buffers of a task.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    x: Vec<f32>,
    normed: Vec<f32>,
    qkv: Vec<f32>,
    mixed: Vec<f32>,
    ff: Vec<f32>,
    logits: Vec<f32>,
    attention: attention::Scratch,
}

/// What is wanted of a row's tokens.
enum Wanted<'a> {
    /// `[d]`: the state after the final norm at the last token.
    Last(&'a mut [f32]),
    /// The log-probabilities, at a temperature, of the tokens that follow each of the row's.
    Scores(f64, &'a [u32], &'a mut Vec<f32>),
}

/// A row at work.
struct Lane<'a> {
    row: &'a mut Row,
    tokens: &'a [u32],
    wanted: Wanted<'a>,
}

impl Weights {
    /// Appends `tokens[r]` (none empty) to row `r`: states after the final norm at each row's last token, `[b, d]`.
    pub fn advance(&self, cache: &mut Cache, tokens: &[impl AsRef<[u32]>]) -> Vec<f32> {
        let d = self.config.hidden_size;
        let mut states = vec![0.0; tokens.len() * d];
        let lanes = cache
            .rows
            .iter_mut()
            .zip(tokens)
            .zip(states.chunks_exact_mut(d))
            .map(|((row, tokens), state)| Lane {
                row,
                tokens: tokens.as_ref(),
                wanted: Wanted::Last(state),
            })
            .collect();
        self.run(lanes);
        states
    }

    /// Log-probabilities of `tokens[r]` (none empty) in row `r`, whose last state is `states[r]`:
    /// `log softmax(logits / temperature)`. All tokens but the last are appended.
    pub fn score(
        &self,
        cache: &mut Cache,
        states: &[f32],
        tokens: &[impl AsRef<[u32]>],
        temperature: f64,
    ) -> Vec<Vec<f32>> {
        let mut logits = self.logits(states);
        let mut scores: Vec<Vec<f32>> = logits
            .chunks_exact_mut(self.config.vocab_size)
            .zip(tokens)
            .map(|(logits, tokens)| vec![logp(logits, tokens.as_ref()[0] as usize, temperature)])
            .collect();
        let lanes = cache
            .rows
            .iter_mut()
            .zip(tokens)
            .zip(&mut scores)
            .filter(|((_, tokens), _)| tokens.as_ref().len() > 1)
            .map(|((row, tokens), scores)| {
                let tokens = tokens.as_ref();
                Lane {
                    row,
                    tokens: &tokens[..tokens.len() - 1],
                    wanted: Wanted::Scores(temperature, &tokens[1..], scores),
                }
            })
            .collect();
        self.run(lanes);
        scores
    }

    /// Logits of states.
    ///
    /// # Shapes
    /// `[b, d]` to `[b, v]`
    pub fn logits(&self, states: &[f32]) -> Vec<f32> {
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
                return;
            }
            let mut padded = vec![0.0; lines.len() * columns];
            self.head.multiply(&lines, false, team, &mut padded);
            for (logits, padded) in logits.chunks_exact_mut(v).zip(padded.chunks_exact(columns)) {
                logits.copy_from_slice(&padded[..v]);
            }
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

    fn run(&self, mut lanes: Vec<Lane>) {
        // Rows that continue the same segments become neighbours. No result depends on the order.
        let key = |lane: &Lane| -> Vec<*const Segment> { lane.row.chain.iter().map(Arc::as_ptr).collect() };
        if !lanes.is_sorted_by_key(key) {
            lanes.sort_by_cached_key(key);
        }
        let total: usize = lanes.iter().map(|lane| lane.tokens.len()).sum();
        if self.is_team_work(lanes.len(), total) {
            cut(&mut lanes, TEAM_TASK)
                .into_iter()
                .for_each(|lanes| self.run_task(lanes, TEAM_TASK, true));
        } else {
            let task = self.task(total);
            cut(&mut lanes, task)
                .into_par_iter()
                .for_each(|lanes| self.run_task(lanes, TASK, false));
        }
    }

    /// A task's lanes: together where they fit, else one after another in windows of `most` tokens.
    fn run_task(&self, lanes: &mut [Lane], most: usize, team: bool) {
        let mut scratch = self
            .scratch
            .lock()
            .expect("no task panics while it holds it")
            .pop()
            .unwrap_or_default();
        let longest = lanes.iter().map(|lane| lane.tokens.len()).max().unwrap_or(0);
        for from in (0..longest).step_by(most) {
            self.run_window(lanes, from, most, team, &mut scratch);
        }
        self.scratch
            .lock()
            .expect("no task panics while it holds it")
            .push(scratch);
    }

    /// Tokens `from..from + most` of some lanes.
    fn run_window(&self, lanes: &mut [Lane], from: usize, most: usize, team: bool, scratch: &mut Scratch) {
        let c = &self.config;
        let (d, e, kv, groups) = (c.hidden_size, c.head_dim, c.num_key_value_heads, c.groups());
        let (width, eps) = (d.next_multiple_of(PANEL), c.rms_norm_eps as f32);
        let scale = (e as f32).powf(-0.5);
        let spans: Vec<usize> = lanes
            .iter()
            .map(|lane| lane.tokens.len().saturating_sub(from).min(most))
            .collect();
        let n: usize = spans.iter().sum();
        scratch.x.clear();
        let mut angles: Vec<Angles> = Vec::with_capacity(n);
        for (lane, &span) in lanes.iter_mut().zip(&spans) {
            for (at, &token) in lane.tokens[lane.tokens.len().min(from)..][..span]
                .iter()
                .enumerate()
            {
                scratch
                    .x
                    .extend_from_slice(&self.embedding[token as usize * d..][..d]);
                scratch.x.resize(scratch.x.len() + width - d, 0.0);
                angles.push(Angles::at(&self.frequencies, lane.row.length + at));
            }
            lane.row.length += span;
            Arc::make_mut(&mut lane.row.own).grow(&self.block, span);
        }
        fill(&mut scratch.normed, n * width);
        let inner = kv * groups * e;
        let (q_width, k_width) = (inner.next_multiple_of(PANEL), (kv * e).next_multiple_of(PANEL));
        for (index, layer) in self.layers.iter().enumerate() {
            norm_lines(
                &scratch.x,
                width,
                &layer.attention_norm,
                eps,
                &mut scratch.normed,
                width,
            );
            let stride = layer.qkv.matrix.columns();
            fill(&mut scratch.qkv, n * stride);
            layer
                .qkv
                .apply(&scratch.normed, width, d, false, team, &mut scratch.qkv);
            let mut rest = scratch.qkv.as_mut_slice();
            let mut token = 0;
            for (lane, &span) in lanes.iter_mut().zip(&spans) {
                let own = Arc::make_mut(&mut lane.row.own);
                let start = own.len() - span;
                for slot in 0..span {
                    let (line, after) = rest.split_at_mut(stride);
                    rest = after;
                    let (q, kv_line) = line.split_at_mut(q_width);
                    let (k, v) = kv_line.split_at_mut(k_width);
                    prepare_heads(
                        &mut q[..inner],
                        e,
                        layer.q_norm.as_deref(),
                        eps,
                        &angles[token],
                        scale,
                    );
                    prepare_heads(
                        &mut k[..kv * e],
                        e,
                        layer.k_norm.as_deref(),
                        eps,
                        &angles[token],
                        1.0,
                    );
                    for (head, (key, value)) in k.chunks_exact(e).zip(v.chunks_exact(e)).take(kv).enumerate()
                    {
                        own.write(&self.block, index, head, start + slot, key, value);
                    }
                    token += 1;
                }
            }
            let queries: Vec<Query> = lanes
                .iter()
                .zip(&spans)
                .flat_map(|(lane, &span)| {
                    let own: &Segment = &lane.row.own;
                    let chain = lane.row.chain.as_slice();
                    let start = own.len() - span;
                    (0..span).map(move |slot| Query {
                        chain,
                        own,
                        own_seen: start + slot + 1,
                    })
                })
                .collect();
            let heads = Heads {
                shape: self.block,
                layer: index,
                kv,
                groups,
                e,
            };
            fill(&mut scratch.mixed, n * inner);
            if team {
                let part = n.div_ceil(rayon::current_num_threads());
                queries
                    .par_chunks(part)
                    .zip(scratch.qkv.par_chunks(part * stride))
                    .zip(scratch.mixed.par_chunks_mut(part * inner))
                    .for_each(|((queries, q), mixed)| {
                        attend(
                            heads,
                            queries,
                            q,
                            stride,
                            mixed,
                            inner,
                            &mut attention::Scratch::default(),
                        );
                    });
            } else {
                let Scratch {
                    qkv,
                    mixed,
                    attention,
                    ..
                } = scratch;
                attend(heads, &queries, qkv, stride, mixed, inner, attention);
            }
            layer
                .output
                .apply(&scratch.mixed, inner, inner, true, team, &mut scratch.x);
            norm_lines(
                &scratch.x,
                width,
                &layer.mlp_norm,
                eps,
                &mut scratch.normed,
                width,
            );
            let stride = layer.gate_up.matrix.columns();
            fill(&mut scratch.ff, n * stride);
            layer
                .gate_up
                .apply(&scratch.normed, width, d, false, team, &mut scratch.ff);
            gate_lines(&mut scratch.ff, stride, stride / 2);
            layer.down.apply(
                &scratch.ff,
                stride,
                c.intermediate_size,
                true,
                team,
                &mut scratch.x,
            );
        }
        self.give(lanes, &spans, from, team, scratch);
    }

    /// What is wanted of a window's last states.
    fn give(&self, lanes: &mut [Lane], spans: &[usize], from: usize, team: bool, scratch: &mut Scratch) {
        let (d, v, eps) = (
            self.config.hidden_size,
            self.config.vocab_size,
            self.config.rms_norm_eps as f32,
        );
        let width = d.next_multiple_of(PANEL);
        let mut first = 0;
        for (lane, &span) in lanes.iter_mut().zip(spans) {
            let states = &scratch.x[first * width..(first + span) * width];
            first += span;
            let end = from + span == lane.tokens.len();
            match &mut lane.wanted {
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
                    self.head.multiply(&lines, false, team, &mut scratch.logits);
                    for (logits, &target) in scratch.logits.chunks_exact_mut(columns).zip(&targets[from..]) {
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
    fn apply(&self, x: &[f32], stride: usize, k: usize, add: bool, team: bool, out: &mut [f32]) {
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

/// Cuts lanes into neighbours of at most `most` tokens, at least one lane each.
fn cut<'l, 'a>(mut lanes: &'l mut [Lane<'a>], most: usize) -> Vec<&'l mut [Lane<'a>]> {
    let mut parts = Vec::new();
    while !lanes.is_empty() {
        let mut tokens = lanes[0].tokens.len();
        let more = lanes[1..].iter().take_while(|lane| {
            tokens += lane.tokens.len();
            tokens <= most
        });
        let count = 1 + more.count();
        let (part, rest) = std::mem::take(&mut lanes).split_at_mut(count);
        parts.push(part);
        lanes = rest;
    }
    parts
}
