//! The configs that are for a GPU: that they are runs is known (`config_docs.rs`); that they fit the GPU that they name, by what
//! `gcpo inspect` counts, is looked at here.

mod program;

use std::fs;
use std::path::Path;

use gcpo::config::Config;
use gcpo_model::dtype::Dtype;
use program::{success, temp};

/// Tokens of a question that the files speak of: GSM8K's, and those of the paper's problems.
const QUESTION: [usize; 2] = [256, 1024];

struct Plan {
    file: &'static str,
    /// What the file's head says to set, beside paths.
    sets: &'static [&'static str],
    config_json: &'static str,
    question: usize,
    /// Bytes of the GPU.
    gpu: f64,
}

const QWEN_0_5B: &str = r#"{"model_type": "qwen2", "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
    "num_attention_heads": 14, "num_key_value_heads": 2, "max_position_embeddings": 32768, "tie_word_embeddings": true}"#;
const QWEN_1_5B: &str = r#"{"model_type": "qwen2", "vocab_size": 151936, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
    "num_attention_heads": 12, "num_key_value_heads": 2, "max_position_embeddings": 131072, "tie_word_embeddings": false}"#;
const QWEN_7B: &str = r#"{"model_type": "qwen2", "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
    "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 131072, "tie_word_embeddings": false}"#;

const ADAPTERS: &[&str] = &[
    "model.lora.r=32",
    "model.lora.lora_alpha=64",
    "model.lora.target_modules=\"all-linear\"",
    "train.learning_rate=1e-5",
];

const fn gsm8k(file: &'static str) -> Plan {
    Plan {
        file,
        sets: &[],
        config_json: QWEN_0_5B,
        question: QUESTION[0],
        gpu: 80e9,
    }
}

const fn paper(file: &'static str, config_json: &'static str, sets: &'static [&'static str]) -> Plan {
    Plan {
        file,
        sets,
        config_json,
        question: QUESTION[1],
        gpu: 141e9,
    }
}

const PLANS: [Plan; 7] = [
    gsm8k("gsm8k_qwen2.5-0.5b_grpo.toml"),
    gsm8k("gsm8k_qwen2.5-0.5b_gcpo.toml"),
    gsm8k("gsm8k_qwen2.5-0.5b_grpo_lora.toml"),
    gsm8k("gsm8k_qwen2.5-0.5b_gcpo_lora.toml"),
    paper("paper_deepscaler.toml", QWEN_1_5B, &[]),
    paper("paper_r1distill-1.5b.toml", QWEN_1_5B, &[]),
    paper("paper_r1distill-7b.toml", QWEN_7B, ADAPTERS),
];

fn load(plan: &Plan, sets: &[&str]) -> (Config, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("configs")
        .join(plan.file);
    let mut all = vec!["model.path=model", "data.path=train.jsonl"];
    if plan.file.starts_with("gsm8k") {
        all.push("eval.path=test.jsonl");
    }
    all.extend(sets);
    let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
    let config = Config::load(&path, &all).unwrap_or_else(|error| panic!("{error}"));
    (config, fs::read_to_string(path).unwrap())
}

/// Tokens of the longest row that is trained on: the question and a candidate, and where the second KL term is, the other
/// candidates and an integration between them.
fn longest_row(config: &Config, question: usize) -> usize {
    let completion = config.rollout.max_completion_length;
    let others = match config.objective_row().needs_integration() {
        true => (config.rollout.num_generations - 1) * config.projection.candidate_tokens + completion,
        false => 0,
    };
    question + others + completion
}

/// A number of bytes as `gcpo inspect` writes it, behind a word.
fn bytes(text: &str, word: &str) -> f64 {
    let rest = text
        .split_once(word)
        .unwrap_or_else(|| panic!("{word} is not in\n{text}"))
        .1;
    let mut words = rest.split_whitespace();
    let (number, unit) = (words.next().unwrap(), words.next().unwrap().trim_end_matches(','));
    let size: bytesize::ByteSize = format!("{number} {unit}").parse().unwrap();
    size.as_u64() as f64
}

#[test]
fn each_fits_the_gpu_that_it_names() {
    for plan in &PLANS {
        let (config, text) = load(plan, plan.sets);
        for set in plan.sets {
            assert!(text.contains(set), "{}: {set} is not in its head", plan.file);
        }
        assert!(
            text.contains(&format!("{:.0} GB", plan.gpu / 1e9)),
            "{}: its GPU is not in its head",
            plan.file
        );
        let dir = temp();
        program::model(dir.path());
        fs::write(dir.path().join("config.json"), plan.config_json).unwrap();
        // A header that fits: the weights themselves are not needed to count them.
        let header = r#"{"model.norm.weight":{"dtype":"BF16","shape":[D],"data_offsets":[0,N]}}"#;
        let d = config_of(plan.config_json, "hidden_size");
        let header = header
            .replace("[D]", &format!("[{d}]"))
            .replace("N]", &format!("{}]", 2 * d));
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.resize(file.len() + 2 * d, 0);
        fs::write(dir.path().join("model.safetensors"), file).unwrap();
        let (rows, length) = (
            config.train.per_device_train_batch_size,
            longest_row(&config, plan.question),
        );
        let args = [
            "inspect",
            ".",
            "--batch",
            &rows.to_string(),
            "--length",
            &length.to_string(),
        ];
        let (said, _) = success(dir.path(), &args);
        let weights = bytes(&said, "weights ");
        let activations = match config.train.gradient_checkpointing {
            true => bytes(&said, "with train.gradient_checkpointing about "),
            false => bytes(&said, "activations about "),
        };
        let trained = match (&config.model.lora, config.train.dtype) {
            // The network in 16 bits; adapters and their state are a hundredth of it.
            (Some(_), Dtype::Bf16) => weights / 2.0 * 1.1,
            // Beside the optimiser's weights, a copy in 16 bits.
            (None, Dtype::Bf16) => weights * 1.5 + bytes(&said, "gradients and AdamW "),
            _ => weights + bytes(&said, "gradients and AdamW "),
        };
        let cache = config.rollout.memory_budget.as_u64() as f64;
        // Sampling and training take turns.
        let needed = trained + activations.max(cache);
        assert!(
            needed < 0.95 * plan.gpu,
            "{}: {:.1} GB with {rows} rows of {length} tokens, {:.0} GB are there",
            plan.file,
            needed / 1e9,
            plan.gpu / 1e9
        );
        println!(
            "{}: {rows} rows of {length} tokens, {:.1} GB",
            plan.file,
            needed / 1e9
        );
    }
}

fn config_of(json: &str, key: &str) -> usize {
    program::json(json)[key].as_u64().unwrap() as usize
}

#[test]
fn the_papers_numbers_are_the_papers() {
    for plan in PLANS.iter().filter(|plan| plan.file.starts_with("paper")) {
        let (config, _) = load(plan, &[]);
        let (train, row) = (&config.train, config.objective_row());
        assert_eq!(
            (train.prompts_per_step, train.learning_rate, train.weight_decay),
            (256, 1e-6, 0.01)
        );
        assert!(row.needs_projection() && row.needs_integration());
        let n = config.rollout.num_generations;
        assert_eq!(
            (config.projection.integrations, config.projection.samples),
            (n, n)
        );
        assert!((16_300..=16_384).contains(&longest_row(&config, plan.question)));
        let toml = config.to_toml();
        assert!(
            toml.contains("alpha = 2.0") && toml.contains("kappa = 0.06"),
            "{toml}"
        );
    }
}
