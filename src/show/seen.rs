//! A run, read back from its directory. What cannot be read is said, and the rest is shown without it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::config::{Config, Draft};
use crate::console::harmless;
use crate::eval::record::{self, Record};
use crate::eval::report::{SuiteReport, by_suite};
use crate::reward::Reward;
use crate::run::metrics::{self, Line};
use crate::run::{EVALUATION, LOGS, RunDir};
use crate::sweep::result::RunResult;

/// A run.
#[derive(Debug)]
pub struct Seen {
    /// What it is called beside others: the end of its path, as much of it as tells it from them.
    pub name: String,
    /// Its directory.
    pub dir: PathBuf,
    /// Its config; none if it cannot be read.
    pub config: Option<Config>,
    /// Its numbers, a line a step.
    pub lines: Vec<Line>,
    /// What they come to.
    pub result: RunResult,
    /// Its last evaluation; none where there was none.
    pub evaluated: Option<Evaluated>,
    /// Whether it is under way.
    pub is_live: bool,
    /// What of it could not be read, in words.
    pub notes: Vec<String>,
}

/// The last evaluation of a run.
#[derive(Debug)]
pub struct Evaluated {
    /// The checkpoint, as it was called.
    pub model: String,
    /// Every completion.
    pub records: Vec<Record>,
    /// What they come to, by suite.
    pub reports: Vec<SuiteReport>,
}

impl Seen {
    /// The runs in some directories, each of them one.
    ///
    /// # Errors
    /// One of them is no run's, or is named twice.
    pub fn all(dirs: &[PathBuf]) -> Result<Vec<Self>> {
        let mut known: Vec<PathBuf> = Vec::new();
        for dir in dirs {
            RunDir::check_run(dir)?;
            let place = std::fs::canonicalize(dir)?;
            ensure!(!known.contains(&place), "{} is named twice", dir.display());
            known.push(place);
        }
        let names = names(&known);
        Ok(dirs
            .iter()
            .zip(names)
            .map(|(dir, name)| Self::read(dir, name))
            .collect())
    }

    fn read(dir: &Path, name: String) -> Self {
        let mut notes = Vec::new();
        let config = Config::of_run(&dir.join("config.toml"));
        let config = config
            .map_err(|error| notes.push(format!("config.toml: {error}")))
            .ok();
        let path = dir.join(LOGS[0]);
        let read = match metrics::read(&path) {
            Ok(read) => read,
            Err(error) => {
                notes.push(match path.exists() {
                    true => format!("{} cannot be read: {error}", LOGS[0]),
                    false => format!("{} is not there: no step was done, or it was removed", LOGS[0]),
                });
                metrics::Read::default()
            }
        };
        notes.extend(
            read.damaged
                .iter()
                .take(MOST_NAMED)
                .map(|(line, what)| format!("{}, line {line} is damaged and left out: {what}", LOGS[0])),
        );
        if read.damaged.len() > MOST_NAMED {
            notes.push(format!(
                "{}: {} damaged lines in all",
                LOGS[0],
                read.damaged.len()
            ));
        }
        let evaluated = Evaluated::read(dir, &mut notes);
        Self {
            result: RunResult {
                seed: config.as_ref().map_or(0, |config| config.seed),
                dir: dir.display().to_string(),
                ..RunResult::of(&read.lines)
            },
            lines: read.lines,
            is_live: RunDir::is_busy(dir),
            dir: dir.to_owned(),
            name,
            config,
            evaluated,
            notes: notes.iter().map(|note| harmless(note).into_owned()).collect(),
        }
    }

    /// A number by step, where it was measured.
    pub fn series(&self, key: &str) -> Vec<(usize, f64)> {
        metrics::series(&self.lines, key)
    }

    /// Seconds of the steps up to each, evaluations apart.
    pub fn elapsed(&self) -> BTreeMap<usize, f64> {
        let mut secs = 0.0;
        let of_step = self.series("time/step_secs").into_iter();
        of_step
            .map(|(step, more)| {
                secs += more;
                (step, secs)
            })
            .collect()
    }

    /// How far it is, in words.
    pub fn state(&self) -> String {
        let steps = self.result.steps;
        let of = self.config.as_ref().map(|config| config.train.max_steps);
        match of {
            _ if self.is_live => "under way".to_owned(),
            Some(of) if steps < of => format!("stopped before its {of} steps"),
            Some(_) => "ended".to_owned(),
            None => "not known".to_owned(),
        }
    }
}

/// Damaged lines of a file that are named one by one.
pub const MOST_NAMED: usize = 5;

impl Evaluated {
    /// Of a run's `eval.jsonl`, where there is one.
    fn read(dir: &Path, notes: &mut Vec<String>) -> Option<Self> {
        let path = dir.join(EVALUATION);
        if !path.exists() {
            return None;
        }
        let read = || -> Result<Self> {
            let (header, records) = record::read(&path)?;
            let config = Draft::read_written(&header.config, &path.display().to_string())?.finish()?;
            let reward = Reward::accuracy(&config.grader);
            let report = |(suite, records)| SuiteReport::of(suite, records, |a, b| reward.same(a, b));
            Ok(Self {
                model: header.model,
                reports: by_suite(&records).into_iter().map(report).collect(),
                records,
            })
        };
        match read() {
            Ok(found) if found.records.is_empty() => None,
            Ok(found) => Some(found),
            Err(error) => {
                notes.push(format!("the last evaluation is left out: {error:#}"));
                None
            }
        }
    }

    /// The last part of the checkpoint's name, `step-60`.
    pub fn step(&self) -> &str {
        self.model.rsplit(['/', '\\']).next().unwrap_or(&self.model)
    }
}

/// Names of directories: their last parts, as many as no other has.
fn names(dirs: &[PathBuf]) -> Vec<String> {
    let end = |dir: &Path, parts: usize| {
        let all: Vec<String> = dir
            .components()
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        all[all.len().saturating_sub(parts)..].join("/")
    };
    let name = |dir: &PathBuf| {
        let most = dir.components().count().max(1);
        let unique = |parts: &usize| {
            dirs.iter()
                .filter(|other| end(other, *parts) == end(dir, *parts))
                .count()
                == 1
        };
        end(dir, (1..=most).find(unique).unwrap_or(most))
    };
    dirs.iter().map(name).collect()
}

/// The keys in which runs are not alike: each one's value in each run, none where it has no such key or its config cannot be read.
pub fn differences<'a>(runs: impl IntoIterator<Item = &'a Seen>) -> Vec<(String, Vec<Option<String>>)> {
    let all: Vec<Vec<(String, String)>> = runs
        .into_iter()
        .map(|run| run.config.as_ref().map(Config::values).unwrap_or_default())
        .collect();
    let mut keys: Vec<&String> = Vec::new();
    for (key, _) in all.iter().flatten() {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let value = |of: &Vec<(String, String)>, key: &str| {
        let found = of.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.clone())
    };
    let rows = keys.into_iter().map(|key| {
        let values: Vec<Option<String>> = all.iter().map(|of| value(of, key)).collect();
        (key.clone(), values)
    });
    rows.filter(|(_, values)| values.iter().any(|value| *value != values[0]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_called_by_as_much_of_their_paths_as_tells_them_apart() {
        let of = |dirs: &[&str]| names(&dirs.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(of(&["/r/a", "/r/b"]), ["a", "b"]);
        assert_eq!(of(&["/r/x/a", "/r/y/a", "/r/y/b"]), ["x/a", "y/a", "b"]);
    }

    #[test]
    fn what_cannot_be_read_is_said_and_the_rest_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::from_str("", "a.toml", &["train.max_steps=5".into()]).unwrap();
        let run = dir.path().join("a");
        drop(RunDir::create(&run, &config.to_toml()).unwrap());
        let read = || Seen::all(std::slice::from_ref(&run)).unwrap().remove(0);
        assert!(read().notes[0].contains("no step was done"), "{:?}", read().notes);
        std::fs::write(
            run.join("metrics.jsonl"),
            "{\"step\":1,\"reward/mean\":0.5}\n{\"step\n{\"step\":2}\n{\"st",
        )
        .unwrap();
        std::fs::write(run.join("eval.jsonl"), "{}\n").unwrap();
        let seen = read();
        assert_eq!((seen.lines.len(), seen.result.steps), (2, 2));
        assert_eq!(seen.state(), "stopped before its 5 steps");
        assert!(seen.notes[0].contains("line 2 is damaged"), "{:?}", seen.notes);
        assert!(seen.notes[1].contains("eval.jsonl:1"), "{:?}", seen.notes);
        let twice = Seen::all(&[run.clone(), run.join("../a")]).unwrap_err();
        assert!(twice.to_string().contains("named twice"));
        let none = Seen::all(&[dir.path().to_owned()]).unwrap_err();
        assert!(none.to_string().contains("no run directory"), "{none}");
    }

    #[test]
    fn configs_differ_key_by_key() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
            let config = Config::from_str("", "a.toml", &sets).unwrap();
            let path = dir.path().join(name);
            drop(RunDir::create(&path, &config.to_toml()).unwrap());
            path
        };
        let dirs = [
            make("a", &[]),
            make("b", &["train.learning_rate=1e-7", "objective={name=\"grpo\"}"]),
        ];
        let found = differences(&Seen::all(&dirs).unwrap());
        let of = |key: &str| found.iter().find(|(known, _)| known == key).unwrap().1.clone();
        assert_eq!(
            of("objective.name"),
            [Some("\"gcpo\"".into()), Some("\"grpo\"".into())]
        );
        assert_eq!(of("objective.kappa")[1], None);
        assert_eq!(of("train.learning_rate")[1], Some("1e-7".into()));
        assert!(!found.iter().any(|(key, _)| key == "seed"));
    }
}
