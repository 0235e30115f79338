//! Whole runs from the library's door: stopping and resuming, accumulating gradients, and going wrong.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Result;
use gcpo::config::Config;
use gcpo::ranks::Ranks;
use gcpo::recipe::{Outcome, Rl, Start, drive, resume};
use gcpo::run::{Inputs, RunDir, Stop, Trackers};
use gcpo_model::device::of_tests;
use serde_json::Value;

const RUN: &str = r#"
    [model]
    path = "quickstart"
    [prompt]
    style = "marks"
    [rollout]
    num_generations = 3
    max_completion_length = 10
    [projection]
    integrations = 2
    samples = 2
    [objective]
    beta = 0.04
    [train]
    max_steps = 4
    prompts_per_step = 4
    mini_batches = 2
    num_iterations = 2
    learning_rate = 1e-4
    lr_scheduler_type = "constant"
    [eval]
    every = 2
    size = 8
"#;

/// Runs `RUN` with some keys set, into `dir`; goes on with what is there if `goes_on`.
fn run(dir: &Path, sets: &[&str], goes_on: bool, stop: &Stop) -> Result<Outcome> {
    run_config(dir, &config(sets), goes_on, stop)
}

fn config(sets: &[&str]) -> Config {
    let sets: Vec<String> = ["data.generator=arithmetic"]
        .iter()
        .chain(sets)
        .map(|set| (*set).to_owned())
        .collect();
    Config::from_str(RUN, "test.toml", &sets).unwrap()
}

fn run_config(dir: &Path, config: &Config, goes_on: bool, stop: &Stop) -> Result<Outcome> {
    let problems = config.problems()?;
    let policy = config.policy(Vec::new, &of_tests().autodiff())?;
    let mut rl = Rl::new(config.clone(), policy, problems, &[], Ranks::alone())?;
    let run = if goes_on {
        RunDir::open(dir)?
    } else {
        RunDir::create(dir, &config.to_toml())?
    };
    let from = match goes_on {
        true => Some(resume(&run, None, config)?.0),
        false => None,
    };
    let start = Start {
        run,
        from,
        forks: false,
        inputs: Inputs::default(),
    };
    drive(&mut rl, config, &start, Trackers::default(), stop)
}

/// Every file of a checkpoint, by its path in it.
fn files(checkpoint: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(dir: &Path, root: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(checkpoint, checkpoint, &mut found);
    found
}

/// The lines of `metrics.jsonl` without the seconds, which no two runs share.
fn metrics(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            line.as_object_mut()
                .unwrap()
                .retain(|key, _| !key.starts_with("time/"));
            line.to_string()
        })
        .collect()
}

fn assert_same_run(a: &Path, b: &Path, step: usize) {
    let checkpoint = format!("checkpoints/step-{step}");
    let (left, right) = (files(&a.join(&checkpoint)), files(&b.join(&checkpoint)));
    assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>());
    for (name, bytes) in &left {
        assert!(bytes == &right[name], "{name} differs");
    }
    assert_eq!(metrics(a), metrics(b));
    let samples = |dir: &Path| fs::read_to_string(dir.join("samples.jsonl")).unwrap();
    assert_eq!(samples(a), samples(b));
}

#[test]
fn a_run_that_is_stopped_and_resumed_is_the_run_that_was_not() {
    let dir = tempfile::tempdir().unwrap();
    // Ten problems: step 1 ends in the middle of an epoch. Four: it ends one.
    for (name, count) in [("mid-epoch", "data.count=10"), ("epoch-end", "data.count=4")] {
        let (whole, parts) = (
            dir.path().join(format!("{name}-whole")),
            dir.path().join(format!("{name}-parts")),
        );
        let straight = run(&whole, &[count], false, &Stop::default()).unwrap();
        assert_eq!((straight.step, straight.interrupted), (4, false));
        // Ctrl-C in the first step: it is finished and saved.
        let stop = Stop::default();
        // As Ctrl-C does.
        stop.ask(2);
        let stopped = run(&parts, &[count], false, &stop).unwrap();
        assert_eq!((stopped.step, stopped.interrupted), (1, true));
        let resumed = run(&parts, &[count], true, &Stop::default()).unwrap();
        assert_eq!((resumed.step, resumed.interrupted), (4, false));
        assert_same_run(&whole, &parts, 4);
    }
}

#[test]
fn a_finished_run_goes_on_with_more_steps() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    run(
        &whole,
        &["data.count=10", "model.save_dtype=bfloat16"],
        false,
        &Stop::default(),
    )
    .unwrap();
    run(
        &parts,
        &["data.count=10", "model.save_dtype=bfloat16", "train.max_steps=2"],
        false,
        &Stop::default(),
    )
    .unwrap();
    run(
        &parts,
        &["data.count=10", "model.save_dtype=bfloat16"],
        true,
        &Stop::default(),
    )
    .unwrap();
    assert_same_run(&whole, &parts, 4);
}

#[test]
fn sixteen_bits_train_resume_and_lose_no_small_step() {
    for dtype in ["bfloat16", "float16"] {
        let sets = |more: &[&str]| -> Vec<String> {
            let all = ["data.count=10", "train.learning_rate=1e-6"].iter().chain(more);
            let mut all: Vec<String> = all.map(|set| (*set).to_owned()).collect();
            all.push(format!("train.dtype={dtype}"));
            all
        };
        let run = |dir: &Path, more: &[&str], resume: bool| {
            let sets = sets(more);
            let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
            run(dir, &sets, resume, &Stop::default()).unwrap()
        };
        let dir = tempfile::tempdir().unwrap();
        let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
        run(&whole, &[], false);
        run(&parts, &["train.max_steps=2"], false);
        run(&parts, &[], true);
        assert_same_run(&whole, &parts, 4);
        // Steps of 1e-6 beside weights of 0.1 vanish in 16 bits; what is saved has them.
        let weights = |step: usize| {
            let path = format!("checkpoints/step-{step}/model.safetensors");
            fs::read(parts.join(path)).unwrap()
        };
        assert!(weights(2) != weights(4), "{dtype}");
        for line in metrics(&whole) {
            let line: Value = serde_json::from_str(&line).unwrap();
            if let Some(norm) = line.get("grad/norm") {
                assert!(norm.as_f64().unwrap() > 0.0, "{line}");
                let gap = line["rollout/trainer_gap"].as_f64().unwrap();
                assert!((1.0..1.2).contains(&gap), "{dtype}: {gap}");
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let sets = ["data.count=10", "train.max_steps=2"];
    run(&at("a"), &sets, false, &Stop::default()).unwrap();
    run(&at("b"), &sets, false, &Stop::default()).unwrap();
    assert_same_run(&at("a"), &at("b"), 2);
    run(
        &at("c"),
        &[&sets[..], &["seed=1"]].concat(),
        false,
        &Stop::default(),
    )
    .unwrap();
    assert_ne!(metrics(&at("a")), metrics(&at("c")));
}

/// The numbers of a checkpoint's weights, by tensor.
fn weights(checkpoint: &Path) -> BTreeMap<String, Vec<f32>> {
    let bytes = fs::read(checkpoint.join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.tensors()
        .into_iter()
        .map(|(name, view)| {
            let values = view
                .data()
                .chunks(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect();
            (name, values)
        })
        .collect()
}

#[test]
fn accumulated_gradients_are_those_of_the_whole_batch() {
    let dir = tempfile::tempdir().unwrap();
    let one_update = [
        "data.count=10",
        "train.max_steps=1",
        "train.mini_batches=1",
        "train.num_iterations=1",
        "eval.every=0",
    ];
    let mut found = Vec::new();
    for size in [
        "train.per_device_train_batch_size=12",
        "train.per_device_train_batch_size=5",
    ] {
        let path = dir.path().join(size);
        run(
            &path,
            &[&one_update[..], &[size]].concat(),
            false,
            &Stop::default(),
        )
        .unwrap();
        found.push((metrics(&path), weights(&path.join("checkpoints/step-1"))));
    }
    let norm = |metrics: &[String]| {
        serde_json::from_str::<Value>(&metrics[0]).unwrap()["grad/norm"]
            .as_f64()
            .unwrap()
    };
    let (whole, parts) = (norm(&found[0].0), norm(&found[1].0));
    assert!(
        whole > 0.0 && (whole - parts).abs() < 1e-5 * whole.max(1.0),
        "{whole} {parts}"
    );
    for (name, values) in &found[0].1 {
        for (a, b) in values.iter().zip(&found[1].1[name]) {
            // One AdamW step moves a weight by the learning rate, 1e-4, at most.
            assert!((a - b).abs() < 1e-5, "{name}: {a} {b}");
        }
    }
}

#[test]
fn a_loss_or_gradient_that_is_not_finite_stops_the_run_names_the_problem_and_keeps_the_last_good_state() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    // The first update throws the weights far away; the second pass over the rollout finds no number. (A config file could not say so.)
    let mut config = config(&["data.count=10", "train.mini_batches=1", "eval.every=0"]);
    config.train.learning_rate = 1e30;
    let error = run_config(&path, &config, false, &Stop::default());
    let error = format!("{:#}", error.unwrap_err());
    assert!(
        error.contains("of problem `arithmetic-") && error.contains("is not finite"),
        "{error}"
    );
    assert!(
        error.contains("train.learning_rate") && error.contains("its last good state, of step 0"),
        "{error}"
    );
    let saved = weights(&path.join("checkpoints/step-0"));
    let policy = config.policy(Vec::new, &of_tests());
    let fresh = dir.path().join("fresh");
    fs::create_dir(&fresh).unwrap();
    policy
        .unwrap()
        .save(&fresh, gcpo_model::dtype::Dtype::F32)
        .unwrap();
    assert_eq!(saved, weights(&fresh));
}

#[test]
fn an_update_that_makes_weights_infinite_is_undone_before_it_is_saved() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let mut config = config(&["data.count=10", "train.num_iterations=1", "eval.every=0"]);
    // 1 in float32, by which AdamW divides 0 by 0.
    config.train.adam_beta2 = 0.99999999;
    let error = format!(
        "{:#}",
        run_config(&path, &config, false, &Stop::default()).unwrap_err()
    );
    assert!(
        error.contains("step 1") && error.contains("NaN or infinite") && error.contains("of step 0"),
        "{error}"
    );
    let saved = weights(&path.join("checkpoints/step-0"));
    assert!(saved.values().flatten().all(|weight| weight.is_finite()));
}
