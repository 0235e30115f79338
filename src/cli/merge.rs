//! `gcpo merge`: a base model and an adapter as one model.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Error, Result, ensure};
use gcpo_model::checkpoint::Format;
use gcpo_model::device;
use gcpo_model::dtype::Dtype;

use super::args::MergeArgs;
use super::run::print_line;
use crate::config::Draft;
use crate::policy::open;

/// Merges in f32 and writes the model in the number format of its base.
///
/// # Errors
/// The model or the adapter cannot be read, they do not belong together, or the place is taken or cannot be written.
pub fn run(args: &MergeArgs) -> Result<()> {
    check_free(&args.out)?;
    let format = Format {
        dtype: open::own_dtype(&args.model)?,
        max_shard_size: args.max_shard_size.as_u64(),
    };
    // Any device can add; the processor has the memory.
    let opened = device::open(&"cpu".parse()?)?;
    let prompts = Draft::new("gcpo merge").finish()?.prompts();
    let adapter = Some(args.adapter.as_path());
    let policy = open::load_adapted(&args.model, adapter, &prompts, Dtype::F32, &opened.device)?;
    // What was not written to its end is no model.
    let partial = unfinished(&args.out)?;
    let saved = policy.merged().save(&partial, format).map_err(Error::from);
    let written = saved.and_then(|()| {
        fs::rename(&partial, &args.out).with_context(|| format!("cannot make {}", args.out.display()))
    });
    if written.is_err() {
        // It would only take room.
        let _ = fs::remove_dir_all(&partial);
    }
    written?;
    print_line(format_args!(
        "{} with {} is {}, in {dtype}",
        args.model,
        args.adapter.display(),
        args.out.display(),
        dtype = format.dtype
    ))
}

/// A new directory beside the one that is asked for.
fn unfinished(out: &Path) -> Result<PathBuf> {
    let name = out.file_name().context("--out names no directory")?;
    let partial = out.with_file_name(format!(".{}.partial", name.to_string_lossy()));
    match fs::remove_dir_all(&partial) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", partial.display()));
        }
        _ => {}
    }
    fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
    Ok(partial)
}

fn check_free(out: &Path) -> Result<()> {
    match fs::read_dir(out) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| out.display().to_string()),
        Ok(mut entries) => {
            ensure!(
                entries.next().is_none(),
                "{} is not empty; give another --out",
                out.display()
            );
            Ok(())
        }
    }
}
