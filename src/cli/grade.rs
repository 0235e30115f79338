//! `gcpo grade`: whether an answer is right, and why; or how a grader does on labelled cases.

mod programs;

use anyhow::{Context as _, Result};
use gcpo_data::grade::cases::{self, CasesReport};
use gcpo_data::{Grader, Rule, Verdict};
use serde::Serialize;

use super::args::GradeArgs;
use super::run::{print_line, read_input};

/// Disagreements that are shown to people; JSON has all.
const SHOWN: usize = 20;

/// A verdict, as JSON.
#[derive(Debug, Serialize)]
struct Explained<'a> {
    correct: bool,
    by: Option<gcpo_data::By>,
    gold: &'a str,
    pred: Option<&'a str>,
    rule: Option<gcpo_data::Rule>,
    answer: Option<&'a str>,
}

/// Grades one answer, or a file of cases.
///
/// # Errors
/// The gold answer cannot be checked against; the file cannot be read, or a line of it is no case.
pub fn run(args: &GradeArgs) -> Result<()> {
    if let (Some(suite), Some(completions)) = (&args.suite, &args.completions) {
        return programs::run(suite, completions, args);
    }
    let grader = if args.numbers {
        Grader::new()
    } else {
        Grader::math()
    }
    .with_rounding(!args.exact);
    let grader = if args.rules.is_empty() {
        grader
    } else {
        grader.with_rules(args.rules.clone())
    };
    if let Some(path) = &args.cases {
        let text = read_input(path)?;
        let cases = cases::read(&text).with_context(|| path.display().to_string())?;
        let report = cases::score(&grader, &cases);
        return print_line(if args.json {
            serde_json::to_string(&report)?
        } else {
            in_words(&report)
        });
    }
    // The command line sees to it that both are there.
    let gold = args.gold.as_deref().unwrap_or_default();
    let pred = args.pred.as_deref().unwrap_or_default();
    let verdict = grader.grade(pred, gold)?;
    print_line(if args.json {
        serde_json::to_string(&Explained {
            correct: verdict.correct,
            by: verdict.by,
            gold: &verdict.gold,
            pred: verdict.reading.as_deref(),
            rule: verdict.rule,
            answer: verdict.answer.as_deref(),
        })?
    } else {
        explained(&verdict)
    })
}

/// One fact a line.
fn explained(verdict: &Verdict) -> String {
    let mut lines = vec![
        if verdict.correct { "right" } else { "wrong" }.to_owned(),
        format!("gold       {}", verdict.gold),
    ];
    match (&verdict.rule, &verdict.answer) {
        (None, _) => lines.push("answer     none found".to_owned()),
        (Some(Rule::Boxed), None) => {
            lines.push("answer     a box that is cut off, or that the words around it deny".to_owned());
        }
        (Some(rule), None) => {
            lines.push(format!(
                "answer     denied by the words around it (found by {rule})"
            ));
        }
        (Some(rule), Some(answer)) => {
            lines.push(format!("answer     {answer} (found by {rule})"));
            let reading = verdict.reading.as_deref().unwrap_or("not readable");
            lines.push(format!("read as    {reading}"));
        }
    }
    if let Some(by) = verdict.by {
        lines.push(format!("decided by {by}"));
    }
    lines.join("\n")
}

fn in_words(report: &CasesReport) -> String {
    let mut lines = vec![report.to_string()];
    let cut = |text: &str| -> String {
        let line = text.replace('\n', " ");
        if line.chars().count() <= 70 {
            line
        } else {
            line.chars().take(69).chain(['…']).collect()
        }
    };
    for case in report.disagreements.iter().take(SHOWN) {
        let label = if case.equal { "equal" } else { "different" };
        lines.push(format!(
            "line {}: labelled {label}: {} | {} (read as {} | {})",
            case.line,
            cut(&case.gold),
            cut(&case.pred),
            cut(&case.gold_reading),
            cut(case.reading.as_deref().unwrap_or("nothing"))
        ));
    }
    if report.disagreements.len() > SHOWN {
        lines.push(format!(
            "… and {} more; --json has all",
            report.disagreements.len() - SHOWN
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_explains_itself() {
        let verdict = Grader::math().grade("so \\boxed{\\frac{2}{4}}", "0.5").unwrap();
        assert_eq!(
            explained(&verdict),
            "right\ngold       0.5\nanswer     \\frac{2}{4} (found by boxed)\nread as    2/4\ndecided by exact"
        );
        let verdict = Grader::math().grade("", "0.5").unwrap();
        assert_eq!(
            explained(&verdict),
            "wrong\ngold       0.5\nanswer     none found"
        );
        let verdict = Grader::math().grade("\\boxed{1", "1").unwrap();
        assert!(explained(&verdict).contains("cut off"));
        let verdict = Grader::math().grade("It is not 1.", "1").unwrap();
        assert!(explained(&verdict).contains("denied"));
    }

    #[test]
    fn a_report_names_what_differs() {
        let text = "{\"gold\": \"1\", \"pred\": \"2\", \"equal\": true}\n{\"gold\": \"1\", \"pred\": \"1\", \"equal\": true}";
        let report = cases::score(&Grader::math(), &cases::read(text).unwrap());
        let words = in_words(&report);
        assert!(
            words.starts_with("2 cases, 50.00 % agreement: 0 false matches, 1 false mismatches;"),
            "{words}"
        );
        assert!(
            words.ends_with("line 1: labelled equal: 1 | 2 (read as 1 | 2)"),
            "{words}"
        );
    }
}
