//! Checkpoints and logs that were damaged, none of which may be trained on.

use std::fs;
use std::path::{Path, PathBuf};

use crate::runs::{Kind, References, assert_refused, copy, finish, fresh, spawn};
use crate::{Counts, Random, Torture};

pub struct Flips<'a> {
    root: PathBuf,
    references: &'a References,
}

impl<'a> Flips<'a> {
    pub fn new(root: &Path, references: &'a References) -> Self {
        Self {
            root: root.to_owned(),
            references,
        }
    }
}

/// Files that a damage is looked for in: those of the last checkpoint, and the logs.
fn files(run: &Path) -> Vec<PathBuf> {
    let last = run.join("checkpoints/step-8");
    let entries = [last.join("trainer"), last].map(|dir| fs::read_dir(dir).unwrap());
    let mut found: Vec<PathBuf> = entries
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    found.extend(["metrics.jsonl", "samples.jsonl"].map(|name| run.join(name)));
    found.retain(|path| fs::metadata(path).unwrap().len() > 0);
    found.sort();
    found
}

/// A byte of a number of seconds, which no digest holds.
fn is_of_a_time(bytes: &[u8], at: usize) -> bool {
    let line = bytes[..at]
        .iter()
        .rposition(|&b| b == b'\n')
        .map_or(0, |end| end + 1);
    let key = bytes[line..at].windows(6).rposition(|part| part == b"\"time/");
    // Up to the comma, or the end, behind the number.
    key.is_some_and(|key| !bytes[line + key..at].contains(&b','))
}

impl Torture for Flips<'_> {
    fn once(&mut self, random: &mut Random, counts: &mut Counts) {
        let kind = *random.pick(&[Kind::Gcpo, Kind::Grpo, Kind::Sft]);
        let dir = fresh(&self.root, "flip");
        let run = dir.join("run");
        copy(&self.references.dir(kind), &run);
        for _ in 0..4 {
            let path = random.pick(&files(&run)).clone();
            let whole = fs::read(&path).unwrap();
            let mut damaged = whole.clone();
            let at = random.below(whole.len());
            let what = match random.below(8) {
                0 => {
                    damaged.truncate(at);
                    "files shortened"
                }
                1 if path.ends_with("metrics.jsonl") || path.ends_with("samples.jsonl") => {
                    let text = String::from_utf8(damaged).unwrap();
                    let gone = random.below(text.lines().count());
                    let lines = text.split_inclusive('\n').enumerate();
                    damaged = lines
                        .filter(|(number, _)| *number != gone)
                        .flat_map(|(_, line)| line.bytes())
                        .collect();
                    "lines lost"
                }
                2 => {
                    let other = path.display().to_string().replace("step-8", "step-6");
                    damaged = fs::read(other).unwrap_or_default();
                    "files swapped"
                }
                _ if path.ends_with("metrics.jsonl") && is_of_a_time(&whole, at) => continue,
                _ => {
                    damaged[at] ^= 1 << random.below(8);
                    "bits flipped"
                }
            };
            if damaged == whole {
                continue;
            }
            fs::write(&path, &damaged).unwrap();
            let mut args = kind.args("run", true);
            args.extend(["--set".to_owned(), "train.max_steps=9".to_owned()]);
            let output = finish(spawn(&dir, &args));
            assert!(
                !output.status.success(),
                "{what} in {} was not seen",
                path.display()
            );
            assert_refused(&output);
            counts.add(what, 1);
            fs::write(&path, &whole).unwrap();
        }
        // Nothing of that touched the run.
        self.references.compare(kind, &run);
    }
}
