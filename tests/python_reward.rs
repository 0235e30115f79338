//! A Python function as a reward: that it is called as TRL calls it, and what becomes of one that is wrong. Any Python 3.8 or later
//! will do; without one these tests say so and do nothing, as the one with TRL's own rewards does where there is no TRL.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use gcpo::config::Config;
use gcpo::group::{Candidate, Group};
use gcpo::ranks::Ranks;
use gcpo::reward::{Ahead, Reward, RewardError};
use gcpo::rollout::{Completion, Contexts, Finish};
use gcpo_data::{Asked, Message, Problem};
use serde_json::{Value, json};

/// Whether there is a Python that can do this; says so where there is none.
fn has(python: &str, code: &str) -> bool {
    let found = Command::new(python).args(["-c", code]).output();
    let has = found.is_ok_and(|found| found.status.success());
    if !has {
        eprintln!("skipped: `{python} -c '{code}'` fails here");
    }
    has
}

fn has_python() -> bool {
    has("python3", "import sys; sys.exit(sys.version_info < (3, 8))")
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reward")
}

/// A `[[reward]]` that is one of the functions of `rewards.py`, with more keys.
fn entry(name: &str, more: &str) -> String {
    let file = fixtures().join("rewards.py");
    let function = format!("{}:{name}", file.display());
    format!("[[reward]]\nname = \"python\"\npython = \"python3\"\nfunction = {function:?}\n{more}\n")
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
        let mut problem = Problem {
            id: id.into(),
            question: "what?".into(),
            answer: Some("4".into()),
            solution: Some("2 + 2".into()),
            ..Problem::default()
        };
        if number == 0 {
            problem.columns.insert("topic".into(), json!({"of": ["a", 1]}));
        }
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

fn text(completion: &Completion) -> String {
    "x".repeat(completion.tokens.len())
}

const AHEAD: Ahead = Ahead {
    seed: 3,
    max_steps: 100,
    epochs_per_step: 0.5,
};

fn problems() -> Vec<Problem> {
    groups().into_iter().map(|group| group.problem).collect()
}

fn grade(reward: &mut Reward, step: usize) -> Result<Vec<Group>, RewardError> {
    let mut groups = groups();
    reward.expect(&problems(), AHEAD)?;
    reward.grade(&mut groups, step, text)?;
    Ok(groups)
}

/// What a reward says of all six.
fn values(groups: &[Group], reward: usize) -> Vec<Option<f64>> {
    let candidates = groups.iter().flat_map(|group| &group.candidates);
    candidates
        .map(|candidate| candidate.scores[reward].value)
        .collect()
}

fn of(name: &str, more: &str) -> Vec<Option<f64>> {
    values(&grade(&mut start(&entry(name, more)).unwrap(), 1).unwrap(), 0)
}

#[test]
fn a_function_is_given_what_trl_gives() {
    if !has_python() {
        return;
    }
    let mut reward = start(&entry("given", "")).unwrap();
    assert_eq!(reward.labels(), ["given"]);
    for step in [1, 2] {
        let graded = grade(&mut reward, step).unwrap();
        assert_eq!(
            values(&graded, 0),
            [None, Some(1.0), Some(2.0), Some(3.5), None, Some(0.0)]
        );
        let note = |group: usize, at: usize| {
            Value::Object(graded[group].candidates[at].scores[0].note.clone().unwrap())
        };
        assert_eq!(note(0, 0), json!({"length": 1, "odd": "nan"}));
        assert_eq!(note(1, 2), json!({"length": 6, "odd": ["x", "<class 'object'>"]}));
        let measured = reward.take_measured(&Ranks::alone());
        let step = step as f64 - 1.0;
        assert_eq!(
            measured,
            [("given/longest".to_owned(), 3.0), ("given/step".to_owned(), step)]
        );
        assert!(reward.take_measured(&Ranks::alone()).is_empty());
    }
}

#[test]
fn conversations_are_messages_and_prints_are_no_rewards() {
    if !has_python() {
        return;
    }
    let lengths: Vec<Option<f64>> = (1..=6).map(|length| Some(f64::from(length))).collect();
    let asked = "conversational = true";
    assert_eq!(of("content", asked), lengths);
    let mut chat = groups();
    for group in &mut chat {
        group.asked = Some(Asked::Messages(vec![
            Message::new("system", "Be brief."),
            Message::new("user", "what?"),
        ]));
    }
    let mut reward = start(&entry("content", "")).unwrap();
    reward.grade(&mut chat, 1, text).unwrap();
    assert_eq!(values(&chat, 0), lengths);
    // Without what the tokenizer puts before a text.
    let mut plain = groups();
    for group in &mut plain {
        group.prompt = "<s>Q".into();
        group.asked = Some(Asked::Text("Q".into()));
    }
    let mut reward = start(&entry("echoes", "")).unwrap();
    reward.grade(&mut plain, 1, text).unwrap();
    assert_eq!(values(&plain, 0), [Some(1.0); 6]);
    let mut reward = start(&entry("brief", "conversational = false")).unwrap();
    reward.grade(&mut chat, 1, text).unwrap();
    assert_eq!(values(&chat, 0)[5], Some(-6.0));
    assert_eq!(of("noisy", ""), [Some(1.0); 6]);
}

#[test]
fn coroutines_instances_partials_and_what_makes_a_function() {
    if !has_python() {
        return;
    }
    let mut reward = start(&entry("later", "")).unwrap();
    for step in 1..=3 {
        // The same loop each time.
        assert_eq!(
            values(&grade(&mut reward, step).unwrap(), 0),
            [Some(step as f64); 6]
        );
    }
    for (name, more, sixth) in [
        ("instance", "", 12.0),
        ("partial", "", 13.0),
        ("instance.other", "", 7.0),
        ("Judge", "args = {}", 6.0),
        ("Judge", "args = { scale = 0.5 }", 3.0),
        ("make", "args = { scale = 3 }\nkwargs = { bonus = 2 }", 20.0),
    ] {
        assert_eq!(of(name, more)[5], Some(sixth), "{name} {more}");
    }
}

#[test]
fn functions_run_at_the_same_time_and_chance_is_the_same_again() {
    if !has_python() {
        return;
    }
    let two =
        entry("slow", "label = \"a\"") + &entry("slow", "label = \"b\"") + &entry("slow", "label = \"c\"");
    let mut reward = start(&two).unwrap();
    let started = Instant::now();
    assert_eq!(values(&grade(&mut reward, 1).unwrap(), 2), [Some(1.0); 6]);
    assert!(
        started.elapsed() < Duration::from_millis(2500),
        "{:?}",
        started.elapsed()
    );
    let drawn = |steps: &[usize]| {
        let mut reward = start(&entry("chance", "")).unwrap();
        let each = steps
            .iter()
            .map(|step| values(&grade(&mut reward, *step).unwrap(), 0));
        each.last().unwrap()
    };
    assert_eq!(drawn(&[1, 2]), drawn(&[2]));
    assert_ne!(drawn(&[1]), drawn(&[2]));
}

/// What is said of a function before anything is sampled.
#[track_caller]
fn refused(config: &str, parts: &[&str]) {
    let error = match start(config) {
        Ok(mut reward) => reward.expect(&problems(), AHEAD).expect_err("it is refused"),
        Err(error) => error,
    };
    let error = error.to_string();
    for part in parts {
        assert!(error.contains(part), "{error}\n  lacks {part}");
    }
}

#[test]
fn what_cannot_be_called_is_said_before_anything_is_sampled() {
    if !has_python() {
        return;
    }
    let file = |name: &str| {
        let function = fixtures().join(name).display().to_string();
        format!("[[reward]]\nname = \"python\"\npython = \"python3\"\nfunction = \"{function}:f\"")
    };
    refused(
        &file("nowhere.py"),
        &["there is no file", "nowhere.py", "reward `f`"],
    );
    refused(
        &file("unloadable.py"),
        &[
            "No module named 'nothing_of_this_name'",
            "unloadable.py:1",
            "python",
        ],
    );
    refused(&entry("breif", ""), &["there is no `breif`", "`brief`"]);
    refused(&entry("number", ""), &["is 3 (int), and no function"]);
    refused(&entry("Judge", ""), &["is a class", "args = {}"]);
    refused(&entry("make", ""), &["asks for `scale`", "needs `args`"]);
    refused(&entry("make", "args = { size = 2 }"), &["TypeError", "size"]);
    refused(&entry("make_nothing", "args = {}"), &["makes 3 (int)", "kwargs"]);
    refused(
        &entry("without_kwargs", ""),
        &["takes no `prompts`, `completion_ids`", "add `**kwargs`"],
    );
    refused(
        &entry("wants_a_column", ""),
        &["asks for `rubric`", "it is given `prompts`", "`topic`"],
    );
    refused(
        &entry("brief", "kwargs = { answer = 3 }"),
        &["`answer` in its `kwargs`"],
    );
    refused(
        &entry("brief", "env = [\"GCPO_TEST_UNSET\"]"),
        &["not set: GCPO_TEST_UNSET"],
    );
    refused(
        &entry("brief", "").replace("\"python3\"", "\"no/such/python\""),
        &["no/such/python` cannot be started", "python = \"…/bin/python\""],
    );
    let secret = entry("brief", "kwargs = { api_key = \"hunter2\" }");
    let error = Config::from_str(&secret, "a.toml", &[]).unwrap_err().to_string();
    assert!(
        error.contains("looks like a secret") && !error.contains("hunter2"),
        "{error}"
    );
}

/// What ends a run, and how it is said.
#[track_caller]
fn ends(name: &str, more: &str, parts: &[&str]) {
    let mut reward = start(&entry(name, more)).unwrap();
    let started = Instant::now();
    let error = grade(&mut reward, 1).err().expect("an error").to_string();
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{name} was waited for"
    );
    for part in parts {
        assert!(error.contains(part), "{error}\n  lacks {part}");
    }
}

#[test]
fn what_a_function_does_wrong_is_said_with_where() {
    if !has_python() {
        return;
    }
    ends(
        "raises",
        "",
        &[
            "rewards.py:raises` raised TypeError: string indices must be integers",
            "in inner: return completion[\"content\"]",
            "in raises:",
        ],
    );
    ends(
        "raises_later",
        "",
        &["raised RuntimeError: the judge is away", "after TypeError"],
    );
    ends("leaves", "", &["raised SystemExit: no more"]);
    ends("dies", "", &["is gone", "exit status: 3", "going down"]);
    ends(
        "hangs",
        "timeout_secs = 2",
        &["not done judging in 2 s", "in hangs"],
    );
    ends("short", "", &["returned 2 rewards for 6 completions"]);
    ends("scalar", "", &["returned 0.5 (float); it must return a list"]);
    ends(
        "named",
        "",
        &["returned {'reward': 1.0} (dict); it must return a list"],
    );
    ends(
        "wordy",
        "",
        &["returned '5.0' (str), neither a number nor None, for completion 2 of problem `second`"],
    );
    ends(
        "nan",
        "",
        &[
            "returned nan (float)",
            "return None",
            "completion 2 of problem `first`",
        ],
    );
    ends(
        "infinite",
        "",
        &["returned -inf (float)", "completion 3 of problem `second`"],
    );
    ends("huge", "", &["±16777216"]);
    ends(
        "logs_too_few",
        "",
        &["logged 1 values as `note` (log_extra) for 6 completions"],
    );
    ends(
        "logs_words",
        "",
        &["could not convert string to float", "in logs_words"],
    );
}

/// The functions of `trl.rewards`, unchanged, against what they say when they are called by hand (`scripts/make_reward_fixtures.py`).
#[test]
fn trls_own_rewards_run_unchanged() {
    let python = std::env::var("GCPO_TRL_PYTHON").unwrap_or_else(|_| "python3".into());
    if !has(&python, "import trl.rewards, math_verify") {
        return;
    }
    let fixture = fs::read_to_string(fixtures().join("trl.json")).unwrap();
    let fixture: Value = serde_json::from_str(&fixture).unwrap();
    let list = |key: &str| fixture[key].as_array().unwrap().clone();
    let texts: Vec<String> = list("texts")
        .iter()
        .map(|text| text.as_str().unwrap().to_owned())
        .collect();
    let lengths: Vec<usize> = list("lengths")
        .iter()
        .map(|length| length.as_u64().unwrap() as usize)
        .collect();
    let mut groups: Vec<Group> = Vec::new();
    for (number, (length, solution)) in lengths.iter().zip(list("solutions")).enumerate() {
        let mut problem = Problem {
            id: number.to_string(),
            ..Problem::default()
        };
        problem.columns.insert("solution".into(), solution);
        let mut group = Group::new(
            problem,
            number,
            "?".into(),
            Contexts::answer_only(vec![1]).unwrap(),
        );
        group.asked = Some(Asked::Messages(vec![Message::new("user", "?")]));
        group.candidates = vec![Candidate::new(Completion {
            tokens: vec![number as u32; *length],
            logp: Vec::new(),
            sampling_logp: Vec::new(),
            finish: Finish::Eos,
        })];
        groups.push(group);
    }
    for case in list("cases") {
        let name = case["function"].as_str().unwrap();
        let args = case["args"].as_object().map_or(String::new(), |args| {
            let args: Vec<String> = args
                .iter()
                .map(|(name, value)| format!("{name} = {value}"))
                .collect();
            format!("args = {{ {} }}", args.join(", "))
        });
        let config = format!(
            "[[reward]]\nname = \"python\"\npython = {python:?}\nfunction = \"trl.rewards:{name}\"\n{args}"
        );
        let mut reward = start(&config).unwrap();
        let problems: Vec<Problem> = groups.iter().map(|group| group.problem.clone()).collect();
        reward.expect(&problems, AHEAD).unwrap();
        reward
            .grade(&mut groups, 1, |y| texts[y.tokens[0] as usize].clone())
            .unwrap();
        let expected: Vec<Option<f64>> = case["expected"]
            .as_array()
            .unwrap()
            .iter()
            .map(Value::as_f64)
            .collect();
        assert_eq!(values(&groups, 0), expected, "{name}");
    }
}
