//! AdamW in one pass over a parameter, where it is f32 on the processor.
//!
//! The arithmetic is that of burn's AdamW, operation by operation, so the bits are the same; what is saved is a dozen passes over memory.

use burn::tensor::{DType, Tensor, TensorData};
use rayon::prelude::*;

use super::{Primitive, in_f32};
use crate::device::{Processor, is_processor, processor_numbers};
use crate::host::on_this_processor;

/// Numbers that a thread takes at once.
const SHARE: usize = 1 << 14;

/// What a step is made with; scalars as burn has them.
#[derive(Debug, Clone, Copy)]
pub struct AdamWStep {
    /// What gradients are multiplied by first.
    pub scale: f32,
    /// β₁
    pub beta_1: f32,
    /// β₂
    pub beta_2: f32,
    /// ε, added to the root of the second moment.
    pub epsilon: f32,
    /// Weight decay; 0 for none.
    pub weight_decay: f32,
    /// The learning rate.
    pub lr: f64,
    /// The step's number, from 1.
    pub time: usize,
}

/// A parameter's two moments.
pub type Moments = (Tensor<1>, Tensor<1>);
/// A parameter and its moments.
pub type Stepped = (Tensor<1>, Moments);

impl AdamWStep {
    /// The parameter and its moments after a step; the gradient and the moments where a tensor is not f32 on the processor's backend. Moments that nobody else
    /// has are changed where they lie.
    ///
    /// # Shapes
    /// `value`, `grad` and `moments`: `[n]`; without moments the step is the first
    #[expect(
        clippy::result_large_err,
        reason = "what comes back are the tensors themselves"
    )]
    pub fn run(
        &self,
        value: &Tensor<1>,
        grad: Tensor<1>,
        moments: Option<Moments>,
    ) -> Result<Stepped, (Tensor<1>, Option<Moments>)> {
        let fits = |tensor: &Tensor<1>| is_processor(&tensor.device()) && tensor.dtype() == DType::F32;
        let do_moments = moments.iter().all(|(first, second)| fits(first) && fits(second));
        let old = match fits(value) && fits(&grad) && do_moments {
            true => in_f32(value.clone()),
            false => None,
        };
        let Some(old) = old else {
            return Err((grad, moments));
        };
        let old = old.as_slice::<f32>().expect("made contiguous");
        let owned = |tensor| processor_numbers::<f32, 1>(tensor).expect("f32 on the processor");
        let grad = in_f32(grad).expect("f32 on the processor");
        let grad = grad.as_slice::<f32>().expect("made contiguous");
        let is_first = moments.is_none();
        let (mut firsts, mut seconds) = match moments {
            Some((first, second)) => (owned(first), owned(second)),
            None => (vec![0.0; old.len()], vec![0.0; old.len()]),
        };
        let mut values = vec![0.0; old.len()];
        let step = |number: usize, values: &mut [f32], first: &mut [f32], second: &mut [f32]| {
            let share = number * SHARE..number * SHARE + values.len();
            match is_first {
                true => self.begin(&grad[share.clone()], first, second),
                false => self.go_on(&grad[share.clone()], first, second),
            }
            self.apply(&old[share], first, second, values);
        };
        match values.len() <= SHARE {
            true => step(0, &mut values, &mut firsts, &mut seconds),
            false => values
                .par_chunks_mut(SHARE)
                .zip(firsts.par_chunks_mut(SHARE))
                .zip(seconds.par_chunks_mut(SHARE))
                .enumerate()
                .for_each(|(number, ((values, first), second))| step(number, values, first, second)),
        }
        let tensor = |values: Vec<f32>| {
            let length = values.len();
            let primitive = Primitive::from_data(TensorData::new(values, [length]));
            Tensor::from_primitive::<Processor>(primitive)
        };
        Ok((tensor(values), (tensor(firsts), tensor(seconds))))
    }

    fn begin(&self, grad: &[f32], first: &mut [f32], second: &mut [f32]) {
        let factors = (1.0 - self.beta_1, 1.0 - self.beta_2);
        on_this_processor!({
            for ((&grad, first), second) in grad.iter().zip(first).zip(second) {
                let grad = grad * self.scale;
                *first = grad * factors.0;
                *second = grad * grad * factors.1;
            }
        });
    }

    fn go_on(&self, grad: &[f32], first: &mut [f32], second: &mut [f32]) {
        let (betas, factors) = ((self.beta_1, self.beta_2), (1.0 - self.beta_1, 1.0 - self.beta_2));
        on_this_processor!({
            for ((&grad, first), second) in grad.iter().zip(first).zip(second) {
                let grad = grad * self.scale;
                *first = *first * betas.0 + grad * factors.0;
                *second = *second * betas.1 + grad * grad * factors.1;
            }
        });
    }

    fn apply(&self, value: &[f32], first: &[f32], second: &[f32], new: &mut [f32]) {
        let corrections = (
            1.0 - self.beta_1.powi(self.time as i32),
            1.0 - self.beta_2.powi(self.time as i32),
        );
        let decay = self.lr * f64::from(self.weight_decay);
        let (kept, lr, epsilon) = ((1.0 - decay) as f32, self.lr as f32, self.epsilon);
        on_this_processor!({
            let moments = first.iter().zip(second);
            for ((&value, (first, second)), new) in value.iter().zip(moments).zip(new) {
                let delta = (first / corrections.0) / ((second / corrections.1).sqrt() + epsilon);
                *new = value * kept - delta * lr;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use burn::optim::{AdamWConfig, AdamWState};

    use super::*;

    #[test]
    fn a_step_has_the_bits_of_burns_adamw() {
        let device = crate::device::processor();
        let count = 3 * SHARE + 5;
        let numbers = |seed: usize| {
            let number = |i: usize| (((i + seed) * 7919) % 10_007) as f32 / 5000.0 - 1.0;
            let values: Vec<f32> = (0..count).map(number).collect();
            Tensor::<1>::from_data(TensorData::new(values, [count]), &device)
        };
        let bits = |tensor: &Tensor<1>| tensor.to_data().as_bytes().to_vec();
        for weight_decay in [0.0, 0.1] {
            let burns = AdamWConfig::new()
                .with_beta_1(0.9)
                .with_beta_2(0.95)
                .with_epsilon(1e-8)
                .with_weight_decay(weight_decay)
                .build();
            let mut expected = (numbers(1), None::<AdamWState<1>>);
            let mut actual = (numbers(1), None::<Moments>);
            for time in 1..=4 {
                let (grad, lr) = (numbers(time * 31), 1e-3 / time as f64);
                let scale = 1.0 / time as f32;
                let scaled = grad.clone().mul_scalar(scale);
                let (value, state) = burn::optim::Optimizer::step(&burns, lr, expected.0, scaled, expected.1);
                expected = (value, state);
                let step = AdamWStep {
                    scale,
                    beta_1: 0.9,
                    beta_2: 0.95,
                    epsilon: 1e-8,
                    weight_decay,
                    lr,
                    time,
                };
                // As where a clone of an optimiser has them, too.
                let shared = actual.1.clone().filter(|_| time % 2 == 0);
                let (value, moments) = step.run(&actual.0, grad, actual.1).expect("f32 on the processor");
                drop(shared);
                actual = (value, Some(moments));
                let momentum = &expected.1.as_ref().expect("a state").momentum;
                let (first, second) = actual.1.as_ref().expect("moments");
                assert_eq!(bits(&actual.0), bits(&expected.0));
                assert_eq!(bits(first), bits(&momentum.moment_1));
                assert_eq!(bits(second), bits(&momentum.moment_2));
            }
        }
    }
}
