//! A checkpoint's own chat template, rendered as transformers renders it.
//!
//! Jinja with `trim_blocks` and `lstrip_blocks`, Python's methods on strings, lists and dicts, `break` and `continue`,
//! `raise_exception`, `strftime_now`, `tojson` in Python's spelling, and the `generation` tag (which only marks what
//! the assistant says; it prints its body). `tools` and `documents` are none, as where transformers is given none; a template that
//! goes through them without asking fails here as it does there.

mod filters;
mod methods;
mod python;
mod time;

use crate::Tokenizer;
use crate::files::limit;
use crate::jinja::{Jinja, as_minijinja, names, said};
use jiff::Timestamp;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A chat template that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    /// It is not Jinja.
    #[error("{file}: the chat template does not parse: {message}")]
    Syntax {
        /// Where it stands.
        file: String,
        /// What Jinja says.
        message: String,
    },
    /// It refused the messages, or failed on them.
    #[error("{file}: the chat template does not take these messages: {message}")]
    Render {
        /// Where it stands.
        file: String,
        /// What it says.
        message: String,
    },
    /// An argument is given that the template does not read, or that is not one to give.
    #[error("{place}: {what}")]
    Argument {
        /// Where it is given: a key of the config or a column.
        place: &'static str,
        /// Which, and what is wrong with it.
        what: String,
    },
}

/// One turn of a conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What is said.
    pub content: String,
    /// What else templates may read of it: `name`, `reasoning_content`, `tool_calls`.
    #[serde(flatten)]
    pub more: Map<String, Json>,
}

impl Message {
    /// A turn of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
            more: Map::new(),
        }
    }

    /// As templates see it: transformers writes what was thought under the names that templates know it by.
    fn seen(&self) -> Map<String, Json> {
        let names = ["reasoning_content", "thinking", "reasoning"];
        let thought = names.iter().find_map(|name| self.more.get(*name)).cloned();
        let first = thought.clone().map(|thought| ("thinking".to_owned(), thought));
        let texts = [("role", &self.role), ("content", &self.content)];
        let texts = texts.map(|(name, text)| (name.to_owned(), Json::from(text.as_str())));
        let mut seen: Map<String, Json> = first.into_iter().chain(texts).collect();
        seen.extend(self.more.clone());
        seen.extend(thought.map(|thought| ("reasoning_content".to_owned(), thought)));
        seen
    }
}

/// What a chat template is given beside the messages.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatOptions {
    /// What `strftime_now` says the time is, in seconds since 1970 in UTC. Never the system's: equal runs are equal on every day.
    pub now: i64,
    /// Arguments by name (`enable_thinking`), as transformers passes them on.
    pub arguments: Map<String, Json>,
}

impl Default for ChatOptions {
    /// 26 July 2024, which Llama 3's templates take where there is no clock.
    fn default() -> Self {
        Self {
            now: 1_721_952_000,
            arguments: Map::new(),
        }
    }
}

/// A chat template, ready to render.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    jinja: Jinja,
    /// Its text, as it was given.
    source: Arc<str>,
    /// Where it stands, for errors.
    file: String,
    /// What it may read: `bos_token`, `eos_token`, …, and the arguments.
    values: BTreeMap<String, Value>,
}

const NAME: &str = "chat_template";

/// Marks where a message ends that is to be gone on with, as in transformers.
const CONTINUED: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// What every rendering says itself.
const OURS: [&str; 2] = ["messages", "add_generation_prompt"];

impl ChatTemplate {
    /// Reads a template that stands in `file`. `tokens` are the special tokens by their names (`bos_token`, `eos_token`, …).
    ///
    /// # Errors
    /// It does not parse, or does not read an argument that it is given.
    pub fn new<K: Into<String>, V: Into<String>>(
        source: &str,
        file: &str,
        tokens: impl IntoIterator<Item = (K, V)>,
        options: &ChatOptions,
    ) -> Result<Self, ChatError> {
        let syntax_error = |message: String| ChatError::Syntax {
            file: file.to_owned(),
            message,
        };
        if source.len() as u64 > limit::TEMPLATE {
            return Err(syntax_error(format!(
                "it has {} bytes, and {} at most are read",
                source.len(),
                limit::TEMPLATE
            )));
        }
        let mut environment = environment(options.now);
        environment
            .add_template_owned(NAME, as_minijinja(source))
            .map_err(|error| syntax_error(said(&error)))?;
        let jinja = Jinja::new(environment);
        check_arguments(&jinja, source, &options.arguments, "prompt.chat_template_kwargs")?;
        let tokens = tokens.into_iter().map(|(k, v)| (k.into(), Value::from(v.into())));
        let arguments = options.arguments.iter();
        // In transformers too an argument goes before a token of its name.
        let arguments = arguments.map(|(name, value)| (name.clone(), Value::from(Serde(value))));
        let nothing = ["tools", "documents"].map(|name| (name.to_owned(), Value::from(())));
        Ok(Self {
            jinja,
            source: source.into(),
            file: file.to_owned(),
            values: nothing.into_iter().chain(tokens).chain(arguments).collect(),
        })
    }

    /// The template of a checkpoint's tokenizer, where it has one.
    ///
    /// # Errors
    /// As [`ChatTemplate::new`].
    pub fn of(tokenizer: &Tokenizer, options: &ChatOptions) -> Result<Option<Self>, ChatError> {
        let Some((source, file)) = tokenizer.chat_template() else {
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
        Self::new(source, &file, tokens, options).map(Some)
    }

    /// The conversation as text; with `add_generation_prompt` it ends where the assistant begins to speak.
    ///
    /// # Errors
    /// The template raised an exception (roles out of order, no system turn allowed), failed, or did not come to an end.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, ChatError> {
        self.render_more(messages, add_generation_prompt, &Map::new())
    }

    /// A prompt as text, as transformers' `apply_chat_template` makes one: it ends where the assistant begins to speak, or, where the
    /// last message is the assistant's, with that (`continue_final_message`). `more` arguments go before the template's own.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`]; an argument is not one that the template reads; the template does not keep the last message.
    pub fn prompt(&self, messages: &[Message], more: &Map<String, Json>) -> Result<String, ChatError> {
        if !more.is_empty() {
            check_arguments(&self.jinja, &self.source, more, "chat_template_kwargs")?;
        }
        let Some((last, before)) = messages.split_last().filter(|(last, _)| last.role == "assistant") else {
            return self.render_more(messages, true, more);
        };
        let mut marked = before.to_vec();
        marked.push(Message::new("assistant", last.content.clone() + CONTINUED));
        let text = self.render_more(&marked, false, more)?;
        let failed = || {
            ChatError::Render {
            file: self.file.clone(),
            message: "it does not write the assistant's last message as it is, so that nothing can go on with it; end the prompt with \
                      the user's"
                .to_owned(),
        }
        };
        let (kept, behind) = text.rsplit_once(CONTINUED.trim_end()).ok_or_else(failed)?;
        if !text.contains(last.content.trim()) {
            return Err(failed());
        }
        // A template that trims messages has trimmed the space behind the mark, and would have that of the message.
        Ok(match behind.starts_with(' ') {
            true => kept.to_owned(),
            false => kept.trim_end().to_owned(),
        })
    }

    fn render_more(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        more: &Map<String, Json>,
    ) -> Result<String, ChatError> {
        let [messages_name, prompt_name] = OURS;
        let seen: Vec<_> = messages.iter().map(Message::seen).collect();
        let more = more
            .iter()
            .map(|(name, value)| (name.as_str(), Value::from(Serde(value))));
        self.render_with(more.chain([
            (messages_name, Value::from(Serde(&seen))),
            (prompt_name, Value::from(add_generation_prompt)),
        ]))
    }

    /// With more values by name, which go before the template's own.
    fn render_with<'a>(
        &'a self,
        more: impl IntoIterator<Item = (&'a str, Value)>,
    ) -> Result<String, ChatError> {
        let values = self.values.iter();
        let values = values.map(|(name, value)| (name.as_str(), value.clone()));
        let context: BTreeMap<&str, Value> = values.chain(more).collect();
        self.jinja
            .render(NAME, context)
            .map_err(|error| ChatError::Render {
                file: self.file.clone(),
                message: said(&error),
            })
    }
}

/// What every template may use, at `now`.
fn environment(now: i64) -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(syntax.expect("only its white space is set"));
    environment.set_formatter(python::formatter);
    environment.set_unknown_method_callback(methods::call);
    environment.add_filter("tojson", python::tojson);
    environment.add_filter("string", |state: &State, value: Value| {
        python::text(state, &value)
    });
    environment.add_filter("percent", percent);
    filters::add_to(&mut environment);
    environment.add_filter("iterated", |value: Value| match value.is_none() {
        true => Err(not_iterable()),
        false => Ok(value),
    });
    // For minijinja none is an empty list, and a text no sequence.
    environment.add_test("sequence", |value: &Value| {
        use ValueKind::{Map, Seq, String, Undefined};
        matches!(value.kind(), Seq | Map | String | Undefined)
    });
    environment.add_test("iterable", |value: &Value| {
        !value.is_none() && value.try_iter().is_ok()
    });
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", move |format: String| {
        let now = Timestamp::from_second(now);
        let now = now.map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))?;
        time::strftime(&format, now)
    });
    environment
}

fn not_iterable() -> Error {
    Error::new(ErrorKind::InvalidOperation, "'NoneType' object is not iterable")
}

/// Each argument is one that the template reads.
fn check_arguments(
    jinja: &Jinja,
    source: &str,
    arguments: &Map<String, Json>,
    place: &'static str,
) -> Result<(), ChatError> {
    for name in arguments.keys() {
        let what = if OURS.contains(&name.as_str()) {
            format!("`{name}` is what the program itself gives to the template; remove it")
        } else if names(source, name) {
            continue;
        } else {
            let known = [
                "raise_exception",
                "strftime_now",
                "namespace",
                "range",
                "tools",
                "documents",
            ];
            let reads = jinja.reads(NAME).unwrap_or_default();
            let others = reads.iter().filter(|name| {
                let name = name.as_str();
                !OURS.contains(&name) && !known.contains(&name) && !name.ends_with("_token")
            });
            let others: Vec<String> = others.map(|name| format!("`{name}`")).collect();
            let reads = match others.is_empty() {
                true => "no arguments".to_owned(),
                false => others.join(", "),
            };
            format!("the chat template never reads `{name}`; it reads {reads}")
        };
        return Err(ChatError::Argument { place, what });
    }
    Ok(())
}

/// Python's `format % value`.
fn percent(state: &mut State, format: Value, value: Value) -> Result<Value, Error> {
    let mut args = vec![format];
    match value.is_tuple() {
        true => args.extend(value.try_iter()?),
        false => args.push(value),
    }
    let places = args[0]
        .as_str()
        .unwrap_or_default()
        .replace("%%", "")
        .matches(['%', '*'])
        .count();
    if args.len() - 1 > places && args[1].kind() != ValueKind::Map {
        let what = "not all arguments converted during string formatting";
        return Err(Error::new(ErrorKind::InvalidOperation, what));
    }
    for arg in &mut args[1..] {
        // Numbers stay numbers, and a dict is asked for its keys.
        if !arg.is_number() && arg.kind() != ValueKind::Map {
            *arg = Value::from(python::text(state, arg)?);
        }
    }
    state.apply_filter("format", &args)
}

#[cfg(test)]
mod template_vectors;
#[cfg(test)]
mod tests;
