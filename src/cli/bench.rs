//! `gcpo bench`: speed with random weights.

use anyhow::Result;

use super::args::BenchArgs;
use super::run::print_line;
use crate::bench::{Plan, measure};
use crate::device;

/// Measures one work and prints what came out.
///
/// # Errors
/// There is no such device, or the work fails on it.
pub fn run(args: &BenchArgs) -> Result<()> {
    let (device, device_name) = device::open(&args.device.device)?;
    let plan = Plan {
        shape: args.shape,
        work: args.work,
        objective: args.objective,
        group: args.group,
        flat: args.flat,
        repeats: args.repeats,
    };
    let report = measure(&plan, &device, device_name)?;
    print_line(if args.json {
        serde_json::to_string(&report)?
    } else {
        report.to_string()
    })
}
