//! Values as Python writes them: `str`, `repr` and `json.dumps`. What they take is counted as the engine counts it.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Output, State, Value};

/// Prints values as Python's `str` does.
pub(super) fn formatter(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    if let Some(text) = value.as_str() {
        return Ok(out.write_str(text)?);
    }
    Ok(out.write_str(&text(state, value)?)?)
}

/// Python's `str` of a value.
pub(super) fn text(state: &State, value: &Value) -> Result<String, Error> {
    let mut out = Counted::new(state);
    match value.as_str() {
        Some(text) => out.push(text)?,
        None => out.repr(value)?,
    }
    Ok(out.text)
}

/// A text that costs fuel as it grows.
struct Counted<'a> {
    text: String,
    state: &'a State<'a, 'a>,
}

impl<'a> Counted<'a> {
    fn new(state: &'a State<'a, 'a>) -> Self {
        Self {
            text: String::new(),
            state,
        }
    }

    fn push(&mut self, text: &str) -> Result<(), Error> {
        self.state.consume_fuel(1 + text.len() as u64 / 64)?;
        self.text.push_str(text);
        Ok(())
    }

    fn repr(&mut self, value: &Value) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None => self.push("None"),
            ValueKind::Bool => self.push(if value.is_true() { "True" } else { "False" }),
            ValueKind::String => self.push(&quoted(value.as_str().unwrap_or_default())),
            ValueKind::Seq => {
                let (open, close) = if value.is_tuple() { ("(", ")") } else { ("[", "]") };
                self.push(open)?;
                for (at, item) in value.try_iter()?.enumerate() {
                    if at > 0 {
                        self.push(", ")?;
                    }
                    self.repr(&item)?;
                }
                if value.is_tuple() && value.len() == Some(1) {
                    self.push(",")?;
                }
                self.push(close)
            }
            ValueKind::Map => {
                self.push("{")?;
                for (at, key) in value.try_iter()?.enumerate() {
                    if at > 0 {
                        self.push(", ")?;
                    }
                    self.repr(&key)?;
                    self.push(": ")?;
                    self.repr(&value.get_item(&key)?)?;
                }
                self.push("}")
            }
            ValueKind::Number if !value.is_integer() => self.push(&float(value)),
            _ => self.push(&value.to_string()),
        }
    }
}

/// Python's `repr` of a number that is not whole: the shortest digits, with an exponent where it is below -4 or above 15.
fn float(value: &Value) -> String {
    let Ok(number) = f64::try_from(value.clone()) else {
        return value.to_string();
    };
    let shortest = format!("{number:e}");
    match shortest.split_once('e') {
        Some((digits, exponent)) => match exponent.parse::<i32>() {
            Ok(exponent) if !(-4..16).contains(&exponent) => {
                let sign = if exponent < 0 { '-' } else { '+' };
                format!("{digits}e{sign}{:02}", exponent.abs())
            }
            _ => format!("{number:?}"),
        },
        None => value.to_string(),
    }
}

/// Python's `repr` of a string.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// `json.dumps` with the options that transformers gives to templates.
pub(super) fn tojson(state: &State, value: Value, options: Kwargs) -> Result<Value, Error> {
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let indent: Option<usize> = options.get("indent")?;
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let separators: Option<Vec<String>> = options.get("separators")?;
    options.assert_all_used()?;
    let (comma, colon) = match separators.as_deref() {
        Some([comma, colon]) => (comma.clone(), colon.clone()),
        Some(_) => return Err(failed("tojson: separators takes two strings")),
        None => (
            if indent.is_some() { "," } else { ", " }.to_owned(),
            ": ".to_owned(),
        ),
    };
    let mut json = Json {
        comma,
        colon,
        indent,
        sort_keys,
        ascii,
        out: Counted::new(state),
    };
    json.write(&value, 0)?;
    Ok(Value::from(json.out.text))
}

fn failed(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.into())
}

struct Json<'a> {
    comma: String,
    colon: String,
    indent: Option<usize>,
    sort_keys: bool,
    ascii: bool,
    out: Counted<'a>,
}

impl Json<'_> {
    fn write(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        match value.kind() {
            ValueKind::Undefined => Err(failed("tojson: an undefined value is not JSON")),
            ValueKind::String => self.text(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let mut any = false;
                self.out.push("[")?;
                for (at, item) in value.try_iter()?.enumerate() {
                    any = true;
                    self.next(at, depth + 1)?;
                    self.write(&item, depth + 1)?;
                }
                self.close(any, depth, "]")
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                self.out.push("{")?;
                for (at, key) in keys.iter().enumerate() {
                    self.next(at, depth + 1)?;
                    match key.as_str() {
                        Some(key) => self.text(key)?,
                        None => {
                            let key = scalar(key)?;
                            self.text(&key)?;
                        }
                    }
                    self.out.push(&self.colon.clone())?;
                    self.write(&value.get_item(key)?, depth + 1)?;
                }
                self.close(!keys.is_empty(), depth, "}")
            }
            _ => self.out.push(&scalar(value)?),
        }
    }

    fn next(&mut self, at: usize, depth: usize) -> Result<(), Error> {
        if at > 0 {
            self.out.push(&self.comma.clone())?;
        }
        self.line(depth)
    }

    fn close(&mut self, any: bool, depth: usize, bracket: &str) -> Result<(), Error> {
        if any {
            self.line(depth)?;
        }
        self.out.push(bracket)
    }

    fn line(&mut self, depth: usize) -> Result<(), Error> {
        let Some(indent) = self.indent else {
            return Ok(());
        };
        let width = indent.saturating_mul(depth);
        self.out.state.consume_fuel(width as u64 / 64)?;
        self.out.push("\n")?;
        self.out.push(&" ".repeat(width))
    }

    fn text(&mut self, text: &str) -> Result<(), Error> {
        let quoted = serde_json::Value::from(text).to_string();
        if !self.ascii {
            return self.out.push(&quoted);
        }
        let mut plain = String::new();
        for c in quoted.chars() {
            if c.is_ascii() {
                plain.push(c);
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    plain.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
        self.out.push(&plain)
    }
}

fn scalar(value: &Value) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| failed("tojson: not JSON").with_source(error))
}
