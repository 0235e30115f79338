//! Hugging Face tokenizers behind one door, and two ways to make a new one.

mod class;
mod growth;
mod guard;
mod make;

use crate::files::{self, limit};
use class::Beside as BesideFile;
use guard::guarded;
pub use guard::is_guarded;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";
const CHAT: &str = "chat_template.jinja";

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
    /// `tokenizer.json` as it was, where there was one: what is read of it may not be all of it.
    file: Option<Arc<[u8]>>,
    /// What the user should know of it, a line each.
    notes: Vec<String>,
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
        let mut config = Map::new();
        if let Some(text) = read_if_there(&dir.join(CONFIG), limit::TOKENIZER)? {
            config = serde_json::from_str(&text).map_err(|error| TokenizerError::Format {
                path: dir.join(CONFIG),
                message: error.to_string(),
            })?;
        }
        // A model's own file, where there is one; who reads the model says what is wrong with it.
        let model: Option<Value> = read_if_there(&dir.join("config.json"), limit::TOKENIZER)
            .ok()
            .flatten()
            .and_then(|text| serde_json::from_str(&text).ok());
        let model_type = model.as_ref().and_then(|model| model.get("model_type")?.as_str());
        let made = Self::read(&bytes, config, model_type);
        let mut tokenizer = made.map_err(|error| TokenizerError::Format {
            path: file,
            message: error.to_string(),
        })?;
        tokenizer.file = Some(bytes.into());
        tokenizer.chat_template = read_if_there(&dir.join(CHAT), limit::TEMPLATE)?;
        tokenizer.dir = Some(dir);
        Ok(tokenizer)
    }

    /// A tokenizer from the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// They are not one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TokenizerError> {
        Self::read(bytes, Map::new(), None)
    }

    fn read(
        bytes: &[u8],
        config: Map<String, Value>,
        model_type: Option<&str>,
    ) -> Result<Self, TokenizerError> {
        let refused = |error: String| TokenizerError::Text(format!("not a tokenizer.json: {error}"));
        let inner = guarded(|| tokenizers::Tokenizer::from_bytes(bytes)).map_err(refused)?;
        let inner = inner.map_err(|error| refused(error.to_string()))?;
        guarded(|| Self::new(inner, config, model_type)).map_err(refused)?
    }

    /// The same tokenizer with the contents of a `tokenizer_config.json`, for one that comes from bytes.
    ///
    /// # Errors
    /// The text is not a JSON object.
    pub fn with_config(self, config: &str) -> Result<Self, TokenizerError> {
        let config = serde_json::from_str(config)
            .map_err(|error| TokenizerError::Text(format!("{CONFIG}: {error}")))?;
        Self::new(self.inner, config, None)
    }

    fn new(
        mut inner: tokenizers::Tokenizer,
        config: Map<String, Value>,
        model_type: Option<&str>,
    ) -> Result<Self, TokenizerError> {
        inner.with_padding(None);
        inner.with_truncation(None).map_err(text_error)?;
        let beside = BesideFile {
            config: &config,
            model_type,
        };
        let mut notes = beside.apply(&mut inner).map_err(text_error)?;
        let mut tokenizer = Self {
            growth: growth::of(&inner).map_err(TokenizerError::Text)?,
            inner,
            file: None,
            notes: Vec::new(),
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
        let behind = framed.get(front + bare.len()..).unwrap_or_default();
        notes.extend(beside.frame(&tokenizer.prefix, behind));
        (tokenizer.notes, tokenizer.config) = (notes, config.clone());
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

    /// What may not be as it is meant, a line each, for the user.
    pub fn notes(&self) -> &[String] {
        &self.notes
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
        let write = |name: &str, text: Vec<u8>| {
            let path = dir.join(name);
            std::fs::write(&path, text).map_err(|source| TokenizerError::Io { path, source })
        };
        std::fs::create_dir_all(dir).map_err(|source| TokenizerError::Io {
            path: dir.to_owned(),
            source,
        })?;
        match &self.file {
            Some(file) => write(TOKENIZER, file.to_vec())?,
            None => write(TOKENIZER, self.inner.to_string(true).map_err(text_error)?.into())?,
        }
        if !self.config.is_empty() {
            let text =
                serde_json::to_string_pretty(&self.config).map_err(|error| text_error(error.into()))?;
            write(CONFIG, text.into())?;
        }
        if let Some(template) = &self.chat_template {
            write(CHAT, template.clone().into())?;
        }
        Ok(())
    }
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
