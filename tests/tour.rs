//! docs/tour.md is true: every command in it runs, in order, in one directory, and says what stands below it.
//!
//! A block marked `sh` is run by `sh`; one marked `text` is what the commands above it print, of which every line must be there but for
//! its numbers, in its order; `…` alone stands for any lines. Nothing else is a block.
#![cfg(unix)]

mod program;

use std::fs;
use std::path::Path;
use std::process::Command;

use program::temp;

/// A block of the tour: how it is marked, its first line's number, and its text.
struct Block {
    mark: String,
    line: usize,
    text: String,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut is_open = false;
    for (at, line) in text.lines().enumerate() {
        match line.strip_prefix("```") {
            Some("") => is_open = false,
            Some(mark) => {
                is_open = true;
                found.push(Block {
                    mark: mark.to_owned(),
                    line: at + 2,
                    text: String::new(),
                });
            }
            None if is_open => {
                let block = found.last_mut().unwrap();
                block.text += line;
                block.text.push('\n');
            }
            // A command that no block holds would not be run.
            None => assert!(
                !line.starts_with("    ") && !line.trim_start().starts_with("gcpo "),
                "docs/tour.md:{}: put it into a block",
                at + 1
            ),
        }
    }
    assert!(!is_open, "the last block has no end");
    found
}

/// A line without what differs from run to run: numbers, and how wide they make columns.
fn shape(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        let numbers = word.contains(|c: char| c.is_ascii_digit());
        match numbers && !word.contains('/') && !word.contains('=') {
            true => "#",
            false => word,
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Runs a block as a shell does that stops at the first command that fails; what it printed.
fn run(block: &Block, dir: &Path) -> String {
    let bin = Path::new(env!("CARGO_BIN_EXE_gcpo")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .args(["-c", &format!("set -e\nexec 2>&1\n{}", block.text)])
        .current_dir(dir)
        .env("PATH", format!("{}:{path}", bin.display()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "docs/tour.md:{}:\n{}\n{said}",
        block.line,
        block.text
    );
    said
}

/// Sees whether the lines of a block are among those that were printed, in their order.
fn holds(block: &Block, said: &str) {
    let mut left = said.lines().map(shape);
    for (at, line) in block.text.lines().enumerate() {
        let line = line.trim_end();
        if line.trim() == "…" || line.is_empty() {
            continue;
        }
        let wanted = shape(line);
        assert!(
            left.any(|found| found == wanted),
            "docs/tour.md:{}: nothing printed is like\n    {line}\nor it is not in this order:\n{said}",
            block.line + at
        );
    }
}

#[test]
fn every_command_of_the_tour_runs_and_says_what_stands_there() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour.md")).unwrap();
    let dir = temp();
    let mut said = String::new();
    let (mut commands, mut shown) = (0, 0);
    for block in blocks(&text) {
        match block.mark.as_str() {
            "sh" => {
                commands += block
                    .text
                    .lines()
                    .filter(|line| line.starts_with("gcpo "))
                    .count();
                said = run(&block, dir.path());
            }
            "text" => {
                shown += 1;
                holds(&block, &said);
            }
            mark => panic!(
                "docs/tour.md:{}: a block is `sh` or `text`, and not `{mark}`",
                block.line
            ),
        }
    }
    assert!(
        commands >= 15 && shown >= 5,
        "{commands} commands, {shown} outputs"
    );
}
