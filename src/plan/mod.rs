//! What a run will take, worked out before it begins: bytes by part (`memory`), tokens by stage (`work`), and seconds from a short
//! measurement (`calibrate`). What nobody can know, how long completions will be, is asked for; without an answer they are as long
//! as they may be.

mod calibrate;
mod memory;
mod work;

use anyhow::Result;
use gcpo_data::Problem;
use gcpo_model::config::ModelConfig;
use gcpo_model::device::is_processor;
use gcpo_model::dtype::Dtype;
use serde::Serialize;

use crate::config::{Config, ConfigError, RecipeName};
use crate::demonstrate::demonstration;
use crate::policy::Policy;
use crate::source::Order;
use crate::stream::{Stage, StreamKey};
pub use calibrate::Rates;
pub use memory::{MemoryPlan, Part, Phase};
pub use work::{Kind, StageWork};
use work::{Lengths, Shown};

/// Problems whose contexts are looked at; of more, so many with equal distances.
const PROBLEMS: usize = 2000;

/// What a plan is made from.
pub struct Run<'a> {
    /// The run.
    pub config: &'a Config,
    /// The network that is trained.
    pub network: &'a ModelConfig,
    /// Its tokenizer and prompts; its own network is not looked at but for the device that it is on.
    pub policy: &'a Policy,
    /// The problems.
    pub problems: &'a [Problem],
    /// Tokens of a completion; as long as it may be where nothing is said.
    pub completion_length: Option<usize>,
    /// All memory of the device in bytes, where that is known.
    pub device_bytes: Option<u64>,
    /// Bytes that the process holds without the network.
    pub process_bytes: u64,
    /// Ranks that train together; the plan is of one of them.
    pub ranks: usize,
}

/// What a run will take.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Tokens of a completion that this is worked out for.
    pub completion_length: usize,
    /// Problems whose contexts were looked at.
    pub problems: usize,
    /// Tokens that the largest forward and backward pass runs.
    pub micro_batch_tokens: usize,
    /// Tokens of the longest single row of one: it runs alone where it is over `train.max_tokens_per_micro_batch`.
    pub longest_row_tokens: usize,
    /// Memory of the device, or of the first of several.
    pub memory: MemoryPlan,
    /// What a step does, stage by stage.
    pub stages: Vec<StageWork>,
    /// Seconds of a step; none where nothing was measured.
    pub step_secs: Option<f64>,
}

/// What the parts of a plan share.
struct Facts<'a> {
    run: &'a Run<'a>,
    recipe: RecipeName,
    /// Of the problems that were looked at.
    lengths: Vec<Lengths>,
    /// Of what supervised training is shown in its first steps, each the shortest first; none with reinforcement learning.
    shown: Vec<Vec<Shown>>,
    /// Tokens of a completion.
    completion: usize,
    /// Of stage 3.
    projection: usize,
    /// Prompts of a step on one device.
    prompts: usize,
    on_processor: bool,
    /// Whether training runs in the processor's own way.
    is_fused: bool,
    integrates: bool,
    projects: bool,
    has_kappa: bool,
}

impl Plan {
    /// The plan of a run; without seconds.
    ///
    /// # Errors
    /// A prompt cannot be made of a problem.
    pub fn of(run: &Run) -> Result<Self> {
        let facts = Facts::of(run)?;
        let micro = facts.micro_batch();
        Ok(Self {
            completion_length: facts.completion,
            problems: facts.lengths.len(),
            micro_batch_tokens: micro.tokens,
            longest_row_tokens: facts.longest_row(),
            memory: facts.memory(&micro),
            stages: facts.stages(),
            step_secs: None,
        })
    }

    /// Fills in seconds.
    pub fn with_rates(mut self, rates: &Rates) -> Self {
        for stage in &mut self.stages {
            stage.secs = Some(rates.secs(stage));
        }
        self.step_secs = Some(self.stages.iter().filter_map(|stage| stage.secs).sum());
        self
    }

    /// Refuses what does not fit the device, naming what helps most.
    ///
    /// # Errors
    /// The peak is more than the device has, and `train.check_memory` is on.
    pub fn check(&self, config: &Config) -> Result<(), ConfigError> {
        let memory = &self.memory;
        let Some(room) = memory.device_bytes.filter(|&room| memory.peak_bytes > room) else {
            return Ok(());
        };
        if !config.train.check_memory {
            return Ok(());
        }
        let (key, help) = memory.what_helps(config);
        let what = format!(
            "the run would take about {} at its peak ({}), and the device has {}",
            bytesize::ByteSize(memory.peak_bytes),
            memory.peak().in_words(),
            bytesize::ByteSize(room)
        );
        let help =
            format!("{help}; `gcpo plan` shows it all, and train.check_memory = false tries all the same");
        Err(config.blame(key, what, help))
    }
}

impl<'a> Facts<'a> {
    fn of(run: &'a Run) -> Result<Self> {
        let (config, objective) = (run.config, run.config.objective_row());
        let recipe = config.recipe.unwrap_or(RecipeName::Rl);
        let is_rl = recipe == RecipeName::Rl;
        let most = config.rollout.max_completion_length;
        let completion = run.completion_length.unwrap_or(most).min(most);
        let integrates = is_rl && objective.needs_integration();
        let (n, j) = (config.rollout.num_generations, config.projection.integrations);
        let step = run.problems.len().div_ceil(PROBLEMS).max(1);
        let lengths = run.problems.iter().step_by(step).map(|problem| {
            let contexts = match integrates {
                true => run
                    .policy
                    .contexts(problem, n, config.projection.candidate_tokens)?,
                false => run.policy.answer_contexts(problem)?,
            };
            Ok(Lengths::of(
                &contexts,
                n,
                if integrates { j } else { 0 },
                completion,
            ))
        });
        let lengths: Result<Vec<Lengths>> = lengths.collect();
        let mut lengths = lengths?;
        let shown = match recipe {
            RecipeName::Rl => Ok(Vec::new()),
            RecipeName::Rest => Ok(vec![found(config, &lengths, completion)]),
            RecipeName::Sft => demonstrated(run),
        };
        let mut shown = shown?;
        for rows in &mut shown {
            rows.sort_by_key(Shown::tokens);
        }
        lengths.sort_by_key(|of| std::cmp::Reverse(of.projected().max(of.asked())));
        let on_processor = is_processor(&run.policy.model.device());
        let is_f32 = config.train.dtype == Dtype::F32;
        let has_dora = config.model.lora.as_ref().is_some_and(|lora| lora.use_dora);
        Ok(Self {
            run,
            recipe,
            lengths,
            shown,
            completion,
            projection: config.projection.max_completion_length.min(completion),
            prompts: config
                .train
                .prompts_per_step
                .div_ceil(config.train.devices.len().max(1) * run.ranks),
            on_processor,
            is_fused: on_processor && is_f32 && !has_dora && run.network.is_plain_llama(),
            integrates,
            projects: is_rl && objective.needs_projection(),
            has_kappa: is_rl && objective.needs_projected_reference(),
        })
    }
}

/// The solutions that a round may find: as many as it may, of the problems with the longest prompts, as long as a completion may be.
fn found(config: &Config, lengths: &[Lengths], completion: usize) -> Vec<Shown> {
    let mut asked: Vec<usize> = lengths.iter().map(Lengths::asked).collect();
    asked.sort_by_key(|&asked| std::cmp::Reverse(asked));
    let prompts = config.train.prompts_per_step.div_ceil(config.train.mini_batches);
    // A step may have more groups than there are problems.
    let prompts = asked.iter().cycle().take(prompts);
    prompts
        .flat_map(|&asked| std::iter::repeat_n(Shown::new(asked, completion), config.rest.solutions))
        .collect()
}

/// The demonstrations of the first steps, as the run will have them.
fn demonstrated(run: &Run) -> Result<Vec<Vec<Shown>>> {
    let (config, train) = (run.config, &run.config.train);
    let size = train.per_device_train_batch_size * train.gradient_accumulation_steps;
    let order = Order::of(run.problems, &config.data, config.seed);
    let of_step = |step: usize| {
        let rows = order.step(step, size).enumerate().map(|(index, pick)| {
            let key = StreamKey {
                seed: config.seed,
                step: step as u64,
                prompt: index as u64,
                stage: Stage::Demonstrate,
                sample: 0,
            };
            let shown = demonstration(run.policy, &run.problems[pick], &config.sft, key)?;
            Ok(Shown::new(shown.context.len(), shown.target.len()))
        });
        rows.collect::<Result<Vec<Shown>>>()
    };
    (1..=train.max_steps.min(PROBLEMS.div_ceil(size)))
        .map(of_step)
        .collect()
}
