//! The workspace's Rust files as the laws see them: program without comments, strings and tests; how long
//! functions are.
//!
//! This is no parser of Rust: it knows as much of the language as this repository uses, and tests of its own say what.

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

pub fn word(byte: u8) -> bool {
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
