//! Generation: from tokens to sampled tokens, over a tree of prefixes that are each run once.
//!
//! Knows neither text nor rewards. [`plan`] says which tokens stand where in the three contexts of GCPO,
//! [`engine`] runs prefixes and samples below them, and [`sampler`] turns one row of logits into one token. Every sample
//! has random numbers of its own ([`stream`]), so that no result depends on how work was batched.

mod config;
pub mod engine;
mod lanes;
pub mod plan;
pub mod sampler;
#[cfg(test)]
mod tests;

use burn::tensor::Tensor;
use thiserror::Error;

pub use crate::stream::{self, Stage, StreamKey};
pub use config::{Rollout, RolloutDraft, check_sampling, check_temperature};
pub use engine::{Engine, Prefix, Request, Stops, Work};
pub use plan::Contexts;

/// Why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model wrote one of the end-of-sequence tokens; it is the completion's last token.
    Eos,
    /// The text holds a stop string, which its last token completed.
    Stop,
    /// The completion reached `max_completion_length`.
    Length,
}

/// One sampled answer.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Completion {
    /// Sampled tokens, the ending EOS included, nothing after it. Never empty.
    pub tokens: Vec<u32>,
    /// Log-probability of each token under the policy at the sampling temperature, before penalty, top-k, top-p and
    /// min-p change the distribution: the same quantity that the trainer computes.
    pub logp: Vec<f32>,
    /// Log-probability of each token under the distribution that it was drawn from.
    pub sampling_logp: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
}

impl Completion {
    /// The tokens as text: without the EOS that ended them.
    ///
    /// A completion that is nothing but its EOS keeps it, so that it still has a representation.
    pub fn text(&self) -> &[u32] {
        match self.finish {
            Finish::Eos if self.tokens.len() > 1 => &self.tokens[..self.tokens.len() - 1],
            _ => &self.tokens,
        }
    }

    /// The tokens that another context quotes: never an EOS, at most the last `limit` (0: all).
    pub fn quote(&self, limit: usize) -> &[u32] {
        let end = self.tokens.len() - usize::from(self.finish == Finish::Eos);
        let start = if limit == 0 { 0 } else { end.saturating_sub(limit) };
        &self.tokens[start..end]
    }
}

impl AsRef<Completion> for Completion {
    fn as_ref(&self) -> &Completion {
        self
    }
}

/// Completions with, where asked for, their representations.
#[derive(Debug, Clone)]
pub struct Sampled {
    /// One completion a request, in the order of the requests.
    pub completions: Vec<Completion>,
    /// `[requests, d]`: the last layer's state after the final norm at the last token of
    /// [`Completion::text`], in the context it was generated in.
    pub hidden_bd: Option<Tensor<2>>,
}

/// What generation can fail on.
#[derive(Debug, Error)]
pub enum RolloutError {
    /// The model's logits were NaN or infinite.
    #[error(
        "the model gave non-finite logits for sample {sample} of prompt {prompt}: the weights are damaged or have diverged; go back to an earlier checkpoint"
    )]
    NonFinite {
        /// Index of the prompt in its step.
        prompt: u64,
        /// Index of the sample.
        sample: u64,
    },
    /// A context is longer than the model's positions.
    #[error(
        "{what} takes {needed} tokens, but the model has {limit} positions: shorten max_completion_length, set projection.candidate_tokens, or drop the prompt"
    )]
    TooLong {
        /// What does not fit.
        what: String,
        /// Tokens needed, the completion included.
        needed: usize,
        /// `max_position_embeddings`.
        limit: usize,
    },
    /// The memory budget does not hold what must be held at once.
    #[error(
        "keys and values of the prompts (the longest has {longest} tokens) and of one completion take {needed} bytes, but rollout.memory_budget is {budget}: raise it, or shorten the prompts or max_completion_length"
    )]
    Memory {
        /// Bytes needed.
        needed: usize,
        /// Bytes allowed.
        budget: usize,
        /// Tokens of the longest context.
        longest: usize,
    },
    /// A prompt without tokens.
    #[error("{0} has no tokens: the template must write at least one token before the completion")]
    Empty(String),
}
