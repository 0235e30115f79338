//! What the options of a training command mean: a checked config, an open device, and a place to write to.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use burn::tensor::Device;
use gcpo_data::files::{self, limit};
use gcpo_model::device::{self, DeviceSpec, Opened};
use gcpo_model::dtype::Dtype;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::args::RunArgs;
use crate::config::Config;
use crate::console::{for_stdout, note, say};
use crate::policy::{ModelPath, Policy, open};
use crate::ranks::Ranks;
use crate::recipe::{Recipe, Start, compare_inputs, resume};
use crate::run::{Inputs, RunDir, RunDirError, SavedStep};
use crate::source;

/// A training command, understood; nothing is written yet.
#[derive(Debug, Clone)]
pub struct RunPlan {
    /// The run.
    pub config: Config,
    /// Where it computes; without autodiff.
    pub device: Device,
    /// Where it computes beside that: the rest of `train.devices`.
    pub others: Vec<Device>,
    /// The device's name, for people.
    pub device_name: String,
    /// All memory of the device, or of the first of several, in bytes, where that is known.
    pub device_bytes: Option<u64>,
    /// Who computes beside this process.
    pub ranks: Ranks,
    place: Place,
    /// The checkpoint that it goes on from.
    from: Option<SavedStep>,
}

/// Where a run is written.
#[derive(Debug, Clone)]
enum Place {
    /// A directory that is made.
    New(PathBuf),
    /// One with the default name in this directory.
    Named(PathBuf),
    /// The directory of a run that goes on, and the checkpoint that was named in it.
    Resumed(RunDir, Option<SavedStep>),
    /// Wherever the first rank writes.
    Another,
}

/// What the first rank tells the others of a run.
#[derive(Serialize, Deserialize)]
struct Told {
    config: String,
    from: Option<(usize, PathBuf)>,
}

impl RunPlan {
    /// What the options, without their sets, mean for a run that is known already.
    ///
    /// # Errors
    /// A mistake in an option, or no such device.
    pub fn new(mut config: Config, args: &RunArgs, ranks: &Ranks) -> Result<Self> {
        let place = place(&config, args, Path::new("runs"))?;
        if let (Place::Resumed(run, _), None) = (&place, config.model.save_dtype) {
            config.model.save_dtype = Config::of_run(&run.config())?.model.save_dtype;
        }
        // What can be known to be wrong is said before a model is loaded.
        let from = match (&place, &args.from) {
            (Place::Resumed(run, asked), _) => {
                let (from, notes) = resume(run, asked.clone(), &config)?;
                notes.iter().for_each(|text| note(&format!("note: {text}")));
                Some(from)
            }
            (_, Some(from)) => Some(fork(from, &mut config)?),
            _ => None,
        };
        if let Place::New(path) = &place {
            RunDir::check_free(path)?;
        }
        if config.model.save_dtype.is_none() {
            // The run's own file says it from here on.
            config.model.save_dtype = Some(open::save_dtype(&config.model)?);
        }
        if !ranks.is_alone() {
            if !config.train.devices.is_empty() {
                let what = "each rank computes on one device";
                return Err(config.blame("train.devices", what, "leave it out").into());
            }
            ranks.broadcast(Some(Told {
                config: config.to_toml(),
                from: from.clone().map(|from| (from.step, from.path)),
            }));
        }
        Self::on_devices(config, args, ranks, place, from)
    }

    /// The plan of every rank: the first makes it, of what `config` reads, and the others take it from there.
    ///
    /// # Errors
    /// As [`RunPlan::new`], and those of `config`.
    pub fn of_ranks(ranks: &Ranks, args: &RunArgs, config: impl FnOnce() -> Result<Config>) -> Result<Self> {
        if ranks.is_first() {
            return Self::new(config()?, args, ranks);
        }
        let told: Told = ranks.broadcast(None);
        let config = Config::of_first_rank(&told.config)?;
        let from = told.from.map(|(step, path)| SavedStep { step, path });
        Self::on_devices(config, args, ranks, Place::Another, from)
    }

    /// Opens the devices.
    fn on_devices(
        config: Config,
        args: &RunArgs,
        ranks: &Ranks,
        place: Place,
        from: Option<SavedStep>,
    ) -> Result<Self> {
        let opened = open_devices(&config, &args.device.device, ranks.local_rank())?;
        let names: Vec<&str> = opened.iter().map(|opened| opened.name.as_str()).collect();
        let device_name = of_all(ranks, names.join(" and "));
        let device_bytes = opened.first().and_then(|opened| opened.memory);
        let mut devices = opened.into_iter().map(|opened| opened.device);
        Ok(Self {
            device: devices.next().expect("one at least is opened"),
            others: devices.collect(),
            device_name,
            device_bytes,
            config,
            ranks: ranks.clone(),
            place,
            from,
        })
    }

    /// Whether adapters are trained: the model that they are of is needed as long as the run goes on.
    pub fn has_adapters(&self) -> bool {
        self.config.model.lora.is_some()
    }

    /// The policy that the run begins with. One that goes on needs nothing of the model it was started with, unless that is the
    /// reference model or has adapters (`needs_base`). `texts` are what a tokenizer is learnt from, if it is to be.
    ///
    /// # Errors
    /// A file is missing or wrong, or the parts do not belong together.
    pub fn policy(&self, needs_base: bool, texts: impl FnOnce() -> Vec<String>) -> Result<Policy> {
        let device = self.device.clone().autodiff();
        let policy = match &self.from {
            Some(from) if !needs_base => {
                let path = ModelPath::Dir(from.path.clone());
                open::load(&path, &self.config.prompts(), Dtype::F32, &device)
            }
            _ => self.config.policy(texts, &device),
        }?;
        let dropouts = policy.dropouts();
        if !dropouts.is_empty() {
            note(&format!(
                "warning: config.json says {}: dropout is not computed, the model is trained without, as RL trainers do",
                dropouts.join(", ")
            ));
        }
        Ok(policy)
    }

    /// Makes the run directory, or takes the one of a run that goes on. To be called when everything that can be wrong with the run
    /// has been looked at. `needs_base` as in [`RunPlan::policy`].
    ///
    /// # Errors
    /// The directory is not empty, or holds a run that was started with something else.
    pub fn start(&self, recipe: &mut dyn Recipe, needs_base: bool) -> Result<Start> {
        if !self.ranks.is_first() {
            let (path, forks): (PathBuf, bool) = self.ranks.broadcast(None);
            return Ok(Start {
                run: RunDir::of_another(&path),
                forks,
                from: self.from.clone(),
                inputs: Inputs::default(),
            });
        }
        let start = self.start_first(recipe, needs_base)?;
        self.ranks
            .broadcast(Some((start.run.path().to_owned(), start.forks)));
        Ok(start)
    }

    /// [`RunPlan::start`] of the rank that writes.
    fn start_first(&self, recipe: &mut dyn Recipe, needs_base: bool) -> Result<Start> {
        let saved = self.from.as_ref().map(SavedStep::state).transpose()?;
        let before = saved.map(|state| state.inputs);
        let mut inputs = Inputs {
            gcpo: env!("CARGO_PKG_VERSION").to_owned(),
            device: self.device_name.clone(),
            model: match &before {
                // Nothing of it is used any more.
                Some(before) if !needs_base => before.model.clone(),
                _ => open::digests(&self.config.model)?,
            },
            problems: source::fingerprint(recipe.problems()),
            held_out: recipe.parts().1.fingerprint(),
            rewards: self.config.reward_digests()?,
            forked_from: None,
        };
        let config = self.config.to_toml();
        let run = match &self.place {
            Place::New(path) => RunDir::create(path, &config)?,
            Place::Named(runs) => RunDir::create_new(runs, &self.config.run.name, Timestamp::now(), &config)?,
            Place::Resumed(run, _) => run.clone(),
            Place::Another => unreachable!("the first rank has a place of its own"),
        };
        let forks = !matches!(self.place, Place::Resumed(..));
        if let (Some(from), Some(before)) = (&self.from, &before) {
            let (differ, notes) = compare_inputs(before, &inputs, needs_base);
            if forks {
                differ
                    .iter()
                    .for_each(|what| note(&format!("note: other {what}")));
                inputs.forked_from = Some(std::path::absolute(&from.path)?);
            } else if !differ.is_empty() {
                let dir = run.path().to_owned();
                return Err(RunDirError::Differs { dir, what: differ }.into());
            } else {
                inputs.forked_from = before.forked_from.clone();
                for path in run.go_back_to(from)? {
                    note(&format!(
                        "note: a later checkpoint was set aside: {}",
                        path.display()
                    ));
                }
            }
            notes.iter().for_each(|text| note(&format!("note: {text}")));
        }
        Ok(Start {
            run,
            forks: forks && self.from.is_some(),
            from: self.from.clone(),
            inputs,
        })
    }
}

/// The checkpoint that a new run is to start from: the one at `path`, or the last one of the run there. What the new run has other is
/// said.
fn fork(path: &Path, config: &mut Config) -> Result<SavedStep> {
    let from = match SavedStep::at(path) {
        Some(from) => from.whole()?,
        None => {
            RunDir::check_run(path)?;
            SavedStep::latest(path)?
        }
    };
    let run = from.path.parent().and_then(Path::parent).unwrap_or(path);
    let saved = Config::of_run(&run.join("config.toml"))?;
    if config.model.save_dtype.is_none() && config.model.lora.is_none() {
        config.model.save_dtype = saved.model.save_dtype;
    }
    let keys = saved.differences(config);
    let others = match keys.is_empty() {
        true => "nothing".to_owned(),
        false => keys.join(", "),
    };
    note(&format!(
        "forked from {}, after {} steps; other than there: {others}",
        from.path.display(),
        from.step
    ));
    if from.step >= config.train.max_steps {
        let what = format!("the checkpoint has {} steps already", from.step);
        return Err(config.blame("train.max_steps", what, "raise it").into());
    }
    Ok(from)
}

/// What all ranks compute on, for people.
fn of_all(ranks: &Ranks, own: String) -> String {
    let all = ranks.all_gather(own);
    match all.as_slice() {
        [alone] => alone.clone(),
        [first, ..] if all.iter().all(|name| name == first) => format!("{} ranks, each {first}", all.len()),
        _ => {
            let named = all
                .iter()
                .enumerate()
                .map(|(rank, name)| format!("rank {rank} {name}"));
            named.collect::<Vec<_>>().join(", ")
        }
    }
}

/// Opens the devices that a run trains on: those of `train.devices`, or the one that was asked for; process number `local` of several on
/// this machine one of its own.
///
/// # Errors
/// Both say where, or there is no such device.
pub fn open_devices(config: &Config, asked: &DeviceSpec, local: Option<usize>) -> Result<Vec<Opened>> {
    let named = &config.train.devices;
    if *asked != DeviceSpec::Auto && !named.is_empty() {
        bail!("--device {asked} and train.devices both say where to train: leave one of them out");
    }
    let specs = if named.is_empty() {
        std::slice::from_ref(asked)
    } else {
        named.as_slice()
    };
    let open = |spec| open_device_as(spec, config.train.dtype, local);
    specs.iter().map(open).collect()
}

/// Opens a device that is to compute in `dtype`, and says what `auto` did not take.
///
/// # Errors
/// There is no such device, or it does not compute in such numbers.
pub fn open_device(spec: &DeviceSpec, dtype: Dtype) -> Result<Opened> {
    open_device_as(spec, dtype, None)
}

/// [`open_device`] of process number `local` of several on this machine.
fn open_device_as(spec: &DeviceSpec, dtype: Dtype, local: Option<usize>) -> Result<Opened> {
    let opened = device::open_as(spec, local)?;
    opened.check(dtype)?;
    if !opened.passed_over.is_empty() {
        say!("device: {} ({})", opened.name, opened.passed_over.join("; "));
    }
    Ok(opened)
}

/// Where the run is written, or which one goes on.
fn place(config: &Config, args: &RunArgs, runs: &Path) -> Result<Place> {
    let name = &config.run.name;
    let asked = args.run_dir.as_ref().or(config.run.dir.as_ref());
    Ok(match (&args.resume, asked) {
        (None, Some(dir)) => Place::New(dir.clone()),
        (None, None) => Place::Named(runs.to_owned()),
        (Some(Some(dir)), _) if args.run_dir.as_ref().is_some_and(|run_dir| run_dir != dir) => {
            bail!(
                "--resume and --run-dir name two directories; a run goes on in its own, so leave --run-dir out"
            )
        }
        (Some(Some(dir)), _) | (Some(None), Some(dir)) => resumed(dir)?,
        (Some(None), None) => Place::Resumed(RunDir::newest(runs, name)?, None),
    })
}

/// The run in a directory, or the one that a checkpoint is of.
fn resumed(dir: &Path) -> Result<Place> {
    let run = dir.parent().and_then(Path::parent);
    Ok(match (SavedStep::at(dir), run) {
        (Some(asked), Some(run)) => Place::Resumed(RunDir::open(run)?, Some(asked)),
        _ => Place::Resumed(RunDir::open(dir)?, None),
    })
}

/// Reads a file that the user named; `-` is standard input.
///
/// # Errors
/// It cannot be read; the error names it.
pub fn read_input(path: &Path) -> Result<String> {
    files::text(path, limit::ROWS).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes one line to standard output; on a terminal, without what would move it.
///
/// # Errors
/// Nobody reads it any more.
pub fn print_line(text: impl std::fmt::Display) -> Result<()> {
    let text = text.to_string();
    Ok(writeln!(std::io::stdout().lock(), "{}", for_stdout(&text))?)
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
            from: None,
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
        let new = |config, args| match place(config, &args, runs).unwrap() {
            Place::New(path) | Place::Named(path) => path,
            _ => panic!("nothing goes on"),
        };
        assert_eq!(new(&plain, args(None, None)), runs);
        assert_eq!(new(&placed, args(None, None)), Path::new("/from/config"));
        assert_eq!(new(&placed, args(Some("here"), None)), Path::new("here"));
    }

    #[test]
    fn a_resumed_run_is_the_named_one_or_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::from_str("", "quick.toml", &[]).unwrap();
        let [old, new] = ["quick-20260101-000000", "quick-20260102-000000"].map(|name| {
            let path = dir.path().join(name);
            RunDir::create(&path, "").unwrap();
            path
        });
        let found = |args| match place(&config, &args, dir.path()) {
            Ok(Place::Resumed(run, asked)) => Some((run.path().to_owned(), asked.map(|asked| asked.step))),
            Ok(_) => panic!("nothing goes on"),
            Err(_) => None,
        };
        let at = |run: &PathBuf| Some((run.clone(), None));
        assert_eq!(found(args(None, Some(None))), at(&new));
        assert_eq!(found(args(None, Some(Some(&old)))), at(&old));
        assert_eq!(found(args(old.to_str(), Some(None))), at(&old));
        let step = old.join("checkpoints/step-12");
        assert_eq!(
            found(args(None, Some(Some(&step)))),
            Some((old.clone(), Some(12)))
        );
        assert_eq!(found(args(Some("other"), Some(Some(&old)))), None);
        assert_eq!(found(args(None, Some(Some(dir.path())))), None);
    }
}
