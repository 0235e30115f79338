//! What can be said of a mean over problems: its standard error, an interval, and how two runs differ.

use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::rollout::stream::uniform;
use crate::rollout::{Stage, StreamKey};

/// Resamples of a bootstrap.
const RESAMPLES: usize = 5_000;

/// A mean over problems.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Its standard error, over problems (ddof 1).
    pub stderr: f64,
}

impl Estimate {
    /// Of one value a problem; at least one.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|s| (s - mean).powi(2)).sum();
        Self {
            mean,
            stderr: (squares / (n - 1.0).max(1.0) / n).sqrt(),
        }
    }

    /// The plain mean of several, each of problems of its own.
    pub fn mean_of(parts: &[Self]) -> Self {
        let n = parts.len() as f64;
        Self {
            mean: parts.iter().map(|part| part.mean).sum::<f64>() / n,
            stderr: parts.iter().map(|part| part.stderr.powi(2)).sum::<f64>().sqrt() / n,
        }
    }
}

/// The unbiased estimate of pass@k of a problem with `right` of `samples` answers right: the chance that `k` of them, drawn
/// without replacement, hold a right one, `1 − C(n−c, k) / C(n, k)` as a product (Chen et al., arXiv 2107.03374).
/// `1 ≤ k ≤ samples`.
pub fn pass_at_k(samples: usize, right: usize, k: usize) -> f64 {
    assert!(right <= samples && (1..=samples).contains(&k));
    if samples - right < k {
        return 1.0;
    }
    let missed: f64 = (samples - right + 1..=samples)
        .map(|i| 1.0 - k as f64 / i as f64)
        .product();
    1.0 - missed
}

/// The numbers of answers that pass@k is said for: powers of 2, and all.
pub fn ks(samples: usize) -> Vec<usize> {
    let mut ks: Vec<usize> = std::iter::successors(Some(1), |k| Some(2 * k))
        .take_while(|&k| k < samples)
        .collect();
    ks.push(samples);
    ks
}

/// Standard error of the mean share of right answers that is due to sampling alone, the problems being what they are:
/// `√(Σ p(1−p)/(k−1)) / N`. None with one answer a problem.
pub fn sampling_stderr(shares: &[f64], samples: usize) -> Option<f64> {
    let spread: f64 = shares.iter().map(|p| p * (1.0 - p)).sum();
    (samples > 1).then(|| (spread / (samples - 1) as f64).sqrt() / shares.len() as f64)
}

/// Which answer of a problem most of them agree with: the largest class of those that are the same, the one with the
/// earliest answer of several as large. Answers that are none (`None`) do not vote.
pub fn majority<T>(answers: &[Option<T>], same: impl Fn(&T, &T) -> bool) -> Option<usize> {
    let mut classes: Vec<(usize, usize)> = Vec::new();
    for (at, answer) in answers.iter().enumerate() {
        let Some(answer) = answer else { continue };
        let class = classes
            .iter_mut()
            .find(|(first, _)| answers[*first].as_ref().is_some_and(|first| same(first, answer)));
        match class {
            Some((_, votes)) => *votes += 1,
            None => classes.push((at, 1)),
        }
    }
    let most = classes.iter().map(|(_, votes)| *votes).max()?;
    classes
        .into_iter()
        .find_map(|(first, votes)| (votes == most).then_some(first))
}

/// The 95 % interval of the mean of the strata's means (one stratum: of its mean), by the percentiles of a bootstrap that
/// draws problems with replacement within each stratum. The same values give the same interval.
pub fn interval(strata: &[&[f64]]) -> [f64; 2] {
    let mut rng = StreamKey {
        seed: 0,
        step: 0,
        prompt: 0,
        stage: Stage::Bootstrap,
        sample: 0,
    }
    .rng();
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| strata.iter().map(|of| resampled_mean(of, &mut rng)).sum::<f64>() / strata.len() as f64)
        .collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[(share * (RESAMPLES - 1) as f64).round() as usize];
    [at(0.025), at(0.975)]
}

/// The 97.5 % quantiles of Student's t with 1 to 10 degrees of freedom.
const T: [f64; 10] = [
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
];

/// The 95 % interval of the mean of a few independent values, by Student's t; none of fewer than two.
pub fn t_interval(values: &[f64]) -> Option<[f64; 2]> {
    let freedom = values.len().checked_sub(1).filter(|freedom| *freedom > 0)?;
    let quantile = T.get(freedom - 1).copied().unwrap_or_else(|| {
        // Abramowitz and Stegun, 26.7.5.
        let (z, v) = (1.959_964f64, freedom as f64);
        let terms = [
            (z.powi(3) + z) / 4.0,
            (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0,
            (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0,
        ];
        z + terms[0] / v + terms[1] / v.powi(2) + terms[2] / v.powi(3)
    });
    let Estimate { mean, stderr } = Estimate::of(values);
    Some([mean - quantile * stderr, mean + quantile * stderr])
}

fn resampled_mean(values: &[f64], rng: &mut ChaCha8Rng) -> f64 {
    let n = values.len();
    let sum: f64 = (0..n).map(|_| values[(uniform(rng) * n as f64) as usize]).sum();
    sum / n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_has_the_binomial_standard_error() {
        let shares: Vec<f64> = (0..400).map(|i| f64::from(i % 4 == 0)).collect();
        let found = Estimate::of(&shares);
        assert!((found.mean - 0.25).abs() < 1e-12);
        assert!((found.stderr - (0.25 * 0.75 / 399.0f64).sqrt()).abs() < 1e-12);
        let alone = Estimate::of(&[1.0]);
        assert_eq!((alone.mean, alone.stderr), (1.0, 0.0));
        let both = Estimate::mean_of(&[found, alone]);
        assert!((both.mean - 0.625).abs() < 1e-12 && (both.stderr - found.stderr / 2.0).abs() < 1e-12);
    }

    /// Against every subset of k of n answers.
    #[test]
    fn pass_at_k_is_the_share_of_subsets_with_a_right_answer() {
        for n in 1..=8usize {
            for right in 0..=n {
                for k in 1..=n {
                    let subsets: Vec<u32> = (0..1u32 << n).filter(|s| s.count_ones() as usize == k).collect();
                    // The right ones are the lowest bits.
                    let hit = subsets.iter().filter(|&&s| s & ((1 << right) - 1) != 0).count();
                    let expected = hit as f64 / subsets.len() as f64;
                    assert!(
                        (pass_at_k(n, right, k) - expected).abs() < 1e-12,
                        "{n} {right} {k}"
                    );
                }
            }
        }
        assert_eq!((ks(1), ks(4), ks(6)), (vec![1], vec![1, 2, 4], vec![1, 2, 4, 6]));
    }

    /// Against the variance of every outcome of two problems with three answers each.
    #[test]
    fn the_sampling_error_is_unbiased() {
        let (chances, k) = ([0.3, 0.8], 3);
        let (mut mean, mut square, mut estimate) = (0.0, 0.0, 0.0);
        for outcome in 0..1u32 << 6 {
            let mut chance = 1.0;
            let mut shares = [0.0; 2];
            for answer in 0..6 {
                let (problem, right) = (answer / k, outcome >> answer & 1 == 1);
                chance *= if right {
                    chances[problem]
                } else {
                    1.0 - chances[problem]
                };
                shares[problem] += f64::from(u8::from(right)) / k as f64;
            }
            let found = (shares[0] + shares[1]) / 2.0;
            mean += chance * found;
            square += chance * found * found;
            estimate += chance * sampling_stderr(&shares, k).unwrap().powi(2);
        }
        assert!((estimate - (square - mean * mean)).abs() < 1e-12);
        assert_eq!(sampling_stderr(&[1.0], 1), None);
    }

    #[test]
    fn the_majority_is_the_largest_class_and_the_earliest_of_two() {
        let same = |a: &i32, b: &i32| a % 10 == b % 10;
        let vote = |answers: &[Option<i32>]| majority(answers, same);
        assert_eq!(vote(&[Some(1), Some(2), Some(12)]), Some(1));
        assert_eq!(vote(&[None, Some(1), Some(2), Some(12), Some(11)]), Some(1));
        assert_eq!(vote(&[None, None, Some(3)]), Some(2));
        assert_eq!(vote(&[None]), None);
    }

    /// Against R: `t.test(c(0.02, 0.05, -0.01))`, and `qt(0.975, 11)` = 2.200985.
    #[test]
    fn an_interval_of_a_few_values_is_students() {
        let [low, high] = t_interval(&[0.02, 0.05, -0.01]).unwrap();
        assert!(
            (low + 0.054_524).abs() < 1e-5 && (high - 0.094_524).abs() < 1e-5,
            "{low} {high}"
        );
        assert_eq!(t_interval(&[0.5]), None);
        let values: Vec<f64> = (0..12).map(f64::from).collect();
        let [low, high] = t_interval(&values).unwrap();
        let quantile = (high - low) / 2.0 / Estimate::of(&values).stderr;
        assert!((quantile - 2.200_985).abs() < 1e-3, "{quantile}");
    }

    #[test]
    fn an_interval_is_that_of_the_normal_distribution_where_there_are_many() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 4 == 0)).collect();
        let [low, high] = interval(&[&values]);
        let stderr = Estimate::of(&values).stderr;
        assert!((low - (0.25 - 1.96 * stderr)).abs() < 0.15 * stderr, "{low}");
        assert!((high - (0.25 + 1.96 * stderr)).abs() < 0.15 * stderr, "{high}");
        assert_eq!(interval(&[&values]), [low, high]);
        // A stratum without spread halves the interval and moves it.
        let [low, high] = interval(&[&values, &[1.0; 10]]);
        assert!((high - low - 1.96 * stderr).abs() < 0.15 * stderr && low > 0.6);
    }
}
