//! Data as people have it, by the commands: rows of TRL and verl, messages, splits, several paths, no gold answers.

mod program;

use std::fs;
use std::path::Path;

use program::{checkpoint, failure, json, success, temp};

const CONFIG: &str = "[model]\npath = \"m\"\n[data]\npath = \"d.jsonl\"\nshuffle = false\n[train]\nmax_steps = 1\nprompts_per_step = 2\n\
                      [rollout]\nnum_generations = 2\nmax_completion_length = 3\n[projection]\nintegrations = 2\nsamples = 1\n\
                      [prompt]\nintegrate = \"{{ question }}{% for c in candidates %}{{ c }}{% endfor %}\"\n\
                      project = \"{{ question }}{% for c in candidates %}{{ c }}{% endfor %}{{ integration }}\"\n";
const TEMPLATE: &str = "{% for m in messages %}{% if m.role == 'user' %}<q>{{ m.content }}{% elif m.role == 'assistant' %}<a>{{ m.content }}\
                        {% else %}<final>{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<a>{% if short is defined %}#{% endif %}{% endif %}";
const TURNS: &str = r#"{"prompt": [{"role": "system", "content": "1"}, {"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}, {"role": "user", "content": "2+2"}], "answer": "4", "from": "trl"}
{"prompt": [{"role": "user", "content": "3+3"}, {"role": "assistant", "content": "6#"}], "reward_model": {"ground_truth": "6"}, "extra_info": {"index": 7}}
"#;

/// A directory with a checkpoint that has a chat template, a config and `d.jsonl`.
fn place(rows: &str, more: &str) -> tempfile::TempDir {
    let dir = temp();
    checkpoint(&dir.path().join("m"));
    fs::write(dir.path().join("m/chat_template.jinja"), TEMPLATE).unwrap();
    fs::write(dir.path().join("d.jsonl"), rows).unwrap();
    fs::write(dir.path().join("c.toml"), format!("{CONFIG}{more}")).unwrap();
    dir
}

fn samples(dir: &Path, run: &str) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(dir.join(run).join("samples.jsonl")).unwrap();
    text.lines().map(json).collect()
}

const TRAIN: [&str; 5] = ["train", "c.toml", "--device", "cpu", "--run-dir"];

#[test]
fn prompts_of_messages_train_without_a_key_more() {
    let dir = place(TURNS, "");
    let (_, said) = success(dir.path(), &[&TRAIN[..], &["a"]].concat());
    assert!(
        said.contains("prompts in the style \"chat\": those of d.jsonl are lists of messages"),
        "{said}"
    );
    assert!(!said.contains("Reason step by step"), "{said}");
    let found = samples(dir.path(), "a");
    assert_eq!(found[0]["prompt"], "<final>1<q>1+1<a>2<q>2+2<a>");
    assert_eq!(found[1]["prompt"], "<q>3+3<a>6#");
    assert_eq!(
        (&found[0]["answer"], &found[1]["answer"]),
        (&"4".into(), &"6".into())
    );
    assert_eq!(
        (&found[0]["problem"], &found[1]["problem"]),
        (&"d-1".into(), &"7".into())
    );
    let text = failure(
        dir.path(),
        &[&TRAIN[..], &["b", "--set", "prompt.style=marks"]].concat(),
    );
    assert!(
        text.contains(
            "d.jsonl:1): its prompt is a list of messages, and only `prompt.style = \"chat\"` writes that"
        ),
        "{text}"
    );
    let out = [
        "--out",
        "e.jsonl",
        "--device",
        "cpu",
        "--json",
        "--limit",
        "1",
        "--set",
        "eval.max_completion_length=3",
    ];
    let (printed, _) = success(
        dir.path(),
        &[&["eval", "--model", "m", "--data", "d.jsonl"][..], &out].concat(),
    );
    assert_eq!(json(printed.trim())["suites"][0]["problems"], 1);
}

#[test]
fn a_text_has_a_system_arguments_and_an_instruction_that_is_said() {
    let row = r#"{"question": "1+1", "answer": 2, "system": "9", "chat_template_kwargs": {"short": true}}"#;
    let dir = place(
        row,
        "style = \"chat\"\nanswer = \"{{ question }}{{ instruction }}\"\ninstruction = \"+\"\n",
    );
    let one = ["--set", "train.prompts_per_step=1"];
    success(dir.path(), &[&TRAIN[..], &["a"], &one].concat());
    assert_eq!(samples(dir.path(), "a")[0]["prompt"], "<final>9<q>1+1+<a>#");
    let config = fs::read_to_string(dir.path().join("c.toml")).unwrap();
    fs::write(
        dir.path().join("c.toml"),
        config
            .replace("instruction = \"+\"\n", "")
            .replace("{{ instruction }}", "{# instruction #}"),
    )
    .unwrap();
    let (_, said) = success(dir.path(), &[&TRAIN[..], &["b"], &one].concat());
    assert!(
        said.contains("\"Reason step by step, and put your final answer within \\\\boxed{}.\"; `prompt.instruction` says something else"),
        "{said}"
    );
    let text = failure(
        dir.path(),
        &[&TRAIN[..], &["c", "--set", "prompt.style=plain"], &one].concat(),
    );
    assert!(
        text.contains("d.jsonl:1): its column `system` says what the system says, and only"),
        "{text}"
    );
}

#[test]
fn no_gold_answer_is_needed_where_no_reward_asks() {
    let rows = TURNS
        .replace("\"answer\": \"4\", ", "")
        .replace("\"reward_model\": {\"ground_truth\": \"6\"}", "\"kind\": [\"x\"]");
    let dir = place(&rows, "[[reward]]\nname = \"format\"\ngates = false\n");
    success(dir.path(), &[&TRAIN[..], &["a"]].concat());
    let found = samples(dir.path(), "a");
    assert!(found.iter().all(|sample| sample["answer"].is_null()), "{found:?}");
    let accuracy = [&TRAIN[..], &["b", "--set", "reward.0={name=\"accuracy\"}"]].concat();
    let text = failure(dir.path(), &accuracy);
    assert!(
        text.contains("d.jsonl:1: no field `answer`")
            && text.contains("the reward `accuracy` asks for a gold answer"),
        "{text}"
    );
    let eval = ["eval", "--model", "m", "--data", "d.jsonl", "--device", "cpu"];
    let text = failure(dir.path(), &eval);
    assert!(text.contains("evaluation asks for a gold answer"), "{text}");
}

#[test]
fn directories_have_splits_and_several_paths_weights() {
    let dir = place("", "");
    let row = |question: &str| format!("{{\"prompt\": \"{question}\", \"answer\": 1}}\n");
    for (name, questions) in [
        ("data/train-0.jsonl", &["1", "2"][..]),
        ("data/train-1.jsonl", &["3"]),
        ("data/test.jsonl", &["4"]),
        ("other.jsonl", &["5", "6", "7"]),
    ] {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(
            path,
            questions.iter().map(|question| row(question)).collect::<String>(),
        )
        .unwrap();
    }
    let run = |name: &str, sets: &[&str]| {
        let style = [
            "--set",
            "prompt.style=marks",
            "--set",
            "train.prompts_per_step=1",
            "--set",
            "objective.name=grpo",
        ];
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).chain(style).collect();
        let (_, said) = success(dir.path(), &[&TRAIN[..], &[name], &sets].concat());
        let prompts = samples(dir.path(), name);
        let asked = prompts
            .iter()
            .map(|sample| sample["prompt"].as_str().unwrap().replace("<q>", ""));
        (asked.collect::<Vec<_>>().concat().replace("<a>", ""), said)
    };
    let epoch = "train.num_train_epochs=1";
    let steps = "train.max_steps=1000";
    let (asked, said) = run("a", &["data.path=data", epoch, steps]);
    assert_eq!(asked, "123");
    assert!(
        said.contains("data: reading ")
            && said.contains("train-0.jsonl, ")
            && said.contains("3 steps in all"),
        "{said}"
    );
    assert_eq!(
        run("b", &["data.path=data", "data.split=test", epoch, steps]).0,
        "4"
    );
    let both = "data.path=[\"data\", \"other.jsonl\"]";
    assert_eq!(run("c", &[both, epoch, steps]).0, "123567");
    assert_eq!(run("d", &[both, "data.limit=2", epoch, steps]).0, "1256");
    // Two thirds of each epoch are of the second path, which goes on through its rows.
    let weighed = [both, "data.weights=[1, 2]", "train.num_train_epochs=2", steps];
    assert_eq!(run("e", &weighed).0, "516725637516");
    let text = failure(
        dir.path(),
        &[
            &TRAIN[..],
            &["f", "--set", "data.path=data", "--set", "data.split=validation"],
        ]
        .concat(),
    );
    assert!(
        text.contains("no file of the split \"validation\" in it; there are train and test"),
        "{text}"
    );
    let text = failure(
        dir.path(),
        &[&TRAIN[..], &["g", "--set", "data.path=trl-lib/x"]].concat(),
    );
    assert!(
        text.contains("`hf download --repo-type dataset trl-lib/x"),
        "{text}"
    );
    let text = failure(
        dir.path(),
        &[
            &TRAIN[..],
            &["h", "--set", "model.path=Qwen/x", "--set", "data.path=data"],
        ]
        .concat(),
    );
    assert!(text.contains("`hf download Qwen/x --local-dir DIR`"), "{text}");
}
