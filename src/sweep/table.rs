//! What a sweep found: means and spreads of each setting, and how it differs from the first one, seed by seed and problem by problem.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Setting;
use super::difference::Difference;
use super::result::{Curves, RunResult};
use crate::curve::{Line, Panel, Point, smooth};
use crate::eval::stats::Estimate;
use crate::report::grid;

/// What all runs of a sweep came to.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// Of each setting.
    pub settings: Vec<SettingFound>,
    /// How each setting differs from the baseline.
    pub differences: Vec<Difference>,
}

/// What the runs of a setting came to.
#[derive(Debug, Clone, Serialize)]
pub struct SettingFound {
    /// The setting's name.
    pub name: String,
    /// Its config's file.
    pub config: String,
    /// What is set in it.
    pub sets: Vec<String>,
    /// Means of the runs that are over, by column, with their spreads (the standard deviation over seeds, n − 1 below).
    pub means: Map<String, Value>,
    /// Each seed's run.
    pub runs: Vec<RunResult>,
}

/// A curve of a run: its values by step.
type Series = fn(&Curves) -> &[(usize, f64)];

/// A column: what it is called, its value of a run, digits behind the point, and whether it has a sign.
struct Column(&'static str, fn(&RunResult) -> Option<f64>, usize, bool);

const COLUMNS: [Column; 13] = [
    Column("pass@1 before", |run| run.before, 3, false),
    Column("pass@1 after", |run| run.after, 3, false),
    Column("gain", RunResult::gain, 3, true),
    Column("candidates before", |run| run.candidates_before, 3, false),
    Column("integrated before", |run| run.integrated_before, 3, false),
    Column("candidates after", |run| run.candidates_after, 3, false),
    Column("integrated after", |run| run.integrated_after, 3, false),
    Column("reward", |run| run.reward, 3, false),
    Column("loss", |run| run.loss, 4, false),
    Column("Υ", |run| run.upsilon_mean, 2, false),
    Column("Υ spread", |run| run.upsilon_std, 2, false),
    Column("seconds", |run| Some(run.secs), 0, false),
    Column("tokens", |run| Some(run.tokens), 0, false),
];

impl Column {
    fn shown(&self, value: f64) -> String {
        let Self(_, _, digits, sign) = *self;
        match sign {
            true => format!("{value:+.digits$}"),
            false => format!("{value:.digits$}"),
        }
    }

    /// Its values of the runs that are over.
    fn values(&self, runs: &[RunResult]) -> Vec<f64> {
        let over = runs.iter().filter(|run| run.failed.is_none());
        over.filter_map(self.1).collect()
    }
}

/// Mean and standard deviation (n − 1 below); of one value there is no deviation.
fn spread(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let n = values.len();
    let Estimate { mean, stderr } = (n > 0).then(|| Estimate::of(values))?;
    Some((mean, (n > 1).then(|| stderr * (n as f64).sqrt())))
}

impl Found {
    /// Of the runs of some settings, at least one, in the same order; compared with the one at `baseline`.
    pub fn of(settings: &[Setting], runs: Vec<Vec<RunResult>>, baseline: usize) -> Self {
        let settings: Vec<SettingFound> = settings
            .iter()
            .zip(runs)
            .map(|(of, runs)| found(of, runs))
            .collect();
        let first = &settings[baseline];
        let others = settings.iter().filter(|setting| setting.name != first.name);
        Self {
            differences: others
                .map(|setting| Difference::of((&first.name, &first.runs), (&setting.name, &setting.runs)))
                .collect(),
            settings,
        }
    }

    /// The columns in which there is anything.
    fn columns(&self) -> Vec<&'static Column> {
        let runs = || self.settings.iter().flat_map(|setting| &setting.runs);
        let some = |column: &&Column| runs().any(|run| column.1(run).is_some_and(|value| value != 0.0));
        COLUMNS.iter().filter(some).collect()
    }

    /// The tables: a row a setting, a row a difference, a row a run.
    pub fn tables(&self) -> Vec<Vec<Vec<String>>> {
        let mut tables = vec![self.of_settings()];
        if !self.differences.is_empty() {
            tables.push(self.of_differences());
        }
        tables.push(self.of_runs());
        tables
    }

    fn of_settings(&self) -> Vec<Vec<String>> {
        let columns = self.columns();
        let mut heads = vec!["setting".to_owned(), "runs".to_owned()];
        heads.extend(columns.iter().map(|column| column.0.to_owned()));
        let mut rows = vec![heads];
        for setting in &self.settings {
            let over = setting.runs.iter().filter(|run| run.failed.is_none()).count();
            let mut row = vec![setting.name.clone(), over.to_string()];
            row.extend(
                columns
                    .iter()
                    .map(|column| match spread(&column.values(&setting.runs)) {
                        None => "–".to_owned(),
                        Some((mean, None)) => column.shown(mean),
                        Some((mean, Some(std))) => format!("{} ± {std:.*}", column.shown(mean), column.2),
                    }),
            );
            rows.push(row);
        }
        rows
    }

    fn of_differences(&self) -> Vec<Vec<String>> {
        let baseline = &self.differences[0].baseline;
        let heads = [
            "",
            "measure",
            "difference",
            "95 % over seeds",
            "95 % over problems",
            "better",
            "worse",
        ];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        rows[0][0] = format!("less {baseline}");
        let none = || "–".to_owned();
        let between = |[low, high]: [f64; 2]| format!("{low:+.3} to {high:+.3}");
        for found in &self.differences {
            let problems = found.problems.as_ref();
            rows.push(vec![
                found.setting.clone(),
                found.measure.to_owned(),
                found.mean.map_or_else(none, |mean| format!("{mean:+.3}")),
                found.interval.map_or_else(none, between),
                problems.map_or_else(none, |of| between(of.interval)),
                problems.map_or_else(none, |of| of.better.to_string()),
                problems.map_or_else(none, |of| of.worse.to_string()),
            ]);
        }
        rows
    }

    fn of_runs(&self) -> Vec<Vec<String>> {
        let columns = self.columns();
        let mut heads = vec!["run".to_owned(), "seed".to_owned(), "steps".to_owned()];
        heads.extend(columns.iter().map(|column| column.0.to_owned()));
        let mut rows = vec![heads];
        for setting in &self.settings {
            for run in &setting.runs {
                let mut row = vec![setting.name.clone(), run.seed.to_string(), run.steps.to_string()];
                if run.failed.is_some() {
                    row[2] += " (failed)";
                }
                let value =
                    |column: &&Column| column.1(run).map_or("–".to_owned(), |value| column.shown(value));
                row.extend(columns.iter().map(value));
                rows.push(row);
            }
        }
        rows
    }

    /// What failed and what could not be compared, in words, a line each.
    pub fn remarks(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for setting in &self.settings {
            let failed = setting
                .runs
                .iter()
                .filter_map(|run| Some((run.seed, run.failed.as_ref()?)));
            lines.extend(failed.map(|(seed, why)| format!("failed: {}, seed {seed}: {why}", setting.name)));
        }
        for found in &self.differences {
            if let Some(why) = &found.not_paired {
                lines.push(format!("{} is not paired by problem: {why}", found.setting));
            }
        }
        lines
    }

    /// For a terminal.
    pub fn to_text(&self) -> String {
        let mut parts: Vec<String> = self.tables().iter().map(|rows| grid(rows)).collect();
        let remarks = self.remarks();
        if !remarks.is_empty() {
            parts.push(remarks.join("\n") + "\n");
        }
        parts.join("\n")
    }

    /// As Markdown.
    pub fn to_markdown(&self) -> String {
        let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | ").replace('\n', " "));
        let table = |rows: &Vec<Vec<String>>| {
            let rule = format!("|{}\n", " --- |".repeat(rows[0].len()));
            let rest: String = rows[1..].iter().map(line).collect();
            line(&rows[0]) + &rule + &rest
        };
        let mut parts: Vec<String> = self.tables().iter().map(table).collect();
        parts.extend(self.remarks().into_iter().map(|remark| format!("{remark}\n")));
        parts.join("\n")
    }

    /// The curves: reward and pass@1, or loss, as far as they were measured. A line is the mean over the seeds that have the step, its
    /// band goes from the least of them to the greatest.
    pub fn panels(&self) -> Vec<Panel> {
        let kinds: [(&str, Series, bool); 3] = [
            ("reward", |curves| &curves.reward, true),
            ("loss", |curves| &curves.loss, true),
            ("pass@1", |curves| &curves.pass_at_1, false),
        ];
        let mut panels = Vec::new();
        for (title, series, noisy) in kinds {
            let runs = || self.settings.iter().flat_map(|setting| &setting.runs);
            let steps = runs().map(|run| series(&run.curves).len()).max().unwrap_or(0);
            if steps == 0 {
                continue;
            }
            let window = if noisy { steps.div_ceil(20) } else { 1 };
            let lines = self.settings.iter().map(|setting| {
                let of: Vec<_> = setting
                    .runs
                    .iter()
                    .map(|run| smooth(series(&run.curves), window))
                    .collect();
                Line {
                    name: setting.name.clone(),
                    points: points(&of),
                }
            });
            panels.push(Panel {
                title: match window {
                    1 => title.to_owned(),
                    _ => format!("{title}, mean of {window} steps"),
                },
                x: "step".to_owned(),
                y: String::new(),
                lines: lines.collect(),
            });
        }
        panels
    }
}

fn found(setting: &Setting, runs: Vec<RunResult>) -> SettingFound {
    let means = COLUMNS.iter().filter_map(|column| {
        let values = column.values(&runs);
        let (mean, std) = spread(&values)?;
        Some((
            column.0.to_owned(),
            json!({ "mean": mean, "std": std, "runs": values.len() }),
        ))
    });
    SettingFound {
        name: setting.name.clone(),
        config: setting.config.display().to_string(),
        sets: setting.sets.clone(),
        means: means.collect(),
        runs,
    }
}

/// The line of several series: their mean, least and greatest by step.
fn points(series: &[Vec<(usize, f64)>]) -> Vec<Point> {
    let mut by_step = std::collections::BTreeMap::<usize, Vec<f64>>::new();
    for (step, value) in series.iter().flatten() {
        by_step.entry(*step).or_default().push(*value);
    }
    let point = |(step, values): (usize, Vec<f64>)| Point {
        x: step as f64,
        y: values.iter().sum::<f64>() / values.len() as f64,
        band: [
            values.iter().copied().fold(f64::INFINITY, f64::min),
            values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        ],
    };
    by_step.into_iter().map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::record::Record;
    use crate::eval::record::{Header, SuiteHeader, write_whole};
    use crate::run::EVALUATION;

    fn setting(name: &str) -> Setting {
        Setting {
            name: name.into(),
            config: "a.toml".into(),
            sets: Vec::new(),
        }
    }

    fn run(seed: u64, after: f64) -> RunResult {
        RunResult {
            seed,
            steps: 40,
            before: Some(0.25),
            after: Some(after),
            secs: 10.0,
            tokens: 1000.0,
            curves: Curves {
                reward: (1..=40).map(|step| (step, 0.5)).collect(),
                pass_at_1: vec![(0, 0.25), (40, after)],
                loss: Vec::new(),
            },
            ..RunResult::default()
        }
    }

    #[test]
    fn means_spreads_and_paired_differences_are_what_a_hand_counts() {
        let runs = vec![
            vec![run(0, 0.5), run(1, 0.75), run(2, 0.625)],
            vec![run(0, 0.625), run(1, 0.75), run(2, 0.875)],
        ];
        let found = Found::of(&[setting("a"), setting("b")], runs, 0);
        let means = &found.settings[0].means["pass@1 after"];
        let std = means["std"].as_f64().unwrap();
        assert_eq!((&means["mean"], &means["runs"]), (&json!(0.625), &json!(3)));
        assert!((std - 0.125).abs() < 1e-12, "{std}");
        let difference = &found.differences[0];
        assert_eq!(
            (difference.setting.as_str(), difference.baseline.as_str()),
            ("b", "a")
        );
        assert_eq!(difference.by_seed, [(0, 0.125), (1, 0.0), (2, 0.25)]);
        assert_eq!(difference.mean, Some(0.125));
        // 0.125 ± 4.3027 · 0.125 / √3
        let [low, high] = difference.interval.unwrap();
        assert!(
            (low + 0.185_52).abs() < 1e-4 && (high - 0.435_52).abs() < 1e-4,
            "{low} {high}"
        );
        assert!(difference.problems.is_none() && difference.not_paired.is_some());
        let text = found.to_text();
        assert!(
            text.contains("0.625 ± 0.125") && text.contains("+0.375 ± 0.125"),
            "{text}"
        );
        assert!(
            text.contains("-0.186 to +0.436") && !text.contains("reward"),
            "{text}"
        );
        let markdown = found.to_markdown();
        assert!(markdown.contains("| a | 3 | 0.250 ± 0.000 |"), "{markdown}");
    }

    #[test]
    fn a_failed_run_is_said_and_counts_in_no_mean() {
        let failed = RunResult {
            failed: Some("the disk is full".into()),
            ..run(1, 0.1)
        };
        let runs = vec![vec![run(0, 0.5), run(1, 0.5)], vec![run(0, 0.75), failed]];
        let found = Found::of(&[setting("a"), setting("b")], runs, 0);
        assert_eq!(
            found.settings[1].means["pass@1 after"],
            json!({"mean": 0.75, "std": null, "runs": 1})
        );
        assert_eq!(found.differences[0].by_seed, [(0, 0.25)]);
        assert_eq!(found.differences[0].interval, None);
        let text = found.to_text();
        assert!(
            text.contains("40 (failed)") && text.contains("failed: b, seed 1: the disk is full"),
            "{text}"
        );
    }

    #[test]
    fn runs_are_paired_by_problem_where_they_were_evaluated_on_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let evaluated = |name: &str, seed: u64, right: &[bool]| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            let record = |(problem, right): (usize, &bool)| Record {
                suite: "eval".into(),
                problem,
                id: problem.to_string(),
                right: *right,
                ..Record::default()
            };
            let records: Vec<Record> = right.iter().enumerate().map(record).collect();
            let suite = SuiteHeader {
                name: "eval".into(),
                data: String::new(),
                problems: right.len(),
                samples: 1,
                fingerprint: String::new(),
            };
            let header = Header::new("m", Default::default(), String::new(), vec![suite]);
            write_whole(&path.join(EVALUATION), &header, &records).unwrap();
            RunResult {
                dir: path.display().to_string(),
                ..run(
                    seed,
                    right.iter().filter(|right| **right).count() as f64 / right.len() as f64,
                )
            }
        };
        let runs = vec![
            vec![
                evaluated("a0", 0, &[false, true, false, true]),
                evaluated("a1", 1, &[false, true, false, false]),
            ],
            vec![
                evaluated("b0", 0, &[true, true, false, false]),
                evaluated("b1", 1, &[true, true, true, false]),
            ],
            vec![
                evaluated("c0", 0, &[true, true]),
                evaluated("c1", 1, &[true, true]),
            ],
        ];
        let found = Found::of(&["a", "b", "c"].map(setting), runs, 0);
        let problems = found.differences[0].problems.as_ref().unwrap();
        // By problem, over both seeds: 1, 0, 1/2, −1/2.
        assert_eq!((problems.problems, problems.better, problems.worse), (4, 2, 1));
        assert!((found.differences[0].mean.unwrap() - 0.25).abs() < 1e-12);
        let [low, high] = problems.interval;
        assert!(low < 0.25 && high > 0.25);
        let why = found.differences[1].not_paired.as_ref().unwrap();
        assert!(why.contains("4 problems and the other 2"), "{why}");
        assert_eq!(
            found
                .panels()
                .iter()
                .map(|panel| panel.title.as_str())
                .collect::<Vec<_>>(),
            ["reward, mean of 2 steps", "pass@1"]
        );
    }
}
