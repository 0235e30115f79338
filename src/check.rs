//! Does a device compute rightly? The program's own numerical parts on it, against the same in f32 on the processor:
//! `gcpo check`. Drivers and compilers of kernels differ, and a wrong number trains as quietly as a right one.

use anyhow::Result;
use burn::module::{Module as _, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use gcpo_model::device::Opened;
use gcpo_model::dtype::Dtype;
use gcpo_model::inference::Inference;
use gcpo_model::llama::Llama;
use gcpo_model::logp::completion_logp;
use serde::Serialize;

use crate::config::{Config, Draft};
use crate::group::Group;
use crate::learner::{Member, members, micro_batch};
use crate::objective::BatchTotals;
use crate::policy::{ModelPath, Policy, PromptStyle};
use crate::projection::{Features, align};
use crate::ranks::Ranks;
use crate::recipe::Rl;
use crate::reward::GraderKind;
use crate::rollout::{Completion, Engine, Request, Rollout};
use crate::source::Generator;
use crate::stream::{Stage, StreamKey, uniform};
use crate::weigh::weigh;

/// A step of GCPO with the model in the binary.
fn config() -> Result<Config> {
    let mut draft = Draft::new("gcpo check");
    draft.model.path = Some(ModelPath::Quickstart);
    draft.data.generator = Some(Generator::Arithmetic);
    draft.prompt.style = Some(PromptStyle::Marks);
    draft.rollout.num_generations = Some(4);
    draft.rollout.max_completion_length = Some(12);
    draft.projection.skip_flat_groups = Some(false);
    draft.grader.kind = Some(GraderKind::Numbers);
    draft.objective.beta = Some(0.04);
    draft.train.prompts_per_step = Some(4);
    Ok(draft.finish()?)
}

/// Rows and tokens of the logits that are drawn from.
const DRAWS: [usize; 2] = [2048, 517];

/// How far a part is from the processor's f32.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// What was computed, and what `error` measures.
    pub what: &'static str,
    /// How far it is.
    pub error: f64,
    /// How far it may be.
    pub allowed: f64,
}

impl Comparison {
    /// Whether it is near enough. No number is not.
    pub fn is_right(&self) -> bool {
        self.error <= self.allowed
    }
}

/// Runs all parts on the device, weights of kind `dtype`.
///
/// # Errors
/// The device fails on one of them.
pub fn check(opened: &Opened, dtype: Dtype) -> Result<Vec<Comparison>> {
    let config = config()?;
    let cpu = gcpo_model::device::open(&"cpu".parse()?)?.device;
    let exact = config.policy(Vec::new, &cpu.autodiff())?;
    let tested = config.policy(Vec::new, &opened.device.clone().autodiff())?;
    let model = tested.model.cast(dtype);
    // What rounding does to numbers of a kind, seen on the processor in the same kind, and room for another order of sums.
    let room = |full: f64, bf16: f64| match dtype {
        Dtype::F32 => full,
        Dtype::Bf16 => bf16,
        Dtype::F16 => bf16 / 4.0,
    };
    let groups = step_groups(&config, &exact)?;
    let rows: Vec<Member> = members(&groups).collect();
    let step = gradients(&model, &rows, &config)?;
    let expected = gradients(&exact.model, &rows, &config)?;
    let [tokens, logps] = draws(&opened.device)?;
    let part = |what, error, allowed| Comparison { what, error, allowed };
    Ok(vec![
        part(
            "forward: largest difference of a log-probability",
            forward(&model, &exact.model, &rows)?,
            room(1e-3, 0.1),
        ),
        part(
            "a GCPO step: relative difference of the rows' losses",
            relative(&step.losses, &expected.losses),
            room(1e-3, 0.1),
        ),
        part(
            "a GCPO step: largest relative difference of a parameter's gradient",
            step.distance(&expected),
            room(2e-3, 0.6),
        ),
        part(
            "decoding with a cache: mean of exp |Δ log p| − 1 against the forward",
            decoding(&model, &exact, &rows)?,
            room(1e-4, 0.02),
        ),
        part("sampling: share of tokens drawn otherwise", tokens, 2e-3),
        part("sampling: largest difference of a log-probability", logps, 1e-4),
        part(
            "projection: largest difference of Υ",
            projection(&opened.device)?,
            1e-4,
        ),
    ])
}

/// The groups of a step that the processor rolled out.
fn step_groups(config: &Config, policy: &Policy) -> Result<Vec<Group>> {
    let mut rl = Rl::new(
        config.clone(),
        policy.clone(),
        config.problems()?,
        &[],
        Ranks::alone(),
    )?;
    let (mut groups, _) = rl.roll_out(1)?;
    let device = policy.model.device().inner();
    weigh(&mut groups, &config.objective_row(), &[1.0], &device)?;
    for candidate in groups.iter_mut().flat_map(|group| &mut group.candidates) {
        // A reference that differs, so that its KL term has a gradient.
        let logp_old = &candidate.completion.logp;
        candidate.logp_ref = Some(logp_old.iter().map(|logp| logp - 0.25).collect());
    }
    Ok(groups)
}

/// The losses of a step's rows and their gradients, parameter by parameter.
struct Gradients {
    losses: Vec<f32>,
    of: Vec<Vec<f32>>,
}

impl Gradients {
    /// The largest relative difference of a parameter's gradient.
    fn distance(&self, expected: &Self) -> f64 {
        let relative = self.of.iter().zip(&expected.of).map(|(a, b)| relative(a, b));
        // `max` would pass over NaN.
        relative.fold(0.0, |most, x| if x > most || x.is_nan() { x } else { most })
    }
}

/// ‖a − b‖ / ‖b‖
fn relative(a: &[f32], b: &[f32]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| f64::from(a - b)));
    difference / norm(&mut b.iter().map(|&b| f64::from(b)))
}

fn gradients(model: &Llama, rows: &[Member], config: &Config) -> Result<Gradients> {
    struct Collect<'a>(&'a GradientsParams, Vec<Vec<f32>>);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(grad) = self.0.get::<D>(param.id) {
                self.1.push(grad.try_into_vec_as().unwrap_or_default());
            }
        }
    }
    let micro = micro_batch(model, rows, 1.0, false)?;
    let lengths = rows.iter().map(|(_, candidate)| candidate.tokens().len());
    let totals = BatchTotals::of(lengths, config.rollout.max_completion_length);
    let output = config.objective_row().loss(&micro.inputs, &totals)?;
    let losses = output.row_loss_b.try_into_vec_as()?;
    let grads = GradientsParams::from_grads(output.loss.backward(), model);
    let mut collect = Collect(&grads, Vec::new());
    model.visit(&mut collect);
    Ok(Gradients {
        losses,
        of: collect.1,
    })
}

/// A context, and the tokens behind it.
type Pair<'a> = (&'a [u32], &'a [u32]);

/// Log-probabilities of the tokens of each pair.
fn logps(model: &Llama, pairs: &[Pair]) -> Result<Vec<f32>> {
    let logp_bt = completion_logp(&model.clone().valid(), pairs, 1.0).logp_bt;
    let width = logp_bt.dims()[1];
    let flat: Vec<f32> = logp_bt.try_into_vec_as()?;
    let rows = flat.chunks(width).zip(pairs);
    Ok(rows
        .flat_map(|(logps, (_, tokens))| logps[..tokens.len()].to_vec())
        .collect())
}

fn forward(model: &Llama, exact: &Llama, rows: &[Member]) -> Result<f64> {
    let pairs: Vec<Pair> = rows
        .iter()
        .map(|(group, candidate)| (group.contexts.answer(), candidate.tokens()))
        .collect();
    Ok(largest(
        logps(model, &pairs)?.into_iter(),
        logps(exact, &pairs)?.into_iter(),
    ))
}

/// The largest absolute difference.
fn largest(a: impl Iterator<Item = f32>, b: impl Iterator<Item = f32>) -> f64 {
    a.zip(b)
        .map(|(a, b)| f64::from((a - b).abs()))
        .fold(0.0, |most, x| if x > most || x.is_nan() { x } else { most })
}

/// The engine's log-probabilities against the forward's, both on the device.
fn decoding(model: &Llama, policy: &Policy, rows: &[Member]) -> Result<f64> {
    let inference = Inference::new(model);
    let how = Rollout {
        max_completion_length: 24,
        ..Rollout::default()
    };
    let engine = Engine::new(&inference, &policy.eos, &how);
    let contexts: Vec<&[u32]> = rows.iter().map(|(group, _)| group.contexts.answer()).collect();
    let requests: Vec<Request> = (0..rows.len())
        .map(|row| Request {
            row,
            key: key(row),
            limit: None,
        })
        .collect();
    let sampled: Vec<Completion> = engine
        .sample(&engine.root(&contexts), &requests, false)?
        .completions;
    let tokens = sampled.iter().map(|completion| completion.tokens.as_slice());
    let pairs: Vec<Pair> = contexts.into_iter().zip(tokens).collect();
    let of_forward = logps(model, &pairs)?;
    let of_engine = sampled
        .iter()
        .flat_map(|completion| completion.logp.iter().copied());
    let gaps = of_forward
        .iter()
        .zip(of_engine)
        .map(|(a, b)| f64::from((a - b).abs()).exp_m1());
    Ok(gaps.sum::<f64>() / of_forward.len() as f64)
}

/// Tokens drawn on the device and on the host from the same logits: the share that differs, and how far the
/// log-probabilities of the others are apart.
fn draws(device: &Device) -> Result<[f64; 2]> {
    let [rows, vocabulary] = DRAWS;
    let mut rng = key(0).rng();
    let logits: Vec<f32> = (0..rows * vocabulary)
        .map(|_| (8.0 * uniform(&mut rng)) as f32)
        .collect();
    let uniforms: Vec<f64> = (0..rows).map(|_| uniform(&mut rng)).collect();
    let how = Rollout {
        temperature: 0.8,
        top_k: 50,
        top_p: 0.9,
        ..Rollout::default()
    };
    let logits_bv = Tensor::<2>::from_data(TensorData::new(logits.clone(), DRAWS), device);
    let drawn = how.draw_on_device(logits_bv, None, &uniforms);
    let (mut others, mut error) = (0, 0f64);
    for ((row, &uniform), drawn) in logits.chunks(vocabulary).zip(&uniforms).zip(drawn) {
        match (drawn, how.draw(row, &[], uniform)) {
            (Some(a), Some(b)) if a.token == b.token => {
                error = error.max(f64::from((a.logp - b.logp).abs()));
                error = error.max(f64::from((a.sampling_logp - b.sampling_logp).abs()));
            }
            _ => others += 1,
        }
    }
    Ok([f64::from(others) / rows as f64, error])
}

/// Υ of random representations, on the device and on the processor.
fn projection(device: &Device) -> Result<f64> {
    const SHAPE: [usize; 5] = [4, 4, 4, 4, 64];
    let cpu = gcpo_model::device::open(&"cpu".parse()?)?.device;
    let mut rng = key(1).rng();
    let mut random =
        |count: usize| -> Vec<f32> { (0..count).map(|_| (uniform(&mut rng) - 0.5) as f32).collect() };
    let (z, projections) = (random(4 * 4 * 64), random(SHAPE.iter().product()));
    let upsilon = |device: &Device| -> Result<Vec<f32>> {
        let z_pgd = Tensor::<3>::from_data(TensorData::new(z.clone(), [4, 4, 64]), device);
        let projections = Tensor::<5>::from_data(TensorData::new(projections.clone(), SHAPE), device);
        Ok(align(z_pgd, projections, 2.0, &Features::default())?
            .upsilon_pg
            .try_into_vec_as()?)
    };
    Ok(largest(upsilon(device)?.into_iter(), upsilon(&cpu)?.into_iter()))
}

fn key(prompt: usize) -> StreamKey {
    StreamKey {
        seed: 0,
        step: 0,
        prompt: prompt as u64,
        stage: Stage::Evaluate,
        sample: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_device_computes_rightly_in_every_number_that_it_has() {
        let device = crate::testing::device();
        let opened = Opened {
            device,
            name: "the tests' device".into(),
            memory: None,
            passed_over: Vec::new(),
        };
        for dtype in Dtype::ALL
            .into_iter()
            .filter(|&dtype| opened.check(dtype).is_ok())
        {
            for part in check(&opened, dtype).unwrap() {
                println!("{dtype} {part:?}");
                assert!(part.is_right(), "{dtype}: {part:?}");
            }
        }
    }

    #[test]
    fn no_number_is_not_right() {
        let part = |error| Comparison {
            what: "",
            error,
            allowed: 1.0,
        };
        assert!(part(1.0).is_right() && !part(1.5).is_right() && !part(f64::NAN).is_right());
        assert!(largest([1.0, f32::NAN, 3.0].into_iter(), [1.0, 2.0, 3.0].into_iter()).is_nan());
    }
}
