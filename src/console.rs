//! What people see: lines on standard error that stay, a live line below them on a terminal, and texts of others that do a terminal no
//! harm.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write as _};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// All live lines of the program, so that what stays is written above them.
static LIVE: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Whether a line can be rewritten in place: on a terminal that is not dumb, on which nothing that is drawn would be seen at all.
fn is_live() -> bool {
    io::stderr().is_terminal() && !LIVE.is_hidden()
}

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What goes wrong, warnings, and what was asked for.
    Quiet,
    /// How far the program is, too.
    Usual,
    /// And what a step did.
    Verbose,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Usual as u8);

/// From here on, so much is said.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Whether what is of a level is said.
pub fn says(level: Level) -> bool {
    level as u8 <= LEVEL.load(Ordering::Relaxed)
}

/// Whether what is said has colours, where the user said so.
static COLOUR: Mutex<Option<bool>> = Mutex::new(None);

/// From here on it has, or has none; without this a terminal and the environment decide.
pub fn set_colour(colour: Option<bool>) {
    *COLOUR.lock().unwrap_or_else(PoisonError::into_inner) = colour;
}

/// Whether standard error has colours.
fn has_colours() -> bool {
    let asked = *COLOUR.lock().unwrap_or_else(PoisonError::into_inner);
    asked.unwrap_or_else(|| wants_colours(io::stderr().is_terminal(), |name| std::env::var(name).ok()))
}

/// By the environment, as no-color.org and bixense.com/clicolors have it, and as clap does it for its own messages.
fn wants_colours(is_terminal: bool, env: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    let is = |name: &str, zero: bool| set(name).is_some_and(|value| (value == "0") == zero);
    if set("NO_COLOR").is_some() {
        false
    } else if is("CLICOLOR_FORCE", false) {
        true
    } else if is("CLICOLOR", true) {
        false
    } else {
        is_terminal && set("TERM").map_or(cfg!(windows), |term| term != "dumb")
    }
}

/// Words at the beginning of what is said, and their colours.
const LABELS: [(&str, &str); 3] = [
    ("error:", "\u{1b}[1;31m"),
    ("warning:", "\u{1b}[1;33m"),
    ("note:", "\u{1b}[1;36m"),
];

/// A text with its label in colour.
fn coloured(text: Cow<'_, str>) -> Cow<'_, str> {
    match LABELS.iter().find(|(label, _)| text.starts_with(label)) {
        Some((label, colour)) => format!("{colour}{label}\u{1b}[0m{}", &text[label.len()..]).into(),
        None => text,
    }
}

/// How many columns the terminal behind standard error has, if it is one.
pub fn width() -> Option<usize> {
    let (_, columns) = ::console::Term::stderr().size_checked()?;
    io::stderr().is_terminal().then_some(usize::from(columns))
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
    if says(Level::Usual) {
        note(text);
    }
}

/// Says what only those hear who asked for more.
pub fn detail(text: &str) {
    if says(Level::Verbose) {
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
    let text = match has_colours() {
        true => coloured(harmless(text)),
        false => harmless(text),
    };
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
        Self((is_live() && !is_mute() && says(Level::Usual)).then(|| {
            let style = ProgressStyle::with_template("{wide_msg}").expect("a template of one part");
            LIVE.add(ProgressBar::new_spinner().with_style(style))
        }))
    }

    /// Whether it is rewritten in place.
    pub fn is_live(&self) -> bool {
        self.0.is_some()
    }

    /// Columns that a text may have; none where it stays.
    pub fn width(&self) -> Option<usize> {
        self.0.as_ref().and_then(|_| width())
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

    #[test]
    fn colours_are_as_the_environment_has_it() {
        let wants = |is_terminal, env: &[(&str, &str)]| {
            wants_colours(is_terminal, |name| {
                let found = env.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let term = ("TERM", "xterm");
        assert!(wants(true, &[term]) && !wants(false, &[term]));
        assert!(!wants(true, &[("TERM", "dumb")]));
        assert!(!wants(true, &[term, ("NO_COLOR", "1")]) && wants(true, &[term, ("NO_COLOR", "")]));
        assert!(!wants(true, &[term, ("CLICOLOR", "0")]) && wants(true, &[term, ("CLICOLOR", "1")]));
        assert!(wants(false, &[("CLICOLOR_FORCE", "1")]) && !wants(false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!wants(true, &[term, ("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    }

    #[test]
    fn a_label_is_coloured_and_nothing_else() {
        assert_eq!(
            coloured("error: no error: x".into()),
            "\u{1b}[1;31merror:\u{1b}[0m no error: x"
        );
        assert_eq!(coloured("an error: x".into()), "an error: x");
    }
}
