//! `gcpo report` and `gcpo compare`, as a user meets them: runs of every kind, hostile texts, damaged and missing files, long runs; by a
//! strict reader, and in a browser where one is installed.

mod program;

use std::fs;
use std::path::Path;

use program::html::{Look, attribute, elements, look};
use program::{failure, json, success, temp};

/// Arguments of a short run of the quickstart's model.
fn short<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let sets = [
        "train.max_steps=3",
        "train.prompts_per_step=3",
        "eval.every=3",
        "eval.size=8",
    ];
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    sets.chain(["--device", "cpu"])
        .chain(more.iter().copied())
        .collect()
}

fn config(name: &str) -> String {
    format!("{}/configs/{name}.toml", env!("CARGO_MANIFEST_DIR"))
}

/// Writes a page, and reads it strictly; what must hold of every page is held.
#[track_caller]
fn page(dir: &Path, runs: &[&str]) -> String {
    success(dir, &[&["report", "--out", "page.html"], runs].concat());
    let text = fs::read_to_string(dir.join("page.html")).unwrap();
    let all = elements(&text);
    for element in &all {
        for name in ["src", "href"] {
            let link = attribute(element, name).unwrap_or("#");
            assert!(link.starts_with('#') || link == "data:,", "{element:?}");
        }
        match element.0.as_str() {
            "svg" => assert!(
                attribute(element, "aria-label").is_some() || attribute(element, "aria-hidden").is_some(),
                "{element:?}"
            ),
            "html" => assert_eq!(attribute(element, "lang"), Some("en")),
            _ => {}
        }
    }
    assert!(!text.contains("NaN") && !text.contains(">inf<"));
    let place = |id: &str| all.iter().any(|element| attribute(element, "id") == Some(id));
    for link in all.iter().filter(|element| element.0 == "a") {
        assert!(place(&attribute(link, "href").unwrap()[1..]), "{link:?}");
    }
    text
}

/// The titles of the figures of a page.
fn figures(page: &str) -> Vec<String> {
    elements(page)
        .iter()
        .filter_map(|element| Some(attribute(element, "aria-label")?.to_owned()))
        .collect()
}

/// Looks at the page as a desktop and a telephone show it.
fn seen(dir: &Path) -> Option<[Look; 2]> {
    let looks = [1200, 360].map(|width| look(&dir.join("page.html"), width));
    let [Some(desktop), Some(phone)] = looks else {
        println!("skipped: no Chromium is installed (GCPO_CHROMIUM names one)");
        return None;
    };
    for look in [&desktop, &phone] {
        assert!(look.errors.is_empty(), "{look:?}");
        assert!(
            look.widths.0 <= look.widths.1,
            "wider than its place: {:?}",
            look.widths
        );
    }
    Some([desktop, phone])
}

#[test]
fn runs_of_every_kind_have_a_page() {
    let dir = temp();
    let (grpo, sft, rest) = (
        config("quickstart_grpo"),
        config("quickstart_sft"),
        config("quickstart_rest"),
    );
    success(dir.path(), &short(&["--run-dir", "a"]));
    success(
        dir.path(),
        &[&["train", &grpo][..], &short(&["--run-dir", "b"])].concat(),
    );
    success(
        dir.path(),
        &[&["sft", &sft][..], &short(&["--run-dir", "c"])].concat(),
    );
    success(
        dir.path(),
        &[&["train", &rest][..], &short(&["--run-dir", "d"])].concat(),
    );
    let text = page(dir.path(), &["a"]);
    let of_gcpo = figures(&text);
    for title in [
        "Reward",
        "pass@1, held out, with 95 % intervals",
        "Υ of candidates: median, middle 50 % and 90 %",
        "Similarity, Υ / α: median, middle 50 % and 90 %",
        "Reward against length, with 95 % intervals",
        "KL to the projected reference",
        "Tokens where a clamp of the κ term was active",
        "Seconds of a step by stage: a",
    ] {
        assert!(of_gcpo.iter().any(|known| known == title), "{title}: {of_gcpo:?}");
    }
    assert!(text.contains("The last evaluation of each run") && text.contains("The whole config of a"));
    if let Some([desktop, _]) = seen(dir.path()) {
        for word in ["Candidate 1", "Integration 4", "gold answer", "advantage"] {
            assert!(desktop.text.contains(word), "{word}: {}", desktop.text);
        }
    }
    // Without Υ, what is said of it is absent.
    let of_grpo = figures(&page(dir.path(), &["b"]));
    assert!(
        !of_grpo
            .iter()
            .any(|title| title.contains('Υ') || title.contains("κ")),
        "{of_grpo:?}"
    );
    let of_sft = page(dir.path(), &["c"]);
    assert!(
        !of_sft.contains("id=\"samples\"")
            && figures(&of_sft).iter().any(|title| title.starts_with("Loss of"))
    );
    assert!(
        figures(&page(dir.path(), &["d"]))
            .iter()
            .any(|title| title == "Problems solved by the search")
    );
    let text = page(dir.path(), &["a", "b", "c", "d"]);
    assert!(
        text.contains("Keys in which the runs are not alike") && text.contains("paired by problem"),
        "{text}"
    );
    seen(dir.path());

    let (text, _) = success(dir.path(), &["compare", "a", "b"]);
    for word in [
        "objective.name",
        "\"grpo\"",
        "up to step",
        "reward: a",
        "95 % interval",
        "step-3",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let (text, _) = success(dir.path(), &["compare", "a", "b", "--json"]);
    let found = json(&text);
    assert_eq!(found["evaluation"][0]["problems"], 8);
    assert_eq!(found["at_steps"].as_array().unwrap().len(), 3);
    let (of_runs, _) = success(dir.path(), &["eval", "--compare", "a", "b/eval.jsonl", "--json"]);
    assert_eq!(json(&of_runs)[0], found["evaluation"][0]);
    let said = failure(dir.path(), &["eval", "--compare", "a", "c/checkpoints"]);
    assert!(said.contains("no run directory"), "{said}");
}

/// `--open` asks the system's own program.
#[cfg(target_os = "linux")]
#[test]
fn a_page_is_opened() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = temp();
    write_run(&dir.path().join("a"), "{\"step\":1}\n", "");
    let run = |path: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gcpo"));
        command
            .args(["report", "a", "--out", "page.html", "--open"])
            .current_dir(dir.path())
            .env("PATH", path);
        command.output().unwrap()
    };
    let failed = run("/nowhere");
    assert!(!failed.status.success());
    assert!(
        String::from_utf8(failed.stderr)
            .unwrap()
            .contains("there is no xdg-open")
    );
    let stub = dir.path().join("xdg-open");
    fs::write(&stub, "#!/bin/sh\nprintf %s \"$1\" > opened\n").unwrap();
    fs::set_permissions(&stub, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(run(&dir.path().display().to_string()).status.success());
    let opened = fs::read_to_string(dir.path().join("opened")).unwrap();
    assert!(
        opened.starts_with('/') && opened.ends_with("/page.html"),
        "{opened}"
    );
}

/// A run directory by hand.
fn write_run(dir: &Path, metrics: &str, samples: &str) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("config.toml"), gcpo::config::Config::default().to_toml()).unwrap();
    fs::write(dir.join("metrics.jsonl"), metrics).unwrap();
    fs::write(dir.join("samples.jsonl"), samples).unwrap();
}

#[test]
fn texts_of_others_are_texts() {
    let dir = temp();
    let evil =
        "</script><script>document.title='taken'</script><!--<script>\u{2028}<img src=x onerror=alert(1)>]]>";
    let sample = serde_json::json!({
        "step": 1, "problem": evil, "prompt": evil, "answer": evil, "completions": [evil, "b"], "integrations": [evil],
        "finish": ["eos", "length"], "lengths": [3, 4], "rewards": [1.0, null], "components": {evil: [1.0, null]},
        "upsilon": [1.0, 2.0], "reward_notes": {evil: [{"why": evil}, null]},
    });
    let name = "<b>run</b>";
    let metrics = serde_json::json!({"step": 1, "reward/mean": 0.5, format!("reward/{evil}_mean"): 0.25});
    write_run(
        &dir.path().join(name),
        &format!("{metrics}\n"),
        &format!("{sample}\n"),
    );
    let text = page(dir.path(), &[name]);
    let scripts = elements(&text)
        .iter()
        .filter(|element| element.0 == "script")
        .count();
    assert_eq!(scripts, 2, "the samples and the page's own");
    assert!(!text.contains("<img") && !text.contains("<b>"));
    if let Some([desktop, _]) = seen(dir.path()) {
        assert!(
            desktop
                .text
                .contains(evil.trim_end_matches("]]>").split('\u{2028}').next().unwrap()),
            "{}",
            desktop.text
        );
    }
}

#[test]
fn long_runs_are_thinned_and_what_is_left_out_is_said() {
    let dir = temp();
    let line = |step: usize| {
        format!(
            "{{\"step\":{step},\"reward/mean\":{},\"time/step_secs\":1.5}}\n",
            (step % 7) as f64 / 7.0
        )
    };
    let sample = |step: usize| {
        let long = "word ".repeat(2_000);
        format!(
            "{{\"step\":{step},\"problem\":\"p\",\"prompt\":\"q\",\"answer\":\"1\",\"completions\":[\"{long}\"],\"lengths\":[2000],\"rewards\":[1]}}\n"
        )
    };
    let (metrics, samples): (String, String) =
        ((1..=5000).map(line).collect(), (1..=3000).map(sample).collect());
    write_run(&dir.path().join("long"), &metrics, &samples);
    let began = std::time::Instant::now();
    let text = page(dir.path(), &["long", "--step", "1234"]);
    println!(
        "a page of 5,000 steps and {} MiB of samples: {:?}",
        samples.len() >> 20,
        began.elapsed()
    );
    assert!(text.len() < 8 << 20, "{}", text.len());
    assert!(
        text.contains("of 3000 samples are here") && text.contains("\"step\":1234,"),
        "{:.3000}",
        text
    );
    assert!(text.contains("more characters are in samples.jsonl"));
    seen(dir.path());
    let said = failure(
        dir.path(),
        &["report", "long", "--out", "x.html", "--step", "4000"],
    );
    assert!(
        said.contains("--step 4000") && said.contains("step 3000"),
        "{said}"
    );
}

#[test]
fn what_is_damaged_or_missing_is_said() {
    let dir = temp();
    write_run(
        &dir.path().join("a"),
        "{\"step\":1,\"reward/mean\":0.5}\nnot JSON\n{\"st",
        "{\"step\":1}\n{]\n",
    );
    let (_, said) = success(dir.path(), &["report", "a", "--out", "page.html"]);
    assert!(said.contains("metrics.jsonl, line 2 is damaged"), "{said}");
    let text = page(dir.path(), &["a"]);
    assert!(text.contains("metrics.jsonl, line 2") && text.contains("samples.jsonl, line 2"));
    assert!(!text.contains("is under way"));
    let held = gcpo::run::RunDir::open(&dir.path().join("a")).unwrap();
    assert!(page(dir.path(), &["a"]).contains("a is under way"));
    drop(held);
    fs::remove_file(dir.path().join("a/metrics.jsonl")).unwrap();
    fs::write(dir.path().join("a/config.toml"), "[trian]\n").unwrap();
    let text = page(dir.path(), &["a"]);
    assert!(
        text.contains("metrics.jsonl is not there") && text.contains("config.toml: "),
        "{text}"
    );
    for (args, word) in [
        (&["report", ".", "--out", "x.html"][..], "no run directory"),
        (&["report", "a", "a", "--out", "x.html"], "named twice"),
        (&["report", "a", "--out", "a"], "is a directory"),
        (
            &["report", "a", "--out", "nowhere/x.html"],
            "cannot write nowhere/x.html",
        ),
        (&["compare", "a", "nowhere"], "no run directory"),
        (&["eval", "--compare", "a", "a"], "was not evaluated"),
    ] {
        let said = failure(dir.path(), args);
        assert!(said.contains(word), "{args:?}: {said}");
    }
    assert!(!dir.path().join("x.html").exists());
}
