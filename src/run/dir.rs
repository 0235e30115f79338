//! A run's directory: what is in it, and who may write to it.
//!
//! ```text
//! config.toml           the run, resolved and complete; runs again as it is
//! metrics.jsonl         one object a step
//! samples.jsonl         prompts, completions, rewards
//! eval.jsonl            the completions of the last evaluation, as `gcpo eval` keeps them
//! checkpoints/step-N/   a Hugging Face directory plus the trainer's state, after N steps
//! tensorboard/          event files, where `run.report_to` asks for them
//! .lock                 held by the process that writes here
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gcpo_data::files;
use jiff::Timestamp;

use super::error::{RunDirError, at};
use super::log::JsonLog;

const CONFIG: &str = "config.toml";
pub(super) const CHECKPOINTS: &str = "checkpoints";
const LOCK: &str = ".lock";
/// The completions of a run's last evaluation.
pub const EVALUATION: &str = "eval.jsonl";

/// Names of the logs in a run directory.
pub const LOGS: [&str; 2] = ["metrics.jsonl", "samples.jsonl"];

/// A directory that a run writes to. No other process can, while this or a clone of it is there: the system lets go of the lock
/// when the process ends, however it does.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
    /// None where another process has it and writes for this one.
    _lock: Option<Arc<File>>,
}

impl RunDir {
    /// Whether a run may be written here: the directory is not there yet, or empty.
    ///
    /// # Errors
    /// There is something in it, or it cannot be read.
    pub fn check_free(path: &Path) -> Result<(), RunDirError> {
        match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            entries => {
                // What a process that died at once left is nothing.
                let mut others = entries
                    .map_err(at(path))?
                    .filter(|entry| entry.as_ref().map_or(true, |entry| entry.file_name() != LOCK));
                match others.next() {
                    None => Ok(()),
                    Some(_) => Err(RunDirError::NotEmpty(path.to_owned())),
                }
            }
        }
    }

    /// Makes the directory, with its parents, and writes the run's config, as TOML, into it.
    ///
    /// # Errors
    /// It exists and is not empty, or cannot be written.
    pub fn create(path: &Path, config: &str) -> Result<Self, RunDirError> {
        Self::check_free(path)?;
        fs::create_dir_all(path).map_err(at(path))?;
        let run = Self::lock(path)?;
        let write = |file: PathBuf| {
            fs::create_dir(path.join(CHECKPOINTS)).map_err(at(path))?;
            files::write(&file, config).map_err(at(&file))
        };
        match write(path.join(CONFIG)) {
            Ok(()) => Ok(run),
            Err(error) => {
                // A directory that holds no run would only be in the way.
                let _ = fs::remove_dir_all(path);
                Err(error)
            }
        }
    }

    /// As [`RunDir::create`], in a directory of `runs` of the name that a run has when nobody gives one: the name, the time, and a
    /// number where another run began in the same second.
    ///
    /// # Errors
    /// As [`RunDir::create`].
    pub fn create_new(runs: &Path, name: &str, now: Timestamp, config: &str) -> Result<Self, RunDirError> {
        fs::create_dir_all(runs).map_err(at(runs))?;
        let name = Self::default_name(name, now);
        let names = std::iter::once(name.clone()).chain((2..).map(|more| format!("{name}-{more}")));
        for name in names {
            let path = runs.join(name);
            match fs::create_dir(&path) {
                // Ours alone: the system makes a directory once.
                Ok(()) => return Self::create(&path, config),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(at(&path)(error)),
            }
        }
        unreachable!("there is no end of names")
    }

    /// The directory of a run that was started before.
    ///
    /// # Errors
    /// It holds no run, or another process writes to it.
    pub fn open(path: &Path) -> Result<Self, RunDirError> {
        Self::check_run(path)?;
        Self::lock(path)
    }

    /// The directory of a run that another process of the same program writes to. Nothing is to be written by it.
    pub fn of_another(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            _lock: None,
        }
    }

    /// Whether a directory is a run's.
    ///
    /// # Errors
    /// It holds no config.
    pub fn check_run(path: &Path) -> Result<(), RunDirError> {
        match path.join(CONFIG).is_file() {
            true => Ok(()),
            false => Err(RunDirError::NotARun(path.to_owned())),
        }
    }

    /// Whether a run is under way in a directory. Nothing is written there.
    pub fn is_busy(path: &Path) -> bool {
        let lock = File::open(path.join(LOCK));
        lock.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    fn lock(path: &Path) -> Result<Self, RunDirError> {
        let name = path.join(LOCK);
        let file = OpenOptions::new().create(true).append(true).open(&name);
        let file = file.map_err(at(&name))?;
        // Where the file system has no locks, nobody can be kept out.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(RunDirError::Busy(path.to_owned()));
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: Some(Arc::new(file)),
        })
    }

    /// The name of a run's directory when nobody gives one: `NAME-TIMESTAMP` (UTC).
    pub fn default_name(name: &str, now: Timestamp) -> String {
        format!("{name}-{}", now.strftime(TIMESTAMP))
    }

    /// The run in `runs` of this name that was started last, by the timestamp in its name, of those that are not under way.
    ///
    /// # Errors
    /// There is none.
    pub fn newest(runs: &Path, name: &str) -> Result<Self, RunDirError> {
        let entries = fs::read_dir(runs).map_err(|_| RunDirError::NoRun(runs.to_owned()))?;
        let mut found: Vec<((String, u64), String)> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|entry| Some((started(&entry, name)?, entry)))
            .filter(|(_, entry)| runs.join(entry).join(CONFIG).is_file())
            .collect();
        found.sort();
        let mut busy = 0;
        while let Some((_, entry)) = found.pop() {
            match Self::open(&runs.join(entry)) {
                Err(RunDirError::Busy(_)) => busy += 1,
                opened => return opened,
            }
        }
        Err(match busy {
            0 => RunDirError::NoRun(runs.to_owned()),
            _ => RunDirError::AllBusy {
                runs: runs.to_owned(),
                busy,
            },
        })
    }

    /// The file that the run's config is in.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// The file of the last evaluation's completions.
    pub fn evaluation(&self) -> PathBuf {
        self.path.join(EVALUATION)
    }

    /// The directory of the checkpoint of `step`, whether it is there or not.
    pub fn checkpoint(&self, step: usize) -> PathBuf {
        self.path.join(CHECKPOINTS).join(format!("step-{step}"))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One of [`LOGS`], new.
    ///
    /// # Errors
    /// It is there already, or cannot be written.
    pub fn create_log(&self, name: &str) -> Result<JsonLog, RunDirError> {
        let path = self.path.join(name);
        JsonLog::create(&path).map_err(at(&path))
    }

    /// One of [`LOGS`], with its first `lines` lines.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn cut_log(&self, name: &str, lines: usize) -> Result<JsonLog, RunDirError> {
        let path = self.path.join(name);
        JsonLog::cut(&path, lines).map_err(at(&path))
    }
}

/// `YYYYMMDD-HHMMSS` in UTC.
const TIMESTAMP: &str = "%Y%m%d-%H%M%S";

/// When the run in a directory of this name was started: the timestamp, and which of those that began in that second it is.
fn started(entry: &str, name: &str) -> Option<(String, u64)> {
    let rest = entry.strip_prefix(name)?.strip_prefix('-')?;
    // Numbers are read with fewer digits, too.
    let (time, more) = rest.split_at_checked(15)?;
    jiff::civil::DateTime::strptime(TIMESTAMP, time).ok()?;
    let number = match more {
        "" => 1,
        more => more.strip_prefix('-')?.parse().ok()?,
    };
    Some((time.to_owned(), number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_run_holds_its_config_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/run");
        let run = RunDir::create(&path, "seed = 1\n").unwrap();
        assert_eq!(fs::read_to_string(run.config()).unwrap(), "seed = 1\n");
        let error = RunDir::create(run.path(), "").unwrap_err();
        assert!(matches!(&error, RunDirError::NotEmpty(_)), "{error}");
        assert!(error.to_string().contains("--run-dir"));
        drop(run);
        assert_eq!(RunDir::open(&path).unwrap().path(), path);
        assert!(matches!(
            RunDir::open(path.parent().unwrap()),
            Err(RunDirError::NotARun(_))
        ));
    }

    #[test]
    fn a_run_is_written_by_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let run = RunDir::create(&path, "").unwrap();
        assert!(matches!(RunDir::open(&path), Err(RunDirError::Busy(_))));
        assert!(RunDir::is_busy(&path) && !RunDir::is_busy(dir.path()));
        drop(run);
        assert!(!RunDir::is_busy(&path));
        assert!(RunDir::open(&path).is_ok());
    }

    #[test]
    fn runs_that_begin_in_one_second_have_directories_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let create = || RunDir::create_new(dir.path(), "a", Timestamp::UNIX_EPOCH, "").unwrap();
        let runs: Vec<RunDir> = (0..11).map(|_| create()).collect();
        assert!(runs[0].path().ends_with("a-19700101-000000"));
        assert!(runs[10].path().ends_with("a-19700101-000000-11"));
        let newest = || RunDir::newest(dir.path(), "a");
        assert!(matches!(newest(), Err(RunDirError::AllBusy { busy: 11, .. })));
        let mut runs = runs;
        runs.pop();
        assert!(newest().unwrap().path().ends_with("a-19700101-000000-11"));
        let busy = newest().unwrap();
        runs.remove(0);
        assert!(
            newest().unwrap().path().ends_with("a-19700101-000000"),
            "{busy:?}"
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
        let newest = RunDir::newest(dir.path(), "a").unwrap();
        assert!(newest.path().ends_with("a-20260102-000000"));
        assert!(matches!(
            RunDir::newest(dir.path(), "c"),
            Err(RunDirError::NoRun(_))
        ));
    }

    #[test]
    fn a_run_is_named_by_its_second() {
        let name = RunDir::default_name("a-b", Timestamp::from_second(951_782_399).unwrap());
        assert_eq!(name, "a-b-20000228-235959");
        assert_eq!(started(&name, "a-b").unwrap().1, 1);
        assert_eq!(started(&format!("{name}-3"), "a-b").unwrap().1, 3);
        for text in [
            "2000228-2359591",
            "20000230-235959",
            "20000228_235959",
            "x-20000228-2359",
            "20000228-235959x",
            "20000228-235959-x",
        ] {
            assert_eq!(started(&format!("a-{text}"), "a"), None, "{text}");
        }
    }
}
