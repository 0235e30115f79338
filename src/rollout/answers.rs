//! Stages 1 and 2: `n` candidates for each problem of a step, and answers integrated from them.

use std::ops::Range;

use burn::tensor::Tensor;
use gcpo_data::Problem;

use super::{Completion, Contexts, Engine, Prefix, Request, RolloutError, Stage, StreamKey};

/// Problems with their candidates, and the prefixes that later stages go on from.
pub struct Rollouts {
    /// What was asked, `p` of them.
    pub problems: Vec<Problem>,
    /// The contexts of each problem.
    pub plans: Vec<Contexts>,
    /// `[p][g]`: the candidates.
    pub candidates: Vec<Vec<Completion>>,
    /// The problems in the waves in which they were run.
    pub waves: Vec<Wave>,
}

/// Problems that are run together.
pub struct Wave {
    /// Which problems.
    pub prompts: Range<usize>,
    /// Which of the engines ran it.
    pub engine: usize,
    /// Their nodes `(q)`, in order.
    pub root: Prefix,
    /// `[p·g, d]` in-context representations of the wave's candidates, where asked for.
    pub hidden_bd: Option<Tensor<2>>,
}

/// How stage 1 is run.
#[derive(Debug, Clone, Copy)]
pub struct AnswerPlan {
    /// Candidates of a problem, `n`.
    pub num_generations: usize,
    /// Integrations of each problem that are to come, `J`: their contexts are held together with the problem's others.
    pub integrations: usize,
    /// Whether to keep in-context representations.
    pub with_hidden: bool,
    /// The run's seed.
    pub seed: u64,
    /// The step.
    pub step: u64,
    /// What the streams are for.
    pub stage: Stage,
    /// Number of the first problem, for the streams: those of a part of a data set are its own.
    pub first_prompt: usize,
}

impl Rollouts {
    /// What several engines did with parts of the problems, as if one had; wave `w` of part `e` was run by engine `e`.
    pub fn join(parts: Vec<Rollouts>) -> Rollouts {
        let mut whole = Rollouts {
            problems: Vec::new(),
            plans: Vec::new(),
            candidates: Vec::new(),
            waves: Vec::new(),
        };
        for (engine, part) in parts.into_iter().enumerate() {
            let before = whole.problems.len();
            whole.problems.extend(part.problems);
            whole.plans.extend(part.plans);
            whole.candidates.extend(part.candidates);
            whole.waves.extend(part.waves.into_iter().map(|wave| Wave {
                prompts: wave.prompts.start + before..wave.prompts.end + before,
                engine,
                ..wave
            }));
        }
        whole
    }
}

/// Samples the candidates of every problem.
///
/// # Errors
/// [`RolloutError::NonFinite`] if the policy's logits are damaged.
pub fn answer(
    engine: &Engine,
    problems: Vec<Problem>,
    plans: Vec<Contexts>,
    how: AnswerPlan,
) -> Result<Rollouts, RolloutError> {
    let n = how.num_generations;
    let mut candidates = Vec::with_capacity(problems.len());
    let mut waves = Vec::new();
    let mut start = 0;
    while start < problems.len() {
        let held = plans[start..]
            .iter()
            .map(|plan| plan.prefixes(n, how.integrations, engine.max_completion_length()));
        let prompts = start..start + engine.prompts_at_once(held);
        start = prompts.end;
        let roots: Vec<&[u32]> = plans[prompts.clone()].iter().map(Contexts::root).collect();
        let root = engine.root(&roots);
        let branches: Vec<&[u32]> = plans[prompts.clone()]
            .iter()
            .map(Contexts::answer_branch)
            .collect();
        let requests: Vec<Request> = prompts
            .clone()
            .enumerate()
            .flat_map(|(row, prompt)| {
                (0..n as u64).map(move |sample| Request {
                    row,
                    key: StreamKey {
                        seed: how.seed,
                        step: how.step,
                        prompt: (how.first_prompt + prompt) as u64,
                        stage: how.stage,
                        sample,
                    },
                })
            })
            .collect();
        // A query that is only answered has its whole prompt in (q).
        let sampled = if branches.iter().all(|b| b.is_empty()) {
            engine.sample(&root, &requests, how.with_hidden)?
        } else {
            let rows: Vec<usize> = (0..branches.len()).collect();
            engine.sample(
                &engine.extend(&root, &rows, &branches),
                &requests,
                how.with_hidden,
            )?
        };
        let mut completions = sampled.completions.into_iter();
        candidates.extend(
            prompts
                .clone()
                .map(|_| completions.by_ref().take(n).collect::<Vec<_>>()),
        );
        waves.push(Wave {
            prompts,
            engine: 0,
            root,
            hidden_bd: sampled.hidden_bd,
        });
    }
    Ok(Rollouts {
        problems,
        plans,
        candidates,
        waves,
    })
}

/// Stage 2: `count` integrated answers of each problem of a wave, `key(problem, j)` naming their streams.
///
/// # Errors
/// [`RolloutError::NonFinite`] if the policy's logits are damaged.
pub fn integrate(
    engine: &Engine,
    rollouts: &Rollouts,
    wave: &Wave,
    count: usize,
    key: impl Fn(usize, usize) -> StreamKey,
) -> Result<Vec<Vec<Completion>>, RolloutError> {
    let branches: Vec<Vec<u32>> = wave
        .prompts
        .clone()
        .map(|p| rollouts.plans[p].integrate_branch(&rollouts.candidates[p]))
        .collect();
    let rows: Vec<usize> = (0..branches.len()).collect();
    let prefix = engine.extend(&wave.root, &rows, &branches);
    let mut requests = Vec::with_capacity(branches.len() * count);
    for (row, prompt) in wave.prompts.clone().enumerate() {
        requests.extend((0..count).map(|j| Request {
            row,
            key: key(prompt, j),
        }));
    }
    let sampled = engine.sample(&prefix, &requests, false)?;
    Ok(sampled
        .completions
        .chunks(count)
        .map(<[Completion]>::to_vec)
        .collect())
}
