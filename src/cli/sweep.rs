//! `gcpo sweep`: every choice of a grid with several seeds, one run after the other, and a table of them all.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use gcpo_data::files;
use serde::Serialize;

use super::args::{RunArgs, SweepArgs};
use super::run::{RunPlan, open_devices, print_line};
use super::{message, train};
use crate::config::Config;
use crate::console::{note, say};
use crate::curve;
use crate::policy::{Model, open};
use crate::ranks::Ranks;
use crate::report::{duration, grid};
use crate::reward::{GraderConfig, RewardConfig};
use crate::run::digest::Digests;
use crate::run::{Inputs, Stop};
use crate::source::{Source, fingerprint};
use crate::sweep::place::{Found, clear, look};
use crate::sweep::result::RunResult;
use crate::sweep::{Asked, Job, Plan, table};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Output<'a> {
    #[serde(flatten)]
    found: &'a table::Found,
    table: String,
    curves: String,
}

/// Runs what is not yet done of a sweep, and prints the table of all of it.
///
/// # Errors
/// A mistake in a config or an option, or something else is in the way: before the first run. The table or the picture cannot be
/// written.
pub fn run(args: &SweepArgs) -> Result<ExitCode> {
    let asked = Asked {
        configs: args.configs.clone(),
        axes: args.grid.clone(),
        sets: args.sets.clone(),
        seeds: args.seeds as u64,
    };
    let mut plan = Plan::new(&asked, |path, sets| {
        let config = train::load(path, sets)?;
        train::check(&config)?;
        Ok(config)
    })?;
    plan.jobs
        .iter_mut()
        .try_for_each(|job| train::settle(&mut job.config))?;
    let baseline = baseline(&plan, args.baseline.as_deref())?;
    let first = &plan.jobs[0].config.run.name;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("runs/sweep-{first}")));
    let found = check(&plan, &out, args)?;
    if args.dry_run {
        return list(&plan, &found, args.json);
    }
    let stop = Stop::on_signals().context("cannot take over Ctrl-C")?;
    let Some(failures) = run_all(&plan, &found, &out, args, &stop)? else {
        // Nobody may be there to read it: the terminal may have gone.
        note("the sweep was stopped; the same command goes on");
        return Ok(stop.exit_code().into());
    };
    let failed = failures.iter().any(Option::is_some);
    show(&plan, baseline, failures, &out, args.json)?;
    Ok(match failed {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

/// The place of the setting that the others are compared with.
fn baseline(plan: &Plan, name: Option<&str>) -> Result<usize> {
    let Some(name) = name else { return Ok(0) };
    let found = plan.settings.iter().position(|setting| setting.name == name);
    found.with_context(|| {
        let names: Vec<&str> = plan
            .settings
            .iter()
            .map(|setting| setting.name.as_str())
            .collect();
        format!(
            "--baseline {name}: there is no such setting; there are {}",
            names.join(" and ")
        )
    })
}

/// How far each run is. Whatever can be known to be wrong with one is said here.
fn check(plan: &Plan, out: &Path, args: &SweepArgs) -> Result<Vec<Found>> {
    let mut known = Known::default();
    let mut opened: Vec<&Config> = Vec::new();
    let mut all = Vec::new();
    for job in &plan.jobs {
        let (config, dir) = (&job.config, out.join(&job.name));
        let same = |other: &&Config| {
            (&other.train.devices, other.train.dtype) == (&config.train.devices, config.train.dtype)
        };
        if !opened.iter().any(same) {
            open_devices(config, &args.device.device, None)?;
            opened.push(config);
        }
        let inputs = known.inputs(config).with_context(|| job.name.clone())?;
        let found = look(&dir, config)?;
        if let Found::Done(state) = &found {
            let (a, b) = (&state.inputs, &inputs);
            let pairs = [
                ("problems ([data])", a.problems != b.problems),
                ("held-out problems ([eval])", a.held_out != b.held_out),
                ("model", a.model != b.model),
            ];
            let other: Vec<&str> = pairs
                .iter()
                .filter(|(_, other)| *other)
                .map(|(what, _)| *what)
                .collect();
            ensure!(
                other.is_empty(),
                "the run in {} was made with another {}: its files have changed since; put them back, or give another directory with --out",
                dir.display(),
                other.join(" and ")
            );
        }
        all.push(found);
    }
    Ok(all)
}

/// What training problems depend on; the seed, where they are drawn.
type ProblemsKey = (Source, GraderConfig, Vec<RewardConfig>, u64);

/// What the results of runs depend on, each looked at once.
#[derive(Default)]
struct Known {
    problems: Vec<(ProblemsKey, String)>,
    held_out: Vec<(crate::eval::Eval, String)>,
    models: Vec<(Model, Digests)>,
}

impl Known {
    fn inputs(&mut self, config: &Config) -> Result<Inputs> {
        // The rows of a file are the same with every seed.
        let is_drawn = config.data.generator.is_some() || config.data.variants > 0;
        let seed = if is_drawn { config.seed } else { 0 };
        let key = (
            config.data.clone(),
            config.grader.clone(),
            config.reward.clone(),
            seed,
        );
        let problems = once(&mut self.problems, key, || {
            Ok(fingerprint(&train::problems(config)?))
        })?;
        let held_out = once(&mut self.held_out, config.eval.clone(), || {
            let problems = match config.eval.every {
                0 => Vec::new(),
                _ => config.eval.held_out()?.problems,
            };
            Ok(if problems.is_empty() {
                String::new()
            } else {
                fingerprint(&problems)
            })
        })?;
        let model = once(&mut self.models, config.model.clone(), || {
            open::digests(&config.model)
        })?;
        Ok(Inputs {
            problems,
            held_out,
            model,
            ..Inputs::default()
        })
    }
}

/// What `make` makes, where it was not made of this key before.
fn once<K: PartialEq, V: Clone>(
    known: &mut Vec<(K, V)>,
    key: K,
    make: impl FnOnce() -> Result<V>,
) -> Result<V> {
    if let Some((_, value)) = known.iter().find(|(of, _)| *of == key) {
        return Ok(value.clone());
    }
    let value = make()?;
    known.push((key, value.clone()));
    Ok(value)
}

/// Lists the runs and how far each is.
fn list(plan: &Plan, found: &[Found], json: bool) -> Result<ExitCode> {
    let states = found.iter().map(|found| match found {
        Found::Nothing => "to be run".to_owned(),
        Found::Unsaved => "to be run again: nothing of it was saved".to_owned(),
        Found::Stopped(step) => format!("goes on after step {step}"),
        Found::Done(_) => "done".to_owned(),
    });
    let rows: Vec<Vec<String>> = plan
        .jobs
        .iter()
        .zip(states)
        .map(|(job, state)| vec![job.name.clone(), state])
        .collect();
    match json {
        true => print_line(serde_json::to_string(&rows)?)?,
        false => print_line(grid(&rows).trim_end())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs everything that is not done, one after the other: why each failed, if it did; none where a signal ended it.
fn run_all(
    plan: &Plan,
    found: &[Found],
    out: &Path,
    args: &SweepArgs,
    stop: &Stop,
) -> Result<Option<Vec<Option<String>>>> {
    let mut failures = vec![None; plan.jobs.len()];
    for (at, (job, found)) in plan.jobs.iter().zip(found).enumerate() {
        let count = format!("[{}/{}] {}", at + 1, plan.jobs.len(), job.name);
        let dir = out.join(&job.name);
        if let Found::Done(_) = found {
            say!("{count}: done before");
            continue;
        }
        say!("{count}");
        let began = std::time::Instant::now();
        match run_one(job, found, &dir, args, stop) {
            Ok(true) => say!("{count}: done in {}", duration(began.elapsed().as_secs_f64())),
            Ok(false) => return Ok(None),
            Err(error) => {
                let why = message(&error);
                say!("{count}: failed: {why}");
                failures[at] = Some(why);
            }
        }
        if stop.is_asked() {
            return Ok(None);
        }
    }
    Ok(Some(failures))
}

/// Does one run, from where it is; whether it came to its end.
fn run_one(job: &Job, found: &Found, dir: &Path, args: &SweepArgs, stop: &Stop) -> Result<bool> {
    let (run_dir, resume) = match found {
        Found::Stopped(_) => (None, Some(Some(dir.to_owned()))),
        Found::Unsaved => {
            clear(dir)?;
            (Some(dir.to_owned()), None)
        }
        Found::Nothing => (Some(dir.to_owned()), None),
        Found::Done(_) => bail!("the run is done"),
    };
    let options = RunArgs {
        sets: Vec::new(),
        run_dir,
        resume,
        from: None,
        device: args.device.clone(),
    };
    let plan = RunPlan::new(job.config.clone(), &options, &Ranks::alone())?;
    Ok(!train::train_planned(&plan, stop)?.interrupted)
}

/// Writes the table and the picture, and prints the table.
fn show(plan: &Plan, baseline: usize, failures: Vec<Option<String>>, out: &Path, json: bool) -> Result<()> {
    let mut runs: Vec<Vec<RunResult>> = vec![Vec::new(); plan.settings.len()];
    for (job, failed) in plan.jobs.iter().zip(failures) {
        let dir = out.join(&job.name);
        let read = RunResult::read(&dir, job.seed);
        let result = match (read, failed) {
            (Ok(result), failed) => RunResult { failed, ..result },
            // It may have failed before it wrote anything.
            (Err(_), Some(failed)) => RunResult {
                seed: job.seed,
                dir: dir.display().to_string(),
                failed: Some(failed),
                ..RunResult::default()
            },
            (Err(error), None) => return Err(error),
        };
        runs[job.setting].push(result);
    }
    let found = table::Found::of(&plan.settings, runs, baseline);
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let place = |name: &str| out.join(name);
    let write = |path: PathBuf, text: String| -> Result<String> {
        files::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path.display().to_string())
    };
    let table = write(place("table.md"), found.to_markdown())?;
    let curves = write(place("curves.svg"), curve::svg(&found.panels()))?;
    let text = found.to_text();
    let output = Output {
        found: &found,
        table: table.clone(),
        curves: curves.clone(),
    };
    let json_text = serde_json::to_string(&output)?;
    write(place("table.json"), format!("{json_text}\n"))?;
    match json {
        true => print_line(json_text),
        false => print_line(format!("{text}\ntable   {table}\ncurves  {curves}")),
    }
}
