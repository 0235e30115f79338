//! A program as a reward: what it is told, what it may say, and what becomes of one that fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use gcpo::config::Config;
use gcpo::group::{Candidate, Group};
use gcpo::reward::{Reward, RewardError};
use gcpo::rollout::{Completion, Contexts, Finish};
use gcpo_data::Problem;

/// The program `fixtures/reward/judge.rs`, built once.
fn judge() -> &'static Path {
    static JUDGE: OnceLock<PathBuf> = OnceLock::new();
    JUDGE.get_or_init(|| {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let name = format!("judge-{}{}", std::process::id(), std::env::consts::EXE_SUFFIX);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reward/judge.rs");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let built = Command::new(rustc)
            .args(["--edition", "2021", "-o"])
            .arg(out.join(&name))
            .arg(source)
            .status();
        assert!(
            built.is_ok_and(|status| status.success()),
            "rustc did not build the program"
        );
        out.join(name)
    })
}

/// A `[[reward]]` that is the judge behaving as `how`, with more keys.
fn entry(how: &[&str], more: &str) -> String {
    let words: Vec<String> = [judge().to_str().unwrap()]
        .iter()
        .chain(how)
        .map(|word| format!("{word:?}"))
        .collect();
    format!(
        "[[reward]]\nname = \"command\"\nlabel = \"judge\"\ncommand = [{}]\n{more}\n",
        words.join(", ")
    )
}

fn start(config: &str) -> Result<Reward, RewardError> {
    let config = Config::from_str(config, "test.toml", &[]).unwrap();
    Reward::start(&config.grader, &config.code, &config.reward, |_| {
        unreachable!("no model")
    })
}

/// Two problems with three completions each, of 1 to 6 letters.
fn groups() -> Vec<Group> {
    let group = |number: usize, id: &str, letters: std::ops::RangeInclusive<usize>| {
        let problem = Problem {
            id: id.into(),
            question: "what?".into(),
            answer: Some("4".into()),
            solution: Some("2 + 2".into()),
            ..Problem::default()
        };
        let completion = |letters: usize| Completion {
            tokens: vec![u32::from('x'); letters],
            logp: Vec::new(),
            sampling_logp: Vec::new(),
            finish: Finish::Eos,
        };
        let contexts = Contexts::answer_only(vec![1]).unwrap();
        let mut group = Group::new(problem, number, "the \"prompt\"\n".into(), contexts);
        group.candidates = letters.map(completion).map(Candidate::new).collect();
        group
    };
    vec![group(0, "first", 1..=3), group(1, "second", 4..=6)]
}

fn grade(reward: &mut Reward, step: usize) -> Result<Vec<Group>, RewardError> {
    let mut groups = groups();
    reward.grade(&mut groups, step, |c| "x".repeat(c.tokens.len()))?;
    Ok(groups)
}

fn rewards(groups: &[Group]) -> Vec<Vec<f64>> {
    groups
        .iter()
        .map(|group| group.rewards().flatten().collect())
        .collect()
}

/// What a program that behaves as `how` is told off for.
#[track_caller]
fn failure(how: &str, more: &str) -> String {
    let started = Instant::now();
    let mut reward = start(&entry(&[how], more)).unwrap();
    let text = grade(&mut reward, 1).err().expect("an error").to_string();
    drop(reward);
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{how} was waited for"
    );
    assert!(
        text.contains("reward `judge`: `") && text.contains("judge-"),
        "{text}"
    );
    text
}

#[test]
fn a_program_judges_every_completion_in_order_and_keeps_running() {
    for batch_size in [1, 2, 4, 100] {
        let mut reward = start(&entry(
            &["length"],
            &format!("batch_size = {batch_size}\nweight = 0.5"),
        ))
        .unwrap();
        for step in 1..=3 {
            let graded = grade(&mut reward, step).unwrap();
            assert_eq!(rewards(&graded), [[0.5, 1.0, 1.5], [2.0, 2.5, 3.0]]);
            assert_eq!(reward.labels(), ["judge"]);
            let judged = |candidate: usize| &graded[1].candidates[candidate].scores[0];
            assert_eq!(judged(0).value, Some(4.0));
            // The number of the line since the program began.
            assert_eq!(judged(2).note.as_ref().unwrap()["number"], 6 * step as u64 - 1);
        }
    }
}

#[test]
fn a_program_is_told_everything_and_when_to_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lines");
    let mut reward = start(&entry(&["echo", path.to_str().unwrap()], "batch_size = 4")).unwrap();
    grade(&mut reward, 7).unwrap();
    drop(reward);
    let text = fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[6]), (7, "end"));
    let line: serde_json::Value = serde_json::from_str(lines[4]).unwrap();
    let expected = serde_json::json!({
        "id": 4, "step": 7, "prompt": "the \"prompt\"\n", "completion": "xxxxx", "finish_reason": "stop", "answer": "4",
        "problem": {"id": "second", "question": "what?", "answer": "4", "solution": "2 + 2"},
    });
    assert_eq!(line, expected);
}

#[test]
fn a_reward_that_does_not_apply_is_left_out_of_the_sum() {
    let with = |how: &str| {
        let config = format!(
            "[[reward]]\nname = \"accuracy\"\nwrong = -1\n{}",
            entry(&[how], "")
        );
        grade(&mut start(&config).unwrap(), 1).unwrap()
    };
    let some = with("some");
    assert_eq!(rewards(&some), [[-1.0, 2.0, -1.0], [2.0, -1.0, 2.0]]);
    assert_eq!(
        some[0]
            .candidates
            .iter()
            .map(|c| c.scores[1].value)
            .collect::<Vec<_>>(),
        [None, Some(3.0), None]
    );
    let null = with("null");
    assert_eq!(rewards(&null), [[-1.0; 3]; 2]);
    // With nothing else there is none.
    let alone = grade(&mut start(&entry(&["some"], "")).unwrap(), 1).unwrap();
    let earned: Vec<_> = alone.iter().flat_map(Group::rewards).collect();
    assert_eq!(earned, [None, Some(3.0), None, Some(3.0), None, Some(3.0)]);
}

#[test]
fn a_wrong_line_is_shown_with_its_problem() {
    let text = failure("wrong", "");
    assert!(
        text.contains("\"Traceback: oh no\"") && text.contains("problem `first`"),
        "{text}"
    );
    assert!(text.contains("no JSON"), "{text}");
    assert!(failure("nan", "").contains("NaN"));
    let text = failure("banner", "");
    assert!(
        text.contains("loading the model") && text.contains("standard error"),
        "{text}"
    );
    let text = failure("backwards", "");
    assert!(text.contains("the next one was 0"), "{text}");
}

/// Nothing tells a second line for one completion from the line of the next, unless the program says `id`; what is left
/// over is noticed when the next step asks.
#[test]
fn a_line_too_many_is_noticed_at_the_next_step() {
    let mut twice = start(&entry(&["twice"], "")).unwrap();
    grade(&mut twice, 1).unwrap();
    let noticed = (2..100).find_map(|step| {
        std::thread::sleep(Duration::from_millis(50));
        grade(&mut twice, step).err()
    });
    let text = noticed.expect("an error").to_string();
    assert!(
        text.contains("more lines than it was given") && text.contains("{\\\"reward\\\": "),
        "{text}"
    );
}

#[test]
fn a_program_that_ends_says_how_and_after_how_many() {
    let text = failure("crash", "");
    assert!(
        text.contains("ended (exit") && text.contains("3)") && text.contains("2 of 6 lines"),
        "{text}"
    );
    assert!(text.contains("problem `first`"), "{text}");
    let text = failure("gone", "");
    assert!(text.contains("0 of 6 lines"), "{text}");
}

#[test]
fn a_program_has_so_much_time_for_a_batch() {
    let text = failure("hang", "timeout_secs = 0.5");
    assert!(
        text.contains("2 of 6 lines in 0.5 s") && text.contains("timeout_secs"),
        "{text}"
    );
    // 6 lines of 30 ms: too slow for one batch of 100 ms, not for six of them.
    assert!(failure("slow", "timeout_secs = 0.1").contains("in 0.1 s"));
    let mut slow = start(&entry(&["slow"], "timeout_secs = 20\nbatch_size = 1")).unwrap();
    assert_eq!(rewards(&grade(&mut slow, 1).unwrap()), [[1.0; 3]; 2]);
}

/// Prompts that are more than a pipe holds: to a program that reads nothing, and to one whose answers are as well.
#[test]
fn nobody_waits_for_a_program_that_does_not_read() {
    let started = Instant::now();
    let mut deaf = start(&entry(&["deaf"], "timeout_secs = 0.5")).unwrap();
    let long = || {
        let mut groups = groups();
        groups
            .iter_mut()
            .for_each(|group| group.prompt = "long ".repeat(100_000));
        groups
    };
    let text = |c: &Completion| "x".repeat(c.tokens.len());
    let error = deaf.grade(&mut long(), 1, text).err().unwrap().to_string();
    assert!(error.contains("0 of 6 lines in 0.5 s"), "{error}");
    // It has been ended: the next step is told so, at once.
    let error = grade(&mut deaf, 2).err().unwrap().to_string();
    assert!(error.contains("0 of 6 lines were answered"), "{error}");
    drop(deaf);
    let mut talker = start(&entry(&["talk"], "")).unwrap();
    let mut graded = long();
    talker.grade(&mut graded, 1, text).unwrap();
    assert_eq!(rewards(&graded), [[0.5; 3]; 2]);
    drop(talker);
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_program_that_cannot_be_started_is_named_before_anything_is_sampled() {
    let config = "[[reward]]\nname = \"command\"\ncommand = [\"no/such-program\", \"x\"]";
    let text = start(config).err().unwrap().to_string();
    assert!(
        text.starts_with("reward `command`: `no/such-program` cannot be started: ")
            && text.contains("check `command`"),
        "{text}"
    );
    let needs = format!(
        "{}\nenv = [\"PATH\", \"GCPO_NOT_SET\", \"GCPO_NOT_SET_EITHER\"]",
        entry(&["length"], "")
    );
    let text = start(&needs).err().unwrap().to_string();
    assert!(
        text.contains("not set: GCPO_NOT_SET, GCPO_NOT_SET_EITHER; export them"),
        "{text}"
    );
    // A file that is there, and whose interpreter is not.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("judge");
        fs::write(&script, "#!/no/such/interpreter\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let config = format!(
            "[[reward]]\nname = \"command\"\ncommand = [{:?}]",
            script.to_str().unwrap()
        );
        let text = start(&config).err().unwrap().to_string();
        assert!(
            text.contains("the file is there") && text.contains("interpreter"),
            "{text}"
        );
    }
}

/// A quickstart run with these rewards, two steps of two problems.
fn run(dir: &Path, rewards: &str) -> (std::process::Output, PathBuf) {
    let config = format!(
        "[model]\npath = \"quickstart\"\n[data]\ngenerator = \"arithmetic\"\ncount = 64\n[prompt]\nstyle = \"marks\"\n\
         [rollout]\nnum_generations = 4\nmax_completion_length = 16\n[train]\nmax_steps = 2\nprompts_per_step = 2\n\
         [objective]\nname = \"grpo\"\n{rewards}"
    );
    fs::write(dir.join("a.toml"), config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_gcpo"))
        .args(["train", "a.toml", "--run-dir", "run", "--device", "cpu"])
        .current_dir(dir)
        .output()
        .unwrap();
    (output, dir.join("run"))
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn every_component_is_measured_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let rewards = format!(
        "[[reward]]\nname = \"accuracy\"\n[[reward]]\nname = \"length\"\nweight = 0.5\n{}{}",
        entry(&["some"], "weight = 0.25"),
        entry(&["null"], "").replace("\"judge\"", "\"never\"")
    );
    let (output, run) = run(dir.path(), &rewards);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let metrics = lines(&run.join("metrics.jsonl"));
    let samples = lines(&run.join("samples.jsonl"));
    assert_eq!((metrics.len(), samples.len()), (2, 4));
    let numbers = |value: &serde_json::Value| -> Vec<Option<f64>> {
        value
            .as_array()
            .unwrap()
            .iter()
            .map(serde_json::Value::as_f64)
            .collect()
    };
    for line in &metrics {
        let of_step: Vec<_> = samples.iter().filter(|s| s["step"] == line["step"]).collect();
        for label in ["accuracy", "length", "judge"] {
            let values: Vec<f64> = of_step
                .iter()
                .flat_map(|s| numbers(&s["components"][label]))
                .flatten()
                .collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let found = line[format!("reward/{label}_mean")].as_f64().unwrap();
            assert!((found - mean).abs() < 1e-12, "{label}: {found} {mean}");
            assert!(line[format!("reward/{label}_std")].is_f64(), "{line}");
        }
        assert_eq!(line["reward/judge_mean"], 3.0);
        assert!(line["reward/never_mean"].is_null() && line["time/reward_secs"].is_f64());
    }
    for sample in &samples {
        let of = |label: &str| numbers(&sample["components"][label]);
        assert_eq!(of("judge"), [None, Some(3.0), None, Some(3.0)]);
        assert_eq!(of("never"), [None; 4]);
        for (at, reward) in numbers(&sample["rewards"]).into_iter().enumerate() {
            let [accuracy, length] = ["accuracy", "length"].map(|label| of(label)[at].unwrap());
            let sum = accuracy + 0.5 * length + 0.25 * of("judge")[at].unwrap_or(0.0);
            assert!((reward.unwrap() - sum).abs() < 1e-12, "{sample}");
        }
    }
    // The written config is the run's.
    let written = fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(
        written.contains("timeout_secs = 60.0") && written.contains("cache = 3"),
        "{written}"
    );
    assert!(Config::from_str(&written, "config.toml", &[]).is_ok());
}

#[test]
fn a_run_whose_program_crashes_says_what_the_program_said_and_keeps_its_state() {
    let dir = tempfile::tempdir().unwrap();
    let (output, run) = run(dir.path(), &entry(&["crash"], ""));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && !said.contains("panicked"), "{said}");
    assert!(said.contains("[judge] I cannot go on with true"), "{said}");
    assert!(
        said.contains("2 of 8 lines") && said.contains("last good state"),
        "{said}"
    );
    assert!(run.join("checkpoints/step-0/model.safetensors").is_file());
}

#[test]
fn a_run_whose_program_cannot_be_started_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (output, run) = run(
        dir.path(),
        "[[reward]]\nname = \"command\"\ncommand = [\"no/such-program\"]",
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("`no/such-program` cannot be started"),
        "{said}"
    );
    assert!(!run.exists());
}

/// Ctrl-C in a terminal goes to every process of the run's group; the program is needed to the end of the step.
#[cfg(unix)]
#[test]
fn ctrl_c_does_not_reach_the_program() {
    use std::os::unix::process::CommandExt as _;
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "[model]\npath = \"quickstart\"\n[data]\ngenerator = \"arithmetic\"\ncount = 64\n[prompt]\nstyle = \"marks\"\n\
         [rollout]\nnum_generations = 4\nmax_completion_length = 16\n[train]\nmax_steps = 10000\nprompts_per_step = 2\n\
         [objective]\nname = \"grpo\"\n{}",
        entry(&["slow"], "")
    );
    fs::write(dir.path().join("a.toml"), config).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_gcpo"))
        .args(["train", "a.toml", "--run-dir", "run", "--device", "cpu"])
        .current_dir(dir.path())
        .process_group(0)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let metrics = dir.path().join("run/metrics.jsonl");
    for _ in 0..600 {
        if fs::metadata(&metrics).is_ok_and(|found| found.len() > 0) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let group = format!("-{}", child.id());
    let sent = Command::new("kill").args(["-INT", "--", &group]).status();
    assert!(sent.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("--resume run"), "{said}");
}

#[test]
fn a_problem_that_cannot_be_graded_stops_the_run_before_it_begins_or_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let rows =
        "{\"problem\": \"12+19\", \"answer\": \"31\"}\n{\"problem\": \"1+\", \"answer\": \"\\\\frac{1}{\"}\n";
    fs::write(dir.path().join("d.jsonl"), rows).unwrap();
    let gcpo = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_gcpo"))
            .args(["--run-dir", "run", "--device", "cpu"])
            .args(["--set", "data={path=\"d.jsonl\", preset=\"math\"}"])
            .args(["--set", "grader.kind=math", "--set", "objective.name=grpo"])
            .args([
                "--set",
                "train.max_steps=1",
                "--set",
                "train.prompts_per_step=2",
                "--set",
                "eval.every=0",
            ])
            .args(more)
            .current_dir(dir.path())
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (done, said) = gcpo(&[]);
    assert!(
        !done
            && said.contains("problem `d-2`: the gold answer")
            && said.contains("data.skip_unreadable=true"),
        "{said}"
    );
    assert!(!dir.path().join("run").exists());
    let (done, said) = gcpo(&["--set", "data.skip_unreadable=true"]);
    assert!(done && said.contains("left out: problem `d-2`"), "{said}");
    let samples = lines(&dir.path().join("run/samples.jsonl"));
    assert!(
        samples.iter().all(|sample| sample["problem"] == "d-1"),
        "{samples:?}"
    );
}
