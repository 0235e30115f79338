//! Two ways to make a new tokenizer.

use super::{Tokenizer, TokenizerError, text_error};
use serde_json::{Map, Value, json};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

/// What a character tokenizer makes of a character it does not have.
const UNKNOWN: &str = "<unk>";

/// How text is cut before byte pairs are merged: Qwen2's pattern, which is Llama 3's with digits one by one, so that a number's digits
/// keep their places.
pub(super) const PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl Tokenizer {
    /// A character tokenizer: ids of `specials` first, in order, then `<unk>` (where not among them), then the
    /// characters of `alphabet`. A character it does not have becomes `<unk>`.
    ///
    /// `<pad>`, `<eos>` and `<bos>` among the specials are named as such in `tokenizer_config.json`.
    ///
    /// # Errors
    /// A special token or a character is given twice, or a special token is empty.
    pub fn char_level(alphabet: &str, specials: &[&str]) -> Result<Self, TokenizerError> {
        let mut tokens: Vec<String> = specials.iter().map(|s| s.to_string()).collect();
        if !specials.contains(&UNKNOWN) {
            tokens.push(UNKNOWN.to_owned());
        }
        let special = tokens.clone();
        tokens.extend(alphabet.chars().map(String::from));
        for (at, token) in tokens.iter().enumerate() {
            if token.is_empty() || tokens[..at].contains(token) {
                return Err(TokenizerError::Build(format!(
                    "token {token:?} is empty or given twice; each special token and each character is given once"
                )));
            }
        }
        // Byte pair encoding without a single merge: each character is a token.
        let vocab: Map<String, Value> = tokens
            .iter()
            .zip(0..)
            .map(|(t, id)| (t.clone(), json!(id)))
            .collect();
        let added: Vec<Value> = special
            .iter()
            .zip(0..)
            .map(|(t, id)| added_token(t, id))
            .collect();
        let file = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
            "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": {"type": "Fuse"},
            "model": {"type": "BPE", "dropout": null, "unk_token": UNKNOWN, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": vocab, "merges": []},
        });
        Self::read(file.to_string().as_bytes(), config_of(&special), None)
    }

    /// Trains a byte-level BPE tokenizer on `texts`: `vocab_size` tokens at most, `specials` with the first ids, all
    /// 256 bytes (so nothing is unknown), the rest merges. Digits stay single. Deterministic.
    ///
    /// # Errors
    /// `vocab_size` is smaller than the special tokens and the 256 bytes need.
    pub fn train_bpe<S: AsRef<str> + Send>(
        texts: impl IntoIterator<Item = S, IntoIter: Send>,
        vocab_size: usize,
        specials: &[&str],
    ) -> Result<Self, TokenizerError> {
        let least = 256 + specials.len();
        if vocab_size < least {
            return Err(TokenizerError::Build(format!(
                "vocab_size = {vocab_size} is less than the 256 bytes and {} special tokens need; use at least {least}",
                specials.len()
            )));
        }
        let cut = Split::new(
            SplitPattern::Regex(PATTERN.to_owned()),
            SplitDelimiterBehavior::Isolated,
            false,
        )
        .map_err(text_error)?;
        let bytes = ByteLevel::new(false, true, false);
        let mut inner = tokenizers::Tokenizer::new(BPE::default());
        inner
            .with_pre_tokenizer(Some(Sequence::new(vec![cut.into(), bytes.into()])))
            .with_decoder(Some(ByteLevel::default()));
        let mut trainer: TrainerWrapper = BpeTrainer::builder()
            .vocab_size(vocab_size)
            .min_frequency(2)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(specials.iter().map(|s| AddedToken::from(*s, true)).collect())
            .build()
            .into();
        inner
            .train(&mut trainer, texts.into_iter())
            .map_err(|error| TokenizerError::Build(error.to_string()))?;
        let special: Vec<String> = specials.iter().map(|s| s.to_string()).collect();
        Self::new(inner, config_of(&special), None)
    }
}

fn added_token(content: &str, id: u32) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true})
}

/// A `tokenizer_config.json` with which transformers loads the tokenizer as it is.
fn config_of(specials: &[String]) -> Map<String, Value> {
    let mut config = Map::new();
    config.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
    config.insert("clean_up_tokenization_spaces".into(), json!(false));
    config.insert("add_bos_token".into(), json!(false));
    for (key, token) in [
        ("pad_token", "<pad>"),
        ("eos_token", "<eos>"),
        ("bos_token", "<bos>"),
        ("unk_token", UNKNOWN),
    ] {
        if specials.iter().any(|s| s == token) {
            config.insert(key.into(), json!(token));
        }
    }
    config
}
