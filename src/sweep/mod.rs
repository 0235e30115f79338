//! Many runs beside each other: every choice of a grid and every seed, each in a directory of its own ([`Plan`]); what is there already
//! ([`place`]), and what came of all of them ([`result`], [`difference`], [`table`]).

pub mod difference;
pub mod grid;
pub mod place;
pub mod result;
pub mod table;

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};

use crate::config::Config;
use crate::section::ConfigError;
pub use grid::Axis;

/// What is to be run: configs, what is set in all of them, what is varied, and how many seeds.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The configs' files.
    pub configs: Vec<PathBuf>,
    /// What is varied.
    pub axes: Vec<Axis>,
    /// What is set in every run, each `key=value`.
    pub sets: Vec<String>,
    /// Seeds of each setting: the config's own, and those after it.
    pub seeds: u64,
}

/// One of the things that are compared: a config with a choice of the grid.
#[derive(Debug, Clone)]
pub struct Setting {
    /// What it is called, in tables and directories.
    pub name: String,
    /// Its file.
    pub config: PathBuf,
    /// What is set in it beside what is set in all, as `key=value`.
    pub sets: Vec<String>,
}

/// A run of a setting.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its setting's place in the plan.
    pub setting: usize,
    /// Its seed.
    pub seed: u64,
    /// Its directory's name: the setting's, and the seed.
    pub name: String,
    /// The run, complete and checked.
    pub config: Config,
}

/// All runs, the seeds of a setting after one another.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is compared, at least one.
    pub settings: Vec<Setting>,
    /// The runs.
    pub jobs: Vec<Job>,
}

impl Plan {
    /// Every run that is asked for, by `load` from a file and its sets.
    ///
    /// # Errors
    /// A config of one of them is wrong; the grid sets a key twice, or one that is the sweep's own; two settings have the same name or
    /// are the same run.
    pub fn new(
        asked: &Asked,
        load: impl Fn(&PathBuf, &[String]) -> Result<Config, ConfigError>,
    ) -> Result<Self> {
        check_axes(&asked.axes, &asked.sets)?;
        let mut plan = Self {
            settings: Vec::new(),
            jobs: Vec::new(),
        };
        let mut firsts: Vec<Config> = Vec::new();
        for path in &asked.configs {
            for choice in grid::choices(&asked.axes) {
                let sets: Vec<String> = choice
                    .iter()
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect();
                let all = [asked.sets.as_slice(), &sets].concat();
                let first = load(path, &all)?;
                let name = match choice.is_empty() {
                    true => first.run.name.clone(),
                    false => format!("{},{}", first.run.name, grid::name(&choice, &asked.axes)),
                };
                plan.check_new(&name, &first, &firsts)?;
                for seed in first.seed..first.seed.saturating_add(asked.seeds) {
                    let config = load(path, &[all.as_slice(), &[format!("seed={seed}")]].concat())?;
                    plan.jobs.push(Job {
                        setting: plan.settings.len(),
                        seed,
                        name: format!("{name},seed={seed}"),
                        config,
                    });
                }
                firsts.push(first);
                plan.settings.push(Setting {
                    name,
                    config: path.clone(),
                    sets,
                });
            }
        }
        Ok(plan)
    }

    /// Refuses a setting that another one already is.
    fn check_new(&self, name: &str, config: &Config, others: &[Config]) -> Result<()> {
        ensure!(
            name.len() <= LONGEST_NAME,
            "{name}: too long for a directory's name; vary fewer keys, or give the config a shorter `run.name`"
        );
        for (setting, other) in self.settings.iter().zip(others) {
            ensure!(
                setting.name != name,
                "two settings are called {name}: give one of the configs another `run.name`"
            );
            let differ = other.differences(config);
            ensure!(
                differ.iter().any(|key| !key.starts_with("run.")),
                "{name} and {} are the same run: leave one of them out",
                setting.name
            );
        }
        Ok(())
    }
}

/// Longest name of a setting in bytes: file systems take 255, and the seed follows.
const LONGEST_NAME: usize = 220;

/// Refuses keys that the grid must not have.
fn check_axes(axes: &[Axis], sets: &[String]) -> Result<()> {
    let set_keys: Vec<&str> = sets
        .iter()
        .filter_map(|set| Some(set.split_once('=')?.0.trim()))
        .collect();
    for (at, axis) in axes.iter().enumerate() {
        let key = axis.key.as_str();
        match key {
            "seed" => bail!("--grid seed: `--seeds N` takes the seeds; `--set seed=S` says the first"),
            "run.name" | "run.dir" | "run" => {
                bail!("--grid {key}: a sweep names its runs itself; `--out` says where they are written")
            }
            _ => {}
        }
        for before in axes[..at]
            .iter()
            .map(|axis| axis.key.as_str())
            .chain(set_keys.iter().copied())
        {
            ensure!(
                before != key,
                "--grid {key}: the key is set twice; leave one of the two out"
            );
            ensure!(
                !before.starts_with(&format!("{key}.")),
                "--grid {key}: it would undo `{before}`, which is set before it; give {key} first"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(configs: &[&str], axes: &[&str], sets: &[&str], seeds: u64) -> Result<Plan> {
        let asked = Asked {
            configs: configs.iter().map(PathBuf::from).collect(),
            axes: axes.iter().map(|axis| axis.parse().unwrap()).collect(),
            sets: sets.iter().map(|set| (*set).to_owned()).collect(),
            seeds,
        };
        Plan::new(&asked, |path, sets| {
            Config::from_str("", &path.display().to_string(), sets)
        })
    }

    #[track_caller]
    fn refused(configs: &[&str], axes: &[&str], sets: &[&str]) -> String {
        plan(configs, axes, sets, 1).unwrap_err().to_string()
    }

    #[test]
    fn every_choice_and_seed_is_a_run() {
        let axes = ["objective.alpha=1,2", "features.similarity=cosine,gaussian"];
        let plan = plan(&["a.toml"], &axes, &["seed=5", "train.max_steps=3"], 2).unwrap();
        let names: Vec<&str> = plan
            .settings
            .iter()
            .map(|setting| setting.name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "a,alpha=1,similarity=cosine",
                "a,alpha=1,similarity=gaussian",
                "a,alpha=2,similarity=cosine",
                "a,alpha=2,similarity=gaussian"
            ]
        );
        assert_eq!(plan.jobs.len(), 8);
        let last = &plan.jobs[7];
        assert_eq!((last.setting, last.seed), (3, 6));
        assert_eq!(last.name, "a,alpha=2,similarity=gaussian,seed=6");
        assert_eq!((last.config.seed, last.config.train.max_steps), (6, 3));
    }

    #[test]
    fn several_configs_are_compared_and_copies_are_refused() {
        let asked = |configs: &[&str], sets: &[&str]| plan(configs, &["objective.alpha=1,2"], sets, 1);
        assert!(
            asked(&["a.toml", "x/a.toml"], &[])
                .unwrap_err()
                .to_string()
                .contains("`run.name`")
        );
        assert!(
            asked(&["a.toml", "b.toml"], &[])
                .unwrap_err()
                .to_string()
                .contains("same run")
        );
        let same = refused(&["a.toml"], &["train.learning_rate=1e-3,0.001"], &[]);
        assert!(same.contains("same run"), "{same}");
    }

    #[test]
    fn keys_that_a_grid_must_not_have() {
        for (axes, sets, said) in [
            (&["seed=1,2"][..], &[][..], "--seeds"),
            (&["run.name=a,b"], &[], "names its runs"),
            (&["train.max_steps=1,2", "train.max_steps=3"], &[], "set twice"),
            (&["train.max_steps=1,2"], &["train.max_steps=3"], "set twice"),
            (
                &["objective.beta=0,1", "objective={name=\"grpo\"}"],
                &[],
                "undo `objective.beta`",
            ),
            (&["train.max_step=1,2"], &[], "did you mean `train.max_steps`"),
            (&["train.max_steps=1,many"], &[], "wrong type"),
        ] {
            let error = refused(&["a.toml"], axes, sets);
            assert!(error.contains(said), "{axes:?}: {error}");
        }
    }
}
