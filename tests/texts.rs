//! Texts of others: files that are none, templates, tokenizers and rows that are not as they should be, as a user meets them.

use std::fs;
use std::path::Path;

use program::{checkpoint, failure, gcpo, json, success, temp};
use serde_json::{Value, json as value};

mod program;

/// Changes a JSON file.
fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut json: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

fn config(dir: &Path, more: &str) {
    let text = format!(
        "[model]\npath = \"m\"\n[data]\npath = \"d.jsonl\"\npreset = \"math\"\n[rollout]\nmax_completion_length = 4\n\
         num_generations = 2\n[train]\nprompts_per_step = 1\nmax_steps = 1\n[objective]\nname = \"grpo\"\n{more}"
    );
    fs::write(dir.join("c.toml"), text).unwrap();
}

const ROWS: &str = "{\"problem\": \"1+1=\", \"answer\": \"2\", \"solution\": \"2\"}\n{\"problem\": \"1+2=\", \"answer\": \"3\", \"solution\": \"3\"}\n";

#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_wherever_a_file_is_read() {
    let dir = temp();
    checkpoint(&dir.path().join("m"));
    config(dir.path(), "");
    let made = std::process::Command::new("mkfifo")
        .arg(dir.path().join("pipe.toml"))
        .status();
    assert!(made.unwrap().success());
    fs::rename(dir.path().join("pipe.toml"), dir.path().join("pipe.jsonl")).unwrap();
    for (args, said) in [
        (&["train", "pipe.jsonl"][..], "it is a pipe or a device"),
        (&["train", "/dev/zero"], "it is a pipe or a device"),
        (&["train", "m"], "it is a directory"),
        (
            &["train", "c.toml", "--set", "data.path=pipe.jsonl"],
            "pipe.jsonl: it is a pipe or a device",
        ),
        (
            &["generate", "--model", "m", "--input", "pipe.jsonl"],
            "it is a pipe or a device",
        ),
        (
            &["generate", "--model", "m", "--input", "/dev/zero"],
            "it is a pipe or a device",
        ),
        (&["score", "--model", "m", "--input", "m"], "it is a directory"),
        (&["grade", "--cases", "/dev/zero"], "it is a pipe or a device"),
    ] {
        let text = failure(dir.path(), args);
        assert!(text.contains(said), "{args:?}: {text}");
    }
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        let file = dir.path().join("m").join(name);
        fs::rename(&file, dir.path().join("kept")).unwrap();
        fs::rename(dir.path().join("pipe.jsonl"), &file).unwrap();
        let text = failure(dir.path(), &["generate", "--model", "m", "--prompt", "1"]);
        assert!(text.contains(name) && text.contains("it is a pipe"), "{text}");
        fs::rename(&file, dir.path().join("pipe.jsonl")).unwrap();
        fs::rename(dir.path().join("kept"), &file).unwrap();
    }
    fs::remove_file(dir.path().join("m/tokenizer.json")).unwrap();
    let text = failure(dir.path(), &["generate", "--model", "m", "--prompt", "1"]);
    assert!(
        text.contains("m: no tokenizer.json in it") && text.contains("save_pretrained"),
        "{text}"
    );
}

#[test]
fn a_tokenizer_and_its_checkpoint_may_disagree_where_nothing_is_at_stake() {
    let dir = temp();
    let model = dir.path().join("m");
    checkpoint(&model);
    let generate = [
        "generate",
        "--model",
        "m",
        "--set",
        "rollout.max_completion_length=4",
        "--prompt",
    ];
    // Another token ends a text for one of the two.
    edit(&model.join("generation_config.json"), |json| {
        json["eos_token_id"] = value!(4)
    });
    let (_, said) = success(dir.path(), &[&generate[..], &["1+1="]].concat());
    assert!(
        said.contains("eos_token <eos> (1) is not among those of generation_config.json, <final> (4)"),
        "{said}"
    );
    // A token beyond the embedding, which no text holds.
    edit(&model.join("tokenizer.json"), |json| {
        let tokens = json["added_tokens"].as_array_mut().unwrap();
        let token = value!({"id": 99, "content": "[PAD]", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true});
        tokens.push(token);
    });
    // The id of an added token is the next one that is free.
    let (_, _) = success(dir.path(), &[&generate[..], &["1+1="]].concat());
    let text = failure(dir.path(), &[&generate[..], &["1+1=[PAD]"]].concat());
    assert!(text.contains("the text holds [PAD], whose id"), "{text}");
}

#[test]
fn a_chat_template_is_blamed_by_its_file_and_given_what_it_reads() {
    let dir = temp();
    let model = dir.path().join("m");
    checkpoint(&model);
    fs::write(dir.path().join("d.jsonl"), ROWS).unwrap();
    config(
        dir.path(),
        "[prompt]\nstyle = \"chat\"\nanswer = \"{{ question }}\"\nintegrate = \"{{ question }}{% for c in candidates %}{{ c }}{% endfor %}\"\n\
                        project = \"{{ question }}{% for c in candidates %}{{ c }}{% endfor %}{{ integration }}\"\n",
    );
    let template = |text: &str| fs::write(model.join("chat_template.jinja"), text).unwrap();
    let body = "{% for m in messages %}<q>{{ m.content }}{% if m.role == 'assistant' %}<final>{% endif %}{% endfor %}\
                {% if add_generation_prompt %}<a>{% endif %}";
    template("{% for m in messages %}{{ m.content }}{% endfor %}{{ raise_exception('not so') }}");
    let train = ["train", "c.toml", "--run-dir"];
    let text = failure(dir.path(), &[&train[..], &["a"]].concat());
    assert!(
        text.contains("chat_template.jinja: the chat template does not take these messages: not so"),
        "{text}"
    );
    template("{{ 'x' * 10**9 }}");
    let text = failure(dir.path(), &[&train[..], &["b"]].concat());
    assert!(
        text.contains("chat_template.jinja") && text.contains("does it repeat without an end?"),
        "{text}"
    );
    template(&format!("{{% if thinking is defined %}}<pad>{{% endif %}}{body}"));
    let with = |arguments: &str, run: &str| {
        let set = format!("prompt.chat_template_kwargs={arguments}");
        let args: Vec<String> = [&train[..], &[run, "--set", &set]]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect();
        args
    };
    let args = with("{enable_thinking=false}", "c");
    let text = failure(dir.path(), &args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(
        text.contains("the chat template never reads `enable_thinking`; it reads `thinking`"),
        "{text}"
    );
    let args = with("{thinking=false}", "d");
    success(dir.path(), &args.iter().map(String::as_str).collect::<Vec<_>>());
    let samples = fs::read_to_string(dir.path().join("d/samples.jsonl")).unwrap();
    assert!(samples.contains("\"prompt\":\"<pad><q>1+"), "{samples}");
    let kept = fs::read_to_string(dir.path().join("d/config.toml")).unwrap();
    assert!(
        kept.contains("date = \"2024-07-26\"") && kept.contains("thinking = false"),
        "{kept}"
    );
    // A turn's own end is learnt, and EOS behind it where it ends no completion: three tokens for an answer of one digit.
    let sets = ["integrate_frac=0", "project_frac=0"].map(|set| format!("sft.{set}"));
    let batch =
        ["per_device_train_batch_size=1", "gradient_accumulation_steps=1"].map(|set| format!("train.{set}"));
    let mut args = vec!["sft", "c.toml", "--run-dir", "e"];
    for set in sets.iter().chain(&batch) {
        args.extend(["--set", set]);
    }
    success(dir.path(), &args);
    let metrics = fs::read_to_string(dir.path().join("e/metrics.jsonl")).unwrap();
    let last = json(metrics.lines().last().unwrap());
    assert_eq!(last["sft/tokens"], 3.0, "{metrics}");
}

#[test]
fn rows_left_out_and_problems_held_out_in_name_only_are_said() {
    let dir = temp();
    checkpoint(&dir.path().join("m"));
    let path = dir.path().join("d.jsonl");
    config(
        dir.path(),
        "[prompt]\nstyle = \"marks\"\n[eval]\nevery = 1\npath = \"e.jsonl\"\npreset = \"math\"\nmax_completion_length = 4\n",
    );
    fs::write(&path, format!("{ROWS}{{oops\n")).unwrap();
    fs::write(dir.path().join("e.jsonl"), ROWS).unwrap();
    let skip =
        "data.preset={question=\"problem\", answer=\"answer\", solution=\"solution?\", bad_rows=\"skip\"}";
    for command in ["train", "sft"] {
        let (_, said) = success(
            dir.path(),
            &[command, "c.toml", "--run-dir", command, "--set", skip],
        );
        assert!(
            said.contains("d.jsonl: 1 of 3 rows left out\n")
                && said.contains("d.jsonl:3: left out: not JSON"),
            "{said}"
        );
        assert!(
            said.contains("warning: 2 of the 2 problems of [eval] are trained on ([data])"),
            "{said}"
        );
    }
    fs::write(
        &path,
        "{\"unique_id\": \"a\\u001b]0;owned\\u0007\\u001b[2J\", \"problem\": \"1+1=\", \"answer\": \"?\"}\n",
    )
    .unwrap();
    let output = gcpo(dir.path(), &["train", "c.toml", "--run-dir", "x"]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !said.contains('\u{1b}') && !said.contains('\u{7}') && said.contains("a\\u{1b}]0;owned"),
        "{said:?}"
    );
    fs::write(
        &path,
        format!(
            "{ROWS}{{\"problem\": \"{}\", \"answer\": \"1\"}}",
            "9".repeat(20_000_000)
        ),
    )
    .unwrap();
    let text = failure(dir.path(), &["train", "c.toml", "--run-dir", "y"]);
    assert!(text.contains("d.jsonl:3: the question has 20.0 MB"), "{text}");
}
