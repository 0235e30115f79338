//! How answers are dressed: spellings, wrappings, units.

/// One spelling for what is written in several ways. Linear in the text.
pub fn normalise(text: &str) -> String {
    const SPELLINGS: [(&str, &str); 33] = [
        (",\\! ", ","),
        (",\\!", ","),
        ("\\left", ""),
        ("\\right", ""),
        ("\\!", ""),
        ("\\,", " "),
        ("\\;", " "),
        ("\\:", " "),
        ("\\ ", " "),
        ("\\%", "%"),
        ("\\$", "$"),
        ("\\dfrac", "\\frac"),
        ("\\tfrac", "\\frac"),
        ("\\cfrac", "\\frac"),
        ("\\times", "*"),
        ("\\cdot", "*"),
        ("\\textbf{", "{"),
        ("\\textit{", "{"),
        ("\\text{", "{"),
        ("\\mathrm{", "{"),
        ("\\mathbf{", "{"),
        ("\\mbox{", "{"),
        ("^{\\circ}", " degrees "),
        ("^\\circ", " degrees "),
        ("{,}", ","),
        ("°", " degrees "),
        ("×", "*"),
        ("·", "*"),
        ("−", "-"),
        ("~", " "),
        ("\u{a0}", " "),
        ("\u{202f}", " "),
        ("\u{2009}", " "),
    ];
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let special = !c.is_ascii() || matches!(c, '\\' | '^' | '{' | '~' | ',');
        let spelling = special
            .then(|| SPELLINGS.iter().find(|(from, _)| rest.starts_with(from)))
            .flatten();
        match spelling {
            Some((from, to)) => {
                out.push_str(to);
                rest = &rest[from.len()..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

/// Without what only wraps an answer: spaces, math marks, emphasis, one pair of braces, a full stop.
pub fn unwrapped(text: &str) -> &str {
    let mut text = text;
    // Each round takes one layer off; real answers have two or three.
    for _ in 0..8 {
        let before = text;
        text = text
            .trim()
            .trim_end_matches(['.', ',', ';', ':', '!', '?'])
            .trim_end();
        for (open, close) in [
            ("$$", "$$"),
            ("$", "$"),
            ("\\(", "\\)"),
            ("\\[", "\\]"),
            ("**", "**"),
            ("{", "}"),
            ("(", ")"),
            ("[", "]"),
            ("\"", "\""),
            ("`", "`"),
        ] {
            if let Some(inner) = text
                .strip_prefix(open)
                .and_then(|t| t.strip_suffix(close))
                .filter(|inner| !inner.contains(open) && !inner.contains(close))
            {
                text = inner;
            }
        }
        if text == before {
            break;
        }
    }
    text
}

/// Is `tail` a unit, so that the number in front of it is the whole answer?
///
/// A currency sign, words of two letters or more, and the usual one-letter units. `3x` and `5 or 6` are not numbers with units.
pub fn is_unit(tail: &str) -> bool {
    const NOT_UNITS: [&str; 9] = [
        "or", "and", "to", "pi", "plus", "minus", "times", "dozen", "hundred",
    ];
    const SHORT: [&str; 5] = ["m", "g", "s", "h", "l"];
    if matches!(tail, "$" | "£" | "€" | "¥" | "₹") {
        return true;
    }
    let mut words = 0;
    for word in tail.split(|c: char| c.is_whitespace() || "{}/*.,()".contains(c)) {
        // "cm^2", "m^{3}": the power belongs to the unit.
        let word = word.split('^').next().unwrap_or(word).to_lowercase();
        if word.is_empty() || (words > 0 && (word == "2" || word == "3")) {
            continue;
        }
        let short = word.chars().count() == 1 && !SHORT.contains(&word.as_str());
        let letters = word.chars().all(|c| c.is_alphabetic() || "'-$".contains(c));
        if !letters || short || NOT_UNITS.contains(&word.as_str()) {
            return false;
        }
        words += 1;
    }
    words > 0
}
