use super::*;
use std::time::Instant;

fn graded(completion: &str, gold: &str) -> Verdict {
    Grader::new().grade(completion, gold).unwrap()
}

#[test]
fn rules_are_tried_in_order_and_named() {
    for (text, gold, rule, correct) in [
        (r"so 3 and \boxed{42}. #### 7", "42", Rule::Boxed, true),
        (r"\boxed{1} then \boxed{\text{the } 2}", "1", Rule::Boxed, false),
        (r"\boxed{\frac{1}{2}}", "0.5", Rule::Boxed, true),
        (r"$\boxed 7$ done", "7", Rule::Boxed, true),
        ("work 9\n#### 12\nthe answer is 5", "12", Rule::Hashes, true),
        ("#### 1\n#### 2 apples", "2", Rule::Hashes, true),
        ("The answer is 5. That took 3 steps.", "5", Rule::AnswerIs, true),
        ("Final Answer is: **$1,234**", "1234", Rule::AnswerIs, true),
        ("The answer is 5 or 6", "5", Rule::AnswerIs, false),
        ("first 3, then 4.", "4", Rule::LastNumber, true),
        ("2c2c7_#722", "722", Rule::LastNumber, true),
        ("area 12 cm^2", "12", Rule::LastNumber, true),
        ("so it is -5", "-5", Rule::LastNumber, true),
        ("so 10-5", "5", Rule::LastNumber, true),
        ("costs $-5", "-5", Rule::LastNumber, true),
    ] {
        let verdict = graded(text, gold);
        assert_eq!((verdict.rule, verdict.correct), (Some(rule), correct), "{text}");
    }
    assert_eq!(graded("no idea", "1").rule, None);
    assert_eq!(graded(r"with 4 it is $4\sqrt{2}$", "4").rule, None);
}

#[test]
fn a_number_that_is_denied_or_one_of_two_is_no_answer() {
    for text in [
        "The answer is not 57.",
        "The answer isn't 57",
        "It is not 57.",
        "57 is wrong",
        "It is 56 or 57",
        "It is minus 57",
        r"not \boxed{57}",
        r"\boxed{56} or \boxed{57}",
        "The answer is 57. No wait, 58.",
    ] {
        assert!(!graded(text, "57").correct, "{text}");
    }
    for (text, gold) in [
        ("It is not 56, it is 57.", "57"),
        ("It is minus 57", "-57"),
        ("\u{ff15}\u{ff17}", "57"),
    ] {
        assert!(graded(text, gold).correct, "{text}");
    }
}

#[test]
fn a_box_cut_off_is_no_answer() {
    let verdict = graded(r"it is 12: \boxed{12", "12");
    assert!(!verdict.correct);
    assert_eq!((verdict.rule, verdict.answer), (Some(Rule::Boxed), None));
    // An earlier whole box still counts.
    assert!(graded(r"\boxed{12} and \boxed{13", "12").correct);
}

#[test]
fn a_thought_does_not_count_once_it_is_closed() {
    assert!(graded(r"<think>\boxed{3}</think> It is 4.", "4").correct);
    assert!(graded("<think> 3 so 4", "4").correct);
    assert_eq!(graded("<think>4</think>", "4").rule, None);
}

#[test]
fn numbers_are_exact() {
    for (a, b) in [
        ("1/3", r"\frac{2}{6}"),
        ("0.1", "1/10"),
        ("1 1/2", "1.5"),
        (r"1\frac12", "3/2"),
        ("-1 1/2", "-1.5"),
        (r"-\dfrac{3}{4}", "-0.75"),
        (r"\frac{-3}{4}", "-0.75"),
        ("1,234,567", "1234567"),
        ("1{,}234", "1234"),
        ("1 234", "1234"),
        (r"\$5", "5"),
        ("-$5.00", "-5"),
        ("€3", "3"),
        ("12 apples", "12"),
        (r"12 \text{ cm}^2", "12"),
        ("12 km/h", "12"),
        ("5 m", "5"),
        ("90^\\circ", "90"),
        ("025", "25"),
        (".5", "0.5"),
        ("[5]", "5"),
        ("5 €", "5"),
        ("3 + 4 = 7", "7"),
        (r"32,\! 349", "32349"),
        ("5.", "5"),
        ("x = 5", "5"),
        ("(5)", "5"),
        ("1.5e3", "1500"),
        (r"1.5 \times 10^{3}", "1500"),
        ("2e-3", "1/500"),
        ("10^3", "1000"),
        ("5 million", "5000000"),
        ("50%", "50"),
        ("50%", "1/2"),
        (r"50\%", "0.5"),
        ("50 percent", "50"),
        ("−3", "-3"),
        (
            "123456789012345678901234567890",
            "123456789012345678901234567890.0",
        ),
    ] {
        assert!(graded(&format!("#### {a}"), b).correct, "{a} = {b}");
        assert!(graded(&format!("#### {b}"), a).correct, "{b} = {a}");
    }
    for (a, b) in [
        ("1/3", "0.3333333333333333"),
        ("123456789012345678901234567890", "123456789012345678901234567891"),
        ("9007199254740993", "9007199254740992"),
        ("50%", "5"),
        ("0.5%", "50%"),
        ("5", "-5"),
    ] {
        assert!(!graded(&format!("#### {a}"), b).correct, "{a} ≠ {b}");
    }
}

#[test]
fn what_is_not_one_number_is_an_error_as_gold_and_never_a_match() {
    for text in [
        "",
        "abc",
        "3x",
        "5 x",
        r"2\pi",
        r"\sqrt{2}",
        "3 or 4",
        "1,23",
        "(1, 2)",
        "1/0",
        r"\frac{1}{0}",
        "2^10",
        "3 + 4",
        "x + y = 0",
        "1e99999999",
        "--5",
        "5 dozen",
        "NaN",
        "inf",
        "3:30",
        r"\frac{1}",
        "1 3/2 1",
        "[0,1]",
        "5-",
        "$",
    ] {
        assert!(
            matches!(Grader::new().grade("#### 5", text), Err(GradeError::Gold { .. })),
            "{text:?} as gold"
        );
        for gold in ["5", "3", "2", "1", "10"] {
            assert!(!graded(&format!("\\boxed{{{text}}}"), gold).correct, "{text:?}");
        }
    }
}

#[test]
fn golds_of_data_sets_may_be_marked() {
    assert!(graded("7", "#### 7").correct);
    assert!(graded("7", r"so \boxed{7}").correct);
}

#[test]
fn any_input_takes_bounded_time() {
    let start = Instant::now();
    let n = 300_000;
    for text in [
        "\\boxed{".repeat(n),
        "{".repeat(n) + &"}".repeat(n),
        "9".repeat(n),
        format!("#### {}", "9".repeat(n)),
        format!(
            "#### {}/{}",
            "9".repeat(number::MAX_DIGITS),
            "8".repeat(number::MAX_DIGITS)
        ),
        "1,".repeat(n),
        "1/".repeat(n),
        "-".repeat(n) + "5",
        "$".repeat(n) + "5",
        "\\frac{1".repeat(n),
        "#### ".repeat(n),
        "answer is ".repeat(n),
        format!("#### 1e{}", "9".repeat(n)),
        "1 ".repeat(n),
        "é".repeat(n),
        "\\é".repeat(n),
        "10^".repeat(n),
        "{{{{{5".repeat(n / 5),
    ] {
        let _ = graded(&text, "5");
    }
    // About 0.3 s where this was written; anything quadratic takes minutes.
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

/// The published cases of other graders' tests whose gold is a number: what is right is mostly found, and what is
/// wrong is never taken.
#[test]
fn cases_of_other_graders() {
    let Some(path) = crate::testing::shared("data/verifiers/cases.jsonl") else {
        return;
    };
    let (mut agreed, mut missed, mut taken) = (0, Vec::new(), Vec::new());
    for line in std::fs::read_to_string(path).unwrap().lines() {
        // A few lines hold Python's Infinity, which is not JSON; they check a parser of LaTeX.
        let Ok(case) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        let kind = case["kind"].as_str().unwrap();
        let graded_by_machine = kind == "model_output_machine_label";
        if case.get("policy").is_some() || kind.starts_with("latex_parse/") || graded_by_machine {
            continue;
        }
        let (gold, pred) = (case["gold"].as_str().unwrap(), case["pred"].as_str().unwrap());
        let grader = Grader::new();
        if grader.accepts(gold).is_err() {
            continue;
        }
        // Most predictions are bare answers; those with words are also checked as a text. Math that is broken over
        // lines counts as no answer for one grader; here it is one.
        let words = pred.split_whitespace().count() > 1 && !pred.contains(" \n");
        let bare = grader.grade(&format!("\\boxed{{{pred}}}"), gold).unwrap();
        let verdict = bare.correct || words && grader.grade(pred, gold).unwrap().correct;
        match (case["equal"].as_bool().unwrap(), verdict) {
            (true, false) => missed.push(format!("{gold} | {pred}")),
            (false, true) => taken.push(format!("{gold} | {pred}")),
            _ => agreed += 1,
        }
    }
    eprintln!("{agreed} agree, {} missed: {missed:#?}", missed.len());
    assert!(taken.is_empty(), "wrongly taken: {taken:#?}");
}

#[test]
fn expressions_are_worked_out_where_they_are_allowed() {
    let (with, without) = (Grader::new().with_expressions(true), Grader::new());
    for (completion, gold, correct) in [
        ("#### ( 5 + 3 ) * 2", "16", true),
        ("#### 5 + 3 * 2", "11", true),
        ("#### 5 + 3 * 2", "16", false),
        ("#### 10 / 3", "3.333", true),
        ("#### 10 / 3", "3", false),
        ("#### 4 / 3", "4/3", true),
        ("#### 16", "16", true),
        // Only behind the mark, only whole, and nothing that cannot be worked out.
        ("5 + 3", "8", false),
        ("#### 5 + 3 =", "8", false),
        ("#### 5 / 0", "0", false),
        ("#### + 5 3", "9", false),
    ] {
        assert_eq!(
            with.grade(completion, gold).unwrap().correct,
            correct,
            "{completion} {gold}"
        );
    }
    assert!(!without.grade("#### 5 + 3", "8").unwrap().correct);
}

#[test]
fn a_grader_of_numbers_looks_only_where_it_is_told() {
    let strict = Grader::new().with_rules([Rule::Boxed, Rule::Hashes]);
    let found = |text: &str| strict.grade(text, "7").unwrap();
    assert!(found("\\boxed{7}").correct && found("so\n#### 7").correct);
    let verdict = found("the answer is 7");
    assert_eq!(
        (verdict.correct, verdict.rule, verdict.answer),
        (false, None, None)
    );
    // The order is that of the rules.
    let hashes_first = Grader::new().with_rules([Rule::Hashes, Rule::Boxed]);
    assert!(hashes_first.grade("#### 7\n\\boxed{8}", "7").unwrap().correct);
    assert!(!strict.grade("#### 7\n\\boxed{8}", "7").unwrap().correct);
    assert_eq!("last_number".parse(), Ok(Rule::LastNumber));
    let error = "last".parse::<Rule>().unwrap_err().to_string();
    assert!(error.contains("answer_is"), "{error}");
}
