//! How fast the program is, with random weights: `gcpo bench`, and `benches/speed.rs`.
//!
//! Nothing ends a text early, so that every repeat does exactly the same amount of
//! work. A repeat is timed from the host's inputs to the host's or the device's results; making the network is not.
//!
//! `rollout` and `step` are [`Rl`](crate::recipe::Rl)'s own, on problems of random digits with a character tokenizer, graded as
//! any other. Random weights answer a few of them rightly; stage 3 is not skipped for groups whose rewards are equal,
//! since a real run's groups would differ.

mod work;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use anyhow::{Result, ensure};
use bytesize::ByteSize;
use clap::ValueEnum;
use gcpo_model::device::{self, Opened};
use gcpo_model::dtype::Dtype;
use indicatif::HumanCount;
use serde::Serialize;

use crate::objective::WhichDraft;
use crate::policy::ShapeDraft;
use work::{Repeated, prepare};

/// Size of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// d 128, 4 layers, 4 heads, 2 key/value heads, ff 384
    Tiny,
    /// d 384, 6 layers, 6 heads, 6 key/value heads, ff 1024
    Small,
    /// That of SmolLM2-135M: d 576, 30 layers, 9 heads, 3 key/value heads, ff 1536, vocabulary 49,152, tied
    #[value(name = "135m")]
    #[serde(rename = "135m")]
    SmolLm2,
    /// That of Qwen2.5-0.5B: d 896, 24 layers, 14 heads, 2 key/value heads, ff 4864, vocabulary 151,936, tied
    #[value(name = "0.5b")]
    #[serde(rename = "0.5b")]
    Half,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// Prompts of 32 tokens (tiny 32 of them, small 16, 135m 8, 0.5b 64), then exactly 64 new tokens each
    Decode,
    /// The same number of prompts, of 512 tokens
    Prefill,
    /// One optimiser step on tiny 16 × 128, small 8 × 256, 135m 4 × 256, 0.5b 4 × 512 tokens
    Train,
    /// Log-probabilities and their gradient from the states behind all layers, 4 × 512 tokens, without an optimiser
    Logp,
    /// Everything that is sampled and scored for 8 prompts of about 40 tokens, 48 new tokens each
    Rollout,
    /// That rollout, grading, the reference model's scores and one optimiser pass, β = 0.04
    Step,
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Size of the network.
    pub shape: Size,
    /// What is measured.
    pub work: Workload,
    /// Of `rollout` and `step`.
    pub objective: WhichDraft,
    /// Candidates of a prompt in `rollout` and `step`; as many integrations, and samples of each context.
    pub group: usize,
    /// Whether every completion and every score of `rollout` and `step` runs its whole context by itself.
    pub flat: bool,
    /// Prompts of `decode` and `prefill`, rows of `train` and `logp`.
    pub rows: Option<usize>,
    /// New tokens of `decode`, tokens of a row of `prefill`, `train` and `logp`.
    pub length: Option<usize>,
    /// Rows of the embedding in `logp`.
    pub vocab: Option<usize>,
    /// Features of a state in `logp`.
    pub hidden: Option<usize>,
    /// Whether `train` and `step` compute the insides of layers again in the backward pass.
    pub checkpointing: bool,
    /// What the network computes with.
    pub dtype: Dtype,
    /// How often, after a warm-up; at least 1.
    pub repeats: usize,
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct Measurement {
    /// Tokens a second, of the median repeat: sampled ones (`decode`, `rollout`, `step`) or tokens run.
    pub tok_per_sec: f64,
    /// Median of `secs`.
    pub secs_median: f64,
    /// Seconds of each repeat, in order.
    pub secs: Vec<f64>,
    /// The device's name.
    pub device: String,
    /// Threads that the processor computes with.
    pub threads: usize,
    /// What the network computed with.
    pub dtype: Dtype,
    /// Size of the network.
    pub shape: Size,
    /// What was measured.
    pub work: Workload,
    /// Objective's name.
    pub objective: String,
    /// Candidates of a prompt.
    pub group: usize,
    /// Whether nothing was shared.
    pub flat: bool,
    /// Number of repeats.
    pub repeats: usize,
    /// Most bytes of keys and values held while sampling, in the last repeat (`rollout`, `step`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_bytes: Option<usize>,
    /// Bytes that the device's allocator has taken for the work, where it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_bytes: Option<u64>,
    /// Most bytes of memory that the process has held, where the system says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
    /// The tokens of one repeat that `tok_per_sec` counts.
    pub tokens: usize,
    /// Seconds by stage of the last repeat (`rollout`, `step`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stage_secs: BTreeMap<&'static str, f64>,
}

impl Size {
    fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Small => "small",
            Self::SmolLm2 => "135m",
            Self::Half => "0.5b",
        }
    }

    /// `[model.shape]`.
    fn draft(self) -> ShapeDraft {
        let [width, layers, heads, key_value_heads, feed_forward] = match self {
            Self::Tiny => [128, 4, 4, 2, 384],
            Self::Small => [384, 6, 6, 6, 1024],
            Self::SmolLm2 => [576, 30, 9, 3, 1536],
            Self::Half => [896, 24, 14, 2, 4864],
        };
        let rope_theta = match self {
            Self::Tiny | Self::Small => None,
            Self::SmolLm2 => Some(1e5),
            Self::Half => Some(1e6),
        };
        ShapeDraft {
            vocab_size: Some(self.vocabulary()),
            max_position_embeddings: Some(65_536),
            hidden_size: Some(width),
            num_hidden_layers: Some(layers),
            num_attention_heads: Some(heads),
            num_key_value_heads: Some(key_value_heads),
            intermediate_size: Some(feed_forward),
            tie_word_embeddings: Some(rope_theta.is_some()),
            rope_theta,
            ..ShapeDraft::default()
        }
    }

    /// Rows of the embedding.
    fn vocabulary(self) -> usize {
        match self {
            Self::Tiny | Self::Small => 512,
            Self::SmolLm2 => 49_152,
            Self::Half => 151_936,
        }
    }

    /// Prompts of `decode` and `prefill`.
    fn prompts(self) -> usize {
        match self {
            Self::Tiny => 32,
            Self::Small => 16,
            Self::SmolLm2 => 8,
            Self::Half => 64,
        }
    }

    /// Rows and tokens of `train`.
    fn batch(self) -> [usize; 2] {
        match self {
            Self::Tiny => [16, 128],
            Self::Small => [8, 256],
            Self::SmolLm2 => [4, 256],
            Self::Half => [4, 512],
        }
    }
}

impl Plan {
    /// Refuses options that the work does not know.
    fn check(&self) -> Result<()> {
        use Workload::{Decode, Logp, Prefill, Rollout, Step, Train};
        let of = |option: &str, is_given: bool, works: &[Workload]| {
            let names = works.iter().filter_map(ValueEnum::to_possible_value);
            let names: Vec<String> = names.map(|name| name.get_name().to_owned()).collect();
            ensure!(
                !is_given || works.contains(&self.work),
                "--{option} is of --work {}: leave it out",
                names.join(", ")
            );
            Ok(())
        };
        of("rows", self.rows.is_some(), &[Decode, Prefill, Train, Logp])?;
        of("length", self.length.is_some(), &[Decode, Prefill, Train, Logp])?;
        of("vocab", self.vocab.is_some(), &[Logp])?;
        of("hidden", self.hidden.is_some(), &[Logp])?;
        of("checkpointing", self.checkpointing, &[Train, Step])?;
        of("flat", self.flat, &[Rollout, Step])
    }
}

/// Measures: a warm-up, then every repeat by the clock.
///
/// # Errors
/// Whatever the work fails on.
pub fn measure(plan: &Plan, opened: &Opened) -> Result<Measurement> {
    assert!(plan.repeats > 0);
    plan.check()?;
    let device = &opened.device;
    let mut repeat = prepare(plan, device)?;
    repeat(1)?;
    let mut secs = Vec::with_capacity(plan.repeats);
    let mut last = Repeated::default();
    for number in 0..plan.repeats {
        device.sync()?;
        let started = Instant::now();
        last = repeat(2 + number)?;
        device.sync()?;
        secs.push(started.elapsed().as_secs_f64());
    }
    let secs_median = median(&secs);
    Ok(Measurement {
        tok_per_sec: last.tokens as f64 / secs_median,
        secs_median,
        secs,
        device: opened.name.clone(),
        threads: device::threads(),
        dtype: plan.dtype,
        shape: plan.shape,
        work: plan.work,
        objective: plan.objective.name().to_owned(),
        group: plan.group,
        flat: plan.flat,
        repeats: plan.repeats,
        kv_bytes: last.rollout.as_ref().map(|rollout| rollout.work.kv_bytes),
        device_bytes: device.memory_pool_usage().map(|usage| usage.bytes_reserved),
        peak_bytes: device::peak_of_this_process(),
        tokens: last.tokens,
        stage_secs: last.stage_secs(),
    })
}

/// The middle one, or the mean of the two in the middle.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

/// `tiny decode  17,700 tok/s  0.116 s (0.115 to 0.120 over 5) on …`
impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |value: &dyn fmt::Debug| format!("{value:?}").to_lowercase();
        write!(f, "{} {}", self.shape.name(), name(&self.work))?;
        if self.dtype != Dtype::F32 {
            write!(f, " {}", self.dtype)?;
        }
        if matches!(self.work, Workload::Rollout | Workload::Step) {
            write!(
                f,
                " {} n={}{}",
                self.objective,
                self.group,
                if self.flat { " flat" } else { "" }
            )?;
        }
        let least = self.secs.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.secs.iter().copied().fold(0.0, f64::max);
        write!(
            f,
            "  {} tok/s  {:.4} s ({least:.4} to {most:.4} over {}) on {}, {} threads",
            HumanCount(self.tok_per_sec.round() as u64),
            self.secs_median,
            self.repeats,
            self.device,
            self.threads
        )?;
        for (stage, secs) in &self.stage_secs {
            write!(f, "  {stage} {secs:.3}")?;
        }
        if let Some(bytes) = self.kv_bytes {
            write!(f, "  keys and values {}", ByteSize(bytes as u64))?;
        }
        if let Some(bytes) = self.peak_bytes {
            write!(f, "  at most {} in the process", ByteSize(bytes))?;
        }
        if let Some(bytes) = self.device_bytes {
            write!(f, "  device memory {}", ByteSize(bytes))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    fn plan(work: Workload, objective: &str) -> Plan {
        Plan {
            shape: Size::Tiny,
            work,
            objective: objective.parse().unwrap(),
            group: 2,
            flat: false,
            rows: None,
            length: None,
            vocab: None,
            hidden: None,
            checkpointing: false,
            dtype: Dtype::F32,
            repeats: 1,
        }
    }

    fn measured(plan: &Plan) -> Result<Measurement> {
        measure(plan, &device::open(&"cpu".parse().unwrap()).unwrap())
    }

    fn report(work: Workload, objective: &str) -> Measurement {
        measured(&plan(work, objective)).unwrap()
    }

    #[test]
    fn rows_and_lengths_are_those_that_are_asked_for() {
        let logp = Plan {
            rows: Some(3),
            length: Some(20),
            vocab: Some(700),
            hidden: Some(48),
            ..plan(Workload::Logp, "gcpo")
        };
        let report = measured(&logp).unwrap();
        assert_eq!(report.tokens, 60);
        assert!(!cfg!(target_os = "linux") || report.peak_bytes.unwrap() > 1 << 20);
        let train = Plan {
            rows: Some(2),
            length: Some(30),
            checkpointing: true,
            ..plan(Workload::Train, "gcpo")
        };
        assert_eq!(measured(&train).unwrap().tokens, 60);
        let without_effect = Plan {
            rows: Some(2),
            ..plan(Workload::Step, "gcpo")
        };
        let error = measured(&without_effect).unwrap_err().to_string();
        assert_eq!(
            error,
            "--rows is of --work decode, prefill, train, logp: leave it out"
        );
    }

    #[test]
    fn every_work_counts_the_tokens_of_its_contract() {
        assert_eq!(report(Workload::Decode, "gcpo").tokens, 32 * 64);
        assert_eq!(report(Workload::Train, "gcpo").tokens, 16 * 128);
        // n + J + n·J·M completions of each of 8 prompts, nothing skipped and nothing ended early.
        assert_eq!(report(Workload::Rollout, "gcpo").tokens, 8 * (2 + 2 + 8) * 48);
        let step = report(Workload::Step, "grpo");
        assert_eq!(step.tokens, 8 * 2 * 48);
        assert!(step.stage_secs["train"] > 0.0 && step.stage_secs["score"] > 0.0);
        assert_eq!(step.secs.len(), 1);
    }
}
