//! Letters of multiple-choice answers.

use super::marks;
use super::prose::{self, Doubt};

/// The letters of choices.
const LETTERS: std::ops::RangeInclusive<char> = 'A'..='J';

/// The letter of a gold answer: `C`, `(C)`, `\text{(C)}`, `C. Cecile`, `(C) Cecile`; and whether it is all of it.
pub(super) fn of_gold(text: &str) -> Option<(char, bool)> {
    let plain = plain(text);
    let text = plain.trim().trim_matches('*');
    let opened = text.starts_with('(');
    let text = text.trim_start_matches('(');
    let letter = text.chars().next().filter(|c| LETTERS.contains(c))?;
    let rest = text[1..].trim_start();
    let after = rest.trim_start_matches([')', '.', ':']);
    if after.trim().is_empty() {
        return Some((letter, true));
    }
    // A letter and the words of the choice. "A circle" alone might be words.
    let words = after
        .trim_start()
        .chars()
        .next()
        .is_some_and(char::is_alphanumeric);
    let parted =
        rest.len() > after.len() || (opened && rest.len() < text.len()) || text[1..].starts_with([' ', '\n']);
    let mathematics = after.contains(['=', '+', '^', '\\', '_']);
    (words && parted && !mathematics).then_some((letter, false))
}

/// What a text decides for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decided {
    /// One letter, and the words that say so.
    For(char, String),
    /// More than one letter, or none of those that it names.
    Undecided(String),
}

/// The choice that a text makes; `None` where it names no letter at all.
pub(super) fn of_text(text: &str) -> Option<Decided> {
    if let Some((inside, place)) = super::find::boxed_at(text) {
        if prose::denies_next(&text[..place.start]) || prose::denies_last(&text[place.end..]) {
            return Some(Decided::Undecided(inside));
        }
        return of_box(&inside);
    }
    let mark = marks::last(text).filter(|mark| !mark.is_behind);
    if let Some(mark) = mark {
        let rest = &text[mark.end..];
        let near = rest.char_indices().nth(200).map_or(rest, |(end, _)| &rest[..end]);
        if mark.is_offered {
            return Some(Decided::Undecided(near.to_owned()));
        }
        let found = clusters(near, text[..mark.end].len(), text);
        if let Some(decided) = decide(near, &found, true) {
            return Some(decided);
        }
    }
    let found = clusters(text, 0, text);
    decide(text, &found, starts_with_letter(text))
}

/// A box holds a letter and perhaps the words of its choice; two letters are two answers.
fn of_box(inside: &str) -> Option<Decided> {
    let letter = leading(inside)?;
    let plain = plain(inside);
    let rest = plain.trim_start_matches(|c: char| c.is_whitespace() || "*:(".contains(c));
    let rest = rest[1..].trim_start_matches([')', '.', ':', ' ', '*']);
    let words = inside.trim().to_owned();
    let list = rest.starts_with([',', ';', '/', '&']) && leading(&rest[1..]).is_some();
    let joined = ["or ", "and "]
        .iter()
        .any(|word| rest.strip_prefix(word).and_then(leading).is_some());
    let other = (list || joined)
        .then(|| {
            rest.trim_start_matches(|c: char| !LETTERS.contains(&c))
                .chars()
                .next()
        })
        .flatten();
    Some(match other {
        Some(other) if other != letter => Decided::Undecided(words),
        _ => Decided::For(letter, words),
    })
}

/// Letters that stand alone and are joined by "or", "and", commas: from where to where, and which.
struct Cluster {
    start: usize,
    end: usize,
    letters: Vec<char>,
    denied: bool,
}

/// The clusters of a text that stands at `at` of a whole.
fn clusters(text: &str, at: usize, whole: &str) -> Vec<Cluster> {
    let mut found: Vec<Cluster> = Vec::new();
    for (place, letter) in standing(text) {
        let end = place + 1;
        if let Some(last) = found.last_mut()
            && joins(&text[last.end..place])
        {
            last.end = end;
            last.letters.push(letter);
            continue;
        }
        found.push(Cluster {
            start: place,
            end,
            letters: vec![letter],
            denied: false,
        });
    }
    for cluster in &mut found {
        cluster.denied =
            prose::denies_next(&whole[..at + cluster.start]) || prose::denies_last(&text[cluster.end..]);
    }
    found
}

/// Whether only commas, slashes and small words stand between two letters.
fn joins(between: &str) -> bool {
    between.len() <= 40
        && !between.contains(['.', '\n', '!', '?'])
        && between.split(|c: char| !c.is_alphanumeric()).all(|word| {
            matches!(
                word.to_lowercase().as_str(),
                "" | "or"
                    | "and"
                    | "also"
                    | "maybe"
                    | "perhaps"
                    | "possibly"
                    | "option"
                    | "choice"
                    | "either"
                    | "both"
                    | "even"
                    | "answer"
                    | "the"
                    | "alternatively"
                    | "could"
                    | "be"
                    | "it"
            )
        })
}

/// The first or the last cluster that is not denied, and what takes it back.
fn decide(text: &str, found: &[Cluster], first: bool) -> Option<Decided> {
    let undecided = || Some(Decided::Undecided(text.chars().take(80).collect()));
    found.first()?;
    let mut open = found.iter().filter(|cluster| !cluster.denied);
    let Some(cluster) = (if first { open.next() } else { open.next_back() }) else {
        return undecided();
    };
    // "A, but B is also possible" decides for neither.
    let wavers = [
        "also", "possible", "possibly", "could", "might", "maybe", "perhaps", "either",
    ];
    let part = if first {
        sentence(&text[cluster.start..])
    } else {
        text
    };
    let within = |other: &&Cluster| !first || other.start < cluster.start + part.len();
    let other = |other: &Cluster| !other.denied && other.letters != cluster.letters;
    let words = || part.split(|c: char| !c.is_alphabetic());
    if found.iter().filter(within).any(other) && words().any(|word| wavers.contains(&word)) {
        return undecided();
    }
    if let Some((back, doubt)) = prose::taken_back(&text[cluster.end..]) {
        let back = cluster.end + back;
        let later = found.iter().find(|later| later.start >= back && !later.denied);
        match (later, doubt) {
            (Some(later), _) => return one(later).or_else(undecided),
            (None, Doubt::Sure) => return undecided(),
            (None, Doubt::Perhaps) => {}
        }
    }
    one(cluster).or_else(undecided)
}

/// Up to the end of the first sentence.
fn sentence(text: &str) -> &str {
    &text[..text.find(". ").unwrap_or(text.len())]
}

fn one(cluster: &Cluster) -> Option<Decided> {
    let letter = cluster.letters[0];
    cluster
        .letters
        .iter()
        .all(|other| *other == letter)
        .then(|| Decided::For(letter, letter.to_string()))
}

fn starts_with_letter(text: &str) -> bool {
    leading(text).is_some()
}

/// Without the commands and braces around words.
pub(super) fn plain(text: &str) -> String {
    let mut plain = text.to_owned();
    for mark in [
        "\\textbf", "\\textrm", "\\text", "\\mathrm", "\\mathbf", "\\mbox", "\\left", "\\right", "\\(",
        "\\)", "\\ ", "$", "{", "}",
    ] {
        if plain.contains(mark) {
            plain = plain.replace(mark, "");
        }
    }
    plain
}

/// A letter at the start that a mark or the end follows: `C`, `(C)`, `C) 12`, `C.`, `B。`.
fn leading(text: &str) -> Option<char> {
    let plain = plain(text);
    let text = plain.trim_start_matches(|c: char| c.is_whitespace() || "*:(：".contains(c));
    let letter = text.chars().next().filter(|c| LETTERS.contains(c))?;
    let rest = &text[1..];
    let ends =
        rest.trim().is_empty() || rest.starts_with([')', '.', ':', ',', '。', '，', '*', '\n', ';', '!']);
    ends.then_some(letter)
}

/// Letters that stand alone, and where. An `A` before a small word is an article, an `I` is a person.
fn standing(text: &str) -> Vec<(usize, char)> {
    let bytes = text.as_bytes();
    let joined = |at: Option<usize>| {
        at.and_then(|at| bytes.get(at))
            .is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'\\'))
    };
    let mut found = Vec::new();
    for (at, byte) in bytes.iter().enumerate() {
        let letter = char::from(*byte);
        let person = letter == 'I' && matches!(bytes.get(at + 1), Some(b' ' | b'\''));
        if !LETTERS.contains(&letter) || person || joined(at.checked_sub(1)) || joined(Some(at + 1)) {
            continue;
        }
        let word: String = text[at + 1..]
            .chars()
            .skip(1)
            .take_while(|c| c.is_alphabetic())
            .collect();
        let article =
            letter == 'A' && bytes.get(at + 1) == Some(&b' ') && word.starts_with(char::is_lowercase);
        let verb = matches!(
            word.as_str(),
            "is" | "isn"
                | "or"
                | "and"
                | "because"
                | "since"
                | "as"
                | "b"
                | "was"
                | "but"
                | "are"
                | "not"
                | "can"
                | "cannot"
        );
        if !article || verb {
            found.push((at, letter));
        }
    }
    found
}
