//! The grader against the labelled cases of other graders' tests, in the file that `GCPO_GRADER_CASES` names.

use gcpo_data::Grader;
use gcpo_data::grade::cases;

/// The cases of the file whose line `wanted` keeps; `None`, said aloud, without the file.
fn report(wanted: impl Fn(&serde_json::Value) -> bool) -> Option<cases::Report> {
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
    eprintln!(
        "{} cases, {:.2} % agree, {} false matches, {} false mismatches, {} unreadable, {:.0}/s",
        report.cases,
        100.0 * report.agreement,
        report.false_match,
        report.false_mismatch,
        report.unreadable_gold,
        report.grades_per_sec
    );
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
    let wanted = |case: &serde_json::Value| case.get("policy").is_none() && kind(case).starts_with("latex_parse/");
    if let Some(report) = report(wanted) {
        assert!(report.agreement >= 0.9, "{}", report.agreement);
    }
}
