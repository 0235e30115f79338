//! The command line: what was typed (`args.rs`), what it means (`run.rs`), and one file a command.

pub mod args;
pub mod bench;
pub mod check;
pub mod compare;
pub mod completions;
pub mod devices;
pub mod eval;
pub mod generate;
pub mod grade;
pub mod init;
pub mod inspect;
pub mod man;
pub mod merge;
pub mod plan;
pub mod report;
pub mod run;
pub mod score;
pub mod serve;
pub mod sweep;
pub mod train;

use std::process::ExitCode;

use anyhow::Result;

use crate::console::{Level, say, set_colour, set_level};
use args::{Cli, Command};

/// Does what the command line says. A mistake is one message on standard error.
pub fn main() -> ExitCode {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !gcpo_data::tokenizer::is_guarded() {
            report(panic);
        }
    }));
    let cli = Cli::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    set_colour(cli.talk.color.decided());
    set_level(match (cli.talk.quiet, cli.talk.verbose) {
        (true, _) => Level::Quiet,
        (_, true) => Level::Verbose,
        _ => Level::Usual,
    });
    match dispatch(&cli) {
        Ok(code) => code,
        // Whoever read the output has had enough: that is no failure.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say!("error: {}", message(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, each said once: some errors say their cause themselves.
pub fn message(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn dispatch(cli: &Cli) -> Result<ExitCode> {
    match &cli.command {
        None => return train::quickstart(&cli.quickstart),
        Some(Command::Train(args)) => return train::train(args),
        Some(Command::Sft(args)) => return train::sft(args),
        Some(Command::Sweep(args)) => return sweep::run(args),
        Some(Command::Report(args)) => report::run(args)?,
        Some(Command::Compare(args)) => compare::run(args)?,
        Some(Command::Init(args)) => init::run(args)?,
        Some(Command::Eval(args)) => eval::run(args)?,
        Some(Command::Generate(args)) => generate::run(args)?,
        Some(Command::Score(args)) => score::run(args)?,
        Some(Command::Grade(args)) => grade::run(args)?,
        Some(Command::Merge(args)) => merge::run(args)?,
        Some(Command::Inspect(args)) => inspect::run(args)?,
        Some(Command::Plan(args)) => plan::run(args)?,
        Some(Command::Bench(args)) => bench::run(args)?,
        Some(Command::Check(args)) => check::run(args)?,
        Some(Command::Devices(args)) => devices::run(args)?,
        Some(Command::Serve(args)) => serve::run(args)?,
        Some(Command::Completions(args)) => completions::run(args)?,
        Some(Command::Man(args)) => man::run(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let error = || anyhow::anyhow!("no such file");
        let twice: Result<()> = Err(error()).context("a.json: no such file").context("the model");
        assert_eq!(message(&twice.unwrap_err()), "the model: a.json: no such file");
        let once: Result<()> = Err(error()).context("a.json");
        assert_eq!(message(&once.unwrap_err()), "a.json: no such file");
    }
}
