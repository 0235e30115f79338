//! Problems of a run, and the order in which it meets them.

mod config;

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, Result};
use gcpo_data::Problem;
use gcpo_data::arithmetic::{self, Split};
use gcpo_data::dataset::{self, Loaded, Suite};

pub use config::{Generator, Preset, Source, SourceDraft, check_place, rows_of};

use crate::console::note;
use crate::run::digest;
use crate::stream::{Stage, StreamKey, permutation};

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
    let file = data.path.as_ref()?;
    Suite::NAMED
        .iter()
        .filter(|suite| suite.evaluation_only)
        .find(|suite| suite.name == preset || suite.hub.is_some_and(|hub| file == Path::new(hub)))
}

fn load(source: &Source, split: Split, seed: u64, asking: Option<&str>) -> Result<Loaded> {
    if let Some(Generator::Arithmetic) = source.generator {
        return Ok(Loaded {
            problems: arithmetic::generate(source.count, seed, split),
            skipped: Vec::new(),
        });
    }
    let path = source
        .path
        .as_deref()
        .context("no path and no generator: set one of them")?;
    let preset = rows_of(source.preset.as_ref())?;
    let mut loaded = dataset::load_for(path, preset, asking)?;
    for line in loaded.left_out(&path.display().to_string()) {
        note(&line);
    }
    if source.limit > 0 {
        loaded.problems.truncate(source.limit);
    }
    if source.variants > 0 {
        let more = dataset::variants(path, preset, source.limit, source.variants, seed)?;
        loaded.problems.extend(more);
    }
    Ok(loaded)
}

/// The problems of a run, and the order in which it meets them.
#[derive(Debug, Clone)]
pub struct Problems {
    all: Vec<Problem>,
    order: Order,
}

impl Problems {
    /// Some problems, at least one, that a run with this seed trains on.
    pub fn new(all: Vec<Problem>, source: &Source, seed: u64) -> Self {
        let order = Order::new(all.len(), source.shuffle, seed);
        Self { all, order }
    }

    /// All of them.
    pub fn all(&self) -> &[Problem] {
        &self.all
    }

    /// The problems of step `step` (from 1), `size` of them, with their numbers in it. They may go on into the next epoch.
    pub fn of_step(&self, step: usize, size: usize) -> impl Iterator<Item = (usize, &Problem)> {
        let picks = self.order.step(step, size);
        picks.map(|pick| &self.all[pick]).enumerate()
    }

    /// Problems that may take the place of some of step `step`'s `size`, without end, with their numbers in it: all others in an order
    /// drawn for the step, again and again; where there are no others, the step's own.
    pub fn in_place(&self, step: usize, size: usize) -> impl Iterator<Item = (usize, &Problem)> {
        let key = StreamKey {
            seed: self.order.seed,
            step: step as u64,
            prompt: 0,
            stage: Stage::InPlace,
            sample: 0,
        };
        let own: HashSet<usize> = self.order.step(step, size).collect();
        let mut picks = permutation(self.all.len(), &mut key.rng());
        if own.len() < picks.len() {
            picks.retain(|pick| !own.contains(pick));
        }
        let problems = (0..picks.len()).cycle().map(move |at| &self.all[picks[at]]);
        (size..).zip(problems)
    }
}

/// The order in which the problems are met: a new permutation of all of them each epoch.
///
/// A step's problems depend on the seed and the step's number alone, so a resumed run goes on where it was, also in
/// the middle of an epoch.
#[derive(Debug, Clone)]
struct Order {
    count: usize,
    shuffle: bool,
    seed: u64,
}

impl Order {
    /// An order of `count` problems, which must not be 0.
    fn new(count: usize, shuffle: bool, seed: u64) -> Self {
        assert!(count > 0);
        Self { count, shuffle, seed }
    }

    /// The problems of step `step` (from 1), `size` of them. They may go on into the next epoch.
    fn step(&self, step: usize, size: usize) -> impl Iterator<Item = usize> + '_ {
        let mut epoch = (usize::MAX, Vec::new());
        ((step - 1) * size..step * size).map(move |at| {
            if !self.shuffle {
                return at % self.count;
            }
            if epoch.0 != at / self.count {
                let number = at / self.count;
                let key = StreamKey {
                    seed: self.seed,
                    step: number as u64,
                    prompt: 0,
                    stage: Stage::Order,
                    sample: 0,
                };
                epoch = (number, permutation(self.count, &mut key.rng()));
            }
            epoch.1[at % self.count]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::section::Value as _;

    #[test]
    fn every_epoch_holds_every_problem_once_in_another_order() {
        let order = Order::new(10, true, 1);
        let flat: Vec<usize> = (1..=10)
            .flat_map(|step| order.step(step, 4).collect::<Vec<_>>())
            .collect();
        let epochs: Vec<Vec<usize>> = flat.chunks(10).map(<[usize]>::to_vec).collect();
        for epoch in &epochs {
            let mut sorted = epoch.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(epochs[0], epochs[1]);
        assert_ne!(epochs[0], Order::new(10, true, 2).step(1, 10).collect::<Vec<_>>());
    }

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

    #[test]
    fn other_problems_take_the_place_of_a_steps_own() {
        let problem = |n: usize| Problem {
            id: n.to_string(),
            ..Problem::default()
        };
        let problems = Problems {
            all: (0..10).map(problem).collect(),
            order: Order::new(10, true, 1),
        };
        let of_step = |step| -> Vec<(usize, String)> {
            let picks = problems.in_place(step, 4).take(12);
            picks
                .map(|(number, problem)| (number, problem.id.clone()))
                .collect()
        };
        let found = of_step(3);
        assert_eq!(found, of_step(3));
        assert_ne!(found, of_step(4));
        assert_eq!(
            found.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
            (4..16).collect::<Vec<_>>()
        );
        let own: HashSet<String> = problems
            .of_step(3, 4)
            .map(|(_, problem)| problem.id.clone())
            .collect();
        let others: HashSet<String> = found.iter().map(|(_, id)| id.clone()).collect();
        assert!(
            others.len() == 6 && own.is_disjoint(&others),
            "{own:?} {others:?}"
        );
        // Of a step of all, they are its own.
        assert_eq!(problems.in_place(1, 10).take(20).count(), 20);
    }

    #[test]
    fn the_order_is_the_files_without_shuffle() {
        let order = Order::new(3, false, 1);
        assert_eq!(order.step(2, 4).collect::<Vec<_>>(), [1, 2, 0, 1]);
    }
}
