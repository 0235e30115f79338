//! Attention of new tokens over chains of segments.
//!
//! Tokens that stand next to each other and continue one segment are taken through it together: its keys and values are
//! read once for all of them. Scores stand in the order of the slots, so the softmax over them and the sum of the values
//! have the same bits whether a context is one segment or a chain of them. Slots before a token's window count for nothing;
//! blocks that are before the windows of all tokens that continue a segment are not read.

use std::sync::Arc;

use pulp::{Arch, Simd, WithSimd};

use super::math::cap;
use super::product::{Next, PANEL, product};
use super::segment::{BlockShape, Segment};
use crate::host::softmax_lines;

/// Scores held at once, in numbers.
const SCORES: usize = 1 << 16;

/// A new token: what it attends to.
#[derive(Clone, Copy)]
pub(super) struct Query<'a> {
    /// Frozen segments, outermost first.
    pub chain: &'a [Arc<Segment>],
    /// The row's own segment, which holds the token's key and value already.
    pub own: &'a Segment,
    /// Slots of the own segment that it sees, itself included.
    pub own_seen: usize,
}

impl Query<'_> {
    fn prefix(&self) -> usize {
        self.chain.iter().map(|segment| segment.len()).sum()
    }

    fn seen(&self) -> usize {
        self.prefix() + self.own_seen
    }

    fn depth(&self) -> usize {
        self.chain.len() + 1
    }

    /// The segment at a depth, the own one being the last.
    fn segment(&self, depth: usize) -> Option<&Segment> {
        match self.chain.get(depth) {
            Some(segment) => Some(segment),
            None => (depth == self.chain.len()).then_some(self.own),
        }
    }

    /// Whether both have the same segments down to a depth.
    fn shares(&self, other: &Query, depth: usize) -> bool {
        (0..=depth)
            .rev()
            .all(|d| match (self.segment(d), other.segment(d)) {
                (Some(a), Some(b)) => std::ptr::eq(a, b),
                _ => false,
            })
    }
}

/// Which heads there are.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub shape: BlockShape,
    pub layer: usize,
    /// Key/value heads.
    pub kv: usize,
    /// Query heads of each.
    pub groups: usize,
    /// Features of a head.
    pub e: usize,
    /// Slots that a token sees, its own included; none: all of its context.
    pub window: Option<usize>,
    /// What scores are capped by.
    pub cap: Option<f32>,
}

impl Heads {
    /// The first slot that a token sees which has `seen` slots up to its own.
    fn first(&self, seen: usize) -> usize {
        self.window.map_or(0, |window| seen.saturating_sub(window))
    }
}

/// Buffers that are kept from layer to layer.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    scores: Vec<f32>,
    mixed: Vec<f32>,
    inverse: Vec<f32>,
}

/// Attends with all heads.
///
/// # Shapes
/// `q`: `[queries, stride]`, of which `heads · e` are used, scaled; `out`: `[queries, out_stride]`
pub(super) fn attend(
    heads: Heads,
    queries: &[Query],
    q: &[f32],
    stride: usize,
    out: &mut [f32],
    out_stride: usize,
    scratch: &mut Scratch,
) {
    let mut from = 0;
    while from < queries.len() {
        let mut to = from;
        let mut longest = 0;
        while to < queries.len() {
            let width = longest.max(queries[to].seen()) + PANEL;
            if to > from && (to + 1 - from) * heads.groups * width > SCORES {
                break;
            }
            longest = width - PANEL;
            to += 1;
        }
        for head in 0..heads.kv {
            Arch::new().dispatch(Group {
                heads,
                head,
                queries: &queries[from..to],
                q: &q[from * stride..to * stride],
                stride,
                out: &mut out[from * out_stride..to * out_stride],
                out_stride,
                // Scores are written in whole panels: the last may reach beyond the longest line.
                width: longest + PANEL,
                scratch,
            });
        }
        from = to;
    }
}

struct Group<'a> {
    heads: Heads,
    head: usize,
    queries: &'a [Query<'a>],
    q: &'a [f32],
    stride: usize,
    out: &'a mut [f32],
    out_stride: usize,
    width: usize,
    scratch: &'a mut Scratch,
}

impl WithSimd for Group<'_> {
    type Output = ();

    // Long: scores, softmax and mix share buffers that lines borrow from, and all of it is compiled for one processor.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let heads = self.heads;
        let Heads {
            shape,
            layer,
            groups,
            e,
            ..
        } = heads;
        let (width, queries) = (self.width, self.queries);
        // Blocks of a segment that all of some tokens see nothing of; `base` slots stand before it.
        let unseen = |of: &[Query], base: usize| {
            let first = of.iter().map(|query| heads.first(query.seen())).min();
            first.unwrap_or(0).saturating_sub(base) / PANEL
        };
        let count = queries.len() * groups;
        let Scratch {
            scores,
            mixed,
            inverse,
        } = self.scratch;
        scores.resize(scores.len().max(count * width), 0.0);
        let mixed_width = shape.width();
        mixed.clear();
        mixed.resize(count * mixed_width, 0.0);
        inverse.resize(count, 0.0);
        let lines: Vec<&[f32]> = (0..count)
            .map(|line| {
                let at = line / groups * self.stride + (self.head * groups + line % groups) * e;
                &self.q[at..at + e]
            })
            .collect();
        // A closure that is called is compiled for any processor; one that is not inlined is called.
        each_segment(
            queries,
            #[inline(always)]
            |from, to, base, segment, len| {
                let lines = &lines[from * groups..to * groups];
                let blocks = segment.head(shape, layer, self.head).take(len.div_ceil(PANEL));
                for (index, (keys, _)) in blocks.enumerate().skip(unseen(&queries[from..to], base)) {
                    let out = &mut scores[from * groups * width + base + index * PANEL..];
                    product(simd, lines, keys, PANEL, false, out, width, Next::Unknown);
                }
            },
        );
        softmax_lines(
            scores
                .chunks_exact_mut(width)
                .zip(inverse.iter_mut())
                .enumerate()
                .map(|(line, (scores, inverse))| {
                    let seen = queries[line / groups].seen();
                    let (scores, hidden) = scores.split_at_mut(seen);
                    hidden.fill(0.0);
                    let (before, scores) = scores.split_at_mut(heads.first(seen));
                    before.fill(0.0);
                    if let Some(most) = heads.cap {
                        cap(scores, most);
                    }
                    (scores, inverse)
                }),
        );
        each_segment(
            queries,
            #[inline(always)]
            |from, to, base, segment, len| {
                let mut lines: Vec<&[f32]> = Vec::with_capacity((to - from) * groups);
                let blocks = segment.head(shape, layer, self.head).take(len.div_ceil(PANEL));
                for (index, (_, values)) in blocks.enumerate().skip(unseen(&queries[from..to], base)) {
                    let slots = PANEL.min(len - index * PANEL);
                    lines.clear();
                    lines.extend((from * groups..to * groups).map(|line| {
                        let at = line * width + base + index * PANEL;
                        &scores[at..at + slots]
                    }));
                    let out = &mut mixed[from * groups * mixed_width..];
                    product(
                        simd,
                        &lines,
                        values,
                        mixed_width,
                        true,
                        out,
                        mixed_width,
                        Next::Unknown,
                    );
                }
            },
        );
        for (line, mixed) in mixed.chunks_exact(mixed_width).enumerate() {
            let at = line / groups * self.out_stride + (self.head * groups + line % groups) * e;
            for (out, mixed) in self.out[at..at + e].iter_mut().zip(mixed) {
                *out = mixed * inverse[line];
            }
        }
    }
}

/// Calls `visit(from, to, base, segment, len)` for every segment and the neighbouring queries `from..to` that continue
/// it; `base` slots stand before it, and `len` of its own are seen by the last of them. Outer segments come first.
#[inline(always)]
fn each_segment<'a>(queries: &[Query<'a>], mut visit: impl FnMut(usize, usize, usize, &'a Segment, usize)) {
    let deepest = queries.iter().map(Query::depth).max().unwrap_or(0);
    for depth in 0..deepest {
        let mut from = 0;
        while from < queries.len() {
            let query = queries[from];
            let neighbours = &queries[from..];
            let to = from
                + neighbours
                    .iter()
                    .take_while(|other| query.shares(other, depth))
                    .count()
                    .max(1);
            let base = query.chain.iter().take(depth).map(|segment| segment.len()).sum();
            let seen = match query.chain.get(depth) {
                Some(segment) => Some((&**segment, segment.len())),
                None if depth == query.chain.len() => Some((query.own, queries[to - 1].own_seen)),
                None => None,
            };
            if let Some((segment, len)) = seen {
                visit(from, to, base, segment, len);
            }
            from = to;
        }
    }
}
