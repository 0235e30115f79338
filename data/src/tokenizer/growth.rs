//! How much longer a tokenizer's rules can make a text. Those of an unknown checkpoint may double it forty times.

use serde_json::Value;
use tokenizers::{NormalizedString, Normalizer as _};

/// The most that one byte may become. SentencePiece's own rules come to about a hundred.
const MOST: usize = 4096;
/// Texts are looked at so many characters at a time.
const PIECE: usize = 256;
/// Texts of fewer bytes are not looked at.
const SHORT: usize = 256;

/// How many bytes one byte of a text can become, at most.
///
/// # Errors
/// It is more than any real tokenizer's rules come to.
pub fn of(tokenizer: &tokenizers::Tokenizer) -> Result<usize, String> {
    let written = |rule: Option<Value>| rule.unwrap_or_default();
    let rules = [
        written(
            tokenizer
                .get_normalizer()
                .and_then(|rule| serde_json::to_value(rule).ok()),
        ),
        written(
            tokenizer
                .get_pre_tokenizer()
                .and_then(|rule| serde_json::to_value(rule).ok()),
        ),
    ];
    let decoder = written(
        tokenizer
            .get_decoder()
            .and_then(|rule| serde_json::to_value(rule).ok()),
    );
    let growth = rules
        .iter()
        .fold(1usize, |growth, rule| growth.saturating_mul(of_rule(rule)));
    match growth.max(of_rule(&decoder)) {
        more if more > MOST => Err(format!(
            "its rules make a text up to {more} times as long, which no real tokenizer does; it is not used"
        )),
        _ => Ok(growth),
    }
}

/// What the replacements in a rule, or in a list of them, can make of one byte.
fn of_rule(rule: &Value) -> usize {
    let own = match rule["type"].as_str() {
        Some("Replace" | "Prepend") => ["content", "prepend"]
            .iter()
            .filter_map(|key| rule[key].as_str())
            .map(|text| text.len().max(1))
            .product(),
        Some("Precompiled") => rule["precompiled_charsmap"].as_str().map_or(1, longest_entry),
        _ => 1,
    };
    let parts = match rule {
        Value::Object(fields) => fields.values().map(of_rule).fold(1, usize::saturating_mul),
        Value::Array(items) => items.iter().map(of_rule).fold(1, usize::saturating_mul),
        _ => 1,
    };
    parts.saturating_mul(own)
}

/// The longest text that SentencePiece's table, in base 64, puts in a character's place.
fn longest_entry(table: &str) -> usize {
    use base64::Engine as _;
    let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(table) else {
        return 1;
    };
    // Four bytes with the length of an index, the index, then texts that end with a zero.
    let Some((head, rest)) = bytes.split_first_chunk::<4>() else {
        return 1;
    };
    let texts = rest.get(u32::from_le_bytes(*head) as usize..).unwrap_or_default();
    texts
        .split(|&byte| byte == 0)
        .map(<[u8]>::len)
        .max()
        .unwrap_or(1)
        .max(1)
}

/// Whether a text stays within `most` bytes under the rules, by which each byte may become `growth`.
///
/// # Errors
/// It does not.
pub fn check(
    tokenizer: &tokenizers::Tokenizer,
    text: &str,
    growth: usize,
    most: usize,
) -> Result<(), String> {
    let too_long = |bytes: usize| {
        Err(format!(
            "a text of {} bytes comes to more than {bytes} bytes for the tokenizer, more than any model takes; shorten it",
            text.len()
        ))
    };
    if text.len() > most {
        return too_long(most);
    }
    let (true, Some(rules)) = (text.len() > SHORT && growth > 4, tokenizer.get_normalizer()) else {
        return Ok(());
    };
    let (mut length, mut rest) = (0, text);
    while !rest.is_empty() {
        let end = rest.char_indices().nth(PIECE).map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(end);
        let mut piece = NormalizedString::from(piece);
        rules
            .normalize(&mut piece)
            .map_err(|error| format!("tokenizer: {error}"))?;
        length += piece.get().len();
        if length > most {
            return too_long(most);
        }
        rest = after;
    }
    Ok(())
}
