//! What every training run has in common: steps, metrics, evaluations, checkpoints, signals and resuming.

use anyhow::{Context, Result};

use super::Recipe;
use crate::config::Config;
use crate::eval::report::SuiteReport;
use crate::report::{Evaluation, Progress, Sample, StepReport, Stopwatch};
use crate::run::log::JsonLog;
use crate::run::{RunDir, SavedStep, Stop};

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
    run: &'a RunDir,
    lines: JsonLog,
    samples: JsonLog,
    progress: Progress,
    outcome: Outcome,
}

/// Runs a recipe to its last step, or to a signal, from the start or from a checkpoint of the same run.
///
/// # Errors
/// Whatever stops the recipe: the state of the last whole step is saved first.
pub fn drive(
    recipe: &mut dyn Recipe,
    config: &Config,
    run: &RunDir,
    from: Option<&SavedStep>,
    stop: &Stop,
) -> Result<Outcome> {
    let mut clock = Stopwatch::start();
    let first = from.map_or(0, |saved| saved.step);
    if let Some(saved) = from {
        recipe.parts().0.restore(&saved.path)?;
    }
    // A resumed run writes the lines after its checkpoint anew.
    let kept = if from.is_some() { first + 1 } else { 0 };
    let last = config.train.max_steps;
    let mut drive = Drive {
        recipe,
        config,
        run,
        lines: run.metrics(kept)?,
        samples: run.samples(kept)?,
        progress: Progress::new(last, first),
        outcome: Outcome {
            step: first,
            ..Outcome::default()
        },
    };
    if from.is_none() && config.eval.every > 0 {
        let eval = drive.evaluate(0)?;
        drive.outcome.before = eval.as_ref().map(|eval| eval.report.clone());
        let report = StepReport {
            eval,
            ..StepReport::default()
        };
        drive.write(&report, &[])?;
        drive.outcome.reports.push(report);
    }
    for step in first + 1..=last {
        drive.step(step, stop)?;
        if drive.outcome.interrupted {
            break;
        }
    }
    drive.progress.finish();
    drive.outcome.secs = clock.lap();
    Ok(drive.outcome)
}

impl Drive<'_> {
    fn step(&mut self, step: usize, stop: &Stop) -> Result<()> {
        let (every, last) = (self.config.eval.every, self.config.train.max_steps);
        let (mut report, samples) = match self.recipe.step(step) {
            Ok(done) => done,
            Err(error) => {
                return Err(self.stopped(anyhow::Error::from(error).context(format!("step {step}"))));
            }
        };
        self.outcome.interrupted = stop.is_asked() && step < last;
        if every > 0 && (step.is_multiple_of(every) || step == last) {
            report.eval = self.evaluate(step)?;
            self.outcome.after = report.eval.as_ref().map(|eval| eval.report.clone());
        }
        self.write(&report, &samples)?;
        self.progress.step(step, &report);
        self.outcome.reports.push(report);
        self.outcome.step = step;
        let every = self.config.checkpoint.every;
        let due = every > 0 && step.is_multiple_of(every);
        if due || step == last || self.outcome.interrupted {
            self.save(step)?;
        }
        Ok(())
    }

    fn write(&mut self, report: &StepReport, samples: &[Sample]) -> Result<()> {
        for sample in samples {
            self.samples.append(sample)?;
        }
        Ok(self.lines.append(&report.metrics().into_line())?)
    }

    fn evaluate(&mut self, step: usize) -> Result<Option<Evaluation>> {
        let (learner, held_out) = self.recipe.parts();
        let Some(eval) = held_out.evaluate(&learner.policy)? else {
            return Ok(None);
        };
        let report = &eval.report;
        self.progress.note(&format!(
            "step {step}: pass@1 {:.3} ± {:.3} on {} held-out problems ({:.1} s)",
            report.pass_at_1.mean, report.pass_at_1.stderr, report.problems, eval.secs
        ));
        Ok(Some(eval))
    }

    fn save(&mut self, step: usize) -> Result<()> {
        let (learner, _) = self.recipe.parts();
        self.run
            .save(step, |dir| learner.save(dir))
            .with_context(|| format!("the checkpoint of step {step}"))?;
        Ok(self.run.keep_last(self.config.checkpoint.keep_last)?)
    }

    /// Saves the last good state, and says so with the error that stopped the run.
    fn stopped(&mut self, error: anyhow::Error) -> anyhow::Error {
        let step = self.outcome.step;
        match self.save(step) {
            Ok(()) => error.context(format!(
                "the run stopped; its last good state, of step {step}, is in {}",
                self.run.path().display()
            )),
            Err(unsaved) => error.context(format!(
                "the run stopped, and its last state could not be saved: {unsaved:#}"
            )),
        }
    }
}
