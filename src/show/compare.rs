//! Two runs beside each other: their configs, their numbers at equal steps and at equal seconds, and their last evaluations by problem.

use std::collections::BTreeMap;

use serde::Serialize;

use super::evaluations::paired;
use super::seen::{Seen, differences};
use crate::eval::report::Difference;
use crate::report::{self, duration, grid};
use crate::run::metrics::step_of;
use crate::sweep::result::RunResult;

/// Parts that the steps, or the seconds, which both runs have are cut into.
const PARTS: usize = 8;

/// What is compared, where both runs have it: its name, its key, and digits behind the point. The first few are shown to people.
const MEASURES: [(&str, &str, usize); 9] = [
    ("reward", "reward/mean", 3),
    ("pass@1", "eval/pass@1", 3),
    ("loss", "sft/loss", 4),
    ("length", "completion/length_mean", 1),
    ("objective", "objective/loss", 4),
    ("entropy", "policy/entropy", 3),
    ("Υ", "projection/upsilon_mean", 3),
    ("KL, reference", "objective/kl_ref", 4),
    ("KL, projected", "objective/kl_projected", 4),
];
/// Of which people see.
const FOR_PEOPLE: usize = 4;

/// How a second run differs from a first.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// The runs.
    pub runs: [RunResult; 2],
    /// How each is called.
    pub names: [String; 2],
    /// Keys of the config in which they are not alike.
    pub config: Vec<OtherKey>,
    /// Their numbers at equal steps: each part ends with a step, and holds those after the part before.
    pub at_steps: Vec<Part>,
    /// Their numbers at equal seconds of the steps, evaluations apart.
    pub at_seconds: Vec<Part>,
    /// The last evaluations, paired by problem; none where one of them has none, or they cannot be paired.
    pub evaluation: Option<Vec<Difference>>,
    /// What the evaluations are of.
    pub evaluated: [Option<String>; 2],
    /// What could not be read or compared, in words.
    pub notes: Vec<String>,
}

/// A key in which configs are not alike.
#[derive(Debug, Serialize)]
pub struct OtherKey {
    /// Its dotted path.
    pub key: String,
    /// Its value in each, as TOML writes it; none where there is no such key.
    pub values: [Option<String>; 2],
}

/// Numbers of both runs over the same part of their steps, or of their seconds.
#[derive(Debug, Serialize)]
pub struct Part {
    /// Its end.
    pub to: f64,
    /// The means over the part's steps, by measure; those that both have.
    pub means: BTreeMap<&'static str, Pair>,
}

/// A number of both runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Pair {
    /// Of the first.
    pub first: f64,
    /// Of the second.
    pub second: f64,
    /// The second less the first.
    pub difference: f64,
}

impl Comparison {
    /// Of two runs.
    pub fn of([first, second]: &[Seen; 2]) -> Self {
        let both = [first, second];
        let mut notes: Vec<String> = Vec::new();
        for run in both {
            notes.extend(run.notes.iter().map(|note| format!("{}: {note}", run.name)));
            if run.is_live {
                notes.push(format!("{} is under way", run.name));
            }
        }
        let evaluation = match paired(first, second) {
            Some(Ok(found)) => Some(found),
            Some(Err(why)) => {
                notes.push(format!("the evaluations are not paired by problem: {why}"));
                None
            }
            None => None,
        };
        let seconds = both.map(Seen::elapsed);
        let steps = both.map(|run| {
            run.lines
                .iter()
                .map(step_of)
                .map(|step| (step, step as f64))
                .collect()
        });
        let config = runs_differ(first, second);
        Self {
            runs: both.map(|run| run.result.clone()),
            names: both.map(|run| run.name.clone()),
            config,
            at_steps: parts(both, &steps),
            at_seconds: parts(both, &seconds),
            evaluation,
            evaluated: both.map(|run| Some(run.evaluated.as_ref()?.step().to_owned())),
            notes,
        }
    }

    /// For a terminal.
    pub fn to_text(&self) -> String {
        let mut tables = vec![self.totals()];
        if !self.config.is_empty() {
            let mut rows = vec![self.heads("key")];
            let value = |value: &Option<String>| value.as_deref().map_or("–".to_owned(), brief);
            rows.extend(self.config.iter().map(|other| {
                let [first, second] = &other.values;
                vec![other.key.clone(), value(first), value(second)]
            }));
            tables.push(grid(&rows));
        }
        let by_step = |to: f64| format!("{to:.0}");
        for (head, parts, shown) in [
            ("up to step", &self.at_steps, &by_step as &dyn Fn(f64) -> String),
            ("up to", &self.at_seconds, &duration),
        ] {
            if parts.iter().any(|part| !part.means.is_empty()) {
                tables.push(grid(&self.curves(head, parts, shown)));
            }
        }
        tables.extend(self.evaluations());
        if !self.notes.is_empty() {
            tables.push(self.notes.join("\n") + "\n");
        }
        tables.join("\n")
    }

    fn heads(&self, first: &str) -> Vec<String> {
        let [a, b] = &self.names;
        vec![first.to_owned(), a.clone(), b.clone()]
    }

    /// What both came to.
    fn totals(&self) -> String {
        let mut rows = vec![self.heads("")];
        let shown = |value: Option<f64>, digits: usize| {
            value.map_or("–".to_owned(), |value| format!("{value:.digits$}"))
        };
        type Total = (&'static str, fn(&RunResult) -> Option<f64>, usize);
        let totals: [Total; 8] = [
            ("steps", |run| Some(run.steps as f64), 0),
            ("seconds of the steps", |run| Some(run.secs), 1),
            (
                "tokens sampled",
                |run| Some(run.tokens).filter(|tokens| *tokens > 0.0),
                0,
            ),
            ("pass@1 before", |run| run.before, 3),
            ("pass@1 after", |run| run.after, 3),
            ("reward, last tenth", |run| run.reward, 3),
            ("loss, last tenth", |run| run.loss, 4),
            ("Υ", |run| run.upsilon_mean, 3),
        ];
        for (name, value, digits) in totals {
            let values = self.runs.each_ref().map(value);
            if values.iter().any(Option::is_some) {
                let [first, second] = values.map(|value| shown(value, digits));
                rows.push(vec![name.to_owned(), first, second]);
            }
        }
        grid(&rows)
    }

    fn curves(&self, head: &str, parts: &[Part], shown: &dyn Fn(f64) -> String) -> Vec<Vec<String>> {
        let has = |name: &str| parts.iter().any(|part| part.means.contains_key(name));
        let measures: Vec<_> = MEASURES[..FOR_PEOPLE]
            .iter()
            .filter(|(name, ..)| has(name))
            .collect();
        let mut rows = vec![vec![head.to_owned()]];
        for (name, ..) in &measures {
            rows[0].extend([
                format!("{name}: {}", self.names[0]),
                self.names[1].clone(),
                "difference".to_owned(),
            ]);
        }
        for part in parts {
            let mut row = vec![shown(part.to)];
            for (name, _, digits) in &measures {
                row.extend(match part.means.get(name) {
                    Some(pair) => [
                        format!("{:.digits$}", pair.first),
                        format!("{:.digits$}", pair.second),
                        format!("{:+.digits$}", pair.difference),
                    ],
                    None => ["–", "–", "–"].map(str::to_owned),
                });
            }
            rows.push(row);
        }
        rows
    }

    fn evaluations(&self) -> Option<String> {
        let found = self.evaluation.as_ref()?;
        let after = |at: usize| self.evaluated[at].clone().unwrap_or_default();
        let heads = [
            "pass@1".to_owned(),
            "problems".to_owned(),
            format!("{}, {}", self.names[0], after(0)),
            format!("{}, {}", self.names[1], after(1)),
            "difference".to_owned(),
            "95 % interval".to_owned(),
            "better".to_owned(),
            "worse".to_owned(),
        ];
        Some(report::paired(found, heads))
    }
}

fn runs_differ(first: &Seen, second: &Seen) -> Vec<OtherKey> {
    let other = |(key, values): (String, Vec<Option<String>>)| OtherKey {
        key,
        values: values.try_into().expect("a value of each"),
    };
    differences([first, second]).into_iter().map(other).collect()
}

/// A value that a row of a terminal can hold.
fn brief(value: &str) -> String {
    const MOST: usize = 40;
    let line = value.replace('\n', "\\n");
    match line.chars().count() > MOST {
        true => format!("{}…", line.chars().take(MOST).collect::<String>()),
        false => line,
    }
}

/// The parts of what both runs have of a scale: for each run, the place of each of its steps on it. Step 0, the evaluation before the
/// first, is at its beginning and belongs to the first part.
fn parts(runs: [&Seen; 2], places: &[BTreeMap<usize, f64>; 2]) -> Vec<Part> {
    let ends = places
        .each_ref()
        .map(|places| places.values().copied().fold(0.0, f64::max));
    let end = ends[0].min(ends[1]);
    let count = places
        .each_ref()
        .map(|places| places.values().filter(|at| **at > 0.0 && **at <= end).count());
    let count = PARTS.min(count[0]).min(count[1]);
    let mut found = Vec::new();
    for part in 0..count {
        let bound = |part: usize| end * part as f64 / count as f64;
        let (from, to) = (bound(part), bound(part + 1));
        let within = |at: f64| at <= to && (at > from || (part == 0 && at == 0.0));
        let mut means = BTreeMap::new();
        for (name, key, _) in MEASURES {
            let mean = |run: usize| {
                let place = |step: usize| places[run].get(&step).copied().unwrap_or(0.0);
                let series = runs[run].series(key);
                let values: Vec<f64> = series
                    .into_iter()
                    .filter(|(step, _)| within(place(*step)))
                    .map(|(_, value)| value)
                    .collect();
                (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
            };
            if let (Some(first), Some(second)) = (mean(0), mean(1)) {
                let difference = second - first;
                means.insert(
                    name,
                    Pair {
                        first,
                        second,
                        difference,
                    },
                );
            }
        }
        found.push(Part { to, means });
    }
    found
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use serde_json::json;

    use super::*;
    use crate::config::Config;
    use crate::run::RunDir;

    fn run(dir: &Path, name: &str, steps: usize, secs: f64, sets: &[&str]) -> PathBuf {
        let path = dir.join(name);
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let config = Config::from_str("", "a.toml", &sets).unwrap();
        drop(RunDir::create(&path, &config.to_toml()).unwrap());
        let line = |step: usize| match step {
            0 => json!({"step": 0, "eval/pass@1": 0.25}),
            step => json!({"step": step, "reward/mean": step as f64 / 10.0, "time/step_secs": secs}),
        };
        let text: String = (0..=steps).map(|step| format!("{}\n", line(step))).collect();
        std::fs::write(path.join("metrics.jsonl"), text).unwrap();
        path
    }

    #[test]
    fn runs_are_compared_over_what_both_have() {
        let dir = tempfile::tempdir().unwrap();
        // The second is twice as slow.
        let dirs = [
            run(dir.path(), "a", 8, 1.0, &[]),
            run(dir.path(), "b", 16, 2.0, &["train.learning_rate=1e-7"]),
        ];
        let runs: [Seen; 2] = Seen::all(&dirs).unwrap().try_into().unwrap();
        let found = Comparison::of(&runs);
        assert_eq!(found.config.len(), 1);
        assert_eq!(found.at_steps.len(), 8);
        let first = &found.at_steps[0];
        assert_eq!((first.to, first.means["pass@1"].difference), (1.0, 0.0));
        assert!(
            found
                .at_steps
                .iter()
                .all(|part| part.means["reward"].difference == 0.0)
        );
        let at_seconds: Vec<f64> = found.at_seconds.iter().map(|part| part.to).collect();
        assert_eq!(at_seconds, [2.0, 4.0, 6.0, 8.0]);
        let last = &found.at_seconds[3].means["reward"];
        assert!(
            (last.first - 0.75).abs() < 1e-9 && (last.second - 0.4).abs() < 1e-9,
            "{last:?}"
        );
        let text = found.to_text();
        assert!(
            text.contains("train.learning_rate") && text.contains("1e-7"),
            "{text}"
        );
        assert!(text.contains("up to step") && text.contains("-0.350"), "{text}");
        assert_eq!(found.evaluation, None);
    }
}
