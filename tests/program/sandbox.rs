//! What tests of programs in a sandbox have in common.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{gcpo, json as parsed, success};

/// A file of the committed rows.
pub fn fixture(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/code", name]
        .iter()
        .collect();
    path.display().to_string()
}

/// Whether programs can be run here at all; says why not.
pub fn can_run(dir: &Path) -> bool {
    let row = json!({"id": "HumanEval/2", "completion": "    return number % 1.0\n"});
    fs::write(dir.join("can.jsonl"), row.to_string()).unwrap();
    let suite = format!("humaneval={}", fixture("humaneval.jsonl"));
    let output = gcpo(dir, &["grade", "--suite", &suite, "--completions", "can.jsonl"]);
    let said = String::from_utf8_lossy(&output.stderr);
    let no = ["does not allow one", "which does not do"]
        .iter()
        .any(|no| said.contains(no));
    if no {
        println!("skipped: {said}");
    }
    !no
}

/// What `gcpo grade` says of completions of the problem `id` in `p.jsonl`.
#[track_caller]
pub fn graded(dir: &Path, id: &str, completions: &[&str], more: &[&str]) -> Value {
    let rows = completions
        .iter()
        .map(|completion| json!({"id": id, "completion": completion}).to_string());
    fs::write(dir.join("c.jsonl"), rows.collect::<Vec<_>>().join("\n")).unwrap();
    let grade = [
        "grade",
        "--suite",
        "humaneval=p.jsonl",
        "--completions",
        "c.jsonl",
        "--json",
    ];
    parsed(&success(dir, &[&grade, more].concat()).0)
}
