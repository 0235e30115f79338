//! What people see: lines on standard error that stay, a live line below them on a terminal, and texts of others that do a terminal no
//! harm.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write as _};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// All live lines of the program, so that what stays is written above them.
static LIVE: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Whether a line can be rewritten in place: on a terminal that is not dumb, on which nothing that is drawn would be seen at all.
fn is_live() -> bool {
    io::stderr().is_terminal() && !LIVE.is_hidden()
}

/// Whether only what went wrong is said.
static QUIET: AtomicBool = AtomicBool::new(false);

/// From here on, how far the program is is not said.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// The number of this process among several that are one program, and 1; 0 where it may speak: the first speaks for all.
static MUTE: AtomicUsize = AtomicUsize::new(0);

/// From here on, this process, which is number `rank` of several that are one program, says nothing but its own errors.
pub fn be_mute(rank: usize) {
    MUTE.store(rank + 1, Ordering::Relaxed);
}

/// Whether this process leaves speaking to another.
pub fn is_mute() -> bool {
    MUTE.load(Ordering::Relaxed) > 0
}

/// Says what ends the program, whoever may speak.
pub fn error(text: &str) {
    match MUTE.load(Ordering::Relaxed) {
        0 => write_line(text),
        mute => write_line(&format!("rank {}: {text}", mute - 1)),
    }
}

/// Says how far the program is, above a live line if there is one; nothing where it is to be quiet.
pub fn tell(text: &str) {
    if !QUIET.load(Ordering::Relaxed) {
        note(text);
    }
}

/// Says something that stays, above a live line if there is one, with what would move a terminal spelled out ([`harmless`]). Nobody is
/// to lose a run because nobody reads this.
pub fn note(text: &str) {
    if !is_mute() {
        write_line(text);
    }
}

fn write_line(text: &str) {
    let text = harmless(text);
    let _ = match is_live() {
        true => LIVE.println(text),
        false => writeln!(io::stderr(), "{text}"),
    };
}

/// [`note`] of a format and its arguments.
macro_rules! say {
    ($($said:tt)*) => { $crate::console::note(&format!($($said)*)) };
}
pub(crate) use say;

/// A text with its control characters but tabs and line ends spelled out, and those that turn the direction of writing: a problem's
/// name, an answer or a file's name may hold what rewrites the screen or asks the terminal to type.
pub fn harmless(text: &str) -> Cow<'_, str> {
    let harms = |c: char| match c {
        '\n' | '\t' => false,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    };
    if !text.contains(harms) {
        return Cow::Borrowed(text);
    }
    let spelled = text.chars().map(|c| match harms(c) {
        true => c.escape_unicode().to_string(),
        false => c.to_string(),
    });
    Cow::Owned(spelled.collect())
}

/// A text for standard output: [`harmless`] on a terminal, and as it is for a program or a file.
pub fn for_stdout(text: &str) -> Cow<'_, str> {
    match io::stdout().is_terminal() {
        true => harmless(text),
        false => Cow::Borrowed(text),
    }
}

/// A line that is rewritten in place on a terminal; elsewhere, lines that stay.
pub struct LiveLine(Option<ProgressBar>);

impl LiveLine {
    /// An empty line.
    pub fn new() -> Self {
        Self(
            (is_live() && !is_mute() && !QUIET.load(Ordering::Relaxed)).then(|| {
                let style = ProgressStyle::with_template("{wide_msg}").expect("a template of one part");
                LIVE.add(ProgressBar::new_spinner().with_style(style))
            }),
        )
    }

    /// Whether it is rewritten in place.
    pub fn is_live(&self) -> bool {
        self.0.is_some()
    }

    /// Shows a text, cut to the terminal's width.
    pub fn show(&self, text: &str) {
        match &self.0 {
            Some(bar) => {
                bar.set_message(harmless(text).into_owned());
                bar.tick();
            }
            None => tell(text),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_terminal_is_spelled_out() {
        assert_eq!(harmless("a\tb\né ▁"), "a\tb\né ▁");
        let evil = "id\u{1b}]0;x\u{7}\u{1b}[2J\r\u{9b}1m\u{202e}\u{7f}";
        assert_eq!(
            harmless(evil),
            "id\\u{1b}]0;x\\u{7}\\u{1b}[2J\\u{d}\\u{9b}1m\\u{202e}\\u{7f}"
        );
    }
}
