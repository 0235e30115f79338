//! Programs that are started once and talked to by lines, and what is started in Python: a reward's function, a tracker's package.

mod interpreter;
mod process;
mod said;

use std::io;
use std::process::Command;

pub use interpreter::Interpreter;
pub use process::{Process, Reply, unset};

/// What every Python runs first.
const BRIDGE: &str = include_str!("bridge.py");

/// A Python that cannot be started.
#[derive(Debug)]
pub struct NoPython {
    /// As it was looked for.
    pub python: String,
    /// What the system says.
    pub error: io::Error,
}

/// A Python that runs a script behind `bridge.py`, and as what it was looked for; what it says on its standard error is shown under
/// `name`. Without an interpreter it is the one that [`Interpreter::found`] finds.
///
/// # Errors
/// The system cannot start it.
pub fn start_python(
    interpreter: Option<&Interpreter>,
    script: &str,
    name: &str,
    env: &[(&str, &str)],
) -> Result<(Process, String), NoPython> {
    let python = interpreter.cloned().unwrap_or_else(Interpreter::found).0;
    let mut start = Command::new(&python);
    start.arg("-c").arg(format!("{BRIDGE}{script}"));
    // What the user says wins.
    for (key, value) in env {
        if std::env::var_os(key).is_none() {
            start.env(key, value);
        }
    }
    match Process::start(start, name) {
        Ok(process) => Ok((process, python)),
        Err(error) => {
            let python = match interpreter.is_none() && std::env::var_os("VIRTUAL_ENV").is_some() {
                true => format!("{python}` (of VIRTUAL_ENV), `"),
                false => python,
            };
            Err(NoPython { python, error })
        }
    }
}
