//! `gcpo generate`: completions of given prompts.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use gcpo_data::{ChatTemplate, Message};
use gcpo_model::inference::Inference;
use serde::{Deserialize, Serialize};

use super::args::GenerateArgs;
use super::run::{open_device, print_line, read_input};
use crate::config::Draft;
use crate::console::for_stdout;
use crate::policy::{Policy, PromptStyle, open};
use crate::report::Progress;
use crate::rollout::{Completion, Engine, Finish, Request, Rollout};
use crate::stream::{Stage, StreamKey};

/// A row of the input.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, untagged)]
enum Row {
    /// A text; with `--chat`, what the user says.
    Prompt { prompt: String },
    /// A conversation, with `--chat`.
    Messages { messages: Vec<Turn> },
}

/// A turn of a conversation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    role: String,
    content: String,
}

/// A prompt, understood.
#[derive(Debug)]
struct Prompt {
    text: String,
    ids: Vec<u32>,
}

/// A line of the output.
#[derive(Debug, Serialize)]
struct Answered<'a> {
    prompt: &'a str,
    completions: Vec<Answer<'a>>,
}

/// One completion.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    text: String,
    /// How many, the ending EOS included.
    tokens: usize,
    finish: Finish,
    /// Of the tokens at the sampling temperature, in nats.
    logprob_sum: f64,
    ids: &'a [u32],
}

/// Prints completions of each prompt, in the input's order.
///
/// # Errors
/// The model or the input cannot be read, or a prompt is malformed, empty, or too long.
pub fn run(args: &GenerateArgs) -> Result<()> {
    let mut draft = Draft::new("gcpo generate");
    if args.chat {
        draft.prompt.style = Some(PromptStyle::Chat);
    }
    draft.set_all(&args.sets)?;
    // A length that nobody asked for gives way to the model's positions.
    let asked = draft.rollout.max_completion_length;
    let config = draft.finish()?;
    // Malformed rows are said before a large model is loaded.
    let rows = given(args)?;
    let dtype = args.dtype.dtype;
    let opened = open_device(&args.device.device, dtype)?;
    let adapter = args.adapter.adapter.as_deref();
    let mut policy = open::load_to_generate(&args.model, adapter, &config.prompts(), dtype, &opened.device)?;
    let chat = match args.chat {
        true => ChatTemplate::of(&policy.tokenizer, &config.prompt.chat_options())?,
        false => None,
    };
    let prompts = rows.into_iter().map(|(place, row)| {
        let text = text(row, chat.as_ref(), config.prompt.system.as_deref()).context(place.clone())?;
        let ids = ids(&policy, &text, chat.is_some(), asked).context(place)?;
        Ok(Prompt { text, ids })
    });
    let prompts = prompts.collect::<Result<Vec<Prompt>>>()?;
    let longest = prompts.iter().map(|prompt| prompt.ids.len()).max().unwrap_or(0);
    let room = policy.model.config().positions() - longest;
    let how = &Rollout {
        max_completion_length: asked.unwrap_or(config.rollout.max_completion_length.min(room)),
        ..config.rollout.clone()
    };
    let (model, stops) = (Inference::of(policy.model.take()), policy.stops());
    let engine = Engine::new(&model, &policy.eos, how).with_stops(stops.as_deref());
    if let ([prompt], 1, false) = (prompts.as_slice(), args.n, args.json) {
        return stream(&policy, &engine, prompt, config.seed);
    }
    let progress = args.input.is_some().then(|| Progress::new(prompts.len(), 0));
    // Enough at a time that lanes find someone waiting when they end.
    let per_wave = (how.max_rows.saturating_mul(WAITING) / args.n).max(1);
    for (index, wave) in prompts.chunks(per_wave).enumerate() {
        let first = index * per_wave;
        let completions = sample(&engine, wave, first, args.n, config.seed)?;
        for (at, (prompt, of_prompt)) in wave.iter().zip(completions.chunks(args.n)).enumerate() {
            let number = (prompts.len() > 1).then_some(first + at);
            print(&policy, prompt, of_prompt, number, args.json)?;
        }
        if let Some(progress) = &progress {
            let tokens = format!("{} tokens", engine.work().tokens);
            progress.count(first + wave.len(), "prompts", &tokens);
        }
    }
    if let Some(progress) = &progress {
        progress.finish();
    }
    Ok(())
}

/// The prompts as given, each with where it stands.
fn given(args: &GenerateArgs) -> Result<Vec<(String, Row)>> {
    if let Some(prompt) = &args.prompt {
        let prompt = prompt.clone();
        return Ok(vec![("--prompt".into(), Row::Prompt { prompt })]);
    }
    let path = args.input.as_deref().context("give --prompt or --input")?;
    let rows = rows(&read_input(path)?, path)?;
    ensure!(
        !rows.is_empty(),
        "{}: no prompt in it; a row is {HELP}",
        path.display()
    );
    Ok(rows)
}

/// Prompts are taken so many times the rows that run together.
const WAITING: usize = 4;

/// What stands for bytes that are no character, or not yet.
const NO_CHARACTER: char = '\u{fffd}';

const HELP: &str = r#"{"prompt": "…"}, or with --chat {"messages": [{"role": "user", "content": "…"}]}"#;

/// What the model is given for a row: the text, or a conversation as its chat template writes it.
fn text(row: Row, chat: Option<&ChatTemplate>, system: Option<&str>) -> Result<String> {
    let Some(chat) = chat else {
        return match row {
            Row::Prompt { prompt } => Ok(prompt),
            Row::Messages { .. } => {
                bail!("messages are written by the checkpoint's chat template: add --chat")
            }
        };
    };
    let messages: Vec<Message> = match row {
        Row::Prompt { prompt } => {
            let system = system.map(|system| Message::new("system", system));
            system.into_iter().chain([Message::new("user", prompt)]).collect()
        }
        Row::Messages { messages } => {
            let turns = messages.into_iter();
            turns.map(|turn| Message::new(turn.role, turn.content)).collect()
        }
    };
    ensure!(!messages.is_empty(), "there are no messages; give at least one");
    Ok(chat.render(&messages, true)?)
}

fn rows(text: &str, path: &Path) -> Result<Vec<(String, Row)>> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            let place = format!("{}:{}", path.display(), number + 1);
            let row: Row = serde_json::from_str(line).with_context(|| format!("{place}: a row is {HELP}"))?;
            Ok((place, row))
        })
        .collect()
}

/// The tokens of a prompt taken as it is: special tokens in it become their ids, and what the tokenizer puts in front
/// of a text (BOS, for some) stands there, unless a chat template wrote it (`chat`), nothing behind. `asked` new tokens must fit
/// behind it.
fn ids(policy: &Policy, text: &str, chat: bool, asked: Option<usize>) -> Result<Vec<u32>> {
    let tokenizer = &policy.tokenizer;
    let prefix = if chat { &[] } else { tokenizer.prefix() };
    let ids = [prefix, &tokenizer.encode(text, false)?].concat();
    let positions = policy.model.config().positions();
    if ids.is_empty() {
        bail!("the prompt has no tokens; give at least one");
    }
    ensure!(
        ids.len() < positions,
        "the prompt takes {} tokens, but the model has {positions} positions: shorten it",
        ids.len()
    );
    if let Some(asked) = asked {
        ensure!(
            asked <= positions - ids.len(),
            "the prompt takes {} tokens and its completion up to {asked}, but the model has {positions} positions: \
             shorten it, or `--set rollout.max_completion_length={}`",
            ids.len(),
            positions - ids.len()
        );
    }
    Ok(ids)
}

/// Prints one completion as its tokens come. A piece is held back while it may be part of a character.
fn stream(policy: &Policy, engine: &Engine, prompt: &Prompt, seed: u64) -> Result<()> {
    let (mut tokens, mut shown, mut failed) = (Vec::new(), String::new(), None);
    let mut show = |tokens: &[u32], all: bool| {
        let text = policy.text(tokens);
        if let Some(piece) = text
            .strip_prefix(&shown)
            .filter(|piece| all || !piece.ends_with(NO_CHARACTER))
        {
            let mut out = std::io::stdout().lock();
            let result = out
                .write_all(for_stdout(piece).as_bytes())
                .and_then(|()| out.flush());
            failed = failed.take().or(result.err());
            shown = text;
        }
    };
    let root = engine.root(&[&prompt.ids]);
    let requests = requests(1, 0, 1, seed);
    engine.sample_heard(&root, &requests, false, &mut |_, token| {
        tokens.push(token);
        show(&tokens, false);
    })?;
    show(&tokens, true);
    if let Some(error) = failed {
        return Err(error).context("cannot write the completion");
    }
    print_line("")
}

/// `n` completions of each prompt, which are numbers `first`, `first + 1`, … of the input.
fn sample(engine: &Engine, prompts: &[Prompt], first: usize, n: usize, seed: u64) -> Result<Vec<Completion>> {
    let ids: Vec<&[u32]> = prompts.iter().map(|prompt| prompt.ids.as_slice()).collect();
    let requests = requests(prompts.len(), first, n, seed);
    Ok(engine.sample(&engine.root(&ids), &requests, false)?.completions)
}

fn requests(prompts: usize, first: usize, n: usize, seed: u64) -> Vec<Request> {
    (0..prompts)
        .flat_map(|row| (0..n as u64).map(move |sample| (row, sample)))
        .map(|(row, sample)| {
            let prompt = (first + row) as u64;
            Request {
                row,
                key: StreamKey {
                    seed,
                    step: 0,
                    prompt,
                    stage: Stage::Answer,
                    sample,
                },
                limit: None,
            }
        })
        .collect()
}

/// Prints a prompt's completions; `number` is its place, from 0, where there are several prompts.
fn print(
    policy: &Policy,
    prompt: &Prompt,
    completions: &[Completion],
    number: Option<usize>,
    json: bool,
) -> Result<()> {
    if json {
        let completions = completions.iter().map(|completion| Answer {
            text: policy.decode(completion),
            tokens: completion.tokens.len(),
            finish: completion.finish,
            logprob_sum: completion.logp.iter().map(|&logp| f64::from(logp)).sum(),
            ids: &completion.tokens,
        });
        let answered = Answered {
            prompt: &prompt.text,
            completions: completions.collect(),
        };
        return print_line(serde_json::to_string(&answered)?);
    }
    for (at, completion) in completions.iter().enumerate() {
        if number.is_some() || completions.len() > 1 {
            let prompt = number.unwrap_or(0) + 1;
            print_line(format_args!("--- prompt {prompt}, completion {}", at + 1))?;
        }
        print_line(policy.decode(completion))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_know_their_lines() {
        let found = rows(
            "{\"prompt\": \"a\"}\n\n{\"prompt\": \"b\"}\n",
            Path::new("in.jsonl"),
        )
        .unwrap();
        let found: Vec<(String, String)> = found
            .into_iter()
            .map(|(place, row)| (place, super::text(row, None, None).unwrap()))
            .collect();
        assert_eq!(
            found,
            [
                ("in.jsonl:1".to_owned(), "a".to_owned()),
                ("in.jsonl:3".into(), "b".into())
            ]
        );
        let messages = r#"{"messages": [{"role": "user", "content": "a"}]}"#;
        let [(_, row)] = <[_; 1]>::try_from(rows(messages, Path::new("in.jsonl")).unwrap()).unwrap();
        let error = super::text(row, None, None).unwrap_err().to_string();
        assert!(error.contains("add --chat"), "{error}");
        for bad in [
            "{}",
            "[1]",
            "{\"prompt\": 3}",
            "{\"prompt\": \"a\", \"n\": 1}",
            "x",
        ] {
            let error = rows(&format!("{{\"prompt\": \"a\"}}\n{bad}"), Path::new("in.jsonl")).unwrap_err();
            let text = format!("{error:#}");
            assert!(text.starts_with("in.jsonl:2: a row is {\"prompt\""), "{text}");
        }
    }
}
