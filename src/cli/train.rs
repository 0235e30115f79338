//! `gcpo`, `gcpo train` and `gcpo sft`: one run from its config to its table.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use gcpo_data::Problem;
use gcpo_model::memory;

use super::args::{RunArgs, TrainArgs};
use super::plan::of_run;
use super::run::{RunPlan, print_line};
use crate::config::Config;
use crate::console::{note, say};
use crate::policy::{Policy, TokenizerSource};
use crate::recipe::{Recipe, Rl, Sft, drive};
use crate::report::summary;
use crate::reward::gradable;
use crate::run::Stop;
use crate::source;

/// Problems left out that are named one by one; the rest is counted.
const LEFT_OUT_NAMED: usize = 5;

/// The quickstart, as a file of the repository and in the binary.
const QUICKSTART: &str = include_str!("../../configs/quickstart.toml");

/// Trains the quickstart.
///
/// # Errors
/// A mistake in an option, or whatever stops the run.
pub fn quickstart(args: &RunArgs) -> Result<ExitCode> {
    train_by_rl(&RunPlan::from_text(QUICKSTART, "quickstart.toml", args)?)
}

/// Trains by reinforcement learning.
///
/// # Errors
/// A mistake in the config or an option, or whatever stops the run.
pub fn train(args: &TrainArgs) -> Result<ExitCode> {
    train_by_rl(&RunPlan::from_file(&args.config, &args.run)?)
}

fn train_by_rl(plan: &RunPlan) -> Result<ExitCode> {
    let needs_base = plan.config.objective_row().needs_reference_model() || plan.has_adapters();
    run(plan, needs_base, rl)
}

/// Trains on demonstrations.
///
/// # Errors
/// A mistake in the config or an option, or whatever stops the run.
pub fn sft(args: &TrainArgs) -> Result<ExitCode> {
    let plan = &RunPlan::from_file(&args.config, &args.run)?;
    run(plan, plan.has_adapters(), |plan, needs_base| {
        warn_of_suite(&plan.config);
        let problems = plan.config.problems()?;
        let texts = || {
            problems
                .iter()
                .flat_map(|p| [Some(p.question.clone()), p.solution.clone()])
                .flatten()
                .collect()
        };
        let policy = plan.policy(needs_base, texts)?;
        Ok(Box::new(Sft::new(
            plan.config.clone(),
            policy,
            problems,
            &plan.others,
        )?))
    })
}

fn rl(plan: &RunPlan, needs_base: bool) -> Result<Box<dyn Recipe>> {
    let config: &Config = &plan.config;
    if config.model.tokenizer == Some(TokenizerSource::Train) {
        return Err(config
            .blame(
                "model.tokenizer",
                "\"train\" learns from demonstrations",
                "train the model with `gcpo sft` first",
            )
            .into());
    }
    if config.rollout.num_generations == 1 {
        return Err(config
            .blame(
                "rollout.num_generations",
                "one candidate has no others to be compared with: every advantage would be 0, and nothing would be learnt",
                "give 2 or more; 8 is usual",
            )
            .into());
    }
    if config.rollout.temperature == 0.0 {
        return Err(config
            .blame(
                "rollout.temperature",
                "0 makes all candidates of a problem the same: every advantage would be 0, and nothing would be learnt",
                "give a number above 0; 1 is usual",
            )
            .into());
    }
    if config.objective_row().needs_projection() && config.projection.integrations == 1 {
        say!(
            "warning: projection.integrations = 1 leaves nothing to average over: Υ = α cos(z, z̄) and the projected \
             reference is π(q). That is the control without a collider, not GCPO"
        );
    }
    warn_of_suite(config);
    let problems = with_gold(config, config.problems()?)?;
    let policy = plan.policy(needs_base, Vec::new)?;
    check_memory(plan, &policy, &problems)?;
    Ok(Box::new(Rl::new(config.clone(), policy, problems, &plan.others)?))
}

/// Refuses a run that the device has no memory for.
fn check_memory(plan: &RunPlan, policy: &Policy, problems: &[Problem]) -> Result<()> {
    let config = &plan.config;
    let network = policy.model.config();
    let loaded = u64::try_from(memory::weights(network)).unwrap_or(u64::MAX);
    let worked_out = of_run(config, network, policy, problems, None, plan.device_bytes, loaded)?;
    let (row, limit) = (
        worked_out.longest_row_tokens,
        config.train.max_tokens_per_micro_batch,
    );
    if limit > 0 && row > limit {
        note(&format!(
            "note: a row may have {row} tokens, more than train.max_tokens_per_micro_batch = {limit}: it is then run alone"
        ));
    }
    Ok(worked_out.check(config)?)
}

/// Says so where a run trains on what models are compared on.
fn warn_of_suite(config: &Config) {
    if let Some(suite) = source::trains_on(&config.data) {
        say!(
            "warning: {} is for evaluation only: no number of a model that was trained on it can be compared any more",
            suite.name
        );
    }
}

/// The problems that can be graded. What is wrong with them is said before a model is loaded.
fn with_gold(config: &Config, problems: Vec<Problem>) -> Result<Vec<Problem>> {
    let found = gradable(
        &config.grader,
        &config.reward,
        problems,
        config.data.skip_unreadable,
    )?;
    for problem in found.left_out.iter().take(LEFT_OUT_NAMED) {
        say!("left out: {problem}");
    }
    if found.left_out.len() > LEFT_OUT_NAMED {
        say!("{} problems left out in all", found.left_out.len());
    }
    Ok(found.problems)
}

/// Runs a recipe and says what came of it; the exit code is that of the signal, if one stopped it. `needs_base`: whether a run that
/// goes on still needs the model that it was started with.
fn run(
    plan: &RunPlan,
    needs_base: bool,
    recipe: impl FnOnce(&RunPlan, bool) -> Result<Box<dyn Recipe>>,
) -> Result<ExitCode> {
    let eval = &plan.config.eval;
    if let (0, Some(path)) = (eval.every, &eval.path) {
        note(&format!(
            "warning: eval.every = 0, so {} (eval.path) is not measured while training",
            path.display()
        ));
    }
    let mut recipe = recipe(plan, needs_base)?;
    let start = plan.start(recipe.as_mut(), needs_base)?;
    let run = &start.run;
    let stop = Stop::on_signals().context("cannot take over Ctrl-C")?;
    say!(
        "{} on {}, written to {}",
        plan.config.run.name,
        plan.device_name,
        run.path().display()
    );
    let outcome = drive(recipe.as_mut(), &plan.config, &start, &stop)?;
    let path = run.path().display();
    let places = [
        ("checkpoint", format!("{path}/checkpoints/step-{}", outcome.step)),
        ("metrics", format!("{path}/metrics.jsonl")),
        ("samples", format!("{path}/samples.jsonl")),
        ("config", format!("{path}/config.toml")),
    ];
    let printed = print_line(summary(&outcome.reports, &places).trim_end());
    if outcome.interrupted {
        // Nobody may be there to read it: the terminal may have gone.
        note(&format!(
            "stopped after step {}; the same command with `--resume {path}` goes on",
            outcome.step
        ));
        return Ok(stop.exit_code().into());
    }
    printed.map(|()| ExitCode::SUCCESS)
}
