use super::*;

fn verdict(text: &str, gold: &str) -> Verdict {
    Grader::math().grade(text, gold).unwrap()
}

/// One table of cases.
#[test]
fn rules_are_tried_in_order_and_named() {
    for (text, gold, rule, correct) in [
        (r"so 3 and \boxed{42}. #### 7", "42", Rule::Boxed, true),
        (r"\boxed{x^{2}+\frac{1}{2}}", "x^2+0.5", Rule::Boxed, true),
        (r"\boxed{1} then \boxed{2}", "2", Rule::Boxed, true),
        (r"$\boxed{2}$ and $\boxed{3}$", "2, 3", Rule::Boxed, true),
        (
            r"$y_1 = \boxed{2}$ and $y_2 = \boxed{3}$",
            "3, 2",
            Rule::Boxed,
            true,
        ),
        (
            r"\boxed{840}, as I said. **Answer** \\boxed{840}",
            "840",
            Rule::Boxed,
            true,
        ),
        (r"\fbox{7}", "7", Rule::Boxed, true),
        ("work 9\n#### 3/4", "0.75", Rule::Hashes, true),
        (
            r"The answer is $\frac12$. It took 3 steps.",
            "0.5",
            Rule::AnswerIs,
            true,
        ),
        ("Final Answer: The largest $n$ is 34.", "34", Rule::AnswerIs, true),
        ("The answer is (1, 2).", "(1,2)", Rule::AnswerIs, true),
        ("答案：每份是 (\\frac{2}{5}) 吨。", "2/5", Rule::AnswerIs, true),
        ("x^2 + 2*x + 1", "(x+1)^2", Rule::Whole, true),
        ("x = 4", "4", Rule::Whole, true),
        (
            "Therefore $x \\geq 5$ is the solution.",
            "x >= 5",
            Rule::Math,
            true,
        ),
        ("We get $1$ and $2$.", "2, 1", Rule::Math, true),
        (
            "She has 5 boxes of $3$, so there are 15.",
            "15",
            Rule::Math,
            false,
        ),
        (
            "With $n = 3$ there are, therefore, 12 of them.",
            "12",
            Rule::LastNumber,
            true,
        ),
        ("It costs 2,74 in all", "2.74", Rule::LastNumber, true),
        ("probably 17 or so", "17", Rule::LastNumber, true),
    ] {
        let found = verdict(text, gold);
        assert_eq!(
            (found.rule, found.correct),
            (Some(rule), correct),
            "{text}: {found:?}"
        );
    }
    assert_eq!(verdict("no idea at all, sorry", "1").rule, None);
    let only_boxes = Grader::math().with_rules([Rule::Boxed]);
    assert_eq!(only_boxes.grade("the answer is 5", "5").unwrap().rule, None);
}

#[test]
fn a_thought_and_a_cut_off_box_do_not_count() {
    assert!(verdict(r"<think>\boxed{3}</think> It is $4$.", "4").correct);
    assert!(!verdict(r"<think>\boxed{4}</think> It is $3$.", "4").correct);
    let cut = verdict(r"it is 12: \boxed{\frac{12}{", "12");
    assert_eq!(
        (cut.correct, cut.rule, cut.answer),
        (false, Some(Rule::Boxed), None)
    );
}

#[test]
fn a_verdict_says_how_both_were_read_and_what_decided() {
    let found = verdict(r"\boxed{\tfrac{\sqrt8}{2}}", r"\sqrt{2}");
    assert_eq!(found.by, Some(By::Symbolic));
    assert_eq!(
        (found.gold.as_str(), found.reading.as_deref()),
        ("sqrt(2)", Some("sqrt(8)/2"))
    );
    assert_eq!(found.answer.as_deref(), Some(r"\tfrac{\sqrt8}{2}"));
    assert_eq!(verdict("0.3333", "1/3").by, Some(By::Rounding));
    let exact = Grader::math().with_rounding(false);
    assert!(!exact.grade("0.3333", "1/3").unwrap().correct);
    assert!(!verdict("0.333", "1/3").correct);
}

#[test]
fn letters_of_choices_are_found_in_words() {
    for (text, gold, correct) in [
        ("The answer is A.", "A", true),
        ("Because B is valid", "B", true),
        (
            "It's not A because it is too small, therefore I think it's B",
            "B",
            true,
        ),
        ("The answer is for sure D, it can't be A or B", "D", true),
        ("D. it can't be A or B", "D", true),
        ("B。不是 A", "B", true),
        (r"$\boxed{\text{(C)}}.$", r"\text{C}", true),
        (r"\boxed{C) 12}", "C", true),
        ("C", "(A) Cecile", false),
        ("C", "C Cecile", true),
        ("\nAnswer: D", "B", false),
        ("A nice problem. I choose C", "A", false),
        ("the answer is 42", "B", false),
    ] {
        assert_eq!(verdict(text, gold).correct, correct, "{text} | {gold}");
    }
    assert_eq!(verdict("Answer: C", "C").rule, Some(Rule::Choice));
    // A letter may also be a variable.
    assert!(verdict(r"\boxed{E}", "E").correct);
}

#[test]
fn golds_are_read_wherever_they_stand() {
    for gold in [
        "0.5",
        "$\\frac{1}{2}$",
        "#### 1/2",
        r"so it is $\boxed{\dfrac12}$.",
        "We see that the answer is 1/2.",
    ] {
        assert!(verdict("0.5", gold).correct, "{gold}");
    }
    assert!(verdict("0.111", "0,111").correct);
    assert!(verdict(r"\boxed{Odd}", r"\text{odd}").correct);
    assert!(!verdict(r"\boxed{odd}", r"\text{oddd}").correct);
}

#[test]
fn a_gold_that_says_nothing_is_an_error_and_never_a_match() {
    type Kind = fn(&GradeError) -> bool;
    let unreadable: Kind = |error| matches!(error, GradeError::Unreadable { .. });
    let ambiguous: Kind = |error| matches!(error, GradeError::Ambiguous { .. });
    let no_value: Kind = |error| matches!(error, GradeError::NoValue { .. });
    for (gold, kind) in [
        ("", unreadable),
        ("$$", unreadable),
        (r"\frac{1}{", unreadable),
        ("5-", unreadable),
        ("(1, 2", unreadable),
        ("1/0", no_value),
        (r"\frac{x}{2-2}", no_value),
        ("it is 3 if he goes first and 4 else", ambiguous),
    ] {
        for text in ["", "5", gold, r"\boxed{}", "x"] {
            let error = Grader::math().grade(text, gold).unwrap_err();
            assert!(kind(&error), "{gold}: {error}");
        }
        assert!(Grader::math().accepts(gold).is_err(), "{gold}");
    }
    // A prediction like that is wrong, and no error.
    for text in ["", "$", r"\boxed{}", r"\boxed{1/0}", r"\boxed{\frac{1}{}}", "5-"] {
        assert!(!verdict(text, "1").correct, "{text}");
    }
}

#[test]
fn cases_are_scored_and_every_disagreement_is_listed() {
    let text = r#"{"gold": "1/2", "pred": "0.5", "equal": true, "numeric": [-Infinity, NaN]}

{"gold": "1", "pred": "The \"Infinity\" of 2", "equal": true}
{"gold": "x", "pred": "x", "equal": false}
{"gold": "1/0", "pred": "1", "equal": false}"#;
    let cases = cases::read(text).unwrap();
    let report = cases::score(&Grader::math(), &cases);
    assert_eq!((report.cases, report.agreement), (4, 0.5));
    assert_eq!(
        (report.false_match, report.false_mismatch, report.unreadable_gold),
        (1, 1, 1)
    );
    let lines: Vec<usize> = report.disagreements.iter().map(|case| case.line).collect();
    assert_eq!(lines, [3, 4]);
    assert_eq!(report.disagreements[0].pred, "The \"Infinity\" of 2");
    let error = cases::read("{\"gold\": \"1\"}").unwrap_err().to_string();
    assert!(error.starts_with("line 1: missing field `pred`"), "{error}");
}

#[test]
fn with_tags_only_the_answer_in_them_counts() {
    for (text, correct) in [
        (r"<think>3</think><answer>\frac{1}{2}</answer>", true),
        ("<think>3</think>\n<answer>\n1/2\n</answer>", true),
        ("<answer>3</answer> or <answer>1/2</answer>", true),
        ("<answer>3</answer>, not 1/2", false),
        (r"\boxed{3} <answer>\boxed{1/2}</answer> \boxed{4}", true),
        ("1/2</answer>", true),
        ("<think><answer>3</answer></think>1/2", true),
        ("</answer>3<answer>1/2", true),
    ] {
        assert_eq!(verdict(text, "0.5").correct, correct, "{text}");
    }
    let numbers = Grader::new().grade("3 <answer>42</answer> 7", "42");
    assert!(numbers.unwrap().correct);
}
