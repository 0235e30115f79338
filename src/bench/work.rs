//! The works of a benchmark: each makes its inputs and its network, and gives what is to be repeated.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use burn::optim::GradientsParams;
use burn::tensor::Device;
use gcpo_data::Problem;
use gcpo_model::config::ModelConfig;
use gcpo_model::inference::Inference;
use gcpo_model::llama::Llama;
use gcpo_model::logp::completion_logp;

use super::{Plan, Workload};
use crate::config::{Config, Draft};
use crate::learner::{Learner, LrSchedulerType};
use crate::policy::{Init, PromptStyle, TokenizerSource};
use crate::ranks::Ranks;
use crate::recipe::{Recipe as _, Rl};
use crate::report::{RlReport, RolloutReport};
use crate::reward::{GraderKind, Unfinished};
use crate::rollout::{Engine, Request, Rollout};
use crate::stream::{Stage, StreamKey, uniform};

/// Prompts of `rollout` and `step`.
const PROMPTS: usize = 8;
/// New tokens of each of their completions.
const COMPLETION: usize = 48;
/// Characters of their questions: with two marks a prompt has 36 to 44 tokens, 40 in the mean.
const QUESTION: std::ops::RangeInclusive<usize> = 34..=42;
/// Prompt tokens and new tokens of `decode`.
const DECODE: (usize, usize) = (32, 64);
/// Rows of `logp`, and their tokens.
const LOGP: (usize, usize) = (4, 512);
/// Tokens of `prefill`'s prompts.
const PREFILL: usize = 512;

/// What one repeat did.
#[derive(Default)]
pub(super) struct Repeated {
    pub tokens: usize,
    pub rollout: Option<RolloutReport>,
    /// Seconds of the reference model and of training, of a whole step.
    pub score_train_secs: Option<[f64; 2]>,
}

/// A work that is ready to be repeated; its argument counts from 1.
pub(super) type Repeat = Box<dyn FnMut(usize) -> Result<Repeated>>;

/// Makes a work ready.
///
/// # Errors
/// The network cannot be made.
pub(super) fn prepare(plan: &Plan, device: &Device) -> Result<Repeat> {
    match plan.work {
        Workload::Decode => decode(plan, device),
        Workload::Prefill => prefill(plan, device),
        Workload::Train => train(plan, device),
        Workload::Logp => logp(plan, device),
        Workload::Rollout => {
            let mut trainer = trainer(plan, device)?;
            Ok(Box::new(move |number| {
                let (_, rollout) = trainer.roll_out(number)?;
                Ok(Repeated::of(rollout))
            }))
        }
        Workload::Step => {
            let mut trainer = trainer(plan, device)?;
            Ok(Box::new(move |number| {
                let (report, _) = trainer.step(number)?;
                let rl: RlReport = report.rl().cloned().unwrap_or_default();
                Ok(Repeated {
                    score_train_secs: Some([rl.score_secs, rl.train_secs]),
                    ..Repeated::of(rl.rollout)
                })
            }))
        }
    }
}

impl Repeated {
    /// A rollout counts its sampled tokens.
    fn of(rollout: RolloutReport) -> Self {
        Self {
            tokens: rollout.work.tokens,
            rollout: Some(rollout),
            score_train_secs: None,
        }
    }

    /// Seconds by stage.
    pub fn stage_secs(&self) -> BTreeMap<&'static str, f64> {
        let mut secs = BTreeMap::new();
        if let Some(rollout) = &self.rollout {
            secs.extend([
                ("rollout", rollout.sample_secs),
                ("project", rollout.project_secs),
                ("collider_score", rollout.work.score_secs),
                ("represent", rollout.work.represent_secs),
            ]);
        }
        if let Some([score, train]) = self.score_train_secs {
            secs.extend([("score", score), ("train", train)]);
        }
        secs
    }
}

fn decode(plan: &Plan, device: &Device) -> Result<Repeat> {
    let model = Inference::new(&config(plan)?.policy(Vec::new, device)?.model.cast(plan.dtype));
    let (width, new) = (DECODE.0, plan.length.unwrap_or(DECODE.1));
    let prompts = random_ids(plan, plan.rows.unwrap_or(plan.shape.prompts()), width);
    Ok(Box::new(move |_| {
        let engine = Engine::new(&model, &[], &completions_of(new));
        let root = engine.root(&prompts);
        let requests: Vec<Request> = (0..prompts.len())
            .map(|row| Request {
                row,
                key: key(row as u64, Stage::Answer),
                limit: None,
            })
            .collect();
        let completions = engine.sample(&root, &requests, false)?.completions;
        let tokens = completions.iter().map(|completion| completion.tokens.len()).sum();
        Ok(Repeated {
            tokens,
            ..Repeated::default()
        })
    }))
}

fn prefill(plan: &Plan, device: &Device) -> Result<Repeat> {
    let model = Inference::new(&config(plan)?.policy(Vec::new, device)?.model.cast(plan.dtype));
    let rows = plan.rows.unwrap_or(plan.shape.prompts());
    let prompts = random_ids(plan, rows, plan.length.unwrap_or(PREFILL));
    Ok(Box::new(move |_| {
        let engine = Engine::new(&model, &[], &completions_of(1));
        engine.root(&prompts);
        Ok(Repeated {
            tokens: engine.work().prefilled,
            ..Repeated::default()
        })
    }))
}

fn train(plan: &Plan, device: &Device) -> Result<Repeat> {
    let config = config(plan)?;
    let policy = config.policy(Vec::new, &device.clone().autodiff())?;
    let mut learner = Learner::new(
        &config.train,
        config.format(),
        config.seed,
        policy,
        plan.repeats + 1,
        &[],
        Ranks::alone(),
    );
    let [rows, width] = plan.shape.batch();
    let (rows, width) = (plan.rows.unwrap_or(rows), plan.length.unwrap_or(width));
    // Every token but a row's last is run, and every one but its first is learnt.
    let texts = random_ids(plan, rows, width + 1);
    Ok(Box::new(move |number| {
        learner.step(number - 1, &[()], |model, ()| {
            let pairs: Vec<(&[u32], &[u32])> = texts.iter().map(|row| row.split_at(1)).collect();
            let loss = completion_logp(model, &pairs, 1.0).logp_bt.mean().neg();
            Ok((loss, ()))
        })?;
        Ok(Repeated {
            tokens: rows * width,
            ..Repeated::default()
        })
    }))
}

/// A network without layers is its head and a norm.
fn logp(plan: &Plan, device: &Device) -> Result<Repeat> {
    let shape = plan.shape.draft();
    let shape = serde_json::json!({
        "model_type": "llama", "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 1,
        "hidden_size": plan.hidden.or(shape.hidden_size), "vocab_size": plan.vocab.or(shape.vocab_size),
        "tie_word_embeddings": shape.tie_word_embeddings,
    });
    let mut network = ModelConfig::from_json(shape.to_string().as_bytes(), Path::new("gcpo bench"))?;
    network.num_hidden_layers = 0;
    let model = Llama::init(&network, 0, &device.clone().autodiff()).cast(plan.dtype);
    let (rows, width) = (plan.rows.unwrap_or(LOGP.0), plan.length.unwrap_or(LOGP.1));
    let texts = ids(network.vocab_size, rows, width + 1);
    Ok(Box::new(move |_| {
        let pairs: Vec<(&[u32], &[u32])> = texts.iter().map(|row| row.split_at(1)).collect();
        let loss = completion_logp(&model, &pairs, 1.0).logp_bt.mean().neg();
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        anyhow::ensure!(!grads.is_empty(), "no gradient came back");
        Ok(Repeated {
            tokens: rows * width,
            ..Repeated::default()
        })
    }))
}

fn trainer(plan: &Plan, device: &Device) -> Result<Rl> {
    let config = config(plan)?;
    let mut policy = config.policy(Vec::new, &device.clone().autodiff())?;
    policy.eos.clear();
    Ok(Rl::new(config, policy, problems(), &[], Ranks::alone())?.sharing_prefixes(!plan.flat))
}

/// Sampling as it is by default, of so many tokens.
fn completions_of(max_completion_length: usize) -> Rollout {
    Rollout {
        max_completion_length,
        ..Rollout::default()
    }
}

/// A run with the plan's numbers. What is not named is as a user has it by default: eight rows in a pass cost fewer processor
/// seconds than 16 or 64.
fn config(plan: &Plan) -> Result<Config> {
    let mut draft = Draft::new("gcpo bench");
    draft.model.init = Some(Init::Random);
    draft.model.tokenizer = Some(TokenizerSource::Arithmetic);
    draft.model.shape = plan.shape.draft();
    draft.prompt.style = Some(PromptStyle::Marks);
    draft.rollout.num_generations = Some(plan.group);
    draft.rollout.max_completion_length = Some(COMPLETION);
    draft.projection.skip_flat_groups = Some(false);
    draft.grader.kind = Some(GraderKind::Numbers);
    // Nothing ends a text early here.
    draft.grader.unfinished = Some(Unfinished::Grade);
    draft.objective.kind = plan.objective.clone();
    draft.objective.beta = Some(0.04);
    draft.train.dtype = Some(plan.dtype);
    draft.train.gradient_checkpointing = Some(plan.checkpointing);
    draft.train.prompts_per_step = Some(PROMPTS);
    // GRPO has a peer, whose pass is over all completions; the contexts of GCPO's are many times their size.
    if plan.objective.name() != "gcpo" {
        draft.train.per_device_train_batch_size = Some(PROMPTS * plan.group);
    }
    draft.train.lr_scheduler_type = Some(LrSchedulerType::Constant);
    Ok(draft.finish()?)
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
                answer: Some(below(10).to_string()),
                ..Problem::default()
            }
        })
        .collect()
}

fn random_ids(plan: &Plan, rows: usize, width: usize) -> Vec<Vec<u32>> {
    ids(plan.shape.vocabulary(), rows, width)
}

fn ids(vocabulary: usize, rows: usize, width: usize) -> Vec<Vec<u32>> {
    (0..rows)
        .map(|row| {
            let mut rng = key(row as u64, Stage::Demonstrate).rng();
            (0..width)
                .map(|_| (uniform(&mut rng) * vocabulary as f64) as u32)
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

#[cfg(test)]
mod tests {
    use super::*;

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
