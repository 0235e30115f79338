//! The tiny checkpoint in the binary: what `gcpo` without arguments starts from.
//!
//! Made by `gcpo sft configs/quickstart_sft.toml`; the files are its last checkpoint as it was written.

/// `config.json`
pub const CONFIG: &[u8] = include_bytes!("../quickstart/config.json");
/// `generation_config.json`
pub const GENERATION_CONFIG: &[u8] = include_bytes!("../quickstart/generation_config.json");
/// `model.safetensors`
pub const WEIGHTS: &[u8] = include_bytes!("../quickstart/model.safetensors");
/// `tokenizer.json`
pub const TOKENIZER: &[u8] = include_bytes!("../quickstart/tokenizer.json");
/// `tokenizer_config.json`
pub const TOKENIZER_CONFIG: &[u8] = include_bytes!("../quickstart/tokenizer_config.json");
