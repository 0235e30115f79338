//! Words that stand for mathematics: numbers, infinity, the empty set, all reals.

use super::node::{Const, Node};
use num_bigint::BigInt;
use num_traits::{One, Zero};

/// A phrase of more words than this is not read as a number.
const MAX_WORDS: usize = 20;
/// Nor is a longer text.
const MAX_BYTES: usize = 200;

const ONES: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 8] = [
    "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
];
/// Names of parts, and how many make a whole.
const PARTS: [(&str, u32); 13] = [
    ("half", 2),
    ("halves", 2),
    ("third", 3),
    ("quarter", 4),
    ("fourth", 4),
    ("fifth", 5),
    ("sixth", 6),
    ("seventh", 7),
    ("eighth", 8),
    ("ninth", 9),
    ("tenth", 10),
    ("twelfth", 12),
    ("hundredth", 100),
];

/// The power of ten of `thousand` and its like.
pub(super) fn zeros(word: &str) -> Option<u32> {
    Some(match word {
        "hundred" => 2,
        "thousand" => 3,
        "million" => 6,
        "billion" => 9,
        "trillion" => 12,
        _ => return None,
    })
}

/// What a phrase stands for, where it is all a number: `forty-two`, `minus one half`, `infinity`.
pub(crate) fn value(text: &str) -> Option<Node> {
    let text = text.trim().trim_end_matches(['.', '!', '?']);
    if text.len() > MAX_BYTES || !text.starts_with(|c: char| c.is_alphabetic()) {
        return None;
    }
    let lower = text.to_lowercase();
    let mut words: Vec<&str> = lower
        .split(|c: char| c.is_whitespace() || c == '-')
        .filter(|word| !word.is_empty())
        .take(MAX_WORDS + 1)
        .collect();
    if words.len() > MAX_WORDS || words.is_empty() {
        return None;
    }
    let sign = matches!(words[0], "minus" | "negative");
    if sign || words[0] == "positive" {
        words.remove(0);
    }
    let value = match words.as_slice() {
        ["infinity"] => Node::Const(Const::Infinity),
        words => fraction(words)?,
    };
    Some(if sign { Node::Neg(value.into()) } else { value })
}

/// A whole number, or so many parts: `three quarters`, `a half`.
fn fraction(words: &[&str]) -> Option<Node> {
    let (last, count) = words.split_last()?;
    let single = last.strip_suffix('s').unwrap_or(last);
    let Some((_, parts)) = PARTS.iter().find(|(name, _)| *name == *last || *name == single) else {
        return whole(words).map(Node::Int);
    };
    let count = match count {
        [] if *parts == 2 => BigInt::one(),
        ["a"] => BigInt::one(),
        count => whole(count)?,
    };
    Some(Node::Div(
        Node::Int(count).into(),
        Node::int(i64::from(*parts)).into(),
    ))
}

fn whole(words: &[&str]) -> Option<BigInt> {
    let (mut total, mut group) = (BigInt::zero(), None::<u64>);
    // What may still follow in the group: tens, ones, or only a scale.
    let mut room = 1000;
    for (at, word) in words.iter().enumerate() {
        let small = ONES.iter().position(|one| one == word).map(|value| value as u64);
        let tens = TENS
            .iter()
            .position(|ten| ten == word)
            .map(|at| 20 + 10 * at as u64);
        if let Some(value) = small.or(tens) {
            if value >= room || (value == 0 && words.len() > 1) {
                return None;
            }
            group = Some(group.unwrap_or(0) + value);
            room = if tens.is_some() { 10 } else { 1 };
        } else if let Some(zeros) = zeros(word) {
            let count = group.or((at == 0).then_some(1))?;
            if zeros == 2 {
                group = Some(count.checked_mul(100).filter(|value| *value < 10_000)?);
                room = 100;
            } else {
                total += BigInt::from(count) * BigInt::from(10).pow(zeros);
                group = None;
                room = 1000;
            }
        } else {
            let joins = *word == "and" && at > 0 && at + 1 < words.len() && zeros(words[at - 1]).is_some();
            let article = *word == "a" && at == 0 && words.get(1).is_some_and(|next| zeros(next).is_some());
            if !joins && !article {
                return None;
            }
            if article {
                group = Some(1);
            }
        }
    }
    (group.is_some() || !total.is_zero()).then(|| total + BigInt::from(group.unwrap_or(0)))
}

/// The set that a phrase stands for: none for `no solution`, all for `all real numbers`.
pub(super) fn set(text: &str) -> Option<Node> {
    match plain(text).as_str() {
        NO_SOLUTION => Some(Node::Set(Vec::new())),
        "allrealnumbers" | "allreals" | "everyrealnumber" | "anyrealnumber" | "realnumbers" | "allreal" => {
            Some(Node::NumberSet('ℝ'))
        }
        _ => None,
    }
}

const NO_SOLUTION: &str = "nosolution";

/// Letters and digits in lower case, without an article in front; one of several spellings where there are some. What
/// words are compared by.
pub(crate) fn plain(text: &str) -> String {
    let lower = text.trim().to_lowercase();
    let bare = ["the ", "an ", "a "]
        .iter()
        .find_map(|article| lower.strip_prefix(article))
        .filter(|rest| rest.trim().chars().count() > 1)
        .unwrap_or(&lower);
    let words: String = bare.chars().filter(|c| c.is_alphanumeric()).collect();
    match words.as_str() {
        "nosolutions"
        | "norealsolution"
        | "norealsolutions"
        | "nosolutionexists"
        | "nosolutionsexist"
        | "emptyset"
        | "none"
        | "therearenosolutions"
        | "thereisnosolution"
        | "nullset" => NO_SOLUTION.to_owned(),
        "doesnotexist" | "doesntexist" | "limitdoesnotexist" | "nonexistent" => "dne".to_owned(),
        _ => words,
    }
}

#[cfg(test)]
mod tests {
    use super::{plain, value};

    #[test]
    fn numbers_in_words() {
        for (text, wanted) in [
            ("twelve", "12"),
            ("Forty-two.", "42"),
            ("zero", "0"),
            ("one hundred and five", "105"),
            ("a thousand", "1000"),
            ("twelve hundred", "1200"),
            ("two million three hundred four thousand and seventeen", "2304017"),
            ("minus seven", "-7"),
            ("three quarters", "3/4"),
            ("one half", "1/2"),
            ("infinity", "∞"),
        ] {
            assert_eq!(
                value(text).map(|node| node.to_string()).as_deref(),
                Some(wanted),
                "{text}"
            );
        }
        for text in [
            "",
            "and",
            "two and three",
            "twenty thirty",
            "five six",
            "half past two",
            "a",
            "one zero",
            "a few",
        ] {
            assert_eq!(value(text), None, "{text}");
        }
    }

    #[test]
    fn words_are_compared_by_what_they_say() {
        for (a, b) in [
            ("an ellipse", "Ellipse"),
            ("No solutions.", "no real solution"),
            ("DNE", "does not exist"),
        ] {
            assert_eq!(plain(a), plain(b));
        }
        assert_ne!(plain("no"), plain("none"));
        assert_ne!(plain("a"), plain(""));
    }
}
