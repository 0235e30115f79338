//! `repetition`: how much of a completion is said again.

use std::collections::HashSet;

use super::LARGEST;
use crate::section::{Check, ConfigError, at_least, impossible, section, within};

section! {
    /// A penalty for n-grams of tokens that are not the first of their kind.
    pub struct Repetition from RepetitionDraft {
        /// Tokens of an n-gram. Source: TRL (`get_repetition_penalty_reward`).
        pub ngram_size: usize = 3,
        /// Reward where every n-gram is the same; less than 0. Source: TRL.
        pub max_penalty: f64 = -1.0,
    }
}

impl Check for Repetition {
    fn check(&self) -> Result<(), ConfigError> {
        at_least("ngram_size", self.ngram_size, 1)?;
        within("max_penalty", self.max_penalty, -LARGEST, LARGEST)?;
        if self.max_penalty > 0.0 {
            let what = "a penalty above 0 would reward repetition";
            return impossible("max_penalty", what, "give less than 0");
        }
        if self.max_penalty == 0.0 {
            return impossible(
                "max_penalty",
                "a penalty of 0 punishes nothing",
                "give less than 0",
            );
        }
        Ok(())
    }
}

impl Repetition {
    /// `(1 − different n-grams / n-grams) · max_penalty`; 0 for fewer tokens than one n-gram has.
    ///
    /// TRL's `get_repetition_penalty_reward`, over tokens as in arXiv 2502.03373, appendix C.2. open-r1 has the same
    /// over words between spaces, which not every language has.
    pub fn value(&self, tokens: &[u32]) -> f64 {
        let ngrams = tokens.windows(self.ngram_size);
        let total = ngrams.len();
        let different = ngrams.collect::<HashSet<_>>().len();
        if different == total {
            return 0.0;
        }
        (1.0 - different as f64 / total as f64) * self.max_penalty
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_again_is_counted_as_trl_does() {
        let repetition = |ngram_size, max_penalty| Repetition {
            ngram_size,
            max_penalty,
        };
        // The example of TRL's docstring.
        assert_eq!(
            repetition(2, -1.0).value(&[1, 2, 3, 4]).to_bits(),
            0.0f64.to_bits()
        );
        assert_eq!(repetition(2, -1.0).value(&[5; 5]), -0.75);
        // a b c a b c d: five trigrams, of which one comes twice.
        let tokens = [1, 2, 3, 1, 2, 3, 4];
        assert!((repetition(3, -2.0).value(&tokens) + 0.4).abs() < 1e-12);
        for short in [&tokens[..0], &tokens[..2], &tokens[..3]] {
            assert_eq!(repetition(3, -1.0).value(short), 0.0);
        }
        assert_eq!(repetition(1, -1.0).value(&[7, 7]), -0.5);
    }
}
