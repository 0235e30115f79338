//! What a prompt is made of.

use crate::{CodeProblem, Problem, Turns};

/// Stands around the markers: a private-use character that no text has a reason to hold. A question that holds it gets another one.
const FENCE: char = '\u{f8ff}';

/// A question, and what stands around it in a conversation.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    pub(super) question: &'a str,
    pub(super) turns: Option<&'a Turns>,
    /// Where the answer is a program.
    pub(super) code: Option<&'a CodeProblem>,
}

impl<'a> From<&'a str> for Query<'a> {
    fn from(question: &'a str) -> Self {
        Self {
            question,
            turns: None,
            code: None,
        }
    }
}

impl<'a> From<&'a Problem> for Query<'a> {
    fn from(problem: &'a Problem) -> Self {
        let turns = Some(&problem.turns).filter(|turns| !turns.is_empty());
        Self {
            question: &problem.question,
            turns,
            code: problem.code.as_deref(),
        }
    }
}

impl Query<'_> {
    /// How the answer begins.
    pub(super) fn begun(&self) -> &str {
        self.turns
            .and_then(|turns| turns.begun.as_deref())
            .unwrap_or_default()
    }

    /// What it has that only a chat template writes.
    pub(super) fn needs_chat(&self) -> Option<&'static str> {
        let turns = self.turns?;
        if turns.are_given {
            Some("its prompt is a list of messages")
        } else if turns.has_system() {
            Some("its column `system` says what the system says")
        } else if !turns.chat_template_kwargs.is_empty() {
            Some("its column `chat_template_kwargs` has arguments for a chat template")
        } else {
            None
        }
    }
}

/// The character around the markers: one that no text of the query holds.
pub(super) fn fence(query: Option<Query<'_>>) -> char {
    let mut private = ('\u{e000}'..=FENCE).rev();
    let turns = query.and_then(|query| query.turns);
    let before = turns
        .iter()
        .flat_map(|turns| turns.before.iter().map(|turn| turn.content.as_str()));
    let code = query.and_then(|query| query.code);
    let shots = code
        .iter()
        .flat_map(|code| &code.shots)
        .flat_map(|shot| [shot.prompt.as_str(), &shot.solution]);
    let own = query.iter().flat_map(|query| [query.question, query.begun()]);
    let texts: Vec<&str> = before.chain(shots).chain(own).collect();
    private
        .find(|c| !texts.iter().any(|text| text.contains(*c)))
        .unwrap_or(FENCE)
}
