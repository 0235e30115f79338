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

/// Right and wrong answers to one gold answer.
fn check(gold: &str, right: &[&str], wrong: &[&str]) {
    for (texts, correct) in [(right, true), (wrong, false)] {
        for text in texts {
            let found = verdict(text, gold);
            assert_eq!(found.correct, correct, "{gold} | {text}: {found:?}");
        }
    }
}

#[test]
fn words_around_an_answer_are_no_part_of_it() {
    check(
        "57",
        &[
            "The answer is 57!",
            "The answer is 57! Nice.",
            "The answer is 57 (cm).",
            "The answer is 57 (in square metres).",
            "57 is the answer, as 57 > 56.",
            "So 57 is the correct answer.",
            "57 is right.",
            "The answer would be 57, since 3 * 19 = 57.",
            "The answer is 57, not 75.",
            "The answer is 57 and not 75.",
            "The answer is not 56 but 57.",
            "The answer is fifty-seven.",
            "The answer is approximately equal to 57.",
            "the answer is 57 and that is all",
            "#### Answer: 57",
            "#### **57**",
            "#### `57`",
            "#### 57 (fifty-seven)",
            "#### The answer is 57",
            "**Answer:** 57",
            "## Final Answer\n\n**57**",
            "> 57",
            "<b>57</b>",
            "Ans: 57",
            "Result: 57",
            "A: 57",
            "\u{2192} 57",
            "n = 57 (checked: 57 + 3 = 60)",
            "It is not 56, it is 57.",
            "The answer is 56. Wait, no, it is 57.",
            "\\boxed{5}. From this we get the final answer: 57",
            "\\boxed{57}. The final answer is correct.",
        ],
        &[
            "The answer is not 57.",
            "The answer isn't 57.",
            "I don't think the answer is 57.",
            "It is not 57.",
            "57 is wrong.",
            "57 is not the answer",
            "\\boxed{57} is wrong.",
            "It is not \\boxed{57}.",
            "It is not $57$.",
            "\\boxed{57}. The final answer is 58.",
            "The answer is 57... no, 58.",
            "The answer is 57. Sorry, I meant 58.",
            "\\boxed{\\text{not }57}",
            "#### not 57",
            "The answer is > 57",
            "The answer is at least 57.",
            "The answer is 58, not 57.",
            "The answer is minus 57.",
        ],
    );
    check(
        "-3",
        &["It is minus 3", "The answer is negative 3."],
        &["It is 3"],
    );
    // Either of two natural readings.
    check("720", &["The answer is 6!"], &["The answer is 6."]);
    check("6", &["The answer is 6!"], &["\\boxed{6!}"]);
}

#[test]
fn an_answer_that_offers_two_is_none() {
    check(
        "57",
        &["\\boxed{57 \\text{ or } 57.0}", "The answer is $57$ or 57."],
        &[
            "The answer is 57 or 58",
            "It is 56 or 57.",
            "Maybe 56, maybe 57.",
            "The answer is $56$ or $57$.",
            "The answer is $57$, or perhaps $58$.",
            "\\boxed{56} or maybe \\boxed{57}",
            "\\boxed{56}; alternatively \\boxed{57}",
            "The answer is 56 or the answer is 57",
            "The answer is 57 (or 58).",
            "#### 56 or 57",
            "The answer is 57. It could also be 58.",
        ],
    );
    check(
        "C",
        &[
            "C",
            "The answer is C, not D.",
            "It's not A, it's C.",
            "D is wrong, so C.",
            "The answer is not B but C.",
            "I think it is A. No wait, C.",
            "Neither A nor B is right, so it must be C.",
            "C is right because D is wrong.",
            "\\boxed{\\textbf{(C)}}",
        ],
        &[
            "\\boxed{C, D}",
            "\\boxed{B or C}",
            "\\boxed{B}, \\boxed{C}",
            "\\boxed{CD}",
            "\\boxed{\\text{not C}}",
            "B or C",
            "C, D",
            "Both B and C",
            "The answer is A, B, C or D",
            "The answer is C... no, D.",
            "The answer is not C.",
            "C is wrong.",
            "It can't be C",
            "all of A, B and C",
            "I would say D, but C is also possible.",
            "The answer is C, but it could also be D.",
        ],
    );
}

#[test]
fn what_a_plain_number_may_also_be_written_as() {
    check(
        "7",
        &[
            "7 m",
            "\\boxed{7 \\frac{m}{s}}",
            "\\boxed{7\\,\\Omega}",
            "n : 7",
            "\\boxed{７}",
            "\\boxed{\\text{seven}}",
        ],
        &[
            "7m",
            "7n",
            "\\boxed{7n}",
            "7 or 8",
            "8 - 1 m",
            "\\boxed{\\frac{14 m}{2}}",
        ],
    );
    check("0", &["x = 0"], &["\\boxed{ax + by = 0}"]);
    check("7n", &["7n"], &["7"]);
    check(
        "4000000",
        &["4 x 10^6", "4×10⁶", "\\boxed{4\\text{ million}}"],
        &["4", "4 x 10^5"],
    );
    check("3-2i", &["3-2j"], &["3+2j"]);
    check("7/4", &["\\boxed{1¾}", "1.75", "1,75", "7⁄4"], &["\\boxed{¾}"]);
    check("1,5", &["1.5", "\\boxed{5, 1}"], &["15"]);
    check("1.500", &["1,5"], &["1,500"]);
    check(
        "\\text{DNE}",
        &["\\boxed{\\text{does not exist}}"],
        &["\\boxed{0}"],
    );
    check(
        "\\text{parabola}",
        &["\\boxed{\\text{a parabola}}"],
        &["\\boxed{\\text{not a parabola}}"],
    );
}

#[test]
fn units_that_are_both_named_must_agree() {
    check(
        "30\\text{ cm}",
        &["30", "30 cm", "\\boxed{30\\text{ centimeters}}"],
        &["30 m", "\\boxed{30\\text{ km}}"],
    );
    check("\\$30", &["30", "\\$30", "30 dollars"], &["30 cents"]);
    check(
        "9:45 \\text{ a.m.}",
        &["9:45", "\\boxed{9:45\\text{ AM}}"],
        &["\\boxed{9:45\\text{ p.m.}}"],
    );
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
        ("The answer is I.", "I", true),
        ("I think it is C, I am sure", "C", true),
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
