//! A program and its tests, run together by a command that the config names. Whoever runs a test in the program's own process can be lied
//! to by it: what the command says is believed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{CodeConfig, CodeError, CodeIsolation, CodeReport, Job, Outcome};
use crate::sandbox::{Ended, Limits, SandboxError, Spec, start};

/// What a command may write, in bytes.
const OUTPUT: u64 = 1 << 20;

/// How much of a line is kept that says why a program failed, in characters.
const WHY: usize = 300;

/// What a command is run on.
const PARTS: [&str; 3] = ["file", "program", "tests"];

/// Runs a program with its tests.
#[derive(Debug)]
pub struct Runner {
    command: Vec<String>,
}

/// What a command reports with `code.report = "share"`.
#[derive(Debug, Deserialize)]
struct Share {
    passed: usize,
    tests: usize,
}

impl Runner {
    /// Finds the command, where it is not in a container's image.
    ///
    /// # Errors
    /// It is not there, or the program's view does not have it.
    pub fn find(command: &[String], how: &CodeConfig) -> Result<Self, CodeError> {
        let mut command = command.to_vec();
        if how.isolation().engine().is_none() {
            let program = &mut command[0];
            let found = on_path(program)
                .ok_or_else(|| CodeError::Command(format!("there is no program {program:?}")))?;
            let view = how.view(&[]);
            let real = found.canonicalize().unwrap_or_else(|_| found.clone());
            let is_seen = |path: &Path| view.iter().any(|seen| path.starts_with(seen));
            let hidden = [&found, &real].into_iter().find(|path| !is_seen(path));
            let hides = how.isolation == CodeIsolation::Full;
            if let Some(hidden) = hidden.filter(|_| hides) {
                return Err(CodeError::Command(format!(
                    "the sandbox has nothing of {}: name the directory that it needs in `code.view`",
                    hidden.display()
                )));
            }
            *program = found.display().to_string();
        }
        Ok(Self { command })
    }

    /// What becomes of one program.
    ///
    /// # Errors
    /// The sandbox fails.
    pub fn judge(&self, job: &Job<'_>, how: &CodeConfig) -> Result<Outcome, CodeError> {
        let (spec, contents) = self.spec(job, how);
        let texts: Vec<&str> = contents.iter().map(String::as_str).collect();
        let mut running = start(&spec, &texts)?;
        let wall = Duration::from_secs_f64(how.wall() + 5.0);
        let Some(output) = running.output(OUTPUT, wall) else {
            drop(running);
            return Ok(failed("more output than is allowed, or none in time".to_owned()));
        };
        let output = String::from_utf8_lossy(&output);
        let last = output.lines().rev().find(|line| !line.trim().is_empty());
        let last = last.unwrap_or_default().trim();
        let ended = running.wait();
        Ok(match (how.report(), ended) {
            (CodeReport::Exit, Ended::Exit(0)) => passed(1, 1, String::new()),
            (CodeReport::Share, Ended::Exit(_)) => match serde_json::from_str::<Share>(last) {
                Ok(of) if of.tests > 0 && of.passed <= of.tests => passed(of.passed, of.tests, cut(&output)),
                _ => failed(format!(
                    "its last line is no {{\"passed\": …, \"tests\": …}}: {}",
                    cut(last)
                )),
            },
            (CodeReport::Exit, Ended::Exit(code)) => failed(match said(&output).unwrap_or(last) {
                "" => format!("exit code {code}"),
                line => format!("exit code {code}: {}", cut(line)),
            }),
            (_, Ended::Failed(why)) => return Err(SandboxError::Refused(why).into()),
            (_, ended) => failed(how.in_words(&ended)),
        })
    }

    /// The command with its files, and what is in these.
    fn spec(&self, job: &Job<'_>, how: &CodeConfig) -> (Spec, Vec<String>) {
        let problem = job.problem;
        let setup = problem.setup.as_str();
        let tests: Vec<&str> = std::iter::once(setup)
            .filter(|setup| !setup.is_empty())
            .chain(problem.tests.iter().map(String::as_str))
            .collect();
        let tests = format!("{}\n", tests.join("\n"));
        let end = ending(&problem.language);
        let (mut files, mut contents, mut command) = (Vec::new(), Vec::new(), self.command.clone());
        for part in PARTS {
            let mark = format!("{{{part}}}");
            if !command.iter().any(|argument| argument.contains(&mark)) {
                continue;
            }
            let name = format!("{part}.{end}");
            for argument in &mut command {
                *argument = argument.replace(&mark, &format!("{{dir}}/{name}"));
            }
            let content = match part {
                "program" => job.program.clone(),
                "tests" => tests.clone(),
                _ => format!("{}\n\n{tests}", job.program.trim_end()),
            };
            files.push((name, content.len() as u64));
            contents.push(content);
        }
        let limits = Limits {
            resident: true,
            processes: how.processes as u64,
            ..how.limits()
        };
        let spec = Spec {
            files,
            errors: true,
            ..how.spec(command, &[], limits)
        };
        (spec, contents)
    }
}

fn passed(tests_passed: usize, tests: usize, output: String) -> Outcome {
    let passed = tests_passed == tests;
    Outcome {
        passed,
        tests_passed,
        tests,
        why: if passed { String::new() } else { output },
    }
}

fn failed(why: String) -> Outcome {
    Outcome {
        passed: false,
        tests_passed: 0,
        tests: 1,
        why,
    }
}

/// The last line that names an error, as most languages write one.
fn said(output: &str) -> Option<&str> {
    let mut lines = output.lines().rev();
    lines.find(|line| line.contains("Error") || line.contains("error:"))
}

fn cut(text: &str) -> String {
    text.trim().chars().take(WHY).collect()
}

/// How the name of a file in this language ends.
fn ending(language: &str) -> &str {
    match language {
        "python" => "py",
        "javascript" => "js",
        "typescript" => "ts",
        "rust" => "rs",
        "ruby" => "rb",
        "bash" => "sh",
        other => other,
    }
}

/// The program of this name or path.
fn on_path(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return std::path::absolute(program).ok().filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH")?;
    let mut found = std::env::split_paths(&path).map(|dir| dir.join(program));
    found.find(|path| path.is_file())
}
