//! What the program prints, kept: helps, mistakes, tables. `INSTA_UPDATE=always cargo test --test snapshots` takes what it
//! prints now; read the difference in tests/snapshots/ before it is committed.
#![cfg(unix)] // the system's own messages are in some

mod program;

use std::fs;
use std::path::Path;

use program::{failure, success, temp};

/// Numbers that no two runs or machines share: seconds, speeds, threads, places.
const FILTERS: [(&str, &str); 8] = [
    (r"\d+\.\d+ ?s(/step)?\b", "[secs]"),
    (r"\b\d+m\d+s\b|\b\d+s\b", "[secs]"),
    (r"[\d,.]+ (tok|tokens)/s", "[speed]"),
    (r"\(\d+ threads?\)", "([threads])"),
    (r"runs/[a-z]+-\d{8}-\d{6}", "runs/[name]"),
    (r"\d{8}-\d{6}", "[time]"),
    (r"[\d,]+ checks a second", "[speed]"),
    (r"(/private)?(/tmp|/var/folders)/[A-Za-z0-9_./]*", "[tmp]"),
];

fn keep(name: &str, text: &str, more: &[(&str, &str)]) {
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    for (pattern, stands_for) in FILTERS.iter().chain(more) {
        settings.add_filter(pattern, *stands_for);
    }
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn helps() {
    let dir = temp();
    let commands = [
        "train", "sft", "sweep", "plan", "report", "compare", "eval", "generate", "score", "grade",
        "inspect", "merge", "bench", "check", "devices",
    ];
    let (text, _) = success(dir.path(), &["--help"]);
    keep("help", &text, &[]);
    for command in commands {
        let (text, _) = success(dir.path(), &[command, "--help"]);
        keep(&format!("help-{command}"), &text, &[]);
    }
}

/// A config, and what is said of it.
fn mistake(dir: &Path, config: &str, args: &[&str]) -> String {
    fs::write(dir.join("run.toml"), config).unwrap();
    let all = [&["train", "run.toml", "--device", "cpu"], args].concat();
    format!(
        "{}\n$ gcpo {}\n{}\n",
        config.trim(),
        all.join(" "),
        failure(dir, &all).trim()
    )
}

#[test]
fn mistakes_in_a_config() {
    let dir = temp();
    let cases: [(&str, &[&str]); 20] = [
        ("[train]\nmax_step = 3", &[]),
        ("[train]\nmax_steps = \"three\"", &[]),
        ("[train]\nlearning_rate = true", &[]),
        ("[train]\nmax_steps = -1", &[]),
        ("[trian]\nmax_steps = 1", &[]),
        ("max_steps = 1", &[]),
        ("[objective]\nname = \"gcpa\"", &[]),
        ("[objective]\nname = \"grpo\"\nepsilon = -0.1", &[]),
        ("[rollout]\ntop_p = 2.0", &[]),
        ("[rollout]\nmemory_budget = \"4 gigs\"", &[]),
        ("[train\nmax_steps = 1", &[]),
        ("", &[]),
        ("[model]\npath = \"quickstart\"", &[]),
        ("[model]\npath = \"quickstart\"\ninit = \"random\"", &[]),
        (
            "[model]\npath = \"nowhere\"\n[data]\ngenerator = \"arithmetic\"",
            &[],
        ),
        ("[model]\npath = \"quickstart\"\n[data]\npath = \"a.jsonl\"", &[]),
        (
            "[model]\npath = \"quickstart\"\n[data]\npath = \"a.jsonl\"\npreset = \"gsm9k\"",
            &[],
        ),
        ("[[reward]]\nname = \"accurate\"", &[]),
        ("[[reward]]\nname = \"format\"\nngram_size = 3", &[]),
        (
            "[prompt]\nanswer = \"{{ quesion }}\"\n[model]\npath = \"quickstart\"\n[data]\ngenerator = \"arithmetic\"",
            &[],
        ),
    ];
    let said: Vec<String> = cases
        .iter()
        .map(|(config, args)| mistake(dir.path(), config, args))
        .collect();
    keep("mistakes-config", &said.join("\n"), &[]);
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "something was written"
    );
}

#[test]
fn mistakes_on_the_command_line() {
    let dir = temp();
    fs::create_dir(dir.path().join("mine")).unwrap();
    fs::write(dir.path().join("mine/thesis.txt"), "words").unwrap();
    fs::write(dir.path().join("rows.jsonl"), "{\"prmpt\": \"2\"}\n").unwrap();
    let mut cases: Vec<Vec<&str>> = [
        "fly",
        "train",
        "train none.toml",
        "--device gpu",
        "--set train.max_steps --device cpu",
        "--set train.max_step=1 --device cpu",
        "--set train.max_steps=many --device cpu",
        "--set rewrd.0.weight=1 --device cpu",
        "--resume --device cpu",
        "--resume mine --device cpu",
        "--run-dir mine --device cpu",
        "--device cpu --set train.devices=[\"cpu\",\"cpu\"]",
        "sft --device cpu none.toml",
        "sweep none.toml",
        "sweep",
        "sweep none.toml --grid objective.alpha",
        "eval --model quickstart",
        "eval --model quickstart --suite aime99=f.jsonl",
        "eval --model quickstart --data none.jsonl --preset gsm8k --device cpu",
        "eval --compare a.jsonl b.jsonl",
        "eval --compare mine mine",
        "report mine --out page.html",
        "report mine",
        "compare mine",
        "generate --model nowhere --prompt hi --device cpu",
        "generate --model quickstart --input rows.jsonl --device cpu",
        "generate --model quickstart --prompt <q>1+2<a> -n 0",
        "generate --model quickstart --prompt <q>1+2<a> --set rollout.max_completion_length=300 --device cpu",
        "score --model nowhere --input rows.jsonl --device cpu",
        "grade --gold 1",
        "inspect nowhere",
        "bench --shape tiny --work step --objective grp",
        "check --dtype int8",
    ]
    .iter()
    .map(|line| line.split(' ').collect())
    .collect();
    if cfg!(not(feature = "cuda")) {
        cases.push(vec!["--device", "cuda"]);
    }
    let said = |args: &Vec<&str>| {
        format!(
            "$ gcpo {}\n{}\n",
            args.join(" "),
            failure(dir.path(), args).trim()
        )
    };
    let said: Vec<String> = cases.iter().map(said).collect();
    keep("mistakes-command-line", &said.join("\n"), &[]);
}

#[test]
fn answers_graded() {
    let dir = temp();
    let pairs: [&[&str]; 6] = [
        &["--gold", r"\frac12", "--pred", r"so it is \boxed{0.5}"],
        &["--gold", "7", "--pred", "3 + 4"],
        &["--gold", "7", "--pred", "I do not know"],
        &["--gold", "7", "--pred", "#### 7.0", "--numbers"],
        &["--gold", "1/3", "--pred", "0.3333", "--exact"],
        &["--gold", "[0,1)", "--pred", r"\boxed{0 \le x < 1}", "--json"],
    ];
    let said = |args: &&[&str]| {
        let (out, _) = success(dir.path(), &[&["grade"], *args].concat());
        format!("$ gcpo grade {}\n{out}", args.join(" "))
    };
    let mut said: Vec<String> = pairs.iter().map(said).collect();
    let cases = "{\"gold\": \"1/2\", \"pred\": \"0.5\", \"equal\": true}\n{\"gold\": \"12\", \"pred\": \"13\", \"equal\": true}\n";
    fs::write(dir.path().join("cases.jsonl"), cases).unwrap();
    said.push(success(dir.path(), &["grade", "--cases", "cases.jsonl"]).0);
    keep(
        "tables-grade",
        &said.join("\n"),
        &[(r"[\d,]+ (grades|a second)", "[speed] $1")],
    );
}

#[test]
fn a_model_inspected() {
    let dir = temp();
    let quickstart = concat!(env!("CARGO_MANIFEST_DIR"), "/model/quickstart");
    let (text, _) = success(
        dir.path(),
        &["inspect", quickstart, "--batch", "2", "--length", "64"],
    );
    keep("tables-inspect", &text.replace(quickstart, "quickstart"), &[]);
}

/// Sums may be rounded otherwise on another machine; that this changes one of 250 sampled tokens is next to impossible.
#[test]
fn an_evaluation_and_its_comparison() {
    let dir = temp();
    let config = "[eval]\ngenerator = \"arithmetic\"\nsize = 16\nsamples = 2\nmax_completion_length = 16\n\
                  [prompt]\nstyle = \"marks\"\n[grader]\nkind = \"numbers\"\n";
    fs::write(dir.path().join("eval.toml"), config).unwrap();
    let common = [
        "eval",
        "eval.toml",
        "--model",
        "quickstart",
        "--device",
        "cpu",
        "--out",
    ];
    let (text, _) = success(dir.path(), &[&common[..], &["a.jsonl"]].concat());
    keep("tables-eval", &text, &[]);
    success(
        dir.path(),
        &[&common[..], &["b.jsonl", "--set", "seed=1"]].concat(),
    );
    let (text, _) = success(dir.path(), &["eval", "--compare", "a.jsonl", "b.jsonl"]);
    keep("tables-eval-compare", &text, &[]);
    let (text, stderr) = success(dir.path(), &["eval", "--regrade", "a.jsonl", "--out", "c.jsonl"]);
    keep("tables-eval-regrade", &format!("{stderr}\n{text}"), &[]);
}

/// Every number is replaced: which ones a run ends with is for other tests.
#[test]
fn the_end_of_a_run() {
    let dir = temp();
    let small = [
        "train.max_steps=2",
        "train.prompts_per_step=2",
        "eval.every=2",
        "eval.size=8",
    ];
    let sets = small.iter().flat_map(|set| ["--set", *set]);
    let args: Vec<&str> = sets.chain(["--device", "cpu", "--run-dir", "run"]).collect();
    let (text, stderr) = success(dir.path(), &args);
    let numbers = [
        // A stage that takes no time worth a word is not named.
        (r"steps: rollout .*", "steps: [stages]"),
        (r"-?\b\d[\d,.]*( %)?", "[n]"),
        (r" +", " "),
        (r"[+-]\[n\]", "[n]"),
    ];
    keep("tables-end-of-run", &format!("{stderr}\n{text}"), &numbers);
}
