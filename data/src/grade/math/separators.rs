//! What parts the thousands of a number.

use super::layout;
use super::lex::Lexer;
use std::borrow::Cow;

/// The text of a number without the commands that part its thousands.
pub(super) fn without_separators(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let lexer = Lexer::new(text);
    let (mut out, mut at) = (String::new(), 0);
    while let Some(c) = text[at..].chars().next() {
        match lexer.separator(at).filter(|_| !c.is_ascii_digit()) {
            Some(end) => at = end,
            None => {
                out.push(c);
                at += c.len_utf8();
            }
        }
    }
    Cow::Owned(out)
}

impl Lexer<'_> {
    /// The end of a separator of thousands and the three digits behind it.
    pub fn group(&self, at: usize) -> Option<usize> {
        let next = self.separator(at)?;
        let end = self.digits(next);
        (end == next + 3).then_some(end)
    }

    /// The end of what may part the thousands of a number at `at`: one space, or marks and commands of which each is
    /// a small space or a comma in braces.
    fn separator(&self, at: usize) -> Option<usize> {
        if self.byte(at) == b'_' || (self.byte(at) == b' ' && self.byte(at + 1).is_ascii_digit()) {
            return Some(at + 1);
        }
        let mut end = at;
        // Real separators have one or two marks.
        for _ in 0..6 {
            let rest = &self.text[end..];
            let mark = [
                "{,}",
                "{, }",
                "{'}",
                ",\\!",
                "\\!",
                "\\,",
                "\\;",
                "\\:",
                "\\>",
                "\\ ",
                "{\\,}",
                "{\\ }",
                "{\\;}",
                "~",
                "'",
                "\\text{,}",
                "\\mathrm{,}",
                "\\text{ }",
            ]
            .iter()
            .find(|mark| rest.starts_with(**mark));
            let next = match mark {
                Some(mark) => end + mark.len(),
                None if rest.starts_with('\\') => self.small_space(end)?,
                None => break,
            };
            end = next;
            while self.byte(end) == b' ' {
                end += 1;
            }
        }
        let comma = self.byte(at) == b' '
            && ["{,}", "{, }"]
                .iter()
                .any(|mark| self.text[at + 1..].starts_with(mark));
        if end == at && comma {
            return self.separator(at + 1);
        }
        (end > at).then_some(end)
    }

    /// The end of a command for a small space, `\thinspace` or `\kern 2pt`, that stands at `at`.
    fn small_space(&self, at: usize) -> Option<usize> {
        let end = self.letters(at + 1);
        let name = &self.text[at + 1..end];
        if layout::is_space(name) {
            Some(end)
        } else if layout::takes_length(name) {
            Some(self.length(end))
        } else if name == "hspace" {
            self.inside(end).map(|(_, to)| to + 1)
        } else {
            None
        }
    }

    /// The end of a length such as `-2.5 pt` at or behind `at`.
    pub fn length(&self, at: usize) -> usize {
        let blank = |mut at: usize| {
            while self.byte(at) == b' ' {
                at += 1;
            }
            at
        };
        let mut end = blank(at);
        while matches!(self.byte(end), b'0'..=b'9' | b'.' | b'-' | b'+') {
            end += 1;
        }
        let unit = blank(end);
        let known = ["pt", "mu", "em", "ex", "cm", "mm", "in", "sp", "pc", "bp"];
        match known.iter().find(|known| self.text[unit..].starts_with(**known)) {
            Some(known) if end > blank(at) => unit + known.len(),
            _ => at,
        }
    }
}
