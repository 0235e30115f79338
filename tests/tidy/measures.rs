//! How large and how tangled the code is: `cargo test --test tidy measures -- --nocapture`.

use super::graph::{arrows, circles};
use super::source::{CRATES, functions, program_files};
use super::{FUNCTION_LINES, room};
use std::collections::BTreeSet;

#[test]
fn measures() {
    let files = program_files();
    let rooms: BTreeSet<&str> = files.iter().filter_map(|file| room(&file.name)).collect();
    println!("rooms of src/: {}", rooms.len());
    println!(
        "{:10} {:>6} {:>14} {:>14} {:>7} {:>8} {:>15}",
        "", "files", "lines", "of program", "arrows", "circles", "long functions"
    );
    for dir in CRATES {
        let of = || {
            files
                .iter()
                .filter(|file| file.name.starts_with(&format!("{dir}/")))
        };
        let arrows = arrows(dir);
        let circles = circles(dir, &arrows);
        let in_circles: usize = circles.iter().map(Vec::len).sum();
        let long = of()
            .flat_map(functions)
            .filter(|function| function.lines > FUNCTION_LINES)
            .count();
        println!(
            "{dir:10} {:>6} {:>14} {:>14} {:>7} {:>8} {:>15}",
            of().count(),
            of().map(|file| without_tests(&file.text, &file.program))
                .sum::<usize>(),
            of().map(|file| file.lines().count()).sum::<usize>(),
            arrows.len(),
            format!("{} ({in_circles})", circles.len()),
            long
        );
        assert!(
            of().count() > 10 && arrows.len() > 10,
            "{dir}: is the graph still read rightly?"
        );
    }
}

/// Lines that are not of tests: comments and blank lines too.
fn without_tests(text: &str, program: &str) -> usize {
    let tests = text
        .lines()
        .zip(program.lines())
        .position(|(line, program)| line.starts_with("#[cfg(test)]") && program.trim().is_empty());
    tests.unwrap_or(text.lines().count())
}
