//! What an evaluation found, as tables for people.

use crate::eval::report::{Breakdown, Difference, Mean, SuiteReport};
use crate::eval::stats::Estimate;
use crate::report::{grid, paired};

fn estimate(of: Estimate) -> String {
    format!("{:.4} ± {:.4}", of.mean, of.stderr)
}

fn between([low, high]: [f64; 2]) -> String {
    format!("{low:.4} to {high:.4}")
}

/// What was found, for people: a row a suite and the mean, then what stands in no column.
pub fn tables(reports: &[SuiteReport], mean: Option<&Mean>) -> String {
    let heads = [
        "suite",
        "problems",
        "k",
        "avg@k = pass@1",
        "95 % interval",
        "pass@k",
        "maj@k",
        "tokens",
        "truncated",
        "no answer",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    let none = || "–".to_owned();
    for report in reports {
        let at_k = report
            .pass_at_k
            .get(&report.samples)
            .filter(|_| report.samples > 1);
        rows.push(vec![
            report.suite.clone(),
            report.problems.to_string(),
            report.samples.to_string(),
            report.pass_at_1.map_or_else(none, estimate),
            report.interval.map_or_else(none, between),
            at_k.map_or_else(none, |of| format!("{:.4}", of.mean)),
            report.majority.map_or_else(none, |of| format!("{:.4}", of.mean)),
            format!("{:.1}", report.length_mean),
            format!("{:.1} %", 100.0 * report.truncated_frac),
            match report.pass_at_1 {
                Some(_) => format!("{:.1} %", 100.0 * report.no_answer_frac),
                None => none(),
            },
        ]);
    }
    if let Some(mean) = mean {
        let mut row = vec!["mean".to_owned(), String::new(), String::new()];
        row.extend([estimate(mean.pass_at_1), between(mean.interval)]);
        row.resize(heads.len(), String::new());
        rows.push(row);
    }
    let mut text = grid(&rows);
    for report in reports {
        text += &details(report);
    }
    text
}

/// What a suite's row has no column for.
fn details(report: &SuiteReport) -> String {
    let mut text = String::new();
    let suite = &report.suite;
    if let Some(sampling) = report.sampling_stderr {
        text += &format!("\n{suite}: of the standard error, {sampling:.4} is due to sampling\n");
    }
    let ks: Vec<String> = report
        .pass_at_k
        .iter()
        .filter(|_| report.pass_at_k.len() > 2)
        .map(|(k, of)| format!("pass@{k} {}", estimate(*of)))
        .collect();
    if !ks.is_empty() {
        text += &format!("{suite}: {}\n", ks.join(", "));
    }
    if let (Some(y), Some(y_n)) = (report.candidates, report.integrated) {
        text += &format!(
            "{suite}: pass@1 of integrated answers y_n {}, of their candidates y_i {}\n",
            estimate(y_n),
            estimate(y)
        );
    }
    if report.too_long > 0 {
        let plural = if report.too_long == 1 { "" } else { "s" };
        let counted = match (report.pass_at_1, report.rewards.is_empty()) {
            (Some(_), true) => "counted as wrong",
            (Some(_), false) => "counted as wrong, and without a reward",
            (None, _) => "left out",
        };
        text += &format!(
            "{suite}: {} problem{plural} too long, {counted}\n",
            report.too_long
        );
    }
    if !report.rewards.is_empty() {
        text += &format!("\n{}", rewards(report));
    }
    for (what, groups) in [("subject", &report.subjects), ("level", &report.levels)] {
        if !groups.is_empty() {
            let row = |group: &Breakdown| {
                vec![
                    group.name.clone(),
                    group.problems.to_string(),
                    estimate(group.pass_at_1),
                ]
            };
            let mut rows = vec![
                [&format!("{suite} by {what}"), "problems", "pass@1"]
                    .map(str::to_owned)
                    .to_vec(),
            ];
            rows.extend(groups.iter().map(row));
            text += &format!("\n{}", grid(&rows));
        }
    }
    text
}

/// A row a reward, and their sum.
fn rewards(report: &SuiteReport) -> String {
    let row =
        |name: &str, of: Option<Estimate>| vec![name.to_owned(), of.map_or_else(|| "–".to_owned(), estimate)];
    let mut rows = vec![vec![format!("{}: reward", report.suite), "mean".to_owned()]];
    rows.extend(report.rewards.iter().map(|(label, of)| row(label, *of)));
    rows.push(row("weighted sum", report.reward));
    grid(&rows)
}

pub fn differences(found: &[Difference]) -> String {
    let heads = [
        "suite",
        "problems",
        "first",
        "second",
        "second − first",
        "95 % interval",
        "better",
        "worse",
    ];
    paired(found, heads.map(str::to_owned))
}
