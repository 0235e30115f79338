//! The table at a run's end.

use comfy_table::{CellAlignment, Table, presets};
use indicatif::HumanCount;

use super::line::duration;
use super::{RlReport, RolloutReport, StepReport};
use crate::eval::report::Difference;
use crate::projection::Summary;

/// What a run came to, and where things were written (`places`: what, where).
///
/// Means over all steps count each step alike; rewards are of the first and the last tenth of the steps.
pub fn summary(steps: &[StepReport], places: &[(&str, String)]) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    rows.extend(evaluations(steps));
    rows.extend(sampled(steps));
    rows.extend(time(steps));
    rows.extend(
        places
            .iter()
            .map(|(what, place)| ((*what).to_owned(), place.clone())),
    );
    columns(&rows)
}

/// How two evaluations differ, a row a suite below `heads`: the suite, its problems, pass@1 of the first and of the second, the paired
/// difference, its interval, and on how many problems the second is better and worse.
pub fn paired(found: &[Difference], heads: [String; 8]) -> String {
    let mut rows = vec![heads.to_vec()];
    rows.extend(found.iter().map(|of| {
        vec![
            of.suite.clone(),
            of.problems.to_string(),
            format!("{:.4}", of.first),
            format!("{:.4}", of.second),
            format!("{:+.4} ± {:.4}", of.difference.mean, of.difference.stderr),
            format!("{:+.4} to {:+.4}", of.interval[0], of.interval[1]),
            of.better.to_string(),
            of.worse.to_string(),
        ]
    }));
    grid(&rows)
}

/// pass@1 before and after.
fn evaluations(steps: &[StepReport]) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let reports = || steps.iter().filter_map(|step| Some(&step.eval.as_ref()?.report));
    for (name, values) in [
        (
            "pass@1",
            reports()
                .filter_map(|report| Some(report.pass_at_1?.mean))
                .collect::<Vec<_>>(),
        ),
        (
            "held-out reward",
            reports().filter_map(|report| Some(report.reward?.mean)).collect(),
        ),
        (
            "of candidates",
            reports()
                .filter_map(|report| Some(report.candidates?.mean))
                .collect(),
        ),
        (
            "of integrations",
            reports()
                .filter_map(|report| Some(report.integrated?.mean))
                .collect(),
        ),
    ] {
        let value = match values.as_slice() {
            [] => continue,
            [once] => format!("{once:.3}"),
            [before, .., after] => format!("{before:.3} before, {after:.3} after ({:+.3})", after - before),
        };
        rows.push((name.to_owned(), value));
    }
    rows
}

/// Rewards, Υ and the number of tokens.
fn sampled(steps: &[StepReport]) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    let rollouts = || steps.iter().filter_map(StepReport::rollout);
    let rewards: Vec<f64> = rollouts()
        .filter_map(|rollout| Some(rollout.reward?.mean))
        .collect();
    if !rewards.is_empty() {
        let tenth = rewards.len().div_ceil(10);
        let (first, last) = (mean(&rewards[..tenth]), mean(&rewards[rewards.len() - tenth..]));
        row("reward", format!("{first:.3} at first, {last:.3} at last"));
    }
    let upsilon: Vec<Summary> = rollouts().filter_map(|rollout| rollout.upsilon).collect();
    if !upsilon.is_empty() {
        let of = |value: fn(&Summary) -> f64| upsilon.iter().map(value).collect::<Vec<_>>();
        row(
            "Υ",
            format!(
                "mean {:.3}, spread {:.3}, from {:.3} to {:.3}",
                mean(&of(|upsilon| upsilon.mean)),
                mean(&of(|upsilon| upsilon.std)),
                of(|upsilon| upsilon.min)
                    .into_iter()
                    .fold(f64::INFINITY, f64::min),
                of(|upsilon| upsilon.max)
                    .into_iter()
                    .fold(f64::NEG_INFINITY, f64::max),
            ),
        );
    }
    let clamped: Vec<f64> = steps
        .iter()
        .filter_map(|step| Some(step.rl()?.clamped_frac()))
        .collect();
    if !clamped.is_empty() {
        row("clamped tokens", format!("{:.1} %", 100.0 * mean(&clamped)));
    }
    if !rewards.is_empty() {
        let (tokens, generations) = rollouts().fold((0, 0), |(tokens, generations), rollout| {
            (
                tokens + rollout.work.tokens,
                generations + rollout.work.generations,
            )
        });
        row(
            "sampled",
            format!(
                "{} tokens in {} generations",
                HumanCount(tokens as u64),
                HumanCount(generations as u64)
            ),
        );
    }
    rows
}

/// Seconds of the steps, and of the stages in the order of the flow.
fn time(steps: &[StepReport]) -> Option<(String, String)> {
    let total: f64 = steps.iter().filter_map(StepReport::secs).sum();
    if total == 0.0 {
        return None;
    }
    let of_rl =
        |secs: fn(&RlReport) -> f64| -> f64 { steps.iter().filter_map(|step| step.rl().map(secs)).sum() };
    let of_rollout = |secs: fn(&RolloutReport) -> f64| -> f64 {
        steps.iter().filter_map(|step| step.rollout().map(secs)).sum()
    };
    let eval: f64 = steps
        .iter()
        .filter_map(|step| Some(step.eval.as_ref()?.secs))
        .sum();
    let stages = [
        ("rollout", of_rollout(|rollout| rollout.sample_secs)),
        ("reward", of_rollout(|rollout| rollout.reward_secs)),
        ("project", of_rollout(|rollout| rollout.project_secs)),
        ("score", of_rl(|step| step.score_secs)),
        ("train", steps.iter().filter_map(StepReport::train_secs).sum()),
        ("eval", eval),
    ];
    // The built-in rewards take no time worth a word; a program may.
    let spent = stages.iter().filter(|(_, secs)| *secs > 0.001 * total);
    let spent: Vec<String> = spent
        .map(|(stage, secs)| format!("{stage} {}", duration(*secs)))
        .collect();
    let stages = match spent.is_empty() {
        true => String::new(),
        false => format!(": {}", spent.join(", ")),
    };
    let count = steps.iter().filter_map(StepReport::secs).count();
    let plural = if count == 1 { "" } else { "s" };
    Some((
        "time".to_owned(),
        format!("{} for {count} step{plural}{stages}", duration(total)),
    ))
}

/// What a step did, for those who want to know more than its numbers: seconds by stage, what was sampled, the learning rate.
pub fn details(step: &StepReport) -> String {
    let one = std::slice::from_ref(step);
    let mut parts: Vec<String> = time(one).map(|(_, text)| text).into_iter().collect();
    let is_sampled = |(name, _): &(String, String)| name == "sampled";
    parts.extend(
        sampled(one)
            .into_iter()
            .find(is_sampled)
            .map(|(_, text)| format!("{text} sampled")),
    );
    parts.extend(
        step.update()
            .map(|update| format!("learning rate {:.3e}", update.learning_rate)),
    );
    format!("  {}", parts.join("; "))
}

/// Two columns, the first as wide as its longest entry; every line ends.
pub fn columns(rows: &[(String, String)]) -> String {
    let rows = rows.iter().map(|(name, value)| [name, value]);
    lines(Table::new().add_rows(rows))
}

/// Columns as wide as their longest entries, the first to the left and the others to the right; every line ends.
pub fn grid(rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    lines(&mut table)
}

/// A table without borders, two blanks between its columns.
fn lines(table: &mut Table) -> String {
    table.load_style(presets::NOTHING);
    let last = table.column_count().saturating_sub(1);
    for (number, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if number == last { 0 } else { 2 }));
    }
    table.trim_fmt().lines().map(|line| format!("{line}\n")).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::super::{Done, Evaluation};
    use super::*;
    use crate::eval::record::Record;
    use crate::eval::report::SuiteReport;
    use crate::rollout::Work;

    fn evaluated(pass_at_1: f64) -> Option<Evaluation> {
        let record = |problem: usize, right: bool| Record {
            problem,
            right,
            ..Record::default()
        };
        let right = (8.0 * pass_at_1) as usize;
        let records: Vec<Record> = (0..8).map(|problem| record(problem, problem < right)).collect();
        Some(Evaluation {
            report: SuiteReport::of("eval", &records, |a, b| a == b),
            measured: Vec::new(),
            secs: 0.0,
        })
    }

    fn step(reward: f64, upsilon: f64) -> StepReport {
        let rollout = RolloutReport {
            work: Work {
                tokens: 617_283,
                generations: 80,
                ..Work::default()
            },
            reward: Summary::of(&[reward]),
            upsilon: Some(Summary {
                mean: upsilon,
                std: 0.25,
                min: upsilon - 1.0,
                max: upsilon + 0.5,
            }),
            sample_secs: 45.0,
            ..RolloutReport::default()
        };
        let mut report = RlReport {
            rollout,
            train_secs: 20.0,
            step_secs: 70.0,
            ..RlReport::default()
        };
        report.learnt.sums.kl_projected_count = 8.0;
        report.learnt.sums.clamped_count = 1.0;
        StepReport::of(1, Done::Rl(Box::new(report)))
    }

    #[test]
    fn a_summary_says_what_the_steps_said() {
        let before = StepReport {
            eval: evaluated(0.5),
            ..StepReport::default()
        };
        let mut last = step(0.75, 1.5);
        last.eval = evaluated(0.875);
        let text = summary(
            &[before, step(0.25, 1.0), last],
            &[("written to", "runs/x".into())],
        );
        let expected = "\
pass@1          0.500 before, 0.875 after (+0.375)
reward          0.250 at first, 0.750 at last
Υ               mean 1.250, spread 0.250, from 0.000 to 2.000
clamped tokens  12.5 %
sampled         1,234,566 tokens in 160 generations
time            2m20s for 2 steps: rollout 1m30s, train 40s
written to      runs/x
";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_was_not_measured_is_not_shown() {
        let before = StepReport {
            eval: evaluated(0.5),
            ..StepReport::default()
        };
        assert_eq!(summary(&[before], &[]), "pass@1  0.500\n");
        assert_eq!(summary(&[StepReport::default()], &[]), "");
    }
}
