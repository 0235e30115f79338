//! How problems whose answers are programs are read, asked and shown.

use super::*;
use serde_json::{Map, Value, json};

fn fields(row: Value) -> Map<String, Value> {
    row.as_object().unwrap().clone()
}

fn function(id: &str, name: &str) -> CodeProblem {
    let row = json!({"task_id": id, "prompt": format!("import math\n\n\ndef {name}(x):\n    \"\"\"Twice.\"\"\"\n"), "entry_point": name,
        "canonical_solution": "    return 2 * x\n", "test": "def check(c):\n    assert c(1) == 2\n"});
    CodeProblem::of_row(&fields(row), None).unwrap()
}

fn task(id: usize) -> CodeProblem {
    let row = json!({"task_id": id, "text": format!("Write a function to double {id}."), "code": "def f(x):\r\n  return 2 * x",
        "test_list": ["assert f(1) == 2", "assert f(2) == 4"], "test_setup_code": ""});
    CodeProblem::of_row(&fields(row), None).unwrap()
}

#[test]
fn a_function_is_gone_on_with_or_asked_for() {
    let problem = function("T/0", "f");
    assert_eq!(problem.continuation(), problem.prompt);
    assert!(
        problem.question().contains("Python function")
            && problem.question().contains("```python\nimport math")
    );
    let said = "    return 2 * x\n\n\ndef g(x):\n    return 3\n";
    assert!(problem.program_behind(said).ends_with("    return 2 * x\n\n"));
    assert!(problem.program(said).ends_with("    return 3\n"));
    assert_eq!(problem.continued().unwrap(), "    return 2 * x\n");
    assert_eq!(
        problem.program(&problem.answer().unwrap()),
        format!("import math\n\n\n{}\n", problem.reference().trim_end())
    );
}

#[test]
fn a_task_is_asked_as_its_authors_do() {
    let mut problem = task(11);
    let alone = "You are an expert Python programmer, and here is your task: Write a function to double 11. Your code should pass these tests:\n\n\
                 assert f(1) == 2\nassert f(2) == 4\n[BEGIN]\n";
    assert_eq!(problem.continuation(), alone);
    assert_eq!(problem.continued().unwrap(), "def f(x):\n  return 2 * x\n[DONE]");
    assert_eq!(
        problem.program_behind("def f(x): return x\n[DONE]\nmore"),
        "def f(x): return x\n"
    );
    take_shots(std::iter::once(&mut problem), &[task(2)], 1).unwrap();
    let shown = problem.continuation();
    assert!(
        shown.contains("[BEGIN]\ndef f(x):\n  return 2 * x\n[DONE]\n\nYou are"),
        "{shown}"
    );
    assert!(shown.ends_with(alone));
}

#[test]
fn examples_are_others_of_the_same_kind() {
    let all = [function("T/0", "f"), function("T/1", "g"), function("T/2", "h")];
    let mut asked = all.clone();
    let names = take_shots(asked.iter_mut(), &all, 2).unwrap();
    assert_eq!(names, ["T/1", "T/2", "T/0"]);
    let shots = |problem: &CodeProblem| {
        problem
            .shots
            .iter()
            .map(|shot| shot.id.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (shots(&asked[0]), shots(&asked[1])),
        (vec!["T/1".into(), "T/2".into()], vec!["T/0".into(), "T/2".into()])
    );
    let text = asked[0].continuation();
    assert!(
        text.contains("    return 2 * x\n\n\nimport math") && text.ends_with(&asked[0].prompt),
        "{text}"
    );
    let error = take_shots(asked.iter_mut(), &all, 3).unwrap_err().to_string();
    assert!(
        error.contains("behind 3 examples, and there are 2 of others"),
        "{error}"
    );
    // A task before a function is its words as a comment, and its program.
    take_shots(asked.iter_mut(), &[task(2)], 1).unwrap();
    assert!(
        asked[0]
            .continuation()
            .starts_with("# Write a function to double 2.\ndef f(x):\n  return 2 * x\n\n\nimport")
    );
    let error = take_shots([task(11)].iter_mut(), &all, 1)
        .unwrap_err()
        .to_string();
    assert!(error.contains("no row of MBPP's form"), "{error}");
    let bare = CodeProblem {
        solution: String::new(),
        ..function("T/9", "k")
    };
    let error = take_shots(asked.iter_mut(), &[bare], 1).unwrap_err().to_string();
    assert!(error.contains("`T/9` has no program that is right"), "{error}");
}

#[test]
fn rows_say_what_they_lack() {
    let of = |row: Value| CodeProblem::of_row(&fields(row), None);
    assert!(
        of(json!({"task_id": "a", "prompt": "p", "test": "t"}))
            .unwrap_err()
            .contains("missing field `entry_point`")
    );
    assert!(
        of(json!({"task_id": 1, "text": "t", "test_list": []}))
            .unwrap_err()
            .contains("any program would pass")
    );
    assert!(
        of(json!({"prompt": "p"}))
            .unwrap_err()
            .contains("missing field `task_id`")
    );
    assert!(
        of(json!({"name": "n", "prompt": "p", "tests": "t"}))
            .unwrap_err()
            .contains("missing field `language`")
    );
    let file =
        of(json!({"name": "n", "prompt": "// f\n", "tests": "t", "language": "js", "stop_tokens": ["\n}"]}))
            .unwrap();
    assert_eq!(
        (file.form, file.language.as_str(), file.ends()),
        (CodeForm::File, "javascript", vec!["\n}"])
    );
    // MBPP's sanitized rows.
    let row = json!({"task_id": 2, "prompt": "Do.", "code": "c", "test_imports": ["import math"], "test_list": ["assert 1"]});
    let task = of(row).unwrap();
    assert_eq!(
        (task.prompt.as_str(), task.setup.as_str()),
        ("Do.", "import math")
    );
}
