//! The grader against the labelled cases of other graders' tests, in the file that `GCPO_GRADER_CASES` names.

use gcpo_data::Grader;
use gcpo_data::grade::cases;

/// The cases of the file whose line `wanted` keeps; `None`, said aloud, without the file.
fn report(wanted: impl Fn(&serde_json::Value) -> bool) -> Option<cases::CasesReport> {
    let Some(path) = std::env::var_os("GCPO_GRADER_CASES") else {
        eprintln!("skipped: GCPO_GRADER_CASES names no file of cases");
        return None;
    };
    let text = std::fs::read_to_string(path).unwrap();
    let fields = |line: usize| {
        let line = text.lines().nth(line - 1).unwrap().replace("Infinity", "0");
        serde_json::from_str::<serde_json::Value>(&line).unwrap()
    };
    let mut cases = cases::read(&text).unwrap();
    cases.retain(|(line, _)| wanted(&fields(*line)));
    let report = cases::score(&Grader::math(), &cases);
    for case in &report.disagreements {
        eprintln!("{}", serde_json::to_string(case).unwrap());
    }
    eprintln!("{report}");
    Some(report)
}

fn kind(case: &serde_json::Value) -> &str {
    case["kind"].as_str().unwrap_or("")
}

#[test]
fn agrees_with_the_labels_of_other_graders() {
    let wanted = |case: &serde_json::Value| {
        case.get("policy").is_none()
            && !kind(case).starts_with("latex_parse/")
            && kind(case) != "model_output_machine_label"
    };
    if let Some(report) = report(wanted) {
        assert!(report.agreement >= 0.97, "{}", report.agreement);
    }
}

#[test]
fn reads_latex_and_sympy_alike() {
    let wanted =
        |case: &serde_json::Value| case.get("policy").is_none() && kind(case).starts_with("latex_parse/");
    if let Some(report) = report(wanted) {
        assert!(report.agreement >= 0.9, "{}", report.agreement);
    }
}

/// The gold answers of the evaluation sets under `$GCPO_SHARED/data`, by set.
fn golds() -> Option<Vec<(&'static str, Vec<String>)>> {
    let Some(root) = std::env::var_os("GCPO_SHARED") else {
        eprintln!("skipped: GCPO_SHARED names no folder of data");
        return None;
    };
    let root = std::path::Path::new(&root).join("data");
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let rows = |file: &str| -> Vec<serde_json::Value> {
        let read = std::fs::read_to_string(root.join(file)).unwrap();
        if file.ends_with(".json") {
            return serde_json::from_str(&read).unwrap();
        }
        read.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let field = |file: &str, name: &str| rows(file).iter().map(|row| text(&row[name])).collect::<Vec<_>>();
    let mut aime = field("aime/aime24_qwen.jsonl", "answer");
    aime.extend(field("aime/aime25_qwq.jsonl", "answer"));
    aime.extend(field("aime/aime_1983_2023_deepscaler.json", "answer"));
    let olympiad = rows("olympiadbench/test_qwen.jsonl")
        .iter()
        .flat_map(|row| {
            row["final_answer"]
                .as_array()
                .unwrap()
                .iter()
                .map(text)
                .collect::<Vec<_>>()
        })
        .collect();
    Some(vec![
        ("math500", field("math/math500.jsonl", "answer")),
        ("aime", aime),
        ("amc", field("amc/amc23_qwen.jsonl", "answer")),
        ("minerva", field("minerva/minerva_math_qwen.jsonl", "solution")),
        ("olympiadbench", olympiad),
    ])
}

/// The same answer, as people also write it.
fn variants(gold: &str) -> Vec<String> {
    let bare = gold.trim().trim_matches('$').to_owned();
    let mut variants = vec![
        gold.to_owned(),
        format!("\\boxed{{{bare}}}"),
        format!("<think>It may be 17.</think>So we get $$\\boxed{{ {bare} }}$$ as asked."),
        bare.replace("\\dfrac", "\\frac")
            .replace("\\tfrac", "\\frac")
            .replace("\\frac", "\\dfrac"),
        bare.replace("\\left", "").replace("\\right", ""),
        bare.replace("(", "\\left(")
            .replace(")", "\\right)")
            .replace("\\left\\left", "\\left")
            .replace("\\right\\right", "\\right"),
        bare.replace('\n', " ").replace("\\cdot", "\\times"),
    ];
    // Plain text: 3/4, sqrt(2), pi, infinity.
    if !bare.contains("frac{") || bare.matches("\\frac").count() == 1 {
        let plain = bare
            .replace("\\frac{", "({")
            .replace("\\pi", "pi")
            .replace("\\infty", "oo")
            .replace("\\cup", "∪")
            .replace("^\\circ", "°");
        if !bare.contains("\\frac") && !bare.contains("sqrt") {
            variants.push(plain);
        }
    }
    variants
}

#[test]
fn every_real_answer_equals_itself_and_what_it_is_also_written_as() {
    let Some(sets) = golds() else { return };
    let grader = Grader::math();
    let mut wrong = Vec::new();
    for (set, golds) in &sets {
        for gold in golds {
            if let Err(error) = grader.accepts(gold) {
                wrong.push(format!("{set}: {error}"));
                continue;
            }
            // A worked solution is checked by its box.
            let short = gold.rfind("\\boxed").is_none();
            for variant in if short { variants(gold) } else { vec![gold.clone()] } {
                let verdict = grader.grade(&variant, gold).unwrap();
                if !verdict.correct {
                    wrong.push(format!("{set}: {gold} | {variant} | {verdict:?}"));
                }
            }
        }
    }
    eprintln!(
        "{} answers",
        sets.iter().map(|(_, golds)| golds.len()).sum::<usize>()
    );
    assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
}

#[test]
fn shuffled_answers_hardly_ever_match() {
    let Some(sets) = golds() else { return };
    let grader = Grader::math();
    for (set, golds) in &sets {
        let plain = |text: &str| {
            text.chars()
                .filter(|c| !c.is_whitespace() && *c != '$')
                .collect::<String>()
        };
        let read: Vec<_> = golds
            .iter()
            .filter_map(|gold| Some((gold, gcpo_data::Gold::read(gold).ok()?)))
            .collect();
        let (mut pairs, mut matches) = (0, Vec::new());
        for shift in 1..40.min(read.len()) {
            for at in 0..read.len() {
                let ((gold, answer), (other, _)) = (&read[at], &read[(at + shift * 7) % read.len()]);
                // The same answer to another problem is no mistake.
                if answer.answer() == read[(at + shift * 7) % read.len()].1.answer()
                    || plain(gold) == plain(other)
                {
                    continue;
                }
                pairs += 1;
                let verdict = grader.check(other, answer);
                if verdict.correct {
                    matches.push(format!("{gold} | {other} | {verdict:?}"));
                }
            }
        }
        eprintln!("{set}: {pairs} pairs, {} matches", matches.len());
        for found in matches.iter().take(30) {
            eprintln!("  {found}");
        }
        assert!(
            matches.len() * 1000 <= pairs,
            "{set}: {} of {pairs}",
            matches.len()
        );
    }
}

#[test]
fn grades_many_a_second() {
    let Some(sets) = golds() else { return };
    let grader = Grader::math();
    for (set, golds) in &sets {
        let start = std::time::Instant::now();
        let mut count = 0;
        while start.elapsed().as_secs_f64() < 1.0 {
            for gold in golds {
                let _ = grader.grade(&format!("\\boxed{{{gold}}}"), gold);
                count += 1;
            }
        }
        let speed = f64::from(count) / start.elapsed().as_secs_f64();
        // A tenth of what is measured: a quadratic step shows, a busy machine does not.
        assert!(speed > 3_000.0, "{set}: {speed}");
        eprintln!("{set}: {speed:.0} grades a second");
    }
}
