//! Programs that nobody has read, run where they can do no harm: in namespaces of their own, with a view of the files that they
//! need, without a network, under limits, and killed at the end: Linux's own means, or a container of an engine that is installed.
//!
//! This program starts itself twice more for each. Outside (`enter.rs`) makes the namespaces and ends what runs too long; inside
//! (`inside.rs`) is the first process of the new ones: it makes the view, gives up every right, and becomes the program. So nothing
//! here needs `unsafe`, or a process of many threads that forks.

mod container;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod enter;
mod files;
#[cfg(target_os = "linux")]
mod filter;
#[cfg(target_os = "linux")]
mod inside;
mod running;
mod spec;
#[cfg(target_os = "linux")]
mod start;
#[cfg(target_os = "linux")]
mod tree;
#[cfg(target_os = "linux")]
mod view;

pub use running::{Running, start};
pub use spec::{Ended, Isolation, Limits, SandboxError, Spec};

/// The first argument of the process outside of the namespaces, which waits for what is inside.
pub const OUTSIDE: &str = "sandbox-outside";

/// The first argument of the process that becomes the program.
pub const INSIDE: &str = "sandbox-inside";

/// Does what this program was started for, if that is to hold another.
pub fn main() -> Option<std::process::ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let (first, spec) = (arguments.next()?, arguments.next());
    match first.as_str() {
        OUTSIDE | INSIDE => {}
        _ => return None,
    }
    #[cfg(target_os = "linux")]
    {
        let spec = spec.and_then(|spec| serde_json::from_str::<Spec>(&spec).ok())?;
        let outside = first == OUTSIDE;
        Some(if outside {
            enter::main(&spec)
        } else {
            inside::main(&spec)
        })
    }
    #[cfg(not(target_os = "linux"))]
    {
        drop(spec);
        Some(std::process::ExitCode::FAILURE)
    }
}
