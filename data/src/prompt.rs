//! The three prompts of GCPO: answer, integrate, project.
//!
//! A prompt is a [`Context`] with places for the candidates and the integration. So a template is rendered once with
//! markers in their places and cut at them into pieces, and the texts between them are encoded one by one.

use crate::chat::{ChatError, ChatTemplate, Message};
use crate::context::{Context, Part};
use crate::{Tokenizer, TokenizerError};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The three prompts in Jinja, over `question`, `candidates` (a list) and `integration`.
///
/// Each must hold the question, then every candidate in order, then the integration, each exactly once, so that
/// prompts with the same beginning share it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Templates {
    /// Stage 1, over `question`: asks for a candidate.
    pub answer: String,
    /// Stage 2, over `question` and `candidates`: asks for one answer made from all of them.
    pub integrate: String,
    /// Stage 3, over `question`, `candidates` (all but one) and `integration`: asks for an answer again.
    pub project: String,
}

impl Default for Templates {
    /// In plain language, for models that follow instructions. Answers are asked for in `\boxed{}`.
    fn default() -> Self {
        const CANDIDATES: &str = "{% for candidate in candidates %}\n\n\
            ### Candidate {{ loop.index }}\n{{ candidate }}{% endfor %}\n\n";
        const BOX: &str = "Reason step by step, and put your final answer within \\boxed{}.";
        Self {
            answer: format!("{{{{ question }}}}\n\n{BOX}"),
            integrate: format!(
                "{{{{ question }}}}\n\nBelow are candidate answers to this question. Some may be wrong.{CANDIDATES}\
                 ### Task\nCompare the candidates, keep what is right in them, and write one complete answer to the \
                 question. {BOX}"
            ),
            project: format!(
                "{{{{ question }}}}\n\nBelow are candidate answers to this question, and an answer that was made from \
                 them and one more. Some may be wrong.{CANDIDATES}### Integrated answer\n{{{{ integration }}}}\n\n\
                 ### Task\nAnswer the question yourself. {BOX}"
            ),
        }
    }
}

impl Templates {
    /// English text that a base model can go on with.
    pub fn plain() -> Self {
        const HEAD: &str = "Question: {{ question }}\n";
        const CANDIDATES: &str = "{% for candidate in candidates %}Candidate answer {{ loop.index }}: {{ candidate }}\n{% endfor %}";
        const FINAL: &str = "Final answer, after weighing the candidates:";
        Self {
            answer: format!("{HEAD}Answer:"),
            integrate: format!("{HEAD}{CANDIDATES}{FINAL}"),
            project: format!("{HEAD}{CANDIDATES}{FINAL} {{{{ integration }}}}\nAnother answer:"),
        }
    }

    /// Short marks between the parts, for tiny models whose tokenizer has `<q>`, `<a>` and `<final>` as tokens.
    pub fn marks() -> Self {
        const CANDIDATES: &str = "{% for c in candidates %}<a>{{ c }}{% endfor %}";
        Self {
            answer: "<q>{{ question }}<a>".to_owned(),
            integrate: format!("<q>{{{{ question }}}}{CANDIDATES}<final>"),
            project: format!("<q>{{{{ question }}}}{CANDIDATES}<final>{{{{ integration }}}}<a>"),
        }
    }
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
    #[error("prompt.{template}: {source}")]
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
    /// A text cannot be encoded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// Stands around the markers: a private-use character that no text has a reason to hold.
const FENCE: char = '\u{f8ff}';

/// The three prompts, checked and ready.
#[derive(Debug, Clone)]
pub struct Prompts {
    environment: Environment<'static>,
    chat: Option<ChatTemplate>,
    system: Option<String>,
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
            environment,
            chat,
            system: system.map(str::to_owned),
        };
        prompts.render("answer", "?", None, false)?;
        prompts.render("integrate", "?", Some(3), false)?;
        prompts.render("project", "?", Some(2), true)?;
        Ok(prompts)
    }

    /// Stage 1: without places.
    ///
    /// # Errors
    /// A text cannot be encoded, or a template depends on more than [`Prompts::new`] could check.
    pub fn answer(&self, question: &str, tokenizer: &Tokenizer) -> Result<Context, PromptError> {
        self.context(&self.render("answer", question, None, false)?, tokenizer)
    }

    /// Stage 2, with places for `candidates` candidates.
    ///
    /// # Errors
    /// As [`Prompts::answer`].
    pub fn integrate(
        &self,
        question: &str,
        candidates: usize,
        tokenizer: &Tokenizer,
    ) -> Result<Context, PromptError> {
        let pieces = self.render("integrate", question, Some(candidates), false)?;
        self.context(&pieces, tokenizer)
    }

    /// Stage 3, with places for `candidates` candidates (the n − 1 that are left) and the integration.
    ///
    /// # Errors
    /// As [`Prompts::answer`].
    pub fn project(
        &self,
        question: &str,
        candidates: usize,
        tokenizer: &Tokenizer,
    ) -> Result<Context, PromptError> {
        let pieces = self.render("project", question, Some(candidates), true)?;
        self.context(&pieces, tokenizer)
    }

    /// The pieces in tokens, behind the tokenizer's BOS unless a chat template wrote it.
    fn context(&self, pieces: &[Piece], tokenizer: &Tokenizer) -> Result<Context, PromptError> {
        let mut parts = vec![Part::Tokens(match self.chat {
            Some(_) => Vec::new(),
            None => tokenizer.prefix().to_vec(),
        })];
        for piece in pieces {
            match piece {
                Piece::Text(text) => {
                    let tokens = tokenizer.encode(text, false)?;
                    match parts.last_mut() {
                        Some(Part::Tokens(open)) => open.extend(tokens),
                        _ => parts.push(Part::Tokens(tokens)),
                    }
                }
                Piece::Candidate(k) => parts.push(Part::Candidate(*k)),
                Piece::Integration => parts.push(Part::Integration),
            }
        }
        Ok(Context::new(parts))
    }

    fn render(
        &self,
        template: &'static str,
        question: &str,
        candidates: Option<usize>,
        integration: bool,
    ) -> Result<Vec<Piece>, PromptError> {
        let marker = |name: &str| format!("{FENCE}{name}{FENCE}");
        // The parts in the order in which they must come.
        let mut parts = vec!["question".to_owned()];
        let mut context = BTreeMap::from([("question", Value::from(marker("question")))]);
        if let Some(count) = candidates {
            let names: Vec<String> = (0..count).map(|at| at.to_string()).collect();
            context.insert(
                "candidates",
                names.iter().map(|name| Value::from(marker(name))).collect(),
            );
            parts.extend(names);
        }
        if integration {
            context.insert("integration", Value::from(marker("integration")));
            parts.push("integration".to_owned());
        }
        let mut text = self
            .environment
            .get_template(template)
            .and_then(|jinja| jinja.render(context))
            .map_err(|error| template_error(template, &error))?;
        if let Some(chat) = &self.chat {
            let mut messages: Vec<Message> = Vec::new();
            messages.extend(self.system.as_ref().map(|system| Message::new("system", system)));
            messages.push(Message::new("user", text));
            text = chat
                .render(&messages, true)
                .map_err(|source| PromptError::Chat { template, source })?;
        }
        cut(&text, &parts, question).map_err(|what| PromptError::Parts { template, what })
    }
}

/// Cuts a rendered prompt at its markers; they must be `parts`, in order. The question's marker becomes its text.
fn cut(text: &str, parts: &[String], question: &str) -> Result<Vec<Piece>, String> {
    let spoken = |part: &str| match part.parse::<usize>() {
        Ok(at) => format!("candidate {at} (counted from 0)"),
        Err(_) => format!("the {part}"),
    };
    let mut pieces = Vec::new();
    let mut expected = parts.iter();
    let mut open = String::new();
    for (at, segment) in text.split(FENCE).enumerate() {
        if at % 2 == 0 {
            open.push_str(segment);
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
                    FENCE as u32
                ));
            }
        }
        if segment == "question" {
            open.push_str(question);
            continue;
        }
        if !open.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut open)));
        }
        pieces.push(match segment.parse() {
            Ok(at) => Piece::Candidate(at),
            Err(_) => Piece::Integration,
        });
    }
    if !open.is_empty() {
        pieces.push(Piece::Text(open));
    }
    match expected.next() {
        Some(part) => Err(format!("{} is missing", spoken(part))),
        None => Ok(pieces),
    }
}

fn template_error(template: &'static str, error: &minijinja::Error) -> PromptError {
    let what = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    let place = error
        .line()
        .map_or_else(String::new, |line| format!(" (line {line})"));
    PromptError::Template {
        template,
        message: format!("{what}{place}; templates are Jinja over question, candidates and integration"),
    }
}

#[cfg(test)]
mod tests {
    use super::Piece::{Candidate, Integration};
    use super::*;

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    fn answer(prompts: &Prompts, question: &str) -> Vec<Piece> {
        prompts.render("answer", question, None, false).unwrap()
    }

    fn integrate(prompts: &Prompts, question: &str, candidates: usize) -> Vec<Piece> {
        prompts
            .render("integrate", question, Some(candidates), false)
            .unwrap()
    }

    #[test]
    fn marks_are_cut_into_pieces() {
        let prompts = Prompts::new(&Templates::marks(), None, None).unwrap();
        assert_eq!(answer(&prompts, "1+1"), [text("<q>1+1<a>")]);
        assert_eq!(
            integrate(&prompts, "1+1", 2),
            [
                text("<q>1+1<a>"),
                Candidate(0),
                text("<a>"),
                Candidate(1),
                text("<final>")
            ]
        );
        assert_eq!(
            prompts.render("project", "1+1", Some(1), true).unwrap(),
            [
                text("<q>1+1<a>"),
                Candidate(0),
                text("<final>"),
                Integration,
                text("<a>")
            ]
        );
        // A question is text, whatever it holds.
        assert_eq!(
            answer(&prompts, "{{ x }}\u{f8ff}"),
            [text("<q>{{ x }}\u{f8ff}<a>")]
        );
    }

    #[test]
    fn contexts_hold_the_candidates_as_sampled() {
        let prompts = Prompts::new(&Templates::marks(), None, None).unwrap();
        let tokenizer = Tokenizer::char_level("12+", &["<q>", "<a>", "<final>"]).unwrap();
        let context = prompts.project("1+2", 2, &tokenizer).unwrap();
        assert_eq!(
            context.fill(&[&[40, 41], &[42]], Some(&[43])),
            [0, 4, 6, 5, 1, 40, 41, 1, 42, 2, 43, 1]
        );
    }

    #[test]
    fn a_bos_is_in_the_first_tokens_unless_the_chat_template_wrote_it() {
        let dir = tempfile::tempdir().unwrap();
        Tokenizer::char_level("12+", &["<q>", "<a>", "<final>", "<s>"])
            .unwrap()
            .save(dir.path())
            .unwrap();
        let file = dir.path().join("tokenizer.json");
        let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let (bos, text) = (
            serde_json::json!({"SpecialToken": {"id": "<s>", "type_id": 0}}),
            serde_json::json!({"Sequence": {"id": "A", "type_id": 0}}),
        );
        json["post_processor"] = serde_json::json!({
            "type": "TemplateProcessing", "single": [bos, text], "pair": [bos, text],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]}},
        });
        std::fs::write(&file, json.to_string()).unwrap();
        let tokenizer = Tokenizer::load(&file).unwrap();
        let context = |chat| {
            let prompts = Prompts::new(&Templates::marks(), chat, None).unwrap();
            prompts.integrate("1+2", 1, &tokenizer).unwrap()
        };
        assert_eq!(context(None).head(), [3, 0, 5, 7, 6, 1]);
        let source = "{% for m in messages %}{{ m.content }}{% endfor %}";
        let chat = ChatTemplate::new(source, [("bos_token", "<s>")]).unwrap();
        assert_eq!(context(Some(chat)).head(), [0, 5, 7, 6, 1]);
    }

    #[test]
    fn default_templates_work_with_and_without_a_chat_template() {
        let plain = Prompts::new(&Templates::default(), None, None).unwrap();
        let Piece::Text(asked) = &answer(&plain, "Why?")[0] else {
            panic!()
        };
        assert!(
            asked.starts_with("Why?\n\n") && asked.ends_with("\\boxed{}."),
            "{asked}"
        );
        let source = "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}{% endfor %}<|assistant|>";
        let chat = ChatTemplate::new(source, [("eos_token", "</s>")]).unwrap();
        let prompts = Prompts::new(&Templates::marks(), Some(chat), Some("Be brief.")).unwrap();
        assert_eq!(
            integrate(&prompts, "1+1", 1),
            [
                text("<|system|>Be brief.<|user|><q>1+1<a>"),
                Candidate(0),
                text("<final><|assistant|>")
            ]
        );
        assert!(matches!(
            Prompts::new(&Templates::marks(), None, Some("x")),
            Err(PromptError::SystemWithoutChat)
        ));
    }

    #[test]
    fn parts_missing_repeated_or_out_of_order_are_errors() {
        let each = "{% for c in candidates %}{{ c }}{% endfor %}";
        for (template, source, said) in [
            ("answer", "no question".to_owned(), "the question is missing"),
            (
                "answer",
                "{{ question }}{{ question }}".to_owned(),
                "the question is repeated",
            ),
            ("answer", "{{ questoin }}".to_owned(), "undefined"),
            ("answer", "{{ question".to_owned(), "line 1"),
            ("answer", "\u{f8ff}{{ question }}".to_owned(), "U+F8FF"),
            (
                "integrate",
                "{{ question }}".to_owned(),
                "candidate 0 (counted from 0) is missing",
            ),
            (
                "integrate",
                format!("{each}{{{{ question }}}}"),
                "comes where the question is due",
            ),
            (
                "integrate",
                "{{ question }}{% for c in candidates | reverse %}{{ c }}{% endfor %}".to_owned(),
                "candidate 2 (counted from 0) comes where candidate 0",
            ),
            (
                "project",
                format!("{{{{ question }}}}{each}"),
                "the integration is missing",
            ),
            (
                "project",
                format!("{{{{ question }}}}{{{{ integration }}}}{each}"),
                "the integration comes where candidate 0",
            ),
        ] {
            let mut templates = Templates::marks();
            match template {
                "answer" => templates.answer = source.clone(),
                "integrate" => templates.integrate = source.clone(),
                _ => templates.project = source.clone(),
            }
            let error = Prompts::new(&templates, None, None).unwrap_err().to_string();
            assert!(error.starts_with(&format!("prompt.{template}: ")), "{error}");
            assert!(error.contains(said), "{source}: {error}");
        }
    }
}
