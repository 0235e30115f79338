//! What a run writes line by line: `metrics.jsonl`, one object a step, and `samples.jsonl`.
//!
//! A line is written whole and at once, so that a reader never sees half of one and a stopped run loses none.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

/// The numbers of one step: `stage/name` to value, in the order they were put in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// The step these belong to.
    pub step: usize,
    values: Vec<(String, f64)>,
}

impl Metrics {
    /// No numbers yet.
    pub fn new(step: usize) -> Self {
        Self {
            step,
            values: Vec::new(),
        }
    }

    /// Puts in a number, in place of the one of that key if there is one.
    pub fn put(&mut self, key: impl Into<String>, value: f64) {
        let key = key.into();
        match self.values.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => self.values.push((key, value)),
        }
    }

    /// The number of a key.
    pub fn get(&self, key: &str) -> Option<f64> {
        self.values
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| *value)
    }

    /// Keys and numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.values.iter().map(|(key, value)| (key.as_str(), *value))
    }

    /// Puts in all numbers of `other`; its step is not taken.
    pub fn extend(&mut self, other: &Metrics) {
        for (key, value) in other.iter() {
            self.put(key, value);
        }
    }

    /// The line of `metrics.jsonl`: `step`, then the numbers, each as short as reads back the same. What is not finite is null.
    pub fn to_json(&self) -> Value {
        let mut line = Map::new();
        line.insert("step".into(), self.step.into());
        for (key, value) in self.iter() {
            line.insert(key.into(), Value::from(value));
        }
        Value::Object(line)
    }
}

/// A file of one JSON object a line, each with a `step`.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    file: File,
}

/// The lines of a `metrics.jsonl`, in order. What is null in it is NaN here.
///
/// # Errors
/// The file cannot be read, or a line is no object of a `step` and numbers.
pub fn read(path: &Path) -> io::Result<Vec<Metrics>> {
    let text = std::fs::read_to_string(path)?;
    let parse = |line: &str| {
        let values: Map<String, Value> = serde_json::from_str(line).ok()?;
        let mut metrics = Metrics::new(values.get("step")?.as_u64()? as usize);
        for (key, value) in values.iter().filter(|(key, _)| *key != "step") {
            metrics.put(
                key,
                if value.is_null() {
                    f64::NAN
                } else {
                    value.as_f64()?
                },
            );
        }
        Some(metrics)
    };
    let lines = text.lines().enumerate().map(|(number, line)| {
        parse(line).ok_or_else(|| {
            let what = format!("{}:{}: no line of metrics", path.display(), number + 1);
            io::Error::new(io::ErrorKind::InvalidData, what)
        })
    });
    lines.collect()
}

/// A line of `samples.jsonl`: one query of a step with everything that was sampled for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// The step.
    pub step: usize,
    /// The problem's name in its data set.
    pub problem: String,
    /// The prompt as text.
    pub prompt: String,
    /// The gold answer.
    pub answer: String,
    /// The candidates `y_i`, as text.
    pub completions: Vec<String>,
    /// The integrations `y_{n,j}`, as text.
    pub integrations: Vec<String>,
    /// Reward of each candidate.
    pub rewards: Vec<f64>,
    /// What the rewards are the weighted sums of: each one's label, with its value for each candidate. Null where it does
    /// not apply.
    pub components: Map<String, Value>,
    /// Υ of each candidate; empty where it was not computed.
    pub upsilon: Vec<f64>,
    /// What else a stage has to say.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

impl JsonLines {
    /// Opens a file to append to, keeping only its lines of steps before `step`: a resumed run writes the later ones anew.
    ///
    /// # Errors
    /// The file cannot be read or written, or holds a line before the last that is no object with a `step`.
    pub fn open(path: &Path, step: usize) -> io::Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        let mut kept_bytes = 0;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            // A last line without its end was cut off while it was written.
            if !line.ends_with('\n') {
                break;
            }
            let value: Option<Value> = serde_json::from_str(line).ok();
            let Some(line_step) = value.as_ref().and_then(|value| value.get("step")?.as_u64()) else {
                let what = format!("{}:{}: not an object with a `step`", path.display(), number + 1);
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            };
            if line_step >= step as u64 {
                break;
            }
            kept_bytes += line.len();
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        file.set_len(kept_bytes as u64)?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Appends one line.
    ///
    /// # Errors
    /// The value is no JSON or the file cannot be written.
    pub fn write(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.write_all(&text)?;
        self.file.flush()
    }

    /// Where the lines are.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: usize, value: f64) -> Value {
        let mut metrics = Metrics::new(step);
        metrics.put("reward/mean", value);
        metrics.to_json()
    }

    #[test]
    fn a_line_is_step_first_then_keys_as_put_in() {
        let mut metrics = Metrics::new(3);
        metrics.put("z/b", 0.1);
        metrics.put("a/c", f64::NAN);
        metrics.put("a/d", f64::INFINITY);
        metrics.put("z/b", 1.0 / 3.0);
        assert_eq!(
            metrics.to_json().to_string(),
            r#"{"step":3,"z/b":0.3333333333333333,"a/c":null,"a/d":null}"#
        );
        assert_eq!(metrics.get("z/b"), Some(1.0 / 3.0));
        assert_eq!(metrics.get("none"), None);
    }

    #[test]
    fn a_resumed_file_is_byte_for_byte_the_uninterrupted_one() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, resumed) = (dir.path().join("whole"), dir.path().join("resumed"));
        let mut lines = JsonLines::open(&whole, 0).unwrap();
        (0..6).for_each(|step| lines.write(&line(step, step as f64 / 7.0)).unwrap());

        let mut lines = JsonLines::open(&resumed, 0).unwrap();
        (0..5).for_each(|step| lines.write(&line(step, step as f64 / 7.0)).unwrap());
        drop(lines);
        let mut lines = JsonLines::open(&resumed, 4).unwrap();
        (4..6).for_each(|step| lines.write(&line(step, step as f64 / 7.0)).unwrap());
        assert_eq!(std::fs::read(whole).unwrap(), std::fs::read(resumed).unwrap());
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_a_foreign_file_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        std::fs::write(&path, "{\"step\":0}\n{\"st").unwrap();
        JsonLines::open(&path, 9).unwrap().write(&line(1, 1.0)).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "{\"step\":0}\n{\"step\":1,\"reward/mean\":1.0}\n"
        );

        std::fs::write(&path, "hello\nworld\n").unwrap();
        let error = JsonLines::open(&path, 9).unwrap_err().to_string();
        assert!(error.contains("m.jsonl:1"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "hello\nworld\n");
    }
}
