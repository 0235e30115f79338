//! Drawing where the logits are: a few numbers a row come back, never the vocabulary.
//!
//! burn sorts on the host, and its running sum reads the whole row again for each element on a GPU; so the filters'
//! least values are found by bisection, and the cumulative distribution is walked in two steps, blocks first.
//!
//! Axes: `b` rows, `v` vocabulary, `n` blocks of `w` tokens each; `1` is an axis that is kept for broadcasting.

use burn::tensor::{Bool, DType, FloatDType, Int, Tensor, TensorData};

use super::{Draw, log_share};
use crate::rollout::Rollout;

/// Token ids travel as f32.
const VOCAB_LIMIT: usize = 1 << 24;

/// `exp` of it is 0 in f32: whoever lies below is never drawn, and need not be told apart.
const LOWEST: f32 = -104.0;

/// Rounds of bisection: the first number separates values 2.5e-8 apart; the second, for rows where that does not do,
/// all that f32 tells apart.
const ROUNDS: [usize; 2] = [32, 192];

/// Numbers that come back for each row.
const COLUMNS: usize = 8;

/// Logits and what their softmax is made of.
#[derive(Clone)]
struct Softmax {
    logits_bv: Tensor<2>,
    max_b1: Tensor<2>,
    /// `(logits - max) / temperature`
    scaled_bv: Tensor<2>,
    weights_bv: Tensor<2>,
    total_b1: Tensor<2>,
}

impl Softmax {
    fn new(logits_bv: Tensor<2>, inverse: f64) -> Self {
        let max_b1 = logits_bv.clone().max_dim(1);
        let scaled_bv = (logits_bv.clone() - max_b1.clone()) * (inverse as f32);
        let weights_bv = scaled_bv.clone().exp();
        Self {
            total_b1: weights_bv.clone().sum_dim(1),
            logits_bv,
            max_b1,
            scaled_bv,
            weights_bv,
        }
    }

    /// `[b, 1]`: the first of the greatest logits.
    fn top(&self) -> Tensor<2> {
        let vocab = self.logits_bv.dims()[1];
        let is_less_bv = float(self.logits_bv.clone().lower(self.max_b1.clone()));
        let ids_1v = range_like(&self.logits_bv, vocab);
        (is_less_bv * vocab as f32 + ids_1v)
            .min_dim(1)
            .clamp_max(vocab as f32 - 1.0)
    }
}

impl Rollout {
    /// [`Rollout::draw`] for a batch, by tensor operations on the logits' device, one read-back for all rows.
    ///
    /// It works in f32, the uniform numbers included: a token may differ from the host's where a number falls on a
    /// boundary between two tokens, or a sum on top-p's, to within f32's rounding (about 1e-6 of the whole).
    ///
    /// # Shapes
    /// * `logits_bv`: `[b, v]`, any float type
    /// * `seen_bv`: `[b, v]`, the tokens of prompt and completion; not looked at unless [`Rollout::penalises`]
    /// * `uniforms`: `b` numbers in [0, 1)
    ///
    /// # Panics
    /// `uniforms` are not `b`, or `v` is above 2^24.
    pub fn draw_on_device(
        &self,
        logits_bv: Tensor<2>,
        seen_bv: Option<Tensor<2, Bool>>,
        uniforms: &[f64],
    ) -> Vec<Option<Draw>> {
        let [rows, vocab] = logits_bv.dims();
        assert_eq!(uniforms.len(), rows, "one uniform number for each row of logits");
        assert!(vocab <= VOCAB_LIMIT, "a vocabulary of {vocab}: at most 2^24");
        let inverse = 1.0 / self.logp_temperature();
        let logits_bv = logits_bv.cast(FloatDType::F32);
        let plain = Softmax::new(logits_bv.clone(), inverse);
        let drawn = match seen_bv.filter(|_| self.penalises()) {
            Some(seen_bv) => Softmax::new(self.penalised(logits_bv, seen_bv), inverse),
            None => plain.clone(),
        };
        let numbers = uniforms.iter().map(|&u| u as f32).collect();
        let device = plain.logits_bv.device();
        let uniforms_b1 = Tensor::from_data(
            TensorData::new::<f32, _>(numbers, [rows, 1]),
            (&device, DType::F32),
        );
        let mut draws = Vec::new();
        for rounds in ROUNDS {
            let read = self.columns(&plain, &drawn, uniforms_b1.clone(), rounds);
            let read: Vec<f32> = read
                .into_data()
                .convert::<f32>()
                .try_into_vec()
                .expect("converted to f32");
            let mut all_exact = true;
            draws = read
                .chunks(COLUMNS)
                .map(|row| {
                    let &[token, logit, max, total, drawn_logit, drawn_max, kept, exact] = row else {
                        unreachable!("chunks of a whole number of rows");
                    };
                    // The likeliest token alone weighs 1; damaged logits make the sums NaN, infinite or 0.
                    let sound = |max: f32, total: f32| max.is_finite() && total.is_finite() && total > 0.5;
                    if !(sound(max, total) && sound(drawn_max, kept)) {
                        return None;
                    }
                    all_exact &= exact == 1.0;
                    let sampling_logp = match self.temperature > 0.0 {
                        true => log_share(drawn_logit, drawn_max, inverse, f64::from(kept)),
                        false => 0.0,
                    };
                    Some(Draw {
                        token: token as u32,
                        logp: log_share(logit, max, inverse, f64::from(total)),
                        sampling_logp,
                    })
                })
                .collect();
            if all_exact {
                break;
            }
        }
        draws
    }

    /// `[b, 8]`: all that the host wants to know.
    fn columns(&self, plain: &Softmax, drawn: &Softmax, uniforms_b1: Tensor<2>, rounds: usize) -> Tensor<2> {
        let vocab = plain.logits_bv.dims()[1];
        let mut kept_b1 = drawn.total_b1.clone();
        let mut exact_b1 = kept_b1.ones_like();
        let token_b1 = if self.temperature <= 0.0 {
            drawn.top()
        } else if self.filters(vocab) {
            let least = self.least_on_device(drawn, rounds);
            exact_b1 = least.exact_b1;
            let below_bv = drawn.scaled_bv.clone().lower(least.value_b1);
            let weights_bv = drawn.weights_bv.clone().mask_fill(below_bv, 0.0);
            kept_b1 = weights_bv.clone().sum_dim(1);
            pick(weights_bv, uniforms_b1)
        } else {
            pick(drawn.weights_bv.clone(), uniforms_b1)
        };
        let id_b1 = token_b1.clone().int();
        let columns = vec![
            token_b1,
            plain.logits_bv.clone().gather(1, id_b1.clone()),
            plain.max_b1.clone(),
            plain.total_b1.clone(),
            drawn.logits_bv.clone().gather(1, id_b1),
            drawn.max_b1.clone(),
            kept_b1,
            exact_b1,
        ];
        Tensor::cat(columns, 1)
    }

    fn penalised(&self, logits_bv: Tensor<2>, seen_bv: Tensor<2, Bool>) -> Tensor<2> {
        let penalty = self.repetition_penalty as f32;
        let positive_bv = logits_bv.clone().greater_elem(0.0);
        let less_bv = (logits_bv.clone() * penalty).mask_where(positive_bv, logits_bv.clone() / penalty);
        logits_bv.mask_where(seen_bv, less_bv)
    }

    /// The least scaled logit that the filters let pass.
    fn least_on_device(&self, drawn: &Softmax, rounds: usize) -> Least {
        let scaled_bv = drawn.scaled_bv.clone().clamp_min(LOWEST);
        let mut least = Least {
            value_b1: drawn.max_b1.full_like(LOWEST),
            exact_b1: drawn.max_b1.ones_like(),
        };
        if self.limits_k(scaled_bv.dims()[1]) {
            let count = |keep_bv: Tensor<2, Bool>| float(keep_bv).sum_dim(1);
            let goal_b1 = drawn.max_b1.full_like(self.top_k as f32);
            least = least.raised(&scaled_bv, &count, goal_b1, rounds);
        }
        if self.top_p < 1.0 {
            let mass = |keep_bv: Tensor<2, Bool>| (float(keep_bv) * drawn.weights_bv.clone()).sum_dim(1);
            let total_b1 = mass(scaled_bv.clone().greater_equal(least.value_b1.clone()));
            let goal_b1 = (total_b1 * (self.top_p as f32)).clamp_min(f32::MIN_POSITIVE);
            least = least.raised(&scaled_bv, &mass, goal_b1, rounds);
        }
        if self.min_p > 0.0 {
            least.value_b1 = least.value_b1.clamp_min(self.min_p.ln() as f32);
        }
        least
    }
}

/// Where a row is cut off.
struct Least {
    value_b1: Tensor<2>,
    /// 1 where the search has come down to one value, else 0.
    exact_b1: Tensor<2>,
}

impl Least {
    /// The greatest value of which, with all above it, the measure reaches `goal_b1`, not below this one.
    fn raised(
        self,
        scaled_bv: &Tensor<2>,
        measure: &dyn Fn(Tensor<2, Bool>) -> Tensor<2>,
        goal_b1: Tensor<2>,
        rounds: usize,
    ) -> Least {
        let mut low_b1 = self.value_b1;
        let mut high_b1 = low_b1.ones_like();
        for _ in 0..rounds {
            let middle_b1 = (low_b1.clone() + high_b1.clone()) * 0.5;
            let above_b1 = measure(scaled_bv.clone().greater_equal(middle_b1.clone()));
            let reached_b1 = above_b1.greater_equal(goal_b1.clone());
            low_b1 = low_b1.mask_where(reached_b1.clone(), middle_b1.clone());
            high_b1 = middle_b1.mask_where(reached_b1, high_b1);
        }
        let below_bv = scaled_bv.clone().lower(low_b1);
        let value_b1 = scaled_bv.clone().mask_fill(below_bv, 1.0).min_dim(1);
        let without_b1 = measure(scaled_bv.clone().greater(value_b1.clone()));
        Least {
            value_b1,
            exact_b1: self.exact_b1 * float(without_b1.lower(goal_b1)),
        }
    }
}

/// `[b, 1]`: in each row the first token at which the cumulative weight passes `uniform` of the whole; where rounding
/// lets none pass, the last that has any.
fn pick(weights_bv: Tensor<2>, uniforms_b1: Tensor<2>) -> Tensor<2> {
    let [rows, vocab] = weights_bv.dims();
    let width = vocab.isqrt().next_power_of_two();
    let blocks = vocab.div_ceil(width);
    let device = weights_bv.device();
    let padded = match blocks * width - vocab {
        0 => weights_bv,
        more => Tensor::cat(
            vec![weights_bv, Tensor::zeros([rows, more], (&device, DType::F32))],
            1,
        ),
    };
    let sums_bn = padded
        .clone()
        .reshape([rows, blocks, width])
        .sum_dim(2)
        .squeeze_dim::<2>(2);
    let passed_bn = sums_bn.clone().cumsum(1);
    // The goal is a share of the same running sum that it is compared with.
    let goal_b1 = passed_bn.clone().narrow(1, blocks - 1, 1) * uniforms_b1;
    let block_b1 = first_above(sums_bn.clone(), passed_bn.clone(), goal_b1.clone());
    let block_id_b1 = block_b1.clone().int();
    let before_b1 = passed_bn.gather(1, block_id_b1.clone()) - sums_bn.gather(1, block_id_b1.clone());
    let rest_b1 = (goal_b1 - before_b1).clamp_min(0.0);
    let row_starts_b = Tensor::<1, Int>::arange(0..rows as i64, &device) * blocks as i64;
    let weights_bw = padded
        .reshape([rows * blocks, width])
        .select(0, block_id_b1.squeeze_dim::<1>(1) + row_starts_b);
    let place_b1 = first_above(weights_bw.clone(), weights_bw.cumsum(1), rest_b1);
    // NaN must not point outside.
    (block_b1 * width as f32 + place_b1).clamp(0.0, vocab as f32 - 1.0)
}

/// `[b, 1]`: the first place of each row at which `passed` is above `goal`, at most the last with a part above 0.
fn first_above(parts: Tensor<2>, passed: Tensor<2>, goal_b1: Tensor<2>) -> Tensor<2> {
    let count = parts.dims()[1];
    let first_b1 = float(passed.lower_equal(goal_b1)).sum_dim(1);
    let last_b1 = (float(parts.clone().greater_elem(0.0)) * range_like(&parts, count)).max_dim(1);
    first_b1.min_pair(last_b1)
}

/// `[1, count]`: 0, 1, … in f32.
fn range_like(like: &Tensor<2>, count: usize) -> Tensor<2> {
    Tensor::<1, Int>::arange(0..count as i64, &like.device())
        .cast(FloatDType::F32)
        .unsqueeze()
}

/// 1 where true, in f32 whatever the device's own float type.
fn float(truths: Tensor<2, Bool>) -> Tensor<2> {
    truths.cast(FloatDType::F32)
}
