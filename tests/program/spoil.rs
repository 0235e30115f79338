//! Good checkpoints to spoil, and the program run on them with little memory and little patience.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gcpo_model::checkpoint;
use gcpo_model::dtype::Dtype;
use gcpo_model::generation::GenerationConfig;

use super::temp;

pub const WEIGHTS: &str = "model.safetensors";
pub const INDEX: &str = "model.safetensors.index.json";

pub const INSPECT: &str = "inspect bad --length 1";
pub const SCORE: &str = "score --model bad --input ids.jsonl --device cpu";
pub const GENERATE: &str = "generate --model bad --prompt 1+1 --device cpu";

/// Address space that the program may take, in KiB; it needs a tenth.
const MEMORY: usize = 2 << 20;

/// Good checkpoints to spoil, and a place for the spoilt one.
pub struct Ground {
    dir: tempfile::TempDir,
}

impl Ground {
    pub fn new() -> Self {
        let dir = temp();
        let good = dir.path().join("good");
        super::checkpoint(&good);
        let device = gcpo_model::device::of_tests();
        let model = checkpoint::load(&good, Dtype::F32, &device).unwrap();
        let generation = GenerationConfig::load(&good, model.config()).unwrap();
        let config_json = &checkpoint::ConfigJson::default();
        let beside = checkpoint::Beside {
            config_json,
            generation: &generation,
        };
        let format = checkpoint::Format {
            dtype: Dtype::F32,
            max_shard_size: 9_000,
        };
        checkpoint::save_as(&model, beside, &dir.path().join("shards"), format).unwrap();
        fs::write(dir.path().join("ids.jsonl"), "{\"ids\": [1, 2, 3]}\n").unwrap();
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A copy of a good checkpoint.
    pub fn copy(&self, of: &str) -> PathBuf {
        let bad = self.path("bad");
        let _ = fs::remove_dir_all(&bad);
        fs::create_dir(&bad).unwrap();
        for entry in fs::read_dir(self.path(of)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), bad.join(entry.file_name())).unwrap();
        }
        bad
    }

    /// Exit code and standard error of a command on the spoilt checkpoint.
    #[track_caller]
    pub fn run(&self, what: &str, command: &str) -> (i32, String) {
        let mut child = Command::new("sh")
            .args(["-c", &format!("ulimit -v {MEMORY} && exec \"$0\" {command}")])
            .arg(env!("CARGO_BIN_EXE_gcpo"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).map(|_| text)
        });
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if started.elapsed() > Duration::from_secs(20) {
                child.kill().unwrap();
                panic!("{what}: `gcpo {command}` hangs");
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let text = reader.join().unwrap().unwrap();
        let code = status
            .code()
            .unwrap_or_else(|| panic!("{what}: {status}: {text}"));
        assert!(code != 101 && !text.contains("panicked"), "{what}: {text}");
        assert!(text.len() < 2000, "{what}: a message of {} bytes", text.len());
        assert!(!text.contains('\u{1b}'), "{what}: {text:?}");
        (code, text)
    }

    /// Both commands must fail with one message that holds all of `names`.
    #[track_caller]
    pub fn fails(&self, what: &str, names: &[&str]) {
        for command in [INSPECT, SCORE] {
            self.fails_in(command, what, names);
        }
    }

    #[track_caller]
    pub fn fails_in(&self, command: &str, what: &str, names: &[&str]) {
        let (code, text) = self.run(what, command);
        assert_ne!(code, 0, "{what}: `gcpo {command}` succeeds: {text}");
        assert_eq!(text.matches("error: ").count(), 1, "{what}: {text}");
        for name in names {
            assert!(text.contains(name), "{what}: {name} is not in: {text}");
        }
    }
}
