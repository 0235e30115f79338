//! Other systems than Linux, which have no such sandbox.

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
pub fn start(_spec: &Spec) -> Result<Running, SandboxError> {
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
    pub fn line(&mut self, _most: u64, _within: Duration) -> Option<Vec<u8>> {
        match self.0 {}
    }

    /// Nothing ends.
    pub fn wait(self) -> Ended {
        match self.0 {}
    }
}
