//! `gcpo`, `gcpo train` and `gcpo sft`: one run from its config to its table.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use gcpo_data::Problem;
use gcpo_model::memory;

use super::args::{RunArgs, TrainArgs};
use super::plan::{On, of_run};
use super::run::{RunPlan, print_line};
use crate::config::{Config, ConfigError, Draft, RecipeName};
use crate::console::{note, say, tell};
use crate::policy::{Policy, TokenizerSource};
use crate::ranks::Ranks;
use crate::recipe::{Outcome, Recipe, Rest, Rl, Sft, drive};
use crate::report::summary;
use crate::reward::gradable;
use crate::run::{Stop, Trackers};
use crate::source;

/// Problems left out that are named one by one; the rest is counted.
const LEFT_OUT_NAMED: usize = 5;

/// The quickstart, as a file of the repository and in the binary.
const QUICKSTART: &str = include_str!("../../configs/quickstart.toml");

/// Trains the quickstart.
///
/// # Errors
/// A mistake in an option, or whatever stops the run.
pub fn quickstart(args: &RunArgs, ranks: &Ranks) -> Result<ExitCode> {
    let read = || {
        let draft = Draft::read(QUICKSTART, "quickstart.toml")?;
        Ok(config(draft, &args.sets, RecipeName::Rl)?)
    };
    run(&RunPlan::of_ranks(ranks, args, read)?)
}

/// Trains by the recipe that the config says, by reinforcement learning if it says none.
///
/// # Errors
/// A mistake in the config or an option, or whatever stops the run.
pub fn train(args: &TrainArgs, ranks: &Ranks) -> Result<ExitCode> {
    let read = || Ok(limited(Draft::load(&args.config)?, args, RecipeName::Rl)?);
    run(&RunPlan::of_ranks(ranks, &args.run, read)?)
}

/// Trains on demonstrations.
///
/// # Errors
/// A mistake in the config or an option, or whatever stops the run.
pub fn sft(args: &TrainArgs, ranks: &Ranks) -> Result<ExitCode> {
    let read = || {
        let config = limited(Draft::load(&args.config)?, args, RecipeName::Sft)?;
        if let Some(other) = config.recipe.filter(|recipe| *recipe != RecipeName::Sft) {
            let what = format!("`gcpo sft` trains on demonstrations, and this run is \"{other}\"");
            return Err(config
                .blame("recipe", what, "run it with `gcpo train`, or leave the key out")
                .into());
        }
        Ok(config)
    };
    run(&RunPlan::of_ranks(ranks, &args.run, read)?)
}

/// Trains as a part of something larger that `stop` ends as well.
///
/// # Errors
/// Whatever stops the run.
pub fn train_planned(plan: &RunPlan, stop: &Stop) -> Result<Outcome> {
    Ok(go(plan, || Ok(stop.clone()))?.0)
}

/// The config that `gcpo train` makes of a file.
///
/// # Errors
/// A mistake in the file or a set.
pub fn load(path: &Path, sets: &[String]) -> Result<Config, ConfigError> {
    config(Draft::load(path)?, sets, RecipeName::Rl)
}

/// Sets how many steps `train.num_train_epochs` are, for whoever must know it before the run begins.
///
/// # Errors
/// The problems cannot be read.
pub fn settle(config: &mut Config) -> Result<()> {
    if config.train.num_train_epochs.is_some() {
        let count = problems(config)?.len();
        config.settle_epochs(count);
    }
    Ok(())
}

/// What is meant by a draft with the options of a command.
fn limited(mut draft: Draft, args: &TrainArgs, recipe: RecipeName) -> Result<Config, ConfigError> {
    if args.limit.is_some() {
        draft.data.limit = args.limit;
    }
    config(draft, &args.run.sets, recipe)
}

/// What is meant by a draft with sets, where it says no recipe by this one.
fn config(mut draft: Draft, sets: &[String], recipe: RecipeName) -> Result<Config, ConfigError> {
    draft.set_all(sets)?;
    draft.style_of_rows();
    draft.recipe.get_or_insert(recipe);
    draft.finish()
}

fn recipe(config: &Config) -> RecipeName {
    config.recipe.unwrap_or(RecipeName::Rl)
}

/// Whether a run that goes on still needs the model that it was started with.
fn needs_base(plan: &RunPlan) -> bool {
    let config = &plan.config;
    let has_reference = recipe(config) == RecipeName::Rl && config.objective_row().needs_reference_model();
    has_reference || plan.has_adapters()
}

fn demonstrated(plan: &RunPlan, needs_base: bool, problems: Vec<Problem>) -> Result<Box<dyn Recipe>> {
    let texts = || {
        problems
            .iter()
            .flat_map(|p| [Some(p.question.clone()), p.solution.clone()])
            .flatten()
            .collect()
    };
    let policy = plan.policy(needs_base, texts)?;
    Sft::check(&plan.config, &problems)?;
    check_memory(plan, &policy, &problems)?;
    let ranks = plan.ranks.clone();
    let sft = Sft::new(plan.config.clone(), policy, problems, &plan.others, ranks)?;
    Ok(Box::new(sft))
}

/// Refuses what a recipe could learn nothing from.
///
/// # Errors
/// Such a key, and what to write.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    let recipe = recipe(config);
    if recipe == RecipeName::Sft {
        return match config.run.log_completions {
            true => Err(config.blame(
                "run.log_completions",
                "supervised training samples nothing",
                "leave it out",
            )),
            false => Ok(()),
        };
    }
    if config.model.tokenizer == Some(TokenizerSource::Train) {
        return Err(config.blame(
            "model.tokenizer",
            "\"train\" learns from demonstrations",
            "train the model with `gcpo sft` first",
        ));
    }
    if recipe == RecipeName::Rl && config.rollout.num_generations == 1 {
        return Err(config.blame(
                "rollout.num_generations",
                "one candidate has no others to be compared with: every advantage would be 0, and nothing would be learnt",
                "give 2 or more; 8 is usual",
            ));
    }
    if config.rollout.temperature == 0.0 {
        return Err(config.blame(
            "rollout.temperature",
            "0 makes all candidates of a problem the same: nothing would be learnt",
            "give a number above 0; 1 is usual",
        ));
    }
    Ok(())
}

fn rest(plan: &RunPlan, needs_base: bool, problems: Vec<Problem>) -> Result<Box<dyn Recipe>> {
    let config: &Config = &plan.config;
    let mut policy = plan.policy(needs_base, Vec::new)?;
    end_programs(&mut policy, &problems);
    check_memory(plan, &policy, &problems)?;
    Ok(Box::new(Rest::new(
        config.clone(),
        policy,
        problems,
        &plan.others,
        plan.ranks.clone(),
    )?))
}

fn rl(plan: &RunPlan, needs_base: bool, problems: Vec<Problem>) -> Result<Box<dyn Recipe>> {
    let config: &Config = &plan.config;
    if config.objective_row().needs_projection() && config.projection.integrations == 1 {
        say!(
            "warning: projection.integrations = 1 leaves nothing to average over: Υ = α cos(z, z̄) and the projected \
             reference is π(q). That is the control without a collider, not GCPO"
        );
    }
    let mut policy = plan.policy(needs_base, Vec::new)?;
    end_programs(&mut policy, &problems);
    check_memory(plan, &policy, &problems)?;
    let ranks = plan.ranks.clone();
    Ok(Box::new(Rl::new(
        config.clone(),
        policy,
        problems,
        &plan.others,
        ranks,
    )?))
}

/// Ends completions where programs end that are gone on with, and says so.
fn end_programs(policy: &mut Policy, problems: &[Problem]) {
    let ends = policy.end_programs(problems);
    if !ends.is_empty() {
        note(&format!(
            "prompts are the beginnings of programs, and a completion ends at one of {ends:?} (prompt.style = \"chat\" asks in words)"
        ));
    }
}

/// Refuses a run that the device has no memory for.
fn check_memory(plan: &RunPlan, policy: &Policy, problems: &[Problem]) -> Result<()> {
    let config = &plan.config;
    let network = policy.model.config();
    let loaded = u64::try_from(memory::weights(network)).unwrap_or(u64::MAX);
    let on = On {
        device_bytes: plan.device_bytes,
        loaded,
        ranks: plan.ranks.size(),
    };
    let worked_out = of_run(config, network, policy, problems, None, &on)?;
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

/// Says what is put behind questions that does not stand in the data.
pub fn say_instruction(config: &Config, problems: &[Problem]) {
    let is_text = |problem: &&Problem| !problem.turns.are_given && problem.code.is_none();
    let Some(added) = config.prompt.added() else {
        return;
    };
    if let Some(first) = problems.iter().find(is_text) {
        note(&format!(
            "prompts say behind the question (here that of `{}`): {added:?}; `prompt.instruction` says something else, and \"\" nothing",
            first.id
        ));
    }
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

/// The problems that a run trains on: those that can be graded, if the recipe grades. What is wrong with them is said before a model is
/// loaded.
///
/// # Errors
/// They cannot be read, or one cannot be graded.
pub fn problems(config: &Config) -> Result<Vec<Problem>> {
    if recipe(config) == RecipeName::Sft {
        return config.problems();
    }
    let found = gradable(
        &config.grader,
        &config.reward,
        config.problems()?,
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

/// Runs a recipe and says what came of it; the exit code is that of the signal, if one stopped it.
fn run(plan: &RunPlan) -> Result<ExitCode> {
    let mut asked = None;
    let (outcome, run) = go(plan, || {
        let stop = Stop::on_signals().context("cannot take over Ctrl-C")?;
        asked = Some(stop.clone());
        Ok(stop)
    })?;
    let interrupted = (outcome.interrupted, asked);
    if !plan.ranks.is_first() {
        return Ok(match interrupted {
            (true, Some(stop)) => stop.exit_code().into(),
            _ => ExitCode::SUCCESS,
        });
    }
    let path = run.display();
    let places = [
        ("checkpoint", format!("{path}/checkpoints/step-{}", outcome.step)),
        ("metrics", format!("{path}/metrics.jsonl")),
        ("samples", format!("{path}/samples.jsonl")),
        ("config", format!("{path}/config.toml")),
    ];
    let printed = print_line(summary(&outcome.reports, &places).trim_end());
    if let (true, Some(stop)) = interrupted {
        // Nobody may be there to read it: the terminal may have gone.
        note(&format!(
            "stopped after step {}; the same command with `--resume {path}` goes on",
            outcome.step
        ));
        return Ok(stop.exit_code().into());
    }
    printed.map(|()| ExitCode::SUCCESS)
}

/// Runs a recipe to its end: how it went, and its directory. `stop` is asked for when everything that can be wrong with the run has been looked at.
fn go(plan: &RunPlan, stop: impl FnOnce() -> Result<Stop>) -> Result<(Outcome, PathBuf)> {
    check(&plan.config)?;
    let eval = &plan.config.eval;
    if let (0, Some(path)) = (eval.every, &eval.path) {
        note(&format!(
            "warning: eval.every = 0, so {} (eval.path) is not measured while training",
            path.display()
        ));
    }
    let needs_base = needs_base(plan);
    let make = match recipe(&plan.config) {
        RecipeName::Rl => rl,
        RecipeName::Rest => rest,
        RecipeName::Sft => demonstrated,
    };
    warn_of_suite(&plan.config);
    let mut trackers = match plan.ranks.is_first() {
        true => Trackers::start(&plan.config.run)?,
        false => Trackers::default(),
    };
    let problems = problems(&plan.config)?;
    let mut plan = plan.clone();
    if let Some(epochs) = plan.config.settle_epochs(problems.len()) {
        note(&epochs);
    }
    let plan = &plan;
    let mut recipe = make(plan, needs_base, problems)?;
    say_instruction(&plan.config, recipe.problems());
    trackers.loaded()?;
    let start = plan.start(recipe.as_mut(), needs_base)?;
    let run = &start.run;
    let stop = stop()?;
    tell(&format!(
        "{} on {}, written to {}",
        plan.config.run.name,
        plan.device_name,
        run.path().display()
    ));
    let outcome = drive(recipe.as_mut(), &plan.config, &start, trackers, &stop)?;
    Ok((outcome, run.path().to_owned()))
}
