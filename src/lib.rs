//! Post-training of language models by Group Causal Policy Optimization, on burn.

pub mod cli;
pub mod config;
pub mod device;
pub mod metrics;
pub mod report;
pub mod rundir;
pub mod stop;
