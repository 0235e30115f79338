//! `docs/config.md`: every key, from its declaration.

use super::Draft;
use crate::section::{Key, Section as _};

const HEAD: &str = "# The config\n\n\
    Every key of a run's TOML file and of `--set key=value`, by section. This file is made from the declarations in `src/*/config.rs`: \
    change it there, and run `UPDATE_DOCS=1 cargo test --test config_docs`.\n\n\
    A key that is not given has the default that stands here; where that is the name of another key, it is that key's value. A run \
    writes all of them to the `config.toml` in its directory. Unknown keys are refused, with what was most likely meant.\n";

/// The reference of all keys, as Markdown.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    let mut section = None;
    for key in Draft::keys() {
        if key.is_section() {
            let (path, about) = (&key.path, &key.doc);
            let header = if key.wants.starts_with("a list") {
                format!("[[{path}]]")
            } else {
                format!("[{path}]")
            };
            let about = about.trim_start_matches(&format!("`{header}`: "));
            text += &format!("\n## `{header}`\n\n{}\n", capital(about));
            section = None;
            continue;
        }
        let of = key.path.rsplit_once('.').map(|(of, _)| of.to_owned());
        if section.as_ref() != Some(&of) {
            text += "\n| key | takes | default | what it does | source |\n|---|---|---|---|---|\n";
            section = Some(of);
        }
        text += &row(&key);
    }
    text
}

/// A line of the table.
fn row(key: &Key) -> String {
    let (said, source) = key.doc.rsplit_once("Source: ").unwrap_or((&key.doc, ""));
    let (what, default) = match said.split_once("Default: ") {
        Some((what, default)) => (what, default.trim().trim_end_matches('.').to_owned()),
        None => (
            said,
            key.default
                .as_ref()
                .map_or("none".into(), |value| format!("`{value}`")),
        ),
    };
    let of: Vec<String> = key
        .of
        .iter()
        .map(|(tag, word)| format!("`{tag} = \"{word}\"`"))
        .collect();
    let of = match of.is_empty() {
        true => String::new(),
        false => format!("With {}: ", of.join(", ")),
    };
    let cells = [
        &format!("`{}`", key.name()),
        &key.wants,
        &default,
        &format!("{of}{}", what.trim()),
        source.trim().trim_end_matches('.'),
    ];
    let one_line = |cell: &str| cell.split_whitespace().collect::<Vec<_>>().join(" ");
    let cells = cells.map(|cell: &str| one_line(cell).replace("|", "\\|"));
    format!("| {} |\n", cells.join(" | "))
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(letters).collect()
    })
}
