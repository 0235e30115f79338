//! Post-training of language models by Group Causal Policy Optimization, on burn.
//!
//! Text goes in at [`source`], is sampled by [`rollout`], judged by [`reward`], projected by [`projection`], weighed
//! by [`objective`] and learnt from in [`train`]; README.md has the map.

pub mod batch;
pub mod bench;
pub mod check;
pub mod cli;
pub mod config;
pub mod drive;
pub mod eval;
pub mod metrics;
pub mod objective;
pub mod open;
pub mod optim;
pub mod parallel;
pub mod policy;
pub mod projection;
pub mod report;
pub mod reward;
pub mod rollout;
pub mod rundir;
pub mod schedule;
pub mod session;
pub mod sft;
pub mod source;
pub mod stop;
pub mod train;

#[cfg(test)]
mod testing;
