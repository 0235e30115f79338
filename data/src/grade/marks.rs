//! Words that say where an answer stands: "the answer is …", "Answer: …", "… is the final answer".

/// Where such words stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub start: usize,
    pub end: usize,
    /// The answer stands before them: "42 is the answer".
    pub is_behind: bool,
    /// They call it the final one.
    pub is_final: bool,
    /// They offer another one: "or the answer is".
    pub is_offered: bool,
}

/// How a mark begins, in lower case, and whether it counts only in the last sentence of a text.
const STEMS: [(&str, bool); 10] = [
    ("answers", false),
    ("answer", false),
    ("solution", false),
    ("réponse", false),
    ("respuesta", false),
    ("antwort", false),
    ("答案", false),
    ("result", true),
    ("ans", true),
    ("conclusion", true),
];

/// What makes a stem a mark.
const VERBS: [&str; 25] = [
    " would be",
    " will be",
    " should be",
    " must be",
    " has to be",
    " comes to",
    " comes out to",
    " comes out to be",
    " is therefore",
    " is thus",
    " is",
    " are",
    " was",
    " equals",
    " =",
    " est",
    " es",
    " ist",
    " lautet",
    ":**",
    "**:",
    " :",
    ":",
    "是",
    "为",
];

/// What follows an answer that stands before its mark.
const BEHIND: [&str; 9] = [
    "is the answer",
    "is the final answer",
    "is the correct answer",
    "is the right answer",
    "is my answer",
    "is my final answer",
    "is our answer",
    "is correct",
    "is right",
];

/// The last mark of a text.
pub(super) fn last(text: &str) -> Option<Mark> {
    let lower = text.to_lowercase();
    // Lower case may have another length: then places do not carry over.
    let lower = if lower.len() == text.len() { &lower } else { text };
    let before = STEMS
        .iter()
        .filter_map(|(stem, weak)| last_of(lower, stem, *weak))
        .max_by_key(|mark| mark.end);
    let behind = BEHIND
        .iter()
        .filter_map(|words| last_behind(lower, words))
        .max_by_key(|mark| mark.end);
    match (before, behind) {
        (Some(before), Some(behind)) if behind.end > before.end => Some(behind),
        (before, behind) => before.or(behind),
    }
}

fn last_of(lower: &str, stem: &str, weak: bool) -> Option<Mark> {
    lower.rmatch_indices(stem).take(50).find_map(|(start, _)| {
        let apart = !lower[..start]
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphabetic() && !is_han(c));
        let at = start + stem.len();
        let verb = VERBS.iter().find(|verb| {
            lower[at..].starts_with(**verb) && !(stem == "solution" && verb.contains([':', '=']))
        })?;
        let end = at + verb.len();
        let word = verb.ends_with(|c: char| c.is_alphabetic() && !is_han(c));
        let whole = !word || !lower[end..].starts_with(|c: char| c.is_alphanumeric() || c == '\'');
        if !apart || !whole || weak && !in_last_sentence(&lower[end..]) {
            return None;
        }
        let words = lower[..start].trim_end_matches([' ', '*', '#', '_']);
        let is_final = words.ends_with("final");
        let mut lead = words;
        for word in [
            "final", "correct", "right", "best", "possible", "the", "my", "our", "another", "that",
        ] {
            lead = lead.strip_suffix(word).unwrap_or(lead).trim_end();
        }
        Some(Mark {
            start,
            end: end + lower[end..].len()
                - lower[end..]
                    .trim_start_matches([' ', '\t', '\n', '\r', ':', '*', '：'])
                    .len(),
            is_behind: false,
            is_final,
            is_offered: lead.ends_with(" or"),
        })
    })
}

fn last_behind(lower: &str, words: &str) -> Option<Mark> {
    lower.rmatch_indices(words).take(50).find_map(|(start, _)| {
        let end = start + words.len();
        let whole = !lower[end..].starts_with(char::is_alphanumeric)
            && lower[..start].ends_with([' ', '$', '*', ')']);
        // "This is correct": something must stand before it that can be an answer.
        let named = lower[..start]
            .trim_end()
            .ends_with(|c: char| c.is_ascii_digit() || "$*)}]%°`".contains(c));
        (whole && named && !lower[end..].trim_start().starts_with("to ")).then_some(Mark {
            start,
            end,
            is_behind: true,
            is_final: words.contains("final"),
            is_offered: false,
        })
    })
}

fn in_last_sentence(rest: &str) -> bool {
    let rest = rest.trim();
    !rest.contains('\n') && !rest.contains(". ") && rest.len() < 200
}

fn is_han(c: char) -> bool {
    ('\u{4e00}'..='\u{9fff}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::last;

    #[test]
    fn marks_are_words_of_their_own() {
        let behind = |text: &str| last(text).map(|mark| text[mark.end..].to_owned());
        for (text, wanted) in [
            ("The answer is 42.", Some("42.")),
            ("**Final Answer:** 42", Some("42")),
            ("the answer would be 7", Some("7")),
            ("Ans: 42", Some("42")),
            ("The result is 5. So it goes on, 6.", None),
            ("the answer isn't 42", None),
            ("Solution: first add 3", None),
            ("答案：7", Some("7")),
            ("It is the answerer: 7", None),
        ] {
            let text = text.replace('：', ":");
            assert_eq!(behind(&text).as_deref(), wanted, "{text}");
        }
        let mark = last("So 42 is the final answer, I think").unwrap();
        assert!(mark.is_behind && mark.is_final);
        assert_eq!(last("This is correct."), None);
        assert!(last("7, or the answer is 8").unwrap().is_offered);
    }
}
