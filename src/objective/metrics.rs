//! Sums that a loss leaves behind: they add over micro-batches and reach the host in one transfer.

use std::ops::{Add, AddAssign};

use burn::tensor::{Bool, Tensor, TensorReadError};

use super::surrogate::PolicyTerm;
use super::terms::{ProjectedKl, Rows};

/// The sums of [`LossMetrics`] on the device.
#[derive(Debug, Clone)]
pub struct MetricSums {
    sums: Tensor<1>,
}

impl MetricSums {
    /// Sums in the order of the fields of [`LossMetrics`], 0 for a term without inputs.
    pub(super) fn of(
        loss: &Tensor<1>,
        rows: &Rows,
        policy: PolicyTerm,
        kl_ref_bt: Option<Tensor<2>>,
        kl_projected: Option<ProjectedKl>,
    ) -> Self {
        let loss = loss.clone().inner();
        let sum = |x: Tensor<2>, pad: &Tensor<2, Bool>| x.inner().mask_fill(pad.clone().inner(), 0.0).sum();
        let count = |flag: Tensor<2, Bool>, pad: &Tensor<2, Bool>| sum(flag.float().cast(loss.dtype()), pad);
        let (pad_bt, pad_br) = (&rows.pad_bt, &policy.pad_br);
        let kept = |pad: &Tensor<2, Bool>| count(pad.clone().bool_not(), pad);
        // How many tokens have a KL, and their sum.
        let kl_sums = |kl_bt: Option<Tensor<2>>| match kl_bt {
            Some(kl_bt) => [kept(pad_bt), sum(kl_bt, pad_bt)],
            None => [loss.zeros_like(), loss.zeros_like()],
        };
        let (kl_projected_bt, clamped_bt) = kl_projected.map(|kl| (kl.value_bt, kl.clamped_bt)).unzip();
        let [kl_ref_count, kl_ref_sum] = kl_sums(kl_ref_bt);
        let [kl_projected_count, kl_projected_sum] = kl_sums(kl_projected_bt);
        let sums = vec![
            loss.clone(),
            kept(pad_br),
            sum(policy.ratio_br, pad_br),
            count(policy.low_br, pad_br),
            count(policy.high_br, pad_br),
            kl_ref_count,
            kl_ref_sum,
            kl_projected_count,
            kl_projected_sum,
            clamped_bt.map_or_else(|| loss.zeros_like(), |flag_bt| count(flag_bt, pad_bt)),
        ];
        Self {
            sums: Tensor::cat(sums, 0),
        }
    }

    /// Waits for the device and reads the sums.
    ///
    /// # Errors
    /// What the device answers when the computation or the transfer failed.
    pub fn read(self) -> Result<LossMetrics, TensorReadError> {
        let sums: Vec<f64> = self.sums.try_into_vec_as()?;
        let mut sums = sums.into_iter();
        let mut next = || sums.next().unwrap_or(0.0);
        Ok(LossMetrics {
            loss: next(),
            ratio_count: next(),
            ratio_sum: next(),
            clip_low_count: next(),
            clip_high_count: next(),
            kl_ref_count: next(),
            kl_ref_sum: next(),
            kl_projected_count: next(),
            kl_projected_sum: next(),
            clamped_count: next(),
        })
    }
}

impl Add for MetricSums {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            sums: self.sums + other.sums,
        }
    }
}

/// Sums and counts over kept tokens (over sequences, where an objective has one ratio for each).
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LossMetrics {
    /// The loss. Adds over micro-batches, since each is divided by the whole batch's totals.
    pub loss: f64,
    /// How many ratios there are.
    pub ratio_count: f64,
    /// Sum of the ratios `R`.
    pub ratio_sum: f64,
    /// Ratios clipped from below: `R < 1 − ε` and a negative weight.
    pub clip_low_count: f64,
    /// Ratios clipped from above: `R > 1 + ε_high` and a positive weight.
    pub clip_high_count: f64,
    /// Tokens with a KL towards the reference model.
    pub kl_ref_count: f64,
    /// Sum of `K` over them, in nats.
    pub kl_ref_sum: f64,
    /// Tokens with a KL towards the projected reference.
    pub kl_projected_count: f64,
    /// Sum of `K'` over them, in nats.
    pub kl_projected_sum: f64,
    /// Tokens of those where the clamp of `π'_ref` or of `ρ` was active.
    pub clamped_count: f64,
}

impl LossMetrics {
    /// Mean ratio `R`, or `None` without one.
    pub fn ratio_mean(&self) -> Option<f64> {
        share(self.ratio_sum, self.ratio_count)
    }

    /// Share of ratios clipped (`objective/clip_frac`).
    pub fn clip_frac(&self) -> Option<f64> {
        share(self.clip_low_count + self.clip_high_count, self.ratio_count)
    }

    /// Mean of `K` over tokens, in nats (`objective/kl_ref`), or `None` without a reference model.
    pub fn kl_ref(&self) -> Option<f64> {
        share(self.kl_ref_sum, self.kl_ref_count)
    }

    /// Mean of `K'` over tokens, in nats (`objective/kl_projected`), or `None` without one.
    pub fn kl_projected(&self) -> Option<f64> {
        share(self.kl_projected_sum, self.kl_projected_count)
    }

    /// Share of tokens where a clamp of the second KL term was active (`projection/clamped_frac`).
    pub fn clamped_frac(&self) -> Option<f64> {
        share(self.clamped_count, self.kl_projected_count)
    }
}

fn share(sum: f64, count: f64) -> Option<f64> {
    (count > 0.0).then(|| sum / count)
}

impl AddAssign for LossMetrics {
    fn add_assign(&mut self, other: Self) {
        self.loss += other.loss;
        self.ratio_count += other.ratio_count;
        self.ratio_sum += other.ratio_sum;
        self.clip_low_count += other.clip_low_count;
        self.clip_high_count += other.clip_high_count;
        self.kl_ref_count += other.kl_ref_count;
        self.kl_ref_sum += other.kl_ref_sum;
        self.kl_projected_count += other.kl_projected_count;
        self.kl_projected_sum += other.kl_projected_sum;
        self.clamped_count += other.clamped_count;
    }
}
