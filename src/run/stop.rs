//! Ctrl-C asks a run to stop at the end of its step; a second one ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether somebody asked the run to stop. Clones share the answer.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Takes over Ctrl-C for this process; to be called once.
    ///
    /// # Errors
    /// The system refuses, or somebody else has taken it.
    pub fn on_ctrl_c() -> Result<Self, ctrlc::Error> {
        let stop = Self::default();
        let asked = stop.clone();
        ctrlc::set_handler(move || {
            if asked.0.swap(true, Ordering::Relaxed) {
                // What a shell expects of a program that SIGINT ended.
                std::process::exit(130);
            }
            eprintln!("\nstopping at the end of this step; Ctrl-C again ends it at once, unsaved");
        })?;
        Ok(stop)
    }

    /// Asks the run to stop.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the run should stop at the end of its step.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
