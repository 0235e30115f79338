//! Files as they are found on a disk. What is no file, or is larger than such a file ever is, is refused before it is
//! read: a pipe never ends, `/dev/zero` neither.

use std::fs::File;
use std::io::{Error, Read as _, Result};
use std::path::Path;

/// Largest JSON file that is read, in bytes. The index of the largest models has half of it.
const JSON_BYTES: u64 = 16 << 20;

/// Opens a regular file, and says its length in bytes.
pub(crate) fn open(path: &Path) -> Result<(File, u64)> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        let what = match metadata.is_dir() {
            true => "it is a directory, not a file",
            false => "it is a pipe or a device, not a file",
        };
        return Err(Error::other(what));
    }
    Ok((File::open(path)?, metadata.len()))
}

/// The bytes of a JSON file.
pub(crate) fn read_json(path: &Path) -> Result<Vec<u8>> {
    let (file, length) = open(path)?;
    let too_long = || {
        Error::other(format!(
            "it is longer than {} MiB, which no such file is",
            JSON_BYTES >> 20
        ))
    };
    if length > JSON_BYTES {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    // Some files of the system say that they are empty and are not.
    file.take(JSON_BYTES + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > JSON_BYTES {
        true => Err(too_long()),
        false => Ok(bytes),
    }
}
