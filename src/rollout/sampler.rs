//! One row of logits and one random number in, one token out.

use serde::{Deserialize, Serialize};

use crate::config;

/// How tokens are drawn. The filters apply in the order temperature, top-k, top-p, min-p, as in transformers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Logits are divided by it; 0 takes the most likely token.
    pub temperature: f64,
    /// Only the k most likely tokens; 0 for all.
    pub top_k: usize,
    /// Only the smallest set of most likely tokens whose probabilities reach this sum; 1 for all.
    pub top_p: f64,
    /// Only tokens at least this fraction as likely as the likeliest; 0 for all.
    pub min_p: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
        }
    }
}

impl From<&config::Rollout> for Sampling {
    fn from(how: &config::Rollout) -> Self {
        Self {
            temperature: how.temperature,
            top_k: how.top_k,
            top_p: how.top_p,
            min_p: how.min_p,
        }
    }
}

/// A drawn token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// Its id.
    pub token: u32,
    /// `log softmax(logits / temperature)[token]`, over the whole vocabulary: no filter changes it.
    /// With `temperature = 0`, of the plain softmax.
    pub logp: f32,
}

impl Sampling {
    /// The temperature by which log-probabilities are taken (gcpo.md, section 5).
    pub fn logp_temperature(&self) -> f64 {
        if self.temperature > 0.0 {
            self.temperature
        } else {
            1.0
        }
    }

    /// Draws one token by the inverse of the cumulative distribution in order of token id.
    ///
    /// `uniform` is in [0, 1). `None` if no logit is finite or one is NaN or +∞.
    pub fn draw(&self, logits: &[f32], uniform: f64) -> Option<Draw> {
        let inverse = 1.0 / self.logp_temperature();
        let (best, max) = argmax(logits)?;
        let max = f64::from(max) * inverse;
        let mut weights: Vec<f64> = logits
            .iter()
            .map(|&x| (f64::from(x) * inverse - max).exp())
            .collect();
        let log_total = weights.iter().sum::<f64>().ln();
        let token = if self.temperature <= 0.0 {
            best
        } else {
            self.filter(&mut weights);
            pick(&weights, uniform)
        };
        let logp = f64::from(logits[token]) * inverse - max - log_total;
        Some(Draw {
            token: token as u32,
            logp: logp as f32,
        })
    }

    /// Zeroes the weights of the tokens that top-k, top-p and min-p rule out.
    fn filter(&self, weights: &mut [f64]) {
        let limited_k = self.top_k > 0 && self.top_k < weights.len();
        if !limited_k && self.top_p >= 1.0 && self.min_p <= 0.0 {
            return;
        }
        let mut order: Vec<usize> = (0..weights.len()).collect();
        order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]).then(a.cmp(&b)));
        let mut kept = if limited_k { self.top_k } else { order.len() };
        if self.top_p < 1.0 {
            let total: f64 = order[..kept].iter().map(|&i| weights[i]).sum();
            let mut sum = 0.0;
            kept = order[..kept]
                .iter()
                .position(|&i| {
                    sum += weights[i];
                    sum >= self.top_p * total
                })
                .map_or(kept, |last| last + 1);
        }
        if self.min_p > 0.0 {
            let least = self.min_p * weights[order[0]];
            kept = order[..kept].partition_point(|&i| weights[i] >= least).max(1);
        }
        for &i in &order[kept..] {
            weights[i] = 0.0;
        }
    }
}

/// Index and value of the greatest logit, the first of equals.
fn argmax(logits: &[f32]) -> Option<(usize, f32)> {
    let mut best = (0, f32::NEG_INFINITY);
    for (i, &x) in logits.iter().enumerate() {
        if x.is_nan() {
            return None;
        }
        if x > best.1 {
            best = (i, x);
        }
    }
    best.1.is_finite().then_some(best)
}

/// The token at which the cumulative weight passes `uniform` of the whole.
fn pick(weights: &[f64], uniform: f64) -> usize {
    let goal = uniform * weights.iter().sum::<f64>();
    let mut sum = 0.0;
    let mut last = 0;
    for (i, &w) in weights.iter().enumerate() {
        if w > 0.0 {
            sum += w;
            last = i;
            if sum > goal {
                break;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, -1.0, 0.0];

    fn support(sampling: Sampling) -> Vec<u32> {
        let mut seen: Vec<u32> = (0..2000)
            .map(|i| sampling.draw(&LOGITS, f64::from(i) / 2000.0).unwrap().token)
            .collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    }

    #[test]
    fn draws_follow_the_softmax_at_the_temperature() {
        let sampling = Sampling {
            temperature: 0.7,
            ..Sampling::default()
        };
        let n = 20_000;
        let mut counts = [0u32; 5];
        for i in 0..n {
            counts[sampling
                .draw(&LOGITS, (f64::from(i) + 0.5) / f64::from(n))
                .unwrap()
                .token as usize] += 1;
        }
        let exps: Vec<f64> = LOGITS.iter().map(|&x| (f64::from(x) / 0.7).exp()).collect();
        let total: f64 = exps.iter().sum();
        for (count, exp) in counts.iter().zip(&exps) {
            assert!(
                (f64::from(*count) / f64::from(n) - exp / total).abs() < 1e-3,
                "{counts:?}"
            );
        }
    }

    #[test]
    fn filters_keep_what_transformers_keeps() {
        let all = Sampling::default();
        assert_eq!(support(all), [0, 1, 2, 3, 4]);
        assert_eq!(support(Sampling { top_k: 2, ..all }), [1, 2]);
        // softmax: 0.086, 0.636, 0.234, 0.012, 0.032
        assert_eq!(support(Sampling { top_p: 0.6, ..all }), [1]);
        assert_eq!(support(Sampling { top_p: 0.64, ..all }), [1, 2]);
        assert_eq!(support(Sampling { top_p: 0.88, ..all }), [0, 1, 2]);
        assert_eq!(support(Sampling { min_p: 0.2, ..all }), [1, 2]);
        assert_eq!(support(Sampling { min_p: 1.0, ..all }), [1]);
        assert_eq!(
            support(Sampling {
                top_k: 3,
                top_p: 0.99,
                min_p: 0.3,
                ..all
            }),
            [1, 2]
        );
        assert_eq!(
            support(Sampling {
                temperature: 0.0,
                ..all
            }),
            [1]
        );
    }

    #[test]
    fn logp_is_of_the_whole_distribution() {
        let sampling = Sampling {
            temperature: 0.5,
            top_k: 1,
            ..Sampling::default()
        };
        let draw = sampling.draw(&LOGITS, 0.9).unwrap();
        let total: f64 = LOGITS.iter().map(|&x| (2.0 * f64::from(x)).exp()).sum();
        assert_eq!(draw.token, 1);
        assert!((f64::from(draw.logp) - (6.0 - total.ln())).abs() < 1e-6);
    }

    #[test]
    fn damaged_logits_are_refused() {
        let sampling = Sampling::default();
        assert_eq!(sampling.draw(&[0.0, f32::NAN], 0.5), None);
        assert_eq!(sampling.draw(&[f32::NEG_INFINITY; 3], 0.5), None);
        assert_eq!(sampling.draw(&[0.0, f32::INFINITY], 0.5), None);
        assert_eq!(sampling.draw(&[0.0, f32::NEG_INFINITY], 0.999).unwrap().token, 0);
    }
}
