//! `length`: how long a completion is, in tokens with the EOS.

use std::f64::consts::PI;

use super::LARGEST;
use crate::section::{Check, ConfigError, at_least, impossible, section, variants, within};

section! {
    /// A curve over the length.
    pub struct Length from LengthDraft(max_completion_length: usize) {
        /// Tokens, the EOS included, from which on the punishment is whole, DAPO's L_max; with `"cosine"`, where the curve
        /// ends. Default: `rollout.max_completion_length`. Source: DAPO, eq. 13; open-r1 (`cosine_max_len`).
        pub max_length: usize => max_completion_length,
        /// The curve.
        pub curve: Curve of CurveDraft => curve.complete(max_length),
    }
}

impl Check for Length {
    fn check(&self) -> Result<(), ConfigError> {
        at_least("max_length", self.max_length, 1)?;
        match &self.curve {
            Curve::SoftOverlong(SoftOverlong { cache }) if *cache > self.max_length => impossible(
                "cache",
                format!("{cache} is more than the {} of `max_length`", self.max_length),
                "give less",
            ),
            _ => Ok(()),
        }
    }
}

variants! {
    /// The curve. Source: DAPO (soft overlong), open-r1 (cosine).
    pub enum Curve from CurveDraft by style = "soft_overlong" (max_length: usize) {
        /// DAPO's punishment of what is nearly too long.
        SoftOverlong = "soft_overlong" of SoftOverlongDraft(max_length),
        /// From short to long, by whether the answer is right.
        Cosine = "cosine" of CosineDraft(),
    }
}

section! {
    /// DAPO's soft overlong punishment.
    pub struct SoftOverlong from SoftOverlongDraft(max_length: usize) {
        /// Tokens before `max_length` over which the punishment grows from 0 to 1, DAPO's L_cache. Source: DAPO (4096 of 20480).
        pub cache: usize => max_length / 5,
    }
}

impl Check for SoftOverlong {}

section! {
    /// A cosine from no length to `max_length`.
    pub struct Cosine from CosineDraft {
        /// Reward of a wrong answer of no length. Source: open-r1.
        pub min_value_wrong: f64 = -1.0,
        /// Reward of a wrong answer of `max_length`. Source: open-r1.
        pub max_value_wrong: f64 = -0.5,
        /// Reward of a right answer of `max_length`. Source: open-r1.
        pub min_value_correct: f64 = 0.5,
        /// Reward of a right answer of no length. Source: open-r1.
        pub max_value_correct: f64 = 1.0,
    }
}

impl Check for Cosine {
    fn check(&self) -> Result<(), ConfigError> {
        let values = [
            ("min_value_wrong", self.min_value_wrong),
            ("max_value_wrong", self.max_value_wrong),
            ("min_value_correct", self.min_value_correct),
            ("max_value_correct", self.max_value_correct),
        ];
        for (key, value) in values {
            within(key, value, -LARGEST, LARGEST)?;
        }
        let (key, first) = values[0];
        if values.iter().all(|(_, value)| *value as f32 == first as f32) {
            let what = format!("all four values are {first}, so that nothing would be learnt");
            return impossible(key, what, "give others, or leave them out");
        }
        Ok(())
    }
}

impl Length {
    /// The most tokens for which nothing is earned or lost yet.
    pub fn begins_at(&self) -> usize {
        match &self.curve {
            Curve::SoftOverlong(SoftOverlong { cache }) => self.max_length - cache,
            Curve::Cosine(_) => 0,
        }
    }

    /// The reward of a completion of so many tokens.
    ///
    /// Soft overlong is eq. 13 of DAPO (arXiv 2503.14476): 0 up to L_max − L_cache, then falling linearly to −1 at L_max,
    /// and −1 beyond. The cosine is open-r1's `get_cosine_scaled_reward` (after arXiv 2502.03373), which counts characters
    /// and lets the curve turn back beyond `max_length`; here it counts tokens and stays.
    pub fn value(&self, tokens: usize, right: bool) -> f64 {
        let (tokens, max_length) = (tokens as f64, self.max_length as f64);
        match &self.curve {
            Curve::SoftOverlong(SoftOverlong { cache }) => {
                let cache = *cache as f64;
                if tokens <= max_length - cache {
                    0.0
                } else if tokens <= max_length {
                    (max_length - cache - tokens) / cache
                } else {
                    -1.0
                }
            }
            Curve::Cosine(of) => {
                let (short, long) = match right {
                    true => (of.max_value_correct, of.min_value_correct),
                    false => (of.min_value_wrong, of.max_value_wrong),
                };
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
        let soft_overlong = |max_length, cache| Length {
            max_length,
            curve: Curve::SoftOverlong(SoftOverlong { cache }),
        };
        let length = soft_overlong(100, 20);
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
        let hard = soft_overlong(10, 0);
        assert_eq!((hard.value(10, true), hard.value(11, true)), (0.0, -1.0));
    }

    #[test]
    fn the_cosine_prefers_short_right_answers_and_long_wrong_ones() {
        let length = Length {
            max_length: 100,
            curve: Curve::Cosine(CosineDraft::default().complete().unwrap()),
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
