//! `gcpo completions`: what a shell completes.

use anyhow::Result;
use clap::CommandFactory as _;

use super::args::{Cli, CompletionsArgs};
use super::run::print_line;

/// Prints the script of a shell.
///
/// # Errors
/// Standard output is closed.
pub fn run(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "gcpo", &mut script);
    print_line(String::from_utf8(script)?.trim_end())
}
