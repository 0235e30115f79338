//! Files of one JSON object a line, which are only ever appended to: `metrics.jsonl`, `samples.jsonl`, `eval.jsonl`.
//!
//! A line is written whole and at once, so that a reader never sees half of one and a stopped run loses none.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

/// A file of lines that is being appended to.
#[derive(Debug)]
pub struct JsonLog {
    path: PathBuf,
    file: File,
}

/// The lines of a file, each with its end. A last line without one was cut off while it was written, and is left out.
///
/// # Errors
/// The file cannot be read, or is no text.
pub fn read(path: &Path) -> io::Result<String> {
    let mut bytes = fs::read(path)?;
    let whole = bytes
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |end| end + 1);
    bytes.truncate(whole);
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

impl JsonLog {
    /// A new file.
    ///
    /// # Errors
    /// It exists, or cannot be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// A file that is appended to behind its first `bytes` bytes; the rest of it goes.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn cut(path: &Path, bytes: usize) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        file.set_len(bytes as u64)?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// A file whose lines have a `step`, with those of steps before `step`: a resumed run writes the later ones anew.
    ///
    /// # Errors
    /// The file cannot be read or written, or holds a line that is no object with a `step`.
    pub fn before(path: &Path, step: usize) -> io::Result<Self> {
        let text = match read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        let mut kept = 0;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let value: Option<Value> = serde_json::from_str(line).ok();
            let Some(of_line) = value.as_ref().and_then(|value| value.get("step")?.as_u64()) else {
                let what = format!("{}:{}: not an object with a `step`", path.display(), number + 1);
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            };
            if of_line >= step as u64 {
                break;
            }
            kept += line.len();
        }
        Self::cut(path, kept)
    }

    /// Appends one line.
    ///
    /// # Errors
    /// The value is no JSON or the file cannot be written.
    pub fn append(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.write_all(&text)
    }

    /// Where the lines are.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(step: usize) -> Value {
        json!({ "step": step, "reward/mean": step as f64 / 7.0 })
    }

    #[test]
    fn a_resumed_file_is_byte_for_byte_the_uninterrupted_one() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, resumed) = (dir.path().join("whole"), dir.path().join("resumed"));
        let mut log = JsonLog::before(&whole, 0).unwrap();
        (0..6).for_each(|step| log.append(&line(step)).unwrap());

        let mut log = JsonLog::before(&resumed, 0).unwrap();
        (0..5).for_each(|step| log.append(&line(step)).unwrap());
        drop(log);
        let mut log = JsonLog::before(&resumed, 4).unwrap();
        (4..6).for_each(|step| log.append(&line(step)).unwrap());
        assert_eq!(fs::read(whole).unwrap(), fs::read(resumed).unwrap());
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_a_foreign_file_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        // Also where it was torn inside a character.
        for torn in [&b"{\"st"[..], b"{\"step\":9,\"x\":\"\xc3"] {
            fs::write(&path, [b"{\"step\":0}\n", torn].concat()).unwrap();
            JsonLog::before(&path, 9)
                .unwrap()
                .append(&json!({ "step": 1 }))
                .unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "{\"step\":0}\n{\"step\":1}\n");
        }

        fs::write(&path, "hello\nworld\n").unwrap();
        let error = JsonLog::before(&path, 9).unwrap_err().to_string();
        assert!(error.contains("m.jsonl:1"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "hello\nworld\n");
    }
}
