//! Problems of a run, and the order in which it meets them.

mod config;
mod order;
mod paths;

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use gcpo_data::Problem;
use gcpo_data::arithmetic::{self, Split};
use gcpo_data::dataset::{self, Loaded, Suite};

pub use config::{Generator, Preset, Source, SourceDraft, check_place, rows_of};
pub use order::{Order, Problems};
pub use paths::Paths;

use crate::console::note;
use crate::run::digest;

/// Seed of the built-in held-out problems: every run, whatever its seed, is judged on the same ones.
const HELD_OUT_SEED: u64 = 0x6863_706f;

/// The problems of `[data]`; each has a gold answer if there is someone `asking` for one.
///
/// # Errors
/// The file is missing or malformed, or there is none.
pub fn training(data: &Source, seed: u64, asking: Option<&str>) -> Result<Vec<Problem>> {
    Ok(load(data, Split::Train, seed, asking)
        .context("the training problems ([data])")?
        .problems)
}

/// Problems that no run trains on, of a file or built in, with the rows of the file that were left out; none if the source says
/// neither.
///
/// # Errors
/// The file is missing or malformed.
pub fn held_out(source: &Source) -> Result<Loaded> {
    if source.path.is_none() && source.generator.is_none() {
        return Ok(Loaded {
            problems: Vec::new(),
            skipped: Vec::new(),
        });
    }
    load(source, Split::Test, HELD_OUT_SEED, Some("evaluation"))
}

/// SHA-256 of some problems in their order, every field of them: tells one set of problems from another, wherever it is kept.
pub fn fingerprint(problems: &[Problem]) -> String {
    let json = serde_json::to_vec(problems).expect("texts are JSON");
    digest::of_bytes(&json)
}

/// What is asked, with all that was said before.
fn asked(problem: &Problem) -> (&str, Vec<&str>) {
    let before = problem.turns.before.iter();
    (
        &problem.question,
        before.map(|turn| turn.content.as_str()).collect(),
    )
}

/// How many of some problems are also trained on: their questions are the same.
pub fn shared(problems: &[Problem], training: &[Problem]) -> usize {
    // One question behind two conversations is two.
    let known: HashSet<_> = training.iter().map(asked).collect();
    problems
        .iter()
        .filter(|problem| known.contains(&asked(problem)))
        .count()
}

/// The evaluation-only suite that a run is about to train on, as far as its preset or its file says so.
pub fn trains_on(data: &Source) -> Option<&'static Suite> {
    let Some(Preset::Named(preset)) = &data.preset else {
        return None;
    };
    let files = data.path.as_ref()?.all();
    let is_of = |hub: &str| files.iter().any(|file| file == Path::new(hub));
    Suite::NAMED
        .iter()
        .filter(|suite| suite.evaluation_only)
        .find(|suite| suite.name == preset || suite.hub.is_some_and(is_of))
}

fn load(source: &Source, split: Split, seed: u64, asking: Option<&str>) -> Result<Loaded> {
    if let Some(Generator::Arithmetic) = source.generator {
        let count = match source.limit {
            0 => source.count,
            limit => source.count.min(limit),
        };
        return Ok(Loaded {
            problems: arithmetic::generate(count, seed, split),
            skipped: Vec::new(),
        });
    }
    let paths = source
        .path
        .as_ref()
        .context("no path and no generator: set one of them")?;
    let mut all = Loaded::default();
    for (part, path) in paths.all().iter().enumerate() {
        let more = load_path(source, part, path, split, seed, asking)?;
        all.problems.extend(more.problems);
        all.skipped.extend(more.skipped);
    }
    Ok(all)
}

/// The problems of one of the paths, number `part`.
fn load_path(
    source: &Source,
    part: usize,
    path: &Path,
    split: Split,
    seed: u64,
    asking: Option<&str>,
) -> Result<Loaded> {
    let preset = rows_of(source.preset.as_ref())?;
    let by_default = match split {
        Split::Train => "train",
        Split::Test => "test",
    };
    let of_programs = preset.programs && path.is_file();
    let named = source.split.as_deref().filter(|_| !of_programs);
    let files = dataset::files_of(path, named, by_default)?;
    if path.is_dir() {
        let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        note(&format!("{}: reading {}", path.display(), names.join(", ")));
    }
    let mut all = Loaded::default();
    for file in &files {
        let in_file = named.filter(|_| !path.is_dir());
        let mut loaded = dataset::load_split(file, in_file, preset, asking)?;
        if of_programs {
            let split = source.split.as_deref();
            take_part(&mut loaded.problems, file, split, by_default)?;
        }
        for line in loaded.left_out(&file.display().to_string()) {
            note(&line);
        }
        let mut problems = loaded.problems;
        if source.limit > 0 {
            problems.truncate(source.limit - all.problems.len());
        }
        if source.variants > 0 && !problems.is_empty() {
            let more = dataset::variants(file, preset, problems.len(), source.variants, seed)?;
            problems.extend(more);
        }
        all.problems.extend(problems);
        all.skipped.extend(loaded.skipped);
        if source.limit > 0 && all.problems.len() >= source.limit {
            break;
        }
    }
    for problem in &mut all.problems {
        if let Some(place) = &mut problem.place {
            place.part = part;
        }
    }
    Ok(all)
}

/// Keeps a split of MBPP's own file, whose rows are divided by their names, and says so.
fn take_part(problems: &mut Vec<Problem>, file: &Path, split: Option<&str>, by_default: &str) -> Result<()> {
    let part = dataset::of_mbpp(problems, split.unwrap_or(by_default));
    match (part.with_context(|| file.display().to_string())?, split) {
        (Some(said), _) => note(&format!("{}: {said}", file.display())),
        (None, Some(split)) => bail!(
            "{}: split {split:?} is asked for, and this is one file, which has no splits; remove the key",
            file.display()
        ),
        (None, None) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::section::Value as _;

    #[test]
    fn training_on_what_models_are_compared_on_is_noticed() {
        let named = |data: &str| {
            let draft = SourceDraft::read(toml::Value::Table(data.parse().unwrap()));
            let data = draft.unwrap().complete().unwrap();
            trains_on(&data).map(|suite| suite.name)
        };
        assert_eq!(named("path = \"f.jsonl\"\npreset = \"aime24\""), Some("aime24"));
        let hub = Suite::named("math500").unwrap().hub.unwrap();
        assert_eq!(
            named(&format!("path = \"{hub}\"\npreset = \"math\"")),
            Some("math500")
        );
        assert_eq!(named("path = \"train.jsonl\"\npreset = \"math\""), None);
        assert_eq!(named("path = \"test.jsonl\"\npreset = \"gsm8k\""), None);
    }
}
