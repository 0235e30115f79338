//! Short runs of every kind, and what they must come to.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::events;

/// A step takes some hundredths of a second.
const TRAIN: &str = r#"
    [model]
    path = "quickstart"
    [data]
    generator = "arithmetic"
    count = 30
    [prompt]
    style = "marks"
    [rollout]
    num_generations = 4
    max_completion_length = 10
    [projection]
    integrations = 2
    samples = 2
    [train]
    max_steps = 8
    prompts_per_step = 3
    learning_rate = 1e-4
    [eval]
    every = 4
    size = 8
    [checkpoint]
    every = 2
    [run]
    report_to = ["tensorboard"]
"#;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A kind of run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    Gcpo,
    Grpo,
    Sft,
    Eval,
}

pub const KINDS: [Kind; 4] = [Kind::Gcpo, Kind::Grpo, Kind::Sft, Kind::Eval];

impl Kind {
    /// The command that starts it in `place`, or goes on with it.
    pub fn args(self, place: &str, goes_on: bool) -> Vec<String> {
        let text = match self {
            Kind::Gcpo => "train run.toml --set objective.beta=0.04",
            Kind::Grpo => "train run.toml --set objective={name=\"grpo\"}",
            Kind::Sft => "sft run.toml",
            Kind::Eval => "eval run.toml --model quickstart --set eval.size=64 --set rollout.max_rows=4",
        };
        let place = match (self, goes_on) {
            (Kind::Eval, true) => format!("--resume --out {place}"),
            (Kind::Eval, false) => format!("--out {place}"),
            (_, true) => format!("--resume {place}"),
            (_, false) => format!("--run-dir {place}"),
        };
        let text = format!("{text} --device cpu {place}");
        text.split(' ').map(str::to_owned).collect()
    }

    /// All that two runs of this kind have in common, by its place.
    pub fn result(self, place: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        if self == Kind::Eval {
            found.insert("eval.jsonl".to_owned(), fs::read(place).unwrap());
            return found;
        }
        let mut open = vec![place.to_owned()];
        while let Some(at) = open.pop() {
            for entry in fs::read_dir(at).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(place).unwrap().display().to_string();
                if name == "tensorboard" {
                    found.insert(name, untimed_events(&path));
                } else if path.is_dir() {
                    open.push(path);
                } else if name == "metrics.jsonl" {
                    found.insert(name, without_seconds(&path));
                } else if name == "eval.jsonl" {
                    found.insert(name, without_place(&path));
                } else if ![".lock", "checkpoints/.timed"].contains(&name.as_str()) {
                    found.insert(name, fs::read(&path).unwrap());
                }
            }
        }
        found
    }
}

/// A run's last evaluation, without the name of its checkpoint, which begins with the run's directory.
fn without_place(path: &Path) -> Vec<u8> {
    let text = fs::read_to_string(path).unwrap();
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("model");
        format!("{line}\n")
    };
    text.lines().map(line).collect::<String>().into_bytes()
}

/// What TensorBoard reads of a run, without times.
fn untimed_events(dir: &Path) -> Vec<u8> {
    let mut steps = events::read(dir);
    for (_, numbers) in &mut steps {
        numbers.retain(|tag, _| !tag.starts_with("time/"));
    }
    format!("{steps:?}").into_bytes()
}

fn without_seconds(path: &Path) -> Vec<u8> {
    let text = fs::read_to_string(path).unwrap();
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let keys = line.as_object_mut().unwrap();
        keys.retain(|key, _| !key.starts_with("time/"));
        format!("{line}\n")
    };
    text.lines().map(line).collect::<String>().into_bytes()
}

/// A run of each kind that nothing happened to.
pub struct References {
    dir: PathBuf,
    results: BTreeMap<Kind, (BTreeMap<String, Vec<u8>>, Duration)>,
}

impl References {
    pub fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        prepare(dir);
        let run = |kind: Kind| {
            let started = Instant::now();
            let place = format!("{kind:?}");
            let output = finish(spawn(dir, &kind.args(&place, false)));
            assert!(output.status.success(), "{}", said(&output));
            (kind, (kind.result(&dir.join(place)), started.elapsed()))
        };
        Self {
            dir: dir.to_owned(),
            results: KINDS.map(run).into(),
        }
    }

    /// The directory of a finished run.
    pub fn dir(&self, kind: Kind) -> PathBuf {
        self.dir.join(format!("{kind:?}"))
    }

    /// How long a run takes.
    pub fn time(&self, kind: Kind) -> Duration {
        self.results[&kind].1
    }

    /// Compares a run with the one that nothing happened to.
    pub fn compare(&self, kind: Kind, place: &Path) {
        let (expected, mut found) = (&self.results[&kind].0, kind.result(place));
        // A run that was stopped also has the checkpoint that it was stopped at.
        found.retain(|name, _| expected.contains_key(name) || !name.starts_with("checkpoints/step-"));
        let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(expected), names(&found), "{kind:?}");
        for (name, bytes) in expected {
            assert!(*bytes == found[name], "{kind:?}: {name} differs");
        }
    }
}

/// What a run in `dir` needs.
pub fn prepare(dir: &Path) {
    fs::write(dir.join("run.toml"), TRAIN).unwrap();
}

pub fn spawn(dir: &Path, args: &[String]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_gcpo"))
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Signals that runs are stopped by here: SIGHUP, SIGINT, SIGKILL and SIGTERM.
const SENT: [i32; 4] = [1, 2, 9, 15];

/// Waits for a process, which must not hang, and end by no signal but one that it was sent.
pub fn finish(mut child: Child) -> Output {
    let started = Instant::now();
    // Its words are read meanwhile: it must not wait for a reader.
    let mut pipe = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = std::io::Read::read_to_end(&mut pipe, &mut text);
        text
    });
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it hangs: {child:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let output = Output {
        status,
        stdout: Vec::new(),
        stderr: reader.join().unwrap(),
    };
    let crashed = status.signal().is_some_and(|signal| !SENT.contains(&signal));
    assert!(!crashed, "{status}: {}", said(&output));
    output
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A program that was given something wrong says so once, and does not panic.
#[track_caller]
pub fn assert_refused(output: &Output) {
    let text = said(output);
    assert!(
        matches!(output.status.code(), Some(1 | 2)),
        "{:?}: {text}",
        output.status
    );
    assert!(!text.contains("panicked"), "{text}");
    assert_eq!(text.matches("error: ").count(), 1, "{text}");
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(fs::copy(&path, &target).unwrap()),
        }
    }
}

/// An empty directory for a trial.
pub fn fresh(root: &Path, name: &str) -> PathBuf {
    let dir = root.join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    prepare(&dir);
    dir
}
