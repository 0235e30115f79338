//! What is in the directory that a run is to be written to.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::config::Config;
use crate::run::{RunDir, RunDirError, SavedStep, TrainerState};

/// Keys in which a run may differ from the one that was begun: memory and speed, and where and how often it is saved.
const FREE: [&str; 4] = [
    "train.per_device_train_batch_size",
    "train.gradient_checkpointing",
    "rollout.max_rows",
    "rollout.memory_budget",
];
const FREE_SECTIONS: [&str; 2] = ["run.", "checkpoint."];

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is yet to be begun.
    Nothing,
    /// It was begun, and stopped before anything of it was saved: it begins again.
    Unsaved,
    /// It was stopped after this step, and goes on.
    Stopped(usize),
    /// It is over; what its results depend on.
    Done(Box<TrainerState>),
}

/// How far the run of `config` in `dir` is.
///
/// # Errors
/// Something else is there: another run, files that are no run's, or a run that is under way.
pub fn look(dir: &Path, config: &Config) -> Result<Found> {
    if RunDir::check_free(dir).is_ok() {
        return Ok(Found::Nothing);
    }
    let run = match RunDir::open(dir) {
        Ok(run) => run,
        Err(RunDirError::NotARun(_)) if is_stillborn(dir) => return Ok(Found::Unsaved),
        Err(error) => return Err(error.into()),
    };
    let others = differing(&Config::of_run(&run.config())?, config);
    if !others.is_empty() {
        bail!(
            "the run in {} was begun with another `{}`; a sweep goes on as it was begun, so give the same, or another directory with --out",
            dir.display(),
            others.join("`, `")
        );
    }
    if SavedStep::all(dir)?.is_empty() {
        return Ok(Found::Unsaved);
    }
    let last = run.latest()?;
    match last.step >= config.train.max_steps {
        true => Ok(Found::Done(Box::new(last.state()?))),
        false => Ok(Found::Stopped(last.step)),
    }
}

/// Whether a process that made the directory died before it had written the config into it.
fn is_stillborn(dir: &Path) -> bool {
    let empty = |path: &Path| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    let mut entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.all(|entry| match entry.file_name().to_str() {
        Some(".lock") => true,
        Some("checkpoints") => empty(&entry.path()),
        _ => false,
    })
}

/// The keys in which a run is another one.
fn differing(saved: &Config, config: &Config) -> Vec<String> {
    let mut config = config.clone();
    if config.model.save_dtype.is_none() {
        // Where it is not given it is the base model's, which the run looked up.
        config.model.save_dtype = saved.model.save_dtype;
    }
    let mut keys = saved.differences(&config);
    keys.retain(|key| {
        let free =
            FREE.contains(&key.as_str()) || FREE_SECTIONS.iter().any(|section| key.starts_with(section));
        !free
    });
    keys
}

/// Makes room for a run of which nothing was saved.
///
/// # Errors
/// Another process writes to the directory, or it cannot be removed.
pub fn clear(dir: &Path) -> Result<()> {
    if RunDir::check_run(dir).is_ok() {
        // Held until the directory is gone.
        let _run = RunDir::open(dir)?;
        return Ok(fs::remove_dir_all(dir)?);
    }
    Ok(fs::remove_dir_all(dir)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(sets: &[&str]) -> Config {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        Config::from_str("train.max_steps = 4", "a.toml", &sets).unwrap()
    }

    fn save(run: &RunDir, step: usize) {
        let state = TrainerState {
            step,
            ..TrainerState::default()
        };
        run.save(&state, |_| Ok::<_, RunDirError>(())).unwrap();
    }

    #[test]
    fn a_run_is_known_by_how_far_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let found = |config: &Config| look(&path, config);
        assert_eq!(found(&config(&[])).unwrap(), Found::Nothing);
        let run = RunDir::create(&path, &config(&["model.save_dtype=float16"]).to_toml()).unwrap();
        let busy = found(&config(&[])).unwrap_err().to_string();
        assert!(busy.contains("under way"), "{busy}");
        drop(run);
        assert_eq!(found(&config(&[])).unwrap(), Found::Unsaved);
        save(&RunDir::open(&path).unwrap(), 2);
        assert_eq!(found(&config(&[])).unwrap(), Found::Stopped(2));
        assert_eq!(
            found(&config(&["rollout.max_rows=3"])).unwrap(),
            Found::Stopped(2)
        );
        save(&RunDir::open(&path).unwrap(), 4);
        assert!(matches!(found(&config(&[])).unwrap(), Found::Done(state) if state.step == 4));
        for set in [
            "train.max_steps=5",
            "eval.size=7",
            "seed=1",
            "model.save_dtype=bfloat16",
        ] {
            let error = found(&config(&[set])).unwrap_err().to_string();
            let key = set.split('=').next().unwrap();
            assert!(error.contains(&format!("another `{key}`")), "{error}");
        }
    }

    #[test]
    fn what_died_at_once_is_cleared_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        fs::create_dir_all(path.join("checkpoints")).unwrap();
        fs::write(path.join(".lock"), "").unwrap();
        assert_eq!(look(&path, &config(&[])).unwrap(), Found::Unsaved);
        clear(&path).unwrap();
        assert!(!path.exists());
        fs::create_dir(&path).unwrap();
        fs::write(path.join("thesis.txt"), "words").unwrap();
        let error = look(&path, &config(&[])).unwrap_err().to_string();
        assert!(error.contains("no run directory"), "{error}");
    }
}
