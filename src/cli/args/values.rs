//! What options take, where it is more than a type says.

use bytesize::ByteSize;

/// They are held together until they are printed.
pub(super) fn completions(text: &str) -> Result<usize, String> {
    const MOST: usize = 1_000_000;
    match at_least_one(text)? {
        count if count > MOST => Err(format!("give {MOST} at most")),
        count => Ok(count),
    }
}

pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|&count| count > 0)
        .ok_or_else(|| "give a whole number, 1 or more".into())
}

pub(super) fn shard_size(text: &str) -> Result<ByteSize, String> {
    text.parse()
        .ok()
        .filter(|size: &ByteSize| size.0 > 0)
        .ok_or_else(|| "give a size above 0, such as 5GB".into())
}
