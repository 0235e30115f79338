//! The grader against labelled pairs, in the file that `GCPO_PAIRS` names: `{"kind", "gold", "pred", "equal"}` a line.

use gcpo_data::Grader;
use gcpo_data::grade::cases;

/// Agreement with the labels that the grader must reach.
const WANTED: f64 = 0.98;

/// Pairs that the grader holds to be equal on purpose, though a label may say otherwise: gold answer, text, why.
const HELD_EQUAL: [(&str, &str, &str); 5] = [
    (
        "120",
        "The answer is 5!",
        "a factorial and an exclamation are both natural readings",
    ),
    (
        "2,5",
        "\\boxed{2.5}",
        "a comma without a space may be a decimal's as well as a list's",
    ),
    (
        "15\\%",
        "\\boxed{15}",
        "which of 15 and 0.15 a question means by percent is not seen here",
    ),
    (
        "113",
        "\\boxed{2x=113}",
        "a quantity with its value answers what the quantity is, as m + n = 113 does",
    ),
    (
        "\\emptyset",
        "\\boxed{\\text{none}}",
        "said of solutions, it is that there are none",
    ),
];

#[test]
fn the_grader_agrees_with_labelled_pairs() {
    let Some(path) = std::env::var_os("GCPO_PAIRS") else {
        eprintln!("skipped: GCPO_PAIRS names no file of labelled pairs");
        return;
    };
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let pairs = cases::read(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(!pairs.is_empty(), "{} holds no pairs", path.display());
    let report = cases::score(&Grader::math(), &pairs);
    println!("{report}");
    for (kind, of) in &report.kinds {
        let agree = of.cases - of.false_match - of.false_mismatch;
        println!(
            "  {kind:10} {agree:3} of {:3} agree, {} false matches, {} false mismatches",
            of.cases, of.false_match, of.false_mismatch
        );
    }
    let held = |gold: &str, pred: &str| HELD_EQUAL.iter().find(|known| (known.0, known.1) == (gold, pred));
    let mut unlisted = 0;
    for found in &report.disagreements {
        let name = if found.equal {
            "false mismatch"
        } else {
            "false match"
        };
        eprintln!(
            "{name}: {}",
            serde_json::to_string(found).expect("it is plain data")
        );
        match held(&found.gold, &found.pred) {
            Some((_, _, why)) => println!("  on purpose: {why}"),
            None => unlisted += usize::from(!found.equal),
        }
    }
    assert_eq!(unlisted, 0, "false matches that no reason is given for");
    assert!(
        report.agreement >= WANTED,
        "{:.2} % agreement, {:.0} % is wanted",
        100.0 * report.agreement,
        100.0 * WANTED
    );
}

#[test]
fn what_is_held_equal_in_pairs_is() {
    for (gold, pred, why) in HELD_EQUAL {
        let verdict = Grader::math()
            .grade(pred, gold)
            .expect("the gold answer can be read");
        assert!(verdict.correct, "{gold} | {pred} ({why}): {verdict:?}");
    }
}
