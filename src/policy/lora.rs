//! `[model.lora]`: adapters that are trained in the model's place.

use gcpo_model::config::ModelConfig;
use gcpo_model::lora::{Lora, Targets};
use toml::Value as Toml;

use crate::section::{Check, ConfigError, Value, impossible, positive, section};

/// What PEFT takes for Llama and Qwen where nothing is said.
const USUAL: [&str; 2] = ["q_proj", "v_proj"];

const ALL_LINEAR: &str = "all-linear";

section! {
    /// `[model.lora]`: low-rank adapters (LoRA) are trained, and the model stays as it is. Their names are PEFT's. Without this section
    /// all weights are trained.
    pub struct LoraSettings from LoraDraft {
        /// Rank of the adapters. Source: PEFT.
        pub r: usize = 8,
        /// What adapters are multiplied by, times `r`. Source: PEFT.
        pub lora_alpha: f64 = 8.0,
        /// Probability that a number which an adapter takes is left out while training; 0 or more, less than 1. Source: PEFT.
        pub lora_dropout: f64 = 0.0,
        /// Which projections have an adapter: their names in a list, or `"all-linear"` for all but the head. Source: PEFT (Llama, Qwen).
        pub target_modules: TargetModules = TargetModules::default(),
        /// Whether `lora_alpha` is divided by √r instead of r. Source: PEFT (rank-stabilised LoRA).
        pub use_rslora: bool = false,
        /// Whether each output of a projection with an adapter is scaled as well, by a number that is trained (DoRA, arXiv 2402.09353). Source: PEFT.
        pub use_dora: bool = false,
    }
}

impl Check for LoraSettings {
    fn check(&self) -> Result<(), ConfigError> {
        if self.r == 0 {
            return impossible("r", "0 is no rank", "give 1 or more");
        }
        positive("lora_alpha", self.lora_alpha)?;
        if !(0.0..1.0).contains(&self.lora_dropout) {
            return impossible(
                "lora_dropout",
                format!("{} is no share of which something is left", self.lora_dropout),
                "give 0 or more, less than 1",
            );
        }
        match &self.target_modules {
            TargetModules(Targets::Named(names)) if names.is_empty() => impossible(
                "target_modules",
                "no module has an adapter",
                "name one or more, or \"all-linear\"",
            ),
            _ => Ok(()),
        }
    }
}

impl LoraSettings {
    /// Numbers of the adapters that it puts on a network; of experts, none is counted.
    pub fn parameters(&self, config: &ModelConfig) -> usize {
        let (d, f) = (config.hidden_size, config.intermediate_size);
        let q = config.num_attention_heads * config.head_dim;
        let kv = config.num_key_value_heads * config.head_dim;
        // What each takes and gives.
        let split = [
            ("q_proj", d, q),
            ("k_proj", d, kv),
            ("v_proj", d, kv),
            ("o_proj", q, d),
            ("gate_proj", d, f),
            ("up_proj", d, f),
            ("down_proj", f, d),
        ];
        let fused = [("qkv_proj", d, q + 2 * kv), ("gate_up_proj", d, 2 * f)];
        let of = |from: usize, to: usize| self.r * (from + to) + if self.use_dora { to } else { 0 };
        let of_layer: usize = match &self.target_modules.0 {
            Targets::AllLinear => split.iter().map(|&(_, from, to)| of(from, to)).sum(),
            Targets::Named(names) => split
                .iter()
                .chain(&fused)
                .filter(|(name, ..)| names.iter().any(|asked| asked.ends_with(name)))
                .map(|&(_, from, to)| of(from, to))
                .sum(),
        };
        config.num_hidden_layers * of_layer
    }

    /// The adapters that it says.
    pub fn lora(&self) -> Lora {
        Lora {
            r: self.r,
            alpha: self.lora_alpha,
            use_rslora: self.use_rslora,
            use_dora: self.use_dora,
            dropout: self.lora_dropout,
            targets: self.target_modules.0.clone(),
        }
    }
}

/// `model.lora.target_modules`.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetModules(Targets);

impl Default for TargetModules {
    fn default() -> Self {
        Self(Targets::Named(USUAL.map(str::to_owned).to_vec()))
    }
}

impl Value for TargetModules {
    fn wants() -> String {
        "a list of names, or \"all-linear\"".into()
    }

    fn read(value: Toml) -> Result<Self, ConfigError> {
        match &value {
            Toml::String(text) if text == ALL_LINEAR => Ok(Self(Targets::AllLinear)),
            Toml::Array(_) => Vec::read(value).map(|names| Self(Targets::Named(names))),
            _ => Err(ConfigError::wrong_type(&value, &Self::wants())),
        }
    }

    fn write(&self) -> Toml {
        match &self.0 {
            Targets::AllLinear => ALL_LINEAR.into(),
            Targets::Named(names) => names.write(),
        }
    }
}
