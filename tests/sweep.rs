//! `gcpo sweep`, as a user meets it: run, killed and gone on with, refused, and with a run that fails.

mod program;

use std::fs;
use std::path::Path;

use gcpo::sweep::{Asked, Plan};
use program::{failure, files, gcpo, json, success, temp};
use serde_json::Value;

/// A short run of the quickstart's model.
const RUN: &str = r#"
    [model]
    path = "quickstart"
    [data]
    generator = "arithmetic"
    count = 64
    [prompt]
    style = "marks"
    [rollout]
    num_generations = 4
    max_completion_length = 12
    [grader]
    kind = "numbers"
    [objective]
    name = "grpo_alpha"
    [train]
    max_steps = 2
    prompts_per_step = 4
    learning_rate = 1e-3
    lr_scheduler_type = "constant"
    [eval]
    every = 2
    size = 16
    [checkpoint]
    every = 1
"#;

fn args<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let sweep = [
        "sweep",
        "run.toml",
        "--out",
        "out",
        "--device",
        "cpu",
        "--grid",
        "objective.alpha=1,4",
        "--seeds",
        "2",
    ];
    [&sweep, more].concat()
}

fn start() -> tempfile::TempDir {
    let dir = temp();
    fs::write(dir.path().join("run.toml"), RUN).unwrap();
    dir
}

/// What a run wrote, seconds apart.
fn written(run: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for (path, bytes) in files(run) {
        let name = path.display().to_string();
        if name == "metrics.jsonl" {
            let lines = String::from_utf8(bytes).unwrap();
            let untimed = lines.lines().map(|line| {
                let mut line = json(line);
                line.as_object_mut()
                    .unwrap()
                    .retain(|key, _| !key.starts_with("time/"));
                line.to_string()
            });
            found.push((name, untimed.collect::<Vec<_>>().join("\n").into_bytes()));
        } else if name.ends_with(".safetensors") || name == "samples.jsonl" {
            found.push((name, bytes));
        }
    }
    assert!(found.len() > 3);
    found
}

#[test]
fn a_sweep_is_its_runs_and_a_table_and_goes_on_where_it_was() {
    let dir = start();
    let at = |name: &str| dir.path().join(name);
    let (out, said) = success(dir.path(), &args(&["--json"]));
    assert!(said.contains("[4/4] run,alpha=4,seed=1: done in"), "{said}");
    let table = json(out.trim());
    assert_eq!(table["settings"][1]["name"], "run,alpha=4");
    assert_eq!(table["settings"][1]["sets"][0], "objective.alpha=4");
    let runs = table["settings"][0]["runs"].as_array().unwrap();
    assert_eq!(
        (runs.len(), &runs[1]["seed"], &runs[1]["steps"]),
        (2, &json("1"), &json("2"))
    );
    assert!(runs[0]["tokens"].as_f64().unwrap() > 100.0 && runs[0]["secs"].as_f64().unwrap() > 0.0);
    assert_eq!(table["settings"][0]["means"]["pass@1 after"]["runs"], 2);
    let difference = &table["differences"][0];
    assert_eq!(
        (&difference["baseline"], &difference["problems"]["problems"]),
        (&Value::from("run,alpha=1"), &json("16"))
    );
    assert_eq!(difference["by_seed"].as_array().unwrap().len(), 2);
    assert!(difference["interval"].is_array() && difference["problems"]["interval"].is_array());
    assert_eq!(json(&fs::read_to_string(at("out/table.json")).unwrap()), table);
    let markdown = fs::read_to_string(at("out/table.md")).unwrap();
    assert!(markdown.contains("| less run,alpha=1 |"), "{markdown}");
    let picture = fs::read_to_string(at("out/curves.svg")).unwrap();
    assert_eq!(
        picture.matches("<polyline").count(),
        4,
        "two settings in two panels"
    );
    assert_eq!(picture.matches(">run,alpha=4</text>").count(), 1);

    // A run of a sweep is the run that `gcpo train` makes.
    let alone = [
        "train",
        "run.toml",
        "--device",
        "cpu",
        "--run-dir",
        "alone",
        "--set",
        "objective.alpha=4",
        "--set",
        "seed=1",
    ];
    success(dir.path(), &alone);
    let [last, first] = ["out/run,alpha=4,seed=1", "out/run,alpha=1,seed=0"].map(at);
    let whole = written(&last);
    assert_eq!(written(&at("alone")), whole);

    // One was killed after a step, another before it had saved any.
    let untouched = fs::metadata(first.join("samples.jsonl"))
        .unwrap()
        .modified()
        .unwrap();
    fs::remove_dir_all(last.join("checkpoints/step-2")).unwrap();
    let unsaved = at("out/run,alpha=4,seed=0");
    let before = written(&unsaved);
    for step in ["step-1", "step-2"] {
        fs::remove_dir_all(unsaved.join("checkpoints").join(step)).unwrap();
    }
    let (list, _) = success(dir.path(), &args(&["--dry-run"]));
    assert!(
        list.contains("goes on after step 1") && list.contains("nothing of it was saved"),
        "{list}"
    );
    let (again, said) = success(dir.path(), &args(&[]));
    assert_eq!(said.matches("done before").count(), 2, "{said}");
    assert_eq!((written(&last), written(&unsaved)), (whole, before));
    assert_eq!(
        fs::metadata(first.join("samples.jsonl"))
            .unwrap()
            .modified()
            .unwrap(),
        untouched
    );
    assert!(
        again.contains("95 % over problems") && again.contains("curves  out/curves.svg"),
        "{again}"
    );
}

#[test]
fn what_is_wrong_is_said_before_the_first_run() {
    let dir = start();
    let small = ["--set", "train.max_steps=1", "--set", "eval.every=0"];
    let refused = |more: &[&'static str]| failure(dir.path(), &args(&[&small[..], more].concat()));
    let error = refused(&["--grid", "rollout.top_p=1,2"]);
    assert!(error.contains("rollout.top_p"), "{error}");
    let error = refused(&["--grid", "rollout.num_generations=4,1"]);
    assert!(error.contains("every advantage would be 0"), "{error}");
    let error = refused(&["--grid", "model.path=quickstart,nowhere"]);
    assert!(error.contains("nowhere") && error.contains("alpha=1"), "{error}");
    let error = refused(&["--baseline", "run"]);
    assert!(error.contains("there are run,alpha=1 and run,alpha=4"), "{error}");
    assert!(!dir.path().join("out").exists(), "something was written");

    // Another run is in the place of the second one.
    let (out, _) = success(dir.path(), &args(&[&small[..], &["--dry-run"]].concat()));
    assert_eq!(out.matches("to be run").count(), 4);
    let place = "out/run,alpha=1,seed=1";
    let other = [
        &[
            "train",
            "run.toml",
            "--device",
            "cpu",
            "--run-dir",
            place,
            "--set",
            "objective.alpha=1",
            "--set",
            "seed=9",
        ],
        &small[..],
    ];
    success(dir.path(), &other.concat());
    let before = files(&dir.path().join("out"));
    let error = refused(&[]);
    assert!(
        error.contains("begun with another `seed`") && error.contains("--out"),
        "{error}"
    );
    assert_eq!(files(&dir.path().join("out")), before, "something was touched");
}

#[test]
fn a_run_that_fails_is_said_and_the_others_go_on() {
    let dir = start();
    let small = [
        "--set",
        "train.max_steps=1",
        "--set",
        "eval.every=0",
        "--set",
        "checkpoint.every=0",
        "--seeds",
        "1",
    ];
    let line = [
        "sweep",
        "run.toml",
        "--out",
        "out",
        "--device",
        "cpu",
        "--grid",
        r#"reward=[{name="command",command=["no-such-program"]}],[{name="accuracy"}]"#,
    ];
    let output = gcpo(dir.path(), &[&line[..], &small].concat());
    let (text, said) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        text.contains("(failed)") && text.contains("failed: run,reward=name_command"),
        "{text}"
    );
    assert!(
        said.contains("no-such-program") && said.contains("[2/2]") && said.contains("done in"),
        "{said}"
    );
    assert!(!text.contains("pass@1"), "compared by reward: {text}");
}

/// Υ = α without sampling anything for it, and κ = 0: GRPO × α, bit for bit.
#[test]
fn without_upsilon_and_kappa_gcpo_is_the_control() {
    let dir = start();
    let small = ["--set", "eval.every=0", "--set", "features.similarity=constant"];
    let line = [
        "sweep",
        "run.toml",
        "--out",
        "out",
        "--device",
        "cpu",
        "--grid",
        r#"objective={name="grpo_alpha"},{name="gcpo",kappa=0}"#,
    ];
    success(dir.path(), &[&line[..], &small].concat());
    let weights = |end: &str| -> Vec<u8> {
        let runs = fs::read_dir(dir.path().join("out"))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut runs: Vec<_> = runs.filter(|path| path.to_string_lossy().contains(end)).collect();
        assert_eq!(runs.len(), 1, "{runs:?}");
        fs::read(runs.remove(0).join("checkpoints/step-2/model.safetensors")).unwrap()
    };
    assert_eq!(weights("grpo_alpha"), weights("kappa"));
}

/// The commands of a document that begin with `gcpo sweep`.
fn documented(name: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let text = text.replace("\\\n", " ");
    let lines = text.lines().filter_map(|line| {
        line.trim()
            .strip_prefix("gcpo sweep ")
            .filter(|rest| rest.starts_with("configs/"))
    });
    lines.map(words).collect()
}

/// Words as a shell takes them, without the comment behind.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for c in line.split("  #").next().unwrap().chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_documented_ablation_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let commands = documented("docs/ablations.md");
    assert!(commands.len() >= 8, "{commands:?}");
    for command in commands {
        let mut asked = Asked {
            configs: Vec::new(),
            axes: Vec::new(),
            sets: Vec::new(),
            seeds: 1,
        };
        let mut rest = command.iter();
        while let Some(word) = rest.next() {
            match word.as_str() {
                "--grid" => asked.axes.push(rest.next().unwrap().parse().unwrap()),
                "--set" => asked.sets.push(rest.next().unwrap().clone()),
                "--seeds" => asked.seeds = rest.next().unwrap().parse().unwrap(),
                config => asked.configs.push(root.join(config)),
            }
        }
        let plan = Plan::new(&asked, |path, sets| gcpo::config::Config::load(path, sets));
        let plan = plan.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(
            plan.settings.len() > 1 && plan.jobs.len() == plan.settings.len() * asked.seeds as usize,
            "{command:?}"
        );
    }
}
