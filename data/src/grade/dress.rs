//! What answers are dressed in where they stand in prose: emphasis, quotes, labels, comments, words that lead to them.

use super::math;

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
    const CLAUSES: [&str; 27] = [
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
        " -- ",
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
