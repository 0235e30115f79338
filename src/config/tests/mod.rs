//! What a user is told, and what a file means.

mod lists;
mod objective;

use super::*;
use crate::learner::LrSchedulerType;
use crate::objective::Which;
use crate::policy::ModelPath;
use crate::source::{Generator, Preset};

const FILE: &str = r#"seed = 3

[model]
path = "quickstart"

[data]
generator = "arithmetic"

[rollout]
num_generations = 4

[objective]
name = "gcpo"

[train]
learning_rate = 1e-3
"#;

fn read(text: &str, sets: &[&str]) -> Result<Config, ConfigError> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Config::from_str(text, "configs/a.toml", &sets)
}

#[track_caller]
fn error(text: &str, sets: &[&str]) -> String {
    read(text, sets).unwrap_err().to_string()
}

#[test]
fn the_empty_file_is_every_default() {
    let config = read("", &[]).unwrap();
    let Which::Gcpo(gcpo) = &config.objective.kind else {
        panic!("{:?}", config.objective)
    };
    assert_eq!(
        (gcpo.alpha, gcpo.kappa, config.train.learning_rate),
        (2.0, 0.06, 1e-6)
    );
    assert_eq!(config.run.name, "a");
}

#[test]
fn optional_values_follow_the_others() {
    let config = read(FILE, &["eval.temperature=0"]).unwrap();
    assert_eq!(
        (config.projection.integrations, config.projection.samples),
        (4, 4)
    );
    assert_eq!(config.sft.candidates, 4);
    assert_eq!(config.sft.candidate_wrong_frac, 0.0);
    assert_eq!(config.objective.epsilon_high, Some(0.2));
    assert_eq!(config.eval.generator, Some(Generator::Arithmetic));
    assert_eq!((config.eval.temperature, config.eval.top_p), (0.0, 1.0));
    assert_eq!(config.eval.max_completion_length, 256);
    let config = read(FILE, &["projection.samples=2"]).unwrap();
    let projection = &config.projection;
    assert_eq!((projection.integrations, projection.samples), (4, 2));
}

#[test]
fn the_written_config_is_complete_and_reads_back_the_same() {
    let sets = [
        "run.dir=somewhere",
        "data.limit=5",
        "eval.preset=\"gsm8k\"",
        "eval.path=e.jsonl",
        "prompt.style=marks",
    ];
    let config = read(FILE, &sets).unwrap();
    let text = config.to_toml();
    let mut again = read(&text, &[]).unwrap();
    assert_eq!(again.to_toml(), text);
    again.run.dir = config.run.dir.clone();
    assert_eq!(again, config);
    for line in [
        "seed = 3",
        "integrations = 4",
        "epsilon_high = 0.2",
        "learning_rate = 0.001",
        "name = \"a\"",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("somewhere"), "{text}");
    let here = std::path::absolute("e.jsonl").unwrap();
    assert!(text.contains(here.to_str().unwrap()), "{text}");
}

#[test]
fn an_unknown_key_names_line_and_nearest() {
    assert_eq!(
        error(&FILE.replace("learning_rate", "learnin_rate"), &[]),
        "configs/a.toml:16: `train.learnin_rate`: no such key; did you mean `train.learning_rate`?"
    );
    assert_eq!(
        error(&FILE.replace("[rollout]", "[rolout]"), &[]),
        "configs/a.toml:9: `rolout`: no such key; did you mean `rollout`?"
    );
    let far = error(&FILE.replace("learning_rate", "zzz"), &[]);
    assert!(
        far.starts_with(
            "configs/a.toml:16: `train.zzz`: no such key; known here: num_train_epochs, max_steps, "
        ),
        "{far}"
    );
}

#[test]
fn a_wrong_type_names_line_and_field() {
    assert_eq!(
        error(
            &FILE.replace("num_generations = 4", "num_generations = \"four\""),
            &[]
        ),
        "configs/a.toml:10: `rollout.num_generations`: wrong type: string \"four\"; give a whole number, 0 or more"
    );
    assert_eq!(
        error(&FILE.replace("seed = 3", "seed = -3"), &[]),
        "configs/a.toml:1: `seed`: impossible value: integer `-3`; give a whole number, 0 or more"
    );
    let text = error(&FILE.replace("name = \"gcpo\"", "name = \"gcpoo\""), &[]);
    assert!(
        text.starts_with(
            "configs/a.toml:13: `objective.name`: \"gcpoo\" is not one of its values; did you mean \"gcpo\"?"
        ),
        "{text}"
    );
    let text = error(
        &FILE.replace("[objective]\nname", "objective = 1\n[features]\nsimilarity"),
        &[],
    );
    assert!(text.contains("`rollout.objective`"), "{text}");
}

#[test]
fn impossible_values_name_the_line_or_the_set() {
    assert_eq!(
        error(&FILE.replace("1e-3", "nan"), &[]),
        "configs/a.toml:16: `train.learning_rate`: NaN is impossible; give a number of 0 or more"
    );
    assert_eq!(
        error(FILE, &["train.learning_rate=-1"]),
        "--set train.learning_rate=-1: `train.learning_rate`: -1 is impossible; give a number of 0 or more"
    );
    // What the file says wrong is no matter once a set says it right.
    assert!(read(&FILE.replace("1e-3", "-1"), &["train.learning_rate=1"]).is_ok());
    // A set moves no line of the file.
    let file = FILE.replace("1e-3", "-1");
    assert!(error(&file, &["model.save_dtype=float16", "eval.every=2"]).starts_with("configs/a.toml:16:"));
}

#[test]
fn each_impossible_value_is_refused() {
    for (set, field) in [
        ("rollout.num_generations=0", "rollout.num_generations"),
        ("rollout.top_p=1.5", "rollout.top_p"),
        ("rollout.min_p=-0.1", "rollout.min_p"),
        ("rollout.repetition_penalty=0", "rollout.repetition_penalty"),
        ("eval.repetition_penalty=-1.2", "eval.repetition_penalty"),
        ("rollout.max_rows=0", "rollout.max_rows"),
        ("projection.integrations=0", "projection.integrations"),
        ("projection.floor=0", "projection.floor"),
        ("projection.ratio_max=0.5", "projection.ratio_max"),
        ("features.sigma=0", "features.sigma"),
        ("objective.epsilon=1.5", "objective.epsilon"),
        ("objective.kappa=inf", "objective.kappa"),
        ("train.mini_batches=3", "train.mini_batches"),
        ("train.adam_beta2=1", "train.adam_beta2"),
        ("train.warmup_ratio=2", "train.warmup_ratio"),
        ("sft.wrong_frac=2", "sft.wrong_frac"),
        ("sft.candidate_wrong_frac=-1", "sft.candidate_wrong_frac"),
        ("data.variants=2", "data.variants"),
        ("grader.expressions=true", "grader.expressions"),
        ("sft.project_frac=0.8", "sft.project_frac"),
        ("eval.size=0", "eval.size"),
        ("eval.temperature=-1", "eval.temperature"),
        ("data.path=a.jsonl", "data.generator"),
        ("data.split=test", "data.split"),
        ("data.weights=[1,2]", "data.weights"),
        ("eval.split=test", "eval.split"),
        ("train.num_train_epochs=0", "train.num_train_epochs"),
        ("prompt.instruction=Think.", "prompt.instruction"),
        ("data.preset=gsm8k", "data.preset"),
        ("eval.preset=gsm9k", "eval.preset"),
        ("model.init=random", "model.init"),
        ("model.shape.hidden_size=8", "model.shape"),
        ("model.tokenizer=train", "model.tokenizer"),
        ("prompt.system=hi", "prompt.system"),
    ] {
        let text = error(FILE, &[set]);
        assert!(text.contains(&format!("`{field}`: ")), "--set {set}: {text}");
        assert!(
            text.starts_with("--set") || text.starts_with("configs/a.toml:"),
            "--set {set}: {text}"
        );
    }
}

#[test]
fn sets_take_any_path_and_any_value() {
    let sets = [
        "model.path=/some/where",
        "data.path=x.csv",
        "objective.name=grpo",
        "train.lr_scheduler_type = \"cosine\"",
        "projection.skip_flat_groups=false",
        "data.preset={ question = \"q\", answer = \"a\" }",
        "run.name=2026-01-01",
    ];
    let config = read(&FILE.replace("generator = \"arithmetic\"", ""), &sets).unwrap();
    assert_eq!(config.model.path, Some(ModelPath::Dir("/some/where".into())));
    assert_eq!(config.objective.kind.name(), "grpo");
    assert_eq!(config.train.lr_scheduler_type, LrSchedulerType::Cosine);
    assert!(!config.projection.skip_flat_groups);
    assert!(matches!(&config.data.preset, Some(Preset::Fields(fields)) if fields.question == ["q"]));
    assert_eq!(config.run.name, "2026-01-01");
    // A shape may come in parts, in any order.
    let shape = [
        "hidden_size=8",
        "intermediate_size=16",
        "num_hidden_layers=1",
        "num_attention_heads=2",
    ];
    let mut sets: Vec<String> = shape.iter().map(|set| format!("model.shape.{set}")).collect();
    sets.extend(["model.init=random".into(), "model.tokenizer=arithmetic".into()]);
    let config = Config::from_str("", "a.toml", &sets).unwrap();
    let shape = config.model.shape.unwrap();
    assert_eq!((shape.num_key_value_heads, shape.head_dim), (2, 4));
}

#[test]
fn an_unknown_preset_names_the_nearest() {
    let text = error("[data]\npath = \"a.csv\"\npreset = \"swamp\"\n", &[]);
    assert!(text.starts_with("configs/a.toml:3: `data.preset`: "), "{text}");
    assert!(text.contains("swamp") && text.contains("svamp"), "{text}");
    let text = error(
        "[data]\npath = \"a.csv\"\npreset = { qestion = \"q\", answer = \"a\" }\n",
        &[],
    );
    assert!(
        text.contains("`data.preset.qestion`") && text.contains("data.preset.question"),
        "{text}"
    );
}

#[test]
fn a_wrong_set_names_itself() {
    for (set, text) in [
        (
            "train.max_step=3",
            "--set train.max_step=3: `train.max_step`: no such key; did you mean `train.max_steps`?",
        ),
        (
            "trian.max_steps=3",
            "--set trian.max_steps=3: `trian`: no such key; did you mean `train`?",
        ),
        (
            "train.max_steps=x",
            "--set train.max_steps=x: `train.max_steps`: wrong type: string \"x\"; give a whole number, 0 or more",
        ),
        (
            "train.max_steps",
            "--set train.max_steps: a set is `key=value`; for example `--set train.max_steps=10`",
        ),
        (
            "seed.x=1",
            "--set seed.x=1: `seed.x`: `seed` is a value, it holds no keys",
        ),
        (
            "=1",
            "--set =1: the key is empty or has an empty part; for example `--set train.max_steps=10`",
        ),
    ] {
        assert_eq!(error(FILE, &[set]), text);
    }
}

#[test]
fn what_is_no_toml_says_where() {
    let text = error("seed = 1\nmodel = [", &[]);
    assert!(text.starts_with("configs/a.toml:2: this is no TOML: "), "{text}");
    let text = error("seed = 1\nseed = 2", &[]);
    assert!(text.starts_with("configs/a.toml:2: this is no TOML: "), "{text}");
    let missing = Config::load(Path::new("no/such.toml"), &[])
        .unwrap_err()
        .to_string();
    assert!(missing.starts_with("no/such.toml: cannot be read: "), "{missing}");
}

#[test]
fn expressions_are_taught_where_the_grader_takes_them() {
    for (set, good) in [
        ("grader.kind=math", true),
        ("grader.kind=numbers", false),
        ("grader={kind=\"numbers\", expressions=true}", true),
    ] {
        let found = read(FILE, &[set, "sft.solutions=expression"]);
        assert_eq!(found.is_ok(), good, "{set}: {found:?}");
    }
}

#[test]
fn names_of_other_programs_are_known() {
    for (line, said) in [
        ("train.save_steps", "`save_steps` is `checkpoint.every` here"),
        ("train.loss_type", "`loss_type` is `objective.name` here"),
        ("train.bf16", "`bf16` is `train.dtype` here"),
        ("bf16", "`bf16` is `train.dtype` here"),
        ("actor.optim.lr", "`lr` is `train.learning_rate` here"),
        (
            "actor_rollout_ref.rollout.n",
            "`rollout.n` is `rollout.num_generations` here",
        ),
        ("algorithm.kl_coef", "`kl_coef` is `objective.beta` here"),
        ("train.output_dir", "`output_dir` is `run.dir` here"),
        ("train.logging_steps", "every step is written to metrics.jsonl"),
        ("train.report_to", "did you mean `run.report_to`?"),
        ("train.log_completions", "did you mean `run.log_completions`?"),
        ("rollout.max_prompt_length", "prompts are never cut"),
        ("model.load_in_4bit", "a quantised base saves nothing"),
        ("model.quantization", "`train.dtype = \"bfloat16\"` halves it"),
        (
            "train.temperature",
            "did you mean `rollout.temperature` or `eval.temperature`?",
        ),
        ("rollout.max_grad_norm", "did you mean `train.max_grad_norm`?"),
        (
            "objective.max_completion_length",
            "did you mean `rollout.max_completion_length`",
        ),
    ] {
        let text = error(FILE, &[&format!("{line}=1")]);
        assert!(
            text.contains("no such key") && text.contains(said),
            "{line}: {text}"
        );
    }
    // Where a key is named, it is one.
    let keys = Draft::keys();
    for key in foreign::keys() {
        assert!(keys.iter().any(|known| known.path == key), "{key}");
    }
}

#[test]
fn an_objective_takes_its_own_keys_only() {
    let file = FILE.replace("name = \"gcpo\"", "name = \"gcpo\"\nkappa = 0.1");
    assert_eq!(
        error(&file, &["objective.name=grpo"]),
        "configs/a.toml:14: `objective.kappa`: `grpo` has no such key; it belongs to `gcpo`; remove it; `grpo` takes name, beta, epsilon, \
         epsilon_high, delta, importance_sampling_level, multi_objective_aggregation, scale_rewards, use_kl_in_reward, kl_estimator, \
         use_bias_correction_kl, sync_ref_model, ref_model_mixup_alpha, ref_model_sync_steps, entropy_coef, top_entropy_quantile, \
         off_policy_mask_threshold, vllm_importance_sampling_correction, vllm_importance_sampling_mode, \
         vllm_importance_sampling_clip_max, vllm_importance_sampling_clip_min, mask_truncated_completions"
    );
    assert!(read(&file, &["objective={name=\"grpo\"}"]).is_ok());
    // Sets are taken together, in any order.
    assert!(read("", &["objective.kappa=0.1", "objective.name=gcpo"]).is_ok());
}

#[test]
fn a_config_that_an_older_program_wrote_is_read() {
    let old = "[objective]\nname = \"grpo\"\nalpha = 2.0\nkappa = 0.06\nbeta = 0.04\nepsilon = 0.2\nepsilon_high = 0.2\n\
               [rollout]\nmemory_budget = \"4 GiB\"\n";
    let config = Draft::read_written(old, "config.toml").unwrap().finish().unwrap();
    assert_eq!(
        (config.objective.kind.name(), config.objective.beta),
        ("grpo", 0.04)
    );
    assert_eq!(
        config.differences(
            &read(
                "[objective]\nname = \"grpo\"\nbeta = 0.04\n",
                &["run.name=config", "grader.unfinished=grade"]
            )
            .unwrap()
        ),
        Vec::<String>::new()
    );
    assert!(Draft::read_written("[objective]\nkapa = 1", "config.toml").is_err());
}

#[test]
fn a_command_edits_what_was_typed() {
    let mut draft = Draft::read(FILE, "configs/a.toml").unwrap();
    draft.eval.samples = Some(3);
    draft.set("rollout.temperature=0.5").unwrap();
    draft.rollout.top_k = Some(7);
    let config = draft.finish().unwrap();
    assert_eq!(
        (config.eval.samples, config.eval.temperature, config.eval.top_k),
        (3, 0.5, 7)
    );
}

#[test]
fn what_is_for_chat_templates_is_for_chat_prompts_only() {
    for (set, said) in [
        ("prompt.chat_template_kwargs={a=1}", "has no chat template"),
        (
            "prompt.date=2025-01-31",
            "has no chat template that could ask for it",
        ),
        ("prompt.system=x", "has no system message"),
    ] {
        let text = error(FILE, &[set]);
        assert!(
            text.contains(said) && text.contains("prompt.style = \"chat\""),
            "{text}"
        );
    }
    let chat = |sets: &[&str]| read(FILE, &[&["prompt.style=chat"], sets].concat()).unwrap();
    let options = chat(&[]).prompt.chat_options();
    assert_eq!(options, gcpo_data::ChatOptions::default());
    let config = chat(&[
        "prompt.date=2025-01-31T12:00:05",
        "prompt.chat_template_kwargs={ enable_thinking = false, level = 3 }",
    ]);
    let options = config.prompt.chat_options();
    assert_eq!(options.now, 1_738_324_805);
    assert_eq!(options.arguments["enable_thinking"], false);
    // What is written means the same again.
    let again = Config::from_str(&config.to_toml(), "configs/a.toml", &[]).unwrap();
    assert_eq!(again.prompt, config.prompt);
    let written = read("[prompt]\nstyle = \"chat\"\ndate = 2025-01-31", &[]).unwrap();
    assert_eq!(written.prompt.chat_options().now, 1_738_281_600);
    assert!(
        error(FILE, &["prompt.style=chat", "prompt.date=yesterday"]).contains("give a date, \"2025-01-31\"")
    );
}

#[test]
fn epochs_are_steps_once_the_problems_are_known() {
    let settled = |text: &str, problems: usize| {
        let mut config = Config::from_str(text, "a.toml", &[]).unwrap();
        let said = config.settle_epochs(problems);
        (config.train.max_steps, said.unwrap_or_default())
    };
    let text = "[train]\nnum_train_epochs = 2\nprompts_per_step = 8";
    let (steps, said) = settled(text, 101);
    assert_eq!(
        (steps, said.as_str()),
        (
            26,
            "train.num_train_epochs = 2: 101 problems, 8 a step, 26 steps in all"
        )
    );
    let (steps, said) = settled(&format!("{text}\nmax_steps = 5"), 101);
    assert!(
        steps == 5 && said.ends_with("train.max_steps = 5 ends the run before that"),
        "{said}"
    );
    assert_eq!(settled(&text.replace("= 2", "= 0.01"), 101).0, 1);
    assert_eq!(settled("", 101), (100, String::new()));
    let sft = "recipe = \"sft\"\n[train]\nnum_train_epochs = 1\nper_device_train_batch_size = 2\ngradient_accumulation_steps = 5";
    assert_eq!(settled(sft, 101).0, 11);
    // What a run writes repeats it.
    let mut config = Config::from_str(text, "a.toml", &[]).unwrap();
    config.settle_epochs(101);
    assert_eq!(settled(&config.to_toml(), 101).0, 26);
}
