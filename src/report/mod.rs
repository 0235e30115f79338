//! What is said of a run: what a step measured ([`StepReport`]) and sampled ([`Sample`]), a live line while it goes, a table
//! at its end.

mod completions;
mod health;
mod line;
mod sample;
mod step;
mod table;

use std::cell::Cell;
use std::time::Instant;

use crate::console::{Level, LiveLine, detail, says, tell};
pub use completions::completions;
pub use health::Health;
pub use line::{count_line, duration, progress_line};
pub use sample::Sample;
pub use step::{
    Discarded, Done, Evaluation, RestReport, RlReport, RolloutReport, SftReport, StepReport, Stopwatch,
    Taught,
};
use table::details;
pub use table::{columns, grid, paired, summary};

/// The live line of a run or a job, on standard error: rewritten in place on a terminal, lines that stay elsewhere.
pub struct Progress {
    line: LiveLine,
    steps: usize,
    first: usize,
    started: Instant,
    /// Seconds from the start to the last line of [`Progress::count`].
    shown_at: Cell<f64>,
}

/// Between two lines of a count that is not on a terminal.
const SECS_BETWEEN_LINES: f64 = 5.0;

impl Progress {
    /// For a run of `steps` steps (or a job of so many parts), of which `done` were done before (in a run that was resumed).
    pub fn new(steps: usize, done: usize) -> Self {
        Self {
            line: LiveLine::new(),
            steps,
            first: done,
            started: Instant::now(),
            shown_at: Cell::new(0.0),
        }
    }

    /// Shows that the first step is being done, where a line is rewritten in place: it may take long.
    pub fn begin(&self) {
        if self.line.is_live() {
            self.line.show(&format!("step {}/{}", self.first, self.steps));
        }
    }

    /// Shows a step that was just done; `done` counts all of them.
    pub fn step(&self, done: usize, report: &StepReport) {
        let secs = self.started.elapsed().as_secs_f64();
        let timed = done.saturating_sub(self.first);
        let line = |width| progress_line(done, self.steps, timed, secs, report, width);
        if self.line.is_live() {
            // What a line that stays would say.
            detail(&line(None));
        }
        self.line.show(&line(self.line.width()));
        if says(Level::Verbose) {
            detail(&details(report));
        }
    }

    /// Shows how far a job is that counts `what`: `done` of them, with a `note` on it. Where lines stay, one every few seconds.
    pub fn count(&self, done: usize, what: &str, note: &str) {
        let secs = self.started.elapsed().as_secs_f64();
        let due = done == self.steps || secs >= self.shown_at.get() + SECS_BETWEEN_LINES;
        if due || self.line.is_live() {
            self.shown_at.set(secs);
            self.line.show(&count_line(done, self.steps, what, note, secs));
        }
    }

    /// Says something that stays, such as an evaluation.
    pub fn note(&self, text: &str) {
        tell(text);
    }

    /// Ends the live line.
    pub fn finish(&self) {
        self.line.finish();
    }
}
