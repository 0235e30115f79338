//! What every training run has in common: steps, metrics, evaluations, checkpoints, signals and resuming.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};

use super::Recipe;
use super::resume::Start;
use crate::config::Config;
use crate::console::{detail, say};
use crate::eval::report::SuiteReport;
use crate::eval::stats::Estimate;
use crate::report::{Evaluation, Health, Progress, Sample, StepReport, Stopwatch, completions};
use crate::run::log::JsonLog;
use crate::run::metrics::{self, Line};
use crate::run::{EventLog, LOGS, ReportTo, SavedStep, Stop, TENSORBOARD, Trackers, TrainerState};

/// How a run went.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The last step done.
    pub step: usize,
    /// The evaluation before the first step, if this process made it.
    pub before: Option<SuiteReport>,
    /// The last evaluation after a step.
    pub after: Option<SuiteReport>,
    /// What this process wrote to `metrics.jsonl`.
    pub reports: Vec<StepReport>,
    /// Whether a signal ended it.
    pub interrupted: bool,
    /// Seconds of this process.
    pub secs: f64,
}

/// A run on its way.
struct Drive<'a> {
    recipe: &'a mut dyn Recipe,
    config: &'a Config,
    start: &'a Start,
    metrics: JsonLog,
    samples: JsonLog,
    /// For TensorBoard, where it is asked for.
    events: Option<EventLog>,
    /// wandb and trackio, where they are asked for.
    trackers: Trackers,
    progress: Progress,
    health: Health,
    outcome: Outcome,
    saves: Saves,
}

/// What was saved, and when.
struct Saves {
    /// The last checkpoint.
    last: Option<SavedStep>,
    /// The checkpoint that was saved because time had passed, and goes when there is a newer one.
    timed: Option<SavedStep>,
    at: Instant,
}

/// Runs a recipe to its last step, or to a signal, from where it starts. Its numbers go to `trackers`, too, which are loaded.
///
/// # Errors
/// Whatever stops the recipe: the state of the last whole step is saved first.
pub fn drive(
    recipe: &mut dyn Recipe,
    config: &Config,
    start: &Start,
    trackers: Trackers,
    stop: &Stop,
) -> Result<Outcome> {
    let mut clock = Stopwatch::start();
    let first = start.from.as_ref().map_or(0, |saved| saved.step);
    if let Some(saved) = &start.from {
        recipe.parts().0.restore(&saved.path)?;
    }
    let mut drive = Drive::new(recipe, config, start, trackers, first)?;
    let ended = drive.go(first, stop);
    drive.progress.finish();
    let code = match (&ended, drive.outcome.interrupted) {
        (Err(_), _) => 1,
        (Ok(()), true) => stop.exit_code(),
        (Ok(()), false) => 0,
    };
    drive.trackers.finish(code);
    ended?;
    drive.outcome.secs = clock.lap();
    Ok(drive.outcome)
}

/// The health of a run after the steps that it has written.
fn health(config: &Config, written: &[Line]) -> Health {
    let projects = config.objective_row().constant_upsilon().is_none();
    let mut health = Health::new(config.run.health_steps, projects);
    for line in written {
        // What was wrong before was said.
        health.after(line);
    }
    health
}

/// The run's event files with what its metrics hold already, where they are asked for.
fn events(config: &Config, start: &Start, written: &[Line]) -> Result<Option<EventLog>> {
    let dir = start.run.path().join(TENSORBOARD);
    if config.run.report_to.contains(&ReportTo::TensorBoard) {
        return Ok(Some(EventLog::open(&dir, written)?));
    }
    if dir.exists() {
        say!(
            "note: run.report_to no longer names \"tensorboard\": what is in {} stays as it was",
            dir.display()
        );
    }
    Ok(None)
}

impl<'a> Drive<'a> {
    fn new(
        recipe: &'a mut dyn Recipe,
        config: &'a Config,
        start: &'a Start,
        mut trackers: Trackers,
        first: usize,
    ) -> Result<Self> {
        let run = &start.run;
        let own = start.from.clone().filter(|_| !start.forks);
        let state = own.as_ref().map(SavedStep::state).transpose()?;
        // A resumed run writes the lines after its checkpoint anew.
        let log = |name: &str| match &state {
            Some(state) => run.cut_log(name, state.logs.get(name).map_or(0, |extent| extent.lines)),
            None => run.create_log(name),
        };
        let [metrics, samples] = LOGS;
        let (metrics, samples) = (log(metrics)?, log(samples)?);
        let written = metrics::read(metrics.path())
            .with_context(|| metrics.path().display().to_string())?
            .lines;
        if let Err(error) = trackers.open(&config.run, run.path(), &config.to_json(), &written) {
            if start.from.is_none() {
                // Only what this process made is there, and the next try is to find the place free.
                drop((metrics, samples));
                let _ = fs::remove_dir_all(run.path());
            }
            return Err(error.into());
        }
        Ok(Self {
            recipe,
            config,
            start,
            health: health(config, &written),
            events: events(config, start, &written)?,
            trackers,
            metrics,
            samples,
            progress: Progress::new(config.train.max_steps, first),
            outcome: Outcome {
                step: first,
                ..Outcome::default()
            },
            saves: Saves {
                timed: run.timed(),
                last: own,
                at: Instant::now(),
            },
        })
    }

    /// All steps that are left, or up to a signal.
    fn go(&mut self, first: usize, stop: &Stop) -> Result<()> {
        if self.start.forks {
            // From here on it goes on without the run that it came from.
            self.save(first)?;
        }
        if self.metrics.is_empty() && self.config.eval.every > 0 {
            self.evaluate_first(first)?;
        }
        self.progress.begin();
        for step in first + 1..=self.config.train.max_steps {
            self.step(step, stop)?;
            if self.outcome.interrupted {
                break;
            }
        }
        Ok(())
    }

    /// The evaluation before the first step that is done, as a line of its own.
    fn evaluate_first(&mut self, step: usize) -> Result<()> {
        let eval = self.evaluate(step).map_err(|error| self.stopped(error, true))?;
        self.outcome.before = eval.as_ref().map(|eval| eval.report.clone());
        let report = StepReport {
            step,
            eval,
            ..StepReport::default()
        };
        self.write(&report, &[])
            .map_err(|error| self.stopped(error, true))?;
        self.outcome.reports.push(report);
        Ok(())
    }

    fn step(&mut self, step: usize, stop: &Stop) -> Result<()> {
        let last = self.config.train.max_steps;
        let (mut report, samples) = match self.recipe.step(step) {
            Ok(done) => done,
            Err(error) => {
                let good = !error.is_of_the_policy();
                let error = anyhow::Error::from(error).context(format!("step {step}"));
                return Err(self.stopped(error, good));
            }
        };
        // The policy has learnt: from here on a failure stops the run after this step.
        self.outcome.step = step;
        self.outcome.interrupted = stop.is_asked() && step < last;
        let every = self.config.eval.every;
        let mut failed = None;
        if every > 0 && (step.is_multiple_of(every) || step == last) {
            match self.evaluate(step) {
                Ok(eval) => {
                    report.eval = eval;
                    self.outcome.after = report.eval.as_ref().map(|eval| eval.report.clone());
                }
                Err(error) => failed = Some(error),
            }
        }
        // What the step was is written in any case.
        let written = self.write(&report, &samples);
        if let Some(error) = failed.or(written.err()) {
            return Err(self.stopped(error, true));
        }
        self.progress.step(step, &report);
        let run = &self.config.run;
        if run.log_completions && step.is_multiple_of(run.logging_steps) && !samples.is_empty() {
            say!("{}", completions(&samples, run.num_completions_to_print));
        }
        self.outcome.reports.push(report);
        let every = self.config.checkpoint.every;
        if every > 0 && step.is_multiple_of(every) || step == last || self.outcome.interrupted {
            self.save(step)
        } else if self.is_time() {
            self.save(step)?;
            self.saves.timed = self.saves.last.clone();
            Ok(self.start.run.note_timed(step)?)
        } else {
            Ok(())
        }
    }

    /// Whether `checkpoint.minutes` have passed since the last checkpoint.
    fn is_time(&self) -> bool {
        let secs = 60.0 * self.config.checkpoint.minutes;
        secs > 0.0 && self.saves.at.elapsed().as_secs_f64() >= secs
    }

    fn write(&mut self, report: &StepReport, samples: &[Sample]) -> Result<()> {
        for sample in samples {
            self.samples.append(sample)?;
        }
        let line = report.metrics().into_line();
        self.metrics.append(&line)?;
        for what in self.health.after(&line) {
            say!("warning: step {}: {what}", report.step);
        }
        self.trackers.append(&line);
        match &mut self.events {
            Some(events) => Ok(events.append(&line)?),
            None => Ok(()),
        }
    }

    fn evaluate(&mut self, step: usize) -> Result<Option<Evaluation>> {
        let (learner, held_out, reward) = self.recipe.parts();
        let run = &self.start.run;
        let name = run.checkpoint(step).display().to_string();
        let rewards = reward.map(|reward| (reward, step));
        let evaluated = held_out.evaluate(&learner.policy, &name, &run.evaluation(), rewards);
        let Some(eval) = evaluated.with_context(|| format!("the evaluation after step {step}"))? else {
            return Ok(None);
        };
        let report = &eval.report;
        let of = |name: &str, of: Estimate| format!("{name} {:.3} ± {:.3}", of.mean, of.stderr);
        let pass_at_1 = report.pass_at_1.map(|found| of("pass@1", found));
        let reward = report.reward.map(|found| of("reward", found));
        let found: Vec<String> = pass_at_1.into_iter().chain(reward).collect();
        self.progress.note(&format!(
            "step {step}: {} on {} held-out problems ({:.1} s)",
            found.join(", "),
            report.problems,
            eval.secs
        ));
        Ok(Some(eval))
    }

    /// Saves the state after `step` steps, and removes the checkpoints that are no longer to be kept.
    fn save(&mut self, step: usize) -> Result<()> {
        self.write_checkpoint(step)?;
        let run = &self.start.run;
        if let Some(old) = self.saves.timed.take().filter(|old| old.step != step) {
            run.remove(&old)?;
        }
        self.saves.at = Instant::now();
        Ok(run.keep_last(self.config.checkpoint.keep_last)?)
    }

    fn write_checkpoint(&mut self, step: usize) -> Result<()> {
        let mut logs = BTreeMap::new();
        for (name, log) in LOGS.iter().zip([&self.metrics, &self.samples]) {
            logs.insert((*name).to_owned(), log.sync()?);
        }
        let state = TrainerState {
            step,
            inputs: self.start.inputs.clone(),
            logs,
        };
        let (learner, ..) = self.recipe.parts();
        let saved = self
            .start
            .run
            .save(&state, |dir| learner.save(dir))
            .with_context(|| format!("the checkpoint of step {step}"))?;
        detail(&format!("saved {}", saved.path.display()));
        self.saves.last = Some(saved);
        Ok(())
    }

    /// Saves the state after the last step that was done, beside what was saved before, and says so with the error that stopped the
    /// run. `good`: whether the error is not that state's own fault.
    fn stopped(&mut self, error: anyhow::Error, good: bool) -> anyhow::Error {
        let step = self.outcome.step;
        let earlier = self.saves.last.take_if(|saved| saved.step < step);
        if let Err(unsaved) = self.write_checkpoint(step) {
            let found = match earlier {
                Some(saved) => format!("the last checkpoint is {}", saved.path.display()),
                None => "there is no checkpoint".to_owned(),
            };
            return error.context(format!(
                "the run stopped, and its last state could not be saved ({found}): {unsaved:#}"
            ));
        }
        let path = self.start.run.path().display();
        let earlier = earlier.map_or(String::new(), |saved| {
            format!(", and an earlier one in {}", saved.path.display())
        });
        error.context(match good {
            true => format!("the run stopped; its last good state, of step {step}, is in {path}"),
            false => {
                format!("the run stopped; the state that led to this, of step {step}, is in {path}{earlier}")
            }
        })
    }
}
