//! Hugging Face tokenizers behind one door, and two ways to make a new one.

mod growth;
mod guard;

use crate::files::{self, limit};
use guard::guarded;
pub use guard::is_guarded;
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
    /// There is no `tokenizer.json`.
    #[error(
        "{dir}: no tokenizer.json in it{beside}; transformers writes one: \
         AutoTokenizer.from_pretrained(\"{dir}\").save_pretrained(\"{dir}\")"
    )]
    Missing {
        /// The directory.
        dir: String,
        /// What is there in its place.
        beside: &'static str,
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
    /// The directory that it is from, if it is from one.
    dir: Option<PathBuf>,
    /// What [`Tokenizer::encode`] puts in front with `add_special`.
    prefix: Vec<u32>,
    /// The tokens of [`ANCHOR`], where a text that stands alone is encoded differently from one behind another.
    anchor: Option<Vec<u32>>,
    /// How many bytes one byte of a text can become before it is cut into tokens, at most.
    growth: usize,
    /// Ids from this one on have no row in the model's embedding.
    rows: Option<u32>,
}

/// Stands in front of a text so that it does not stand alone; it merges with nothing.
const ANCHOR: &str = "\n";

/// Longest text that is encoded, in bytes after the tokenizer's rules have replaced what they replace.
const MOST_BYTES: usize = 16 << 20;

/// What a file may be that old checkpoints have in place of a `tokenizer.json`.
const BESIDE: [(&str, &str); 3] = [
    (
        "tokenizer.model",
        " (tokenizer.model is there, which is not read)",
    ),
    ("spiece.model", " (spiece.model is there, which is not read)"),
    ("vocab.json", " (vocab.json is there, which is not read)"),
];

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
        let bytes = files::bytes(&file, limit::TOKENIZER).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound if path.is_dir() => {
                let beside = BESIDE.iter().find(|(name, _)| dir.join(name).exists());
                TokenizerError::Missing {
                    dir: dir.display().to_string(),
                    beside: beside.map_or("", |(_, said)| said),
                }
            }
            _ => TokenizerError::Io {
                path: file.clone(),
                source,
            },
        })?;
        let mut tokenizer = Self::from_bytes(&bytes).map_err(|error| TokenizerError::Format {
            path: file,
            message: error.to_string(),
        })?;
        if let Some(text) = read_if_there(&dir.join(CONFIG), limit::TOKENIZER)? {
            tokenizer.config = serde_json::from_str(&text).map_err(|error| TokenizerError::Format {
                path: dir.join(CONFIG),
                message: error.to_string(),
            })?;
        }
        tokenizer.chat_template = read_if_there(&dir.join(CHAT), limit::TEMPLATE)?;
        tokenizer.dir = Some(dir);
        Ok(tokenizer)
    }

    /// A tokenizer from the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// They are not one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TokenizerError> {
        let refused = |error: String| TokenizerError::Text(format!("not a tokenizer.json: {error}"));
        let inner = guarded(|| tokenizers::Tokenizer::from_bytes(bytes)).map_err(refused)?;
        let inner = inner.map_err(|error| refused(error.to_string()))?;
        guarded(|| Self::new(inner)).map_err(refused)?
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
            growth: growth::of(&inner).map_err(TokenizerError::Text)?,
            inner,
            config: Map::new(),
            chat_template: None,
            dir: None,
            prefix: Vec::new(),
            anchor: None,
            rows: None,
        };
        let (bare, framed) = (tokenizer.encode("a", false)?, tokenizer.encode("a", true)?);
        let front = framed
            .windows(bare.len().max(1))
            .position(|w| w == bare)
            .unwrap_or(0);
        tokenizer.prefix = framed[..front].to_vec();
        let anchor = tokenizer.encode(ANCHOR, false)?;
        let behind = tokenizer.encode(&format!("{ANCHOR}a"), false)?;
        if behind != [anchor.as_slice(), &bare].concat() && behind.starts_with(&anchor) {
            tokenizer.anchor = Some(anchor);
        }
        Ok(tokenizer)
    }

    /// The same tokenizer for a model whose embedding has `rows` rows: a text that holds a token without one is refused.
    pub fn with_rows(mut self, rows: usize) -> Self {
        self.rows = u32::try_from(rows).ok();
        self
    }

    /// Token ids of a text; with `add_special` also what the tokenizer puts around a text (a BOS token, for some).
    ///
    /// # Errors
    /// The text is far too long, it holds a token that the model does not have, or the tokenizer cannot take it, which happens only
    /// where its rules are broken.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TokenizerError> {
        growth::check(&self.inner, text, self.growth, MOST_BYTES).map_err(TokenizerError::Text)?;
        let encoding = self.inner.encode_fast(text, add_special).map_err(text_error)?;
        let ids = encoding.get_ids().to_vec();
        match self.rows.and_then(|rows| ids.iter().find(|&&id| id >= rows)) {
            None => Ok(ids),
            Some(&id) => Err(TokenizerError::Text(format!(
                "the text holds {}, whose id {id} has no row in the model's embedding of {}; take it out of the text",
                self.token(id).unwrap_or_default(),
                self.rows.unwrap_or_default()
            ))),
        }
    }

    /// Token ids of a text that stands behind another one: without what some tokenizers (SentencePiece) put in front of a text that
    /// stands alone. As transformers does it.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_inside(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        if let Some(anchor) = &self.anchor
            && let Some(rest) = self
                .encode(&format!("{ANCHOR}{text}"), false)?
                .strip_prefix(anchor.as_slice())
        {
            return Ok(rest.to_vec());
        }
        self.encode(text, false)
    }

    /// Token ids of a text that stands behind `before`, whose own tokens stay as they are: those of both as one text where they
    /// begin with those of `before`, else [`Tokenizer::encode_inside`].
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_behind(&self, before: &str, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let whole = self.encode(&format!("{before}{text}"), false)?;
        match whole.strip_prefix(self.encode(before, false)?.as_slice()) {
            Some(rest) if !before.is_empty() => Ok(rest.to_vec()),
            _ => self.encode_inside(text),
        }
    }

    /// The first token in a text that is special or one of `ids`: where its text ends, and its id.
    pub fn first_special(&self, text: &str, ids: &[u32]) -> Option<(usize, u32)> {
        let added = self.inner.get_added_tokens_decoder();
        let special = added.iter().filter(|(_, token)| token.special);
        let special = special.map(|(&id, token)| (id, token.content.clone()));
        let given = ids.iter().filter_map(|&id| Some((id, self.token(id)?)));
        special
            .chain(given)
            .filter(|(_, token)| !token.is_empty())
            .filter_map(|(id, token)| text.find(&token).map(|at| (at, token.len(), id)))
            // The longer one where one begins with another.
            .min_by_key(|&(at, length, id)| (at, std::cmp::Reverse(length), id))
            .map(|(at, length, id)| (at + length, id))
    }

    /// The text of token ids; with `skip_special` without the special tokens among them. An id without a token (a hole in the
    /// vocabulary, a row by which an embedding was rounded up) is no text, as in transformers.
    ///
    /// # Errors
    /// The tokenizer's own rules fail.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizerError> {
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
        self.size(true)
    }

    /// [`Tokenizer::vocab_size`] without the tokens that were added to the vocabulary: the ids that any text can be cut into.
    pub fn learnt_size(&self) -> usize {
        self.size(false)
    }

    fn size(&self, added: bool) -> usize {
        let vocab = self.inner.get_vocab(added);
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

    /// The checkpoint's chat template in Jinja, and the file that it stands in: `chat_template.jinja`, else `chat_template` of
    /// `tokenizer_config.json` (of several, the one named `default`).
    pub fn chat_template(&self) -> Option<(&str, String)> {
        let file = |name: &str| match &self.dir {
            Some(dir) => dir.join(name).display().to_string(),
            None => name.to_owned(),
        };
        if let Some(template) = &self.chat_template {
            return Some((template, file(CHAT)));
        }
        let template = match self.config.get("chat_template")? {
            Value::String(template) => template,
            Value::Array(named) => named
                .iter()
                .find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))?
                .get("template")?
                .as_str()?,
            _ => return None,
        };
        Some((template, file(CONFIG)))
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

fn read_if_there(path: &Path, most: u64) -> Result<Option<String>, TokenizerError> {
    match files::text(path, most) {
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
mod tests;
