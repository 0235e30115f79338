//! Where tests find the data that is not part of the repository, and what several of them need.

use crate::Tokenizer;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// A path under the folder that `GCPO_SHARED` names; `None`, said aloud, where it is absent.
pub fn shared(path: &str) -> Option<PathBuf> {
    let Some(root) = std::env::var_os("GCPO_SHARED") else {
        eprintln!("skipped: GCPO_SHARED, the folder of {path}, is not set");
        return None;
    };
    let full = Path::new(&root).join(path);
    if !full.exists() {
        eprintln!("skipped: {} is not there", full.display());
        return None;
    }
    Some(full)
}

/// A tokenizer as SentencePiece makes them: `▁` for a space, and one in front of a text; what it lacks becomes bytes.
pub fn sentence_piece() -> Tokenizer {
    let added = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>", "<|end|>", "<0x0A>", "▁", "▁7", "▁A"]
        .map(String::from)
        .to_vec();
    tokens.extend("0123456789ABns:".chars().map(String::from));
    let vocab: Map<String, Value> = tokens
        .into_iter()
        .zip(0..)
        .map(|(token, id)| (token, json!(id)))
        .collect();
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>"), added(3, "<|end|>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab, "merges": [["▁", "7"], ["▁", "A"]]},
    });
    Tokenizer::from_bytes(file.to_string().as_bytes()).unwrap()
}
