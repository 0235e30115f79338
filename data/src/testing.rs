//! Where tests find the data that is not part of the repository.

use std::path::{Path, PathBuf};

/// A path under `$GCPO_SHARED`, or under `../shared` beside the repository; `None`, said aloud, where it is absent.
pub fn shared(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("GCPO_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"));
    let full = root.join(path);
    if full.exists() {
        return Some(full);
    }
    eprintln!(
        "skipped: {} is not there (GCPO_SHARED names its folder)",
        full.display()
    );
    None
}
