//! `--set key=value`: a value in a table of sections, by its dotted path.

use toml::{Table, Value};

use crate::section::ConfigError;

/// Puts one `key=value` into the table; returns the key.
pub(super) fn apply(set: &str, values: &mut Table) -> Result<String, ConfigError> {
    let place = format!("--set {set}");
    let Some((path, text)) = set.split_once('=') else {
        return Err(ConfigError::new("a set is `key=value`")
            .in_place(&place)
            .help("for example `--set train.max_steps=10`"));
    };
    let path = path.trim();
    let keys: Vec<&str> = path.split('.').collect();
    let Some((last, sections)) = keys
        .split_last()
        .filter(|_| keys.iter().all(|key| !key.is_empty()))
    else {
        return Err(ConfigError::new("the key is empty or has an empty part")
            .in_place(&place)
            .help("for example `--set train.max_steps=10`"));
    };
    let wrong = |error: ConfigError| error.under(path).in_place(&place);
    let Some((first, sections)) = sections.split_first() else {
        values.insert((*last).to_owned(), value(text.trim()));
        return Ok(path.to_owned());
    };
    // What a section that is not there yet becomes: a list, if an entry's number follows.
    let empty = |next: &str| match next.parse::<usize>() {
        Ok(_) => Value::Array(Vec::new()),
        Err(_) => Value::Table(Table::new()),
    };
    let mut at = values.entry(*first).or_insert_with(|| empty(keys[1]));
    let mut name = *first;
    for (key, next) in sections.iter().zip(&keys[2..]) {
        at = slot(at, key, name, || empty(next)).map_err(wrong)?;
        name = key;
    }
    *slot(at, last, name, || Value::Boolean(false)).map_err(wrong)? = value(text.trim());
    Ok(path.to_owned())
}

/// The value of `key` in what is called `name`: a section's key, or a list's entry by its number; `new` if it is the next.
fn slot<'a>(
    at: &'a mut Value,
    key: &str,
    name: &str,
    new: impl FnOnce() -> Value,
) -> Result<&'a mut Value, ConfigError> {
    match at {
        Value::Table(table) => Ok(table.entry(key).or_insert_with(new)),
        Value::Array(list) => {
            let count = list.len();
            let Some(number) = key.parse().ok().filter(|&number: &usize| number <= count) else {
                let help = match count {
                    0 => format!("begin with `{name}.0`"),
                    _ => format!(
                        "name one of `{name}.0` to `{name}.{}`, the last of which is new",
                        count
                    ),
                };
                return Err(
                    ConfigError::new(format!("`{name}` is a list, whose entries have numbers")).help(help),
                );
            };
            if number == count {
                list.push(new());
            }
            Ok(&mut list[number])
        }
        _ => Err(ConfigError::new(format!("`{name}` is a value, it holds no keys"))),
    }
}

/// A value as TOML, or else the text itself.
fn value(text: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("value = {text}")).ok();
    match parsed
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"))
    {
        // No key takes a date; a name that looks like one is a name.
        Some(Value::Datetime(_)) | None => Value::String(text.to_owned()),
        Some(value) => value,
    }
}

/// Dotted paths of all values, each with its value as TOML writes it.
pub(super) fn values(table: &Table) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(table) => {
                let below = values(table).into_iter();
                found.extend(below.map(|(path, value)| (format!("{key}.{path}"), value)));
            }
            // 1e-6 and not 0.000001
            Value::Float(number) => found.push((key.clone(), format!("{number:?}"))),
            value => found.push((key.clone(), value.to_string())),
        }
    }
    found
}

/// Dotted paths of the values that are not the same in both tables.
pub(super) fn differences(a: &Table, b: &Table) -> Vec<String> {
    let only_b = b.keys().filter(|key| !a.contains_key(*key));
    let mut paths = Vec::new();
    for key in a.keys().chain(only_b) {
        match (a.get(key), b.get(key)) {
            (Some(Value::Table(a)), Some(Value::Table(b))) => {
                paths.extend(differences(a, b).into_iter().map(|path| format!("{key}.{path}")));
            }
            (a, b) if a != b => paths.push(key.clone()),
            _ => {}
        }
    }
    paths
}
