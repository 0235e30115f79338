//! What every training run has in common: steps, metrics, evaluations, checkpoints, signals and resuming.

use std::time::Instant;

use anyhow::{Context, Result, anyhow};

use super::Recipe;
use super::desk::Desk;
use super::resume::Start;
use crate::config::Config;
use crate::console::{detail, say};
use crate::eval::report::SuiteReport;
use crate::eval::stats::Estimate;
use crate::ranks::{Failed, Ranks};
use crate::report::{Evaluation, Sample, StepReport, Stopwatch, completions};
use crate::run::{SavedStep, Stop, Trackers, TrainerState};

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

/// A run on its way, on one of its ranks.
struct Drive<'a> {
    recipe: &'a mut dyn Recipe,
    config: &'a Config,
    start: &'a Start,
    ranks: Ranks,
    /// What is written; by the first rank alone.
    desk: Option<Desk>,
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

/// Runs a recipe to its last step, or to a signal, from where it starts. Ranks do so side by side: what one of them cannot do stops all of
/// them at the same place. Its numbers go to `trackers`, too, which the first rank has loaded.
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
    let ranks = recipe.parts().0.ranks().clone();
    if let Some(saved) = &start.from {
        together(&ranks, recipe.parts().0.restore(&saved.path))?;
    }
    let mut drive = Drive::new(recipe, config, start, trackers, ranks)?;
    let ended = drive.go(first, stop);
    let code = match (&ended, drive.outcome.interrupted) {
        (Err(_), _) => 1,
        (Ok(()), true) => stop.exit_code(),
        (Ok(()), false) => 0,
    };
    if let Some(desk) = &mut drive.desk {
        desk.finish(code);
    }
    ended?;
    drive.outcome.secs = clock.lap();
    Ok(drive.outcome)
}

/// [`Ranks::agree`] of whatever stops a run.
///
/// # Errors
/// This rank's, or another's.
fn together<T>(ranks: &Ranks, own: Result<T>) -> Result<T> {
    let shown = own.map_err(Shown);
    ranks.agree(shown).map_err(|failed| match failed {
        Failed::Here(Shown(error)) => error,
        Failed::Elsewhere { rank, said } => anyhow!("rank {rank}: {said}"),
    })
}

/// An error with its causes.
struct Shown(anyhow::Error);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl<'a> Drive<'a> {
    fn new(
        recipe: &'a mut dyn Recipe,
        config: &'a Config,
        start: &'a Start,
        trackers: Trackers,
        ranks: Ranks,
    ) -> Result<Self> {
        let first = start.from.as_ref().map_or(0, |saved| saved.step);
        let own = start.from.clone().filter(|_| !start.forks);
        let desk = ranks
            .is_first()
            .then(|| Desk::new(config, start, own.as_ref(), trackers));
        Ok(Self {
            recipe,
            config,
            start,
            desk: together(&ranks, desk.transpose())?,
            ranks,
            outcome: Outcome {
                step: first,
                ..Outcome::default()
            },
            saves: Saves {
                timed: start.run.timed(),
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
        let is_new = self.desk.as_ref().map(Desk::is_new);
        if self.ranks.broadcast(is_new) && self.config.eval.every > 0 {
            self.evaluate_first(first)?;
        }
        if let Some(desk) = &mut self.desk {
            desk.progress.begin();
        }
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
        let written = self.write(&report, &[]);
        together(&self.ranks, written).map_err(|error| self.stopped(error, true))?;
        self.outcome.reports.push(report);
        Ok(())
    }

    fn step(&mut self, step: usize, stop: &Stop) -> Result<()> {
        let last = self.config.train.max_steps;
        // What was said before, in a save or at a start, is none of the step's.
        self.ranks.take_traffic();
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
        self.outcome.interrupted = self.is_to_stop(stop) && step < last;
        report.traffic = self.ranks.take_traffic();
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
        if let Err(error) = together(&self.ranks, failed.map_or(written, Err)) {
            return Err(self.stopped(error, true));
        }
        if let Some(desk) = &mut self.desk {
            desk.progress.step(step, &report);
            let run = &self.config.run;
            if run.log_completions && step.is_multiple_of(run.logging_steps) && !samples.is_empty() {
                say!("{}", completions(&samples, run.num_completions_to_print));
            }
        }
        self.outcome.reports.push(report);
        let every = self.config.checkpoint.every;
        if every > 0 && step.is_multiple_of(every) || step == last || self.outcome.interrupted {
            self.save(step)
        } else if self.is_time() {
            self.save(step)?;
            self.saves.timed = self.saves.last.clone();
            let noted = match self.desk {
                Some(_) => self.start.run.note_timed(step),
                None => Ok(()),
            };
            together(&self.ranks, noted.map_err(Into::into))
        } else {
            Ok(())
        }
    }

    /// Whether a signal asked any rank to stop. All of them end as that signal has them end.
    fn is_to_stop(&self, stop: &Stop) -> bool {
        let asked = self.ranks.all_gather(stop.asked_by());
        let signal = asked.into_iter().flatten().next();
        signal.into_iter().for_each(|signal| stop.ask(signal));
        signal.is_some()
    }

    /// Whether `checkpoint.minutes` have passed since the last checkpoint, by the first rank's clock.
    fn is_time(&self) -> bool {
        let secs = 60.0 * self.config.checkpoint.minutes;
        secs > 0.0 && {
            let passed = self.saves.at.elapsed().as_secs_f64() >= secs;
            self.ranks.broadcast(Some(passed))
        }
    }

    fn write(&mut self, report: &StepReport, samples: &[Sample]) -> Result<()> {
        match &mut self.desk {
            Some(desk) => desk.write(report, samples),
            None => Ok(()),
        }
    }

    fn evaluate(&mut self, step: usize) -> Result<Option<Evaluation>> {
        let (learner, held_out, reward) = self.recipe.parts();
        let run = &self.start.run;
        let name = run.checkpoint(step).display().to_string();
        let rewards = reward.map(|reward| (reward, step));
        let evaluated = held_out.evaluate(&learner.policy, &name, &run.evaluation(), &self.ranks, rewards);
        let evaluated = together(&self.ranks, evaluated.map_err(Into::into));
        let evaluated = evaluated.with_context(|| format!("the evaluation after step {step}"))?;
        let (Some(eval), Some(desk)) = (&evaluated, &self.desk) else {
            return Ok(evaluated);
        };
        let report = &eval.report;
        let of = |name: &str, of: Estimate| format!("{name} {:.3} ± {:.3}", of.mean, of.stderr);
        let pass_at_1 = report.pass_at_1.map(|found| of("pass@1", found));
        let reward = report.reward.map(|found| of("reward", found));
        let found: Vec<String> = pass_at_1.into_iter().chain(reward).collect();
        desk.progress.note(&format!(
            "step {step}: {} on {} held-out problems ({:.1} s)",
            found.join(", "),
            report.problems,
            eval.secs
        ));
        Ok(evaluated)
    }

    /// Saves the state after `step` steps, and removes the checkpoints that are no longer to be kept.
    fn save(&mut self, step: usize) -> Result<()> {
        self.write_checkpoint(step)?;
        let old = self.saves.timed.take().filter(|old| old.step != step);
        let removed = match self.desk {
            Some(_) => {
                let run = &self.start.run;
                let removed = old.map_or(Ok(()), |old| run.remove(&old));
                removed.and_then(|()| run.keep_last(self.config.checkpoint.keep_last))
            }
            None => Ok(()),
        };
        self.saves.at = Instant::now();
        together(&self.ranks, removed.map_err(Into::into))
    }

    /// All ranks give what they have of the state, and the first writes it.
    fn write_checkpoint(&mut self, step: usize) -> Result<()> {
        let (learner, ..) = self.recipe.parts();
        let whole = learner
            .whole()
            .with_context(|| format!("the checkpoint of step {step}"))?;
        let written = match (&mut self.desk, whole) {
            (Some(desk), Some(whole)) => desk.logs().and_then(|logs| {
                let state = TrainerState {
                    step,
                    inputs: self.start.inputs.clone(),
                    logs,
                };
                let run = &self.start.run;
                let saved = run.save(&state, |dir| learner.save(dir, &whole))?;
                detail(&format!("saved {}", saved.path.display()));
                Ok(())
            }),
            _ => Ok(()),
        };
        together(&self.ranks, written).with_context(|| format!("the checkpoint of step {step}"))?;
        self.saves.last = Some(SavedStep {
            step,
            path: self.start.run.checkpoint(step),
        });
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
