//! Problems whose answers are programs: rows of HumanEval and of MBPP. Tests are their gold. This crate runs nothing.

use super::error::DatasetError;
use super::{file, rows};
use crate::program;
use serde_json::{Map, Value};
use std::path::Path;

/// A problem whose answer is a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeProblem {
    /// Its name, `HumanEval/0`.
    pub id: String,
    /// HumanEval: what the model goes on from, a function's head with its documentation. MBPP: what is asked, in words.
    pub prompt: String,
    /// HumanEval: the function that the test calls.
    pub entry_point: Option<String>,
    /// What to set up before the tests, which may need the answer for it.
    pub setup: String,
    /// Tests, each of which raises an error where the answer is wrong.
    pub tests: Vec<String>,
    /// HumanEval: the rest of the program that passes; MBPP: all of it.
    pub solution: String,
}

impl CodeProblem {
    /// A problem from a row's fields; `prompt` is what was asked, where the row has it no more.
    ///
    /// # Errors
    /// It is a row of neither; the message says what is missing.
    pub fn of_row(fields: &Map<String, Value>, prompt: Option<&str>) -> Result<Self, String> {
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let needed = |name: &str| {
            text(name).ok_or_else(|| {
                format!(
                    "missing field `{name}`; a row has task_id, prompt, entry_point, canonical_solution and test, as HumanEval's, or task_id, \
                     text, code and test_list, as MBPP's"
                )
            })
        };
        let id = match fields.get("task_id").or_else(|| fields.get("id")) {
            Some(Value::String(id)) => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            _ => needed("task_id")?,
        };
        let prompt = prompt.map(str::to_owned);
        if !fields.contains_key("test_list") {
            let entry_point = needed("entry_point")?;
            let test = needed("test")?;
            return Ok(Self {
                id,
                prompt: prompt.map_or_else(|| needed("prompt"), Ok)?,
                setup: String::new(),
                tests: vec![format!("{test}\ncheck({entry_point})")],
                entry_point: Some(entry_point),
                solution: text("canonical_solution").unwrap_or_default(),
            });
        }
        let list = |name: &str| -> Result<Vec<String>, String> {
            let Some(value) = fields.get(name) else {
                return Ok(Vec::new());
            };
            let items: Option<Vec<String>> = value.as_array().and_then(|items| {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
                texts.collect()
            });
            items.ok_or_else(|| format!("`{name}` is no list of texts"))
        };
        let tests = list("test_list")?;
        if tests.is_empty() {
            return Err("`test_list` is empty: any program would pass; drop the row".to_owned());
        }
        let mut setup = list("test_imports")?;
        setup.extend(text("test_setup_code"));
        Ok(Self {
            id,
            prompt: text("text").or(prompt).map_or_else(|| needed("prompt"), Ok)?,
            entry_point: None,
            setup: setup.join("\n"),
            tests,
            solution: text("code").unwrap_or_default(),
        })
    }

    /// A program that is right, where the data have one.
    pub fn reference(&self) -> String {
        match self.entry_point {
            Some(_) => format!("{}{}", self.prompt, self.solution),
            None => self.solution.clone(),
        }
    }

    /// What a model that answers questions is asked. Of MBPP as its authors ask (arXiv 2108.07732), with the tests.
    pub fn question(&self) -> String {
        match self.entry_point {
            Some(_) => format!(
                "Complete the following Python function. Answer with the whole function in one block of code.\n\n```python\n{}\n```",
                self.prompt.trim_end()
            ),
            None => format!(
                "You are an expert Python programmer, and here is your task: {} Your code should pass these tests:\n\n{}\n\nAnswer with one \
                 block of code.",
                self.prompt.trim(),
                self.tests.join("\n")
            ),
        }
    }

    /// The program that a completion is ([`program::of_completion`]).
    pub fn program(&self, completion: &str) -> String {
        let head = self
            .entry_point
            .as_deref()
            .map(|entry| (self.prompt.as_str(), entry));
        program::of_completion(head, completion)
    }
}

/// The problems of `HumanEval.jsonl` or `mbpp.jsonl`, gzipped or not, or of a file with the same fields.
///
/// # Errors
/// The file cannot be read, a row lacks a field, or two have one name.
pub fn load_code(path: &Path) -> Result<Vec<CodeProblem>, DatasetError> {
    let path = &*file::local(path)?;
    let mut known = std::collections::HashSet::new();
    let problems: Vec<CodeProblem> = rows::read(path)?
        .into_iter()
        .map(|row| {
            let bad = |line, message| DatasetError::Row {
                path: path.to_owned(),
                line,
                message,
            };
            let row = row.map_err(|row| bad(row.line, row.reason))?;
            let problem = CodeProblem::of_row(&row.fields, None).map_err(|reason| bad(row.line, reason))?;
            if !known.insert(problem.id.clone()) {
                let message = format!("another problem is called `{}`; rename one of them", problem.id);
                return Err(bad(row.line, message));
            }
            Ok(problem)
        })
        .collect::<Result<_, _>>()?;
    if problems.is_empty() {
        return Err(DatasetError::Empty {
            path: path.to_owned(),
            skipped: 0,
            first: String::new(),
        });
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::shared;
    use std::io::Write as _;

    const ROW: &str = r#"{"task_id": "T/0", "prompt": "def f(x):\n", "entry_point": "f", "canonical_solution": "    return x", "test": "def check(c):\n    assert c(1) == 1\n"}"#;

    #[test]
    fn a_gzipped_file_is_read_and_a_program_put_together() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("h.jsonl.gz");
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(ROW.as_bytes()).unwrap();
        let bytes = gz.finish().unwrap();
        std::fs::write(&path, &bytes).unwrap();
        let problems = load_code(&path).unwrap();
        assert_eq!(problems[0].id, "T/0");
        assert_eq!(problems[0].reference(), "def f(x):\n    return x");
        assert_eq!(
            problems[0].tests,
            ["def check(c):\n    assert c(1) == 1\n\ncheck(f)"]
        );
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let error = load_code(&path).unwrap_err().to_string();
        assert!(error.contains("not a whole gzip file"), "{error}");
        let path = dir.path().join("h.jsonl");
        std::fs::write(&path, ROW.replace("entry_point", "entry")).unwrap();
        let error = load_code(&path).unwrap_err().to_string();
        assert!(
            error.contains("h.jsonl:1: missing field `entry_point`"),
            "{error}"
        );
        std::fs::write(&path, [ROW, ROW].join("\n")).unwrap();
        let error = load_code(&path).unwrap_err().to_string();
        assert!(
            error.contains("h.jsonl:2: another problem is called `T/0`"),
            "{error}"
        );
    }

    #[test]
    fn real_suites_of_programs_are_read_whole() {
        for (file, count, first) in [
            ("humaneval/HumanEval.jsonl.gz", 164, "HumanEval/0"),
            ("mbpp/mbpp.jsonl", 974, "1"),
        ] {
            let Some(path) = shared(&format!("data/{file}")) else {
                return;
            };
            let problems = load_code(&path).unwrap();
            assert_eq!((problems.len(), problems[0].id.as_str()), (count, first));
            for problem in problems {
                let entry = problem.entry_point.iter();
                let mut heads = entry.map(|entry| format!("def {entry}("));
                assert!(heads.all(|head| problem.prompt.contains(&head)), "{}", problem.id);
            }
        }
    }
}
