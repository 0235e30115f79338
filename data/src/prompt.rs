//! The three prompts of GCPO: answer, integrate, project.
//!
//! A prompt is a [`Context`] with places for the candidates and the integration, which are tokens and have no text yet. So a template
//! is rendered with the question and with markers in these places, and cut at them into pieces, and the texts between them are
//! encoded one by one.

mod query;
mod templates;

use crate::chat::{ChatError, ChatTemplate, Message};
use crate::context::{Context, Part};
use crate::jinja::{Jinja, said};
use crate::{Tokenizer, TokenizerError, Turns};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value};
use std::collections::BTreeMap;

pub use query::Query;
pub use templates::{INSTRUCTION, Templates};

/// A prompt as others than the model see it: without what a tokenizer puts before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A text that is gone on with.
    Text(String),
    /// Messages for a chat template.
    Messages(Vec<Message>),
}

/// A part of a rendered prompt.
#[derive(Debug, PartialEq)]
enum Piece {
    /// Text, never empty.
    Text(String),
    /// The place of a candidate, by its index.
    Candidate(usize),
    /// The place of the integration.
    Integration,
}

/// A prompt that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// A template does not parse or render.
    #[error("prompt.{template}: {message}")]
    Template {
        /// `answer`, `integrate` or `project`.
        template: &'static str,
        /// What Jinja says.
        message: String,
    },
    /// A part is missing, repeated or out of order.
    #[error(
        "prompt.{template}: {what}; a template holds, each once and in this order: {{{{ question }}}}, \
         every one of `candidates` (integrate, project), {{{{ integration }}}} (project)"
    )]
    Parts {
        /// `answer`, `integrate` or `project`.
        template: &'static str,
        /// Which part, and what is wrong with it.
        what: String,
    },
    /// The chat template failed on the prompt.
    #[error("{source} (the {template} prompt in a user's turn)")]
    Chat {
        /// `answer`, `integrate` or `project`.
        template: &'static str,
        /// What it said.
        source: ChatError,
    },
    /// A system message is set, but the model has no chat template to put it in.
    #[error(
        "a system message needs a chat template, and this model has none; put the text into the prompts instead"
    )]
    SystemWithoutChat,
    /// A row asks for what only a chat template makes.
    #[error(
        "{what}, and only `prompt.style = \"chat\"` writes that, by the checkpoint's chat template: set it"
    )]
    TurnsWithoutChat {
        /// What it asks for.
        what: &'static str,
    },
    /// A text cannot be encoded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// What stands for an assistant's message where only what follows it is of interest.
const SAID: &str = "\u{f8ff}said\u{f8ff}";

/// The three prompts, checked and ready.
#[derive(Debug, Clone)]
pub struct Prompts {
    jinja: Jinja,
    chat: Option<ChatTemplate>,
    system: Option<String>,
    instruction: String,
    instructs_messages: bool,
    /// Whether the beginning of a program is gone on with as it stands, and not asked about in words.
    continues: bool,
}

impl Prompts {
    /// Reads the templates and checks that each holds its parts. With a chat template each prompt becomes a user
    /// turn (behind the `system` turn, if there is one) and ends where the assistant begins.
    ///
    /// # Errors
    /// A template that does not parse, misses, repeats or reorders a part; a chat template that refuses the turns; a
    /// system message without a chat template.
    pub fn new(
        templates: &Templates,
        chat: Option<ChatTemplate>,
        system: Option<&str>,
    ) -> Result<Self, PromptError> {
        if system.is_some() && chat.is_none() {
            return Err(PromptError::SystemWithoutChat);
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        environment.set_syntax(syntax.expect("only its white space is set"));
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        for (template, source) in [
            ("answer", &templates.answer),
            ("integrate", &templates.integrate),
            ("project", &templates.project),
        ] {
            environment
                .add_template_owned(template, source.clone())
                .map_err(|error| template_error(template, &error))?;
        }
        let prompts = Self {
            jinja: Jinja::new(environment),
            chat,
            system: system.map(str::to_owned),
            instruction: templates.instruction.clone(),
            instructs_messages: templates.instructs_messages,
            continues: false,
        };
        let continues = prompts.chat.is_none() && templates.are_for_text();
        let prompts = Self { continues, ..prompts };
        prompts.render("answer", None, None, false)?;
        prompts.render("integrate", None, Some(3), false)?;
        prompts.render("project", None, Some(2), true)?;
        Ok(prompts)
    }

    /// Stage 1: without places.
    ///
    /// # Errors
    /// A text cannot be encoded, or a template depends on more than [`Prompts::new`] could check.
    pub fn answer<'a>(
        &self,
        query: impl Into<Query<'a>>,
        tokenizer: &Tokenizer,
    ) -> Result<Context, PromptError> {
        self.context(
            &self.render("answer", Some(query.into()), None, false)?,
            tokenizer,
        )
    }

    /// Stage 2, with places for `candidates` candidates.
    ///
    /// # Errors
    /// As [`Prompts::answer`].
    pub fn integrate<'a>(
        &self,
        query: impl Into<Query<'a>>,
        candidates: usize,
        tokenizer: &Tokenizer,
    ) -> Result<Context, PromptError> {
        let pieces = self.render("integrate", Some(query.into()), Some(candidates), false)?;
        self.context(&pieces, tokenizer)
    }

    /// Stage 3, with places for `candidates` candidates (the n − 1 that are left) and the integration.
    ///
    /// # Errors
    /// As [`Prompts::answer`].
    pub fn project<'a>(
        &self,
        query: impl Into<Query<'a>>,
        candidates: usize,
        tokenizer: &Tokenizer,
    ) -> Result<Context, PromptError> {
        let pieces = self.render("project", Some(query.into()), Some(candidates), true)?;
        self.context(&pieces, tokenizer)
    }

    /// The prompt of stage 1 before it is written by a chat template, and before it is tokens; without the beginning of the answer.
    ///
    /// # Errors
    /// The template depends on more than [`Prompts::new`] could check.
    pub fn asked<'a>(&self, query: impl Into<Query<'a>>) -> Result<Asked, PromptError> {
        let query = query.into();
        if let Some(text) = self.begun_program(&query) {
            return Ok(Asked::Text(text));
        }
        let context = BTreeMap::from([
            ("question", Value::from(query.question)),
            ("instruction", Value::from(self.instruction_behind(&query))),
        ]);
        let text = self.jinja.render("answer", context);
        let text = text.map_err(|error| template_error("answer", &error))?;
        if self.chat.is_none() {
            return Ok(Asked::Text(text));
        }
        let mut messages = self.turns(text, Some(&query));
        if query.turns.is_some_and(|turns| turns.begun.is_some()) {
            messages.pop();
        }
        Ok(Asked::Messages(messages))
    }

    /// What is said behind a question: a prompt of messages, and one for a program, says itself what it wants, unless the config does.
    fn instruction_behind(&self, query: &Query<'_>) -> &str {
        let says_itself = query.code.is_some() || query.turns.is_some_and(|turns| turns.are_given);
        let is_instructed = self.instructs_messages || !says_itself;
        if is_instructed { &self.instruction } else { "" }
    }

    /// Whether the beginning of a program is gone on with as it stands: without a chat template, where no prompt is given.
    pub fn continues_programs(&self) -> bool {
        self.continues
    }

    /// What is gone on with, if the answer is a program and it is asked for so.
    fn begun_program(&self, query: &Query<'_>) -> Option<String> {
        let code = query.code.filter(|_| self.continues)?;
        Some(code.continuation())
    }

    /// A text in tokens as a model writes it behind a context: what the tokenizer puts in front of a text that stands alone (a space,
    /// for SentencePiece) is not there.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub fn written(
        &self,
        context: &Context,
        text: &str,
        tokenizer: &Tokenizer,
    ) -> Result<Vec<u32>, PromptError> {
        Ok(tokenizer.encode_behind(context.end(), text)?)
    }

    /// [`Prompts::written`] with what ends a turn: the first of the special tokens that the chat template puts behind an
    /// assistant's message, with the text before it, else `eos[0]`. A token that is not in `eos`, and so ends no completion, has
    /// `eos[0]` behind it.
    ///
    /// # Errors
    /// A text cannot be encoded; the chat template takes no assistant's message.
    pub fn target(
        &self,
        context: &Context,
        text: &str,
        tokenizer: &Tokenizer,
        eos: &[u32],
    ) -> Result<Vec<u32>, PromptError> {
        let behind = self.turn_end()?;
        let (mut target, ends) = match tokenizer.first_special(&behind, eos) {
            None => (self.written(context, text, tokenizer)?, false),
            Some((length, id)) => {
                let end = &behind[..length];
                let mut target = tokenizer.encode_behind(context.end(), &format!("{text}{end}"))?;
                if target.last() != Some(&id) {
                    target = self.written(context, text, tokenizer)?;
                    target.extend(tokenizer.encode_inside(end)?);
                }
                (target, eos.contains(&id))
            }
        };
        if !ends {
            target.push(eos[0]);
        }
        Ok(target)
    }

    /// What the chat template writes behind an assistant's message; nothing where there is no chat template, or it writes no such
    /// message.
    fn turn_end(&self) -> Result<String, PromptError> {
        let Some(chat) = &self.chat else {
            return Ok(String::new());
        };
        let mut messages = self.turns("?".to_owned(), None);
        messages.push(Message::new("assistant", SAID));
        let text = chat
            .render(&messages, false)
            .map_err(|source| PromptError::Chat {
                template: "answer",
                source,
            })?;
        Ok(text
            .rsplit_once(SAID)
            .map_or_else(String::new, |(_, behind)| behind.to_owned()))
    }

    /// What was said before, behind the system's turn, if there is one; examples; the user's; and how the answer begins. A row's own
    /// system goes before the config's.
    fn turns(&self, text: String, query: Option<&Query<'_>>) -> Vec<Message> {
        let around = query.and_then(|query| query.turns);
        let code = query.and_then(|query| query.code);
        let shots = code.iter().flat_map(|code| &code.shots).flat_map(|shot| {
            let answer = shot.answer().unwrap_or_default();
            [
                Message::new("user", shot.question()),
                Message::new("assistant", answer),
            ]
        });
        let system = self.system.as_ref();
        let system = system.filter(|_| !around.is_some_and(Turns::has_system));
        let before = around.iter().flat_map(|turns| turns.before.iter().cloned());
        let begun = around.and_then(|turns| turns.begun.as_ref());
        system
            .map(|system| Message::new("system", system))
            .into_iter()
            .chain(before)
            .chain(shots)
            .chain([Message::new("user", text)])
            .chain(begun.map(|begun| Message::new("assistant", begun)))
            .collect()
    }

    /// The pieces in tokens, behind the tokenizer's BOS unless a chat template wrote it.
    fn context(&self, pieces: &[Piece], tokenizer: &Tokenizer) -> Result<Context, PromptError> {
        let mut parts = vec![Part::Tokens(match self.chat {
            Some(_) => Vec::new(),
            None => tokenizer.prefix().to_vec(),
        })];
        let mut end = "";
        for (at, piece) in pieces.iter().enumerate() {
            end = "";
            match piece {
                Piece::Text(text) => {
                    let tokens = match at {
                        0 => tokenizer.encode(text, false)?,
                        _ => tokenizer.encode_inside(text)?,
                    };
                    end = text;
                    match parts.last_mut() {
                        Some(Part::Tokens(open)) => open.extend(tokens),
                        _ => parts.push(Part::Tokens(tokens)),
                    }
                }
                Piece::Candidate(k) => parts.push(Part::Candidate(*k)),
                Piece::Integration => parts.push(Part::Integration),
            }
        }
        Ok(Context::new(parts).ending_with(end))
    }

    /// The pieces of a prompt with this question; without one, a marker stands in its place, which must be there once, before
    /// all other parts. Where the answer is begun, every candidate and integration begins so too, so that they are quoted whole.
    fn render(
        &self,
        template: &'static str,
        query: Option<Query<'_>>,
        candidates: Option<usize>,
        integration: bool,
    ) -> Result<Vec<Piece>, PromptError> {
        if let (Some(what), None) = (query.and_then(|query| query.needs_chat()), &self.chat) {
            return Err(PromptError::TurnsWithoutChat { what });
        }
        let own = query.as_ref().filter(|_| template == "answer");
        if let Some(text) = own.and_then(|query| self.begun_program(query)) {
            return Ok(vec![Piece::Text(text)]);
        }
        let fence = query::fence(query);
        let begun = query.as_ref().map_or("", Query::begun);
        let marker = |name: &str| format!("{fence}{name}{fence}");
        let quoted = |name: &str| format!("{begun}{}", marker(name));
        let turns = query.and_then(|query| query.turns);
        // The parts in the order in which they must come.
        let mut parts = Vec::new();
        let question = query.map(|query| query.question.to_owned()).unwrap_or_else(|| {
            parts.push("question".to_owned());
            marker("question")
        });
        let mut context = BTreeMap::from([
            ("question", Value::from(question)),
            (
                "instruction",
                Value::from(
                    query
                        .as_ref()
                        .map_or(&*self.instruction, |query| self.instruction_behind(query)),
                ),
            ),
        ]);
        if let Some(count) = candidates {
            let names: Vec<String> = (0..count).map(|at| at.to_string()).collect();
            context.insert(
                "candidates",
                names.iter().map(|name| Value::from(quoted(name))).collect(),
            );
            parts.extend(names);
        }
        if integration {
            context.insert("integration", Value::from(quoted("integration")));
            parts.push("integration".to_owned());
        }
        let text = self.jinja.render(template, context);
        let mut text = text.map_err(|error| template_error(template, &error))?;
        if let Some(chat) = &self.chat {
            let nothing = serde_json::Map::new();
            let more = turns.map_or(&nothing, |turns| &turns.chat_template_kwargs);
            text = chat
                .prompt(&self.turns(text, query.as_ref()), more)
                .map_err(|source| PromptError::Chat { template, source })?;
        }
        cut(&text, &parts, fence).map_err(|what| PromptError::Parts { template, what })
    }
}

/// Cuts a rendered prompt at its markers; they must be `parts`, in order.
fn cut(text: &str, parts: &[String], fence: char) -> Result<Vec<Piece>, String> {
    let spoken = |part: &str| match part.parse::<usize>() {
        Ok(at) => format!("candidate {at} (counted from 0)"),
        Err(_) => format!("the {part}"),
    };
    let mut pieces = Vec::new();
    let mut expected = parts.iter();
    for (at, segment) in text.split(fence).enumerate() {
        if at % 2 == 0 {
            if !segment.is_empty() {
                pieces.push(Piece::Text(segment.to_owned()));
            }
            continue;
        }
        match expected.next() {
            Some(part) if part == segment => {}
            Some(part) if parts.iter().any(|p| p == segment) => {
                return Err(format!("{} comes where {} is due", spoken(segment), spoken(part)));
            }
            None if parts.iter().any(|p| p == segment) => {
                return Err(format!("{} is repeated", spoken(segment)));
            }
            _ => {
                return Err(format!(
                    "a text may not hold the character U+{:04X}",
                    fence as u32
                ));
            }
        }
        pieces.push(match segment.parse() {
            Ok(at) => Piece::Candidate(at),
            Err(_) if segment == "question" => Piece::Text(segment.to_owned()),
            Err(_) => Piece::Integration,
        });
    }
    match expected.next() {
        Some(part) => Err(format!("{} is missing", spoken(part))),
        None => Ok(pieces),
    }
}

fn template_error(template: &'static str, error: &minijinja::Error) -> PromptError {
    PromptError::Template {
        template,
        message: format!(
            "{}; templates are Jinja over question, instruction, candidates and integration",
            said(error)
        ),
    }
}

#[cfg(test)]
mod tests;
