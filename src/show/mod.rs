//! Runs as they are seen afterwards, or while they go: read back from their directories ([`Seen`]), as one page of HTML ([`page()`]), and
//! two beside each other ([`Comparison`]). Nothing is written to a run.

mod choice;
mod compare;
mod evaluations;
mod figures;
mod page;
mod samples;
mod seen;
mod tables;

pub use compare::Comparison;
pub use page::page;
pub use samples::Sampled;
pub use seen::{Evaluated, Seen, differences};
