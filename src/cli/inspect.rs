//! `gcpo inspect`: what a model is, from its `config.json` and the headers of its weights.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use bytesize::ByteSize;
use gcpo_model::checkpoint::{self, Described};
use gcpo_model::config::ModelConfig;
use gcpo_model::memory;

use super::args::InspectArgs;
use super::run::print_line;
use crate::console::note;

/// Prints what the model in a directory is.
///
/// # Errors
/// The directory holds no model, one that is not supported, or one whose weights do not fit it.
pub fn run(args: &InspectArgs) -> Result<()> {
    let model = checkpoint::describe(&args.model)?;
    let config = &model.config;
    let length = args.length.unwrap_or(config.positions());
    ensure!(
        length <= config.positions(),
        "--length {length} is more than the {} positions of the model; give at most that",
        config.positions()
    );
    let memory = Memory::of(config, args.batch, length).with_context(|| {
        format!(
            "--batch {} rows of {length} tokens take more bytes than can be counted; give a smaller --batch or --length",
            args.batch
        )
    })?;
    for warning in &model.warnings {
        note(&format!("warning: {warning}"));
    }
    if let (dtype, Some(doubt)) = model.dtype() {
        note(&format!(
            "note: {doubt}; it is saved again in {dtype} where model.save_dtype says nothing"
        ));
    }
    print_line(describe(&model, &memory, args.batch, length).trim_end())
}

/// Bytes that `rows` rows of `length` tokens take, with numbers in f32 as they are computed with.
struct Memory {
    weights: u64,
    cache: u64,
    /// Gradients and AdamW's two moments.
    optimiser: u64,
    /// What the backward pass needs of the forward pass, by tensor operations; about.
    activations: u64,
    /// The same with gradient checkpointing.
    recomputed: u64,
    /// The two on the processor in float32 where it has a way of its own.
    on_processor: Option<[u64; 2]>,
}

impl Memory {
    /// None where the bytes cannot be counted.
    fn of(config: &ModelConfig, rows: usize, length: usize) -> Option<Self> {
        let tokens = rows.checked_mul(length)?;
        let weights = memory::weights(config);
        let cache = memory::keys_and_values(config, rows, length);
        let activations = memory::activations_by_tensors(config, rows, length, false);
        let recomputed = memory::activations_by_tensors(config, rows, length, true);
        let all = weights
            .saturating_mul(4)
            .saturating_add(cache)
            .saturating_add(activations);
        u64::try_from(all).ok()?;
        let on_processor = |recomputes| memory::activations_on_processor(config, tokens, recomputes);
        let on_processor = match (on_processor(false), on_processor(true)) {
            (Some(kept), Some(recomputed)) => Some([kept, recomputed].map(|bytes| bytes as u64)),
            _ => None,
        };
        Some(Self {
            on_processor,
            weights: weights as u64,
            cache: cache as u64,
            optimiser: 3 * weights as u64,
            activations: activations as u64,
            recomputed: recomputed as u64,
        })
    }
}

fn describe(model: &Described, memory: &Memory, rows: usize, length: usize) -> String {
    let config = &model.config;
    let tied = match config.tie_word_embeddings {
        true => "head tied to it",
        false => "head of its own",
    };
    let formats: Vec<String> = model
        .numbers
        .iter()
        .map(|(dtype, count)| format!("{dtype} {}", grouped(*count)))
        .collect();
    let feed_forward = match &config.experts {
        None => config.intermediate_size.to_string(),
        Some(experts) => format!(
            "{} in {} of {} experts",
            experts.moe_intermediate_size, experts.num_experts_per_tok, experts.num_experts
        ),
    };
    let shape = format!(
        "{} layers, d {}, {} heads and {} key/value heads of {}, ff {feed_forward}",
        config.num_hidden_layers,
        config.hidden_size,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_dim
    );
    let of_model = [
        ("architecture", config.model_type.architecture().to_owned()),
        ("shape", shape),
        ("vocabulary", format!("{}, {tied}", config.vocab_size)),
        ("positions", positions(config)),
        ("parameters", grouped(config.parameters() as u64)),
        (
            "dtype",
            format!("{}; saved again in {}", formats.join(", "), model.dtype().0),
        ),
        (
            "stored in",
            format!(
                "{}, {} tensors, {}",
                counted(model.files, "file"),
                model.tensors,
                ByteSize(model.bytes)
            ),
        ),
    ];
    let for_rows = format!(
        "for {} of {length} tokens, computed in float32",
        counted(rows, "row")
    );
    let lines = of_model.into_iter().chain(memory.describe(for_rows));
    lines.fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name:<14}{value}");
        text
    })
}

/// How long a text may be.
fn positions(config: &ModelConfig) -> String {
    match (config.positions(), config.max_position_embeddings) {
        (most, all) if most == all => all.to_string(),
        (most, all) => format!("{most} of {all}: longrope's long_factor is not computed"),
    }
}

impl Memory {
    fn describe(&self, for_rows: String) -> Vec<(&'static str, String)> {
        let training = ByteSize(self.weights + self.optimiser + self.activations);
        let (weights, cache) = (ByteSize(self.weights), ByteSize(self.cache));
        let (optimiser, activations) = (ByteSize(self.optimiser), ByteSize(self.activations));
        let recomputed = ByteSize(self.recomputed);
        let mut lines = vec![
            ("memory", for_rows),
            ("  sampling", ByteSize(self.weights + self.cache).to_string()),
            ("", format!("weights {weights}, keys and values {cache}")),
            ("  training", format!("about {training}")),
            ("", format!("weights {weights}, gradients and AdamW {optimiser}")),
            (
                "",
                format!(
                    "activations about {activations}, with train.gradient_checkpointing about {recomputed}"
                ),
            ),
        ];
        if let Some(activations) = self.on_processor {
            let [kept, recomputed] = activations.map(ByteSize);
            let text =
                format!("on the processor in float32 {kept}, with train.gradient_checkpointing {recomputed}");
            lines.push(("", text));
        }
        lines
    }
}

/// `1 row`, `2 rows`
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A count with a comma between thousands.
fn grouped(count: u64) -> String {
    indicatif::HumanCount(count).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use gcpo_model::checkpoint::ConfigJson;

    use super::*;

    const SHAPE: &str = r#"{"model_type": "llama", "vocab_size": 512, "hidden_size": 128, "intermediate_size": 384,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
        "rms_norm_eps": 1e-6, "tie_word_embeddings": true}"#;

    fn config() -> ModelConfig {
        ModelConfig::from_json(SHAPE.as_bytes(), Path::new("config.json")).unwrap()
    }

    #[test]
    fn memory_grows_with_rows_and_length() {
        let config = config();
        let of = |rows, length| Memory::of(&config, rows, length).unwrap();
        let (one, four) = (of(1, 64), of(4, 64));
        assert_eq!(one.weights, 4 * config.parameters() as u64);
        // 4 layers, keys and values, 2 heads of 32 numbers of 4 bytes.
        assert_eq!(one.cache, 64 * 4 * 2 * 2 * 32 * 4);
        assert_eq!(
            (four.cache, four.activations),
            (4 * one.cache, 4 * one.activations)
        );
        assert!(
            of(1, 128).activations > 2 * one.activations,
            "the scores grow with the square"
        );
        for (rows, length) in [
            (usize::MAX, 1),
            (1, usize::MAX),
            (1 << 40, 1 << 20),
            (usize::MAX, usize::MAX),
        ] {
            assert!(Memory::of(&config, rows, length).is_none(), "{rows} {length}");
        }
    }

    #[test]
    fn the_text_names_the_facts() {
        let model = Described {
            config: config(),
            warnings: Vec::new(),
            files: 1,
            tensors: 38,
            bytes: 3 << 20,
            numbers: BTreeMap::from([("F32".into(), 7)]),
            config_json: ConfigJson::default(),
        };
        let text = describe(&model, &Memory::of(&model.config, 8, 256).unwrap(), 8, 256);
        for part in [
            "LlamaForCausalLM",
            "4 layers, d 128",
            "512, head tied",
            "F32 7",
            "3.0 MiB",
            "8 rows of 256 tokens",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
