//! Jinja's filters where minijinja has none of them, or takes other arguments.

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};
use minijinja_contrib::{filters as contrib, globals};

/// Adds them.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.add_filter(
        "sort",
        |state: &State, value: Value, args: Rest<Value>, named: Kwargs| {
            let names = ["reverse", "case_sensitive", "attribute"];
            filters::sort(state, value, by_name(&names, &args, &named)?)
        },
    );
    environment.add_filter(
        "dictsort",
        |state: &State, value: Value, args: Rest<Value>, named: Kwargs| {
            state.consume_fuel(value.len().unwrap_or_default() as u64)?;
            filters::dictsort(
                &value,
                by_name(&["case_sensitive", "by", "reverse"], &args, &named)?,
            )
        },
    );
    environment.add_filter(
        "truncate",
        |state: &mut State, value: Value, args: Rest<Value>, named: Kwargs| {
            let names = ["length", "killwords", "end", "leeway"];
            contrib::truncate(state, &value, by_name(&names, &args, &named)?)
        },
    );
    environment.add_filter("indent", indent);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("list", |state: &State, value: Value| match value.is_none() {
        true => Err(super::not_iterable()),
        false => filters::list(state, value),
    });
    environment.add_filter("center", |state: &mut State, value: Value, width: Option<i64>| {
        let text = Value::from(super::python::text(state, &value)?);
        super::methods::call(state, &text, "center", &[Value::from(width.unwrap_or(80))])
    });
    environment.add_filter("wordcount", |text: &str| {
        let is_of_a_word = |c: char| c.is_alphanumeric() || c == '_';
        text.split(|c| !is_of_a_word(c))
            .filter(|word| !word.is_empty())
            .count()
    });
    environment.add_filter("striptags", contrib::striptags);
    environment.add_filter("forceescape", filters::escape);
    environment.add_test("callable", |value: &Value| {
        value.is_undefined() || value.kind() == ValueKind::Plain
    });
    environment.add_function("cycler", |items: Rest<Value>| globals::cycler(items.0));
    environment.add_function("joiner", globals::joiner);
}

/// Arguments by name, of those that are given by their places too.
fn by_name(names: &[&str], args: &[Value], named: &Kwargs) -> Result<Kwargs, Error> {
    let failed = |what: String| Error::new(ErrorKind::TooManyArguments, what);
    if args.len() > names.len() {
        return Err(failed(format!("{} arguments at most", names.len())));
    }
    let mut all: Vec<(String, Value)> = Vec::new();
    for (name, value) in names.iter().zip(args) {
        if named.has(name) {
            return Err(failed(format!("`{name}` is given twice")));
        }
        all.push(((*name).to_owned(), value.clone()));
    }
    for name in named.args() {
        all.push((name.to_owned(), named.get(name)?));
    }
    // None is what Jinja has for an argument that is not given.
    Ok(all.into_iter().filter(|(_, value)| !value.is_none()).collect())
}

/// Jinja's own: a last line end stays, and the width may be a text.
fn indent(state: &State, text: &str, args: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let named = by_name(&["width", "first", "blank"], &args, &named)?;
    let width: Option<Value> = named.get("width")?;
    let first = named.get::<Option<bool>>("first")?.unwrap_or(false);
    let blank = named.get::<Option<bool>>("blank")?.unwrap_or(false);
    named.assert_all_used()?;
    let width = width.unwrap_or_else(|| Value::from(4));
    let before = match (width.as_str(), width.as_usize()) {
        (Some(text), _) => text.to_owned(),
        (_, Some(count)) => {
            state.consume_fuel(count as u64 / 64)?;
            " ".repeat(count)
        }
        _ => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                "indent: a number or a text is wanted",
            ));
        }
    };
    let mut out = String::new();
    for (at, line) in text.split('\n').enumerate() {
        if at > 0 {
            out.push('\n');
        }
        if at == 0 && first || at > 0 && (blank || !line.is_empty()) {
            state.consume_fuel(1 + before.len() as u64 / 64)?;
            out.push_str(&before);
        }
        out.push_str(line);
    }
    Ok(out)
}

/// A text as Python's `int` and `float` read it: space around it, `_` between digits.
fn digits(text: &str) -> Option<String> {
    let text = text.trim();
    let between = |at: usize| {
        let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        is_digit(text[..at].chars().next_back()) && is_digit(text[at + 1..].chars().next())
    };
    let right = text.match_indices('_').all(|(at, _)| between(at));
    right.then(|| text.replace('_', ""))
}

/// `int(default=0, base=10)`: what cannot be read is the default.
fn int(state: &State, value: Value, args: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let named = by_name(&["default", "base"], &args, &named)?;
    let default: Option<Value> = named.get("default")?;
    let base = named.get::<Option<u32>>("base")?.unwrap_or(10);
    named.assert_all_used()?;
    let default = default.unwrap_or_else(|| Value::from(0));
    let value = match value.as_str() {
        Some(text) => match digits(text) {
            Some(text) => {
                let bare = match base {
                    16 => text.trim_start_matches("0x"),
                    8 => text.trim_start_matches("0o"),
                    2 => text.trim_start_matches("0b"),
                    _ => &text,
                };
                match (i128::from_str_radix(bare, base.clamp(2, 36)), bare.parse::<f64>()) {
                    (Ok(number), _) => return Ok(Value::from(number)),
                    (_, Ok(number)) if number.is_finite() => Value::from(number),
                    _ => return Ok(default),
                }
            }
            None => return Ok(default),
        },
        None => value,
    };
    if !(value.is_number() || value.kind() == ValueKind::Bool) {
        return Ok(default);
    }
    let none = Kwargs::from_iter([("base", Value::from(10))]);
    filters::int(state, &value, None, None, none).or(Ok(default))
}

/// `float(default=0.0)`: what cannot be read is the default.
fn float(value: Value, args: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let named = by_name(&["default"], &args, &named)?;
    let default: Option<Value> = named.get("default")?;
    named.assert_all_used()?;
    let number = match (value.as_str(), value.kind()) {
        (Some(text), _) => digits(text).and_then(|text| text.parse::<f64>().ok()),
        (_, ValueKind::Bool) => Some(f64::from(u8::from(value.is_true()))),
        (_, ValueKind::Number) => f64::try_from(value).ok(),
        _ => None,
    };
    Ok(number.map_or_else(|| default.unwrap_or_else(|| Value::from(0.0)), Value::from))
}
