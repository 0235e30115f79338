//! Rows of a file, whatever its format: field names with JSON values, and the line they begin on.

use super::error::DatasetError;
use super::file;
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
pub fn read(path: &Path) -> Result<Vec<Row>, DatasetError> {
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

#[cfg(feature = "parquet")]
fn parquet(path: &Path) -> Result<Vec<Row>, DatasetError> {
    let rows = super::parquet::rows(path)?.into_iter().enumerate();
    Ok(rows.map(|(at, fields)| Row { line: at + 1, fields }).collect())
}

#[cfg(not(feature = "parquet"))]
fn parquet(path: &Path) -> Result<Vec<Row>, DatasetError> {
    Err(DatasetError::Feature {
        path: path.to_owned(),
        what: "a Parquet file",
        feature: "parquet",
        instead: "turn it into JSONL",
    })
}

fn bad(path: &Path, line: usize, message: String) -> DatasetError {
    DatasetError::Row {
        path: path.to_owned(),
        line,
        message,
    }
}

fn object(path: &Path, line: usize, value: Value) -> Result<Row, DatasetError> {
    match value {
        Value::Object(fields) => Ok(Row { line, fields }),
        _ => Err(bad(
            path,
            line,
            "not a JSON object; each row is an object of named fields".to_owned(),
        )),
    }
}

fn jsonl(path: &Path, text: &str) -> Result<Vec<Row>, DatasetError> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            let value = serde_json::from_str(line).map_err(|error| {
                bad(
                    path,
                    at + 1,
                    format!("not JSON: {error}; each line is one object"),
                )
            })?;
            object(path, at + 1, value)
        })
        .collect()
}

/// An array of objects, read one by one so that each keeps its line; or objects one after another.
fn json(path: &Path, text: &str) -> Result<Vec<Row>, DatasetError> {
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
        let mut stream = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        let value = match stream.next() {
            Some(Ok(value)) => value,
            Some(Err(error)) => {
                let message =
                    format!("the row that begins here is not JSON: {error} (lines counted from here)");
                return Err(bad(path, start, message));
            }
            None => return Ok(rows),
        };
        rows.push(object(path, start, value)?);
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

fn csv(path: &Path, text: &str) -> Result<Vec<Row>, DatasetError> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let failed = |error: csv::Error| {
        let line = error.position().map_or(1, |position| position.line() as usize);
        bad(path, line, format!("not CSV: {error}"))
    };
    let header: Vec<String> = reader
        .headers()
        .map_err(failed)?
        .iter()
        .map(|name| name.trim().to_owned())
        .collect();
    reader
        .records()
        .map(|record| {
            let record = record.map_err(failed)?;
            let line = record.position().map_or(1, |position| position.line() as usize);
            let values = record.iter().map(Value::from);
            Ok(Row {
                line,
                fields: header.iter().cloned().zip(values).collect(),
            })
        })
        .collect()
}
