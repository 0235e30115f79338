//! Prompts of messages, as TRL and verl write them: the question is what the user says last, and the rest stands around it.

use super::field::{absent, find};
use super::rows::Row;
use crate::Message;
use crate::problem::Turns;
use serde_json::{Map, Value};

/// Who may speak.
const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

/// What a row's prompt is, where it is a list of messages: the question, and what stands around it.
pub(super) fn of_messages(row: &Row, field: &str) -> Result<Option<(String, Turns)>, String> {
    let Some((name, value)) = find(row, field) else {
        return absent(row, field).map_or(Ok(None), Err);
    };
    let parsed;
    let items = match value {
        Value::Array(items) => items,
        // A cell of CSV holds text only.
        Value::String(text) if text.trim_start().starts_with("[{") => match serde_json::from_str(text) {
            Ok(Value::Array(items)) if items.iter().all(|item| item.get("role").is_some()) => {
                parsed = items;
                &parsed
            }
            _ if text.contains("'role':") && text.contains("'content':") => {
                return Err(format!(
                    "`{name}` looks like messages as Python prints them; write them as JSON (json.dumps) or keep the rows in JSONL"
                ));
            }
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let messages = items
        .iter()
        .enumerate()
        .map(|(at, item)| message(item).map_err(|what| format!("`{name}.{at}`: {what}")))
        .collect::<Result<Vec<Message>, String>>()?;
    around(messages)
        .map(Some)
        .map_err(|what| format!("`{name}`: {what}"))
}

/// One message, with whatever else it says beside its role and its content.
fn message(item: &Value) -> Result<Message, String> {
    let Some(fields) = item.as_object() else {
        return Err(
            "it is no message; a prompt is text, or a list of messages with `role` and `content`".into(),
        );
    };
    let Some(role) = fields.get("role").and_then(Value::as_str) else {
        let hint = match fields.contains_key("from") && fields.contains_key("value") {
            true => " (`from` and `value` are `role` and `content` there)",
            false => "",
        };
        return Err(format!(
            "it has no `role`; a message has `role` and `content`{hint}"
        ));
    };
    if !ROLES.contains(&role) {
        return Err(format!(
            "nobody is called {role:?}; a role is one of {}",
            ROLES.join(", ")
        ));
    }
    let content = match fields.get("content") {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Array(parts)) => parts.iter().map(|part| part["text"].as_str()).collect(),
        _ => None,
    };
    let content = content.ok_or("its `content` is not text alone; this program trains on text only")?;
    // Parquet gives every message the fields of all.
    let said = |value: &Value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        _ => true,
    };
    let more = fields
        .iter()
        .filter(|(name, value)| !["role", "content"].contains(&name.as_str()) && said(value));
    Ok(Message {
        more: more.map(|(name, value)| (name.clone(), value.clone())).collect(),
        ..Message::new(role, content)
    })
}

/// Messages by their places: what stands before the question, the question, and how its answer begins.
fn around(mut messages: Vec<Message>) -> Result<(String, Turns), String> {
    let begun = match messages.last() {
        Some(last) if last.role == "assistant" => {
            let last = messages.pop().expect("there is one");
            if !last.more.is_empty() {
                let names: Vec<&str> = last.more.keys().map(String::as_str).collect();
                return Err(format!(
                    "its last message, which the model is to go on with, has `{}`; it may have `content` only",
                    names.join("`, `")
                ));
            }
            Some(last.content).filter(|content| !content.is_empty())
        }
        _ => None,
    };
    let roles: Vec<&str> = messages.iter().map(|message| message.role.as_str()).collect();
    let question = match messages.last() {
        None => return Err("there is no message in it".into()),
        Some(last) if last.role != "user" => {
            return Err(format!(
                "it ends with the {} ({}); a prompt ends with what the user says, and behind that at most with what the \
                 assistant has begun to say",
                last.role,
                roles.join(", ")
            ));
        }
        Some(last) if !last.more.is_empty() => {
            let names: Vec<&str> = last.more.keys().map(String::as_str).collect();
            return Err(format!(
                "the question, its last message, has `{}` beside its content; it may have `content` only",
                names.join("`, `")
            ));
        }
        Some(last) => last.content.clone(),
    };
    messages.pop();
    let turns = Turns {
        are_given: true,
        before: messages,
        begun,
        ..Turns::default()
    };
    Ok((question, turns))
}

/// What the columns `system` and `chat_template_kwargs` say, put to what the prompt says.
///
/// # Errors
/// They are of another kind, or say it twice.
pub(super) fn add_columns(row: &Row, turns: &mut Turns) -> Result<(), String> {
    match row.fields.get("system") {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) if text.is_empty() => {}
        Some(Value::String(_)) if turns.has_system() => {
            return Err(
                "both `system` and the messages say what the system says; leave one of them out".into(),
            );
        }
        Some(Value::String(text)) => turns.before.insert(0, Message::new("system", text)),
        Some(_) => {
            return Err("`system` is not text; it is what the system says, or rename the column".into());
        }
    }
    turns.chat_template_kwargs = arguments(row)?;
    let asks_for_tools = match row.fields.get("tools") {
        None | Some(Value::Null) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::String(text)) => !["", "[]", "null"].contains(&text.trim()),
        Some(_) => true,
    };
    match asks_for_tools && turns.are_given {
        true => Err("`tools` names tools, and this program calls none; drop the column, or the row".into()),
        false => Ok(()),
    }
}

/// The arguments that a row has for the chat template, by name.
fn arguments(row: &Row) -> Result<Map<String, Value>, String> {
    let column = "chat_template_kwargs";
    let value = match row.fields.get(column) {
        None | Some(Value::Null) => return Ok(Map::new()),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(Map::new()),
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or(Value::Null),
        Some(other) => other.clone(),
    };
    let Value::Object(mut arguments) = value else {
        return Err(format!(
            "`{column}` is no object of arguments, {{\"enable_thinking\": false}}; correct it, or rename the column"
        ));
    };
    // Parquet gives every row the arguments of all.
    arguments.retain(|_, value| !value.is_null());
    Ok(arguments)
}

#[cfg(test)]
mod tests;
