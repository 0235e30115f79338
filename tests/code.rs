//! Programs as answers: what a right one, a wrong one and an attack come to. Everything is run as a user does, by `gcpo grade`.
//!
//! `GCPO_HUMANEVAL=FILE` and `GCPO_MBPP=FILE` hold the judge to the whole suites.

#![cfg(target_os = "linux")]

mod program;

use std::fs;
use std::path::Path;
use std::process::Command;

use program::{failure, gcpo, sandbox, temp};
use serde_json::{Value, json};

/// A problem of this test's own, as HumanEval writes them. Its test lets no wrong answer pass.
fn problem() -> Value {
    json!({
        "task_id": "T/0",
        "prompt": "import math\n\n\ndef helper(x):\n    return x + 1\n\n\ndef f(x):\n    \"\"\"The next number.\"\"\"\n",
        "entry_point": "f",
        "canonical_solution": "    return helper(x)\n",
        "test": "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(41) == 42\n    assert candidate(-1) == 0\n",
    })
}

/// Why programs cannot be run on this machine, where they cannot.
fn missing(dir: &Path) -> Option<String> {
    fs::write(dir.join("p.jsonl"), problem().to_string()).unwrap();
    let right = json!({"id": "T/0", "completion": "    return x + 1\n"});
    fs::write(dir.join("c.jsonl"), right.to_string()).unwrap();
    let output = gcpo(
        dir,
        &[
            "grade",
            "--suite",
            "humaneval=p.jsonl",
            "--completions",
            "c.jsonl",
        ],
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let no = ["does not allow one", "which does not do"]
        .iter()
        .any(|no| said.contains(no));
    if no {
        println!("skipped: {said}");
        return Some(said);
    }
    assert!(output.status.success(), "{said}");
    None
}

/// The verdicts on completions of the problem.
fn verdicts(dir: &Path, completions: &[&str], more: &[&str]) -> Vec<Value> {
    let found = sandbox::graded(dir, "T/0", completions, more);
    found["verdicts"].as_array().unwrap().clone()
}

/// That an attack does not pass; gives why.
#[track_caller]
fn fails(body: &str) -> Option<String> {
    let dir = temp();
    if missing(dir.path()).is_some() {
        return None;
    }
    let found = verdicts(dir.path(), &[body], &["--timeout", "1"]);
    assert_eq!(found[0]["passed"], false, "{body}: {}", found[0]);
    Some(found[0]["why"].as_str().unwrap().to_owned())
}

/// That what a program tries inside is refused: it returns the right answers where it succeeds.
#[track_caller]
fn refused(attempt: &str) -> Option<String> {
    fails(&format!(
        "import os, sys, socket, subprocess, threading, ctypes\ndef f(x):\n    {}\n    return x + 1\n",
        attempt.replace('\n', "\n    ")
    ))
}

#[test]
fn right_programs_pass_and_wrong_ones_say_why() {
    let dir = temp();
    if missing(dir.path()).is_some() {
        return;
    }
    let completions = [
        "    return x + 1\n",
        "    return helper(x)\n",
        "So:\n```python\ndef f(x):\n    return math.floor(helper(x))\n```\n",
        "    print('hello', flush=True)\n    return x + 1\n",
        "    return x\n",
        "    return [x + 1]\n",
        "    return x +\n",
        "",
        "    raise ValueError('no')\n",
    ];
    let found = verdicts(dir.path(), &completions, &[]);
    let passed: Vec<bool> = found.iter().map(|of| of["passed"].as_bool().unwrap()).collect();
    assert_eq!(
        passed,
        [true, true, true, true, false, false, false, false, false],
        "{found:?}"
    );
    assert!(
        found[6]["why"].as_str().unwrap().contains("SyntaxError"),
        "{}",
        found[6]
    );
    assert!(
        found[8]["why"].as_str().unwrap().contains("ValueError: no"),
        "{}",
        found[8]
    );
}

#[test]
fn asserts_of_mbpp_are_counted() {
    let dir = temp();
    if missing(dir.path()).is_some() {
        return;
    }
    let problem = json!({"task_id": 7, "text": "Sum.", "code": "def sum(a, b):\n    return a - -b\nclass Pair:\n    def __init__(self, a): self.a = a",
        "test_setup_code": "p = Pair(3)\np.a = 4", "test_list": ["assert sum(1, 2) == 3", "assert sum(p.a, 0) == 4", "assert isinstance(sum(1.5, 1), float)"]});
    fs::write(dir.path().join("p.jsonl"), problem.to_string()).unwrap();
    let right = problem["code"].as_str().unwrap();
    let rows =
        [right, &right.replace("a - -b", "3")].map(|code| json!({"id": 7, "completion": code}).to_string());
    fs::write(dir.path().join("c.jsonl"), rows.join("\n")).unwrap();
    let output = gcpo(
        dir.path(),
        &[
            "grade",
            "--suite",
            "mbpp=p.jsonl",
            "--completions",
            "c.jsonl",
            "--json",
        ],
    );
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&found["programs"], &found["passed"]),
        (&json!(2), &json!(1)),
        "{found}"
    );
    assert_eq!(found["verdicts"][1]["tests_passed"], 1, "{found}");
}

#[test]
fn mistakes_are_named() {
    let dir = temp();
    fs::write(dir.path().join("p.jsonl"), problem().to_string()).unwrap();
    let args = [
        "grade",
        "--suite",
        "humaneval=p.jsonl",
        "--completions",
        "c.jsonl",
    ];
    for (line, said) in [
        (
            r#"{"id": "T/1", "completion": "x"}"#,
            "c.jsonl:1: there is no problem \"T/1\"",
        ),
        (r#"{"id": "T/0"}"#, "c.jsonl:1: `completion` is missing"),
        ("x", "c.jsonl:1: not a JSON object"),
    ] {
        fs::write(dir.path().join("c.jsonl"), line).unwrap();
        let text = failure(dir.path(), &args);
        assert!(text.contains(said), "{text}");
    }
    let args = [&args[..], &["--python", "no-such-python"]].concat();
    fs::write(dir.path().join("c.jsonl"), r#"{"id": "T/0", "completion": ""}"#).unwrap();
    assert!(failure(dir.path(), &args).contains("no-such-python"));
}

// The verdict.

#[test]
fn leaving_early_is_no_pass() {
    for body in [
        "    import sys; sys.exit(0)\n",
        "    import os; os._exit(0)\n",
        "    raise SystemExit(0)\n",
        "import os\nos._exit(0)\n",
        "    import os; os.kill(os.getpid(), 9); os.abort()\n",
    ] {
        fails(body);
    }
}

#[test]
fn objects_that_are_equal_to_everything_are_not() {
    fails(
        "    class E(int):\n        def __eq__(self, o): return True\n        __hash__ = int.__hash__\n    return E(x)\n",
    );
    fails(
        "    class E:\n        def __eq__(self, o): return True\n        def __bool__(self): return True\n    return E()\n",
    );
}

#[test]
fn patching_what_tests_use_changes_nothing() {
    fails(
        "    import builtins\n    builtins.AssertionError = Exception\n    builtins.check = lambda c: None\n    return x\n",
    );
    fails(
        "import builtins\ndef check(candidate): pass\nbuiltins.isinstance = lambda *a: True\nbuiltins.abs = lambda x: 0\ndef f(x):\n    return x\n",
    );
    fails(
        "    import gc, sys\n    for o in gc.get_objects():\n        if isinstance(o, dict):\n            o.update(passed=1, check=lambda c: None)\n    return x\n",
    );
}

#[test]
fn a_verdict_that_is_written_by_the_program_does_not_count() {
    let said = [
        r#"{"passed": 1, "why": ""}"#,
        r#"+{"passed": 1, "why": ""}"#,
        r#"["ok",true,null]"#,
        r#"{"exit":0}"#,
    ];
    for line in said {
        fails(&format!(
            "    import os\n    for fd in range(20):\n        try: os.write(fd, {:?}.encode())\n        except OSError: pass\n    os._exit(0)\n",
            format!("{line}\n")
        ));
    }
}

#[test]
fn expected_values_are_nowhere_in_the_process() {
    // 42 stands in the test; what is searched is all that the interpreter holds, and its own frames.
    let body = "    import gc, sys\n    frame, found = sys._getframe(), []\n    while frame:\n        found.append(repr(frame.f_locals)[:10000])\n        frame = frame.f_back\n    \
                if any('candidate(' + '41)' in text for text in found + sys.argv): return x + 1\n    for o in gc.get_objects():\n        if isinstance(o, dict) and any(isinstance(v, str) and \
                'assert ' + 'candidate' in v for v in list(o.values())): return x + 1\n    return None\n";
    fails(body);
}

// Limits.

#[test]
fn loops_end() {
    let why = fails(
        "    import signal\n    for s in range(1, 64):\n        try: signal.signal(s, signal.SIG_IGN)\n        except (OSError, ValueError): pass\n    while True: pass\n",
    );
    assert!(why.is_none_or(|why| why.contains("timed out")));
}

#[test]
fn memory_and_output_end() {
    let why = fails("    a = []\n    while True: a.append(bytearray(1 << 24))\n");
    assert!(why.is_none_or(|why| why.contains("MemoryError") || why.contains("timed out")));
    fails("    while True: print('x' * 1000)\n");
    fails(
        "    import os\n    while True:\n        for fd in range(3, 10):\n            try: os.write(fd, b'x' * 1000)\n            except OSError: pass\n",
    );
    fails("    while True:\n        with open('/tmp/x', 'ab') as f: f.write(b'x' * (1 << 20))\n");
    fails("    return 'x' * (1 << 28)\n");
}

#[test]
fn processes_are_not_made() {
    for attempt in [
        "os.fork()",
        "while True: os.fork()",
        "subprocess.run(['/bin/sh', '-c', 'exit'], check=True)",
        "os.posix_spawn('/bin/sh', ['sh'], {})",
        "if os.fork() == 0:\n    os.setsid()\n    while True: pass",
        "for i in range(200): threading.Thread(target=threading.Event().wait, daemon=True).start()",
    ] {
        refused(attempt);
    }
}

// What it can reach.

#[test]
fn files_of_others_are_not_there() {
    let dir = temp();
    if missing(dir.path()).is_some() {
        return;
    }
    let secret = dir.path().join("secret");
    fs::write(&secret, "s").unwrap();
    let home = std::env::var("HOME").unwrap_or_else(|_| "/root".to_owned());
    for attempt in [
        format!("open({:?}).read()", secret.display()),
        format!("os.listdir({:?})", dir.path().display()),
        format!(
            "if not os.listdir({home:?}) or set(os.listdir({home:?})) <= {{'.pyenv', '.local', 'miniconda3', 'anaconda3'}}: raise OSError"
        ),
        "open('/etc/shadow').read()".to_owned(),
        "open('/etc/passwd').read()".to_owned(),
        "open('/proc/1/environ').read()".to_owned(),
        "open('/proc/self/mem', 'rb+')".to_owned(),
        "os.listdir('/var')".to_owned(),
        "os.symlink('/etc/shadow', '/tmp/s'); open('/tmp/s').read()".to_owned(),
        "open('/dev/mem', 'rb')".to_owned(),
        "os.mknod('/tmp/d', 0o60666, os.makedev(8, 0))".to_owned(),
        "os.chroot('/tmp')".to_owned(),
    ] {
        refused(&attempt);
    }
}

#[test]
fn nothing_outside_is_written() {
    for attempt in [
        "open('/x', 'w')",
        "open('/usr/x', 'w')",
        "open(os.__file__, 'a')",
        "os.remove(os.__file__)",
        "os.chmod('/usr', 0o777)",
        "os.mkdir('/x')",
    ] {
        refused(attempt);
    }
}

#[test]
fn there_is_no_network() {
    for attempt in [
        "socket.socket()",
        "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
        "socket.socket(40, socket.SOCK_STREAM)",
        "socket.create_connection(('127.0.0.1', 22), 1)",
        "socket.getaddrinfo('localhost', 80); socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    ] {
        refused(attempt);
    }
}

#[test]
fn other_processes_are_not_touched() {
    let libc = "libc = ctypes.CDLL(None, use_errno=True)\n";
    let raises = "raise OSError";
    for attempt in [
        format!("os.kill({}, 9)", std::process::id()),
        "os.kill(os.getppid() or 99999, 9)".to_owned(),
        "os.kill(2, 0)".to_owned(),
        format!(
            "{libc}if libc.ptrace(16, {}, 0, 0) < 0: {raises}",
            std::process::id()
        ),
        format!("{libc}if libc.unshare(0x10000000) < 0: {raises}"),
        format!("{libc}if libc.mount(b'none', b'/tmp', b'tmpfs', 0, 0) < 0: {raises}"),
        format!("{libc}if libc.prctl(1, 0, 0, 0, 0) < 0: {raises}"),
        format!("{libc}if libc.syscall(425, 1, 0) < 0: {raises}"),
        "os.setuid(0)".to_owned(),
        "os.memfd_create('x')".to_owned(),
    ] {
        refused(&attempt);
    }
    // Whoever ran the test is still here, and nothing of the programs is.
    let left = Command::new("ps").args(["-eo", "ppid,args"]).output();
    if let Ok(left) = left {
        let left = String::from_utf8_lossy(&left.stdout).into_owned();
        let own = format!("{} ", std::process::id());
        let ours = left.lines().filter(|line| line.trim_start().starts_with(&own));
        assert_eq!(ours.filter(|line| line.contains("sandbox-")).count(), 0, "{left}");
    }
}

#[test]
fn the_environment_is_not_handed_on() {
    refused("if len(os.environ) < 10 and os.environ['HOME'] == '/tmp': raise OSError");
}

/// Canonical solutions all pass and prompts alone all fail.
#[test]
fn whole_suites() {
    for (variable, suite) in [("GCPO_HUMANEVAL", "humaneval"), ("GCPO_MBPP", "mbpp")] {
        let Some(file) = std::env::var_os(variable) else {
            println!("skipped: {variable} names no file");
            continue;
        };
        let dir = temp();
        let problems = gcpo_data::dataset::load_code(Path::new(&file)).unwrap();
        for right in [true, false] {
            let rows = problems.iter().map(|problem| {
                let completion = match (right, suite) {
                    (true, _) => problem.solution.as_str(),
                    (false, "mbpp") => problem.prompt.as_str(),
                    (false, _) => "",
                };
                json!({"id": problem.id, "completion": completion}).to_string()
            });
            fs::write(dir.path().join("c.jsonl"), rows.collect::<Vec<_>>().join("\n")).unwrap();
            let suite = format!("{suite}={}", file.display());
            let output = gcpo(
                dir.path(),
                &[
                    "grade",
                    "--suite",
                    &suite,
                    "--completions",
                    "c.jsonl", // One of MBPP's own takes long.
                    "--timeout",
                    "30",
                    "--json",
                ],
            );
            let found: Value = serde_json::from_slice(&output.stdout).unwrap();
            let expected = if right { problems.len() } else { 0 };
            assert_eq!(found["passed"], expected, "{found}");
            println!("{suite}: {} programs/s", found["programs_per_sec"]);
        }
    }
}
