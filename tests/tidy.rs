//! Laws of the repository, as tests. A law that is broken is named with its file and line.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `src/`, in the order of the flow: each uses only rooms before it.
const FLOW: [&str; 25] = [
    "config",
    "parallel",
    "stop",
    "metrics",
    "report",
    "rundir",
    "rollout",
    "source",
    "reward",
    "projection",
    "objective",
    "batch",
    "policy",
    "open",
    "eval",
    "schedule",
    "optim",
    "session",
    "drive",
    "sft",
    "train",
    "bench",
    "check",
    "cli",
    "main",
];

/// Crates that a room must not know, whatever the flow says.
const UNKNOWN: [(&str, &[&str]); 7] = [
    ("config", &["burn"]),
    ("metrics", &["burn", "gcpo_model", "gcpo_data"]),
    ("report", &["burn", "gcpo_model", "gcpo_data"]),
    ("rundir", &["burn", "gcpo_model", "gcpo_data"]),
    ("objective", &["gcpo_data"]),
    ("schedule", &["burn", "gcpo_model", "gcpo_data"]),
    ("reward", &["burn", "gcpo_model"]),
];

/// Files outgrow this only with a reason at their head: a comment that holds the word "Long:".
const LINES: usize = 520;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a directory, by its path from the root, with its text.
fn files(dir: &str) -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(dir), &mut found);
    found.sort();
    assert!(!found.is_empty(), "no Rust file in {dir}");
    let name = |path: &Path| {
        path.strip_prefix(root())
            .unwrap()
            .to_string_lossy()
            .replace('\\', "/")
    };
    found
        .iter()
        .map(|path| (name(path), fs::read_to_string(path).unwrap()))
        .collect()
}

/// All Rust files of the workspace.
fn all_files() -> Vec<(String, String)> {
    ["src", "model", "data", "tests"]
        .into_iter()
        .flat_map(files)
        .collect()
}

/// Tests may use what they like.
fn is_test(name: &str) -> bool {
    name.contains("/tests/")
        || name.starts_with("tests/")
        || name.ends_with("tests.rs")
        || name.ends_with("testing.rs")
}

/// The lines of a file that are program: neither comments nor the tests at its end.
fn program(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut ended = false;
    let lines = text.lines().enumerate().filter(move |(_, line)| {
        ended |= line.starts_with("#[cfg(test)]") || line.starts_with("mod tests {");
        !ended && !line.trim_start().starts_with("//")
    });
    lines.map(|(number, line)| (number + 1, line))
}

/// The room of a file in `src/`; `lib.rs` is none.
fn room(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("src/")?;
    let room = rest.split('/').next()?.trim_end_matches(".rs");
    (room != "lib").then_some(room)
}

/// What stands after each `prefix` in a line, up to the end of the word.
fn words_after<'a>(line: &'a str, prefix: &str) -> Vec<&'a str> {
    let mut words = Vec::new();
    for (at, _) in line.match_indices(prefix) {
        let rest = &line[at + prefix.len()..];
        words.push(
            rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap_or_default(),
        );
    }
    words
}

/// The rooms that a line names, also in `use crate::{a, b::c}` on one line.
fn rooms_named(line: &str) -> Vec<&str> {
    let mut rooms = words_after(line, "crate::");
    if let Some((_, list)) = line.split_once("crate::{") {
        rooms.extend(list.split(',').filter_map(|item| {
            item.trim()
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
        }));
    }
    rooms.retain(|room| !room.is_empty());
    rooms
}

fn report(law: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{law}:\n  {}", broken.join("\n  "));
}

#[test]
fn rooms_use_only_rooms_before_them() {
    let place = |room: &str| FLOW.iter().position(|known| *known == room);
    let mut broken = Vec::new();
    for (name, text) in files("src") {
        let Some(room) = room(&name).filter(|_| !is_test(&name)) else {
            continue;
        };
        let Some(own) = place(room) else {
            broken.push(format!(
                "{name}: `{room}` has no place in the flow; give it one in tests/tidy.rs"
            ));
            continue;
        };
        for (number, line) in program(&text) {
            for other in rooms_named(line) {
                if place(other).is_some_and(|other| other > own) {
                    broken.push(format!("{name}:{number}: {room} uses {other}"));
                }
            }
        }
    }
    report("a room uses only rooms before it in the flow", &broken);
}

#[test]
fn some_rooms_do_not_know_some_crates() {
    let mut broken = Vec::new();
    for (name, text) in files("src") {
        let Some(room) = room(&name).filter(|_| !is_test(&name)) else {
            continue;
        };
        let unknown = UNKNOWN
            .iter()
            .filter(|(of, _)| *of == room)
            .flat_map(|(_, crates)| *crates);
        for krate in unknown {
            let path = format!("{krate}::");
            broken.extend(
                program(&text)
                    .filter(|(_, line)| line.contains(&path))
                    .map(|(number, _)| format!("{name}:{number}: {room} knows {krate}")),
            );
        }
    }
    report(
        "metrics does not know autodiff, objective does not know text, and so on",
        &broken,
    );
}

#[test]
fn the_data_crate_has_no_tensors_and_the_model_crate_no_text() {
    let mut broken = Vec::new();
    for (dir, unknown) in [
        ("data", "burn"),
        ("data", "gcpo_model"),
        ("model", "gcpo_data"),
        ("model", "tokenizers"),
    ] {
        for (name, text) in files(dir) {
            let path = format!("{unknown}::");
            broken.extend(
                program(&text)
                    .filter(|(_, line)| line.contains(&path))
                    .map(|(number, _)| format!("{name}:{number}: {unknown}")),
            );
        }
    }
    report("data is text and model is networks", &broken);
}

#[test]
fn only_device_names_a_backend() {
    const BACKENDS: [&str; 8] = [
        "flex", "cuda", "wgpu", "vulkan", "metal", "ndarray", "libtorch", "rocm",
    ];
    let mut broken = Vec::new();
    for (name, text) in all_files() {
        // The data crate has no backends, only features of its own.
        if name.starts_with("model/src/device/") || name.starts_with("data/") || is_test(&name) {
            continue;
        }
        for (number, line) in program(&text) {
            let named = words_after(line, "Device::")
                .into_iter()
                .any(|word| BACKENDS.contains(&word));
            if named
                || ["DeviceType", "DeviceKind", "feature = \""]
                    .iter()
                    .any(|word| line.contains(word))
            {
                broken.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    report("only model/src/device names a backend", &broken);
}

#[test]
fn no_file_outgrows_its_reader() {
    let mut broken = Vec::new();
    for (name, text) in all_files() {
        let lines = text.lines().count();
        let head = text.lines().take_while(|line| line.starts_with("//!"));
        if lines > LINES && !head.into_iter().any(|line| line.contains("Long:")) {
            broken.push(format!(
                "{name}: {lines} lines; split it, or say why it is one file: `//! Long: …` at its head"
            ));
        }
    }
    report("a file is at most about 500 lines long", &broken);
}

#[test]
fn every_file_says_what_it_is_and_none_is_a_drawer() {
    let mut broken = Vec::new();
    for (name, text) in all_files() {
        if !text.starts_with("//!") && !is_test(&name) {
            broken.push(format!("{name}: begins without `//!`"));
        }
        let stem = Path::new(&name)
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        if ["util", "utils", "helpers", "misc", "common"].contains(&stem.as_str()) {
            broken.push(format!("{name}: name it after what is in it"));
        }
    }
    report(
        "a file says at its head what it is, and is named after it",
        &broken,
    );
}

#[test]
fn the_program_leaves_no_stub() {
    let mut broken = Vec::new();
    for (name, text) in all_files()
        .into_iter()
        .filter(|(name, _)| name != "tests/tidy.rs")
    {
        for (number, line) in program(&text) {
            if ["todo!(", "unimplemented!(", "dbg!(", "#[ignore"]
                .iter()
                .any(|stub| line.contains(stub))
            {
                broken.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    report("nothing is left to be done", &broken);
}

#[test]
fn main_is_thin() {
    let lines = fs::read_to_string(root().join("src/main.rs"))
        .unwrap()
        .lines()
        .count();
    assert!(lines < 60, "src/main.rs has {lines} lines");
}

/// The fields of the config's structs: name and doc comment.
fn config_fields() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("src/config/schema.rs")).unwrap();
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
