//! The order in which a run meets its problems.

use std::collections::HashSet;
use std::ops::Range;

use gcpo_data::Problem;

use super::Source;
#[cfg(test)]
use super::SourceDraft;
use crate::stream::{Stage, StreamKey, permutation};

/// The problems of a run, and the order in which it meets them.
#[derive(Debug, Clone)]
pub struct Problems {
    all: Vec<Problem>,
    order: Order,
}

impl Problems {
    /// Some problems, at least one, that a run with this seed trains on.
    pub fn new(all: Vec<Problem>, source: &Source, seed: u64) -> Self {
        let order = Order::of(&all, source, seed);
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
///
/// Of several parts with weights, an epoch has as many picks as there are problems, and of each part its share of them: a part goes on
/// through its own epochs from one to the next, so that a small one is met more often and a large one in pieces, and none is left out.
#[derive(Debug, Clone)]
pub struct Order {
    count: usize,
    /// More than one only where they have weights.
    parts: Vec<OfPart>,
    shuffle: bool,
    seed: u64,
}

/// The problems of one of the paths.
#[derive(Debug, Clone)]
struct OfPart {
    /// The places of its problems.
    all: Range<usize>,
    /// How many of them an epoch has.
    share: usize,
}

/// The parts that problems are drawn from by weights, one of all where there are none. They stand in the order of the paths.
fn parts(all: &[Problem], source: &Source) -> Vec<OfPart> {
    let part = |problem: &Problem| problem.place.as_ref().map_or(0, |place| place.part);
    let whole = OfPart {
        all: 0..all.len(),
        share: all.len(),
    };
    if source.weights.is_empty() {
        return vec![whole];
    }
    let mut parts: Vec<OfPart> = Vec::new();
    let mut weights = Vec::new();
    let mut first = 0;
    for chunk in all.chunk_by(|a, b| part(a) == part(b)) {
        parts.push(OfPart {
            all: first..first + chunk.len(),
            share: 0,
        });
        weights.push(source.weights[part(&chunk[0])]);
        first += chunk.len();
    }
    let sum: f64 = weights.iter().sum();
    let exact: Vec<f64> = weights
        .iter()
        .map(|weight| weight / sum * all.len() as f64)
        .collect();
    for (part, exact) in parts.iter_mut().zip(&exact) {
        part.share = exact.floor() as usize;
    }
    // What is left by rounding goes to the largest remainders.
    let mut by_remainder: Vec<usize> = (0..parts.len()).collect();
    by_remainder.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()));
    let given: usize = parts.iter().map(|part| part.share).sum();
    for &at in by_remainder.iter().cycle().take(all.len() - given) {
        parts[at].share += 1;
    }
    // No path is left out, however little it weighs.
    while let Some(none) = parts.iter().position(|part| part.share == 0)
        && let Some(most) = (0..parts.len()).max_by_key(|&at| parts[at].share)
        && parts[most].share > 1
    {
        parts[most].share -= 1;
        parts[none].share = 1;
    }
    parts
}

impl Order {
    /// That of some problems, at least one, in a run with this seed.
    pub fn of(all: &[Problem], source: &Source, seed: u64) -> Self {
        Self::of_parts(parts(all, source), source.shuffle, seed)
    }

    /// An order of problems in parts, which must not be none.
    fn of_parts(parts: Vec<OfPart>, shuffle: bool, seed: u64) -> Self {
        let count = parts.iter().map(|part| part.share).sum();
        assert!(count > 0);
        Self {
            count,
            parts,
            shuffle,
            seed,
        }
    }

    /// The places of the problems of step `step` (from 1), `size` of them. They may go on into the next epoch.
    pub fn step(&self, step: usize, size: usize) -> impl Iterator<Item = usize> + '_ {
        let mut epoch = (usize::MAX, Vec::new());
        ((step - 1) * size..step * size).map(move |at| {
            if !self.shuffle && self.parts.len() == 1 {
                return at % self.count;
            }
            if epoch.0 != at / self.count {
                epoch = (at / self.count, self.epoch(at / self.count));
            }
            epoch.1[at % self.count]
        })
    }

    /// All picks of an epoch, counted from 0.
    fn epoch(&self, number: usize) -> Vec<usize> {
        let mixed = self.shuffle.then(|| self.permutation(number, 0, self.count));
        if self.parts.len() == 1 {
            return mixed.unwrap_or_else(|| (0..self.count).collect());
        }
        // Each pick with where it would stand if its part's were spread evenly.
        let mut picks: Vec<(f64, usize)> = Vec::with_capacity(self.count);
        for (part, of) in self.parts.iter().enumerate() {
            let size = of.all.len();
            let mut own = (usize::MAX, Vec::new());
            for pick in 0..of.share {
                let at = number * of.share + pick;
                if own.0 != at / size {
                    let order = match self.shuffle {
                        true => self.permutation(at / size, part + 1, size),
                        false => (0..size).collect(),
                    };
                    own = (at / size, order);
                }
                let even = (pick as f64 + 0.5) / of.share as f64;
                picks.push((even, of.all.start + own.1[at % size]));
            }
        }
        match mixed {
            Some(mixed) => mixed.into_iter().map(|at| picks[at].1).collect(),
            None => {
                picks.sort_by(|a, b| a.0.total_cmp(&b.0));
                picks.into_iter().map(|(_, pick)| pick).collect()
            }
        }
    }

    /// A permutation of `count`, of an epoch of all (`part` 0) or of a part's own.
    fn permutation(&self, epoch: usize, part: usize, count: usize) -> Vec<usize> {
        let key = StreamKey {
            seed: self.seed,
            step: epoch as u64,
            prompt: part as u64,
            stage: Stage::Order,
            sample: 0,
        };
        permutation(count, &mut key.rng())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gcpo_data::Place;

    impl Order {
        fn new(count: usize, shuffle: bool, seed: u64) -> Self {
            let all = OfPart {
                all: 0..count,
                share: count,
            };
            Self::of_parts(vec![all], shuffle, seed)
        }
    }

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

    #[test]
    fn weights_say_how_much_of_an_epoch_is_of_which_path() {
        let problem = |part: usize| Problem {
            place: Some(Place {
                part,
                file: "f".into(),
                line: 1,
            }),
            ..Problem::default()
        };
        // Ten problems of the first path, two of the second, of which half of an epoch is to be.
        let all: Vec<Problem> = [0; 10].into_iter().chain([1; 2]).map(problem).collect();
        let source = |weights: &str, shuffle: bool| {
            let text = format!("path = [\"a.jsonl\", \"b.jsonl\"]\nweights = {weights}\nshuffle = {shuffle}");
            let draft =
                <SourceDraft as crate::section::Value>::read(toml::Value::Table(text.parse().unwrap()));
            draft.unwrap().complete().unwrap()
        };
        for shuffle in [true, false] {
            let problems = Problems::new(all.clone(), &source("[1, 1.0]", shuffle), 3);
            let order = &problems.order;
            let epochs: Vec<Vec<usize>> = (1..=5).map(|step| order.step(step, 12).collect()).collect();
            for epoch in &epochs {
                assert_eq!(epoch.iter().filter(|&&at| at >= 10).count(), 6, "{epoch:?}");
            }
            let mut of_first: Vec<usize> = epochs.concat().into_iter().filter(|&at| at < 10).collect();
            assert_eq!(of_first.len(), 30);
            of_first.sort_unstable();
            // Five epochs of six are three times all ten.
            assert!(of_first.chunks(3).all(|same| same[0] == same[2]), "{of_first:?}");
            // A step is a function of its number, also across epochs.
            let alone: Vec<usize> = order.step(4, 5).collect();
            assert_eq!(alone, epochs.concat()[15..20]);
        }
        let spread = Problems::new(all.clone(), &source("[5, 1]", false), 3);
        assert_eq!(
            spread.order.step(1, 12).collect::<Vec<_>>(),
            [0, 1, 2, 10, 3, 4, 5, 6, 7, 11, 8, 9]
        );
        let shares = |weights: &str| -> Vec<usize> {
            let parts = parts(&all, &source(weights, true));
            parts.iter().map(|part| part.share).collect()
        };
        assert_eq!(shares("[1, 3]"), [3, 9]);
        assert_eq!(shares("[1, 1e-6]"), [11, 1]);
    }
}
