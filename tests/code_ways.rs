//! Programs that are run in other ways than Python's own: by any command, in containers, and where the kernel allows little.

#![cfg(target_os = "linux")]

mod program;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use program::sandbox::{can_run, fixture};
use program::{failure, sandbox, temp};
use serde_json::{Value, json};

/// A problem in another language, as MultiPL-E has them.
fn shell_problem(tests: &str) -> String {
    json!({"name": "sh_0_up", "language": "sh", "prompt": "#!/bin/sh\n# The next number.\nup() {\n", "tests": tests, "stop_tokens": ["\n}"]}).to_string()
}

/// Whether each program passed.
fn passed(found: &Value) -> Vec<&Value> {
    let verdicts = found["verdicts"].as_array().unwrap();
    verdicts.iter().map(|of| &of["passed"]).collect()
}

fn graded(dir: &Path, completions: &[&str], sets: &[&str]) -> Value {
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    sandbox::graded(dir, "sh_0_up", completions, &sets)
}

#[test]
fn any_command_runs_programs() {
    let dir = temp();
    let dir = dir.path();
    if !can_run(dir) {
        return;
    }
    fs::write(
        dir.join("p.jsonl"),
        shell_problem("[ \"$(up 1)\" = 2 ] || { echo \"up 1 is $(up 1)\"; exit 3; }"),
    )
    .unwrap();
    let args = [
        "grade",
        "--suite",
        "humaneval=p.jsonl",
        "--completions",
        "c.jsonl",
    ];
    fs::write(
        dir.join("c.jsonl"),
        json!({"id": "sh_0_up", "completion": "x"}).to_string(),
    )
    .unwrap();
    let text = failure(dir, &args);
    assert!(
        text.contains("`sh_0_up`: its tests are bash") && text.contains("code.command"),
        "{text}"
    );
    let sets = ["code.command=[\"sh\", \"{file}\"]", "code.processes=4"];
    let completions = [
        "  echo $(($1 + 1))\n}\n",
        "  echo $1\n}\n",
        "```sh\nup() { expr $1 + 1; }\n```",
        "  while :; do :; done\n}\n",
        "  cat /etc/passwd && echo 2\n}\n",
    ];
    let found = graded(dir, &completions, &[&sets[..], &["code.timeout=1"]].concat());
    assert_eq!(passed(&found), [true, false, true, false, false], "{found}");
    assert_eq!(found["verdicts"][1]["why"], "exit code 3: up 1 is 1");
    assert!(
        found["verdicts"][3]["why"]
            .as_str()
            .unwrap()
            .contains("timed out"),
        "{found}"
    );

    // A share that is reported.
    fs::write(
        dir.join("p.jsonl"),
        shell_problem("echo '{\"passed\": 1, \"tests\": 4}'"),
    )
    .unwrap();
    let found = graded(
        dir,
        &completions[..1],
        &[&sets[..], &["code.report=share"]].concat(),
    );
    assert_eq!(
        (
            &found["verdicts"][0]["tests_passed"],
            &found["verdicts"][0]["tests"]
        ),
        (&json!(1), &json!(4))
    );

    for (sets, said) in [
        (vec!["code.command=[\"sh\"]"], "it never reads the program"),
        (
            vec!["code.command=[\"no-such-thing\", \"{file}\"]"],
            "there is no program \"no-such-thing\"",
        ),
        (vec!["code.processes=2"], "it is of a `command`"),
        (vec!["code.image=x"], "there is no container"),
        (vec!["code.isolation=docker"], "none is named"),
        (vec!["code.view=[\"here\"]"], "no absolute path"),
    ] {
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let text = failure(dir, &args.into_iter().chain(sets).collect::<Vec<_>>());
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn node_runs_programs() {
    let dir = temp();
    let dir = dir.path();
    if !can_run(dir)
        || !Command::new("node")
            .arg("--version")
            .output()
            .is_ok_and(|of| of.status.success())
    {
        println!("skipped: there is no node");
        return;
    }
    let problem = json!({"name": "sh_0_up", "language": "js", "prompt": "//The next number.\nfunction up(x){\n",
        "tests": "const assert = require('node:assert');\nassert.deepEqual(up(1), 2);", "stop_tokens": ["\nfunction "]});
    fs::write(dir.join("p.jsonl"), problem.to_string()).unwrap();
    let completions = [
        "  return x + 1;\n}\n",
        "  return x;\n}\n",
        "```javascript\nconst up = (x) => x + 1;\n```",
        "  return require('fs').readFileSync('/etc/passwd').length ? x + 1 : x;\n}\n",
        "  require('child_process').execSync('true'); return x + 1;\n}\n",
        "  const a = []; for (;;) a.push(Buffer.alloc(1 << 24, 1));\n}\n",
    ];
    let sets = [
        "code.command=[\"node\", \"{file}\"]",
        "code.memory=256MiB",
        "code.timeout=5",
    ];
    let found = graded(dir, &completions, &sets);
    assert_eq!(
        passed(&found),
        [true, false, true, false, false, false],
        "{found}"
    );
    assert!(
        found["verdicts"][5]["why"]
            .as_str()
            .unwrap()
            .contains("more memory than"),
        "{found}"
    );
}

/// A Python that programs see.
const PYTHON: &str = "/usr/bin/python3";

/// What processes take together is bounded, though each keeps to its limits.
#[test]
fn forks_share_one_memory_and_one_time() {
    let dir = temp();
    let dir = dir.path();
    if !can_run(dir) || !Path::new(PYTHON).is_file() {
        println!("skipped: there is no {PYTHON}");
        return;
    }
    let problem =
        json!({"name": "sh_0_up", "language": "py", "prompt": "def up(x):\n", "tests": "assert up(1) == 2"});
    fs::write(dir.join("p.jsonl"), problem.to_string()).unwrap();
    let bomb = |body: &str| {
        format!(
            "    import os, time\n    for i in range(6):\n        if os.fork() == 0:\n            {body}\n    time.sleep(100)\n    return 2\n"
        )
    };
    let completions = [
        "    import os\n    pid = os.fork()\n    if pid == 0: os._exit(0)\n    os.waitpid(pid, 0)\n    return x + 1\n".to_owned(),
        bomb("a = bytearray(os.urandom(1)) * (100 << 20); time.sleep(100)"),
        bomb("while True: pass"),
        "    import os\n    while True: os.fork()\n".to_owned(),
        "    import os\n    for i in range(3): os.fork()\n    os.setsid()\n    return x\n".to_owned(),
    ];
    let texts: Vec<&str> = completions.iter().map(String::as_str).collect();
    let sets = [
        "code.command=[\"/usr/bin/python3\", \"{file}\"]",
        "code.memory=256MiB",
        "code.processes=16",
        "code.timeout=2",
    ];
    let begun = std::time::Instant::now();
    let found = graded(dir, &texts, &sets);
    let why = |at: usize| found["verdicts"][at]["why"].as_str().unwrap().to_owned();
    assert_eq!(found["passed"], 1, "{found}");
    assert!(
        why(1).contains("more memory than 256.0 MiB, all its processes together"),
        "{found}"
    );
    assert!(why(2).contains("of the processor"), "{found}");
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    let left = Command::new("ps").args(["-eo", "args"]).output().unwrap();
    let left = String::from_utf8_lossy(&left.stdout).into_owned();
    assert!(!left.contains("/tmp/file.py"), "{left}");
}

/// Runs the program with a directory before all others in PATH.
fn with_path(dir: &Path, bin: &Path, args: &[&str]) -> Output {
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_gcpo"));
    command
        .args(args)
        .current_dir(dir)
        .env("PATH", path)
        .output()
        .unwrap()
}

/// Containers, by a stand-in that writes down what it is told and runs what the image would: no engine is here to be asked.
#[test]
fn containers_are_told_their_limits_and_removed() {
    let dir = temp();
    let (dir, bin) = (dir.path(), dir.path().join("bin"));
    if !can_run(dir) {
        return;
    }
    fs::create_dir(&bin).unwrap();
    for engine in ["docker", "podman"] {
        let script = "#!/bin/sh\necho \"$@\" >> \"${0%/*}/said\"\n[ \"$1\" = run ] || exit 0\nfiles=\nwhile [ \"$1\" != img ]; do\n  \
                      [ \"$1\" = --volume ] && files=${2%%:*}\n  shift\ndone\nshift\n[ \"$1\" = absent ] && { echo \"no such image\" >&2; exit 125; }\n\
                      [ -n \"$files\" ] && { program=$1; shift; exec \"$program\" \"$files/${1##*/}\"; }\nexec \"$@\"\n";
        fs::write(bin.join(engine), script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(bin.join(engine), mode).unwrap();
    }
    let suite = format!("humaneval={}", fixture("humaneval.jsonl"));
    let rows = [
        "    return number % 1.0\n",
        "    return number\n",
        "    while True: pass\n",
    ];
    let rows = rows.map(|text| json!({"id": "HumanEval/2", "completion": text}).to_string());
    fs::write(dir.join("c.jsonl"), rows.join("\n")).unwrap();
    let common = [
        "grade",
        "--completions",
        "c.jsonl",
        "--json",
        "--set",
        "code.image=img",
        "--timeout",
        "0.3",
    ];
    let with = |more: &[&str]| {
        let args: Vec<&str> = common.into_iter().chain(more.iter().copied()).collect();
        with_path(dir, &bin, &args)
    };
    let output = with(&[
        "--suite",
        &suite,
        "--isolation",
        "docker",
        "--set",
        "code.container_args=[\"--runtime=runsc\"]",
    ]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(found["passed"], 1, "{found}");
    assert!(
        found["verdicts"][2]["why"]
            .as_str()
            .unwrap()
            .contains("timed out"),
        "{found}"
    );
    let said = fs::read_to_string(bin.join("said")).unwrap();
    for option in [
        "--network none",
        "--read-only",
        "--user 65534:65534",
        "--cap-drop ALL",
        "--security-opt no-new-privileges",
        "--memory 1073741824 --memory-swap 1073741824",
        "--pids-limit 33",
        "--cpus 1",
        "--pull never",
        "--ulimit cpu=1:2",
        "--runtime=runsc img python3",
    ] {
        assert!(said.contains(option), "{option}: {said}");
    }
    // Each that did not end by itself is removed: the endless one, and the half that waits for more tests.
    let name = |line: &str| {
        line.split("--name ")
            .nth(1)
            .map(|rest| rest.split(' ').next().unwrap().to_owned())
    };
    let endless = said
        .lines()
        .filter(|line| line.starts_with("rm --force gcpo-"))
        .count();
    assert!(endless >= 2, "{said}");
    assert!(said.lines().filter_map(name).count() >= 4, "{said}");

    // A command, whose file is mounted.
    fs::write(dir.join("p.jsonl"), shell_problem("[ \"$(up 1)\" = 2 ]")).unwrap();
    let row = json!({"id": "sh_0_up", "completion": "  echo 2\n}\n"});
    fs::write(dir.join("c.jsonl"), row.to_string()).unwrap();
    let more = [
        "--suite",
        "humaneval=p.jsonl",
        "--isolation",
        "podman",
        "--set",
        "code.command=[\"sh\", \"{file}\"]",
    ];
    let output = with(&more);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(found["passed"], 1, "{found}");
    let said = fs::read_to_string(bin.join("said")).unwrap();
    assert!(said.contains(":/gcpo:ro img sh /gcpo/file.sh"), "{said}");

    let more = [
        "--suite",
        "humaneval=p.jsonl",
        "--isolation",
        "podman",
        "--set",
        "code.command=[\"absent\", \"{file}\"]",
    ];
    let output = with(&more);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("podman says: no such image"),
        "{said}"
    );
}

/// Where namespaces of users are forbidden, the refusal says so, and `partial` still runs programs within limits.
#[test]
fn without_namespaces_it_refuses_unless_told_otherwise() {
    let dir = temp();
    let dir = dir.path();
    let suite = format!("humaneval={}", fixture("humaneval.jsonl"));
    let outer = |more: &str| {
        let grade = format!(
            "{} grade --suite {suite} --completions c.jsonl --json {more}",
            env!("CARGO_BIN_EXE_gcpo")
        );
        let forbid = "echo 0 > /proc/sys/user/max_user_namespaces && echo forbidden >&2 && exec ";
        let mut command = Command::new("unshare");
        command
            .args(["-Ur", "sh", "-c", &format!("{forbid}{grade}")])
            .current_dir(dir);
        command
            .output()
            .ok()
            .filter(|of| String::from_utf8_lossy(&of.stderr).contains("forbidden"))
    };
    let rows = [
        "    return number % 1.0\n",
        "    return number\n",
        "    while True: pass\n",
        "    import os\n    os.fork()\n    return number % 1.0\n",
        "    import socket\n    socket.socket()\n    return number % 1.0\n",
        "    a = []\n    while True: a.append(bytearray(1 << 24))\n",
    ];
    let rows = rows.map(|text| json!({"id": "HumanEval/2", "completion": text}).to_string());
    fs::write(dir.join("c.jsonl"), rows.join("\n")).unwrap();
    let Some(output) = outer("") else {
        println!("skipped: no namespace can be made in which others are forbidden");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(
        said.contains("user.max_user_namespaces is 0") && said.contains("\"partial\""),
        "{said}"
    );
    let output = outer("--isolation partial --timeout 1").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("read what you may read"), "{said}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(
        passed(&found),
        [true, false, false, false, false, false],
        "{found}"
    );
}
