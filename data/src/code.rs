//! Problems whose answers are programs: rows of HumanEval, of MBPP and of MultiPL-E. Tests are their gold. This crate runs nothing.

mod read;
pub(crate) mod shots;

use crate::program::{self, Head};
use serde::{Deserialize, Serialize};

pub use shots::{NoShots, take_shots};

/// What a problem's row is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CodeForm {
    /// HumanEval: a function is begun, and one test calls it.
    Function,
    /// MBPP: a task in words, and a list of tests.
    Task,
    /// MultiPL-E: a file is begun, in any language, and tests stand at its end.
    File,
}

/// A problem whose answer is a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeProblem {
    /// Its name, `HumanEval/0`.
    pub id: String,
    /// What its row is like.
    pub form: CodeForm,
    /// What the model goes on from, a function's head with its documentation; of a task what is asked, in words.
    pub prompt: String,
    /// The function that the test of [`CodeForm::Function`] calls.
    pub entry_point: Option<String>,
    /// What to set up before the tests, which may need the answer for it.
    pub setup: String,
    /// Tests, each of which raises an error where the answer is wrong.
    pub tests: Vec<String>,
    /// The rest of the program that passes; of a task all of it. Empty where the row has none.
    pub solution: String,
    /// The language, `"python"`.
    pub language: String,
    /// What ends a program that is gone on with, where the row says it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Examples that are shown before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shots: Vec<CodeProblem>,
}

/// Behind which a function of HumanEval has ended (Chen et al., arXiv 2107.03374, section 2).
const FUNCTION_ENDS: [&str; 5] = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"];

/// What stands behind a program of MBPP in a prompt with examples (Austin et al., arXiv 2108.07732, section 3).
const TASK_ENDS: [&str; 1] = ["[DONE]"];

impl CodeProblem {
    /// A program that is right, where the data have one.
    pub fn reference(&self) -> String {
        match self.form {
            CodeForm::Task => self.solution.clone(),
            CodeForm::Function | CodeForm::File => format!("{}{}", self.prompt, self.solution),
        }
    }

    /// What a model that answers questions is asked. A task as MBPP's authors ask it, with the tests.
    pub fn question(&self) -> String {
        let language = spoken(&self.language);
        match self.form {
            CodeForm::Function | CodeForm::File => format!(
                "Complete the following {language} function. Answer with the whole function in one block of code.\n\n```{}\n{}\n```",
                self.language,
                self.prompt.trim_end()
            ),
            CodeForm::Task => format!("{} Answer with one block of code.", self.task("\n\n")),
        }
    }

    /// A task and its tests, in the words of MBPP's authors.
    fn task(&self, end: &str) -> String {
        format!(
            "You are an expert {} programmer, and here is your task: {} Your code should pass these tests:\n\n{}{end}",
            spoken(&self.language),
            self.prompt.trim(),
            self.tests.join("\n").replace("\r\n", "\n"),
        )
    }

    /// How a model that answers questions would answer; none where the data have no program that is right.
    pub fn answer(&self) -> Option<String> {
        let program = self.reference().replace("\r\n", "\n");
        let some = !self.solution.trim().is_empty();
        some.then(|| format!("```{}\n{}\n```", self.language, program.trim_end()))
    }

    /// What a model that only goes on with a text is given: the examples, and the beginning of a program; of a task what MBPP's
    /// authors write.
    pub fn continuation(&self) -> String {
        let shots: String = self
            .shots
            .iter()
            .map(|shot| shot.shown_before(self.form))
            .collect();
        match self.form {
            CodeForm::Function | CodeForm::File => format!("{shots}{}", self.prompt),
            CodeForm::Task => format!("{shots}{}", self.task("\n[BEGIN]\n")),
        }
    }

    /// How such a model would go on, and what ends it; none where the data have no program that is right.
    pub fn continued(&self) -> Option<String> {
        let solution = self.solution.replace("\r\n", "\n");
        let some = !solution.trim().is_empty();
        some.then(|| match self.form {
            CodeForm::Task => format!("{}\n[DONE]", solution.trim_end()),
            CodeForm::Function | CodeForm::File => solution,
        })
    }

    /// As an example in a text.
    fn shown_before(&self, form: CodeForm) -> String {
        let program = self.reference().replace("\r\n", "\n");
        let program = program.trim_end();
        match (form, self.form) {
            (CodeForm::Task, _) => format!("{}{program}\n[DONE]\n\n", self.task("\n[BEGIN]\n")),
            (_, CodeForm::Task) => {
                let lines: Vec<String> = self
                    .prompt
                    .trim()
                    .lines()
                    .map(|line| format!("# {line}"))
                    .collect();
                format!("{}\n{program}\n\n\n", lines.join("\n"))
            }
            _ => format!("{program}\n\n\n"),
        }
    }

    /// What ends a program that is gone on with.
    pub fn ends(&self) -> Vec<&str> {
        match self.form {
            _ if !self.stop.is_empty() => self.stop.iter().map(String::as_str).collect(),
            CodeForm::Function => FUNCTION_ENDS.to_vec(),
            CodeForm::Task => TASK_ENDS.to_vec(),
            CodeForm::File => Vec::new(),
        }
    }

    /// The program that an answer is ([`program::of_completion`]).
    pub fn program(&self, completion: &str) -> String {
        let entry = self.entry_point.as_deref();
        let head = match self.form {
            CodeForm::Function => entry.map(|entry| Head::Function(&self.prompt, entry)),
            CodeForm::File => Some(Head::File(&self.prompt)),
            CodeForm::Task => None,
        };
        program::of_completion(head, &self.language, completion)
    }

    /// The program that goes on from a [`CodeProblem::continuation`]: up to what ends it.
    pub fn program_behind(&self, completion: &str) -> String {
        let ends = self.ends();
        let first = ends.iter().filter_map(|end| completion.find(end)).min();
        self.program(&completion[..first.unwrap_or(completion.len())])
    }
}

/// A language as people write it.
fn spoken(language: &str) -> &str {
    match language {
        "python" => "Python",
        "javascript" => "JavaScript",
        "typescript" => "TypeScript",
        other => other,
    }
}

#[cfg(test)]
mod tests;
