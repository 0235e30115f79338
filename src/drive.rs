//! What every training run has in common: steps, metrics, evaluations, checkpoints, Ctrl-C and resuming.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::config::Config;
use crate::eval::Evaluated;
use crate::eval::report::Report;
use crate::metrics::{Metrics, Sample};
use crate::report::Progress;
use crate::rundir::{RunDir, SavedStep};
use crate::stop::Stop;

/// A run that goes forward step by step.
pub trait Trainer {
    /// Does step `step` (from 1) and says what it measured and sampled.
    ///
    /// # Errors
    /// Whatever stops the run. The state must then still be that of the last whole step.
    fn step(&mut self, step: usize, metrics: &mut Metrics) -> Result<Vec<Sample>>;

    /// Evaluates the state as it is, if the run has anything to evaluate on.
    ///
    /// # Errors
    /// What the evaluation fails on.
    fn evaluate(&self) -> Result<Option<Evaluated>>;

    /// Writes the state into the directory `dir`.
    ///
    /// # Errors
    /// What could not be written.
    fn save(&self, dir: &Path) -> Result<()>;

    /// Reads what [`Trainer::save`] wrote.
    ///
    /// # Errors
    /// What could not be read.
    fn restore(&mut self, dir: &Path) -> Result<()>;
}

/// How a run went.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The last step done.
    pub step: usize,
    /// The evaluation before the first step, if this process made it.
    pub before: Option<Report>,
    /// The last evaluation after a step.
    pub after: Option<Report>,
    /// The lines that this process wrote to `metrics.jsonl`.
    pub metrics: Vec<Metrics>,
    /// Whether Ctrl-C ended it.
    pub interrupted: bool,
    /// Seconds of this process.
    pub secs: f64,
}

/// Runs a trainer to its last step, or to Ctrl-C, from the start or from a checkpoint of the same run.
///
/// # Errors
/// Whatever stops the trainer: the state of the last whole step is saved first.
pub fn drive(
    trainer: &mut dyn Trainer,
    config: &Config,
    run: &RunDir,
    from: Option<&SavedStep>,
    stop: &Stop,
) -> Result<Outcome> {
    let started = Instant::now();
    let first = from.map_or(0, |saved| saved.step);
    if let Some(saved) = from {
        trainer.restore(&saved.path)?;
    }
    let mut outcome = Outcome {
        step: first,
        ..Outcome::default()
    };
    // A resumed run writes the lines after its checkpoint anew.
    let kept = if from.is_some() { first + 1 } else { 0 };
    let mut lines = run.metrics(kept)?;
    let mut samples = run.samples(kept)?;
    let every = config.eval.every;
    let last = config.train.max_steps;
    let progress = Progress::new(last, first);

    if from.is_none() && every > 0 {
        let mut metrics = Metrics::new(0);
        outcome.before = evaluate(trainer, &mut metrics, &progress)?;
        lines.write(&metrics.to_json())?;
        outcome.metrics.push(metrics);
    }
    for step in first + 1..=last {
        let mut metrics = Metrics::new(step);
        let sampled = match trainer.step(step, &mut metrics) {
            Ok(sampled) => sampled,
            Err(error) => {
                let saved = save(trainer, config, run, outcome.step);
                return Err(match saved {
                    Ok(()) => error.context(format!(
                        "the run stopped; its last good state, of step {}, is in {}",
                        outcome.step,
                        run.path().display()
                    )),
                    Err(unsaved) => error.context(format!(
                        "the run stopped, and its last state could not be saved: {unsaved:#}"
                    )),
                });
            }
        };
        outcome.interrupted = stop.is_asked() && step < last;
        if every > 0 && (step % every == 0 || step == last) {
            outcome.after = evaluate(trainer, &mut metrics, &progress)?;
        }
        for sample in &sampled {
            samples.write(sample)?;
        }
        lines.write(&metrics.to_json())?;
        progress.step(step, &metrics);
        outcome.metrics.push(metrics);
        outcome.step = step;
        let due = config.checkpoint.every > 0 && step % config.checkpoint.every == 0;
        if due || step == last || outcome.interrupted {
            save(trainer, config, run, step)?;
        }
        if outcome.interrupted {
            break;
        }
    }
    progress.finish();
    outcome.secs = started.elapsed().as_secs_f64();
    Ok(outcome)
}

fn evaluate(trainer: &dyn Trainer, metrics: &mut Metrics, progress: &Progress) -> Result<Option<Report>> {
    let Some(Evaluated { report, secs, .. }) = trainer.evaluate()? else {
        return Ok(None);
    };
    progress.note(&format!(
        "step {}: pass@1 {:.3} ± {:.3} on {} held-out problems ({:.1} s)",
        metrics.step, report.pass_at_1.mean, report.pass_at_1.stderr, report.problems, secs
    ));
    metrics.put("eval/pass@1", report.pass_at_1.mean);
    metrics.put("eval/pass@1_stderr", report.pass_at_1.stderr);
    if let (Some(y), Some(y_n)) = (report.candidates, report.integrated) {
        metrics.put("eval/candidates_pass@1", y.mean);
        metrics.put("eval/integrated_pass@1", y_n.mean);
    }
    metrics.put("eval/length_mean", report.length_mean);
    metrics.put("eval/truncated_frac", report.truncated_frac);
    metrics.put("time/eval_secs", secs);
    Ok(Some(report))
}

fn save(trainer: &dyn Trainer, config: &Config, run: &RunDir, step: usize) -> Result<()> {
    run.save(step, |dir| trainer.save(dir))
        .with_context(|| format!("the checkpoint of step {step}"))?;
    Ok(run.keep_last(config.checkpoint.keep_last)?)
}
