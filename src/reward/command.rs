//! `command`: any program that reads a line of JSON for each completion and writes one with its reward.
//!
//! The program is started once and kept running. Lines go to it and come from it on threads of their own, so neither side
//! waits for the other to have read; its standard error is shown as it comes.

use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::process::{self, Child, ChildStderr, ChildStdin, ChildStdout, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gcpo_data::Problem;
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use super::Case;
use crate::console::note;
use crate::group::Score;
use crate::rollout::Finish;
use crate::section::{Check, ConfigError, at_least, impossible, positive, required, section, within};

section! {
    /// Any program.
    pub struct Command from CommandDraft {
        /// The program and its arguments. Started once and kept running; it reads a line of JSON for each completion
        /// and writes one for each. Default: none, it must be given. Source: this project.
        pub command: Vec<String> => required(
            "command",
            "add the program and its arguments, such as `command = [\"python3\", \"reward.py\"]`",
        )?,
        /// Seconds in which a batch must be answered. Source: this project.
        pub timeout_secs: f64 = 60.0,
        /// Completions that are asked about before the first answer is waited for. Source: this project.
        pub batch_size: usize = 64,
    }
}

impl Check for Command {
    fn check(&self) -> Result<(), ConfigError> {
        let help = "begin with the program";
        match self.command.first() {
            None => impossible("command", "it is empty", help)?,
            Some(program) if program.is_empty() => impossible("command", "the program has no name", help)?,
            Some(_) => {}
        }
        positive("timeout_secs", self.timeout_secs)?;
        // A day: more than any clock needs to hold.
        within("timeout_secs", self.timeout_secs, 0.0, 86_400.0)?;
        at_least("batch_size", self.batch_size, 1)
    }
}

/// Longest line that is read.
const LINE_BYTES: usize = 1 << 20;

/// Lines that wait here for their turn; a program that writes more has to wait as well.
const LINES_WAITING: usize = 64;

/// How long a program that has been told to end may take, before it is killed.
const GRACE: Duration = Duration::from_millis(500);

/// A program that does not do its part.
#[derive(Debug, Error)]
pub enum ProgramError {
    /// It cannot be started.
    #[error(
        "reward `{label}`: `{command}` cannot be started: {source}; check `command` (a path is relative to the current directory)"
    )]
    Start {
        /// The reward.
        label: String,
        /// The program and its arguments.
        command: String,
        /// What the system says.
        source: io::Error,
    },
    /// It wrote something else than it should.
    #[error(
        "reward `{label}`: `{command}` wrote a wrong line for problem `{id}`: {line:?}: {what}; \
         it must write one line of {{\"reward\": a number or null}} for each line it reads, and anything else to standard error"
    )]
    Line {
        /// The reward.
        label: String,
        /// The program and its arguments.
        command: String,
        /// The problem whose completion was to be judged.
        id: String,
        /// The line, cut to 200 characters.
        line: String,
        /// What is wrong with it.
        what: String,
    },
    /// It wrote a line that nobody asked for.
    #[error(
        "reward `{label}`: `{command}` wrote more lines than it was given: {line:?}; \
         it must write one line for each line it reads, and anything else to standard error"
    )]
    Unasked {
        /// The reward.
        label: String,
        /// The program and its arguments.
        command: String,
        /// The line, cut to 200 characters.
        line: String,
    },
    /// It ended, or closed its output.
    #[error(
        "reward `{label}`: `{command}` {how} when {answered} of {asked} lines were answered, the next one for problem `{id}`; \
         what it said is above"
    )]
    Ended {
        /// The reward.
        label: String,
        /// The program and its arguments.
        command: String,
        /// How it ended.
        how: String,
        /// Lines of the batch that it had answered.
        answered: usize,
        /// Lines of the batch.
        asked: usize,
        /// The problem whose completion was to be judged.
        id: String,
    },
    /// It took too long.
    #[error(
        "reward `{label}`: `{command}` answered {answered} of {asked} lines in {secs} s, the next one would be for problem `{id}`; \
         it must flush its output after each line; raise the reward's `timeout_secs` or lower its `batch_size` if it needs longer"
    )]
    Late {
        /// The reward.
        label: String,
        /// The program and its arguments.
        command: String,
        /// Lines of the batch that it had answered.
        answered: usize,
        /// Lines of the batch.
        asked: usize,
        /// The time that it had.
        secs: f64,
        /// The problem whose completion was to be judged.
        id: String,
    },
}

/// A line to the program.
#[derive(Serialize)]
struct Request<'a> {
    /// Counts the completions of the step, from 0.
    id: usize,
    step: usize,
    prompt: &'a str,
    completion: &'a str,
    /// `stop`, or `length` if it was cut.
    finish_reason: &'static str,
    answer: &'a str,
    problem: &'a Problem,
}

/// A running program.
#[derive(Debug)]
pub struct Program {
    label: String,
    command: String,
    timeout: Duration,
    batch_size: usize,
    child: Child,
    /// What is to be written to it; dropped, its input ends.
    requests: Option<Sender<Vec<u8>>>,
    replies: Receiver<io::Result<Vec<u8>>>,
    /// Shows its standard error.
    echo: JoinHandle<()>,
}

impl Program {
    /// Starts the program of a `[[reward]]`.
    ///
    /// # Errors
    /// [`ProgramError::Start`].
    pub fn start(config: &Command, label: &str) -> Result<Self, ProgramError> {
        let words = &config.command;
        let (label, command) = (label.to_owned(), words.join(" "));
        let failed = |source| ProgramError::Start {
            label: label.clone(),
            command: command.clone(),
            source,
        };
        let (program, arguments) = words
            .split_first()
            .ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let mut start = process::Command::new(program);
        start
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // Ctrl-C in a terminal goes to a whole group of processes; the run finishes its step first, and needs the program.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut start, 0);
        let mut child = start.spawn().map_err(failed)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let requests = write_from_here(stdin.expect("it is piped"));
        let replies = lines_of(stdout.expect("it is piped"));
        let echo = show(label.clone(), stderr.expect("it is piped"));
        Ok(Self {
            timeout: Duration::from_secs_f64(config.timeout_secs),
            batch_size: config.batch_size,
            label,
            command,
            child,
            requests: Some(requests),
            replies,
            echo,
        })
    }

    /// Asks about every completion, in order and in batches.
    ///
    /// # Errors
    /// The program ended, took too long, or wrote something wrong. It has been ended then.
    pub fn ask(&mut self, cases: &[Case<'_>], step: usize) -> Result<Vec<Score>, ProgramError> {
        let mut replies = Vec::with_capacity(cases.len());
        for (number, batch) in cases.chunks(self.batch_size).enumerate() {
            match self.ask_batch(batch, number * self.batch_size, step) {
                Ok(more) => replies.extend(more),
                Err(error) => {
                    // What it may still write would be taken for answers to other lines.
                    let _ = self.child.kill();
                    return Err(error);
                }
            }
        }
        Ok(replies)
    }

    fn ask_batch(
        &mut self,
        cases: &[Case<'_>],
        first: usize,
        step: usize,
    ) -> Result<Vec<Score>, ProgramError> {
        if let Ok(Ok(line)) = self.replies.try_recv() {
            return Err(ProgramError::Unasked {
                label: self.label.clone(),
                command: self.command.clone(),
                line: cut(&line),
            });
        }
        if let Some(requests) = &self.requests {
            // Its thread may have ended with the program, which shows below.
            let _ = requests.send(questions(cases, first, step));
        }
        let deadline = Instant::now() + self.timeout;
        let mut replies = Vec::with_capacity(cases.len());
        for (answered, case) in cases.iter().enumerate() {
            let id = &case.group.problem.id;
            let left = deadline.saturating_duration_since(Instant::now());
            let line = match self.replies.recv_timeout(left) {
                Ok(Ok(line)) => line,
                Ok(Err(error)) => return Err(self.wrong(id, &[], error.to_string())),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(ProgramError::Late {
                        label: self.label.clone(),
                        command: self.command.clone(),
                        answered,
                        asked: cases.len(),
                        secs: self.timeout.as_secs_f64(),
                        id: id.clone(),
                    });
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(ProgramError::Ended {
                        label: self.label.clone(),
                        command: self.command.clone(),
                        how: self.ending(),
                        answered,
                        asked: cases.len(),
                        id: id.clone(),
                    });
                }
            };
            replies.push(reply(&line, first + answered).map_err(|what| self.wrong(id, &line, what))?);
        }
        Ok(replies)
    }

    fn wrong(&self, id: &str, line: &[u8], what: String) -> ProgramError {
        ProgramError::Line {
            label: self.label.clone(),
            command: self.command.clone(),
            id: id.to_owned(),
            line: cut(line),
            what,
        }
    }

    /// How a program ended whose output did, once its last words have been shown.
    fn ending(&mut self) -> String {
        let status = wait(&mut self.child, GRACE);
        let asked = Instant::now();
        while !self.echo.is_finished() && asked.elapsed() < GRACE {
            thread::sleep(Duration::from_millis(5));
        }
        match status {
            Some(status) => format!("ended ({status})"),
            None => "closed its output".into(),
        }
    }
}

/// A thread that writes what it is sent to the program.
fn write_from_here(mut stdin: ChildStdin) -> Sender<Vec<u8>> {
    let (requests, to_write) = mpsc::channel::<Vec<u8>>();
    thread::spawn(move || {
        for lines in to_write {
            // A program that reads no more is noticed by what it does not write.
            if stdin.write_all(&lines).and_then(|()| stdin.flush()).is_err() {
                break;
            }
        }
    });
    requests
}

/// A thread that reads the program's lines.
fn lines_of(stdout: ChildStdout) -> Receiver<io::Result<Vec<u8>>> {
    let (read, replies) = mpsc::sync_channel(LINES_WAITING);
    thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        while let Some(line) = read_line(&mut stdout).transpose() {
            let last = line.is_err();
            if read.send(line).is_err() || last {
                break;
            }
        }
    });
    replies
}

/// A thread that shows the program's standard error under its name.
fn show(name: String, stderr: ChildStderr) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut stderr = BufReader::new(stderr);
        while let Ok(Some(line)) = read_line(&mut stderr) {
            note(&format!("[{name}] {}", String::from_utf8_lossy(&line)));
        }
    })
}

/// The lines that ask about completions, of which the first has number `first`.
fn questions(cases: &[Case<'_>], first: usize, step: usize) -> Vec<u8> {
    let mut lines = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        let request = Request {
            id: first + at,
            step,
            prompt: &case.group.prompt,
            completion: &case.candidate.text,
            finish_reason: match case.candidate.completion.finish {
                Finish::Eos | Finish::Stop => "stop",
                Finish::Length => "length",
            },
            answer: &case.group.problem.answer,
            problem: &case.group.problem,
        };
        serde_json::to_writer(&mut lines, &request).expect("texts and numbers are JSON");
        lines.push(b'\n');
    }
    lines
}

impl Drop for Program {
    fn drop(&mut self) {
        // The end of its input is how it learns that there is no more to do.
        self.requests = None;
        if wait(&mut self.child, GRACE).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Waits for a process to end, for so long at most.
fn wait(child: &mut Child, longest: Duration) -> Option<std::process::ExitStatus> {
    let asked = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if asked.elapsed() < longest => thread::sleep(Duration::from_millis(5)),
            _ => return None,
        }
    }
}

/// The next line without its end; `None` at the end of the file.
fn read_line(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    from.take(LINE_BYTES as u64).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() == LINE_BYTES {
        let what = format!("a line is longer than {LINE_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(Some(line))
}

/// The first 200 characters of a line.
fn cut(line: &[u8]) -> String {
    String::from_utf8_lossy(line).chars().take(200).collect()
}

/// What a line says of completion `id`.
fn reply(line: &[u8], id: usize) -> Result<Score, String> {
    let value: Value = serde_json::from_slice(line).map_err(|error| format!("this is no JSON ({error})"))?;
    let Value::Object(mut more) = value else {
        return Err("this is no JSON object".into());
    };
    if let Some(found) = more.shift_remove("id")
        && found.as_u64() != Some(id as u64)
    {
        return Err(format!(
            "this answers the line with \"id\": {found}, but the next one was {id}"
        ));
    }
    let reward = match more.shift_remove("reward") {
        Some(Value::Null) => None,
        Some(Value::Number(number)) => Some(number.as_f64().ok_or("`reward` is out of range")?),
        Some(other) => return Err(format!("`reward` is {other}, neither a number nor null")),
        None => return Err("there is no `reward` in it".into()),
    };
    Ok(Score {
        value: reward,
        note: Some(more),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_a_number_or_null_and_may_say_more() {
        let read = |line: &str| reply(line.as_bytes(), 7);
        let found = read(r#"{"reward": -0.5, "passed": 3, "id": 7}"#).unwrap();
        let note = found.note.unwrap();
        assert_eq!((found.value, note["passed"].as_u64()), (Some(-0.5), Some(3)));
        assert_eq!(note.len(), 1);
        assert_eq!(read(r#"{"reward": null}"#).unwrap().value, None);
        assert_eq!(read(r#"{"reward": 1}"#).unwrap().value, Some(1.0));
        for (line, part) in [
            ("", "no JSON"),
            ("ready", "no JSON"),
            ("0.5", "no JSON object"),
            ("{}", "no `reward`"),
            (r#"{"reward": NaN}"#, "no JSON"),
            (r#"{"reward": 1e999}"#, "out of range"),
            (r#"{"reward": true}"#, "`reward` is true"),
            (r#"{"reward": "1"}"#, "neither a number nor null"),
            (r#"{"reward": 1, "id": 8}"#, "the next one was 7"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
        assert!(reply(&[0xff, 0xfe], 0).is_err());
    }

    #[test]
    fn lines_end_where_they_end_and_none_fills_the_memory() {
        let mut text = &b"a\n\nb"[..];
        let mut next = || read_line(&mut text).unwrap();
        assert_eq!(
            (next(), next(), next(), next()),
            (Some(b"a".into()), Some(vec![]), Some(b"b".into()), None)
        );
        let long = vec![b'x'; LINE_BYTES + 1];
        assert!(read_line(&mut &long[..]).is_err());
    }
}
