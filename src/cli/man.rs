//! `gcpo man`: manual pages, of the program and of each command.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_mangen::Man;
use gcpo_data::files;

use super::args::{Cli, ManArgs};
use super::run::print_line;

/// Writes `gcpo.1` and `gcpo-COMMAND.1` into a directory, or prints the first.
///
/// # Errors
/// Standard output is closed, or the directory cannot be written.
pub fn run(args: &ManArgs) -> Result<()> {
    let mut program = Cli::command();
    program.build();
    let Some(dir) = &args.out else {
        return print_line(page(program)?.trim_end());
    };
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    for command in program.get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = format!("gcpo-{}", command.get_name());
        write(dir, &name, &page(command.clone())?)?;
    }
    write(dir, "gcpo", &page(program)?)
}

fn page(command: clap::Command) -> Result<String> {
    let mut text = Vec::new();
    Man::new(command).render(&mut text)?;
    Ok(String::from_utf8(text)?)
}

fn write(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(format!("{name}.1"));
    files::write(&path, text).with_context(|| path.display().to_string())
}
