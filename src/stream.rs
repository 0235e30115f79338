//! Random numbers that belong to a sample, not to a batch.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a stream of random numbers is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Stage {
    /// Order of the training problems in an epoch.
    Order = 0,
    /// Stage 1: candidates `y_i`.
    Answer = 1,
    /// Stage 2: integrations `y_{n,j}`.
    Integrate = 2,
    /// Stage 3: projections `O_{i,j,m}`.
    Project = 3,
    /// Answers of an evaluation.
    Evaluate = 4,
    /// Candidates and integrations of an evaluation of integrated answers.
    EvaluateIntegrated = 5,
    /// A demonstration of supervised training.
    Demonstrate = 6,
    /// Resamples of an evaluation's problems.
    Bootstrap = 7,
    /// The first numbers of adapters.
    Adapters = 8,
    /// Steps of reasoning in a tree search.
    Step = 11,
    /// Completions from a step of a tree search to their end.
    Simulate = 12,
    /// What is left out of adapters' inputs in an update.
    Dropout = 9,
    /// Which problems take the place of those whose candidates all earned the same.
    InPlace = 10,
}

/// The name of one stream: results depend on this and on nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// The run's seed.
    pub seed: u64,
    /// The step, or the epoch.
    pub step: u64,
    /// The prompt in its step.
    pub prompt: u64,
    /// What for.
    pub stage: Stage,
    /// The sample of that prompt and stage.
    pub sample: u64,
}

impl StreamKey {
    /// The generator of this stream. Different keys give independent streams.
    pub fn rng(&self) -> ChaCha8Rng {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&self.step.to_le_bytes());
        seed[16..24].copy_from_slice(&self.prompt.to_le_bytes());
        seed[24..].copy_from_slice(&self.sample.to_le_bytes());
        debug_assert!(self.sample < 1 << 56);
        seed[31] = self.stage as u8;
        ChaCha8Rng::from_seed(seed)
    }
}

/// A number in [0, 1) with 53 random bits.
pub fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A permutation of `0..count`, the same for the same stream (Fisher–Yates).
pub fn permutation(count: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, (uniform(rng) * (last + 1) as f64) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: StreamKey = StreamKey {
        seed: 3,
        step: 5,
        prompt: 7,
        stage: Stage::Answer,
        sample: 11,
    };

    #[test]
    fn every_field_of_the_key_changes_the_stream() {
        let first = |key: StreamKey| key.rng().next_u64();
        let base = first(KEY);
        assert_eq!(base, first(KEY));
        for other in [
            StreamKey { seed: 4, ..KEY },
            StreamKey { step: 6, ..KEY },
            StreamKey { prompt: 8, ..KEY },
            StreamKey {
                stage: Stage::Project,
                ..KEY
            },
            StreamKey { sample: 12, ..KEY },
        ] {
            assert_ne!(base, first(other), "{other:?}");
        }
    }

    #[test]
    fn a_permutation_holds_every_index_once() {
        let mut order = permutation(100, &mut KEY.rng());
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
