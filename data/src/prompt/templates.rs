//! The default prompts: chats, plain text, and marks.

/// The three prompts in Jinja, over `question`, `instruction`, `candidates` (a list) and `integration`.
///
/// Each must hold the question, then every candidate in order, then the integration, each exactly once, so that
/// prompts with the same beginning share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Templates {
    /// Stage 1, over `question`: asks for a candidate.
    pub answer: String,
    /// Stage 2, over `question` and `candidates`: asks for one answer made from all of them.
    pub integrate: String,
    /// Stage 3, over `question`, `candidates` (all but one) and `integration`: asks for an answer again.
    pub project: String,
    /// What is said behind a question; may be empty.
    pub instruction: String,
    /// Whether it is also said where a row's prompt is a list of messages, which says itself what it wants.
    pub instructs_messages: bool,
}

/// What the default prompts of chats say behind a question.
pub const INSTRUCTION: &str = "Reason step by step, and put your final answer within \\boxed{}.";

impl Default for Templates {
    /// In plain language, for models that follow instructions. Answers are asked for in `\boxed{}`.
    fn default() -> Self {
        const CANDIDATES: &str = "{% for candidate in candidates %}\n\n\
            ### Candidate {{ loop.index }}\n{{ candidate }}{% endfor %}\n\n";
        const BEHIND: &str = "{% if instruction %} {{ instruction }}{% endif %}";
        Self {
            answer: "{{ question }}{% if instruction %}\n\n{{ instruction }}{% endif %}".to_owned(),
            integrate: format!(
                "{{{{ question }}}}\n\nBelow are candidate answers to this question. Some may be wrong.{CANDIDATES}\
                 ### Task\nCompare the candidates, keep what is right in them, and write one complete answer to the \
                 question.{BEHIND}"
            ),
            project: format!(
                "{{{{ question }}}}\n\nBelow are candidate answers to this question, and an answer that was made from \
                 them and one more. Some may be wrong.{CANDIDATES}### Integrated answer\n{{{{ integration }}}}\n\n\
                 ### Task\nAnswer the question yourself.{BEHIND}"
            ),
            instruction: INSTRUCTION.to_owned(),
            instructs_messages: false,
        }
    }
}

impl Templates {
    /// Whether a query is asked as [`Templates::plain`] or [`Templates::marks`] do, and not in somebody's own words.
    pub(super) fn are_for_text(&self) -> bool {
        [Self::plain().answer, Self::marks().answer].contains(&self.answer)
    }

    /// English text that a base model can go on with.
    pub fn plain() -> Self {
        const HEAD: &str = "Question: {{ question }}\n";
        const CANDIDATES: &str = "{% for candidate in candidates %}Candidate answer {{ loop.index }}: {{ candidate }}\n{% endfor %}";
        const FINAL: &str = "Final answer, after weighing the candidates:";
        Self {
            answer: format!("{HEAD}Answer:"),
            integrate: format!("{HEAD}{CANDIDATES}{FINAL}"),
            project: format!("{HEAD}{CANDIDATES}{FINAL} {{{{ integration }}}}\nAnother answer:"),
            instruction: String::new(),
            instructs_messages: false,
        }
    }

    /// Short marks between the parts, for tiny models whose tokenizer has `<q>`, `<a>` and `<final>` as tokens.
    pub fn marks() -> Self {
        const CANDIDATES: &str = "{% for c in candidates %}<a>{{ c }}{% endfor %}";
        Self {
            answer: "<q>{{ question }}<a>".to_owned(),
            integrate: format!("<q>{{{{ question }}}}{CANDIDATES}<final>"),
            project: format!("<q>{{{{ question }}}}{CANDIDATES}<final>{{{{ integration }}}}<a>"),
            instruction: String::new(),
            instructs_messages: false,
        }
    }
}
