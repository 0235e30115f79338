//! What somebody meant who mistyped a name.

/// Names less alike than this have nothing to do with each other.
const LEAST: f64 = 0.7;

/// The known name that is most like what was typed, whatever the case, if one is alike: by the similarity of Jaro and
/// Winkler, which weighs the beginning. Of equally near names the first.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let mut best = (LEAST, None);
    for name in known {
        let alike = strsim::jaro_winkler(&typed, &name.to_lowercase());
        if alike > best.0 {
            best = (alike, Some(name));
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_another_word_is_not() {
        let known = ["gsm8k", "svamp", "math", "math500", "learning_rate"];
        for (typed, meant) in [
            ("GSM8", Some("gsm8k")),
            ("math5000", Some("math500")),
            ("learningrate", Some("learning_rate")),
            ("svmap", Some("svamp")),
            ("zzz", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
        assert_eq!(nearest("ab", ["abx", "aby"]), Some("abx"));
    }
}
