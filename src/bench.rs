//! How fast the program is, with random weights: `gcpo bench`, and `benches/speed.rs`.
//!
//! The networks have a vocabulary of 512. Nothing ends a text early, so that every repeat does exactly the same amount of
//! work. A repeat is timed from the host's inputs to the host's or the device's results; making the network is not.
//!
//! `rollout` and `step` are [`GroupTrainer`]'s own, on problems of random digits with a character tokenizer, graded as
//! any other. Random weights answer a few of them rightly; stage 3 is not skipped for groups whose rewards are equal,
//! since a real run's groups would differ.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use anyhow::Result;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use clap::ValueEnum;
use gcpo_data::Problem;
use gcpo_model::inference::Inference;
use gcpo_model::logp::token_logp;
use gcpo_model::tokens::{Padding, Tokens};
use serde::Serialize;

use crate::config::{Config, Rollout};
use crate::drive::Trainer as _;
use crate::metrics::Metrics;
use crate::objective::Objective;
use crate::report::thousands;
use crate::rollout::stream::uniform;
use crate::rollout::{Engine, Limits, Request, Sampling, Stage, StreamKey};
use crate::session::Session;
use crate::train::GroupTrainer;
use crate::{device, open};

/// Rows of every embedding.
const VOCABULARY: usize = 512;
/// Prompts of `rollout` and `step`.
const PROMPTS: usize = 8;
/// New tokens of each of their completions.
const COMPLETION: usize = 48;
/// Characters of their questions: with two marks a prompt has 36 to 44 tokens, 40 in the mean.
const QUESTION: std::ops::RangeInclusive<usize> = 34..=42;
/// Prompt tokens and new tokens of `decode`.
const DECODE: (usize, usize) = (32, 64);
/// Tokens of `prefill`'s prompts.
const PREFILL: usize = 512;

/// Size of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// d 128, 4 layers, 4 heads, 2 key/value heads, ff 384
    Tiny,
    /// d 384, 6 layers, 6 heads, 6 key/value heads, ff 1024
    Small,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// Prompts of 32 tokens (tiny 32 of them, small 16), then exactly 64 new tokens each
    Decode,
    /// The same number of prompts, of 512 tokens
    Prefill,
    /// One optimiser step on tiny 16 × 128, small 8 × 256 tokens
    Train,
    /// Everything that is sampled and scored for 8 prompts of about 40 tokens, 48 new tokens each
    Rollout,
    /// That rollout, grading, the reference model's scores and one optimiser pass, β = 0.04
    Step,
}

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Size of the network.
    pub shape: Shape,
    /// What is measured.
    pub work: Work,
    /// Of `rollout` and `step`.
    pub objective: Objective,
    /// Candidates of a prompt in `rollout` and `step`; as many integrations, and samples of each context.
    pub group: usize,
    /// Whether every completion and every score of `rollout` and `step` runs its whole context by itself.
    pub flat: bool,
    /// How often, after a warm-up; at least 1.
    pub repeats: usize,
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
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
    /// Size of the network.
    pub shape: Shape,
    /// What was measured.
    pub work: Work,
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
    /// The tokens of one repeat that `tok_per_sec` counts.
    pub tokens: usize,
    /// Seconds by stage of the last repeat (`rollout`, `step`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stage_secs: BTreeMap<&'static str, f64>,
}

/// What one repeat did.
#[derive(Default)]
struct Done {
    tokens: usize,
    metrics: Metrics,
}

/// A work that is ready to be repeated; its argument counts from 1.
type Repeat = Box<dyn FnMut(usize) -> Result<Done>>;

impl Shape {
    /// `[model.shape]` without the vocabulary.
    fn toml(self) -> &'static str {
        match self {
            Self::Tiny => {
                "hidden_size = 128\nnum_hidden_layers = 4\nnum_attention_heads = 4\nnum_key_value_heads = 2\n\
                 intermediate_size = 384"
            }
            Self::Small => {
                "hidden_size = 384\nnum_hidden_layers = 6\nnum_attention_heads = 6\nnum_key_value_heads = 6\n\
                 intermediate_size = 1024"
            }
        }
    }

    /// Prompts of `decode` and `prefill`.
    fn prompts(self) -> usize {
        match self {
            Self::Tiny => 32,
            Self::Small => 16,
        }
    }

    /// Rows and tokens of `train`.
    fn batch(self) -> [usize; 2] {
        match self {
            Self::Tiny => [16, 128],
            Self::Small => [8, 256],
        }
    }
}

/// Measures: a warm-up, then every repeat by the clock.
///
/// # Errors
/// Whatever the work fails on.
pub fn measure(plan: &Plan, device: &Device, device_name: String) -> Result<Report> {
    assert!(plan.repeats > 0);
    let mut repeat = prepare(plan, device)?;
    repeat(1)?;
    let mut secs = Vec::with_capacity(plan.repeats);
    let mut last = Done::default();
    for number in 0..plan.repeats {
        device.sync()?;
        let started = Instant::now();
        last = repeat(2 + number)?;
        device.sync()?;
        secs.push(started.elapsed().as_secs_f64());
    }
    let secs_median = median(&secs);
    let stage = |name| Some((name, last.metrics.get(&format!("time/{name}_secs"))?));
    Ok(Report {
        tok_per_sec: last.tokens as f64 / secs_median,
        secs_median,
        secs,
        device: device_name,
        threads: device::threads(),
        shape: plan.shape,
        work: plan.work,
        objective: plan.objective.to_string(),
        group: plan.group,
        flat: plan.flat,
        repeats: plan.repeats,
        kv_bytes: last.metrics.get("rollout/kv_bytes").map(|bytes| bytes as usize),
        tokens: last.tokens,
        stage_secs: [
            "rollout",
            "project",
            "collider_score",
            "represent",
            "score",
            "train",
        ]
        .into_iter()
        .filter_map(stage)
        .collect(),
    })
}

fn prepare(plan: &Plan, device: &Device) -> Result<Repeat> {
    match plan.work {
        Work::Decode => decode(plan, device),
        Work::Prefill => prefill(plan, device),
        Work::Train => train(plan, device),
        Work::Rollout => {
            let trainer = trainer(plan, device)?;
            Ok(Box::new(move |number| {
                let mut metrics = Metrics::new(number);
                trainer.roll_out(number, &mut metrics)?;
                Ok(Done::of(metrics))
            }))
        }
        Work::Step => {
            let mut trainer = trainer(plan, device)?;
            Ok(Box::new(move |number| {
                let mut metrics = Metrics::new(number);
                trainer.step(number, &mut metrics)?;
                Ok(Done::of(metrics))
            }))
        }
    }
}

impl Done {
    /// A rollout counts its sampled tokens.
    fn of(metrics: Metrics) -> Self {
        Self {
            tokens: metrics.get("rollout/tokens").unwrap_or(0.0) as usize,
            metrics,
        }
    }
}

fn decode(plan: &Plan, device: &Device) -> Result<Repeat> {
    let model = Inference::new(&open::policy(&config(plan)?, Vec::new, device)?.model);
    let (width, new) = DECODE;
    let prompts = random_ids(plan.shape.prompts(), width);
    Ok(Box::new(move |_| {
        let engine = Engine::new(&model, &[], Sampling::default(), limits(new));
        let root = engine.root(&prompts);
        let requests: Vec<Request> = (0..prompts.len())
            .map(|row| Request {
                row,
                key: key(row as u64, Stage::Answer),
            })
            .collect();
        let completions = engine.sample(&root, &requests, false)?.completions;
        let tokens = completions.iter().map(|completion| completion.tokens.len()).sum();
        Ok(Done {
            tokens,
            ..Done::default()
        })
    }))
}

fn prefill(plan: &Plan, device: &Device) -> Result<Repeat> {
    let model = Inference::new(&open::policy(&config(plan)?, Vec::new, device)?.model);
    let prompts = random_ids(plan.shape.prompts(), PREFILL);
    Ok(Box::new(move |_| {
        let engine = Engine::new(&model, &[], Sampling::default(), limits(1));
        engine.root(&prompts);
        Ok(Done {
            tokens: engine.work().prefilled,
            ..Done::default()
        })
    }))
}

fn train(plan: &Plan, device: &Device) -> Result<Repeat> {
    let config = config(plan)?;
    let policy = open::policy(&config, Vec::new, &device.clone().autodiff())?;
    let mut session = Session::new(config, policy, plan.repeats + 1)?;
    let [rows, width] = plan.shape.batch();
    let texts = random_ids(rows, width);
    let device = device.clone();
    Ok(Box::new(move |number| {
        let model = &session.policy.model;
        let tokens = Tokens::new(&texts, Padding::Right, &device.clone().autodiff());
        let hidden_btd = model.forward(&tokens, None).narrow(1, 0, width - 1);
        let targets: Vec<i64> = texts
            .iter()
            .flat_map(|row| row[1..].iter().map(|&id| i64::from(id)))
            .collect();
        let targets = TensorData::new(targets, [rows, width - 1]);
        let targets_bt = Tensor::<2, Int>::from_data(targets, &device).autodiff();
        let loss = token_logp(model, hidden_btd, targets_bt, 1.0)
            .logp_bt
            .mean()
            .neg();
        let grads = GradientsParams::from_grads(loss.backward(), model);
        session.update(grads, number - 1, &mut Metrics::new(number))?;
        Ok(Done {
            tokens: rows * width,
            ..Done::default()
        })
    }))
}

fn trainer(plan: &Plan, device: &Device) -> Result<GroupTrainer> {
    let config = config(plan)?;
    let mut policy = open::policy(&config, Vec::new, &device.clone().autodiff())?;
    policy.eos.clear();
    Ok(GroupTrainer::new(config, policy, problems())?.sharing_prefixes(!plan.flat))
}

fn limits(max_completion_length: usize) -> Limits {
    Limits {
        max_completion_length,
        ..Limits::from(&Rollout::default())
    }
}

/// A run with the plan's numbers.
fn config(plan: &Plan) -> Result<Config> {
    let Plan {
        shape,
        objective,
        group,
        ..
    } = plan;
    // What is not named is as a user has it by default: eight rows in a pass cost fewer processor seconds than 16 or 64.
    let text = format!(
        "[model]
         init = \"random\"
         tokenizer = \"arithmetic\"
         [model.shape]
         vocab_size = {VOCABULARY}
         max_position_embeddings = 65536
         {}
         [prompt]
         style = \"marks\"
         [rollout]
         num_generations = {group}
         max_completion_length = {COMPLETION}
         [projection]
         skip_flat_groups = false
         [objective]
         name = \"{objective}\"
         beta = 0.04
         [train]
         prompts_per_step = {PROMPTS}
         lr_scheduler_type = \"constant\"",
        shape.toml()
    );
    Ok(Config::from_str(&text, "gcpo bench", &[])?)
}

/// Random digits as questions; answers of one digit, so that random texts hit some of them.
fn problems() -> Vec<Problem> {
    (0..PROMPTS)
        .map(|number| {
            let mut rng = key(number as u64, Stage::Order).rng();
            let mut below = |bound: usize| (uniform(&mut rng) * bound as f64) as usize;
            let length = QUESTION.start() + below(QUESTION.end() - QUESTION.start() + 1);
            let question = (0..length).map(|_| char::from(b'0' + below(10) as u8)).collect();
            Problem {
                id: format!("bench-{number}"),
                question,
                answer: below(10).to_string(),
                ..Problem::default()
            }
        })
        .collect()
}

fn random_ids(rows: usize, width: usize) -> Vec<Vec<u32>> {
    (0..rows)
        .map(|row| {
            let mut rng = key(row as u64, Stage::Demonstrate).rng();
            (0..width)
                .map(|_| (uniform(&mut rng) * VOCABULARY as f64) as u32)
                .collect()
        })
        .collect()
}

fn key(prompt: u64, stage: Stage) -> StreamKey {
    StreamKey {
        seed: 0,
        step: 0,
        prompt,
        stage,
        sample: 0,
    }
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
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |value: &dyn fmt::Debug| format!("{value:?}").to_lowercase();
        write!(f, "{} {}", name(&self.shape), name(&self.work))?;
        if matches!(self.work, Work::Rollout | Work::Step) {
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
            thousands(self.tok_per_sec),
            self.secs_median,
            self.repeats,
            self.device,
            self.threads
        )?;
        for (stage, secs) in &self.stage_secs {
            write!(f, "  {stage} {secs:.3}")?;
        }
        if let Some(bytes) = self.kv_bytes {
            write!(
                f,
                "  keys and values {:.1} MiB",
                bytes as f64 / f64::from(1 << 20)
            )?;
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

    fn report(work: Work, objective: Objective) -> Report {
        let (device, name) = device::open(&"cpu".parse().unwrap()).unwrap();
        let plan = Plan {
            shape: Shape::Tiny,
            work,
            objective,
            group: 2,
            flat: false,
            repeats: 1,
        };
        measure(&plan, &device, name).unwrap()
    }

    #[test]
    fn every_work_counts_the_tokens_of_its_contract() {
        assert_eq!(report(Work::Decode, Objective::Gcpo).tokens, 32 * 64);
        assert_eq!(report(Work::Train, Objective::Gcpo).tokens, 16 * 128);
        // n + J + n·J·M completions of each of 8 prompts, nothing skipped and nothing ended early.
        assert_eq!(
            report(Work::Rollout, Objective::Gcpo).tokens,
            8 * (2 + 2 + 8) * 48
        );
        let step = report(Work::Step, Objective::Grpo);
        assert_eq!(step.tokens, 8 * 2 * 48);
        assert!(step.stage_secs["train"] > 0.0 && step.stage_secs["score"] > 0.0);
        assert_eq!(step.secs.len(), 1);
    }

    #[test]
    fn prompts_have_about_forty_tokens() {
        let lengths: Vec<usize> = problems()
            .iter()
            .map(|problem| problem.question.len() + 2)
            .collect();
        assert!(
            lengths.iter().all(|length| (36..=44).contains(length)),
            "{lengths:?}"
        );
    }
}
