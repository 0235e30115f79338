//! `recipe = "rest"`, as a user meets it: what it finds and learns, that it repeats and goes on to the byte, and what it refuses.

mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gcpo::config::Config;
use gcpo::search::{Search, SearchPlan, expand};
use gcpo_model::inference::Inference;
use program::{failure, json, success, temp};
use serde_json::Value;

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/quickstart_rest.toml");

const SMALL: [&str; 10] = [
    "--device",
    "cpu",
    "--set",
    "train.max_steps=4",
    "--set",
    "train.prompts_per_step=6",
    "--set",
    "checkpoint.every=2",
    "--set",
    "eval.every=0",
];

fn args<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["train", CONFIG], &SMALL[..], more].concat()
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(json).collect()
}

/// What two runs must share to the byte.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = program::files(dir);
    found.retain(|path, _| {
        path.extension().is_some_and(|end| end == "safetensors") || path.ends_with("samples.jsonl")
    });
    found
}

#[test]
fn a_run_searches_learns_repeats_and_goes_on_to_the_byte() {
    let dir = temp();
    let at = |name: &str| dir.path().join(name);
    let (out, _) = success(dir.path(), &args(&["--run-dir", "whole"]));
    assert!(out.contains("reward") && out.contains("generations"), "{out}");
    let metrics = lines(&at("whole/metrics.jsonl"));
    assert_eq!(metrics.len(), 4);
    for line in &metrics {
        let number = |key: &str| line[key].as_f64().unwrap_or_else(|| panic!("{key}: {line}"));
        let (expansions, nodes) = (number("search/expansions"), number("search/nodes"));
        assert!(
            (6.0..=24.0).contains(&expansions) && nodes >= expansions,
            "{line}"
        );
        // Four steps an expansion, and a completion from each that is no end.
        let generations = number("rollout/generations");
        assert!(
            generations > 4.0 * expansions && generations <= 8.0 * expansions,
            "{line}"
        );
        assert!(
            number("search/solved_frac") > 0.5 && number("search/solutions") <= 6.0,
            "{line}"
        );
        assert!(number("search/first_expansion_mean") >= 1.0 && number("search/depth_mean") >= 1.0);
        assert!(number("sft/loss") > 0.0 && number("sft/tokens") > 0.0 && number("grad/norm") > 0.0);
        assert!(
            number("reward/mean") > 0.0 && number("rollout/tokens") > 0.0,
            "{line}"
        );
        assert!(line.get("projection/upsilon_mean").is_none() && line.get("objective/loss").is_none());
    }
    let samples = lines(&at("whole/samples.jsonl"));
    assert_eq!(samples.len(), 24);
    let tried: usize = samples
        .iter()
        .map(|line| line["completions"].as_array().unwrap().len())
        .sum();
    assert_eq!(
        tried as f64,
        metrics
            .iter()
            .map(|line| 4.0 * line["search/expansions"].as_f64().unwrap())
            .sum::<f64>()
    );

    success(dir.path(), &args(&["--run-dir", "parts"]));
    assert_eq!(
        files(&at("whole")),
        files(&at("parts")),
        "another run of it is another run"
    );
    fs::remove_dir_all(at("parts/checkpoints/step-4")).unwrap();
    success(dir.path(), &args(&["--resume", "parts"]));
    assert_eq!(files(&at("whole")), files(&at("parts")));
    let error = failure(dir.path(), &args(&["--resume", "parts", "--set", "rest.width=3"]));
    assert!(error.contains("`rest.width`"), "{error}");
    // Batches change no result: rows together, and devices.
    let other = [
        "--run-dir",
        "rows",
        "--set",
        "rollout.max_rows=3",
        "--set",
        "rollout.memory_budget=600000",
    ];
    success(dir.path(), &args(&other));
    let sampled = |run: &str| fs::read(at(run).join("samples.jsonl")).unwrap();
    assert_eq!(sampled("whole"), sampled("rows"));
}

#[test]
fn what_a_search_does_not_read_is_refused_and_nothing_found_is_nothing_learnt() {
    let dir = temp();
    let refused = |more: &[&'static str]| failure(dir.path(), &args(more));
    let error = refused(&["--set", "objective.kappa=0.5"]);
    assert!(
        error.contains("objective.kappa=0.5") && error.contains("leave it out"),
        "{error}"
    );
    let error = refused(&["--set", "rest.separators=[]"]);
    assert!(error.contains("a step ends with a text"), "{error}");
    let error = refused(&["--set", "rollout.temperature=0"]);
    assert!(error.contains("nothing would be learnt"), "{error}");
    let error = refused(&["--set", "recipe=tree"]);
    assert!(error.contains("\"rl\", \"rest\", \"sft\""), "{error}");
    let error = failure(dir.path(), &["sft", CONFIG, "--device", "cpu"]);
    assert!(
        error.contains("this run is \"rest\"") && error.contains("gcpo train"),
        "{error}"
    );

    success(
        dir.path(),
        &args(&[
            "--run-dir",
            "none",
            "--set",
            "rest.threshold=2",
            "--set",
            "train.max_steps=1",
        ]),
    );
    let line = &lines(&dir.path().join("none/metrics.jsonl"))[0];
    assert_eq!(
        (&line["search/solutions"], &line["sft/loss"]),
        (&json("0.0"), &Value::Null)
    );
    assert_eq!(line["search/expansions"], json("24.0"));
}

/// `recipe = "sft"` in a config is what `gcpo sft` does.
#[test]
fn supervised_training_is_a_recipe_too() {
    let dir = temp();
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/quickstart_sft.toml");
    let small = [
        "--device",
        "cpu",
        "--set",
        "data.count=64",
        "--set",
        "train.max_steps=2",
        "--set",
        "eval.every=0",
    ];
    success(
        dir.path(),
        &[&["sft", config, "--run-dir", "a"], &small[..]].concat(),
    );
    success(
        dir.path(),
        &[
            &["train", config, "--run-dir", "b", "--set", "recipe=sft"],
            &small[..],
        ]
        .concat(),
    );
    assert_eq!(files(&dir.path().join("a")), files(&dir.path().join("b")));
    let written = fs::read_to_string(dir.path().join("a/config.toml")).unwrap();
    assert!(written.contains("recipe = \"sft\""), "{written}");
    // A run of a version that had no such key goes on.
    fs::write(
        dir.path().join("a/config.toml"),
        written.replace("recipe = \"sft\"\n", ""),
    )
    .unwrap();
    fs::remove_dir_all(dir.path().join("a/checkpoints")).unwrap();
    fs::rename(dir.path().join("b/checkpoints"), dir.path().join("a/checkpoints")).unwrap();
    success(
        dir.path(),
        &[&["sft", config, "--resume", "a"], &small[..]].concat(),
    );
}

/// The search of one problem by hand: every completion begins with a path of the tree, is whole, and is graded as what it says.
#[test]
fn completions_go_on_from_their_steps() {
    let config = Config::load(Path::new(CONFIG), &["train.prompts_per_step=1".into()]).unwrap();
    let opened = gcpo_model::device::open(&"cpu".parse().unwrap()).unwrap();
    let policy = config.policy(Vec::new, &opened.device).unwrap();
    let model = Inference::new(&policy.model);
    let problem = config.problems().unwrap().remove(0);
    let plan = SearchPlan {
        rest: &config.rest,
        rollout: &config.rollout,
        seed: 3,
        step: 1,
    };
    let mut searches = [Search::new(&policy, &problem, 0).unwrap()];
    let mut grader = gcpo::reward::Reward::accuracy(&config.grader);
    let mut right = 0;
    for expansion in 1..=4 {
        expand(&policy, &model, &mut searches, &plan).unwrap();
        let [search] = &mut searches;
        let mut group = [search.ungraded()];
        assert_eq!(group[0].candidates.len(), 4);
        grader.grade(&mut group, 1, |y| policy.decode(y)).unwrap();
        let [group] = group;
        for candidate in &group.candidates {
            let completion = &candidate.completion;
            assert!(completion.tokens.len() <= config.rollout.max_completion_length);
            assert_eq!(completion.tokens.len(), completion.logp.len());
            assert!(completion.logp.iter().all(|logp| *logp <= 0.0));
            let says_right = candidate
                .text
                .ends_with(&format!("#{}", problem.answer.as_deref().unwrap()));
            assert_eq!(
                candidate.reward,
                Some(f64::from(u8::from(says_right))),
                "{}",
                candidate.text
            );
            right += usize::from(says_right);
            // The engine's own log-probabilities of the parts are those of the whole.
            let pair = (search.context(), completion.tokens.as_slice());
            let whole = gcpo_model::logp::completion_logp(&policy.model, &[pair], 1.0).logp_bt;
            let whole: Vec<f32> = whole.try_into_vec_as().unwrap();
            let gap = completion
                .logp
                .iter()
                .zip(&whole)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(gap < 1e-4, "{gap}");
        }
        search.take_graded(group, plan.rest);
        assert_eq!(
            search.goes_on(plan.rest),
            search.solutions().is_empty() && expansion < 4
        );
        if !search.goes_on(plan.rest) {
            break;
        }
    }
    assert!(right > 0 && !searches[0].solutions().is_empty());
}
