//! JSON in which no object says a thing twice: `serde_json` takes the last of two equal keys and says nothing.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads an object.
pub(crate) fn object(json: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    match serde_json::from_slice(json).map_err(|error| explained(error, json))? {
        Once(Value::Object(map)) => Ok(map),
        Once(other) => Err(serde_json::Error::custom(format!(
            "an object in {{ }} is wanted, not {}",
            short(&other)
        ))),
    }
}

/// Python writes numbers that JSON does not have; the error says so, and of which key, if that is what it is.
fn explained(error: serde_json::Error, json: &[u8]) -> serde_json::Error {
    let line = json
        .split(|&byte| byte == b'\n')
        .nth(error.line().saturating_sub(1));
    let line = String::from_utf8_lossy(line.unwrap_or_default());
    let Some((before, at)) = line.split_at_checked(error.column().saturating_sub(1)) else {
        return error;
    };
    match ["NaN", "Infinity"].iter().find(|word| at.starts_with(**word)) {
        Some(word) => serde_json::Error::custom(format!(
            "{} {word} is not finite (line {})",
            shorten(before.rsplit(',').next().unwrap_or(before).trim()),
            error.line()
        )),
        None => error,
    }
}

/// A value as messages show it: on one line, cut where it is long.
pub(crate) fn short(value: &Value) -> String {
    shorten(&value.to_string())
}

/// Text of a file as messages show it: on one line, cut where it is long, and nothing in it that a terminal would obey.
pub(crate) fn shorten(text: &str) -> String {
    const MOST: usize = 120;
    let mut shown: String = text.chars().take(MOST).collect::<String>();
    if shown.len() < text.len() {
        shown.push('…');
    }
    if shown.chars().any(char::is_control) {
        shown = shown.escape_debug().to_string();
    }
    shown
}

/// A value, all keys of each object different.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Any).map(Once)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Once(value)) = from.next_element()? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            let Once(value) = from.next_value()?;
            if map.insert(key.clone(), value).is_some() {
                return Err(A::Error::custom(format!("`{}` stands here twice", shorten(&key))));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_stands_twice_is_refused_at_every_depth() {
        for json in [r#"{"a": 1, "a": 1}"#, r#"{"b": [{"a": 1, "a": null}]}"#] {
            let error = object(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("`a` stands here twice at line 1"), "{error}");
        }
        let json = r#"{"a":[1,-2,2.5,"x",true,null],"b":{"a":{}}}"#;
        let map = object(json.as_bytes()).unwrap();
        assert_eq!(Value::Object(map).to_string(), json);
        assert!(object(b"[1]").unwrap_err().to_string().contains("not [1]"));
        assert!(object(&b"[".repeat(1 << 20)).is_err(), "deep nesting");
    }

    #[test]
    fn numbers_of_python_are_said_to_be_none() {
        for (value, word) in [
            ("NaN", "NaN"),
            ("Infinity", "Infinity"),
            ("-Infinity", "Infinity"),
        ] {
            for json in [
                format!("{{\"a\": 1,\n \"é\": 2, \"b\": {value}}}"),
                format!("{{\"x\": 1,\n\"b\":{value}}}"),
            ] {
                let error = object(json.as_bytes()).unwrap_err().to_string();
                let right =
                    error.starts_with("\"b\":") && error.ends_with(&format!("{word} is not finite (line 2)"));
                assert!(right, "{json}: {error}");
            }
        }
    }

    #[test]
    fn what_is_shown_is_one_short_line() {
        assert_eq!(shorten("a\u{1b}[2J\nb"), "a\\u{1b}[2J\\nb");
        assert!(shorten(&"x".repeat(1 << 20)).len() < 130);
    }
}
