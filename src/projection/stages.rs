//! Stages 2 and 3 (docs/algorithms.md, section 2): what the collider is sampled for, over the same tree of prefixes as
//! the candidates.

use burn::tensor::{Tensor, TensorData};
use gcpo_model::dtype::widen;

use super::{Estimator, FeatureContext, Features, Projection, Similarity, align, pooled};
use crate::group::{Collider, Group, waves};
use crate::objective::Objective;
use crate::rollout::{Completion, Engine, Prefix, Request, RolloutError, Sampled};
use crate::sample::{AnswerPlan, integrate};
use crate::stream::{Stage, StreamKey};

/// How a step's groups are sampled and projected.
#[derive(Debug, Clone, Copy)]
pub struct ProjectionPlan<'a> {
    /// J, M and what is skipped.
    pub projection: &'a Projection,
    /// How representations are taken and compared.
    pub features: &'a Features,
    /// What is asked for: Υ, π'_ref, both or neither.
    pub objective: &'a Objective,
    /// The run's seed.
    pub seed: u64,
    /// The step.
    pub step: u64,
}

impl ProjectionPlan<'_> {
    /// How stage 1 is run, with `n` candidates of a group, so that the other stages can go on from it.
    pub fn answers(&self, n: usize) -> AnswerPlan {
        let projects = self.objective.needs_integration();
        AnswerPlan {
            num_generations: n,
            integrations: if projects { self.projection.integrations } else { 0 },
            with_hidden: self.objective.needs_projection() && self.in_context(),
            seed: self.seed,
            step: self.step,
            stage: Stage::Answer,
        }
    }

    /// Whether the engine must keep the states of what it samples.
    fn in_context(&self) -> bool {
        self.features.context == FeatureContext::InContext
    }

    fn key(&self, group: &Group, stage: Stage, sample: usize) -> StreamKey {
        StreamKey {
            seed: self.seed,
            step: self.step,
            prompt: group.number as u64,
            stage,
            sample: sample as u64,
        }
    }
}

/// Samples stages 2 and 3 of groups whose candidates this engine sampled and that were graded: fills in their integrations,
/// each candidate's Υ (where it is wanted and not skipped) and what the κ term needs of it. Lets go of what only
/// these stages need.
///
/// # Errors
/// [`RolloutError::NonFinite`] if the policy's logits are damaged.
pub fn project(engine: &Engine, groups: &mut [Group], plan: &ProjectionPlan<'_>) -> Result<(), RolloutError> {
    if !plan.objective.needs_integration() {
        groups.iter_mut().for_each(Group::release);
        return Ok(());
    }
    for wave in waves(groups) {
        let Some(root) = wave.first().and_then(|group| group.root.clone()) else {
            continue;
        };
        integrate(engine, wave, plan.projection.integrations, |group, j| {
            plan.key(group, Stage::Integrate, j)
        })?;
        let contexts = ColliderContexts::run(engine, &root, wave, plan.projection.integrations);
        if plan.objective.needs_projected_reference() {
            contexts.score(engine, wave)?;
        }
        if plan.objective.needs_projection() {
            let skips = plan.projection.skip_flat_groups;
            let weighed = |group: &Group| !(skips && group.is_idle(plan.objective));
            let rows: Vec<usize> = (0..wave.len()).filter(|&row| weighed(&wave[row])).collect();
            if plan.features.similarity == Similarity::Constant {
                let alpha = Some(plan.objective.alpha());
                for row in rows {
                    wave[row]
                        .candidates
                        .iter_mut()
                        .for_each(|candidate| candidate.upsilon = alpha);
                }
            } else if !rows.is_empty() {
                weigh(engine, wave, &rows, &contexts, plan)?;
            }
        }
        wave.iter_mut().for_each(Group::release);
    }
    Ok(())
}

/// The contexts `x_{i,j}` of a wave, run: one row for each group, `i` and `j`, in that order.
struct ColliderContexts {
    prefix: Prefix,
    n: usize,
    integrations: usize,
}

impl ColliderContexts {
    fn run(engine: &Engine, root: &Prefix, wave: &[Group], integrations: usize) -> Self {
        let n = wave[0].candidates.len();
        let mut parents = Vec::new();
        let mut others = Vec::new();
        let mut leaf_parents = Vec::new();
        let mut leaves = Vec::new();
        for (row, group) in wave.iter().enumerate() {
            for i in 0..n {
                for integration in &group.integrations {
                    leaf_parents.push(others.len());
                    leaves.push(group.contexts.integration_branch(integration));
                }
                parents.push(row);
                others.push(group.contexts.others_branch(&group.candidates, i));
            }
        }
        let without_i = engine.extend(root, &parents, &others);
        Self {
            prefix: engine.extend(&without_i, &leaf_parents, &leaves),
            n,
            integrations,
        }
    }

    /// The row of `x_{i,j}` of the group at place `at` of the wave.
    fn row(&self, at: usize, i: usize, j: usize) -> usize {
        (at * self.n + i) * self.integrations + j
    }

    /// Section 4: `y_i` under every `x_{i,l}`.
    fn score(&self, engine: &Engine, wave: &mut [Group]) -> Result<(), RolloutError> {
        let mut requests: Vec<(usize, &[u32])> = Vec::with_capacity(self.prefix.rows());
        for (at, group) in wave.iter().enumerate() {
            for (i, candidate) in group.candidates.iter().enumerate() {
                requests.extend((0..self.integrations).map(|l| (self.row(at, i, l), candidate.tokens())));
            }
        }
        let mut scores = engine.score(&self.prefix, &requests)?.into_iter();
        for group in wave {
            for i in 0..self.n {
                let context = group
                    .contexts
                    .project(&group.candidates, i, &group.integrations[0]);
                group.candidates[i].collider = Some(Collider {
                    context,
                    logp_x: scores.by_ref().take(self.integrations).collect(),
                });
            }
        }
        Ok(())
    }

    /// Stage 3: `M` samples of every `x_{i,j}` of the groups at some places, in the order group, `i`, `j`, `m`.
    fn sample(
        &self,
        engine: &Engine,
        wave: &[Group],
        rows: &[usize],
        plan: &ProjectionPlan<'_>,
    ) -> Result<Sampled, RolloutError> {
        let mut requests = Vec::new();
        for &at in rows {
            for i in 0..self.n {
                for j in 0..self.integrations {
                    // Common random numbers are those of the first integration.
                    let stream = if plan.projection.common_random_numbers {
                        0
                    } else {
                        j
                    };
                    for m in 0..plan.projection.samples {
                        let sample = (i * self.integrations + stream) * plan.projection.samples + m;
                        requests.push(Request {
                            row: self.row(at, i, j),
                            key: plan.key(&wave[at], Stage::Project, sample),
                            limit: None,
                        });
                    }
                }
            }
        }
        let brief = engine.with_max_completion_length(plan.projection.max_completion_length);
        let sampled = brief.sample(&self.prefix, &requests, plan.in_context());
        engine.count(brief.work());
        sampled
    }

    /// The mean representation of each context, estimated from the samples of all contexts of its candidate.
    ///
    /// # Shapes
    /// - `samples_bd`: `[p·g·j·m, d]`, in the order of [`ColliderContexts::sample`]
    /// - returns `[p·g·j, d]`
    fn pooled(
        &self,
        engine: &Engine,
        rows: &[usize],
        samples: &[Completion],
        samples_bd: Tensor<2>,
    ) -> Result<Tensor<2>, RolloutError> {
        let (j, s) = (self.integrations, samples.len() / (rows.len() * self.n));
        let candidates = rows.iter().flat_map(|&at| (0..self.n).map(move |i| (at, i)));
        let mut flat = Vec::with_capacity(samples.len() * j);
        for ((at, i), samples) in candidates.zip(samples.chunks(s)) {
            let contexts: Vec<usize> = (0..j).map(|j| self.row(at, i, j)).collect();
            let logp = pooled::log_probabilities(engine, &self.prefix, &contexts, samples)?;
            flat.extend(pooled::weights(&logp).into_iter().flatten());
        }
        let (b, d) = (rows.len() * self.n, samples_bd.dims()[1]);
        let weights = TensorData::new(flat, [b, j, s]).convert::<f32>();
        let weights_bjs = Tensor::<3>::from_data(weights, &samples_bd.device());
        let samples_bsd = widen(samples_bd).reshape([b, s, d]);
        Ok(weights_bjs.matmul(samples_bsd).reshape([b * j, d]))
    }
}

/// Section 3: Υ of the groups at some places of the wave.
fn weigh(
    engine: &Engine,
    wave: &mut [Group],
    rows: &[usize],
    contexts: &ColliderContexts,
    plan: &ProjectionPlan<'_>,
) -> Result<(), RolloutError> {
    let (p, n) = (rows.len(), contexts.n);
    let sampled = contexts.sample(engine, wave, rows, plan)?;
    let hidden: Option<Vec<Tensor<2>>> = rows.iter().map(|&at| wave[at].hidden_gd.clone()).collect();
    let candidates_bd = match hidden {
        // Groups of several rounds may have been sampled on another device.
        Some(hidden) => match &sampled.hidden_bd {
            Some(here) => Tensor::cat(
                hidden
                    .into_iter()
                    .map(|of| of.to_device(&here.device()))
                    .collect(),
                0,
            ),
            None => Tensor::cat(hidden, 0),
        },
        None => {
            let candidates = rows.iter().flat_map(|&at| &wave[at].candidates);
            let texts: Vec<&[u32]> = candidates.map(|candidate| candidate.completion.text()).collect();
            engine.represent(&texts)
        }
    };
    let samples_bd = sampled.hidden_bd.unwrap_or_else(|| {
        let texts: Vec<&[u32]> = sampled.completions.iter().map(Completion::text).collect();
        engine.represent(&texts)
    });
    let d = candidates_bd.dims()[1];
    let (samples_bd, m) = match plan.projection.estimator {
        Estimator::Own => (samples_bd, plan.projection.samples),
        Estimator::Pooled => {
            let pooled = contexts.pooled(engine, rows, &sampled.completions, samples_bd)?;
            (pooled, 1)
        }
    };
    let aligned = align(
        candidates_bd.reshape([p, n, d]),
        samples_bd.reshape([p, n, plan.projection.integrations, m, d]),
        plan.objective.alpha(),
        plan.features,
    )
    .expect("the shapes are made here");
    let flat = aligned.upsilon_pg.into_data().convert::<f64>();
    let mut upsilon = flat.try_into_vec::<f64>().expect("converted to f64").into_iter();
    for &at in rows {
        for candidate in &mut wave[at].candidates {
            candidate.upsilon = upsilon.next();
        }
    }
    Ok(())
}
