//! Where in a text the answer stands that is to be read as mathematics.

use super::extract::{self, Rule};
use super::math::{self, Dialect};
use super::number;
use std::ops::Range;

/// Words behind which an answer stands, in lower case.
const MARKS: [&str; 18] = [
    "answer is",
    "answer:",
    "answer :",
    "answer**:",
    "answer:**",
    "answers are",
    "answers:",
    "solution is",
    "réponse est",
    "réponse:",
    "réponse :",
    "respuesta es",
    "respuesta:",
    "antwort ist",
    "antwort:",
    "答案是",
    "答案为",
    "答案：",
];

/// What was found: by which rule, and its text. No text: a box that was cut off.
pub(super) type Found = (Rule, Option<String>);

/// The answer of a model's text, by the first rule of these that applies.
pub(super) fn answer(text: &str, rules: &[Rule]) -> Option<Found> {
    rules.iter().find_map(|rule| by(*rule, text))
}

fn by(rule: Rule, text: &str) -> Option<Found> {
    let found = match rule {
        Rule::Boxed if extract::opens_box(text) => return Some((rule, boxed(text))),
        Rule::Boxed | Rule::Choice => None,
        Rule::Hashes => extract::after_hashes(text).map(str::to_owned),
        Rule::AnswerIs => after_mark(text),
        Rule::Whole => whole(text).map(str::to_owned),
        Rule::Math => environments(text),
        Rule::LastNumber => last_number(text),
    };
    found.map(|found| (rule, Some(found)))
}

/// The part of a gold answer that is the answer: of a box, behind `####`, or all of it; of a worked solution in
/// prose, what the text says is the answer. `None` for prose that does not say.
pub(super) fn gold(text: &str) -> Option<String> {
    boxed(text)
        .or_else(|| extract::after_hashes(text).map(str::to_owned))
        .or_else(|| whole(text).map(str::to_owned))
        .or_else(|| after_mark(text))
        .or_else(|| environments(text))
}

/// The last box, and those before it that only "and", "or", a comma or a name and "=" part from it.
fn boxed(text: &str) -> Option<String> {
    let mut boxes = extract::boxes(text);
    let last = boxes.iter().max_by_key(|found| found.inside.start)?.clone();
    boxes.retain(|found| found.all.end <= last.all.start);
    let mut parts = vec![text[last.inside.clone()].trim()];
    let mut start = last.all.start;
    for found in boxes.iter().rev() {
        if found.all.end > start {
            continue;
        }
        if !connects(&text[found.all.end..start]) {
            break;
        }
        let inside = text[found.inside.clone()].trim();
        if !parts.contains(&inside) {
            parts.push(inside);
        }
        start = found.all.start;
    }
    parts.reverse();
    Some(parts.join(", "))
}

/// Whether a text between two answers only joins them.
fn connects(between: &str) -> bool {
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
    match words.last() {
        Some(word) => {
            matches!(word.to_lowercase().as_str(), "and" | "or")
                || words.iter().all(|word| !word.contains(char::is_alphabetic))
        }
        None => true,
    }
}

/// What stands behind the last mark: mathematics that follows at once or in the same sentence, or the sentence.
fn after_mark(text: &str) -> Option<String> {
    let lower = text.to_lowercase();
    // Lower case may have another length: then places do not carry over.
    let searched = if lower.len() == text.len() { &lower } else { text };
    let (at, mark) = MARKS
        .iter()
        .filter_map(|mark| searched.rfind(mark).map(|at| (at + mark.len(), mark)))
        .max()?;
    debug_assert!(text.is_char_boundary(at), "{mark}");
    let rest = text[at..].trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ':' | '*' | '：'));
    let line = rest.lines().next().unwrap_or("");
    let spans = spans(rest);
    if spans.first().is_some_and(|first| first.start == 0) {
        return Some(joined(rest, &spans, 0));
    }
    // "The largest $n$ is 34": the answer is behind the verb.
    let verb = line[..sentence_end(line)].rfind(" is ").map_or(0, |at| at + 4);
    let (rest, line) = (&rest[verb..], &line[verb..]);
    let spans = self::spans(rest);
    if spans
        .first()
        .is_some_and(|first| first.start < sentence_end(line))
    {
        return Some(joined(rest, &spans, 0));
    }
    let sentence = line[..sentence_end(line)]
        .trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '*' | '.' | '。'));
    if sentence.is_empty() {
        return None;
    }
    if !is_prose(sentence) && math::read(sentence, Dialect::Common).is_ok() {
        return Some(sentence.to_owned());
    }
    // "12 because she has twelve": one number in the sentence is the answer, two are not.
    let mut numbers = number::scan(sentence);
    if numbers.len() == 1 {
        return Some(numbers.remove(0).0);
    }
    Some(sentence.to_owned())
}

fn sentence_end(line: &str) -> usize {
    [". ", "。", ".\""]
        .iter()
        .filter_map(|end| line.find(end))
        .min()
        .unwrap_or(line.len())
}

/// The whole text, if it is mathematics and not prose.
fn whole(text: &str) -> Option<&str> {
    // "f(x) = ax, where a is …": the condition is no part of the answer.
    let text = text.trim();
    let text = text
        .find(" where ")
        .map_or(text, |at| text[..at].trim_end_matches([' ', ',', '$']));
    if text.len() > math::MAX_BYTES || is_prose(text) {
        return None;
    }
    math::read(text, Dialect::Common).is_ok().then_some(text)
}

/// Whether a text holds words that are neither mathematics nor units behind a number.
pub(super) fn is_prose(text: &str) -> bool {
    let mut words = 0;
    let mut unknown = 0;
    let mut other = false;
    let mut numbered = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '\\' {
            // A command; the inside of \text{…} is no prose.
            let name: String = rest[1..].chars().take_while(char::is_ascii_alphabetic).collect();
            rest = &rest[1 + name.len()..];
            if name.starts_with("text")
                || matches!(
                    name.as_str(),
                    "mbox" | "mathrm" | "operatorname" | "begin" | "end"
                )
            {
                let close = rest.find('}').map_or(rest.len(), |at| at + 1);
                rest = &rest[close..];
                numbered = false;
            }
            other = true;
            continue;
        }
        if let Some(subscript) = rest.strip_prefix("_{") {
            rest = &subscript[subscript.find('}').map_or(subscript.len(), |at| at + 1)..];
            continue;
        }
        if c.is_alphabetic() {
            let end = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
            let word = &rest[..end];
            rest = &rest[end..];
            let called = rest.starts_with('(') || rest.starts_with(".open") || rest.starts_with('{');
            if math::is_known_word(word) || called {
                other = true;
                numbered = false;
                continue;
            }
            words += 1;
            let letters = word.chars().count();
            let prose = letters >= 4
                || !word.is_ascii() && letters >= 2
                || (letters == 3 && is_common(word))
                || (letters == 2 && is_common(word));
            if prose && !numbered && !matches!(word, "where") {
                unknown += 1;
            }
            continue;
        }
        if !c.is_whitespace() {
            numbered = c.is_ascii_digit() || (numbered && !matches!(c, '=' | ',' | ';')) || c == '}';
            other |= !matches!(c, '.' | '(' | ')' | '$' | '-' | '\'');
        }
        rest = &rest[c.len_utf8()..];
    }
    // Words alone are an answer if they are few.
    if other { unknown > 0 } else { words > 12 }
}

/// Short words that only prose has.
fn is_common(word: &str) -> bool {
    matches!(
        word.to_ascii_lowercase().as_str(),
        "the"
            | "has"
            | "are"
            | "was"
            | "not"
            | "can"
            | "but"
            | "you"
            | "she"
            | "his"
            | "her"
            | "its"
            | "so"
            | "is"
            | "it"
            | "we"
            | "be"
            | "by"
            | "to"
            | "thus"
    )
}

/// The inside of every `$…$`, `$$…$$`, `\(…\)` and `\[…\]`, in order. Dollars do not reach over a line's end.
fn spans(text: &str) -> Vec<Range<usize>> {
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
fn joined(text: &str, spans: &[Range<usize>], first: usize) -> String {
    let mut parts = vec![inside(text, &spans[first])];
    for pair in spans[first..].windows(2) {
        if !connects(&text[pair[0].end..pair[1].start]) {
            break;
        }
        parts.push(inside(text, &pair[1]));
    }
    parts.join(", ")
}

fn inside<'a>(text: &'a str, span: &Range<usize>) -> &'a str {
    let marks = if text[span.clone()].starts_with("$$") || !text[span.clone()].starts_with('$') {
        2
    } else {
        1
    };
    text[span.start + marks..span.end - marks].trim()
}

/// The last formula of a text that can be read, and those before it that are joined to it.
fn environments(text: &str) -> Option<String> {
    let spans = spans(text);
    let readable = |span: &Range<usize>| {
        let inside = inside(text, span);
        !is_prose(inside) && math::read(inside, Dialect::Common).is_ok()
    };
    // "Therefore there are 12 of them": a conclusion behind the last formula is the answer.
    let rest = &text[spans.last()?.end..];
    let concludes = ["herefore", "hus ", "ence ", "hus, ", "ence, "]
        .iter()
        .any(|word| rest.contains(word));
    if concludes && rest.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    // Not for ever: where the last few cannot be read, the text holds no answer.
    let last = (0..spans.len()).rev().take(4).find(|at| readable(&spans[*at]))?;
    let mut first = last;
    while first > 0
        && connects(&text[spans[first - 1].end..spans[first].start])
        && readable(&spans[first - 1])
    {
        first -= 1;
    }
    Some(joined(text, &spans[..=last], first))
}

/// The last number of a text; with a decimal comma, both its sides.
fn last_number(text: &str) -> Option<String> {
    let (words, _) = number::scan(text).pop()?;
    if let Some(at) = text.rfind(&words)
        && let Some(before) = text[..at].strip_suffix(',')
        && words.bytes().all(|b| b.is_ascii_digit())
    {
        let digits = before.len() - before.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        if digits > 0 {
            return Some(format!("{},{words}", &before[before.len() - digits..]));
        }
    }
    Some(words)
}

/// One plain decimal with a comma, `2,74`, with a point in its place. What may be thousands, `1,234`, is none.
pub(super) fn decimal_comma(text: &str) -> Option<String> {
    let text = text.trim().trim_matches('$').trim();
    let (whole, places) = text.split_once(',')?;
    let digits =
        |part: &str| !part.is_empty() && part.len() <= 30 && part.bytes().all(|b| b.is_ascii_digit());
    let lead = whole.trim_start_matches(['-', '+']);
    let thousands = places.len() == 3 && lead.len() <= 3 && !lead.starts_with('0');
    (digits(lead) && digits(places) && !thousands).then(|| format!("{whole}.{places}"))
}

/// Whether a gold answer with a comma is a decimal and no list: `0,111`.
pub(super) fn is_decimal_comma(text: &str) -> bool {
    let text = text.trim().trim_start_matches('-');
    text.starts_with("0,") && text.len() > 3 && decimal_comma(text).is_some()
}
