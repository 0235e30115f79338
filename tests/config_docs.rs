//! `docs/config.md` says what the code says, and every key says where its default comes from.

use std::path::Path;

use gcpo::config::{Config, Draft, reference};
use gcpo::section::Section as _;

#[test]
fn the_reference_is_that_of_the_declarations() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/config.md");
    let said = reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &said).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = said
        .lines()
        .zip(written.lines())
        .find(|(said, written)| said != written);
    assert!(
        said == written,
        "docs/config.md is not what the code says; `UPDATE_DOCS=1 cargo test --test config_docs` writes it anew. First difference: {differs:?}"
    );
}

#[test]
fn every_key_says_what_it_does_and_where_its_default_comes_from() {
    let keys = Draft::keys();
    assert!(keys.len() > 100, "only {} keys", keys.len());
    for key in keys.iter().filter(|key| !key.is_section()) {
        let said = key.doc.split("Source: ").collect::<Vec<_>>();
        assert!(
            said.len() == 2 && said[0].len() > 5 && said[1].len() > 2,
            "{}: {}",
            key.path,
            key.doc
        );
    }
}

#[test]
fn every_file_in_configs_is_a_run() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    // What the word problems' files leave to the command line, and the suite that is on no hub.
    let sets = ["data.path=train.csv", "eval.path=dev.csv"].map(str::to_owned);
    let mut count = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let sets = match name.starts_with("wordproblems") || name.starts_with("smollm2") {
            true => sets.to_vec(),
            false if name.starts_with("gsm8k") || name.starts_with("mbpp") => sets.to_vec(),
            false if name.starts_with("paper") => sets[..1].to_vec(),
            false if name == "eval_paper.toml" => vec!["eval.suite.4.path=minerva.jsonl".to_owned()],
            false => Vec::new(),
        };
        let config = Config::load(&path, &sets).unwrap_or_else(|error| panic!("{error}"));
        let text = config.to_toml();
        let again = Config::from_str(&text, "config.toml", &[]).unwrap();
        assert_eq!(again.to_toml(), text, "{name}");
        count += 1;
    }
    assert!(count > 5);
}
