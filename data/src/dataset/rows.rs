//! Rows of a file, whatever its format: field names with JSON values, and the line they begin on.

use super::error::DatasetError;
use super::unique::Unique;
use super::{Skipped, file};
use serde_json::{Map, Value};
use std::path::Path;

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The line it begins on, counted from 1; in a Parquet file the row's number.
    pub line: usize,
    /// Its fields. From a CSV file all are strings.
    pub fields: Map<String, Value>,
}

/// Reads a file, or its copy from the hub; its extension says how: `.jsonl`/`.ndjson` (one object a line), `.json` (an
/// array of objects, or objects one after another), `.csv` (with a header), each also with `.gz` behind it, and `.parquet`.
///
/// A row that is none, in a file that goes on behind it, is one to be left out or not.
pub fn read(path: &Path) -> Result<Vec<Result<Row, Skipped>>, DatasetError> {
    let path = &*file::local(path)?;
    let read = match file::format(path) {
        (extension, false) if extension == "parquet" => return parquet(path),
        (extension, _) => match extension.as_str() {
            "csv" => csv,
            "json" => json,
            "jsonl" | "ndjson" => jsonl,
            _ => {
                return Err(DatasetError::Extension {
                    path: path.to_owned(),
                });
            }
        },
    };
    read(path, &file::text(path)?)
}

/// As [`read`], of a split of a file of JSON that is `{"train": [ … ], "test": [ … ]}`; a row's line is its number in the split.
pub fn of_split(path: &Path, split: Option<&str>) -> Result<Vec<Result<Row, Skipped>>, DatasetError> {
    let rows = read(path)?;
    let Some(split) = split.filter(|_| !path.is_dir()) else {
        return Ok(rows);
    };
    let splits: Vec<&Row> = rows.iter().flatten().collect();
    let whole = match splits.as_slice() {
        [only] if only.fields.values().all(Value::is_array) => &only.fields,
        _ => {
            let what = format!(
                "split {split:?} is asked for, and this file has none; remove the key, or write {{\"{split}\": [ … ]}}"
            );
            return Err(bad(path, 1, what));
        }
    };
    let Some(Value::Array(items)) = whole.get(split) else {
        let known: Vec<&str> = whole.keys().map(String::as_str).collect();
        let what = format!("no split {split:?} in it; there are {}", known.join(" and "));
        return Err(bad(path, 1, what));
    };
    let rows = items.iter().enumerate();
    Ok(rows.map(|(at, item)| object(at + 1, item.clone())).collect())
}

/// The first row of a file that can be read, without the rest where its format has a row a line.
pub fn first(path: &Path) -> Result<Option<Row>, DatasetError> {
    if let ("jsonl" | "ndjson", false) = (file::format(path).0.as_str(), file::format(path).1)
        && !file::is_on_hub(path)
    {
        return Ok(file::first_lines(path)?.iter().find_map(|line| {
            let Unique(value) = serde_json::from_str(line).ok()?;
            object(1, value).ok()
        }));
    }
    Ok(read(path)?.into_iter().flatten().next())
}

#[cfg(feature = "parquet")]
fn parquet(path: &Path) -> Result<Vec<Result<Row, Skipped>>, DatasetError> {
    let rows = super::parquet::rows(path)?.into_iter().enumerate();
    Ok(rows
        .map(|(at, fields)| Ok(Row { line: at + 1, fields }))
        .collect())
}

#[cfg(not(feature = "parquet"))]
fn parquet(path: &Path) -> Result<Vec<Result<Row, Skipped>>, DatasetError> {
    Err(DatasetError::Feature {
        path: path.to_owned(),
        what: "a Parquet file",
        feature: "parquet",
        instead:
            "turn it into JSONL (pandas: `read_parquet(FILE).to_json(NEW, orient=\"records\", lines=True)`)"
                .into(),
    })
}

fn bad(path: &Path, line: usize, message: String) -> DatasetError {
    DatasetError::Row {
        path: path.to_owned(),
        line,
        message,
    }
}

fn object(line: usize, value: Value) -> Result<Row, Skipped> {
    match value {
        Value::Object(fields) => Ok(Row { line, fields }),
        _ => Err(Skipped {
            line,
            reason: "not a JSON object; each row is an object of named fields".to_owned(),
        }),
    }
}

fn jsonl(_: &Path, text: &str) -> Result<Vec<Result<Row, Skipped>>, DatasetError> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let row = |(at, line)| match serde_json::from_str(line) {
        Ok(Unique(value)) => object(at + 1, value),
        Err(error) => Err(Skipped {
            line: at + 1,
            reason: format!("not JSON: {error}; each line is one object"),
        }),
    };
    Ok(lines.map(row).collect())
}

/// An array of objects, read one by one so that each keeps its line; or objects one after another.
fn json(path: &Path, text: &str) -> Result<Vec<Result<Row, Skipped>>, DatasetError> {
    let mut at = 0;
    let (mut counted, mut line) = (0, 1);
    let mut line_at = |at: usize| {
        line += text[counted..at].matches('\n').count();
        counted = at;
        line
    };
    let skip = |at: usize| at + text[at..].len() - text[at..].trim_start().len();
    at = skip(at);
    let array = text[at..].starts_with('[');
    if array {
        at = skip(at + 1);
    }
    let mut rows = Vec::new();
    loop {
        if array && text[at..].starts_with(']') {
            return match text[at + 1..].trim() {
                "" => Ok(rows),
                _ => Err(bad(
                    path,
                    line_at(at),
                    "something follows the array's end".to_owned(),
                )),
            };
        }
        if text[at..].is_empty() {
            return match array {
                false => Ok(rows),
                true => Err(bad(
                    path,
                    line_at(at),
                    "the file ends inside its array".to_owned(),
                )),
            };
        }
        let start = line_at(at);
        let mut stream = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Unique>();
        let value = match stream.next() {
            Some(Ok(Unique(value))) => value,
            Some(Err(error)) => {
                let message =
                    format!("the row that begins here is not JSON: {error} (lines counted from here)");
                return Err(bad(path, start, message));
            }
            None => return Ok(rows),
        };
        rows.push(object(start, value));
        at = skip(at + stream.byte_offset());
        if array && text[at..].starts_with(',') {
            at = skip(at + 1);
        } else if array && !text[at..].is_empty() && !text[at..].starts_with(']') {
            return Err(bad(
                path,
                line_at(at),
                "a comma or ] is missing between rows".to_owned(),
            ));
        }
    }
}

fn csv(path: &Path, text: &str) -> Result<Vec<Result<Row, Skipped>>, DatasetError> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let line_of = |error: &csv::Error| error.position().map_or(1, |position| position.line() as usize);
    let header = reader
        .headers()
        .map_err(|error| bad(path, line_of(&error), format!("not CSV: {error}")))?;
    let header: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
    for (at, name) in header.iter().enumerate() {
        if let Some(first) = header[..at].iter().position(|other| other == name) {
            let (first, at) = (first + 1, at + 1);
            let message = format!("columns {first} and {at} are both called `{name}`; rename or remove one");
            return Err(bad(path, 1, message));
        }
    }
    let row = |record: Result<csv::StringRecord, csv::Error>| {
        let record = record.map_err(|error| Skipped {
            line: line_of(&error),
            reason: format!("not CSV: {error}"),
        })?;
        let values = record.iter().map(Value::from);
        Ok(Row {
            line: record.position().map_or(1, |position| position.line() as usize),
            fields: header.iter().cloned().zip(values).collect(),
        })
    };
    Ok(reader.records().map(row).collect())
}
