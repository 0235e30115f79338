//! The `gcpo` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    gcpo::cli::main()
}
