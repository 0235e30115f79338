//! What is said of a run: what a step measured ([`StepReport`]) and sampled ([`Sample`]), a live line while it goes, a table
//! at its end.

mod line;
mod sample;
mod step;
mod table;

use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

pub use line::{count_line, duration, fit, progress_line};
pub use sample::Sample;
pub use step::{Clock, Done, Evaluation, RlReport, RolloutReport, SftReport, StepReport};
pub use table::{columns, grid, summary, thousands};

/// The live line of a run or a job, on standard error: rewritten in place on a terminal, lines that stay elsewhere.
pub struct Progress {
    steps: usize,
    first: usize,
    started: Instant,
    terminal: bool,
    width: usize,
    /// Seconds from the start to the last line of [`Progress::count`].
    shown_at: Cell<f64>,
}

/// Between two lines of a count that is not on a terminal.
const SECS_BETWEEN_LINES: f64 = 5.0;

/// Says something that stays on standard error, in place of a live line if there is one.
pub fn note(text: &str) {
    let clear = if io::stderr().is_terminal() {
        "\r\x1b[2K"
    } else {
        ""
    };
    let _ = writeln!(io::stderr(), "{clear}{text}");
}

impl Progress {
    /// For a run of `steps` steps (or a job of so many parts), of which `done` were done before (in a run that was resumed).
    pub fn new(steps: usize, done: usize) -> Self {
        let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
        Self {
            steps,
            first: done,
            started: Instant::now(),
            terminal: io::stderr().is_terminal(),
            width: columns.unwrap_or(80),
            shown_at: Cell::new(0.0),
        }
    }

    /// Shows a step that was just done; `done` counts all of them.
    pub fn step(&self, done: usize, report: &StepReport) {
        let secs = self.started.elapsed().as_secs_f64();
        let line = progress_line(done, self.steps, done.saturating_sub(self.first), secs, report);
        self.show(&line);
    }

    /// Shows how far a job is that counts `what`: `done` of them, with a `note`. Where lines stay, one every few seconds.
    pub fn count(&self, done: usize, what: &str, note: &str) {
        let secs = self.started.elapsed().as_secs_f64();
        let due = self.terminal || done == self.steps || secs >= self.shown_at.get() + SECS_BETWEEN_LINES;
        if due {
            self.shown_at.set(secs);
            self.show(&count_line(done, self.steps, what, note, secs));
        }
    }

    fn show(&self, line: &str) {
        // Nobody is to lose a run because nobody reads its progress.
        let _ = if self.terminal {
            write!(
                io::stderr(),
                "\r\x1b[2K{}",
                fit(line, self.width.saturating_sub(1))
            )
        } else {
            writeln!(io::stderr(), "{line}")
        };
    }

    /// Says something that stays, such as an evaluation or a warning.
    pub fn note(&self, text: &str) {
        note(text);
    }

    /// Ends the live line.
    pub fn finish(&self) {
        if self.terminal {
            let _ = writeln!(io::stderr());
        }
    }
}
