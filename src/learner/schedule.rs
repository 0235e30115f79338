//! Learning-rate schedules, as transformers computes them.

use std::f64::consts::PI;

use super::{LrSchedulerType, Train};

/// A learning-rate multiplier for every optimiser step: a pure function of the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LrSchedule {
    kind: LrSchedulerType,
    warmup_steps: usize,
    total_steps: usize,
}

impl LrSchedule {
    /// The schedule of `[train]` over `total_steps` optimiser steps.
    ///
    /// The warm-up lasts `warmup_steps` steps, or `warmup_ratio` of all of them, rounded up, where
    /// `warmup_steps` is 0.
    pub fn new(train: &Train, total_steps: usize) -> Self {
        let warmup_steps = match train.warmup_steps {
            0 => (total_steps as f64 * train.warmup_ratio).ceil() as usize,
            steps => steps,
        };
        Self {
            kind: train.lr_scheduler_type,
            warmup_steps,
            total_steps,
        }
    }

    /// What the learning rate is multiplied by in optimiser step `step`, the first being 0.
    ///
    /// As in transformers, the first step of a warm-up has a multiplier of 0.
    pub fn multiplier(&self, step: usize) -> f64 {
        if self.kind == LrSchedulerType::Constant {
            return 1.0;
        }
        if step < self.warmup_steps {
            return step as f64 / self.warmup_steps as f64;
        }
        let decay_steps = self.total_steps.saturating_sub(self.warmup_steps).max(1) as f64;
        match self.kind {
            LrSchedulerType::Constant | LrSchedulerType::ConstantWithWarmup => 1.0,
            LrSchedulerType::Linear => self.total_steps.saturating_sub(step) as f64 / decay_steps,
            LrSchedulerType::Cosine => {
                let progress = (step - self.warmup_steps) as f64 / decay_steps;
                (0.5 * (1.0 + (PI * progress).cos())).max(0.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(kind: LrSchedulerType, warmup_steps: usize, warmup_ratio: f64, steps: usize) -> LrSchedule {
        let train = Train {
            lr_scheduler_type: kind,
            warmup_steps,
            warmup_ratio,
            ..Train::default()
        };
        LrSchedule::new(&train, steps)
    }

    fn multipliers(kind: LrSchedulerType, warmup_steps: usize, steps: usize) -> Vec<f64> {
        let schedule = schedule(kind, warmup_steps, 0.0, 10);
        (0..steps).map(|step| schedule.multiplier(step)).collect()
    }

    fn close(got: &[f64], expected: &[f64]) {
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-12, "{got} for {expected}");
        }
    }

    // The expectations are those of the unit tests of transformers' schedules (lr 10, 10 steps,
    // 2 of them warm-up), divided by that lr.
    #[test]
    fn constant() {
        close(&multipliers(LrSchedulerType::Constant, 4, 3), &[1.0; 3]);
        close(
            &multipliers(LrSchedulerType::ConstantWithWarmup, 4, 10),
            &[0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        );
    }

    #[test]
    fn linear() {
        close(
            &multipliers(LrSchedulerType::Linear, 2, 12),
            &[
                0.0, 0.5, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0, 0.0,
            ],
        );
    }

    #[test]
    fn cosine() {
        let got = multipliers(LrSchedulerType::Cosine, 2, 10);
        let expected = [0.0, 5.0, 10.0, 9.61, 8.53, 6.91, 5.0, 3.08, 1.46, 0.38];
        for (got, expected) in got.iter().zip(expected) {
            assert!((10.0 * got - expected).abs() < 0.01, "{got} for {expected}");
        }
    }

    #[test]
    fn the_warm_up_may_be_a_share() {
        let by_ratio = schedule(LrSchedulerType::Linear, 0, 0.11, 10);
        assert_eq!(by_ratio, schedule(LrSchedulerType::Linear, 2, 0.0, 10));
        let both = schedule(LrSchedulerType::Linear, 3, 0.5, 10);
        assert_eq!(both, schedule(LrSchedulerType::Linear, 3, 0.0, 10));
    }

    #[test]
    fn a_run_of_no_steps_is_no_panic() {
        for kind in [LrSchedulerType::Linear, LrSchedulerType::Cosine] {
            assert!(schedule(kind, 0, 0.0, 0).multiplier(0).is_finite());
        }
    }
}
