//! Runs are killed, disks filled, bits flipped and inputs spoilt at random, for as long as is asked for: a few seconds in `cargo test`,
//! and with `scripts/torture.sh MINUTES` as long as you like. The first loss, silent difference, panic or hang ends it and leaves what
//! it was found with.
//!
//! `GCPO_TORTURE_SEED` repeats what a run printed; `GCPO_TORTURE=kills,flips,disk,inputs` names what is done.
#![cfg(unix)]

mod disk;
mod flips;
mod inputs;
mod kills;
#[path = "../program/mod.rs"]
mod program;
mod runs;

use std::collections::BTreeMap;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime};

/// Random numbers (splitmix64).
pub struct Random(u64);

impl Random {
    /// The next of them.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound.max(1) as u64) as usize
    }

    /// One of some things.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// What was done, and how often.
#[derive(Default)]
pub struct Counts(BTreeMap<&'static str, usize>);

impl Counts {
    /// Counts `count` more of them.
    pub fn add(&mut self, what: &'static str, count: usize) {
        *self.0.entry(what).or_default() += count;
    }
}

/// One kind of torture; `once` does something and panics at what must not be.
trait Torture {
    fn once(&mut self, random: &mut Random, counts: &mut Counts);
}

#[test]
fn nothing_is_lost_and_nothing_is_wrong_in_silence() {
    let minutes: Option<f64> = env::var("GCPO_TORTURE_MINUTES").ok().map(|text| {
        let minutes = text.parse();
        minutes.unwrap_or_else(|_| panic!("GCPO_TORTURE_MINUTES={text}: give a number of minutes"))
    });
    let seed = match env::var("GCPO_TORTURE_SEED") {
        Ok(text) => text.parse().expect("GCPO_TORTURE_SEED is a whole number"),
        // Always the same in `cargo test`, where luck has no place.
        Err(_) if minutes.is_none() => 1,
        Err(_) => SystemTime::UNIX_EPOCH.elapsed().map_or(1, |time| time.as_secs()),
    };
    println!("torture with seed {seed}");
    let named = env::var("GCPO_TORTURE").unwrap_or_else(|_| "kills,flips,disk,inputs".to_owned());
    let dir = program::temp();
    let references = runs::References::new(&dir.path().join("references"));
    let mut kinds: Vec<(&str, Box<dyn Torture + '_>)> = Vec::new();
    for name in named.split(',') {
        let kind: Box<dyn Torture + '_> = match name {
            "kills" => Box::new(kills::Kills::new(dir.path(), &references)),
            "flips" => Box::new(flips::Flips::new(dir.path(), &references)),
            "disk" => match disk::Disk::new(dir.path(), &references) {
                Ok(disk) => Box::new(disk),
                Err(why) => {
                    println!("skipped: full disks ({why})");
                    continue;
                }
            },
            "inputs" => Box::new(inputs::Inputs::new(dir.path(), &references)),
            other => panic!("GCPO_TORTURE={other}: there is kills, flips, disk, inputs"),
        };
        kinds.push((name, kind));
    }
    let (started, mut random, mut counts) = (Instant::now(), Random(seed), Counts::default());
    let limit = minutes.map(|minutes| Duration::from_secs_f64(60.0 * minutes));
    let mut rounds = 0;
    let mut said = Instant::now();
    while limit.map_or(rounds < 2, |limit| started.elapsed() < limit) {
        for (name, kind) in &mut kinds {
            let done = catch_unwind(AssertUnwindSafe(|| kind.once(&mut random, &mut counts)));
            if done.is_err() {
                println!("{:?}", counts.0);
                let left = dir.keep();
                panic!(
                    "{name} found something (seed {seed}); what it was found with is in {}",
                    left.display()
                );
            }
        }
        rounds += 1;
        if minutes.is_some() && said.elapsed() > Duration::from_secs(30) {
            println!("{:.0} s: {:?}", started.elapsed().as_secs_f64(), counts.0);
            said = Instant::now();
        }
    }
    println!(
        "{:.0} s: {:?}; nothing was found",
        started.elapsed().as_secs_f64(),
        counts.0
    );
}
