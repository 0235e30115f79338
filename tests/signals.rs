//! A run that a signal stops: its step is finished and saved, the exit code says so, and it goes on to the same bytes.
#![cfg(unix)]

mod program;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use program::{gcpo, temp};

/// A run of many short steps.
const ARGS: [&str; 9] = [
    "--device",
    "cpu",
    "--set",
    "eval.every=0",
    "--set",
    "train.prompts_per_step=2",
    "--set",
    "objective.name=grpo",
    "--set",
];

fn start(dir: &Path, run: &str, steps: usize) -> Child {
    let steps = format!("train.max_steps={steps}");
    let args = [&ARGS[..], &[&steps, "--run-dir", run]].concat();
    Command::new(env!("CARGO_BIN_EXE_gcpo"))
        .args(args)
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn lines(run: &Path) -> usize {
    fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}

fn wait_for_lines(run: &Path, count: usize) {
    let started = Instant::now();
    while lines(run) < count {
        assert!(started.elapsed() < Duration::from_secs(60), "no step was done");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn kill(signal: &str, process: &Child) {
    let id = process.id().to_string();
    let sent = Command::new("kill").args([&format!("-{signal}"), &id]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn every_signal_that_ends_a_program_saves_the_run() {
    let dir = temp();
    for (signal, code) in [
        ("INT", 130),
        ("TERM", 143),
        ("HUP", 129),
        ("USR1", 138),
        ("XCPU", 152),
    ] {
        let run = dir.path().join(signal);
        let process = start(dir.path(), signal, 100_000);
        wait_for_lines(&run, 3);
        kill(signal, &process);
        let output = process.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{signal}: {text}");
        let done = lines(&run);
        assert!(
            text.contains(&format!("stopped after step {done};")) && text.contains("--resume"),
            "{text}"
        );
        assert!(
            run.join(format!("checkpoints/step-{done}/model.safetensors"))
                .is_file(),
            "{signal}"
        );
    }
}

/// What Slurm does: SIGUSR1 before the time is up, and SIGTERM when it is, to a run that may be saving.
#[test]
fn one_sigterm_behind_another_signal_lets_the_run_be_saved() {
    let dir = temp();
    for signals in [["USR1", "TERM"], ["TERM", "USR1"], ["HUP", "TERM"]] {
        let name = signals.join("-");
        let run = dir.path().join(&name);
        let process = start(dir.path(), &name, 100_000);
        wait_for_lines(&run, 3);
        signals.iter().for_each(|signal| kill(signal, &process));
        let output = process.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        // The system may hand out two that wait in an order of its own.
        let codes = signals.map(|signal| match signal {
            "HUP" => 129,
            "USR1" => 138,
            _ => 143,
        });
        assert!(codes.contains(&output.status.code().unwrap()), "{name}: {text}");
        assert!(text.contains("stopped after step"), "{name}: {text}");
    }
}

#[test]
fn a_run_that_was_terminated_goes_on_to_the_same_weights() {
    let dir = temp();
    let weights = |run: &str| {
        let path = format!("{run}/checkpoints/step-40/model.safetensors");
        fs::read(dir.path().join(path)).unwrap()
    };
    assert!(start(dir.path(), "whole", 40).wait().unwrap().success());
    let process = start(dir.path(), "parts", 40);
    wait_for_lines(&dir.path().join("parts"), 2);
    kill("TERM", &process);
    let stopped = process.wait_with_output().unwrap().status;
    // It may have been done before the signal came.
    if !stopped.success() {
        assert_eq!(stopped.code(), Some(143));
        let args = [&ARGS[..], &["train.max_steps=40", "--resume", "parts"]].concat();
        let output = gcpo(dir.path(), &args);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert_eq!(weights("whole"), weights("parts"));
}

/// The run under way is saved, those after it are not begun, and the same command does what is left.
#[test]
fn a_sweep_that_a_signal_stops_goes_on() {
    let dir = temp();
    let config = "[model]\npath = \"quickstart\"\n[data]\ngenerator = \"arithmetic\"\n[prompt]\nstyle = \"marks\"\n\
                  [rollout]\nnum_generations = 4\nmax_completion_length = 8\n[objective]\nname = \"grpo\"\n[train]\nprompts_per_step = 2\n";
    fs::write(dir.path().join("run.toml"), config).unwrap();
    let sweep = |steps: &'static str| {
        [
            "sweep", "run.toml", "--seeds", "2", "--out", "out", "--device", "cpu", "--set", steps,
        ]
    };
    let process = Command::new(env!("CARGO_BIN_EXE_gcpo"))
        .args(sweep("train.max_steps=100000"))
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let first = dir.path().join("out/run,seed=0");
    wait_for_lines(&first, 3);
    kill("INT", &process);
    let output = process.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(
        text.contains("the same command goes on") && output.stdout.is_empty(),
        "{text}"
    );
    assert!(!dir.path().join("out/run,seed=1").exists());
    let line = sweep("train.max_steps=100000");
    let list = gcpo(dir.path(), &[&line[..], &["--dry-run"]].concat());
    let list = String::from_utf8(list.stdout).unwrap();
    let done = lines(&first);
    assert!(
        list.contains(&format!("goes on after step {done}")) && list.contains("to be run"),
        "{list}"
    );
}
