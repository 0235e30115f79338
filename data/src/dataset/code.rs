//! Problems whose answers are programs (HumanEval). A program that runs them grades them; this crate runs nothing.

use super::error::DatasetError;
use super::{file, rows};
use serde::Deserialize;
use std::path::Path;

/// A problem of HumanEval.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CodeProblem {
    /// Its name, `HumanEval/0`.
    pub task_id: String,
    /// What the model goes on from: a function's head with its documentation.
    pub prompt: String,
    /// The function that the test calls.
    pub entry_point: String,
    /// A body that passes the test.
    pub canonical_solution: String,
    /// A program that defines `check(candidate)`.
    pub test: String,
}

impl CodeProblem {
    /// The program that shows whether a completion is right: it ends without an error if so. As HumanEval's own
    /// `execution.py` puts it together. It is to be run where it can do no harm.
    pub fn program(&self, completion: &str) -> String {
        format!(
            "{}{completion}\n{}\ncheck({})",
            self.prompt, self.test, self.entry_point
        )
    }
}

/// The problems of `HumanEval.jsonl`, gzipped or not, or of a file with the same fields.
///
/// # Errors
/// The file cannot be read, or a row lacks a field.
pub fn load_code(path: &Path) -> Result<Vec<CodeProblem>, DatasetError> {
    let path = &*file::local(path)?;
    let problems: Vec<CodeProblem> = rows::read(path)?
        .into_iter()
        .map(|row| {
            let bad = |line, message| DatasetError::Row {
                path: path.to_owned(),
                line,
                message,
            };
            let row = row.map_err(|row| bad(row.line, row.reason))?;
            serde_json::from_value(row.fields.into()).map_err(|error| {
                let message = format!(
                    "{error}; a row has task_id, prompt, entry_point, canonical_solution and test, as HumanEval's"
                );
                bad(row.line, message)
            })
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
        assert_eq!(problems[0].task_id, "T/0");
        assert_eq!(
            problems[0].program(&problems[0].canonical_solution),
            "def f(x):\n    return x\ndef check(c):\n    assert c(1) == 1\n\ncheck(f)"
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
    }

    #[test]
    fn humaneval_is_read_whole() {
        let Some(path) = shared("data/humaneval/HumanEval.jsonl.gz") else {
            return;
        };
        let problems = load_code(&path).unwrap();
        assert_eq!(problems.len(), 164);
        for problem in problems {
            assert!(
                problem.prompt.contains(&format!("def {}(", problem.entry_point)),
                "{}",
                problem.task_id
            );
        }
    }
}
