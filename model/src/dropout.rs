//! What training leaves out of the inputs of adapters (PEFT's `lora_dropout`): each number with probability `p`, and what stays is
//! divided by `1 − p`.
//!
//! Whether a number stays is a function of what it is: the update's key, the tokens of its text up to there, layer, projection and
//! feature. So it is the same however texts are batched, cut into micro-batches and shared out, on every device, and whenever it is
//! asked for again; and texts that begin alike have the same numbers left out as far as they do, as what they share is run once.

use crate::host::on_this_processor;

/// Dropout on the inputs of adapters, in one update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Probability that a number is left out: at least 0, less than 1.
    pub p: f64,
    /// Which update: another key leaves out others.
    pub key: u64,
}

/// What stands in a text up to some token, and with it: two that differ are two numbers, but for chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(u64);

impl Mark {
    /// Before a text's first token.
    pub const START: Mark = Mark(0);

    /// The mark at the next token.
    pub fn then(self, token: u32) -> Self {
        Self(mixed(self.0, u64::from(token)))
    }

    /// The mark at each token of a text.
    pub fn of(text: impl IntoIterator<Item = u32>) -> impl Iterator<Item = Self> {
        text.into_iter().scan(Self::START, |mark, token| {
            *mark = mark.then(token);
            Some(*mark)
        })
    }
}

/// What is left out of the inputs of one projection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mask {
    key: u64,
    /// The least of 2³² equally likely numbers that stays.
    least: u32,
    /// What stays is multiplied by this.
    factor: f32,
}

impl Dropout {
    /// Of the projection `name` of a layer.
    pub(crate) fn of(self, layer: usize, name: &str) -> Mask {
        let key = mixed(self.key, layer as u64);
        Mask {
            key: name.bytes().fold(key, |key, byte| mixed(key, u64::from(byte))),
            least: (self.p * 2f64.powi(32)) as u32,
            factor: (1.0 / (1.0 - self.p)) as f32,
        }
    }
}

impl Mask {
    /// Puts 0 in the place of what is left out of a token's numbers, and multiplies the others.
    pub fn apply(&self, mark: Mark, line: &mut [f32]) {
        let (key, least, factor) = (mixed(self.key, mark.0), self.least, self.factor);
        let (first, second) = (key as u32, (key >> 32) as u32);
        on_this_processor!({
            for (at, x) in line.iter_mut().enumerate() {
                let stays = scrambled(at as u32, first, second) >= least;
                *x = if stays { *x * factor } else { 0.0 };
            }
        });
    }
}

/// A number made of two (SplitMix64's finaliser, Steele et al. 2014).
fn mixed(a: u64, b: u64) -> u64 {
    let mut x = a
        .rotate_left(32)
        .wrapping_add(b)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// 32 bits for a feature (the shifts and factors of Wellons' `lowbias32`), keyed before and within.
#[inline(always)]
fn scrambled(at: u32, first: u32, second: u32) -> u32 {
    let mut x = at.wrapping_mul(0x9e37_79b9) ^ first;
    x = (x ^ (x >> 16)).wrapping_mul(0x21f0_aaad);
    x ^= second;
    x = (x ^ (x >> 15)).wrapping_mul(0x735a_2d97);
    x ^ (x >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ±1 for every (layer and projection, token, feature): what stays and what does not.
    fn signs(p: f64, key: u64, features: usize) -> Vec<Vec<Vec<f64>>> {
        let places = (0..4).flat_map(|layer| ["q_proj", "down_proj"].map(|name| (layer, name)));
        places
            .map(|(layer, name)| {
                let mask = Dropout { p, key }.of(layer, name);
                Mark::of((0..64u32).map(|at| at % 7))
                    .map(|mark| {
                        let mut line = vec![1.0; features];
                        mask.apply(mark, &mut line);
                        line.iter().map(|&x| if x == 0.0 { -1.0 } else { 1.0 }).collect()
                    })
                    .collect()
            })
            .collect()
    }

    /// Whether a mean of `count` products of independent numbers, each of variance 1, may be so far from 0.
    fn is_chance(sum: f64, count: usize) -> bool {
        sum.abs() / (count as f64).sqrt() < 4.5
    }

    #[test]
    fn the_share_that_stays_is_1_less_p_and_keeps_the_mean() {
        for p in [0.05, 0.1, 0.5, 0.9] {
            let signs = signs(p, 3, 576);
            let all: Vec<f64> = signs.into_iter().flatten().flatten().collect();
            let left_out = all.iter().filter(|&&sign| sign < 0.0).count() as f64;
            let n = all.len() as f64;
            let off = (left_out - n * p) / (n * p * (1.0 - p)).sqrt();
            assert!(off.abs() < 4.5, "{p}: {off}");
        }
        let mut line = [2.0, -3.0, 0.0, 7.0];
        let before = line;
        Dropout { p: 0.0, key: 1 }
            .of(0, "q_proj")
            .apply(Mark::START, &mut line);
        assert_eq!(line, before);
    }

    #[test]
    fn neighbours_of_every_kind_are_independent() {
        let (p, features) = (0.5, 576);
        let one = signs(p, 3, features);
        let other = signs(p, 4, features);
        let (places, tokens) = (one.len(), one[0].len());
        let mut sums = std::collections::BTreeMap::<&str, (f64, usize)>::new();
        let mut add = |what, a: f64, b: f64| {
            let (sum, count) = sums.entry(what).or_default();
            (*sum, *count) = (*sum + a * b, *count + 1);
        };
        for place in 0..places {
            for token in 0..tokens {
                for feature in 0..features {
                    let sign = one[place][token][feature];
                    add("an update later", sign, other[place][token][feature]);
                    add(
                        "a feature later",
                        sign,
                        one[place][token][(feature + 1) % features],
                    );
                    add(
                        "16 features later",
                        sign,
                        one[place][token][(feature + 16) % features],
                    );
                    add("a token later", sign, one[place][(token + 1) % tokens][feature]);
                    add(
                        "the same token again",
                        sign,
                        one[place][(token + 7) % tokens][feature],
                    );
                    add("another projection", sign, one[place ^ 1][token][feature]);
                    add("a layer later", sign, one[(place + 2) % places][token][feature]);
                    let aside = one[place][(token + 1) % tokens][(feature + 1) % features];
                    add("a token and a feature later", sign, aside);
                }
            }
        }
        for (what, (sum, count)) in sums {
            assert!(is_chance(sum, count), "{what}: {}", sum / (count as f64).sqrt());
        }
        // How many of a token's numbers stay varies as it should.
        let of_token = |signs: &Vec<f64>| signs.iter().sum::<f64>().powi(2) / features as f64;
        let lines = one.iter().flatten();
        let spread = lines.clone().map(of_token).sum::<f64>() / lines.count() as f64;
        assert!((spread - 1.0).abs() < 0.3, "{spread}");
    }

    #[test]
    fn texts_that_begin_alike_have_the_same_marks_so_far() {
        let marks = |text: &[u32]| Mark::of(text.iter().copied()).collect::<Vec<_>>();
        let (a, b) = (marks(&[5, 0, 7, 7]), marks(&[5, 0, 8, 7]));
        assert_eq!(a[..2], b[..2]);
        assert!(a[2] != b[2] && a[3] != b[3] && a[2] != a[3]);
        assert_ne!(marks(&[0])[0], marks(&[0, 0])[1]);
    }
}
