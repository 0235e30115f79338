//! Post-training of language models by Group Causal Policy Optimization, on burn.

pub mod objective;
pub mod optim;
pub mod projection;
pub mod schedule;

#[cfg(test)]
mod testing;
