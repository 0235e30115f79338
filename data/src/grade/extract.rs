//! Where in a completion the answer stands.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How an answer was found, in the order in which the ways are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Inside the last closed `\boxed{…}` (or `\fbox{…}`).
    Boxed,
    /// Behind the last `####`, up to the end of the line.
    Hashes,
    /// Behind the last "answer is", up to the end of the sentence.
    AnswerIs,
    /// The last number in the text.
    LastNumber,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Boxed => "boxed",
            Rule::Hashes => "hashes",
            Rule::AnswerIs => "answer_is",
            Rule::LastNumber => "last_number",
        })
    }
}

/// What stands behind the last `</think>`, or all of it.
pub fn after_thought(text: &str) -> &str {
    const CLOSE: &str = "</think>";
    text.rfind(CLOSE).map_or(text, |at| &text[at + CLOSE.len()..])
}

/// Whether `text` opens a box at all: one that was cut off before its brace closed holds no answer, but it also
/// means that no other number in the text was meant as one.
pub fn opens_box(text: &str) -> bool {
    text.contains("\\boxed") || text.contains("\\fbox")
}

/// Inside of the last `\boxed{…}` whose braces close, nested braces and all; or `\boxed 5`. One pass over the text.
pub fn last_boxed(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    // Open braces: where the inside starts, and whether a box opened it.
    let mut open: Vec<(usize, bool)> = Vec::new();
    let mut last: Option<(usize, usize)> = None;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => {
                let rest = &text[at..];
                let command = ["\\boxed", "\\fbox"].into_iter().find(|c| rest.starts_with(c));
                let Some(command) = command else {
                    // A backslash takes the next byte with it, so that \{ and \} do not count.
                    at += 2;
                    continue;
                };
                let mut inside = at + command.len();
                while bytes.get(inside) == Some(&b' ') {
                    inside += 1;
                }
                if bytes.get(inside) == Some(&b'{') {
                    open.push((inside + 1, true));
                    inside += 1;
                } else if inside > at + command.len() {
                    let length = text[inside..]
                        .find(|c: char| c.is_whitespace() || c == '$')
                        .unwrap_or(text.len() - inside);
                    last = later(last, (inside, inside + length));
                }
                at = inside;
                continue;
            }
            b'{' => open.push((at + 1, false)),
            b'}' => {
                if let Some((start, true)) = open.pop() {
                    last = later(last, (start, at));
                }
            }
            _ => {}
        }
        at += 1;
    }
    last.map(|(start, end)| &text[start..end])
}

fn later(a: Option<(usize, usize)>, b: (usize, usize)) -> Option<(usize, usize)> {
    Some(a.map_or(b, |a| if b.0 > a.0 { b } else { a }))
}

/// The rest of the line behind the last `####`.
pub fn after_hashes(text: &str) -> Option<&str> {
    const MARK: &str = "####";
    let rest = &text[text.rfind(MARK)? + MARK.len()..];
    let rest = rest.trim_start();
    Some(rest.lines().next().unwrap_or("").trim_end())
}

/// The rest of the sentence behind the last "answer is".
pub fn after_answer_is(text: &str) -> Option<&str> {
    const MARK: &str = "answer is";
    let rest = &text[text.to_ascii_lowercase().rfind(MARK)? + MARK.len()..];
    let rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ':');
    let line = rest.lines().next().unwrap_or("");
    let end = line.find(". ").unwrap_or(line.len());
    Some(line[..end].trim_end())
}
