//! Tree search over steps of reasoning, as ReST-MCTS* has it (Zhang et al., arXiv 2406.03816): from problems to completions that are
//! right.
//!
//! Of each problem there is a tree ([`tree`]). An expansion selects a node by UCT, samples steps below it up to a separator, a completion from
//! each step to its end, and backs their rewards up. A node's value is the mean of these: the Monte Carlo estimate that the paper trains its
//! process reward model on, in place of such a model.
//!
//! The trees of a round grow side by side: in an expansion, one node of each is run as a context, and its steps and their
//! completions are sampled below it in the engine's tree of prefixes.

mod config;
pub mod tree;

use gcpo_data::Problem;
use gcpo_model::inference::Inference;
use serde::{Deserialize, Serialize};

use crate::group::{Candidate, Group};
use crate::policy::{Policy, PolicyError};
use crate::rollout::{Completion, Engine, Finish, Prefix, Request, Rollout, RolloutError, Stops, Work};
use crate::stream::{Stage, StreamKey};
pub use config::{Rest, RestDraft};
use tree::Tree;

/// The search of one problem.
pub struct Search {
    group: Group,
    tree: Tree<Step>,
    expansions: usize,
    /// The expansion (from 1) that found the first solution.
    first: Option<usize>,
    /// Completions that were graded, and then those that are yet to be.
    tried: Vec<Candidate>,
    /// The nodes of those that are yet to be graded.
    pending: Vec<usize>,
    solutions: Vec<Completion>,
}

/// A step of reasoning: what was sampled from one separator to the next.
#[derive(Debug, Clone)]
struct Step(Completion);

/// Steps of the same tokens are one.
impl PartialEq for Step {
    fn eq(&self, other: &Self) -> bool {
        self.0.tokens == other.0.tokens
    }
}

/// What a search came to, as far as anybody else must know.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Found {
    /// All completions that were graded.
    pub tried: Vec<Candidate>,
    /// The different solutions, in the order in which they were found.
    pub solutions: Vec<Completion>,
    /// Expansions made.
    pub expansions: usize,
    /// The expansion (from 1) that found the first solution.
    pub first: Option<usize>,
    /// Nodes of the tree, its root apart.
    pub nodes: usize,
    /// Its depth.
    pub depth: usize,
}

/// How problems are searched.
#[derive(Debug, Clone, Copy)]
pub struct SearchPlan<'a> {
    /// `[rest]`.
    pub rest: &'a Rest,
    /// How tokens are drawn.
    pub rollout: &'a Rollout,
    /// The run's seed.
    pub seed: u64,
    /// The round.
    pub step: u64,
}

/// What the searches of a round came to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SearchReport {
    /// Expansions of all trees.
    pub expansions: usize,
    /// Nodes of all trees, their roots apart.
    pub nodes: usize,
    /// Mean depth of a tree.
    pub depth_mean: f64,
    /// Share of the problems of which a solution was found.
    pub solved_frac: f64,
    /// Different solutions that were found and are learnt.
    pub solutions: usize,
    /// Mean number of the expansion that found a problem's first solution; none where none was found.
    pub first_mean: Option<f64>,
}

impl Search {
    /// Of problem number `number` of a round.
    ///
    /// # Errors
    /// A prompt cannot be made of it.
    pub fn new(policy: &Policy, problem: &Problem, number: usize) -> Result<Self, PolicyError> {
        Ok(Self {
            group: policy.group(problem, number, None)?,
            tree: Tree::new(),
            expansions: 0,
            first: None,
            tried: Vec::new(),
            pending: Vec::new(),
            solutions: Vec::new(),
        })
    }

    /// Whether it goes on: neither have enough solutions been found, nor all expansions been made.
    pub fn goes_on(&self, rest: &Rest) -> bool {
        self.solutions.len() < rest.solutions && self.expansions < rest.expansions
    }

    /// What is asked, and its completions that are yet to be graded; the group of all of them when the search is over.
    pub fn group(&self) -> Group {
        let Group {
            problem,
            number,
            prompt,
            asked,
            contexts,
            ..
        } = &self.group;
        Group {
            asked: asked.clone(),
            ..Group::new(problem.clone(), *number, prompt.clone(), contexts.clone())
        }
    }

    /// Hands the completions that are yet to be graded on, in a group.
    pub fn ungraded(&mut self) -> Group {
        let count = self.tried.len() - self.pending.len();
        Group {
            candidates: self.tried.split_off(count),
            ..self.group()
        }
    }

    /// Takes back what [`Search::ungraded`] gave, graded: backs the rewards up, and keeps the solutions. A completion that earns
    /// nothing counts as one that earns 0, and one that was cut is no solution.
    pub fn take_graded(&mut self, graded: Group, rest: &Rest) {
        for (at, candidate) in self.pending.drain(..).zip(graded.candidates) {
            let reward = candidate.reward.unwrap_or(0.0);
            self.tree.back_up(at, reward);
            let completion = &candidate.completion;
            let is_new = || {
                self.solutions
                    .iter()
                    .all(|known| known.tokens != completion.tokens)
            };
            let is_solution = reward >= rest.threshold && completion.finish != Finish::Length;
            if is_solution && self.solutions.len() < rest.solutions && is_new() {
                self.first.get_or_insert(self.expansions);
                self.solutions.push(completion.clone());
            }
            self.tried.push(candidate);
        }
    }

    /// What is asked.
    pub fn problem(&self) -> &Problem {
        &self.group.problem
    }

    /// The tokens of the prompt.
    pub fn context(&self) -> &[u32] {
        self.group.contexts.answer()
    }

    /// The different solutions, in the order in which they were found.
    pub fn solutions(&self) -> &[Completion] {
        &self.solutions
    }

    /// What it came to.
    pub fn found(&self) -> Found {
        let depths = self.tree.nodes().iter().map(|node| node.depth);
        Found {
            tried: self.tried.clone(),
            solutions: self.solutions.clone(),
            expansions: self.expansions,
            first: self.first,
            nodes: self.tree.nodes().len() - 1,
            depth: depths.max().unwrap_or(0),
        }
    }

    /// The problem with everything that was tried.
    pub fn into_group(self, tried: Vec<Candidate>) -> Group {
        Group {
            candidates: tried,
            ..self.group
        }
    }

    fn key(&self, plan: &SearchPlan<'_>, stage: Stage, sample: usize) -> StreamKey {
        StreamKey {
            seed: plan.seed,
            step: plan.step,
            prompt: self.group.number as u64,
            stage,
            sample: sample as u64,
        }
    }
}

impl SearchReport {
    /// Of the searches of a round, at least one.
    pub fn of(searches: &[Found]) -> Self {
        let n = searches.len() as f64;
        let firsts: Vec<f64> = searches
            .iter()
            .filter_map(|search| Some(search.first? as f64))
            .collect();
        Self {
            expansions: searches.iter().map(|search| search.expansions).sum(),
            nodes: searches.iter().map(|search| search.nodes).sum(),
            depth_mean: searches.iter().map(|search| search.depth as f64).sum::<f64>() / n,
            solved_frac: firsts.len() as f64 / n,
            solutions: searches.iter().map(|search| search.solutions.len()).sum(),
            first_mean: (!firsts.is_empty()).then(|| firsts.iter().sum::<f64>() / firsts.len() as f64),
        }
    }
}

/// One expansion of every search that goes on, with `model`, the policy's network ready to generate: afterwards each has completions that are yet to be
/// graded ([`Search::ungraded`]).
///
/// # Errors
/// [`RolloutError::NonFinite`] if the policy's logits are damaged, [`RolloutError::Memory`] if not even one tree fits.
pub fn expand(
    policy: &Policy,
    model: &Inference,
    searches: &mut [Search],
    plan: &SearchPlan<'_>,
) -> Result<Work, RolloutError> {
    let stops = policy.stops();
    let stops = stops.as_deref();
    let is_separator = separators(policy, &plan.rest.separators);
    let ends_step = |tokens: &[u32]| is_separator(tokens) || stops.is_some_and(|stops| stops(tokens));
    let steps_of = Rollout {
        max_completion_length: plan.rest.max_step_tokens.min(plan.rollout.max_completion_length),
        ..plan.rollout.clone()
    };
    let tools = Tools {
        steps: Engine::new(model, &policy.eos, &steps_of).with_stops(Some(&ends_step)),
        ends: Engine::new(model, &policy.eos, plan.rollout).with_stops(stops),
        stops,
        plan,
    };
    let mut going: Vec<&mut Search> = searches
        .iter_mut()
        .filter(|search| search.goes_on(plan.rest))
        .collect();
    let mut rest = going.as_mut_slice();
    while !rest.is_empty() {
        let longest = plan.rollout.max_completion_length;
        let held = rest.iter().map(|search| {
            let context = search.context().len() + longest;
            [vec![context], vec![longest; plan.rest.width]].concat()
        });
        let count = tools.ends.prompts_at_once(held);
        let (wave, after) = rest.split_at_mut(count);
        tools.expand(wave)?;
        rest = after;
    }
    Ok(tools.steps.work().then(tools.ends.work()))
}

/// Says whether the last token of some completed a separator.
fn separators<'a>(policy: &'a Policy, texts: &'a [String]) -> impl Fn(&[u32]) -> bool + 'a {
    let longest = texts.iter().map(String::len).max().unwrap_or(0);
    move |tokens| {
        // No token is shorter than a byte.
        let tail = policy.text(&tokens[tokens.len().saturating_sub(longest + 1)..]);
        texts.iter().any(|text| tail.contains(text.as_str()))
    }
}

/// What an expansion works with.
struct Tools<'a> {
    /// Samples steps.
    steps: Engine<'a>,
    /// Samples completions to their ends.
    ends: Engine<'a>,
    /// What ends a completion beside its EOS.
    stops: Option<Stops<'a>>,
    plan: &'a SearchPlan<'a>,
}

/// A sampled step of a search's expansion.
struct Sampled {
    /// The search's place in the wave.
    row: usize,
    /// Its number among the expansion's steps.
    number: usize,
    /// Its tokens.
    tokens: Vec<u32>,
    /// The completion so far, this step included.
    so_far: Completion,
    /// The node that it leads to.
    node: usize,
}

impl Tools<'_> {
    /// One expansion of each search of a wave.
    fn expand(&self, wave: &mut [&mut Search]) -> Result<(), RolloutError> {
        let before: Vec<(usize, Completion)> = wave.iter_mut().map(|search| self.select(search)).collect();
        let contexts: Vec<Vec<u32>> = wave
            .iter()
            .zip(&before)
            .map(|(search, (_, so_far))| [search.context(), &so_far.tokens].concat())
            .collect();
        let prefix = self.steps.root(&contexts);
        let open = self.step(wave, &before, &prefix)?;
        if open.is_empty() {
            return Ok(());
        }
        let rows: Vec<usize> = open.iter().map(|step| step.row).collect();
        let segments: Vec<&[u32]> = open.iter().map(|step| step.tokens.as_slice()).collect();
        let below = self.ends.extend(&prefix, &rows, &segments);
        self.simulate(wave, &open, &below)
    }

    /// The node that a search expands next, and the completion up to there.
    fn select(&self, search: &mut Search) -> (usize, Completion) {
        let rest = self.plan.rest;
        let at = search.tree.select(rest.exploration, rest.width * rest.rollouts);
        search.tree.expand(at);
        search.expansions += 1;
        let path = search.tree.path(at);
        (at, joined(path.into_iter().map(|step| &step.0)))
    }

    /// Tokens that may still follow.
    fn left(&self, so_far: &Completion) -> Option<usize> {
        Some(self.plan.rollout.max_completion_length - so_far.tokens.len())
    }

    /// Samples steps below the nodes that were selected: those that lead on. The others are completions already.
    fn step(
        &self,
        wave: &mut [&mut Search],
        before: &[(usize, Completion)],
        prefix: &Prefix,
    ) -> Result<Vec<Sampled>, RolloutError> {
        let width = self.plan.rest.width;
        let mut requests = Vec::with_capacity(wave.len() * width);
        for (row, (search, (_, so_far))) in wave.iter().zip(before).enumerate() {
            let first = (search.expansions - 1) * width;
            requests.extend((0..width).map(|number| Request {
                row,
                key: search.key(self.plan, Stage::Step, first + number),
                limit: self.left(so_far),
            }));
        }
        let steps = self.steps.sample(prefix, &requests, false)?.completions;
        let mut open = Vec::new();
        for (place, step) in steps.into_iter().enumerate() {
            let (row, number) = (place / width, place % width);
            let (at, so_far) = &before[row];
            let (step, is_end) = self.whole(so_far, step);
            let (tokens, so_far) = (step.tokens.clone(), joined([so_far, &step]));
            let search = &mut wave[row];
            let node = search.tree.child(*at, Step(step), is_end);
            if is_end {
                search.pending.push(node);
                search.tried.push(Candidate::new(so_far));
            } else {
                open.push(Sampled {
                    row,
                    number,
                    tokens,
                    so_far,
                    node,
                });
            }
        }
        Ok(open)
    }

    /// Samples completions from each step to their ends.
    fn simulate(
        &self,
        wave: &mut [&mut Search],
        open: &[Sampled],
        below: &Prefix,
    ) -> Result<(), RolloutError> {
        let rest = self.plan.rest;
        let mut requests = Vec::with_capacity(open.len() * rest.rollouts);
        for (row, step) in open.iter().enumerate() {
            let search = &wave[step.row];
            let first = ((search.expansions - 1) * rest.width + step.number) * rest.rollouts;
            requests.extend((0..rest.rollouts).map(|number| Request {
                row,
                key: search.key(self.plan, Stage::Simulate, first + number),
                limit: self.left(&step.so_far),
            }));
        }
        let ends = self.ends.sample(below, &requests, false)?.completions;
        for (place, end) in ends.into_iter().enumerate() {
            let step = &open[place / rest.rollouts];
            let (end, _) = self.whole(&step.so_far, end);
            let search = &mut wave[step.row];
            search.pending.push(step.node);
            search.tried.push(Candidate::new(joined([&step.so_far, &end])));
        }
        Ok(())
    }

    /// What was sampled behind `before`, as the whole completion goes on: a stop string that began before it ends it too. Then whether
    /// nothing can follow.
    fn whole(&self, before: &Completion, mut sampled: Completion) -> (Completion, bool) {
        if let Some(stops) = self.stops {
            let mut tokens = before.tokens.clone();
            for at in 0..sampled.tokens.len() {
                tokens.push(sampled.tokens[at]);
                let is_eos = sampled.finish == Finish::Eos && at + 1 == sampled.tokens.len();
                if !is_eos && stops(&tokens) {
                    sampled.tokens.truncate(at + 1);
                    sampled.logp.truncate(at + 1);
                    sampled.sampling_logp.truncate(at + 1);
                    sampled.finish = Finish::Stop;
                    return (sampled, true);
                }
            }
        }
        if sampled.finish == Finish::Eos {
            return (sampled, true);
        }
        let length = before.tokens.len() + sampled.tokens.len();
        if length == self.plan.rollout.max_completion_length {
            sampled.finish = Finish::Length;
            return (sampled, true);
        }
        (sampled, false)
    }
}

/// Parts behind each other; it ends as the last one does.
fn joined<'a>(parts: impl IntoIterator<Item = &'a Completion>) -> Completion {
    let mut whole = Completion {
        tokens: Vec::new(),
        logp: Vec::new(),
        sampling_logp: Vec::new(),
        finish: Finish::Length,
    };
    for part in parts {
        whole.tokens.extend(&part.tokens);
        whole.logp.extend(&part.logp);
        whole.sampling_logp.extend(&part.sampling_logp);
        whole.finish = part.finish;
    }
    whole
}
