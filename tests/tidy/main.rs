//! Laws of the repository, as tests. A law that is broken is named with its file and line.
//!
//! `cargo test --test tidy measures -- --nocapture` prints how large and how tangled the code is.

mod graph;
mod measures;
mod source;

use std::fs;
use std::path::Path;

use graph::{arrows, circles};
use source::{CRATES, File, files, functions, program_files, root, tokens};

/// The rooms of `src/`, in the order of the flow: each uses only rooms before it.
const FLOW: [&str; 32] = [
    "section",
    "console",
    "bridge",
    "ranks",
    "curve",
    "stream",
    "sandbox",
    "code",
    "objective",
    "run",
    "rollout",
    "group",
    "source",
    "sample",
    "policy",
    "weigh",
    "projection",
    "reward",
    "search",
    "eval",
    "learner",
    "demonstrate",
    "config",
    "plan",
    "report",
    "recipe",
    "sweep",
    "show",
    "bench",
    "check",
    "cli",
    "main",
];

/// Crates that a room, or a whole crate, must not know, whatever the flow says.
const UNKNOWN: [(&str, &[&str]); 12] = [
    ("src/section", &["burn"]),
    ("src/stream", &["burn", "gcpo_model", "gcpo_data"]),
    ("src/objective", &["gcpo_data"]),
    ("src/run", &["burn", "gcpo_model"]),
    ("src/report", &["burn", "gcpo_model", "gcpo_data"]),
    ("src/console", &["burn", "gcpo_model", "gcpo_data"]),
    ("src/curve", &["burn", "gcpo_model", "gcpo_data"]),
    ("src/sweep", &["burn", "gcpo_model", "gcpo_data"]),
    ("src/show", &["burn", "gcpo_model"]),
    ("src/reward", &["burn", "gcpo_model"]),
    ("data/src", &["burn", "gcpo_model"]),
    ("model/src", &["gcpo_data", "tokenizers"]),
];

/// Words that a room must not know: none of its names holds one.
const UNSPOKEN: [(&str, &[&str]); 2] = [
    ("src/rollout/", &["reward"]),
    ("src/objective/", &["tokenizer", "prompt", "text"]),
];

/// Files outgrow this only with a reason at their head: a comment that holds the word "Long:".
const FILE_LINES: usize = 520;

/// Functions outgrow this only with a reason before or in them: a comment that holds the word "Long:".
const FUNCTION_LINES: usize = 60;

/// Words that no one searches for, and what to write.
const DIALECT: [(&str, &str); 8] = [
    ("is no number", "not finite, or NaN"),
    ("ONE_WAY", "what the cache cannot do"),
    ("refer(", "what it does with the reference model"),
    ("beside(", "replicate, or what it does"),
    ("fn seat", "fill lanes"),
    (".seat(", "fill lanes"),
    ("gcpo.md", "docs/algorithms.md"),
    ("../shared", "a file of the repository"),
];

/// Laws that do not hold yet, by the name of their test. One that holds again is taken off the list: the test says so.
const NOT_YET: &[&str] = &[];

/// Fails where a law is broken, unless it is one of [`NOT_YET`].
pub fn report(law: &str, broken: &[String]) {
    let list = broken.join("\n  ");
    if NOT_YET.contains(&law) {
        assert!(
            !broken.is_empty(),
            "`{law}` holds: take it off NOT_YET in tests/tidy/main.rs"
        );
        println!("not yet: {law} ({} times):\n  {list}", broken.len());
    } else {
        assert!(broken.is_empty(), "{law} ({} times):\n  {list}", broken.len());
    }
}

/// The room of a file in `src/`; `lib.rs` is none.
fn room(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("src/")?;
    let room = rest.split('/').next()?.trim_end_matches(".rs");
    (room != "lib").then_some(room)
}

/// All Rust files of the workspace, tests too.
fn all_files() -> Vec<File> {
    ["src", "model", "data", "tests", "benches"]
        .into_iter()
        .flat_map(files)
        .collect()
}

/// Where a law looks: the files below a path, or the one file that is it.
fn is_in(name: &str, place: &str) -> bool {
    name.strip_prefix(place)
        .is_some_and(|rest| place.ends_with('/') || rest.starts_with('/') || rest == ".rs")
}

#[test]
fn rooms_use_only_rooms_before_them() {
    let place = |room: &str| FLOW.iter().position(|known| *known == room);
    let mut broken = Vec::new();
    for file in files("src") {
        let unknown =
            room(&file.name).filter(|room| !file.is_test() && *room != "testing" && place(room).is_none());
        broken.extend(unknown.map(|room| {
            format!(
                "{}: `{room}` has no place in the flow; give it one in tests/tidy/main.rs",
                file.name
            )
        }));
    }
    for arrow in arrows("src") {
        let (Some(from), Some(to)) = (room(&arrow.from), room(&arrow.to)) else {
            continue;
        };
        if place(from).zip(place(to)).is_some_and(|(from, to)| from < to) {
            broken.push(format!(
                "{}:{}: {from} uses {to} ({})",
                arrow.from, arrow.line, arrow.to
            ));
        }
    }
    report("rooms_use_only_rooms_before_them", &broken);
}

#[test]
fn no_circles_between_files() {
    let mut broken = Vec::new();
    for dir in CRATES {
        let arrows = arrows(dir);
        for circle in circles(dir, &arrows) {
            let within = arrows.iter().filter(|arrow| {
                let of = |name: &String| {
                    circle.iter().position(|of| {
                        name == of || name.starts_with(&format!("{of}/")) || *name == format!("{of}.rs")
                    })
                };
                of(&arrow.from)
                    .zip(of(&arrow.to))
                    .is_some_and(|(from, to)| from != to)
            });
            let list: Vec<String> = within
                .map(|a| format!("{}:{} -> {}", a.from, a.line, a.to))
                .collect();
            broken.push(format!("{}:\n    {}", circle.join(", "), list.join("\n    ")));
        }
    }
    report("no_circles_between_files", &broken);
}

/// `metrics` does not know autodiff, `objective` does not know text, and so on.
#[test]
fn some_rooms_do_not_know_some_crates() {
    let mut broken = Vec::new();
    for file in program_files() {
        for (place, crates) in UNKNOWN {
            if !is_in(&file.name, place) {
                continue;
            }
            for pair in tokens(&file.program).windows(2) {
                if pair[1].1 == "::" && crates.contains(&pair[0].1) {
                    broken.push(format!("{}:{}: knows {}", file.name, pair[0].0, pair[0].1));
                }
            }
        }
    }
    report("some_rooms_do_not_know_some_crates", &broken);
}

#[test]
fn some_rooms_do_not_speak_of_some_things() {
    let mut broken = Vec::new();
    for file in program_files() {
        for (place, words) in UNSPOKEN {
            for (line, token) in tokens(&file.program)
                .into_iter()
                .filter(|_| is_in(&file.name, place))
            {
                let spoken = token.to_lowercase();
                if words
                    .iter()
                    .any(|word| spoken.split('_').any(|part| part.trim_end_matches('s') == *word))
                {
                    broken.push(format!("{}:{line}: {token}", file.name));
                }
            }
        }
    }
    report("some_rooms_do_not_speak_of_some_things", &broken);
}

#[test]
fn only_device_names_a_backend() {
    const OF_DEVICE: [&str; 8] = [
        "flex", "cuda", "wgpu", "vulkan", "metal", "ndarray", "libtorch", "rocm",
    ];
    const TYPES: [&str; 9] = [
        "Flex",
        "Cuda",
        "Wgpu",
        "Vulkan",
        "Metal",
        "NdArray",
        "LibTorch",
        "DeviceType",
        "DeviceKind",
    ];
    let mut broken = Vec::new();
    // The data crate has no backends, only features of its own.
    for file in program_files()
        .iter()
        .filter(|file| !file.name.starts_with("data/"))
    {
        if is_in(&file.name, "model/src/device") {
            continue;
        }
        for three in tokens(&file.program).windows(3) {
            let [(line, a), (_, b), (_, c)] = three else {
                continue;
            };
            if TYPES.contains(c)
                || (*a == "Device" && *b == "::" && OF_DEVICE.contains(c))
                || (*a, *b) == ("feature", "=") && !is_in(&file.name, "src/ranks")
            {
                broken.push(format!("{}:{line}: {a}{b}{c}", file.name));
            }
        }
    }
    report("only_device_names_a_backend", &broken);
}

#[test]
fn no_file_outgrows_its_reader() {
    let mut broken = Vec::new();
    for file in all_files() {
        let lines = file.text.lines().count();
        if lines > FILE_LINES && !file.says_why_it_is_long() {
            broken.push(format!(
                "{}: {lines} lines; split it, or say why it is one file: `//! Long: …` at its head",
                file.name
            ));
        }
    }
    report("no_file_outgrows_its_reader", &broken);
}

#[test]
fn no_function_outgrows_its_reader() {
    let mut broken = Vec::new();
    for file in program_files() {
        let text: Vec<&str> = file.text.lines().collect();
        for function in functions(&file)
            .iter()
            .filter(|function| function.lines > FUNCTION_LINES)
        {
            let before = text[..function.line - 1]
                .iter()
                .rev()
                .take_while(|line| line.trim_start().starts_with(['/', '#']));
            let within = &text[function.line - 1..function.line - 1 + function.lines];
            if !before.chain(within).any(|line| line.contains("Long:")) {
                let (name, line, lines) = (&function.name, function.line, function.lines);
                broken.push(format!("{}:{line}: {name}, {lines} lines", file.name));
            }
        }
    }
    report("no_function_outgrows_its_reader", &broken);
}

#[test]
fn words_are_the_trades_own() {
    let mut broken = Vec::new();
    for file in all_files()
        .iter()
        .filter(|file| !file.name.starts_with("tests/tidy/"))
    {
        for (number, line) in file.text.lines().enumerate() {
            for (word, better) in DIALECT.iter().filter(|(word, _)| line.contains(word)) {
                broken.push(format!("{}:{}: `{word}`: write {better}", file.name, number + 1));
            }
        }
    }
    report("words_are_the_trades_own", &broken);
}

#[test]
fn every_file_says_what_it_is_and_none_is_a_drawer() {
    let mut broken = Vec::new();
    for file in all_files() {
        if !file.text.starts_with("//!") && !file.is_test() {
            broken.push(format!("{}: begins without `//!`", file.name));
        }
        let stem = Path::new(&file.name)
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        if ["util", "utils", "helpers", "misc"].contains(&stem.as_str()) || stem == "common" {
            broken.push(format!("{}: name it after what is in it", file.name));
        }
    }
    report("every_file_says_what_it_is_and_none_is_a_drawer", &broken);
}

#[test]
fn the_program_leaves_no_stub() {
    let mut broken = Vec::new();
    for file in all_files() {
        for pair in tokens(&file.program).windows(2) {
            let (line, word, next) = (pair[0].0, pair[0].1, pair[1].1);
            let macros = ["todo", "unimplemented", "dbg"].contains(&word) && next == "!";
            if macros || (word == "[" && next == "ignore") {
                broken.push(format!("{}:{line}: {word}{next}", file.name));
            }
        }
    }
    report("the_program_leaves_no_stub", &broken);
}

#[test]
fn main_is_thin() {
    let lines = fs::read_to_string(root().join("src/main.rs"))
        .unwrap()
        .lines()
        .count();
    assert!(lines < 60, "src/main.rs has {lines} lines");
}

/// The pipeline, word for word, is to be read at one sitting.
#[test]
fn the_recipe_is_short() {
    let recipe = files("src")
        .into_iter()
        .find(|file| file.name == "src/recipe/rl.rs");
    let lines = recipe.as_ref().map_or(0, |file| file.lines().count());
    let broken = match lines {
        0 => Some("src/recipe/rl.rs is not there".to_owned()),
        151.. => Some(format!(
            "src/recipe/rl.rs has {lines} lines of program; 150 are enough"
        )),
        _ => None,
    };
    report("the_recipe_is_short", broken.as_slice());
}

/// Every file in `configs/` is a config; what a user must add is said at its head.
#[test]
fn configs_parse() {
    let mut broken = Vec::new();
    for entry in fs::read_dir(root().join("configs")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        // Data and models of the user's own, as the file's head asks for them.
        let mut sets = Vec::new();
        if text.contains("[data]\npreset") {
            sets.extend(["model.path=x", "data.path=x"].map(str::to_owned));
        }
        if text.contains("[eval]\npreset") {
            sets.push("eval.path=x".to_owned());
        }
        if text.contains("init = \"random\"") {
            sets.retain(|set| !set.starts_with("model"));
        }
        let places = text.match_indices("[[eval.suite]]").count();
        sets.extend((0..places).map(|at| format!("eval.suite.{at}.path=x")));
        if let Err(error) = gcpo::config::Config::load(&path, &sets) {
            broken.push(error.to_string());
        }
    }
    report("configs_parse", &broken);
}

/// Files that others call by name.
#[test]
fn what_is_promised_is_there() {
    let promised = [
        "src/recipe/rl.rs",
        "docs/config.md",
        "docs/algorithms.md",
        "docs/architecture.md",
        "docs/measured.md",
        "CONTRIBUTING.md",
        "justfile",
        "rust-toolchain.toml",
        "scripts/same.sh",
        "scripts/software_vulkan.sh",
    ];
    let missing: Vec<String> = promised
        .into_iter()
        .filter(|name| !root().join(name).exists())
        .map(str::to_owned)
        .collect();
    report("what_is_promised_is_there", &missing);
}

/// Links from a document to a file lead somewhere.
#[test]
fn documents_link_to_what_is_there() {
    let mut broken = Vec::new();
    let documents = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    for path in documents.chain(["README.md", "CONTRIBUTING.md"].map(|name| root().join(name))) {
        let text = fs::read_to_string(&path).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next())
        {
            if !link.contains("://") && !link.is_empty() && !path.parent().unwrap().join(link).exists() {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    report("documents_link_to_what_is_there", &broken);
}
