//! `format`: whether a completion has the form that was asked for.

use gcpo_data::grade::last_boxed;

use crate::section::{Check, section, words};

section! {
    /// A form that a completion has, or has not.
    pub struct Format from FormatDraft {
        /// `"boxed"` (an answer in `\boxed{…}`), `"think"` (`<think>…</think>`, then an answer) or `"think_answer"`
        /// (`<think>…</think><answer>…</answer>`). Source: open-r1 and TRL.
        pub style: FormatStyle = FormatStyle::Boxed,
        /// A completion of another form counts as wrong, whatever its answer, and the form itself earns nothing; without
        /// it, the form earns 1. Source: this project.
        pub gates: bool = true,
    }
}

impl Check for Format {}

words! {
    /// Which form.
    FormatStyle {
        /// An answer in a box.
        Boxed = "boxed",
        /// A thought, then an answer.
        Think = "think",
        /// A thought and an answer, each in its tags.
        ThinkAnswer = "think_answer",
    }
}

impl Format {
    /// Whether the completion has this form.
    ///
    /// * `boxed`: its last closed `\boxed{…}` behind the thought, if there was one, is not empty.
    /// * `think`: `<think>`, a thought, `</think>`, and an answer, each tag once; TRL's `think_format_reward`, which also
    ///   lets the answer be missing and `</think>` be said again.
    /// * `think_answer`: `<think>`, a thought, `</think>`, `<answer>`, an answer, `</answer>`, each tag once and with
    ///   nothing but white space between and around them; open-r1's `format_reward`, which also wants the line breaks
    ///   and lets more lines follow.
    ///
    /// Where the chat template ends the prompt with `<think>`, the completion goes on from there.
    pub fn holds(&self, prompt: &str, completion: &str) -> bool {
        let opened = prompt.trim_end().ends_with("<think>");
        match self.style {
            FormatStyle::Think => after_thought(opened, completion).is_some_and(|rest| !rest.is_empty()),
            FormatStyle::ThinkAnswer => after_thought(opened, completion).is_some_and(is_answer),
            FormatStyle::Boxed => {
                let answer = completion.rsplit("</think>").next().unwrap_or_default();
                last_boxed(answer).is_some_and(|inside| !inside.trim().is_empty())
            }
        }
    }
}

/// What follows `<think>…</think>`, trimmed. `opened`: the prompt said `<think>`.
fn after_thought(opened: bool, completion: &str) -> Option<&str> {
    let thought = if opened {
        completion
    } else {
        completion.trim_start().strip_prefix("<think>")?
    };
    let (thought, rest) = thought.split_once("</think>")?;
    let again = [thought, rest]
        .iter()
        .any(|part| part.contains("<think>") || part.contains("</think>"));
    (!again).then_some(rest.trim())
}

/// Whether a trimmed text is `<answer>…</answer>`, with something in it and no such tag more.
fn is_answer(text: &str) -> bool {
    let inside = text
        .strip_prefix("<answer>")
        .and_then(|rest| rest.strip_suffix("</answer>"));
    inside.is_some_and(|inside| {
        !inside.trim().is_empty() && !inside.contains("<answer>") && !inside.contains("</answer>")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(style: FormatStyle) -> Format {
        Format { style, gates: true }
    }

    #[track_caller]
    fn holds(style: FormatStyle, cases: &[(&str, bool)]) {
        for (text, expected) in cases {
            assert_eq!(format(style).holds("q", text), *expected, "{text:?}");
        }
    }

    #[test]
    fn a_box_holds_something_and_stands_behind_the_thought() {
        holds(
            FormatStyle::Boxed,
            &[
                ("so \\boxed{42}.", true),
                ("so \\boxed{\\frac{1}{2}}", true),
                ("so 42", false),
                ("so \\boxed{}", false),
                ("so \\boxed{ }", false),
                ("so \\boxed{42", false),
                ("<think>\\boxed{1}</think> it is 1", false),
                ("<think>1</think> \\boxed{1}", true),
                ("", false),
            ],
        );
    }

    #[test]
    fn a_thought_is_closed_once_and_answered() {
        holds(
            FormatStyle::Think,
            &[
                ("<think>a</think>b", true),
                ("\n<think>\na\nb\n</think>\n\nb", true),
                ("<think></think>b", true),
                ("<think>a</think>", false),
                ("<think>a", false),
                ("a</think>b", false),
                ("x<think>a</think>b", false),
                ("<think>a<think>b</think>c", false),
                ("<think>a</think>b</think>c", false),
                ("b", false),
            ],
        );
        let think = format(FormatStyle::Think);
        assert!(think.holds("<|assistant|><think>\n", "a</think>b"));
        assert!(!think.holds("<|assistant|><think>\n", "<think>a</think>b"));
        assert!(!think.holds("<think>\n", "a"));
    }

    #[test]
    fn an_answer_stands_alone_in_its_tags() {
        holds(
            FormatStyle::ThinkAnswer,
            &[
                ("<think>\na\n</think>\n<answer>\nb\n</answer>", true),
                ("<think>a</think><answer>b</answer>\n", true),
                ("<think>a</think><answer> </answer>", false),
                ("<think>a</think>b", false),
                ("<think>a</think> so <answer>b</answer>", false),
                ("<think>a</think><answer>b</answer> bye", false),
                ("<think>a</think><answer>b</answer><answer>c</answer>", false),
                ("<answer>b</answer>", false),
                ("<think>a<answer>b</answer></think>", false),
            ],
        );
    }
}
