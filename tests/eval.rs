//! `gcpo eval` as a user sees it: suites, files of completions, comparisons.

mod program;

use std::fs;

use program::{checkpoint, failure, json, success, temp};

#[test]
fn eval_measures_a_file_and_says_what_does_not_fit() {
    let dir = temp();
    checkpoint(&dir.path().join("m"));
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    let long = "1".repeat(60);
    write(
        "d.jsonl",
        &format!(
            "{{\"problem\": \"12+19\", \"answer\": \"31\"}}\n{{\"problem\": \"{long}\", \"answer\": \"2\", \"unique_id\": \"long\"}}\n\
             {{\"problem\": \"1+1\", \"answer\": \"2\"}}\n"
        ),
    );
    let common = [
        "eval",
        "--model",
        "m",
        "--data",
        "d.jsonl",
        "--preset",
        "math",
        "--device",
        "cpu",
        "--samples",
        "2",
    ];
    let with = |more: &[&'static str]| -> Vec<&'static str> { [&common, more].concat() };
    let text = failure(dir.path(), &with(&["--set", "eval.max_completion_length=8"]));
    assert!(
        text.contains("problem `long`") && text.contains("64 positions"),
        "{text}"
    );
    assert!(
        text.contains("eval.max_completion_length=2`") && text.contains("eval.skip_too_long=true"),
        "{text}"
    );
    assert!(text.contains("style \"marks\""), "{text}");
    let skip = [
        "--set",
        "eval.skip_too_long=true",
        "--set",
        "eval.max_completion_length=8",
    ];
    let (text, stderr) = success(dir.path(), &with(&[&skip[..], &["--json"][..]].concat()));
    assert!(stderr.contains("3/3 problems"), "{stderr}");
    let report = json(&text);
    assert_eq!(report["model"], "m");
    let suite = &report["suites"][0];
    assert_eq!(
        (
            &suite["suite"],
            &suite["problems"],
            &suite["samples"],
            &suite["too_long"]
        ),
        (&"math".into(), &3.into(), &2.into(), &1.into())
    );
    assert!(suite["pass@1"]["mean"].as_f64().unwrap() <= 2.0 / 3.0, "{report}");
    let (text, _) = success(dir.path(), &with(&skip));
    assert!(
        text.contains("avg@k = pass@1") && text.contains("1 problem too long, counted as wrong"),
        "{text}"
    );
}

/// Two suites, stopped, resumed, graded again and compared.
#[test]
fn eval_keeps_every_completion_and_goes_on_where_it_was_stopped() {
    let dir = temp();
    checkpoint(&dir.path().join("m"));
    let rows = |numbers: std::ops::Range<usize>| -> String {
        let row = |i: usize| {
            format!(
                "{{\"problem\": \"{i}+1\", \"answer\": \"{}\", \"level\": \"{}\"}}\n",
                i + 1,
                i % 2
            )
        };
        numbers.map(row).collect()
    };
    fs::write(dir.path().join("a.jsonl"), rows(1..8)).unwrap();
    fs::write(dir.path().join("b.jsonl"), rows(10..15)).unwrap();
    let base = [
        "eval",
        "--model",
        "m",
        "--device",
        "cpu",
        "--suite",
        "math500=a.jsonl",
        "--suite",
        "aime24=b.jsonl",
        "--samples",
        "3",
        "--set",
        "eval.max_completion_length=6",
        "--set",
        "rollout.max_rows=6",
    ];
    let with = |more: &[&'static str]| -> Vec<&'static str> { [&base, more].concat() };
    let (text, _) = success(dir.path(), &with(&["--out", "whole.jsonl", "--json"]));
    let report = json(&text);
    let names: Vec<_> = report["suites"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["suite"].clone())
        .collect();
    assert_eq!(names, ["math500", "aime24"]);
    assert_eq!(report["suites"][0]["levels"][1]["problems"], 4);
    assert!(report["mean"]["pass@1"]["stderr"].is_f64() && report["suites"][0]["maj@k"]["mean"].is_f64());
    let whole = fs::read(dir.path().join("whole.jsonl")).unwrap();
    assert_eq!(whole.iter().filter(|&&b| b == b'\n').count(), 1 + 3 * 12);

    // Stopped in the middle of the second suite: the same bytes in the end, also with other batches.
    fs::write(dir.path().join("cut.jsonl"), &whole[..whole.len() * 4 / 5]).unwrap();
    let text = failure(dir.path(), &with(&["--out", "cut.jsonl"]));
    assert!(
        text.contains("cut.jsonl is there already") && text.contains("--resume"),
        "{text}"
    );
    let other = ["--out", "cut.jsonl", "--resume", "--set", "eval.temperature=0.5"];
    assert!(failure(dir.path(), &with(&other)).contains("another `eval.temperature`"));
    let (_, stderr) = success(
        dir.path(),
        &with(&["--out", "cut.jsonl", "--resume", "--set", "rollout.max_rows=64"]),
    );
    assert!(stderr.contains("7 of them were answered before"), "{stderr}");
    let of = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec())
            .unwrap()
            .lines()
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&fs::read(dir.path().join("cut.jsonl")).unwrap()), of(&whole));

    let (text, stderr) = success(dir.path(), &["eval", "--regrade", "whole.jsonl", "--json"]);
    assert!(stderr.contains("0 of 36 verdicts"), "{stderr}");
    assert_eq!(json(&text)["suites"], report["suites"]);

    // A completion that was right is made wrong: one verdict changes, and the comparison sees it.
    let mut lines: Vec<String> = of(&whole);
    let header = String::from_utf8(whole.clone())
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .to_owned();
    let mut first = json(&lines[0]);
    first["completion"] = "it is \\boxed{2}".into();
    // The same text is wrong where it was cut, unless that is to be graded.
    for (finish, unfinished, changed) in [
        ("length", "wrong", 0),
        ("length", "grade", 1),
        ("eos", "wrong", 1),
    ] {
        first["finish"] = finish.into();
        lines[0] = first.to_string();
        let text = format!("{header}\n{}\n", lines.join("\n"));
        fs::write(dir.path().join("better.jsonl"), text).unwrap();
        let set = format!("grader.unfinished={unfinished}");
        let (text, _) = success(
            dir.path(),
            &["eval", "--regrade", "better.jsonl", "--set", &set, "--json"],
        );
        // Others of its kind may be right as they stand.
        let found = json(&text)["changed"].as_u64().unwrap();
        assert!(
            found == changed || (unfinished == "grade" && found > 1),
            "{finish} {unfinished}: {text}"
        );
    }
    let whole = fs::read_to_string(dir.path().join("whole.jsonl")).unwrap();
    let cut = |line: &&str| json(line)["finish"] == "length";
    assert!(
        whole
            .lines()
            .skip(1)
            .filter(cut)
            .all(|line| json(line)["by"] == "unfinished")
    );
    let args = [
        "eval",
        "--regrade",
        "better.jsonl",
        "--out",
        "regraded.jsonl",
        "--json",
    ];
    let (text, _) = success(dir.path(), &args);
    assert_eq!(json(&text)["changed"], 1, "{text}");
    let (text, _) = success(
        dir.path(),
        &["eval", "--compare", "whole.jsonl", "regraded.jsonl", "--json"],
    );
    let compared = json(&text);
    assert_eq!(
        (&compared[0]["better"], &compared[0]["worse"]),
        (&1.into(), &0.into())
    );
    assert!((compared[0]["difference"]["mean"].as_f64().unwrap() - 1.0 / 21.0).abs() < 1e-9);
    assert_eq!(compared[2]["suite"], "mean");
    let (text, _) = success(
        dir.path(),
        &["eval", "--compare", "whole.jsonl", "regraded.jsonl"],
    );
    assert!(
        text.contains("second − first") && text.contains("+0.0476"),
        "{text}"
    );
}

#[test]
fn a_suite_that_cannot_be_had_says_what_to_do() {
    let dir = temp();
    checkpoint(&dir.path().join("m"));
    let eval = |suite: &str| {
        failure(
            dir.path(),
            &["eval", "--model", "m", "--device", "cpu", "--suite", suite],
        )
    };
    assert!(eval("math5000=f.jsonl").contains("did you mean \"math500\""));
    let text = eval("minerva");
    assert!(
        text.contains("`--suite minerva=FILE`") && text.contains("minerva_math/test.jsonl"),
        "{text}"
    );
    let text = eval("humaneval=h.jsonl");
    assert!(
        text.contains("the suite humaneval") && text.contains("No such file"),
        "{text}"
    );
    // Without the feature `hub` there is no downloading.
    let text = eval("aime25");
    assert!(text.contains("features hub"), "{text}");
    let text = failure(dir.path(), &["eval", "--regrade", "none.jsonl"]);
    assert!(text.contains("none.jsonl"), "{text}");
}

#[test]
fn eval_says_what_is_wrong_with_its_input() {
    let dir = temp();
    checkpoint(&dir.path().join("m"));
    let eval = |data: &str, preset: &str| {
        failure(
            dir.path(),
            &[
                "eval", "--model", "m", "--device", "cpu", "--data", data, "--preset", preset,
            ],
        )
    };
    assert!(eval("nowhere.jsonl", "gsm8k").contains("nowhere.jsonl"));
    let text = eval("nowhere.jsonl", "gsm9k");
    assert!(text.contains("did you mean \"gsm8k\""), "{text}");
    let rows = "{\"question\": \"1+1\", \"answer\": \"#### 2\"}\n{\"question\": \"1+2\"}\n";
    fs::write(dir.path().join("d.jsonl"), rows).unwrap();
    let text = eval("d.jsonl", "gsm8k");
    assert!(text.contains("d.jsonl:2: no field `answer`"), "{text}");
    fs::write(dir.path().join("e.toml"), "seed = 1\n").unwrap();
    let text = failure(dir.path(), &["eval", "--model", "m", "--device", "cpu", "e.toml"]);
    assert!(text.contains("e.toml") && text.contains("eval.path"), "{text}");
}
