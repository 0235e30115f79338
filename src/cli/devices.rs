//! `gcpo devices`: what this binary can compute on.

use anyhow::Result;
use bytesize::ByteSize;
use gcpo_model::device::{Listed, Missing, list};
use serde::Serialize;

use super::args::DevicesArgs;
use super::run::print_line;
use crate::report::columns;

/// What `--json` prints.
#[derive(Serialize)]
struct Output {
    devices: Vec<Listed>,
    missing: Vec<Missing>,
}

/// Prints every device by what `--device` takes for it, and the kinds of which there is none.
///
/// # Errors
/// Standard output is closed.
pub fn run(args: &DevicesArgs) -> Result<()> {
    let (devices, missing) = list();
    if args.json {
        return print_line(serde_json::to_string(&Output { devices, missing })?);
    }
    let mut rows: Vec<(String, String)> = devices
        .iter()
        .map(|device| (device.device.clone(), in_words(device)))
        .collect();
    rows.extend(
        missing
            .into_iter()
            .map(|missing| (missing.kind.to_owned(), missing.reason)),
    );
    print_line(columns(&rows).trim_end())
}

/// `cuda (NVIDIA H100), 79.6 GiB (78.9 GiB free), computes in float32, bfloat16`
fn in_words(device: &Listed) -> String {
    let mut words = vec![device.name.clone()];
    if device.simulated {
        words.push("simulated by the processor".into());
    }
    words.push(match device.memory {
        Some(memory) => format!("{} ({} free)", ByteSize(memory.total), ByteSize(memory.free)),
        None => "memory unknown".into(),
    });
    words.push(match &device.error {
        Some(error) => format!("does not work: {error}"),
        None => {
            let names: Vec<&str> = device.dtypes.iter().map(|dtype| dtype.name()).collect();
            format!("computes in {}", names.join(", "))
        }
    });
    words.join(", ")
}
