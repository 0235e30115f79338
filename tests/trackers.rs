//! `run.report_to = ["wandb", "trackio"]`, with stand-ins for both packages: a module each on `PYTHONPATH` that notes how it is called. With
//! `GCPO_TRACKERS_PYTHON=…/bin/python` the packages themselves, of that Python, take a run as well: wandb offline, Trackio into a
//! directory. Without a Python 3.8 or later these tests say so and do nothing.
#![cfg(unix)]

mod program;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use program::{json, temp};
use serde_json::Value;

/// A stand-in for either package: every call is a line of `calls.jsonl` beside it. `DIE` names what ends its Python, `RAISE` what raises.
const STAND_IN: &str = r#"
import json, os

__version__ = "stand-in"

def called(what, **given):
    name = __name__
    with open(os.path.join(os.path.dirname(os.path.dirname(__file__)), "calls.jsonl"), "a") as calls:
        calls.write(json.dumps(dict(given, package=name, call=what)) + "\n")
    at = "%s %s %s" % (name, what, given.get("step"))
    if at == os.environ.get("DIE"):
        os._exit(3)
    if at == os.environ.get("RAISE") or "%s %s" % (name, what) == os.environ.get("RAISE"):
        raise ValueError("no room left")

def init(**given):
    print("printed by init")
    called("init", **given)

def log(metrics, step=None):
    called("log", metrics=metrics, step=step)

def finish(**given):
    called("finish", **given)
"#;

fn has_python() -> bool {
    let code = "import sys; sys.exit(sys.version_info < (3, 8))";
    let found = Command::new("python3").args(["-c", code]).output();
    let has = found.is_ok_and(|found| found.status.success());
    if !has {
        eprintln!("skipped: there is no python3 here, or an old one");
    }
    has
}

/// Puts the stand-ins for these packages into a directory.
fn stand_ins(dir: &Path, packages: &[&str]) {
    for package in packages {
        let at = dir.join("packages").join(package);
        fs::create_dir_all(&at).unwrap();
        fs::write(at.join("__init__.py"), STAND_IN).unwrap();
    }
}

/// A quickstart run of so many steps with `args`.
fn run(dir: &Path, steps: usize, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut sets = vec![
        format!("train.max_steps={steps}"),
        "objective.name=grpo".to_owned(),
        "train.prompts_per_step=2".to_owned(),
        "eval.every=2".to_owned(),
        "eval.size=8".to_owned(),
        "eval.integrated=false".to_owned(),
        "checkpoint.every=2".to_owned(),
    ];
    sets.extend(
        args.iter()
            .filter(|arg| arg.contains('='))
            .map(|arg| (*arg).to_owned()),
    );
    let mut start = Command::new(env!("CARGO_BIN_EXE_gcpo"));
    start.args(["--device", "cpu"]).current_dir(dir);
    sets.iter().for_each(|set| {
        start.args(["--set", set]);
    });
    start.args(args.iter().filter(|arg| !arg.contains('=')));
    for name in ["WANDB_PROJECT", "TRACKIO_PROJECT", "WANDB_DIR", "VIRTUAL_ENV"] {
        start.env_remove(name);
    }
    start.env("PYTHONPATH", dir.join("packages"));
    start.envs(env.iter().copied());
    start.output().unwrap()
}

#[track_caller]
fn good(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[track_caller]
fn bad(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    said
}

/// The calls of a package since the last look.
fn calls(dir: &Path, package: &str) -> Vec<Value> {
    let text = fs::read_to_string(dir.join("packages/calls.jsonl")).unwrap_or_default();
    text.lines()
        .map(json)
        .filter(|call| call["package"] == package)
        .collect()
}

fn steps(calls: &[Value]) -> Vec<u64> {
    let logs = calls.iter().filter(|call| call["call"] == "log");
    logs.map(|call| call["step"].as_u64().unwrap()).collect()
}

#[test]
fn every_step_is_sent_once_however_the_run_went() {
    if !has_python() {
        return;
    }
    let dir = temp();
    let dir = dir.path();
    stand_ins(dir, &["wandb", "trackio"]);
    // Where it is started there may be a directory of the package's name.
    fs::create_dir(dir.join("wandb")).unwrap();
    let both = "run.report_to=[\"wandb\",\"trackio\"]";
    let said = good(&run(dir, 3, &[both, "run.project=sums", "--run-dir", "one"], &[]));
    assert!(said.contains("[wandb] printed by init"), "{said}");
    let metrics = fs::read_to_string(dir.join("one/metrics.jsonl")).unwrap();
    let mut ids = Vec::new();
    for package in ["wandb", "trackio"] {
        let calls = calls(dir, package);
        let [first, logs @ .., last] = calls.as_slice() else {
            panic!("{calls:?}")
        };
        assert_eq!(
            (&first["call"], &first["project"]),
            (&"init".into(), &"sums".into())
        );
        assert_eq!(first["config"]["train"]["max_steps"], 3);
        assert_eq!(
            (&first["resume"], &last["call"]),
            (&"allow".into(), &"finish".into())
        );
        ids.push(first["id"].clone());
        // The same numbers, but for those that are none.
        for (line, log) in metrics.lines().zip(logs) {
            let mut line = json(line);
            let line = line.as_object_mut().unwrap();
            assert_eq!(line.remove("step").as_ref(), Some(&log["step"]));
            line.retain(|_, value| value.is_number());
            assert_eq!(Value::Object(line.clone()), log["metrics"]);
        }
        assert_eq!(steps(&calls), [0, 1, 2, 3]);
    }
    let [wandb, trackio] = [&calls(dir, "wandb")[0], &calls(dir, "trackio")[0]];
    assert_eq!(
        (&wandb["name"], wandb["id"].as_str().unwrap().len()),
        (&"one".into(), 8)
    );
    assert!(wandb["dir"].as_str().unwrap().ends_with("/one"), "{wandb}");
    let name = trackio["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("one-"), "{name}");

    // It goes on from step 2: step 3 is there already. wandb alone is asked for.
    fs::remove_file(dir.join("packages/calls.jsonl")).unwrap();
    let again = ["run.report_to=[\"wandb\"]", "--resume", "one/checkpoints/step-2"];
    let said = good(&run(dir, 5, &again, &[]));
    assert!(said.contains("no longer names \"trackio\""), "{said}");
    let found = calls(dir, "wandb");
    assert_eq!((&found[0]["id"], steps(&found)), (&ids[0], vec![4, 5]));
    assert!(calls(dir, "trackio").is_empty());
    // And trackio gets what it missed.
    good(&run(dir, 6, &[both, "--resume", "one"], &[]));
    let found = calls(dir, "trackio");
    assert_eq!(
        (found[0]["name"].as_str(), steps(&found)),
        (Some(&*name), vec![4, 5, 6])
    );
    // A fork is another run.
    fs::remove_file(dir.join("packages/calls.jsonl")).unwrap();
    let fork = ["run.report_to=[\"wandb\"]", "--from", "one", "--run-dir", "two"];
    good(&run(dir, 7, &fork, &[("WANDB_PROJECT", "mine")]));
    let found = calls(dir, "wandb");
    assert_ne!(found[0]["id"], ids[0]);
    assert_eq!(
        (&found[0]["project"], steps(&found)),
        (&"mine".into(), vec![6, 7])
    );
}

#[test]
fn one_that_fails_later_is_a_warning() {
    if !has_python() {
        return;
    }
    let dir = temp();
    let dir = dir.path();
    stand_ins(dir, &["wandb", "trackio"]);
    let both = "run.report_to=[\"wandb\",\"trackio\"]";
    let fails = [("DIE", "wandb log 1"), ("RAISE", "trackio log 2")];
    let said = good(&run(dir, 4, &[both, "--run-dir", "run"], &fails));
    for part in [
        "warning: run.report_to = [\"wandb\"]",
        "exit status: 3",
        "warning: run.report_to = [\"trackio\"] cannot be used: ValueError: no room left",
        "the run goes on without it",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(
        fs::read_to_string(dir.join("run/metrics.jsonl"))
            .unwrap()
            .lines()
            .count(),
        5
    );
    fs::remove_file(dir.join("packages/calls.jsonl")).unwrap();
    good(&run(dir, 5, &[both, "--resume", "run"], &[]));
    assert_eq!(steps(&calls(dir, "wandb")), [1, 2, 3, 4, 5]);
    assert_eq!(steps(&calls(dir, "trackio")), [2, 3, 4, 5]);
}

#[test]
fn what_is_missing_is_said_before_anything_is_written() {
    let dir = temp();
    let dir = dir.path();
    let wandb = "run.report_to=[\"wandb\"]";
    let said = bad(&run(
        dir,
        2,
        &[wandb, "run.python=no-such-python", "--run-dir", "run"],
        &[],
    ));
    assert!(
        said.contains("no-such-python") && said.contains("run.python"),
        "{said}"
    );
    for (sets, part) in [
        (&["run.project=x"][..], "names neither"),
        (&["run.report_to=[\"mlflow\"]"], "\"wandb\""),
        (&["run.report_to=[\"wandb\",\"wandb\"]"], "named twice"),
    ] {
        let said = bad(&run(dir, 2, &[sets, &["--run-dir", "run"]].concat(), &[]));
        assert!(said.contains(part), "{said}");
    }
    if !has_python() {
        return;
    }
    // `-I` is isolated: no package of the user's is found.
    fs::write(dir.join("bare"), "#!/bin/sh\nexec python3 -I -S \"$@\"\n").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(dir.join("bare"), executable).unwrap();
    let said = bad(&run(
        dir,
        2,
        &[wandb, "run.python=./bare", "--run-dir", "run"],
        &[],
    ));
    assert!(said.contains("-m pip install wandb"), "{said}");
    stand_ins(dir, &["wandb"]);
    let said = bad(&run(
        dir,
        2,
        &[wandb, "--run-dir", "run"],
        &[("RAISE", "wandb init")],
    ));
    assert!(
        said.contains("ValueError: no room left") && said.contains("WANDB_MODE=offline"),
        "{said}"
    );
    // So that the next try finds the place free.
    assert!(!dir.join("run").exists());
}

#[test]
fn the_packages_themselves_take_a_run() {
    let Ok(python) = std::env::var("GCPO_TRACKERS_PYTHON") else {
        eprintln!("skipped: GCPO_TRACKERS_PYTHON names no Python with wandb and trackio");
        return;
    };
    let dir = temp();
    let dir = dir.path();
    let set = format!("run.python={python}");
    let both = "run.report_to=[\"wandb\",\"trackio\"]";
    let kept = dir.join("trackio");
    let env = [("WANDB_MODE", "offline"), ("TRACKIO_DIR", kept.to_str().unwrap())];
    let said = good(&run(dir, 3, &[both, &set, "--run-dir", "run"], &env));
    assert!(!said.contains("warning"), "{said}");
    let said = good(&run(dir, 5, &[both, &set, "--resume", "run"], &env));
    assert!(!said.contains("the run goes on without it"), "{said}");
    let known: Value = json(&fs::read_to_string(dir.join("run/trackers.json")).unwrap());
    assert_eq!(
        (&known["wandb"]["step"], &known["trackio"]["step"]),
        (&5.into(), &5.into())
    );
    let offline = fs::read_dir(dir.join("run/wandb")).unwrap();
    let id = known["wandb"]["id"].as_str().unwrap();
    let of_it = offline.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .ends_with(id)
    });
    assert!(of_it.count() >= 1);
    // By Trackio's own reader.
    let code = "import sys, json; from trackio.sqlite_storage import SQLiteStorage as s\n\
                runs = s.get_runs('gcpo'); print(json.dumps([[r, [l['step'] for l in s.get_logs('gcpo', r)]] for r in runs]))";
    let read = Command::new(&python)
        .args(["-c", code])
        .env("TRACKIO_DIR", &kept)
        .output()
        .unwrap();
    let (out, said) = (
        String::from_utf8_lossy(&read.stdout),
        String::from_utf8_lossy(&read.stderr),
    );
    let runs = json(out.lines().last().unwrap_or_else(|| panic!("{said}")));
    assert_eq!(runs[0][1], serde_json::json!([0, 1, 2, 3, 4, 5]), "{runs}");
    assert_eq!(runs.as_array().unwrap().len(), 1, "{runs}");
}
