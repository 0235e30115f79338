//! Formulas in a text, and whether the words between two of them only join them.

use super::math;
use super::prose;
use std::ops::Range;

/// Whether a text between two answers only joins them.
pub(super) fn connects(between: &str) -> bool {
    if between.len() > 60 || between.contains("\n\n") {
        return false;
    }
    let mut plain = between.to_owned();
    for mark in [
        "\\)", "\\(", "\\[", "\\]", "\\quad", "\\qquad", "\\text", "\\,", "\\;", "\\ ", "$",
    ] {
        plain = plain.replace(mark, " ");
    }
    let mut words: Vec<&str> = plain
        .split(|c: char| c.is_whitespace() || "{},;.+".contains(c))
        .collect();
    words.retain(|word| !word.is_empty());
    if words.last() == Some(&"=") {
        words.truncate(words.len().saturating_sub(2));
    }
    if prose::offers_another(between) && words.iter().all(|word| prose::is_small(word)) {
        return true;
    }
    match words.last() {
        Some(word) => {
            matches!(word.to_lowercase().as_str(), "and" | "or")
                || words.iter().all(|word| !word.contains(char::is_alphabetic))
        }
        None => true,
    }
}

/// The inside of every `$…$`, `$$…$$`, `\(…\)` and `\[…\]`, in order. Dollars do not reach over a line's end.
pub(super) fn spans(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (open, close) = match (bytes[at], bytes.get(at + 1)) {
            (b'$', Some(b'$')) => (2, "$$"),
            (b'$', _) => (1, "$"),
            (b'\\', Some(b'(')) => (2, "\\)"),
            (b'\\', Some(b'[')) => (2, "\\]"),
            (b'\\', _) => {
                at += 2;
                continue;
            }
            _ => {
                at += 1;
                continue;
            }
        };
        let inside = at + open;
        match closing(text, inside, close) {
            Some(end) => {
                found.push(at..end + close.len());
                at = end + close.len();
            }
            None => at = inside,
        }
    }
    found
}

fn closing(text: &str, from: usize, close: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let inline = close == "$" || close == "\\)";
    let mut at = from;
    // A formula is not longer than an answer may be.
    let end = bytes.len().min(from + math::MAX_BYTES);
    while at < end {
        if text.is_char_boundary(at) && text[at..].starts_with(close) {
            return Some(at);
        }
        match bytes[at] {
            b'\\' => at += 2,
            b'\n' if inline => return None,
            b'\n' if bytes.get(at + 1) == Some(&b'\n') => return None,
            _ => at += 1,
        }
    }
    None
}

/// The span with this number and those that follow and are joined to it, without the marks.
pub(super) fn joined(text: &str, spans: &[Range<usize>], first: usize) -> String {
    let mut parts = vec![inside(text, &spans[first])];
    for pair in spans[first..].windows(2) {
        if !connects(&text[pair[0].end..pair[1].start]) {
            break;
        }
        parts.push(inside(text, &pair[1]));
    }
    parts.join(", ")
}

pub(super) fn inside<'a>(text: &'a str, span: &Range<usize>) -> &'a str {
    let marks = if text[span.clone()].starts_with("$$") || !text[span.clone()].starts_with('$') {
        2
    } else {
        1
    };
    text[span.start + marks..span.end - marks].trim()
}
