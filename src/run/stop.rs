//! Signals ask a run to stop at the end of its step: Ctrl-C, and what a terminal, a batch system or a service manager sends
//! before it ends a program. Ctrl-C after any of them, and a second SIGTERM, end it at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::console::note;

/// Whether a signal asked the run to stop. Clones share the answer.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicI32>);

/// What Ctrl-C sends.
const SIGINT: i32 = 2;

impl Stop {
    /// Takes over SIGINT, SIGTERM, SIGHUP, SIGUSR1 and SIGXCPU for this process (elsewhere than on Unix, Ctrl-C); to be called
    /// once.
    ///
    /// # Errors
    /// The system refuses.
    #[cfg(unix)]
    pub fn on_signals() -> io::Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGTERM, SIGUSR1, SIGXCPU};
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGXCPU])?;
        let stop = Self::default();
        let asked = stop.clone();
        std::thread::spawn(move || {
            let mut is_meant = false;
            for signal in signals.forever() {
                // Batch systems repeat theirs, and send SIGTERM behind SIGUSR1, to a run that may be saving; only who means it twice is
                // taken at the word.
                if signal == SIGINT && asked.is_asked() || signal == SIGTERM && is_meant {
                    std::process::exit(128 + signal);
                }
                is_meant |= [SIGINT, SIGTERM].contains(&signal);
                asked.ask_by(signal);
            }
        });
        Ok(stop)
    }

    /// Takes over Ctrl-C for this process; to be called once.
    ///
    /// # Errors
    /// The system refuses.
    #[cfg(not(unix))]
    pub fn on_signals() -> io::Result<Self> {
        let stop = Self::default();
        let asked = stop.clone();
        let handler = move || match asked.is_asked() {
            true => std::process::exit(128 + SIGINT),
            false => asked.ask_by(SIGINT),
        };
        ctrlc::set_handler(handler).map_err(io::Error::other)?;
        Ok(stop)
    }

    fn ask_by(&self, signal: i32) {
        if self
            .0
            .compare_exchange(0, signal, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
        {
            note("\nstopping at the end of this step; Ctrl-C again ends it at once, unsaved");
        }
    }

    /// Asks the run to stop, as this signal does, and no other.
    pub fn ask(&self, signal: i32) {
        self.0.store(signal, Ordering::Relaxed);
    }

    /// The signal that asked the run to stop.
    pub fn asked_by(&self) -> Option<i32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&signal| signal != 0)
    }

    /// Whether the run should stop at the end of its step.
    pub fn is_asked(&self) -> bool {
        self.asked_by().is_some()
    }

    /// What a shell expects of a program that the signal ended: 128 + its number.
    pub fn exit_code(&self) -> u8 {
        u8::try_from(128 + self.0.load(Ordering::Relaxed)).unwrap_or(u8::MAX)
    }
}
