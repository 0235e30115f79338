//! What transformers' classes make of a `tokenizer.json`, by what stands beside it.
//!
//! Some classes put parts of their own in the place of the file's: `Qwen2Tokenizer` and `GPT2Tokenizer` decide `add_prefix_space`
//! themselves (and how a text is cut, which is said and not done where the file is of another opinion: the model was trained by the file), `LlamaTokenizer` how spaces become `▁`. Which class it is, `tokenizer_class` says, and `model_type` of `config.json` for some.
//! `add_bos_token` and `add_eos_token` are not read where there is a `tokenizer.json`: its post-processor decides. All of it as in
//! transformers 5; `scripts/make_tokenizer_fixtures.py` asks it.

use super::make::PATTERN;
use serde_json::{Map, Value};
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::normalizers::replace::Replace;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::{ModelWrapper, Tokenizer};

/// What stands beside a `tokenizer.json`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beside<'a> {
    /// `tokenizer_config.json`.
    pub config: &'a Map<String, Value>,
    /// `model_type` of `config.json`.
    pub model_type: Option<&'a str>,
}

impl Beside<'_> {
    fn flag(&self, key: &str) -> Option<bool> {
        self.config.get(key)?.as_bool()
    }

    /// The class, without the `Fast` of old names.
    fn class(&self) -> Option<&str> {
        let class = self.config.get("tokenizer_class")?.as_str()?;
        Some(class.strip_suffix("Fast").unwrap_or(class))
    }

    /// Puts in what the class puts in, and says what is not as it may be meant.
    pub fn apply(&self, inner: &mut Tokenizer) -> Result<Vec<String>, tokenizers::Error> {
        let mut notes = Vec::new();
        let asked = self.flag("add_prefix_space");
        let is_qwen2 = match (self.model_type, self.class()) {
            (Some("qwen2"), _) | (_, Some("Qwen2Tokenizer")) => true,
            (Some("qwen3"), class) => class.is_none(),
            _ => false,
        };
        match byte_level(inner) {
            Some(own) if is_qwen2 || self.class() == Some("GPT2Tokenizer") => {
                let space = asked.unwrap_or(false);
                if own != space {
                    set_byte_level(inner, space);
                }
                let cuts_as_its_class = match is_qwen2 {
                    true => split(inner).is_none_or(|pattern| pattern == PATTERN),
                    false => parts(inner).len() == 1,
                };
                if !cuts_as_its_class {
                    notes.push(
                        "transformers 5 takes it for a Qwen2Tokenizer or GPT2Tokenizer, which cut texts by patterns of their own; here \
                         the parts of tokenizer.json cut them"
                            .to_owned(),
                    );
                }
            }
            Some(own) => {
                if let Some(asked) = asked.filter(|asked| *asked != own) {
                    notes.push(format!(
                        "add_prefix_space = {asked} in tokenizer_config.json is not followed, as in transformers: tokenizer.json says {own}"
                    ));
                }
            }
            None if self.class() == Some("LlamaTokenizer")
                && matches!(inner.get_model(), ModelWrapper::BPE(_)) =>
            {
                self.as_llama(inner)?;
            }
            None => {}
        }
        Ok(notes)
    }

    /// As `LlamaTokenizer` has it: `▁` for a space, and in front of a text (`legacy`: of what follows a special token too) unless
    /// `add_prefix_space` is false.
    fn as_llama(&self, inner: &mut Tokenizer) -> Result<(), tokenizers::Error> {
        let space = self.flag("add_prefix_space").unwrap_or(true);
        let scheme = match (space, self.flag("legacy").unwrap_or(false)) {
            (false, _) => PrependScheme::Never,
            (true, true) => PrependScheme::Always,
            (true, false) => PrependScheme::First,
        };
        let mut decoders = vec![
            Replace::new("▁", " ")?.into(),
            ByteFallback::default().into(),
            Fuse::default().into(),
        ];
        if space {
            decoders.push(Strip::new(' ', 1, 0).into());
        }
        inner
            .with_normalizer(None::<NormalizerWrapper>)
            .with_pre_tokenizer(Some(Metaspace::new('▁', scheme, false)))
            .with_decoder(Some(Decoders::new(decoders)));
        Ok(())
    }

    /// Where the configuration means another frame of a text than the post-processor makes: `front` and `behind` are the tokens that it
    /// puts around a text.
    pub fn frame(&self, front: &[u32], behind: &[u32]) -> Vec<String> {
        let mut notes = Vec::new();
        for (key, what, found) in [
            ("add_bos_token", "in front of", front),
            ("add_eos_token", "behind", behind),
        ] {
            if let Some(asked) = self.flag(key).filter(|asked| *asked == found.is_empty()) {
                let found = if found.is_empty() { "none" } else { "one" };
                notes.push(format!(
                    "{key} = {asked} in tokenizer_config.json, but the post-processor of tokenizer.json puts {found} {what} a text: that \
                     is what is done, as in transformers 5"
                ));
            }
        }
        notes
    }
}

/// The parts of a pre-tokenizer.
fn parts(inner: &Tokenizer) -> &[PreTokenizerWrapper] {
    match inner.get_pre_tokenizer() {
        Some(PreTokenizerWrapper::Sequence(parts)) => parts.as_ref(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    }
}

/// `add_prefix_space` of a byte-level tokenizer.
fn byte_level(inner: &Tokenizer) -> Option<bool> {
    parts(inner).iter().find_map(|part| match part {
        PreTokenizerWrapper::ByteLevel(level) => Some(level.add_prefix_space),
        _ => None,
    })
}

fn set_byte_level(inner: &mut Tokenizer, space: bool) {
    let mut whole = inner.get_pre_tokenizer().cloned();
    let parts = match &mut whole {
        Some(PreTokenizerWrapper::Sequence(parts)) => parts.as_mut(),
        Some(one) => std::slice::from_mut(one),
        None => &mut [],
    };
    for part in parts {
        if let PreTokenizerWrapper::ByteLevel(level) = part {
            level.add_prefix_space = space;
        }
    }
    inner.with_pre_tokenizer(whole);
}

/// The pattern by which a text is cut first.
fn split(inner: &Tokenizer) -> Option<&str> {
    parts(inner).iter().find_map(|part| match part {
        PreTokenizerWrapper::Split(split) => match &split.pattern {
            SplitPattern::Regex(pattern) | SplitPattern::String(pattern) => Some(pattern.as_str()),
        },
        _ => None,
    })
}
