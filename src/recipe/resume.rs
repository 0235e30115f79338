//! Which runs may go on, and from where.

use crate::config::Config;
use crate::run::{RunDir, RunDirError, SavedStep};

/// Keys that change how long a run lasts, or memory and speed, and nothing else.
const FREE: [&str; 4] = [
    "train.max_steps",
    "train.per_device_train_batch_size",
    "rollout.max_rows",
    "rollout.memory_budget",
];

/// Sections that say where a run is written, how often it is saved and what it is judged on.
const FREE_SECTIONS: [&str; 3] = ["run.", "eval.", "checkpoint."];

/// The last checkpoint of a run that is to go on with `config`.
///
/// # Errors
/// There is none, or the run's saved config differs from `config` in more than how long it runs, where it
/// is written, how often it is saved and evaluated, and what changes memory and speed only.
pub fn resume(run: &RunDir, config: &Config) -> Result<SavedStep, RunDirError> {
    let saved = Config::of_run(&run.config())?;
    let mut keys = saved.differences(config);
    keys.retain(|key| {
        let free = FREE.contains(&key.as_str());
        !free && !FREE_SECTIONS.iter().any(|section| key.starts_with(section))
    });
    if !keys.is_empty() {
        return Err(RunDirError::Differs {
            dir: run.path().to_owned(),
            keys,
        });
    }
    run.latest()?
        .ok_or_else(|| RunDirError::NoCheckpoint(run.path().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_resumes_with_its_own_config_only() {
        let dir = tempfile::tempdir().unwrap();
        let config = |sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
            Config::from_str("", "a.toml", &sets).unwrap()
        };
        let run = RunDir::create(&dir.path().join("run"), &config(&[]).to_toml()).unwrap();
        assert!(matches!(
            resume(&run, &config(&[])),
            Err(RunDirError::NoCheckpoint(_))
        ));
        let saved = run.save(7, |_| Ok::<_, RunDirError>(())).unwrap();
        assert_eq!(resume(&run, &config(&[])).unwrap(), saved);
        let longer = Config::from_str("", "b.toml", &["train.max_steps=1000".into()]).unwrap();
        assert_eq!(resume(&run, &longer).unwrap(), saved);
        let other = config(&["seed=1", "objective.alpha=1"]);
        let error = resume(&run, &other).unwrap_err().to_string();
        assert!(error.contains("`seed`, `objective.alpha`"), "{error}");
    }
}
