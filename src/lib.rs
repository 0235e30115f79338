//! Post-training of language models by Group Causal Policy Optimization, on burn.
//!
//! Problems come in as text ([`source`]), become [`group`]s, and each room adds to a group what it knows: [`sample`] the
//! candidates, [`reward`] what they earn, [`projection`] Υ and the projected reference, [`weigh`] the weights of the
//! gradient. The [`learner`] makes a better policy of them. [`recipe::rl`] tells the whole; README.md has the map.

pub mod bench;
pub mod bridge;
pub mod check;
pub mod cli;
pub mod code;
pub mod config;
pub mod console;
pub mod curve;
pub mod demonstrate;
pub mod eval;
pub mod group;
pub mod learner;
pub mod objective;
pub mod plan;
pub mod policy;
pub mod projection;
pub mod ranks;
pub mod recipe;
pub mod report;
pub mod reward;
pub mod rollout;
pub mod run;
pub mod sample;
pub mod sandbox;
pub mod search;
pub mod section;
pub mod show;
pub mod source;
pub mod stream;
pub mod sweep;
pub mod weigh;

#[cfg(test)]
mod testing;
