//! TensorBoard's event files: the numbers of `metrics.jsonl` as scalars, in a run's `tensorboard/`.
//!
//! By hand: a file is records of a length, a protobuf message of five fields and two checksums, and the crates that write them bring
//! a compiler of protobuf and codecs of images with them, and none cuts a file back to a checkpoint.
//!
//! ```text
//! record         length: u64, its checksum: u32, message, its checksum: u32    little-endian; CRC-32C, masked
//! Event          1 wall_time: double, 2 step: int64, 3 file_version: string, 5 summary: Summary, 7 session_log: SessionLog
//! Summary        1 value: Value, repeated
//! Value          1 tag: string, 2 simple_value: float
//! SessionLog     1 status: 1 is a start, behind which a reader forgets later steps that it has seen
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use gcpo_data::files;

use super::RunDirError;
use super::error::at;
use super::metrics::{Line, step_of};

/// Where they are in a run directory.
pub const TENSORBOARD: &str = "tensorboard";

/// What TensorBoard knows an event file by.
const MARK: &str = "tfevents";
/// How the names of those that a run writes end.
const OURS: &str = ".gcpo";

/// An event file that is appended to.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl EventLog {
    /// A new file in `dir` that holds the run's `lines` so far, in the place of those that are there: a run that goes on repeats no
    /// step and loses none, wherever it was stopped. A step keeps the time at which it was written first.
    ///
    /// The file has a new name, since a TensorBoard that is reading an old one would not see that it was cut.
    ///
    /// # Errors
    /// The directory or a file cannot be read or written.
    pub fn open(dir: &Path, lines: &[Line]) -> Result<Self, RunDirError> {
        fs::create_dir_all(dir).map_err(at(dir))?;
        let now = now();
        let (mut times, mut old) = (BTreeMap::new(), Vec::new());
        for entry in fs::read_dir(dir).map_err(at(dir))? {
            let path = entry.map_err(at(dir))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Files of others stay.
            if name.contains(MARK) && name.ends_with(OURS) {
                times.extend(times_of(
                    &files::bytes(&path, files::limit::ROWS).map_err(at(&path))?,
                ));
                old.push(path);
            }
        }
        let names = (now as u64..).map(|secs| dir.join(format!("events.out.{MARK}.{secs:010}{OURS}")));
        // Behind all others by its name, as readers sort them.
        let mut free = names.filter(|path| old.iter().all(|other| other < path) && !path.exists());
        let path = free.next().expect("there is no end of names");
        let file = OpenOptions::new().append(true).create_new(true).open(&path);
        let mut log = Self {
            file: file.map_err(at(&path))?,
            path,
            bytes: 0,
        };
        let mut bytes = record(&version(now));
        bytes.extend(record(&start(now)));
        for line in lines {
            let time = times.get(&step_of(line)).copied().unwrap_or(now);
            bytes.extend(record(&event(line, time)));
        }
        log.write(&bytes)?;
        for path in old {
            fs::remove_file(&path).map_err(at(&path))?;
        }
        Ok(log)
    }

    /// Appends a line of `metrics.jsonl`: all of it, or nothing.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append(&mut self, line: &Line) -> Result<(), RunDirError> {
        self.write(&record(&event(line, now())))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), RunDirError> {
        if let Err(error) = self.file.write_all(bytes) {
            // What was half written goes; where not even that can be done, a reader stops before it.
            let _ = self.file.set_len(self.bytes);
            return Err(at(&self.path)(error));
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// A message as a record.
fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let parts: [&[u8]; 4] = [
        &length,
        &masked(&length).to_le_bytes(),
        message,
        &masked(message).to_le_bytes(),
    ];
    parts.concat()
}

/// A checksum of what may hold checksums itself.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli). A step has some kilobytes: a table would not pay.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// The first event of a file.
fn version(time: f64) -> Vec<u8> {
    let mut message = timed(time, 0);
    put_bytes(&mut message, 3, b"brain.Event:2");
    message
}

fn start(time: f64) -> Vec<u8> {
    let mut message = timed(time, 0);
    put_bytes(&mut message, 7, &[1 << 3, 1]);
    message
}

/// A step's numbers. What is not finite, or too large for what TensorBoard holds (a float), it would draw as a hole: left out.
fn event(line: &Line, time: f64) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, value) in line.iter().filter(|(tag, _)| *tag != "step") {
        let Some(value) = value
            .as_f64()
            .map(|value| value as f32)
            .filter(|value| value.is_finite())
        else {
            continue;
        };
        let mut scalar = Vec::new();
        put_bytes(&mut scalar, 1, tag.as_bytes());
        scalar.push(2 << 3 | 5);
        scalar.extend(value.to_le_bytes());
        put_bytes(&mut summary, 1, &scalar);
    }
    let mut message = timed(time, step_of(line) as u64);
    put_bytes(&mut message, 5, &summary);
    message
}

/// An event's time and step; a step of 0 is not written, as protobuf does.
fn timed(time: f64, step: u64) -> Vec<u8> {
    let mut message = vec![1 << 3 | 1];
    message.extend(time.to_le_bytes());
    if step > 0 {
        message.push(2 << 3);
        put_varint(&mut message, step);
    }
    message
}

fn put_bytes(message: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    message.push(field << 3 | 2);
    put_varint(message, bytes.len() as u64);
    message.extend(bytes);
}

fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

/// When each step of a file was written, as far as its records are whole.
fn times_of(mut bytes: &[u8]) -> BTreeMap<usize, f64> {
    let mut times = BTreeMap::new();
    while let Some((message, rest)) = next_record(bytes) {
        bytes = rest;
        let time = message
            .strip_prefix(&[1 << 3 | 1])
            .and_then(|rest| rest.first_chunk());
        let Some(time) = time.map(|time| f64::from_le_bytes(*time)) else {
            continue;
        };
        let mut rest = &message[9..];
        let step = rest.strip_prefix(&[2 << 3]).map_or(Some(0), |after| {
            rest = after;
            take_varint(&mut rest)
        });
        // Only what holds numbers is a step's.
        if let (Some(step), Some(&0x2a)) = (step, rest.first()) {
            times.insert(step as usize, time);
        }
    }
    times
}

/// The first record's message, if it is whole, and what follows it.
fn next_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (of_length, rest) = rest.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*of_length) != masked(length) {
        return None;
    }
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (message, rest) = rest.split_at_checked(length)?;
    let (of_message, rest) = rest.split_first_chunk::<4>()?;
    (u32::from_le_bytes(*of_message) == masked(message)).then_some((message, rest))
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(value: serde_json::Value) -> Line {
        value.as_object().unwrap().clone()
    }

    fn only_file(dir: &Path) -> Vec<u8> {
        let files: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(files.len(), 1, "{files:?}");
        fs::read(&files[0]).unwrap()
    }

    #[test]
    fn records_are_those_that_tensorboard_writes() {
        // RFC 3720, B.4.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        // By `scripts/make_events_fixture.py`, with TensorBoard's own messages and writer.
        let expected = include_bytes!("../../tests/fixtures/events.tfevents");
        let mut found = record(&version(1_700_000_000.5));
        found.extend(record(&start(1_700_000_000.5)));
        for (at, of) in [
            json!({"step": 0, "eval/pass@1": 0.4453125}),
            json!({"step": 1, "reward/mean": 0.46875, "projection/upsilon_mean": null, "rollout/kv_bytes": 20041728.0}),
            json!({"step": 300, "objective/loss": -1e-7, "reward/Länge_mean": 0.25, "too/large": 1e300}),
        ]
        .into_iter()
        .enumerate()
        {
            found.extend(record(&event(&line(of), 1_700_000_001.0 + at as f64)));
        }
        assert!(found == expected, "{found:02x?}\n{expected:02x?}");
    }

    #[test]
    fn what_is_damaged_is_passed_over() {
        let whole = record(&event(&line(json!({"step": 300, "a": 1.0})), 5.0));
        assert_eq!(times_of(&whole), BTreeMap::from([(300, 5.0)]));
        for at in 0..whole.len() {
            assert!(times_of(&whole[..at]).is_empty());
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(times_of(&flipped).is_empty(), "{at}");
        }
        // Whole records of anything.
        for message in [
            &[][..],
            &[9],
            &[9, 0, 0, 0, 0, 0, 0, 0, 0],
            &[9, 0, 0, 0, 0, 0, 0, 0, 0, 16, 255],
        ] {
            assert!(times_of(&record(message)).is_empty());
        }
    }

    #[test]
    fn a_file_that_goes_on_repeats_no_step_loses_none_and_keeps_their_times() {
        let dir = tempfile::tempdir().unwrap();
        let lines: Vec<Line> = (0..200)
            .map(|step| line(json!({"step": step, "reward/mean": 0.5})))
            .collect();
        let mut log = EventLog::open(dir.path(), &[]).unwrap();
        lines[..150].iter().for_each(|line| log.append(line).unwrap());
        let before = times_of(&only_file(dir.path()));
        assert_eq!(before.len(), 150);
        // Killed in the middle of a record.
        log.write(&record(&event(&lines[150], 0.0))[..20]).unwrap();
        drop(log);
        // A checkpoint after step 99; of step 100 the line is there, and no event.
        let mut log = EventLog::open(dir.path(), &lines[..101]).unwrap();
        lines[101..].iter().for_each(|line| log.append(line).unwrap());
        let bytes = only_file(dir.path());
        let (mut rest, mut count) = (&bytes[..], 0);
        while let Some((_, after)) = next_record(rest) {
            (rest, count) = (after, count + 1);
        }
        assert_eq!((rest.len(), count), (0, 202));
        let after = times_of(&bytes);
        assert_eq!(
            after.keys().copied().collect::<Vec<_>>(),
            (0..200).collect::<Vec<_>>()
        );
        assert!((0..101).all(|step| after[&step] == before[&step]));
    }
}
