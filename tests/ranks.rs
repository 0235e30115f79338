//! Several processes that train as one: started by `mpirun` as a user starts them, with the same results as one, and ended together whatever
//! happens to one of them. Skipped, and said so, where there is no `mpirun`.
//!
//!     cargo test --features mpi --test ranks
//!     GCPO_KILLS=30 cargo test --features mpi --test ranks killed -- --nocapture
//!
//! Long: it is linked for a feature of its own, once, and what starts and looks at ranks serves all of it.
//!
//! Without the feature: what a program says that was started several times and cannot be one run.

mod program;

#[cfg(all(unix, not(feature = "mpi")))]
#[test]
fn a_program_without_mpi_that_is_started_several_times_says_so_once() {
    let dir = program::temp();
    let run = |rank: &str, by: [&str; 2]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_gcpo"))
            .args(["--run-dir", "run"])
            .env(by[0], rank)
            .env(by[1], "4")
            .current_dir(dir.path())
            .output()
            .unwrap()
    };
    for by in [
        ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"],
        ["PMI_RANK", "PMI_SIZE"],
        ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS"],
    ] {
        let first = run("0", by);
        let text = String::from_utf8_lossy(&first.stderr).into_owned();
        assert!(
            !first.status.success() && text.contains("--features mpi"),
            "{text}"
        );
        let other = run("2", by);
        assert!(!other.status.success());
        assert_eq!(String::from_utf8_lossy(&other.stderr), "");
    }
    assert!(!dir.path().join("run").exists());
}

#[cfg(all(unix, feature = "mpi"))]
mod of_mpi {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Output, Stdio};
    use std::time::{Duration, Instant};

    use safetensors::SafeTensors;
    use serde_json::Value;

    use super::program;

    /// Longer than anything here takes on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(300);

    const CONFIG: &str = r#"
        [model]
        path = "quickstart"
        [data]
        generator = "arithmetic"
        count = 20
        [prompt]
        style = "marks"
        [grader]
        kind = "numbers"
        [rollout]
        num_generations = 3
        max_completion_length = 10
        [projection]
        integrations = 2
        samples = 2
        [train]
        # A gradient of 1e-9, whose sign the order of a sum may turn, is then no whole step.
        adam_epsilon = 1e-6
        max_steps = 1
        prompts_per_step = 6
        mini_batches = 2
        per_device_train_batch_size = 4
        gradient_accumulation_steps = 3
        learning_rate = 1e-4
        lr_scheduler_type = "constant"
        ddp_bucket_cap_mb = 0.01
        ddp_timeout = 60
        [eval]
        every = 2
        size = 7
        [checkpoint]
        every = 1
    "#;

    /// Whether ranks can be started here; says so where they cannot.
    fn has_mpirun() -> bool {
        let found = Command::new("mpirun").arg("--version").output().is_ok();
        if !found {
            eprintln!("skipped: there is no mpirun here");
        }
        found
    }

    /// A directory with the config.
    fn dir() -> tempfile::TempDir {
        let dir = program::temp();
        fs::write(dir.path().join("run.toml"), CONFIG).unwrap();
        // A tree search reads nothing of the projection.
        let (before, after) = CONFIG.split_once("[projection]").unwrap();
        let rest = format!("{before}[train]{}", after.split_once("[train]").unwrap().1);
        fs::write(dir.path().join("rest.toml"), rest).unwrap();
        dir
    }

    fn mpirun(dir: &Path, ranks: usize, args: &[&str]) -> Command {
        let mut command = Command::new("mpirun");
        command
            .args(["--allow-run-as-root", "--oversubscribe", "-n", &ranks.to_string()])
            .args(["-x", "RAYON_NUM_THREADS=1"])
            .arg(env!("CARGO_BIN_EXE_gcpo"))
            .args(args)
            .current_dir(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Waits for ranks that must end.
    #[track_caller]
    fn finish(mut child: Child) -> Output {
        let began = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if began.elapsed() > PATIENCE {
                child.kill().unwrap();
                let output = child.wait_with_output().unwrap();
                panic!("they hang: {}", said(&output));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        child.wait_with_output().unwrap()
    }

    fn said(output: &Output) -> String {
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    #[track_caller]
    fn run(dir: &Path, ranks: usize, args: &[&str]) -> String {
        let output = finish(mpirun(dir, ranks, args).spawn().unwrap());
        assert!(
            output.status.success(),
            "{ranks} ranks, {args:?}: {}",
            said(&output)
        );
        said(&output)
    }

    fn lines(path: &Path) -> Vec<Value> {
        let text = fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn tensors(path: &Path) -> BTreeMap<String, Vec<f32>> {
        let bytes = fs::read(path).unwrap();
        let floats = |bytes: &[u8]| -> Vec<f32> {
            let values = bytes.chunks_exact(4);
            values
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect()
        };
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let all = tensors.tensors().into_iter();
        all.map(|(name, view)| (name, floats(view.data()))).collect()
    }

    /// What was sampled.
    fn completions(run: &Path) -> Vec<Value> {
        let samples = lines(&run.join("samples.jsonl"));
        samples
            .into_iter()
            .map(|line| line["completions"].clone())
            .collect()
    }

    /// A checkpoint is another's: the same files, and numbers within 1e-5.
    #[track_caller]
    fn assert_same_step(found: &Path, expected: &Path, step: usize) {
        let at = |run: &Path| run.join(format!("checkpoints/step-{step}"));
        let names = |run: &Path| -> Vec<PathBuf> { program::files(&at(run)).into_keys().collect() };
        assert_eq!(names(found), names(expected));
        let files = names(expected).into_iter();
        let files: Vec<PathBuf> = files
            .filter(|name| name.extension().is_some_and(|end| end == "safetensors"))
            .collect();
        assert!(files.len() > 1, "{files:?}");
        for file in &files {
            let (file, shown) = (file, file.display());
            let (a, b) = (tensors(&at(found).join(file)), tensors(&at(expected).join(file)));
            assert_eq!(
                a.keys().collect::<Vec<_>>(),
                b.keys().collect::<Vec<_>>(),
                "{shown}"
            );
            for (name, values) in &a {
                assert_eq!(values.len(), b[name].len(), "{shown} {name}");
                for (a, b) in values.iter().zip(&b[name]) {
                    assert!((a - b).abs() < 1e-5, "{shown} {name}: {a} {b}");
                }
            }
        }
        let (a, b) = (
            lines(&found.join("metrics.jsonl")),
            lines(&expected.join("metrics.jsonl")),
        );
        for (a, b) in a.iter().zip(&b) {
            // What the order of sums changed in one step, the next makes more of.
            let most = if b["step"].as_u64() < Some(2) { 1e-5 } else { 1e-3 };
            for (key, value) in b.as_object().unwrap() {
                let differs = key.starts_with("time/")
                    || ["rollout/kv_bytes", "rollout/decoded_tokens"].contains(&key.as_str())
                    || key.starts_with("train/tokens_run");
                if let (Some(b), false) = (value.as_f64(), differs) {
                    let a = a[key].as_f64().unwrap_or_else(|| panic!("{key} is missing"));
                    assert!((a - b).abs() <= most * b.abs().max(1.0), "{key}: {a} {b}");
                }
            }
        }
    }

    /// Objectives that know of the whole step each in their own way, and kinds of runs.
    const KINDS: [&[&str]; 7] = [
        &["train", "run.toml", "--set", "objective.beta=0.04"],
        &[
            "train",
            "run.toml",
            "--set",
            "objective={name=\"grpo\", beta=0.04, scale_rewards=\"batch\", top_entropy_quantile=0.5}",
            // One token at the border of the quantile changes a second update's loss.
            "--set",
            "train.mini_batches=1",
        ],
        &[
            "train",
            "run.toml",
            "--set",
            "objective={name=\"reinforce_pp\", beta=0.04}",
            "--set",
            "train.mini_batches=1",
        ],
        &[
            "train",
            "run.toml",
            "--set",
            "objective={name=\"dapo\"}",
            "--set",
            "rollout.dynamic_sampling=true",
            "--set",
            "rollout.max_num_gen_batches=3",
        ],
        &["sft", "run.toml"],
        &[
            "train",
            "rest.toml",
            "--set",
            "recipe=rest",
            "--set",
            "train.mini_batches=1",
        ],
        &["train", "run.toml", "--set", "model.lora={r = 4}"],
    ];

    #[test]
    fn a_step_of_several_ranks_is_the_step_of_one() {
        if !has_mpirun() {
            return;
        }
        for (number, kind) in KINDS.iter().enumerate() {
            let dir = dir();
            let one = dir.path().join("one");
            program::success(
                dir.path(),
                &[*kind, &["--device", "cpu", "--run-dir", "one"]].concat(),
            );
            for ranks in if number == 0 { vec![2, 3, 4] } else { vec![3] } {
                let name = format!("run-{ranks}");
                run(
                    dir.path(),
                    ranks,
                    &[*kind, &["--device", "cpu", "--run-dir", &name]].concat(),
                );
                let found = dir.path().join(name);
                assert_same_step(&found, &one, 1);
                assert_eq!(completions(&found), completions(&one), "{kind:?}");
            }
        }
    }

    #[test]
    fn a_checkpoint_of_four_ranks_goes_on_with_any_number_and_evaluations_are_the_same() {
        if !has_mpirun() {
            return;
        }
        let dir = dir();
        run(dir.path(), 4, &["train", "run.toml", "--run-dir", "four"]);
        program::success(
            dir.path(),
            &[
                "train",
                "run.toml",
                "--run-dir",
                "one",
                "--set",
                "train.max_steps=2",
            ],
        );
        let evaluated = |run: &Path| -> Vec<Value> {
            let lines = lines(&run.join("eval.jsonl")).into_iter().skip(1);
            lines.map(|line| line["completion"].clone()).collect()
        };
        for ranks in 1..=3 {
            let name = format!("four-{ranks}");
            let copied = Command::new("cp")
                .args(["-r", "four", &name])
                .current_dir(dir.path())
                .status();
            assert!(copied.unwrap().success());
            let on = [
                "train",
                "run.toml",
                "--resume",
                &name,
                "--set",
                "train.max_steps=2",
            ];
            match ranks {
                1 => drop(program::success(dir.path(), &on)),
                _ => drop(run(dir.path(), ranks, &on)),
            }
            let (found, one) = (dir.path().join(name), dir.path().join("one"));
            assert_same_step(&found, &one, 2);
            assert_eq!(evaluated(&found), evaluated(&one));
        }
    }

    #[test]
    fn ranks_with_weights_in_16_bits_share_the_copy_in_32() {
        if !has_mpirun() {
            return;
        }
        // No device here computes in 16 bits but the processor, in bfloat16 where it can.
        let dir = dir();
        let set = ["--set", "train.dtype=bfloat16", "--device", "cpu"];
        let args = [&["train", "run.toml", "--run-dir", "one"][..], &set].concat();
        let output = program::gcpo(dir.path(), &args);
        if !output.status.success() {
            eprintln!("skipped: {}", said(&output));
            return;
        }
        run(
            dir.path(),
            2,
            &[&["train", "run.toml", "--run-dir", "two"][..], &set].concat(),
        );
        let at = |name: &str| {
            dir.path()
                .join(name)
                .join("checkpoints/step-1/trainer/optimizer.safetensors")
        };
        let (one, two) = (tensors(&at("one")), tensors(&at("two")));
        assert_eq!(one.keys().collect::<Vec<_>>(), two.keys().collect::<Vec<_>>());
        assert_eq!(
            completions(&dir.path().join("two")),
            completions(&dir.path().join("one"))
        );
    }

    #[test]
    fn one_message_says_what_is_wrong() {
        if !has_mpirun() {
            return;
        }
        let dir = dir();
        let fails = |args: &[&str]| -> String {
            let output = finish(mpirun(dir.path(), 3, args).spawn().unwrap());
            let text = said(&output);
            assert!(!output.status.success() && !text.contains("panicked"), "{text}");
            assert_eq!(text.matches("error: ").count(), 1, "{text}");
            text
        };
        let text = fails(&["train", "run.toml", "--set", "train.learning_rat=1"]);
        assert!(text.contains("train.learning_rate"), "{text}");
        let text = fails(&["train", "run.toml", "--set", "train.devices=[\"cpu\"]"]);
        assert!(text.contains("each rank computes on one device"), "{text}");
        let text = fails(&["eval", "run.toml", "--model", "quickstart"]);
        assert!(text.contains("no other command"), "{text}");
        assert!(!dir.path().join("runs").exists());
        // One rank alone fails, in the midst of a step; the others know, and the last good state is saved.
        let reward = "import os\ndef f(completions, **kw):\n    assert os.environ['OMPI_COMM_WORLD_RANK'] != '1', 'a broken machine'\n    return [1.0 for _ in completions]\n";
        fs::write(dir.path().join("f.py"), reward).unwrap();
        if Command::new("python3").arg("--version").output().is_ok() {
            let text = fails(&[
                "train",
                "run.toml",
                "--run-dir",
                "broken",
                "--set",
                "reward=[{name=\"python\", function=\"f.py:f\"}]",
            ]);
            assert!(
                text.contains("rank 1: ") && text.contains("a broken machine"),
                "{text}"
            );
            assert!(
                dir.path()
                    .join("broken/checkpoints/step-0/trainer/state.json")
                    .exists()
            );
        }
    }

    /// The ranks of a run that was started in `dir`, by their numbers.
    fn processes(dir: &Path) -> BTreeMap<usize, u32> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(id) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            let Ok(at) = fs::read_link(entry.path().join("cwd")) else {
                continue;
            };
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let exe = fs::read_link(entry.path().join("exe")).unwrap_or_default();
            let rank = environment.split(|&byte| byte == 0).find_map(|line| {
                let text = std::str::from_utf8(line).ok()?;
                text.strip_prefix("OMPI_COMM_WORLD_RANK=")?.parse().ok()
            });
            if let (true, true, Some(rank)) = (at == dir, exe.ends_with("gcpo"), rank) {
                found.insert(rank, id);
            }
        }
        found
    }

    fn signal(id: u32, what: &str) {
        let _ = Command::new("kill").args([what, &id.to_string()]).output();
    }

    /// A rank that hangs is named, all end in time, and the run goes on.
    #[test]
    fn a_rank_that_hangs_ends_all_and_is_named() {
        if !has_mpirun() {
            return;
        }
        for hanging in [1, 0] {
            let dir = dir();
            let set = [
                "--set",
                "train.ddp_timeout=6",
                "--set",
                "train.max_steps=400",
                "--set",
                "eval.every=0",
            ];
            let args = [&["train", "run.toml", "--run-dir", "run"][..], &set].concat();
            let child = mpirun(dir.path(), 3, &args).spawn().unwrap();
            wait_for(&dir.path().join("run/checkpoints/step-2"));
            let id = processes(dir.path())[&hanging];
            signal(id, "-STOP");
            let began = Instant::now();
            let output = finish(child);
            signal(id, "-KILL");
            let text = said(&output);
            assert!(!output.status.success(), "{text}");
            assert!(
                text.contains(&format!("rank {hanging} (on ")) && text.contains("train.ddp_timeout = 6 s"),
                "{text}"
            );
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
            assert!(processes(dir.path()).is_empty());
        }
    }

    #[track_caller]
    fn wait_for(path: &Path) {
        let began = Instant::now();
        while !path.exists() {
            assert!(began.elapsed() < PATIENCE, "{} does not come", path.display());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Random numbers that are the same in every run of the tests.
    struct Random(u64);

    impl Random {
        fn below(&mut self, most: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % most
        }
    }

    /// A run's files but for times.
    fn result(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = program::files(run);
        found.retain(|name, _| !name.ends_with(".lock"));
        let untimed: String = lines(&run.join("metrics.jsonl"))
            .into_iter()
            .map(|mut line| {
                line.as_object_mut()
                    .unwrap()
                    .retain(|key, _| !key.starts_with("time/"));
                format!("{line}\n")
            })
            .collect();
        found.insert("metrics.jsonl".into(), untimed.into_bytes());
        let of_eval = fs::read_to_string(run.join("eval.jsonl")).unwrap_or_default();
        // Its first line names the checkpoint by the run's directory.
        let records: Vec<&str> = of_eval.lines().skip(1).collect();
        found.insert("eval.jsonl".into(), records.join("\n").into_bytes());
        found
    }

    /// Random ranks are killed at random moments, again and again; then the run comes to the bytes of one that nothing happened to.
    #[test]
    fn ranks_that_are_killed_leave_a_run_that_goes_on_to_the_same_bytes() {
        if !has_mpirun() {
            return;
        }
        let kills: u64 = std::env::var("GCPO_KILLS")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(3);
        let dir = dir();
        let set = ["--set", "train.max_steps=8"];
        let began = Instant::now();
        run(
            dir.path(),
            3,
            &[&["train", "run.toml", "--run-dir", "whole"][..], &set].concat(),
        );
        let whole = began.elapsed().as_millis() as u64;
        let mut random = Random(7);
        let (mut done, mut place) = (0, 0);
        while done < kills {
            let name = format!("run-{place}");
            let run_dir = dir.path().join(&name);
            let goes_on = run_dir.join("config.toml").exists();
            if run_dir.exists() && !goes_on {
                // Killed while its directory was made.
                place += 1;
                continue;
            }
            let how = if goes_on { "--resume" } else { "--run-dir" };
            let child = mpirun(
                dir.path(),
                3,
                &[&["train", "run.toml", how, &name][..], &set].concat(),
            )
            .spawn()
            .unwrap();
            std::thread::sleep(Duration::from_millis(random.below(whole)));
            let victim = random.below(3) as usize;
            let killed = processes(dir.path()).get(&victim).map(|&id| signal(id, "-KILL"));
            let output = finish(child);
            let text = said(&output);
            assert!(!text.contains("panicked"), "{text}");
            if output.status.success() {
                let same = result(&run_dir) == result(&dir.path().join("whole"));
                assert!(same, "killed {done} times, and it came to other bytes");
                place += 1;
                continue;
            }
            if killed.is_none() {
                // Nothing had begun yet, or there was nothing to go on from.
                assert!(text.contains("no complete checkpoint"), "{text}");
                place += 1;
                continue;
            }
            done += 1;
            // Of a rank that is killed before MPI has begun, OpenMPI at times says no more than that there was one.
            if text.contains("run on ") && !text.contains(&format!("rank {victim}")) {
                panic!("nobody says that rank {victim} ended: {text}");
            }
            eprintln!("killed rank {victim} ({done})");
        }
        let name = format!("run-{place}");
        let last = dir.path().join(&name);
        let goes_on = last.join("checkpoints").is_dir()
            && last.join("checkpoints").read_dir().unwrap().next().is_some();
        let (how, name) = match goes_on {
            true => ("--resume", name),
            false => ("--run-dir", "fresh".to_owned()),
        };
        run(
            dir.path(),
            3,
            &[&["train", "run.toml", how, &name][..], &set].concat(),
        );
        assert!(
            result(&dir.path().join(name)) == result(&dir.path().join("whole")),
            "other bytes"
        );
    }

    /// Hosts that are network namespaces of this machine; gone with this.
    struct Hosts;

    fn hosts(args: &[&str]) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/hosts.sh");
        let mut command = Command::new("bash");
        command.arg(script).args(args);
        command
    }

    impl Hosts {
        /// Some; none where the system gives none.
        fn up(count: usize) -> Option<Self> {
            let _ = hosts(&["down"]).output();
            let output = hosts(&["up", &count.to_string()]).output().ok()?;
            if !output.status.success() {
                eprintln!("skipped: no network namespaces here: {}", said(&output).trim());
                let _ = hosts(&["down"]).output();
                return None;
            }
            Some(Self)
        }
    }

    impl Drop for Hosts {
        fn drop(&mut self) {
            let _ = hosts(&["down"]).output();
        }
    }

    /// Three machines train; the cable of one is taken out. All end, it is named, and when the cable is back the same
    /// command goes on to the bytes of a run that nothing happened to.
    #[test]
    fn a_machine_that_is_cut_off_ends_all_and_is_named() {
        let Some(_hosts) = has_mpirun().then(|| Hosts::up(3)).flatten() else {
            return;
        };
        let dir = dir();
        let set = ["train.ddp_timeout=10", "eval.every=0", "train.max_steps=30"].map(|set| ["--set", set]);
        let start = |how: &str, name: &str| {
            let program = env!("CARGO_BIN_EXE_gcpo");
            let args = [
                &["run", "3", program, "train", "run.toml", how, name][..],
                &set.concat(),
            ]
            .concat();
            let mut command = hosts(&args);
            let log = fs::File::create(dir.path().join("log")).unwrap();
            command.current_dir(dir.path()).stdout(Stdio::null()).stderr(log);
            command.spawn().unwrap()
        };
        let log = || fs::read_to_string(dir.path().join("log")).unwrap();
        assert!(finish(start("--run-dir", "whole")).status.success(), "{}", log());
        let mut child = start("--run-dir", "run");
        wait_for(&dir.path().join("run/checkpoints/step-2"));
        assert!(hosts(&["cut", "3"]).status().unwrap().success());
        let began = Instant::now();
        // The one that is cut off ends by itself. (`mpirun` may wait long for a machine that it does not reach.)
        while !processes(dir.path()).is_empty() {
            assert!(began.elapsed() < PATIENCE, "a rank stays: {}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        eprintln!(
            "they ended {:.1} s after the cable was taken out",
            began.elapsed().as_secs_f64()
        );
        let text = log();
        let is_named = text.contains("rank 2 (on host3)") && text.contains("train.ddp_timeout = 10 s");
        assert!(is_named, "{text}");
        let _ = child.kill();
        let _ = child.wait();
        assert!(hosts(&["mend", "3"]).status().unwrap().success());
        let output = finish(start("--resume", "run"));
        assert!(output.status.success(), "{}", log());
        let same = result(&dir.path().join("run")) == result(&dir.path().join("whole"));
        assert!(same, "it came to other bytes: {}", log());
    }

    #[test]
    fn a_signal_to_all_stops_them_after_their_step() {
        if !has_mpirun() {
            return;
        }
        let dir = dir();
        let set = [
            "--set",
            "train.max_steps=400",
            "--set",
            "eval.every=0",
            "--set",
            "checkpoint.every=0",
        ];
        let child = mpirun(
            dir.path(),
            2,
            &[&["train", "run.toml", "--run-dir", "run"][..], &set].concat(),
        )
        .spawn()
        .unwrap();
        wait_for(&dir.path().join("run/samples.jsonl"));
        std::thread::sleep(Duration::from_millis(500));
        // One of them is enough.
        signal(processes(dir.path())[&1], "-USR1");
        let output = finish(child);
        let text = said(&output);
        assert!(text.contains("stopped after step"), "{text}");
        let all = fs::read_dir(dir.path().join("run/checkpoints")).unwrap();
        assert_eq!(all.count(), 1, "{text}");
    }
}
