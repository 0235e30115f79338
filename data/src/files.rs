//! Files that a user names, read with care: what is no file (a pipe, a device, a directory) or is larger than such a file ever is gets
//! an error before it is read. And written with care: whole, or not at all.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

/// How long a file may be, in bytes, by what it is.
pub mod limit {
    /// A config.
    pub const CONFIG: u64 = 4 << 20;
    /// A chat template; the largest have 16 KB.
    pub const TEMPLATE: u64 = 1 << 20;
    /// A tokenizer; the largest have 35 MB.
    pub const TOKENIZER: u64 = 512 << 20;
    /// Rows: prompts, completions, problems.
    pub const ROWS: u64 = 4 << 30;
}

/// Opens a regular file.
///
/// # Errors
/// There is none, or what is there is no file; the message says what it is.
pub fn open(path: &Path) -> Result<File> {
    // Asked of the name: opening a pipe waits for its writer.
    check(&std::fs::metadata(path)?)?;
    let file = File::open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

fn check(metadata: &std::fs::Metadata) -> Result<()> {
    let what = match metadata {
        it if it.is_file() => return Ok(()),
        it if it.is_dir() => "it is a directory; name a file",
        _ => "it is a pipe or a device, which may never end; save its contents to a file and name that",
    };
    Err(Error::new(ErrorKind::InvalidInput, what))
}

/// The bytes of a regular file, `most` of them at most ([`limit`]).
///
/// # Errors
/// As [`open`]; it cannot be read, or is longer.
pub fn bytes(path: &Path, most: u64) -> Result<Vec<u8>> {
    take(open(path)?, most)
}

/// The text of a regular file, or with the path `-` of standard input; `most` bytes at most.
///
/// # Errors
/// As [`bytes`]; it is not UTF-8.
pub fn text(path: &Path, most: u64) -> Result<String> {
    let bytes = match path.to_str() {
        Some("-" | "/dev/stdin") => take(std::io::stdin().lock(), most)?,
        _ => bytes(path, most)?,
    };
    String::from_utf8(bytes).map_err(|error| {
        let line = line_of(error.as_bytes(), error.utf8_error().valid_up_to());
        let what = format!("line {line} is not UTF-8; save the file as UTF-8");
        Error::new(ErrorKind::InvalidData, what)
    })
}

/// Writes a file: all of `bytes` are there then, or what was there before. What is no file, as a pipe, a terminal or a link, is written to.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    let is_other = std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_file());
    if is_other {
        return std::fs::write(path, bytes);
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let written = std::fs::write(&partial, bytes).and_then(|()| std::fs::rename(&partial, path));
    if written.is_err() {
        // It would keep a full disk full.
        let _ = std::fs::remove_file(&partial);
    }
    written
}

/// The line, from 1, that byte number `at` stands on.
pub(crate) fn line_of(bytes: &[u8], at: usize) -> usize {
    1 + bytes[..at].iter().filter(|&&byte| byte == b'\n').count()
}

/// All bytes of a source, `most` at most.
pub(crate) fn take(source: impl Read, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let what = format!(
            "it is longer than {} MiB, which is the most that is read of such a file",
            most >> 20
        );
        return Err(Error::new(ErrorKind::InvalidData, what));
    }
    Ok(bytes)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_files_are_read_and_not_without_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        for (path, said) in [
            (dir.path(), "it is a directory"),
            (&pipe, "it is a pipe or a device"),
            (Path::new("/dev/zero"), "it is a pipe or a device"),
        ] {
            let error = text(path, limit::CONFIG).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let file = dir.path().join("file");
        std::fs::write(&file, b"a\nb\xc3").unwrap();
        assert!(
            text(&file, 9)
                .unwrap_err()
                .to_string()
                .contains("line 2 is not UTF-8")
        );
        assert_eq!(bytes(&file, 4).unwrap(), b"a\nb\xc3");
        let error = bytes(&file, 3).unwrap_err().to_string();
        assert!(error.contains("longer than 0 MiB"), "{error}");
    }

    #[test]
    fn a_file_is_written_whole_or_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let names = || -> Vec<_> {
            let entries = std::fs::read_dir(dir.path()).unwrap();
            entries.map(|entry| entry.unwrap().file_name()).collect()
        };
        let file = dir.path().join("a.toml");
        for content in ["one", "another"] {
            write(&file, content).unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), content);
        }
        assert_eq!(names(), ["a.toml"]);
        // Nothing can be put in its place.
        let place = dir.path().join("dir");
        std::fs::create_dir(&place).unwrap();
        assert!(write(&place, "x").is_err());
        assert!(write(&dir.path().join("none/x"), "x").is_err());
        assert_eq!(names().len(), 2);
        write(Path::new("/dev/null"), "x").unwrap();
        assert!(!Path::new("/dev/null").metadata().unwrap().is_file());
    }
}
