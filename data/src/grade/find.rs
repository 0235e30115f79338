//! Where in a text the answer stands that is to be read as mathematics.

use super::dress;
use super::extract::{self, Rule};
use super::marks::{self, Mark};
use super::math::{self, Dialect};
use super::number;
use super::prose::{self, Doubt};
use super::spans::{connects, inside, joined, spans};
use super::spelling;
use std::ops::Range;

/// What was found: by which rule, and its text. No text: a box that was cut off, or an answer that the words around it
/// deny.
pub(super) type Found = (Rule, Option<Words>);

/// The words of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    /// The answer as it stands there.
    pub text: String,
    /// How it may also be meant: "The answer is 5!" may shout.
    pub or: Option<String>,
}

impl Words {
    fn only(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            or: None,
        }
    }
}

/// The answer of a model's text, by the first rule of these that applies.
pub(super) fn answer(text: &str, rules: &[Rule]) -> Option<Found> {
    rules.iter().find_map(|rule| by(*rule, text, rules))
}

fn by(rule: Rule, text: &str, rules: &[Rule]) -> Option<Found> {
    let found = match rule {
        Rule::Boxed if extract::opens_box(text) => return Some(boxed_or_final(text, rules)),
        Rule::Boxed | Rule::Choice => None,
        Rule::Hashes => extract::after_hashes(text).map(|line| Some(of_line(line))),
        Rule::AnswerIs => after_mark(text, rules),
        Rule::Whole => whole(text).map(|text| Some(Words::only(text))),
        Rule::Math => environments(text).map(|found| found.map(Words::only)),
        Rule::LastNumber => last_number(text).map(|found| found.map(Words::only)),
    };
    found.map(|found| (rule, found))
}

/// The box; or, where the text goes on and says what the final answer is, that. None where the words around the box deny
/// it or take it back.
fn boxed_or_final(text: &str, rules: &[Rule]) -> Found {
    let Some((inside, place)) = boxed_at(text) else {
        return (Rule::Boxed, None);
    };
    let rest = &text[place.end..];
    let says_final = ["inal", "INAL"].iter().any(|part| rest.contains(part));
    if says_final
        && rules.contains(&Rule::AnswerIs)
        && marks::last(rest).is_some_and(|mark| mark.is_final)
        && let Some(found) = after_mark(rest, &[])
        && !found
            .as_ref()
            .is_some_and(|found| is_remark(&found.text, &inside))
    {
        return (Rule::AnswerIs, found);
    }
    let denied = is_denied(text, &place);
    (Rule::Boxed, (!denied).then(|| Words::only(inside)))
}

/// Whether the words around an answer deny it, or those behind it take it back.
pub(super) fn is_denied(text: &str, place: &Range<usize>) -> bool {
    let rest = &text[place.end..];
    prose::denies_next(&text[..place.start])
        || prose::denies_last(rest)
        || matches!(prose::taken_back(rest), Some((_, Doubt::Sure)))
}

/// Whether the words around the last "answer is" deny what follows, offer another, or take it back.
pub(super) fn mark_is_denied(text: &str) -> bool {
    marks::last(text)
        .filter(|mark| !mark.is_behind)
        .is_some_and(|mark| mark.is_offered || is_denied(text, &(mark.start..mark.end)))
}

/// Whether words behind "the final answer is" only speak of a boxed number: "correct".
fn is_remark(words: &str, boxed: &str) -> bool {
    let figures = |text: &str| text.contains(|c: char| c.is_ascii_digit() || "\\$=+^".contains(c));
    !figures(words) && figures(boxed)
}

/// Without emphasis, marks of a line and a label.
fn bare(text: &str) -> &str {
    dress::unwrapped(dress::unlabelled(dress::unwrapped(dress::unlisted(text))))
}

/// The answer of a line that holds nothing else but words about it.
fn of_line(line: &str) -> Words {
    let bare = bare(line);
    if let Some(mark) = marks::last(bare)
        && !mark.is_behind
        && let Some(found) = statement(&bare[mark.end..])
    {
        return found;
    }
    let cut = dress::without_comment(bare);
    if prose::is_prose(cut)
        && let Some(found) = statement(cut)
    {
        return found;
    }
    Words::only(dress::unwrapped(cut))
}

/// The part of a gold answer that is the answer: of a box, behind `####`, or all of it; of a worked solution in
/// prose, what the text says is the answer. `None` for prose that does not say.
pub(super) fn gold(text: &str) -> Option<String> {
    boxed_at(text)
        .map(|(inside, _)| inside)
        .or_else(|| extract::after_hashes(text).map(str::to_owned))
        .or_else(|| whole(text).map(str::to_owned))
        .or_else(|| Some(after_mark(text, &[])??.text))
        .or_else(|| environments(text)?)
}

/// The last box, and those before it that only "and", "or", a comma or a name and "=" part from it; and where they
/// stand.
pub(super) fn boxed_at(text: &str) -> Option<(String, Range<usize>)> {
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
    Some((parts.join(", "), start..last.all.end))
}

/// What the text says is the answer: behind "the answer is", or before "is the answer". `Some(None)` where it says so and
/// denies it, or offers another.
fn after_mark(text: &str, rules: &[Rule]) -> Option<Option<Words>> {
    let mark = marks::last(text)?;
    if mark.is_behind {
        return before_mark(text, &mark);
    }
    if mark.is_offered || prose::denies_next(&text[..mark.start]) {
        return Some(None);
    }
    let rest = &text[mark.end..];
    let line = rest.lines().next().unwrap_or("");
    let behind = &rest[sentence_end(line).min(rest.len())..];
    if let Some(denied) = ["not ", "n't ", "neither ", "never "]
        .iter()
        .find_map(|no| rest.strip_prefix(no))
    {
        // "The answer is not 7 but 8."
        let instead = line
            .find(" but ")
            .map(|at| at + 5)
            .and_then(|at| statement(&rest[at..]));
        return match instead {
            Some(found) => Some(Some(found)),
            None if rules.is_empty() => Some(None),
            None => Some(
                answer(
                    &denied[sentence_end(denied.lines().next().unwrap_or("")).min(denied.len())..],
                    rules,
                )?
                .1,
            ),
        };
    }
    if let Some((at, doubt)) = prose::taken_back(behind) {
        let after = behind[at..].trim_start_matches(|c: char| c.is_whitespace() || ",.:;!—-".contains(c));
        let instead = if rules.is_empty() {
            None
        } else {
            answer(after, rules)
        };
        match (instead, doubt) {
            (Some((_, found)), _) => return Some(found),
            (None, Doubt::Sure) => return Some(None),
            (None, Doubt::Perhaps) => {}
        }
    }
    statement(rest).map(Some)
}

/// What stands before "is the answer".
fn before_mark(text: &str, mark: &Mark) -> Option<Option<Words>> {
    let before = &text[..mark.start];
    let from = before
        .rfind(['\n', '!', '?', '。'])
        .max(before.rfind(". "))
        .map_or(0, |at| at + before[at..].chars().next().map_or(0, char::len_utf8));
    let subject = dress::unwrapped(dress::led_to(before[from..].trim()));
    let spans = spans(subject);
    if let Some(last) = spans.last().filter(|span| span.end == subject.len()) {
        let first = &subject[..last.start];
        return Some((!prose::denies_next(first)).then(|| Words::only(inside(subject, last))));
    }
    if subject.is_empty() {
        return None;
    }
    if !prose::is_prose(subject) && math::read(subject, Dialect::Common).is_ok() {
        return Some(Some(Words::only(subject)));
    }
    let plain = spelling::normalise(subject);
    let numbers = number::scan_plain(&plain);
    let (place, _) = numbers.last().filter(|(place, _)| place.end == plain.len())?;
    let denied = prose::denies_next(&plain[..place.start]) || numbers.len() > 1;
    Some((!denied).then(|| Words::only(&plain[place.clone()])))
}

/// The answer at the start of a text, or in its first sentence.
fn statement(rest: &str) -> Option<Words> {
    let rest = rest.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ':' | '*' | '='));
    let rest = dress::led_to(rest);
    let line = rest.lines().next().unwrap_or("");
    let first = spans(rest);
    if first.first().is_some_and(|first| first.start == 0) {
        return Some(of_spans(rest, &first));
    }
    let line = &line[..sentence_end(line)];
    let line = dress::without_comment(line);
    // "The largest $n$ is 34": the answer is behind the verb.
    let verb = line.rfind(" is ").map_or(0, |at| at + 4);
    let (rest, line) = (&rest[verb..], &line[verb..]);
    let first = spans(rest);
    if first.first().is_some_and(|first| first.start < line.len()) {
        return Some(of_spans(rest, &first));
    }
    let sentence = line.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '*' | '.' | '。' | '?'));
    let sentence = dress::unwrapped(dress::led_to(sentence));
    if sentence.is_empty() {
        return None;
    }
    // "The answer is 42!"
    if let Some(calm) = sentence.strip_suffix('!')
        && !calm.is_empty()
    {
        return Some(Words {
            text: calm.trim_end_matches(['!', '*']).to_owned(),
            or: Some(sentence.to_owned()),
        });
    }
    if !prose::is_prose(sentence) && math::read(sentence, Dialect::Common).is_ok() {
        return Some(Words::only(sentence));
    }
    // "12 because she has twelve": one number in the sentence is the answer, two are not.
    let plain = spelling::normalise(sentence);
    if let [(place, _)] = number::scan_plain(&plain).as_slice() {
        let before = &plain[..place.start];
        if !prose::denies_next(before) && !prose::bounds_next(before) {
            return Some(Words::only(prose::signed(&plain, place)));
        }
    }
    Some(Words::only(sentence))
}

/// The formula that stands first, with those joined to it; with another answer that the words behind it offer.
fn of_spans(rest: &str, spans: &[Range<usize>]) -> Words {
    let mut last = 0;
    while last + 1 < spans.len() && connects(&rest[spans[last].end..spans[last + 1].start]) {
        last += 1;
    }
    let found = joined(rest, spans, 0);
    let line = rest[spans[last].end..].lines().next().unwrap_or("");
    let behind = line[..sentence_end(line)].trim();
    let other = behind.strip_prefix("or ").map(dress::led_to);
    match other.map(|other| number::scan(dress::without_comment(other))) {
        Some(numbers) if !numbers.is_empty() => Words::only(format!("{found}, {}", numbers[0].0)),
        _ => Words::only(found),
    }
}

fn sentence_end(line: &str) -> usize {
    let stop = [". ", "。", ".\"", "...", "? "]
        .iter()
        .filter_map(|end| line.find(end))
        .min()
        .unwrap_or(line.len());
    // The mark of an exclamation stays: it may be a factorial.
    let shout = line[..stop].find("! ").map_or(stop, |at| at + 1);
    shout.min(stop)
}

/// The whole text, if it is mathematics and not prose.
fn whole(text: &str) -> Option<&str> {
    // "f(x) = ax, where a is …": the condition is no part of the answer.
    let text = bare(text);
    let text = if text.ends_with([')', '.']) {
        without_bracket(text)
    } else {
        text
    };
    let text = text
        .find(" where ")
        .map_or(text, |at| text[..at].trim_end_matches([' ', ',', '$']));
    if text.len() > math::MAX_BYTES || prose::is_prose(text) {
        return None;
    }
    math::read(text, Dialect::Common).is_ok().then_some(text)
}

/// Without words in brackets at the end: "x = 18 (checked: 18 + 2 = 20)".
fn without_bracket(text: &str) -> &str {
    match text.rfind(" (") {
        Some(at) if dress::without_comment(text).len() <= at => text[..at].trim_end(),
        _ => text,
    }
}

/// The last formula of a text that can be read, and those before it that are joined to it; `Some(None)` where the words
/// around it deny it.
fn environments(text: &str) -> Option<Option<String>> {
    let spans = spans(text);
    let readable = |span: &Range<usize>| {
        let inside = inside(text, span);
        !prose::is_prose(inside) && math::read(inside, Dialect::Common).is_ok()
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
    if prose::denies_next(&text[..spans[first].start]) || prose::denies_last(&text[spans[last].end..]) {
        return Some(None);
    }
    Some(Some(joined(text, &spans[..=last], first)))
}

/// The last number of a text that the words around it do not deny; with a decimal comma, both its sides; with the number
/// before it where the words between offer either. `Some(None)` where every number near the end is denied.
pub(super) fn last_number(text: &str) -> Option<Option<String>> {
    let text = spelling::normalise(text);
    let found = number::scan_plain(&text);
    let places: Vec<&Range<usize>> = found.iter().map(|(place, _)| place).collect();
    let denied = |place: &Range<usize>| {
        prose::denies_next(&text[..place.start]) || prose::denies_last(&text[place.end..])
    };
    let last = *places.last()?;
    // Not for ever: a text does not deny number after number.
    let Some(at) = (0..places.len()).rev().take(8).find(|at| !denied(places[*at])) else {
        return Some(None);
    };
    let place = places[at];
    let words = &text[place.clone()];
    if let Some((back, Doubt::Sure)) = prose::taken_back(&text[last.end..])
        && !text[last.end..][back..].bytes().any(|b| b.is_ascii_digit())
    {
        return Some(None);
    }
    if let Some(before) = text[..place.start].strip_suffix(',')
        && words.bytes().all(|b| b.is_ascii_digit())
    {
        let digits = before.len() - before.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        if digits > 0 {
            return Some(Some(format!("{},{words}", &before[before.len() - digits..])));
        }
    }
    let either = |at: &usize| {
        let between = &text[places[*at - 1].end..places[*at].start];
        prose::offers_another(between) && !denied(places[*at - 1]) || between.trim() == "and"
    };
    let first = (1..=at).rev().take_while(either).last().map_or(at, |at| at - 1);
    let all: Vec<String> = places[first..=at]
        .iter()
        .map(|place| prose::signed(&text, place))
        .collect();
    Some(Some(all.join(", ")))
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
