//! Stages 2 and 3 (gcpo.md, section 2): what the collider is sampled for, over the same tree of prefixes as
//! the candidates.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};

use super::{AlignmentConfig, FeatureContext, align};
use crate::reward::Graded;
use crate::rollout::{Completion, Engine, Prefix, Request, RolloutError, Stage, StreamKey, Wave, integrate};

/// What the projection needs to know of a run.
#[derive(Debug, Clone, Copy)]
pub struct ProjectionPlan {
    /// Integrations of a query, `J`.
    pub integrations: usize,
    /// Samples of each `x_{i,j}`, `M`.
    pub samples: usize,
    /// Whether queries whose rewards are all equal go without stage 3's samples.
    pub skip_flat_groups: bool,
    /// Where representations are taken.
    pub context: FeatureContext,
    /// How representations are compared, and α.
    pub alignment: AlignmentConfig,
    /// Whether Υ is wanted (the weight of the advantage).
    pub weigh: bool,
    /// Whether π'_ref is wanted (the κ term).
    pub refer: bool,
    /// The run's seed.
    pub seed: u64,
    /// The step.
    pub step: u64,
}

/// A step's rollouts with all that the objective needs of the projection.
pub struct Projected {
    /// The candidates and their rewards.
    pub graded: Graded,
    /// `[p][j]`: integrated answers; empty where the objective needs none.
    pub integrations: Vec<Vec<Completion>>,
    /// `[p]`: Υ of the prompt's `g` candidates; `None` where nothing was projected.
    pub upsilon: Vec<Option<Vec<f64>>>,
    /// `[p][g]`: what the κ term needs; empty where it is off.
    pub colliders: Vec<Vec<ColliderScores>>,
}

/// What the κ term needs of one candidate.
#[derive(Debug, Clone)]
pub struct ColliderScores {
    /// The context `x_i = x_{i,0}`.
    pub context: Vec<u32>,
    /// `[j][t]`: `log p_{x,l}`, of each of the candidate's tokens in the context `x_{i,l}`, in nats.
    pub logp_x: Vec<Vec<f32>>,
}

/// What stages 2 and 3 give for the prompts of a wave, in their order.
pub struct ProjectedWave {
    /// Which prompts.
    prompts: Range<usize>,
    integrations: Vec<Vec<Completion>>,
    upsilon: Vec<Option<Vec<f64>>>,
    colliders: Vec<Vec<ColliderScores>>,
}

impl Projected {
    /// A step's candidates with what was found of their waves. Prompts of no wave were not projected.
    pub fn new(graded: Graded, waves: impl IntoIterator<Item = ProjectedWave>) -> Self {
        let p = graded.rollouts.problems.len();
        let mut projected = Projected {
            upsilon: vec![None; p],
            integrations: vec![Vec::new(); p],
            colliders: vec![Vec::new(); p],
            graded,
        };
        for wave in waves {
            let found = wave
                .integrations
                .into_iter()
                .zip(wave.upsilon)
                .zip(wave.colliders);
            for (p, ((integrations, upsilon), colliders)) in wave.prompts.zip(found) {
                projected.integrations[p] = integrations;
                projected.upsilon[p] = upsilon;
                projected.colliders[p] = colliders;
            }
        }
        projected
    }
}

/// Samples stages 2 and 3 below a wave that this engine ran, and computes Υ.
///
/// # Errors
/// [`RolloutError::NonFinite`] if the policy's logits are damaged.
pub fn project_wave(
    engine: &Engine,
    graded: &Graded,
    wave: &Wave,
    plan: &ProjectionPlan,
) -> Result<ProjectedWave, RolloutError> {
    let prompts = wave.prompts.clone();
    let mut found = ProjectedWave {
        integrations: integrate(engine, &graded.rollouts, wave, plan.integrations, |prompt, j| {
            key(plan, prompt, Stage::Integrate, j)
        })?,
        upsilon: vec![None; prompts.len()],
        colliders: vec![Vec::new(); prompts.len()],
        prompts: prompts.clone(),
    };
    let collider = Collider::run(engine, graded, &found.integrations, wave);
    if plan.refer {
        found.colliders = collider.refer(engine, graded, &found.integrations)?;
    }
    if plan.weigh {
        let weighed: Vec<usize> = prompts
            .clone()
            .filter(|&p| !(plan.skip_flat_groups && graded.is_flat(p)))
            .collect();
        if !weighed.is_empty() {
            let sampled = collider.sample(engine, &weighed, plan)?;
            let upsilon = weigh(engine, graded, wave, &weighed, sampled, plan);
            for (p, upsilon) in weighed.into_iter().zip(upsilon) {
                found.upsilon[p - prompts.start] = Some(upsilon);
            }
        }
    }
    Ok(found)
}

/// The contexts `x_{i,j}` of a wave, run: one row for each prompt, `i` and `j`, in that order.
struct Collider {
    prefix: Prefix,
    /// First prompt of the wave.
    first: usize,
    n: usize,
    integrations: usize,
}

/// The samples of stage 3, in the order prompt, `i`, `j`, `m`.
struct Samples {
    completions: Vec<Completion>,
    hidden_bd: Option<Tensor<2>>,
}

impl ProjectionPlan {
    /// Whether the engine must keep the states of what it samples.
    pub fn in_context(&self) -> bool {
        self.context == FeatureContext::InContext
    }
}

impl Collider {
    fn run(engine: &Engine, graded: &Graded, integrations: &[Vec<Completion>], wave: &Wave) -> Self {
        let rollouts = &graded.rollouts;
        let first = wave.prompts.start;
        let n = rollouts.candidates[first].len();
        let mut parents = Vec::new();
        let mut others = Vec::new();
        let mut leaf_parents = Vec::new();
        let mut leaves = Vec::new();
        for p in wave.prompts.clone() {
            for i in 0..n {
                for integration in &integrations[p - first] {
                    leaf_parents.push(others.len());
                    leaves.push(rollouts.plans[p].integration_branch(integration));
                }
                parents.push(p - first);
                others.push(rollouts.plans[p].others_branch(&rollouts.candidates[p], i));
            }
        }
        let without_i = engine.extend(&wave.root, &parents, &others);
        let prefix = engine.extend(&without_i, &leaf_parents, &leaves);
        Self {
            prefix,
            first,
            n,
            integrations: integrations[0].len(),
        }
    }

    fn row(&self, prompt: usize, i: usize, j: usize) -> usize {
        ((prompt - self.first) * self.n + i) * self.integrations + j
    }

    /// Section 4: `y_i` under every `x_{i,l}`.
    fn refer(
        &self,
        engine: &Engine,
        graded: &Graded,
        integrations: &[Vec<Completion>],
    ) -> Result<Vec<Vec<ColliderScores>>, RolloutError> {
        let rollouts = &graded.rollouts;
        let prompts = self.first..self.first + self.prefix.rows() / (self.n * self.integrations);
        let requests: Vec<(usize, &[u32])> = prompts
            .clone()
            .flat_map(|p| (0..self.n).flat_map(move |i| (0..self.integrations).map(move |l| (p, i, l))))
            .map(|(p, i, l)| (self.row(p, i, l), rollouts.candidates[p][i].tokens.as_slice()))
            .collect();
        let mut scores = engine.score(&self.prefix, &requests)?.into_iter();
        let of_prompt = |p: usize| {
            let candidates = &rollouts.candidates[p];
            let of_candidate = |i| ColliderScores {
                context: rollouts.plans[p].project(candidates, i, &integrations[p - self.first][0]),
                logp_x: scores.by_ref().take(self.integrations).collect(),
            };
            (0..self.n).map(of_candidate).collect()
        };
        Ok(prompts.map(of_prompt).collect())
    }

    /// Stage 3: `M` samples of every `x_{i,j}` of some prompts.
    fn sample(
        &self,
        engine: &Engine,
        prompts: &[usize],
        plan: &ProjectionPlan,
    ) -> Result<Samples, RolloutError> {
        let mut requests = Vec::new();
        for &p in prompts {
            for i in 0..self.n {
                for j in 0..self.integrations {
                    for m in 0..plan.samples {
                        let sample = (i * self.integrations + j) * plan.samples + m;
                        requests.push(Request {
                            row: self.row(p, i, j),
                            key: key(plan, p, Stage::Project, sample),
                        });
                    }
                }
            }
        }
        let sampled = engine.sample(&self.prefix, &requests, plan.in_context())?;
        Ok(Samples {
            completions: sampled.completions,
            hidden_bd: sampled.hidden_bd,
        })
    }
}

/// Section 3: Υ of the weighed prompts.
fn weigh(
    engine: &Engine,
    graded: &Graded,
    wave: &Wave,
    weighed: &[usize],
    samples: Samples,
    plan: &ProjectionPlan,
) -> Vec<Vec<f64>> {
    let rollouts = &graded.rollouts;
    let (p, n) = (weighed.len(), rollouts.candidates[wave.prompts.start].len());
    let candidates_bd = match &wave.hidden_bd {
        Some(hidden_bd) => {
            let d = hidden_bd.dims()[1];
            let rows: Vec<i64> = weighed.iter().map(|&p| (p - wave.prompts.start) as i64).collect();
            let rows = Tensor::from_data(TensorData::new(rows, [p]), &hidden_bd.device());
            hidden_bd
                .clone()
                .reshape([wave.prompts.len(), n, d])
                .select(0, rows)
                .reshape([p * n, d])
        }
        None => {
            let texts: Vec<&[u32]> = weighed
                .iter()
                .flat_map(|&p| rollouts.candidates[p].iter().map(Completion::text))
                .collect();
            engine.represent(&texts)
        }
    };
    let samples_bd = samples.hidden_bd.unwrap_or_else(|| {
        let texts: Vec<&[u32]> = samples.completions.iter().map(Completion::text).collect();
        engine.represent(&texts)
    });
    let d = candidates_bd.dims()[1];
    let aligned = align(
        candidates_bd.reshape([p, n, d]),
        samples_bd.reshape([p, n, plan.integrations, plan.samples, d]),
        &plan.alignment,
    )
    .expect("the shapes are made here");
    let flat = aligned
        .upsilon_pg
        .into_data()
        .convert::<f64>()
        .try_into_vec::<f64>()
        .expect("converted to f64");
    flat.chunks(n).map(<[f64]>::to_vec).collect()
}

fn key(plan: &ProjectionPlan, prompt: usize, stage: Stage, sample: usize) -> StreamKey {
    StreamKey {
        seed: plan.seed,
        step: plan.step,
        prompt: prompt as u64,
        stage,
        sample: sample as u64,
    }
}
