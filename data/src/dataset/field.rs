//! The fields of a row by their names: alternatives, names with dots, and texts.

use super::rows::Row;
use crate::nearest;
use serde_json::Value;

/// The first of a field's alternatives that the row has, not null.
pub(super) fn find<'a>(row: &'a Row, field: &'a str) -> Option<(&'a str, &'a Value)> {
    let names = field.trim_end_matches('?').split('|');
    let mut found = names.filter_map(|name| Some((name, look(row, name)?)));
    found.find(|(_, value)| !value.is_null())
}

/// A field by its name, or by a path of names and places in lists with dots between.
fn look<'a>(row: &'a Row, name: &str) -> Option<&'a Value> {
    if let Some(value) = row.fields.get(name) {
        return Some(value);
    }
    let mut parts = name.split('.');
    let first = row.fields.get(parts.next()?)?;
    parts.try_fold(first, |value, part| match value {
        Value::Object(fields) => fields.get(part),
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The text of a field; `None` where it is empty, or absent and may be.
pub(super) fn text(row: &Row, field: &str) -> Result<Option<String>, String> {
    let Some((name, value)) = find(row, field) else {
        return absent(row, field).map_or(Ok(None), Err);
    };
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => {
            // Beyond this a JSON number has gone through floating point and may not be what was written.
            if number.is_f64()
                && number
                    .as_f64()
                    .is_some_and(|x| x.abs() >= 9_007_199_254_740_992.0)
            {
                return Err(format!(
                    "`{name}` = {number} is too large for a JSON number; write it as a string"
                ));
            }
            number.to_string()
        }
        Value::Array(_) | Value::Object(_) | Value::Bool(_) | Value::Null => {
            let shown: String = value.to_string().chars().take(80).collect();
            return Err(format!(
                "`{name}` is {shown}, not text or a number; name another field, or what is in it (`{name}.NAME`)"
            ));
        }
    };
    Ok((!text.is_empty()).then_some(text))
}

/// What is wrong with a row that has none of a field's alternatives; nothing if it need not have one.
pub(super) fn absent(row: &Row, field: &str) -> Option<String> {
    if field.ends_with('?') {
        return None;
    }
    let names: Vec<&str> = field.split('|').collect();
    if let Some(name) = names.iter().find(|name| look(row, name).is_some()) {
        return Some(format!("`{name}` is null; give it a value or drop the row"));
    }
    let has: Vec<&str> = row.fields.keys().map(String::as_str).collect();
    let hint = nearest(names[0], has.iter().copied())
        .map_or_else(String::new, |nearest| format!(" (nearest: `{nearest}`)"));
    Some(format!(
        "no field `{}`; the row has {}{hint}; choose another preset or name the field in one",
        names.join("` or `"),
        has.join(", ")
    ))
}

/// The text of a field that a preset may not have.
pub(super) fn optional(row: &Row, field: Option<&str>) -> Result<Option<String>, String> {
    field.map_or(Ok(None), |field| text(row, field))
}

/// A worked solution; of a list of them the first.
pub(super) fn solution_text(row: &Row, field: Option<&str>) -> Result<Option<String>, String> {
    match field.and_then(|field| find(row, field)) {
        Some((_, Value::Array(all))) if all.iter().all(Value::is_string) => Ok(all
            .first()
            .and_then(Value::as_str)
            .map(|text| text.trim().to_owned())),
        _ => optional(row, field),
    }
}
