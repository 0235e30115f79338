//! What is asked, and what counts as right.

use crate::{CodeProblem, Message};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// One problem of a data set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Name of the problem, for logs and samples: the data's own, or `FILE-ROW`.
    pub id: String,
    /// What is asked, as text; of a conversation, what the user says last.
    pub question: String,
    /// The gold answer, where there is one. A plain number is in its shortest form: `43.0` and `1,080` become `43` and `1080`.
    pub answer: Option<String>,
    /// A worked solution that ends in the answer, for supervised training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub solution: Option<String>,
    /// What it is about, where the data say so: a subject, a course, a kind. Evaluations count by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How hard it is, where the data say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// What a chat template is given beside the question, where the row says something.
    #[serde(default, skip_serializing_if = "Turns::is_empty")]
    pub turns: Turns,
    /// Tests, in the place of a gold answer, where the answer is a program; and how such a one is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Box<CodeProblem>>,
    /// The columns of its row as they are in the file, but `prompt`: what rewards that are programs are given.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub columns: Map<String, Value>,
    /// Where it is from; of no problem that was made.
    #[serde(skip)]
    pub place: Option<Place>,
}

/// What stands around a question in a conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Turns {
    /// Whether the row's prompt is a list of messages, and no text.
    pub are_given: bool,
    /// What was said before the question: the system's message, and earlier turns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Message>,
    /// How the answer begins: an assistant's message that the model goes on with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begun: Option<String>,
    /// Arguments of the chat template, beside the config's.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub chat_template_kwargs: Map<String, Value>,
}

impl Turns {
    /// Whether there is nothing but the question.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether there is a message that a system says, to which none is added.
    pub fn has_system(&self) -> bool {
        let mut roles = self.before.iter().map(|message| message.role.as_str());
        roles.any(|role| role == "system" || role == "developer")
    }
}

/// A row of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which of the paths that were named, counted from 0.
    pub part: usize,
    /// The file.
    pub file: Arc<str>,
    /// The line that the row begins on, counted from 1.
    pub line: usize,
}

impl Problem {
    /// A whole answer: what a model wrote, behind the beginning that it was given, if it was.
    pub fn answered(&self, text: String) -> String {
        match &self.turns.begun {
            Some(begun) => format!("{begun}{text}"),
            None => text,
        }
    }

    /// The problem for people: its name, and its file and line where it has them.
    pub fn named(&self) -> String {
        match &self.place {
            Some(place) => format!("`{}` ({}:{})", self.id, place.file, place.line),
            None => format!("`{}`", self.id),
        }
    }
}
