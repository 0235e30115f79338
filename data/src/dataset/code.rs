//! Files of problems whose answers are programs.

use super::error::DatasetError;
use super::rows::Row;
use super::{file, rows};
use crate::code::shots::{is_mbpp, mbpp_part};
use crate::{CodeProblem, Problem};
use std::path::Path;
use thiserror::Error;

/// A row as a problem whose answer is a program.
///
/// # Errors
/// It is none; the message says what is missing.
pub(super) fn problem(row: &Row) -> Result<Problem, String> {
    let code = CodeProblem::of_row(&row.fields, None)?;
    let question = code.question();
    super::check_lengths(&[("question", Some(&question))])?;
    Ok(Problem {
        id: code.id.clone(),
        question,
        solution: code.answer(),
        columns: super::columns(row),
        code: Some(Box::new(code)),
        ..Problem::default()
    })
}

/// MBPP's authors have no such part.
#[derive(Debug, Error)]
#[error(
    "MBPP has no split {0:?}: its authors have \"prompt\", \"test\", \"validation\" and \"train\"; \"all\" takes the whole file"
)]
pub struct NoSplit(String);

/// Keeps the part of MBPP's own file that is a split, by task ids, as its authors divide it; then what is to be said of it. Nothing of
/// any other file.
///
/// # Errors
/// There is no such part.
pub fn of_mbpp(problems: &mut Vec<Problem>, split: &str) -> Result<Option<String>, NoSplit> {
    let is_code = problems.iter().all(|problem| problem.code.is_some());
    if !is_code || !is_mbpp(problems.iter().map(|problem| problem.id.as_str())) {
        return Ok(None);
    }
    if split == "all" {
        return Ok(Some("all of MBPP, the ten for prompts too".to_owned()));
    }
    let part = mbpp_part(split).ok_or_else(|| NoSplit(split.to_owned()))?;
    problems.retain(|problem| problem.id.parse().is_ok_and(|id| part.contains(&id)));
    Ok(Some(format!(
        "the {} problems of MBPP's split {split:?}, task ids {} to {}",
        problems.len(),
        part.start(),
        part.end()
    )))
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
