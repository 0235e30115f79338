//! Any text is a config or none, and what is one is written so that it reads the same.
#![no_main]

use gcpo::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // Lines at the head that begin with `--set` are given on the command line.
    let mut sets = Vec::new();
    let mut file = text;
    while let Some(rest) = file.strip_prefix("--set ") {
        let (set, rest) = rest.split_once('\n').unwrap_or((rest, ""));
        sets.push(set.to_owned());
        file = rest;
    }
    if let Ok(config) = Config::from_str(file, "fuzz.toml", &sets) {
        let written = config.to_toml();
        let again = Config::from_str(&written, "fuzz.toml", &[]).expect("what was written is a config");
        assert_eq!(again.to_toml(), written);
    }
});
