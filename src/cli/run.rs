//! What the options of a training command mean: a checked config, an open device, and a place to write to.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use burn::tensor::Device;
use gcpo_model::device::{self, DeviceSpec, Opened};
use gcpo_model::dtype::Dtype;
use jiff::Timestamp;

use super::args::RunArgs;
use crate::config::Config;
use crate::recipe::resume;
use crate::run::{RunDir, SavedStep};

/// A training command, understood; nothing is written yet.
#[derive(Debug)]
pub struct RunPlan {
    /// The run.
    pub config: Config,
    /// Where it computes; without autodiff.
    pub device: Device,
    /// Where it computes beside that: the rest of `train.devices`.
    pub others: Vec<Device>,
    /// The device's name, for people.
    pub device_name: String,
    place: Place,
}

/// Where a run is written.
#[derive(Debug, PartialEq)]
enum Place {
    /// A directory that is made.
    New(PathBuf),
    /// The directory of a run that goes on.
    Resumed(RunDir),
}

impl RunPlan {
    /// What the options mean for the run in the file at `path`.
    ///
    /// # Errors
    /// A mistake in the file or an option, or no such device.
    pub fn from_file(path: &Path, args: &RunArgs) -> Result<Self> {
        Self::new(Config::load(path, &args.sets)?, args)
    }

    /// What the options mean for a run whose file is in the binary: its text, and the name to call it by.
    ///
    /// # Errors
    /// A mistake in an option, or no such device.
    pub fn from_text(text: &str, name: &str, args: &RunArgs) -> Result<Self> {
        Self::new(Config::from_str(text, name, &args.sets)?, args)
    }

    fn new(config: Config, args: &RunArgs) -> Result<Self> {
        let place = place(&config, args, Path::new("runs"), Timestamp::now())?;
        if let Place::New(path) = &place {
            // Said before a model is loaded, not after.
            RunDir::check_free(path)?;
        }
        let (asked, named) = (&args.device.device, &config.train.devices);
        if *asked != DeviceSpec::Auto && !named.is_empty() {
            bail!("--device {asked} and train.devices both say where to train: leave one of them out");
        }
        let specs = if named.is_empty() {
            std::slice::from_ref(asked)
        } else {
            named.as_slice()
        };
        let opened: Result<Vec<Opened>> = specs
            .iter()
            .map(|spec| open_device(spec, config.train.dtype))
            .collect();
        let opened = opened?;
        let names: Vec<&str> = opened.iter().map(|opened| opened.name.as_str()).collect();
        let device_name = names.join(" and ");
        let mut devices = opened.into_iter().map(|opened| opened.device);
        Ok(Self {
            device: devices.next().expect("one at least is opened"),
            others: devices.collect(),
            device_name,
            config,
            place,
        })
    }

    /// Makes the run directory, or opens the one of a run that goes on and finds its last checkpoint. To be called when
    /// everything that can be wrong with the run has been looked at.
    ///
    /// # Errors
    /// The directory is not empty, or holds no run that can go on.
    pub fn start(&self) -> Result<(RunDir, Option<SavedStep>)> {
        Ok(match &self.place {
            Place::New(path) => (RunDir::create(path, &self.config.to_toml())?, None),
            Place::Resumed(run) => (run.clone(), Some(resume(run, &self.config)?)),
        })
    }
}

/// Opens a device that is to compute in `dtype`, and says what `auto` did not take.
///
/// # Errors
/// There is no such device, or it does not compute in such numbers.
pub fn open_device(spec: &DeviceSpec, dtype: Dtype) -> Result<Opened> {
    let opened = device::open(spec)?;
    opened.check(dtype)?;
    if !opened.passed_over.is_empty() {
        eprintln!("device: {} ({})", opened.name, opened.passed_over.join("; "));
    }
    Ok(opened)
}

/// Where the run is written, or which one goes on.
fn place(config: &Config, args: &RunArgs, runs: &Path, now: Timestamp) -> Result<Place> {
    let name = &config.run.name;
    let asked = args.run_dir.as_ref().or(config.run.dir.as_ref());
    Ok(match (&args.resume, asked) {
        (None, Some(dir)) => Place::New(dir.clone()),
        (None, None) => Place::New(runs.join(RunDir::default_name(name, now))),
        (Some(Some(dir)), _) if args.run_dir.as_ref().is_some_and(|run_dir| run_dir != dir) => {
            bail!(
                "--resume and --run-dir name two directories; a run goes on in its own, so leave --run-dir out"
            )
        }
        (Some(Some(dir)), _) | (Some(None), Some(dir)) => Place::Resumed(RunDir::open(dir)?),
        (Some(None), None) => Place::Resumed(RunDir::newest(runs, name)?),
    })
}

/// Reads a file that the user named.
///
/// # Errors
/// It cannot be read; the error names it.
pub fn read_input(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes one line to standard output.
///
/// # Errors
/// Nobody reads it any more.
pub fn print_line(text: impl std::fmt::Display) -> Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::DeviceArgs;

    fn args(run_dir: Option<&str>, resume: Option<Option<&Path>>) -> RunArgs {
        RunArgs {
            sets: Vec::new(),
            run_dir: run_dir.map(Into::into),
            resume: resume.map(|dir| dir.map(Into::into)),
            device: DeviceArgs {
                device: DeviceSpec::Auto,
            },
        }
    }

    #[test]
    fn a_run_is_written_where_it_was_asked_to_be() {
        let runs = Path::new("runs");
        let plain = Config::from_str("", "a/quick.toml", &[]).unwrap();
        let placed = Config::from_str("run.dir = \"/from/config\"", "a.toml", &[]).unwrap();
        let new = |config, args| place(config, &args, runs, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(
            new(&plain, args(None, None)),
            Place::New("runs/quick-19700101-000000".into())
        );
        assert_eq!(new(&placed, args(None, None)), Place::New("/from/config".into()));
        assert_eq!(new(&placed, args(Some("here"), None)), Place::New("here".into()));
    }

    #[test]
    fn a_resumed_run_is_the_named_one_or_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::from_str("", "quick.toml", &[]).unwrap();
        let old = RunDir::create(&dir.path().join("quick-20260101-000000"), "").unwrap();
        let new = RunDir::create(&dir.path().join("quick-20260102-000000"), "").unwrap();
        let place = |args| place(&config, &args, dir.path(), Timestamp::UNIX_EPOCH);
        assert_eq!(place(args(None, Some(None))).unwrap(), Place::Resumed(new));
        assert_eq!(
            place(args(None, Some(Some(old.path())))).unwrap(),
            Place::Resumed(old.clone())
        );
        assert_eq!(
            place(args(old.path().to_str(), Some(None))).unwrap(),
            Place::Resumed(old.clone())
        );
        assert!(place(args(Some("other"), Some(Some(old.path())))).is_err());
        assert!(place(args(None, Some(Some(dir.path())))).is_err());
    }
}
