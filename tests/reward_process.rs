//! Programs of `/bin/sh` as rewards of whole runs: what becomes of them and theirs when the run is killed, what they are told,
//! and what is written of it.
#![cfg(unix)]

mod program;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use program::temp;

/// A quickstart run whose reward is a script, with more keys of the reward.
fn gcpo(dir: &Path, script: &str, more: &str, sets: &[&str]) -> Command {
    let config = format!(
        "[model]\npath = \"quickstart\"\n[data]\ngenerator = \"arithmetic\"\ncount = 64\n[prompt]\nstyle = \"marks\"\n\
         [rollout]\nnum_generations = 4\nmax_completion_length = 16\n[train]\nmax_steps = 2\nprompts_per_step = 4\n\
         [objective]\nname = \"grpo\"\nbeta = 0.1\n\
         [[reward]]\nname = \"command\"\ncommand = [\"sh\", \"-c\", {script:?}]\n{more}\n"
    );
    fs::write(dir.join("a.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gcpo"));
    command.args(["train", "a.toml", "--run-dir", "run", "--device", "cpu"]);
    for set in sets {
        command.args(["--set", set]);
    }
    command.current_dir(dir);
    command
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(program::json).collect()
}

fn is_running(id: &str) -> bool {
    let found = Command::new("ps")
        .args(["-o", "stat=", "-p", id])
        .output()
        .unwrap();
    let state = String::from_utf8(found.stdout).unwrap();
    !state.trim().is_empty() && !state.trim_start().starts_with('Z')
}

fn wait_until(what: &str, is: impl Fn() -> bool) {
    let asked = Instant::now();
    while !is() {
        assert!(asked.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_run_that_is_killed_takes_its_program_and_what_that_started_with_it() {
    let dir = temp();
    // Neither ends by itself at the end of its input.
    let script = "echo $$ > own; sleep 300 & echo $! > child; trap '' TERM; \
                  while read -r l; do echo '{\"reward\": 1}'; done; sleep 300";
    let mut run = gcpo(dir.path(), script, "", &["train.max_steps=100000"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("no step was done", || {
        fs::metadata(dir.path().join("run/metrics.jsonl")).is_ok_and(|found| found.len() > 0)
    });
    let ids = ["own", "child"].map(|name| {
        fs::read_to_string(dir.path().join(name))
            .unwrap()
            .trim()
            .to_owned()
    });
    assert!(ids.iter().all(|id| is_running(id)));
    run.kill().unwrap();
    run.wait().unwrap();
    for id in &ids {
        wait_until("the program lives on", || !is_running(id));
    }
}

#[test]
fn completions_without_a_reward_are_left_out_and_counted() {
    let dir = temp();
    // The first problem's first two, and all of the second's.
    let script = "while read -r l; do case \"$l\" in '{\"id\":'[014567],*) r=null;; *completion*) r=${#l};; esac; \
                  echo \"{\\\"reward\\\": $r}\"; done";
    let output = gcpo(dir.path(), script, "", &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.matches("warning: no [[reward]] applies to 6 of the 16 completions of step 1")
            .count()
            == 1
            && said.matches("warning").count() == 1,
        "{said}"
    );
    for line in lines(&dir.path().join("run/metrics.jsonl")) {
        assert_eq!(line["reward/none_frac"], 6.0 / 16.0);
        for key in [
            "reward/mean",
            "objective/loss",
            "grad/norm",
            "policy/entropy",
            "objective/kl_ref",
        ] {
            assert!(line[key].is_f64(), "{key} of {line}");
        }
        assert!(line["reward/flat_frac"].as_f64().unwrap() >= 0.25, "{line}");
    }
    let samples = lines(&dir.path().join("run/samples.jsonl"));
    let earned = |sample: usize| -> Vec<bool> {
        let rewards = samples[sample]["rewards"].as_array().unwrap();
        rewards.iter().map(serde_json::Value::is_f64).collect()
    };
    assert_eq!(earned(0), [false, false, true, true]);
    assert_eq!(earned(1), [false; 4]);
    assert_eq!(samples[0]["finish"].as_array().unwrap().len(), 4);
}

/// Where every completion is cut, nothing is learnt of any; the program knows.
#[test]
fn completions_that_were_cut_can_be_left_out_of_the_loss() {
    let dir = temp();
    let script =
        "while read -r l; do echo \"$l\" >> asked; n=$((n + 1)); echo \"{\\\"reward\\\": $((n % 3))}\"; done";
    let weights = |run: &Path| fs::read(run.join("checkpoints/step-2/model.safetensors")).unwrap();
    let mut found = Vec::new();
    for masked in ["true", "false"] {
        let sets = [
            "rollout.max_completion_length=1",
            // Where all candidates are one token, their advantages cancel.
            "rollout.temperature=2",
            &format!("objective.mask_truncated_completions={masked}"),
            "train.weight_decay=0",
            "train.max_steps=2",
        ];
        let output = gcpo(dir.path(), script, "", &sets).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let run = dir.path().join("run");
        for line in lines(&run.join("metrics.jsonl")) {
            assert_eq!(line["completion/truncated_frac"], 1.0);
            assert!(line["reward/std"].as_f64().unwrap() > 0.0, "{line}");
            assert_eq!(line["grad/norm"] == 0.0, masked == "true", "{line}");
        }
        found.push(weights(&run));
        fs::remove_dir_all(run).unwrap();
    }
    assert_ne!(found[0], found[1]);
    let asked = fs::read_to_string(dir.path().join("asked")).unwrap();
    assert!(
        asked
            .lines()
            .all(|line| line.contains("\"finish_reason\":\"length\"")),
        "{asked}"
    );
}

#[test]
fn variables_are_passed_by_name_and_their_values_are_written_nowhere() {
    let dir = temp();
    let script = "while read -r l; do [ ${#JUDGE_KEY} = 7 ] && echo '{\"reward\": 1}'; done; sleep 1";
    let mut command = gcpo(
        dir.path(),
        script,
        "env = [\"JUDGE_KEY\"]",
        &["train.max_steps=1"],
    );
    let output = command.env_remove("JUDGE_KEY").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success()
            && said
                .contains("reward `command`: `sh` needs environment variables that are not set: JUDGE_KEY;"),
        "{said}"
    );
    assert!(!dir.path().join("run").exists());
    let output = command.env("JUDGE_KEY", "hunter2").output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let written = fs::read_to_string(dir.path().join("run/config.toml")).unwrap();
    assert!(
        written.contains("env = [\"JUDGE_KEY\"]") && !written.contains("hunter2"),
        "{written}"
    );
}

/// Before the first step is sampled for it; with what it said.
#[test]
fn a_program_that_is_gone_is_noticed_before_anything_is_sampled() {
    let dir = temp();
    let output = gcpo(dir.path(), "echo no module named judge >&2; exit 7", "", &[])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success()
            && !dir
                .path()
                .join("run/samples.jsonl")
                .metadata()
                .is_ok_and(|f| f.len() > 0)
    );
    assert!(
        said.contains("`sh` ended (exit status: 7)")
            && said.contains("; its last words:\n    no module named judge"),
        "{said}"
    );
}

#[test]
fn one_candidate_has_nothing_to_be_compared_with() {
    let dir = temp();
    let output = gcpo(dir.path(), "cat", "", &["rollout.num_generations=1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let expected =
        "error: --set rollout.num_generations=1: `rollout.num_generations`: one candidate has no others";
    assert!(!output.status.success() && said.starts_with(expected), "{said}");
    assert!(!dir.path().join("run").exists());
}

#[test]
fn a_reward_that_32_bits_do_not_hold_stops_the_run_by_name() {
    let dir = temp();
    let script = "read -r l; while read -r l; do echo '{\"reward\": 1}'; echo '{\"reward\": -1e20}'; done";
    let output = gcpo(dir.path(), script, "label = \"judge\"", &["train.max_steps=1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let expected =
        "completion 2: the reward `judge` is -100000000000000000000, but advantages are computed in 32 bits";
    assert!(
        !output.status.success() && said.contains("error: ") && said.contains(expected),
        "{said}"
    );
    assert!(
        dir.path()
            .join("run/checkpoints/step-0/model.safetensors")
            .is_file()
    );
}
