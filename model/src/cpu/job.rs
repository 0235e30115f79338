//! Rows at work, and the tokens of theirs that go through the layers together.

use super::math::Angles;
use super::segment::Row;

/// What is wanted of a row's tokens.
pub(super) enum Wanted<'a> {
    /// `[d]`: the state after the final norm at the last token.
    Last(&'a mut [f32]),
    /// The log-probabilities, at a temperature, of the tokens that follow each of the row's.
    Scores(f64, &'a [u32], &'a mut Vec<f32>),
}

/// A row at work.
pub(super) struct Job<'a> {
    pub row: &'a mut Row,
    pub tokens: &'a [u32],
    pub wanted: Wanted<'a>,
}

/// Neighbouring tokens of some jobs that go through the layers together.
pub(super) struct Window {
    /// Each job's first token, of all that are to be run.
    pub from: usize,
    /// Tokens of each job.
    pub spans: Vec<usize>,
    /// Of each of the model's tables, and of each token.
    pub angles: Vec<Vec<Angles>>,
    /// Whether products are shared out among the threads.
    pub team: bool,
}

impl Window {
    /// Of all jobs together.
    pub fn tokens(&self) -> usize {
        self.angles[0].len()
    }
}

/// Cuts jobs into neighbours of at most `most` tokens, at least one job each.
pub(super) fn cut<'l, 'a>(mut jobs: &'l mut [Job<'a>], most: usize) -> Vec<&'l mut [Job<'a>]> {
    let mut parts = Vec::new();
    while !jobs.is_empty() {
        let mut tokens = jobs[0].tokens.len();
        let more = jobs[1..].iter().take_while(|job| {
            tokens += job.tokens.len();
            tokens <= most
        });
        let count = 1 + more.count();
        let (part, rest) = std::mem::take(&mut jobs).split_at_mut(count);
        parts.push(part);
        jobs = rest;
    }
    parts
}
