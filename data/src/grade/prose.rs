//! What the words around an answer say of it: that it is not the answer, that it is one of two, that it is taken back,
//! or nothing.

use super::math;

/// Bytes before and behind an answer that are looked at for words about it.
const NEAR: usize = 120;

/// Words that may stand between a "not" and what it denies.
const BETWEEN: [&str; 38] = [
    "a", "an", "and", "answer", "be", "believe", "choice", "correct", "either", "equal", "equals", "exactly",
    "final", "get", "have", "in", "is", "it", "it's", "just", "of", "option", "or", "right", "say", "simply",
    "that", "the", "think", "to", "value", "are", "this", "both", "true", "case", "sure", "certain",
];

/// The last so many bytes, or a few less.
fn end_of(text: &str) -> &str {
    let mut from = text.len().saturating_sub(NEAR);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

/// The first so many bytes, or a few less.
fn start_of(text: &str) -> &str {
    let mut to = text.len().min(NEAR);
    while !text.is_char_boundary(to) {
        to -= 1;
    }
    &text[..to]
}

fn is_mark(c: char) -> bool {
    c.is_whitespace() || "$*_`\"'([{\\".contains(c)
}

/// Whether the words that end here deny what follows: "it is not", "I don't think it's", "rather than".
pub(super) fn denies_next(before: &str) -> bool {
    let near = end_of(before).trim_end_matches(is_mark).to_lowercase();
    let mut words = near.split_whitespace().rev().peekable();
    while let Some(word) = words.next() {
        let last = word.trim_start_matches(['(', '"', '*', '_']);
        if is_negation(last) {
            return true;
        }
        let before = words.peek().copied().unwrap_or("");
        let excludes = ["eliminat", "exclud", "discard", "reject"];
        if excludes.iter().any(|verb| last.starts_with(verb)) || last == "out" && before.starts_with("rul") {
            return true;
        }
        if last == "than" && before == "rather" || last == "of" && before == "instead" {
            return true;
        }
        // A letter of a choice, or a word that leaves the denial in force.
        let single = last.chars().count() == 1 && last.chars().all(char::is_alphanumeric);
        if !single && !BETWEEN.contains(&last) {
            return false;
        }
    }
    false
}

fn is_negation(word: &str) -> bool {
    matches!(
        word,
        "not"
            | "never"
            | "cannot"
            | "neither"
            | "nor"
            | "unlike"
            | "except"
            | "isnt"
            | "arent"
            | "wasnt"
            | "cant"
    ) || word.ends_with("n't")
}

/// Whether the words that begin here deny what stands before: "is wrong", "can't be the answer", "is not correct".
pub(super) fn denies_last(after: &str) -> bool {
    let near = start_of(after)
        .trim_start_matches(|c: char| is_mark(c) || ")]}".contains(c))
        .to_lowercase();
    let mut words = near
        .split(|c: char| c.is_whitespace())
        .take(6)
        .map(|word| word.trim_end_matches(['*', '_', ')', '"']));
    let Some(verb) = words.next() else { return false };
    if matches!(
        verb,
        "isn't" | "aren't" | "wasn't" | "can't" | "cannot" | "doesn't" | "won't" | "isnt" | "cant"
    ) {
        return true;
    }
    if !matches!(
        verb,
        "is" | "was" | "are" | "were" | "would" | "must" | "seems" | "looks" | "can" | "does"
    ) {
        return false;
    }
    for word in words {
        let bare = word.trim_end_matches(['.', ',', ';', ':', '!', '?']);
        if matches!(
            bare,
            "not" | "wrong" | "incorrect" | "false" | "impossible" | "invalid"
        ) {
            return true;
        }
        if bare.len() < word.len()
            || !matches!(
                bare,
                "also"
                    | "be"
                    | "both"
                    | "clearly"
                    | "definitely"
                    | "certainly"
                    | "obviously"
                    | "probably"
                    | "surely"
                    | "all"
                    | "simply"
                    | "just"
            )
        {
            return false;
        }
    }
    false
}

/// How surely something was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// "No, wait": what stands before does not count.
    Sure,
    /// "Actually": what follows counts, if it says anything.
    Perhaps,
}

/// Words that take back what stands before them.
const SURE: [&str; 18] = [
    "no wait",
    "no, wait",
    "wait, no",
    "wait no",
    "scratch that",
    "correction",
    "i mean",
    "i meant",
    "sorry",
    "oops",
    "that is wrong",
    "that's wrong",
    "that is not right",
    "that's not right",
    "that is incorrect",
    "that's incorrect",
    "on second thought",
    "no",
];
/// Words that may.
const PERHAPS: [&str; 14] = [
    "wait",
    "actually",
    "hmm",
    "or rather",
    "maybe",
    "perhaps",
    "possibly",
    "alternatively",
    "not sure",
    "could also be",
    "might also be",
    "could be",
    "might be",
    "may be",
];

/// Where the last words end that take back what stands before them, and how surely they do.
pub(super) fn taken_back(text: &str) -> Option<(usize, Doubt)> {
    // Most boxes end a text, but for marks.
    if !text.bytes().any(|b| b.is_ascii_alphabetic()) {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    let last = |mark: &&str| {
        lower
            .rmatch_indices(*mark)
            .take(20)
            .find(|(at, _)| stands_alone(&lower, *at, mark))
            .map(|(at, _)| at + mark.len())
    };
    let sure = SURE.iter().filter_map(last).max();
    let perhaps = PERHAPS.iter().filter_map(last).max();
    match (sure, perhaps) {
        (Some(sure), perhaps) if perhaps.is_none_or(|at| sure >= at) => Some((sure, Doubt::Sure)),
        (sure, Some(at)) => Some((
            at,
            if sure.is_some() {
                Doubt::Sure
            } else {
                Doubt::Perhaps
            },
        )),
        _ => None,
    }
}

/// Whether a mark is words of its own; a bare "no" must begin a sentence and be followed by a comma or its end.
fn stands_alone(lower: &str, at: usize, mark: &str) -> bool {
    let before = lower[..at].chars().next_back();
    let after = lower[at + mark.len()..].chars().next();
    let apart = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    if !apart(before) || !apart(after) {
        return false;
    }
    if mark != "no" {
        return true;
    }
    let begins = lower[..at].trim_end_matches(|c: char| c.is_whitespace() || "*_(\"".contains(c));
    begins.ends_with(['.', '?', '!', ',', ';', '…', '\n', '-', '—'])
        && after.is_none_or(|c| ",.!;:—-".contains(c))
}

/// Whether the words between two answers offer the second in place of the first: "or", "or maybe", "; alternatively".
/// In another sentence they must say nothing else.
pub(super) fn offers_another(between: &str) -> bool {
    if between.len() > 60 {
        return false;
    }
    let ends = between.contains(['\n', '.', ';', '!', '?']);
    let mut offers = false;
    for word in between
        .split(|c: char| !c.is_alphabetic())
        .filter(|word| !word.is_empty())
    {
        let word = word.to_lowercase();
        offers |= matches!(
            word.as_str(),
            "or" | "alternatively" | "maybe" | "perhaps" | "possibly"
        );
        if ends && !is_small(&word) {
            return false;
        }
    }
    offers
}

/// Words that may stand around an "or".
pub(super) fn is_small(word: &str) -> bool {
    matches!(
        word.to_lowercase().as_str(),
        "or" | "and"
            | "maybe"
            | "perhaps"
            | "possibly"
            | "alternatively"
            | "also"
            | "even"
            | "it"
            | "could"
            | "might"
            | "be"
            | "is"
            | "else"
            | "either"
            | "quad"
            | "text"
            | "s"
    )
}

/// Words before a number in a sentence that make it a bound: "at least 42", "less than 42".
pub(super) fn bounds_next(before: &str) -> bool {
    let near = end_of(before).trim_end_matches(is_mark).to_lowercase();
    near.ends_with(['<', '>', '≤', '≥'])
        || [
            " than", "at least", "at most", "up to", "over", "under", "above", "below", "almost", "nearly",
        ]
        .iter()
        .any(|words| near.ends_with(words))
}

/// The number at `place`, with the sign that a word in front gives it: "minus 3". "10 minus 3" is an operation.
pub(super) fn signed(text: &str, place: &std::ops::Range<usize>) -> String {
    let before = text[..place.start].trim_end();
    let minus = ["minus", "negative", "Minus", "Negative"]
        .iter()
        .find_map(|word| before.strip_suffix(word));
    let sign = minus.is_some_and(|before| !before.trim_end().ends_with(|c: char| c.is_ascii_digit()));
    format!("{}{}", if sign { "-" } else { "" }, &text[place.clone()])
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
            // Behind a number a word may be its unit, but for those that only prose has.
            let unit = numbered && !is_common(word);
            if prose && !unit && word != "where" {
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
            | "got"
            | "get"
            | "had"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_reach_only_what_they_are_about() {
        for before in [
            "It is not ",
            "I don't think it's ",
            "cannot be ",
            "is not equal to $",
            "7 rather than ",
        ] {
            assert!(denies_next(before), "{before}");
        }
        for before in [
            "",
            "It is ",
            "not hard to see that ",
            "She does not eat, so it is ",
            "if not, ",
            "it is not 3 but ",
        ] {
            assert!(!denies_next(before), "{before}");
        }
        for after in [
            " is wrong.",
            "$ is not the answer",
            "** isn't right",
            " is clearly incorrect",
            " are both wrong",
        ] {
            assert!(denies_last(after), "{after}");
        }
        for after in ["", " is right", " is the answer, not 7", ". That is wrong"] {
            assert!(!denies_last(after), "{after}");
        }
    }

    #[test]
    fn what_is_taken_back_is_found() {
        let back = |text: &'static str| taken_back(text).map(|(at, doubt)| (&text[at..], doubt));
        assert_eq!(back("42... no, 24."), Some((", 24.", Doubt::Sure)));
        assert_eq!(back("A. No wait, B."), Some((", B.", Doubt::Sure)));
        assert_eq!(back("7. Actually it is 8"), Some((" it is 8", Doubt::Perhaps)));
        assert_eq!(back("there is no, or little, doubt; waiting"), None);
    }
}
