//! Runs with every objective and option, as a user starts them.

mod program;

use std::fs;
use std::path::Path;

use gcpo::objective::Which;
use program::{json, success, temp};
use serde_json::Value;

/// Several updates of each rollout: what was sampled is then of an older policy.
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
    max_completion_length = 8
    [grader]
    kind = "numbers"
    [projection]
    integrations = 2
    samples = 1
    [train]
    max_steps = 2
    prompts_per_step = 8
    mini_batches = 2
    num_iterations = 2
    per_device_train_batch_size = 64
    learning_rate = 1e-4
    lr_scheduler_type = "constant"
"#;

fn train(dir: &Path, run: &str, sets: &[&str]) -> Vec<Value> {
    let mut args = vec!["train", "run.toml", "--device", "cpu", "--run-dir", run];
    for set in sets {
        args.extend(["--set", *set]);
    }
    success(dir, &args);
    metrics(&dir.join(run))
}

fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(json).collect()
}

fn number(line: &Value, key: &str) -> f64 {
    line[key].as_f64().unwrap_or_else(|| panic!("{key} in {line}"))
}

fn start() -> tempfile::TempDir {
    let dir = temp();
    fs::write(dir.path().join("run.toml"), RUN).unwrap();
    dir
}

#[test]
fn every_objective_trains() {
    let dir = start();
    for name in Which::NAMES {
        // Ratios of sequences are clipped at 3e-4: a greater step would leave nothing between.
        let sets = [
            &format!("objective={{name=\"{name}\"}}"),
            "train.learning_rate=1e-6",
        ];
        let lines = train(dir.path(), name, &sets);
        assert_eq!(lines.len(), 2, "{name}");
        for line in &lines {
            assert!(number(line, "objective/loss").is_finite(), "{name}: {line}");
            assert!(number(line, "grad/norm") > 0.0, "{name}: {line}");
        }
        assert_ne!(
            number(&lines[1], "objective/ratio_mean"),
            1.0,
            "{name}: the ratios are all 1"
        );
    }
}

/// What a pass holds is a matter of memory, also where groups are compared and where tokens are chosen from the whole update.
#[test]
fn the_size_of_a_pass_changes_no_result() {
    let dir = start();
    let options = [
        "objective.entropy_coef=0.01",
        "objective.top_entropy_quantile=0.3",
        "objective.off_policy_mask_threshold=0.01",
        "objective.vllm_importance_sampling_correction=true",
    ];
    let each = options.iter().map(std::slice::from_ref);
    let of_dapo = each.chain([&options[..]]).map(|more| ("dapo", more));
    let kl_of_tokens = &["objective.beta=0.1", "objective.use_kl_in_reward=true"][..];
    let others = [("gvpo", &[][..]), ("vespo", &[]), ("reinforce_pp", kl_of_tokens)];
    let cases = others.into_iter().chain(of_dapo);
    for (number_of, (name, more)) in cases.enumerate() {
        let name_set = format!("objective={{name=\"{name}\"}}");
        let sets = [&[name_set.as_str()], more].concat();
        let whole = train(dir.path(), &format!("{number_of}-whole"), &sets);
        let parts = train(
            dir.path(),
            &format!("{number_of}-parts"),
            &[&sets[..], &["train.per_device_train_batch_size=3"]].concat(),
        );
        for (whole, parts) in whole.iter().zip(&parts) {
            for key in ["objective/loss", "grad/norm", "policy/entropy"] {
                let (whole, parts) = (number(whole, key), number(parts, key));
                assert!(
                    (whole - parts).abs() < 2e-3 * whole.abs().max(1e-2),
                    "{name} {more:?} {key}: {whole} {parts}"
                );
            }
        }
    }
}

/// A reference model that takes all of the policy after each update is the policy, and one that follows it from afar is saved.
#[test]
fn a_reference_model_follows_and_resumes() {
    let dir = start();
    let beta = [
        "objective={name=\"grpo\", beta=0.1}",
        "train.max_steps=4",
        "checkpoint.every=2",
    ];
    let stays = train(dir.path(), "stays", &beta);
    let once = ["train.num_iterations=1", "train.mini_batches=1"];
    let follows = [
        "objective.sync_ref_model=true",
        "objective.ref_model_sync_steps=1",
        "objective.ref_model_mixup_alpha=1.0",
    ];
    let same = train(dir.path(), "same", &[&beta[..], &once, &follows].concat());
    assert!(number(&stays[3], "objective/kl_ref") > 1e-5, "{}", stays[3]);
    for line in &same {
        assert!(number(line, "objective/kl_ref").abs() < 1e-7, "{line}");
    }
    let slowly = [
        &beta[..],
        &[
            "objective.sync_ref_model=true",
            "objective.ref_model_sync_steps=3",
            "objective.ref_model_mixup_alpha=0.5",
            "objective.entropy_coef=0.01",
            "rollout.dynamic_sampling=true",
        ],
    ]
    .concat();
    train(dir.path(), "whole", &slowly);
    train(dir.path(), "parts", &slowly);
    let reference = "checkpoints/step-2/trainer/reference/model.safetensors";
    assert!(dir.path().join("parts").join(reference).is_file());
    fs::remove_dir_all(dir.path().join("parts/checkpoints/step-4")).unwrap();
    let mut args = vec!["train", "run.toml", "--device", "cpu", "--resume", "parts"];
    for set in &slowly {
        args.extend(["--set", *set]);
    }
    success(dir.path(), &args);
    for file in [
        "model.safetensors",
        "trainer/reference/model.safetensors",
        "trainer/optimizer.safetensors",
    ] {
        let of = |run: &str| fs::read(dir.path().join(run).join("checkpoints/step-4").join(file)).unwrap();
        assert!(of("whole") == of("parts"), "{file}");
    }
}

#[test]
fn dynamic_sampling_fills_a_step_with_groups_to_learn_from() {
    let dir = start();
    for (run, sets) in [
        ("grpo", &["objective={name=\"grpo\"}"][..]),
        ("gcpo", &["objective={name=\"gcpo\", base=\"dapo\"}"]),
        ("in_context", &["features.context=in_context"]),
    ] {
        let lines = train(
            dir.path(),
            run,
            &[sets, &["rollout.dynamic_sampling=true"]].concat(),
        );
        let mut discarded = 0.0;
        for line in &lines {
            let [rounds, sampled, away] = [
                "rollout/rounds",
                "rollout/sampled_groups",
                "rollout/discarded_groups",
            ]
            .map(|key| number(line, key));
            assert_eq!(sampled - away, 8.0, "{line}");
            assert_eq!(number(line, "reward/flat_frac"), 0.0, "{line}");
            assert!(rounds > 1.0 || away == 0.0, "{line}");
            assert_eq!(
                away > 0.0,
                number(line, "rollout/discarded_tokens") > 0.0,
                "{line}"
            );
            let mean = number(line, "reward/sampled_mean");
            assert!(mean > 0.0 && mean < 1.0, "{line}");
            discarded += away;
        }
        assert!(discarded > 0.0, "nothing was flat: {lines:?}");
    }
    // Two rounds are not enough here, and those that are left stay.
    let sets = [
        "objective={name=\"grpo\"}",
        "rollout.dynamic_sampling=true",
        "rollout.max_num_gen_batches=2",
        "rollout.temperature=0.2",
    ];
    let lines = train(dir.path(), "limit", &sets);
    assert!(
        lines.iter().all(|line| number(line, "rollout/rounds") == 2.0),
        "{lines:?}"
    );
    assert!(
        lines.iter().any(|line| number(line, "reward/flat_frac") > 0.0),
        "{lines:?}"
    );
}

/// Two rewards, each compared by itself.
#[test]
fn rewards_may_be_normalised_one_by_one() {
    let dir = start();
    let text = format!(
        "{RUN}\n[[reward]]\nname = \"accuracy\"\n[[reward]]\nname = \"length\"\nmax_length = 8\nweight = 0.1\n"
    );
    fs::write(dir.path().join("run.toml"), text).unwrap();
    let summed = train(dir.path(), "summed", &["objective={name=\"grpo\"}"]);
    let apart = ["objective={name=\"grpo\", multi_objective_aggregation=\"normalize_then_sum\"}"];
    let apart = train(dir.path(), "apart", &apart);
    // The first rollout is the same, what is made of it is not.
    assert_eq!(summed[0]["reward/mean"], apart[0]["reward/mean"]);
    assert_ne!(summed[0]["grad/norm"], apart[0]["grad/norm"]);
}
