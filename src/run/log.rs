//! Files of one JSON object a line, which are only ever appended to: `metrics.jsonl`, `samples.jsonl`, `eval.jsonl`.
//!
//! A line is written whole and at once, so that a reader never sees half of one and a stopped run loses none.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use gcpo_data::files;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::RunDirError;
use super::digest;
use super::error::at;

/// How far a file goes, and what is in it up to there. The same run has the same, wherever it was stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extent {
    /// Lines from its beginning.
    pub lines: usize,
    /// SHA-256 of them, without their keys `time/…`, which no two runs share.
    pub sha256: String,
}

/// A file of lines that is being appended to, by this process alone.
#[derive(Debug)]
pub struct JsonLog {
    path: PathBuf,
    file: File,
    bytes: u64,
    lines: Lines,
}

/// Lines, counted and digested.
#[derive(Debug, Clone, Default)]
struct Lines {
    count: usize,
    hasher: Sha256,
}

impl Lines {
    /// The first `count` lines of a file, or all that have their ends, and their bytes.
    fn first(path: &Path, count: usize) -> io::Result<(Self, u64)> {
        let mut file = BufReader::new(files::open(path)?);
        let (mut lines, mut bytes, mut line) = (Self::default(), 0, Vec::new());
        while lines.count < count {
            line.clear();
            file.read_until(b'\n', &mut line)?;
            if !line.ends_with(b"\n") {
                break;
            }
            lines.add(&line);
            bytes += line.len() as u64;
        }
        Ok((lines, bytes))
    }

    /// `line` ends with its line feed.
    fn add(&mut self, line: &[u8]) {
        self.count += 1;
        let mut from = 0;
        while let Some((key, after)) = seconds(line, from) {
            self.hasher.update(&line[from..key]);
            from = after;
        }
        self.hasher.update(&line[from..]);
    }

    fn extent(&self) -> Extent {
        Extent {
            lines: self.count,
            sha256: digest::hex(self.hasher.clone()),
        }
    }
}

/// How a key of seconds begins.
const TIME: &[u8] = b"\"time/";

/// Where the next `"time/…":1.5` of a line is, from its beginning up to what follows, with the comma that goes with it.
///
/// Its text is taken out, and nothing is read as a number and written again: a digit that no number holds counts as well.
fn seconds(line: &[u8], from: usize) -> Option<(usize, usize)> {
    let begins = |at: usize| line[at..].starts_with(TIME) && matches!(line[at - 1], b'{' | b',');
    (from.max(1)..line.len()).filter(|&at| begins(at)).find_map(|at| {
        let key = at + TIME.len() + line[at + TIME.len()..].iter().position(|&byte| byte == b'"')?;
        let number = line[key..].strip_prefix(b"\":")?;
        let end = number.iter().position(|byte| matches!(byte, b',' | b'}'))?;
        let is_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
        if end == 0 || !number[..end].iter().all(is_number) {
            return None;
        }
        let end = key + 2 + end;
        // The comma before it may have gone already, with the one before.
        Some(match (line[at - 1], line[end]) {
            (b',', _) if at > from => (at - 1, end),
            (_, b',') => (at, end + 1),
            _ => (at, end),
        })
    })
}

/// The lines of a file, each with its end. A last line without one was cut off while it was written, and is left out.
///
/// # Errors
/// The file cannot be read, or is no text.
pub fn read(path: &Path) -> io::Result<String> {
    let mut bytes = files::bytes(path, files::limit::ROWS)?;
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
        lock(&file)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            bytes: 0,
            lines: Lines::default(),
        })
    }

    /// A file that is appended to behind its first `count` lines; the rest of it goes.
    ///
    /// # Errors
    /// It cannot be written, or another process writes it.
    pub fn cut(path: &Path, count: usize) -> io::Result<Self> {
        // A pipe is refused before it is opened.
        files::open(path)?;
        let file = OpenOptions::new().append(true).open(path)?;
        lock(&file)?;
        let (lines, bytes) = Lines::first(path, count)?;
        file.set_len(bytes)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            bytes,
            lines,
        })
    }

    /// Whether a file still begins with what it did.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn begins_with(path: &Path, extent: &Extent) -> io::Result<bool> {
        let (lines, _) = Lines::first(path, extent.lines)?;
        Ok(lines.extent() == *extent)
    }

    /// Appends one line: all of it, or nothing.
    ///
    /// # Errors
    /// The value is no JSON, the file cannot be written, or is not there any more.
    pub fn append(&mut self, line: &impl Serialize) -> Result<(), RunDirError> {
        self.write(line).map_err(at(&self.path))
    }

    fn write(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        // A file that was removed takes lines as well, and nobody ever sees them.
        if !self.path.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "it was removed while it was written to",
            ));
        }
        if let Err(error) = self.file.write_all(&text) {
            // What was half written goes; where not even that can be done, whoever reads the file leaves it out.
            let _ = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes += text.len() as u64;
        self.lines.add(&text);
        Ok(())
    }

    /// Brings the lines to disk, and says how far they go.
    ///
    /// # Errors
    /// The system refuses.
    pub fn sync(&self) -> Result<Extent, RunDirError> {
        self.file.sync_data().map_err(at(&self.path))?;
        Ok(self.lines.extent())
    }

    /// Whether there is no line in it.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Where the lines are.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Keeps other processes of this program from writing the file, for as long as it is open here. Where locks also keep others
/// from reading, or there are none, nothing is done.
fn lock(file: &File) -> io::Result<()> {
    if cfg!(unix) && matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
        return Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another process is writing to it",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;

    fn line(step: usize) -> Value {
        json!({ "step": step, "reward/mean": step as f64 / 7.0 })
    }

    #[test]
    fn a_resumed_file_is_byte_for_byte_the_uninterrupted_one() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, resumed) = (dir.path().join("whole"), dir.path().join("resumed"));
        let mut log = JsonLog::create(&whole).unwrap();
        (0..6).for_each(|step| log.append(&line(step)).unwrap());

        let mut log = JsonLog::create(&resumed).unwrap();
        (0..4).for_each(|step| log.append(&line(step)).unwrap());
        let extent = log.sync().unwrap();
        log.append(&line(4)).unwrap();
        drop(log);
        // A line that was torn in the middle of a character.
        let mut torn = OpenOptions::new().append(true).open(&resumed).unwrap();
        torn.write_all(b"{\"step\":9,\"x\":\"\xc3").unwrap();
        assert!(JsonLog::begins_with(&resumed, &extent).unwrap());
        let mut log = JsonLog::cut(&resumed, extent.lines).unwrap();
        assert_eq!(log.sync().unwrap(), extent);
        (4..6).for_each(|step| log.append(&line(step)).unwrap());
        assert_eq!(fs::read(whole).unwrap(), fs::read(resumed).unwrap());
    }

    #[test]
    fn a_file_that_lost_or_changed_a_line_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        let mut log = JsonLog::create(&path).unwrap();
        (0..4).for_each(|step| log.append(&line(step)).unwrap());
        let extent = log.sync().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let shorter: String = text.split_inclusive('\n').take(3).collect();
        for (text, same) in [
            (format!("{text}more\n"), true),
            (shorter, false),
            // Seconds are no two times the same.
            (
                text.replace("{\"step", "{\"time/a\":1.5,\"time/b\":2,\"step"),
                true,
            ),
            (text.replace('}', ",\"time/secs\":1e-7,\"time/b\":2}"), true),
            // A text is none of them, and neither is a part of one.
            (text.replace('}', ",\"time/secs\":\"1\"}"), false),
            (text.replace('}', ",\"said\":\"{\\\"time/secs\\\":1}\"}"), false),
            (text.replacen("0.1", "0.2", 1), false),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(JsonLog::begins_with(&path, &extent).unwrap(), same);
        }
    }

    #[test]
    fn a_digit_that_no_number_holds_is_missed_in_a_line_with_seconds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        let mut log = JsonLog::create(&path).unwrap();
        let third = 0.142_857_142_857_142_85_f64;
        log.append(&json!({ "loss": third, "kl": 1e-7, "time/secs": 0.5 }))
            .unwrap();
        let extent = log.sync().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for (from, to) in [("4285,", "4284,"), ("1e-7", "1E-7"), ("\"loss\":", "\"loss\": ")] {
            let damaged = text.replace(from, to);
            assert_ne!(damaged, text);
            let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            assert_eq!(read(&damaged), read(&text), "the same numbers");
            fs::write(&path, damaged).unwrap();
            assert!(!JsonLog::begins_with(&path, &extent).unwrap(), "{to}");
        }
    }

    #[test]
    fn a_file_that_was_removed_or_is_written_by_another_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        let mut log = JsonLog::create(&path).unwrap();
        if cfg!(unix) {
            let error = JsonLog::cut(&path, 0).unwrap_err().to_string();
            assert!(error.contains("another process"), "{error}");
        }
        fs::remove_file(&path).unwrap();
        let error = log.append(&line(0)).unwrap_err().to_string();
        assert!(error.contains("m.jsonl") && error.contains("removed"), "{error}");
    }

    #[test]
    fn what_a_reader_takes_ends_with_a_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        for torn in [&b"{\"st"[..], b"{\"step\":9,\"x\":\"\xc3"] {
            fs::write(&path, [b"{\"step\":0}\n", torn].concat()).unwrap();
            assert_eq!(read(&path).unwrap(), "{\"step\":0}\n");
        }
    }
}
