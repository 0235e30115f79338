use super::*;
use crate::Grader;
use crate::testing::shared;

/// Loads `text` from a file of this name.
fn from(name: &str, text: &str, preset: &Preset) -> Result<Loaded, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    load_all(&path, preset).map_err(|error| {
        let said = error.to_string();
        said.replace(&format!("{}/", dir.path().display()), "")
    })
}

fn named(name: &str) -> &'static Preset {
    Preset::named(name).unwrap()
}

#[test]
fn the_formats_hold_the_same_problems() {
    let rows = [
        r#"{"problem": "1+1?", "answer": "2"}"#,
        r#"{"problem": "a\nb", "answer": 2.50}"#,
    ];
    let placeless = |name, text: &str| -> Vec<Problem> {
        let problems = from(name, text, named("math")).unwrap().problems;
        let placeless = problems.into_iter().map(|problem| Problem {
            place: None,
            ..problem
        });
        placeless.collect()
    };
    let expected = placeless("f.jsonl", &rows.join("\n"));
    assert_eq!(expected[0].id, "f-1");
    assert_eq!(expected[1].answer.as_deref(), Some("2.5"));
    for (name, text) in [
        ("f.jsonl", format!("\u{feff}{}\r\n\r\n{}\r\n", rows[0], rows[1])),
        ("f.json", format!("[\n{},\n{}\n]\n", rows[0], rows[1])),
        ("f.json", format!("{}\n{}", rows[0], rows[1])),
        ("f.csv", "problem,answer\n1+1?,2\n\"a\nb\",2.50\n".to_owned()),
    ] {
        let mut found = placeless(name, &text);
        if name.ends_with("csv") {
            // All columns of CSV are texts.
            assert_eq!(found[1].columns["answer"], "2.50");
            found[1].columns["answer"] = 2.5.into();
        }
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn the_columns_of_a_row_travel_with_its_problem() {
    let row = r#"{"prompt": "1+1?", "answer": 2.0, "extra_info": {"split": "train"}, "tags": null}"#;
    let problem = &from("c.jsonl", row, named("aime")).unwrap().problems[0];
    assert_eq!(
        serde_json::to_string(&problem.columns).unwrap(),
        r#"{"answer":2.0,"extra_info":{"split":"train"},"tags":null}"#
    );
    assert_eq!(problem.answer.as_deref(), Some("2"));
}

#[test]
fn presets_are_rows_of_field_names() {
    let gsm8k = r#"{"question": "q", "answer": "2*540 = <<2*540=1080>>1080\n#### 1,080"}"#;
    let problem = &from("g.jsonl", gsm8k, named("gsm8k")).unwrap().problems[0];
    assert_eq!(problem.answer.as_deref(), Some("1080"));
    assert_eq!(problem.solution.as_deref(), Some("2*540 = 1080\n#### 1,080"));
    let minerva = r#"{"problem": "q", "solution": "\\boxed{1} or \\boxed{\\frac{1}{2}}", "idx": 3}"#;
    let problem = &from("m.jsonl", minerva, named("minerva")).unwrap().problems[0];
    assert_eq!(
        (problem.answer.as_deref().unwrap(), problem.id.as_str()),
        (r"\frac{1}{2}", "3")
    );
    let svamp = r#"[{"ID": "c-1", "Body": "He has 5.", "Question": "And?", "Equation": "( 5.0 - 2.0 )", "Answer": 3.0}]"#;
    let problem = &from("s.json", svamp, named("svamp")).unwrap().problems[0];
    assert_eq!(problem.question, "He has 5. And?");
    assert_eq!(problem.solution, None);
    let infix = Preset {
        numbers: None,
        ..named("svamp").clone()
    };
    let problem = &from("s.json", svamp, &infix).unwrap().problems[0];
    assert_eq!(problem.solution.as_deref(), Some("5 - 2 = 3 #### 3"));
    let csv = "Body,Ques,Question,Numbers,Equation,Answer\nEmpty,number0 ?,number0 ?,2.0,number0,2.0\n";
    assert_eq!(
        from("s.csv", csv, named("svamp")).unwrap().problems[0].question,
        "2 ?"
    );
    let csv =
        "Question,Numbers,Equation,Answer\nnumber1 of number0 in numbers ?,56.0 0.5,* number0 number1,28.0\n";
    for name in ["svamp", "mawps"] {
        let problem = &from("s.csv", csv, named(name)).unwrap().problems[0];
        assert_eq!(problem.question, "0.5 of 56 in numbers ?");
        assert_eq!(problem.solution.as_deref(), Some("56 * 0.5 = 28 #### 28"));
    }
}

/// The gold answer's short form, 4/3 and 1.5, is not what the equation is compared with.
#[test]
fn an_equation_is_compared_with_the_answer_as_it_stands() {
    for (given, equation, answer, kept) in [
        (
            "1.0 2.3333333333333335",
            "- number1 number0",
            "1.3333333333333333",
            Some("4/3"),
        ),
        ("3.0 2.0", "/ number0 number1", "1.50", Some("1.5")),
        // Rounded to the places that it is written with.
        ("2.0 3.0", "/ number0 number1", "0.67", Some("0.67")),
        ("2.0 3.0", "/ number0 number1", "0.670", None),
    ] {
        let row =
            format!("Question,Numbers,Equation,Answer\nnumber0 number1 ?,{given},{equation},{answer}\n");
        let loaded = from("e.csv", &row, named("mawps"));
        match kept {
            Some(kept) => assert_eq!(
                loaded.unwrap().problems[0].answer.as_deref(),
                Some(kept),
                "{answer}"
            ),
            None => assert!(loaded.is_err(), "{answer}"),
        }
    }
}

#[test]
fn a_preset_of_ones_own_is_a_table() {
    let preset: Preset =
        serde_json::from_str(r#"{"question": "q|Q", "answer": "a", "answer_rule": "last_boxed"}"#).unwrap();
    let problem = &from("o.jsonl", r#"{"Q": "x", "a": "\\boxed{7}"}"#, &preset)
        .unwrap()
        .problems[0];
    assert_eq!(
        (problem.question.as_str(), problem.answer.as_deref().unwrap()),
        ("x", "7")
    );
    assert!(serde_json::from_str::<Preset>(r#"{"question": "q", "answr": "a"}"#).is_err());
    let again: Preset = serde_json::from_str(&serde_json::to_string(&preset).unwrap()).unwrap();
    assert_eq!(again, preset);
}

/// One table of cases.
#[test]
fn errors_name_file_line_field_and_what_to_do() {
    let first = r#"{"problem": "p", "answer": "1"}"#;
    for (name, text, preset, said) in [
        (
            "f.jsonl",
            format!("{first}\n\n{{\"problem\": \"p\", \"answer\": null}}"),
            "math",
            "f.jsonl:3: `answer` is null; give it a value or drop the row; whoever grades asks for a gold answer (or leave such rows out with bad_rows",
        ),
        (
            "f.json",
            format!("[\n{first},\n  {{\n  \"problem\": \"p\",\n \"answer\": null}}\n]"),
            "math",
            "f.json:3: `answer` is null",
        ),
        (
            "f.jsonl",
            r#"{"problm": "p", "answer": 1}"#.to_owned(),
            "math",
            "f.jsonl:1: no field `problem`; the row has problm, answer (nearest: `problm`)",
        ),
        (
            "f.jsonl",
            format!("{first}\n{{oops"),
            "math",
            "f.jsonl:2: not JSON",
        ),
        (
            "f.json",
            format!("[{first}\n{first}]"),
            "math",
            "f.json:2: a comma or ] is missing",
        ),
        (
            "f.json",
            format!("[{first},\n"),
            "math",
            "f.json:2: the file ends inside its array",
        ),
        ("f.json", format!("[{first}] x"), "math", "something follows"),
        (
            "f.jsonl",
            "[1]".to_owned(),
            "math",
            "f.jsonl:1: not a JSON object",
        ),
        (
            "f.csv",
            "problem,answer\np,1\np\n".to_owned(),
            "math",
            "f.csv:3: not CSV",
        ),
        (
            "f.jsonl",
            r#"{"problem": "p", "answer": [[1]]}"#.to_owned(),
            "math",
            "`answer` is a list of more than texts and numbers",
        ),
        (
            "f.jsonl",
            r#"{"problem": "p", "answer": 123456789012345678901}"#.to_owned(),
            "math",
            "write it as a string",
        ),
        (
            "f.jsonl",
            r#"{"problem": " ", "answer": 1}"#.to_owned(),
            "math",
            "the question (problem) is empty",
        ),
        (
            "f.jsonl",
            r#"{"question": "p", "answer": "12"}"#.to_owned(),
            "gsm8k",
            "#### is missing",
        ),
        (
            "f.csv",
            "Question,Numbers,Equation,Answer\nnumber0 ?,34.0 4.0,* number0 number1,134.0\n".to_owned(),
            "mawps",
            "f.csv:2: the equation \"* number0 number1\" gives 136, but `target|Answer` says 134",
        ),
        (
            "f.csv",
            "Question,Numbers,Equation,Answer\nnumber2 ?,34.0,number0,34.0\n".to_owned(),
            "mawps",
            "f.csv:2: the question holds number2, but 1 numbers are given",
        ),
        (
            "f.txt",
            String::new(),
            "math",
            "f.txt: the format is taken from the extension",
        ),
        ("f.jsonl", "\n".to_owned(), "math", "f.jsonl: no problem in it"),
    ] {
        let strict = Preset {
            bad_rows: BadRows::Error,
            ..named(preset).clone()
        };
        let error = from(name, &text, &strict).unwrap_err();
        assert!(error.contains(said), "{text}\n{error}");
    }
    let error = Preset::named("GSM8").unwrap_err().to_string();
    assert!(
        error.contains("did you mean \"gsm8k\"? Known: gsm8k, svamp, mawps, math"),
        "{error}"
    );
    assert!(
        load(Path::new("nowhere.json"), named("math"))
            .unwrap_err()
            .to_string()
            .contains("nowhere.json")
    );
}

#[test]
fn bad_rows_may_be_left_out_and_are_named() {
    let preset = Preset {
        bad_rows: BadRows::Skip,
        ..named("math").clone()
    };
    let text = "{\"problem\": \"p\", \"answer\": null}\n{\"problem\": \"p\", \"answer\": 1}";
    let loaded = from("f.jsonl", text, &preset).unwrap();
    assert_eq!(
        (loaded.problems.len(), loaded.problems[0].id.as_str()),
        (1, "f-2")
    );
    assert_eq!((loaded.skipped.len(), loaded.skipped[0].line), (1, 1));
}

/// One table of cases.
#[test]
fn real_files_load() {
    for (file, preset, problems, skipped, numeric) in [
        ("gsm8k/test.jsonl", "gsm8k", 1319, 0, 1319),
        ("gsm8k/train.jsonl", "gsm8k", 7473, 0, 7473),
        ("svamp/SVAMP.json", "svamp", 1000, 0, 1000),
        ("svamp/mawps-asdiv-a_svamp_train.csv", "svamp", 3130, 8, 3130),
        ("svamp/mawps-asdiv-a_svamp_dev.csv", "svamp", 1000, 0, 1000),
        ("svamp/mawps-asdiv-a_svamp_train.csv", "mawps", 3130, 8, 3130),
        ("mawps/test.jsonl", "mawps", 2065, 0, 2065),
        ("mawps/addsub.jsonl", "mawps", 395, 0, 395),
        ("mawps/multiarith.jsonl", "mawps", 600, 0, 600),
        ("mawps/singleeq.jsonl", "mawps", 508, 0, 508),
        ("mawps/singleop.jsonl", "mawps", 562, 0, 562),
        ("math/math500.jsonl", "math", 500, 0, 0),
        ("aime/aime24_qwen.jsonl", "aime", 30, 0, 30),
        ("aime/aime25_qwq.jsonl", "aime", 30, 0, 30),
        ("aime/aime_1983_2023_deepscaler.json", "aime", 975, 0, 0),
        ("amc/amc23_qwen.jsonl", "amc", 40, 0, 40),
        ("minerva/minerva_math_qwen.jsonl", "minerva", 272, 0, 0),
    ] {
        let Some(path) = shared(&format!("data/{file}")) else {
            return;
        };
        let loaded = load_all(&path, named(preset)).unwrap();
        for skipped in &loaded.skipped {
            eprintln!("{file}:{}: {}", skipped.line, skipped.reason);
        }
        assert_eq!(
            (loaded.problems.len(), loaded.skipped.len()),
            (problems, skipped),
            "{file}"
        );
        let grader = Grader::new();
        let golds = loaded
            .problems
            .iter()
            .filter(|p| grader.accepts(p.answer.as_deref().unwrap()).is_ok())
            .count();
        eprintln!("{file}: {golds} of {problems} golds are numbers");
        assert!(golds >= numeric, "{file}: {golds}");
        for problem in &loaded.problems {
            // Worked solutions lead to their answers, by the grader's own reading.
            if let (Some(solution), "gsm8k" | "svamp") = (&problem.solution, preset) {
                assert!(
                    grader
                        .grade(solution, problem.answer.as_deref().unwrap())
                        .unwrap()
                        .correct,
                    "{problem:?}"
                );
            }
            if file.ends_with(".csv") {
                assert!(
                    problem.solution.is_some() && !problem.question.contains("number0"),
                    "{problem:?}"
                );
                assert!(!problem.question.contains("Empty"), "{problem:?}");
            }
        }
    }
    let Some(path) = shared("data/math/train_deepscaler.json") else {
        return;
    };
    let error = load(&path, named("math")).unwrap_err().to_string();
    assert!(
        error.contains("train_deepscaler.json:") && error.contains("`answer` is null"),
        "{error}"
    );
    let skip = Preset {
        bad_rows: BadRows::Skip,
        ..named("math").clone()
    };
    assert_eq!(load_all(&path, &skip).unwrap().skipped.len(), 4); // two null, two empty
}

#[test]
fn variants_are_the_problems_with_other_numbers() {
    let text = "Question,Numbers,Equation,Answer\n\
        Bo has number0 boxes of number1 .,6 4,* number0 number1,24\n\
        Bo has number0 and number1 .,6 4,+ number0 number1,99\n\
        Bo has number0 pens .,5,number9,5\n\
        Bo shares number0 among number1 .,12 4,/ number0 number1,3\n";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.csv");
    std::fs::write(&path, text).unwrap();
    let vary = |limit, copies, seed| variants(&path, named("mawps"), limit, copies, seed).unwrap();
    let varied = vary(0, 20, 7);
    // The second row contradicts itself and the third has a broken equation: neither is there.
    assert_eq!(varied.len(), 40);
    assert_eq!(
        (varied[0].id.as_str(), varied[20].id.as_str()),
        ("w-1~1", "w-4~1")
    );
    for problem in &varied {
        let numbers: Vec<i64> = problem
            .question
            .split(' ')
            .filter_map(|word| word.parse().ok())
            .collect();
        let (sign, result) = if problem.id.starts_with("w-1") {
            ("*", numbers[0] * numbers[1])
        } else {
            ("/", numbers[0] / numbers[1])
        };
        let solution = format!("{} {sign} {} = {result} #### {result}", numbers[0], numbers[1]);
        assert_eq!(
            problem.solution.as_deref(),
            Some(solution.as_str()),
            "{}",
            problem.question
        );
        assert_eq!(problem.answer, Some(result.to_string()));
    }
    assert_eq!(vary(0, 3, 7), [&varied[..3], &varied[20..23]].concat());
    assert_eq!(vary(1, 3, 7), varied[..3]);
    assert_ne!(vary(0, 20, 8), varied);
    std::fs::write(&path, "Question,Answer\nq,1\n").unwrap();
    let refused = variants(&path, named("mawps"), 0, 1, 0).unwrap_err().to_string();
    assert!(
        refused.ends_with("no problem can be varied; set variants = 0"),
        "{refused}"
    );
}

#[test]
fn a_field_that_comes_twice_is_refused() {
    let said = from("f.csv", "problem,answer, answer\nq,1,2\n", named("math")).unwrap_err();
    assert_eq!(
        said,
        "f.csv:1: columns 2 and 3 are both called `answer`; rename or remove one"
    );
    let said = from(
        "f.jsonl",
        r#"{"problem": "q", "answer": "1", "answer": "2"}"#,
        named("math"),
    )
    .unwrap_err();
    assert!(
        said.starts_with("f.jsonl:1: not JSON: the field `answer` comes twice"),
        "{said}"
    );
    let said = from(
        "f.json",
        "[{\"problem\": \"q\",\n\"answer\": {\"a\": 1, \"a\": 2}}]",
        named("math"),
    );
    assert!(said.unwrap_err().contains("`a` comes twice"));
}

#[test]
fn rows_that_are_none_are_left_out_and_counted_and_most_are_too_many() {
    let skipping = |bad_rows| Preset {
        bad_rows,
        ..named("math").clone()
    };
    let good = r#"{"problem": "q", "answer": "1"}"#;
    let text = format!("{good}\n{{\"problem\": \n{good}\n[1]\n{good}");
    let loaded = from("f.jsonl", &text, &skipping(BadRows::Skip)).unwrap();
    assert_eq!((loaded.problems.len(), loaded.skipped.len()), (3, 2));
    let said = loaded.left_out("f.jsonl");
    assert_eq!(said[0], "f.jsonl: 2 of 5 rows left out");
    assert!(said[1].starts_with("f.jsonl:2: left out: not JSON"), "{said:?}");
    assert!(
        said[2].starts_with("f.jsonl:4: left out: not a JSON object"),
        "{said:?}"
    );
    let csv = "problem,answer\nq,1\nq,1,2\nq,3\n";
    let loaded = from("f.csv", csv, &skipping(BadRows::Skip)).unwrap();
    assert_eq!((loaded.problems.len(), loaded.skipped[0].line), (2, 3));

    let text = format!("{good}\nx\ny");
    let said = from("f.jsonl", &text, &skipping(BadRows::Skip)).unwrap_err();
    assert!(
        said.contains("2 of 3 rows cannot be used, the first on line 2: not JSON")
            && said.contains("\"skip_any\""),
        "{said}"
    );
    let loaded = from("f.jsonl", &text, &skipping(BadRows::SkipAny)).unwrap();
    assert_eq!((loaded.problems.len(), loaded.skipped.len()), (1, 2));
    let said = from("f.jsonl", "x", &skipping(BadRows::SkipAny)).unwrap_err();
    assert!(said.contains("1 rows left out, the first on line 1"), "{said}");
}

#[test]
fn a_text_of_megabytes_is_refused_with_its_row() {
    let row = format!(
        "{{\"problem\": \"q\", \"answer\": \"1\"}}\n{{\"problem\": \"{}\", \"answer\": \"1\"}}",
        "x".repeat(20_000_000)
    );
    let said = from("f.jsonl", &row, named("math")).unwrap_err();
    assert!(said.starts_with("f.jsonl:2: the question has 20.0 MB"), "{said}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.jsonl");
    std::fs::create_dir(&path).unwrap();
    assert!(
        load_all(&path, named("math"))
            .unwrap_err()
            .to_string()
            .contains("it is a directory")
    );
}
