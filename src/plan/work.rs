//! Tokens of a step, stage by stage, and of its largest pass.

use serde::Serialize;

use super::Facts;
use crate::config::RecipeName;
use crate::projection::{Estimator, FeatureContext};
use crate::rollout::Contexts;

/// Tokens of a problem's nodes in the tree of prefixes, each without what it continues.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lengths {
    pub root: usize,
    pub answer: usize,
    pub integrate: usize,
    pub others: usize,
    pub integration: usize,
}

impl Lengths {
    /// With `n` candidates, `j` integrations and completions of so many tokens.
    pub fn of(contexts: &Contexts, n: usize, j: usize, completion: usize) -> Self {
        let lengths = contexts.prefixes(n, j, completion);
        let at = |at: usize| lengths.get(at).copied().unwrap_or(0);
        Self {
            root: at(0),
            answer: at(1),
            integrate: at(2),
            others: at(3),
            integration: at(3 + n),
        }
    }

    /// Of the context of a candidate.
    pub fn asked(&self) -> usize {
        self.root + self.answer
    }

    /// Of the context `x_{i,j}`.
    pub fn projected(&self) -> usize {
        self.root + self.others + self.integration
    }
}

/// Tokens of what supervised training is shown of a problem.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    context: usize,
    target: usize,
}

impl Shown {
    /// What stands in front, and what is learnt.
    pub fn new(context: usize, target: usize) -> Self {
        Self { context, target }
    }

    /// Of the row; the last token is not run.
    pub fn tokens(&self) -> usize {
        (self.context + self.target).saturating_sub(1)
    }
}

/// How tokens are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One after the other, each sampled.
    Decode,
    /// All at once.
    Prefill,
    /// All at once, with log-probabilities.
    Score,
    /// The same, forward and backward.
    Train,
}

/// What a stage of a step does.
#[derive(Debug, Clone, Serialize)]
pub struct StageWork {
    /// Its name.
    pub name: &'static str,
    /// Tokens that it runs.
    pub tokens: usize,
    /// How.
    pub kind: Kind,
    /// Seconds; none where nothing was measured.
    pub secs: Option<f64>,
}

impl StageWork {
    fn new(name: &'static str, kind: Kind, tokens: usize) -> Self {
        Self {
            name,
            tokens,
            kind,
            secs: None,
        }
    }
}

/// The largest forward and backward pass.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MicroBatch {
    pub rows: usize,
    /// Tokens that are run, in both contexts.
    pub tokens: usize,
    /// Of the longest row in each context.
    pub longest: [usize; 2],
    /// States that tokens are predicted from, in one context.
    pub states: usize,
}

impl Facts<'_> {
    /// Tokens that `rows` candidates of a problem run in a pass.
    fn of_group(&self, of: &Lengths, rows: usize) -> usize {
        let own = self.completion - 1;
        let n = self.run.config.rollout.num_generations;
        // Of the other candidates, x_i begins with y_0 … y_{i-1}, as the x_k behind it do: those are run once, from x_1 on.
        let quoted: usize = (0..rows).map(|i| if i == 0 { n - 1 } else { n - i }).sum();
        let others = of.others * quoted / (n - 1).max(1);
        let (asked, projected) = match self.is_fused {
            true => (
                of.asked() + rows * own,
                of.root + others + rows * (of.integration + own),
            ),
            false => (rows * (of.asked() + own), rows * (of.projected() + own)),
        };
        asked + if self.has_kappa { projected } else { 0 }
    }

    /// Tokens of the longest row, alone in a pass.
    pub(super) fn longest_row(&self) -> usize {
        match self.recipe {
            RecipeName::Rl => self.lengths.iter().map(|of| self.of_group(of, 1)).max(),
            RecipeName::Rest | RecipeName::Sft => self.shown.iter().flatten().map(Shown::tokens).max(),
        }
        .unwrap_or(0)
    }

    /// The pass with the longest rows that there are.
    pub(super) fn micro_batch(&self) -> MicroBatch {
        match self.recipe {
            RecipeName::Rl => self.of_candidates(),
            RecipeName::Rest | RecipeName::Sft => self.of_shown(),
        }
    }

    /// Rows of supervised training that an update is of.
    pub(super) fn shown_rows(&self) -> usize {
        self.shown.iter().map(Vec::len).max().unwrap_or(0)
    }

    fn of_shown(&self) -> MicroBatch {
        let train = &self.run.config.train;
        let (size, limit) = (
            train.per_device_train_batch_size,
            train.max_tokens_per_micro_batch,
        );
        let mut most = MicroBatch::default();
        for rows in &self.shown {
            let mut micro = MicroBatch::default();
            for of in rows {
                let is_full = micro.rows == size || limit > 0 && micro.tokens + of.tokens() > limit;
                if micro.rows > 0 && is_full {
                    micro = MicroBatch::default();
                }
                micro.rows += 1;
                micro.tokens += of.tokens();
                micro.longest[0] = micro.longest[0].max(of.tokens());
                micro.states += of.target;
                if micro.tokens > most.tokens {
                    most = micro;
                }
            }
        }
        most
    }

    fn of_candidates(&self) -> MicroBatch {
        let config = self.run.config;
        let (size, n) = (
            config.train.per_device_train_batch_size,
            config.rollout.num_generations,
        );
        let limit = config.train.max_tokens_per_micro_batch;
        let groups = config.train.prompts_per_step / config.train.mini_batches;
        let mut micro = MicroBatch::default();
        // A step may have more groups than there are problems.
        for of in self.lengths.iter().cycle().take(groups) {
            let fits = |rows: &usize| {
                *rows == 0
                    || limit == 0
                    || micro.rows + rows == 1
                    || micro.tokens + self.of_group(of, *rows) <= limit
            };
            let most = n.min(size - micro.rows);
            let rows = (0..=most).rev().find(fits).unwrap_or(0);
            if rows == 0 {
                break;
            }
            micro.tokens += self.of_group(of, rows);
            micro.rows += rows;
            let own = self.completion - 1;
            micro.longest[0] = micro.longest[0].max(of.asked() + own);
            micro.longest[1] = micro.longest[1].max(of.projected() + own);
        }
        micro.states = micro.rows * self.completion;
        micro
    }

    /// What a step does, all devices together, on problems of mean length, if no two completions draw the same tokens and no group's rewards
    /// are all equal.
    pub(super) fn stages(&self) -> Vec<StageWork> {
        let config = self.run.config;
        let trained: usize = self.shown.iter().flatten().map(Shown::tokens).sum();
        let trained = trained / self.shown.len().max(1);
        match self.recipe {
            RecipeName::Rl => self.of_reinforcement(),
            RecipeName::Sft => vec![StageWork::new("training", Kind::Train, trained)],
            RecipeName::Rest => {
                let completions = config.train.prompts_per_step * config.rest.expansions * config.rest.width;
                let updates = config.train.num_iterations * config.train.mini_batches;
                vec![
                    StageWork::new("prompts", Kind::Prefill, self.of_prompts(Lengths::asked)),
                    StageWork::new("search", Kind::Decode, completions * self.completion),
                    StageWork::new("training", Kind::Train, updates * trained),
                ]
            }
        }
    }

    /// What the mean problem takes, times the prompts of a step.
    fn of_prompts(&self, tokens: impl Fn(&Lengths) -> usize) -> usize {
        let sum: usize = self.lengths.iter().map(tokens).sum();
        let problems = self.lengths.len().max(1) as f64;
        (self.run.config.train.prompts_per_step as f64 * sum as f64 / problems).round() as usize
    }

    fn of_reinforcement(&self) -> Vec<StageWork> {
        let config = self.run.config;
        let (p, n) = (config.train.prompts_per_step, config.rollout.num_generations);
        let (j, m) = (config.projection.integrations, config.projection.samples);
        let mean = |tokens: &dyn Fn(&Lengths) -> usize| self.of_prompts(tokens);
        let (y, o) = (self.completion, self.projection);
        let mut stages = Vec::new();
        let mut add = |name, kind, tokens| stages.push(StageWork::new(name, kind, tokens));
        add("prompts", Kind::Prefill, mean(&Lengths::asked));
        add("candidates", Kind::Decode, p * n * y);
        if self.integrates {
            add(
                "contexts of integrations",
                Kind::Prefill,
                mean(&|of| of.integrate),
            );
            add("integrations", Kind::Decode, p * j * y);
            let contexts = |of: &Lengths| n * (of.others + j * of.integration);
            add("contexts of projections", Kind::Prefill, mean(&contexts));
        }
        if self.has_kappa {
            add("candidates under them", Kind::Prefill, p * n * j * (y - 1));
        }
        if self.projects {
            add("projections", Kind::Decode, p * n * j * m * o);
            if config.projection.estimator == Estimator::Pooled {
                add(
                    "projections under the others",
                    Kind::Prefill,
                    p * n * j * m * (j - 1) * (o - 1),
                );
            }
            if config.features.context == FeatureContext::Response {
                add("representations", Kind::Prefill, p * n * (y + j * m * o));
            }
        }
        let asked = |of: &Lengths| match self.is_fused {
            true => of.asked() + n * (y - 1),
            false => n * (of.asked() + y - 1),
        };
        if config.objective_row().needs_reference_model() {
            add("reference model", Kind::Score, mean(&asked));
        }
        let passes = config.train.num_iterations;
        add("training", Kind::Train, passes * mean(&|of| self.of_group(of, n)));
        stages
    }
}
