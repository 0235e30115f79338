//! `gcpo report`: runs as one page of HTML.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use gcpo_data::files;

use super::args::ReportArgs;
use super::run::print_line;
use crate::console::say;
use crate::show::{Seen, page};

/// Writes the page.
///
/// # Errors
/// One of the directories is no run's, a step that is asked for has no samples, or the page cannot be written or opened.
pub fn run(args: &ReportArgs) -> Result<()> {
    let runs = Seen::all(&args.runs)?;
    ensure!(
        !args.out.is_dir(),
        "{} is a directory; give the page a file: --out FILE.html",
        args.out.display()
    );
    for run in &runs {
        for note in &run.notes {
            say!("note: {}: {note}", run.name);
        }
    }
    let text = page(&runs, &args.steps)?;
    files::write(&args.out, &text).with_context(|| format!("cannot write {}", args.out.display()))?;
    print_line(format!(
        "{} ({} KiB)",
        args.out.display(),
        text.len().div_ceil(1024)
    ))?;
    if args.open {
        open(&args.out)?;
    }
    Ok(())
}

/// Opens a file with the program that the system has for it.
fn open(path: &Path) -> Result<()> {
    let path = std::path::absolute(path)?;
    let program = match std::env::consts::OS {
        "macos" => "open",
        "windows" => "explorer",
        _ => "xdg-open",
    };
    let mut command = Command::new(program);
    command
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match command.status() {
        // Windows' own says 1 when it opened the page.
        Ok(status) if status.success() || program == "explorer" => Ok(()),
        Ok(status) => bail!(
            "{program} could not open {} ({status}); open it in a browser",
            path.display()
        ),
        Err(error) => bail!(
            "there is no {program} to open {} with ({error}); open it in a browser",
            path.display()
        ),
    }
}
