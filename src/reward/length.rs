//! `length`: how long a completion is, in tokens with the EOS.

use std::f64::consts::PI;

use crate::config::{self, RewardStyle};

/// A curve over the length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Length {
    /// DAPO's soft overlong punishment.
    SoftOverlong {
        /// L_max.
        max_length: f64,
        /// L_cache.
        cache: f64,
    },
    /// A cosine from no length to `max_length`.
    Cosine {
        /// Where it ends.
        max_length: f64,
        /// Of a wrong answer: at no length, at `max_length`.
        wrong: [f64; 2],
        /// Of a right answer: at no length, at `max_length`.
        correct: [f64; 2],
    },
}

impl Length {
    /// What the `[[reward]]` says, which the config has filled in.
    pub fn of(config: &config::Reward) -> Self {
        let max_length = config.max_length.unwrap_or(1) as f64;
        if config.style == Some(RewardStyle::Cosine) {
            let value = |given: Option<f64>| given.unwrap_or(0.0);
            return Self::Cosine {
                max_length,
                wrong: [value(config.min_value_wrong), value(config.max_value_wrong)],
                correct: [value(config.max_value_correct), value(config.min_value_correct)],
            };
        }
        Self::SoftOverlong {
            max_length,
            cache: config.cache.unwrap_or(0) as f64,
        }
    }

    /// The reward of a completion of so many tokens.
    ///
    /// Soft overlong is eq. 13 of DAPO (arXiv 2503.14476): 0 up to L_max − L_cache, then falling linearly to −1 at L_max,
    /// and −1 beyond. The cosine is open-r1's `get_cosine_scaled_reward` (after arXiv 2502.03373), which counts characters
    /// and lets the curve turn back beyond `max_length`; here it counts tokens and stays.
    pub fn value(&self, tokens: usize, right: bool) -> f64 {
        let tokens = tokens as f64;
        match *self {
            Self::SoftOverlong { max_length, cache } => {
                if tokens <= max_length - cache {
                    0.0
                } else if tokens <= max_length {
                    (max_length - cache - tokens) / cache
                } else {
                    -1.0
                }
            }
            Self::Cosine {
                max_length,
                wrong,
                correct,
            } => {
                let [short, long] = if right { correct } else { wrong };
                let progress = (tokens / max_length).min(1.0);
                long + 0.5 * (short - long) * (1.0 + (progress * PI).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_overlong_is_equation_13() {
        let length = Length::SoftOverlong {
            max_length: 100.0,
            cache: 20.0,
        };
        // The second is the example of TRL's `get_soft_overlong_punishment`.
        for (tokens, expected) in [
            (80, 0.0),
            (90, -0.5),
            (81, -0.05),
            (100, -1.0),
            (101, -1.0),
            (1, 0.0),
        ] {
            assert_eq!(length.value(tokens, true), expected, "{tokens}");
            assert_eq!(length.value(tokens, false), expected, "{tokens}");
        }
        let hard = Length::SoftOverlong {
            max_length: 10.0,
            cache: 0.0,
        };
        assert_eq!((hard.value(10, true), hard.value(11, true)), (0.0, -1.0));
    }

    #[test]
    fn the_cosine_prefers_short_right_answers_and_long_wrong_ones() {
        let length = Length::Cosine {
            max_length: 100.0,
            wrong: [-1.0, -0.5],
            correct: [1.0, 0.5],
        };
        // By hand from the formula.
        for (tokens, right, expected) in [
            (0, true, 1.0),
            (50, true, 0.75),
            (100, true, 0.5),
            (150, true, 0.5),
            (0, false, -1.0),
            (50, false, -0.75),
            (100, false, -0.5),
            (25, true, 0.5 + 0.25 * (1.0 + 0.5f64.sqrt())),
        ] {
            let found = length.value(tokens, right);
            assert!((found - expected).abs() < 1e-12, "{tokens} {right}: {found}");
        }
        // The values of open-r1's `test_cosine_scaled_reward`; its short text has 22 characters.
        for (tokens, right, expected) in [
            (22, true, 0.943),
            (80, true, 0.547),
            (22, false, -0.942),
            (80, false, -0.547),
        ] {
            let found = length.value(tokens, right);
            assert!((found - expected).abs() < 1e-3, "{tokens} {right}: {found}");
        }
    }
}
