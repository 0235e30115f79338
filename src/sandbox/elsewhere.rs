//! Other systems than Linux, which have no such sandbox of their own.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use super::spec::{Ended, SandboxError, Spec};

/// A program in a sandbox: there is none.
#[derive(Debug)]
pub struct Running(Infallible);

/// Starts nothing.
///
/// # Errors
/// Always.
pub fn start(_spec: &Spec, _files: &[&str]) -> Result<Running, SandboxError> {
    Err(SandboxError::Refused("it is not Linux".to_owned()))
}

impl Running {
    /// Nothing is there to be written to.
    ///
    /// # Errors
    /// Never.
    pub fn write(&mut self, _bytes: &[u8]) -> io::Result<()> {
        match self.0 {}
    }

    /// Nothing is there to be read.
    pub fn chunk(&mut self, _within: Duration) -> Option<Vec<u8>> {
        match self.0 {}
    }

    /// Nothing ends.
    pub fn wait(self) -> Ended {
        match self.0 {}
    }
}
