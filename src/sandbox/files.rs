//! Files of a program on disk, where it has no view of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A directory of its own. Dropped, it is removed.
#[derive(Debug)]
pub struct Dir(PathBuf);

impl Dir {
    /// A new directory with files of these names and contents.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn with(names: &[(String, u64)], contents: &[&str]) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let dir = loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("gcpo-code-{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => break Self(path),
                // Of a process of this number that was killed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        };
        readable(&dir.0, 0o755)?;
        for ((name, _), content) in names.iter().zip(contents) {
            let path = dir.0.join(name);
            fs::write(&path, content)?;
            readable(&path, 0o644)?;
        }
        Ok(dir)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Lets the user of a container read it, whatever is usual here.
fn readable(path: &Path, mode: u32) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }
    #[cfg(not(unix))]
    {
        let _ = (path, mode);
        Ok(())
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // Nobody is there to be told of an error.
        let _ = fs::remove_dir_all(&self.0);
    }
}
