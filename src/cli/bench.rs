//! `gcpo bench`: speed with random weights.

use anyhow::Result;

use super::args::BenchArgs;
use super::run::{open_device, print_line};
use crate::bench::{Plan, measure};

/// Measures one work and prints what came out.
///
/// # Errors
/// There is no such device, or the work fails on it.
pub fn run(args: &BenchArgs) -> Result<()> {
    let opened = open_device(&args.device.device, args.dtype.dtype)?;
    let plan = Plan {
        shape: args.shape,
        work: args.work,
        objective: args.objective.clone(),
        group: args.group,
        flat: args.flat,
        rows: args.rows,
        length: args.length,
        vocab: args.vocab,
        hidden: args.hidden,
        checkpointing: args.checkpointing,
        dtype: args.dtype.dtype,
        repeats: args.repeats,
    };
    let report = measure(&plan, &opened)?;
    print_line(if args.json {
        serde_json::to_string(&report)?
    } else {
        report.to_string()
    })
}
