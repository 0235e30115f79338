//! Which file of a crate refers to which, and where they go in circles.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{File, files, tokens, word};

/// One file refers to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrow {
    pub from: String,
    pub to: String,
    /// Where it does so first.
    pub line: usize,
}

/// Which file of a crate refers to which. `mod` and re-exports are no arrows, and what is reached by a re-export counts as
/// a reference to the file that it comes from.
pub fn arrows(dir: &str) -> Vec<Arrow> {
    let files: Vec<File> = files(dir).into_iter().filter(|file| !file.is_test()).collect();
    let modules: BTreeMap<Vec<String>, &File> = files
        .iter()
        .filter(|file| !file.name.ends_with("src/main.rs") && file.name != "src/main.rs")
        .map(|file| (module(dir, &file.name), file))
        .collect();
    let mut exports = BTreeMap::new();
    let uses: Vec<_> = modules
        .iter()
        .map(|(path, file)| (path, *file, scan(path, file, &modules)))
        .collect();
    for (path, _, found) in &uses {
        for used in found.iter().filter(|used| used.exported) {
            exports.insert(
                [path.as_slice(), std::slice::from_ref(&used.name)].concat(),
                used.path.clone(),
            );
        }
    }
    let mut found = BTreeMap::new();
    for (path, file, used) in &uses {
        for used in used.iter().filter(|used| !used.exported) {
            let target = resolve(&used.path, &modules, &exports, 0);
            if target != **path {
                let to = modules[&target].name.clone();
                found.entry((file.name.clone(), to)).or_insert(used.line);
            }
        }
    }
    let arrow = |((from, to), line)| Arrow { from, to, line };
    found.into_iter().map(arrow).collect()
}

/// The module that a file is: `src/a/mod.rs` is `a`, `src/lib.rs` is the crate.
fn module(dir: &str, name: &str) -> Vec<String> {
    let rest = name[dir.len() + 1..].trim_end_matches(".rs");
    let rest = rest.strip_suffix("/mod").unwrap_or(rest);
    let parts = rest.split('/').filter(|part| *part != "lib");
    parts.map(str::to_owned).collect()
}

/// A path within the crate that a file names.
struct Used {
    path: Vec<String>,
    name: String,
    line: usize,
    exported: bool,
}

/// What a file names of its own crate.
fn scan<M>(of: &[String], file: &File, modules: &BTreeMap<Vec<String>, M>) -> Vec<Used> {
    let tokens = tokens(&file.program);
    let mut found = Vec::new();
    // Modules that were imported by name, and what they are called here.
    let mut known: BTreeMap<String, Vec<String>> = modules
        .keys()
        .filter(|path| path.len() == of.len() + 1 && path.starts_with(of))
        .map(|path| (path[of.len()].clone(), path.clone()))
        .collect();
    let mut at = 0;
    while at < tokens.len() {
        let (line, token) = tokens[at];
        let after_path = at > 0 && ["::", "."].contains(&tokens[at - 1].1);
        if token == "use" {
            let exported = at > 0 && ["pub", ")"].contains(&tokens[at - 1].1);
            let end = at
                + tokens[at..]
                    .iter()
                    .position(|(_, token)| *token == ";")
                    .unwrap_or(0);
            for (path, name) in tree(&tokens[at + 1..end], &[]) {
                let Some(path) = absolute(of, &path, &known) else {
                    continue;
                };
                if !exported && modules.contains_key(&path) {
                    known.insert(name, path);
                } else {
                    found.push(Used {
                        path,
                        name,
                        line,
                        exported,
                    });
                }
            }
            at = end;
        } else if !after_path && tokens.get(at + 1).is_some_and(|(_, next)| *next == "::") {
            let mut path = vec![token.to_owned()];
            while tokens.get(at + 1).is_some_and(|(_, next)| *next == "::")
                && tokens
                    .get(at + 2)
                    .is_some_and(|(_, next)| word(next.as_bytes()[0]))
            {
                path.push(tokens[at + 2].1.to_owned());
                at += 2;
            }
            if let Some(path) = absolute(of, &path, &known) {
                let name = path.last().cloned().unwrap_or_default();
                found.push(Used {
                    path,
                    name,
                    line,
                    exported: false,
                });
            }
        }
        at += 1;
    }
    found
}

/// The paths of a `use`, each with the name that it gets.
fn tree(tokens: &[(usize, &str)], before: &[String]) -> Vec<(Vec<String>, String)> {
    let mut path = before.to_vec();
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].1 {
            "::" => {}
            "{" => {
                let inner = &tokens[at + 1..tokens.len() - 1];
                return split(inner)
                    .into_iter()
                    .flat_map(|item| tree(item, &path))
                    .collect();
            }
            "as" => return vec![(path, tokens.get(at + 1).map_or("_", |t| t.1).to_owned())],
            "self" if !path.is_empty() => {}
            word => path.push(word.to_owned()),
        }
        at += 1;
    }
    let name = path.last().cloned().unwrap_or_default();
    vec![(path, name)]
}

/// The items of a list, at its outermost commas.
fn split<'a, 'b>(tokens: &'a [(usize, &'b str)]) -> Vec<&'a [(usize, &'b str)]> {
    let mut depth = 0;
    let parts = tokens.split(|(_, token)| {
        depth += i32::from(*token == "{") - i32::from(*token == "}");
        depth == 0 && *token == ","
    });
    parts.filter(|part| !part.is_empty()).collect()
}

/// A path from the root of the crate; nothing where it is of another crate.
fn absolute(of: &[String], path: &[String], known: &BTreeMap<String, Vec<String>>) -> Option<Vec<String>> {
    let (first, mut rest) = path.split_first()?;
    let mut base = match first.as_str() {
        "crate" => Vec::new(),
        "self" => of.to_vec(),
        "super" => of[..of.len().checked_sub(1)?].to_vec(),
        name => known.get(name)?.clone(),
    };
    while let Some((_, after)) = rest.split_first().filter(|(first, _)| *first == "super") {
        base.pop();
        rest = after;
    }
    base.extend_from_slice(rest);
    Some(base)
}

/// The module that a path leads into.
fn resolve<M>(
    path: &[String],
    modules: &BTreeMap<Vec<String>, M>,
    exports: &BTreeMap<Vec<String>, Vec<String>>,
    depth: usize,
) -> Vec<String> {
    let longest = (0..=path.len())
        .rev()
        .find(|&length| modules.contains_key(&path[..length]));
    let longest = longest.expect("the crate itself is a module");
    let exported = path.get(..longest + 1).and_then(|path| exports.get(path));
    match exported {
        Some(target) if depth < 8 => {
            let on = [target.as_slice(), &path[longest + 1..]].concat();
            resolve(&on, modules, exports, depth + 1)
        }
        _ => path[..longest].to_vec(),
    }
}

/// The circles of a crate: between its rooms, and between its files. A file may use what the file of the room around it
/// declares, though that one calls it.
pub fn circles(dir: &str, arrows: &[Arrow]) -> Vec<Vec<String>> {
    let room = |name: &str| module(dir, name).first().map(|room| format!("{dir}/{room}"));
    let between_rooms = arrows.iter().filter_map(|arrow| {
        let (from, to) = (room(&arrow.from)?, room(&arrow.to)?);
        (from != to).then_some(Arrow {
            from,
            to,
            line: arrow.line,
        })
    });
    let between_files = arrows.iter().filter(|arrow| {
        let (from, to) = (module(dir, &arrow.from), module(dir, &arrow.to));
        !from.starts_with(&to)
    });
    let mut found = mutual(&between_files.cloned().collect::<Vec<_>>());
    // A circle of rooms that two files make by themselves is named once.
    let mut rooms = mutual(&between_rooms.collect::<Vec<_>>());
    rooms.retain(|rooms| {
        let of = |files: &Vec<String>| {
            files
                .iter()
                .filter_map(|file| room(file))
                .filter(|of| rooms.contains(of))
                .collect::<BTreeSet<_>>()
        };
        !found.iter().any(|files| of(files).len() > 1)
    });
    found.extend(rooms);
    found
}

/// The groups of names of which each refers, by way of others, to each.
fn mutual(arrows: &[Arrow]) -> Vec<Vec<String>> {
    let nodes: BTreeSet<&str> = arrows
        .iter()
        .flat_map(|arrow| [arrow.from.as_str(), &arrow.to])
        .collect();
    let reached = |start: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start.to_owned()]);
        while let Some(node) = open.pop() {
            for arrow in arrows.iter().filter(|arrow| arrow.from == node) {
                if seen.insert(arrow.to.clone()) {
                    open.push(arrow.to.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<String>> = nodes.iter().map(|node| (*node, reached(node))).collect();
    let circle = |node: &&str| {
        let mutual = |other: &&&str| reached[*node].contains(**other) && reached[**other].contains(*node);
        nodes
            .iter()
            .filter(mutual)
            .map(|other| (*other).to_owned())
            .collect::<Vec<_>>()
    };
    let all: BTreeSet<Vec<String>> = nodes
        .iter()
        .map(circle)
        .filter(|circle| circle.len() > 1)
        .collect();
    all.into_iter().collect()
}

#[test]
fn a_use_is_all_its_paths() {
    let paths = |text: &str| {
        let found = tree(&tokens(text), &[]);
        found
            .into_iter()
            .map(|(path, name)| format!("{} {name}", path.join("/")))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        paths("crate::{a, b::{self, c as d}, e::f}"),
        ["crate/a a", "crate/b b", "crate/b/c d", "crate/e/f f"]
    );
}

#[test]
fn circles_are_found_whole() {
    let arrow = |(from, to): (&str, &str)| Arrow {
        from: from.into(),
        to: to.into(),
        line: 1,
    };
    let arrows: Vec<Arrow> = [("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")].map(arrow).into();
    assert_eq!(mutual(&arrows), [["a", "b", "c"]]);
}
