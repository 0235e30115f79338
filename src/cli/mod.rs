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
pub mod sweep;
pub mod train;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::console::{self, Level, note, set_colour, set_level};
use crate::ranks::Ranks;
use crate::ranks::launch::Launch;
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
    let ranks = match ranks(&cli, Launch::of_environment()) {
        Ok(ranks) => ranks,
        Err(error) => {
            note(&format!("error: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match dispatch(&cli, &ranks) {
        Ok(code) => {
            ranks.end();
            code
        }
        // Whoever read the output has had enough: that is no failure.
        Err(error) if is_closed_pipe(&error) => {
            ranks.end();
            ExitCode::SUCCESS
        }
        Err(error) => {
            // What all ranks find wrong, the first says; it ends the others before they do.
            if !ranks.is_first() {
                std::thread::sleep(FIRST_SPEAKS);
            }
            console::error(&format!("error: {}", message(&error)));
            ranks.abort();
            ExitCode::FAILURE
        }
    }
}

/// How long other ranks leave it to the first to say what is wrong.
const FIRST_SPEAKS: Duration = Duration::from_secs(3);

/// This process among those that were started with it. All but the first fall silent.
///
/// # Errors
/// There are others, and they cannot be one run.
fn ranks(cli: &Cli, launch: Launch) -> Result<Ranks> {
    if launch.size == 1 {
        return Ok(Ranks::alone());
    }
    if launch.rank > 0 {
        console::be_mute(launch.rank);
    }
    if !matches!(cli.command, None | Some(Command::Train(_) | Command::Sft(_))) {
        bail!(
            "{} started {} of this program: `gcpo train` and `gcpo sft` know how to be several, no other command does; start it once",
            launch.by,
            launch.size
        );
    }
    let is_first = launch.rank == 0;
    let ranks = Ranks::start(launch, Duration::from_secs(BEGINNING));
    // Only MPI itself can have failed, if anything of another rank's did.
    ranks.map_err(|error| match is_first {
        true => error.into(),
        false => {
            std::thread::sleep(FIRST_SPEAKS);
            error.into()
        }
    })
}

/// Seconds that ranks wait for each other until the config says how long.
const BEGINNING: u64 = 1800;

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

fn dispatch(cli: &Cli, ranks: &Ranks) -> Result<ExitCode> {
    match &cli.command {
        None => return train::quickstart(&cli.quickstart, ranks),
        Some(Command::Train(args)) => return train::train(args, ranks),
        Some(Command::Sft(args)) => return train::sft(args, ranks),
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
