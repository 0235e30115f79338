//! Letters of multiple-choice answers.

/// The letters of choices.
const LETTERS: std::ops::RangeInclusive<char> = 'A'..='J';

/// What stands behind these, in lower case, is the choice.
const MARKS: [&str; 10] = [
    "answer is",
    "answer:",
    "answer :",
    "answer",
    "réponse est",
    "réponse",
    "respuesta",
    "antwort",
    "答案是",
    "答案",
];

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

/// The letter that a text decides for, and the words that say so.
pub(super) fn of_text(text: &str) -> Option<(char, String)> {
    if let Some(inside) = super::extract::last_boxed(text) {
        return leading(inside).map(|letter| (letter, inside.trim().to_owned()));
    }
    let found = |letter: char| (letter, letter.to_string());
    let lower = text.to_lowercase();
    if lower.len() == text.len() {
        let mark = MARKS
            .iter()
            .find_map(|mark| lower.rfind(mark).map(|at| at + mark.len()));
        if let Some(at) = mark.filter(|at| text.is_char_boundary(*at)) {
            let rest = &text[at..];
            let near = rest.char_indices().nth(200).map_or(rest, |(end, _)| &rest[..end]);
            if let Some(letter) = leading(near).or_else(|| standing(near).first().copied()) {
                return Some(found(letter));
            }
        }
    }
    leading(text)
        .or_else(|| standing(text).last().copied())
        .map(found)
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

/// Letters that stand alone. An `A` before a small word is an article, an `I` is a person.
fn standing(text: &str) -> Vec<char> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    for (at, c) in chars
        .iter()
        .enumerate()
        .filter(|(_, c)| LETTERS.contains(c) && **c != 'I')
    {
        let joined =
            |c: Option<&char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == '\\');
        if joined(at.checked_sub(1).and_then(|at| chars.get(at))) || joined(chars.get(at + 1)) {
            continue;
        }
        let word: String = chars[at + 1..]
            .iter()
            .skip(1)
            .take_while(|c| c.is_alphabetic())
            .collect();
        let article = *c == 'A' && chars.get(at + 1) == Some(&' ') && word.starts_with(char::is_lowercase);
        let verb = matches!(
            word.as_str(),
            "is" | "or" | "and" | "because" | "since" | "as" | "b"
        );
        if !article || verb {
            found.push(*c);
        }
    }
    found
}
