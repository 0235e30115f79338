//! Disks that become full, on a file system in memory: what was saved stays, and the run goes on when there is room.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::runs::{Kind, References, finish, prepare, said, spawn};
use crate::{Counts, Random, Torture};

pub struct Disk<'a> {
    mount: Mount,
    references: &'a References,
}

struct Mount(PathBuf);

impl Mount {
    fn resize(&self, bytes: usize) {
        let size = format!("remount,size={bytes}");
        let done = Command::new("mount").args(["-o", &size]).arg(&self.0).output();
        assert!(done.unwrap().status.success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // It holds what something was found with.
        if std::thread::panicking() {
            return;
        }
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// Room for anything here.
const ROOM: usize = 256 << 20;

impl<'a> Disk<'a> {
    pub fn new(root: &Path, references: &'a References) -> Result<Self, String> {
        let place = root.join("disk");
        fs::create_dir_all(&place).unwrap();
        let size = format!("size={ROOM}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&place)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Self {
                mount: Mount(place),
                references,
            }),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Bytes of all files below a directory.
fn size(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| match path.is_dir() {
            true => size(&path),
            false => fs::metadata(path).unwrap().len() as usize,
        })
        .sum()
}

impl Torture for Disk<'_> {
    fn once(&mut self, random: &mut Random, counts: &mut Counts) {
        let kind = *random.pick(&[Kind::Gcpo, Kind::Grpo, Kind::Sft, Kind::Eval]);
        let dir = &self.mount.0;
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
        prepare(dir);
        let whole = match kind {
            Kind::Eval => fs::metadata(self.references.dir(kind)).unwrap().len() as usize,
            kind => size(&self.references.dir(kind)),
        };
        self.mount.resize(16384 + random.below(whole * 5 / 4));
        let output = finish(spawn(dir, &kind.args("run", false)));
        let text = said(&output);
        assert!(!text.contains("panicked"), "{text}");
        if !output.status.success() {
            counts.add("full disks", 1);
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert!(
                text.contains("No space left") && text.contains("run"),
                "it does not say which file: {text}"
            );
            let checkpoints = dir.join("run/checkpoints");
            if let Ok(entries) = fs::read_dir(checkpoints) {
                for entry in entries {
                    let name = entry.unwrap().file_name().into_string().unwrap();
                    assert!(!name.starts_with(".step"), "{name} is left: {text}");
                }
            }
            self.mount.resize(ROOM);
            let output = finish(spawn(dir, &kind.args("run", true)));
            let text = said(&output);
            assert!(!text.contains("panicked"), "{text}");
            if !output.status.success() {
                // So early that there is nothing to go on with.
                assert!(
                    ["no complete checkpoint", "no run directory", "No such file"]
                        .iter()
                        .any(|what| text.contains(what)),
                    "{text}"
                );
                return;
            }
        }
        self.references.compare(kind, &dir.join("run"));
        counts.add("runs that came to the same bytes", 1);
    }
}
