//! Python's methods on strings that minijinja's own set lacks.

use minijinja::value::{Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

/// A method of a value, by its name in Python.
pub(super) fn call(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match value.as_str() {
        Some(text) => match of_string(state, text, method, args)? {
            Some(result) => Ok(result),
            None => pycompat::unknown_method_callback(state, value, method, args),
        },
        None => match (method, value.kind()) {
            ("copy", ValueKind::Map | ValueKind::Seq) => from_args(args).map(|()| value.clone()),
            ("index", ValueKind::Seq) => {
                let (what,): (Value,) = from_args(args)?;
                let at = value.try_iter()?.position(|item| item == what);
                at.map(Value::from)
                    .ok_or_else(|| failed("the value is not in the list"))
            }
            _ => pycompat::unknown_method_callback(state, value, method, args),
        },
    }
}

fn failed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.to_owned())
}

fn of_string(state: &State, text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            text.strip_prefix(prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            text.strip_suffix(suffix).unwrap_or(text).into()
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            partition(text, separator, method == "rpartition")?
        }
        "rsplit" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
            rsplit(text, separator, most)?
        }
        "index" | "rindex" => {
            let (what,): (&str,) = from_args(args)?;
            let found = if method == "index" {
                text.find(what)
            } else {
                text.rfind(what)
            };
            let at = found.ok_or_else(|| failed("substring not found"))?;
            text[..at].chars().count().into()
        }
        "casefold" => {
            let () = from_args(args)?;
            // Python folds ß to ss; nothing else that a template has reason to compare differs.
            text.to_lowercase().replace('ß', "ss").into()
        }
        "swapcase" => {
            let () = from_args(args)?;
            text.chars()
                .map(|c| match c.is_uppercase() {
                    true => c.to_lowercase().collect::<String>(),
                    false => c.to_uppercase().collect(),
                })
                .collect::<String>()
                .into()
        }
        "title" => {
            let () = from_args(args)?;
            title(text).into()
        }
        _ => return padded(state, text, method, args),
    }))
}

/// Methods that make a text as wide as they are told.
fn padded(state: &State, text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "zfill" => {
            let (width,): (i64,) = from_args(args)?;
            let (sign, digits) = match text.chars().next() {
                Some('+' | '-') => text.split_at(1),
                _ => ("", text),
            };
            format!("{sign}{}{digits}", fill(state, text, width, "0")?).into()
        }
        "ljust" | "rjust" | "center" => {
            let (width, with): (i64, Option<&str>) = from_args(args)?;
            let with = with.unwrap_or(" ");
            if with.chars().count() != 1 {
                return Err(failed("the fill character must be exactly one character long"));
            }
            let fill = fill(state, text, width, with)?;
            let count = fill.chars().count();
            // As CPython: the odd one is on the left where the width is odd.
            let left = match method {
                "ljust" => 0,
                "rjust" => count,
                _ => count / 2 + (count & width.max(0) as usize & 1),
            };
            let cut = left * with.len();
            format!("{}{text}{}", &fill[..cut], &fill[cut..]).into()
        }
        _ => return Ok(None),
    }))
}

/// As many of a character as a text lacks of a width. They are paid for before they are made.
fn fill(state: &State, text: &str, width: i64, with: &str) -> Result<String, Error> {
    let lacks = usize::try_from(width)
        .unwrap_or(0)
        .saturating_sub(text.chars().count());
    state.consume_fuel(lacks as u64 / 16)?;
    Ok(with.repeat(lacks))
}

fn partition(text: &str, separator: &str, from_right: bool) -> Result<Value, Error> {
    if separator.is_empty() {
        return Err(failed("empty separator"));
    }
    let (found, parts) = match from_right {
        true => (text.rsplit_once(separator), ["", "", text]),
        false => (text.split_once(separator), [text, "", ""]),
    };
    let parts = found.map_or(parts, |(before, after)| [before, separator, after]);
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

fn rsplit(text: &str, separator: Option<&str>, most: Option<i64>) -> Result<Value, Error> {
    let most = usize::try_from(most.unwrap_or(-1)).unwrap_or(usize::MAX);
    let mut parts: Vec<&str> = Vec::new();
    let mut rest = text;
    match separator {
        Some("") => return Err(failed("empty separator")),
        Some(separator) => {
            while parts.len() < most
                && let Some((before, after)) = rest.rsplit_once(separator)
            {
                parts.push(after);
                rest = before;
            }
            parts.push(rest);
        }
        None => {
            rest = rest.trim_end();
            while parts.len() < most
                && let Some(at) = rest.rfind(char::is_whitespace)
            {
                let space = rest[at..].chars().next().map_or(1, char::len_utf8);
                parts.push(&rest[at + space..]);
                rest = rest[..at].trim_end();
            }
            rest = if parts.len() < most {
                rest.trim_start()
            } else {
                rest
            };
            if !rest.is_empty() {
                parts.push(rest);
            }
        }
    }
    parts.reverse();
    Ok(parts.into_iter().map(Value::from).collect())
}

/// A letter behind none is a capital, every other one small.
fn title(text: &str) -> String {
    let mut behind_letter = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match behind_letter {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        behind_letter = c.is_alphabetic();
    }
    out
}
