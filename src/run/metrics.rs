//! The lines of `metrics.jsonl`: the numbers of one, and all of them read back.

use std::io;
use std::path::Path;

use serde_json::{Map, Value};

use super::log;

/// A line: `step`, then the numbers.
pub type Line = Map<String, Value>;

/// The numbers of one step: `stage/name` to value, in the order they were put in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(Map<String, Value>);

impl Metrics {
    /// No numbers yet but the step's own.
    pub fn new(step: usize) -> Self {
        Self(Map::from_iter([("step".to_owned(), step.into())]))
    }

    /// Puts in a number, as short as reads back the same. What is not finite is null.
    pub fn put(&mut self, key: impl Into<String>, value: f64) {
        self.0.insert(key.into(), value.into());
    }

    /// The line: `step`, then the numbers.
    pub fn into_line(self) -> Line {
        self.0
    }
}

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Read {
    /// Its lines, in their order.
    pub lines: Vec<Line>,
    /// Those that are none: their numbers, from 1, and what is wrong with them.
    pub damaged: Vec<(usize, String)>,
}

/// Reads a run's `metrics.jsonl`. A last line without its end is being written, and is left out.
///
/// # Errors
/// The file cannot be read, or is no text.
pub fn read(path: &Path) -> io::Result<Read> {
    let mut read = Read::default();
    for (at, line) in log::read(path)?.lines().enumerate() {
        match serde_json::from_str::<Line>(line) {
            Ok(line) if line.get("step").is_some_and(Value::is_u64) => read.lines.push(line),
            Ok(_) => read.damaged.push((at + 1, "no `step` in it".to_owned())),
            Err(error) => read.damaged.push((at + 1, error.to_string())),
        }
    }
    Ok(read)
}

/// A line's step.
pub fn step_of(line: &Line) -> usize {
    line.get("step").and_then(Value::as_u64).unwrap_or(0) as usize
}

/// A number by step, where it was measured.
pub fn series(lines: &[Line], key: &str) -> Vec<(usize, f64)> {
    let values = lines
        .iter()
        .filter_map(|line| Some((step_of(line), line.get(key)?.as_f64()?)));
    values.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_line_is_named_and_the_rest_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        let text = "{\"step\":0,\"a\":1}\n{\"step\":1,\n{\"a\":2}\n{\"step\":3,\"a\":null}\n{\"step\":4,\"a\":5}\n{\"st";
        std::fs::write(&path, text).unwrap();
        let found = read(&path).unwrap();
        assert_eq!(series(&found.lines, "a"), [(0, 1.0), (4, 5.0)]);
        let damaged: Vec<usize> = found.damaged.iter().map(|(line, _)| *line).collect();
        assert_eq!(damaged, [2, 3]);
    }

    #[test]
    fn a_line_is_step_first_then_keys_as_put_in() {
        let mut metrics = Metrics::new(3);
        metrics.put("z/b", 0.1);
        metrics.put("a/c", f64::NAN);
        metrics.put("a/d", f64::INFINITY);
        metrics.put("z/b", 1.0 / 3.0);
        assert_eq!(
            serde_json::to_string(&metrics.into_line()).unwrap(),
            r#"{"step":3,"z/b":0.3333333333333333,"a/c":null,"a/d":null}"#
        );
    }
}
