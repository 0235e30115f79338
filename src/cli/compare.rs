//! `gcpo compare`: how two runs differ.

use anyhow::{Result, anyhow};

use super::args::CompareArgs;
use super::run::print_line;
use crate::show::{Comparison, Seen};

/// Prints how two runs differ.
///
/// # Errors
/// One of them is no run.
pub fn run(args: &CompareArgs) -> Result<()> {
    let runs: [Seen; 2] = Seen::all(&[args.first.clone(), args.second.clone()])?
        .try_into()
        .map_err(|_| anyhow!("give two runs"))?;
    let found = Comparison::of(&runs);
    match args.json {
        true => print_line(serde_json::to_string(&found)?),
        false => print_line(found.to_text().trim_end()),
    }
}
