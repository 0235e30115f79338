//! The keys of the config say their default and its source, and say it truly.

use std::collections::BTreeSet;
use std::fs;

use super::report;
use super::source::root;

/// Where the keys are declared.
const SCHEMA: &str = "src/config/schema.rs";

/// The fields of the config's structs: name and doc comment.
fn config_fields() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join(SCHEMA)).unwrap();
    let mut fields = Vec::new();
    let mut section = None;
    let mut doc = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("pub struct ") {
            section = Some(name.trim_end_matches(" {").to_owned());
        } else if line.starts_with('}') {
            section = None;
        }
        match (line.trim().strip_prefix("///"), &section) {
            (Some(more), _) => doc.push_str(more),
            (None, Some(section)) if line.starts_with("    pub ") => {
                let name = line.trim().trim_start_matches("pub ").split(':').next().unwrap();
                fields.push((format!("{section}.{name}"), std::mem::take(&mut doc)));
            }
            (None, _) => doc.clear(),
        }
    }
    fields
}

#[test]
fn every_config_field_has_its_default_and_its_source() {
    let fields = config_fields();
    assert!(
        fields.len() > 60,
        "only {} fields found: has the file's form changed?",
        fields.len()
    );
    let broken: Vec<String> = fields
        .iter()
        .filter(|(_, doc)| !(doc.contains("Default:") && doc.contains("Source:")))
        .map(|(field, doc)| format!("{field}:{doc}"))
        .collect();
    report(
        "a config field says its default and where that comes from",
        &broken,
    );
}

/// Values that a comment states are the values that are used.
#[test]
fn documented_defaults_are_the_defaults() {
    let fields = config_fields();
    let config = gcpo::config::Config::default();
    let text = config.to_toml();
    let mut checked = BTreeSet::new();
    let mut broken = Vec::new();
    for (field, doc) in &fields {
        let (section, name) = field.split_once('.').unwrap();
        let Some(stated) = doc
            .split("Default: ")
            .nth(1)
            .and_then(|rest| rest.split(". Source").next())
        else {
            continue;
        };
        let stated = stated.trim().trim_matches('`');
        let Some(actual) = value_of(&text, section, name) else {
            continue;
        };
        checked.insert(field.clone());
        let same = match (stated.parse::<f64>(), actual.parse::<f64>()) {
            (Ok(stated), Ok(actual)) => stated == actual,
            _ => stated == actual,
        };
        if !same {
            broken.push(format!(
                "{field}: the comment says {stated}, the program {actual}"
            ));
        }
    }
    assert!(
        checked.len() > 40,
        "only {} defaults were compared",
        checked.len()
    );
    report("a documented default is the default", &broken);
}

/// The text of `name = value` under `[section]`, sections in lower case.
fn value_of(text: &str, section: &str, name: &str) -> Option<String> {
    let header = match section {
        "Source" => "[data]".to_owned(),
        other => format!("[{}]", other.to_lowercase()),
    };
    let body = text.split(&header).nth(1)?.split("\n[").next()?;
    let line = body.lines().find(|line| line.split(" = ").next() == Some(name))?;
    Some(line.split_once(" = ")?.1.to_owned())
}
