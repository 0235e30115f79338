//! Attention over trees, forward and backward, a key/value head of a tree at a time. Scores are held for some queries and computed
//! again on the way back: never for all tokens against all.
//!
//! `W` is the length of a line of scores: a path's nodes one behind the other, each filled up to whole panels.

use std::ops::Range;

use crate::cpu::buffer::Buffer;
use crate::cpu::product::PANEL;
use crate::host::{exponentials, exponentials_less_scaled, sum_of_products};

use super::lines::{Lines, Packed, packed, rows};
use super::tree::{Forest, Node};

/// Scores held at once by a thread, in numbers, and lines of them.
const SCORES: usize = 1 << 19;
const LINES: usize = 48;

/// The heads of a layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    /// Key/value heads.
    pub kv: usize,
    /// Query heads of each.
    pub groups: usize,
    /// Features of a head.
    pub e: usize,
    /// Tokens that a token sees, itself included; none: all before it.
    pub window: Option<usize>,
}

impl Heads {
    /// Features of the query heads of one key/value head.
    pub fn query_width(&self) -> usize {
        self.groups * self.e
    }
}

/// Queries, scaled and rotated, keys, rotated, and values: `[n, kv · groups · e]`, `[n, kv · e]` twice.
#[derive(Clone, Copy)]
pub(super) struct Qkv<'a> {
    pub queries: Lines<'a>,
    pub keys: Lines<'a>,
    pub values: Lines<'a>,
}

/// A key/value head of a tree.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub forest: &'a Forest,
    pub tree: &'a Range<usize>,
    pub heads: Heads,
    pub head: usize,
    pub qkv: Qkv<'a>,
}

/// What a part's queries come to.
pub(super) struct Mixed {
    /// `[tokens of the tree, groups · e]`
    pub mixed: Buffer,
    /// `[tokens of the tree, groups]`: log of the sum of the exponentials of the scores.
    pub log_sums: Vec<f32>,
}

/// Gradients of a part.
pub(super) struct Gradients {
    /// `[tokens of the tree, groups · e]`
    pub queries: Buffer,
    /// `[tokens of the tree, e]`
    pub keys: Buffer,
    /// `[tokens of the tree, e]`
    pub values: Buffer,
}

/// Neighbouring tokens of a node that are run together, and the nodes that they see.
struct Block<'a> {
    node: &'a Node,
    /// Of the node's tokens.
    own: Range<usize>,
    /// The nodes of the path, each with its place in a line of scores and how many of its tokens are seen.
    seen: Vec<(usize, usize, usize)>,
    /// `W`
    width: usize,
}

impl<'a> Part<'a> {
    fn node(&self, node: usize) -> &'a Node {
        &self.forest.nodes[node]
    }

    /// Where a node's tokens stand in the tree.
    fn place(&self, node: &Node) -> Range<usize> {
        let first = self.node(self.tree.start).tokens.start;
        node.tokens.start - first..node.tokens.end - first
    }

    fn tokens(&self) -> usize {
        self.forest.tokens_of(self.tree).len()
    }

    /// A node's own rows of the head's keys or values.
    fn rows(&self, lines: Lines<'a>, node: &Node) -> Lines<'a> {
        let e = self.heads.e;
        lines.columns(self.head * e, e).rows(node.tokens.clone())
    }

    /// Makes something of each node's rows of the head.
    fn of_nodes(&self, lines: Lines<'a>, make: impl Fn(Lines<'a>) -> Packed) -> Vec<Packed> {
        self.tree
            .clone()
            .map(|node| make(self.rows(lines, self.node(node))))
            .collect()
    }

    /// A buffer for the scores of any of some blocks.
    fn buffer(&self, blocks: &[Block]) -> Buffer {
        let scores = |block: &Block| block.own.len() * self.heads.groups * block.width;
        Buffer::unset(blocks.iter().map(scores).max().unwrap_or(0))
    }

    /// All tokens of the tree.
    fn blocks(&self) -> impl Iterator<Item = Block<'a>> {
        self.tree.clone().flat_map(move |node| {
            let node = self.node(node);
            let before: usize = node.path[..node.path.len() - 1]
                .iter()
                .map(|&node| self.node(node).tokens.len().next_multiple_of(PANEL))
                .sum();
            let len = node.tokens.len();
            let most = (SCORES / (before + len + PANEL)).clamp(1, LINES);
            let size = (most / self.heads.groups).max(1);
            (0..len).step_by(size).map(move |from| {
                let to = len.min(from + size);
                let mut at = 0;
                let seen = node
                    .path
                    .iter()
                    .enumerate()
                    .map(|(depth, &number)| {
                        let is_own = depth == node.path.len() - 1;
                        let seen = if is_own {
                            to
                        } else {
                            self.node(number).tokens.len()
                        };
                        let place = at;
                        at += seen.next_multiple_of(PANEL);
                        (number, place, seen)
                    })
                    .collect();
                Block {
                    node,
                    own: from..to,
                    seen,
                    width: at,
                }
            })
        })
    }

    /// Lines of a block: for each token, those of the head's query heads.
    fn lines(&self, block: &Block, of: Lines<'a>) -> Vec<&'a [f32]> {
        let Heads { groups, e, .. } = self.heads;
        let first = block.node.tokens.start;
        block
            .own
            .clone()
            .flat_map(|token| {
                let line = of.line(first + token);
                (0..groups).map(move |group| &line[(self.head * groups + group) * e..][..e])
            })
            .collect()
    }

    /// `lines · matrixᵀ` for every token that a block sees: `[lines, W]`.
    fn scores<'b>(
        &self,
        block: &Block,
        lines: &[&[f32]],
        across: &[Packed],
        scores: &'b mut Buffer,
    ) -> &'b mut [f32] {
        let scores = scores.sized(lines.len() * block.width);
        for &(node, place, seen) in &block.seen {
            let matrix = &across[node - self.tree.start];
            matrix.multiply_first(seen, lines, false, &mut scores[place..], block.width);
        }
        scores
    }

    /// Makes the scores of what a line's token does not see count for nothing.
    fn hide(&self, block: &Block, line: usize, scores: &mut [f32]) {
        let own = block.own.start + line / self.heads.groups;
        let position = block.node.position + own;
        let first = self
            .heads
            .window
            .map_or(0, |window| (position + 1).saturating_sub(window));
        for (depth, &(node, place, seen)) in block.seen.iter().enumerate() {
            let end = if depth == block.seen.len() - 1 {
                own + 1
            } else {
                seen
            };
            let start = first.saturating_sub(self.node(node).position).min(end);
            scores[place..place + start].fill(f32::NEG_INFINITY);
            scores[place + end..place + seen.next_multiple_of(PANEL)].fill(f32::NEG_INFINITY);
        }
    }

    /// `out = Σ scores · matrix` over the tokens that a block sees, lines of `out` at multiples of `stride`.
    fn mix(&self, block: &Block, scores: &[f32], along: &[Packed], out: &mut [f32], stride: usize) {
        let mut lines = Vec::new();
        for (number, &(node, place, seen)) in block.seen.iter().enumerate() {
            lines.clear();
            lines.extend(
                scores
                    .chunks_exact(block.width)
                    .map(|line| &line[place..place + seen]),
            );
            along[node - self.tree.start].multiply_into(&lines, number > 0, out, stride);
        }
    }

    /// Attends.
    pub fn forward(&self) -> Mixed {
        let Heads { groups, e, .. } = self.heads;
        let keys = self.of_nodes(self.qkv.keys, |rows| across(rows));
        let values = self.of_nodes(self.qkv.values, |rows| along(rows));
        let mut mixed = Buffer::unset(self.tokens() * groups * e);
        let mut log_sums = vec![0.0; self.tokens() * groups];
        let blocks: Vec<Block> = self.blocks().collect();
        let (mut scores, mut sums) = (self.buffer(&blocks), Vec::new());
        let padded = e.next_multiple_of(PANEL);
        let mut out = Buffer::default();
        for block in blocks {
            let queries = self.lines(&block, self.qkv.queries);
            let first = (self.place(block.node).start + block.own.start) * groups;
            let scores = self.scores(&block, &queries, &keys, &mut scores);
            sums.clear();
            for (line, scores) in scores.chunks_exact_mut(block.width).enumerate() {
                self.hide(&block, line, scores);
                let (most, sum) = exponentials(scores, 1.0);
                log_sums[first + line] = most + sum.ln();
                sums.push(sum);
            }
            let out = out.sized(queries.len() * padded);
            self.mix(&block, scores, &values, out, padded);
            let to = mixed[first * e..].chunks_exact_mut(e);
            for ((to, from), sum) in to.zip(out.chunks_exact(padded)).zip(&sums) {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = from / sum);
            }
        }
        Mixed { mixed, log_sums }
    }

    /// The gradients, given those of what [`Self::forward`] made, which is `mixed`, in all heads' lines `[n, kv · groups · e]`.
    pub fn backward(&self, mixed: Lines<'a>, log_sums: &[f32], grads: Lines<'a>) -> Gradients {
        let Heads { groups, e, .. } = self.heads;
        let tokens = self.tokens();
        let keys_across = self.of_nodes(self.qkv.keys, |rows| across(rows));
        let keys_along = self.of_nodes(self.qkv.keys, |rows| along(rows));
        let values_across = self.of_nodes(self.qkv.values, |rows| across(rows));
        let padded = e.next_multiple_of(PANEL);
        let mut found = Gradients {
            queries: Buffer::unset(tokens * groups * e),
            keys: Buffer::zeros(tokens * padded),
            values: Buffer::zeros(tokens * padded),
        };
        let blocks: Vec<Block> = self.blocks().collect();
        let (mut weights, mut slopes) = (self.buffer(&blocks), self.buffer(&blocks));
        let mut out = Buffer::default();
        for block in blocks {
            let queries = self.lines(&block, self.qkv.queries);
            let grads = self.lines(&block, grads);
            let mixed = self.lines(&block, mixed);
            let first = (self.place(block.node).start + block.own.start) * groups;
            let weights = self.scores(&block, &queries, &keys_across, &mut weights);
            let slopes = self.scores(&block, &grads, &values_across, &mut slopes);
            let lines = weights
                .chunks_exact_mut(block.width)
                .zip(slopes.chunks_exact_mut(block.width));
            for (line, (weights, slopes)) in lines.enumerate() {
                self.hide(&block, line, weights);
                let mean = sum_of_products(grads[line], mixed[line]);
                softmax_backward(weights, slopes, log_sums[first + line], mean);
            }
            let out = out.sized(queries.len() * padded);
            self.mix(&block, slopes, &keys_along, out, padded);
            let to = found.queries[first * e..].chunks_exact_mut(e);
            for (to, from) in to.zip(out.chunks_exact(padded)) {
                to.copy_from_slice(&from[..e]);
            }
            self.give(&block, slopes, &queries, &mut found.keys);
            self.give(&block, weights, &grads, &mut found.values);
        }
        if padded > e {
            for of_tokens in [&mut found.keys, &mut found.values] {
                let all: Vec<Range<usize>> = (0..tokens)
                    .map(|token| token * padded..token * padded + e)
                    .collect();
                *of_tokens = rows(of_tokens, 1, &all);
            }
        }
        found
    }

    /// `out[token] += Σ factors[line, token] · lines[line]` for every token that a block sees.
    fn give(&self, block: &Block, factors: &[f32], lines: &[&[f32]], out: &mut [f32]) {
        let Heads { e, .. } = self.heads;
        let padded = e.next_multiple_of(PANEL);
        let together = lines.concat();
        let matrix = along(Lines::new(&together, e));
        for &(node, place, seen) in &block.seen {
            let factors = Lines::new(factors, block.width).columns(place, seen);
            let from = self.place(self.node(node)).start * padded;
            matrix.multiply_columns(&factors.across(), true, &mut out[from..], padded);
        }
    }
}

/// Scores to weights, and the weights' gradients to the scores': `w · (slope − mean)`.
fn softmax_backward(scores: &mut [f32], slopes: &mut [f32], log_sum: f32, mean: f32) {
    exponentials_less_scaled(scores, 1.0, log_sum, 1.0);
    for (slope, weight) in slopes.iter_mut().zip(scores) {
        *slope = *weight * (*slope - mean);
    }
}

/// Rows `[tokens, e]` laid out so that lines of `e` features times them are a number a token.
fn across(rows: Lines) -> Packed {
    packed(rows.width(), &[rows.transposed()], false)
}

/// Rows `[tokens, e]` laid out so that lines of a number a token times them are `e` features.
fn along(rows: Lines) -> Packed {
    packed(rows.count(), &[rows.part()], false)
}
