//! Adapters through the program: trained, resumed, scored, evaluated, sampled from and merged.

mod program;

use std::fs;
use std::path::Path;

use gcpo_model::checkpoint::{load, save};
use gcpo_model::dtype::Dtype;
use gcpo_model::generation::GenerationConfig;
use program::{checkpoint, failure, files, json, quickstart, success, temp};
use safetensors::SafeTensors;

/// A short run whose adapters move far: rollouts of old ones would be seen.
const RUN: &str = r#"
    [model]
    path = "quickstart"
    [model.lora]
    r = 4
    lora_alpha = 8
    target_modules = "all-linear"
    [data]
    generator = "arithmetic"
    [prompt]
    style = "marks"
    [rollout]
    num_generations = 4
    max_completion_length = 12
    [objective]
    name = "grpo"
    beta = 0.04
    [grader]
    kind = "numbers"
    [train]
    max_steps = 4
    prompts_per_step = 4
    learning_rate = 2e-2
    lr_scheduler_type = "constant"
    [checkpoint]
    every = 2
"#;

fn train<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["train", "run.toml", "--device", "cpu"], more].concat()
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(json).collect()
}

fn tensor_names(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut names: Vec<String> = file.names().into_iter().map(str::to_owned).collect();
    names.sort();
    names
}

fn copy(from: &Path, to: &Path) {
    for (path, bytes) in files(from) {
        let path = to.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// What is scored: the log-probabilities of some tokens.
fn scores(dir: &Path, model: &[&str]) -> Vec<f64> {
    let texts = "{\"text\": \"<q>12+7=<a>19<eos>\"}\n{\"text\": \"<q>5+38=<a>43<eos>\"}\n";
    fs::write(dir.join("texts.jsonl"), texts).unwrap();
    let args = [
        &["score", "--input", "texts.jsonl", "--json", "--device", "cpu"],
        model,
    ]
    .concat();
    let (out, _) = success(dir, &args);
    let rows = out.lines().map(json);
    rows.flat_map(|row| row["logprobs"].as_array().unwrap().clone())
        .filter_map(|logp| logp.as_f64())
        .collect()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .fold(0.0, |most, (a, b)| f64::max(most, (a - b).abs()))
}

/// The model of `base` in float32.
fn wide(dir: &Path) {
    let (from, to) = (dir.join("base"), dir.join("wide"));
    copy(&from, &to);
    let device = gcpo_model::device::of_tests();
    let model = load(&from, Dtype::F32, &device).unwrap();
    let generation = GenerationConfig::load(&from, model.config()).unwrap();
    save(&model, &generation, &to, Dtype::F32).unwrap();
}

#[test]
fn a_run_trains_adapters_alone_and_resumes_to_the_byte() {
    let dir = temp();
    let dir = dir.path();
    quickstart(&dir.join("base"));
    fs::write(dir.join("run.toml"), RUN.replace("quickstart", "base")).unwrap();
    let before = files(&dir.join("base"));
    success(dir, &train(&["--run-dir", "run"]));
    assert_eq!(files(&dir.join("base")), before);

    // Every step's tokens were sampled by the adapters that the step before had made.
    let metrics = lines(&dir.join("run/metrics.jsonl"));
    let gaps: Vec<f64> = metrics
        .iter()
        .filter_map(|line| line["rollout/trainer_gap"].as_f64())
        .collect();
    assert_eq!(gaps.len(), 4);
    assert!(gaps.iter().all(|gap| (gap - 1.0).abs() < 1e-3), "{gaps:?}");
    let kl = |line: &serde_json::Value| line["objective/kl_ref"].as_f64();
    let kl: Vec<f64> = metrics.iter().filter_map(kl).collect();
    // The reference is the base: what a policy with new adapters still is.
    assert!(kl[0].abs() < 1e-5 && kl[3] > 1e-3, "{kl:?}");

    // A PEFT directory, and what only a resume reads below it.
    let step = dir.join("run/checkpoints/step-4");
    let names = tensor_names(&step.join("adapter_model.safetensors"));
    assert!(names.contains(&"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight".to_owned()));
    assert!(
        names
            .iter()
            .all(|name| name.contains(".lora_A.") || name.contains(".lora_B."))
    );
    assert_eq!(
        tensor_names(&step.join("trainer/optimizer.safetensors")).len(),
        3 * names.len()
    );
    assert!(!step.join("model.safetensors").exists() && !step.join("config.json").exists());
    assert!(step.join("tokenizer.json").exists());
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(step.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!((&config["r"], &config["lora_alpha"]), (&4.into(), &8.into()));
    assert_eq!(config["peft_type"], "LORA");

    // As if it had been killed after step 3: the logs go further than the last checkpoint.
    copy(&dir.join("run"), &dir.join("again"));
    fs::remove_dir_all(dir.join("again/checkpoints/step-4")).unwrap();
    success(dir, &train(&["--resume", "again"]));
    let again = files(&dir.join("again/checkpoints/step-4"));
    for (path, bytes) in files(&step) {
        assert!(again.get(&path) == Some(&bytes), "{} differs", path.display());
    }
    assert_eq!(
        fs::read(dir.join("run/samples.jsonl")).unwrap(),
        fs::read(dir.join("again/samples.jsonl")).unwrap()
    );

    // The base is part of it.
    fs::remove_dir_all(dir.join("again/checkpoints/step-4")).unwrap();
    let mut weights = fs::read(dir.join("base/model.safetensors")).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    fs::write(dir.join("base/model.safetensors"), weights).unwrap();
    let error = failure(dir, &train(&["--resume", "again"]));
    assert!(
        error.contains("base model, which has adapters or is the reference model (model.safetensors)"),
        "{error}"
    );
    let error = failure(dir, &train(&["--resume", "run", "--set", "model.lora.r=8"]));
    assert!(error.contains("`model.lora.r`"), "{error}");
}

#[test]
fn dropout_repeats_resumes_and_stays_in_training() {
    let dir = temp();
    let dir = dir.path();
    let run = RUN.replace("r = 4", "r = 4\n    lora_dropout = 0.2");
    quickstart(&dir.join("base"));
    fs::write(dir.join("run.toml"), run).unwrap();
    success(dir, &train(&["--run-dir", "run"]));
    let step = dir.join("run/checkpoints/step-4");
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(step.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!(config["lora_dropout"], 0.2);

    // New adapters are 0 behind what they leave out; later ones are not, and what samples leaves nothing out.
    let metrics = lines(&dir.join("run/metrics.jsonl"));
    let of = |key: &str| -> Vec<f64> { metrics.iter().filter_map(|line| line[key].as_f64()).collect() };
    let gaps = of("rollout/trainer_gap");
    assert!((gaps[0] - 1.0).abs() < 1e-3, "{gaps:?}");
    assert!(gaps[1..].iter().all(|gap| *gap > 1.001), "{gaps:?}");
    assert!(of("objective/kl_ref")[0].abs() < 1e-5);

    copy(&dir.join("run"), &dir.join("again"));
    fs::remove_dir_all(dir.join("again/checkpoints/step-4")).unwrap();
    success(dir, &train(&["--resume", "again"]));
    let again = files(&dir.join("again/checkpoints/step-4"));
    for (path, bytes) in files(&step) {
        assert!(again.get(&path) == Some(&bytes), "{} differs", path.display());
    }

    // Another cut of micro-batches and another number of threads leave out the same.
    let weights = |run: &str| {
        scores(
            dir,
            &[
                "--model",
                "base",
                "--adapter",
                &format!("{run}/checkpoints/step-2"),
            ],
        )
    };
    let small = [
        "--run-dir",
        "small",
        "--set",
        "train.max_steps=2",
        "--set",
        "train.per_device_train_batch_size=3",
    ];
    success(dir, &train(&small));
    let off = distance(&weights("run"), &weights("small"));
    assert!(off < 1e-2, "{off}");
    let seed = [
        "--run-dir",
        "seed",
        "--set",
        "train.max_steps=2",
        "--set",
        "model.lora.lora_dropout=0",
    ];
    success(dir, &train(&seed));
    assert!(distance(&weights("run"), &weights("seed")) > 10.0 * off);
}

#[test]
fn dora_is_trained_resumed_and_merged() {
    let dir = temp();
    let dir = dir.path();
    quickstart(&dir.join("base"));
    let run = RUN
        .replace("quickstart", "base")
        .replace("r = 4", "r = 4\n    use_dora = true\n    lora_dropout = 0.1");
    fs::write(dir.join("run.toml"), run.replace("every = 2", "every = 1")).unwrap();
    let two = ["--run-dir", "run", "--set", "train.max_steps=2"];
    let (_, said) = success(dir, &train(&two));
    assert!(
        said.contains("use_dora: training computes by tensor operations"),
        "{said}"
    );
    let step = dir.join("run/checkpoints/step-2");
    let names = tensor_names(&step.join("adapter_model.safetensors"));
    let magnitude = "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector";
    assert!(names.contains(&magnitude.to_owned()), "{names:?}");
    copy(&dir.join("run"), &dir.join("again"));
    fs::remove_dir_all(dir.join("again/checkpoints/step-2")).unwrap();
    success(dir, &train(&["--resume", "again"]));
    let again = files(&dir.join("again/checkpoints/step-2"));
    for (path, bytes) in files(&step) {
        assert!(again.get(&path) == Some(&bytes), "{} differs", path.display());
    }
    wide(dir);
    let adapter = "run/checkpoints/step-2";
    success(
        dir,
        &[
            "merge",
            "--model",
            "wide",
            "--adapter",
            adapter,
            "--out",
            "merged",
        ],
    );
    let adapted = scores(dir, &["--model", "wide", "--adapter", adapter]);
    assert!(distance(&adapted, &scores(dir, &["--model", "wide"])) > 0.05);
    assert!(distance(&adapted, &scores(dir, &["--model", "merged"])) < 1e-4);
}

#[test]
fn an_adapter_is_scored_evaluated_sampled_from_and_merged_alike() {
    let dir = temp();
    let dir = dir.path();
    quickstart(&dir.join("base"));
    fs::write(dir.join("run.toml"), RUN).unwrap();
    success(dir, &train(&["--run-dir", "run", "--set", "train.max_steps=2"]));
    let adapter = "run/checkpoints/step-2";
    let (base, with) = (
        scores(dir, &["--model", "base"]),
        ["--model", "base", "--adapter", adapter],
    );
    let adapted = scores(dir, &with);
    assert!(distance(&base, &adapted) > 0.05, "the adapter does nothing");
    let merge = [
        "merge",
        "--model",
        "wide",
        "--adapter",
        adapter,
        "--out",
        "merged",
    ];
    wide(dir);
    success(dir, &merge);
    let off = distance(&adapted, &scores(dir, &["--model", "merged"]));
    assert!(off < 1e-4, "{off}");
    // In the format of the base, bfloat16 here.
    for base in ["base", "quickstart"] {
        let out = format!("of_{base}");
        success(
            dir,
            &["merge", "--model", base, "--adapter", adapter, "--out", &out],
        );
        let bytes = |of: &str| {
            fs::metadata(dir.join(of).join("model.safetensors"))
                .unwrap()
                .len()
        };
        assert_eq!(bytes(&out), bytes("base"));
        assert!(distance(&adapted, &scores(dir, &["--model", &out])) < 0.2);
    }
    for name in [
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
        "config.json",
    ] {
        assert!(dir.join("merged").join(name).is_file(), "{name}");
    }
    assert!(failure(dir, &merge).contains("not empty"));

    let generate = |model: &[&str]| {
        let args = [
            "generate",
            "--prompt",
            "<q>1+2=<a>",
            "-n",
            "4",
            "--json",
            "--device",
            "cpu",
        ];
        json(&success(dir, &[&args, model].concat()).0)["completions"].clone()
    };
    let texts = |found: serde_json::Value| -> Vec<String> {
        found
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["text"].to_string())
            .collect()
    };
    assert_eq!(texts(generate(&with)), texts(generate(&["--model", "merged"])));

    fs::write(
        dir.join("data.jsonl"),
        "{\"question\": \"3+4\", \"answer\": \"#### 7\"}\n",
    )
    .unwrap();
    let eval = |out: &str, model: &[&str]| {
        let args = [
            "eval",
            "--data",
            "data.jsonl",
            "--preset",
            "gsm8k",
            "--samples",
            "4",
            "--set",
            "eval.max_completion_length=16",
            "--out",
            out,
            "--device",
            "cpu",
        ];
        success(dir, &[&args, model].concat());
        let records = lines(&dir.join(out));
        let header = records[0].clone();
        let texts = records[1..].iter().map(|record| record["completion"].to_string());
        (header, texts.collect::<Vec<String>>())
    };
    let (header, adapted) = eval("a.jsonl", &with);
    assert_eq!(adapted, eval("b.jsonl", &["--model", "merged"]).1);
    assert!(header["files"]["adapter_model.safetensors"].is_string());
    assert!(header["model"].as_str().unwrap().contains(adapter));

    for command in [
        "inspect run/checkpoints/step-2",
        "score --model run/checkpoints/step-2 --input texts.jsonl",
    ] {
        let error = failure(dir, &command.split(' ').collect::<Vec<_>>());
        assert!(
            error.contains("holds an adapter") && error.contains("--adapter"),
            "{error}"
        );
    }
    checkpoint(&dir.join("other"));
    let error = failure(
        dir,
        &[
            "score",
            "--model",
            "other",
            "--adapter",
            adapter,
            "--input",
            "texts.jsonl",
        ],
    );
    assert!(
        error.contains("adapter_model.safetensors") && error.contains("has shape"),
        "{error}"
    );
}

#[test]
fn supervised_training_and_other_number_formats_and_devices_train_adapters() {
    let dir = temp();
    let dir = dir.path();
    let sft = RUN
        .replace("beta = 0.04", "")
        .replace("[grader]", "[sft]\n[grader]");
    fs::write(dir.join("run.toml"), &sft).unwrap();
    let args = |run: &'static str| ["sft", "run.toml", "--device", "cpu", "--run-dir", run];
    success(dir, &args("sft"));
    copy(&dir.join("sft"), &dir.join("sft2"));
    fs::remove_dir_all(dir.join("sft2/checkpoints/step-4")).unwrap();
    success(dir, &["sft", "run.toml", "--device", "cpu", "--resume", "sft2"]);
    let end = |run: &str| files(&dir.join(run).join("checkpoints/step-4"));
    assert!(end("sft") == end("sft2"));
    // As in reinforcement learning, what is slow is said.
    let slow = ["--set", "model.lora.use_dora=true", "--set", "train.max_steps=1"];
    let (_, said) = success(dir, &[args("dora").as_slice(), &slow].concat());
    assert!(
        said.contains("use_dora: training computes by tensor operations"),
        "{said}"
    );

    // Two devices come to what one comes to, up to the order of sums.
    fs::write(dir.join("run.toml"), RUN).unwrap();
    let two = ["--set", "train.devices=[\"cpu\", \"cpu\"]", "--run-dir", "two"];
    success(dir, &[&["train", "run.toml"], two.as_slice()].concat());
    success(dir, &train(&["--run-dir", "one"]));
    quickstart(&dir.join("base"));
    let with = |run: &str| {
        let adapter = format!("{run}/checkpoints/step-2");
        scores(dir, &["--model", "base", "--adapter", &adapter])
    };
    assert!(distance(&with("one"), &with("two")) < 1e-2);
    let gaps = |run: &str| -> Vec<f64> {
        let lines = lines(&dir.join(run).join("metrics.jsonl"));
        let gaps = lines
            .iter()
            .filter_map(|line| line["rollout/trainer_gap"].as_f64());
        gaps.collect()
    };
    assert!(
        gaps("two").iter().all(|gap| (gap - 1.0).abs() < 1e-3),
        "{:?}",
        gaps("two")
    );

    // The base in 16 bits, adapters in 32: what samples is what is trained.
    success(
        dir,
        &train(&["--run-dir", "half", "--set", "train.dtype=bfloat16"]),
    );
    assert!(
        gaps("half").iter().all(|gap| (gap - 1.0).abs() < 0.05),
        "{:?}",
        gaps("half")
    );
    assert!(distance(&with("half"), &scores(dir, &["--model", "base"])) > 0.05);
}

#[test]
fn what_cannot_be_is_refused_and_an_empty_section_is_one() {
    let dir = temp();
    let dir = dir.path();
    fs::write(dir.join("run.toml"), RUN).unwrap();
    for (set, says) in [
        ("model.lora.lora_dropout=1", "model.lora.lora_dropout"),
        ("model.lora.r=0", "model.lora.r"),
        ("model.lora.lora_alpha=0", "model.lora.lora_alpha"),
        ("model.lora.target_modules=[]", "model.lora.target_modules"),
        ("model.lora.target_modules=\"all\"", "all-linear"),
        ("model.lora.target_modules=[\"lm_head\"]", "`lm_head` is none of"),
        ("model.lora.rank=4", "model.lora.rank"),
        ("model.save_dtype=bfloat16", "gcpo merge"),
    ] {
        let error = failure(dir, &train(&["--run-dir", "run", "--set", set]));
        assert!(error.contains(says), "{set}: {error}");
        assert!(!dir.join("run").exists());
    }
    let config = |text: &str| gcpo::config::Config::from_str(text, "run.toml", &[]).unwrap();
    let with = config("[model]\npath = \"quickstart\"\n[model.lora]\n");
    let lora = with
        .model
        .lora
        .clone()
        .expect("an empty section means adapters")
        .lora();
    assert_eq!((lora.r, lora.scale()), (8, 1.0));
    assert_eq!(config(&with.to_toml()).model.lora, with.model.lora);
    assert!(config("[model]\npath = \"quickstart\"\n").model.lora.is_none());
}
