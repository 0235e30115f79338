//! Where in a completion the answer stands.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

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
    /// The whole text is one piece of mathematics.
    Whole,
    /// The last `$…$`, `\\(…\\)` or `\\[…\\]`, with those that "and", "or" or a comma join to it.
    Math,
    /// The last number in the text.
    LastNumber,
    /// The letter of a choice; only where the gold answer is one.
    Choice,
}

impl Rule {
    /// The order in which a grader of mathematics tries them.
    pub const ALL: [Rule; 6] = [
        Rule::Boxed,
        Rule::Hashes,
        Rule::AnswerIs,
        Rule::Whole,
        Rule::Math,
        Rule::LastNumber,
    ];
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Boxed => "boxed",
            Rule::Hashes => "hashes",
            Rule::AnswerIs => "answer_is",
            Rule::Whole => "whole",
            Rule::Math => "math",
            Rule::LastNumber => "last_number",
            Rule::Choice => "choice",
        })
    }
}

/// No rule has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no rule is called {0:?}; there are boxed, hashes, answer_is, whole, math and last_number")]
pub struct UnknownRule(String);

impl FromStr for Rule {
    type Err = UnknownRule;

    fn from_str(name: &str) -> Result<Self, UnknownRule> {
        let found = Rule::ALL.into_iter().find(|rule| rule.to_string() == name);
        found.ok_or_else(|| UnknownRule(name.to_owned()))
    }
}

/// What stands behind the last `</think>`, or all of it; of that, what stands in the last `<answer>…</answer>`, if
/// there is one.
pub fn final_part(text: &str) -> &str {
    const CLOSE: &str = "</think>";
    let text = text.rfind(CLOSE).map_or(text, |at| &text[at + CLOSE.len()..]);
    let Some(end) = text.rfind("</answer>") else {
        return text;
    };
    const OPEN: &str = "<answer>";
    text[..end]
        .rfind(OPEN)
        .map_or(text, |at| &text[at + OPEN.len()..end])
}

/// Whether `text` opens a box at all: one that was cut off before its brace closed holds no answer, but it also
/// means that no other number in the text was meant as one.
pub fn opens_box(text: &str) -> bool {
    text.contains("\\boxed") || text.contains("\\fbox")
}

/// A box: all of it, and its inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Boxed {
    pub all: std::ops::Range<usize>,
    pub inside: std::ops::Range<usize>,
}

/// Inside of the last `\boxed{…}` whose braces close, nested braces and all; or `\boxed 5`. One pass over the text.
pub fn last_boxed(text: &str) -> Option<&str> {
    let boxes = boxes(text);
    let last = boxes.into_iter().max_by_key(|found| found.inside.start)?;
    Some(&text[last.inside])
}

/// Every box whose braces close, by where it closes. One pass over the text.
pub(super) fn boxes(text: &str) -> Vec<Boxed> {
    let bytes = text.as_bytes();
    // Open braces: where the inside starts, and where the box that opened it does.
    let mut open: Vec<(usize, Option<usize>)> = Vec::new();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => {
                let rest = &text[at..];
                let command = ["\\boxed", "\\fbox"].into_iter().find(|c| rest.starts_with(c));
                let Some(command) = command else {
                    // A backslash takes the next byte with it, so that \{ and \} do not count; but \\boxed is a box.
                    let doubled = ["\\\\boxed", "\\\\fbox"].iter().any(|c| rest.starts_with(c));
                    at += if doubled { 1 } else { 2 };
                    continue;
                };
                let start = at;
                let mut inside = at + command.len();
                while bytes.get(inside) == Some(&b' ') {
                    inside += 1;
                }
                if bytes.get(inside) == Some(&b'{') {
                    open.push((inside + 1, Some(start)));
                    inside += 1;
                } else if inside > at + command.len() {
                    let length = text[inside..]
                        .find(|c: char| c.is_whitespace() || c == '$')
                        .unwrap_or(text.len() - inside);
                    found.push(Boxed {
                        all: start..inside + length,
                        inside: inside..inside + length,
                    });
                }
                at = inside;
                continue;
            }
            b'{' => open.push((at + 1, None)),
            b'}' => {
                if let Some((inside, Some(start))) = open.pop() {
                    found.push(Boxed {
                        all: start..at + 1,
                        inside: inside..at,
                    });
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
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
