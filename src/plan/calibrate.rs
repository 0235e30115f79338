//! Seconds from a short measurement: how many tokens a second the policy's device runs in each way.

use std::time::Instant;

use anyhow::Result;
use burn::module::Module as _;
use burn::optim::GradientsParams;
use gcpo_model::inference::Inference;
use gcpo_model::llama::Llama;
use gcpo_model::logp::{completion_logp, tokens_run};

use super::work::{Kind, StageWork};
use crate::config::Config;
use crate::policy::Policy;
use crate::rollout::{Engine, Request, Rollout};
use crate::stream::{Stage, StreamKey};

/// Tokens that a measured row is at most long, and that are decoded after it.
const LENGTH: usize = 512;
const DECODED: usize = 16;
/// Rows that are measured together, at most.
const ROWS: usize = 64;

/// Tokens a second.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    decode: f64,
    prefill: f64,
    score: f64,
    train: f64,
}

impl Rates {
    /// Measures each way once, after a shorter warm-up, with contexts of `context` tokens.
    ///
    /// # Errors
    /// The device fails.
    pub fn measure(config: &Config, policy: &Policy, context: usize) -> Result<Self> {
        let model = policy.model.clone().cast(config.train.dtype);
        let rows = (config.train.prompts_per_step * config.rollout.num_generations).min(ROWS);
        let length = context.clamp(1, LENGTH);
        let decoded = config.rollout.max_completion_length.min(DECODED);
        sampling(&model, 1, length.min(8), 2)?;
        let [prefill, decode] = sampling(&model, rows, length, decoded)?;
        let size = config.train.per_device_train_batch_size.min(rows);
        let own = config.rollout.max_completion_length.min(LENGTH);
        let trained = model
            .clone()
            .with_gradient_checkpointing(config.train.gradient_checkpointing);
        logp(&trained, 1, 8, 2, true)?;
        Ok(Self {
            decode,
            prefill,
            score: logp(&model.valid(), size, length, own, false)?,
            train: logp(&trained, size, length, own, true)?,
        })
    }

    /// Seconds of a stage.
    pub(super) fn secs(&self, stage: &StageWork) -> f64 {
        let rate = match stage.kind {
            Kind::Decode => self.decode,
            Kind::Prefill => self.prefill,
            Kind::Score => self.score,
            Kind::Train => self.train,
        };
        stage.tokens as f64 / rate
    }
}

/// Ids that are of no meaning; rows share nothing.
fn texts(model: &Llama, rows: usize, length: usize) -> Vec<Vec<u32>> {
    let id = |row: usize, at: usize| ((row * 31 + at * 7919 + 1) % model.config().vocab_size) as u32;
    (0..rows)
        .map(|row| (0..length).map(|at| id(row, at)).collect())
        .collect()
}

/// Tokens a second of prefilling and of decoding.
fn sampling(model: &Llama, rows: usize, length: usize, decoded: usize) -> Result<[f64; 2]> {
    let generator = Inference::new(model);
    let how = Rollout {
        max_completion_length: decoded,
        ..Rollout::default()
    };
    let engine = Engine::new(&generator, &[], &how);
    let requests: Vec<Request> = (0..rows)
        .map(|row| Request {
            row,
            key: StreamKey {
                seed: 0,
                step: 0,
                prompt: row as u64,
                stage: Stage::Answer,
                sample: 0,
            },
            limit: None,
        })
        .collect();
    let device = model.device();
    device.sync()?;
    let started = Instant::now();
    let prefix = engine.root(&texts(model, rows, length));
    device.sync()?;
    let prefilled = started.elapsed().as_secs_f64();
    let started = Instant::now();
    engine.sample(&prefix, &requests, false)?;
    let secs = started.elapsed().as_secs_f64();
    Ok([(rows * length) as f64 / prefilled, (rows * decoded) as f64 / secs])
}

/// Tokens a second of log-probabilities of `own` tokens behind `length`, with their gradient if `backward`.
fn logp(model: &Llama, rows: usize, length: usize, own: usize, backward: bool) -> Result<f64> {
    let texts = texts(model, rows, length + own);
    let pairs: Vec<(&[u32], &[u32])> = texts.iter().map(|text| text.split_at(length)).collect();
    let device = model.device();
    device.sync()?;
    let started = Instant::now();
    let loss = completion_logp(model, &pairs, 1.0).logp_bt.mean().neg();
    if backward {
        let grads = GradientsParams::from_grads(loss.backward(), model);
        anyhow::ensure!(!grads.is_empty(), "no gradient came back");
    } else {
        loss.try_into_data()?;
    }
    device.sync()?;
    Ok(tokens_run(model, &pairs) as f64 / started.elapsed().as_secs_f64())
}
