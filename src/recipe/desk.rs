//! What the one rank that writes has on its desk: the run's logs, and what is said of it.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

use super::resume::Start;
use crate::config::Config;
use crate::console::say;
use crate::report::{Health, Progress, Sample, StepReport};
use crate::run::log::{Extent, JsonLog};
use crate::run::metrics::{self, Line};
use crate::run::{EventLog, LOGS, ReportTo, SavedStep, TENSORBOARD, Trackers};

/// The logs of a run on its way.
pub(super) struct Desk {
    metrics: JsonLog,
    samples: JsonLog,
    /// For TensorBoard, where it is asked for.
    events: Option<EventLog>,
    /// wandb and trackio, where they are asked for.
    trackers: Trackers,
    health: Health,
    pub progress: Progress,
}

impl Desk {
    /// Of a run that goes on from its `own` checkpoint, or is new.
    ///
    /// # Errors
    /// A file cannot be read or written, or a tracker refuses the run.
    pub fn new(
        config: &Config,
        start: &Start,
        own: Option<&SavedStep>,
        mut trackers: Trackers,
    ) -> Result<Self> {
        let run = &start.run;
        let state = own.map(SavedStep::state).transpose()?;
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
        let first = start.from.as_ref().map_or(0, |saved| saved.step);
        Ok(Self {
            health: health(config, &written),
            events: events(config, start, &written)?,
            trackers,
            metrics,
            samples,
            progress: Progress::new(config.train.max_steps, first),
        })
    }

    /// Whether nothing was written yet.
    pub fn is_new(&self) -> bool {
        self.metrics.is_empty()
    }

    /// Writes what a step was.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&mut self, report: &StepReport, samples: &[Sample]) -> Result<()> {
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

    /// Ends what is said of the run; `code` is the program's exit code.
    pub fn finish(&mut self, code: u8) {
        self.progress.finish();
        self.trackers.finish(code);
    }

    /// How far each log goes; all of it is on disk then.
    ///
    /// # Errors
    /// The system refuses.
    pub fn logs(&mut self) -> Result<BTreeMap<String, Extent>> {
        let mut logs = BTreeMap::new();
        for (name, log) in LOGS.iter().zip([&mut self.metrics, &mut self.samples]) {
            logs.insert((*name).to_owned(), log.sync()?);
        }
        Ok(logs)
    }
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
