//! Which runs may go on, and from where.

use crate::config::Config;
use crate::learner::LrSchedulerType;
use crate::run::{Inputs, LOGS, RunDir, RunDirError, SavedStep, log::JsonLog};

/// Keys that change how long a run lasts, or memory and speed, and nothing else; and files, which are known by their content.
const FREE: [&str; 11] = [
    "train.num_train_epochs",
    "train.max_steps",
    "train.per_device_train_batch_size",
    "train.gradient_checkpointing",
    "train.ddp_timeout",
    "train.ddp_bucket_cap_mb",
    "rollout.max_rows",
    "rollout.memory_budget",
    "model.path",
    "model.tokenizer",
    "data.path",
];

/// Sections that say where a run is written, how often it is saved and what it is judged on.
const FREE_SECTIONS: [&str; 3] = ["run.", "eval.", "checkpoint."];

/// Where a run begins.
#[derive(Debug)]
pub struct Start {
    /// Where it is written.
    pub run: RunDir,
    /// The checkpoint that it goes on from.
    pub from: Option<SavedStep>,
    /// Whether that is another run's.
    pub forks: bool,
    /// What its results depend on beside its config.
    pub inputs: Inputs,
}

/// The checkpoint of a run that is to go on with `config`: the last one, or `asked`. Then what is not as it was but may be, in words.
///
/// # Errors
/// There is none, it is damaged, or the run's saved config differs from `config` in more than how long it runs, where it
/// is written, how often it is saved and evaluated, and what changes memory and speed only; or its logs are not those that were
/// written.
pub fn resume(
    run: &RunDir,
    asked: Option<SavedStep>,
    config: &Config,
) -> Result<(SavedStep, Vec<String>), RunDirError> {
    let from = match asked {
        Some(asked) => asked.whole()?,
        None => run.latest()?,
    };
    let state = from.state()?;
    let saved = Config::of_run(&run.config())?;
    let mut keys = saved.differences(config);
    if saved.recipe.is_none() {
        // Up to 0.1.0 the command alone said it.
        keys.retain(|key| key != "recipe");
    }
    let (others, free): (Vec<String>, Vec<String>) = keys.into_iter().partition(|key| {
        let free = FREE.contains(&key.as_str());
        !free && !FREE_SECTIONS.iter().any(|section| key.starts_with(section))
    });
    if !others.is_empty() {
        return Err(RunDirError::Differs {
            dir: run.path().to_owned(),
            what: others.iter().map(|key| format!("`{key}`")).collect(),
        });
    }
    for name in LOGS {
        let log = run.path().join(name);
        let extent = state.logs.get(name);
        let begins = extent.map(|extent| JsonLog::begins_with(&log, extent));
        if !begins.is_some_and(|begins| begins.unwrap_or(false)) {
            return Err(RunDirError::Log {
                log,
                step: from.step,
                checkpoint: from.path,
            });
        }
    }
    Ok((from, changes(&saved, config, &free)))
}

/// What is other than it was and may be, where it changes what is measured or how it is trained.
fn changes(saved: &Config, config: &Config, free: &[String]) -> Vec<String> {
    let mut notes = Vec::new();
    let (before, now) = (&saved.train, &config.train);
    let scheduled = now.lr_scheduler_type != LrSchedulerType::Constant;
    if before.max_steps != now.max_steps && now.num_train_epochs.is_none() && scheduled {
        notes.push(format!(
            "train.max_steps was {} and is {}: the learning rate goes on as in a run of {} steps, and no longer falls as it did",
            before.max_steps, now.max_steps, now.max_steps
        ));
    }
    let eval: Vec<&str> = free
        .iter()
        .filter(|key| key.starts_with("eval."))
        .map(String::as_str)
        .collect();
    if !eval.is_empty() {
        notes.push(format!(
            "{} changed: what is measured from here on cannot be compared with what was measured before",
            eval.join(", ")
        ));
    }
    notes
}

/// Compares what a run's results depend on with what they depended on: what forbids it to go on, and what is only to be said.
/// `needs_base`: whether the base model is still used, as the reference model or below adapters.
pub fn compare_inputs(saved: &Inputs, now: &Inputs, needs_base: bool) -> (Vec<String>, Vec<String>) {
    let (mut differ, mut notes) = (Vec::new(), Vec::new());
    if saved.problems != now.problems {
        differ.push("problems ([data]: the file was edited or reordered, or is another)".to_owned());
    }
    if needs_base {
        let names: std::collections::BTreeSet<&String> = saved.model.keys().chain(now.model.keys()).collect();
        differ.extend(
            names
                .into_iter()
                .filter(|name| saved.model.get(*name) != now.model.get(*name))
                .map(|name| format!("base model, which has adapters or is the reference model ({name})")),
        );
    }
    let is_other = |name: &&String| {
        now.rewards
            .get(*name)
            .is_some_and(|now| *now != saved.rewards[*name])
    };
    notes.extend(saved.rewards.keys().filter(is_other).map(|name| {
        format!(
            "the reward {name} changed: what is learnt from here on is not what the run would have learnt"
        )
    }));
    if saved.held_out != now.held_out {
        notes.push(
            "the held-out problems changed: what is measured from here on cannot be compared with what was measured before"
                .to_owned(),
        );
    }
    for (what, saved, now) in [
        ("gcpo", &saved.gcpo, &now.gcpo),
        ("the device", &saved.device, &now.device),
    ] {
        if saved != now {
            notes.push(format!(
                "{what} was {saved} and is {now}: numbers may differ in their last digits"
            ));
        }
    }
    (differ, notes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;
    use crate::run::{TrainerState, digest};

    fn config(sets: &[&str]) -> Config {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        Config::from_str("", "a.toml", &sets).unwrap()
    }

    fn save(run: &RunDir, step: usize) -> SavedStep {
        let logs = LOGS.map(|name| {
            let path = run.path().join(name);
            let line = format!("{{\"step\":{step}}}\n");
            fs::write(&path, &line).unwrap();
            let extent = crate::run::log::Extent {
                lines: 1,
                sha256: digest::of_file(&path).unwrap(),
            };
            (name.to_owned(), extent)
        });
        let state = TrainerState {
            step,
            logs: BTreeMap::from(logs),
            ..TrainerState::default()
        };
        run.save(&state, |_| Ok::<_, RunDirError>(())).unwrap()
    }

    #[test]
    fn a_run_resumes_with_its_own_config_and_logs_only() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(&dir.path().join("run"), &config(&[]).to_toml()).unwrap();
        let again = |config: &Config| resume(&run, None, config);
        assert!(matches!(again(&config(&[])), Err(RunDirError::NoCheckpoint(_))));
        let saved = save(&run, 7);
        assert_eq!(again(&config(&[])).unwrap(), (saved.clone(), Vec::new()));
        let (from, notes) = again(&config(&["train.max_steps=1000"])).unwrap();
        assert_eq!(from, saved);
        assert!(notes[0].contains("was 100 and is 1000"), "{notes:?}");
        let constant = ["train.max_steps=1000", "train.lr_scheduler_type=constant"];
        let error = again(&config(&constant)).unwrap_err().to_string();
        assert!(error.contains("`train.lr_scheduler_type`"), "{error}");
        let error = again(&config(&["seed=1", "objective.alpha=1"]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`seed`, `objective.alpha`") && error.contains("--from"),
            "{error}"
        );
        fs::write(run.path().join("metrics.jsonl"), "{\"step\":6}\n").unwrap();
        let error = again(&config(&[])).unwrap_err().to_string();
        assert!(
            error.contains("metrics.jsonl") && error.contains("step 7"),
            "{error}"
        );
    }

    #[test]
    fn what_a_result_depends_on_is_known_by_its_content() {
        let saved = Inputs {
            gcpo: "0.1.0".into(),
            model: BTreeMap::from([("model.safetensors".into(), "a".into())]),
            problems: "p".into(),
            held_out: "h".into(),
            rewards: BTreeMap::from([("f/f.py".into(), "a".into()), ("g/g.py".into(), "a".into())]),
            ..Inputs::default()
        };
        assert_eq!(compare_inputs(&saved, &saved, true), (Vec::new(), Vec::new()));
        let mut now = saved.clone();
        now.model.insert("model.safetensors".into(), "b".into());
        now.model.insert("chat_template.jinja".into(), "c".into());
        assert!(compare_inputs(&saved, &now, false).0.is_empty());
        let (differ, _) = compare_inputs(&saved, &now, true);
        assert_eq!(differ.len(), 2);
        assert!(differ[1].contains("model.safetensors"), "{differ:?}");
        let now = Inputs {
            problems: "q".into(),
            held_out: "i".into(),
            rewards: BTreeMap::from([("f/f.py".into(), "b".into())]),
            gcpo: "0.2.0".into(),
            ..saved.clone()
        };
        let (differ, notes) = compare_inputs(&saved, &now, true);
        assert!(differ[0].contains("[data]"), "{differ:?}");
        assert_eq!(notes.len(), 3);
        assert!(notes[0].contains("the reward f/f.py changed"), "{notes:?}");
    }
}
