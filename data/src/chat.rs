//! A checkpoint's own chat template, rendered as transformers renders it.
//!
//! Jinja with `trim_blocks` and `lstrip_blocks`, Python's methods on strings, lists and dicts, `break` and `continue`,
//! `raise_exception`, `strftime_now`, `tojson` in Python's spelling, and the `generation` tag (which only marks what
//! the assistant says; it prints its body). `tools` and `documents` are left undefined, so a template that goes through
//! its tools without asking whether there are any finds none (in transformers, which passes null, it fails).

use crate::Tokenizer;
use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value};
use serde::Serialize;
use std::collections::BTreeMap;

/// A chat template that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    /// It is not Jinja.
    #[error("the chat template does not parse: {0}")]
    Syntax(String),
    /// It refused the messages, or failed on them.
    #[error("the chat template does not take these messages: {0}")]
    Render(String),
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A turn of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
        }
    }
}

/// What `strftime_now` says the time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// The system's time in UTC (transformers takes local time).
    #[default]
    System,
    /// Always this time, in seconds since 1970 in UTC: a run that repeats must not depend on its date.
    Fixed(i64),
}

/// A chat template, ready to render.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// `bos_token`, `eos_token`, …: what a template may name.
    tokens: BTreeMap<String, String>,
}

const NAME: &str = "chat_template";

impl ChatTemplate {
    /// Reads a template. `tokens` are the special tokens by their names (`bos_token`, `eos_token`, …).
    ///
    /// # Errors
    /// It does not parse.
    pub fn new<K: Into<String>, V: Into<String>>(
        source: &str,
        tokens: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ChatError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.expect("only its white space is set"));
        environment.set_formatter(python_formatter);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", tojson);
        environment.add_filter("string", |value: Value| python_str(&value));
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment
            // Jinja reads every line end as \n.
            .add_template_owned(
                NAME,
                without_generation(&source.replace("\r\n", "\n").replace('\r', "\n")),
            )
            .map_err(|error| ChatError::Syntax(said(&error)))?;
        let tokens = tokens.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        Ok(Self { environment, tokens }.with_clock(Clock::default()))
    }

    /// The template of a checkpoint's tokenizer, where it has one.
    ///
    /// # Errors
    /// It does not parse.
    pub fn of(tokenizer: &Tokenizer) -> Result<Option<Self>, ChatError> {
        let Some(source) = tokenizer.chat_template() else {
            return Ok(None);
        };
        let names = [
            "bos_token",
            "eos_token",
            "pad_token",
            "unk_token",
            "sep_token",
            "cls_token",
        ];
        let tokens = names
            .into_iter()
            .filter_map(|name| Some((name, tokenizer.named_text(name)?)));
        Self::new(source, tokens).map(Some)
    }

    /// The same template with another clock.
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.environment
            .add_function("strftime_now", move |format: String| {
                let time = match clock {
                    Clock::Fixed(secs) => Timestamp::from_second(secs).map_err(|error| {
                        Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {error}"))
                    })?,
                    Clock::System => Timestamp::now(),
                };
                strftime(&format, time)
            });
        self
    }

    /// The conversation as text; with `add_generation_prompt` it ends where the assistant begins to speak.
    ///
    /// # Errors
    /// The template raised an exception (roles out of order, no system turn allowed) or failed.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, ChatError> {
        self.render_values(Value::from(Serde(messages)), add_generation_prompt)
    }

    fn render_values(&self, messages: Value, add_generation_prompt: bool) -> Result<String, ChatError> {
        let mut context: BTreeMap<&str, Value> = self
            .tokens
            .iter()
            .map(|(name, token)| (name.as_str(), Value::from(token.as_str())))
            .collect();
        context.insert("messages", messages);
        context.insert("add_generation_prompt", Value::from(add_generation_prompt));
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(context))
            .map_err(|error| ChatError::Render(said(&error)))
    }
}

/// An error in one line, with its place.
fn said(error: &Error) -> String {
    let what = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("{what} (line {line} of the template)"),
        None => what,
    }
}

/// transformers' `{% generation %}` block as one that is always taken.
fn without_generation(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let Some(end) = rest[at..].find("%}").map(|end| at + end) else {
            break;
        };
        let tag = &rest[at + 2..end];
        let word = tag.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        let replaced = match word {
            "generation" => tag.replace(word, "if true"),
            "endgeneration" => tag.replace(word, "endif"),
            _ => tag.to_owned(),
        };
        out.push_str(&rest[..at + 2]);
        out.push_str(&replaced);
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// Prints values as Python's `str` does.
fn python_formatter(out: &mut Output, _state: &mut State, value: &Value) -> Result<(), Error> {
    Ok(out.write_str(&python_str(value))?)
}

fn python_str(value: &Value) -> String {
    match value.kind() {
        ValueKind::None => "None".to_owned(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.to_owned(),
        ValueKind::Seq | ValueKind::Map => python_repr(value),
        _ => value.to_string(),
    }
}

fn python_repr(value: &Value) -> String {
    let list = |items: Vec<String>| items.join(", ");
    match value.kind() {
        ValueKind::String => {
            let text = value.to_string();
            let quote = if text.contains('\'') && !text.contains('"') {
                '"'
            } else {
                '\''
            };
            let mut out = String::from(quote);
            for c in text.chars() {
                match c {
                    '\n' => out.push_str("\\n"),
                    '\r' => out.push_str("\\r"),
                    '\t' => out.push_str("\\t"),
                    '\\' => out.push_str("\\\\"),
                    c if c == quote => out.extend(['\\', c]),
                    c => out.push(c),
                }
            }
            out.push(quote);
            out
        }
        ValueKind::Seq => {
            let items = value
                .try_iter()
                .map(|items| items.map(|item| python_repr(&item)).collect());
            format!("[{}]", list(items.unwrap_or_default()))
        }
        ValueKind::Map => {
            let entry = |key: Value| {
                let item = value.get_item(&key).unwrap_or_default();
                format!("{}: {}", python_repr(&key), python_repr(&item))
            };
            let items = value.try_iter().map(|keys| keys.map(entry).collect());
            format!("{{{}}}", list(items.unwrap_or_default()))
        }
        _ => python_str(value),
    }
}

/// `json.dumps` with the options that transformers gives to templates.
fn tojson(value: Value, options: Kwargs) -> Result<Value, Error> {
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let indent: Option<usize> = options.get("indent")?;
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let separators: Option<Vec<String>> = options.get("separators")?;
    options.assert_all_used()?;
    let (comma, colon) = match separators.as_deref() {
        Some([comma, colon]) => (comma.clone(), colon.clone()),
        Some(_) => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                "tojson: separators takes two strings",
            ));
        }
        None => (
            if indent.is_some() { "," } else { ", " }.to_owned(),
            ": ".to_owned(),
        ),
    };
    let json = serde_json::to_value(&value)
        .map_err(|error| Error::new(ErrorKind::InvalidOperation, "tojson: not JSON").with_source(error))?;
    let style = JsonStyle {
        comma,
        colon,
        indent,
        sort_keys,
        ascii,
    };
    let mut out = String::new();
    style.write(&json, 0, &mut out);
    Ok(Value::from(out))
}

struct JsonStyle {
    comma: String,
    colon: String,
    indent: Option<usize>,
    sort_keys: bool,
    ascii: bool,
}

impl JsonStyle {
    fn write(&self, json: &serde_json::Value, depth: usize, out: &mut String) {
        use serde_json::Value as Json;
        match json {
            Json::Array(items) if items.is_empty() => out.push_str("[]"),
            Json::Object(entries) if entries.is_empty() => out.push_str("{}"),
            Json::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    self.next(at, depth + 1, out);
                    self.write(item, depth + 1, out);
                }
                self.line(depth, out);
                out.push(']');
            }
            Json::Object(entries) => {
                let mut entries: Vec<_> = entries.iter().collect();
                if self.sort_keys {
                    entries.sort_by_key(|(key, _)| *key);
                }
                out.push('{');
                for (at, (key, item)) in entries.into_iter().enumerate() {
                    self.next(at, depth + 1, out);
                    self.text(key, out);
                    out.push_str(&self.colon);
                    self.write(item, depth + 1, out);
                }
                self.line(depth, out);
                out.push('}');
            }
            Json::String(text) => self.text(text, out),
            other => out.push_str(&other.to_string()),
        }
    }

    fn next(&self, at: usize, depth: usize, out: &mut String) {
        if at > 0 {
            out.push_str(&self.comma);
        }
        self.line(depth, out);
    }

    fn line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.push_str(&" ".repeat(indent * depth));
        }
    }

    fn text(&self, text: &str, out: &mut String) {
        let quoted = serde_json::Value::from(text).to_string();
        for c in quoted.chars() {
            if self.ascii && !c.is_ascii() {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            } else {
                out.push(c);
            }
        }
    }
}

/// Python's `strftime` in the C locale for a time in UTC. Only the codes that jiff writes as Python does.
fn strftime(format: &str, time: Timestamp) -> Result<String, Error> {
    const CODES: &str = "aAbhBdemyYHIMSpFTZ%";
    let failed = |what: String| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {what}"));
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c == '%' {
            // "%-d": without the leading zero.
            let code = chars
                .next()
                .and_then(|c| if c == '-' { chars.next() } else { Some(c) });
            if code.is_none_or(|code| !CODES.contains(code)) {
                let code = code.map(String::from).unwrap_or_default();
                return Err(failed(format!("%{code} is not supported")));
            }
        }
    }
    strtime::format(format, &time.to_zoned_datetime(TimeZone::UTC)).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests;
