//! Hugging Face tokenizers behind one door, and two ways to make a new one.

use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";
const CHAT: &str = "chat_template.jinja";
/// What a character tokenizer makes of a character it does not have.
const UNKNOWN: &str = "<unk>";

/// How text is cut before byte pairs are merged: the pattern of Llama 3 and Qwen2 with digits one by one, so that
/// a number's digits keep their places.
const PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// What can go wrong with a tokenizer.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {message}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// A new tokenizer cannot be made as asked.
    #[error("cannot make a tokenizer: {0}")]
    Build(String),
    /// A text cannot be encoded, or ids cannot be decoded.
    #[error("{0}")]
    Text(String),
}

/// A tokenizer: text to token ids and back.
///
/// Special tokens that stand in a text (`<|im_end|>`, `<q>`) become their ids. Truncation and padding that a
/// `tokenizer.json` asks for are switched off: here a text is as long as it is.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// `tokenizer_config.json` as it was, so that saving loses nothing.
    config: Map<String, Value>,
    /// `chat_template.jinja` as it was.
    chat_template: Option<String>,
    /// What [`Tokenizer::encode`] puts in front with `add_special`.
    prefix: Vec<u32>,
}

impl Tokenizer {
    /// Loads `tokenizer.json` (with `tokenizer_config.json` and `chat_template.jinja`, where they are) from a
    /// checkpoint's directory, or from the file itself.
    ///
    /// # Errors
    /// The file is absent or malformed; the message names it.
    pub fn load(path: &Path) -> Result<Self, TokenizerError> {
        let (dir, file) = if path.is_dir() {
            (path.to_owned(), path.join(TOKENIZER))
        } else {
            (path.parent().unwrap_or(Path::new("")).to_owned(), path.to_owned())
        };
        let bytes = std::fs::read(&file).map_err(|source| TokenizerError::Io {
            path: file.clone(),
            source,
        })?;
        let mut tokenizer = Self::from_bytes(&bytes).map_err(|error| TokenizerError::Format {
            path: file,
            message: error.to_string(),
        })?;
        if let Some(text) = read_if_there(&dir.join(CONFIG))? {
            tokenizer.config = serde_json::from_str(&text).map_err(|error| TokenizerError::Format {
                path: dir.join(CONFIG),
                message: error.to_string(),
            })?;
        }
        tokenizer.chat_template = read_if_there(&dir.join(CHAT))?;
        Ok(tokenizer)
    }

    /// A tokenizer from the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// They are not one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TokenizerError> {
        let inner = tokenizers::Tokenizer::from_bytes(bytes)
            .map_err(|error| TokenizerError::Text(format!("not a tokenizer.json: {error}")))?;
        Self::new(inner)
    }

    /// The same tokenizer with the contents of a `tokenizer_config.json`, for one that comes from bytes.
    ///
    /// # Errors
    /// The text is not a JSON object.
    pub fn with_config(mut self, config: &str) -> Result<Self, TokenizerError> {
        self.config = serde_json::from_str(config)
            .map_err(|error| TokenizerError::Text(format!("{CONFIG}: {error}")))?;
        Ok(self)
    }

    fn new(mut inner: tokenizers::Tokenizer) -> Result<Self, TokenizerError> {
        inner.with_padding(None);
        inner.with_truncation(None).map_err(text_error)?;
        let mut tokenizer = Self {
            inner,
            config: Map::new(),
            chat_template: None,
            prefix: Vec::new(),
        };
        let (bare, framed) = (tokenizer.encode("a", false)?, tokenizer.encode("a", true)?);
        let front = framed
            .windows(bare.len().max(1))
            .position(|w| w == bare)
            .unwrap_or(0);
        tokenizer.prefix = framed[..front].to_vec();
        Ok(tokenizer)
    }

    /// Token ids of a text; with `add_special` also what the tokenizer puts around a text (a BOS token, for some).
    ///
    /// # Errors
    /// The tokenizer cannot take the text, which happens only where its rules are broken.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.inner.encode_fast(text, add_special).map_err(text_error)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of token ids; with `skip_special` without the special tokens among them.
    ///
    /// # Errors
    /// An id is not in the vocabulary.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizerError> {
        if let Some(id) = ids.iter().find(|&&id| self.inner.id_to_token(id).is_none()) {
            return Err(TokenizerError::Text(format!(
                "token id {id} is not in the vocabulary of {} tokens",
                self.vocab_size()
            )));
        }
        self.inner.decode(ids, skip_special).map_err(text_error)
    }

    /// What the tokenizer puts in front of a text (BOS, for some families; else nothing). A prompt that a chat
    /// template made has it already.
    pub fn prefix(&self) -> &[u32] {
        &self.prefix
    }

    /// Id of a token given by its exact text.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Text of a token as the vocabulary has it (byte-level tokens in their byte alphabet).
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// One more than the largest id, which is what an embedding needs at least. Checkpoints often have more rows.
    pub fn vocab_size(&self) -> usize {
        let vocab = self.inner.get_vocab(true);
        vocab.values().max().map_or(0, |&id| id as usize + 1)
    }

    /// The end-of-sequence token: `eos_token` of `tokenizer_config.json`.
    pub fn eos_id(&self) -> Option<u32> {
        self.named("eos_token")
    }

    /// The padding token: `pad_token` of `tokenizer_config.json`.
    pub fn pad_id(&self) -> Option<u32> {
        self.named("pad_token")
    }

    fn named(&self, key: &str) -> Option<u32> {
        self.token_id(self.named_text(key)?)
    }

    /// Text of a token that `tokenizer_config.json` names: `eos_token`, `bos_token`, …
    pub fn named_text(&self, key: &str) -> Option<&str> {
        // Written as a string, or as an object with the token's flags.
        let value = self.config.get(key)?;
        value.as_str().or_else(|| value.get("content")?.as_str())
    }

    /// The checkpoint's chat template in Jinja: `chat_template.jinja`, else `chat_template` of
    /// `tokenizer_config.json` (of several, the one named `default`).
    pub fn chat_template(&self) -> Option<&str> {
        if let Some(template) = &self.chat_template {
            return Some(template);
        }
        match self.config.get("chat_template")? {
            Value::String(template) => Some(template),
            Value::Array(named) => named
                .iter()
                .find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))?
                .get("template")?
                .as_str(),
            _ => None,
        }
    }

    /// Writes `tokenizer.json`, `tokenizer_config.json` and, where there was one, `chat_template.jinja`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), TokenizerError> {
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            std::fs::write(&path, text).map_err(|source| TokenizerError::Io { path, source })
        };
        std::fs::create_dir_all(dir).map_err(|source| TokenizerError::Io {
            path: dir.to_owned(),
            source,
        })?;
        write(TOKENIZER, self.inner.to_string(true).map_err(text_error)?)?;
        if !self.config.is_empty() {
            let text =
                serde_json::to_string_pretty(&self.config).map_err(|error| text_error(error.into()))?;
            write(CONFIG, text)?;
        }
        if let Some(template) = &self.chat_template {
            write(CHAT, template.clone())?;
        }
        Ok(())
    }

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
        let mut tokenizer = Self::from_bytes(file.to_string().as_bytes())?;
        tokenizer.config = config_of(&special);
        Ok(tokenizer)
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
        let mut tokenizer = Self::new(inner)?;
        let special: Vec<String> = specials.iter().map(|s| s.to_string()).collect();
        tokenizer.config = config_of(&special);
        Ok(tokenizer)
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

fn read_if_there(path: &Path) -> Result<Option<String>, TokenizerError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TokenizerError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

fn text_error(error: tokenizers::Error) -> TokenizerError {
    TokenizerError::Text(format!("tokenizer: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::shared;

    const MARKS: [&str; 5] = ["<pad>", "<eos>", "<q>", "<a>", "<final>"];

    #[test]
    fn characters_round_trip_with_spaces_and_marks() {
        let tokenizer = Tokenizer::char_level("0123456789 +=", &MARKS).unwrap();
        assert_eq!(tokenizer.vocab_size(), 5 + 1 + 13);
        for text in ["12 + 3", "  1  2 ", "<q>1+2<a>3 <final><eos>", "", "<q><q>"] {
            let ids = tokenizer.encode(text, true).unwrap();
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
        }
        assert_eq!(tokenizer.encode("<q>1<eos>", false).unwrap(), [2, 7, 1]);
        assert_eq!(tokenizer.decode(&[2, 7, 1], true).unwrap(), "1");
        assert_eq!(tokenizer.encode("1é2", false).unwrap(), [7, 5, 8]);
        assert_eq!((tokenizer.pad_id(), tokenizer.eos_id()), (Some(0), Some(1)));
        assert!(tokenizer.decode(&[19], false).is_err());
        assert!(Tokenizer::char_level("aa", &[]).is_err());
    }

    #[test]
    fn saving_and_loading_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let tokenizer = Tokenizer::char_level("ab ", &MARKS).unwrap();
        tokenizer.save(dir.path()).unwrap();
        for path in [dir.path().to_owned(), dir.path().join(TOKENIZER)] {
            let loaded = Tokenizer::load(&path).unwrap();
            assert_eq!(
                loaded.encode("<q>a b", false).unwrap(),
                tokenizer.encode("<q>a b", false).unwrap()
            );
            assert_eq!(loaded.eos_id(), Some(1));
            assert_eq!(loaded.config, tokenizer.config);
        }
        let error = Tokenizer::load(&dir.path().join("none.json"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("none.json"), "{error}");
    }

    #[test]
    fn trained_bpe_round_trips_any_text_and_keeps_digits_single() {
        let texts: Vec<String> = (0..200)
            .map(|i| format!("There are {i} apples in the basket. <eos>"))
            .collect();
        let train = || Tokenizer::train_bpe(&texts, 280, &MARKS).unwrap();
        let tokenizer = train();
        assert_eq!(tokenizer.vocab_size(), 280);
        for text in [
            "There are 1234 apples",
            "naïve 🦙\n\n  x\t",
            "<q>12<a>",
            "I've  two  spaces ",
        ] {
            let ids = tokenizer.encode(text, false).unwrap();
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
        }
        let digits = tokenizer.encode("1234", false).unwrap();
        assert_eq!(digits.len(), 4);
        assert_eq!(tokenizer.encode("<pad><final>", false).unwrap(), [0, 4]);
        assert!(
            tokenizer.encode(" apples", false).unwrap().len() < 4,
            "merges were learned"
        );
        assert_eq!(
            train().inner.to_string(false).unwrap(),
            tokenizer.inner.to_string(false).unwrap()
        );
        assert!(Tokenizer::train_bpe(&texts, 200, &MARKS).is_err());
    }

    #[test]
    fn qwen2_vectors() {
        let Some(dir) = shared("data/tokenizers/qwen2") else {
            return;
        };
        let tokenizer = Tokenizer::load(&dir).unwrap();
        let texts = std::fs::read_to_string(dir.join("qwen2.inp")).unwrap();
        let expected = std::fs::read_to_string(dir.join("qwen2.out")).unwrap();
        let mut checked = 0;
        for (text, ids) in texts.split("\n__ggml_vocab_test__\n").zip(expected.lines()) {
            let ids: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
            assert_eq!(tokenizer.encode(text, false).unwrap(), ids, "{text:?}");
            checked += 1;
        }
        assert!(checked > 40, "{checked}");
        assert_eq!(
            tokenizer.encode("a<|im_end|>", false).unwrap().last(),
            Some(&151_645)
        );
        assert!(tokenizer.chat_template().unwrap().contains("im_start"));
        assert_eq!(tokenizer.eos_id(), tokenizer.token_id("<|endoftext|>"));
        assert!(tokenizer.prefix().is_empty());
    }
}
