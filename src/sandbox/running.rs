//! A program in a sandbox, and what is said with it.

use std::io;
use std::time::{Duration, Instant};

use super::container;
#[cfg(not(target_os = "linux"))]
use super::elsewhere as native;
use super::spec::{Ended, SandboxError, Spec};
#[cfg(target_os = "linux")]
use super::start as native;

/// A program in a sandbox. Dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    inner: Inner,
    /// What it wrote and nobody took yet.
    open: Vec<u8>,
    at_end: bool,
}

#[derive(Debug)]
enum Inner {
    Native(native::Running),
    Container(Box<container::Running>),
}

/// Starts a program with files of these contents, as many as [`Spec::files`] names.
///
/// # Errors
/// The system does not allow a sandbox. That the program itself cannot be run is seen at its end.
pub fn start(spec: &Spec, files: &[&str]) -> Result<Running, SandboxError> {
    let inner = match spec.isolation.engine() {
        Some(engine) => Inner::Container(Box::new(container::start(engine, spec, files)?)),
        None => Inner::Native(native::start(spec, files)?),
    };
    Ok(Running {
        inner,
        open: Vec::new(),
        at_end: false,
    })
}

impl Running {
    /// Writes to the program's standard input.
    ///
    /// # Errors
    /// It has ended, or closed it.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.inner {
            Inner::Native(running) => running.write(bytes),
            Inner::Container(running) => running.write(bytes),
        }
    }

    /// A line of what the program writes, without its end; none where that is longer than `most` bytes, takes longer than `within`, or
    /// there is none.
    pub fn line(&mut self, most: u64, within: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + within;
        let mut seen = 0;
        loop {
            if let Some(at) = self.open[seen..].iter().position(|byte| *byte == b'\n') {
                let rest = self.open.split_off(seen + at + 1);
                let mut line = std::mem::replace(&mut self.open, rest);
                line.pop();
                return Some(line);
            }
            seen = self.open.len();
            if seen as u64 > most || !self.more(deadline) {
                return None;
            }
        }
    }

    /// All that the program writes until it closes its standard output; none where that is more than `most` bytes, or takes longer than
    /// `within`.
    pub fn output(&mut self, most: u64, within: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + within;
        while self.more(deadline) {
            if self.open.len() as u64 > most {
                return None;
            }
        }
        self.at_end.then(|| std::mem::take(&mut self.open))
    }

    /// Takes more of what it writes; whether there was some before the deadline.
    fn more(&mut self, deadline: Instant) -> bool {
        let within = deadline.saturating_duration_since(Instant::now());
        let chunk = match &mut self.inner {
            Inner::Native(running) => running.chunk(within),
            Inner::Container(running) => running.chunk(within),
        };
        self.at_end = chunk.as_ref().is_some_and(Vec::is_empty);
        let Some(chunk) = chunk else { return false };
        self.open.extend_from_slice(&chunk);
        !chunk.is_empty()
    }

    /// Waits for its end, which comes at its time limit at the latest, and says how that was. What it still writes is not read.
    pub fn wait(self) -> Ended {
        match self.inner {
            Inner::Native(running) => running.wait(),
            Inner::Container(running) => running.wait(),
        }
    }
}
