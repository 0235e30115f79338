//! Checkpoints of a run: saved whole or not at all, and known again only as they were written.
//!
//! ```text
//! checkpoints/step-N/
//!     config.json, model.safetensors, tokenizer.json, …   the policy, in Hugging Face layout
//!     trainer/
//!         optimizer.safetensors, …                        the optimiser's state
//!         state.json                                      [`TrainerState`]
//!         SHA256SUMS                                      the digest of each of these files
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use gcpo_data::files;
use serde::{Deserialize, Serialize};

use super::digest::{self, Digests};
use super::dir::{CHECKPOINTS, RunDir};
use super::error::{RunDirError, at};
use super::log::Extent;

const SUMS: &str = "trainer/SHA256SUMS";
const STATE: &str = "trainer/state.json";
const TIMED: &str = ".timed";

/// A complete checkpoint of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedStep {
    /// Steps that were done when it was saved.
    pub step: usize,
    /// Its directory.
    pub path: PathBuf,
}

/// What the results of a run depend on beside its config, by content: files may move, but not change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Inputs {
    /// The version of the program.
    pub gcpo: String,
    /// Where it computed.
    pub device: String,
    /// The files of the base model ([`crate::policy::ModelPath`]), which is the reference model too.
    pub model: Digests,
    /// SHA-256 of the problems that are trained on, in their order.
    pub problems: String,
    /// SHA-256 of the held-out problems; empty where there are none.
    pub held_out: String,
    /// The files of rewards that are functions or models, by `LABEL/FILE`.
    #[serde(default)]
    pub rewards: Digests,
    /// The checkpoint that the run was forked from.
    pub forked_from: Option<PathBuf>,
}

/// `trainer/state.json`: what a run needs to go on, beside tensors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerState {
    /// Steps done.
    pub step: usize,
    /// What the run's results depend on.
    pub inputs: Inputs,
    /// How far each log goes.
    pub logs: BTreeMap<String, Extent>,
}

impl SavedStep {
    /// The checkpoint in a directory of this name.
    pub fn at(path: &Path) -> Option<Self> {
        let step = path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()?;
        Some(Self {
            step,
            path: path.to_owned(),
        })
    }

    /// The complete checkpoints of the run in a directory, by step.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn all(run: &Path) -> Result<Vec<Self>, RunDirError> {
        let all = run.join(CHECKPOINTS);
        let entries = match fs::read_dir(&all) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(at(&all))?,
        };
        let mut saved = Vec::new();
        for entry in entries {
            saved.extend(Self::at(&entry.map_err(at(&all))?.path()));
        }
        saved.sort_by_key(|saved: &Self| saved.step);
        Ok(saved)
    }

    /// The checkpoint of the most steps of the run in a directory.
    ///
    /// # Errors
    /// There is none, or it is damaged: the error names the last one before that is whole.
    pub fn latest(run: &Path) -> Result<Self, RunDirError> {
        match Self::all(run)?.pop() {
            Some(latest) => latest.whole(),
            None => Err(RunDirError::NoCheckpoint(run.to_owned())),
        }
    }

    /// This checkpoint, every file of which is what was written.
    ///
    /// # Errors
    /// It is damaged: the error names the last one before it that is whole.
    pub fn whole(self) -> Result<Self, RunDirError> {
        let Err(what) = self.verify() else {
            return Ok(self);
        };
        let run = self.path.parent().and_then(Path::parent);
        let mut others = run.map_or(Ok(Vec::new()), Self::all)?;
        others.retain(|other| other.step < self.step);
        let whole = others.into_iter().rev().find(|other| other.verify().is_ok());
        Err(RunDirError::Damaged {
            path: self.path,
            what,
            whole: whole.map(|whole| whole.path),
        })
    }

    /// The trainer's state in it.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn state(&self) -> Result<TrainerState, RunDirError> {
        let path = self.path.join(STATE);
        let bytes = files::bytes(&path, files::limit::CONFIG).map_err(at(&path))?;
        serde_json::from_slice(&bytes).map_err(|error| at(&path)(error.into()))
    }

    /// Looks whether each file is what was written.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn verify(&self) -> Result<(), String> {
        let sums = files::text(&self.path.join(SUMS), files::limit::CONFIG);
        let sums = sums.map_err(|error| format!("{SUMS}, which has its files' digests: {error}"))?;
        let written = digest::from_text(&sums).ok_or(format!("{SUMS} is no list of digests"))?;
        let names = written.keys().cloned().collect();
        let found = digest::of_files(&self.path, names).map_err(|error| error.to_string())?;
        let changed: Vec<&str> = written
            .iter()
            .filter(|(name, digest)| found[*name] != **digest)
            .map(|(name, _)| name.as_str())
            .collect();
        if !changed.is_empty() {
            return Err(format!("{} is not what was written", changed.join(", ")));
        }
        match self.state() {
            Ok(state) if !written.contains_key(STATE) || state.step != self.step => {
                Err(format!("it holds the state of step {}", state.step))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl RunDir {
    /// Saves `checkpoints/step-N`: `write` fills a directory beside it, which is renamed when all of it is on disk. So the
    /// checkpoint is there whole or not at all, and one that was there before is replaced. What a failure leaves is removed.
    ///
    /// # Errors
    /// What `write` says, or the system.
    pub fn save<E: From<RunDirError>>(
        &self,
        state: &TrainerState,
        write: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<SavedStep, E> {
        let step = state.step;
        let all = self.path().join(CHECKPOINTS);
        let [partial, old] = ["partial", "old"].map(|end| all.join(format!(".step-{step}.{end}")));
        for leftover in [&partial, &old] {
            remove(leftover).map_err(at(leftover))?;
        }
        // Not its parents: where they are gone, the run was removed.
        fs::create_dir(&partial).map_err(at(&partial))?;
        let written = write(&partial).and_then(|()| Ok(seal(&partial, state)?));
        if let Err(error) = written {
            // It would keep a full disk full.
            let _ = remove(&partial);
            return Err(error);
        }
        let path = all.join(format!("step-{step}"));
        if path.exists() {
            fs::rename(&path, &old).map_err(at(&path))?;
        }
        fs::rename(&partial, &path).map_err(at(&path))?;
        sync_dir(&all).map_err(at(&all))?;
        remove(&old).map_err(at(&old))?;
        Ok(SavedStep { step, path })
    }

    /// The checkpoint to go on from: [`SavedStep::latest`]. Before, what a process that died in a save left behind is put right: a
    /// checkpoint that it was about to replace is one again.
    ///
    /// # Errors
    /// As [`SavedStep::latest`].
    pub fn latest(&self) -> Result<SavedStep, RunDirError> {
        self.clean()?;
        SavedStep::latest(self.path())
    }

    /// Takes checkpoint `from` for the last one: later ones are of another course of the run, and are set aside as `old-step-N`.
    /// Says which.
    ///
    /// # Errors
    /// One cannot be renamed.
    pub fn go_back_to(&self, from: &SavedStep) -> Result<Vec<PathBuf>, RunDirError> {
        self.clean()?;
        let mut aside = Vec::new();
        for SavedStep { step, path } in SavedStep::all(self.path())? {
            if step > from.step {
                let to = path.with_file_name(format!("old-step-{step}"));
                remove(&to).map_err(at(&to))?;
                fs::rename(&path, &to).map_err(at(&path))?;
                aside.push(to);
            }
        }
        Ok(aside)
    }

    /// The checkpoint that was saved because time had passed, and goes when there is a newer one.
    pub fn timed(&self) -> Option<SavedStep> {
        let all = self.path().join(CHECKPOINTS);
        let name = fs::read_to_string(all.join(TIMED)).ok()?;
        SavedStep::at(&all.join(name.trim())).filter(|saved| saved.path.is_dir())
    }

    /// Notes that the checkpoint of `step` is such a one. It is no part of the checkpoint: what is in there is the same, however it
    /// came about.
    ///
    /// # Errors
    /// The system refuses.
    pub fn note_timed(&self, step: usize) -> Result<(), RunDirError> {
        let path = self.path().join(CHECKPOINTS).join(TIMED);
        files::write(&path, format!("step-{step}\n")).map_err(at(&path))
    }

    fn clean(&self) -> Result<(), RunDirError> {
        let all = self.path().join(CHECKPOINTS);
        let entries = fs::read_dir(&all).map_err(at(&all))?;
        for entry in entries {
            let path = entry.map_err(at(&all))?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let Some((step, end)) = name.strip_prefix('.').and_then(|name| name.rsplit_once('.')) else {
                continue;
            };
            let replaced = path.with_file_name(step);
            match end {
                "old" if SavedStep::at(&replaced).is_some() && !replaced.exists() => {
                    fs::rename(&path, &replaced).map_err(at(&path))?;
                }
                "old" | "partial" => remove(&path).map_err(at(&path))?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes all checkpoints but the last `count`; 0 keeps all.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn keep_last(&self, count: usize) -> Result<(), RunDirError> {
        let mut saved = SavedStep::all(self.path())?;
        let keep = match count {
            0 => saved.len(),
            count => count.min(saved.len()),
        };
        saved.truncate(saved.len() - keep);
        saved.iter().try_for_each(|saved| self.remove(saved))
    }

    /// Removes a checkpoint.
    ///
    /// # Errors
    /// The system refuses.
    pub fn remove(&self, saved: &SavedStep) -> Result<(), RunDirError> {
        if !saved.path.exists() {
            return Ok(());
        }
        // Renamed first: a checkpoint that is being removed is no checkpoint any more.
        let gone = self
            .path()
            .join(CHECKPOINTS)
            .join(format!(".step-{}.partial", saved.step));
        remove(&gone).map_err(at(&gone))?;
        fs::rename(&saved.path, &gone).map_err(at(&saved.path))?;
        remove(&gone).map_err(at(&gone))
    }
}

/// Writes the trainer's state and the digests of all files, and brings everything to disk.
fn seal(dir: &Path, state: &TrainerState) -> Result<(), RunDirError> {
    let trainer = dir.join("trainer");
    fs::create_dir_all(&trainer).map_err(at(&trainer))?;
    let path = dir.join(STATE);
    let text = serde_json::to_vec_pretty(state).map_err(|error| at(&path)(error.into()))?;
    fs::write(&path, text).map_err(at(&path))?;
    let digests = digest::of_files(dir, digest::files_below(dir).map_err(at(dir))?)?;
    let path = dir.join(SUMS);
    fs::write(&path, digest::to_text(&digests)).map_err(at(&path))?;
    sync(dir)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Brings a directory and everything below it to disk.
fn sync(path: &Path) -> Result<(), RunDirError> {
    for entry in fs::read_dir(path).map_err(at(path))? {
        let path = entry.map_err(at(path))?.path();
        if path.is_dir() {
            sync(&path)?
        } else {
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(at(&path))?
        }
    }
    sync_dir(path).map_err(at(path))
}

/// Brings a directory's own entries to disk, where the system can.
fn sync_dir(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(path)?.sync_all()
    } else {
        Ok(())
    }
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
        let state = TrainerState {
            step,
            ..TrainerState::default()
        };
        let write = |dir: &Path| fs::write(dir.join("state"), text).map_err(at(dir));
        run.save(&state, write).unwrap()
    }

    fn entries(run: &RunDir) -> Vec<String> {
        let entries = fs::read_dir(run.path().join(CHECKPOINTS)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_checkpoint_is_there_whole_or_not_at_all() {
        let (_dir, run) = run();
        let failed: Result<_, RunDirError> = run.save(&TrainerState::default(), |dir| {
            fs::write(dir.join("half"), "x").unwrap();
            Err(RunDirError::NotARun(dir.into()))
        });
        assert!(failed.is_err());
        assert!(matches!(run.latest(), Err(RunDirError::NoCheckpoint(_))));
        assert!(entries(&run).is_empty(), "what a failed save wrote is left");
        let saved = save(&run, 3, "one");
        assert_eq!(run.latest().unwrap(), saved);
        save(&run, 3, "two");
        assert_eq!(fs::read_to_string(saved.path.join("state")).unwrap(), "two");
        assert_eq!(entries(&run), ["step-3"]);
    }

    #[test]
    fn what_a_process_that_died_in_a_save_left_is_put_right() {
        let (_dir, run) = run();
        let all = run.path().join(CHECKPOINTS);
        // Between the two renames of a save that replaces a checkpoint, and in the midst of another.
        let saved = save(&run, 3, "one");
        fs::rename(&saved.path, all.join(".step-3.old")).unwrap();
        fs::create_dir(all.join(".step-4.partial")).unwrap();
        // While an old one was removed.
        save(&run, 2, "");
        fs::create_dir(all.join(".step-2.old")).unwrap();
        assert_eq!(run.latest().unwrap(), saved);
        assert_eq!(entries(&run), ["step-2", "step-3"]);
    }

    #[test]
    fn a_damaged_checkpoint_is_known_and_the_one_before_is_offered() {
        let (_dir, run) = run();
        let first = save(&run, 1, "state of step 1");
        save(&run, 2, "state of step 2");
        let last = save(&run, 3, "state of step 3");
        for name in ["state", STATE, SUMS] {
            let file = last.path.join(name);
            let whole = fs::read(&file).unwrap();
            for at in 0..whole.len() {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << (at % 8);
                fs::write(&file, &bytes).unwrap();
                assert!(last.verify().is_err(), "{name}, byte {at}");
            }
            fs::write(&file, &whole[..whole.len() - 1]).unwrap();
            assert!(last.verify().is_err(), "{name} is shorter");
            fs::remove_file(&file).unwrap();
            assert!(last.verify().is_err(), "{name} is gone");
            fs::write(&file, &whole).unwrap();
            last.verify().unwrap();
        }
        // The files of another checkpoint.
        fs::copy(first.path.join("state"), last.path.join("state")).unwrap();
        let text = run.latest().unwrap_err().to_string();
        assert!(
            text.contains("step-3 is damaged: state is not") && text.contains("step-2"),
            "{text}"
        );
        // A whole other checkpoint under this name.
        for name in ["state", STATE, SUMS] {
            fs::copy(first.path.join(name), last.path.join(name)).unwrap();
        }
        assert!(run.latest().unwrap_err().to_string().contains("state of step 1"));
        let second = SavedStep::at(&run.path().join(CHECKPOINTS).join("step-2")).unwrap();
        assert_eq!(run.go_back_to(&second).unwrap().len(), 1);
        assert_eq!(run.latest().unwrap(), second);
    }

    #[test]
    fn the_last_checkpoints_are_the_ones_of_the_most_steps() {
        let (_dir, run) = run();
        for step in [9, 10, 100, 20] {
            save(&run, step, "");
        }
        assert_eq!(run.latest().unwrap().step, 100);
        run.keep_last(0).unwrap();
        run.keep_last(9).unwrap();
        assert_eq!(SavedStep::all(run.path()).unwrap().len(), 4);
        run.keep_last(2).unwrap();
        let steps: Vec<usize> = SavedStep::all(run.path())
            .unwrap()
            .iter()
            .map(|saved| saved.step)
            .collect();
        assert_eq!(steps, [20, 100]);
    }
}
