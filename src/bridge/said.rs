//! What a program says on its standard error: lines to show, and its last words for when it fails.
//!
//! A carriage return ends a line as well, but one that is written over: of a progress bar a state is shown now and then, and
//! the last one. Nothing grows with how much is said.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes of the last words.
const KEPT: usize = 2048;

/// Lines of the last words.
const LINES: usize = 10;

/// Bytes of a line that are shown.
const SHOWN: usize = 2000;

/// Between two states of a line that is written over.
const BETWEEN: Duration = Duration::from_secs(5);

/// What was said so far.
#[derive(Debug, Default)]
pub struct Said {
    /// The line that is being said, its first bytes.
    line: Vec<u8>,
    /// Whether it is longer than that.
    longer: bool,
    /// The line before it, which is to be written over and has not been shown.
    held: Option<String>,
    /// Whether the last byte was a carriage return.
    returned: bool,
    /// When a state of such a line was last shown.
    shown_at: Option<Instant>,
    last: VecDeque<u8>,
}

impl Said {
    /// Takes what was said now; gives the lines that are to be shown.
    pub fn take(&mut self, bytes: &[u8], now: Instant) -> Vec<String> {
        let new = &bytes[bytes.len().saturating_sub(KEPT)..];
        let over = (self.last.len() + new.len()).saturating_sub(KEPT);
        self.last.drain(..over);
        self.last.extend(new);
        let mut shown = Vec::new();
        for &byte in bytes {
            match byte {
                b'\n' => shown.extend(self.end_line()),
                b'\r' => shown.extend(self.return_line(now)),
                _ if self.line.len() < SHOWN => self.line.push(byte),
                _ => self.longer = true,
            }
            self.returned = byte == b'\r';
        }
        shown
    }

    /// Nothing more will be said; gives the line that has no end.
    pub fn end(&mut self) -> Option<String> {
        if self.line.is_empty() {
            return self.held.take();
        }
        self.end_line()
    }

    /// The last lines, without control characters.
    pub fn last_words(&self) -> String {
        let bytes: Vec<u8> = self.last.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        // Of what was written over, what stands there.
        let standing = |line: &str| line.rsplit('\r').map(plain).find(|text| !text.trim().is_empty());
        let lines: Vec<String> = text.split('\n').filter_map(standing).collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    fn end_line(&mut self) -> Option<String> {
        let (held, line) = (self.held.take(), self.taken());
        match line.is_empty() && self.returned {
            true => held,
            false => Some(line),
        }
    }

    fn return_line(&mut self, now: Instant) -> Option<String> {
        if self.line.is_empty() {
            return None;
        }
        let line = self.taken();
        if self.shown_at.is_none_or(|before| now >= before + BETWEEN) {
            self.shown_at = Some(now);
            self.held = None;
            return Some(line);
        }
        self.held = Some(line);
        None
    }

    /// The line so far, as text.
    fn taken(&mut self) -> String {
        let mut text = plain(&String::from_utf8_lossy(&self.line));
        if std::mem::take(&mut self.longer) {
            text += " …";
        }
        self.line.clear();
        text
    }
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_shown_whole_and_the_last_ones_kept() {
        let (mut said, now) = (Said::default(), Instant::now());
        assert!(said.take(b"one\ntw", now).iter().eq(&["one"]));
        assert!(
            said.take(b"o\r\n\nthree\n\x1b[1mend", now)
                .iter()
                .eq(&["two", "", "three"])
        );
        assert_eq!(said.end().as_deref(), Some("[1mend"));
        assert_eq!(said.last_words(), "one\ntwo\nthree\n[1mend");
        for number in 0..1000 {
            said.take(format!("line {number}\n").as_bytes(), now);
        }
        let words = said.last_words();
        assert!(
            words.starts_with("line 990\n") && words.ends_with("line 999"),
            "{words}"
        );
    }

    #[test]
    fn a_progress_bar_shows_a_state_now_and_then_and_the_last() {
        let (mut said, start) = (Said::default(), Instant::now());
        let mut shown = Vec::new();
        for percent in 0..100 {
            let now = start + Duration::from_millis(200 * percent);
            shown.extend(said.take(format!("\r{percent:3} %").as_bytes(), now));
        }
        assert_eq!(shown.len(), 4, "{shown:?}");
        assert_eq!(said.last_words(), " 99 %");
        assert!(
            said.take(b"\r100 %\n", start + Duration::from_secs(20))
                .contains(&"100 %".to_owned())
        );
        assert_eq!(said.end(), None);
    }

    #[test]
    fn a_line_without_end_costs_nothing() {
        let (mut said, now) = (Said::default(), Instant::now());
        for _ in 0..1000 {
            assert_eq!(said.take(&[b'x'; 5000], now), Vec::<String>::new());
        }
        said.take(b" the end", now);
        assert!(said.line.len() == SHOWN && said.last.len() == KEPT);
        assert!(said.last_words().ends_with("xxx the end"));
        assert!(said.end().unwrap().ends_with("xxx …"));
    }
}
