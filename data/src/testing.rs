//! Where tests find the data that is not part of the repository.

use std::path::{Path, PathBuf};

/// A path under the folder that `GCPO_SHARED` names; `None`, said aloud, where it is absent.
pub fn shared(path: &str) -> Option<PathBuf> {
    let Some(root) = std::env::var_os("GCPO_SHARED") else {
        eprintln!("skipped: GCPO_SHARED, the folder of {path}, is not set");
        return None;
    };
    let full = Path::new(&root).join(path);
    if !full.exists() {
        eprintln!("skipped: {} is not there", full.display());
        return None;
    }
    Some(full)
}
