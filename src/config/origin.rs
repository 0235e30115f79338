//! From text to values, and from a field back to the line or `--set` that gave it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::{Config, ConfigError};

/// Where each value of a config was given.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin {
    /// The file's name in messages.
    name: String,
    /// Line of each key in the file, by its dotted path.
    lines: BTreeMap<String, usize>,
    /// The sets, by their dotted path, as they were typed; the last one of a path counts.
    sets: BTreeMap<String, String>,
}

/// Two configs are the same run wherever their values were given.
impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Origin {
    /// The file's name without directories and extension.
    pub(super) fn stem(&self) -> String {
        let stem = Path::new(&self.name)
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        stem.filter(|stem| !stem.is_empty())
            .unwrap_or_else(|| "run".into())
    }

    /// Adds to an error about `field` where it was given. A field that was not given is looked for in its section's line.
    pub(super) fn blame(&self, field: &str, error: ConfigError) -> ConfigError {
        let mut path = field;
        loop {
            let below = format!("{path}.");
            if let Some(set) = self.sets.get(path).or_else(|| {
                self.sets
                    .iter()
                    .find(|(key, _)| key.starts_with(&below))
                    .map(|(_, set)| set)
            }) {
                return error.in_file(&format!("--set {set}")).about(field);
            }
            if let Some(&line) = self.lines.get(path) {
                return error.in_file(&self.name).on_line(Some(line)).about(field);
            }
            match path.rsplit_once('.') {
                Some((parent, _)) => path = parent,
                None => return error.in_file(&self.name).about(field),
            }
        }
    }
}

/// Reads a file's text and applies the sets, in order.
pub(super) fn read(text: &str, name: &str, sets: &[String]) -> Result<(Config, Origin), ConfigError> {
    let table = DeTable::parse(text)
        .map_err(|e| syntax(text, name, &e))?
        .into_inner();
    let mut spans = Vec::new();
    collect(&table, "", &mut spans);
    let mut config: Config = toml::from_str(text).map_err(|e| wrong(text, name, &e, &spans))?;

    let lines = spans
        .iter()
        .map(|(path, key, _)| (path.clone(), line_of(text, key.start)))
        .collect();
    let mut origin = Origin {
        name: name.to_owned(),
        lines,
        sets: BTreeMap::new(),
    };
    let mut values: Table = toml::from_str(text).map_err(|e| syntax(text, name, &e))?;
    for set in sets {
        let path = apply(set, &mut values)?;
        config = Config::deserialize(Value::Table(values.clone())).map_err(|e| {
            let (field, what, help) = explain(e.message(), &path);
            let error = ConfigError::new(what)
                .in_file(&format!("--set {set}"))
                .about(field);
            if let Some(help) = help {
                error.help(help)
            } else {
                error
            }
        })?;
        origin.sets.insert(path, set.clone());
    }
    Ok((config, origin))
}

/// Puts one `key=value` into the table; returns the key.
fn apply(set: &str, values: &mut Table) -> Result<String, ConfigError> {
    let place = format!("--set {set}");
    let Some((path, text)) = set.split_once('=') else {
        return Err(ConfigError::new("a set is `key=value`")
            .in_file(&place)
            .help("for example `--set train.max_steps=10`"));
    };
    let path = path.trim();
    let keys: Vec<&str> = path.split('.').collect();
    let Some((last, sections)) = keys
        .split_last()
        .filter(|_| keys.iter().all(|key| !key.is_empty()))
    else {
        return Err(ConfigError::new("the key is empty or has an empty part")
            .in_file(&place)
            .help("for example `--set train.max_steps=10`"));
    };
    let wrong = |error: ConfigError| error.in_file(&place).about(path);
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

type Span = std::ops::Range<usize>;

/// Dotted path, span of the key and span of the value of everything in a table.
fn collect(table: &DeTable<'_>, prefix: &str, spans: &mut Vec<(String, Span, Span)>) {
    for (key, value) in table {
        let path = match prefix {
            "" => key.get_ref().to_string(),
            _ => format!("{prefix}.{}", key.get_ref()),
        };
        spans.push((path.clone(), key.span(), value.span()));
        match value.get_ref() {
            DeValue::Table(inner) => collect(inner, &path, spans),
            DeValue::Array(list) => {
                for (number, entry) in list.iter().enumerate() {
                    let path = format!("{path}.{number}");
                    spans.push((path.clone(), entry.span(), entry.span()));
                    if let DeValue::Table(inner) = entry.get_ref() {
                        collect(inner, &path, spans);
                    }
                }
            }
            _ => {}
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())]
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count()
}

fn syntax(text: &str, name: &str, error: &toml::de::Error) -> ConfigError {
    let line = error.span().map(|span| line_of(text, span.start));
    ConfigError::new(format!("this is no TOML: {}", error.message()))
        .in_file(name)
        .on_line(line)
        .help("write `key = value` lines under `[section]` headers, strings in double quotes")
}

/// An error of a file that is TOML but not a config.
fn wrong(text: &str, name: &str, error: &toml::de::Error, spans: &[(String, Span, Span)]) -> ConfigError {
    let span = error.span().unwrap_or(0..0);
    // The innermost key or value that holds the place of the error.
    let path = spans
        .iter()
        .filter(|(_, key, value)| {
            [key, value]
                .iter()
                .any(|s| s.start <= span.start && span.end <= s.end)
        })
        .min_by_key(|(path, key, value)| {
            let held_by_key = key.start <= span.start && span.end <= key.end;
            (
                if held_by_key { key.len() } else { value.len() },
                std::cmp::Reverse(path.len()),
            )
        })
        .map_or("", |(path, _, _)| path);
    let (field, what, help) = explain(error.message(), path);
    let error = ConfigError::new(what)
        .in_file(name)
        .on_line(Some(line_of(text, span.start)))
        .about(field);
    if let Some(help) = help {
        error.help(help)
    } else {
        error
    }
}

/// Turns serde's message about `path` into a field, what is wrong and what to do.
fn explain(message: &str, path: &str) -> (String, String, Option<String>) {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    if message.starts_with("unknown field") {
        let (key, known) = quoted.split_first().expect("serde names the unknown field");
        // A set may have put the unknown key anywhere along its path.
        let section = path
            .split('.')
            .scan(String::new(), |sofar, part| {
                let before = sofar.clone();
                sofar.push_str(part);
                sofar.push('.');
                Some((part == *key, before))
            })
            .find_map(|(found, before)| found.then_some(before))
            .unwrap_or_default();
        let help = match nearest(key, known) {
            Some(name) => format!("did you mean `{section}{name}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        return (format!("{section}{key}"), "no such key".into(), Some(help));
    }
    if message.starts_with("missing field") {
        let key = quoted.first().copied().unwrap_or_default();
        // The path is that of the section, or of another key in it.
        let entry: Vec<&str> = path.split('.').take(2).collect();
        return (
            format!("{}.{key}", entry.join(".")),
            "it must be given".into(),
            Some(format!("add `{key} = …`")),
        );
    }
    if message.starts_with("unknown variant") {
        let (word, known) = quoted.split_first().expect("serde names the unknown word");
        let all = known
            .iter()
            .map(|name| format!("\"{name}\""))
            .collect::<Vec<_>>()
            .join(", ");
        let help = match nearest(word, known) {
            Some(name) if known.len() > 1 => format!("did you mean \"{name}\"? It takes {all}"),
            _ => format!("it takes {all}"),
        };
        return (
            path.into(),
            format!("\"{word}\" is not one of its values"),
            Some(help),
        );
    }
    if let Some(types) = message.strip_prefix("invalid type: ")
        && let Some((found, expected)) = types.split_once(", expected ")
    {
        if found == "map" && (path == "reward" || path.starts_with("reward.")) {
            return (
                "reward".into(),
                "rewards are a list".into(),
                Some(
                    "write `[[reward]]` and below it `name = \"accuracy\"` or another; how answers are checked is in [grader]"
                        .into(),
                ),
            );
        }
        let expected = match expected {
            "usize" | "u64" => "a whole number, 0 or more",
            "a sequence" => "a list in [ ]",
            "f64" => "a number",
            "a boolean" => "true or false",
            "a string" | "string or table" => "a string",
            other if other.starts_with("struct") => "a section of keys",
            other => other,
        };
        return (
            path.into(),
            format!("wrong type: {found}"),
            Some(format!("give {expected}")),
        );
    }
    if let Some(values) = message.strip_prefix("invalid value: ")
        && let Some((found, expected)) = values.split_once(", expected ")
    {
        let expected = match expected {
            "usize" | "u64" => "a whole number, 0 or more",
            other => other,
        };
        return (
            path.into(),
            format!("impossible value: {found}"),
            Some(format!("give {expected}")),
        );
    }
    (path.into(), message.into(), None)
}

/// The known name that is most like what was typed, if one is.
fn nearest<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    let best = known
        .iter()
        .map(|name| (strsim::jaro_winkler(typed, name), *name))
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.7).then_some(best.1)
}
