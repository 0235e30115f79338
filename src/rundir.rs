//! A run's directory: what is in it, and how it gets there without ever being half there.
//!
//! ```text
//! config.toml           the run, resolved and complete; runs again as it is
//! metrics.jsonl         one object a step
//! samples.jsonl         prompts, completions, rewards
//! checkpoints/step-N/   a Hugging Face directory plus the trainer's state, after N steps
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::{Config, ConfigError};
use crate::metrics::JsonLines;

const CONFIG: &str = "config.toml";
const CHECKPOINTS: &str = "checkpoints";

/// A directory that a run writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

/// A complete checkpoint of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedStep {
    /// Steps that were done when it was saved.
    pub step: usize,
    /// Its directory.
    pub path: PathBuf,
}

/// Why a run directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// There is something in the directory.
    #[error(
        "the run directory {} is not empty; choose another one with --run-dir, or continue the run in it with --resume", .0.display()
    )]
    NotEmpty(PathBuf),
    /// The directory is no run's.
    #[error("{} is no run directory: it holds no config.toml; give the directory that the run printed", .0.display())]
    NotARun(PathBuf),
    /// The run saved nothing.
    #[error("the run in {} has no complete checkpoint; start it again without --resume", .0.display())]
    NoCheckpoint(PathBuf),
    /// No run of that name.
    #[error("found no run to resume in {}; give its directory: --resume DIR", .0.display())]
    NoRun(PathBuf),
    /// The saved run is another one.
    #[error("the run in {} has another `{}`; a run is resumed with the config it was started with", .dir.display(), .keys.join("`, `"))]
    Differs {
        /// The directory.
        dir: PathBuf,
        /// Dotted paths of the keys that differ.
        keys: Vec<String>,
    },
    /// The saved config cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> RunDirError {
    move |source| RunDirError::Io {
        path: path.to_owned(),
        source,
    }
}

impl RunDir {
    /// Whether a run may be written here: the directory is not there yet, or empty.
    ///
    /// # Errors
    /// There is something in it, or it cannot be read.
    pub fn check_free(path: &Path) -> Result<(), RunDirError> {
        match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            entries => match entries.map_err(at(path))?.next() {
                None => Ok(()),
                Some(_) => Err(RunDirError::NotEmpty(path.to_owned())),
            },
        }
    }

    /// Makes the directory, with its parents, and writes the config into it.
    ///
    /// # Errors
    /// It exists and is not empty, or cannot be written.
    pub fn create(path: &Path, config: &Config) -> Result<Self, RunDirError> {
        Self::check_free(path)?;
        fs::create_dir_all(path).map_err(at(path))?;
        let run = Self {
            path: path.to_owned(),
        };
        let file = path.join(CONFIG);
        fs::write(&file, config.to_toml()).map_err(at(&file))?;
        fs::create_dir(path.join(CHECKPOINTS)).map_err(at(path))?;
        Ok(run)
    }

    /// The directory of a run that was started before.
    ///
    /// # Errors
    /// It holds no run.
    pub fn open(path: &Path) -> Result<Self, RunDirError> {
        if !path.join(CONFIG).is_file() {
            return Err(RunDirError::NotARun(path.to_owned()));
        }
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// The name of a run's directory when nobody gives one: `NAME-TIMESTAMP` (UTC).
    pub fn default_name(name: &str, now: SystemTime) -> String {
        format!("{name}-{}", timestamp(now))
    }

    /// The run in `runs` of this name that was started last, by the timestamp in its name.
    ///
    /// # Errors
    /// There is none.
    pub fn newest(runs: &Path, name: &str) -> Result<Self, RunDirError> {
        let prefix = format!("{name}-");
        let entries = fs::read_dir(runs).map_err(|_| RunDirError::NoRun(runs.to_owned()))?;
        let newest = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|entry| entry.strip_prefix(&prefix).is_some_and(is_timestamp))
            .filter(|entry| runs.join(entry).join(CONFIG).is_file())
            .max();
        match newest {
            Some(entry) => Self::open(&runs.join(entry)),
            None => Err(RunDirError::NoRun(runs.to_owned())),
        }
    }

    /// The last checkpoint, for a run that goes on with `config`.
    ///
    /// # Errors
    /// There is none, or the run's saved config differs from `config` in more than how long it runs, how often it
    /// evaluates and saves, and what changes memory and speed only.
    pub fn resume(&self, config: &Config) -> Result<SavedStep, RunDirError> {
        let saved = Config::load(&self.path.join(CONFIG), &[])?;
        let mut keys = saved.differences(config);
        keys.retain(|key| {
            let free = [
                "train.max_steps",
                "train.per_device_train_batch_size",
                "rollout.max_rows",
                "rollout.memory_budget",
            ];
            let sections = ["run.", "eval.", "checkpoint."];
            !free.contains(&key.as_str()) && !sections.iter().any(|section| key.starts_with(section))
        });
        if !keys.is_empty() {
            return Err(RunDirError::Differs {
                dir: self.path.clone(),
                keys,
            });
        }
        self.latest()?
            .ok_or_else(|| RunDirError::NoCheckpoint(self.path.clone()))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `metrics.jsonl`, with the lines of steps before `step`.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn metrics(&self, step: usize) -> Result<JsonLines, RunDirError> {
        self.lines("metrics.jsonl", step)
    }

    /// `samples.jsonl`, with the lines of steps before `step`.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn samples(&self, step: usize) -> Result<JsonLines, RunDirError> {
        self.lines("samples.jsonl", step)
    }

    fn lines(&self, name: &str, step: usize) -> Result<JsonLines, RunDirError> {
        let path = self.path.join(name);
        JsonLines::open(&path, step).map_err(at(&path))
    }

    /// Saves `checkpoints/step-N`: `write` fills a directory beside it, which is renamed when all of it is on disk. So the
    /// checkpoint is there whole or not at all, and one that was there before is replaced.
    ///
    /// # Errors
    /// What `write` says, or the system.
    pub fn save<E: From<RunDirError>>(
        &self,
        step: usize,
        write: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<SavedStep, E> {
        let all = self.path.join(CHECKPOINTS);
        let path = all.join(format!("step-{step}"));
        let partial = all.join(format!(".step-{step}.partial"));
        let old = all.join(format!(".step-{step}.old"));
        for leftover in [&partial, &old] {
            remove(leftover).map_err(at(leftover))?;
        }
        fs::create_dir_all(&partial).map_err(at(&partial))?;
        write(&partial)?;
        sync(&partial).map_err(at(&partial))?;
        if path.exists() {
            fs::rename(&path, &old).map_err(at(&path))?;
        }
        fs::rename(&partial, &path).map_err(at(&path))?;
        sync_dir(&all).map_err(at(&all))?;
        remove(&old).map_err(at(&old))?;
        Ok(SavedStep { step, path })
    }

    /// The complete checkpoints, by step.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn saved(&self) -> Result<Vec<SavedStep>, RunDirError> {
        let all = self.path.join(CHECKPOINTS);
        let entries = match fs::read_dir(&all) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(at(&all))?,
        };
        let mut saved = Vec::new();
        for entry in entries {
            let entry = entry.map_err(at(&all))?;
            let name = entry.file_name();
            if let Some(step) = name
                .to_str()
                .and_then(|name| name.strip_prefix("step-")?.parse().ok())
            {
                saved.push(SavedStep {
                    step,
                    path: entry.path(),
                });
            }
        }
        saved.sort_by_key(|saved: &SavedStep| saved.step);
        Ok(saved)
    }

    /// The complete checkpoint of the most steps.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn latest(&self) -> Result<Option<SavedStep>, RunDirError> {
        Ok(self.saved()?.pop())
    }

    /// Removes all checkpoints but the last `count`; 0 keeps all.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn keep_last(&self, count: usize) -> Result<(), RunDirError> {
        let mut saved = self.saved()?;
        let keep = if count == 0 {
            saved.len()
        } else {
            count.min(saved.len())
        };
        saved.truncate(saved.len() - keep);
        for SavedStep { step, path } in saved {
            // Renamed first: a checkpoint that is being removed is no checkpoint any more.
            let gone = self.path.join(CHECKPOINTS).join(format!(".step-{step}.old"));
            remove(&gone).map_err(at(&gone))?;
            fs::rename(&path, &gone).map_err(at(&path))?;
            remove(&gone).map_err(at(&gone))?;
        }
        Ok(())
    }
}

/// Writes a file whole or not at all, by way of a sibling that is renamed, or removed where that fails.
///
/// # Errors
/// The system's.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    builder.prefix(".").suffix(".partial");
    // Readable by whom the system's mask allows, as any file, not by its owner alone.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(dir.unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Brings a directory and everything below it to disk.
fn sync(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() {
            sync(&path)?
        } else {
            File::open(&path)?.sync_all()?
        }
    }
    sync_dir(path)
}

/// Brings a directory's own entries to disk, where the system can.
fn sync_dir(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(path)?.sync_all()
    } else {
        Ok(())
    }
}

/// `YYYYMMDD-HHMMSS` in UTC.
fn timestamp(now: SystemTime) -> String {
    let secs = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, secs) = (secs / 86_400, secs % 86_400);
    // Days to a date in the Gregorian calendar, in years that begin in March, so that the leap day is the last.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}{month:02}{day:02}-{:02}{:02}{:02}",
        secs / 3600,
        secs / 60 % 60,
        secs % 60
    )
}

fn is_timestamp(text: &str) -> bool {
    text.len() == 15
        && text.bytes().enumerate().all(|(i, byte)| {
            if i == 8 {
                byte == b'-'
            } else {
                byte.is_ascii_digit()
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn run() -> (tempfile::TempDir, RunDir, Config) {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::from_str("", "a.toml", &[]).unwrap();
        let run = RunDir::create(&dir.path().join("deep/run"), &config).unwrap();
        (dir, run, config)
    }

    fn save(run: &RunDir, step: usize, text: &str) -> SavedStep {
        run.save(step, |dir| fs::write(dir.join("state"), text).map_err(at(dir)))
            .unwrap()
    }

    #[test]
    fn a_new_run_holds_its_config_and_nothing_is_overwritten() {
        let (_dir, run, config) = run();
        let text = fs::read_to_string(run.path().join(CONFIG)).unwrap();
        assert_eq!(text, config.to_toml());
        let error = RunDir::create(run.path(), &config).unwrap_err();
        assert!(matches!(&error, RunDirError::NotEmpty(_)), "{error}");
        assert!(error.to_string().contains("--run-dir"));
        assert_eq!(RunDir::open(run.path()).unwrap(), run);
        assert!(matches!(
            RunDir::open(run.path().parent().unwrap()),
            Err(RunDirError::NotARun(_))
        ));
    }

    #[test]
    fn a_checkpoint_is_there_whole_or_not_at_all() {
        let (_dir, run, _) = run();
        let failed: Result<_, RunDirError> = run.save(3, |dir| {
            fs::write(dir.join("half"), "x").unwrap();
            Err(RunDirError::NotARun(dir.into()))
        });
        assert!(failed.is_err());
        assert_eq!(run.latest().unwrap(), None);
        let saved = save(&run, 3, "one");
        assert!(
            !saved.path.join("half").exists(),
            "what a failed save left was kept"
        );
        assert_eq!(run.latest().unwrap(), Some(saved.clone()));
        save(&run, 3, "two");
        assert_eq!(fs::read_to_string(saved.path.join("state")).unwrap(), "two");
        assert_eq!(fs::read_dir(run.path().join(CHECKPOINTS)).unwrap().count(), 1);
    }

    #[test]
    fn the_last_checkpoints_are_the_ones_of_the_most_steps() {
        let (_dir, run, _) = run();
        for step in [9, 10, 100, 20] {
            save(&run, step, "");
        }
        assert_eq!(run.latest().unwrap().unwrap().step, 100);
        run.keep_last(0).unwrap();
        run.keep_last(9).unwrap();
        assert_eq!(run.saved().unwrap().len(), 4);
        run.keep_last(2).unwrap();
        assert_eq!(
            run.saved()
                .unwrap()
                .iter()
                .map(|saved| saved.step)
                .collect::<Vec<_>>(),
            [20, 100]
        );
    }

    #[test]
    fn a_run_resumes_with_its_own_config_only() {
        let (_dir, run, config) = run();
        assert!(matches!(run.resume(&config), Err(RunDirError::NoCheckpoint(_))));
        let saved = save(&run, 7, "");
        assert_eq!(run.resume(&config).unwrap(), saved);
        let longer = Config::from_str("", "b.toml", &["train.max_steps=1000".into()]).unwrap();
        assert_eq!(run.resume(&longer).unwrap(), saved);
        let other = Config::from_str("", "a.toml", &["seed=1".into(), "objective.alpha=1".into()]).unwrap();
        let error = run.resume(&other).unwrap_err().to_string();
        assert!(error.contains("`seed`, `objective.alpha`"), "{error}");
    }

    #[test]
    fn the_newest_run_of_a_name_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::default();
        for name in [
            "a-20260101-000000",
            "a-20260102-000000",
            "a-b-20270101-000000",
            "a-x",
        ] {
            RunDir::create(&dir.path().join(name), &config).unwrap();
        }
        fs::create_dir(dir.path().join("a-20280101-000000")).unwrap();
        assert!(
            RunDir::newest(dir.path(), "a")
                .unwrap()
                .path()
                .ends_with("a-20260102-000000")
        );
        assert!(matches!(
            RunDir::newest(dir.path(), "c"),
            Err(RunDirError::NoRun(_))
        ));
    }

    #[test]
    fn timestamps_are_dates() {
        for (secs, text) in [
            (0, "19700101-000000"),
            (951_782_399, "20000228-235959"),
            (951_782_400, "20000229-000000"),
            (951_868_800, "20000301-000000"),
            (1_735_689_599, "20241231-235959"),
            (4_107_542_400, "21000301-000000"),
        ] {
            let stamp = timestamp(UNIX_EPOCH + Duration::from_secs(secs));
            assert_eq!(stamp, text);
            assert!(is_timestamp(&stamp));
        }
    }

    #[test]
    fn a_file_is_written_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write_whole(&path, b"old").unwrap();
        write_whole(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
