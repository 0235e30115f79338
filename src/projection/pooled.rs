//! Means of stage 3 from the samples of all contexts of a candidate (docs/algorithms.md, section 3, `projection.estimator = "pooled"`).
//!
//! The samples of the contexts `x_{i,0} … x_{i,J-1}`, `M` of each, are one sample of their mixture. Under it the mean of anything in one of
//! the contexts is its mean weighed by how much likelier a text is there than in the mixture: importance sampling, with weights of at
//! most `J` (the balance heuristic of Veach and Guibas, 1995), divided by their sum.

use std::collections::HashMap;

use crate::rollout::{Completion, Engine, Prefix, RolloutError};

/// `log p(o | x)`, of each sample in each context: `[contexts][samples]`. `samples` are as many of each context, in the order of the
/// contexts, whose nodes are `contexts`. Equal texts are scored once, and none in a context that it was drawn in.
///
/// # Errors
/// As [`Engine::score`].
pub(super) fn log_probabilities(
    engine: &Engine,
    prefix: &Prefix,
    contexts: &[usize],
    samples: &[Completion],
) -> Result<Vec<Vec<f64>>, RolloutError> {
    let of_each = samples.len() / contexts.len();
    let sum = |logp: &[f32]| logp.iter().map(|&logp| f64::from(logp)).sum::<f64>();
    let mut known: HashMap<(usize, &[u32]), f64> = HashMap::new();
    for (place, sample) in samples.iter().enumerate() {
        known.insert((place / of_each, &sample.tokens), sum(&sample.logp));
    }
    let mut missing: Vec<(usize, &[u32])> = Vec::new();
    for sample in samples {
        for context in 0..contexts.len() {
            known.entry((context, &sample.tokens)).or_insert_with(|| {
                missing.push((context, &sample.tokens));
                f64::NAN
            });
        }
    }
    let requests: Vec<(usize, &[u32])> = missing
        .iter()
        .map(|&(context, tokens)| (contexts[context], tokens))
        .collect();
    if !requests.is_empty() {
        let scores = engine.score(prefix, &requests)?;
        known.extend(missing.into_iter().zip(scores.iter().map(|logp| sum(logp))));
    }
    let of_context = |context| {
        samples
            .iter()
            .map(move |sample| (context, sample.tokens.as_slice()))
    };
    Ok((0..contexts.len())
        .map(|context| of_context(context).map(|key| known[&key]).collect())
        .collect())
}

/// What each sample counts in the mean of each context: `[contexts][samples]`, of sum 1 over the samples.
///
/// `w_j(o) ∝ p(o | x_j) / mean_l p(o | x_l)`
pub(super) fn weights(logp: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let samples = logp.first().map_or(0, Vec::len);
    let mixture: Vec<f64> = (0..samples)
        .map(|sample| {
            let most = logp.iter().map(|of| of[sample]).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logp.iter().map(|of| (of[sample] - most).exp()).sum();
            most + (sum / logp.len() as f64).ln()
        })
        .collect();
    let of_context = |of: &Vec<f64>| -> Vec<f64> {
        let ratios = of
            .iter()
            .zip(&mixture)
            .map(|(logp, mixture)| (logp - mixture).exp());
        let ratios: Vec<f64> = ratios.collect();
        let sum: f64 = ratios.iter().sum();
        ratios.into_iter().map(|ratio| ratio / sum).collect()
    };
    logp.iter().map(of_context).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Stage, StreamKey, uniform};

    /// How likely four texts are in three contexts, and what they stand for.
    const TEXTS: [[f64; 4]; 3] = [[0.7, 0.1, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4], [0.5, 0.1, 0.3, 0.1]];
    const VALUES: [f64; 4] = [1.0, -2.0, 0.5, 4.0];

    fn logp(drawn: &[usize]) -> Vec<Vec<f64>> {
        let of = |context: &[f64; 4]| drawn.iter().map(|&text| context[text].ln()).collect();
        TEXTS.iter().map(of).collect()
    }

    /// Means over many draws of `m` texts of each context: of the error and its square, pooled and of a context's own samples alone.
    fn errors(m: usize) -> [[f64; 2]; 2] {
        const DRAWS: usize = 4000;
        let truth: f64 = TEXTS[0].iter().zip(VALUES).map(|(p, value)| p * value).sum();
        let mut sums = [[0.0; 2]; 2];
        for draw in 0..DRAWS {
            let key = StreamKey {
                seed: 0,
                step: m as u64,
                prompt: draw as u64,
                stage: Stage::Project,
                sample: 0,
            };
            let mut rng = key.rng();
            let mut text = |of: &[f64; 4]| {
                let goal = uniform(&mut rng);
                let below = (0..4).take_while(|&text| of[..=text].iter().sum::<f64>() <= goal);
                below.count().min(3)
            };
            let drawn: Vec<usize> = TEXTS.iter().flat_map(|of| vec![of; m]).map(&mut text).collect();
            let weights = &weights(&logp(&drawn))[0];
            let pooled: f64 = weights
                .iter()
                .zip(&drawn)
                .map(|(weight, &text)| weight * VALUES[text])
                .sum();
            let own = drawn[..m].iter().map(|&text| VALUES[text]).sum::<f64>() / m as f64;
            for (sums, estimate) in sums.iter_mut().zip([pooled, own]) {
                sums[0] += (estimate - truth) / DRAWS as f64;
                sums[1] += (estimate - truth).powi(2) / DRAWS as f64;
            }
        }
        sums
    }

    #[test]
    fn the_pooled_mean_is_the_contexts_and_nearer_than_that_of_its_own_samples() {
        let [[_, square], [_, own]] = errors(1);
        assert!(square < own, "{square} {own}");
        let [[bias, square], [_, own]] = errors(16);
        assert!(square < 0.9 * own, "{square} {own}");
        assert!(bias.abs() < 0.03, "{bias}");
    }

    #[test]
    fn like_contexts_share_their_samples_and_unlike_ones_keep_their_own() {
        let alike = vec![vec![-1.0, -3.0, -2.0, -7.0]; 2];
        assert_eq!(weights(&alike), vec![vec![0.25; 4]; 2]);
        // No text of one is possible in the other; nothing is not finite for that.
        let far = -1e6;
        let unlike = [vec![-1.0, -3.0, far, far], vec![far, far, -2.0, -700.0]];
        let expected = [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]];
        for (found, expected) in weights(&unlike).iter().flatten().zip(expected.as_flattened()) {
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
    }
}
