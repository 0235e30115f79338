//! Standard error: lines that stay, and a live line below them on a terminal.

use std::io::{self, IsTerminal, Write as _};
use std::sync::LazyLock;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// All live lines of the program, so that what stays is written above them.
static LIVE: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Says something that stays, above a live line if there is one. Nobody is to lose a run because nobody reads this.
pub fn note(text: &str) {
    let _ = match io::stderr().is_terminal() {
        true => LIVE.println(text),
        false => writeln!(io::stderr(), "{text}"),
    };
}

/// A line that is rewritten in place on a terminal; elsewhere, lines that stay.
pub struct LiveLine(Option<ProgressBar>);

impl LiveLine {
    /// An empty line.
    pub fn new() -> Self {
        Self(io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{wide_msg}").expect("a template of one part");
            LIVE.add(ProgressBar::new_spinner().with_style(style))
        }))
    }

    /// Whether it is rewritten in place.
    pub fn is_live(&self) -> bool {
        self.0.is_some()
    }

    /// Shows a text, cut to the terminal's width.
    pub fn show(&self, text: &str) {
        match &self.0 {
            Some(bar) => {
                bar.set_message(text.to_owned());
                bar.tick();
            }
            None => note(text),
        }
    }

    /// Ends the line; it stays as it is.
    pub fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.abandon();
        }
    }
}

impl Default for LiveLine {
    fn default() -> Self {
        Self::new()
    }
}
