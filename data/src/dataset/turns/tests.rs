use crate::dataset::{BadRows, Loaded, Preset, begins_with_messages, load_for};
use crate::problem::Problem;
use crate::testing::shared;
use std::path::Path;

const ASKING: Option<&str> = Some("the reward `accuracy`");

fn read(name: &str, text: &str, preset: &Preset, asking: Option<&str>) -> Result<Loaded, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    load_for(&path, preset, asking).map_err(|error| {
        let said = error.to_string();
        said.replace(&format!("{}/", dir.path().display()), "")
    })
}

fn found(name: &str, text: &str) -> Problem {
    read(name, text, Preset::found(), ASKING)
        .unwrap()
        .problems
        .remove(0)
}

fn refused(text: &str) -> String {
    read("r.jsonl", text, Preset::found(), ASKING).unwrap_err()
}

fn said(problem: &Problem) -> Vec<(&str, &str)> {
    let turns = problem.turns.before.iter();
    turns
        .map(|turn| (turn.role.as_str(), turn.content.as_str()))
        .collect()
}

/// One table of cases: rows as TRL, verl and open-r1 write them.
#[test]
fn rows_need_no_preset() {
    for (row, question, answer, solution) in [
        (r#"{"prompt": "1+1?", "answer": 2}"#, "1+1?", "2", None),
        (
            r#"{"prompt": "1+1?", "solution": "$2$"}"#,
            "1+1?",
            "$2$",
            Some("$2$"),
        ),
        (r#"{"prompt": "1+1?", "ground_truth": "2"}"#, "1+1?", "2", None),
        (r#"{"prompt": "1+1?", "label": "2"}"#, "1+1?", "2", None),
        (
            r#"{"problem": "1+1?", "solution": "It is \\boxed{2}.", "answer": "2"}"#,
            "1+1?",
            "2",
            Some(r"It is \boxed{2}."),
        ),
        (
            r#"{"problem": "1+1?", "solution": "Well:\n1+1 = \\boxed{2}."}"#,
            "1+1?",
            "2",
            Some("Well:\n1+1 = \\boxed{2}."),
        ),
        (
            r#"{"question": "1+1?", "answer": "1+1 = <<1+1=2>>2\n#### 2"}"#,
            "1+1?",
            "2",
            Some("1+1 = 2\n#### 2"),
        ),
        (
            r#"{"data_source": "d", "prompt": [{"content": " 1+1? ", "role": "user"}], "ability": "math",
                "reward_model": {"ground_truth": "2", "style": "rule"}, "extra_info": {"index": 7, "split": "train"}}"#,
            " 1+1? ",
            "2",
            None,
        ),
    ] {
        let problem = found("r.jsonl", &row.replace('\n', " "));
        assert_eq!(problem.question, question, "{row}");
        assert_eq!(problem.answer.as_deref(), Some(answer), "{row}");
        assert_eq!(problem.solution.as_deref(), solution, "{row}");
        assert!(!problem.columns.contains_key("prompt") && !problem.columns.is_empty());
        assert_eq!(
            problem.named(),
            format!("`{}` (r.jsonl:1)", problem.id).replace("r.jsonl", &problem.place.as_ref().unwrap().file)
        );
    }
    let own: Preset = serde_json::from_str(r#"{"answer": "gold"}"#).unwrap();
    let row = r#"{"prompt": "1+1?", "answer": "chatty", "gold": 2}"#;
    let problem = &read("r.jsonl", row, &own, ASKING).unwrap().problems[0];
    assert_eq!(problem.answer.as_deref(), Some("2"));
}

#[test]
fn a_prompt_may_be_a_conversation_in_any_format() {
    let messages = r#"[{"role": "system", "content": "s"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c\n"}]"#;
    let row = format!(r#"{{"prompt": {messages}, "answer": "1"}}"#);
    let csv = format!("prompt,answer\n\"{}\",1\n", messages.replace('"', "\"\""));
    for (name, text) in [
        ("r.jsonl", row.clone()),
        ("r.json", format!("[{row}]")),
        ("r.csv", csv),
    ] {
        let problem = found(name, &text);
        assert_eq!(problem.question, "c\n", "{name}");
        assert_eq!(
            said(&problem),
            [("system", "s"), ("user", "a"), ("assistant", "b")]
        );
        assert!(problem.turns.are_given && problem.turns.begun.is_none());
    }
    let begun = row.replace(
        "\"c\\n\"}",
        r#""c"}, {"role": "assistant", "content": "<think>\n", "tool_calls": null}"#,
    );
    let problem = found("r.jsonl", &begun);
    assert_eq!(
        (problem.question.as_str(), problem.turns.begun.as_deref()),
        ("c", Some("<think>\n"))
    );
    // What templates may read beside the content is kept.
    let thought = row.replace("\"b\"", r#""b", "reasoning_content": "hm", "name": null"#);
    let problem = found("r.jsonl", &thought);
    let more = serde_json::to_string(&problem.turns.before[2]).unwrap();
    assert_eq!(
        more,
        r#"{"role":"assistant","content":"b","reasoning_content":"hm"}"#
    );
    let parts = row.replace(
        "\"c\\n\"",
        r#"[{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]"#,
    );
    assert_eq!(found("r.jsonl", &parts).question, "cd");
    let path = Preset {
        question: vec!["prompt.1.content".into()],
        ..Preset::found().clone()
    };
    let problem = &read("r.jsonl", &row, &path, ASKING).unwrap().problems[0];
    assert_eq!(problem.question, "a");
    assert!(problem.turns.is_empty());
}

#[test]
fn a_row_may_say_what_the_system_says_and_arguments_of_the_template() {
    let row = r#"{"prompt": "q", "answer": 1, "system": "Be brief.", "chat_template_kwargs": {"enable_thinking": false, "x": null}}"#;
    let problem = found("r.jsonl", row);
    assert_eq!(said(&problem), [("system", "Be brief.")]);
    assert!(!problem.turns.are_given);
    assert_eq!(
        serde_json::to_string(&problem.turns.chat_template_kwargs).unwrap(),
        r#"{"enable_thinking":false}"#
    );
    let text = row.replace(
        r#"{"enable_thinking": false, "x": null}"#,
        r#""{\"enable_thinking\": false}""#,
    );
    assert_eq!(found("r.jsonl", &text).turns, problem.turns);
    let empty = r#"{"prompt": "q", "answer": 1, "system": "", "chat_template_kwargs": null}"#;
    assert!(found("r.jsonl", empty).turns.is_empty());
}

/// One table of cases.
#[test]
fn what_is_no_conversation_is_refused_with_its_place() {
    let of = |prompt: &str| format!(r#"{{"prompt": {prompt}, "answer": "1"}}"#);
    for (row, said) in [
        (of("[]"), "`prompt`: there is no message in it"),
        (of("[1]"), "`prompt.0`: it is no message"),
        (of(r#"[{"content": "a"}]"#), "`prompt.0`: it has no `role`"),
        (
            of(r#"[{"from": "human", "value": "a"}]"#),
            "(`from` and `value` are `role` and `content` there)",
        ),
        (
            of(r#"[{"role": "usr", "content": "a"}]"#),
            "`prompt.0`: nobody is called \"usr\"; a role is one of system,",
        ),
        (
            of(r#"[{"role": "user", "content": [{"type": "image"}]}]"#),
            "`prompt.0`: its `content` is not text alone",
        ),
        (
            of(r#"[{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}]"#),
            "it ends with the tool (user, tool)",
        ),
        (
            of(r#"[{"role": "assistant", "content": "b"}]"#),
            "there is no message in it",
        ),
        (
            of(r#"[{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": [1]}]"#),
            "has `tool_calls`; it may have `content` only",
        ),
        (
            of(r#""[{'role': 'user', 'content': 'a'}]""#),
            "looks like messages as Python prints them",
        ),
        (
            r#"{"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}], "system": "t", "answer": 1}"#.into(),
            "both `system` and the messages",
        ),
        (
            r#"{"prompt": [{"role": "user", "content": "a"}], "tools": [{"name": "f"}], "answer": 1}"#.into(),
            "`tools` names tools",
        ),
        (
            r#"{"prompt": "a", "chat_template_kwargs": "x", "answer": 1}"#.into(),
            "`chat_template_kwargs` is no object of arguments",
        ),
        (of(r#"[{"role": "user", "content": " "}]"#), "the question (prompt|question|problem|query|instruction) is empty"),
        (
            r#"{"prompt": "a"}"#.into(),
            "no field `answer` or `final_answer` or `solution` or `ground_truth` or `label`",
        ),
        (
            r#"{"prompt": "a", "solution": "First.\nThen."}"#.into(),
            "marked neither by \\boxed{…} nor by ####; name the field that holds the answer alone",
        ),
        (r#"{"prompt": "a", "label": true}"#.into(), "is true, not text or a number"),
    ] {
        let error = refused(&row);
        assert!(error.starts_with("r.jsonl:1: ") && error.contains(said), "{row}\n{error}");
    }
    assert!(
        refused(r#"{"prompt": "a"}"#).contains("; the reward `accuracy` asks for a gold answer"),
        "{}",
        refused(r#"{"prompt": "a"}"#)
    );
}

#[test]
fn where_nobody_asks_for_gold_answers_none_are_needed() {
    let rows =
        "{\"prompt\": \"a\"}\n{\"prompt\": \"b\", \"label\": true}\n{\"prompt\": \"c\", \"answer\": 3}";
    let loaded = read("r.jsonl", rows, Preset::found(), None).unwrap();
    let golds: Vec<Option<&str>> = loaded.problems.iter().map(|p| p.answer.as_deref()).collect();
    assert_eq!(golds, [None, None, Some("3")]);
    assert_eq!(loaded.problems[1].columns["label"], true);
    let skip = Preset {
        bad_rows: BadRows::SkipAny,
        ..Preset::found().clone()
    };
    let loaded = read("r.jsonl", rows, &skip, ASKING).unwrap();
    assert_eq!((loaded.problems.len(), loaded.skipped.len()), (1, 2));
}

#[test]
fn the_first_row_says_whether_prompts_are_messages() {
    let dir = tempfile::tempdir().unwrap();
    let begins = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        begins_with_messages(&path, "train", Preset::found())
    };
    let row = r#"{"prompt": [{"role": "user", "content": "a"}]}"#;
    assert!(begins("a.jsonl", &format!("\n{row}\n")));
    assert!(begins("a.json", &format!("[{row}]")));
    assert!(!begins("b.jsonl", r#"{"prompt": "a"}"#));
    assert!(!begins("c.jsonl", "x"));
    assert!(!begins_with_messages(
        Path::new("nowhere.jsonl"),
        "train",
        Preset::found()
    ));
}

/// Files of public repositories, without a preset.
#[test]
fn real_files_need_no_preset() {
    for (file, problems) in [
        ("gsm8k/test.jsonl", 1319),
        ("aime/aime24_qwen.jsonl", 30),
        ("aime/aime25_qwq.jsonl", 30),
        ("amc/amc23_qwen.jsonl", 40),
        ("math/math500.jsonl", 500),
        ("minerva/minerva_math_qwen.jsonl", 272),
        ("olympiadbench/test_qwen.jsonl", 675),
    ] {
        let Some(path) = shared(&format!("data/{file}")) else {
            return;
        };
        let loaded = load_for(&path, Preset::found(), ASKING);
        let loaded = loaded.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(loaded.problems.len(), problems, "{file}");
    }
}
