//! A run's directory: what is in it, and how it gets there without ever being half there.
//!
//! ```text
//! config.toml           the run, resolved and complete; runs again as it is
//! metrics.jsonl         one object a step
//! samples.jsonl         prompts, completions, rewards
//! checkpoints/step-N/   a Hugging Face directory plus the trainer's state, after N steps
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::log::JsonLog;
use crate::section::ConfigError;

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

    /// Makes the directory, with its parents, and writes the run's config, as TOML, into it.
    ///
    /// # Errors
    /// It exists and is not empty, or cannot be written.
    pub fn create(path: &Path, config: &str) -> Result<Self, RunDirError> {
        Self::check_free(path)?;
        fs::create_dir_all(path).map_err(at(path))?;
        let run = Self {
            path: path.to_owned(),
        };
        let file = path.join(CONFIG);
        fs::write(&file, config).map_err(at(&file))?;
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
    pub fn default_name(name: &str, now: Timestamp) -> String {
        format!("{name}-{}", now.strftime(TIMESTAMP))
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

    /// The file that the run's config is in.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `metrics.jsonl`, with the lines of steps before `step`.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn metrics(&self, step: usize) -> Result<JsonLog, RunDirError> {
        self.lines("metrics.jsonl", step)
    }

    /// `samples.jsonl`, with the lines of steps before `step`.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn samples(&self, step: usize) -> Result<JsonLog, RunDirError> {
        self.lines("samples.jsonl", step)
    }

    fn lines(&self, name: &str, step: usize) -> Result<JsonLog, RunDirError> {
        let path = self.path.join(name);
        JsonLog::before(&path, step).map_err(at(&path))
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
const TIMESTAMP: &str = "%Y%m%d-%H%M%S";

fn is_timestamp(text: &str) -> bool {
    // Numbers are read with fewer digits, too.
    text.len() == 15 && jiff::civil::DateTime::strptime(TIMESTAMP, text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> (tempfile::TempDir, RunDir) {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(&dir.path().join("deep/run"), "seed = 1\n").unwrap();
        (dir, run)
    }

    fn save(run: &RunDir, step: usize, text: &str) -> SavedStep {
        run.save(step, |dir| fs::write(dir.join("state"), text).map_err(at(dir)))
            .unwrap()
    }

    #[test]
    fn a_new_run_holds_its_config_and_nothing_is_overwritten() {
        let (_dir, run) = run();
        assert_eq!(fs::read_to_string(run.config()).unwrap(), "seed = 1\n");
        let error = RunDir::create(run.path(), "").unwrap_err();
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
        let (_dir, run) = run();
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
        let (_dir, run) = run();
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
    fn the_newest_run_of_a_name_is_found() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "a-20260101-000000",
            "a-20260102-000000",
            "a-b-20270101-000000",
            "a-x",
        ] {
            RunDir::create(&dir.path().join(name), "").unwrap();
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
    fn a_run_is_named_by_its_second() {
        let name = RunDir::default_name("a-b", Timestamp::from_second(951_782_399).unwrap());
        assert_eq!(name, "a-b-20000228-235959");
        assert!(is_timestamp(name.strip_prefix("a-b-").unwrap()));
        for text in [
            "2000228-2359591",
            "20000230-235959",
            "20000228_235959",
            "x-20000228-2359",
        ] {
            assert!(!is_timestamp(text), "{text}");
        }
    }
}
