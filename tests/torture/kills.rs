//! Runs that are killed again and again, and must come to the same bytes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::runs::{KINDS, Kind, References, finish, fresh, said, spawn};
use crate::{Counts, Random, Torture};

pub struct Kills<'a> {
    root: PathBuf,
    references: &'a References,
}

impl<'a> Kills<'a> {
    pub fn new(root: &Path, references: &'a References) -> Self {
        Self {
            root: root.to_owned(),
            references,
        }
    }
}

impl Torture for Kills<'_> {
    fn once(&mut self, random: &mut Random, counts: &mut Counts) {
        let kind = *random.pick(&KINDS);
        let dir = fresh(&self.root, "kill");
        let whole = self.references.time(kind).as_micros() as usize;
        let mut place = "0".to_owned();
        let mut goes_on = false;
        // Five times it is stopped; then it is let go on, and where nothing was saved yet started anew once more.
        for trial in 1..=7 {
            let mut child = spawn(&dir, &kind.args(&place, goes_on));
            let left_alone = trial > 5;
            if !left_alone {
                // Files are made in the first moments, which would be met seldom.
                let most = if random.below(3) == 0 {
                    whole / 8
                } else {
                    whole * 5 / 4
                };
                std::thread::sleep(Duration::from_micros(random.below(most) as u64));
                let soft = random.below(4) == 0;
                match soft {
                    true => {
                        let signal = *random.pick(&["-TERM", "-INT", "-HUP"]);
                        let id = child.id().to_string();
                        let _ = Command::new("kill").args([signal, &id]).output();
                    }
                    false => child.kill().unwrap(),
                }
                counts.add(if soft { "signals" } else { "kills" }, 1);
            }
            let output = finish(child);
            let text = said(&output);
            assert!(!text.contains("panicked"), "{text}");
            if output.status.success() {
                break;
            }
            if goes_on && text.contains("has no complete checkpoint") {
                counts.add("killed before the first checkpoint", 1);
                place = trial.to_string();
                goes_on = false;
                continue;
            }
            let refused = output.status.code() == Some(1);
            // A run that is killed before its directory is whole leaves nothing to go on with.
            let begun = match kind {
                Kind::Eval => dir.join(&place).exists(),
                _ => dir.join(&place).join("config.toml").exists(),
            };
            assert!(!(left_alone || refused && begun), "{kind:?}: {text}");
            goes_on = begun;
            if !begun {
                place = trial.to_string();
            }
        }
        self.references.compare(kind, &dir.join(&place));
        counts.add("runs that came to the same bytes", 1);
    }
}
