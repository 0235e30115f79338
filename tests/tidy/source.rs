//! The workspace's Rust files as the laws see them: program without comments, strings and tests; which file refers to which;
//! how long functions are.
//!
//! This is no parser of Rust: it knows as much of the language as this repository uses, and tests of its own say what.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The crates: the directory of their sources, from the root of the workspace.
pub const CRATES: [&str; 3] = ["src", "model/src", "data/src"];

/// A Rust file.
pub struct File {
    /// Its path from the root, with `/`.
    pub name: String,
    /// All of it.
    pub text: String,
    /// The same lines without comments, the contents of strings, and tests: these are blank.
    pub program: String,
}

impl File {
    /// Whether the file is a test as a whole.
    pub fn is_test(&self) -> bool {
        self.name.starts_with("tests/")
            || self.name.contains("/tests/")
            || ["tests.rs", "testing.rs"]
                .iter()
                .any(|end| self.name.ends_with(end))
    }

    /// The lines of the program that are not blank, with their numbers.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.program.lines().enumerate();
        lines
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(at, line)| (at + 1, line))
    }

    /// Whether the file's head says why it is as long as it is.
    pub fn says_why_it_is_long(&self) -> bool {
        let mut head = self.text.lines().take_while(|line| line.starts_with("//!"));
        head.any(|line| line.contains("Long:"))
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a directory.
pub fn files(dir: &str) -> Vec<File> {
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
    let file = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        File {
            name: path
                .strip_prefix(root())
                .unwrap()
                .to_string_lossy()
                .replace('\\', "/"),
            program: program(&text),
            text,
        }
    };
    found.iter().map(file).collect()
}

/// The files of the three crates that are program.
pub fn program_files() -> Vec<File> {
    let all = CRATES.into_iter().flat_map(files);
    all.filter(|file| !file.is_test()).collect()
}

/// A text with comments, the contents of strings, and what stands behind `#[cfg(test)]` made blank.
pub fn program(text: &str) -> String {
    let plain = without_comments(text);
    let mut out = plain.clone().into_bytes();
    let mut from = 0;
    while let Some(at) = plain[from..].find("#[cfg(test)]").map(|at| from + at) {
        let end = item_end(&plain, at + "#[cfg(test)]".len());
        blank(&mut out[at..end]);
        from = end;
    }
    String::from_utf8(out).unwrap()
}

fn blank(bytes: &mut [u8]) {
    for byte in bytes {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

/// Where the item that begins at `from` ends: behind its `;`, or its outermost braces.
fn item_end(text: &str, from: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in text.bytes().enumerate().skip(from) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth <= 1 => return at + 1,
            b'}' => depth -= 1,
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn without_comments(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let starts_word = at == 0 || !word(bytes[at - 1]) || bytes[at - 1] == b'b';
        // What is made blank, and how much is gone past.
        let (from, to, past) = match rest {
            [b'/', b'/', ..] => (0, find(rest, b"\n", 0), 0),
            [b'/', b'*', ..] => (0, find(rest, b"*/", 2) + 2, 0),
            [b'r', b'"' | b'#', ..] if starts_word => raw(rest),
            [b'"', ..] => (1, string_end(rest), 1),
            // A character; a lifetime has no second quote so near.
            [b'\'', b'\\', ..] => (1, find(rest, b"'", 3), 1),
            [b'\'', ..] => {
                let length = text[at + 1..].chars().next().map_or(1, char::len_utf8);
                let is_char = rest.get(1 + length) == Some(&b'\'');
                if is_char { (1, 1 + length, 1) } else { (1, 1, 0) }
            }
            _ => (0, 0, 1),
        };
        let to = to.min(rest.len());
        blank(&mut out[at + from..at + to]);
        at += to + past;
    }
    String::from_utf8(out).unwrap()
}

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn find(bytes: &[u8], what: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let found = rest.windows(what.len()).position(|window| window == what);
    found.map_or(bytes.len(), |at| from + at)
}

/// Of a raw string that begins here: where its contents begin and end, and its end. Of an identifier, nothing.
fn raw(rest: &[u8]) -> (usize, usize, usize) {
    let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return (0, 0, 1);
    }
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    (2 + hashes, find(rest, &close, 2 + hashes), close.len())
}

fn string_end(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += 1 + usize::from(rest[at] == b'\\');
    }
    at
}

/// Words, `::` and single characters, each with its line.
pub fn tokens(program: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in program.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if rest.starts_with("::") {
                2
            } else if first.is_alphanumeric() || first == '_' {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(rest.len())
            } else {
                first.len_utf8()
            };
            found.push((number + 1, &rest[..length]));
            rest = rest[length..].trim_start();
        }
    }
    found
}

/// A function: its name, its first line and how many it has.
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

/// The functions that have a body.
pub fn functions(file: &File) -> Vec<Function> {
    let tokens = tokens(&file.program);
    let mut found = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        let named = pair[1]
            .1
            .chars()
            .next()
            .is_some_and(|c| c.is_alphabetic() || c == '_');
        if pair[0].1 != "fn" || !named {
            continue;
        }
        let (mut depth, mut round) = (0, 0);
        for (line, token) in &tokens[at..] {
            match *token {
                "(" | "[" => round += 1,
                ")" | "]" => round -= 1,
                ";" if depth == 0 && round == 0 => break,
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if *token == "}" && depth == 0 {
                found.push(Function {
                    name: pair[1].1.to_owned(),
                    line: pair[0].0,
                    lines: line - pair[0].0 + 1,
                });
                break;
            }
        }
    }
    found
}

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
                [path.as_slice(), &[used.name.clone()]].concat(),
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
fn what_is_not_program_is_blank() {
    let text =
        "a(\"// {\", \"\"); // b\n/* c\n*/ 'd' '\\'' <'e> r#\"f\"#\n#[cfg(test)]\nmod tests {\n  g {}\n}\nh";
    assert_eq!(
        program(text).split_whitespace().collect::<Vec<_>>().join(" "),
        "a(\" \", \"\"); ' ' ' ' <'e> r#\" \"# h"
    );
    assert_eq!(program(text).lines().count(), text.lines().count());
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
