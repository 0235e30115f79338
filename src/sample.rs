//! Stages 1 and 2 (docs/algorithms.md, section 2): the candidates of each group, and answers integrated from them.

use std::sync::Arc;

use crate::group::{Candidate, Group};
use crate::rollout::{Engine, Request, RolloutError};
use crate::stream::{Stage, StreamKey};

/// How stage 1 is run.
#[derive(Debug, Clone, Copy)]
pub struct AnswerPlan {
    /// Candidates of a group, `n`.
    pub num_generations: usize,
    /// Integrations of each group that are to come, `J`: their contexts are held together with the group's others.
    pub integrations: usize,
    /// Whether to keep in-context representations.
    pub with_hidden: bool,
    /// The run's seed.
    pub seed: u64,
    /// The step.
    pub step: u64,
    /// What the streams are for.
    pub stage: Stage,
}

impl AnswerPlan {
    fn key(&self, group: &Group, sample: usize) -> StreamKey {
        StreamKey {
            seed: self.seed,
            step: self.step,
            prompt: group.number as u64,
            stage: self.stage,
            sample: sample as u64,
        }
    }
}

/// Stage 1: samples the candidates of every group, as many groups at a time as the engine's memory holds.
///
/// # Errors
/// [`RolloutError::NonFinite`] if the policy's logits are damaged, [`RolloutError::Memory`] if not even one group fits.
pub fn sample(engine: &Engine, groups: &mut [Group], how: &AnswerPlan) -> Result<(), RolloutError> {
    waves_that_fit(engine, groups, how)
        .into_iter()
        .try_for_each(|wave| sample_wave(engine, wave, how))
}

/// Runs the prefixes of groups whose candidates are there, as stage 1 does, for the stages that go on from them.
pub fn root(engine: &Engine, groups: &mut [Group], how: &AnswerPlan) {
    for wave in waves_that_fit(engine, groups, how) {
        let roots: Vec<&[u32]> = wave.iter().map(|group| group.contexts.root()).collect();
        let prefix = Arc::new(engine.root(&roots));
        wave.iter_mut()
            .for_each(|group| group.root = Some(prefix.clone()));
    }
}

/// Groups that the engine's memory holds at a time.
fn waves_that_fit<'g>(engine: &Engine, groups: &'g mut [Group], how: &AnswerPlan) -> Vec<&'g mut [Group]> {
    let (n, longest) = (how.num_generations, engine.max_completion_length());
    let (mut rest, mut waves) = (groups, Vec::new());
    while !rest.is_empty() {
        let held = rest
            .iter()
            .map(|group| group.contexts.prefixes(n, how.integrations, longest));
        let (wave, after) = rest.split_at_mut(engine.prompts_at_once(held));
        waves.push(wave);
        rest = after;
    }
    waves
}

fn sample_wave(engine: &Engine, wave: &mut [Group], how: &AnswerPlan) -> Result<(), RolloutError> {
    let n = how.num_generations;
    let roots: Vec<&[u32]> = wave.iter().map(|group| group.contexts.root()).collect();
    let prefix = Arc::new(engine.root(&roots));
    let requests: Vec<Request> = wave
        .iter()
        .enumerate()
        .flat_map(|(row, group)| (0..n).map(move |sample| (row, how.key(group, sample))))
        .map(|(row, key)| Request {
            row,
            key,
            limit: None,
        })
        .collect();
    let branches: Vec<&[u32]> = wave.iter().map(|group| group.contexts.answer_branch()).collect();
    // A query that is only answered has its whole prompt in (q).
    let sampled = if branches.iter().all(|branch| branch.is_empty()) {
        engine.sample(&prefix, &requests, how.with_hidden)?
    } else {
        let rows: Vec<usize> = (0..branches.len()).collect();
        let marked = engine.extend(&prefix, &rows, &branches);
        engine.sample(&marked, &requests, how.with_hidden)?
    };
    let mut completions = sampled.completions.into_iter();
    for (row, group) in wave.iter_mut().enumerate() {
        group.candidates = completions.by_ref().take(n).map(Candidate::new).collect();
        let hidden_bd = sampled.hidden_bd.as_ref();
        group.hidden_gd = hidden_bd.map(|hidden_bd| hidden_bd.clone().narrow(0, row * n, n));
        group.root = Some(prefix.clone());
    }
    Ok(())
}

/// Stage 2: `count` integrated answers of each group of a wave ([`waves`](crate::group::waves)), `key(group, j)` naming their
/// streams.
///
/// # Errors
/// [`RolloutError::NonFinite`] if the policy's logits are damaged.
pub fn integrate(
    engine: &Engine,
    wave: &mut [Group],
    count: usize,
    key: impl Fn(&Group, usize) -> StreamKey,
) -> Result<(), RolloutError> {
    let Some(root) = wave.first().and_then(|group| group.root.clone()) else {
        return Ok(());
    };
    let branches: Vec<Vec<u32>> = wave
        .iter()
        .map(|group| group.contexts.integrate_branch(&group.candidates))
        .collect();
    let rows: Vec<usize> = (0..branches.len()).collect();
    let prefix = engine.extend(&root, &rows, &branches);
    let mut requests = Vec::with_capacity(branches.len() * count);
    for (row, group) in wave.iter().enumerate() {
        requests.extend((0..count).map(|j| Request {
            row,
            key: key(group, j),
            limit: None,
        }));
    }
    let completions = engine.sample(&prefix, &requests, false)?.completions;
    for (group, completions) in wave.iter_mut().zip(completions.chunks(count)) {
        group.integrations = completions.to_vec();
    }
    Ok(())
}
