//! What the words around an answer say of it: that it is not the answer, that it is one of two, that it is taken back,
//! or nothing.

use super::math;

/// Bytes before and behind an answer that are looked at for words about it.
const NEAR: usize = 120;

/// Words that may stand between a "not" and what it denies.
const BETWEEN: [&str; 34] = [
    "a", "an", "and", "answer", "be", "believe", "choice", "correct", "either", "equal", "equals", "exactly",
    "final", "get", "have", "in", "is", "it", "it's", "just", "of", "option", "or", "right", "say", "simply",
    "that", "the", "think", "to", "value", "are", "this", "both",
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
                "also" | "be" | "both" | "clearly" | "definitely" | "all" | "simply" | "just"
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

/// Where the last words end that take back what stands before them, and how surely they do.
pub(super) fn taken_back(text: &str) -> Option<(usize, Doubt)> {
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
    const PERHAPS: [&str; 4] = ["wait", "actually", "hmm", "or rather"];
    if text.len() < 3 {
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
    [
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

/// Without the marks that only wrap an answer in prose: Markdown's emphasis and code, quotes, tags of HTML, bullets.
pub(super) fn unwrapped(text: &str) -> &str {
    const PAIRS: [(&str, &str); 15] = [
        ("```", "```"),
        ("***", "***"),
        ("**", "**"),
        ("__", "__"),
        ("*", "*"),
        ("_", "_"),
        ("`", "`"),
        ("\"", "\""),
        ("'", "'"),
        ("<b>", "</b>"),
        ("<strong>", "</strong>"),
        ("<i>", "</i>"),
        ("<em>", "</em>"),
        ("<u>", "</u>"),
        ("<", ">"),
    ];
    let mut text = text.trim();
    // Each round takes one layer off; real answers have two or three.
    for _ in 0..8 {
        let before = text;
        text = text
            .trim_start_matches(['→', '⇒', '∴', '•', '▪', '➜', '►'])
            .trim();
        for (open, close) in PAIRS {
            if let Some(inner) = text
                .strip_prefix(open)
                .and_then(|rest| {
                    rest.strip_suffix(close)
                        .or_else(|| rest.strip_suffix('.')?.strip_suffix(close))
                })
                .filter(|inner| !inner.contains(open) && !inner.is_empty())
            {
                text = inner.trim();
            }
        }
        if text == before {
            break;
        }
    }
    text
}

/// Without what marks a line in Markdown: a quote, a heading, an item. A dash stays: it may be a minus.
pub(super) fn unlisted(line: &str) -> &str {
    let line = line.trim();
    let bare = line.trim_start_matches('#');
    let bare = if bare.starts_with(' ') {
        bare.trim_start()
    } else {
        line
    };
    bare.strip_prefix("> ")
        .or_else(|| bare.strip_prefix("* "))
        .unwrap_or(bare)
}

/// The last words of labels.
const LABELS: [&str; 19] = [
    "answer",
    "answers",
    "ans",
    "a",
    "result",
    "total",
    "final",
    "solution",
    "output",
    "so",
    "thus",
    "therefore",
    "hence",
    "conclusion",
    "sum",
    "value",
    "number",
    "area",
    "probability",
];

/// Without a label in front, `Answer: 42`, `Ans: 42`, `**Total:** 42`; a ratio `3 : 4` and a map `f: x` have none.
pub(super) fn unlabelled(text: &str) -> &str {
    let Some((label, rest)) = text.split_once(':') else {
        return text;
    };
    let plain = label.trim_matches(|c: char| c.is_whitespace() || "*_#".contains(c));
    let words = plain.chars().all(|c| c.is_alphabetic() || " '".contains(c));
    let last = plain.rsplit(' ').next().unwrap_or("").to_lowercase();
    let is_label = words && LABELS.contains(&last.as_str());
    let rest = rest.trim_start_matches(['*', '_']).trim_start();
    if is_label && label.len() <= 40 && !rest.is_empty() {
        rest
    } else {
        text
    }
}

/// Without what only comments on an answer behind it: a clause ("…, since 6 · 7 = 42", ", not 24") or words in brackets
/// ("(in cm)").
pub(super) fn without_comment(text: &str) -> &str {
    const CLAUSES: [&str; 26] = [
        ", since ",
        " since ",
        ", because ",
        " because ",
        ", as ",
        ", which ",
        " which ",
        ", where ",
        ", not ",
        " and not ",
        ", and not ",
        ", but not ",
        " but not ",
        ", rather than ",
        " rather than ",
        " instead of ",
        " and that ",
        ", and that ",
        ", so ",
        " so that ",
        ", by ",
        ", after ",
        ", i.e.",
        ", when ",
        " — ",
        ", thus ",
    ];
    let mut end = text.len();
    for clause in CLAUSES {
        if let Some(at) = text[..end].find(clause).filter(|at| *at > 0) {
            end = at;
        }
    }
    let mut text = text[..end].trim_end();
    // Real answers have one such bracket.
    for _ in 0..3 {
        let bare = text.trim_end_matches(['.', ',', ';']);
        match bare
            .strip_suffix(')')
            .and_then(|inside| Some((inside, inside.rfind('(')?)))
        {
            Some((inside, open)) if comments(text, open, &inside[open + 1..]) => {
                text = text[..open].trim_end()
            }
            _ => break,
        }
    }
    text
}

/// Whether a bracket that opens at `open` behind a space holds words and no mathematics, nor another answer.
fn comments(text: &str, open: usize, inside: &str) -> bool {
    let spaced = text[..open].ends_with([' ', '\u{a0}', '~']) && !text[..open].trim_end().is_empty();
    let first = inside
        .split(|c: char| !c.is_alphabetic())
        .find(|word| !word.is_empty());
    let offers = first
        .is_some_and(|first| matches!(first.to_lowercase().as_str(), "or" | "maybe" | "perhaps" | "and"));
    let words = inside
        .split(|c: char| !c.is_alphabetic())
        .any(|word| word.len() >= 3 && !math::is_known_word(word));
    let unit = super::spelling::is_unit(inside.trim());
    spaced && !offers && (words || unit) && !inside.contains('\\')
}

/// Without words in front that only lead to an answer: "approximately", "exactly", "equal to", "therefore".
pub(super) fn led_to(text: &str) -> &str {
    const LEADS: [&str; 34] = [
        "about",
        "approximately",
        "roughly",
        "around",
        "exactly",
        "precisely",
        "equal to",
        "equals",
        "simply",
        "just",
        "only",
        "therefore",
        "thus",
        "hence",
        "then",
        "so",
        "clearly",
        "indeed",
        "given by",
        "now",
        "the number",
        "the value",
        "the set",
        "option",
        "choice",
        "i think",
        "we get",
        "we have",
        "it is",
        "it's",
        "that",
        "and",
        "still",
        "certainly",
    ];
    let mut text = text.trim_start();
    for _ in 0..6 {
        let before = text;
        for lead in LEADS {
            if let Some(head) = text.get(..lead.len())
                && head.eq_ignore_ascii_case(lead)
                && text[lead.len()..].starts_with([' ', ',', ':'])
            {
                text = text[lead.len()..].trim_start_matches([' ', ',', ':']);
            }
        }
        if text == before {
            break;
        }
    }
    text
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
        let back = |text: &str| taken_back(text).map(|(at, doubt)| (&text[at..], doubt));
        assert_eq!(back("42... no, 24."), Some((", 24.", Doubt::Sure)));
        assert_eq!(back("A. No wait, B."), Some((", B.", Doubt::Sure)));
        assert_eq!(back("7. Actually it is 8"), Some((" it is 8", Doubt::Perhaps)));
        assert_eq!(back("there is no, or little, doubt; waiting"), None);
    }

    #[test]
    fn dressing_comes_off() {
        for (text, wanted) in [
            ("**42**", "42"),
            ("`x = 4`.", "x = 4"),
            ("<b>7</b>", "7"),
            ("→ 42", "42"),
            ("x_1*y", "x_1*y"),
        ] {
            assert_eq!(unwrapped(text), wanted);
        }
        for (text, wanted) in [
            ("Answer: 42", "42"),
            ("A: 42", "42"),
            ("3 : 4", "3 : 4"),
            ("x: 4", "x: 4"),
            ("**Total:** 7", "7"),
        ] {
            assert_eq!(unlabelled(text), wanted);
        }
        for (text, wanted) in [
            ("42 (in cm)", "42"),
            ("42 (cm).", "42"),
            ("42, not 24", "42"),
            ("18 (or 19)", "18 (or 19)"),
            ("3 (x+1)", "3 (x+1)"),
            ("f(abc)", "f(abc)"),
            ("42, since 6*7=42", "42"),
        ] {
            assert_eq!(without_comment(text), wanted);
        }
        assert_eq!(led_to("approximately equal to 42"), "42");
        assert_eq!(led_to("about"), "about");
    }
}
