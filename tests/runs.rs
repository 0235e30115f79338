//! Runs on disk, as a user meets them: resumed, forked, damaged, started at once, and in each other's way.

mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use program::{failure, gcpo, json, success, temp};

/// A short run on problems of a file.
const RUN: &str = r#"
    [model]
    path = "quickstart"
    [data]
    path = "problems.jsonl"
    preset = { question = "q", answer = "a" }
    [prompt]
    style = "marks"
    [rollout]
    num_generations = 4
    max_completion_length = 8
    [objective]
    name = "grpo"
    [train]
    max_steps = 4
    prompts_per_step = 2
    learning_rate = 1e-4
    lr_scheduler_type = "constant"
    [checkpoint]
    every = 2
"#;

fn problems(dir: &Path, order: impl IntoIterator<Item = usize>) {
    let line = |n: usize| format!("{{\"q\": \"{n}+{n}\", \"a\": {}}}\n", 2 * n);
    let text: String = order.into_iter().map(line).collect();
    fs::write(dir.join("problems.jsonl"), text).unwrap();
}

fn start(dir: &Path) {
    fs::write(dir.join("run.toml"), RUN).unwrap();
    problems(dir, 1..9);
}

fn args<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["train", "run.toml", "--device", "cpu"], more].concat()
}

/// What two runs must share to the byte: every file of tensors, and the samples.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = program::files(dir);
    found.retain(|path, _| {
        path.extension().is_some_and(|end| end == "safetensors") || path.ends_with("samples.jsonl")
    });
    assert!(!found.is_empty());
    found
}

/// Gives a run up after step 2: what it did later is forgotten, but for what it wrote to its logs.
fn as_if_killed(run: &Path) {
    fs::remove_dir_all(run.join("checkpoints/step-4")).unwrap();
}

#[test]
fn a_run_that_was_killed_goes_on_to_the_same_bytes_and_needs_no_base_model() {
    let dir = temp();
    start(dir.path());
    let at = |name: &str| dir.path().join(name);
    program::checkpoint(&at("base"));
    let base = "model.path=base";
    success(dir.path(), &args(&["--run-dir", "whole", "--set", base]));
    success(dir.path(), &args(&["--run-dir", "parts", "--set", base]));
    as_if_killed(&at("parts"));
    fs::rename(at("base"), at("elsewhere")).unwrap();
    success(dir.path(), &args(&["--resume", "parts", "--set", base]));
    assert_eq!(files(&at("whole")), files(&at("parts")));
}

#[test]
fn the_reference_model_is_known_by_its_content() {
    let dir = temp();
    start(dir.path());
    let at = |name: &str| dir.path().join(name);
    program::checkpoint(&at("base"));
    let sets = ["--set", "model.path=base", "--set", "objective.beta=0.1"];
    let run = |more: &[&'static str]| args(&[more, &sets[..]].concat());
    success(dir.path(), &run(&["--run-dir", "whole"]));
    success(dir.path(), &run(&["--run-dir", "parts"]));
    as_if_killed(&at("parts"));
    // Another model of the same shape.
    let weights = at("base/model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    let mut other = bytes.clone();
    let last = other.len() - 1;
    other[last] ^= 0x80;
    fs::write(&weights, &other).unwrap();
    let error = failure(dir.path(), &run(&["--resume", "parts"]));
    assert!(
        error.contains("reference model (model.safetensors)") && error.contains("--from"),
        "{error}"
    );
    // The same one, elsewhere.
    fs::write(&weights, bytes).unwrap();
    fs::rename(at("base"), at("elsewhere")).unwrap();
    let moved = ["--set", "model.path=elsewhere", "--set", "objective.beta=0.1"];
    success(dir.path(), &args(&[&["--resume", "parts"], &moved[..]].concat()));
    assert_eq!(files(&at("whole")), files(&at("parts")));
}

#[test]
fn a_run_does_not_go_on_over_other_problems_but_a_fork_does() {
    let dir = temp();
    start(dir.path());
    let at = |name: &str| dir.path().join(name);
    success(dir.path(), &args(&["--run-dir", "run"]));
    as_if_killed(&at("run"));
    problems(dir.path(), (1..9).rev());
    let before = files(&at("run"));
    let error = failure(dir.path(), &args(&["--resume", "run"]));
    assert!(
        error.contains("[data]") && error.contains("reordered") && error.contains("--from run"),
        "{error}"
    );
    assert_eq!(files(&at("run")), before, "a run that was refused was touched");

    let (_, said) = success(
        dir.path(),
        &args(&["--from", "run", "--run-dir", "fork", "--set", "seed=3"]),
    );
    assert!(
        said.contains("after 2 steps; other than there: seed") && said.contains("other problems"),
        "{said}"
    );
    let steps: Vec<u64> = fs::read_to_string(at("fork/metrics.jsonl"))
        .unwrap()
        .lines()
        .map(|line| json(line)["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [3, 4]);
    // A fork goes on like any other run, also if it did nothing yet.
    for step in ["step-3", "step-4"] {
        let _ = fs::remove_dir_all(at("fork/checkpoints").join(step));
    }
    let whole = files(&at("fork"));
    success(dir.path(), &args(&["--resume", "fork", "--set", "seed=3"]));
    assert!(files(&at("fork")).len() > whole.len());
    let error = failure(dir.path(), &args(&["--from", "fork", "--run-dir", "x"]));
    assert!(error.contains("4 steps already"), "{error}");
    assert!(!at("x").exists());
}

#[test]
fn a_damaged_checkpoint_is_refused_and_the_one_before_goes_on_to_the_same_bytes() {
    let dir = temp();
    start(dir.path());
    let at = |name: &str| dir.path().join(name);
    let steps = ["--set", "train.max_steps=6"];
    success(dir.path(), &args(&[&["--run-dir", "whole"], &steps[..]].concat()));
    success(dir.path(), &args(&["--run-dir", "run"]));
    let weights = at("run/checkpoints/step-4/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&weights, bytes).unwrap();
    let resume = |of: &'static str| args(&[&["--resume", of], &steps[..]].concat());
    let error = failure(dir.path(), &resume("run"));
    assert!(
        error.contains("model.safetensors is not what was written")
            && error.contains("--resume run/checkpoints/step-2"),
        "{error}"
    );
    let error = failure(dir.path(), &resume("run/checkpoints/step-4"));
    assert!(error.contains("--resume run/checkpoints/step-2"), "{error}");
    let (_, said) = success(dir.path(), &resume("run/checkpoints/step-2"));
    assert!(said.contains("set aside: run/checkpoints/old-step-4"), "{said}");
    fs::remove_dir_all(at("run/checkpoints/old-step-4")).unwrap();
    assert_eq!(files(&at("whole")), files(&at("run")));

    // Logs that lost a line, and a config that was edited.
    let metrics = at("run/metrics.jsonl");
    let text = fs::read_to_string(&metrics).unwrap();
    let shorter: String = text.split_inclusive('\n').skip(1).collect();
    fs::write(&metrics, shorter).unwrap();
    let error = failure(dir.path(), &resume("run"));
    assert!(
        error.contains("metrics.jsonl") && error.contains("--from"),
        "{error}"
    );
    fs::write(&metrics, text).unwrap();
    let config = at("run/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("seed = 0", "seed = 1")).unwrap();
    let error = failure(dir.path(), &resume("run"));
    assert!(error.contains("was started with another `seed`"), "{error}");
}

#[test]
fn a_schedule_that_bends_is_said() {
    let dir = temp();
    start(dir.path());
    let linear = ["--set", "train.lr_scheduler_type=linear"];
    success(dir.path(), &args(&[&["--run-dir", "run"], &linear[..]].concat()));
    let more = ["--resume", "run", "--set", "train.max_steps=6"];
    let (_, said) = success(dir.path(), &args(&[&more, &linear[..]].concat()));
    assert!(said.contains("train.max_steps was 4 and is 6"), "{said}");
}

#[test]
fn what_cannot_be_evaluated_or_computed_is_refused_where_it_is_read() {
    let dir = temp();
    start(dir.path());
    for (set, said) in [
        (
            "train.adam_beta2=0.99999999",
            "`train.adam_beta2`: 0.99999999 is 1 in float32",
        ),
        (
            "train.learning_rate=1e300",
            "`train.learning_rate`: 1e300 is beyond what float32 holds",
        ),
        (
            "train.adam_epsilon=1e-60",
            "`train.adam_epsilon`: 1e-60 is beyond",
        ),
        (
            "train.learning_rate=1e6",
            "`train.learning_rate`: 1000000 would undo the model",
        ),
        (
            "train.max_steps=9223372036854775807",
            "`train.max_steps`: 9223372036854775807 is too large",
        ),
        (
            "rollout.num_generations=1000000000",
            "`rollout.num_generations`: 1000000000 is too large",
        ),
        (
            "rollout.max_completion_length=1000000000000",
            "is too large; give 16777216 or less",
        ),
        (
            "train.prompts_per_step=16000000",
            "`train.prompts_per_step`: 16000000 is too large",
        ),
        ("objective.beta=1e30", "`objective.beta`"),
        ("rollout.temperature=1e-30", "`rollout.temperature`"),
        (
            "rollout.temperature=0",
            "`rollout.temperature`: 0 makes all candidates of a problem the same",
        ),
        ("eval.every=2", "`eval.every`: there is nothing to measure"),
        (
            "run.name=../../x",
            "`run.name`: \"../../x\" cannot be part of a directory's name",
        ),
    ] {
        let error = failure(dir.path(), &args(&["--run-dir", "run", "--set", set]));
        assert!(error.contains(said), "{set}: {error}");
        assert!(!dir.path().join("run").exists(), "{set}");
    }
}

/// A checkpoint whose last norm is so large that its logits are not finite.
fn overflowing(dir: &Path) {
    program::checkpoint(dir);
    let path = dir.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let norm = file.tensor("model.norm.weight").unwrap().data();
    let at = norm.as_ptr() as usize - bytes.as_ptr() as usize;
    let huge = 3e38f32.to_le_bytes().repeat(norm.len() / 4);
    bytes[at..at + huge.len()].copy_from_slice(&huge);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_rollout_or_an_evaluation_that_fails_names_step_and_problem_and_saves() {
    let dir = temp();
    start(dir.path());
    overflowing(&dir.path().join("base"));
    let base = ["--set", "model.path=base"];
    let error = failure(dir.path(), &args(&[&["--run-dir", "run"], &base[..]].concat()));
    assert!(
        error.contains("step 1: problem `") && error.contains("the state that led to this, of step 0"),
        "{error}"
    );
    assert!(
        dir.path()
            .join("run/checkpoints/step-0/trainer/SHA256SUMS")
            .is_file()
    );
    let eval = [
        "--set",
        "eval={every=1,path=\"problems.jsonl\",preset={question=\"q\",answer=\"a\"}}",
    ];
    let more = [&["--run-dir", "eval"], &base[..], &eval[..]].concat();
    let error = failure(dir.path(), &args(&more));
    assert!(
        error.contains("the evaluation after step 0: problem `"),
        "{error}"
    );
    assert!(
        dir.path()
            .join("eval/checkpoints/step-0/trainer/SHA256SUMS")
            .is_file()
    );
}

#[cfg(unix)]
mod processes {
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    fn spawn(dir: &Path, more: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_gcpo"))
            .args(args(more))
            .current_dir(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn wait_for(what: &str, done: impl Fn() -> bool) {
        let started = Instant::now();
        while !done() {
            assert!(started.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn lines(run: &Path) -> usize {
        fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
    }

    const LONG: [&str; 2] = ["--set", "train.max_steps=1000000"];

    #[test]
    fn runs_that_start_at_once_have_directories_of_their_own_and_a_live_one_is_passed_over() {
        let dir = temp();
        start(dir.path());
        let runs: Vec<Child> = (0..3).map(|_| spawn(dir.path(), &[])).collect();
        for run in runs {
            let output = run.wait_with_output().unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let count = |text: &Path| fs::read_dir(text).unwrap().count();
        assert_eq!(count(&dir.path().join("runs")), 3);

        let mut live = spawn(dir.path(), &LONG);
        wait_for("no fourth run", || count(&dir.path().join("runs")) == 4);
        let more = [&["--resume"], &["--set", "train.max_steps=5"][..]].concat();
        let output = gcpo(dir.path(), &args(&more));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        live.kill().unwrap();
        live.wait().unwrap();
    }

    #[test]
    fn a_live_run_is_not_resumed() {
        let dir = temp();
        start(dir.path());
        let run = dir.path().join("run");
        let mut live = spawn(dir.path(), &[&["--run-dir", "run"], &LONG[..]].concat());
        wait_for("no step", || lines(&run) > 2);
        let error = failure(dir.path(), &args(&[&["--resume", "run"], &LONG[..]].concat()));
        assert!(error.contains("belongs to a run that is under way"), "{error}");
        live.kill().unwrap();
        live.wait().unwrap();
        let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let steps = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        for (number, line) in steps.enumerate() {
            assert_eq!(json(line)["step"], number + 1);
        }
        // The lock went with the process.
        success(
            dir.path(),
            &args(&["--resume", "run/checkpoints/step-2", "--set", "train.max_steps=3"]),
        );
    }

    #[test]
    fn a_run_directory_that_is_removed_under_way_is_an_error() {
        let dir = temp();
        start(dir.path());
        let run = dir.path().join("run");
        let never = ["--set", "checkpoint.every=0"];
        let live = spawn(dir.path(), &[&["--run-dir", "run"], &LONG[..], &never].concat());
        wait_for("no step", || lines(&run) > 2);
        fs::remove_dir_all(&run).unwrap();
        let output = live.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{said}");
        assert!(
            said.contains("removed while it was written to") && !run.exists(),
            "{said}"
        );
    }

    #[test]
    fn time_that_has_passed_saves_the_run() {
        let dir = temp();
        start(dir.path());
        let run = dir.path().join("run");
        let often = ["--set", "checkpoint.every=0", "--set", "checkpoint.minutes=0.001"];
        let mut live = spawn(dir.path(), &[&["--run-dir", "run"], &LONG[..], &often].concat());
        let saved = || -> Vec<usize> {
            let Ok(entries) = fs::read_dir(run.join("checkpoints")) else {
                return Vec::new();
            };
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            names
                .filter_map(|name| name.strip_prefix("step-")?.parse().ok())
                .collect()
        };
        wait_for("no checkpoint", || !saved().is_empty());
        let first = saved()[0];
        wait_for("no other checkpoint", || saved().iter().any(|step| *step > first));
        live.kill().unwrap();
        live.wait().unwrap();
        // Only the last one is kept, or two, where the process was killed between.
        assert!(saved().len() <= 2, "{:?}", saved());
        let last = *saved().iter().max().unwrap();
        let steps = format!("train.max_steps={}", last + 1);
        let more = ["--resume", "run", "--set", &steps, "--set", "checkpoint.every=0"];
        success(dir.path(), &args(&more));
    }
}
