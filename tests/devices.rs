//! What a user sees of devices: the list, messages about those that are not there, and training on several.

mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use program::gcpo;
use safetensors::SafeTensors;
use serde_json::Value;

fn json(output: &Output) -> Value {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Standard error of a command that must fail with a message and no panic.
#[track_caller]
fn failure(dir: &Path, args: &[&str]) -> String {
    let output = gcpo(dir, args);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("error: ") && !text.contains("panicked"), "{text}");
    text
}

#[test]
fn every_listed_device_opens_and_every_missing_kind_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let list = json(&gcpo(dir.path(), &["devices", "--json"]));
    let devices = list["devices"].as_array().unwrap();
    assert!(devices.iter().any(|device| device["device"] == "cpu"));
    for device in devices.iter().filter(|device| device["error"].is_null()) {
        let spec = device["device"].as_str().unwrap();
        assert!(device["dtypes"].as_array().unwrap().contains(&"float32".into()));
        assert!(!device["name"].as_str().unwrap().is_empty());
        let output = gcpo(
            dir.path(),
            &[
                "generate",
                "--model",
                "quickstart",
                "--prompt",
                "<q>1",
                "--device",
                spec,
            ],
        );
        assert!(output.status.success(), "{spec}");
    }
    for missing in list["missing"].as_array().unwrap() {
        let (kind, reason) = (
            missing["kind"].as_str().unwrap(),
            missing["reason"].as_str().unwrap(),
        );
        assert!(reason.contains("--features") || reason.contains("driver") || reason.contains("Mac"));
        let args = [
            "generate",
            "--model",
            "quickstart",
            "--prompt",
            "<q>1",
            "--device",
            kind,
        ];
        let text = failure(dir.path(), &args);
        assert!(text.contains(kind) && text.contains("--device cpu"), "{text}");
    }
}

#[test]
fn a_device_that_is_not_there_is_said_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let list = json(&gcpo(dir.path(), &["devices", "--json"]));
    let built = |kind: &str| {
        !list["missing"]
            .to_string()
            .contains(&format!("--features {kind}"))
    };
    for kind in ["cuda", "wgpu", "vulkan"] {
        let spec = format!("{kind}:4000");
        let text = failure(dir.path(), &["--device", &spec, "--run-dir", "run"]);
        let expected = if built(kind) { "looked for" } else { "--features" };
        assert!(text.contains(expected) && text.contains(kind), "{text}");
        assert!(!dir.path().join("run").exists());
    }
}

#[test]
fn a_number_format_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let text = failure(dir.path(), &["--set", "train.dtype=int8"]);
    assert!(text.contains("float32") && text.contains("bfloat16"), "{text}");
}

#[cfg(feature = "ndarray")]
#[test]
fn numbers_that_a_device_does_not_compute_with_are_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let args = [
        "--device",
        "ndarray",
        "--set",
        "train.dtype=bfloat16",
        "--run-dir",
        "run",
    ];
    let text = failure(dir.path(), &args);
    assert!(
        text.contains("bfloat16") && text.contains("take float32"),
        "{text}"
    );
    assert!(!dir.path().join("run").exists());
}

#[cfg(feature = "ndarray")]
#[test]
fn ndarray_runs_the_main_job() {
    let dir = tempfile::tempdir().unwrap();
    let sets = ["train.max_steps=2", "train.prompts_per_step=2", "eval.every=0"];
    let mut args = vec!["--device", "ndarray", "--run-dir", "run"];
    args.extend(sets.iter().flat_map(|set| ["--set", set]));
    let output = gcpo(dir.path(), &args);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(metrics(&dir.path().join("run")).len(), 2);
}

#[test]
fn two_places_that_name_the_device_are_one_too_many() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--device", "cpu", "--set", "train.devices=[\"cpu\"]"];
    let text = failure(dir.path(), &args);
    assert!(
        text.contains("--device cpu") && text.contains("train.devices"),
        "{text}"
    );
    let text = failure(dir.path(), &["--set", "train.devices=[\"gpu\"]"]);
    assert!(text.contains("train.devices") && text.contains("`gpu`"), "{text}");
}

fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn weights(run: &Path, step: usize) -> BTreeMap<String, Vec<f32>> {
    let path = run.join(format!("checkpoints/step-{step}/model.safetensors"));
    let bytes = fs::read(path).unwrap();
    let floats = |bytes: &[u8]| {
        let values = bytes.chunks_exact(4);
        values
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    };
    SafeTensors::deserialize(&bytes)
        .unwrap()
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, floats(view.data())))
        .collect()
}

/// One step of GCPO, or of SFT, with a reference, on these devices.
fn step(dir: &Path, name: &str, command: &str, devices: &str) {
    let config = r#"
        [model]
        path = "quickstart"
        [data]
        generator = "arithmetic"
        count = 20
        [prompt]
        style = "marks"
        [grader]
        kind = "numbers"
        [rollout]
        num_generations = 3
        max_completion_length = 10
        [projection]
        integrations = 2
        samples = 2
        [objective]
        beta = 0.04
        [train]
        max_steps = 1
        prompts_per_step = 5
        per_device_train_batch_size = 4
        gradient_accumulation_steps = 3
        learning_rate = 1e-4
        lr_scheduler_type = "constant"
    "#;
    fs::write(dir.join("run.toml"), config).unwrap();
    let set = format!("train.devices={devices}");
    let args = [command, "run.toml", "--run-dir", name, "--set", &set];
    let output = gcpo(dir, &args);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What was sampled, without what is measured on it.
fn samples(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("samples.jsonl")).unwrap();
    text.lines()
        .map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            line.as_object_mut().unwrap().remove("upsilon");
            line
        })
        .collect()
}

/// Metrics and weights after a step are those of another run's, up to the order of sums.
#[track_caller]
fn assert_same_step(run: &Path, expected: &Path, devices: &str) {
    let (found, metrics_of_expected) = (metrics(run).remove(0), metrics(expected).remove(0));
    assert!(metrics_of_expected["grad/norm"].as_f64().unwrap() > 0.0);
    for (key, value) in metrics_of_expected.as_object().unwrap() {
        // Seconds differ, and so do the blocks that keys and values take; the processor's own engine decodes no row that has
        // ended, the others do.
        let differs = key.starts_with("time/")
            || key == "rollout/kv_bytes"
            || key == "rollout/decoded_tokens" && devices.contains("ndarray");
        if let (Some(a), false) = (value.as_f64(), differs) {
            let b = found[key].as_f64().unwrap();
            assert!(
                (a - b).abs() <= 1e-5 * a.abs().max(1.0),
                "{devices} {key}: {a} {b}"
            );
        }
    }
    let (found, weights_of_expected) = (weights(run, 1), weights(expected, 1));
    assert_eq!(found.len(), weights_of_expected.len());
    for (name, values) in found {
        for (a, b) in values.iter().zip(&weights_of_expected[&name]) {
            assert!((a - b).abs() < 1e-5, "{devices} {name}: {a} {b}");
        }
    }
}

/// What was sampled is the same to the token; gradients and weights are, up to the order of sums.
#[test]
fn a_step_on_several_devices_is_the_step_on_one() {
    let mut several = vec!["[\"cpu\", \"cpu\"]", "[\"cpu\", \"cpu\", \"cpu\"]"];
    if cfg!(feature = "ndarray") {
        several.push("[\"cpu\", \"ndarray\"]");
    }
    for command in ["train", "sft"] {
        let dir = tempfile::tempdir().unwrap();
        step(dir.path(), "one", command, "[\"cpu\"]");
        let one = dir.path().join("one");
        for (number, devices) in several.iter().enumerate() {
            let name = format!("run-{number}");
            step(dir.path(), &name, command, devices);
            let run = dir.path().join(name);
            assert_same_step(&run, &one, devices);
            if command == "train" && !devices.contains("ndarray") {
                assert_eq!(samples(&run), samples(&one));
            }
        }
    }
}
