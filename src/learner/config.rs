//! `[train]`.

use gcpo_model::device::DeviceSpec;
use gcpo_model::dtype::Dtype;

use crate::section::{Check, ConfigError, MANY, ROWS, count, impossible, positive, section, within, words};

section! {
    /// `[train]`: steps, batches and the optimiser, for `gcpo train` and `gcpo sft`.
    pub struct Train from TrainDraft {
        /// Passes over the training problems, 2.5 perhaps; a run has as many steps as they take, and no more than `max_steps`, if that is
        /// given too. Default: none, `max_steps` alone says. Source: TRL (where it is 3).
        pub num_train_epochs: Option<f64>,
        /// Number of steps: rollouts in `gcpo train`, optimiser updates in `gcpo sft`. Default: 100; without a bound where
        /// `num_train_epochs` is given. Source: this project.
        pub max_steps: usize => if num_train_epochs.is_some() { MOST_STEPS } else { 100 },
        /// Queries a step (`gcpo train`). Source: paper, section 5.
        pub prompts_per_step: usize = 256,
        /// Optimiser updates in one pass over a rollout; each takes whole groups (`gcpo train`). Source: this project.
        pub mini_batches: usize = 1,
        /// Passes over a rollout, TRL's μ (`gcpo train`). Source: TRL.
        pub num_iterations: usize = 1,
        /// Sequences in one forward and backward pass. In `gcpo train` it changes memory and speed only: gradients are accumulated
        /// over the mini-batch. In `gcpo sft` a step sees this many times `gradient_accumulation_steps`. Source: TRL.
        pub per_device_train_batch_size: usize = 8,
        /// Tokens in one forward and backward pass, as well as rows; 0: rows alone. Counted are those that are run: contexts and completions,
        /// those of the second KL term's contexts too, what rows share once where it is run once. It changes memory and speed only: groups
        /// that share contexts stay together where they fit, and a row that is longer by itself runs alone. Source: this project (verl's `ppo_max_token_len_per_gpu`).
        pub max_tokens_per_micro_batch: usize = 0,
        /// Forward and backward passes in one update of `gcpo sft`; `gcpo train` works it out from the mini-batch. Source: TRL.
        pub gradient_accumulation_steps: usize = 1,
        /// Whether the insides of layers are computed again in the backward pass instead of kept: a third more work for a fraction of the
        /// memory, and the same numbers (to the last bit, unless a device fuses operations otherwise). Source: TRL (where it is on).
        pub gradient_checkpointing: bool = false,
        /// Whether `gcpo train` refuses, before anything is sampled, a run that the device seems to have no memory for (`gcpo plan` shows
        /// what is expected). Source: this project.
        pub check_memory: bool = true,
        /// What the network computes with, as far as the device does. In 16 bits the optimiser updates a copy of the weights in
        /// float32, and norms, softmax, log-probabilities and losses are in float32.
        /// Source: verl (`dtype`; TRL has `bf16`, `fp16`).
        pub dtype: Dtype = Dtype::F32,
        /// Devices that train together, each on its share of the prompts and rows, `["cuda:0", "cuda:1"]`; the first holds the optimiser.
        /// Without any it is the one of `--device`. Not with several ranks (`mpirun`), each of which has one. Source: this project.
        pub devices: Vec<DeviceSpec> = Vec::<DeviceSpec>::new(),
        /// Seconds that ranks (`mpirun`, `srun`) wait at a common point for the last of them, until all end with a message that names it. It must be
        /// longer than the shares of a step, or of an evaluation, may take one longer than another. Source: TRL (transformers).
        pub ddp_timeout: f64 = 1800.0,
        /// Mebibytes of gradients that ranks add up at a time, about. It changes memory and speed only. Source: TRL (transformers; PyTorch's 25).
        pub ddp_bucket_cap_mb: f64 = 25.0,
        /// Peak learning rate. Source: paper, section 5, and TRL.
        pub learning_rate: f64 = 1e-6,
        /// Decoupled weight decay of AdamW. Source: paper, section 5.
        pub weight_decay: f64 = 0.01,
        /// AdamW's β1. Source: TRL.
        pub adam_beta1: f64 = 0.9,
        /// AdamW's β2. Source: TRL.
        pub adam_beta2: f64 = 0.999,
        /// AdamW's ε. Source: TRL.
        pub adam_epsilon: f64 = 1e-8,
        /// Largest norm of the gradient of all parameters together; 0 does not clip. Source: TRL.
        pub max_grad_norm: f64 = 1.0,
        /// Course of the learning rate: `"constant"` is without a warm-up; `"linear"` and `"cosine"` fall to 0 after it. Source: TRL.
        pub lr_scheduler_type: LrSchedulerType = LrSchedulerType::Linear,
        /// Updates over which the learning rate rises linearly from 0; wins over `warmup_ratio`. Source: TRL.
        pub warmup_steps: usize = 0,
        /// The same as a share of all updates. Source: TRL.
        pub warmup_ratio: f64 = 0.0,
    }
}

/// More steps than any run has.
const MOST_STEPS: usize = 1_000_000_000;

impl Train {
    /// Sets how many steps the epochs are, where they are given, of `problems` problems with `per_step` of them in a step; then what is
    /// to be said of it.
    pub fn settle_epochs(&mut self, problems: usize, per_step: usize) -> Option<String> {
        let epochs = self.num_train_epochs?;
        let steps = (epochs * problems as f64 / per_step as f64).ceil().max(1.0) as usize;
        let said = format!(
            "train.num_train_epochs = {epochs}: {problems} problems, {per_step} a step, {steps} steps in all"
        );
        let bound = self.max_steps;
        self.max_steps = steps.min(bound);
        Some(match steps > bound {
            true => format!("{said}, but train.max_steps = {bound} ends the run before that"),
            false => said,
        })
    }
}

impl Check for Train {
    fn check(&self) -> Result<(), ConfigError> {
        count("max_steps", self.max_steps, 0, MOST_STEPS)?;
        if let Some(epochs) = self.num_train_epochs {
            positive("num_train_epochs", epochs)?;
            within("num_train_epochs", epochs, 0.0, 1e6)?;
        }
        count("prompts_per_step", self.prompts_per_step, 1, ROWS)?;
        count("mini_batches", self.mini_batches, 1, MANY)?;
        count("num_iterations", self.num_iterations, 1, MANY)?;
        let (rows, passes) = (self.per_device_train_batch_size, self.gradient_accumulation_steps);
        count("per_device_train_batch_size", rows, 1, ROWS)?;
        count("gradient_accumulation_steps", passes, 1, ROWS / rows)?;
        if !self.prompts_per_step.is_multiple_of(self.mini_batches) {
            let what = format!(
                "{} mini-batches do not divide {} queries a step",
                self.mini_batches, self.prompts_per_step
            );
            return impossible(
                "mini_batches",
                what,
                "choose a divisor of `train.prompts_per_step`",
            );
        }
        within("learning_rate", self.learning_rate, 0.0, f64::MAX)?;
        if self.learning_rate > 1.0 {
            return impossible(
                "learning_rate",
                format!(
                    "{} would undo the model: AdamW moves each weight by about as much",
                    self.learning_rate
                ),
                "give a number from 0 to 1, such as 1e-6",
            );
        }
        within("weight_decay", self.weight_decay, 0.0, f64::MAX)?;
        if self.learning_rate * self.weight_decay > 1.0 {
            return impossible(
                "weight_decay",
                format!(
                    "times the learning rate it is {}: more than the weights themselves is taken from them",
                    self.learning_rate * self.weight_decay
                ),
                "give less; 0.01 is usual",
            );
        }
        for (key, beta) in [("adam_beta1", self.adam_beta1), ("adam_beta2", self.adam_beta2)] {
            within(key, beta, 0.0, 1.0)?;
            if beta as f32 == 1.0 {
                let what = format!("{beta} is 1 in float32, and it must be below 1");
                return impossible(key, what, "0.9 and 0.999 are usual");
            }
        }
        positive("adam_epsilon", self.adam_epsilon)?;
        positive("ddp_timeout", self.ddp_timeout)?;
        within("ddp_timeout", self.ddp_timeout, 0.0, 1e9)?;
        positive("ddp_bucket_cap_mb", self.ddp_bucket_cap_mb)?;
        within("ddp_bucket_cap_mb", self.ddp_bucket_cap_mb, 0.0, 1024.0)?;
        within("max_grad_norm", self.max_grad_norm, 0.0, f64::MAX)?;
        within("warmup_ratio", self.warmup_ratio, 0.0, 1.0)
    }
}

impl Default for Train {
    fn default() -> Self {
        let complete = TrainDraft::default().complete();
        complete.expect("the defaults are possible")
    }
}

words! {
    /// Course of the learning rate.
    LrSchedulerType {
        /// Stays at the peak, without a warm-up.
        Constant = "constant",
        /// Stays at the peak after the warm-up.
        ConstantWithWarmup = "constant_with_warmup",
        /// Falls linearly to 0 after the warm-up.
        Linear = "linear",
        /// Falls as half a cosine to 0 after the warm-up.
        Cosine = "cosine",
    }
}
