//! The `gcpo` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    // This program holds others by starting itself once more.
    gcpo::sandbox::main().unwrap_or_else(gcpo::cli::main)
}
