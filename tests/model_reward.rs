//! Reward models against what transformers and TRL make of them (`scripts/make_reward_model_fixtures.py`), and in a whole run.

mod program;

use std::fs;
use std::path::{Path, PathBuf};

use gcpo::config::Config;
use gcpo::group::{Candidate, Group};
use gcpo::rollout::{Completion, Contexts, Finish};
use gcpo_data::{Asked, Message, Problem};
use gcpo_model::device::of_tests;
use serde_json::Value;

fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/reward")
        .join(name)
}

fn entry(dir: &Path, more: &str) -> String {
    format!(
        "[[reward]]\nname = \"model\"\npath = {:?}\n{more}\n",
        dir.display().to_string()
    )
}

/// A prompt with its completions, graded by a reward model.
fn scores(
    dir: &Path,
    more: &str,
    asked: Option<Asked>,
    prompt: &str,
    completions: &[String],
) -> Result<Vec<f64>, String> {
    let config = Config::from_str(&entry(dir, more), "test.toml", &[]).unwrap();
    let mut reward = config.rewards(&of_tests()).map_err(|error| error.to_string())?;
    assert_eq!(reward.labels(), ["model"]);
    let problem = Problem {
        id: "p".into(),
        ..Problem::default()
    };
    let mut group = Group::new(problem, 0, prompt.into(), Contexts::answer_only(vec![1]).unwrap());
    group.asked = asked;
    let completion = |at: usize| Completion {
        tokens: vec![at as u32],
        logp: Vec::new(),
        sampling_logp: Vec::new(),
        finish: Finish::Eos,
    };
    group.candidates = (0..completions.len())
        .map(completion)
        .map(Candidate::new)
        .collect();
    let mut groups = [group];
    reward.check().unwrap();
    let graded = reward.grade(&mut groups, 1, |y| completions[y.tokens[0] as usize].clone());
    graded.map_err(|error| error.to_string())?;
    Ok(groups[0].rewards().flatten().collect())
}

#[test]
fn scores_are_those_of_transformers_of_texts_and_conversations() {
    for name in ["model_llama", "model_qwen2", "model_qwen3"] {
        let dir = model(name);
        let expected: Value =
            serde_json::from_str(&fs::read_to_string(dir.join("expected.json")).unwrap()).unwrap();
        let texts = |key: &str| -> Vec<String> { serde_json::from_value(expected[key].clone()).unwrap() };
        let numbers = |key: &str| -> Vec<f64> { serde_json::from_value(expected[key].clone()).unwrap() };
        let turn = |of: &Value| Message::new(of["role"].as_str().unwrap(), of["content"].as_str().unwrap());
        let turns = expected["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(turn)
            .collect();
        let prompt = expected["prompt"].as_str().unwrap().to_owned();
        let completions = texts("completions");
        for (asked, key) in [
            (Asked::Text(prompt), "of_text"),
            (Asked::Messages(turns), "of_messages"),
        ] {
            for more in ["", "batch_size = 1", "batch_size = 3"] {
                // What the policy's tokenizer made of the prompt is not what the reward model reads.
                let found = scores(&dir, more, Some(asked.clone()), "<s>", &completions).unwrap();
                for (found, expected) in found.iter().zip(numbers(key)) {
                    assert!(
                        (found - expected).abs() < 1e-4,
                        "{name} {key} {more}: {found} and {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_is_no_reward_model_is_said() {
    let dir = program::temp();
    let language = dir.path().join("m");
    program::checkpoint(&language);
    let ask = |dir: &Path, asked: Option<Asked>, prompt: &str| {
        scores(dir, "", asked, prompt, &["yes".to_owned()]).unwrap_err()
    };
    let error = ask(&language, None, "?");
    assert!(
        error.contains("reward `model`") && error.contains("no score.weight"),
        "{error}"
    );
    assert!(ask(&dir.path().join("nowhere"), None, "?").contains("nowhere"));
    let copy = |name: &str| {
        let to = dir.path().join(name);
        fs::create_dir(&to).unwrap();
        for entry in fs::read_dir(model("model_llama")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        to
    };
    let mute = copy("mute");
    fs::remove_file(mute.join("chat_template.jinja")).unwrap();
    let messages = || Some(Asked::Messages(vec![Message::new("user", "?")]));
    let error = ask(&mute, messages(), "?");
    assert!(
        error.contains("problem `p`") && error.contains("no chat template"),
        "{error}"
    );
    assert!(scores(&mute, "", None, "?", &["yes".to_owned()]).is_ok());
    let error = ask(&mute, None, &"a b ".repeat(100));
    assert!(error.contains("takes from 1 to 128"), "{error}");
    let two = copy("two");
    let text = fs::read(two.join("model.safetensors")).unwrap();
    // The header says another shape, of the same bytes.
    let at = text.windows(12).position(|part| part == b"score.weight").unwrap();
    let mut spoilt = text.clone();
    let shape = at + text[at..].windows(6).position(|part| part == b"[1,24]").unwrap();
    spoilt[shape..shape + 6].copy_from_slice(b"[2,12]");
    fs::write(two.join("model.safetensors"), spoilt).unwrap();
    assert!(
        ask(&two, None, "?").contains("one label"),
        "{}",
        ask(&two, None, "?")
    );
}

#[test]
fn a_run_learns_from_a_reward_model() {
    let dir = program::temp();
    let text = format!(
        "[model]\npath = \"quickstart\"\n[data]\ngenerator = \"arithmetic\"\ncount = 64\n[prompt]\nstyle = \"marks\"\n\
         [rollout]\nnum_generations = 4\nmax_completion_length = 16\n[train]\nmax_steps = 2\nprompts_per_step = 4\n\
         [objective]\nname = \"grpo\"\n[eval]\nevery = 2\nsize = 4\nrewards = true\n{}",
        entry(&model("model_llama"), "label = \"judge\"")
    );
    fs::write(dir.path().join("a.toml"), text).unwrap();
    program::success(
        dir.path(),
        &["train", "a.toml", "--run-dir", "run", "--device", "cpu"],
    );
    let lines = fs::read_to_string(dir.path().join("run/metrics.jsonl")).unwrap();
    let last = program::json(lines.lines().last().unwrap());
    for key in [
        "reward/judge_mean",
        "reward/judge_std",
        "eval/reward/judge_mean",
        "eval/reward/mean",
        "eval/pass@1",
    ] {
        assert!(last[key].is_f64(), "{key} of {last}");
    }
}
