//! The numbers of one line of `metrics.jsonl`.

use serde_json::{Map, Value};

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
    pub fn into_line(self) -> Map<String, Value> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
