//! `gcpo check`: whether a device computes rightly.

use anyhow::{Result, bail};

use super::args::CheckArgs;
use super::run::{open_device, print_line};
use crate::check::check;
use crate::console::say;

/// Runs the program's numerical parts on the device and prints how far each is from the processor's.
///
/// # Errors
/// There is no such device, it fails, or a part is too far.
pub fn run(args: &CheckArgs) -> Result<()> {
    let dtype = args.dtype.dtype;
    let opened = open_device(&args.device.device, dtype)?;
    say!("{} in {dtype}, against the processor in float32", opened.name);
    let parts = check(&opened, dtype)?;
    if args.json {
        print_line(serde_json::to_string(&parts)?)?;
    } else {
        for part in &parts {
            let verdict = if part.is_right() { "ok   " } else { "WRONG" };
            print_line(format_args!(
                "{verdict}  {:.1e} (at most {:.0e})  {}",
                part.error, part.allowed, part.what
            ))?;
        }
    }
    let wrong = parts.iter().filter(|part| !part.is_right()).count();
    if wrong > 0 {
        bail!(
            "{wrong} of {} parts come out wrong on {}: do not train on it; update its driver, or use another device",
            parts.len(),
            opened.name
        );
    }
    Ok(())
}
