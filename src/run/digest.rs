//! SHA-256 digests of files, in the form of `sha256sum`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use gcpo_data::files;
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use sha2::{Digest as _, Sha256};

use super::RunDirError;
use super::error::at;

/// Digests of files, by their paths below a directory.
pub type Digests = BTreeMap<String, String>;

/// A digest in hexadecimal digits.
pub fn hex(hasher: Sha256) -> String {
    use std::fmt::Write as _;
    hasher.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The digest of some bytes.
pub fn of_bytes(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

/// The digest of a file.
///
/// # Errors
/// It cannot be read.
pub fn of_file(path: &Path) -> io::Result<String> {
    let (mut file, mut hasher) = (files::open(path)?, Sha256::new());
    let mut part = vec![0; 1 << 20];
    loop {
        match file.read(&mut part)? {
            0 => return Ok(hex(hasher)),
            count => hasher.update(&part[..count]),
        }
    }
}

/// The digests of some files in `dir`; files are read side by side.
///
/// # Errors
/// One cannot be read.
pub fn of_files(dir: &Path, names: Vec<String>) -> Result<Digests, RunDirError> {
    let digest = |name: String| {
        let path = dir.join(&name);
        let digest = of_file(&path).map_err(at(&path))?;
        Ok((name, digest))
    };
    names.into_par_iter().map(digest).collect()
}

/// All files below a directory, by their paths from it.
///
/// # Errors
/// A directory cannot be read.
pub fn files_below(dir: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        for entry in fs::read_dir(dir.join(&below))? {
            let entry = entry?;
            let path = below.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                open.push(path);
            } else {
                found.push(path.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    Ok(found)
}

/// Digests as `sha256sum` writes them: `sha256sum --check FILE` looks whether they still hold.
pub fn to_text(digests: &Digests) -> String {
    let lines = digests.iter().map(|(name, digest)| format!("{digest}  {name}\n"));
    lines.collect()
}

/// Reads what [`to_text`] wrote; none where a line is none of it.
pub fn from_text(text: &str) -> Option<Digests> {
    let line = |line: &str| {
        let (digest, name) = line.split_once("  ")?;
        let is_hex = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| (name.to_owned(), digest.to_owned()))
    };
    text.ends_with('\n').then(|| text.lines().map(line).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_sha256sum() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/abc"), "abc").unwrap();
        fs::write(dir.path().join("empty"), "").unwrap();
        let digests = of_files(dir.path(), files_below(dir.path()).unwrap()).unwrap();
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  empty\n\
                    ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  sub/abc\n";
        assert_eq!(to_text(&digests), text);
        assert_eq!(from_text(text).unwrap(), digests);
        for damaged in ["", "x  empty\n", &text[..text.len() - 1]] {
            assert_eq!(from_text(damaged), None, "{damaged}");
        }
    }
}
